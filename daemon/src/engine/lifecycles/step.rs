//! One step of one enrollment: what is due begins, what is over is taken note of. The only place that moves enrollments on by itself.

use async_trait::async_trait;

use super::super::{Engine, Refusal};
use super::act::Begun;
use super::gate::{EXECUTES_AT, Names, Says, says};
use super::over::{Over, observed_by, over, succeeded};
use super::{AtStage, payload};
use crate::clock;
use crate::domain::enrollment::{Enrollment, Event, Outcome, Rules, State, Status, Work};
use crate::domain::id::EnrollmentId;
use crate::domain::lifecycle::{CALLS, Lifecycle, Rest, Stage, Then};
use crate::domain::params::Outputs;
use crate::domain::time::Timestamp;
use crate::domain::window::{Opening, opening_between};
use crate::store::enrollments::{Execution, Seen};
use crate::store::{Command, StoreError, Unit};

/// When something is tried again that stands in a stage's way: an open run on the resource, a full queue.
const BUSY_RETRY: std::time::Duration = std::time::Duration::from_secs(30);
/// When a window is looked for again that nobody can compute.
const WINDOW_RETRY: std::time::Duration = std::time::Duration::from_secs(3_600);

struct Step {
    engine: Engine,
    id: EnrollmentId,
    version: i64,
}

impl Engine {
    /// Moves an enrollment on, if it still is as it was seen.
    pub async fn step_enrollment(&self, seen: &Seen) -> Result<(), StoreError> {
        let corrupt = || StoreError::Corrupt(format!("enrollment id `{}`", seen.id));
        let id = seen.id.parse().map_err(|_| corrupt())?;
        self.writer().commit(Step { engine: self.clone(), id, version: seen.version }).await
    }

    /// Stores what the event makes of an enrollment, and the line of the log that belongs to it.
    pub(super) async fn happens(
        &self,
        unit: &mut Unit<'_>,
        before: &Enrollment,
        now: Happening<'_>,
    ) -> Result<Enrollment, Refusal> {
        let Happening { event, rules, payload, log } = now;
        let after = before.clone().apply(event, unit.now(), rules);
        let mut after = after.map_err(|illegal| Refusal::not_now(illegal.to_string()))?;
        if let Some(payload) = payload {
            after.payload = payload;
        }
        unit.update_enrollment(&mut after).await?;
        if after.status() == Status::Completed {
            self.forget_scripts(unit, &after).await?;
        }
        if let Some(log) = log {
            let run = before.work().and_then(Work::run);
            let Log { attempt, outcome, error, who } = log;
            let execution = Execution { before, attempt, outcome, error, run, who };
            unit.log_execution(&after, execution).await?;
        }
        Ok(after)
    }
}

/// What happens to an enrollment, and what is told of it.
pub(super) struct Happening<'a> {
    pub(super) event: Event,
    pub(super) rules: Rules,
    /// The payload from then on, if it is another one.
    pub(super) payload: Option<String>,
    pub(super) log: Option<Log<'a>>,
}

/// A line of the log.
pub(super) struct Log<'a> {
    pub(super) attempt: u32,
    pub(super) outcome: Outcome,
    pub(super) error: &'a str,
    pub(super) who: &'a str,
}

#[async_trait]
impl Command for Step {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), StoreError> {
        let db = unit.db().await?;
        let Some(enrollment) = db.enrollment(self.id).await? else { return Ok(()) };
        if enrollment.version != self.version {
            return Ok(());
        }
        let lost = || StoreError::Corrupt(format!("the lifecycle of enrollment {} is gone", self.id));
        let lifecycle = db.lifecycle(enrollment.lifecycle).await?.ok_or_else(lost)?;
        match self.step(unit, &lifecycle, enrollment).await {
            Ok(()) => Ok(()),
            Err(Refusal::Store(error)) => Err(error),
            // A fault that would be the same the next time. The enrollment stays, and the log of the daemon tells.
            Err(refusal) => Err(StoreError::Corrupt(refusal.to_string())),
        }
    }
}

