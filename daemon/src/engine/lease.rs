//! The daemon's lease: while it is trusted, no other daemon touches its lanes; once it is not, this one touches nothing.
//!
//! Trust is measured from *sending* the last successful renewal, by the monotonic clock, so that a paused process wakes up distrusting itself.
//!
//! A daemon that lacks a master key of the store has no lease: others may have gone over to another key while it slept. It could open nothing, and
//! would have to fail what whoever has the key can do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::{Engine, Refusal, sealing};
use crate::clock::Clock;
use crate::secrets::Keys;
use crate::store::lanes::DeadLane;
use crate::store::{Command, StoreError, Unit};

/// How much of the lease is left unused at most, against clocks that run apart; of a short lease it is a third.
const DISTRUST_MAX: Duration = Duration::from_secs(10);

/// Whether this daemon may still act.
#[derive(Clone)]
pub struct Lease {
    length: Duration,
    trusted_until_us: Arc<AtomicU64>,
    trusted_since_us: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
}

impl Lease {
    /// A lease that is not held yet.
    pub fn new(length: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { length, trusted_until_us: Arc::default(), trusted_since_us: Arc::default(), clock }
    }

    /// Whether anything may be started, cancelled or cleared away now.
    pub fn is_trusted(&self) -> bool {
        self.clock.monotonic() < Duration::from_micros(self.trusted_until_us.load(Ordering::Acquire))
    }

    /// Since when it has been trusted without a break, on the monotonic clock.
    pub fn trusted_since(&self) -> Duration {
        Duration::from_micros(self.trusted_since_us.load(Ordering::Acquire))
    }

    /// For how long it may act without another renewal.
    pub fn margin(&self) -> Duration {
        let until = Duration::from_micros(self.trusted_until_us.load(Ordering::Acquire));
        until.saturating_sub(self.clock.monotonic())
    }

    /// How long a lease of this length is trusted after its renewal was sent.
    pub fn trusted_for(length: Duration) -> Duration {
        length.saturating_sub(DISTRUST_MAX.min(length / 3))
    }

    fn renewed(&self, sent: Duration) {
        if !self.is_trusted() {
            self.trusted_since_us.store(micros(self.clock.monotonic()), Ordering::Release);
        }
        self.trusted_until_us.store(micros(sent + Self::trusted_for(self.length)), Ordering::Release);
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Tells in the store until when the daemon lives, and what it has. Whoever goes over to another master key sees these keys, or has gone over
/// before: then it must be among them.
struct Renew {
    engine: Engine,
    length: Duration,
    serves: bool,
    keys: Arc<Keys>,
}

#[async_trait]
impl Command for Renew {
    type Answer = ();
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), Refusal> {
        sealing::check(&self.keys, unit.db().await?.keys_needed().await?)?;
        let until = unit.now() + self.length;
        let (me, packages) = (self.engine.me(), self.engine.catalog().digests());
        let version = env!("CARGO_PKG_VERSION");
        Ok(unit.renew_lease(me, version, &packages, &self.keys.ids(), self.serves, until).await?)
    }
}

struct Detach(Engine);

#[async_trait]
impl Command for Detach {
    type Answer = u64;
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<u64, StoreError> {
        unit.detach(self.0.me()).await
    }
}

struct ReleaseDead {
    engine: Engine,
    everyone_else: bool,
}

#[async_trait]
impl Command for ReleaseDead {
    type Answer = Vec<DeadLane>;
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Vec<DeadLane>, StoreError> {
        unit.release_dead(self.engine.me(), self.everyone_else).await
    }
}

impl Engine {
    /// Renews the lease, and says whether this daemon takes lanes. Refused to a daemon that lacks a master key of the store.
    pub async fn renew_lease(&self, lease: &Lease, serves: bool) -> Result<(), Refusal> {
        let _alone = self.sealing().alone().await;
        self.renew_with(self.keys(), lease, serves).await
    }

    /// Holds these master keys from here on, and has told other daemons so. Refused, as everything stays, when one that the store needs is
    /// not among them.
    pub async fn use_keys(&self, keys: Keys, lease: &Lease, serves: bool) -> Result<(), Refusal> {
        let (_alone, keys) = (self.sealing().alone().await, Arc::new(keys));
        self.renew_with(Arc::clone(&keys), lease, serves).await?;
        self.sealing().hold(keys);
        Ok(())
    }

    async fn renew_with(&self, keys: Arc<Keys>, lease: &Lease, serves: bool) -> Result<(), Refusal> {
        let sent = self.clock().monotonic();
        let renewal = Renew { engine: self.clone(), length: lease.length, serves, keys };
        self.writer().commit(renewal).await?;
        lease.renewed(sent);
        Ok(())
    }

    /// Frees the lanes of dead daemons; answers which. `everyone_else`: the caller holds the data directory, so all others are dead.
    pub async fn release_dead(&self, everyone_else: bool) -> Result<Vec<DeadLane>, StoreError> {
        self.writer().commit(ReleaseDead { engine: self.clone(), everyone_else }).await
    }

    /// Gives back every lane and the lease. Remote steps go on; whoever comes next re-attaches them.
    pub async fn detach(&self) -> Result<u64, StoreError> {
        self.writer().commit(Detach(self.clone())).await
    }
}
