//! Brings to an end what time has overtaken. Takes no input: it is woken or periodic, finds, lets the domain judge, settles through the
//! engine like anyone else, and answers counts. Doing it twice changes nothing.
//!
//! Time settles only while a daemon runs: for a while after a start, after the lease was lost, after a sleep of the process and after a
//! jump of the wall clock nothing is settled, so that servers can be asked first.

use std::time::Duration;

use crate::domain::freshness::Freshness;
use crate::domain::run::Run;
use crate::domain::time::Timestamp;
use crate::engine::reconcile::{Report, STALE_MAX, SettledRun, StaleRun};
use crate::engine::{Engine, Lease, Settled, log};
use crate::store::StoreError;
use crate::store::queries::RunFilter;
use crate::store::rows::RunRow;

/// How long nothing is settled by time after a start, a sleep, a lost lease or a jump of the wall clock.
const GRACE: Duration = Duration::from_secs(60);
/// A difference between wall clock and monotonic clock that counts as a jump.
const JUMP: Duration = Duration::from_secs(30);
/// Looks that may be missed before the process is taken to have slept.
const MISSED_MAX: u32 = 3;
/// Runs read at once.
const BATCH: i64 = 256;
/// How long one look goes on to settle: whoever watches over the reconciler hears of it in time, and the next look goes on.
const SETTLING_MAX: Duration = Duration::from_secs(2);

/// Why a look could not be finished. Nothing is half done.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Others may own what is looked at.
    #[error(
        "this daemon could not renew its lease in time, so it settles nothing until it has: see whether its database answers"
    )]
    NoLease,
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
            return Err(ReconcileError::NoLease);
        }
        report.released = self.engine.release_dead(false).await?;
        report.examined =
            u64::try_from(self.engine.store().read().await?.db().open_runs().await?).unwrap_or(0);
        report.grace_until = self.grace_until();
        if report.grace_until.is_none() {
            report.settled = self.settle().await?;
        }
        Ok(report)
    }

    /// One look, and which runs are likely stale after it: for whoever asks.
    pub async fn report(&mut self) -> Result<Report, ReconcileError> {
        let report = self.step().await?;
        Ok(Report { likely_stale: self.likely_stale().await?, ..report })
    }

    /// Ends what is overdue, all of it: each run is tried once, and none waits for one that cannot be settled.
    async fn settle(&self) -> Result<Vec<SettledRun>, ReconcileError> {
        let (now, until) = (self.engine.clock().now(), self.engine.clock().monotonic() + SETTLING_MAX);
        let (mut settled, mut after) = (Vec::new(), (Timestamp(i64::MIN), String::new()));
        loop {
            let (time, id) = (after.0, after.1.as_str());
            let batch = self.engine.store().read().await?.db().overdue(now, (time, id), BATCH).await?;
            let Some(last) = batch.last() else { return Ok(settled) };
            after = (last.settles_by.map_or(now, Timestamp), last.id.clone());
            for row in batch {
                if !self.lease.is_trusted() || self.engine.clock().monotonic() >= until {
                    return Ok(settled);
                }
                settled.extend(self.settle_one(row).await);
            }
        }
    }

    async fn settle_one(&self, row: RunRow) -> Option<SettledRun> {
        let (id, server_name) = (row.id.clone(), row.server_name.clone());
        let run: Run = row
            .try_into()
            .inspect_err(
                |error| tracing::error!(run = id, server = server_name, %error, "a run cannot be read, so it stays open"),
            )
            .ok()?;
        let due = run.settles_by()?;
        match self.engine.settle_overdue(run.id).await {
            Ok(Settled::Now(run)) => Some(settled_by_time(&run, due)),
            Ok(Settled::NotNeeded) => None,
            // The next look tries again.
            Err(error) => {
                tracing::error!(run = id, server = server_name, %error, "a run could not be settled");
                None
            }
        }
    }

    async fn likely_stale(&self) -> Result<Vec<StaleRun>, ReconcileError> {
        let freshness = Some((Freshness::LikelyStale, self.engine.clock().now()));
        let filter = RunFilter { freshness, ..RunFilter::default() };
        let rows = self.engine.store().read().await?.db().runs(&filter, "", STALE_MAX).await?;
        let stale = |row: RunRow| {
            Some(StaleRun {
                id: row.id.parse().ok()?,
                server: row.server_name,
                progress_at: Timestamp(row.progress_at),
                settles_by: row.settles_by.map(Timestamp),
            })
        };
        Ok(rows.into_iter().filter_map(stale).collect())
    }

    /// Until when nothing is settled by time; `None` when that is over.
    fn grace_until(&mut self) -> Option<Timestamp> {
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
        let until = self.grace_from.max(self.lease.trusted_since()) + GRACE;
        (mono < until).then(|| wall + until.saturating_sub(mono))
    }
}

/// Tells that time has ended a run.
fn settled_by_time(run: &Run, due: Timestamp) -> SettledRun {
    let at = run.verdict().map_or(due, |verdict| verdict.at);
    log::settled_by_time(run);
    let reason = run.verdict().and_then(|verdict| verdict.reason);
    SettledRun { id: run.id, server: run.server_name.clone(), reason, due, at }
}
