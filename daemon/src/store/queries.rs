//! Reading: objects by id and by name, pages, and what a watcher or follower needs. Every list is a keyset page with an index.

use super::page::Page;
use super::rows::{ResourceRow, RunRow, ServerRow, StepRecord, StepRow, TransitionRow};
use super::{Db, StoreError, Unit};
use crate::domain::freshness::Freshness;
use crate::domain::id::{ResourceId, RunId, ServerId};
use crate::domain::resource::{Resource, WHOLE_SERVER};
use crate::domain::run::Run;
use crate::domain::server::Server;
use crate::domain::step::StepId;
use crate::domain::time::Timestamp;
use crate::domain::turn::Priority;

/// An answer kept under a request id.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct RequestRow {
    /// Digest of the request's content.
    pub digest: String,
    /// The answer, as JSON.
    pub answer: String,
}

/// Which resources.
#[derive(Debug, Clone, Default)]
pub struct ResourceFilter {
    /// Only of this server.
    pub server: Option<ServerId>,
    /// Only of this package.
    pub package: Option<String>,
    /// Only in this status.
    pub status: Option<String>,
}

impl ResourceFilter {
    pub(super) fn page(&self, after: &str) -> Page {
        Page::of("resource")
            .only("server_id", self.server.map(|id| id.to_string()))
            .only("package", self.package.clone())
            .only("status", self.status.clone())
            .after(after)
    }
}

/// Which runs.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only of this server.
    pub server: Option<ServerId>,
    /// Only of this resource.
    pub resource: Option<String>,
    /// Only in this state.
    pub state: Option<String>,
    /// Only with this outcome.
    pub outcome: Option<String>,
    /// Only this fresh at this time.
    pub freshness: Option<(Freshness, Timestamp)>,
}

impl RunFilter {
    pub(super) fn page(&self, before: &str) -> Page {
        Page::of("run")
            .only("server_id", self.server.map(|id| id.to_string()))
            .only("resource_id", self.resource.clone())
            .only("state", self.state.clone())
            .only("outcome", self.outcome.clone())
            .fresh(self.freshness)
            .before(before)
    }
}

fn all<R, T: TryFrom<R, Error = StoreError>>(rows: Vec<R>) -> Result<Vec<T>, StoreError> {
    rows.into_iter().map(TryInto::try_into).collect()
}

