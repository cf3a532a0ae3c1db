//! The durations that the rules of state depend on. The configuration fills them in; every rule receives them as an argument.

use std::time::Duration;

/// Durations of the rules of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// How long a run may stay queued, when it does not say itself.
    pub queue_limit: Duration,
    /// Pause after the first failed attempt; doubles with each.
    pub backoff_first: Duration,
    /// Longest pause between attempts.
    pub backoff_max: Duration,
    /// From TERM to KILL on the server.
    pub kill_grace: Duration,
    /// What is added to the last deadline before a run is settled by time.
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

    /// Tries of one step within an attempt: with a pause before each, this many take at least the queue limit.
    pub fn tries_max(&self) -> u32 {
        let pauses = self.queue_limit.as_micros() / self.busy_retry.as_micros().max(1);
        u32::try_from(pauses).unwrap_or(u32::MAX).saturating_add(1)
    }
}
