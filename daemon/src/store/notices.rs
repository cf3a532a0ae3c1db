//! Notifiers, and the queue of what they are told. What is told is written with the change that it tells of (`Unit::tell`), by the unit
//! itself: nobody who changes something can forget it, and what was not committed is not told.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::page::Page;
use super::rows::{DeliveryRow, NotifierRow, clean, notice_to_json};
use super::sets::Sets;
use super::{Db, StoreError, Unit};
use crate::domain::id::{DaemonId, RunId, ServerId};
use crate::domain::notice::Notice;
use crate::domain::time::Timestamp;

static INSERT_DELIVERIES: LazyLock<Sets> = LazyLock::new(|| {
    let columns =
        ["seq", "notifier_id", "notifier", "notice", "state", "attempt", "due", "last_error", "created_at"];
    Sets::insert("delivery", &columns, "")
});

/// Something to be told, and the server whose labels decide who hears of it.
pub(super) struct Told {
    pub(super) notice: Notice,
    pub(super) server: ServerId,
}

/// Which deliveries a list is to show.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// Only those of the notifier of this name.
    pub notifier: Option<String>,
    /// Only those that are `waiting`, `sent` or `dead`.
    pub state: Option<String>,
}

impl Db<'_> {
    /// All notifiers, in order of name: there are few.
    pub async fn notifiers(&mut self) -> Result<Vec<NotifierRow>, StoreError> {
        let sql = "SELECT * FROM notifier ORDER BY name";
        Ok(on!(self, c => sqlx::query_as(sql).fetch_all(c).await)?)
    }

    /// Whether there is somebody to tell.
    pub async fn has_notifiers(&mut self) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM notifier)";
        Ok(on!(self, c => sqlx::query_scalar(sql).fetch_one(c).await)?)
    }

    /// A notifier by name or id.
    pub async fn notifier(&mut self, named: &str) -> Result<Option<NotifierRow>, StoreError> {
        let sql = "SELECT * FROM notifier WHERE name = $1 OR id = $1";
        Ok(on!(self, c => sqlx::query_as(sql).bind(named).fetch_optional(c).await)?)
    }

    /// What a notifier is to be sent now, what is due longest first.
    pub async fn due_deliveries(
        &mut self,
        notifier: &str,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let sql = "SELECT * FROM delivery WHERE notifier_id = $1 AND state = 'waiting' AND due <= $2 ORDER BY due, seq LIMIT $3";
        Ok(on!(self, c => sqlx::query_as(sql).bind(notifier).bind(now.0).bind(limit).fetch_all(c).await)?)
    }

    /// What notifiers were told, newest first, before `before`.
    pub async fn deliveries(
        &mut self,
        filter: &DeliveryFilter,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        Page::of("delivery")
            .only("notifier", filter.notifier.clone())
            .only("state", filter.state.clone())
            .number("seq", "<", before)
            .ordered("seq DESC")
            .fetch(self, limit)
            .await
    }

    /// What a notifier was told under this number.
    pub async fn delivery(&mut self, seq: i64) -> Result<Option<DeliveryRow>, StoreError> {
        let sql = "SELECT * FROM delivery WHERE seq = $1";
        Ok(on!(self, c => sqlx::query_as(sql).bind(seq).fetch_optional(c).await)?)
    }

    /// How many deliveries are dead, by the name of their notifier, since then.
    pub async fn dead_deliveries(&mut self, since: Timestamp) -> Result<BTreeMap<String, i64>, StoreError> {
        let sql = "SELECT notifier, COUNT(*) FROM delivery WHERE state = 'dead' AND ended_at >= $1 GROUP BY notifier";
        let rows: Vec<(String, i64)> = on!(self, c => sqlx::query_as(sql).bind(since.0).fetch_all(c).await)?;
        Ok(rows.into_iter().collect())
    }

    /// Open runs that are likely stuck and of which nobody was told yet.
    pub async fn stuck_untold(&mut self, now: Timestamp, limit: i64) -> Result<Vec<String>, StoreError> {
        let sql =
            "SELECT id FROM run WHERE stale_at > stuck_told AND stale_at < $1 ORDER BY stale_at, id LIMIT $2";
        Ok(on!(self, c => sqlx::query_scalar(sql).bind(now.0).bind(limit).fetch_all(c).await)?)
    }
}

