//! What a schedule leaves behind when somebody changes, pauses or removes it: due times that nobody has looked at yet, and occurrences
//! that wait. Both are recorded; nothing is dropped in silence.

use std::time::Duration;

use super::super::Refusal;
use super::Timing;
use crate::domain::schedule::{Cause, Entry, Fate, Last, Occurrence, Schedule, plan};
use crate::domain::time::Timestamp;
use crate::store::Unit;

/// Looks that are made in one transaction; more than anything has left behind that was looked at in the last hours.
const LOOKS_MAX: usize = 32;

/// Records due times that have come and were not looked at.
pub(super) async fn behind(unit: &mut Unit<'_>, before: &Schedule, why: &str) -> Result<(), Refusal> {
    if before.chore().is_some() || before.next_due.is_none() {
        return Ok(());
    }
    // In a zone that nobody knows any more nothing has come.
    let Ok(timing) = Timing::of(before) else { return Ok(()) };
    // What has come due and is held back by its jitter would be dropped with the time that it waits for.
    let mut schedule = Schedule { jitter: Duration::ZERO, ..before.clone() };
    for _ in 0..LOOKS_MAX {
        let plan = plan(&schedule, &timing.cron, &timing.zone, unit.now());
        if plan.entries.is_empty() {
            return Ok(());
        }
        for entry in plan.entries {
            let (due, until, count) = match entry {
                Entry::Fire { due, .. } => (due, due, 1),
                Entry::Missed { first, last, count } => (first, last, count),
            };
            record(unit, &schedule, (due, until, count), why).await?;
        }
        schedule.next_due = plan.next_due;
    }
    Err(Refusal::not_now(format!(
        "{} has been due many times since somebody looked: a daemon is about to record that; ask again in a moment",
        before.name
    )))
}

async fn record(
    unit: &mut Unit<'_>,
    schedule: &Schedule,
    (due, until, count): (Timestamp, Timestamp, i64),
    why: &str,
) -> Result<(), Refusal> {
    if unit.db().await?.occurrence(schedule.id, due).await?.is_some() {
        return Ok(());
    }
    unit.insert_occurrence(&missed(schedule, (due, until, count), why.to_owned(), unit.now())).await?;
    Ok(())
}

/// One due time, or several in a row, that nobody fires.
pub(super) fn missed(
    schedule: &Schedule,
    (due, until, count): (Timestamp, Timestamp, i64),
    why: String,
    at: Timestamp,
) -> Occurrence {
    Occurrence {
        schedule: schedule.id,
        due,
        until,
        count,
        cause: Cause::Due,
        fate: Fate::Missed,
        why,
        runs: Vec::new(),
        enrollments: Vec::new(),
        refused: Vec::new(),
        principal: None,
        at,
    }
}

/// Ends what waits: it is left out.
pub(super) async fn waiting(unit: &mut Unit<'_>, schedule: &mut Schedule, why: &str) -> Result<(), Refusal> {
    for mut occurrence in unit.db().await?.waiting_occurrences(schedule.id).await? {
        occurrence.fate = Fate::Skipped;
        why.clone_into(&mut occurrence.why);
        occurrence.at = unit.now();
        unit.end_waiting(&occurrence).await?;
        schedule.last = Some(Last { due: occurrence.due, fate: occurrence.fate, why: occurrence.why });
    }
    schedule.waiting = 0;
    Ok(())
}
