//! Schedules: made, changed, paused, fired and removed by people, and fired by the tick when they are due. One file per command.
//!
//! A due time is dealt with in one transaction: what becomes of it, the runs that come of it, and the schedule's step to its next due
//! time. The guard is the schedule's version, so of several daemons that look at the same moment one does it and the others do nothing.

mod add;
mod aim;
mod by_hand;
mod chores;
mod due;
mod edit;
mod enrolling;
mod fire;
mod left;
mod pause;
mod remove;
mod target;

pub use aim::Aim;
pub use chores::{BegunChore, ChoreEnd};
pub use edit::EditSchedule;

use jiff::tz::TimeZone;

use super::{Engine, Refusal};
use crate::clock;
use crate::domain::cron::Cron;
use crate::domain::id::ScheduleId;
use crate::domain::run::Run;
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::store::{Db, StoreError, Unit};

/// Due times that one request may ask for.
pub const TIMES_MAX: usize = 100;

/// When a schedule is due: its expression and its zone, read.
struct Timing {
    cron: Cron,
    zone: TimeZone,
}

impl Timing {
    /// The zone may be gone from the machine's data since it was set; then nobody can tell.
    fn of(schedule: &Schedule) -> Result<Self, Refusal> {
        let cron = Cron::parse(&schedule.cron).map_err(|bad| Refusal::field("cron", bad.to_string()))?;
        let zone = clock::zone(&schedule.time_zone).ok_or_else(|| {
            Refusal::not_now(format!(
                "the time zone {} is not in this machine's time zone data any more: install it (tzdata), or give the schedule another \
                 zone (settlectl schedule edit {} --time-zone ZONE)",
                schedule.time_zone, schedule.name
            ))
        })?;
        Ok(Self { cron, zone })
    }

    fn next(&self, schedule: &Schedule, after: Timestamp) -> Option<Timestamp> {
        schedule.due_after(&self.cron, &self.zone, after)
    }
}

/// Finds a schedule by name or id.
pub async fn find_schedule(db: &mut Db<'_>, named: &str) -> Result<Schedule, Refusal> {
    let by_id = match named.parse::<ScheduleId>() {
        Ok(id) => db.schedule(id).await?,
        Err(_) => None,
    };
    let found = match by_id {
        Some(schedule) => Some(schedule),
        None => db.schedule_by_name(named).await?,
    };
    found.ok_or_else(|| Refusal::NotFound { what: "schedule", name: named.to_owned() })
}

/// Runs that a schedule has made and that are open still.
async fn open_runs(unit: &mut Unit<'_>, schedule: &Schedule) -> Result<Vec<Run>, StoreError> {
    let mut open = Vec::new();
    for id in &schedule.open_runs {
        open.extend(unit.run(*id).await?.filter(|run| run.verdict().is_none()));
    }
    Ok(open)
}

impl Engine {
    /// The next due times of a schedule, at most `count`.
    pub async fn next_times(&self, named: &str, count: usize) -> Result<Vec<Timestamp>, Refusal> {
        let schedule = find_schedule(&mut self.store().read().await?.db(), named).await?;
        let timing = Timing::of(&schedule)?;
        let mut times = Vec::new();
        let mut next = schedule.next_due.or_else(|| timing.next(&schedule, self.clock().now()));
        while let Some(due) = next.filter(|due| schedule.counts(*due) && times.len() < count.min(TIMES_MAX)) {
            times.push(due);
            next = timing.next(&schedule, due);
        }
        Ok(times)
    }
}
