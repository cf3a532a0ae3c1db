//! What all lanes share: the engine, the way to servers, the right to touch them, and what any part of a lane may tell of a run.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Drain, Settings, failures};
use crate::auth::{Gate, Standing, Verb};
use crate::domain::id::InstallationId;
use crate::domain::operation::Operation;
use crate::domain::run::{Event, Run, Subject};
use crate::domain::server::{IdentityKind, Reach, Server};
use crate::domain::step::Ended;
use crate::domain::time::Timestamp;
use crate::domain::verdict::{Outcome, Reason};
use crate::domain::waiting::{WaitReason, pause};
use crate::engine::{Advance, Engine, LaneError, LaneHold, Lease, log};
use crate::remote::{Login, Remote, Target};

/// What all lanes share. Cheap to clone.
#[derive(Clone)]
pub struct Crew {
    /// Where everything is decided and written.
    pub engine: Engine,
    /// What touches servers.
    pub remote: Arc<dyn Remote>,
    /// Whether this daemon may still act.
    pub lease: Lease,
    /// The installation, for servers to know their owner by.
    pub installation: InstallationId,
    /// Who may still do what it asked for.
    pub gate: Gate,
    /// Servers at work at the same time.
    pub permits: Arc<Semaphore>,
    /// Durations and limits.
    pub settings: Settings,
    /// Whether anything new is begun.
    pub drain: Drain,
}

/// What has become of the right to a queued run.
pub(super) enum Right {
    /// It is there still.
    There,
    /// It is gone, and the run has ended with that.
    Gone,
    /// It cannot be told; the run waits.
    Unknown {
        /// After which time it is asked again.
        retry: Duration,
    },
}

impl Crew {
    /// The way to servers for what changes something there: claim, start, cancel, reap. Asked for right before each of them, because
    /// the lease may have passed since the lane's step began.
    pub(super) fn acting(&self) -> Result<&dyn Remote, LaneError> {
        if self.lease.is_trusted() { Ok(&*self.remote) } else { Err(LaneError::Lost) }
    }

    /// Where a server is, and how to get in, through all its jump hosts.
    pub(super) async fn target_of(&self, server: &Server) -> Result<Target, LaneError> {
        let mut via = None;
        for jump in self.engine.jumps(server).await?.iter().rev() {
            via = Some(Box::new(self.hop(jump, via).await?));
        }
        self.hop(server, via).await
    }

    async fn hop(&self, server: &Server, via: Option<Box<Target>>) -> Result<Target, LaneError> {
        let login = match server.identity {
            IdentityKind::Agent => Login::Agent,
            IdentityKind::Installation => Login::Key(self.engine.login_key().await?.private()),
            IdentityKind::Key => {
                let key = self.engine.identity(server.id).await?;
                Login::Key(key.ok_or_else(|| {
                    LaneError::Fault(format!("the login key of {} is missing", server.name))
                })?)
            }
        };
        Ok(Target {
            server: server.id,
            name: server.name.clone(),
            host: server.host.clone(),
            port: server.port,
            user: server.user.clone(),
            host_key: server.host_key.clone(),
            login,
            via,
        })
    }

    /// The read-only run of a server that goes on, or the one that is next. On a server that refuses, only looking at it anew makes sense.
    pub(super) async fn reading(&self, server: &Server) -> Result<Option<Run>, LaneError> {
        let refused = server.reach == Reach::Refused;
        let fits = |run: &Run| !run.exclusive && (!refused || run.subject == Subject::Server);
        let mut reader = self.engine.store().read().await?;
        let running = reader.db().running(server.id).await?.into_iter().find(&fits);
        if running.is_some() || self.drain.is_on() {
            return Ok(running);
        }
        let limit = if refused { self.engine.limits().queue_max } else { 1 };
        Ok(reader.db().queue(server.id, false, limit).await?.into_iter().find(&fits))
    }

