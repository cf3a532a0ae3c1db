//! A copy of an SQLite database as of one moment, while others read and write. It has a name, beside the database, only for as long as it is
//! made: so nothing is left of it, however its reader ends, and what a kill leaves goes at the next start.
//!
//! It is read through a connection of its own, so that nobody waits for one of the few readers, and the writer is in nobody's way (WAL). Who asks for
//! it, and where it goes, stands elsewhere.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::open::{MIGRATOR, bytewise};
use super::{Db, OpenError, Pools, Store, StoreError};

/// Bytes that are read of a copy at once.
const PIECE_BYTES: usize = 64 << 10;
/// What is left of the disk for the daemon itself while there is a copy.
const SPARE_BYTES: u64 = 16 << 20;
/// So many instructions of SQLite pass until it is looked whether anybody still wants the copy.
const LOOK_EVERY: i32 = 10_000;
/// How big a copy becomes at most: free pages are left out.
const BACKUP_BYTES: &str = "SELECT (all_of.page_count - free.freelist_count) * each.page_size \
     FROM pragma_page_count() AS all_of, pragma_freelist_count() AS free, pragma_page_size() AS each";

/// Why there is no copy.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BackupError {
    /// The database is not a file of this daemon.
    #[error(
        "the store is a PostgreSQL, which is copied by its own tools: pg_dump --format=custom --file=FILE URL, with the database.url of the daemon \
         (docs/backup.md)"
    )]
    Postgres,
    /// There is one already.
    #[error(
        "another backup is being taken of this daemon, and there is one at a time: ask again when it has ended"
    )]
    Another,
    /// The disk would be full.
    #[error(
        "a backup needs {} on the daemon's disk for as long as it is taken, and {place} has {} left: make room there; nothing was copied",
        mib(*.needed),
        mib(*.left)
    )]
    NoRoom {
        /// Where.
        place: String,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are there.
        left: u64,
    },
    /// The database could not be read, or the copy not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// The place for a copy, of which there is one.
pub struct BackupPlace {
    generation: String,
    conn: SqliteConnection,
    path: PathBuf,
    taken: OwnedSemaphorePermit,
}

/// A copy of the whole store.
pub struct Backup {
    /// Generation of the store.
    pub generation: String,
    /// Number of the last transition that is in it.
    pub seq: i64,
    /// How many bytes it has.
    pub bytes: u64,
    file: File,
    _taken: OwnedSemaphorePermit,
}

impl Store {
    /// The place for a copy, if it is free and there is room for one.
    pub async fn place_for_backup(&self) -> Result<BackupPlace, BackupError> {
        let Pools::Sqlite(pool) = &self.pools else { return Err(BackupError::Postgres) };
        let taken = Arc::clone(&self.backing_up).try_acquire_owned().map_err(|_| BackupError::Another)?;
        let options = pool.connect_options();
        let path = beside(options.get_filename());
        // The copy is worth nothing until somebody else has it, so this disk need not have written it.
        let options = SqliteConnectOptions::clone(&options).synchronous(SqliteSynchronous::Off);
        // It takes its time, and that is nothing to warn of.
        let mut conn = options.disable_statement_logging().connect().await?;
        let bytes: i64 = sqlx::query_scalar(BACKUP_BYTES).fetch_one(&mut conn).await?;
        has_room(&self.about.place, u64::try_from(bytes).unwrap_or(0) + SPARE_BYTES)?;
        Ok(BackupPlace { generation: self.about.generation.clone(), conn, path, taken })
    }
}

/// A disk that cannot be asked has room until it is full.
fn has_room(place: &str, needed: u64) -> Result<(), BackupError> {
    let Ok(found) = rustix::fs::statvfs(place) else { return Ok(()) };
    let left = found.f_bavail.saturating_mul(found.f_frsize);
    if left < needed { Err(BackupError::NoRoom { place: place.to_owned(), needed, left }) } else { Ok(()) }
}

