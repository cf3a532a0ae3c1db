//! Tells the store that was written last from one that was restored or copied. There the same numbers are given to other transitions, so it
//! gets a new generation, and no position of a watcher means anything in it.
//!
//! With SQLite a file beside the database, the mark, has the generation and the number of the last commit. A database that is older than its
//! mark was put back; one without a mark came alone; and a mark that is not the file it says it is was copied along. PostgreSQL gives the
//! cluster, its timeline, the database and its table names that a restored or promoted one does not have. Both say "restored" where they
//! cannot know: that costs watchers a snapshot, and the other way round would cost them what happened.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
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
    Mark(PathBuf),
    /// By the names that PostgreSQL gave.
    Postgres,
}

impl Origin {
    /// Of the SQLite database at `path`.
    pub(super) fn sqlite(path: &Path) -> Self {
        let mut mark = path.as_os_str().to_owned();
        mark.push("-mark");
        Self::Mark(mark.into())
    }

    /// Whether `db`, which counts to `seq` in this generation, is what was written last.
    pub(super) async fn is_known(
        &self,
        db: &mut Db<'_>,
        generation: &str,
        seq: i64,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Mark(path) => Ok(read(path).is_some_and(|(said, of_itself)| {
                said.generation == generation && said.seq >= 0 && said.seq <= seq && of_itself
            })),
            Self::Postgres => Ok(db.meta(LIES_ON).await? == Some(lies_on(db).await?)),
        }
    }

    /// Notes where the store lies, in the transaction that gives it its generation.
    pub(super) async fn note(&self, db: &mut Db<'_>) -> Result<(), StoreError> {
        match self {
            Self::Mark(_) => Ok(()),
            Self::Postgres => {
                let name = lies_on(db).await?;
                db.set_meta(LIES_ON, &name).await
            }
        }
    }

    /// Begins to follow the commits of this store, which has its generation now.
    pub(super) fn follow(&self, generation: &str, seq: i64) -> Result<Trail, OpenError> {
        match self {
            Self::Mark(path) => match Mark::create(path, generation, seq) {
                Ok(mark) => Ok(Trail::Mark(mark)),
                Err(error) => Err(OpenError::Unavailable(format!(
                    "{} cannot be written: {error}; may this user write there, and is there room?",
                    path.display()
                ))),
            },
            Self::Postgres => Ok(Trail::Postgres),
        }
    }
}

async fn lies_on(db: &mut Db<'_>) -> Result<String, StoreError> {
    let Db::Postgres(conn) = db else {
        return Err(StoreError::Corrupt("only a PostgreSQL lies on a PostgreSQL".to_owned()));
    };
    Ok(sqlx::query_scalar(POSTGRES).fetch_one(&mut **conn).await?)
}

/// Follows the commits of a store.
#[derive(Debug)]
pub(super) enum Trail {
    Mark(Mark),
    Postgres,
}

impl Trail {
    /// A commit went up to `seq`, and nobody has been told yet.
    pub(super) fn committed(&mut self, seq: i64) {
        match self {
            Self::Mark(mark) => mark.move_to(seq),
            Self::Postgres => {}
        }
    }

    /// Whether a new connection leads to what was opened: a database that was restored or promoted meanwhile is another one.
    pub(super) async fn leads_on(&self, db: &mut Db<'_>, generation: &str) -> Result<bool, StoreError> {
        match self {
            // Its files are held open, and its directory is locked.
            Self::Mark(_) => Ok(true),
            Self::Postgres => Ok(db.meta("generation").await?.as_deref() == Some(generation)
                && Origin::Postgres.is_known(db, generation, 0).await?),
        }
    }
}

/// The file beside an SQLite database that knows how far it went.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    text: Said,
    /// It was told once that the mark cannot be written.
    told: bool,
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
        let beside = path.with_extension("db-mark.new");
        let file = File::create(&beside)?;
        let text = Said { generation: generation.to_owned(), seq, file: name(&file.metadata()?) };
        file.write_all_at(text.line().as_bytes(), 0)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        Ok(Self { file, text, told: false })
    }

    /// Without a sync: after a power cut the mark may be behind the database, which says nothing against it.
    fn move_to(&mut self, seq: i64) {
        self.text.seq = seq;
        let written = self.file.write_all_at(self.text.line().as_bytes(), 0);
        if let Err(error) = written
            && !std::mem::replace(&mut self.told, true)
        {
            tracing::warn!(%error, "the mark of the database cannot be written: if an older copy of the \
                database is put back now, watchers may not notice");
        }
    }
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