impl Step {
    async fn step(
        &self,
        unit: &mut Unit<'_>,
        lifecycle: &Lifecycle,
        mut enrollment: Enrollment,
    ) -> Result<(), Refusal> {
        let now = unit.now();
        let out_of_time = enrollment.work().and_then(Work::until).is_some_and(|until| until <= now);
        match enrollment.state.clone() {
            State::Waiting { due } if due <= now && lifecycle.rests(due, now).is_none() => {
                let at = self.engine.at_stage(unit, lifecycle, &mut enrollment).await?;
                self.due(unit, lifecycle, enrollment, &at).await
            }
            State::Working { work: Work::Look { run }, .. } => {
                let Some(run) = over(unit, run).await? else { return Ok(()) };
                let at = self.engine.at_stage(unit, lifecycle, &mut enrollment).await?;
                if lifecycle.rests(now, now).is_some_and(by_itself) {
                    return self.set_aside(unit, &enrollment, &at).await;
                }
                self.looked(unit, lifecycle, enrollment, &at, run).await
            }
            State::Working { work: Work::Run { run }, .. } => {
                let Some(run) = over(unit, run).await? else { return Ok(()) };
                let at = self.engine.at_stage(unit, lifecycle, &mut enrollment).await?;
                self.ran(unit, lifecycle, enrollment, &at, run).await
            }
            State::Working { work: Work::Task { worker, queue, .. }, .. } if out_of_time => {
                let at = self.engine.at_stage(unit, lifecycle, &mut enrollment).await?;
                let error = match queue.as_str() {
                    CALLS => {
                        "the daemon that was sending its webhook has not said what was answered".to_owned()
                    }
                    _ => format!("the worker {worker} has not been heard of within its lease"),
                };
                // It is offered again at once: nobody has to wait for one who is gone.
                let rules = Rules { backoff: std::time::Duration::ZERO, ..at.rules()? };
                self.failed(unit, &enrollment, rules, &error).await
            }
            State::Working { .. } if out_of_time => {
                let at = self.engine.at_stage(unit, lifecycle, &mut enrollment).await?;
                if lifecycle.rests(now, now).is_some_and(by_itself) {
                    return self.set_aside(unit, &enrollment, &at).await;
                }
                let why = match enrollment.work() {
                    Some(Work::Offer { queue, .. }) if queue == CALLS => {
                        "its webhook could not be sent: all that time its windows were closed, or no daemon began anything".to_owned()
                    }
                    Some(Work::Offer { queue, .. }) => format!("no worker of the queue `{queue}` took it"),
                    _ => "nobody decided".to_owned(),
                };
                self.waited_out(unit, lifecycle, &enrollment, &at, why).await
            }
            _ => Ok(()),
        }
    }

    /// Its lifecycle does not work any more: it is pending until that does.
    async fn set_aside(
        &self,
        unit: &mut Unit<'_>,
        enrollment: &Enrollment,
        at: &AtStage,
    ) -> Result<(), Refusal> {
        let event = Event::SetAside { why: "its lifecycle to be at work again".to_owned() };
        self.happens(unit, enrollment, at, event).await
    }

    async fn due(
        &self,
        unit: &mut Unit<'_>,
        lifecycle: &Lifecycle,
        enrollment: Enrollment,
        at: &AtStage,
    ) -> Result<(), Refusal> {
        let names = self.engine.names(unit, &enrollment, None).await?;
        let stage = at.stage()?;
        if let Some(until) = closed(stage, &at.version.flow.time_zone, &names, unit.now()) {
            let event = Event::Closed { until, why: "its windows to open".to_owned() };
            return self.happens(unit, &enrollment, at, event).await;
        }
        let Some(gate) = &stage.gate else {
            return self.begin(unit, lifecycle, enrollment, at, &names).await;
        };
        if let Some(target) = &gate.probe {
            return match self.engine.look(unit, &enrollment, target, &names).await {
                Ok(run) => self.happens(unit, &enrollment, at, Event::Looked { run }).await,
                Err(refusal) => {
                    let why = unable(refusal)?;
                    let until = unit.now() + gate.again;
                    self.not_yet(unit, lifecycle, enrollment, at, &names, until, format!("its probe: {why}"))
                        .await
                }
            };
        }
        match says(gate, &names.values, None, unit.now()) {
            Says::Open => self.begin(unit, lifecycle, enrollment, at, &names).await,
            Says::NotYet(until, why) => {
                self.not_yet(unit, lifecycle, enrollment, at, &names, until, why).await
            }
        }
    }

