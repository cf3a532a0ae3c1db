//! Opens a store: connects, asserts what durability rests on, migrates, and finds out which installation and generation it is.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, PgConnection, PgPool, SqlitePool};
use tokio::sync::Semaphore;

use super::backup;
use super::bell::{self, Bell};
use super::measured::Measured;
use super::origin::Origin;
use super::writer::Conn;
use super::writer::Way;
use super::{About, Pools, Store, StoreError, Writer};
use crate::clock::Clock;
use crate::domain::id::InstallationId;

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// Connections that read at the same time.
const READERS_MAX: u32 = 8;
/// Connections that are open from the beginning. One that a read gives back is not there for the next one at once; another would have to be opened,
/// for which there may be no file descriptor left.
const READERS_MIN: u32 = 2;
/// How long a reader waits for a connection before it is told that the database is not available.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may lie unused before it is asked whether it still stands.
const UNUSED_MAX: Duration = Duration::from_millis(100);
/// How long PostgreSQL keeps the transaction of a writer that has fallen silent.
const IDLE_IN_TRANSACTION_MAX: &str = "15s";
/// Oldest SQLite library that is trusted: earlier ones could corrupt a WAL that is checkpointed while it is reset.
const SQLITE_MIN: (u32, u32, u32) = (3, 51, 3);

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is of no engine that settled knows.
    #[error(
        "database.url begins with `{0}`, which is not understood: use sqlite://PATH or postgres://USER@HOST/DATABASE"
    )]
    Url(String),
    /// The database was written by a newer program.
    #[error(
        "the database is newer than this settled: it has migration {0}, which this program does not know; install the settled that wrote it, or a later one"
    )]
    Newer(i64),
    /// A migration could not be applied. What it had done is undone.
    #[error("the database could not be brought up to date: {0}")]
    Migration(String),
    /// The engine does not give the durability that the promises rest on.
    #[error("{0}")]
    Unsafe(String),
    /// It does not answer.
    #[error("the database cannot be opened: {0}")]
    Unavailable(String),
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<MigrateError> for OpenError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(version) => Self::Newer(version),
            other => Self::Migration(other.to_string()),
        }
    }
}

/// How to connect for writing.
#[derive(Clone)]
pub(super) enum Options {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
}

/// An open store.
pub struct Opened {
    /// The read side.
    pub store: Store,
    /// The write side.
    pub writer: Writer,
}

/// Opens the store at `url` (`sqlite://PATH` or `postgres://...`), creating and migrating it as needed. A daemon on PostgreSQL keeps its
/// mark in `marks`, if it keeps one: it tells that the database was put back.
pub async fn open(url: &str, marks: Option<&Path>, clock: Arc<dyn Clock>) -> Result<Opened, OpenError> {
    let (pools, options, mut conn) = if let Some(path) = url.strip_prefix("sqlite://") {
        open_sqlite(Path::new(path)).await?
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        open_postgres(url).await?
    } else {
        // Only the beginning: the rest may hold a password.
        return Err(OpenError::Url(url.split(':').next().unwrap_or_default().chars().take(20).collect()));
    };
    let engine = conn.db().engine().await?;
    let origin = match sqlite_path(url) {
        Some(path) => Origin::sqlite(&path),
        None => Origin::Postgres(marks.map(|dir| dir.join("postgres.db-mark"))),
    };
    let identity = identity(&mut conn, &origin, &*clock).await?;
    let trail = origin.follow(&identity.generation, identity.seq)?;
    let bell = Bell::new(identity.seq, &*clock);
    let about = Arc::new(About {
        engine,
        installation: identity.installation,
        generation: identity.generation,
        place: place(url),
    });
    let way = Way { options: options.clone(), trail };
    let measured = Arc::new(Measured::new(Arc::clone(&clock)));
    let (of_writer, bell_of_writer) = (Arc::clone(&measured), Arc::clone(&bell));
    let writer = Writer::spawn(conn, way, Arc::clone(&clock), bell_of_writer, of_writer);
    let store = Store { pools, about, measured, backing_up: Arc::new(Semaphore::new(1)) };
    // Heard of for as long as somebody has the writer.
    if let Options::Postgres(options) = options {
        let ear = bell::ear(options.clone()).await?;
        tokio::spawn(bell.listen(ear, options, store.clone(), clock));
    }
    Ok(Opened { store, writer })
}

async fn open_sqlite(path: &Path) -> Result<(Pools, Options, Conn), OpenError> {
    let base = bytewise(SqliteConnectOptions::new())
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5));
    let options = Options::Sqlite(base.clone());
    let migrating =
        SqlitePoolOptions::new().max_connections(1).connect_with(base.clone()).await.map_err(|error| {
            OpenError::Unavailable(format!(
                "{}: {error}; does its directory exist, and may this user write there?",
                path.display()
            ))
        })?;
    assert_sqlite(&migrating).await?;
    MIGRATOR.run(&migrating).await?;
    migrating.close().await;
    backup::remove_left(path)
        .map_err(|error| OpenError::Unavailable(format!("what is left of a copy of it: {error}")))?;
    let conn = options.connect().await?;
    let pool = SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .min_connections(READERS_MIN)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(base.create_if_missing(false).read_only(true))
        .await?;
    Ok((Pools::Sqlite(pool), options, conn))
}

