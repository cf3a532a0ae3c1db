//! Tells the store that was written last from one that was restored or copied. There the same numbers are given to other transitions, so it
//! gets a new generation, and no position of a watcher means anything in it.
//!
//! A file, the mark, has the generation and the number of the last commit; beside an SQLite database there is one, and with PostgreSQL each
//! daemon has its own. A database that is older than a mark was put back. Beside SQLite one without a mark came alone, and a mark that is not
//! the file it says it is was copied along. PostgreSQL gives names, too, that a promoted or restored one does not have: cluster, timeline,
//! database and table. In doubt it says "restored", which costs watchers a snapshot. What it cannot see is a database that goes back together
//! with its marks: there an operator says so (docs/backup.md).

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use super::{Db, OpenError, StoreError};

/// Where the name of the PostgreSQL that the store lies on is kept.
const LIES_ON: &str = "lies_on";
/// Cluster, timeline, database and table.
const POSTGRES: &str = "SELECT (SELECT system_identifier FROM pg_control_system())::text \
     || ' ' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) \
     || ' ' || (SELECT oid FROM pg_database WHERE datname = current_database())::text \
     || ' ' || CAST(CAST('meta'::regclass AS oid) AS text)";

/// How a store is told from its copies.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// By the mark at this path.
    Sqlite(PathBuf),
    /// By the names that PostgreSQL gave, and by the mark of this daemon, if it keeps one.
    Postgres(Option<PathBuf>),
}

impl Origin {
    /// Of the SQLite database at `path`.
    pub(super) fn sqlite(path: &Path) -> Self {
        let mut mark = path.as_os_str().to_owned();
        mark.push("-mark");
        Self::Sqlite(mark.into())
    }

    /// Whether `db`, which counts to `seq` in this generation, is what was written last.
    pub(super) async fn is_known(
        &self,
        db: &mut Db<'_>,
        generation: &str,
        seq: i64,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(path) => Ok(read(path).is_some_and(|(said, of_itself)| {
                of_itself && said.generation == generation && (0..=seq).contains(&said.seq)
            })),
            Self::Postgres(mark) => {
                // Another generation than that of the mark was given by another daemon.
                let newer = |(said, _): (Said, bool)| said.generation == generation && said.seq > seq;
                let older = mark.as_deref().and_then(read).is_some_and(newer);
                Ok(!older && lies_where_it_was(db).await?)
            }
        }
    }

    /// Notes where the store lies, in the transaction that gives it its generation.
    pub(super) async fn note(&self, db: &mut Db<'_>) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(_) => {
                let name = lies_on(db).await?;
                db.set_meta(LIES_ON, &name).await
            }
        }
    }

    /// Begins to follow the commits of this store, which has its generation now.
    pub(super) fn follow(&self, generation: &str, seq: i64) -> Result<Trail, OpenError> {
        let mark = match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(path) => path.as_ref(),
        };
        let mark = mark.map(|path| {
            Mark::create(path, generation, seq).map_err(|error| {
                OpenError::Unavailable(format!(
                    "{} cannot be written: {error}; may this user write there, and is there room?",
                    path.display()
                ))
            })
        });
        Ok(Trail { generation: generation.to_owned(), mark: mark.transpose()?, origin: self.clone() })
    }
}

async fn lies_where_it_was(db: &mut Db<'_>) -> Result<bool, StoreError> {
    Ok(db.meta(LIES_ON).await? == Some(lies_on(db).await?))
}

async fn lies_on(db: &mut Db<'_>) -> Result<String, StoreError> {
    let Db::Postgres(conn) = db else {
        return Err(StoreError::Corrupt("only a PostgreSQL lies on a PostgreSQL".to_owned()));
    };
    Ok(sqlx::query_scalar(POSTGRES).fetch_one(&mut **conn).await?)
}

/// Follows the commits of a store.
#[derive(Debug)]
pub(super) struct Trail {
    generation: String,
    origin: Origin,
    mark: Option<Mark>,
}

impl Trail {
    /// A commit went up to `seq`, and nobody has been told yet.
    pub(super) fn committed(&mut self, seq: i64) {
        if let Some(mark) = &mut self.mark {
            mark.move_to(seq);
        }
    }

    /// Whether a new connection leads to what was opened: a database that was restored or promoted meanwhile is another one.
    pub(super) async fn leads_on(&self, db: &mut Db<'_>) -> Result<bool, StoreError> {
        match self.origin {
            // Its files are held open, and its directory is locked.
            Origin::Sqlite(_) => Ok(true),
            Origin::Postgres(_) => Ok(db.meta("generation").await?.as_ref() == Some(&self.generation)
                && lies_where_it_was(db).await?),
        }
    }
}

/// The file that knows how far a database went.
#[derive(Debug)]
struct Mark {
    path: PathBuf,
    /// `None` when it could not be written: then there is no mark.
    file: Option<File>,
    said: Said,
}

/// What a mark says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    generation: String,
    seq: i64,
    /// The file that it was written into.
    file: String,
}

impl Mark {
    /// A new file each time, so that one that was copied over it is known by its own words.
    fn create(path: &Path, generation: &str, seq: i64) -> io::Result<Self> {
        let (file, said) = write(path, generation, seq)?;
        Ok(Self { path: path.to_owned(), file: Some(file), said })
    }

    /// Without a sync: after a power cut the mark may be behind the database, which says nothing against it. One that cannot be written
    /// is taken away, since it would vouch for what it does not know.
    fn move_to(&mut self, seq: i64) {
        self.said.seq = seq;
        let Some(file) = &self.file else { return };
        if let Err(error) = file.write_all_at(self.said.line().as_bytes(), 0) {
            self.file = None;
            let gone = fs::remove_file(&self.path);
            tracing::warn!(%error, ?gone, "the mark of the database cannot be written, so it is taken away");
        }
    }
}

/// At a stop it becomes another file, so that what is copied over it before the next start is known by its own words, too. A kill leaves
/// that of the start.
impl Drop for Mark {
    fn drop(&mut self) {
        if self.file.take().is_some()
            && let Err(error) = write(&self.path, &self.said.generation, self.said.seq)
        {
            tracing::debug!(%error, "the mark of the database stays the one of the start");
        }
    }
}

/// Puts a new file in the place of a mark.
fn write(path: &Path, generation: &str, seq: i64) -> io::Result<(File, Said)> {
    // A store that is closed and one that is opened may meet here.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let beside = path.with_extension("db-mark.new");
    let file = File::create(&beside)?;
    let said = Said { generation: generation.to_owned(), seq, file: name(&file.metadata()?) };
    file.write_all_at(said.line().as_bytes(), 0)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    Ok((file, said))
}

impl Said {
    /// Always as long, since it is written in place.
    fn line(&self) -> String {
        format!("{} {:020} {}\n", self.generation, self.seq, self.file)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.splitn(3, ' ');
        let generation = words.next()?.to_owned();
        Some(Self { generation, seq: words.next()?.parse().ok()?, file: words.next()?.to_owned() })
    }
}

/// What the mark says, and whether it is the file that it was written into. A mark that cannot be read is none.
fn read(path: &Path) -> Option<(Said, bool)> {
    let said = Said::parse(&fs::read_to_string(path).ok()?)?;
    let of_itself = said.file == name(&fs::metadata(path).ok()?);
    Some((said, of_itself))
}

/// A file by its inode and, where the file system knows it, the time of its birth: a copy has neither.
fn name(file: &Metadata) -> String {
    let born = file.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    format!("{} {}", file.ino(), born.map_or(0, |at| at.as_nanos()))
}
