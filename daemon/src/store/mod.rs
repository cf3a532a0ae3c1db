//! The only SQL. One schema and one text for SQLite and PostgreSQL.
//!
//! The store guards, it does not decide: every write of an object repeats the version that the domain saw, and zero rows is an
//! ordinary [`StoreError::Conflict`]. State and transition are written together, because only [`Unit`] can write and it always
//! does both. Nothing here knows gRPC, SSH, or what a status means.

#[macro_use]
mod db;
#[macro_use]
mod sets;

pub mod admin;
mod audit;
pub mod backup;
mod bell;
pub mod enrollments;
pub mod lanes;
pub mod lifecycles;
mod lookup;
pub mod measured;
pub mod notices;
mod open;
mod origin;
mod page;
pub mod places;
pub mod queries;
pub mod retention;
pub mod rows;
pub mod schedules;
mod sealed;
pub mod snapshot;
pub mod tokens;
mod unit;
mod writer;

use std::fmt;
use std::sync::Arc;

use sqlx::error::ErrorKind;
use sqlx::{PgPool, SqlitePool};
use tokio::sync::Semaphore;

pub use audit::{AuditFilter, AuditRecord, AuditResult, AuditRow};
pub use backup::{Backup, BackupError};
pub use bell::Committed;
use db::Pooled;
pub use db::{Db, Reader};
pub use lookup::Lookup;
use measured::Measured;
pub use open::{OpenError, Opened, open, sqlite_path};
pub use sealed::{DamagedRow, PlacedRow, SealedRow};
pub use unit::{Touched, Unit, Wants};
pub use writer::{Command, Writer};

/// Why the store could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The world has moved since the caller looked: load and decide again.
    #[error("the record has changed meanwhile")]
    Conflict,
    /// A row that must be unique exists already.
    #[error("a record with the same {0} exists")]
    Duplicate(String),
    /// There is no room for what was to be written. Nothing of it was stored.
    #[error("the disk of the database is full")]
    Full,
    /// The database does not answer or cannot write: lost connection, broken disk. Nothing was acknowledged; try again.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The database is not the one that was opened: it was restored or promoted meanwhile. This daemon ends, and the next start opens it anew.
    #[error(
        "the database is another one than at the start: it was restored, or a standby took over; settled ends, to begin anew with it"
    )]
    Replaced,
    /// A row holds something that this program never writes, or would hold it: a fault in settled or in its store.
    #[error("the store and this program do not agree: {0}")]
    Corrupt(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(db) if db.is_unique_violation() => {
                Self::Duplicate(what_is_unique(db.constraint().unwrap_or_else(|| db.message())))
            }
            // Something refers to what was to go, or what was referred to is gone.
            sqlx::Error::Database(db) if db.is_foreign_key_violation() => Self::Conflict,
            sqlx::Error::Database(db)
                if matches!(db.kind(), ErrorKind::CheckViolation | ErrorKind::NotNullViolation)
                    || db.code().is_some_and(|code| code == PG_TEXT_WITH_NUL) =>
            {
                Self::Corrupt(db.message().to_owned())
            }
            sqlx::Error::Database(db) if db.code().is_some_and(|code| DISK_FULL.contains(&&*code)) => {
                Self::Full
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// PostgreSQL cannot store NUL in a text. What comes from outside is cleaned before; a name with NUL ends here.
const PG_TEXT_WITH_NUL: &str = "22021";

/// `disk_full` of PostgreSQL, and `SQLITE_FULL`.
const DISK_FULL: [&str; 2] = ["53100", "13"];

/// One word for a unique index, from its name (PostgreSQL) or from a message that names its columns (SQLite).
fn what_is_unique(found: &str) -> String {
    let words = [
        ("server_name_key", "server.name", "name"),
        ("server_machine_id_key", "server.machine_id", "machine id"),
        ("resource_server_id_package_name_key", "resource.server_id", "name"),
        ("schedule_name_key", "schedule.name", "name"),
        ("run_one_open_exclusive", "run.resource_id", "resource, and an open run"),
        ("lifecycle_code_key", "lifecycle.code", "code"),
        ("token_live_name", "token.name", "name"),
        ("notifier_name_key", "notifier.name", "name"),
        ("enrollment_lifecycle_id_subject_type_subject_id_key", "enrollment.subject_id", "subject"),
        ("run_one_running_exclusive", "run.server_id", "server, and a run in progress"),
    ];
    let known = words.iter().find(|(name, column, _)| found == *name || found.contains(column));
    known.map_or("id", |(_, _, word)| word).to_owned()
}

/// The read side: a pool of connections that cannot write.
#[derive(Clone)]
pub struct Store {
    pools: Pools,
    about: Arc<About>,
    measured: Arc<Measured>,
    /// There is one backup at a time.
    backing_up: Arc<Semaphore>,
}

#[derive(Clone)]
enum Pools {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// What the store is.
#[derive(Debug, Clone)]
pub struct About {
    /// `SQLite 3.51.3` or `PostgreSQL 15.18`.
    pub engine: String,
    /// Id of the installation; never changes.
    pub installation: crate::domain::id::InstallationId,
    /// Generation of the store: a position of another generation means nothing here.
    pub generation: String,
    /// Where its files are, for people: a directory of this machine, or whose they are.
    pub place: String,
}

impl Store {
    /// What the store is.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// A connection to read with. Let it go soon: there are few.
    pub async fn read(&self) -> Result<Reader, StoreError> {
        let measures = self.measured.reading();
        let conn = match &self.pools {
            Pools::Sqlite(pool) => Pooled::Sqlite(pool.acquire().await?),
            Pools::Postgres(pool) => Pooled::Postgres(pool.acquire().await?),
        };
        Ok(Reader { conn, _measures: measures })
    }

    /// What it measures.
    pub fn measured(&self) -> &Measured {
        &self.measured
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("about", &self.about).finish_non_exhaustive()
    }
}
