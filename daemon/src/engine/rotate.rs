//! The store goes over to another master key: the key of each row is sealed anew, batch by batch; the secrets stay as they are.
//!
//! The first batch is the installation's own key, which says what secrets are sealed with from then on. Each batch is whole or not at all, and
//! a daemon that holds both keys opens everything all the while: whoever is stopped in the midst of it has lost nothing, and goes on when asked
//! again. A row that does not open is no reason to stop: it is named, and its key is not needed for it any more.

use async_trait::async_trait;

use super::sealing::{OWN, random};
use super::{Answer, Asked, Damaged, Engine, Refusal};
use crate::secrets::{Keys, Place, SecretError};
use crate::store::{Command, Db, PlacedRow, StoreError, Unit, Wants};

/// Rows in one transaction.
const BATCH: i64 = 64;
/// Secrets that need another master key are counted so far: who asks how it is must not count all there are.
pub const LEFT_MAX: u64 = 1_000;
/// Secrets that do not open any more and are named, at most.
const DAMAGED_MAX: i64 = 100;
/// What the audit calls it.
const OBJECT: &str = "master key";

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The master key that secrets are sealed with.
    pub key: String,
    /// Secrets that were sealed with another one, and are now with this.
    pub resealed: u64,
    /// Secrets that are sealed with another one still: [`LEFT_MAX`] means so many or more.
    pub left: u64,
    /// The first of the keys that this daemon holds: the one in use, once a rotation has come to its end.
    pub main: String,
    /// A key that secrets are sealed with and this daemon does not hold.
    pub missing: Option<String>,
    /// Secrets that no key opens any more, at most 100.
    pub damaged: Vec<Damaged>,
}

/// What became of some rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Their keys were sealed anew.
    pub rows: u64,
    /// They do not open any more, and were left as they are.
    pub damaged: u64,
}

struct Begin {
    engine: Engine,
    asked: Asked,
}

#[async_trait]
impl Command for Begin {
    /// How many rows it has sealed anew.
    type Answer = u64;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<u64, Refusal> {
        if self.asked.recall(unit).await?.is_some() {
            return Ok(0);
        }
        let keys = self.engine.keys();
        let next = next_of(&keys)?;
        self.held_by_all(unit, next).await?;
        let in_use = self.engine.key_in_use(unit).await?;
        if in_use != next {
            let (owner, place) = (self.engine.installation(), Place::of(self.engine.installation(), OWN));
            let own = unit.db().await?.secret(owner, OWN).await?;
            let own =
                own.ok_or_else(|| Refusal::Internal("the installation's own key is gone".to_owned()))?;
            let own = keys.reseal(next, place, &own, random(self.engine.clock()))?;
            unit.put_secret(owner, OWN, &own).await?;
        }
        let detail = format!("{in_use} -> {next}");
        self.asked.keep_with(unit, &Answer::default(), OBJECT.to_owned(), detail).await?;
        Ok(u64::from(in_use != next))
    }
}

impl Begin {
    /// Refuses as long as a daemon could not open what is sealed with the next key.
    async fn held_by_all(&self, unit: &mut Unit<'_>, next: &str) -> Result<(), Refusal> {
        let (now, me) = (unit.now(), self.engine.me().to_string());
        for daemon in unit.db().await?.daemons(now).await? {
            let held = daemon.keys()?;
            if daemon.id != me && !held.iter().any(|id| id == next) {
                return Err(Refusal::not_now(format!(
                    "the daemon {} does not hold the master key {next} and could not open what is sealed with it (it holds {}): put the key beside \
                     its own there, too, and have it read (systemctl reload settled); it tells of it within half a minute",
                    daemon.id,
                    held.join(" and ")
                )));
            }
        }
        Ok(())
    }
}

