//! Lines of the log that anybody can cause: one a minute, with the number of those that were not written.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often such a line is written at most.
const EVERY: Duration = Duration::from_secs(60);
/// For so many each has a line of its own; all others share one.
const EACH_MAX: usize = 256;

/// How often one kind of line was written, and was not.
#[derive(Debug, Default)]
pub struct Sparse(Mutex<Told>);

/// The same, for each of those whom the line is about: so one who is told of often hides nobody else.
#[derive(Debug, Default)]
pub struct SparseEach(Mutex<HashMap<String, Told>>);

#[derive(Debug, Default)]
struct Told {
    last: Option<Duration>,
    swallowed: u64,
}

impl Told {
    fn is_recent(&self, now: Duration) -> bool {
        self.last.is_some_and(|last| now < last + EVERY)
    }

    fn tell(&mut self, now: Duration) -> Option<u64> {
        if self.is_recent(now) {
            self.swallowed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.swallowed))
    }
}

impl Sparse {
    /// Whether the line is to be written at `now`, by the monotonic clock; then also how many were not since the last.
    pub fn tell(&self, now: Duration) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tell(now)
    }
}

impl SparseEach {
    /// Whether the line about `who` is to be written at `now`; then also how many were not since the last.
    pub fn tell(&self, who: &str, now: Duration) -> Option<u64> {
        let mut each = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = each.get_mut(who) {
            return told.tell(now);
        }
        if each.len() >= EACH_MAX {
            each.retain(|_, told| told.is_recent(now));
        }
        let who = if each.len() < EACH_MAX { who } else { "" };
        each.entry(who.to_owned()).or_default().tell(now)
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

    #[test]
    fn one_who_is_told_of_often_hides_nobody_else_and_many_cost_bounded_lines() {
        let each = SparseEach::default();
        let second = Duration::from_secs;
        assert_eq!([each.tell("ann", second(0)), each.tell("ann", second(1))], [Some(0), None]);
        assert_eq!(each.tell("bob", second(2)), Some(0));
        assert_eq!(each.tell("ann", second(60)), Some(1));
        let told = (0..10_000).filter_map(|n| each.tell(&n.to_string(), second(61))).count();
        assert_eq!(told, EACH_MAX - 1, "all but the two that are there, and one for all others");
        assert_eq!(each.0.lock().unwrap().len(), EACH_MAX + 1);
        assert_eq!(each.tell("later", second(200)), Some(0), "who is long past makes room");
    }
}