impl Db<'_> {
    /// A server by id.
    pub async fn server(&mut self, id: ServerId) -> Result<Option<Server>, StoreError> {
        let sql = "SELECT * FROM server WHERE id = $1";
        let row: Option<ServerRow> =
            on!(self, c => sqlx::query_as(sql).bind(id.to_string()).fetch_optional(c).await)?;
        row.map(TryInto::try_into).transpose()
    }

    /// A server by name.
    pub async fn server_by_name(&mut self, name: &str) -> Result<Option<Server>, StoreError> {
        let sql = "SELECT * FROM server WHERE name = $1";
        let row: Option<ServerRow> = on!(self, c => sqlx::query_as(sql).bind(name).fetch_optional(c).await)?;
        row.map(TryInto::try_into).transpose()
    }

    /// The server that has this machine id.
    pub async fn server_by_machine(&mut self, machine_id: &str) -> Result<Option<Server>, StoreError> {
        let sql = "SELECT * FROM server WHERE machine_id = $1";
        let row: Option<ServerRow> =
            on!(self, c => sqlx::query_as(sql).bind(machine_id).fetch_optional(c).await)?;
        row.map(TryInto::try_into).transpose()
    }

    /// Hops of the longest way that leads through this server: 0 when nobody is reached through it, at most 3.
    pub async fn hops_behind(&mut self, name: &str) -> Result<i64, StoreError> {
        let sql = "SELECT CAST(CASE \
                     WHEN EXISTS (SELECT 1 FROM server a JOIN server b ON b.via = a.name JOIN server c ON c.via = b.name \
                                  WHERE a.via = $1) THEN 3 \
                     WHEN EXISTS (SELECT 1 FROM server a JOIN server b ON b.via = a.name WHERE a.via = $1) THEN 2 \
                     WHEN EXISTS (SELECT 1 FROM server a WHERE a.via = $1) THEN 1 \
                     ELSE 0 END AS BIGINT)";
        Ok(on!(self, c => sqlx::query_scalar(sql).bind(name).fetch_one(c).await)?)
    }

    /// Names of servers that are reached through this one, at most `limit`, in order.
    pub async fn servers_via(&mut self, name: &str, limit: i64) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT name FROM server WHERE via = $1 ORDER BY name LIMIT $2";
        Ok(on!(self, c => sqlx::query_scalar(sql).bind(name).bind(limit).fetch_all(c).await)?)
    }

    /// Servers in order of name, after `after`.
    pub async fn servers(&mut self, after: &str, limit: i64) -> Result<Vec<Server>, StoreError> {
        let sql = "SELECT * FROM server WHERE name > $1 ORDER BY name LIMIT $2";
        let rows: Vec<ServerRow> =
            on!(self, c => sqlx::query_as(sql).bind(after).bind(limit).fetch_all(c).await)?;
        all(rows)
    }

    /// A resource by id.
    pub async fn resource(&mut self, id: ResourceId) -> Result<Option<Resource>, StoreError> {
        let sql = "SELECT * FROM resource WHERE id = $1";
        let row: Option<ResourceRow> =
            on!(self, c => sqlx::query_as(sql).bind(id.to_string()).fetch_optional(c).await)?;
        row.map(TryInto::try_into).transpose()
    }

    /// A resource by server, package and name.
    pub async fn resource_by_path(
        &mut self,
        server: ServerId,
        package: &str,
        name: &str,
    ) -> Result<Option<Resource>, StoreError> {
        let sql = "SELECT * FROM resource WHERE server_id = $1 AND package = $2 AND name = $3";
        let row: Option<ResourceRow> = on!(self, c =>
            sqlx::query_as(sql).bind(server.to_string()).bind(package).bind(name).fetch_optional(c).await)?;
        row.map(TryInto::try_into).transpose()
    }

    /// The resource that holds a value of a key parameter.
    pub async fn key_holder(
        &mut self,
        server: ServerId,
        package: &str,
        param: &str,
        value: &str,
    ) -> Result<Option<String>, StoreError> {
        let sql = "SELECT resource_id FROM resource_key WHERE server_id = $1 AND package = $2 AND param = $3 AND value = $4";
        Ok(
            on!(self, c => sqlx::query_scalar(sql).bind(server.to_string()).bind(package).bind(param).bind(value)
            .fetch_optional(c).await)?,
        )
    }

    /// Resources in order of id, after `after`.
    pub async fn resources(
        &mut self,
        filter: &ResourceFilter,
        after: &str,
        limit: i64,
    ) -> Result<Vec<Resource>, StoreError> {
        let rows: Vec<ResourceRow> = filter.page(after).fetch(self, limit).await?;
        all(rows)
    }

    /// How many resources are at rest.
    pub async fn at_rest(&mut self) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) FROM resource WHERE status IN ('active', 'success', 'paused') AND open_run IS NULL";
        Ok(on!(self, c => sqlx::query_scalar(sql).fetch_one(c).await)?)
    }

    /// Resources that are at rest and that nobody has changed or looked at since then, on servers that are there, longest first, at most
    /// `limit`. What has an open run is looked at already.
    pub async fn at_rest_since(&mut self, then: Timestamp, limit: i64) -> Result<Vec<Resource>, StoreError> {
        let sql = "SELECT r.* FROM resource r JOIN server s ON s.id = r.server_id \
                   WHERE r.status IN ('active', 'success', 'paused') AND r.open_run IS NULL \
                   AND r.looked_at <= $1 AND r.updated_at <= $1 AND s.reach = 'ok' \
                   AND NOT EXISTS (SELECT 1 FROM run WHERE run.resource_id = r.id AND run.state <> 'completed') \
                   ORDER BY r.looked_at, r.id LIMIT $2";
        let rows: Vec<ResourceRow> =
            on!(self, c => sqlx::query_as(sql).bind(then.0).bind(limit).fetch_all(c).await)?;
        all(rows)
    }

    /// A run by id.
    pub async fn run(&mut self, id: RunId) -> Result<Option<Run>, StoreError> {
        self.run_row(id).await?.map(TryInto::try_into).transpose()
    }

    /// A run by id, as its row.
    pub async fn run_row(&mut self, id: RunId) -> Result<Option<RunRow>, StoreError> {
        let sql = "SELECT * FROM run WHERE id = $1";
        Ok(on!(self, c => sqlx::query_as(sql).bind(id.to_string()).fetch_optional(c).await)?)
    }

    /// Runs, newest first, before `before` (empty: from the newest).
    pub async fn runs(
        &mut self,
        filter: &RunFilter,
        before: &str,
        limit: i64,
    ) -> Result<Vec<RunRow>, StoreError> {
        filter.page(before).fetch(self, limit).await
    }

    /// Place of a queued run in its lane, 1 = next; 0 when it is not queued.
    pub async fn queue_position(&mut self, id: RunId) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) FROM run r JOIN run me ON me.server_id = r.server_id AND me.exclusive = r.exclusive \
                   WHERE me.id = $1 AND me.state = 'queued' AND r.state = 'queued' \
                   AND (r.priority > me.priority OR r.priority = me.priority AND r.queue_no <= me.queue_no)";
        Ok(on!(self, c => sqlx::query_scalar(sql).bind(id.to_string()).fetch_one(c).await)?)
    }

    /// How many queued runs of a server, in its lane or beside it, have their turn before one of this priority that comes now for a resource:
    /// not those of the resource itself, since nothing of it can be queued in the lane twice.
    pub async fn queued_ahead(
        &mut self,
        server: ServerId,
        exclusive: bool,
        priority: Priority,
        of: ResourceId,
    ) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) FROM run WHERE server_id = $1 AND state = 'queued' AND exclusive = $4 AND priority >= $2 \
             AND (NOT exclusive OR resource_id <> $3)";
        let (server, of) = (server.to_string(), of.to_string());
        Ok(
            on!(self, c => sqlx::query_scalar(sql).bind(server).bind(priority.rank()).bind(of).bind(exclusive).fetch_one(c).await)?,
        )
    }

    /// Whether a server's queue holds at least `limit` runs.
    pub async fn queue_is_full(&mut self, server: ServerId, limit: i64) -> Result<bool, StoreError> {
        let sql = "SELECT COUNT(*) FROM (SELECT 1 AS one FROM run WHERE server_id = $1 AND state = 'queued' LIMIT $2) AS q";
        let count: i64 =
            on!(self, c => sqlx::query_scalar(sql).bind(server.to_string()).bind(limit).fetch_one(c).await)?;
        Ok(count >= limit)
    }

    /// Queued runs of a server in order, at most `limit`.
    pub async fn queue(
        &mut self,
        server: ServerId,
        exclusive: bool,
        limit: i64,
    ) -> Result<Vec<Run>, StoreError> {
        let sql = "SELECT * FROM run WHERE server_id = $1 AND state = 'queued' AND exclusive = $2 \
                   ORDER BY priority DESC, queue_no LIMIT $3";
        let rows: Vec<RunRow> = on!(self, c => sqlx::query_as(sql).bind(server.to_string()).bind(exclusive).bind(limit).fetch_all(c).await)?;
        all(rows)
    }

    /// Runs in progress on a server.
    pub async fn running(&mut self, server: ServerId) -> Result<Vec<Run>, StoreError> {
        let sql = "SELECT * FROM run WHERE server_id = $1 AND state = 'running' ORDER BY queue_no";
        let rows: Vec<RunRow> =
            on!(self, c => sqlx::query_as(sql).bind(server.to_string()).fetch_all(c).await)?;
        all(rows)
    }

    /// Open runs whose time to settle has passed, in that order, after the one with this time and id; at most `limit`. As rows, so that
    /// one which cannot be read keeps nobody from the others.
    pub async fn overdue(
        &mut self,
        now: Timestamp,
        after: (Timestamp, &str),
        limit: i64,
    ) -> Result<Vec<RunRow>, StoreError> {
        let sql = "SELECT * FROM run WHERE settles_by IS NOT NULL AND settles_by < $1 AND (settles_by, id) > ($2, $3) \
                   ORDER BY settles_by, id LIMIT $4";
        let (time, id) = after;
        Ok(on!(self, c =>
            sqlx::query_as(sql).bind(now.0).bind(time.0).bind(id).bind(limit).fetch_all(c).await)?)
    }

    /// How many runs are open.
    pub async fn open_runs(&mut self) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) FROM run WHERE settles_by IS NOT NULL";
        Ok(on!(self, c => sqlx::query_scalar(sql).fetch_one(c).await)?)
    }

    /// Open runs of a server, at most `limit`.
    pub async fn open_runs_of(&mut self, server: ServerId, limit: i64) -> Result<Vec<Run>, StoreError> {
        let sql =
            "SELECT * FROM run WHERE server_id = $1 AND state <> 'completed' ORDER BY queue_no LIMIT $2";
        let rows: Vec<RunRow> =
            on!(self, c => sqlx::query_as(sql).bind(server.to_string()).bind(limit).fetch_all(c).await)?;
        all(rows)
    }

    /// The newest unsuccessful installs, updates and adoptions of a resource, newest first, at most `limit`.
    pub async fn failed_changes(&mut self, resource: ResourceId, limit: i64) -> Result<Vec<Run>, StoreError> {
        let sql = "SELECT * FROM run WHERE resource_id = $1 AND state = 'completed' AND outcome <> 'succeeded' \
                   AND operation IN ('install', 'update', 'adopt') ORDER BY id DESC LIMIT $2";
        let rows: Vec<RunRow> = on!(self, c =>
            sqlx::query_as(sql).bind(resource.to_string()).bind(limit).fetch_all(c).await)?;
        all(rows)
    }

    /// Digest of the definition that the newest run of a resource used.
    pub async fn last_digest(&mut self, resource: ResourceId) -> Result<Option<String>, StoreError> {
        let sql =
            "SELECT digest FROM run WHERE resource_id = $1 AND digest IS NOT NULL ORDER BY id DESC LIMIT 1";
        Ok(on!(self, c => sqlx::query_scalar(sql).bind(resource.to_string()).fetch_optional(c).await)?)
    }

    /// A step by id.
    pub async fn step(&mut self, id: StepId) -> Result<Option<StepRecord>, StoreError> {
        let sql = "SELECT * FROM step WHERE id = $1";
        let row: Option<StepRow> =
            on!(self, c => sqlx::query_as(sql).bind(id.to_string()).fetch_optional(c).await)?;
        row.map(TryInto::try_into).transpose()
    }

    /// Number of the last try of a run; 0 when there is none.
    pub async fn last_try(&mut self, run: RunId) -> Result<i64, StoreError> {
        let sql = "SELECT COALESCE(MAX(no), 0) FROM step WHERE run_id = $1";
        Ok(on!(self, c => sqlx::query_scalar(sql).bind(run.to_string()).fetch_one(c).await)?)
    }

    /// Steps of a run in the order in which they were started.
    pub async fn steps(&mut self, run: RunId) -> Result<Vec<StepRecord>, StoreError> {
        let sql = "SELECT * FROM step WHERE run_id = $1 ORDER BY no";
        let rows: Vec<StepRow> =
            on!(self, c => sqlx::query_as(sql).bind(run.to_string()).fetch_all(c).await)?;
        all(rows)
    }

    /// Pieces of a step's output that begin at `pos` or later, at most `limit`.
    pub async fn output(
        &mut self,
        step: StepId,
        pos: u64,
        limit: i64,
    ) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
        let sql = "SELECT pos, data FROM output WHERE step_id = $1 AND pos >= $2 ORDER BY pos LIMIT $3";
        let pos = i64::try_from(pos).unwrap_or(i64::MAX);
        Ok(
            on!(self, c => sqlx::query_as(sql).bind(step.to_string()).bind(pos).bind(limit).fetch_all(c).await)?,
        )
    }

    /// The piece of a step's output that holds the byte at `pos`.
    pub async fn output_at(&mut self, step: StepId, pos: u64) -> Result<Option<(i64, Vec<u8>)>, StoreError> {
        let sql = "SELECT pos, data FROM output WHERE step_id = $1 AND pos <= $2 ORDER BY pos DESC LIMIT 1";
        let pos = i64::try_from(pos).unwrap_or(i64::MAX);
        Ok(on!(self, c => sqlx::query_as(sql).bind(step.to_string()).bind(pos).fetch_optional(c).await)?)
    }

    /// Transitions after `after`, at most `limit`, unfiltered: the caller filters and knows how far it has scanned.
    pub async fn transitions(&mut self, after: i64, limit: i64) -> Result<Vec<TransitionRow>, StoreError> {
        let sql = "SELECT * FROM transition WHERE seq > $1 ORDER BY seq LIMIT $2";
        Ok(on!(self, c => sqlx::query_as(sql).bind(after).bind(limit).fetch_all(c).await)?)
    }

    /// The same, and at most as many as have `length` characters in their objects together, but one at least.
    pub async fn page_of_transitions(
        &mut self,
        after: i64,
        limit: i64,
        length: i64,
    ) -> Result<Vec<TransitionRow>, StoreError> {
        let sql = "SELECT * FROM transition WHERE seq > $1 AND seq <= (\
                   SELECT COALESCE(MAX(CASE WHEN so_far <= $3 THEN seq END), MIN(seq)) FROM (\
                   SELECT seq, SUM(length) OVER (ORDER BY seq) AS so_far FROM (\
                   SELECT seq, LENGTH(object) AS length FROM transition WHERE seq > $1 ORDER BY seq LIMIT $2) AS page) AS summed) \
                   ORDER BY seq";
        Ok(on!(self, c => sqlx::query_as(sql).bind(after).bind(limit).bind(length).fetch_all(c).await)?)
    }

    /// Number of the oldest transition that is kept; `None` when there is none.
    pub async fn oldest_transition(&mut self) -> Result<Option<i64>, StoreError> {
        Ok(on!(self, c => sqlx::query_scalar("SELECT MIN(seq) FROM transition").fetch_one(c).await)?)
    }

    /// The answer kept under a request id.
    pub async fn request(
        &mut self,
        principal: &str,
        method: &str,
        id: &str,
    ) -> Result<Option<RequestRow>, StoreError> {
        let sql =
            "SELECT digest, answer FROM request WHERE principal = $1 AND method = $2 AND request_id = $3";
        Ok(on!(self, c => sqlx::query_as(sql).bind(principal).bind(method).bind(id).fetch_optional(c).await)?)
    }

    /// Text of a package definition by digest.
    pub async fn package_source(&mut self, digest: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT source FROM package WHERE digest = $1";
        Ok(on!(self, c => sqlx::query_scalar(sql).bind(digest).fetch_optional(c).await)?)
    }
}