/// The key to go over to.
fn next_of(keys: &Keys) -> Result<&str, Refusal> {
    match keys.next() {
        None => Err(Refusal::not_now(format!(
            "this daemon holds one master key, {}, and no other to go over to: put the new one beside it, in a file of the same name with .next \
             behind it, and have it read (systemctl reload settled). docs/secrets.md has the commands",
            keys.main()
        ))),
        Some(next) if next == keys.main() => Err(Refusal::not_now(format!(
            "the file beside the master key {next} holds the same key: if it took the place of the old one, remove that file and have settled read \
             what is there (systemctl reload settled)"
        ))),
        Some(next) => Ok(next),
    }
}

struct ResealSome(Engine);

#[async_trait]
impl Command for ResealSome {
    type Answer = Resealed;
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Resealed, Refusal> {
        let (keys, in_use) = (self.0.keys(), self.0.key_in_use(unit).await?);
        let mut done = Resealed::default();
        for row in others(unit, &keys, &in_use).await? {
            let place = Place::of(&row.owner_id, &row.name);
            match keys.reseal(&in_use, place, &row.sealed(), random(self.0.clock())) {
                Ok(sealed) => {
                    unit.put_data_key(&row, &sealed).await?;
                    done.rows += 1;
                }
                Err(SecretError::Damaged) => {
                    unit.mark_damaged(&row).await?;
                    done.damaged += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(done)
    }
}

/// A batch of what is sealed with a key that is here and not in use.
async fn others(unit: &mut Unit<'_>, keys: &Keys, in_use: &str) -> Result<Vec<PlacedRow>, StoreError> {
    for key in keys.ids().iter().filter(|id| *id != in_use) {
        let rows = unit.db().await?.secrets_under(key, BATCH).await?;
        if !rows.is_empty() {
            return Ok(rows);
        }
    }
    Ok(Vec::new())
}

impl Engine {
    /// Has everything sealed with the next master key. Asked again, under the same id or another one, it does what is left.
    pub async fn rotate_secrets(&self, asked: Asked) -> Result<Rotation, Refusal> {
        let (mut resealed, mut damaged) = (self.begin_rotation(asked.clone()).await?, 0);
        loop {
            let done = self.reseal_some().await?;
            if done == Resealed::default() {
                break;
            }
            (resealed, damaged) = (resealed + done.rows, damaged + done.damaged);
        }
        let rotation = self.rotation(&mut self.store().read().await?.db()).await?;
        let rotation = Rotation { resealed, ..rotation };
        if resealed + damaged > 0 {
            let left = if damaged > 0 { format!(", {damaged} do not open any more") } else { String::new() };
            let detail = format!("{resealed} secrets sealed with {}{left}", rotation.key);
            self.audit_end(asked, OBJECT, detail).await?;
        }
        Ok(rotation)
    }

    /// Has secrets sealed with the next master key from here on; answers how many rows it has sealed anew.
    pub async fn begin_rotation(&self, asked: Asked) -> Result<u64, Refusal> {
        asked.check()?;
        let _alone = self.sealing().alone().await;
        self.writer().commit(Begin { engine: self.clone(), asked }).await
    }

    /// Seals the keys of some rows anew with the master key in use; answers of how many. None: there are no more.
    pub async fn reseal_some(&self) -> Result<Resealed, Refusal> {
        self.writer().commit(ResealSome(self.clone())).await
    }

    /// Which master key secrets are sealed with, how many are not yet, and which do not open any more.
    pub async fn rotation(&self, db: &mut Db<'_>) -> Result<Rotation, StoreError> {
        let own = db.secret(self.installation(), OWN).await?;
        let key = own.map(|own| own.key_id).unwrap_or_default();
        let needed = db.keys_needed().await?;
        let mut left = 0;
        for former in needed.iter().filter(|id| **id != key) {
            let more = db.count_under(former, i64::try_from(LEFT_MAX - left).unwrap_or(0)).await?;
            left += u64::try_from(more).unwrap_or(0);
        }
        let keys = self.keys();
        Ok(Rotation {
            key,
            resealed: 0,
            left,
            main: keys.main().to_owned(),
            damaged: self.damaged_secrets(db, DAMAGED_MAX).await?,
            missing: needed.into_iter().find(|id| !keys.has(id)),
        })
    }
}
