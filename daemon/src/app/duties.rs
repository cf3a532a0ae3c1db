//! What is done again and again: looking for what time has overtaken, firing what is due (with it what settled does for itself on schedule),
//! and, in a loop of its own, renewing the lease.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::House;
use super::living::Living;
use super::steward::Now;
use crate::clock::Clock;
use crate::config::{Config, LOOK_EVERY_MAX_S};
use crate::domain::schedule::Chore;
use crate::engine::{Cleaning, Engine};
use crate::process::{Hearts, Part};
use crate::scheduler::{self, Chores, Duty, Firing};
use crate::store::StoreError;
use crate::store::retention::Horizon;

/// How often time is asked whom it has overtaken, at least.
pub(super) const LOOK_EVERY_MAX: Duration = Duration::from_secs(LOOK_EVERY_MAX_S);
/// How often schedules are looked at: with every tick.
const FIRE_EVERY: Duration = Duration::from_secs(1);
/// Records of each kind that go in one transaction.
const EXPIRE_BATCH: i64 = 500;
/// Old records go for so long at one look, which other duties wait for; what is left goes with the next.
const EXPIRE_FOR: Duration = Duration::from_secs(1);
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

/// What is done again and again, beside the schedules. Each handles its own errors: the next tick tries again.
pub(super) fn duties(
    house: &House,
    look_every: Duration,
    reconciler: Arc<Now>,
    living: Arc<Living>,
) -> Vec<Duty> {
    let household = Household { engine: house.engine.clone(), reconciler: Arc::clone(&reconciler), living };
    let firing = Firing::new(house.engine.clone(), house.crew.gate.clone(), Arc::new(household));
    let reconcile = Duty::new(look_every, move || {
        let reconciler = Arc::clone(&reconciler);
        async move {
            if let Err(error) = reconciler.look().await {
                tracing::warn!(%error, "the reconciler could not finish; it looks again");
            }
        }
        .boxed()
    });
    let fire = Duty::new(FIRE_EVERY, move || {
        let firing = firing.clone();
        async move {
            if let Err(error) = firing.step().await {
                tracing::warn!(%error, "what is due could not be fired; it is tried again");
            }
        }
        .boxed()
    });
    vec![reconcile, fire]
}

/// What settled does for itself, on schedule.
struct Household {
    engine: Engine,
    reconciler: Arc<Now>,
    living: Arc<Living>,
}

#[async_trait]
impl Chores for Household {
    async fn act(&self, chore: Chore, period: Duration) -> Result<String, String> {
        match chore {
            Chore::Reconcile => self.reconcile().await,
            Chore::Retention => self.expire().await,
            Chore::Probes => self.look_around(period).await,
        }
    }
}

impl Household {
    /// By hand only: by itself every daemon does it all the time.
    async fn reconcile(&self) -> Result<String, String> {
        let report = self.reconciler.look().await.map_err(|error| error.to_string())?;
        let (settled, released) = (report.settled.len(), report.released.len());
        Ok(format!("{} open runs were looked at, {settled} settled, {released} lanes freed", report.examined))
    }

    async fn expire(&self) -> Result<String, String> {
        let (now, kept) = (self.engine.clock().now(), self.living.config().retention.clone());
        let horizon = Horizon {
            runs: now - DAY * kept.runs_days,
            transitions: now - DAY * kept.transitions_days,
            requests: now - DAY * kept.requests_days,
            audit: now - DAY * kept.audit_days,
        };
        let (begun, mut gone) = (self.engine.clock().monotonic(), 0);
        loop {
            let more = self.expire_some(horizon, self.living.cleaning(now)).await.map_err(|error| {
                tracing::warn!(%error, "old records could not be removed; it is tried again");
                error.to_string()
            })?;
            gone += more;
            if more == 0 || self.engine.clock().monotonic() >= begun + EXPIRE_FOR {
                break;
            }
        }
        Ok(if gone == 0 { String::new() } else { format!("{gone} old records were removed") })
    }

    async fn expire_some(&self, horizon: Horizon, old: Cleaning) -> Result<u64, StoreError> {
        let gone = self.engine.expire(horizon, EXPIRE_BATCH).await?;
        let (enrollments, lines) = self.engine.clean_some(old).await?;
        Ok(gone + enrollments + lines)
    }

    async fn look_around(&self, period: Duration) -> Result<String, String> {
        let Some(every) = self.living.config().probe.every() else {
            return Ok(String::new());
        };
        let looks = self.engine.look_around(every, period).await.map_err(|error| {
            tracing::warn!(%error, "resources at rest could not be looked at; it is tried again");
            error.to_string()
        })?;
        Ok(if looks == 0 { String::new() } else { format!("{looks} resources at rest are looked at") })
    }
}
