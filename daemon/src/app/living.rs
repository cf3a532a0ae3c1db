//! The configuration as it is now: what the start read, with what a reload has changed since.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::config::Config;
use crate::domain::time::Timestamp;
use crate::engine::Cleaning;

/// The configuration as it is now, and what became of the last reload.
pub(super) struct Living {
    config: RwLock<Arc<Config>>,
    refused: RwLock<Option<String>>,
}

impl Living {
    pub(super) fn new(config: Config) -> Self {
        Self { config: RwLock::new(Arc::new(config)), refused: RwLock::default() }
    }

    /// As it is now.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Until when enrollments and their log are kept, as seen at `now`.
    pub(super) fn cleaning(&self, now: Timestamp) -> Cleaning {
        let retention = &self.config().retention;
        let day = Duration::from_secs(86_400);
        Cleaning {
            enrollments: now - day * retention.enrollments_days,
            executions: now - day * retention.executions_days,
        }
    }

    /// A reload was applied.
    pub(super) fn applied(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        *self.refused.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A reload was refused, and everything stays as it was.
    pub(super) fn refused(&self, why: String) {
        *self.refused.write().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Why the last reload was refused, if it was.
    pub(super) fn why_refused(&self) -> Option<String> {
        self.refused.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
