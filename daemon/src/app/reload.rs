//! SIGHUP: the configuration and the package files are read anew, as a whole. Either all of it is applied, or it is refused and
//! everything stays as it was: nobody has to find out which half of an edit counts.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::drain::Drains;
use super::living::Living;
use super::tls::{self, Certificates};
use super::{keys, load_catalog, thresholds};
use crate::config::Config;
use crate::dispatch::Crew;
use crate::engine::Limits;
use crate::process::Process;
use crate::secrets::Keys;
use crate::telemetry;

/// Reads the configuration again, from where the start read it.
pub type ReadAgain = Box<dyn Fn() -> anyhow::Result<Config> + Send + Sync>;
/// Logs from this level on.
pub type SetLevel = Box<dyn Fn(&str) -> anyhow::Result<()> + Send + Sync>;

/// How to read and change what lies outside of this house.
pub struct Anew {
    /// The configuration as its sources say now.
    pub config: ReadAgain,
    /// What is logged.
    pub log: SetLevel,
}

/// What a reload changes.
pub(super) struct Reloading {
    pub(super) anew: Anew,
    pub(super) living: Arc<Living>,
    pub(super) drains: Arc<Drains>,
    pub(super) certificates: Option<Arc<Certificates>>,
    pub(super) crew: Crew,
}

impl Reloading {
    /// Serves the wishes to reload until `stop`.
    pub(super) async fn serve(self, process: Process, stop: CancellationToken) {
        while stop.run_until_cancelled(process.reload.requested()).await.is_some() {
            process.systemd.reloading();
            let status = match self.apply(&process).await {
                Ok(packages) => {
                    tracing::info!(?packages, "reloaded: the configuration as it is now is in use");
                    self.drains.status()
                }
                Err(error) => {
                    let why = format!("{error:#}");
                    tracing::error!(error = why, "the reload was refused; everything stays as it was");
                    self.living.refused(why);
                    format!("{}; the last reload was refused, see `settlectl status`", self.drains.status())
                }
            };
            process.systemd.ready(&status);
        }
    }

    /// Checks everything first. The store may refuse what is checked: it is asked last, and nothing of what follows can fail.
    async fn apply(&self, process: &Process) -> anyhow::Result<Vec<String>> {
        let (old, new) = (self.living.config(), (self.anew.config)()?);
        let keys = old.restart_keys(&new);
        if !keys.is_empty() {
            bail!(
                "{} cannot change while settled runs: restart it (systemctl restart settled), or take the change back",
                keys.join(", ")
            );
        }
        telemetry::filter(&new.log.level)?;
        let credentials = tls::read(&new)?;
        let catalog = load_catalog(&new)?;
        let keys = keys::read_again(&new, process, &self.crew.engine.keys())?;
        let kept = self.crew.engine.keep_packages(catalog.clone()).await;
        kept.context("the store does not take the package definitions")?;
        (self.anew.log)(&new.log.level)?;
        if let Err(refused) = self.use_keys(keys, &new).await {
            (self.anew.log)(&old.log.level)?;
            return Err(refused);
        }
        let packages = self.crew.engine.use_packages(catalog);
        self.crew.engine.set_limits(limits(&new));
        self.crew.gate.replace(super::grants(&new.access));
        if let (Some(certificates), Some(credentials)) = (&self.certificates, credentials) {
            certificates.replace(credentials);
            certificates.let_in(&new.listen.web.origins);
        }
        resize(&self.crew.permits, old.lane.at_work_max, new.lane.at_work_max);
        self.living.applied(new);
        Ok(packages)
    }

    /// A key that has come or gone: other daemons are told at once, since a rotation waits until all hold both.
    async fn use_keys(&self, keys: Option<Keys>, config: &Config) -> anyhow::Result<()> {
        let Some(keys) = keys else { return Ok(()) };
        let serves = !self.crew.drain.is_on();
        let used = self.crew.engine.use_keys(keys, &self.crew.lease, serves).await;
        used.map_err(|refusal| keys::missing(refusal, config))
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        queue_limit: config.run.queue_limit(),
        attempts_max: config.run.attempts,
        queue_max: i64::from(config.lane.queue_max),
        stale: thresholds(config),
        queue_limit_least: config.queue_limit_least(),
        takeover: config.takeover(),
    }
}

/// Permits that are too many are taken away as they come back: nobody at work is interrupted.
fn resize(permits: &Arc<Semaphore>, old: u32, new: u32) {
    permits.add_permits(new.saturating_sub(old) as usize);
    let fewer = old.saturating_sub(new);
    if fewer > 0 {
        let permits = Arc::clone(permits);
        tokio::spawn(async move {
            if let Ok(taken) = permits.acquire_many_owned(fewer).await {
                taken.forget();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fewer_permits_are_taken_as_they_come_back_and_more_are_there_at_once() {
        let permits = Arc::new(Semaphore::new(3));
        let mut at_work: Vec<_> = (0..3).map(|_| Arc::clone(&permits).try_acquire_owned().unwrap()).collect();
        resize(&permits, 3, 1);
        tokio::task::yield_now().await;
        for free in [0, 0, 1] {
            at_work.pop();
            tokio::task::yield_now().await;
            assert_eq!(permits.available_permits(), free, "{} are at work", at_work.len());
        }
        resize(&permits, 1, 4);
        assert_eq!(permits.available_permits(), 4);
    }
}
