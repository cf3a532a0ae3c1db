//! What the API asks of the whole house: a look of the reconciler, the package files, what is not well.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::living::Living;
use super::read_catalog;
use crate::catalog::{Catalog, FileProblem};
use crate::clock::Clock;
use crate::engine::Refusal;
use crate::engine::reconcile::Report;
use crate::grpc::Steward;
use crate::reconciler::{ReconcileError, Reconciler};

/// The reconciler, for the tick and for whoever asks; one look at a time.
pub(super) struct Now {
    reconciler: Mutex<Reconciler>,
    clock: Arc<dyn Clock>,
    /// When a look was last finished, by the monotonic clock.
    looked: RwLock<Option<Duration>>,
}

impl Now {
    pub(super) fn new(reconciler: Reconciler, clock: Arc<dyn Clock>) -> Self {
        Self { reconciler: Mutex::new(reconciler), clock, looked: RwLock::default() }
    }

    pub(super) async fn look(&self) -> Result<Report, ReconcileError> {
        let report = self.reconciler.lock().await.step().await?;
        self.has_looked();
        Ok(report)
    }

    /// The same, for whoever asks.
    async fn report(&self) -> Result<Report, ReconcileError> {
        let report = self.reconciler.lock().await.report().await?;
        self.has_looked();
        Ok(report)
    }

    fn has_looked(&self) {
        *self.looked.write().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.monotonic());
    }

    /// When a look was last finished, by the monotonic clock.
    pub(super) fn last_look(&self) -> Option<Duration> {
        *self.looked.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the API.
pub(super) struct Servant {
    pub(super) reconciler: Arc<Now>,
    pub(super) living: Arc<Living>,
}

#[async_trait]
impl Steward for Servant {
    async fn reconcile(&self) -> Result<Report, Refusal> {
        self.reconciler.report().await.map_err(|error| Refusal::Internal(error.to_string()))
    }

    fn read_packages(&self) -> Result<Catalog, Vec<FileProblem>> {
        read_catalog(self.living.config().packages.dir.as_deref())
    }

    fn warnings(&self) -> Vec<String> {
        let refused = self.living.why_refused().map(|why| {
            format!("The last reload was refused, and everything stays as it was: {why}. Mend it, then: systemctl reload settled")
        });
        refused.into_iter().collect()
    }
}