impl Unit<'_> {
    /// Stores a new notifier. `Duplicate("name")` when the name is taken.
    pub async fn insert_notifier(&mut self, r: &NotifierRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO notifier (id, name, kind, url, recipients, events, labels, packages, principal, created_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (name) DO NOTHING";
        let done = on!(self.writing().await?, c => bind!(sqlx::query(sql), &r.id, &r.name, &r.kind, &r.url, &r.recipients, &r.events,
            &r.labels, &r.packages, &r.principal, r.created_at).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done).map_err(|_| StoreError::Duplicate("name".to_owned()))
    }

    /// Removes a notifier with its secret and what it was still to be told.
    pub async fn delete_notifier(&mut self, id: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM notifier WHERE id = $1";
        let done = on!(self.writing().await?, c => sqlx::query(sql).bind(id).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        let sql = "DELETE FROM delivery WHERE notifier_id = $1 AND state = 'waiting'";
        on!(self.writing().await?, c => sqlx::query(sql).bind(id).execute(c).await.map(drop))?;
        self.delete_secrets(id).await
    }

    /// Tells one notifier something, whatever it wants.
    pub async fn tell_one(&mut self, to: &NotifierRow, notice: &Notice) -> Result<DeliveryRow, StoreError> {
        let seq = self.last_delivery().await? + 1;
        self.writing().await?;
        self.insert_deliveries(&[(seq, to, notice_to_json(notice))]).await?;
        self.db().await?.delivery(seq).await?.ok_or(StoreError::Conflict)
    }

    /// Tells that a run is likely stuck, once for each time that it falls silent. `Conflict`: that was told already.
    pub async fn tell_stuck(
        &mut self,
        run: RunId,
        server: ServerId,
        stale_at: Timestamp,
        notice: Option<Notice>,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE run SET stuck_told = $2 WHERE id = $1 AND stale_at = $2 AND stuck_told < $2";
        let done = on!(self.writing().await?, c => sqlx::query(sql).bind(run.to_string()).bind(stale_at.0)
            .execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        if let Some(notice) = notice {
            self.tells(Told { notice, server });
        }
        Ok(())
    }

    /// Takes a delivery, until then. `Conflict`: somebody else has, or it is over.
    pub async fn take_delivery(
        &mut self,
        seq: i64,
        seen: i64,
        me: DaemonId,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let now = self.now().0;
        let sql = "UPDATE delivery SET attempt = attempt + 1, taken_by = $3, due = $4 \
                   WHERE seq = $1 AND attempt = $2 AND state = 'waiting' AND due <= $5";
        let done = on!(self.writing().await?, c => bind!(sqlx::query(sql), seq, seen, me.to_string(), until.0, now)
            .execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)
    }

    /// It was sent, with a remark, usually none. `Conflict`: it was taken from whoever says so.
    pub async fn delivered(&mut self, seq: i64, attempt: i64, remark: &str) -> Result<(), StoreError> {
        self.end_delivery(seq, attempt, "sent", remark).await
    }

    /// It is not sent any more. `Conflict`: it was taken from whoever says so.
    pub async fn give_up_delivery(&mut self, seq: i64, attempt: i64, why: &str) -> Result<(), StoreError> {
        self.end_delivery(seq, attempt, "dead", why).await
    }

    async fn end_delivery(
        &mut self,
        seq: i64,
        attempt: i64,
        state: &str,
        why: &str,
    ) -> Result<(), StoreError> {
        let now = self.now().0;
        let sql = "UPDATE delivery SET state = $3, last_error = $4, ended_at = $5, taken_by = NULL \
                   WHERE seq = $1 AND attempt = $2 AND state = 'waiting'";
        let done = on!(self.writing().await?, c => bind!(sqlx::query(sql), seq, attempt, state, clean(why), now)
            .execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)
    }

    /// It is sent again, from then on. `Conflict`: it was taken from whoever says so.
    pub async fn put_off_delivery(
        &mut self,
        seq: i64,
        attempt: i64,
        due: Timestamp,
        why: &str,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE delivery SET due = $3, last_error = $4, taken_by = NULL WHERE seq = $1 AND attempt = $2 AND state = 'waiting'";
        let done = on!(self.writing().await?, c => bind!(sqlx::query(sql), seq, attempt, due.0, clean(why))
            .execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)
    }

    /// What daemons were sending that are gone is sent again at once. `now`: by the time that leases are compared by.
    pub(super) async fn free_deliveries(
        &mut self,
        me: DaemonId,
        everyone_else: bool,
        now: i64,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE delivery SET taken_by = NULL, due = created_at WHERE taken_by IS NOT NULL AND taken_by <> $1 \
                   AND ($2 OR NOT EXISTS (SELECT 1 FROM daemon d WHERE d.id = delivery.taken_by AND d.lease_until > $3))";
        let done = on!(self.writing().await?, c => sqlx::query(sql).bind(me.to_string()).bind(everyone_else).bind(now)
            .execute(c).await.map(|d| d.rows_affected()))?;
        if done == 0 {
            self.wrote_nothing();
        }
        Ok(())
    }

    /// Writes what is told, for everyone who wants to hear of it. The last act of a unit: its numbers follow those that are there, and
    /// nobody else writes meanwhile.
    pub(super) async fn tell(&mut self, told: Vec<Told>) -> Result<(), StoreError> {
        let notifiers = self.db().await?.notifiers().await?;
        if told.is_empty() || notifiers.is_empty() {
            return Ok(());
        }
        let wanted = notifiers.iter().map(NotifierRow::wanted).collect::<Result<Vec<_>, _>>()?;
        let (mut seq, mut rows) = (self.last_delivery().await?, Vec::new());
        for Told { notice, server } in told {
            let labels = self.server(server).await?.map(|server| server.labels).unwrap_or_default();
            let hears = notifiers.iter().zip(&wanted).filter(|(_, wanted)| wanted.fits(&notice, &labels));
            for (notifier, _) in hears {
                seq += 1;
                rows.push((seq, notifier, notice_to_json(&notice)));
            }
        }
        self.insert_deliveries(&rows).await
    }

    async fn last_delivery(&mut self) -> Result<i64, StoreError> {
        let sql = "SELECT COALESCE(MAX(seq), 0) FROM delivery";
        Ok(on!(self.db().await?, c => sqlx::query_scalar(sql).fetch_one(c).await)?)
    }

    async fn insert_deliveries(&mut self, rows: &[(i64, &NotifierRow, String)]) -> Result<(), StoreError> {
        let now = self.now().0;
        let db = self.db().await?;
        execute_all!(db, INSERT_DELIVERIES, rows, (seq, notifier, notice) =>
            seq, &notifier.id, &notifier.name, notice, "waiting", 0_i64, now, "", now);
        Ok(())
    }
}
