//! What a verdict rests on.

use settled_proto::v1;

use super::{time, words};
use crate::domain::grounds::{Grounds, Late};

/// Grounds in full.
pub(super) fn grounds(g: &Grounds) -> v1::Grounds {
    let probe = g.seen.probe.as_ref();
    v1::Grounds {
        source: g.source.to_string(),
        step_id: g.step.map(|id| id.to_string()).unwrap_or_default(),
        exit_code: g.exit.map(|(code, _)| code),
        cause: g.exit.map(|(_, cause)| cause.to_string()).unwrap_or_default(),
        why: g.seen.why.clone(),
        boot_id_before: g.seen.boot_before.clone(),
        boot_id_now: g.seen.boot_now.clone(),
        lane_free: g.seen.lane_free,
        processes: g.seen.processes.clone(),
        presence: probe.map_or(v1::Presence::Unspecified, |p| words::presence(p.presence)).into(),
        facts: probe.map(|p| p.facts.clone()).unwrap_or_default(),
    }
}

/// What a server showed late.
pub(super) fn late(l: &Late) -> v1::LateEvidence {
    v1::LateEvidence { at: Some(time(l.at)), text: l.text.clone(), grounds: Some(grounds(&l.grounds)) }
}
