//! Grounds of a verdict, and what a server showed late, as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{clean, corrupt, from_json, to_json, word};
use crate::domain::grounds::{Grounds, Late, Probed, Seen, Source};
use crate::domain::resource::Presence;
use crate::domain::step::Cause;
use crate::domain::time::Timestamp;
use crate::store::StoreError;

#[derive(Serialize, Deserialize)]
struct GroundsJson {
    source: String,
    step: Option<String>,
    exit: Option<(i32, String)>,
    why: String,
    boot_before: String,
    boot_now: String,
    lane_free: Option<bool>,
    processes: Vec<String>,
    probe: Option<(String, BTreeMap<String, String>)>,
}

#[derive(Serialize, Deserialize)]
struct LateJson {
    at: i64,
    text: String,
    grounds: GroundsJson,
}

impl From<&Grounds> for GroundsJson {
    fn from(g: &Grounds) -> Self {
        let facts = |p: &Probed| p.facts.iter().map(|(name, value)| (clean(name), clean(value))).collect();
        Self {
            source: g.source.to_string(),
            step: g.step.map(|id| id.to_string()),
            exit: g.exit.map(|(code, cause)| (code, cause.to_string())),
            why: clean(&g.seen.why),
            boot_before: clean(&g.seen.boot_before),
            boot_now: clean(&g.seen.boot_now),
            lane_free: g.seen.lane_free,
            processes: g.seen.processes.iter().map(|p| clean(p)).collect(),
            probe: g.seen.probe.as_ref().map(|p| (p.presence.to_string(), facts(p))),
        }
    }
}

impl TryFrom<GroundsJson> for Grounds {
    type Error = StoreError;

    fn try_from(json: GroundsJson) -> Result<Self, StoreError> {
        let step = match &json.step {
            Some(id) => Some(id.parse().map_err(|_| corrupt("step id", id))?),
            None => None,
        };
        let exit = match json.exit {
            Some((code, by)) => Some((code, word("cause", &by, Cause::parse)?)),
            None => None,
        };
        let probe = match json.probe {
            Some((presence, facts)) => {
                Some(Probed { presence: word("presence", &presence, Presence::parse)?, facts })
            }
            None => None,
        };
        Ok(Self {
            source: word("source", &json.source, Source::parse)?,
            step,
            exit,
            seen: Seen {
                why: json.why,
                boot_before: json.boot_before,
                boot_now: json.boot_now,
                lane_free: json.lane_free,
                processes: json.processes,
                probe,
            },
        })
    }
}

pub(super) fn grounds_to_json(grounds: &Grounds) -> String {
    to_json(&GroundsJson::from(grounds))
}

pub(super) fn grounds_from_json(text: &str) -> Result<Grounds, StoreError> {
    from_json::<GroundsJson>("grounds", text)?.try_into()
}

pub(super) fn late_to_json(late: &Late) -> String {
    to_json(&LateJson { at: late.at.0, text: clean(&late.text), grounds: (&late.grounds).into() })
}

pub(super) fn late_from_json(text: &str) -> Result<Late, StoreError> {
    let json: LateJson = from_json("late evidence", text)?;
    Ok(Late { at: Timestamp(json.at), text: json.text, grounds: json.grounds.try_into()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grounds_and_late_evidence_come_back_as_they_were() {
        let step = "00000000000000000000000001.0.1.1".parse().ok();
        let probe = Some(Probed { presence: Presence::Present, facts: [("v".into(), "2".into())].into() });
        let (why, boot_before, boot_now) = ("reboot".into(), "b1".into(), "b2".into());
        let seen = Seen {
            why,
            boot_before,
            boot_now,
            lane_free: Some(false),
            processes: vec!["7 sh".into()],
            probe,
        };
        let full = Grounds { source: Source::Probe, step, exit: Some((143, Cause::Deadline)), seen };
        let bare = Grounds { source: Source::Time, step: None, exit: None, seen: Seen::default() };
        for grounds in [full, bare] {
            assert_eq!(grounds_from_json(&grounds_to_json(&grounds)).unwrap(), grounds);
            let late = Late { at: Timestamp(5), text: "later".into(), grounds };
            assert_eq!(late_from_json(&late_to_json(&late)).unwrap(), late);
        }
        assert!(grounds_from_json("{}").is_err());
        let guessed =
            grounds_to_json(&Grounds { source: Source::Time, step: None, exit: None, seen: Seen::default() });
        assert!(grounds_from_json(&guessed.replace("time", "tyme")).is_err(), "a word is never guessed");
    }
}
