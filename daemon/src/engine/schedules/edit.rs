//! Changes a schedule. Also the form of what makes a schedule, since a new one is an empty one that is changed.

use std::time::Duration;

use async_trait::async_trait;

use super::super::server_policy::zone_named;
use super::super::{Answer, Asked, Engine, Refusal, valid};
use super::{Timing, enrolling, find_schedule, left, target};
use crate::domain::cron::Cron;
use crate::domain::schedule::{Chore, Missed, Overlap, Schedule, Target};
use crate::domain::time::Timestamp;
use crate::store::rows::ScheduleRow;
use crate::store::{Command, Unit, Wants};

/// Longest jitter.
const JITTER_MAX: Duration = Duration::from_secs(86_400);
/// Longest time after which something missed is made up for.
const WITHIN_MAX: Duration = Duration::from_secs(366 * 86_400);
/// How old a missed occurrence may be when all are made up for and nobody says.
const WITHIN_DEFAULT: Duration = Duration::from_secs(86_400);

/// Changes a schedule. What is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct EditSchedule {
    /// The cron expression.
    pub cron: Option<String>,
    /// IANA name; empty means UTC.
    pub time_zone: Option<String>,
    /// What is done.
    pub target: Option<Target>,
    /// While an earlier one is at work.
    pub overlap: Option<Overlap>,
    /// When no daemon was there.
    pub missed: Option<Missed>,
    /// How old a missed occurrence may be to be made up for; zero: of any age.
    pub missed_within: Option<Duration>,
    /// Each occurrence is looked at up to so long after its due time.
    pub jitter: Option<Duration>,
    /// Nothing is due before; `Some(None)`: it has begun.
    pub starts_at: Option<Option<Timestamp>>,
    /// Nothing is due from then on; `Some(None)`: it does not end.
    pub ends_at: Option<Option<Timestamp>>,
}

impl EditSchedule {
    /// Checks what can be checked without looking at anything stored.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let mut problems = valid::Problems::default();
        if let Some(cron) = &self.cron {
            problems.check("cron", Cron::parse(cron).map(drop).map_err(|bad| bad.to_string()));
        }
        if let Some(name) = &self.time_zone {
            problems.check("time_zone", zone_named(name).map(drop));
        }
        let short = |span: Duration, most: Duration| {
            if span <= most { Ok(()) } else { Err(format!("must be at most {} seconds", most.as_secs())) }
        };
        problems.check("jitter_s", self.jitter.map_or(Ok(()), |span| short(span, JITTER_MAX)));
        problems.check("missed_within_s", self.missed_within.map_or(Ok(()), |span| short(span, WITHIN_MAX)));
        match &self.target {
            Some(Target::Work(work)) => target::check_work(work, &mut problems),
            Some(Target::Enrolling(enrolling)) => enrolling::check(enrolling, &mut problems),
            Some(Target::Chore(_)) | None => {}
        }
        problems.into_result()
    }

    /// Makes the changes. Their form has been checked.
    pub(super) fn apply(&self, schedule: &mut Schedule) -> Result<(), Refusal> {
        if let Some(cron) = &self.cron {
            let cron = Cron::parse(cron).map_err(|bad| Refusal::field("cron", bad.to_string()))?;
            cron.as_str().clone_into(&mut schedule.cron);
        }
        if let Some(name) = &self.time_zone {
            schedule.time_zone = zone_named(name).map_err(|message| Refusal::field("time_zone", message))?;
        }
        if let Some(target) = &self.target {
            schedule.target.clone_from(target);
        }
        schedule.overlap = self.overlap.unwrap_or(schedule.overlap);
        schedule.missed = self.missed.unwrap_or(schedule.missed);
        if let Some(within) = self.missed_within {
            schedule.missed_within = Some(within).filter(|within| !within.is_zero());
        } else if self.missed == Some(Missed::All) && schedule.missed_within.is_none() {
            schedule.missed_within = Some(WITHIN_DEFAULT);
        }
        schedule.jitter = self.jitter.unwrap_or(schedule.jitter);
        schedule.starts_at = self.starts_at.unwrap_or(schedule.starts_at);
        schedule.ends_at = self.ends_at.unwrap_or(schedule.ends_at);
        match (schedule.starts_at, schedule.ends_at) {
            (Some(start), Some(end)) if end <= start => {
                Err(Refusal::field("ends_at", "is not after starts_at: nothing would ever be due"))
            }
            _ => Ok(()),
        }
    }

    /// A change of anything but the time of a built-in schedule.
    fn beyond_time(&self) -> Option<&'static str> {
        let given = [
            ("target", self.target.is_some()),
            ("overlap", self.overlap.is_some()),
            ("missed", self.missed.is_some()),
            ("missed_within_s", self.missed_within.is_some()),
            ("starts_at", self.starts_at.is_some()),
            ("ends_at", self.ends_at.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(field, _)| field)
    }
}

