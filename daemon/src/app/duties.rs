//! What is done again and again: looking for what time has overtaken, letting old records go, looking at what is at rest, and, in a loop of its own, renewing the
//! lease.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::House;
use super::living::Living;
use super::steward::Now;
use crate::clock::Clock;
use crate::config::{Config, LOOK_EVERY_MAX_S};
use crate::process::{Hearts, Part};
use crate::scheduler::{self, Duty};
use crate::store::retention::Horizon;

/// How often time is asked whom it has overtaken, at least.
pub(super) const LOOK_EVERY_MAX: Duration = Duration::from_secs(LOOK_EVERY_MAX_S);
/// How often resources at rest are looked for that have not been looked at for long.
const LOOK_AROUND_EVERY: Duration = Duration::from_secs(60);
/// How often old records are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// How often enrollments that were completed long ago are looked for, and old lines of their log.
const CLEAN_EVERY: Duration = Duration::from_secs(7 * 86_400);
/// Records of each kind that go in one transaction.
const EXPIRE_BATCH: i64 = 500;
const DAY: Duration = Duration::from_secs(86_400);

/// Renews the lease until `stop`. A loop of its own, since a reconciler that is slow must not cost the daemon its lanes (P3).
pub(super) fn renew(
    every: Duration,
    house: &House,
    hearts: &Hearts,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let (engine, crew, hearts) = (house.engine.clone(), house.crew.clone(), hearts.clone());
    let act = move || {
        let (engine, crew, hearts) = (engine.clone(), crew.clone(), hearts.clone());
        async move {
            let begun = engine.clock().monotonic();
            hearts.alive(Part::Lease, begun);
            if let Err(error) = engine.renew_lease(&crew.lease, !crew.drain.is_on()).await {
                tracing::warn!(%error, "the lease was not renewed; without it nothing is started");
            }
            hearts.alive(Part::Lease, begun + every);
        }
        .boxed()
    };
    scheduler::keep(every, clock, act, stop)
}

/// How often time is asked whom it has overtaken: no more rarely than leases are renewed, so that a short lease frees its lanes soon.
pub(super) fn look_every(config: &Config) -> Duration {
    LOOK_EVERY_MAX.min(config.lane.renew())
}

/// What is done again and again. Each handles its own errors: the next tick tries again.
pub(super) fn duties(
    house: &House,
    look_every: Duration,
    reconciler: Arc<Now>,
    living: Arc<Living>,
) -> Vec<Duty> {
    let reconcile = Duty::new(look_every, move || {
        let reconciler = Arc::clone(&reconciler);
        async move {
            if let Err(error) = reconciler.look().await {
                tracing::warn!(%error, "the reconciler could not finish; it looks again");
            }
        }
        .boxed()
    });
    let (living_too, cleaning) = (Arc::clone(&living), Arc::clone(&living));
    let engine = house.engine.clone();
    let expire = Duty::new(EXPIRE_EVERY, move || {
        let engine = engine.clone();
        let now = engine.clock().now();
        let retention = living.config().retention.clone();
        let horizon = Horizon {
            runs: now - DAY * retention.runs_days,
            transitions: now - DAY * retention.transitions_days,
            requests: now - DAY * retention.requests_days,
            audit: now - DAY * retention.audit_days,
        };
        async move {
            match engine.expire(horizon, EXPIRE_BATCH).await {
                Ok(0) => {}
                Ok(gone) => tracing::info!(records = gone, "old records were removed"),
                Err(error) => tracing::warn!(%error, "old records could not be removed; it is tried again"),
            }
        }
        .boxed()
    });
    let engine = house.engine.clone();
    let look = Duty::new(LOOK_AROUND_EVERY, move || {
        let (engine, every) = (engine.clone(), living_too.config().probe.every());
        async move {
            let Some(every) = every else { return };
            match engine.look_around(every, LOOK_AROUND_EVERY).await {
                Ok(0) => {}
                Ok(looks) => tracing::debug!(looks, "resources at rest are looked at"),
                Err(error) => {
                    tracing::warn!(%error, "resources at rest could not be looked at; it is tried again");
                }
            }
        }
        .boxed()
    });
    let engine = house.engine.clone();
    let clean = Duty::new(CLEAN_EVERY, move || {
        let (engine, kept) = (engine.clone(), cleaning.cleaning(engine.clock().now()));
        async move {
            match engine.clean_lifecycles(kept).await {
                Ok((0, 0)) => {}
                Ok((enrollments, executions)) => {
                    tracing::info!(
                        enrollments,
                        executions,
                        "old enrollments and lines of their log were removed"
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, "old enrollments could not be removed; it is tried again")
                }
            }
        }
        .boxed()
    });
    vec![reconcile, expire, look, clean]
}
