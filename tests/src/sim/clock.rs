//! A clock that moves only when the simulator says so, with ids and random numbers from a seed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use settled::clock::Clock;
use settled::domain::time::Timestamp;
use tokio::sync::watch;
use ulid::Ulid;

/// Where the wall clock begins: 2026-01-01 UTC.
const BEGIN: Timestamp = Timestamp(1_767_225_600_000_000);

/// The simulator's clock.
pub struct SimClock {
    now: watch::Sender<Duration>,
    random: Mutex<StdRng>,
    /// Ids made so far: the order of ids is the order in which they were made, also within one instant.
    ids: AtomicU64,
    /// What the wall clock is ahead of where it should be, in microseconds, and when it jumped last.
    jumped: Mutex<(i64, Option<Duration>)>,
}

impl SimClock {
    /// A clock at its beginning.
    pub fn new(seed: u64) -> Self {
        Self {
            now: watch::Sender::new(Duration::ZERO),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            ids: AtomicU64::new(0),
            jumped: Mutex::default(),
        }
    }

    /// A clock whose wall shows this time at the beginning.
    pub fn at(seed: u64, begin: Timestamp) -> Self {
        Self { jumped: Mutex::new((begin.0 - BEGIN.0, None)), ..Self::new(seed) }
    }

    /// Moves to this time; never back.
    pub fn move_to(&self, at: Duration) {
        self.now.send_modify(|now| *now = at.max(*now));
    }

    /// The wall clock jumps; the monotonic clock does not notice.
    pub fn jump(&self, by: Duration) {
        let mut jumped = self.jumped.lock().unwrap_or_else(PoisonError::into_inner);
        *jumped = (jumped.0 + i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Some(self.monotonic()));
    }

    /// The world stood still for a while and nobody is to blame: what is late now gets its time anew, as after a jump.
    pub fn forgive(&self) {
        self.jump(Duration::ZERO);
    }

    /// When the wall clock jumped last, on the monotonic clock.
    pub fn last_jump(&self) -> Option<Duration> {
        self.jumped.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// The seed's random numbers.
    fn random_numbers(&self) -> MutexGuard<'_, StdRng> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let (jumped, _) = *self.jumped.lock().unwrap_or_else(PoisonError::into_inner);
        Timestamp((BEGIN + self.monotonic()).0.saturating_add(jumped))
    }

    fn monotonic(&self) -> Duration {
        *self.now.borrow()
    }

    async fn sleep_until(&self, at: Duration) {
        let mut now = self.now.subscribe();
        // The sender is ours, so waiting cannot fail.
        drop(now.wait_for(|now| *now >= at).await);
    }

    fn ulid(&self) -> Ulid {
        let millis = u64::try_from(self.now().0 / 1_000).unwrap_or(0);
        let made = u128::from(self.ids.fetch_add(1, Ordering::Relaxed));
        Ulid::from_parts(millis, (made << 40) | u128::from(self.random() >> 24))
    }

    fn random(&self) -> u64 {
        self.random_numbers().next_u64()
    }
}
