//! A throwaway PostgreSQL cluster with durable commits, reached through a unix socket.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::guarded::{Guarded, Running, find, output_of};

const USER: &str = "settled";

/// `SETTLED_TEST_ENGINE=postgres` runs the tests of the API and of whole daemons on PostgreSQL instead of SQLite.
const ENGINE: &str = "SETTLED_TEST_ENGINE";

/// The database of a test, if it runs on PostgreSQL. Whoever starts in `dir` again finds the same.
pub async fn chosen(dir: &Path) -> Option<String> {
    std::env::var_os(ENGINE).filter(|engine| engine == "postgres")?;
    let note = dir.join("database.url");
    if let Ok(url) = fs::read_to_string(&note) {
        return Some(url);
    }
    let made = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await;
    let url = made.expect("a fresh database");
    fs::write(note, &url).expect("the URL can be noted");
    Some(url)
}

/// A running cluster. Dropping it ends it; so does the end of the test process, however it comes.
pub struct Postgres {
    binaries: PathBuf,
    databases: AtomicU32,
    // Fields are dropped in this order: first the server, then its files.
    _running: Running,
    directory: TempDir,
}

impl Postgres {
    /// The cluster that all tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts a cluster. Panics, naming what is missing, if that cannot be done.
    pub fn start() -> Self {
        let binaries = binaries().unwrap_or_else(|| {
            panic!("there is no PostgreSQL server on this machine: install postgresql, or run `make test`")
        });
        let identity = identity();
        let directory =
            tempfile::Builder::new().prefix("settled-pg-").tempdir().expect("a temporary directory");
        if let Some((user, group)) = identity {
            chown(directory.path(), Some(user), Some(group)).expect("the directory can be given away");
        }
        init(&binaries, directory.path(), identity);
        let running = serve(&binaries, directory.path(), identity);
        Self { binaries, databases: AtomicU32::new(0), _running: running, directory }
    }

    /// Makes an empty database and returns its URL.
    pub fn fresh_database(&self) -> String {
        let name = format!("settled_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// Runs one statement and returns what `psql` printed, without headers.
    pub fn psql(&self, database: &str, statement: &str) -> String {
        let mut command = Command::new(self.binaries.join("psql"));
        command.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            USER,
            "-d",
            database,
            "-c",
            statement,
        ]);
        output_of(command.arg("-h").arg(self.directory.path())).trim().to_owned()
    }

    /// Ends all connections to a database.
    pub fn cut_off(&self, url: &str) {
        let database = name_of(url);
        let all =
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
        self.psql("postgres", &all);
    }

