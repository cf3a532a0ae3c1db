//! Bearer tokens: who may come with which, by the digest of its secret. What a token allows is not known here.

use serde::{Deserialize, Serialize};

use super::page::Page;
use super::rows::{from_json, to_json};
use super::{Db, StoreError, Unit};

/// A token as stored, without the digest of its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct TokenRow {
    /// ULID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// What it is for: a JSON list.
    pub scope: String,
    /// Who made it.
    pub principal: String,
    /// When it was made.
    pub created_at: i64,
    /// Until when it is good.
    pub expires_at: i64,
    /// When it was last used.
    pub last_used: Option<i64>,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
}

impl TokenRow {
    /// How what it is for is stored.
    pub fn scope_text(scope: &[String]) -> String {
        to_json(scope)
    }

    /// What it is for; empty: everything.
    pub fn scope(&self) -> Result<Vec<String>, StoreError> {
        from_json("scope", &self.scope)
    }
}

impl Db<'_> {
    /// The token whose secret has this digest.
    pub async fn token_by_digest(&mut self, digest: &str) -> Result<Option<TokenRow>, StoreError> {
        let sql = "SELECT * FROM token WHERE hash = $1";
        Ok(on!(self, c => sqlx::query_as(sql).bind(digest).fetch_optional(c).await)?)
    }

    /// The token with this name or id that is not revoked.
    pub async fn live_token(&mut self, named: &str) -> Result<Option<TokenRow>, StoreError> {
        let sql = "SELECT * FROM token WHERE (name = $1 OR id = $1) AND revoked_at IS NULL";
        Ok(on!(self, c => sqlx::query_as(sql).bind(named).fetch_optional(c).await)?)
    }

    /// Tokens, newest first, before `before` (empty: from the newest).
    pub async fn tokens(&mut self, before: &str, limit: i64) -> Result<Vec<TokenRow>, StoreError> {
        Page::of("token").before(before).fetch(self, limit).await
    }
}

impl Unit<'_> {
    /// Stores a new token with the digest of its secret.
    pub async fn insert_token(&mut self, row: &TokenRow, digest: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO token (id, name, hash, role, scope, principal, created_at, expires_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        on!(self.writing().await?, c => sqlx::query(sql).bind(&row.id).bind(&row.name).bind(digest).bind(&row.role).bind(&row.scope)
            .bind(&row.principal).bind(row.created_at).bind(row.expires_at).execute(c).await.map(drop))?;
        Ok(())
    }

    /// Revokes a token, once.
    pub async fn revoke_token(&mut self, id: &str) -> Result<(), StoreError> {
        let now = self.now().0;
        let sql = "UPDATE token SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
        let done = on!(self.writing().await?, c => sqlx::query(sql).bind(id).bind(now).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)
    }

    /// Notes that a token was used now. One that is gone is nobody's trouble.
    pub async fn use_token(&mut self, id: &str) -> Result<(), StoreError> {
        let now = self.now().0;
        let sql = "UPDATE token SET last_used = $2 WHERE id = $1 AND (last_used IS NULL OR last_used < $2)";
        let done = on!(self.writing().await?, c => sqlx::query(sql).bind(id).bind(now).execute(c).await.map(|d| d.rows_affected()))?;
        if done == 0 {
            self.wrote_nothing();
        }
        Ok(())
    }
}
