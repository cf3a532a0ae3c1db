//! Read-only runs need no lane of their own: first contact with a server, and probes. They are answered beside the run in hand, by a
//! stepper of their own, so that a slow look delays neither its output nor its cancel.
//!
//! A look leaves nothing on a server. It is stored as started before the server is asked; a server that cannot be reached leaves it
//! running, and waiting, and it is asked again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::crew::Right;
use super::sight::{Sight, Verdict};
use super::{Crew, Next, failures};
use crate::domain::failure::Failure;
use crate::domain::id::ServerId;
use crate::domain::operation::Operation;
use crate::domain::params::Outputs;
use crate::domain::run::{Event, Proof, Repair, Retry, Run, StepFacts, Subject};
use crate::domain::server::{Reach, Server};
use crate::domain::step::{Cause, Ended};
use crate::domain::verdict::Reason;
use crate::domain::waiting::{WaitReason, pause};
use crate::engine::{Advance, LaneError, LaneHold, Look, Outline, Refusal, Sighting, log, titles};
use crate::remote::{Hello, ProbeSpec, RemoteError, Target};

/// How long first contact may take.
const MEET_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers the read-only runs of one server, one after the other, as long as its lane is ours. A stepper.
pub struct Readings {
    crew: Crew,
    server: ServerId,
    /// The name of its server; its id, until the server was read.
    name: String,
    wake: Arc<Notify>,
    /// Wakes the lane, when what a look told may concern it.
    lane: Arc<Notify>,
    panicked: bool,
}

/// A read-only run in hand.
struct Reading {
    hold: LaneHold,
    server: Server,
    target: Target,
    run: Run,
}

impl Readings {
    pub(super) fn new(crew: Crew, server: ServerId, lane: Arc<Notify>) -> Self {
        let wake = crew.engine.hub().enter(server);
        Self { crew, server, name: server.to_string(), wake, lane, panicked: false }
    }

    /// What wakes it.
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// A step panicked: the run in hand has had its attempt.
    pub fn broke(&mut self) -> Next {
        tracing::error!(server = self.name, "a look at a server panicked");
        let again = std::mem::replace(&mut self.panicked, true);
        if again { self.later(self.crew.settings.poll) } else { Next::Now }
    }

    /// Does the next thing.
    pub async fn step(&mut self) -> Next {
        let wait = match self.try_step().await {
            Ok(next) => return next,
            // The lane or the run has moved.
            Err(LaneError::Lost | LaneError::Illegal(_)) => self.crew.settings.poll,
            Err(LaneError::Unavailable(error)) => {
                tracing::warn!(server = self.name, %error, "the store does not answer; looks at the server wait");
                self.crew.settings.poll
            }
            Err(LaneError::Fault(error)) => {
                tracing::error!(server = self.name, %error, "a look at the server cannot go on; it is tried again");
                self.crew.settings.unreachable_retry
            }
        };
        self.later(wait)
    }

    fn later(&self, wait: Duration) -> Next {
        Next::At(self.crew.engine.clock().monotonic() + wait)
    }

    async fn try_step(&mut self) -> Result<Next, LaneError> {
        let settings = self.crew.settings;
        let idle = if settings.shared { settings.poll } else { settings.linger };
        if !self.crew.lease.is_trusted() {
            return Ok(self.later(settings.poll));
        }
        let Some(hold) = self.hold().await? else { return Ok(self.later(settings.poll)) };
        let server = self.crew.engine.store().read().await?.db().server(self.server).await?;
        let Some(server) = server else { return Ok(self.later(idle)) };
        self.name.clone_from(&server.name);
        let Some(run) = self.crew.reading(&server).await? else {
            self.panicked = false;
            return Ok(self.later(idle));
        };
        if self.panicked {
            self.end_broken(hold, &run).await?;
            return Ok(Next::Now);
        }
        if run.is_queued() && server.reach == Reach::Paused {
            let who = server.reach_detail.clone();
            self.crew.waits(hold, &run, WaitReason::Paused, who, None).await?;
            return Ok(self.later(idle));
        }
        if run.is_queued() {
            match self.crew.right(hold, &server, &run).await? {
                Right::There => {}
                Right::Gone => return Ok(Next::Now),
                Right::Unknown { retry } => return Ok(self.later(retry)),
            }
        }
        let target = self.crew.target_of(&server).await?;
        let reading = Reading { hold, server, target, run };
        match reading.run.subject {
            Subject::Server => self.meet(reading).await,
            Subject::Resource { .. } => self.look(reading).await,
        }
    }