    /// Stores why a run waits, unless that stands there already.
    pub(super) async fn waits(
        &self,
        hold: LaneHold,
        run: &Run,
        reason: WaitReason,
        who: String,
        next_try: Option<Timestamp>,
    ) -> Result<(), LaneError> {
        if run.waiting().is_some_and(|w| w.reason == reason && w.who == who && w.next_try == next_try) {
            return Ok(());
        }
        self.tell(hold, run, Event::Waits { reason, who, next_try }).await.map(drop)
    }

    /// Stores how a server stands, and says so in the log when it stood otherwise before.
    pub(super) async fn stands(
        &self,
        hold: LaneHold,
        name: &str,
        reach: Reach,
        why: &str,
    ) -> Result<(), LaneError> {
        if !self.engine.set_reach(hold, reach, why.to_owned()).await? {
            return Ok(());
        }
        match reach {
            Reach::Unreachable => {
                tracing::warn!(server = name, why, "a server cannot be reached; it is tried again");
            }
            Reach::Refused => tracing::warn!(
                server = name,
                why,
                "a server refuses; nothing is done there until somebody changes that"
            ),
            Reach::Ok | Reach::Paused => tracing::info!(server = name, "a server answers again"),
        }
        Ok(())
    }

    /// Tells what happened to a run of which no try begins with that.
    pub(super) async fn tell(&self, hold: LaneHold, run: &Run, event: Event) -> Result<Run, LaneError> {
        self.engine.advance(hold, Advance { run: run.id, event, end: None, outlines: Arc::from([]) }).await
    }

    /// Ends a run that its server refuses for good; a try of it that only looked ends with it.
    pub(super) async fn refuse(
        &self,
        hold: LaneHold,
        run: &Run,
        reason: Reason,
        message: String,
    ) -> Result<Run, LaneError> {
        let end =
            run.live_step().map(|id| failures::end_of(id, &Ended::Rejected { why: message.clone() }, false));
        let failure = failures::plain(run.id, message, self.engine.clock().now());
        let event = Event::Refused(Outcome::Failed, reason, failure);
        let advance = Advance { run: run.id, event, end, outlines: Arc::from([]) };
        let after = self.engine.advance(hold, advance).await?;
        log::attempt_ended(&after, after.position().attempt);
        Ok(after)
    }

    /// Whether who asked for a queued run may still do that (P14). What meets a server belongs to changes of the fleet. A run whose principal
    /// may not is ended; one of whose principal nobody can tell waits.
    pub(super) async fn right(&self, hold: LaneHold, server: &Server, run: &Run) -> Result<Right, LaneError> {
        let verb = match run.operation {
            Operation::Register => Verb::Administer,
            _ => Verb::Operate,
        };
        match self.gate.standing(&run.principal, verb).await {
            Standing::May(scope) if scope.covers(&server.name, &server.labels) => Ok(Right::There),
            Standing::May(_) | Standing::MayNot => {
                let message = format!("{} lost the right to do this before it began", run.principal);
                self.block(hold, run, Reason::Forbidden, message).await?;
                Ok(Right::Gone)
            }
            Standing::Unknown(unclear) => {
                let now = self.engine.clock().now();
                let waited = now.since(run.waiting_since(WaitReason::Access, now));
                let retry = pause(self.settings.unreachable_retry, waited);
                self.waits(hold, run, WaitReason::Access, unclear.to_string(), Some(now + retry)).await?;
                Ok(Right::Unknown { retry })
            }
        }
    }

    /// Ends a queued run that must not begin.
    pub(super) async fn block(
        &self,
        hold: LaneHold,
        run: &Run,
        reason: Reason,
        message: String,
    ) -> Result<(), LaneError> {
        let failure = failures::plain(run.id, message, self.engine.clock().now());
        let event = Event::Refused(Outcome::Blocked, reason, failure);
        let run = self.tell(hold, run, event).await?;
        log::attempt_ended(&run, run.position().attempt);
        Ok(())
    }
}
