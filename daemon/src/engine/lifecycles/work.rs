//! Workers outside: they take tasks, say that they live, and tell how it went. Only who has a task may speak of it.

use std::time::Duration;

use async_trait::async_trait;

use super::super::{Answer, Asked, Engine, Refusal, audit};
use super::payload;
use super::step::{Happening, Log, by_itself, closed};
use super::{AtStage, gate::shown};
use crate::auth::{SETTLED, Verb};
use crate::domain::enrollment::{Enrollment, Event, Outcome, TaskId, Work};
use crate::domain::lifecycle::{Action, LEASE_DEFAULT, Lifecycle};
use crate::domain::time::Timestamp;
use crate::store::enrollments::Seen;
use crate::store::rows::EnrollmentRow;
use crate::store::{AuditResult, AuditRow, Command, StoreError, Unit, Wants};

/// A task as a worker gets it.
#[derive(Debug, Clone)]
pub struct Task {
    /// Who has it speaks of it by this.
    pub id: TaskId,
    /// The enrollment, as it stands from now on.
    pub enrollment: Enrollment,
    /// Until when without a word.
    pub lease_until: Timestamp,
}

/// Who takes tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taker {
    /// The queue that it takes them from.
    pub queue: String,
    /// What it calls itself.
    pub worker: String,
    /// The principal whose they are.
    pub principal: String,
    /// Where it takes them from.
    pub peer: String,
}

impl Taker {
    /// Every time that a task is taken it has a number of its own (P2).
    fn asked(&self, task: TaskId) -> Asked {
        Asked {
            principal: self.principal.clone(),
            method: "Lifecycles.Work",
            request_id: task.to_string(),
            digest: String::new(),
            peer: self.peer.clone(),
            verb: Verb::Operate,
        }
    }
}

/// What a worker says when it is done, for now or for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// It did what it was to do; values to put into the payload, a JSON object.
    Completed(String),
    /// It could not.
    Failed(String),
    /// Not yet: nothing was done.
    Deferred {
        /// When it is to be offered again.
        until: Timestamp,
        /// In words.
        why: String,
    },
}

impl Done {
    /// For the audit.
    fn told(&self) -> String {
        match self {
            Self::Completed(_) => "completed".to_owned(),
            Self::Failed(_) => "failed".to_owned(),
            Self::Deferred { until, .. } => format!("deferred until {}", shown(*until)),
        }
    }
}

struct Take {
    engine: Engine,
    seen: Seen,
    taker: Taker,
}

struct Heartbeat {
    engine: Engine,
    task: TaskId,
    principal: String,
}

struct End {
    engine: Engine,
    asked: Asked,
    task: TaskId,
    done: Done,
}

impl Engine {
    /// Takes a task; `None`: somebody else was faster.
    pub async fn take_task(&self, seen: Seen, taker: Taker) -> Result<Option<Task>, Refusal> {
        self.writer().commit(Take { engine: self.clone(), seen, taker }).await
    }

    /// A worker lives; answers until when it has the task now.
    pub async fn heartbeat(&self, task: TaskId, principal: String) -> Result<Timestamp, Refusal> {
        self.writer().commit(Heartbeat { engine: self.clone(), task, principal }).await
    }

    /// A worker still has this task.
    pub async fn has_task(&self, id: TaskId) -> Result<bool, StoreError> {
        let found = self.store().read().await?.db().enrollment(id.enrollment).await?;
        Ok(found.is_some_and(|e| e.work_no == id.work_no && matches!(e.work(), Some(Work::Task { .. }))))
    }

    /// A worker has ended a task.
    pub async fn end_task(&self, asked: Asked, task: TaskId, done: Done) -> Result<Answer, Refusal> {
        asked.check()?;
        self.writer().commit(End { engine: self.clone(), asked, task, done }).await
    }

    /// A task has not reached the worker that took it: it is offered again at once, and no attempt is used.
    pub async fn give_back_task(&self, task: TaskId, taker: &Taker) -> Result<(), Refusal> {
        let why = "a worker: it was taken, and its worker went away before it got it".to_owned();
        let done = Done::Deferred { until: self.clock().now(), why };
        self.end_task(taker.asked(task), task, done).await.map(drop)
    }

    /// The enrollment of a task, which the principal must have.
    async fn task_of(
        &self,
        unit: &mut Unit<'_>,
        task: TaskId,
        principal: &str,
    ) -> Result<(Enrollment, Lifecycle, AtStage), Refusal> {
        let gone = || {
            Refusal::not_now(format!(
                "task {task} is not yours any more: its lease has passed, or the enrollment went another way"
            ))
        };
        let now = unit.now();
        let db = unit.db().await?;
        let found = db.enrollment(task.enrollment).await?;
        let mut found = found.filter(|found| found.work_no == task.work_no).ok_or_else(gone)?;
        match found.work() {
            Some(Work::Task { lease_until, taken_by, .. }) if *lease_until > now => {
                if taken_by != principal {
                    return Err(Refusal::Denied(format!(
                        "task {task} was taken by {taken_by}: nobody else may speak of it"
                    )));
                }
            }
            _ => return Err(gone()),
        }
        let lifecycle = db.lifecycle(found.lifecycle).await?.ok_or_else(gone)?;
        let at = self.at_stage(unit, &lifecycle, &mut found).await?;
        Ok((found, lifecycle, at))
    }
}

