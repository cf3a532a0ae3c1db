//! The durations that the rules of state depend on. The configuration fills them in; every rule receives them as an argument. Those that
//! decide by when a run settles are kept with the run when it is accepted, and read from there.

use std::time::Duration;

/// Durations of the rules of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// What a new run gets: how long it may stay queued, when it does not say itself, and how long it may wait between two tries.
    pub queue_limit: Duration,
    /// Pause after the first failed attempt; doubles with each.
    pub backoff_first: Duration,
    /// Longest pause between attempts.
    pub backoff_max: Duration,
    /// What a new run gets, when its steps do not say: from TERM to KILL on the server.
    pub kill_grace: Duration,
    /// What a new run gets: what is added to its last deadline before it is settled by time.
    pub settle_margin: Duration,
    /// Pause before a busy step is tried again.
    pub busy_retry: Duration,
}

impl Timings {
    /// Pause after the given number of failed attempts.
    pub fn backoff(&self, failed_attempts: u32) -> Duration {
        let factor = 1_u32.checked_shl(failed_attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        self.backoff_first.saturating_mul(factor).min(self.backoff_max)
    }

    /// Tries of one step within an attempt: with a pause before each, this many take at least the limit of the wait.
    pub fn tries_max(&self, limit: Duration) -> u32 {
        let pauses = limit.as_micros() / self.busy_retry.as_micros().max(1);
        u32::try_from(pauses).unwrap_or(u32::MAX).saturating_add(1)
    }
}
