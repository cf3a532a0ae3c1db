//! What secrets are sealed with and opened with: the master keys that this daemon holds, and the installation's own key.
//!
//! Which master key is in use stands in the store: it is the one that the installation's own key is sealed with. Whoever seals looks there, in
//! the transaction that keeps what was sealed, so that no daemon goes on with a key that another one has just replaced.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use tokio::sync::{Mutex, MutexGuard};
use zeroize::Zeroizing;

use super::{Engine, Refusal};
use crate::clock::Clock;
use crate::secrets::{Fresh, Keys, LoginKey, OwnKey, Place, Sealed, SecretError};
use crate::store::{Command, SealedRow, Store, Unit, Writer};

/// Name of the secret that the installation's own key is made of.
pub(super) const OWN: &str = "own";
/// Name of the secret that the installation's key to servers is made of.
const LOGIN: &str = "login";

/// The keys of a daemon.
pub struct Sealing {
    held: RwLock<Arc<Keys>>,
    /// Whoever changes which keys are held, tells others of them, or goes over to another one does that alone.
    alone: Mutex<()>,
    own: OwnKey,
    installation: String,
}

impl Sealing {
    /// With these keys: whatever is sealed in the store must open with them. The first start makes the installation's own secrets.
    ///
    /// # Errors
    /// A key that the store needs is not there.
    pub async fn open(
        store: &Store,
        writer: &Writer,
        keys: Keys,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Refusal> {
        let mut reader = store.read().await?;
        check(&keys, reader.db().keys_needed().await?)?;
        drop(reader);
        let installation = store.about().installation.to_string();
        let make =
            MakeOwn { keys: keys.clone(), installation: installation.clone(), clock: Arc::clone(clock) };
        let sealed = writer.commit(make).await?;
        let own = OwnKey::new(&keys.open(Place::of(&installation, OWN), &sealed)?);
        Ok(Self { held: RwLock::new(Arc::new(keys)), alone: Mutex::default(), own, installation })
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until nobody else changes, tells or replaces the keys.
    pub(super) async fn alone(&self) -> MutexGuard<'_, ()> {
        self.alone.lock().await
    }

    /// Holds these from here on.
    pub(super) fn hold(&self, keys: Arc<Keys>) {
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }
}

/// Refuses to go on without a key that something is sealed with.
pub(super) fn check(keys: &Keys, needed: Vec<String>) -> Result<(), Refusal> {
    match needed.into_iter().find(|id| !keys.has(id)) {
        None => Ok(()),
        Some(id) => Err(Refusal::NoKey(format!(
            "the master key {id} is missing, with which secrets of the store are sealed; this daemon has {}",
            keys.ids().join(" and ")
        ))),
    }
}

struct MakeOwn {
    keys: Keys,
    installation: String,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Command for MakeOwn {
    type Answer = Sealed;
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Sealed, Refusal> {
        if let Some(sealed) = unit.db().await?.secret(&self.installation, OWN).await? {
            return Ok(sealed);
        }
        self.make(unit, LOGIN).await?;
        self.make(unit, OWN).await
    }
}

impl MakeOwn {
    async fn make(&self, unit: &mut Unit<'_>, name: &str) -> Result<Sealed, Refusal> {
        let secret = Zeroizing::new(random::<32>(&*self.clock));
        let place = Place::of(&self.installation, name);
        let sealed = self.keys.seal(self.keys.main(), place, &secret[..], &fresh(&*self.clock))?;
        unit.put_secret(&self.installation, name, &sealed).await?;
        Ok(sealed)
    }
}

impl Engine {
    /// Refuses keys without one that the store needs.
    pub async fn check_keys(&self, keys: &Keys) -> Result<(), Refusal> {
        check(keys, self.store().read().await?.db().keys_needed().await?)
    }

    /// The master keys that this daemon holds.
    pub fn keys(&self) -> Arc<Keys> {
        self.inner.sealing.keys()
    }

    /// Whose the installation's own secrets are.
    pub(super) fn installation(&self) -> &str {
        &self.inner.sealing.installation
    }

    /// Seals and keeps the secrets of whoever has this id: a resource, a server, a lifecycle.
    pub(super) async fn put_secrets(
        &self,
        unit: &mut Unit<'_>,
        owner: &str,
        secrets: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), Refusal> {
        if secrets.is_empty() {
            return Ok(());
        }
        let id = self.key_in_use(unit).await?;
        for (name, secret) in secrets {
            let sealed = self.keys().seal(&id, Place::of(owner, name), secret, &fresh(self.clock()))?;
            unit.put_secret(owner, name, &sealed).await?;
        }
        Ok(())
    }

    /// Id of the master key to seal with.
    pub(super) async fn key_in_use(&self, unit: &mut Unit<'_>) -> Result<String, Refusal> {
        let own = unit.db().await?.secret(self.installation(), OWN).await?;
        let lost = || Refusal::Internal("the installation's own key is gone from the store".to_owned());
        Ok(own.ok_or_else(lost)?.key_id)
    }

    /// The installation's own key to servers.
    pub async fn login_key(&self) -> Result<LoginKey, Refusal> {
        let owner = self.installation();
        let rows = self.store().read().await?.db().secrets(owner).await?;
        let lost =
            || Refusal::Internal("the installation's key to servers is gone from the store".to_owned());
        let row = rows.into_iter().find(|row| row.name == LOGIN).ok_or_else(lost)?;
        Ok(LoginKey::new(&self.unseal(owner, row)?)?)
    }

    /// Opens a secret of this owner.
    pub(super) fn unseal(&self, owner: &str, row: SealedRow) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        if row.damaged {
            return Err(SecretError::Damaged);
        }
        let name = row.name.clone();
        self.keys().open(Place::of(owner, &name), &row.into_sealed())
    }

    /// A keyed digest of a request's content: see [`super::Asked`].
    pub fn fingerprint(&self, content: &[u8]) -> String {
        self.inner.sealing.own.fingerprint(content)
    }

    /// Hides a text that leaves the installation and comes back to this place: nobody else can read, make or move it.
    pub fn hide(&self, place: &str, text: &str) -> Result<Vec<u8>, SecretError> {
        self.inner.sealing.own.hide(place, text, random(self.clock()))
    }

    /// What was hidden for this place; `None` when it was not.
    pub fn reveal(&self, place: &str, hidden: &[u8]) -> Option<String> {
        self.inner.sealing.own.reveal(place, hidden)
    }

    /// 256 random bits, gone from memory with whoever has them.
    pub(super) fn random_bits(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(random(self.clock()))
    }
}

/// Randomness for one secret.
fn fresh(clock: &dyn Clock) -> Fresh {
    Fresh { data_key: Zeroizing::new(random(clock)), key_nonce: random(clock), nonce: random(clock) }
}

/// Random bytes; `N` is a multiple of 8.
pub(super) fn random<const N: usize>(clock: &dyn Clock) -> [u8; N] {
    let mut bytes = [0; N];
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&clock.random().to_le_bytes());
    }
    bytes
}
