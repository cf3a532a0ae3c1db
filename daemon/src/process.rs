//! The process as its surroundings see it: signals in, words for systemd out.
//!
//! It knows nothing about runs or servers. Others are told to stop through [`Stop`], say that they live through
//! [`Heartbeat`] and tell systemd how they are through [`Systemd`].

mod signals;
mod systemd;
pub mod unit;
mod watchdog;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use signals::{Reload, Signals, Stop};
pub use systemd::Systemd;
pub use watchdog::{Heartbeat, feed_watchdog};

use crate::clock::Clock;

/// Everything that ties the daemon to its process. Cloning gives another handle to the same process.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// When to end.
    pub stop: Stop,
    /// When to read package definitions and the configuration anew.
    pub reload: Reload,
    /// Proof of life, given by the tick.
    pub heartbeat: Heartbeat,
    /// Words for the service manager.
    pub systemd: Systemd,
    /// How often the service manager wants a sign of life, if it does.
    pub watchdog: Option<Duration>,
    /// Where the service manager put secrets for this process, if it did.
    pub credentials: Option<PathBuf>,
}

impl Process {
    /// The process as systemd or a shell started it.
    pub fn from_env() -> Self {
        Self {
            systemd: Systemd::from_env(),
            watchdog: systemd::watchdog_interval(),
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            ..Self::default()
        }
    }

    /// Feeds the watchdog until the hard stop, as long as the heart beats; ends at once if there is no watchdog.
    pub async fn feed_watchdog(self, clock: Arc<dyn Clock>) {
        if let Some(interval) = self.watchdog {
            let feeding = feed_watchdog(clock, self.systemd, self.heartbeat, interval);
            tokio::select! { () = feeding => {}, () = self.stop.hard() => {} }
        }
    }
}
