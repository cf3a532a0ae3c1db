//! What is done again and again: looking for what time has overtaken, firing what is due (with it what settled does for itself on schedule),
//! looking at the files of the master keys, and, in a loop of its own, renewing the lease.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::House;
use super::keys::KeyFiles;
use super::living::Living;
use super::steward::Now;
use crate::clock::Clock;
use crate::config::{Config, LOOK_EVERY_MAX_S};
use crate::domain::schedule::Chore;
use crate::engine::{ChoreEnd, Cleaning, Engine, Refusal};
use crate::process::{Hearts, Part};
use crate::scheduler::{self, Chores, Duty, Firing};
use crate::store::StoreError;
use crate::store::retention::{Horizon, KEPT};

/// How often time is asked whom it has overtaken, at least.
pub(super) const LOOK_EVERY_MAX: Duration = Duration::from_secs(LOOK_EVERY_MAX_S);
/// How often the files of the master keys are looked at.
const KEYS_EVERY: Duration = Duration::from_secs(10);
/// How often schedules are looked at: with every tick.
const FIRE_EVERY: Duration = Duration::from_secs(1);
/// Records of each kind that go in one transaction.
const EXPIRE_BATCH: i64 = 500;
/// Old records go for so long at one look, which other duties wait for; what is left goes with a later one.
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
            match engine.renew_lease(&crew.lease, !crew.drain.is_on()).await {
                Ok(()) => {}
                Err(Refusal::NoKey(why)) => tracing::error!(
                    why,
                    "this daemon lacks a master key of the store, and begins nothing until it has it: put its file beside that of the other key, then reload"
                ),
                Err(error) => tracing::warn!(%error, "the lease was not renewed; without it nothing is started"),
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
    key_files: Arc<KeyFiles>,
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
    let keys = Duty::new(KEYS_EVERY, move || {
        let key_files = Arc::clone(&key_files);
        async move { key_files.look().await }.boxed()
    });
    vec![reconcile, fire, keys]
}

/// What settled does for itself, on schedule.
struct Household {
    engine: Engine,
    reconciler: Arc<Now>,
    living: Arc<Living>,
}

#[async_trait]
impl Chores for Household {
    async fn act(&self, chore: Chore, period: Duration) -> Result<ChoreEnd, String> {
        let end = match chore {
            Chore::Reconcile => self.reconcile().await.map(told),
            Chore::Probes => self.look_around(period).await.map(told),
            Chore::Enrollments => self.look_for_enrollments().await.map(told),
            // By default every minute: what is left goes with its next time.
            Chore::Retention => self.remove(Old::Records(self.records())).await.map(|end| told(end.told)),
            Chore::Compaction => {
                self.remove(Old::Records(self.transitions())).await.map(|end| told(end.told))
            }
            Chore::CleanEnrollments => {
                self.remove(Old::Enrollments(Cleaning { executions: KEPT, ..self.cleaning() })).await
            }
            Chore::CleanExecutions => {
                self.remove(Old::Enrollments(Cleaning { enrollments: KEPT, ..self.cleaning() })).await
            }
        };
        if let Err(error) = &end {
            tracing::warn!(%chore, %error, "a chore could not be done; it is tried again at its next time");
        }
        end
    }
}

/// What is old.
#[derive(Clone, Copy)]
enum Old {
    Records(Horizon),
    Enrollments(Cleaning),
}

/// A chore that is done.
fn told(told: String) -> ChoreEnd {
    ChoreEnd { told, more: false }
}

impl Household {
    /// By hand only: by itself every daemon does it all the time.
    async fn reconcile(&self) -> Result<String, String> {
        let report = self.reconciler.look().await.map_err(|error| error.to_string())?;
        let (settled, released) = (report.settled.len(), report.released.len());
        Ok(format!("{} open runs were looked at, {settled} settled, {released} lanes freed", report.examined))
    }

    /// The commit that began this chore has woken who moves them on: this tells how many there were.
    async fn look_for_enrollments(&self) -> Result<String, String> {
        let due = self.engine.enrollments_due().await.map_err(|error| error.to_string())?;
        Ok(if due == 0 { String::new() } else { format!("{due} enrollments were due") })
    }

    /// Until when all but transitions is kept.
    fn records(&self) -> Horizon {
        let (now, kept) = (self.engine.clock().now(), self.living.config().retention.clone());
        Horizon {
            runs: now - DAY * kept.runs_days,
            transitions: KEPT,
            requests: now - DAY * kept.requests_days,
            audit: now - DAY * kept.audit_days,
        }
    }

    fn transitions(&self) -> Horizon {
        let days = self.living.config().retention.transitions_days;
        let transitions = self.engine.clock().now() - DAY * days;
        Horizon { runs: KEPT, transitions, requests: KEPT, audit: KEPT }
    }

    fn cleaning(&self) -> Cleaning {
        self.living.cleaning(self.engine.clock().now())
    }

    /// Removes batch after batch for as long as one look may take, since other duties wait for it.
    async fn remove(&self, old: Old) -> Result<ChoreEnd, String> {
        let (begun, mut gone) = (self.engine.clock().monotonic(), 0);
        loop {
            let went = self.remove_some(old).await.map_err(|error| error.to_string())?;
            gone += went;
            let more = went > 0;
            if !more || self.engine.clock().monotonic() >= begun + EXPIRE_FOR {
                return Ok(ChoreEnd { told: removed(gone), more });
            }
        }
    }

    async fn remove_some(&self, old: Old) -> Result<u64, StoreError> {
        match old {
            Old::Records(horizon) => self.engine.expire(horizon, EXPIRE_BATCH).await,
            Old::Enrollments(cleaning) => {
                let (enrollments, lines) = self.engine.clean_some(cleaning).await?;
                Ok(enrollments + lines)
            }
        }
    }

    async fn look_around(&self, period: Duration) -> Result<String, String> {
        let Some(every) = self.living.config().probe.every() else {
            return Ok(String::new());
        };
        let looks = self.engine.look_around(every, period).await.map_err(|error| error.to_string())?;
        Ok(if looks == 0 { String::new() } else { format!("{looks} resources at rest are looked at") })
    }
}

fn removed(gone: u64) -> String {
    if gone == 0 { String::new() } else { format!("{gone} old records were removed") }
}
