//! Enrollments that could not be moved on: left alone for a while, so that they stand in nobody's way.

use std::collections::HashMap;
use std::time::Duration;

use crate::store::enrollments::Seen;

/// How long each is left alone.
const FOR: Duration = Duration::from_secs(60);
/// At most so many: beyond it the fault is not theirs.
const MAX: usize = 1_000;

#[derive(Default)]
pub(super) struct Aside(HashMap<String, Duration>);

impl Aside {
    /// Whether this one may be moved.
    pub(super) fn lets(&self, seen: &Seen) -> bool {
        !self.0.contains_key(&seen.id)
    }

    /// How many may stand in front of the others.
    pub(super) fn len(&self) -> i64 {
        i64::try_from(self.0.len()).unwrap_or(0)
    }

    pub(super) fn put(&mut self, seen: Seen, now: Duration) {
        if self.0.len() < MAX {
            self.0.insert(seen.id, now + FOR);
        }
    }

    /// Lets those in again whose time has come.
    pub(super) fn forget(&mut self, now: Duration) {
        self.0.retain(|_, until| *until > now);
    }
}
