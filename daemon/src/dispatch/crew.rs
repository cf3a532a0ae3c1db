//! What all lanes share: the engine, the way to servers, and the right to touch them.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Settings;
use crate::auth::Gate;
use crate::domain::id::InstallationId;
use crate::engine::{Engine, LaneError, Lease};
use crate::remote::Remote;

/// What all lanes share. Cheap to clone.
#[derive(Clone)]
pub struct Crew {
    /// Where everything is decided and written.
    pub engine: Engine,
    /// What touches servers.
    pub remote: Arc<dyn Remote>,
    /// Whether this daemon may still act.
    pub lease: Lease,
    /// The installation, for servers to know their owner by.
    pub installation: InstallationId,
    /// Who may still do what it asked for.
    pub gate: Gate,
    /// Servers at work at the same time.
    pub permits: Arc<Semaphore>,
    /// Durations and limits.
    pub settings: Settings,
}

impl Crew {
    /// The way to servers for what changes something there: claim, start, cancel, reap. Asked for right before each of them, because
    /// the lease may have passed since the lane's step began.
    pub(super) fn acting(&self) -> Result<&dyn Remote, LaneError> {
        if self.lease.is_trusted() { Ok(&*self.remote) } else { Err(LaneError::Lost) }
    }
}