    /// The probe of a gate is over.
    async fn looked(
        &self,
        unit: &mut Unit<'_>,
        lifecycle: &Lifecycle,
        mut enrollment: Enrollment,
        at: &AtStage,
        run: Over,
    ) -> Result<(), Refusal> {
        let stage = at.stage()?;
        let names = self.engine.names(unit, &enrollment, None).await?;
        if let Some(until) = closed(stage, &at.version.flow.time_zone, &names, unit.now()) {
            // They have closed while it looked: it looks again when they open.
            let event = Event::Closed { until, why: "its windows to open".to_owned() };
            return self.happens(unit, &enrollment, at, event).await;
        }
        let Some(gate) = &stage.gate else {
            return self.begin(unit, lifecycle, enrollment, at, &names).await;
        };
        let (observed, mut told) = match &run {
            Over::Run(run) if succeeded(run) => (observed_by(unit, run).await?, run.outputs.clone()),
            _ => (None, Outputs::new()),
        };
        let executes_at = told.remove(EXECUTES_AT);
        let names = self.engine.names(unit, &enrollment, observed.as_ref()).await?;
        let Some(observed) = observed else {
            let why = format!("its probe: {}", run.error());
            let until = unit.now() + gate.again;
            return self.not_yet(unit, lifecycle, enrollment, at, &names, until, why).await;
        };
        match payload::merged(&enrollment.payload, payload::told(&told), at.version.flow.payload_bytes_max) {
            Ok(payload) => enrollment.payload = payload,
            Err(why) => {
                let until = unit.now() + gate.again;
                return self.not_yet(unit, lifecycle, enrollment, at, &names, until, why).await;
            }
        }
        let names = self.engine.names(unit, &enrollment, Some(&observed)).await?;
        match says(gate, &names.values, executes_at.as_deref(), unit.now()) {
            Says::Open => self.begin(unit, lifecycle, enrollment, at, &names).await,
            Says::NotYet(until, why) => {
                self.not_yet(unit, lifecycle, enrollment, at, &names, until, why).await
            }
        }
    }

    /// The gate does not open yet. When that has been so for too long, the stage ends as its definition says.
    #[expect(clippy::too_many_arguments, reason = "private; what a gate was asked with, and what it said")]
    async fn not_yet(
        &self,
        unit: &mut Unit<'_>,
        lifecycle: &Lifecycle,
        enrollment: Enrollment,
        at: &AtStage,
        names: &Names,
        until: Timestamp,
        why: String,
    ) -> Result<(), Refusal> {
        let stage = at.stage()?;
        if !enrollment.waited_out(stage.max_wait, unit.now()) {
            return self.deferred(unit, &enrollment, at, until, why).await;
        }
        if stage.then == Then::GoOn {
            return self.begin(unit, lifecycle, enrollment, at, names).await;
        }
        self.waited_out(unit, lifecycle, &enrollment, at, format!("it waited for {why}")).await
    }

    async fn deferred(
        &self,
        unit: &mut Unit<'_>,
        enrollment: &Enrollment,
        at: &AtStage,
        until: Timestamp,
        why: String,
    ) -> Result<(), Refusal> {
        let since = enrollment.waits_since.unwrap_or(unit.now());
        // Never later than its time is over, so that the end comes when it was promised.
        let end = since + at.stage()?.max_wait;
        let until = if end > unit.now() { until.min(end) } else { until };
        self.happens(unit, enrollment, at, Event::Deferred { until, why }).await
    }

    /// It has waited for too long.
    async fn waited_out(
        &self,
        unit: &mut Unit<'_>,
        lifecycle: &Lifecycle,
        enrollment: &Enrollment,
        at: &AtStage,
        why: String,
    ) -> Result<(), Refusal> {
        let (outcome, event) = match at.stage()?.then {
            Then::Skip => {
                (Outcome::Skipped, Event::Left(self.engine.next(unit, lifecycle, enrollment).await?))
            }
            Then::Fail | Then::GoOn => (Outcome::TimedOut, Event::TimedOut { why: why.clone() }),
        };
        let log = Log { attempt: 0, outcome, error: &why, who: "" };
        let happening = Happening { event, rules: at.rules()?, payload: None, log: Some(log) };
        self.engine.happens(unit, enrollment, happening).await.map(drop)
    }

    /// The action begins.
    async fn begin(
        &self,
        unit: &mut Unit<'_>,
        lifecycle: &Lifecycle,
        enrollment: Enrollment,
        at: &AtStage,
        names: &Names,
    ) -> Result<(), Refusal> {
        let stage = at.stage()?;
        match self.engine.act(unit, &enrollment, stage, names).await {
            Ok(Begun::Event(event)) => self.happens(unit, &enrollment, at, event).await,
            Ok(Begun::Nothing) => {
                let attempt = enrollment.execution();
                self.succeeded(unit, lifecycle, &enrollment, at, attempt, None).await
            }
            Err(Refusal::Closed { message, opens }) => {
                self.busy(unit, lifecycle, &enrollment, at, (opens, message)).await
            }
            Err(Refusal::Full(message)) => {
                let until = unit.now() + BUSY_RETRY;
                self.busy(unit, lifecycle, &enrollment, at, (until, message)).await
            }
            Err(Refusal::NotNow { message, runs, .. }) if !runs.is_empty() => {
                let until = unit.now() + BUSY_RETRY;
                self.busy(unit, lifecycle, &enrollment, at, (until, message)).await
            }
            Err(refusal) => {
                let why = unable(refusal)?;
                self.failed(unit, &enrollment, at.rules()?, &why).await
            }
        }
    }

