//! What labels a server had at some number, and what is on it or was: what a watcher asks whose filter is by labels.

use std::collections::BTreeMap;

use super::rows::{ServerRow, TransitionRow, from_json};
use super::{Db, StoreError};

/// A server as it was called and labelled at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

#[derive(sqlx::FromRow)]
struct PlaceColumns {
    labels: Option<String>,
    object: Option<String>,
    name: Option<String>,
}

impl TryFrom<PlaceColumns> for Place {
    type Error = StoreError;

    fn try_from(columns: PlaceColumns) -> Result<Self, StoreError> {
        let PlaceColumns { labels, object, name } = columns;
        let of_then: Option<ServerRow> = object.map(|object| from_json("server", &object)).transpose()?;
        let labels = labels.or_else(|| of_then.as_ref().map(|server| server.labels.clone()));
        let name = name.or_else(|| of_then.map(|server| server.name));
        match (name, labels) {
            (Some(name), Some(labels)) => Ok(Self { name, labels: from_json("labels", &labels)? }),
            (name, _) => Err(StoreError::Corrupt(format!("no labels of server {name:?}"))),
        }
    }
}

/// An object of a server, by what filters ask of it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Mention {
    /// Its id.
    pub id: String,
    /// Its resource.
    pub resource_id: Option<String>,
    /// Its package.
    pub package: Option<String>,
}

/// Whether an object was made before some number already.
macro_rules! there {
    ($id:literal, $seq:literal) => {
        concat!(
            "NOT EXISTS (SELECT 1 FROM transition AS made WHERE made.object_id = ",
            $id,
            " AND made.seq > ",
            $seq,
            " AND made.change = 'created' AND made.kind <> 'step')"
        )
    };
}

impl Db<'_> {
    /// A server as it was right after the transition with this number, of which those that came later are kept; `None` when nothing
    /// is known of it. One statement, so that it cannot fall between a change and the record of it.
    pub async fn place_at(&mut self, server: &str, seq: i64) -> Result<Option<Place>, StoreError> {
        let sql = "SELECT labels, object, name FROM (\
                   SELECT seq, old_labels AS labels, object, NULL AS name FROM transition \
                   WHERE server_id = $1 AND seq > $2 AND (old_labels IS NOT NULL OR change = 'gone') AND kind = 'server' \
                   UNION ALL SELECT 9223372036854775807, labels, NULL, name FROM server WHERE id = $1) AS places \
                   ORDER BY seq LIMIT 1";
        let found: Option<PlaceColumns> =
            on!(self, c => sqlx::query_as(sql).bind(server).bind(seq).fetch_optional(c).await)?;
        found.map(TryInto::try_into).transpose()
    }

    /// Resources of a server that were made by the transition with this number or earlier, in order of id, after this one.
    pub async fn resources_on(
        &mut self,
        server: &str,
        made_by: i64,
        after: &str,
        limit: i64,
    ) -> Result<Vec<Mention>, StoreError> {
        let sql = concat!(
            "SELECT id, id AS resource_id, package FROM resource AS one WHERE server_id = $1 AND id > $2 AND ",
            there!("one.id", "$3"),
            " ORDER BY id LIMIT $4"
        );
        Ok(
            on!(self, c => sqlx::query_as(sql).bind(server).bind(after).bind(made_by).bind(limit).fetch_all(c).await)?,
        )
    }

    /// Runs of a server that were open after the transition with this number, and made by that one or earlier, in order of id, after this one.
    pub async fn runs_open_at(
        &mut self,
        server: &str,
        (seq, made_by): (i64, i64),
        after: &str,
        limit: i64,
    ) -> Result<Vec<Mention>, StoreError> {
        let sql = concat!(
            "SELECT id, resource_id, package FROM run AS one WHERE server_id = $1 AND id > $2 AND (settles_by IS NOT NULL OR seq > $3) AND ",
            there!("one.id", "$4"),
            " ORDER BY id LIMIT $5"
        );
        Ok(
            on!(self, c => sqlx::query_as(sql).bind(server).bind(after).bind(seq).bind(made_by).bind(limit).fetch_all(c).await)?,
        )
    }

    /// Enrollments of a server's subjects that were not completed after the transition with this number, and made by that one or earlier, in
    /// order of id, after this one.
    pub async fn enrollments_open_at(
        &mut self,
        server: &str,
        (seq, made_by): (i64, i64),
        after: &str,
        limit: i64,
    ) -> Result<Vec<Mention>, StoreError> {
        let sql = concat!(
            "SELECT id, resource_id, NULL AS package FROM enrollment AS one \
             WHERE server_id = $1 AND id > $2 AND (status <> 'completed' OR seq > $3) AND ",
            there!("one.id", "$4"),
            " ORDER BY id LIMIT $5"
        );
        Ok(
            on!(self, c => sqlx::query_as(sql).bind(server).bind(after).bind(seq).bind(made_by).bind(limit).fetch_all(c).await)?,
        )
    }

    /// How what was made by the transition `made_by` or earlier went from a server, after this one.
    pub async fn gone_since(
        &mut self,
        server: &str,
        made_by: i64,
        after: i64,
        limit: i64,
    ) -> Result<Vec<TransitionRow>, StoreError> {
        let sql = concat!(
            "SELECT * FROM transition AS one WHERE server_id = $1 AND seq > $2 AND (old_labels IS NOT NULL OR change = 'gone') \
             AND change = 'gone' AND ",
            there!("one.object_id", "$3"),
            " ORDER BY seq LIMIT $4"
        );
        Ok(
            on!(self, c => sqlx::query_as(sql).bind(server).bind(after).bind(made_by).bind(limit).fetch_all(c).await)?,
        )
    }
}
