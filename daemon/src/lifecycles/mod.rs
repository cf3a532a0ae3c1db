//! Moves enrollments on: what is due, what is over, and what time has ended. A stepper, like the dispatcher.
//!
//! It finds and asks; the engine decides and writes, and what was moved meanwhile by another daemon is left alone. So it keeps nothing of
//! an enrollment, and a daemon that dies loses nothing. It never touches a server, and does not know what a stage does.

mod aside;
mod calls;
mod drive;

use std::time::Duration;

pub use calls::Calls;
pub use drive::run;

use self::aside::Aside;
use crate::domain::time::Timestamp;
use crate::engine::{Engine, Lease};
use crate::store::StoreError;
use crate::store::enrollments::Seen;

/// Enrollments of each kind in one look: bounds memory, and how long a look takes.
const BATCH: i64 = 256;
/// Lifecycles that are read at once.
const LIFECYCLES: i64 = 1_000;
/// How long it rests at most. What is committed wakes it, at least every minute the schedule `settled.enrollments`.
pub const LOOK_EVERY: Duration = Duration::from_secs(600);
/// The same while other daemons share the store: what they commit may ring no bell here.
const POLL: Duration = Duration::from_secs(1);

/// Moves enrollments on.
pub struct Keeper {
    engine: Engine,
    lease: Lease,
    shared: bool,
    /// Whether nothing is to be begun for now.
    holds: Box<dyn Fn() -> bool + Send + Sync>,
    aside: Aside,
}

impl Keeper {
    /// A keeper that has not looked yet. `shared`: other daemons may share the store; `holds`: whether nothing is to be begun for now.
    pub fn new(
        engine: Engine,
        lease: Lease,
        shared: bool,
        holds: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { engine, lease, shared, holds: Box::new(holds), aside: Aside::default() }
    }

    /// One look; answers when it wants to look again, on the monotonic clock. Being woken comes first.
    pub async fn step(&mut self) -> Duration {
        let now = self.engine.clock().monotonic();
        if !self.lease.is_trusted() || (self.holds)() {
            return now + POLL;
        }
        match self.look().await {
            Ok(Some(next)) => next.max(now),
            Ok(None) => now,
            Err(error) => {
                tracing::warn!(%error, "looking for enrollments that are due failed; it is tried again");
                now + POLL
            }
        }
    }

    /// Moves what it finds; answers when to look again, `None`: at once, because there was more than fits a look.
    async fn look(&mut self) -> Result<Option<Duration>, StoreError> {
        let (wall, mono) = (self.engine.clock().now(), self.engine.clock().monotonic());
        self.aside.forget(mono);
        let limit = BATCH + self.aside.len();
        let (found, next_due) = self.find(wall, limit).await?;
        let full = found.iter().any(|kind| i64::try_from(kind.len()).is_ok_and(|len| len >= limit));
        let seen: Vec<Seen> = found.into_iter().flatten().filter(|seen| self.aside.lets(seen)).collect();
        let moved = !seen.is_empty();
        self.step_all(seen, mono).await;
        if full && moved {
            return Ok(None);
        }
        let every = if self.shared { POLL } else { LOOK_EVERY };
        let due = next_due.map(|due| mono + due.since(wall));
        // What was moved may be due again at once: its next stage.
        let soonest = if moved { mono } else { mono + every };
        Ok(Some(due.map_or(soonest, |due| due.min(soonest))))
    }

    /// What is over, what has no more time, and what is due, each of them the oldest first; and when the next one is due.
    async fn find(
        &self,
        now: Timestamp,
        limit: i64,
    ) -> Result<(Vec<Vec<Seen>>, Option<Timestamp>), StoreError> {
        let mut reader = self.engine.store().read().await?;
        let mut db = reader.db();
        let mut found = vec![db.runs_over(limit).await?, db.out_of_time(now, limit).await?];
        let mut next: Option<Timestamp> = None;
        for lifecycle in db.lifecycles("", LIFECYCLES).await? {
            let Some(until) = lifecycle.works_until(now) else { continue };
            found.push(db.due(lifecycle.id, until, limit).await?);
            let due = db.next_due(lifecycle.id).await?.filter(|due| *due > now);
            next = [next, due].into_iter().flatten().min();
        }
        Ok((found, next))
    }

    /// They share commits. One that cannot be moved is put aside for a while, so that it stands in nobody's way.
    async fn step_all(&mut self, seen: Vec<Seen>, now: Duration) {
        let stepping = seen.into_iter().map(async |seen| {
            let stepped = self.engine.step_enrollment(&seen).await;
            (seen, stepped)
        });
        for (seen, stepped) in futures::future::join_all(stepping).await {
            if let Err(error) = stepped {
                tracing::error!(enrollment = seen.id, %error, "an enrollment could not be moved on; it is tried again");
                self.aside.put(seen, now);
            }
        }
    }
}
