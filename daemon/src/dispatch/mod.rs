//! Looks for servers with work, takes their lanes, and drives runs through attempts and steps.
//!
//! Everything here is a stepper: one call does at most one thing on a server and stores what came of it, then says when it wants to be
//! called again ([`Next`]). The production driver (`drive`) and the simulator call the same steps. Nothing here writes: the engine does.

mod broken;
mod claim;
mod contested;
mod crew;
mod drain;
mod drive;
mod failures;
mod held;
mod lane;
mod proof;
mod reading;
mod remains;
mod repair;
mod sight;
mod spread;
mod stepping;
mod takeover;
mod tombstones;
mod trouble;
mod window;

use std::collections::BTreeSet;
use std::time::Duration;

pub use crew::Crew;
pub use drain::{Drain, Mode};
pub use drive::run;
pub use lane::Lane;
pub use reading::Readings;

use crate::domain::id::{DaemonId, ServerId};
use crate::engine::LaneError;

/// When a stepper wants to be called again. Being woken always comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// At once.
    Now,
    /// At this time of the monotonic clock, or when woken.
    At(Duration),
    /// When it was given a permit to work, or when woken.
    Permit,
    /// Never: it has given the lane back.
    Gone,
}

/// Durations and limits of the work on servers.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// When a server that cannot be reached is tried again.
    pub unreachable_retry: Duration,
    /// How long a step without a proven end may hold a lane before that is told.
    pub orphan_alarm: Duration,
    /// How often the store is asked even if nobody called.
    pub poll: Duration,
    /// How long a lane without work is kept, warm.
    pub linger: Duration,
    /// How long one look at a running step waits for news.
    pub attach_wait: Duration,
    /// Other daemons may share the store: what they accept rings no bell here.
    pub shared: bool,
}

/// For whom a run waits when the limit is reached.
const LIMIT: &str = "other servers are at work (lane.at_work_max)";

/// Finds servers that need a lane. A stepper.
pub struct Dispatcher {
    crew: Crew,
    polled: Option<Duration>,
    left: spread::Left,
}

/// Lanes taken in one look: bounds how long it takes.
const TAKEN_MAX: i64 = 256;

impl Dispatcher {
    /// A dispatcher that has not looked yet.
    pub fn new(crew: Crew) -> Self {
        Self { crew, polled: None, left: spread::Left::default() }
    }

    /// Takes the lanes of servers that were called for, and now and then of all that have work and no owner.
    pub async fn step(&mut self) -> (Vec<Lane>, Next) {
        let now = self.crew.engine.clock().monotonic();
        // What is called for meanwhile is remembered.
        if !self.crew.lease.is_trusted() || self.crew.drain.is_on() {
            return (Vec::new(), Next::At(now + self.crew.settings.poll));
        }
        let mut servers = BTreeSet::new();
        let mut next = Next::At(self.polled.unwrap_or(now) + self.crew.settings.poll);
        match self.called().await {
            Ok(called) => servers.extend(called),
            Err(error) => {
                tracing::warn!(%error, "looking for called servers failed; the next poll finds them");
            }
        }
        if self.polled.is_none_or(|at| now >= at + self.crew.settings.poll) {
            self.polled = Some(now);
            next = Next::At(now + self.crew.settings.poll);
            match self.poll().await {
                Ok(found) => servers.extend(found),
                Err(error) => tracing::warn!(%error, "looking for work failed; it is tried again"),
            }
        }
        let many = i64::try_from(servers.len()).is_ok_and(|n| n >= TAKEN_MAX);
        let lanes = self.take(servers).await;
        if many && !lanes.is_empty() {
            self.polled = None;
            next = Next::Now;
        }
        (lanes, next)
    }

    /// Servers that were called for, as far as they have work and no owner, and no other daemon that takes them.
    async fn called(&self) -> Result<BTreeSet<ServerId>, LaneError> {
        let mut found = BTreeSet::new();
        for server in self.crew.engine.hub().take_called() {
            found.extend(self.find(Some(server), 1).await?);
        }
        let daemons = self.daemons(&found).await?;
        Ok(spread::called(found, self.crew.engine.me(), &daemons))
    }

    /// Servers that have work and no owner, as far as no other daemon takes them.
    async fn poll(&mut self) -> Result<BTreeSet<ServerId>, LaneError> {
        let found = BTreeSet::from_iter(self.find(None, TAKEN_MAX).await?);
        let daemons = self.daemons(&found).await?;
        Ok(self.left.polled(found, self.crew.engine.me(), &daemons))
    }

    /// The daemons among whom lanes are spread: those that take any. Nobody is asked where there is no lane to take, or no other daemon.
    async fn daemons(&self, found: &BTreeSet<ServerId>) -> Result<Vec<DaemonId>, LaneError> {
        if found.is_empty() || !self.crew.settings.shared {
            return Ok(Vec::new());
        }
        let engine = &self.crew.engine;
        let rows = engine.store().read().await?.db().daemons(engine.clock().now()).await?;
        let id = |text: &str| {
            text.parse().map_err(|_| LaneError::Fault(format!("the store holds daemon id `{text}`")))
        };
        rows.iter().filter(|row| row.serves).map(|row| id(&row.id)).collect()
    }

    async fn find(&self, server: Option<ServerId>, limit: i64) -> Result<Vec<ServerId>, LaneError> {
        let ids = self.crew.engine.store().read().await?.db().lanes_to_take(server, limit).await?;
        ids.iter()
            .map(|id| id.parse().map_err(|_| LaneError::Fault(format!("the store holds server id `{id}`"))))
            .collect()
    }

    async fn take(&self, servers: BTreeSet<ServerId>) -> Vec<Lane> {
        let free = servers.into_iter().filter(|server| !self.crew.engine.hub().is_at_work(*server));
        let taking = free.map(|server| async move { (server, self.crew.engine.take_lane(server).await) });
        let mut lanes = Vec::new();
        for (server, taken) in futures::future::join_all(taking).await {
            match taken {
                Ok(hold) => lanes.push(Lane::new(self.crew.clone(), hold)),
                Err(LaneError::Lost) => tracing::debug!(server_id = %server, "the lane has another owner"),
                Err(error) => {
                    tracing::warn!(server_id = %server, %error, "taking a lane failed; it is tried again");
                }
            }
        }
        lanes
    }
}