impl BackupPlace {
    /// Makes the copy. Whoever does not wait for it any more ends it.
    pub async fn fill(self) -> Result<Backup, StoreError> {
        let given_up = CancellationToken::new();
        let _gives_up = given_up.clone().drop_guard();
        // A task of its own: the place is taken until SQLite has let go of it, also when nobody waits.
        let made = tokio::spawn(self.made(given_up)).await;
        made.map_err(|error| StoreError::Unavailable(format!("the copy broke: {error}")))?
    }

    async fn made(mut self, given_up: CancellationToken) -> Result<Backup, StoreError> {
        let name = Name::new(self.path).map_err(|error| unwritable(&error))?;
        self.conn.lock_handle().await?.set_progress_handler(LOOK_EVERY, move || !given_up.is_cancelled());
        let sql = "VACUUM INTO $1";
        let made = sqlx::query(sql).bind(name.0.display().to_string()).execute(&mut self.conn).await;
        self.conn.close().await?;
        made?;
        let mut copy = SqliteConnectOptions::new().filename(&name.0).read_only(true).connect().await?;
        let seq = Db::Sqlite(&mut copy).last_seq().await?;
        copy.close().await?;
        let file = File::open(&name.0).await.map_err(|error| unwritable(&error))?;
        let bytes = file.metadata().await.map_err(|error| unwritable(&error))?.len();
        Ok(Backup { generation: self.generation, seq, bytes, file, _taken: self.taken })
    }
}

impl Backup {
    /// Its next bytes; none at its end.
    pub async fn read(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let limit = PIECE_BYTES as u64;
        let read = (&mut self.file).take(limit).read_to_end(&mut piece).await;
        read.map_err(|error| StoreError::Unavailable(format!("the copy cannot be read: {error}")))?;
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// What a sound backup is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Id of the installation.
    pub installation: String,
    /// Generation of the store.
    pub generation: String,
    /// Number of the last transition that is in it.
    pub seq: i64,
    /// The master keys that its secrets need, by their ids.
    pub keys: Vec<String>,
}

/// Looks whether a file is a backup that can be put back, and changes nothing.
pub async fn check(file: &Path) -> Result<Found, OpenError> {
    let mut conn = bytewise(SqliteConnectOptions::new().filename(file).read_only(true)).connect().await?;
    let faults: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut conn).await?;
    if faults != ["ok"] {
        return Err(OpenError::Unsafe(format!("it is damaged: {}", faults.join("; "))));
    }
    let newest: i64 =
        sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(&mut conn).await?;
    if !MIGRATOR.version_exists(newest) {
        return Err(OpenError::Newer(newest));
    }
    let mut db = Db::Sqlite(&mut conn);
    let found = Found {
        installation: db.meta("installation").await?.unwrap_or_default(),
        generation: db.meta("generation").await?.unwrap_or_default(),
        seq: db.last_seq().await?,
        keys: db.keys_needed().await?,
    };
    conn.close().await?;
    Ok(found)
}

/// The name of a copy, until it is dropped. What is open lives on without it.
struct Name(PathBuf);

impl Name {
    /// Of a new file that nobody else may read.
    fn new(path: PathBuf) -> io::Result<Self> {
        remove(&path)?;
        let name = Self(path);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&name.0)?;
        Ok(name)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!(%error, "a copy of the database could not be removed; the next start removes it");
        }
    }
}

/// Removes what a kill has left of a copy of this database.
pub(super) fn remove_left(database: &Path) -> io::Result<()> {
    remove(&beside(database))
}

fn beside(database: &Path) -> PathBuf {
    with_suffix(database, "-copy")
}

/// The copy, and the journal that SQLite keeps while it writes it.
fn remove(path: &Path) -> io::Result<()> {
    for file in [with_suffix(path, "-journal"), path.to_owned()] {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn unwritable(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull => StoreError::Full,
        _ => StoreError::Unavailable(format!("the copy cannot be written: {error}")),
    }
}
