//! Enrol: one enrollment per lifecycle and subject, however often it is asked for. `again`: it begins anew.

use async_trait::async_trait;

use super::super::{Answer, Asked, Engine, Refusal, targets};
use super::step::Happening;
use super::{Version, payload};
use crate::domain::enrollment::{Enrollment, Event, Outcome, Rules, State, Status, Subject, Work};
use crate::domain::id::EnrollmentId;
use crate::domain::lifecycle::Lifecycle;
use crate::domain::time::Timestamp;
use crate::store::enrollments::Execution;
use crate::store::rows::EnrollmentRow;
use crate::store::{Command, Unit, Wants};

/// Asks for a subject to go through a lifecycle.
#[derive(Debug, Clone)]
pub struct Enroll {
    /// Code of the lifecycle.
    pub lifecycle: String,
    /// TYPE/ID.
    pub subject: String,
    /// What it begins with: a JSON object, or nothing.
    pub payload: String,
    /// When its first stage is due; now, when it is not given.
    pub at: Option<Timestamp>,
    /// One that is there begins anew.
    pub again: bool,
    /// What goes on for it is given up.
    pub cancel: bool,
}

struct EnrollCommand {
    engine: Engine,
    asked: Asked,
    ask: Enroll,
}

impl Engine {
    /// Enrols a subject. One that is enrolled stays as it is, unless it is to begin anew. The answer says in `ids` whether it was `created`,
    /// `reset`, `linked` or `unchanged`.
    pub async fn enroll(&self, asked: Asked, ask: Enroll) -> Result<Answer, Refusal> {
        asked.check()?;
        self.writer().commit(EnrollCommand { engine: self.clone(), asked, ask }).await
    }

    /// Enrols a subject within the unit of another command, which has been allowed to.
    pub(in crate::engine) async fn enroll_within(
        &self,
        unit: &mut Unit<'_>,
        asked: &Asked,
        ask: &Enroll,
    ) -> Result<(Enrollment, &'static str), Refusal> {
        let db = unit.db().await?;
        let lifecycle = self.lifecycle(db, &ask.lifecycle).await?;
        let version = self.version(db, lifecycle.id, lifecycle.revision).await?;
        let subject = subject_of(unit, &version, &ask.subject).await?;
        let payload = payload::checked(&ask.payload, version.flow.payload_bytes_max)?;
        let due = ask.at.unwrap_or(unit.now());
        let found = unit.db().await?.enrollment_of(lifecycle.id, &subject.kind, &subject.id).await?;
        let Some(found) = found else {
            let mut enrollment = self.new_enrollment(unit, &lifecycle, &version, subject, asked);
            enrollment.payload = payload;
            enrollment.state = State::Waiting { due };
            unit.insert_enrollment(&mut enrollment).await?;
            return Ok((enrollment, "created"));
        };
        if !ask.again {
            return self.link(unit, found, subject).await;
        }
        let reset = Event::Reset {
            subject,
            stage: version.flow.first().to_owned(),
            revision: lifecycle.revision,
            payload,
            due,
        };
        Ok((self.reset(unit, found, reset, ask.cancel, asked).await?, "reset"))
    }

    /// What is enrolled stays as it is, but for the server or resource that it is about: that may have been made anew under its name.
    async fn link(
        &self,
        unit: &mut Unit<'_>,
        found: Enrollment,
        subject: Subject,
    ) -> Result<(Enrollment, &'static str), Refusal> {
        if found.subject == subject {
            return Ok((found, "unchanged"));
        }
        let rules = Rules { attempts: 1, backoff: std::time::Duration::ZERO };
        let happening = Happening { event: Event::Linked(subject), rules, payload: None, log: None };
        Ok((self.happens(unit, &found, happening).await?, "linked"))
    }

    fn new_enrollment(
        &self,
        unit: &Unit<'_>,
        lifecycle: &Lifecycle,
        version: &Version,
        subject: Subject,
        asked: &Asked,
    ) -> Enrollment {
        Enrollment {
            id: EnrollmentId(self.clock().ulid()),
            lifecycle: lifecycle.id,
            code: lifecycle.code.clone(),
            subject,
            principal: asked.principal.clone(),
            revision: lifecycle.revision,
            stage: version.flow.first().to_owned(),
            attempt: 0,
            deferrals: 0,
            waits_since: None,
            closed_since: None,
            waits_for: String::new(),
            payload: "{}".to_owned(),
            state: State::Waiting { due: unit.now() },
            last_error: String::new(),
            work_no: 0,
            created_at: unit.now(),
            updated_at: unit.now(),
            version: 1,
            seq: 0,
        }
    }

