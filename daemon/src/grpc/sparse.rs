//! Lines of the log that anybody can cause: one a minute, with the number of those that were not written.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often such a line is written at most.
const EVERY: Duration = Duration::from_secs(60);

/// How often one kind of line was written, and was not.
#[derive(Default)]
pub(super) struct Sparse(Mutex<Told>);

#[derive(Default)]
struct Told {
    last: Option<Duration>,
    swallowed: u64,
}

impl Sparse {
    /// Whether the line is to be written at `now`, by the monotonic clock; then also how many were not since the last.
    pub(super) fn tell(&self, now: Duration) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last.is_some_and(|last| now < last + EVERY) {
            told.swallowed += 1;
            return None;
        }
        told.last = Some(now);
        Some(std::mem::take(&mut told.swallowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_costs_a_line_a_minute_and_is_counted() {
        let sparse = Sparse::default();
        let told: Vec<_> = (0..180).filter_map(|second| sparse.tell(Duration::from_secs(second))).collect();
        assert_eq!(told, [0, 59, 59]);
    }
}
