//! What is allowed on a server, and when: its maintenance windows, and whether an interrupted dpkg may be repaired there.

use super::valid::Problems;
use super::{Engine, Refusal};
use crate::catalog::Plan;
use crate::clock;
use crate::domain::id::ServerId;
use crate::domain::server::{Policy, Server};
use crate::domain::time::Timestamp;
use crate::domain::turn::Turn;
use crate::domain::window::{self, BadWindow, Opening, WINDOWS_MAX, Window};
use crate::store::Unit;

/// Changes what is allowed on a server. What is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EditPolicy {
    /// IANA name; empty means UTC.
    pub time_zone: Option<String>,
    /// All its windows from now on, in their text form; none: always open.
    pub windows: Option<Vec<String>>,
    /// Whether an interrupted dpkg is repaired.
    pub repair_dpkg: Option<bool>,
}

impl EditPolicy {
    pub(super) fn check(&self, problems: &mut Problems) {
        if let Some(name) = &self.time_zone {
            problems.check("time_zone", zone_named(name).map(drop));
        }
        if let Some(windows) = &self.windows {
            problems.check("windows", parsed(windows).map(drop));
        }
    }

    /// The policy after the change. Its parts have been checked.
    pub(super) fn apply(&self, policy: &mut Policy) -> Result<(), Refusal> {
        if let Some(name) = &self.time_zone {
            policy.time_zone = zone_named(name).map_err(|message| Refusal::field("time_zone", message))?;
        }
        if let Some(windows) = &self.windows {
            policy.windows = parsed(windows).map_err(|message| Refusal::field("windows", message))?;
        }
        policy.repair_dpkg = self.repair_dpkg.unwrap_or(policy.repair_dpkg);
        Ok(())
    }

    /// For the audit: what is different now, and how it was.
    pub(super) fn told(before: &Policy, after: &Policy) -> String {
        let mut changes = Vec::new();
        let mut differs = |what: &str, before: String, after: String| {
            if before != after {
                changes.push(format!("{what}: {before} -> {after}"));
            }
        };
        differs("time zone", before.time_zone.clone(), after.time_zone.clone());
        differs("windows", shown(&before.windows), shown(&after.windows));
        differs("repair of dpkg", yes_or_no(before.repair_dpkg), yes_or_no(after.repair_dpkg));
        changes.join("; ")
    }
}

fn yes_or_no(on: bool) -> String {
    if on { "yes" } else { "no" }.to_owned()
}

/// Windows in words.
pub(super) fn shown(windows: &[Window]) -> String {
    if windows.is_empty() {
        return "always open".to_owned();
    }
    windows.iter().map(Window::to_string).collect::<Vec<_>>().join(", ")
}

/// The canonical name of a zone.
pub(super) fn zone_named(name: &str) -> Result<String, String> {
    let name = if name.is_empty() { "UTC" } else { name };
    let known = name.bytes().all(|b| b.is_ascii_graphic()).then(|| clock::zone(name)).flatten();
    let canonical = known.and_then(|zone| zone.iana_name().map(str::to_owned));
    canonical.ok_or_else(|| {
        "is not a time zone that settled's machine knows: write its IANA name, like Europe/Berlin or UTC"
            .to_owned()
    })
}

fn parsed(windows: &[String]) -> Result<Vec<Window>, String> {
    if windows.len() > WINDOWS_MAX {
        return Err(format!("may be at most {WINDOWS_MAX}"));
    }
    let parsed = windows.iter().map(|text| text.parse());
    parsed.collect::<Result<_, BadWindow>>().map_err(|bad| bad.to_string())
}

/// When an exclusive run may begin on a server.
pub fn opening(policy: &Policy, now: Timestamp) -> Opening {
    if policy.windows.is_empty() {
        return Opening::Now;
    }
    // A zone that was known when it was set and is gone from the machine's data since: nobody can tell, so nothing begins.
    clock::zone(&policy.time_zone)
        .map_or(Opening::Unknown, |zone| window::opening(&policy.windows, &zone, now))
}

impl Engine {
    /// Refuses a run that could not begin: its server opens only after the run's own limit. It would end by itself, with nobody told.
    pub(super) async fn check_window(
        &self,
        unit: &mut Unit<'_>,
        server: ServerId,
        plan: &Plan,
        turn: Turn,
    ) -> Result<(), Refusal> {
        let server = if plan.exclusive { unit.server(server).await? } else { None };
        let Some(server) = server else { return Ok(()) };
        let limit = turn.limit.or(plan.queue_limit).unwrap_or(self.limits().queue_limit);
        let until = unit.now() + limit;
        match opening(&server.policy, unit.now()) {
            Opening::At(at) if at > until => {
                Err(Refusal::Closed { message: opens_too_late(&server, at, until), opens: at })
            }
            _ => Ok(()),
        }
    }
}

fn opens_too_late(server: &Server, at: Timestamp, until: Timestamp) -> String {
    let (name, zone) = (&server.name, &server.policy.time_zone);
    format!(
        "{name} opens for work at {} ({}, {zone}), and this run would wait only until {}: ask with a longer --queue-limit, or \
         open the server with `settlectl server edit {name} --no-windows`",
        wall(at, zone),
        shown(&server.policy.windows),
        wall(until, zone)
    )
}

/// A time on the wall of a zone.
fn wall(at: Timestamp, zone: &str) -> String {
    let zone = clock::zone(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    jiff::Timestamp::from_microsecond(at.0).map_or_else(
        |_| "an unknown time".to_owned(),
        |at| at.to_zoned(zone).strftime("%Y-%m-%d %H:%M %Z").to_string(),
    )
}
