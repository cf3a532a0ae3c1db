//! Lanes in the store: who owns a server's queue, in which epoch, and what is not proven to have ended there.

use super::rows::{RunRow, clean};
use super::{Db, StoreError, Unit};
use crate::domain::id::{DaemonId, RunId, ServerId};
use crate::domain::step::StepId;

/// Lanes of daemons other than $1 whose lease has passed at $3, or of all others ($2).
macro_rules! of_the_dead {
    () => {
        "lane.owner IS NOT NULL AND lane.owner <> $1 \
         AND ($2 OR NOT EXISTS (SELECT 1 FROM daemon d WHERE d.id = lane.owner AND d.lease_until > $3))"
    };
}

/// Servers that are called one by one when their lanes have lost their owner.
const CALLED_MAX: usize = 256;

/// A lane as stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LaneRow {
    /// The server.
    pub server_id: String,
    /// The daemon that has it.
    pub owner: Option<String>,
    /// Rises with every change of hands.
    pub epoch: i64,
    /// `asked` or `forced`: the next claim takes the server from another installation.
    pub takeover: Option<String>,
}

/// A lane whose owner is gone.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct DeadLane {
    /// The server.
    pub server_id: String,
    /// Its name.
    pub server: String,
    /// The daemon that had it.
    pub owner: String,
}

/// A step that is not proven to have ended.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct UnresolvedRow {
    /// The step.
    pub step_id: String,
    /// What is known of it.
    pub detail: String,
    /// Since when.
    pub since: i64,
    /// An operator has given it up, and its server has yet to confirm that.
    pub abandon: bool,
}

impl Db<'_> {
    /// Servers with work and a lane without an owner, at most `limit`, in order of id; only `server` when it is given.
    ///
    /// A paused server has work only while something runs there; a refused one only when it was asked to be looked at anew. What is not
    /// proven to have ended is work, too, until it is.
    pub async fn lanes_to_take(
        &mut self,
        server: Option<ServerId>,
        limit: i64,
    ) -> Result<Vec<String>, StoreError> {
        // Begins with what is open, which the partial indexes hold: idle servers cost nothing, however many there are.
        let all = "SELECT l.server_id FROM lane l JOIN server s ON s.id = l.server_id \
                   WHERE l.owner IS NULL AND ( \
                     s.reach <> 'refused' AND l.server_id IN (SELECT server_id FROM run WHERE state = 'running') \
                     OR s.reach NOT IN ('refused', 'paused') AND l.server_id IN (SELECT server_id FROM run WHERE state = 'queued') \
                     OR s.reach NOT IN ('refused', 'paused') AND (s.held IS NOT NULL OR l.server_id IN (SELECT server_id FROM unresolved)) \
                     OR s.reach = 'refused' AND EXISTS \
                       (SELECT 1 FROM run r WHERE r.server_id = l.server_id AND r.state IN ('queued', 'running') AND r.resource_id IS NULL)) \
                   AND l.server_id IN (SELECT server_id FROM run WHERE state = 'queued' \
                                       UNION SELECT server_id FROM run WHERE state = 'running' \
                                       UNION SELECT server_id FROM unresolved \
                                       UNION SELECT id FROM server WHERE held IS NOT NULL) \
                   ORDER BY l.server_id LIMIT $1";
        let one = "SELECT l.server_id FROM lane l JOIN server s ON s.id = l.server_id \
                   WHERE l.owner IS NULL AND l.server_id = $2 AND ( \
                     s.reach <> 'refused' AND EXISTS \
                       (SELECT 1 FROM run r WHERE r.server_id = l.server_id AND r.state = 'running') \
                     OR s.reach NOT IN ('refused', 'paused') AND EXISTS \
                       (SELECT 1 FROM run r WHERE r.server_id = l.server_id AND r.state = 'queued') \
                     OR s.reach NOT IN ('refused', 'paused') AND (s.held IS NOT NULL OR EXISTS \
                       (SELECT 1 FROM unresolved u WHERE u.server_id = l.server_id)) \
                     OR s.reach = 'refused' AND EXISTS \
                       (SELECT 1 FROM run r WHERE r.server_id = l.server_id AND r.state IN ('queued', 'running') AND r.resource_id IS NULL)) \
                   LIMIT $1";
        Ok(match server {
            None => on!(self, c => sqlx::query_scalar(all).bind(limit).fetch_all(c).await)?,
            Some(id) => {
                on!(self, c => sqlx::query_scalar(one).bind(limit).bind(id.to_string()).fetch_all(c).await)?
            }
        })
    }

    /// The lane of a server.
    pub async fn lane(&mut self, server: ServerId) -> Result<Option<LaneRow>, StoreError> {
        let sql = "SELECT server_id, owner, epoch, takeover FROM lane WHERE server_id = $1";
        Ok(on!(self, c => sqlx::query_as(sql).bind(server.to_string()).fetch_optional(c).await)?)
    }

    /// Runs in progress on servers whose lane this daemon has, longest first, at most `limit`.
    pub async fn at_work(&mut self, owner: DaemonId, limit: i64) -> Result<Vec<RunRow>, StoreError> {
        let sql = "SELECT run.* FROM lane JOIN run ON run.server_id = lane.server_id \
                   WHERE lane.owner = $1 AND run.state = 'running' ORDER BY run.id LIMIT $2";
        Ok(on!(self, c => sqlx::query_as(sql).bind(owner.to_string()).bind(limit).fetch_all(c).await)?)
    }

    /// Steps that are not proven to have ended on a server.
    pub async fn unresolved(&mut self, server: ServerId) -> Result<Vec<UnresolvedRow>, StoreError> {
        let sql =
            "SELECT step_id, detail, since, abandon FROM unresolved WHERE server_id = $1 ORDER BY step_id";
        Ok(on!(self, c => sqlx::query_as(sql).bind(server.to_string()).fetch_all(c).await)?)
    }
}

