//! What a part counts and measures of itself: counters, how many there are now, and how long things take.
//!
//! Each part has its own, and whoever shows figures asks the part, so there is nothing global and two daemons in one process do not mix.
//! Counting is an addition in memory, whether anybody asks or not, and takes no more room with time. It knows nothing of names or of text.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Counts up.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn add(&self) {
        self.add_many(1);
    }

    /// So many more.
    pub fn add_many(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many there are now.
#[derive(Debug, Clone, Default)]
pub struct Present(Arc<AtomicUsize>);

impl Present {
    /// One more, until what is returned is dropped.
    pub fn enter(&self) -> Here {
        self.0.fetch_add(1, Ordering::Relaxed);
        Here(Arc::clone(&self.0))
    }

    /// How many.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One of those that are there.
#[derive(Debug)]
pub struct Here(Arc<AtomicUsize>);

impl Drop for Here {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Something for each label. Labels have to come from a bounded set: they are never forgotten.
#[derive(Debug)]
pub struct By<L, T>(Mutex<BTreeMap<L, Arc<T>>>);

impl<L, T> Default for By<L, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<L: Ord + Clone, T> By<L, T> {
    /// What is of this label; made, if it is the first.
    pub fn of(&self, label: L, make: impl FnOnce() -> T) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(label).or_insert_with(|| Arc::new(make())))
    }

    /// All of them, in order of label.
    pub fn all(&self) -> Vec<(L, Arc<T>)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(label, of)| (label.clone(), Arc::clone(of))).collect()
    }
}

/// Counts by label.
pub type Counts<L> = By<L, Count>;

impl<L: Ord + Clone> Counts<L> {
    /// One more of this label.
    pub fn add(&self, label: L) {
        self.of(label, Count::default).add();
    }
}

/// How values are spread: how many are below each of some borders.
#[derive(Debug)]
pub struct Spread {
    borders: &'static [f64],
    /// One for each border, and one for what is beyond the last.
    counts: Vec<AtomicU64>,
    sum_millionths: AtomicU64,
}

/// A spread as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// How many values are not above each border.
    pub below: Vec<(f64, u64)>,
    /// How many there are.
    pub count: u64,
    /// All of them together.
    pub sum: f64,
}

impl Spread {
    /// With these borders, which rise.
    pub fn new(borders: &'static [f64]) -> Self {
        let counts = std::iter::repeat_with(AtomicU64::default).take(borders.len() + 1).collect();
        Self { borders, counts, sum_millionths: AtomicU64::default() }
    }

    /// Something took so long; the borders are seconds.
    pub fn took(&self, time: Duration) {
        self.note(time.as_secs_f64(), u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// So many of something; the borders are numbers.
    #[expect(clippy::cast_precision_loss, reason = "nothing here comes near 2^52")]
    pub fn many(&self, n: usize) {
        self.note(n as f64, (n as u64).saturating_mul(1_000_000));
    }

    fn note(&self, value: f64, millionths: u64) {
        let place = self.borders.partition_point(|border| *border < value);
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        self.sum_millionths.fetch_add(millionths, Ordering::Relaxed);
    }

    /// How it stands.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a sum of measurements need not be exact beyond 2^52 millionths"
    )]
    pub fn read(&self) -> Reading {
        let mut count = 0;
        let mut up_to = |of: &AtomicU64| {
            count += of.load(Ordering::Relaxed);
            count
        };
        let below = self.borders.iter().zip(&self.counts).map(|(border, of)| (*border, up_to(of))).collect();
        self.counts.last().map(&mut up_to);
        Reading { below, count, sum: self.sum_millionths.load(Ordering::Relaxed) as f64 / 1e6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_at_every_border_that_it_does_not_exceed() {
        let spread = Spread::new(&[0.1, 1.0]);
        for millis in [100, 101, 1_000, 5_000] {
            spread.took(Duration::from_millis(millis));
        }
        let read = spread.read();
        assert_eq!(read.below, [(0.1, 1), (1.0, 3)]);
        assert_eq!(read.count, 4);
        assert!((read.sum - 6.201).abs() < 1e-9, "{read:?}");
    }

    #[test]
    fn who_is_there_is_counted_until_it_goes() {
        let present = Present::default();
        let (one, _two) = (present.enter(), present.enter());
        drop(one);
        assert_eq!(present.get(), 1);
    }

    #[test]
    fn labels_are_counted_apart() {
        let counts = Counts::default();
        for label in ["b", "a", "b"] {
            counts.add(label);
        }
        let all: Vec<_> = counts.all().into_iter().map(|(label, count)| (label, count.get())).collect();
        assert_eq!(all, [("a", 1), ("b", 2)]);
    }
}
