//! What the API asks of the whole house: a look of the reconciler, the package files, what is not well.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::drain::Drains;
use super::fit::{misfits, read_catalog};
use super::health::Ground;
use super::keys::KeyFiles;
use super::living::Living;
use super::tls::Certificates;
use crate::catalog::{Catalog, FileProblem, Problem, parse};
use crate::clock::Clock;
use crate::dispatch::Mode;
use crate::engine::reconcile::Report;
use crate::engine::{Cleaning, DrainOrder, Refusal};
use crate::grpc::{Draining, Steward};
use crate::process::Hearts;
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
    pub(super) drains: Arc<Drains>,
    pub(super) hearts: Hearts,
    /// How late a part may be.
    pub(super) patience: Duration,
    /// What callers from the network are shown, if there are any.
    pub(super) certificates: Option<Arc<Certificates>>,
    /// The files of its master keys.
    pub(super) key_files: Arc<KeyFiles>,
    /// What the daemon stands on.
    pub(super) ground: Ground,
}

#[async_trait]
impl Steward for Servant {
    async fn reconcile(&self) -> Result<Report, Refusal> {
        self.reconciler.report().await.map_err(|error| match error {
            ReconcileError::Store(error) => error.into(),
            ReconcileError::NoLease => Refusal::not_now(error.to_string()),
        })
    }

    fn read_packages(&self) -> Result<Catalog, Vec<FileProblem>> {
        read_catalog(&self.living.config())
    }

    fn check_package(&self, source: &str, others: &[String], loaded: &Catalog) -> Vec<Problem> {
        let definition = match parse(source) {
            Ok(definition) => definition,
            Err(problems) => return problems,
        };
        let mut problems = misfits(&self.living.config(), &definition);
        problems.extend(loaded.faults_of(definition, others));
        problems.sort();
        problems
    }

    fn drain(&self, order: DrainOrder, who: &str) {
        let mode = match order {
            DrainOrder::Finish => Mode::Finish,
            DrainOrder::Detach => Mode::Detach,
            DrainOrder::Cancel => Mode::Serve,
        };
        self.drains.order(mode, who);
    }

    fn cleaning(&self) -> Cleaning {
        self.living.cleaning(self.reconciler.clock.now())
    }

    fn draining(&self) -> Option<Draining> {
        self.drains.draining()
    }

    fn can_mail(&self) -> bool {
        self.living.config().smtp.host.is_some()
    }

    fn warnings(&self) -> Vec<String> {
        let still = self.hearts.still(self.reconciler.clock.monotonic(), self.patience);
        let still = still.iter().map(|still| {
            format!("{still}. If it does not go on by itself: systemctl restart settled. Steps on servers go on meanwhile")
        });
        let refused = self.living.why_refused().map(|why| {
            format!("The last reload was refused, and everything stays as it was: {why}. Mend it, then: systemctl reload settled")
        });
        let certificates = self.certificates.iter().flat_map(|certificates| certificates.warnings());
        still
            .chain(refused)
            .chain(certificates)
            .chain(self.key_files.warning())
            .chain(self.ground.warnings(&self.living.config().data_dir))
            .collect()
    }
}
