//! Where the master keys are: the one that belongs to the store, and, while the store goes over to another one, that beside it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context as _, bail};

use super::living::Living;
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::{Engine, Refusal, Sealing};
use crate::process::Process;
use crate::secrets::{Keys, MasterKey};
use crate::store::{Opened, Store};

/// The key that is named, or the daemon's own.
fn path(config: &Config) -> PathBuf {
    config.secrets.key_file.clone().unwrap_or_else(|| config.data_dir.join("key"))
}

/// Where the key lies that is to take the place of the one at this path.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".next");
    name.into()
}

/// The keys that are there. Without any, `None`: then the daemon may make its own.
pub(super) fn read(config: &Config, process: &Process) -> anyhow::Result<Option<Keys>> {
    let (path, credentials) = (path(config), process.credentials.as_deref());
    let next = beside(&path);
    let is_own = config.secrets.key_file.is_none();
    if is_own && !path.exists() {
        if next.exists() {
            let (path, next) = (path.display(), next.display());
            bail!(
                "there is {next} and no {path}: when no secret needs the old key any more, `mv {next} {path}`; otherwise bring it back"
            );
        }
        return Ok(None);
    }
    // One that is named and is not there is a mistake: a new one could not open what the right one has sealed.
    let named = "secrets.key_file: put the key there, or correct the path; `(umask 077; head -c 32 /dev/urandom > FILE)` makes the first one of a new store";
    let main = MasterKey::from_file(&path, credentials);
    let main = if is_own { main? } else { main.context(named)? };
    let next = next.exists().then(|| MasterKey::from_file(&next, credentials)).transpose()?;
    Ok(Some(Keys::from(main).with_next(next)))
}

/// The keys for a daemon that runs and holds these. When the file of the first one is gone, and one for another key lies beside where it was, it
/// goes on with the first: nobody else can go over to the other one.
pub(super) fn read_again(config: &Config, process: &Process, held: &Keys) -> anyhow::Result<Option<Keys>> {
    let path = path(config);
    let next = beside(&path);
    if path.exists() || !next.exists() {
        return read(config, process);
    }
    let next = MasterKey::from_file(&next, process.credentials.as_deref())?;
    Ok(Some(held.clone().with_next(Some(next))))
}

/// Refuses when one of these keys, by their ids, is not here.
pub(super) fn are_here(config: &Config, process: &Process, wanted: &[String]) -> anyhow::Result<()> {
    let keys = read(config, process)?;
    let is_here = |id: &&str| keys.as_ref().is_some_and(|keys| keys.has(id));
    let lacks: Vec<_> = wanted.iter().map(String::as_str).filter(|id| !is_here(id)).collect();
    if lacks.is_empty() {
        return Ok(());
    }
    bail!(
        "its secrets need the master key {}, which is not at {}: without it the daemon does not start on this store",
        lacks.join(" and "),
        path(config).display()
    )
}

/// What secrets are sealed with, in a store that has just been opened. Makes the daemon's own key for a store that has no secrets.
pub(super) async fn open(
    found: Option<Keys>,
    opened: &Opened,
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Sealing> {
    let keys = match found {
        Some(keys) => keys,
        None => make(&opened.store, &path(config), &**clock).await?,
    };
    let sealing = Sealing::open(&opened.store, &opened.writer, keys, clock).await;
    sealing.map_err(|refusal| missing(refusal, config))
}

async fn make(store: &Store, path: &Path, clock: &dyn Clock) -> anyhow::Result<Keys> {
    let needed = store.read().await?.db().keys_needed().await?;
    if !needed.is_empty() {
        bail!(
            "{} is missing, and secrets of the store are sealed with the master key {}: put that key there (from where you keep it beside the \
             backups); nothing else opens them",
            path.display(),
            needed.join(" and ")
        );
    }
    let fresh = || {
        let mut key = [0; 32];
        for chunk in key.chunks_exact_mut(8) {
            chunk.copy_from_slice(&clock.random().to_le_bytes());
        }
        key
    };
    Ok(MasterKey::from_own_file(path, fresh)?.into())
}

/// A refusal for want of a key, with what to do. Of a store that does not answer nobody knows what it lacks.
pub(super) fn missing(refusal: Refusal, config: &Config) -> anyhow::Error {
    if matches!(refusal, Refusal::Store(_)) {
        return anyhow::Error::new(refusal);
    }
    let path = path(config);
    let next = beside(&path);
    anyhow::Error::new(refusal).context(format!(
        "not every secret of the store can be opened: put the file of the missing key at {}, or beside it, at {}, if the other one is needed, \
         too (a rotation of keys that is not over)",
        path.display(),
        next.display()
    ))
}

/// The files of the keys while the daemon runs. It holds the keys in memory, so that it would go on without them, until its next start.
pub(super) struct KeyFiles {
    engine: Engine,
    living: Arc<Living>,
    process: Process,
    trouble: RwLock<Option<String>>,
}

impl KeyFiles {
    pub(super) fn of(engine: &Engine, living: &Arc<Living>, process: &Process) -> Self {
        let (engine, living, process) = (engine.clone(), Arc::clone(living), process.clone());
        Self { engine, living, process, trouble: RwLock::default() }
    }

    /// Looks whether a start would find the keys that the store needs. While the store does not answer nobody knows which these are.
    pub(super) async fn look(&self) {
        let config = self.living.config();
        let trouble = match read(&config, &self.process) {
            Err(error) => Some(format!("{error:#}")),
            Ok(None) => Some(format!("{} is gone", path(&config).display())),
            Ok(Some(keys)) => match self.engine.check_keys(&keys).await {
                Ok(()) => None,
                Err(Refusal::Store(_)) => return,
                Err(refusal) => Some(format!("{:#}", missing(refusal, &config))),
            },
        };
        self.tell(trouble);
    }

    fn tell(&self, now: Option<String>) {
        let mut before = self.trouble.write().unwrap_or_else(PoisonError::into_inner);
        if *before != now {
            if let Some(error) = &now {
                tracing::error!(
                    error,
                    "the file of the master key is not in order: this daemon holds the key in memory and goes on, and the next start will fail"
                );
            } else {
                tracing::info!("the file of the master key is in order again");
            }
        }
        *before = now;
    }

    /// What is not well with them, and what to do.
    pub(super) fn warning(&self) -> Option<String> {
        let why = self.trouble.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(format!(
            "The next start will not find the master key: {why}. This daemon holds the key in memory and goes on: put its file in order, from the copy \
             that you keep, before it ends. Without a copy, go over to a new key now (docs/secrets.md): nothing else opens the secrets of the store"
        ))
    }
}
