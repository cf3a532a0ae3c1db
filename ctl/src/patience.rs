//! How long to bear with a daemon that went away, and how often to look. Pure: time is handed in.

use std::time::{Duration, Instant};

/// The first pause before looking again; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// The state of one's patience.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    heard: Instant,
    next: Duration,
}

impl Patience {
    /// Patience for `limit` since something was last heard.
    pub(crate) fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, heard: now, next: FIRST }
    }

    /// Something was heard: patience is whole again.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.next = FIRST;
    }

    /// How long to wait before looking again; nothing when patience is at its end.
    pub(crate) fn pause(&mut self, now: Instant) -> Option<Duration> {
        let left = self.limit.checked_sub(now.saturating_duration_since(self.heard))?;
        if left.is_zero() {
            return None;
        }
        let pause = self.next.min(left);
        self.next = (self.next * 2).min(LONGEST);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn patience_grows_longer_steps_and_ends_at_its_limit() {
        let start = clock::instant();
        let mut patience = Patience::new(Duration::from_mins(1), start);
        let mut now = start;
        let mut looks = 0;
        while let Some(pause) = patience.pause(now) {
            assert!(pause <= LONGEST);
            now += pause;
            looks += 1;
        }
        assert_eq!(now - start, Duration::from_mins(1));
        assert!((10..30).contains(&looks), "{looks}");
        patience.heard(now);
        assert_eq!(patience.pause(now), Some(FIRST));
    }
}
