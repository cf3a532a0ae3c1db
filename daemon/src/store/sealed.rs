//! Sealed secrets, as bytes: those in force, and those that a change has replaced and that may still be on the server.

use super::{Db, StoreError, Unit};
use crate::domain::resource::Resource;
use crate::domain::time::Timestamp;

/// A sealed secret.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SealedRow {
    /// Name of the parameter, or of the server's login key.
    pub name: String,
    /// Which key sealed it.
    pub key_id: String,
    /// The sealed bytes.
    pub sealed: Vec<u8>,
}

impl Db<'_> {
    /// Secrets of an owner that are in force.
    pub async fn secrets(&mut self, owner: &str) -> Result<Vec<SealedRow>, StoreError> {
        let sql = "SELECT name, key_id, sealed FROM secret WHERE owner_id = $1 ORDER BY name";
        Ok(on!(self, c => sqlx::query_as(sql).bind(owner).fetch_all(c).await)?)
    }

    /// Secrets of an owner that were replaced since the last change that succeeded.
    pub async fn former_secrets(&mut self, owner: &str) -> Result<Vec<SealedRow>, StoreError> {
        let sql =
            "SELECT name, key_id, sealed FROM former_secret WHERE owner_id = $1 ORDER BY name, replaced_at";
        Ok(on!(self, c => sqlx::query_as(sql).bind(owner).fetch_all(c).await)?)
    }

    /// Id of a key with which a stored secret was sealed, other than this one.
    pub async fn sealed_with_another_key(&mut self, key_id: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT key_id FROM secret WHERE key_id <> $1 UNION ALL \
                   SELECT key_id FROM former_secret WHERE key_id <> $1 LIMIT 1";
        Ok(on!(self, c => sqlx::query_scalar(sql).bind(key_id).fetch_optional(c).await)?)
    }
}

impl Unit<'_> {
    /// Stores or replaces a sealed secret.
    pub async fn put_secret(
        &mut self,
        owner: &str,
        name: &str,
        key_id: &str,
        sealed: &[u8],
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO secret (owner_id, name, key_id, sealed) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (owner_id, name) DO UPDATE SET key_id = excluded.key_id, sealed = excluded.sealed";
        on!(self.writing().await?, c => sqlx::query(sql).bind(owner).bind(name).bind(key_id).bind(sealed)
            .execute(c).await.map(drop))?;
        Ok(())
    }

    /// Keeps the present value of a secret among the former ones, before it is replaced.
    pub async fn keep_former_secret(&mut self, owner: &str, name: &str) -> Result<(), StoreError> {
        let now = self.now().0;
        let sql = "INSERT INTO former_secret (owner_id, name, replaced_at, key_id, sealed) \
                   SELECT owner_id, name, $3, key_id, sealed FROM secret WHERE owner_id = $1 AND name = $2";
        on!(self.writing().await?, c => sqlx::query(sql).bind(owner).bind(name).bind(now).execute(c).await.map(drop))?;
        Ok(())
    }

    /// Forgets what was replaced: nothing on the server has it any more.
    pub async fn drop_former_secrets(&mut self, owner: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM former_secret WHERE owner_id = $1";
        on!(self.writing().await?, c => sqlx::query(sql).bind(owner).execute(c).await.map(drop))?;
        Ok(())
    }

    /// Puts back what the update that was accepted at this time has replaced, and removes what the resource had no value of before.
    pub async fn put_back_secrets(&mut self, of: &Resource, since: Timestamp) -> Result<(), StoreError> {
        let owner = of.id.to_string();
        let put_back = "UPDATE secret SET key_id = f.key_id, sealed = f.sealed FROM former_secret f \
                        WHERE secret.owner_id = $1 AND f.owner_id = $1 AND f.name = secret.name AND f.replaced_at = $2";
        let forget = "DELETE FROM former_secret WHERE owner_id = $1 AND replaced_at = $2";
        for sql in [put_back, forget] {
            on!(self.writing().await?, c => sqlx::query(sql).bind(&owner).bind(since.0).execute(c).await.map(drop))?;
        }
        let remove = "DELETE FROM secret WHERE owner_id = $1 AND name = $2";
        for row in self.db().await?.secrets(&owner).await? {
            if !of.secrets.contains(&row.name) {
                on!(self.writing().await?, c => sqlx::query(remove).bind(&owner).bind(&row.name).execute(c).await.map(drop))?;
            }
        }
        Ok(())
    }

    /// Removes all secrets of an owner.
    pub async fn delete_secrets(&mut self, owner: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM secret WHERE owner_id = $1";
        on!(self.writing().await?, c => sqlx::query(sql).bind(owner).execute(c).await.map(drop))?;
        self.drop_former_secrets(owner).await
    }
}