    /// The lane as it is now, if it is ours.
    async fn hold(&self) -> Result<Option<LaneHold>, LaneError> {
        let lane = self.crew.engine.store().read().await?.db().lane(self.server).await?;
        let mine = lane.filter(|lane| lane.owner == Some(self.crew.engine.me().to_string()));
        Ok(mine.map(|lane| LaneHold { server: self.server, epoch: lane.epoch }))
    }

    async fn end_broken(&mut self, hold: LaneHold, run: &Run) -> Result<(), LaneError> {
        let message = "a fault in settled: looking panicked; the daemon's log tells more".to_owned();
        let failure = failures::plain(run.id, message, self.crew.engine.clock().now());
        let after = self.crew.tell(hold, run, Event::Broken(failure)).await?;
        log::attempt_ended(&after, after.position().attempt);
        self.panicked = false;
        Ok(())
    }

    /// Asks the server who it is.
    async fn meet(&mut self, reading: Reading) -> Result<Next, LaneError> {
        let Reading { hold, server, target, run } =
            self.started(reading, titles::OF_A_MEETING, MEET_TIMEOUT).await?;
        // It is asked anew: a connection made with older settings would prove nothing.
        self.crew.remote.forget(self.server).await;
        match self.crew.remote.hello(&target).await {
            Ok(hello) => {
                let run = self.crew.engine.met_server(hold, run.id, facts(hello)).await?;
                log::attempt_ended(&run, run.position().attempt);
                self.lane.notify_one();
                Ok(Next::Now)
            }
            Err(error) => self.trouble(hold, &server, &run, error, MEET_TIMEOUT).await,
        }
    }

    /// Asks the server what there is of a resource.
    async fn look(&mut self, reading: Reading) -> Result<Next, LaneError> {
        let look = match self.crew.engine.prepare_look(&reading.run).await {
            Ok(look) => look,
            Err(refusal) => return self.cannot_look(reading.hold, &reading.run, refusal).await,
        };
        let Reading { hold, server, target, run } =
            self.started(reading, &look.title, look.probe.timeout).await?;
        let spec = ProbeSpec {
            script: look.probe.script.clone(),
            env: look.probe.env.clone(),
            timeout: look.probe.timeout,
        };
        let answer = match self.crew.remote.probe(&target, &spec).await {
            Ok(answer) => answer,
            Err(error) => return self.trouble(hold, &server, &run, error, spec.timeout).await,
        };
        let masked = match self.crew.engine.masked(look.resource).await {
            Ok(masked) => masked,
            Err(refusal) => return self.cannot_look(hold, &run, refusal).await,
        };
        let sight = Sight::new(answer, masked, look.expected.as_ref());
        if look.observes {
            let beside = sight.differences.clone().filter(|_| run.operation == Operation::Probe);
            let sighting = Sighting {
                presence: sight.presence(),
                facts: sight.shown.facts.clone(),
                beside: beside.map(|differs| (look.version, differs)),
            };
            self.crew.engine.compare(hold, look.resource, sighting).await?;
        }
        self.answered(hold, &run, &look, sight).await
    }

    /// A look ends for which something is gone or damaged: its definition, its resource, a secret. It waits for what may be there again.
    async fn cannot_look(&self, hold: LaneHold, run: &Run, refusal: Refusal) -> Result<Next, LaneError> {
        let message = refusal.to_string();
        if let LaneError::Unavailable(error) = LaneError::from(refusal) {
            return Err(LaneError::Unavailable(error));
        }
        self.crew.refuse(hold, run, Reason::Internal, message).await?;
        Ok(Next::Now)
    }

    /// Stores that it begins. A look that an earlier daemon began is begun again.
    async fn started(&self, reading: Reading, title: &str, timeout: Duration) -> Result<Reading, LaneError> {
        if !reading.run.is_queued() {
            return Ok(reading);
        }
        let event = Event::Started { timeout };
        let advance =
            Advance { run: reading.run.id, event, end: None, outlines: [Outline::titled(title)].into() };
        let run = self.crew.engine.advance(reading.hold, advance).await?;
        log::attempt_starts(&run);
        Ok(Reading { run, ..reading })
    }

