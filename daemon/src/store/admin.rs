//! What concerns the store as a whole: its identity, the daemons that share it, counts for `status`.

use std::collections::BTreeMap;

use super::rows::{ServerRow, from_json, to_json};
use super::{Db, StoreError, Unit};
use crate::domain::id::DaemonId;
use crate::domain::server::Server;
use crate::domain::time::Timestamp;

/// How much there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs that wait for their turn.
    pub queued: i64,
    /// Runs in progress.
    pub running: i64,
    /// Servers by reach.
    pub reach: Vec<(String, i64)>,
    /// Open runs by the reason that is stored for their waiting.
    pub waiting: Vec<(String, i64)>,
    /// Queued runs for which none is stored: they wait for their turn.
    pub in_line: i64,
    /// Servers whose lane has been held for too long.
    pub held: i64,
}

/// A daemon's lease.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LeaseRow {
    /// Until when it lasts, by the time that leases are compared by.
    pub lease_until: i64,
    /// Whether it lasts still.
    pub alive: bool,
}

/// A daemon at work on this store.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct DaemonRow {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// When it started, by its own clock.
    pub started_at: i64,
    /// Whether it takes lanes, as of its last renewal: not while it drains.
    pub serves: bool,
    /// The definitions that it has loaded: a JSON object of name and digest.
    packages: String,
    /// Master keys that it holds: a JSON list of their ids.
    keys: String,
    /// Lanes that it has.
    pub lanes: i64,
}

impl DaemonRow {
    /// Digests of the definitions that it has loaded, by name.
    pub fn packages(&self) -> Result<BTreeMap<String, String>, StoreError> {
        from_json("packages", &self.packages)
    }

    /// Ids of the master keys that it holds.
    pub fn keys(&self) -> Result<Vec<String>, StoreError> {
        from_json("keys", &self.keys)
    }
}

impl Db<'_> {
    /// The lease of a daemon, where this daemon's own clock says `now`; `None` when it has given it back.
    pub async fn lease(&mut self, daemon: &str, now: Timestamp) -> Result<Option<LeaseRow>, StoreError> {
        let now = self.lease_now(now).await?.0;
        let sql = "SELECT lease_until, lease_until > $2 AS alive FROM daemon WHERE id = $1";
        Ok(on!(self, c => sqlx::query_as(sql).bind(daemon).bind(now).fetch_optional(c).await)?)
    }

    pub(super) async fn engine(&mut self) -> Result<String, StoreError> {
        Ok(match self {
            Self::Sqlite(conn) => {
                let version: String =
                    sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut **conn).await?;
                format!("SQLite {version}")
            }
            Self::Postgres(conn) => {
                let version: String =
                    sqlx::query_scalar("SHOW server_version").fetch_one(&mut **conn).await?;
                format!("PostgreSQL {version}")
            }
        })
    }

    pub(super) async fn meta(&mut self, key: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT value FROM meta WHERE key = $1";
        Ok(on!(self, c => sqlx::query_scalar(sql).bind(key).fetch_optional(c).await)?)
    }

    pub(super) async fn init_meta(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";
        Ok(on!(self, c => sqlx::query(sql).bind(key).bind(value).execute(c).await.map(drop))?)
    }

    pub(super) async fn set_meta(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        Ok(on!(self, c => sqlx::query(sql).bind(key).bind(value).execute(c).await.map(drop))?)
    }

    /// Number of the last transition.
    pub async fn last_seq(&mut self) -> Result<i64, StoreError> {
        Ok(on!(self, c => sqlx::query_scalar("SELECT seq FROM counter").fetch_one(c).await)?)
    }

    /// How much there is.
    pub async fn counts(&mut self) -> Result<Counts, StoreError> {
        let sql = "SELECT COUNT(*) FROM run WHERE state = 'queued'";
        let queued = on!(self, c => sqlx::query_scalar(sql).fetch_one(c).await)?;
        let sql = "SELECT COUNT(*) FROM run WHERE state = 'running'";
        let running = on!(self, c => sqlx::query_scalar(sql).fetch_one(c).await)?;
        let sql = "SELECT reach, COUNT(*) FROM server GROUP BY reach ORDER BY reach";
        let reach = on!(self, c => sqlx::query_as(sql).fetch_all(c).await)?;
        let sql = "SELECT wait_reason, COUNT(*) FROM run WHERE wait_reason IS NOT NULL GROUP BY wait_reason";
        let waiting = on!(self, c => sqlx::query_as(sql).fetch_all(c).await)?;
        let sql = "SELECT COUNT(*) FROM run WHERE state = 'queued' AND wait_reason IS NULL";
        let in_line = on!(self, c => sqlx::query_scalar(sql).fetch_one(c).await)?;
        let sql = "SELECT COUNT(*) FROM server WHERE held IS NOT NULL";
        let held = on!(self, c => sqlx::query_scalar(sql).fetch_one(c).await)?;
        Ok(Counts { queued, running, reach, waiting, in_line, held })
    }

    /// Servers whose lane has been held for too long, at most `limit`, in order of name.
    pub async fn held_servers(&mut self, limit: i64) -> Result<Vec<Server>, StoreError> {
        let sql = "SELECT * FROM server WHERE held IS NOT NULL ORDER BY name LIMIT $1";
        let rows: Vec<ServerRow> = on!(self, c => sqlx::query_as(sql).bind(limit).fetch_all(c).await)?;
        rows.into_iter().map(TryInto::try_into).collect()
    }
}

impl Db<'_> {
    /// The time that leases are compared by, where this daemon's own clock says `now`. Daemons that share a database have different
    /// clocks, so there it is the database's.
    pub(super) async fn lease_now(&mut self, now: Timestamp) -> Result<Timestamp, StoreError> {
        match self {
            Db::Sqlite(_) => Ok(now),
            Db::Postgres(conn) => {
                let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)";
                Ok(Timestamp(sqlx::query_scalar(sql).fetch_one(&mut **conn).await?))
            }
        }
    }

    /// The daemons whose lease has not passed, in order of id, where this daemon's own clock says `now`.
    pub async fn daemons(&mut self, now: Timestamp) -> Result<Vec<DaemonRow>, StoreError> {
        let now = self.lease_now(now).await?.0;
        let sql = "SELECT d.id, d.version, d.started_at, d.serves, d.packages, d.keys, \
                   (SELECT COUNT(*) FROM lane l WHERE l.owner = d.id) AS lanes \
                   FROM daemon d WHERE d.lease_until > $1 ORDER BY d.id";
        Ok(on!(self, c => sqlx::query_as(sql).bind(now).fetch_all(c).await)?)
    }
}

impl Unit<'_> {
    /// Stores this daemon's lease, new or renewed: as long from the lease time as `until` is from the unit's time.
    pub async fn renew_lease(
        &mut self,
        id: DaemonId,
        version: &str,
        packages: &BTreeMap<String, String>,
        keys: &[String],
        serves: bool,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let until = self.db().await?.lease_now(now).await? + until.since(now);
        let sql = "INSERT INTO daemon (id, version, started_at, lease_until, serves, packages, keys) VALUES ($1, $2, $3, $4, $5, $6, $7) \
                   ON CONFLICT (id) DO UPDATE \
                   SET lease_until = excluded.lease_until, serves = excluded.serves, packages = excluded.packages, keys = excluded.keys";
        on!(self.writing().await?, c => sqlx::query(sql).bind(id.to_string()).bind(version).bind(now.0).bind(until.0)
            .bind(serves).bind(to_json(packages)).bind(to_json(keys)).execute(c).await.map(drop))?;
        Ok(())
    }
}
