//! One query body for both engines: an enum over the two connections and a macro that expands the body once for each.

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection};

use super::measured::Reading;

/// A connection to one of the two engines.
pub enum Db<'c> {
    /// SQLite.
    Sqlite(&'c mut SqliteConnection),
    /// PostgreSQL.
    Postgres(&'c mut PgConnection),
}

/// A connection from the read pool.
pub struct Reader {
    pub(super) conn: Pooled,
    pub(super) _measures: Reading,
}

/// Read-only with SQLite.
pub(super) enum Pooled {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

impl Reader {
    /// The connection to query.
    pub fn db(&mut self) -> Db<'_> {
        match &mut self.conn {
            Pooled::Sqlite(conn) => Db::Sqlite(conn),
            Pooled::Postgres(conn) => Db::Postgres(conn),
        }
    }
}

/// Runs the same query body on either engine.
macro_rules! on {
    ($db:expr, $conn:ident => $body:expr) => {
        match $db {
            $crate::store::Db::Sqlite($conn) => {
                let $conn = &mut **$conn;
                $body
            }
            $crate::store::Db::Postgres($conn) => {
                let $conn = &mut **$conn;
                $body
            }
        }
    };
}
