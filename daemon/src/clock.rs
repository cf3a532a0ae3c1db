//! The only "now", the only waiting, the only source of ids and randomness; and how seldom a line is logged that anybody can cause.

mod sparse;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::tz::TimeZone;
use ulid::Ulid;

pub use sparse::{Sparse, SparseEach};

use crate::domain::time::Timestamp;

/// Tells the time, waits, and makes ids. The simulator brings its own.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Wall-clock time: for records and people.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment; never jumps. For every decision about durations.
    fn monotonic(&self) -> Duration;

    /// Waits until [`Clock::monotonic`] has reached `at`.
    async fn sleep_until(&self, at: Duration);

    /// A new id.
    fn ulid(&self) -> Ulid;

    /// A random number.
    fn random(&self) -> u64;
}

/// A time zone by its IANA name, if this machine's time zone data has it. Reads files, and keeps what it has read.
pub fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine for the time")]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine for the time")]
    fn now(&self) -> Timestamp {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp(since_1970.map_or(0, |span| i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    async fn sleep_until(&self, at: Duration) {
        tokio::time::sleep_until((self.origin + at).into()).await;
    }

    fn ulid(&self) -> Ulid {
        let millis = u64::try_from(self.now().0 / 1_000).unwrap_or(0);
        Ulid::from_parts(millis, rand::random())
    }

    fn random(&self) -> u64 {
        rand::random()
    }
}