    /// An enrollment begins anew. While something goes on for it, that must be given up first.
    pub(super) async fn reset(
        &self,
        unit: &mut Unit<'_>,
        before: Enrollment,
        reset: Event,
        cancel: bool,
        asked: &Asked,
    ) -> Result<Enrollment, Refusal> {
        self.give_up(unit, &before, cancel, asked).await?;
        let rules = Rules { attempts: 1, backoff: std::time::Duration::ZERO };
        let after = before.clone().apply(reset, unit.now(), rules);
        let mut after = after.map_err(|illegal| Refusal::not_now(illegal.to_string()))?;
        after.principal.clone_from(&asked.principal);
        unit.update_enrollment(&mut after).await?;
        let execution = Execution {
            before: &before,
            attempt: before.attempt,
            outcome: Outcome::Reset,
            error: "",
            run: before.work().and_then(Work::run),
            who: &asked.principal,
        };
        unit.log_execution(&after, execution).await?;
        Ok(after)
    }

    /// Refuses while a stage is executed, unless that may be given up: then its run is cancelled.
    pub(super) async fn give_up(
        &self,
        unit: &mut Unit<'_>,
        enrollment: &Enrollment,
        cancel: bool,
        asked: &Asked,
    ) -> Result<(), Refusal> {
        if enrollment.status() != Status::Processing {
            return Ok(());
        }
        if !cancel {
            let stage = &enrollment.stage;
            return Err(Refusal::NotNow {
                message: format!(
                    "the stage `{stage}` is being executed: wait until it is done, or give it up with --cancel"
                ),
                runs: enrollment.work().and_then(Work::run).into_iter().collect(),
                resources: Vec::new(),
            });
        }
        let Some(run) = enrollment.work().and_then(Work::run) else { return Ok(()) };
        let asked = Asked {
            request_id: format!("{}-cancel", asked.request_id),
            method: "Lifecycles.Cancel",
            ..asked.clone()
        };
        match self.cancel_within(unit, asked, run).await {
            // It is over already.
            Ok(_) | Err(Refusal::NotNow { .. } | Refusal::NotFound { .. }) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }
}

/// The subject of a request.
pub(super) async fn subject_of(
    unit: &mut Unit<'_>,
    version: &Version,
    named: &str,
) -> Result<Subject, Refusal> {
    let taken = version.flow.subjects.take(named);
    let (kind, id) = taken.map_err(|bad| Refusal::field("subject", bad.to_string()))?;
    linked(unit, kind, id).await
}

/// The subject of this type and id, with the server or resource that bears its name now.
pub(super) async fn linked(unit: &mut Unit<'_>, kind: String, id: String) -> Result<Subject, Refusal> {
    let outside = Subject { kind, id, server: None, resource: None };
    Ok(match outside.kind.as_str() {
        "server" => {
            let server = targets::find_server(unit, &outside.id).await?;
            Subject { id: server.name, server: Some(server.id), ..outside }
        }
        "resource" => {
            let resource = targets::find_resource(unit, &outside.id).await?;
            let id = format!("{}/{}/{}", resource.server_name, resource.package, resource.name);
            Subject { id, server: Some(resource.server), resource: Some(resource.id), ..outside }
        }
        _ => outside,
    })
}

#[async_trait]
impl Command for EnrollCommand {
    type Answer = Answer;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        let (enrollment, word) = self.engine.enroll_within(unit, &self.asked, &self.ask).await?;
        let answer = Answer {
            enrollment: Some(Box::new(EnrollmentRow::from(&enrollment))),
            ids: vec![word.to_owned()],
            ..Answer::default()
        };
        let object = format!("{}/{}", enrollment.code, enrollment.subject);
        self.asked.keep_with(unit, &answer, object, word.to_owned()).await?;
        Ok(answer)
    }
}
