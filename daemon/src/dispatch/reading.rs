//! Read-only runs need no lane of their own: first contact with a server, and probes. They are answered between two looks at the run in hand,
//! which goes on at its server meanwhile.
//!
//! The server is asked first and the answer stored then, so that a server which cannot be reached leaves the run queued, and waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Lane, Next, failures};
use crate::catalog::read_probe;
use crate::domain::operation::Operation;
use crate::domain::resource::Presence;
use crate::domain::run::{Event, Run, RunState, StepFacts, Subject};
use crate::domain::server::Reach;
use crate::domain::step::{Cause, Ended};
use crate::domain::verdict::Reason;
use crate::domain::waiting::WaitReason;
use crate::engine::{Advance, LaneError, log};
use crate::remote::{Hello, ProbeAnswer, ProbeSpec, RemoteError};
use crate::secrets::Mask;

/// The milestone of a run that only looks.
const LOOK: &str = "Connect and look around";
/// How long a look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(60);

impl Lane {
    /// Answers the next read-only run, if there is one. `None`: there is none.
    pub(super) async fn answer_readings(&mut self) -> Result<Option<Next>, LaneError> {
        let mut reader = self.crew.engine.store().read().await?;
        let refused = self.server.as_ref().is_some_and(|s| s.reach == Reach::Refused);
        // On a server that refuses, only looking at it anew makes sense.
        let fits = |run: &Run| !run.exclusive && (!refused || run.subject == Subject::Server);
        let left = reader.db().running(self.hold.server).await?.into_iter().find(&fits);
        let run = if left.is_some() {
            left
        } else {
            let limit = if refused { self.crew.engine.settings().queue_max } else { 1 };
            reader.db().queue(self.hold.server, false, limit).await?.into_iter().find(&fits)
        };
        drop(reader);
        let Some(run) = run else { return Ok(None) };
        if self.server.as_ref().is_some_and(|s| s.reach == Reach::Paused) {
            let who = self.server.as_ref().map_or_else(String::new, |s| s.reach_detail.clone());
            self.waits(&run, WaitReason::Paused, who, None).await?;
            return Ok(None);
        }
        if matches!(run.state, RunState::Queued { .. }) && !self.crew.gate.still_admits(&run.principal) {
            self.forbid(&run).await?;
            return Ok(Some(Next::Now));
        }
        match run.subject {
            Subject::Server => self.meet(run).await.map(Some),
            Subject::Resource { .. } if self.server.as_ref().is_some_and(|s| s.reach == Reach::Refused) => {
                Ok(None)
            }
            Subject::Resource { .. } => self.look(run).await.map(Some),
        }
    }

    async fn meet(&mut self, run: Run) -> Result<Next, LaneError> {
        let target = self.target()?;
        if run.operation == Operation::Probe {
            // A probe asks anew: a connection made with older settings would prove nothing.
            self.crew.remote.forget(self.hold.server).await;
        }
        match self.crew.remote.hello(&target).await {
            Ok(hello) => {
                let run = self.started(run).await?;
                let run = self.crew.engine.met_server(self.hold, run.id, facts(hello)).await?;
                log::attempt_ended(&run, run.position().attempt);
                Ok(Next::Now)
            }
            Err(RemoteError::Unreachable(message)) => self.unreachable(&run, message).await,
            Err(RemoteError::Refused(message)) => {
                let run = self.started(run).await?;
                self.refuse(&run, Reason::Refused, message.clone()).await?;
                self.crew.engine.set_reach(self.hold, Reach::Refused, message).await?;
                Ok(Next::Now)
            }
            Err(other) => {
                let run = self.started(run).await?;
                self.refuse(&run, Reason::Internal, other.to_string()).await?;
                Ok(Next::Now)
            }
        }
    }

    async fn look(&mut self, run: Run) -> Result<Next, LaneError> {
        let target = self.target()?;
        let (resource, plan) =
            match self.crew.engine.prepare_probe(&run).await.map_err(|e| (e.to_string(), LaneError::from(e)))
            {
                Ok(prepared) => prepared,
                Err((_, LaneError::Unavailable(error))) => return Err(LaneError::Unavailable(error)),
                Err((message, _)) => {
                    self.refuse(&run, Reason::Internal, message).await?;
                    return Ok(Next::Now);
                }
            };
        let spec = ProbeSpec { script: plan.script, env: plan.env, timeout: plan.timeout };
        match self.crew.remote.probe(&target, &spec).await {
            Ok(mut answer) => {
                let secrets = self
                    .crew
                    .engine
                    .secrets(&resource.to_string())
                    .await?
                    .into_iter()
                    .map(|(_, secret)| secret);
                answer.output = Mask::new(secrets).pass(&answer.output, true);
                let reading = read_probe(&answer.output);
                let known = reading.presence.filter(|_| answer.exit_code == 0).unwrap_or(Presence::Unknown);
                let run = self.started(run).await?;
                self.crew.engine.observe(self.hold, resource, known, reading.facts).await?;
                self.answered(&run, answer).await
            }
            Err(RemoteError::Unreachable(message)) => self.unreachable(&run, message).await,
            Err(other) => {
                self.refuse(&run, Reason::Refused, other.to_string()).await?;
                Ok(Next::Now)
            }
        }
    }

    async fn started(&self, run: Run) -> Result<Run, LaneError> {
        if matches!(run.state, RunState::Running(_)) {
            return Ok(run);
        }
        let event = Event::Started { timeout: LOOK_TIMEOUT };
        let advance = Advance { run: run.id, event, end: None, titles: [LOOK.to_owned()].into() };
        let run = self.crew.engine.advance(self.hold, advance).await?;
        log::attempt_starts(&run);
        Ok(run)
    }

    async fn answered(&mut self, run: &Run, answer: ProbeAnswer) -> Result<Next, LaneError> {
        let id = run.live_step().ok_or(LaneError::Lost)?;
        let last_lines = String::from_utf8_lossy(&answer.output).replace('\0', "\u{fffd}");
        let ended = Ended::Exited { code: answer.exit_code, cause: Cause::Itself };
        let record = self.crew.engine.store().read().await?.db().step(id).await?.ok_or(LaneError::Lost)?;
        // A daemon that died after it had stored the output looks again: what was seen first stays.
        if record.output_bytes == 0 && !answer.output.is_empty() {
            self.crew.engine.output(self.hold, id, 0, answer.output).await?;
        }
        let now = self.crew.engine.clock().now();
        let failure = failures::of_step(run.id, LOOK, &ended, last_lines, now);
        let facts = StepFacts { next: None, busy: false, hopeless: true, retry_on_timeout: false, failure };
        let end = Some(failures::end_of(id, &ended, false));
        let event = Event::StepEnded(ended, facts);
        let run = self
            .crew
            .engine
            .advance(self.hold, Advance { run: run.id, event, end, titles: [].into() })
            .await?;
        log::attempt_ended(&run, run.position().attempt);
        Ok(Next::Now)
    }

    async fn unreachable(&mut self, run: &Run, message: String) -> Result<Next, LaneError> {
        self.rest();
        let retry = self.crew.settings.unreachable_retry;
        self.crew.engine.set_reach(self.hold, Reach::Unreachable, message.clone()).await?;
        let at = self.crew.engine.clock().now() + retry;
        self.waits(run, WaitReason::Unreachable, message, Some(at)).await?;
        Ok(self.later(retry))
    }
}

fn facts(hello: Hello) -> BTreeMap<String, String> {
    let mut facts = hello.facts;
    facts.insert("machine_id".to_owned(), hello.machine_id);
    facts.insert("boot_id".to_owned(), hello.boot_id);
    facts
}
