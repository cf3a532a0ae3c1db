//! What is to become of the due times that have come: which are fired, which are made up for, which were missed.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::{Cause, Missed, Schedule};
use crate::domain::cron::Cron;
use crate::domain::time::Timestamp;

/// An occurrence that is looked at later than this was missed: a tick comes every second, and a restart takes some.
pub const LATE: Duration = Duration::from_secs(60);
/// Due times that one look deals with; the next look goes on.
pub const PLANNED_MAX: usize = 1_000;
/// Occurrences that one look fires; the next look goes on.
const FIRED_MAX: usize = 16;

/// What is to become of due times, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Each due time that has come is in exactly one of these.
    pub entries: Vec<Entry>,
    /// The due time after them; `None`: there is none.
    pub next_due: Option<Timestamp>,
}

/// What is to become of one due time, or of several in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It is fired.
    Fire {
        /// When it was due.
        due: Timestamp,
        /// Whether it is on time.
        cause: Cause,
    },
    /// They were missed.
    Missed {
        /// The first.
        first: Timestamp,
        /// The last.
        last: Timestamp,
        /// How many.
        count: i64,
    },
}

impl Schedule {
    /// The first due time after this one that counts.
    pub fn due_after(&self, cron: &Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
        // A start is a due time itself when the expression names it.
        let from = self.starts_at.map_or(after, |start| after.max(Timestamp(start.0 - 1)));
        cron.next(zone, from).filter(|due| self.counts(*due))
    }
}

/// What is to become of the due times of a schedule that have come.
pub fn plan(schedule: &Schedule, cron: &Cron, zone: &TimeZone, now: Timestamp) -> Plan {
    let mut next_due = schedule.next_due.filter(|due| schedule.counts(*due));
    if schedule.chore().is_some() {
        return chore(schedule, cron, zone, next_due, now);
    }
    let mut come = Vec::new();
    while let Some(due) = next_due.filter(|due| schedule.fire_at(*due) <= now && come.len() < PLANNED_MAX) {
        come.push(due);
        next_due = schedule.due_after(cron, zone, due);
    }
    let more = next_due.is_some_and(|due| schedule.fire_at(due) <= now);
    entries(schedule, &come, next_due, more, now)
}

/// A chore is done once, however many of its times have passed.
fn chore(
    schedule: &Schedule,
    cron: &Cron,
    zone: &TimeZone,
    next_due: Option<Timestamp>,
    now: Timestamp,
) -> Plan {
    let Some(due) = next_due.filter(|due| schedule.fire_at(*due) <= now) else {
        return Plan { entries: Vec::new(), next_due };
    };
    let entries = vec![Entry::Fire { due, cause: Cause::Due }];
    Plan { entries, next_due: schedule.due_after(cron, zone, now) }
}

fn entries(
    schedule: &Schedule,
    come: &[Timestamp],
    next_due: Option<Timestamp>,
    more: bool,
    now: Timestamp,
) -> Plan {
    // One with a short jitter may have waited for the one before it, which has a longer one.
    let is_late = |due: Timestamp| now.since(due + schedule.jitter) > LATE;
    // With more to come the last of these is not the last that was missed.
    let last_late = if more { None } else { come.iter().rposition(|due| is_late(*due)) };
    let mut entries: Vec<Entry> = Vec::new();
    let mut fired = 0;
    for (n, &due) in come.iter().enumerate() {
        let young = schedule.missed_within.is_none_or(|within| now.since(due) <= within);
        let cause = match (is_late(due), schedule.missed) {
            (false, _) => Some(Cause::Due),
            (true, Missed::All) if young => Some(Cause::MadeUp),
            (true, Missed::Once) if young && last_late == Some(n) => Some(Cause::MadeUp),
            (true, _) => None,
        };
        match (cause, entries.last_mut()) {
            (Some(_), _) if fired == FIRED_MAX => return Plan { entries, next_due: Some(due) },
            (Some(cause), _) => {
                fired += 1;
                entries.push(Entry::Fire { due, cause });
            }
            (None, Some(Entry::Missed { last, count, .. })) => (*last, *count) = (due, *count + 1),
            (None, _) => entries.push(Entry::Missed { first: due, last: due, count: 1 }),
        }
    }
    Plan { entries, next_due }
}