impl Unit<'_> {
    /// Stores a definition by its digest.
    pub async fn keep_package(&mut self, digest: &str, name: &str, source: &str) -> Result<(), StoreError> {
        let now = self.now().0;
        let sql = "INSERT INTO package (digest, name, source, loaded_at) VALUES ($1, $2, $3, $4) ON CONFLICT (digest) DO NOTHING";
        on!(self.writing().await?, c => sqlx::query(sql).bind(digest).bind(name).bind(source).bind(now).execute(c).await.map(drop))?;
        Ok(())
    }

    /// Takes a value of a key parameter for a resource, which may have it already. `Duplicate(param)`: another resource holds it.
    pub async fn take_key(&mut self, of: &Resource, param: &str, value: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO resource_key (server_id, package, param, value, resource_id) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (server_id, package, param, value) DO UPDATE SET resource_id = excluded.resource_id \
                   WHERE resource_key.resource_id = excluded.resource_id";
        let done = on!(self.writing().await?, c => sqlx::query(sql).bind(of.server.to_string()).bind(&of.package).bind(param)
            .bind(value).bind(of.id.to_string()).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done).map_err(|_| StoreError::Duplicate(param.to_owned()))
    }

    /// Lets go of the key values of a resource that are not what is asked for now: what is there has them no more.
    pub async fn drop_old_keys(&mut self, of: &Resource) -> Result<(), StoreError> {
        let id = of.id.to_string();
        let sql = "SELECT param, value FROM resource_key WHERE resource_id = $1";
        let held: Vec<(String, String)> =
            on!(self.db().await?, c => sqlx::query_as(sql).bind(&id).fetch_all(c).await)?;
        let sql = "DELETE FROM resource_key WHERE resource_id = $1 AND param = $2 AND value = $3";
        let old = |param: &str, value: &String| param != WHOLE_SERVER && of.desired.get(param) != Some(value);
        for (param, value) in held.iter().filter(|(param, value)| old(param, value)) {
            on!(self.writing().await?, c => sqlx::query(sql).bind(&id).bind(param).bind(value).execute(c).await.map(drop))?;
        }
        Ok(())
    }
}