    async fn answered(
        &self,
        hold: LaneHold,
        run: &Run,
        look: &Look,
        sight: Sight,
    ) -> Result<Next, LaneError> {
        let verdict = sight.verdict(&run.operation);
        let (answer, seen) = (sight.answer, sight.seen);
        let told = if look.tells { sight.told } else { Ok(Outputs::new()) };
        let id = run.live_step().ok_or(LaneError::Lost)?;
        let last_lines = String::from_utf8_lossy(&answer.output).replace('\0', "\u{fffd}");
        let ended = Ended::Exited { code: answer.exit_code, cause: Cause::Itself };
        let record = self.crew.engine.store().read().await?.db().step(id).await?.ok_or(LaneError::Lost)?;
        // A daemon that died after it had stored the output looks again: what was seen first stays.
        if record.output_bytes == 0 && !answer.output.is_empty() {
            self.crew.engine.output(hold, id, 0, answer.output).await?;
        }
        let now = self.crew.engine.clock().now();
        let mut failure = failures::of_step(run.id, &look.title, &ended, last_lines, now);
        if let (Err(what), 0) = (&told, answer.exit_code) {
            failure.message =
                format!("`{}` ended with exit code 0, but it wrote to SETTLED_OUTPUT {what}", look.title);
        }
        let facts = StepFacts {
            next: None,
            retry: Retry::Hopeless,
            retry_on_timeout: false,
            repair: Repair::No,
            outputs: told.ok(),
            failure,
            seen,
        };
        let end = Some(failures::end_of(id, &ended, false));
        let event = match verdict {
            Verdict::AsRecorded => Event::StepEnded(ended, facts),
            Verdict::Answered => Event::Answered,
            Verdict::Proven => Event::Judged(Proof::Success, facts),
            Verdict::Differs(message) => {
                let failure = Failure { message, last_lines: String::new(), ..facts.failure.clone() };
                Event::Judged(Proof::None, StepFacts { failure, ..facts })
            }
        };
        let advance = Advance { run: run.id, event, end, outlines: [].into() };
        let run = self.crew.engine.advance(hold, advance).await?;
        log::attempt_ended(&run, run.position().attempt);
        Ok(Next::Now)
    }

    /// The server did not answer as asked: it is asked again later, or the look has ended.
    async fn trouble(
        &self,
        hold: LaneHold,
        server: &Server,
        run: &Run,
        error: RemoteError,
        timeout: Duration,
    ) -> Result<Next, LaneError> {
        match error {
            RemoteError::Unreachable(message) => {
                self.found(hold, server, Reach::Unreachable, &message).await?;
                let now = self.crew.engine.clock().now();
                let waited = now.since(run.waiting_since(WaitReason::Unreachable, now));
                let retry = pause(self.crew.settings.unreachable_retry, waited);
                let next_try = now + retry;
                let event = Event::Unanswered { who: message, next_try, timeout };
                self.crew.tell(hold, run, event).await?;
                Ok(self.later(retry))
            }
            RemoteError::Refused(message) => {
                // Before the run ends: whoever waits for that looks at the server then.
                self.found(hold, server, Reach::Refused, &message).await?;
                self.crew.refuse(hold, run, Reason::Refused, message).await?;
                Ok(Next::Now)
            }
            other => {
                self.crew.refuse(hold, run, Reason::Internal, other.to_string()).await?;
                Ok(Next::Now)
            }
        }
    }

    /// Stores how the server stands. The lane hears of it when that is news.
    async fn found(
        &self,
        hold: LaneHold,
        before: &Server,
        reach: Reach,
        detail: &str,
    ) -> Result<(), LaneError> {
        self.crew.stands(hold, &before.name, reach, detail).await?;
        // A pause stays one, whatever the network says.
        if before.reach != reach && before.reach != Reach::Paused {
            self.lane.notify_one();
        }
        Ok(())
    }
}

fn facts(hello: Hello) -> BTreeMap<String, String> {
    let mut facts = hello.facts;
    facts.insert("machine_id".to_owned(), hello.machine_id);
    facts.insert("boot_id".to_owned(), hello.boot_id);
    facts
}
