//! A lane: one server's exclusive queue in the hands of this daemon.
//!
//! `step` looks at what is stored and does the one next thing: find the run that is next, claim the epoch, start, follow or end one of its
//! steps. Read-only runs are not its business, see `reading`. It keeps nothing that the store does not know, except where it stands in a step's output.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::broken::Panics;
use super::crew::Right;
use super::reading::Readings;
use super::stepping::Work;
use super::{Crew, LIMIT, Next};
use crate::domain::id::ServerId;
use crate::domain::operation::Operation;
use crate::domain::run::{Event, Run};
use crate::domain::server::{Reach, Server};
use crate::domain::time::Timestamp;
use crate::domain::verdict::Reason;
use crate::domain::waiting::WaitReason;
use crate::engine::{Advance, LaneError, LaneHold, log};
use crate::remote::Target;
use crate::store::lanes::UnresolvedRow;

/// A lane at work.
pub struct Lane {
    pub(super) crew: Crew,
    pub(super) hold: LaneHold,
    pub(super) wake: Arc<Notify>,
    pub(super) server: Option<Server>,
    pub(super) target: Option<Target>,
    pub(super) work: Option<Work>,
    pub(super) claimed: bool,
    idle_since: Option<Duration>,
    looked_at: Duration,
    pub(super) permit: Option<OwnedSemaphorePermit>,
    pub(super) panics: Panics,
}