#[async_trait]
impl Command for Take {
    type Answer = Option<Task>;
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Option<Task>, Refusal> {
        let id = self.seen.id.parse();
        let id = id.map_err(|_| StoreError::Corrupt(format!("enrollment id `{}`", self.seen.id)))?;
        let db = unit.db().await?;
        let Some(mut before) = db.enrollment(id).await? else { return Ok(None) };
        let Some(Work::Offer { queue, .. }) = before.work().cloned() else { return Ok(None) };
        let Some(lifecycle) = db.lifecycle(before.lifecycle).await? else { return Ok(None) };
        if before.version != self.seen.version
            || lifecycle.rests(unit.now(), unit.now()).is_some_and(by_itself)
        {
            return Ok(None);
        }
        let at = self.engine.at_stage(unit, &lifecycle, &mut before).await?;
        let names = self.engine.names(unit, &before, None).await?;
        if closed(at.stage()?, &at.version.flow.time_zone, &names, unit.now()).is_some() {
            return Ok(None);
        }
        let lease_until = unit.now() + lease(&at.stage()?.action);
        let (worker, taken_by) = (self.taker.worker.clone(), self.taker.principal.clone());
        let work = Work::Task { queue, worker, taken_by, lease_until };
        let happening = Happening { event: Event::Began(work), rules: at.rules()?, payload: None, log: None };
        let enrollment = self.engine.happens(unit, &before, happening).await?;
        let id = TaskId { enrollment: enrollment.id, work_no: enrollment.work_no };
        self.note(unit, id, &enrollment);
        Ok(Some(Task { id, enrollment, lease_until }))
    }
}

impl Take {
    /// What settled takes for itself, to send a webhook, is noted with what came of it.
    fn note(&self, unit: &mut Unit<'_>, task: TaskId, enrollment: &Enrollment) {
        if self.taker.principal == SETTLED {
            return;
        }
        unit.audit(AuditRow {
            object: format!("{}/{}", enrollment.code, enrollment.subject),
            detail: format!("{}: taken by the worker {}", enrollment.stage, self.taker.worker),
            ..audit::row(&self.taker.asked(task), AuditResult::Accepted)
        });
    }
}

/// How long beyond its time a daemon has to say what came of a webhook.
const CALL_MARGIN: Duration = Duration::from_secs(5);

fn lease(action: &Action) -> Duration {
    match action {
        Action::Work { lease, .. } => *lease,
        Action::Webhook { timeout, .. } => *timeout + CALL_MARGIN,
        _ => LEASE_DEFAULT,
    }
}

#[async_trait]
impl Command for Heartbeat {
    type Answer = Timestamp;
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Timestamp, Refusal> {
        let (before, _, at) = self.engine.task_of(unit, self.task, &self.principal).await?;
        let lease_until = unit.now() + lease(&at.stage()?.action);
        let event = Event::Alive { lease_until };
        let happening = Happening { event, rules: at.rules()?, payload: None, log: None };
        self.engine.happens(unit, &before, happening).await?;
        Ok(lease_until)
    }
}

#[async_trait]
impl Command for End {
    type Answer = Answer;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        let who = self.asked.principal.as_str();
        let (before, lifecycle, at) = self.engine.task_of(unit, self.task, who).await?;
        let happening = self.happening(unit, &before, &lifecycle, &at).await?;
        let after = self.engine.happens(unit, &before, happening).await?;
        let answer = Answer { enrollment: Some(Box::new(EnrollmentRow::from(&after))), ..Answer::default() };
        let object = format!("{}/{}", before.code, before.subject);
        self.asked
            .keep_with(unit, &answer, object, format!("{}: {}", before.stage, self.done.told()))
            .await?;
        Ok(answer)
    }
}

impl End {
    async fn happening(
        &self,
        unit: &mut Unit<'_>,
        before: &Enrollment,
        lifecycle: &Lifecycle,
        at: &AtStage,
    ) -> Result<Happening<'_>, Refusal> {
        let (rules, attempt, who) = (at.rules()?, before.execution(), self.asked.principal.as_str());
        Ok(match &self.done {
            Done::Completed(with) => {
                let bytes_max = at.version.flow.payload_bytes_max;
                let with = payload::object(&payload::checked(with, bytes_max)?);
                let payload = payload::merged(&before.payload, with, bytes_max)
                    .map_err(|why| Refusal::field("payload", why))?;
                let event = Event::Succeeded(self.engine.next(unit, lifecycle, before).await?);
                let log = Some(Log { attempt, outcome: Outcome::Succeeded, error: "", who });
                Happening { event, rules, payload: Some(payload), log }
            }
            Done::Failed(error) => {
                let log = Some(Log { attempt, outcome: Outcome::Failed, error, who });
                Happening { event: Event::Failed { error: error.clone() }, rules, payload: None, log }
            }
            Done::Deferred { until, why } => {
                // A wait has an end, whoever asks for it.
                let end = before.waits_since.unwrap_or(unit.now()) + at.stage()?.max_wait;
                let event = Event::Deferred { until: (*until).min(end.max(unit.now())), why: why.clone() };
                Happening { event, rules, payload: None, log: None }
            }
        })
    }
}
