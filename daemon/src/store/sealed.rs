//! Sealed secrets, as bytes: those in force, and those that a change has replaced and that may still be on the server.

use super::{Db, StoreError, Unit};
use crate::domain::resource::Resource;
use crate::domain::time::Timestamp;
use crate::secrets::Sealed;

/// The first master key after $1 that something is sealed with.
const NEXT_KEY: &str = "SELECT MIN(id) FROM ( \
    SELECT (SELECT key_id FROM secret WHERE damaged = FALSE AND key_id > $1 ORDER BY key_id LIMIT 1) AS id UNION ALL \
    SELECT (SELECT key_id FROM former_secret WHERE damaged = FALSE AND key_id > $1 ORDER BY key_id LIMIT 1)) AS s";
/// How much is sealed with the master key $1, counted to $2.
const COUNT_UNDER: &str = "SELECT COUNT(*) FROM ( \
    SELECT 1 FROM secret WHERE damaged = FALSE AND key_id = $1 UNION ALL \
    SELECT 1 FROM former_secret WHERE damaged = FALSE AND key_id = $1 LIMIT $2) AS s";
/// What does not open any more.
const DAMAGED: &str = "SELECT owner_id, name, CAST(NULL AS BIGINT) AS replaced_at FROM secret WHERE damaged = TRUE UNION ALL \
    SELECT owner_id, name, replaced_at FROM former_secret WHERE damaged = TRUE ORDER BY owner_id, name, replaced_at LIMIT $1";

/// A sealed secret with its name.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SealedRow {
    /// Name of the parameter, or of the server's login key.
    pub name: String,
    /// It does not open any more, with whichever key.
    pub damaged: bool,
    key_id: String,
    data_key: Vec<u8>,
    sealed: Vec<u8>,
}

impl SealedRow {
    /// The secret, as it is sealed.
    pub fn into_sealed(self) -> Sealed {
        Sealed { key_id: self.key_id, data_key: self.data_key, sealed: self.sealed }
    }
}

/// A secret with its place, for another master key.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct PlacedRow {
    /// Whose it is.
    pub owner_id: String,
    /// Its name.
    pub name: String,
    /// When it was replaced; `None`: it is in force.
    replaced_at: Option<i64>,
    key_id: String,
    data_key: Vec<u8>,
    sealed: Vec<u8>,
}

impl PlacedRow {
    /// The secret, as it is sealed.
    pub fn sealed(&self) -> Sealed {
        let Self { key_id, data_key, sealed, .. } = self.clone();
        Sealed { key_id, data_key, sealed }
    }
}

/// A secret that does not open any more.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct DamagedRow {
    /// Whose it is.
    pub owner_id: String,
    /// Its name.
    pub name: String,
    /// When it was replaced; `None`: it is in force.
    replaced_at: Option<i64>,
}

impl DamagedRow {
    /// Whether another one is in force.
    pub const fn was_replaced(&self) -> bool {
        self.replaced_at.is_some()
    }
}

impl Db<'_> {
    /// Secrets of an owner that are in force.
    pub async fn secrets(&mut self, owner: &str) -> Result<Vec<SealedRow>, StoreError> {
        let sql =
            "SELECT name, key_id, data_key, sealed, damaged FROM secret WHERE owner_id = $1 ORDER BY name";
        Ok(on!(self, c => sqlx::query_as(sql).bind(owner).fetch_all(c).await)?)
    }

    /// Secrets of an owner that were replaced since the last change that succeeded.
    pub async fn former_secrets(&mut self, owner: &str) -> Result<Vec<SealedRow>, StoreError> {
        let sql = "SELECT name, key_id, data_key, sealed, damaged FROM former_secret WHERE owner_id = $1 ORDER BY name, replaced_at";
        Ok(on!(self, c => sqlx::query_as(sql).bind(owner).fetch_all(c).await)?)
    }

    /// The secret of this name of an owner, in force.
    pub async fn secret(&mut self, owner: &str, name: &str) -> Result<Option<Sealed>, StoreError> {
        let sql =
            "SELECT name, key_id, data_key, sealed, damaged FROM secret WHERE owner_id = $1 AND name = $2";
        let row: Option<SealedRow> =
            on!(self, c => sqlx::query_as(sql).bind(owner).bind(name).fetch_optional(c).await)?;
        Ok(row.map(SealedRow::into_sealed))
    }

    /// The master keys that secrets are sealed with, by their ids; without what does not open any more. Goes from one key to the next in the
    /// indexes, so it costs the same however many secrets there are.
    pub async fn keys_needed(&mut self) -> Result<Vec<String>, StoreError> {
        let mut needed: Vec<String> = Vec::new();
        loop {
            let last = needed.last().map_or("", String::as_str);
            let next: Option<String> =
                on!(self, c => sqlx::query_scalar(NEXT_KEY).bind(last).fetch_one(c).await)?;
            let Some(next) = next else { return Ok(needed) };
            needed.push(next);
        }
    }

    /// How many secrets are sealed with this master key, as far as they open. Counts no further than `most`.
    pub async fn count_under(&mut self, key: &str, most: i64) -> Result<i64, StoreError> {
        Ok(on!(self, c => sqlx::query_scalar(COUNT_UNDER).bind(key).bind(most).fetch_one(c).await)?)
    }

    /// Secrets that do not open any more, in order of owner, at most so many.
    pub async fn damaged_secrets(&mut self, limit: i64) -> Result<Vec<DamagedRow>, StoreError> {
        Ok(on!(self, c => sqlx::query_as(DAMAGED).bind(limit).fetch_all(c).await)?)
    }

    /// Secrets under this master key, as far as they open, at most so many.
    pub async fn secrets_under(&mut self, key: &str, limit: i64) -> Result<Vec<PlacedRow>, StoreError> {
        let sql = "SELECT owner_id, name, CAST(NULL AS BIGINT) AS replaced_at, key_id, data_key, sealed FROM secret \
                   WHERE damaged = FALSE AND key_id = $1 UNION ALL \
                   SELECT owner_id, name, replaced_at, key_id, data_key, sealed FROM former_secret \
                   WHERE damaged = FALSE AND key_id = $1 LIMIT $2";
        Ok(on!(self, c => sqlx::query_as(sql).bind(key).bind(limit).fetch_all(c).await)?)
    }
}

