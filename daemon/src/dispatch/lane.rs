//! A lane: one server's exclusive queue in the hands of this daemon.
//!
//! `step` looks at what is stored and does the one next thing: claim the epoch, answer read-only runs, find the run that is next, start,
//! follow or end one of its steps. It keeps nothing that the store does not know, except where it stands in a step's output.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::stepping::Work;
use super::{Crew, LIMIT, Next, failures};
use crate::domain::id::ServerId;
use crate::domain::run::{Event, Proof, Run, RunState};
use crate::domain::server::{IdentityKind, Reach, Server};
use crate::domain::step::{Ended, StepId, StepState};
use crate::domain::verdict::{Outcome, Reason};
use crate::domain::waiting::WaitReason;
use crate::engine::{Advance, LaneError, LaneHold};
use crate::remote::{Login, RemoteError, StepStatus, Target};

/// A lane at work.
pub struct Lane {
    pub(super) crew: Crew,
    pub(super) hold: LaneHold,
    pub(super) wake: Arc<Notify>,
    pub(super) server: Option<Server>,
    pub(super) target: Option<Target>,
    pub(super) work: Option<Work>,
    claimed: bool,
    idle_since: Option<Duration>,
    looked_at: Duration,
    permit: Option<OwnedSemaphorePermit>,
    broken: u32,
}

/// Panics without progress between them after which the run in hand is ended as broken, if nothing of it lives on the server.
const BROKEN_MAX: u32 = 3;

impl Lane {
    /// A lane that was just taken.
    pub fn new(crew: Crew, hold: LaneHold) -> Self {
        let wake = crew.engine.hub().enter(hold.server);
        Self {
            crew,
            hold,
            wake,
            server: None,
            target: None,
            work: None,
            claimed: false,
            idle_since: None,
            looked_at: Duration::ZERO,
            permit: None,
            broken: 0,
        }
    }

    /// Its server.
    pub const fn server_id(&self) -> ServerId {
        self.hold.server
    }

    /// What wakes it.
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// What it shares with other lanes.
    pub const fn crew(&self) -> &Crew {
        &self.crew
    }

    /// Something has changed: its server is read again before anything else.
    pub fn woken(&mut self) {
        self.server = None;
        if let Some(work) = &mut self.work {
            work.look_again();
        }
    }

    /// It may work, or may not (the daemon stops).
    pub fn permit(&mut self, permit: Option<OwnedSemaphorePermit>) {
        self.permit = permit;
    }

    /// The last act of its driver.
    pub fn left(self) {
        self.crew.engine.hub().leave(self.hold.server);
    }

    /// A step panicked. Nothing is assumed: everything is read again.
    pub fn broke(&mut self) -> Next {
        tracing::error!(server = %self.hold.server, "a step of a lane panicked; the lane starts again from what is stored");
        self.broken += 1;
        self.work = None;
        self.server = None;
        let wait = self.crew.settings.poll * self.broken.min(BROKEN_MAX);
        Next::At(self.crew.engine.clock().monotonic() + wait)
    }

    /// Ends the run over which steps panicked again and again; one that may live on the server is left to its time.
    async fn end_broken(&mut self) -> Result<Next, LaneError> {
        self.broken = 0;
        self.rest();
        match self.waiting_run().await? {
            Some(run) if run.live_step().is_none() => {
                let message =
                    "a fault in settled: driving it panicked; the daemon's log tells more".to_owned();
                let failure = failures::plain(run.id, message, self.crew.engine.clock().now());
                let run = self.tell(&run, Event::Broken(failure)).await?;
                Work::log_end(&run, run.position().attempt);
                Ok(Next::Now)
            }
            _ => Ok(self.later(self.crew.settings.unreachable_retry)),
        }
    }

    /// Something of a run was brought to its end: panics before it do not count any more.
    pub(super) const fn progressed(&mut self) {
        self.broken = 0;
    }

    /// Does the next thing.
    pub async fn step(&mut self) -> Next {
        match self.try_step().await {
            Ok(next) => next,
            Err(LaneError::Lost | LaneError::Illegal(_)) => self.moved().await,
            Err(LaneError::Unavailable(error)) => {
                tracing::warn!(server = %self.hold.server, %error, "the store does not answer; the lane waits");
                self.later(self.crew.settings.poll)
            }
            Err(LaneError::Fault(error)) => {
                tracing::error!(server = %self.hold.server, %error, "a lane cannot go on; it tries again");
                self.rest();
                self.work = None;
                self.server = None;
                self.later(self.crew.settings.unreachable_retry)
            }
        }
    }