    /// Copies a database that nobody uses, and returns the copy's URL.
    pub fn copy_of(&self, url: &str) -> String {
        let copy = format!("settled_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.shut(url);
        self.psql("postgres", &format!("CREATE DATABASE {copy} TEMPLATE {}", name_of(url)));
        self.psql("postgres", &format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", name_of(url)));
        self.url(&copy)
    }

    /// Puts a copy in the place of a database, as a restore does.
    pub fn put_back(&self, url: &str) {
        let database = name_of(url);
        let aside = format!("settled_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.shut(url);
        self.psql("postgres", &format!("ALTER DATABASE {database} RENAME TO {aside}"));
        self.psql("postgres", &format!("CREATE DATABASE {database} TEMPLATE {aside}"));
    }

    /// Lets nobody connect to a database any more.
    fn shut(&self, url: &str) {
        self.psql("postgres", &format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", name_of(url)));
        self.cut_off(url);
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@localhost/{database}?host={}", self.directory.path().display())
    }
}

/// The database that a URL names. Its query has slashes, too.
fn name_of(url: &str) -> &str {
    let (before, _) = url.split_once('?').expect("a URL of this cluster has a query");
    before.rsplit_once('/').expect("it names a database").1
}

/// Sorting is that of a language, not of bytes, where the version can (15 and later): a query that forgot its collation
/// is to be found out here and not on a customer's server.
fn init(binaries: &Path, directory: &Path, identity: Option<(u32, u32)>) {
    let initdb = |arguments: &[&str]| {
        let mut command = Command::new(binaries.join("initdb"));
        command.args(["-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync", "--no-instructions"]);
        command.args(arguments).arg("-D").arg(directory.join("data")).current_dir("/");
        if let Some((user, group)) = identity {
            command.uid(user).gid(group);
        }
        command
    };
    let by_language = ["--locale=C", "--locale-provider=icu", "--icu-locale=en"];
    let version = output_of(Command::new(binaries.join("initdb")).arg("--version"));
    let major: u32 =
        version.split([' ', '.']).find_map(|word| word.parse().ok()).expect("initdb tells its version");
    output_of(&mut initdb(if major >= 15 { &by_language } else { &["--locale=C"] }));
}

fn serve(binaries: &Path, directory: &Path, identity: Option<(u32, u32)>) -> Running {
    let data = directory.join("data");
    let settings = [
        "-c",
        "listen_addresses=",
        "-c",
        "fsync=on",
        "-c",
        "shared_buffers=32MB",
        "-c",
        "lc_messages=C",
        "-k",
    ];
    let arguments = [OsStr::new("-D"), data.as_os_str()]
        .into_iter()
        .chain(settings.map(OsStr::new))
        .chain([directory.as_os_str()]);
    let program = binaries.join("postgres");
    // QUIT ends it at once and without a checkpoint: nobody will open these files again.
    let guarded = Guarded {
        program: &program,
        arguments: arguments.collect(),
        signal: "QUIT",
        identity,
        remove: Some(directory),
    };
    guarded
        .start("database system is ready to accept connections")
        .unwrap_or_else(|why| panic!("PostgreSQL did not start: {why}"))
}

/// Where `initdb`, `postgres` and `psql` stand together: the newest version of the distribution, or what is in `PATH`.
fn binaries() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort_by_key(|bin| bin.parent()?.file_name()?.to_str()?.parse::<u32>().ok());
    versions.reverse();
    let initdb = fs::canonicalize(find("initdb", &versions)?).ok()?;
    let directory = initdb.parent()?.to_owned();
    ["postgres", "psql"].iter().all(|name| directory.join(name).is_file()).then_some(directory)
}

/// PostgreSQL refuses to run as root; then it runs as its own user, or as nobody.
fn identity() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let found = ["postgres", "nobody"].iter().find_map(|name| ids_of(&users, name));
    Some(found.expect("as root, PostgreSQL needs the user postgres or nobody in /etc/passwd"))
}

fn ids_of(users: &str, name: &str) -> Option<(u32, u32)> {
    let fields: Vec<_> =
        users.lines().find(|line| line.split(':').next() == Some(name))?.split(':').collect();
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, PgConnection};

    use super::*;

    #[tokio::test]
    async fn each_database_is_empty_its_own_and_durable() {
        let postgres = Postgres::shared();
        let (one, other) = (postgres.fresh_database(), postgres.fresh_database());
        assert_ne!(one, other);

        let mut connection = PgConnection::connect(&one).await.unwrap();
        sqlx::query("CREATE TABLE only_here (n BIGINT)").execute(&mut connection).await.unwrap();
        let durable: String = sqlx::query_scalar("SHOW fsync").fetch_one(&mut connection).await.unwrap();
        assert_eq!(durable, "on");

        let mut connection = PgConnection::connect(&other).await.unwrap();
        let gone = sqlx::query("SELECT n FROM only_here").execute(&mut connection).await;
        assert!(gone.is_err());
    }

    #[test]
    fn a_cluster_ends_with_its_owner() {
        let postgres = Postgres::start();
        let directory = postgres.directory.path().to_owned();
        let pid = fs::read_to_string(directory.join("data/postmaster.pid"))
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned();
        assert!(Path::new("/proc").join(&pid).exists());
        drop(postgres);
        assert!(!Path::new("/proc").join(&pid).exists());
        assert!(!directory.exists());
    }
}
