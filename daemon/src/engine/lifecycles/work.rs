//! Workers outside: they take tasks, say that they live, and tell how it went. Only who has a task may speak of it.

use std::time::Duration;

use async_trait::async_trait;

use super::super::{Engine, Refusal};
use super::payload;
use super::step::{Happening, Log, by_itself, closed};
use crate::domain::enrollment::{Enrollment, Event, Outcome, TaskId, Work};
use crate::domain::lifecycle::{Action, LEASE_DEFAULT};
use crate::domain::time::Timestamp;
use crate::store::enrollments::Seen;
use crate::store::{Command, StoreError, Unit};

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

/// What became of a word of a worker.
#[derive(Debug, Clone)]
pub enum Given {
    /// It has the task until then.
    Until(Timestamp),
    /// The enrollment as it stands now.
    Enrollment(Box<Enrollment>),
}

struct Take {
    engine: Engine,
    seen: Seen,
    worker: String,
}

struct Say {
    engine: Engine,
    task: TaskId,
    principal: String,
    /// Nothing: only that it lives.
    done: Option<Done>,
}

impl Engine {
    /// Takes a task for a worker; `None`: somebody else was faster.
    pub async fn take_task(&self, seen: Seen, worker: String) -> Result<Option<Task>, Refusal> {
        self.writer().commit(Take { engine: self.clone(), seen, worker }).await
    }

    /// A worker lives.
    pub async fn heartbeat(&self, task: TaskId, principal: String) -> Result<Given, Refusal> {
        self.writer().commit(Say { engine: self.clone(), task, principal, done: None }).await
    }

    /// A worker still has this task.
    pub async fn has_task(&self, id: TaskId) -> Result<bool, StoreError> {
        let found = self.store().read().await?.db().enrollment(id.enrollment).await?;
        Ok(found.is_some_and(|e| e.work_no == id.work_no && matches!(e.work(), Some(Work::Task { .. }))))
    }

    /// A worker has ended a task.
    pub async fn end_task(&self, task: TaskId, principal: String, done: Done) -> Result<Given, Refusal> {
        self.writer().commit(Say { engine: self.clone(), task, principal, done: Some(done) }).await
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
        let work = Work::Task { queue, worker: self.worker.clone(), lease_until };
        let happening = Happening { event: Event::Began(work), rules: at.rules()?, payload: None, log: None };
        let enrollment = self.engine.happens(unit, &before, happening).await?;
        let id = TaskId { enrollment: enrollment.id, work_no: enrollment.work_no };
        Ok(Some(Task { id, enrollment, lease_until }))
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
impl Command for Say {
    type Answer = Given;
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Given, Refusal> {
        let gone = || {
            Refusal::not_now(format!(
                "task {} is not yours any more: its lease has passed, or the enrollment went another way",
                self.task
            ))
        };
        let now = unit.now();
        let db = unit.db().await?;
        let before = db.enrollment(self.task.enrollment).await?;
        let mut before = before.filter(|found| found.work_no == self.task.work_no).ok_or_else(gone)?;
        if !matches!(before.work(), Some(Work::Task { lease_until, .. }) if *lease_until > now) {
            return Err(gone());
        }
        let lifecycle = db.lifecycle(before.lifecycle).await?.ok_or_else(gone)?;
        let at = self.engine.at_stage(unit, &lifecycle, &mut before).await?;
        let (rules, attempt, who) = (at.rules()?, before.execution(), self.principal.as_str());
        let happening = match &self.done {
            None => {
                let lease_until = now + lease(&at.stage()?.action);
                let happening =
                    Happening { event: Event::Alive { lease_until }, rules, payload: None, log: None };
                self.engine.happens(unit, &before, happening).await?;
                return Ok(Given::Until(lease_until));
            }
            Some(Done::Completed(with)) => {
                let bytes_max = at.version.flow.payload_bytes_max;
                let with = payload::object(&payload::checked(with, bytes_max)?);
                let payload = payload::merged(&before.payload, with, bytes_max)
                    .map_err(|why| Refusal::field("payload", why))?;
                let event = Event::Succeeded(self.engine.next(unit, &lifecycle, &before).await?);
                let log = Some(Log { attempt, outcome: Outcome::Succeeded, error: "", who });
                Happening { event, rules, payload: Some(payload), log }
            }
            Some(Done::Failed(error)) => {
                let log = Some(Log { attempt, outcome: Outcome::Failed, error, who });
                Happening { event: Event::Failed { error: error.clone() }, rules, payload: None, log }
            }
            Some(Done::Deferred { until, why }) => {
                // A wait has an end, whoever asks for it.
                let end = before.waits_since.unwrap_or(now) + at.stage()?.max_wait;
                let event = Event::Deferred { until: (*until).min(end.max(now)), why: why.clone() };
                Happening { event, rules, payload: None, log: None }
            }
        };
        let after = self.engine.happens(unit, &before, happening).await?;
        Ok(Given::Enrollment(Box::new(after)))
    }
}