    /// Somebody was faster. If the lane is still ours, only what was loaded is old.
    async fn moved(&mut self) -> Next {
        self.work = None;
        self.server = None;
        let mine = match self.crew.engine.store().read().await {
            Ok(mut reader) => reader.db().lane(self.hold.server).await,
            Err(error) => Err(error),
        };
        match mine {
            Ok(Some(row))
                if row.epoch == self.hold.epoch && row.owner == Some(self.crew.engine.me().to_string()) =>
            {
                Next::Now
            }
            Ok(_) => Next::Gone,
            Err(_) => self.later(self.crew.settings.poll),
        }
    }

    async fn try_step(&mut self) -> Result<Next, LaneError> {
        if !self.crew.lease.is_trusted() {
            return Ok(self.later(self.crew.settings.poll));
        }
        if self.crew.settings.shared
            && self.crew.engine.clock().monotonic() >= self.looked_at + self.crew.settings.poll
        {
            // What came through another daemon rings no bell here.
            self.woken();
        }
        if self.server.is_none()
            && let Some(next) = self.look_around().await?
        {
            return Ok(next);
        }
        if self.broken >= BROKEN_MAX {
            return self.end_broken().await;
        }
        if !self.claimed {
            return self.claim().await;
        }
        if self.work.is_none() {
            return self.find_work().await;
        }
        self.step_work().await
    }

    /// Reads the server again, and answers read-only runs, which do not wait for the run in hand.
    async fn look_around(&mut self) -> Result<Option<Next>, LaneError> {
        let Some(server) = self.crew.engine.store().read().await?.db().server(self.hold.server).await? else {
            return Ok(Some(Next::Gone));
        };
        self.looked_at = self.crew.engine.clock().monotonic();
        let target = self.target_of(&server).await?;
        let place = |target: &Target| (target.host.clone(), target.port, target.user.clone());
        if self.target.as_ref().is_some_and(|before| place(before) != place(&target)) {
            // Someone has edited the server: what is there now knows nothing of our epoch.
            self.claimed = false;
        }
        self.target = Some(target);
        let refused = server.reach == Reach::Refused;
        self.server = Some(server);
        if let Some(next) = self.answer_readings().await? {
            // What the server said may have changed how it stands.
            self.server = None;
            return Ok(Some(next));
        }
        if refused {
            return self.give_back().await.map(Some);
        }
        Ok(None)
    }

    async fn target_of(&self, server: &Server) -> Result<Target, LaneError> {
        let login = match server.identity {
            IdentityKind::Agent => Login::Agent,
            IdentityKind::Key => {
                let key = self.crew.engine.identity(server.id).await?;
                Login::Key(key.ok_or_else(|| {
                    LaneError::Fault(format!("the login key of {} is missing", server.name))
                })?)
            }
        };
        Ok(Target {
            server: server.id,
            host: server.host.clone(),
            port: server.port,
            user: server.user.clone(),
            host_key: server.host_key.clone(),
            login,
        })
    }

    pub(super) fn target(&self) -> Result<Target, LaneError> {
        self.target.clone().ok_or(LaneError::Lost)
    }

    /// Tells the server our epoch, and clears away what the store knows to have ended.
    async fn claim(&mut self) -> Result<Next, LaneError> {
        let target = self.target()?;
        let epoch = u64::try_from(self.hold.epoch).unwrap_or(0);
        match self.crew.acting()?.claim(&target, self.crew.installation, epoch).await {
            Ok(_) => {
                self.claimed = true;
                self.reached().await?;
                self.clear_away(&target).await?;
                Ok(Next::Now)
            }
            Err(error) => self.trouble(error).await,
        }
    }

