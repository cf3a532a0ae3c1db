//! Many worlds at once: each lives on a thread of its own, as many at a time as the machine has cores.

use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::random::{Story, live};

/// Lives the worlds of these seeds; what became of each, in the order of the seeds.
pub fn live_all(seeds: Range<u64>) -> Vec<(u64, anyhow::Result<Story>)> {
    let next = AtomicU64::new(seeds.start);
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut stories: Vec<_> = std::thread::scope(|scope| {
        let at_work: Vec<_> = (0..cores).map(|_| scope.spawn(|| take_turns(&next, seeds.end))).collect();
        at_work.into_iter().flat_map(|thread| thread.join().unwrap_or_else(broken)).collect()
    });
    stories.sort_by_key(|(seed, _)| *seed);
    stories
}

/// Lives one world after the other, until all are taken.
fn take_turns(next: &AtomicU64, end: u64) -> Vec<(u64, anyhow::Result<Story>)> {
    let seeds = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < end));
    seeds.map(|seed| (seed, live_one(seed))).collect()
}

fn live_one(seed: u64) -> anyhow::Result<Story> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(live(seed, None))
}

/// A world that panics says where it did; the panic goes on.
fn broken<T>(panic: Box<dyn std::any::Any + Send>) -> T {
    std::panic::resume_unwind(panic)
}
