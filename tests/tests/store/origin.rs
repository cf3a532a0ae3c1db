//! A store that was restored or copied has a new generation: there the same numbers are given to other transitions.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;

use settled::clock::SystemClock;
use settled::domain::id::InstallationId;
use settled::store::{Command, Opened, StoreError, Unit, Wants, open};
use settled_tests::patience::until;
use settled_tests::postgres::Postgres;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::fixture::{House, new_server, write};

/// What tells stores apart.
type Names = (InstallationId, String);

async fn opened(url: &str) -> Opened {
    open(url, None, Arc::new(SystemClock::new())).await.unwrap()
}

fn names(opened: &Opened) -> Names {
    let about = opened.store.about();
    (about.installation, about.generation.clone())
}

/// A store is closed behind the back of whoever drops it. Beside SQLite its mark becomes another file at the end.
async fn close(opened: Opened, url: &str) {
    let Some(path) = url.strip_prefix("sqlite://") else { return };
    let mark = format!("{path}-mark");
    let before = fs::read(&mark).unwrap();
    drop(opened);
    until("the store is closed", async || {
        let open =
            fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
        let is_open = open.into_iter().any(|file| file == Path::new(path));
        (!is_open && fs::read(&mark).is_ok_and(|now| now != before)).then_some(())
    })
    .await;
}

/// Opens the store for a moment.
async fn look(url: &str) -> Names {
    let opened = opened(url).await;
    let names = names(&opened);
    close(opened, url).await;
    names
}

async fn add_server(opened: &Opened, name: &'static str) -> Result<(), StoreError> {
    let server = new_server(&SystemClock::new(), name);
    write(&opened.writer, move |unit| {
        let mut server = server.clone();
        Box::pin(async move { unit.insert_server(&mut server).await })
    })
    .await
}

/// Opens the store, and adds a server to it.
async fn grows(url: &str, name: &'static str) -> Names {
    let opened = opened(url).await;
    add_server(&opened, name).await.unwrap();
    let names = names(&opened);
    close(opened, url).await;
    names
}

pub(crate) async fn p10_a_copy_has_a_generation_of_its_own(house: House) {
    let original = names(&house.opened);
    add_server(&house.opened, "web1").await.unwrap();
    let (opened, url, _files) = house.into_parts();
    close(opened, &url).await;
    let (copy, _copied) = copy_of(&url);
    let copied = look(&copy).await;
    assert_eq!(copied.0, original.0, "it is the same installation");
    assert_ne!(copied.1, original.1);
    assert_eq!(grows(&copy, "web2").await, copied, "opened again it is what it was");
    assert_eq!(look(&copy).await, copied);
    assert_eq!(grows(&url, "web2").await, original, "who is copied is not changed");
    assert_eq!(look(&url).await, original);
}

/// A copy of a store that nobody has open.
fn copy_of(url: &str) -> (String, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    match url.strip_prefix("sqlite://") {
        Some(path) => {
            for file in fs::read_dir(Path::new(path).parent().unwrap()).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), directory.path().join(file.file_name())).unwrap();
            }
            (format!("sqlite://{}/settled.db", directory.path().display()), directory)
        }
        None => (Postgres::shared().copy_of(url), directory),
    }
}

/// A store on SQLite of which an older copy is kept.
struct Kept {
    url: String,
    path: PathBuf,
    older: PathBuf,
    _files: TempDir,
}

impl Kept {
    async fn new() -> (Self, Names) {
        let house = House::sqlite().await;
        let names = names(&house.opened);
        add_server(&house.opened, "web1").await.unwrap();
        let (opened, url, files) = house.into_parts();
        close(opened, &url).await;
        let path = files.path().join("settled.db");
        let older = files.path().join("older.db");
        let options = SqliteConnectOptions::from_str(&url).unwrap();
        let mut conn = options.collation("C", |a, b| a.as_bytes().cmp(b.as_bytes())).connect().await.unwrap();
        sqlx::query("VACUUM INTO $1").bind(older.to_str()).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
        (Self { url, path, older, _files: files }, names)
    }

    /// As an operator does it who has stopped the daemon: into the file that is there.
    fn put_back(&self) {
        fs::copy(&self.older, &self.path).unwrap();
        for beside in ["-wal", "-shm"] {
            drop(fs::remove_file(self.beside(beside)));
        }
    }

