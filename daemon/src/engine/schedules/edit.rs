//! Changes a schedule. Also the form of what makes a schedule, since a new one is an empty one that is changed.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::super::server_policy::zone_named;
use super::super::{Answer, Asked, Engine, Refusal, accept, targets, valid};
use super::{Timing, find_schedule, left};
use crate::catalog::{Definition, Given};
use crate::domain::cron::Cron;
use crate::domain::operation::Operation;
use crate::domain::schedule::{Chore, Missed, On, Overlap, Schedule, TARGETS_MAX, Target, Work};
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
        if let Some(Target::Work(work)) = &self.target {
            check_work(work, &mut problems);
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

/// The form of a target.
fn check_work(work: &Work, problems: &mut valid::Problems) {
    let field = |name: &str| format!("target.operation.{name}");
    if !work.name.is_empty() {
        problems.check(&field("name"), valid::resource_name(&work.name));
    }
    match &work.operation {
        Operation::Register | Operation::Adopt => {
            problems.add(&field("operation"), format!("`{}` cannot be done on schedule", work.operation));
        }
        Operation::Own(name) if name.is_empty() => problems.add(&field("operation"), "is missing"),
        Operation::Probe if !work.parameters.is_empty() => {
            problems.add(&field("parameters"), "a probe takes none");
        }
        _ => {}
    }
    let by_resource = matches!(work.on, On::Resources(_));
    if by_resource && work.operation == Operation::Install {
        problems
            .add(&field("resources"), "an install makes a resource: name servers or labels, and a package");
    }
    if by_resource != work.package.is_empty() {
        let message = if by_resource { "comes with the resources: leave it out" } else { "is missing" };
        problems.add(&field("package"), message);
    }
    let many = |n: usize| match n {
        0 => Err("is empty".to_owned()),
        n if n > TARGETS_MAX => Err(format!("may be at most {TARGETS_MAX}")),
        _ => Ok(()),
    };
    match &work.on {
        On::Servers(names) => problems.check(&field("servers"), many(names.len())),
        On::Resources(paths) => problems.check(&field("resources"), many(paths.len())),
        On::Labels(labels) => {
            problems.check(&field("labels"), many(labels.len()).and_then(|()| valid::labels(labels)));
        }
    }
    if let Err(Refusal::Invalid(all)) = accept::check_values(&work.parameters, &BTreeMap::new()) {
        all.into_iter().for_each(|p| problems.add(&field(&p.field), p.message));
    }
}

/// Refuses a target that names what is not there now.
pub(super) async fn check_target(
    engine: &Engine,
    unit: &mut Unit<'_>,
    target: &Target,
) -> Result<(), Refusal> {
    let Target::Work(work) = target else { return Ok(()) };
    let of_target = |refusal| match refusal {
        Refusal::NotFound { what, name } => {
            Refusal::field(format!("target.operation.{what}s"), format!("there is no {what} `{name}`"))
        }
        Refusal::Invalid(problems) => Refusal::Invalid(
            problems
                .into_iter()
                .map(|mut p| {
                    p.field = format!("target.operation.{}", p.field);
                    p
                })
                .collect(),
        ),
        other => other,
    };
    match &work.on {
        On::Servers(names) => {
            for name in names {
                targets::find_server(unit, name).await.map_err(of_target)?;
            }
        }
        On::Resources(paths) => {
            for path in paths {
                let resource = targets::find_resource(unit, path).await.map_err(of_target)?;
                let definition = engine.definition_for(unit, &resource).await?;
                takes(&definition, work).map_err(of_target)?;
            }
            return Ok(());
        }
        On::Labels(_) => {}
    }
    let definition = engine.package(&work.package).map_err(of_target)?;
    takes(&definition, work).map_err(of_target)
}

/// Refuses what the package cannot do, or cannot do with these values, as far as that is known without a resource.
fn takes(definition: &Definition, work: &Work) -> Result<(), Refusal> {
    if work.operation == Operation::Probe {
        let says = definition.probe.is_some();
        let message = format!("the package `{}` does not say how to probe it", definition.name);
        return if says { Ok(()) } else { Err(Refusal::field("operation", message)) };
    }
    accept::offers(definition, &work.operation)?;
    let checked = match &work.operation {
        Operation::Install => definition.check(&work.parameters, &BTreeMap::new(), Given::Install),
        // What the resource has is not known here.
        Operation::Update => return Ok(()),
        operation => definition.check_given(operation, &work.parameters),
    };
    checked.map(drop).map_err(Refusal::Invalid)
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
    edit: EditSchedule,
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
        self.writer().commit(Edit { engine: self.clone(), asked, schedule, edit }).await
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
        if let (Some(_), Some(field)) = (before.chore(), self.edit.beyond_time()) {
            let message =
                format!("{} is built in: only its cron, time_zone and jitter_s can be changed", before.name);
            return Err(Refusal::field(field, message));
        }
        let mut schedule = before.clone();
        self.edit.apply(&mut schedule)?;
        if let Some(target) = &self.edit.target {
            check_target(&self.engine, unit, target).await?;
        }
        schedule.next_due = if schedule.paused { None } else { first_due(&schedule, unit.now())? };
        left::behind(unit, &before, "the schedule was changed before it was looked at").await?;
        if schedule.chore().is_none() {
            schedule.principal.clone_from(&self.asked.principal);
        }
        unit.update_schedule(&mut schedule).await?;
        let answer = Answer { schedule: Some(ScheduleRow::from(&schedule)), ..Answer::default() };
        let audit_id = self.engine.clock().ulid().to_string();
        let detail = told(&before, &schedule);
        self.asked.keep_with(unit, &answer, audit_id, schedule.name.clone(), detail).await?;
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