impl Unit<'_> {
    /// Takes a free lane: the epoch rises, and everything that runs there carries the new one. `Conflict`: somebody has it.
    pub async fn take_lane(&mut self, server: ServerId, owner: DaemonId) -> Result<i64, StoreError> {
        let sql = "UPDATE lane SET owner = $2, epoch = epoch + 1 WHERE server_id = $1 AND owner IS NULL RETURNING epoch";
        let epoch: Option<i64> = on!(self.writing().await?, c => sqlx::query_scalar(sql).bind(server.to_string()).bind(owner.to_string())
            .fetch_optional(c).await)?;
        self.guarded(u64::from(epoch.is_some()))?;
        self.forget_lane(server);
        epoch.ok_or(StoreError::Conflict)
    }

    /// Raises the epoch of a lane that `owner` has beyond what its server has accepted. `Conflict`: it is not ours any more.
    pub async fn raise_epoch(
        &mut self,
        server: ServerId,
        owner: DaemonId,
        from: i64,
        to: i64,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE lane SET epoch = $4 WHERE server_id = $1 AND owner = $2 AND epoch = $3";
        let done = on!(self.writing().await?, c => sqlx::query(sql).bind(server.to_string()).bind(owner.to_string()).bind(from).bind(to)
            .execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        self.forget_lane(server);
        Ok(())
    }

    /// Makes sure that `owner` still has the lane in this epoch. Nobody else can change that before the commit: whoever writes has
    /// locked the counter.
    pub async fn hold_lane(
        &mut self,
        server: ServerId,
        owner: DaemonId,
        epoch: i64,
    ) -> Result<(), StoreError> {
        let owner = owner.to_string();
        match self.lane(server).await? {
            Some(lane) if lane.owner.as_ref() == Some(&owner) && lane.epoch == epoch => Ok(()),
            _ => Err(StoreError::Conflict),
        }
    }

    /// Gives a lane back.
    pub async fn release_lane(
        &mut self,
        server: ServerId,
        owner: DaemonId,
        epoch: i64,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE lane SET owner = NULL WHERE server_id = $1 AND owner = $2 AND epoch = $3";
        let done = on!(self.writing().await?, c => sqlx::query(sql).bind(server.to_string()).bind(owner.to_string()).bind(epoch)
            .execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        self.forget_lane(server);
        Ok(())
    }

    /// Frees the lanes of daemons whose lease has passed, and of those that are gone; answers which. `everyone_else`: the caller
    /// holds the data directory (SQLite), so every other daemon is dead, whatever its lease says.
    pub async fn release_dead(
        &mut self,
        me: DaemonId,
        everyone_else: bool,
    ) -> Result<Vec<DeadLane>, StoreError> {
        let wall = self.now();
        let now = self.db().await?.lease_now(wall).await?.0;
        let (daemon, me) = (me, me.to_string());
        // Asked at every look, and nearly always in vain: whose lanes they are is looked up when there are some.
        let sql = concat!("SELECT EXISTS (SELECT 1 FROM lane WHERE ", of_the_dead!(), ")");
        let some: bool = on!(self.db().await?, c =>
            sqlx::query_scalar(sql).bind(&me).bind(everyone_else).bind(now).fetch_one(c).await)?;
        let mut dead: Vec<DeadLane> = Vec::new();
        if some {
            let sql = concat!(
                "SELECT lane.server_id, s.name AS server, lane.owner FROM lane JOIN server s ON s.id = lane.server_id WHERE ",
                of_the_dead!(),
                " ORDER BY s.name"
            );
            dead = on!(self.db().await?, c =>
                sqlx::query_as(sql).bind(&me).bind(everyone_else).bind(now).fetch_all(c).await)?;
            // Nobody else writes before the commit, so these are the same lanes.
            let sql = concat!("UPDATE lane SET owner = NULL WHERE ", of_the_dead!());
            on!(self.writing().await?, c => sqlx::query(sql).bind(&me).bind(everyone_else).bind(now)
                .execute(c).await.map(drop))?;
        }
        self.free_deliveries(daemon, everyone_else, now).await?;
        let sql = "DELETE FROM daemon WHERE id <> $1 AND ($2 OR lease_until <= $3)";
        let gone = on!(self.writing().await?, c => sqlx::query(sql).bind(&me).bind(everyone_else).bind(now)
            .execute(c).await.map(|d| d.rows_affected()))?;
        if gone == 0 {
            self.wrote_nothing();
        }
        let servers: Vec<_> = dead.iter().map(|lane| lane.server_id.clone()).collect();
        self.freed(&servers)?;
        Ok(dead)
    }

    /// Gives back everything that this daemon has; the last act of a clean stop.
    pub async fn detach(&mut self, me: DaemonId) -> Result<u64, StoreError> {
        let sql = "UPDATE lane SET owner = NULL WHERE owner = $1 RETURNING server_id";
        let freed: Vec<String> =
            on!(self.writing().await?, c => sqlx::query_scalar(sql).bind(me.to_string()).fetch_all(c).await)?;
        let sql = "DELETE FROM daemon WHERE id = $1";
        on!(self.writing().await?, c => sqlx::query(sql).bind(me.to_string()).execute(c).await.map(drop))?;
        self.freed(&freed)
    }

    /// Lanes have lost their owner: whoever is to have them next is called. Where there are many, a poll finds them sooner.
    fn freed(&mut self, servers: &[String]) -> Result<u64, StoreError> {
        self.forget_all();
        for server in servers.iter().take(CALLED_MAX) {
            self.call(server.parse().map_err(|_| StoreError::Corrupt(format!("server id `{server}`")))?);
        }
        Ok(servers.len() as u64)
    }

    /// Marks what runs on a server as belonging to the new epoch, so that writes with an older one are refused.
    pub async fn adopt_running(&mut self, server: ServerId, epoch: i64) -> Result<Vec<RunId>, StoreError> {
        let sql = "UPDATE run SET epoch = $2 WHERE server_id = $1 AND state = 'running' RETURNING id";
        let ids: Vec<String> = on!(self.writing().await?, c => sqlx::query_scalar(sql).bind(server.to_string()).bind(epoch).fetch_all(c).await)?;
        let parse = |id: &String| id.parse().map_err(|_| StoreError::Corrupt(format!("run id `{id}`")));
        let ids: Vec<RunId> = ids.iter().map(parse).collect::<Result<_, _>>()?;
        for id in &ids {
            self.forget_run(*id);
        }
        Ok(ids)
    }

    /// Puts a step on the list of what is not proven to have ended.
    pub async fn add_unresolved(
        &mut self,
        server: ServerId,
        step: StepId,
        detail: &str,
    ) -> Result<(), StoreError> {
        let now = self.now().0;
        let sql = "INSERT INTO unresolved (step_id, server_id, since, detail, abandon) VALUES ($1, $2, $3, $4, FALSE) \
                   ON CONFLICT (step_id) DO NOTHING";
        on!(self.writing().await?, c => sqlx::query(sql).bind(step.to_string()).bind(server.to_string()).bind(now).bind(clean(detail))
            .execute(c).await.map(drop))?;
        Ok(())
    }

    /// Takes a lane from whoever has it: the epoch rises, and what is on its list is given up, which its server has yet to confirm.
    pub async fn force_lane(&mut self, server: ServerId) -> Result<i64, StoreError> {
        let sql = "UPDATE lane SET owner = NULL, epoch = epoch + 1 WHERE server_id = $1 RETURNING epoch";
        let epoch: Option<i64> = on!(self.writing().await?, c => sqlx::query_scalar(sql).bind(server.to_string())
            .fetch_optional(c).await)?;
        self.guarded(u64::from(epoch.is_some()))?;
        self.forget_lane(server);
        self.abandon_unresolved(server).await?;
        epoch.ok_or(StoreError::Conflict)
    }

    /// An operator gives up all that is on a server's list.
    pub async fn abandon_unresolved(&mut self, server: ServerId) -> Result<(), StoreError> {
        let sql = "UPDATE unresolved SET abandon = TRUE WHERE server_id = $1";
        Ok(
            on!(self.writing().await?, c => sqlx::query(sql).bind(server.to_string()).execute(c).await.map(drop))?,
        )
    }

    /// The next claim of a server takes it from another installation (`asked`, `forced`), or has done so (`None`).
    pub async fn set_takeover(&mut self, server: ServerId, takeover: Option<&str>) -> Result<(), StoreError> {
        let sql = "UPDATE lane SET takeover = $2 WHERE server_id = $1";
        let done = on!(self.writing().await?, c => sqlx::query(sql).bind(server.to_string()).bind(takeover)
            .execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        self.forget_lane(server);
        Ok(())
    }

    /// Takes a step off that list: its end is proven. Answers whether it was there.
    pub async fn resolve(&mut self, step: StepId) -> Result<bool, StoreError> {
        let sql = "DELETE FROM unresolved WHERE step_id = $1";
        let done = on!(self.writing().await?, c => sqlx::query(sql).bind(step.to_string()).execute(c).await.map(|d| d.rows_affected()))?;
        if done == 0 {
            self.wrote_nothing();
        }
        Ok(done > 0)
    }
}