/// Refuses a change without which runs would not settle.
pub(super) fn refuse_on_reconcile(schedule: &Schedule, what: &str) -> Result<(), Refusal> {
    if schedule.chore() != Some(Chore::Reconcile) {
        return Ok(());
    }
    Err(Refusal::not_now(format!(
        "{} cannot be {what}: that every run settles in time rests on it. It can be fired by hand at any time",
        schedule.name
    )))
}

struct Edit {
    engine: Engine,
    asked: Asked,
    schedule: String,
    changes: EditSchedule,
}

impl Engine {
    /// Changes a schedule. What it does from then on it does for whoever changed it.
    pub async fn edit_schedule(
        &self,
        asked: Asked,
        schedule: String,
        edit: EditSchedule,
    ) -> Result<Answer, Refusal> {
        asked.check()?;
        edit.check()?;
        self.writer().commit(Edit { engine: self.clone(), asked, schedule, changes: edit }).await
    }
}

#[async_trait]
impl Command for Edit {
    type Answer = Answer;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        let before = find_schedule(unit.db().await?, &self.schedule).await?;
        refuse_on_reconcile(&before, "re-timed")?;
        if let (Some(_), Some(field)) = (before.chore(), self.changes.beyond_time()) {
            let message =
                format!("{} is built in: only its cron, time_zone and jitter_s can be changed", before.name);
            return Err(Refusal::field(field, message));
        }
        let mut schedule = before.clone();
        self.changes.apply(&mut schedule)?;
        if let Some(target) = &self.changes.target {
            target::check_target(&self.engine, unit, target).await?;
        }
        schedule.next_due = if schedule.paused { None } else { first_due(&schedule, unit.now())? };
        left::behind(unit, &before, "the schedule was changed before it was looked at").await?;
        if schedule.chore().is_none() {
            schedule.principal.clone_from(&self.asked.principal);
        }
        unit.update_schedule(&mut schedule).await?;
        let answer = Answer { schedule: Some(Box::new(ScheduleRow::from(&schedule))), ..Answer::default() };
        let detail = told(&before, &schedule);
        self.asked.keep_with(unit, &answer, schedule.name.clone(), detail).await?;
        Ok(answer)
    }
}

/// The first time at which a schedule is due from now on; one that never is was meant otherwise.
pub(super) fn first_due(schedule: &Schedule, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
    let first = Timing::of(schedule)?.next(schedule, now);
    if first.is_some() {
        return Ok(first);
    }
    let field = if schedule.ends_at.is_some() { "ends_at" } else { "cron" };
    Err(Refusal::field(
        field,
        format!("nothing would ever be due: `{}` names no time before that", schedule.cron),
    ))
}

/// For the audit: what was different before.
fn told(before: &Schedule, after: &Schedule) -> String {
    let shown =
        |s: &Schedule| [s.cron.clone(), s.time_zone.clone(), s.overlap.to_string(), s.missed.to_string()];
    let names = ["cron", "time zone", "overlap", "missed"];
    let pairs = names.into_iter().zip(shown(before).into_iter().zip(shown(after)));
    let told = pairs.filter(|(_, (a, b))| a != b).map(|(name, (a, b))| format!("{name}: {a} -> {b}"));
    let mut changes: Vec<_> = told.collect();
    if before.target != after.target {
        changes.push("another target".to_owned());
    }
    changes.join("; ")
}
