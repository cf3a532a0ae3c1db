//! The daemon's lease: while it is trusted, no other daemon touches its lanes; once it is not, this one touches nothing.
//!
//! Trust is measured from *sending* the last successful renewal, by the monotonic clock, so that a paused process wakes up distrusting itself.

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

/// Tells in the store until when the daemon lives, and what it has.
struct Renew {
    engine: Engine,
    length: Duration,
    serves: bool,
    keys: Arc<Keys>,
}

impl Renew {
    async fn tell(&self, unit: &mut Unit<'_>) -> Result<(), StoreError> {
        let until = unit.now() + self.length;
        let (me, packages) = (self.engine.me(), self.engine.catalog().digests());
        let version = env!("CARGO_PKG_VERSION");
        unit.renew_lease(me, version, &packages, &self.keys.ids(), self.serves, until).await
    }
}

#[async_trait]
impl Command for Renew {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), StoreError> {
        self.tell(unit).await
    }
}

/// The same with other master keys: whoever goes over to another key sees these, or has gone over before, and then it must be among them.
struct Rekey(Renew);

#[async_trait]
impl Command for Rekey {
    type Answer = ();
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), Refusal> {
        sealing::check(&self.0.keys, unit.db().await?.secrets_by_key().await?)?;
        Ok(self.0.tell(unit).await?)
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
    /// Renews the lease, and says whether this daemon takes lanes.
    pub async fn renew_lease(&self, lease: &Lease, serves: bool) -> Result<(), StoreError> {
        let _alone = self.sealing().alone().await;
        let sent = self.clock().monotonic();
        let renewal = Renew { engine: self.clone(), length: lease.length, serves, keys: self.keys() };
        self.writer().commit(renewal).await?;
        lease.renewed(sent);
        Ok(())
    }

    /// Holds these master keys from here on, and has told other daemons so. Refused, as everything stays, when one that the store needs is
    /// not among them.
    pub async fn use_keys(&self, keys: Keys, lease: &Lease, serves: bool) -> Result<(), Refusal> {
        let _alone = self.sealing().alone().await;
        let sent = self.clock().monotonic();
        let keys_now = Arc::new(keys.clone());
        let renewal = Renew { engine: self.clone(), length: lease.length, serves, keys: keys_now };
        self.writer().commit(Rekey(renewal)).await?;
        self.sealing().hold(keys);
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
