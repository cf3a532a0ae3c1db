//! What the store measures: how long it takes to read and to commit, and what the commits of this daemon have done to runs.
//!
//! What runs have come to is noted while a unit is written and counted after its commit, so what was rolled back is not counted, and
//! each end of a run is counted by one daemon.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::clock::Clock;
use crate::domain::id::RunId;
use crate::domain::run::{Run, RunState, Subject};
use crate::figures::{By, Count, Counts, Spread};

/// Borders of what takes milliseconds, in seconds.
const QUICK_S: [f64; 10] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
/// Borders of what takes seconds to hours.
const LONG_S: [f64; 10] = [1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0];
/// Borders of how late time settles.
const LAG_S: [f64; 7] = [1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0];
/// Borders of how many commands a commit has.
const BATCH: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// From here on a commit counts as slow.
const SLOW: Duration = Duration::from_secs(2);

/// Which runs have ended: of which package and operation, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// The package; empty for what is done to the server itself.
    pub package: String,
    /// The operation.
    pub operation: String,
    /// The word of the outcome.
    pub outcome: &'static str,
}

/// The figures of a store, since it was opened.
pub struct Measured {
    clock: Arc<dyn Clock>,
    /// How long something was read at a time, from the wait for a connection until it was given back.
    pub reads: Spread,
    /// How long commits took, from the first command to what was stored.
    pub commits: Spread,
    /// How many commands each had.
    pub batches: Spread,
    /// Commits that did not come about, because of the database or of a command among them.
    pub failed: Count,
    /// Runs that have ended.
    pub ended: Counts<Kind>,
    /// From the acceptance of a run to its end, by the word of its outcome.
    pub ran: By<&'static str, Spread>,
    /// From the acceptance of a run to its first start.
    pub lane_wait: Spread,
    /// How long after its time a run was settled by time.
    pub settle_lag: Spread,
    /// How many commits were slow, one after the other up to the last one, and how long that took, in microseconds.
    slow: (AtomicU64, AtomicU64),
    /// Is told of each run that has ended.
    on_end: OnceLock<Box<dyn Fn(RunId) + Send + Sync>>,
}

impl Measured {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            reads: Spread::new(&QUICK_S),
            commits: Spread::new(&QUICK_S),
            batches: Spread::new(&BATCH),
            failed: Count::default(),
            ended: Counts::default(),
            ran: By::default(),
            lane_wait: Spread::new(&LONG_S),
            settle_lag: Spread::new(&LAG_S),
            slow: Default::default(),
            on_end: OnceLock::new(),
        }
    }

    /// Sets who is told, right after the commit of this daemon, that a run has ended. Whoever comes first is.
    pub fn on_end(&self, on_end: impl Fn(RunId) + Send + Sync + 'static) {
        drop(self.on_end.set(Box::new(on_end)));
    }

    pub(super) fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn note(&self, took: Duration) {
        self.slow.1.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if took < SLOW {
            self.slow.0.store(0, Ordering::Relaxed);
        } else {
            self.slow.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many commits were slow, one after the other up to the last one, and how long the last one took.
    pub fn slow(&self) -> (u64, Duration) {
        let (slow, took) = (&self.slow.0, &self.slow.1);
        (slow.load(Ordering::Relaxed), Duration::from_micros(took.load(Ordering::Relaxed)))
    }

    /// Something is read from here on, until what is returned is dropped.
    pub(super) fn reading(self: &Arc<Self>) -> Reading {
        Reading { measured: Arc::clone(self), since: self.monotonic() }
    }

    /// A commit with so many commands is durable; it began at `since`.
    pub(super) fn committed(&self, since: Duration, commands: usize, moves: &[Move]) {
        let took = self.monotonic().saturating_sub(since);
        self.commits.took(took);
        self.note(took);
        self.batches.many(commands);
        for moved in moves {
            match moved {
                Move::Started { waited } => self.lane_wait.took(*waited),
                Move::Ended { run, kind, took, late } => {
                    self.ended.add(kind.clone());
                    self.ran.of(kind.outcome, || Spread::new(&LONG_S)).took(*took);
                    if let Some(late) = late {
                        self.settle_lag.took(*late);
                    }
                    if let Some(on_end) = self.on_end.get() {
                        on_end(*run);
                    }
                }
            }
        }
    }
}

/// Measures how long something is read.
pub(super) struct Reading {
    measured: Arc<Measured>,
    since: Duration,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.measured.reads.took(self.measured.monotonic().saturating_sub(self.since));
    }
}

/// What a unit does to a run, as far as it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Move {
    /// It starts.
    Started {
        /// Since its acceptance.
        waited: Duration,
    },
    /// It ends.
    Ended {
        /// Which run.
        run: RunId,
        /// How.
        kind: Kind,
        /// Since its acceptance.
        took: Duration,
        /// How long after its time, if time has ended it.
        late: Option<Duration>,
    },
}

impl Move {
    /// What becomes of a run that was `before`, if that is known.
    pub(super) fn of(before: Option<&Run>, run: &Run) -> Option<Self> {
        match &run.state {
            RunState::Queued { .. } => None,
            RunState::Running(progress) => before
                .is_some_and(Run::is_queued)
                .then(|| Self::Started { waited: progress.started_at.since(run.accepted_at) }),
            RunState::Completed { verdict, .. } => {
                let package = match &run.subject {
                    Subject::Server => "",
                    Subject::Resource { package, .. } => package,
                };
                let due = before.filter(|_| verdict.reconciled).and_then(Run::settles_by);
                let kind = Kind {
                    package: package.to_owned(),
                    operation: run.operation.as_str().to_owned(),
                    outcome: verdict.outcome.as_str(),
                };
                let (took, late) = (verdict.at.since(run.accepted_at), due.map(|due| verdict.at.since(due)));
                Some(Self::Ended { run: run.id, kind, took, late })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn slow_commits_are_counted_until_a_quick_one() {
        let measured = Measured::new(Arc::new(SystemClock::new()));
        measured.note(SLOW);
        measured.note(SLOW * 2);
        assert_eq!(measured.slow(), (2, SLOW * 2));
        measured.note(Duration::from_millis(5));
        assert_eq!(measured.slow(), (0, Duration::from_millis(5)));
    }
}