impl Unit<'_> {
    /// Puts another master key's sealing of the same row key in place of what was there.
    pub async fn put_data_key(&mut self, row: &PlacedRow, sealed: &Sealed) -> Result<(), StoreError> {
        let of_secret = "UPDATE secret SET key_id = $3, data_key = $4 WHERE owner_id = $1 AND name = $2 AND data_key = $5";
        let of_former = "UPDATE former_secret SET key_id = $3, data_key = $4 \
                         WHERE owner_id = $1 AND name = $2 AND data_key = $5 AND replaced_at = $6";
        let changed = match row.replaced_at {
            None => {
                on!(self.writing().await?, c => sqlx::query(of_secret).bind(&row.owner_id).bind(&row.name)
                    .bind(&sealed.key_id).bind(&sealed.data_key).bind(&row.data_key)
                    .execute(c).await.map(|done| done.rows_affected()))?
            }
            Some(replaced_at) => {
                on!(self.writing().await?, c => sqlx::query(of_former).bind(&row.owner_id).bind(&row.name)
                    .bind(&sealed.key_id).bind(&sealed.data_key).bind(&row.data_key).bind(replaced_at)
                    .execute(c).await.map(|done| done.rows_affected()))?
            }
        };
        self.guarded(changed)
    }

    /// Notes that a row does not open any more.
    pub async fn mark_damaged(&mut self, row: &PlacedRow) -> Result<(), StoreError> {
        let of_secret = "UPDATE secret SET damaged = TRUE WHERE owner_id = $1 AND name = $2";
        let of_former =
            "UPDATE former_secret SET damaged = TRUE WHERE owner_id = $1 AND name = $2 AND replaced_at = $3";
        let changed = match row.replaced_at {
            None => {
                on!(self.writing().await?, c => sqlx::query(of_secret).bind(&row.owner_id).bind(&row.name)
                    .execute(c).await.map(|done| done.rows_affected()))?
            }
            Some(replaced_at) => {
                on!(self.writing().await?, c => sqlx::query(of_former).bind(&row.owner_id).bind(&row.name)
                    .bind(replaced_at).execute(c).await.map(|done| done.rows_affected()))?
            }
        };
        self.guarded(changed)
    }

    /// Stores or replaces a sealed secret.
    pub async fn put_secret(&mut self, owner: &str, name: &str, sealed: &Sealed) -> Result<(), StoreError> {
        let sql = "INSERT INTO secret (owner_id, name, key_id, data_key, sealed, damaged) VALUES ($1, $2, $3, $4, $5, FALSE) \
                   ON CONFLICT (owner_id, name) DO UPDATE \
                   SET key_id = excluded.key_id, data_key = excluded.data_key, sealed = excluded.sealed, damaged = FALSE";
        on!(self.writing().await?, c => sqlx::query(sql).bind(owner).bind(name).bind(&sealed.key_id)
            .bind(&sealed.data_key).bind(&sealed.sealed).execute(c).await.map(drop))?;
        Ok(())
    }

    /// Keeps the present value of a secret among the former ones, before it is replaced.
    pub async fn keep_former_secret(&mut self, owner: &str, name: &str) -> Result<(), StoreError> {
        let now = self.now().0;
        let sql = "INSERT INTO former_secret (owner_id, name, replaced_at, key_id, data_key, sealed, damaged) \
                   SELECT owner_id, name, $3, key_id, data_key, sealed, damaged FROM secret WHERE owner_id = $1 AND name = $2";
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
        let put_back = "UPDATE secret SET key_id = f.key_id, data_key = f.data_key, sealed = f.sealed, damaged = f.damaged FROM former_secret f \
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

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

    use super::*;

    /// Whoever asks how it is reads no more of 1 000 000 secrets than of ten.
    #[tokio::test]
    async fn what_is_asked_of_all_secrets_is_found_in_an_index() {
        let options = SqliteConnectOptions::new().in_memory(true);
        let options = options.collation("C", |a, b| a.as_bytes().cmp(b.as_bytes()));
        let mut conn = options.connect().await.unwrap();
        sqlx::raw_sql(include_str!("../../../migrations/0001_first.sql")).execute(&mut conn).await.unwrap();
        for sql in [NEXT_KEY, COUNT_UNDER, DAMAGED] {
            let explain = format!("EXPLAIN QUERY PLAN {sql}");
            let lines = sqlx::query(AssertSqlSafe(explain)).fetch_all(&mut conn).await.unwrap();
            let plan: Vec<String> = lines.iter().map(|line| line.get("detail")).collect();
            let reads: Vec<_> = plan.iter().filter(|line| line.contains("secret")).collect();
            assert!(reads.len() >= 2, "{plan:?}");
            for read in reads {
                assert!(read.starts_with("SEARCH") && read.contains("_by_key (damaged=?"), "{plan:?}");
            }
        }
    }
}