    /// Clears ended steps away on the server, and takes resolved ones off the list. Best effort: the next claim does what is left.
    async fn clear_away(&mut self, target: &Target) -> Result<(), LaneError> {
        let listed = match self.crew.remote.list(target).await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::debug!(server = %self.hold.server, %error, "the server's steps could not be listed");
                return Ok(());
            }
        };
        for (id, report) in listed {
            let record = self.crew.engine.store().read().await?.db().step(id).await?;
            match record {
                None => {
                    tracing::warn!(server = %self.hold.server, step = %id, "the server has a step that this store does not know; it is left alone");
                }
                Some(record) if !matches!(record.state, StepState::Starting | StepState::Running) => {
                    self.reap(id).await;
                }
                Some(_) => {
                    tracing::debug!(step = %id, status = ?report.status, "a step is found on its server");
                }
            }
        }
        Ok(())
    }

    /// Clears a try away on the server. What fails here is done at the next claim.
    pub(super) async fn reap(&self, id: StepId) {
        let (Ok(target), Ok(remote)) = (self.target(), self.crew.acting()) else { return };
        let epoch = u64::try_from(self.hold.epoch).unwrap_or(0);
        if let Err(error) = remote.reap(&target, id, epoch).await {
            tracing::debug!(step = %id, %error, "a step could not be cleared away on its server; it is done at the next claim");
        }
    }

    /// The run that goes on, or the one that is next.
    async fn find_work(&mut self) -> Result<Next, LaneError> {
        let mut reader = self.crew.engine.store().read().await?;
        let mut db = reader.db();
        let running = db.running(self.hold.server).await?.into_iter().find(|run| run.exclusive);
        let head = match running {
            Some(run) => Some(run),
            None => db.queue(self.hold.server, true, 1).await?.pop(),
        };
        drop(reader);
        let Some(run) = head else { return self.idle().await };
        self.idle_since = None;
        if matches!(run.state, RunState::Queued { .. })
            && let Some(next) = self.held_up(&run).await?
        {
            return Ok(next);
        }
        self.begin(run).await
    }

    /// What keeps a queued run from starting: a pause, an unproven step, the limit of servers at work.
    async fn held_up(&mut self, run: &Run) -> Result<Option<Next>, LaneError> {
        if let Some(server) = self.server.as_ref().filter(|s| s.reach == Reach::Paused) {
            let who = server.reach_detail.clone();
            self.waits(run, WaitReason::Paused, who, None).await?;
            return self.idle().await.map(Some);
        }
        if !self.crew.gate.still_admits(&run.principal) {
            self.forbid(run).await?;
            return Ok(Some(Next::Now));
        }
        if let Some(next) = self.unresolved(run).await? {
            return Ok(Some(next));
        }
        if self.permit.is_some() {
            return Ok(None);
        }
        if let Ok(permit) = Arc::clone(&self.crew.permits).try_acquire_owned() {
            self.permit = Some(permit);
            return Ok(None);
        }
        self.waits(run, WaitReason::Limit, LIMIT.to_owned(), None).await?;
        Ok(Some(Next::Permit))
    }

    /// Nothing exclusive starts while an earlier step is not proven to have ended.
    async fn unresolved(&mut self, run: &Run) -> Result<Option<Next>, LaneError> {
        let open = self.crew.engine.store().read().await?.db().unresolved(self.hold.server).await?;
        let Some(first) = open.first() else { return Ok(None) };
        let id: StepId = first
            .step_id
            .parse()
            .map_err(|_| LaneError::Fault(format!("the store holds step id `{}`", first.step_id)))?;
        let target = self.target()?;
        // Its time has passed: it is ended if it still lives, and a start that is still on its way is refused there.
        let epoch = u64::try_from(self.hold.epoch).unwrap_or(0);
        match self.crew.acting()?.cancel(&target, id, epoch).await {
            Ok(report) => match report.status {
                StepStatus::Ended(_) | StepStatus::Absent | StepStatus::Reaped => {
                    self.crew.engine.step_resolved(self.hold, id).await?;
                    self.reap(id).await;
                    Ok(Some(Next::Now))
                }
                still => {
                    let who = format!("step {id} of an earlier run is not proven to have ended: {still:?}");
                    let at = self.crew.engine.clock().now() + self.crew.settings.unreachable_retry;
                    self.rest();
                    self.waits(run, WaitReason::Unresolved, who, Some(at)).await?;
                    Ok(Some(self.later(self.crew.settings.unreachable_retry)))
                }
            },
            Err(error) => self.trouble(error).await.map(Some),
        }
    }

    async fn begin(&mut self, run: Run) -> Result<Next, LaneError> {
        let prepared = match self.crew.engine.prepare_run(&run).await {
            Ok(prepared) => prepared,
            Err(refusal) => return self.cannot_begin(run, refusal).await,
        };
        if matches!(run.state, RunState::Queued { .. }) {
            let timeout = prepared.plan.steps.first().map_or(std::time::Duration::ZERO, |step| step.timeout);
            let event = Event::Started { timeout };
            let titles = Arc::clone(&prepared.titles);
            let run = self
                .crew
                .engine
                .advance(self.hold, Advance { run: run.id, event, end: None, titles })
                .await?;
            Work::log_start(&run);
            self.work = Some(Work::begun(run, prepared));
        } else {
            // It was running before this daemon had the lane: it counts as being at work as soon as there is room.
            if self.permit.is_none() {
                self.permit = Arc::clone(&self.crew.permits).try_acquire_owned().ok();
            }
            self.work = Some(Work::new(run, prepared));
        }
        Ok(Next::Now)
    }

    /// A run that cannot be planned ends: its definition or its resource is gone or damaged.
    async fn cannot_begin(&mut self, run: Run, refusal: crate::engine::Refusal) -> Result<Next, LaneError> {
        let message = format!("it cannot be prepared: {refusal}");
        match LaneError::from(refusal) {
            LaneError::Unavailable(error) => Err(LaneError::Unavailable(error)),
            // Something of it may live on the server: it is settled by its time, not by our trouble.
            _ if run.live_step().is_some() => Err(LaneError::Fault(message)),
            _ => self.refuse(&run, Reason::Internal, message).await.map(|_| Next::Now),
        }
    }

    /// Nothing to do: the lane is kept warm for a while, then given back.
    async fn idle(&mut self) -> Result<Next, LaneError> {
        self.permit = None;
        let now = self.crew.engine.clock().monotonic();
        let since = *self.idle_since.get_or_insert(now);
        let until = since + self.crew.settings.linger;
        if now < until {
            let soon = if self.crew.settings.shared { now + self.crew.settings.poll } else { until };
            return Ok(Next::At(until.min(soon)));
        }
        self.give_back().await
    }

    pub(super) async fn give_back(&mut self) -> Result<Next, LaneError> {
        self.permit = None;
        self.crew.remote.forget(self.hold.server).await;
        self.crew.engine.release_lane(self.hold).await?;
        Ok(Next::Gone)
    }

    /// Stores why a run waits, unless that stands there already.
    pub(super) async fn waits(
        &self,
        run: &Run,
        reason: WaitReason,
        who: String,
        next_try: Option<crate::domain::time::Timestamp>,
    ) -> Result<(), LaneError> {
        if run.waiting().is_some_and(|w| w.reason == reason && w.who == who && w.next_try == next_try) {
            return Ok(());
        }
        let event = Event::Waits { reason, who, next_try };
        self.tell(run, event).await.map(drop)
    }

    pub(super) async fn tell(&self, run: &Run, event: Event) -> Result<Run, LaneError> {
        let titles = self.work.as_ref().map_or_else(|| Arc::from([]), Work::titles);
        self.crew.engine.advance(self.hold, Advance { run: run.id, event, end: None, titles }).await
    }

    pub(super) fn later(&mut self, wait: Duration) -> Next {
        Next::At(self.crew.engine.clock().monotonic() + wait)
    }

    /// The server answered: if it was unreachable before, that is over.
    pub(super) async fn reached(&mut self) -> Result<(), LaneError> {
        if let Some(server) = self.server.as_mut().filter(|s| s.reach == Reach::Unreachable) {
            server.reach = Reach::Ok;
            self.crew.engine.set_reach(self.hold, Reach::Ok, String::new()).await?;
        }
        Ok(())
    }

    /// The server did not answer as asked.
    pub(super) async fn trouble(&mut self, error: RemoteError) -> Result<Next, LaneError> {
        let waiting = self.waiting_run().await?;
        match error {
            RemoteError::Unreachable(message) | RemoteError::Protocol(message) => {
                self.permit = None;
                let retry = self.crew.settings.unreachable_retry;
                if let Some(server) = &mut self.server {
                    server.reach = Reach::Unreachable;
                }
                self.crew.engine.set_reach(self.hold, Reach::Unreachable, message.clone()).await?;
                if let Some(run) = waiting {
                    self.unreached(&run, message, retry).await?;
                }
                Ok(self.later(retry))
            }
            RemoteError::Refused(message) => {
                self.crew.engine.set_reach(self.hold, Reach::Refused, message.clone()).await?;
                if let Some(run) = waiting {
                    self.waits(&run, WaitReason::Refused, message, None).await?;
                }
                self.give_back().await
            }
            RemoteError::Fenced { highest } => {
                // Whoever still has the lane in the store outbids; whoever has lost it is told so here.
                let to = i64::try_from(highest).unwrap_or(i64::MAX - 1).saturating_add(1);
                self.hold = self.crew.engine.raise_epoch(self.hold, to.max(self.hold.epoch + 1)).await?;
                self.claimed = false;
                self.work = None;
                Ok(self.later(self.crew.settings.poll))
            }
            RemoteError::Unsendable(message) => Err(LaneError::Fault(message)),
            RemoteError::Conflict(id) => {
                let message = format!(
                    "the server has step {id} with other content: another store has used the same ids"
                );
                match waiting {
                    Some(run) => self.conclude_lost(&run, id, message, Proof::None, false).await,
                    None => Err(LaneError::Fault(message)),
                }
            }
        }
    }

    /// Stores that a run waits for its server. As long as the start of its try was not answered, its deadline moves with the wait.
    async fn unreached(&self, run: &Run, message: String, retry: Duration) -> Result<(), LaneError> {
        let next_try = self.crew.engine.clock().now() + retry;
        match self.unanswered(run).await? {
            Some(timeout) => {
                self.tell(run, Event::Unanswered { who: message, next_try, timeout }).await.map(drop)
            }
            None => self.waits(run, WaitReason::Unreachable, message, Some(next_try)).await,
        }
    }

    /// Timeout of the try whose start was not answered yet, if the run has one.
    async fn unanswered(&self, run: &Run) -> Result<Option<Duration>, LaneError> {
        let Some(id) = run.live_step() else { return Ok(None) };
        let record = self.crew.engine.store().read().await?.db().step(id).await?;
        if record.is_none_or(|record| record.state != StepState::Starting) {
            return Ok(None);
        }
        match &self.work {
            Some(work) => Ok(Some(work.step(id)?.timeout)),
            // A run that cannot be planned any more keeps its deadline.
            None => Ok(self.crew.engine.step_timeout(run, id).await.ok()),
        }
    }

    /// The run for whose sake the server was asked.
    async fn waiting_run(&self) -> Result<Option<Run>, LaneError> {
        if let Some(work) = &self.work {
            return Ok(self.crew.engine.store().read().await?.db().run(work.run.id).await?);
        }
        let mut reader = self.crew.engine.store().read().await?;
        let running = reader.db().running(self.hold.server).await?.into_iter().find(|run| run.exclusive);
        match running {
            Some(run) => Ok(Some(run)),
            None => Ok(reader.db().queue(self.hold.server, true, 1).await?.pop()),
        }
    }

    /// Ends a run that its server refuses for good; a try of it that only looked ends with it.
    pub(super) async fn refuse(&self, run: &Run, reason: Reason, message: String) -> Result<Run, LaneError> {
        let end =
            run.live_step().map(|id| failures::end_of(id, &Ended::Rejected { why: message.clone() }, false));
        let failure = failures::plain(run.id, message, self.crew.engine.clock().now());
        let event = Event::Refused(Outcome::Failed, reason, failure);
        let after = self
            .crew
            .engine
            .advance(self.hold, Advance { run: run.id, event, end, titles: [].into() })
            .await?;
        Work::log_end(&after, after.position().attempt);
        Ok(after)
    }

    /// Ends a queued run whose principal may not do this any more (P14).
    pub(super) async fn forbid(&self, run: &Run) -> Result<(), LaneError> {
        let message = format!("{} lost the right to do this before it began", run.principal);
        let failure = failures::plain(run.id, message, self.crew.engine.clock().now());
        let event = Event::Refused(Outcome::Blocked, Reason::Forbidden, failure);
        let run = self.tell(run, event).await?;
        Work::log_end(&run, run.position().attempt);
        Ok(())
    }

    pub(super) fn rest(&mut self) {
        self.permit = None;
    }

    pub(super) const fn has_permit(&self) -> bool {
        self.permit.is_some()
    }
}