    fn beside(&self, what: &str) -> PathBuf {
        format!("{}{what}", self.path.display()).into()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_an_older_database_that_is_put_back_has_a_new_generation() {
    let (kept, first) = Kept::new().await;
    kept.put_back();
    assert_eq!(look(&kept.url).await, first, "nothing has happened since: it is the same");
    assert_eq!(grows(&kept.url, "web2").await, first);
    kept.put_back();
    let restored = grows(&kept.url, "web3").await;
    assert_eq!(restored.0, first.0);
    assert_ne!(restored.1, first.1);
    assert_eq!(look(&kept.url).await, restored);
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_database_whose_mark_says_nothing_has_a_new_generation() {
    let (kept, first) = Kept::new().await;
    let mark = kept.beside("-mark");
    let mut known = vec![first.1];
    for spoil in [
        (|mark| fs::remove_file(mark).unwrap()) as fn(&Path),
        |mark| fs::write(mark, "").unwrap(),
        |mark| fs::write(mark, fs::read_to_string(mark).unwrap().replace(' ', "")).unwrap(),
    ] {
        assert_eq!(&look(&kept.url).await.1, known.last().unwrap());
        spoil(&mark);
        let (_, generation) = look(&kept.url).await;
        assert!(!known.contains(&generation));
        known.push(generation);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_database_that_is_replaced_while_it_is_open_is_not_written() {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    let ours = opened(&url).await;
    add_server(&ours, "web1").await.unwrap();
    let over = ours.writer.over();
    let cut = url.clone();
    tokio::task::spawn_blocking(move || Postgres::shared().cut_off(&cut)).await.unwrap();
    add_server(&ours, "web2").await.expect("a connection that was lost leads to the same database");

    let put_back = url.clone();
    tokio::task::spawn_blocking(move || Postgres::shared().put_back(&put_back)).await.unwrap();
    assert!(matches!(add_server(&ours, "web3").await, Err(StoreError::Replaced)));
    assert!(matches!(over.await, StoreError::Replaced));
    let again = opened(&url).await;
    assert_ne!(names(&again).1, names(&ours).1);
    add_server(&again, "web3").await.unwrap();
}

/// What a restore of the data alone does: all names stay, and the counter is behind.
async fn set_back(url: &str) {
    let sql = "UPDATE counter SET seq = seq - 1";
    if url.starts_with("sqlite:") {
        let mut conn = SqliteConnection::connect(url).await.unwrap();
        sqlx::query(sql).execute(&mut conn).await.unwrap();
    } else {
        let mut conn = PgConnection::connect(url).await.unwrap();
        sqlx::query(sql).execute(&mut conn).await.unwrap();
    }
}

pub(crate) async fn p10_a_counter_that_goes_back_under_a_daemon_ends_it(house: House) {
    add_server(&house.opened, "web1").await.unwrap();
    set_back(&house.url).await;
    assert!(matches!(add_server(&house.opened, "web2").await, Err(StoreError::Replaced)));
    assert!(matches!(house.opened.writer.over().await, StoreError::Replaced));
}

/// Cluster, timeline, database and table are the same then.
#[tokio::test(flavor = "multi_thread")]
async fn p10_a_postgres_whose_data_is_put_back_is_known_by_the_mark_of_its_daemon() {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    let marks = tempfile::tempdir().unwrap();
    let grows = async |marks: Option<&Path>| {
        let opened = open(&url, marks, Arc::new(SystemClock::new())).await.unwrap();
        add_server(&opened, "web1").await.unwrap();
        names(&opened).1
    };
    let first = grows(Some(marks.path())).await;
    set_back(&url).await;
    let forget = "DELETE FROM server; DELETE FROM transition";
    sqlx::raw_sql(forget).execute(&mut PgConnection::connect(&url).await.unwrap()).await.unwrap();
    let second = grows(Some(marks.path())).await;
    assert_ne!(second, first);
    // As an operator says it, where nothing can be seen.
    let said = "DELETE FROM server; DELETE FROM meta WHERE key = 'lies_on'";
    sqlx::raw_sql(said).execute(&mut PgConnection::connect(&url).await.unwrap()).await.unwrap();
    assert_ne!(grows(Some(marks.path())).await, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_database_put_back_together_with_its_mark_has_a_new_generation() {
    let (kept, first) = Kept::new().await;
    // A backup of all files while they are in use, into the files that are there.
    let opened = opened(&kept.url).await;
    let mark = fs::read(kept.beside("-mark")).unwrap();
    close(opened, &kept.url).await;
    kept.put_back();
    fs::write(kept.beside("-mark"), mark).unwrap();
    assert_ne!(look(&kept.url).await, first);
}

/// A writer that breaks is not waited for: the daemon ends, and begins anew.
#[tokio::test(flavor = "multi_thread")]
async fn p6_whoever_waits_for_a_writer_that_broke_is_told() {
    struct Breaks;

    #[async_trait::async_trait]
    impl Command for Breaks {
        type Answer = ();
        type Refusal = StoreError;

        fn wants(&self, _: &mut Wants) {
            panic!("what nobody catches");
        }

        async fn run(&self, _: &mut Unit<'_>) -> Result<(), StoreError> {
            Ok(())
        }
    }

    let house = House::sqlite().await;
    let (begun, let_go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let busy = write(&house.opened.writer, {
        let (begun, let_go) = (Arc::clone(&begun), Arc::clone(&let_go));
        move |_| {
            let (begun, let_go) = (Arc::clone(&begun), Arc::clone(&let_go));
            Box::pin(async move {
                begun.notify_one();
                let_go.notified().await;
                Ok(())
            })
        }
    });
    let together = async {
        begun.notified().await;
        // These two make a batch, and what a batch wants is loaded for all of it at once.
        let both =
            async { tokio::join!(house.opened.writer.commit(Breaks), house.opened.writer.commit(Breaks)) };
        let release = async { let_go.notify_one() };
        tokio::join!(both, release).0
    };
    let (busy, (one, two)) = tokio::join!(busy, together);
    busy.unwrap();
    assert!(one.is_err() && two.is_err());
    let why = house.opened.writer.over().await;
    assert!(why.to_string().contains("its writer ended"), "{why}");
}
