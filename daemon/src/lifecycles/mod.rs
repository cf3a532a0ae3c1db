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
use crate::engine::{Engine, LIFECYCLES_MAX, Lease};
use crate::store::enrollments::Seen;
use crate::store::lifecycles::Dues;
use crate::store::{Db, StoreError};

/// Enrollments of each kind in one look, of all lifecycles: bounds memory, and how long a look takes.
const BATCH: usize = 256;
/// Enrollments that are moved together, between two signs of life.
const CHUNK: usize = 64;
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
    /// The lifecycle that was served last: the next look begins after it.
    served: String,
    /// Is told that it lives, on the monotonic clock.
    alive: Box<dyn Fn(Duration) + Send + Sync>,
}

/// What one look has found.
#[derive(Default)]
struct Found {
    seen: Vec<Seen>,
    /// There was more of it than fits a look.
    more: bool,
    /// When the next one is due.
    next: Option<Timestamp>,
}

impl Keeper {
    /// A keeper that has not looked yet. `shared`: other daemons may share the store; `holds`: whether nothing is to be begun for now.
    pub fn new(
        engine: Engine,
        lease: Lease,
        shared: bool,
        holds: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            engine,
            lease,
            shared,
            holds: Box::new(holds),
            aside: Aside::default(),
            served: String::new(),
            alive: Box::new(|_| {}),
        }
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
        let Found { seen, more, next } = self.find(wall).await?;
        let moved = !seen.is_empty();
        self.step_all(seen, mono).await;
        if more && moved {
            return Ok(None);
        }
        let every = if self.shared { POLL } else { LOOK_EVERY };
        let due = next.map(|due| mono + due.since(wall));
        // What was moved may be due again at once: its next stage.
        let soonest = if moved { mono } else { mono + every };
        Ok(Some(due.map_or(soonest, |due| due.min(soonest))))
    }

    /// What is over, what has no more time, and what is due, each of them the oldest first.
    async fn find(&mut self, now: Timestamp) -> Result<Found, StoreError> {
        let mut reader = self.engine.store().read().await?;
        let mut db = reader.db();
        let mut found = Found::default();
        let limit = self.limit(BATCH);
        self.take(&mut found, BATCH, db.runs_over(limit).await?);
        self.take(&mut found, BATCH, db.out_of_time(now, limit).await?);
        self.find_due(&mut db, &mut found, now).await?;
        Ok(found)
    }

    /// What is due, in equal shares of the lifecycles that have something: none stands in another one's way.
    async fn find_due(
        &mut self,
        db: &mut Db<'_>,
        found: &mut Found,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut working = Vec::new();
        for Dues { lifecycle, first, next } in db.dues(now, LIFECYCLES_MAX).await? {
            let Some(until) = lifecycle.works_until(now) else { continue };
            found.next = [found.next, next].into_iter().flatten().min();
            if first.is_some_and(|first| first <= until) {
                working.push((lifecycle, until));
            }
        }
        let turn = working.partition_point(|(lifecycle, _)| lifecycle.code <= self.served);
        let number = working.len().max(1);
        working.rotate_left(turn % number);
        let share = (BATCH / number).max(1);
        found.more |= working.len() > BATCH;
        for (lifecycle, until) in working.into_iter().take(BATCH) {
            let due = db.due(lifecycle.id, until, self.limit(share)).await?;
            self.take(found, share, due);
            self.served = lifecycle.code;
        }
        Ok(())
    }

    /// How many to read so that `most` are left when those are taken out that were put aside.
    fn limit(&self, most: usize) -> i64 {
        i64::try_from(most).unwrap_or(i64::MAX).saturating_add(self.aside.len())
    }

    fn take(&self, found: &mut Found, most: usize, rows: Vec<Seen>) {
        found.more |= i64::try_from(rows.len()).is_ok_and(|len| len >= self.limit(most));
        found.seen.extend(rows.into_iter().filter(|seen| self.aside.lets(seen)).take(most));
    }

    /// Those of a chunk share commits. One that cannot be moved is put aside for a while, so that it stands in nobody's way.
    async fn step_all(&mut self, seen: Vec<Seen>, now: Duration) {
        for chunk in seen.chunks(CHUNK) {
            (self.alive)(self.engine.clock().monotonic());
            let stepping = chunk.iter().map(async |seen| (seen, self.engine.step_enrollment(seen).await));
            for (seen, stepped) in futures::future::join_all(stepping).await {
                if let Err(error) = stepped {
                    tracing::error!(enrollment = seen.id, %error, "an enrollment could not be moved on; it is tried again");
                    self.aside.put(seen.clone(), now);
                }
            }
        }
    }
}
