//! Brings to an end what time has overtaken. Takes no input: it is woken or periodic, finds, lets the domain judge, settles through the
//! engine like anyone else, and answers counts. Doing it twice changes nothing.
//!
//! Time settles only while a daemon runs: for a while after a start, after the lease was lost, after a sleep of the process and after a
//! jump of the wall clock nothing is settled, so that servers can be asked first.

use std::time::Duration;

use crate::domain::id::RunId;
use crate::domain::time::Timestamp;
use crate::engine::{Engine, Lease, Settled, log};
use crate::store::StoreError;

/// How long nothing is settled by time after a start, a sleep, a lost lease or a jump of the wall clock.
const GRACE: Duration = Duration::from_secs(60);
/// A difference between wall clock and monotonic clock that counts as a jump.
const JUMP: Duration = Duration::from_secs(30);
/// Looks that may be missed before the process is taken to have slept.
const MISSED_MAX: u32 = 3;
/// Runs looked at in one go: bounds how long a look takes.
const BATCH: i64 = 256;

/// The figure of how long after its time a run was settled, in seconds.
pub const SETTLE_LAG: &str = "settled_settle_lag_seconds";

/// What a look found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Open runs.
    pub examined: u64,
    /// Runs that were settled.
    pub settled: Vec<RunId>,
    /// Lanes of dead daemons that were freed.
    pub lanes_released: u64,
    /// Nothing was settled, because this daemon has not run for long enough.
    pub in_grace: bool,
}

/// Why a look could not be finished. Nothing is half done.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Finds what is overdue.
pub struct Reconciler {
    engine: Engine,
    lease: Lease,
    every: Duration,
    grace_from: Duration,
    last: Option<(Timestamp, Duration)>,
}

impl Reconciler {
    /// A reconciler of a daemon that starts now. It is to be called `every` so often, or more often.
    pub fn new(engine: Engine, lease: Lease, every: Duration) -> Self {
        let grace_from = engine.clock().monotonic();
        Self { engine, lease, every, grace_from, last: None }
    }

    /// One look.
    pub async fn step(&mut self) -> Result<Report, ReconcileError> {
        let mut report = Report::default();
        if !self.lease.is_trusted() {
            return Ok(report);
        }
        report.lanes_released = self.engine.release_dead(false).await?;
        report.examined =
            u64::try_from(self.engine.store().read().await?.db().open_runs().await?).unwrap_or(0);
        report.in_grace = self.in_grace();
        if report.in_grace {
            return Ok(report);
        }
        let overdue =
            self.engine.store().read().await?.db().overdue(self.engine.clock().now(), BATCH).await?;
        for run in overdue {
            if !self.lease.is_trusted() {
                break;
            }
            let due = run.settles_by(self.engine.timings());
            match self.engine.settle_overdue(run.id).await {
                Ok(Settled::Now(run)) => {
                    if let Some(due) = due {
                        let lag = self.engine.clock().now().since(due);
                        metrics::histogram!(SETTLE_LAG).record(lag.as_secs_f64());
                    }
                    log::settled_by_time(&run);
                    report.settled.push(run.id);
                }
                Ok(Settled::NotNeeded) => {}
                // The next look tries again; those behind it do not wait for it.
                Err(error) => tracing::error!(run = %run.id, %error, "a run could not be settled"),
            }
        }
        Ok(report)
    }

    fn in_grace(&mut self) -> bool {
        let (wall, mono) = (self.engine.clock().now(), self.engine.clock().monotonic());
        if let Some((last_wall, last_mono)) = self.last.replace((wall, mono)) {
            let passed = mono.saturating_sub(last_mono);
            let expected = last_wall + passed;
            if wall.since(expected).max(expected.since(wall)) > JUMP {
                tracing::warn!("the wall clock has jumped; nothing is settled by time for a minute");
                self.grace_from = mono;
            }
            if passed > self.every * MISSED_MAX {
                tracing::warn!(
                    seconds = passed.as_secs(),
                    "this process has slept; nothing is settled by time for a minute"
                );
                self.grace_from = mono;
            }
        }
        mono < self.grace_from.max(self.lease.trusted_since()) + GRACE
    }
}
