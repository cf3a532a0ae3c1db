//! What people do to an enrollment: move it on, try again, begin anew, decide, take it out.

use async_trait::async_trait;

use super::super::{Answer, Asked, Engine, Refusal};
use super::enroll::linked;
use super::payload;
use super::step::{Happening, Log};
use crate::domain::enrollment::{Enrollment, Event, Outcome, Rules, Status, Work};
use crate::domain::lifecycle::{Action, Lifecycle};
use crate::store::rows::EnrollmentRow;
use crate::store::{Command, Unit, Wants};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The next stage begins, whatever became of this one.
    Advance,
    /// The stage that failed is tried again, with all its attempts.
    Retry,
    /// Everything begins anew.
    Reset {
        /// What it begins with.
        payload: String,
        /// What goes on is given up.
        cancel: bool,
    },
    /// It is taken out. Its log stays.
    Remove {
        /// What goes on is given up.
        cancel: bool,
    },
    /// A person decides what the stage asks.
    Decide {
        /// Yes or no.
        approve: bool,
        /// Why; may be empty.
        note: String,
    },
}

impl Change {
    const fn word(&self) -> &'static str {
        match self {
            Self::Advance => "advanced",
            Self::Retry => "retried",
            Self::Reset { .. } => "reset",
            Self::Remove { .. } => "removed",
            Self::Decide { approve: true, .. } => "approved",
            Self::Decide { approve: false, .. } => "rejected",
        }
    }
}

struct ChangeEnrollment {
    engine: Engine,
    asked: Asked,
    enrollment: String,
    change: Change,
}

impl Engine {
    /// Changes an enrollment, named by id or LIFECYCLE/TYPE/ID.
    pub async fn change_enrollment(
        &self,
        asked: Asked,
        enrollment: String,
        change: Change,
    ) -> Result<Answer, Refusal> {
        asked.check()?;
        self.writer().commit(ChangeEnrollment { engine: self.clone(), asked, enrollment, change }).await
    }
}

#[async_trait]
impl Command for ChangeEnrollment {
    type Answer = Answer;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        let before = self.engine.find_enrollment(unit.db().await?, &self.enrollment).await?;
        let object = format!("{}/{}", before.code, before.subject);
        let after = self.change(unit, before).await?;
        let answer = Answer { enrollment: Some(Box::new(EnrollmentRow::from(&after))), ..Answer::default() };
        let detail = self.change.word().to_owned();
        self.asked.keep_with(unit, &answer, object, detail).await?;
        Ok(answer)
    }
}

impl ChangeEnrollment {
    async fn change(&self, unit: &mut Unit<'_>, mut before: Enrollment) -> Result<Enrollment, Refusal> {
        if let Change::Remove { cancel } = self.change {
            self.engine.give_up(unit, &before, cancel, &self.asked).await?;
            unit.delete_enrollment(&mut before).await?;
            // Those of a completed one have gone with its end.
            if before.status() != Status::Completed {
                self.engine.forget_scripts(unit, &before).await?;
            }
            return Ok(before);
        }
        let lifecycle = unit.db().await?.lifecycle(before.lifecycle).await?;
        let missing = || Refusal::NotFound { what: "lifecycle", name: before.code.clone() };
        let lifecycle = lifecycle.ok_or_else(missing)?;
        match &self.change {
            Change::Advance => self.advance(unit, &lifecycle, before).await,
            Change::Retry => self.retry(unit, before).await,
            Change::Reset { payload, cancel } => {
                let (id, newest) = (lifecycle.id, lifecycle.revision);
                let version = self.engine.version(unit.db().await?, id, newest).await?;
                let payload = payload::checked(payload, version.flow.payload_bytes_max)?;
                let (stage, due) = (version.flow.first().to_owned(), unit.now());
                let (kind, id) = (before.subject.kind.clone(), before.subject.id.clone());
                let subject = linked(unit, kind, id).await?;
                let reset = Event::Reset { subject, stage, revision: newest, payload, due };
                self.engine.reset(unit, before, reset, *cancel, &self.asked).await
            }
            Change::Decide { approve, note } => self.decide(unit, &lifecycle, before, *approve, note).await,
            Change::Remove { .. } => Err(Refusal::Internal("a removal is no change".to_owned())),
        }
    }

    fn log<'a>(&'a self, attempt: u32, outcome: Outcome, error: &'a str) -> Log<'a> {
        Log { attempt, outcome, error, who: &self.asked.principal }
    }

    async fn advance(
        &self,
        unit: &mut Unit<'_>,
        lifecycle: &Lifecycle,
        mut before: Enrollment,
    ) -> Result<Enrollment, Refusal> {
        match before.status() {
            Status::Processing => {
                let (stage, run) = (&before.stage, before.work().and_then(Work::run));
                return Err(Refusal::NotNow {
                    message: format!(
                        "the stage `{stage}` is being executed: wait until it is done, or cancel its run first"
                    ),
                    runs: run.into_iter().collect(),
                    resources: Vec::new(),
                });
            }
            Status::Completed => {
                return Err(Refusal::not_now("it has done all stages: there is none to move on to"));
            }
            Status::Pending | Status::Failed => {}
        }
        let at = self.engine.at_stage(unit, lifecycle, &mut before).await?;
        let event = Event::Left(self.engine.next(unit, lifecycle, &before).await?);
        let log = Some(self.log(0, Outcome::Advanced, ""));
        let happening = Happening { event, rules: at.rules()?, payload: None, log };
        self.engine.happens(unit, &before, happening).await
    }

    async fn retry(&self, unit: &mut Unit<'_>, before: Enrollment) -> Result<Enrollment, Refusal> {
        if before.status() != Status::Failed {
            let message =
                format!("only a failed enrollment can be tried again; this one is `{}`", before.status());
            return Err(Refusal::not_now(message));
        }
        let rules = Rules { attempts: 1, backoff: std::time::Duration::ZERO };
        let log = Some(self.log(0, Outcome::Retried, ""));
        let happening = Happening { event: Event::Retried, rules, payload: None, log };
        self.engine.happens(unit, &before, happening).await
    }

    async fn decide(
        &self,
        unit: &mut Unit<'_>,
        lifecycle: &Lifecycle,
        mut before: Enrollment,
        approve: bool,
        note: &str,
    ) -> Result<Enrollment, Refusal> {
        if !matches!(before.work(), Some(Work::Approval { .. })) {
            let status = before.status();
            return Err(Refusal::not_now(format!("nothing is asked: the enrollment is `{status}`")));
        }
        let at = self.engine.at_stage(unit, lifecycle, &mut before).await?;
        if let Action::Approval { by, .. } = &at.stage()?.action
            && !by.is_empty()
            && !by.contains(&self.asked.principal)
        {
            let by = by.join(", ");
            return Err(Refusal::Denied(format!("only {by} may decide this")));
        }
        let (outcome, error, event) = if approve {
            let next = self.engine.next(unit, lifecycle, &before).await?;
            (Outcome::Succeeded, note.to_owned(), Event::Succeeded(next))
        } else {
            let note = if note.is_empty() { String::new() } else { format!(": {note}") };
            let error = format!("rejected by {}{note}", self.asked.principal);
            (Outcome::Failed, error.clone(), Event::Failed { error })
        };
        // Who says no has decided: asking again would not be another attempt, but the same question.
        let rules = Rules { attempts: 1, ..at.rules()? };
        let log = Some(self.log(before.execution(), outcome, &error));
        let happening = Happening { event, rules, payload: None, log };
        self.engine.happens(unit, &before, happening).await
    }
}