/// Where a server is: with the whole way, because the same address may be another machine behind another jump host.
fn place(target: &Target) -> Vec<(&str, u16, &str)> {
    let way = std::iter::successors(Some(target), |hop| hop.via.as_deref());
    way.map(|hop| (hop.host.as_str(), hop.port, hop.user.as_str())).collect()
}

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
            panics: Panics::default(),
        }
    }

    /// The name of its server; its id, until the server was read.
    pub(super) fn name(&self) -> String {
        self.target.as_ref().map_or_else(|| self.hold.server.to_string(), |target| target.name.clone())
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

    /// What answers read-only runs beside it.
    pub fn readings(&self) -> Readings {
        Readings::new(self.crew.clone(), self.hold.server, self.wake())
    }

    /// Gives the lane back where it stands: what runs on its server goes on there.
    pub async fn hand_over(&mut self) {
        match self.give_back().await {
            // Lost: its own last step has given it back, or somebody was faster.
            Ok(_) | Err(LaneError::Lost) => {}
            Err(error) => {
                tracing::warn!(server = self.name(), %error, "a lane was not given back; others get it with the end of the lease");
            }
        }
    }

    /// The last act of its driver.
    pub fn left(self) {
        self.crew.engine.hub().leave(self.hold.server);
    }

    /// Does the next thing.
    pub async fn step(&mut self) -> Next {
        match self.try_step().await {
            Ok(next) => next,
            Err(LaneError::Lost | LaneError::Illegal(_)) => self.moved().await,
            Err(LaneError::Unavailable(error)) => {
                tracing::warn!(server = self.name(), %error, "the store does not answer; the lane waits");
                self.later(self.crew.settings.poll)
            }
            Err(LaneError::Fault(error)) => {
                tracing::error!(server = self.name(), %error, "a lane cannot go on; it tries again");
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
        if let Some(next) = self.mend().await? {
            return Ok(next);
        }
        if self.server.is_none()
            && let Some(next) = self.look_around().await?
        {
            return Ok(next);
        }
        if self.work.is_none() {
            return self.find_work().await;
        }
        self.step_work().await
    }

    /// Reads the server again. Before the first contact with it, and while it refuses, only read-only runs have something to do there.
    async fn look_around(&mut self) -> Result<Option<Next>, LaneError> {
        let Some(server) = self.crew.engine.store().read().await?.db().server(self.hold.server).await? else {
            return Ok(Some(Next::Gone));
        };
        self.looked_at = self.crew.engine.clock().monotonic();
        let target = self.crew.target_of(&server).await?;
        if self.target.as_ref().is_some_and(|before| place(before) != place(&target)) {
            // Someone has edited the server: what is there now knows nothing of our epoch.
            self.claimed = false;
        }
        self.target = Some(target);
        let refused = server.reach == Reach::Refused;
        let reading = self.crew.reading(&server).await?;
        if reading.is_some_and(|run| refused || run.operation == Operation::Register) {
            return Ok(Some(self.later(self.crew.settings.poll)));
        }
        if refused {
            return self.give_back().await.map(Some);
        }
        self.server = Some(server);
        Ok(None)
    }

    pub(super) fn target(&self) -> Result<Target, LaneError> {
        self.target.clone().ok_or(LaneError::Lost)
    }

    /// The run that goes on, or the one that is next.
    async fn find_work(&mut self) -> Result<Next, LaneError> {
        let mut reader = self.crew.engine.store().read().await?;
        let mut db = reader.db();
        let running = db.running(self.hold.server).await?.into_iter().find(|run| run.exclusive);
        let head = match running {
            Some(run) => Some(run),
            None if self.crew.drain.is_on() => None,
            None => db.queue(self.hold.server, true, 1).await?.pop(),
        };
        let open = db.unresolved(self.hold.server).await?;
        drop(reader);
        if open.is_empty() && head.as_ref().is_none_or(Run::is_queued) {
            self.set_free().await?;
        }
        self.told_of(&open).await?;
        let Some(run) = head else { return self.without_work(&open).await };
        self.idle_since = None;
        if run.is_queued()
            && open.is_empty()
            && let Some(next) = self.closed(&run).await?
        {
            return Ok(next);
        }
        if run.is_queued()
            && let Some(next) = self.not_allowed(&run).await?
        {
            return Ok(next);
        }
        if !self.claimed {
            return self.claim().await;
        }
        if run.is_queued()
            && let Some(next) = self.held_up(&run, &open).await?
        {
            return Ok(next);
        }
        self.begin(run).await
    }

    /// No run waits. What is not proven to have ended is looked after all the same, so that the lane is free when the next one comes; but
    /// not while the daemon drains, since that may last for ever.
    async fn without_work(&mut self, open: &[UnresolvedRow]) -> Result<Next, LaneError> {
        let paused = self.server.as_ref().is_some_and(|server| server.reach == Reach::Paused);
        if open.is_empty() || paused || self.crew.drain.is_on() {
            return self.idle().await;
        }
        if !self.claimed {
            return self.claim().await;
        }
        let next = self.unresolved(None, open).await?;
        Ok(next.unwrap_or(Next::Now))
    }

    /// Whether whoever asked for a queued run may still have it done, before anything has touched the server. Others wait for it as they
    /// do for any run before them: what they ask for may build on it.
    async fn not_allowed(&mut self, run: &Run) -> Result<Option<Next>, LaneError> {
        let server = self.server.as_ref().ok_or(LaneError::Lost)?;
        if server.reach == Reach::Paused {
            return Ok(None);
        }
        match self.crew.right(self.hold, server, run).await? {
            Right::There => Ok(None),
            Right::Gone => Ok(Some(Next::Now)),
            Right::Unknown { retry } => {
                self.rest();
                Ok(Some(self.later(retry)))
            }
        }
    }

    /// What keeps a queued run from starting: a pause, an unproven step, the limit of servers at work.
    async fn held_up(&mut self, run: &Run, open: &[UnresolvedRow]) -> Result<Option<Next>, LaneError> {
        if let Some(server) = self.server.as_ref().filter(|s| s.reach == Reach::Paused) {
            let who = server.reach_detail.clone();
            self.waits(run, WaitReason::Paused, who, None).await?;
            return self.idle().await.map(Some);
        }
        if let Some(next) = self.unresolved(Some(run), open).await? {
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

    async fn begin(&mut self, run: Run) -> Result<Next, LaneError> {
        let prepared = match self.crew.engine.prepare_run(&run).await {
            Ok(prepared) => prepared,
            Err(refusal) => return self.cannot_begin(run, refusal).await,
        };
        if let Some((reason, why)) = prepared.obstacle {
            self.crew.block(self.hold, &run, reason, why).await?;
            return Ok(Next::Now);
        }
        if run.is_queued() {
            let timeout = prepared.plan.steps.first().map_or(std::time::Duration::ZERO, |step| step.timeout);
            let event = Event::Started { timeout };
            let outlines = Arc::clone(&prepared.outlines);
            let run = self
                .crew
                .engine
                .advance(self.hold, Advance { run: run.id, event, end: None, outlines })
                .await?;
            log::attempt_starts(&run);
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
            _ => self.crew.refuse(self.hold, &run, Reason::Internal, message).await.map(|_| Next::Now),
        }
    }

    /// Nothing to do: the lane is kept warm for a while, then given back. While the daemon drains, others may want it at once.
    async fn idle(&mut self) -> Result<Next, LaneError> {
        self.permit = None;
        let now = self.crew.engine.clock().monotonic();
        let Some(server) = &self.server else { return Ok(Next::Now) };
        let reading = self.crew.reading(server).await?;
        if reading.is_some_and(|run| !run.is_queued() || server.reach != Reach::Paused) {
            return Ok(Next::At(now + self.crew.settings.poll));
        }
        let since = *self.idle_since.get_or_insert(now);
        let until = since + self.crew.settings.linger;
        if now < until && !self.crew.drain.is_on() {
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
        next_try: Option<Timestamp>,
    ) -> Result<(), LaneError> {
        self.crew.waits(self.hold, run, reason, who, next_try).await
    }

    pub(super) async fn tell(&self, run: &Run, event: Event) -> Result<Run, LaneError> {
        let outlines = self.work.as_ref().map_or_else(|| Arc::from([]), Work::outlines);
        self.crew.engine.advance(self.hold, Advance { run: run.id, event, end: None, outlines }).await
    }

    pub(super) fn later(&mut self, wait: Duration) -> Next {
        Next::At(self.crew.engine.clock().monotonic() + wait)
    }

    /// The run for whose sake the server was asked.
    pub(super) async fn waiting_run(&self) -> Result<Option<Run>, LaneError> {
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

    pub(super) fn rest(&mut self) {
        self.permit = None;
    }

    pub(super) const fn has_permit(&self) -> bool {
        self.permit.is_some()
    }
}