/// With the collation of all text that is sorted.
pub(super) fn bytewise(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options.collation("C", |a, b| a.as_bytes().cmp(b.as_bytes()))
}

/// Asserts the library version and the settings that durability rests on, as they are, not as they were asked for.
async fn assert_sqlite(pool: &SqlitePool) -> Result<(), OpenError> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(pool).await?;
    if parse_version(&version).is_none_or(|v| v < SQLITE_MIN) {
        let (a, b, c) = SQLITE_MIN;
        return Err(OpenError::Unsafe(format!(
            "the SQLite library is {version}; settled needs {a}.{b}.{c} or later"
        )));
    }
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(pool).await?;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(pool).await?;
    if journal != "wal" || synchronous != 2 {
        return Err(OpenError::Unsafe(format!(
            "SQLite runs with journal_mode={journal}, synchronous={synchronous}; settled needs wal and 2 (FULL): \
             put the data directory on a local file system"
        )));
    }
    Ok(())
}

fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

async fn open_postgres(url: &str) -> Result<(Pools, Options, Conn), OpenError> {
    let base = PgConnectOptions::from_str(url)?.application_name("settled");
    // A writer that is cut off must not hold the counter until TCP notices.
    let writing = base.clone().options([("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MAX)]);
    let options = Options::Postgres(writing);
    // First a plain connection: a pool would only say that it waited in vain.
    let conn = options.connect().await?;
    let pool = PgPoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|conn, about| Box::pin(still_there(conn, about.idle_for)))
        .connect_with(base)
        .await?;
    assert_postgres(&pool).await?;
    MIGRATOR.run(&pool).await?;
    Ok((Pools::Postgres(pool), options, conn))
}

/// Asks a connection that nobody used for a while whether it still stands; one that does not is replaced. Asking each time would double
/// the cost of a read.
async fn still_there(conn: &mut PgConnection, idle_for: Duration) -> Result<bool, sqlx::Error> {
    if idle_for >= UNUSED_MAX {
        conn.ping().await?;
    }
    Ok(true)
}

async fn assert_postgres(pool: &PgPool) -> Result<(), OpenError> {
    let version: String = sqlx::query_scalar("SHOW server_version_num").fetch_one(pool).await?;
    if version.parse::<u32>().is_ok_and(|v| v < 140_000) {
        return Err(OpenError::Unsafe(format!(
            "the PostgreSQL server is {version}; settled needs 14 or later"
        )));
    }
    let settings: [(&str, &[&str], &str); 3] = [
        ("synchronous_commit", &["on", "remote_apply"], "acknowledged work could be lost"),
        ("fsync", &["on"], "acknowledged work could be lost"),
        ("server_encoding", &["UTF8"], "not every text can be stored"),
    ];
    for (setting, wanted, or_else) in settings {
        let sql = format!("SHOW {setting}");
        let value: String = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(pool).await?;
        if !wanted.contains(&value.as_str()) {
            return Err(OpenError::Unsafe(format!(
                "PostgreSQL runs with {setting}={value}; settled needs {}, or {or_else}",
                wanted.join(" or ")
            )));
        }
    }
    Ok(())
}

/// Who a store is, and how far it counts.
struct Identity {
    installation: InstallationId,
    generation: String,
    seq: i64,
}

/// Reads who this store is. A new store gets an identity, and one that was restored or copied another generation. All in one transaction,
/// which has the counter: daemons that start together agree.
async fn identity(conn: &mut Conn, origin: &Origin, clock: &dyn Clock) -> Result<Identity, OpenError> {
    let seq = conn.begin().await?.seq;
    let db = &mut conn.db();
    let new = db.meta("installation").await?.is_none();
    for key in ["installation", "generation"] {
        db.init_meta(key, &clock.ulid().to_string()).await?;
    }
    let installation = db.meta("installation").await?.unwrap_or_default();
    let installation = installation
        .parse()
        .map_err(|e| OpenError::Unavailable(format!("the store's identity is damaged: {e}")))?;
    let mut generation = db.meta("generation").await?.unwrap_or_default();
    if !origin.is_known(db, &generation, seq).await? {
        if !new {
            generation = clock.ulid().to_string();
            db.set_meta("generation", &generation).await?;
            tracing::warn!(%generation, "the database was restored or copied: it has a new generation, and watchers begin anew");
        }
        origin.note(db).await?;
    }
    db.guard_audit().await?;
    conn.end().await?;
    Ok(Identity { installation, generation, seq })
}

fn place(url: &str) -> String {
    match sqlite_path(url) {
        Some(path) => path.parent().unwrap_or(&path).display().to_string(),
        None => "the data directory of the PostgreSQL server".to_owned(),
    }
}

/// The path of an SQLite URL; `None` for other engines.
pub fn sqlite_path(url: &str) -> Option<PathBuf> {
    url.strip_prefix("sqlite://").map(PathBuf::from)
}