    /// Something stands in its way that goes by itself: it is waited for, and uses no attempt.
    async fn busy(
        &self,
        unit: &mut Unit<'_>,
        lifecycle: &Lifecycle,
        enrollment: &Enrollment,
        at: &AtStage,
        (until, why): (Timestamp, String),
    ) -> Result<(), Refusal> {
        let stage = at.stage()?;
        if stage.then != Then::GoOn && enrollment.waited_out(stage.max_wait, unit.now()) {
            return self.waited_out(unit, lifecycle, enrollment, at, why).await;
        }
        self.deferred(unit, enrollment, at, until, why).await
    }

    /// The run of its action is over.
    async fn ran(
        &self,
        unit: &mut Unit<'_>,
        lifecycle: &Lifecycle,
        enrollment: Enrollment,
        at: &AtStage,
        run: Over,
    ) -> Result<(), Refusal> {
        let outputs = match &run {
            Over::Run(run) if succeeded(run) => payload::told(&run.outputs),
            other => {
                let rules = at.rules()?;
                let attempts = if other.may_be_repeated() { rules.attempts } else { 1 };
                return self.failed(unit, &enrollment, Rules { attempts, ..rules }, &other.error()).await;
            }
        };
        match payload::merged(&enrollment.payload, outputs, at.version.flow.payload_bytes_max) {
            Ok(payload) => {
                let attempt = enrollment.execution();
                self.succeeded(unit, lifecycle, &enrollment, at, attempt, Some(payload)).await
            }
            Err(why) => self.failed(unit, &enrollment, at.rules()?, &why).await,
        }
    }

    async fn succeeded(
        &self,
        unit: &mut Unit<'_>,
        lifecycle: &Lifecycle,
        enrollment: &Enrollment,
        at: &AtStage,
        attempt: u32,
        payload: Option<String>,
    ) -> Result<(), Refusal> {
        let event = Event::Succeeded(self.engine.next(unit, lifecycle, enrollment).await?);
        let log = Some(Log { attempt, outcome: Outcome::Succeeded, error: "", who: "" });
        let happening = Happening { event, rules: at.rules()?, payload, log };
        self.engine.happens(unit, enrollment, happening).await.map(drop)
    }

    async fn failed(
        &self,
        unit: &mut Unit<'_>,
        enrollment: &Enrollment,
        rules: Rules,
        error: &str,
    ) -> Result<(), Refusal> {
        let event = Event::Failed { error: error.to_owned() };
        let attempt = enrollment.execution();
        let log = Some(Log { attempt, outcome: Outcome::Failed, error, who: "" });
        let happening = Happening { event, rules, payload: None, log };
        self.engine.happens(unit, enrollment, happening).await.map(drop)
    }

    async fn happens(
        &self,
        unit: &mut Unit<'_>,
        enrollment: &Enrollment,
        at: &AtStage,
        event: Event,
    ) -> Result<(), Refusal> {
        let happening = Happening { event, rules: at.rules()?, payload: None, log: None };
        self.engine.happens(unit, enrollment, happening).await.map(drop)
    }
}

/// What has begun goes on, also when only a person works the lifecycle off: it was begun when one did.
pub(super) fn by_itself(rest: Rest) -> bool {
    rest != Rest::ByHand
}

/// When the windows of a stage open, if they are closed now. They are meant in the zone of the subject's server.
pub(super) fn closed(stage: &Stage, time_zone: &str, names: &Names, now: Timestamp) -> Option<Timestamp> {
    if stage.windows.is_empty() && stage.blackouts.is_empty() {
        return None;
    }
    let zone = names.server.as_ref().map_or(time_zone, |server| &server.policy.time_zone);
    let Some(zone) = clock::zone(zone) else { return Some(now + WINDOW_RETRY) };
    match opening_between(&stage.windows, &stage.blackouts, &zone, now) {
        Opening::Now => None,
        Opening::At(at) => Some(at),
        Opening::Unknown => Some(now + WINDOW_RETRY),
    }
}

/// Why something cannot begin, in words. What only the store is at fault for is no fault of the stage.
fn unable(refusal: Refusal) -> Result<String, Refusal> {
    match refusal {
        Refusal::Store(error) => Err(Refusal::Store(error)),
        refusal => Ok(refusal.to_string()),
    }
}
