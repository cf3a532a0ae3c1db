//! The process as its surroundings see it: signals in, words for systemd out.
//!
//! It knows nothing about runs or servers. Others are told to stop through [`Stop`], say that they live through
//! [`Hearts`] and tell systemd how they are through [`Systemd`].

mod hearts;
mod signals;
mod systemd;
pub mod unit;
mod watchdog;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use hearts::{Hearts, Part, Still};
pub use signals::{Reload, Signals, Stop};
pub use systemd::Systemd;
pub use watchdog::watch;

use crate::clock::Clock;

/// How late a part may be when no watchdog says otherwise.
const PATIENCE: Duration = Duration::from_secs(15);

/// Everything that ties the daemon to its process. Cloning gives another handle to the same process.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// When to end.
    pub stop: Stop,
    /// When to read package definitions and the configuration anew.
    pub reload: Reload,
    /// Proofs of life, given by the parts that must not stand still.
    pub hearts: Hearts,
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

    /// How late a part may be before it is taken to stand still: half of the watchdog's interval.
    pub fn patience(&self) -> Duration {
        self.watchdog.map_or(PATIENCE, |interval| interval / 2)
    }

    /// Watches the parts until the hard stop, and feeds the watchdog, if there is one, as long as all of them live.
    pub async fn watch(self, clock: Arc<dyn Clock>) {
        let stop = self.stop.clone();
        tokio::select! { () = watch(clock, self) => {}, () = stop.hard() => {} }
    }
}
