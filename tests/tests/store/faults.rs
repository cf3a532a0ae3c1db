//! Full disks, lost connections, answers that never come: nothing is acknowledged that is not stored, nothing is done twice, and
//! work goes on by itself afterwards.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use futures::future::join_all;
use settled::clock::SystemClock;
use settled::domain::id::ServerId;
use settled::domain::server::Server;
use settled::store::{StoreError, open};
use settled_tests::disk::SmallDisk;
use settled_tests::postgres::Postgres;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::fixture::{House, new_server, write};

/// PostgreSQL cannot store NUL in a text; SQLite can. Either way the neighbours in the batch do not notice.
pub(crate) async fn an_unstorable_name_is_refused_and_harms_no_neighbour(house: House) {
    let storm = (0..60).map(|n| {
        let name = if n % 6 == 0 { format!("s{n}\0") } else { format!("s{n}") };
        let (house, server) = (&house, new_server(&*house.clock, &name));
        async move {
            house
                .write(move |unit| {
                    let mut server = server.clone();
                    Box::pin(async move {
                        unit.db().await?.server_by_name(&server.name).await?;
                        unit.insert_server(&mut server).await
                    })
                })
                .await
        }
    });
    for (n, answer) in join_all(storm).await.into_iter().enumerate() {
        if n % 6 == 0 && !house.is_sqlite() {
            assert!(matches!(answer, Err(StoreError::Corrupt(_))), "command {n}: {answer:?}");
        } else {
            assert!(answer.is_ok(), "command {n}: {answer:?}");
        }
    }
}

/// A reader may meet a connection that broke in its hands a moment ago, as any query in flight does; each is met at most once.
async fn found_at_last(house: &House, id: ServerId) -> Option<Server> {
    for _ in 0..READERS {
        match house.read().await.db().server(id).await {
            Ok(found) => return found,
            Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error}"),
        }
    }
    house.read().await.db().server(id).await.unwrap()
}

/// Connections in the pool that reads.
const READERS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_lost_is_replaced_without_a_writer_noticing() {
    let house = House::postgres().await;
    house.server("before").await;
    for n in 0..3 {
        let database = house.url.split(['/', '?']).nth(3).unwrap().to_owned();
        let ended = tokio::task::spawn_blocking(move || {
            let sql = format!(
                "SELECT COUNT(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = '{database}'"
            );
            Postgres::shared().psql("postgres", &sql)
        });
        assert!(ended.await.unwrap().parse::<u32>().unwrap() > 0);
        let server = house.server(&format!("after{n}")).await;
        assert_eq!(found_at_last(&house, server.id).await, Some(server));
    }
}

/// Stands between a daemon and PostgreSQL, and cuts the line at the next COMMIT.
struct Line {
    directory: tempfile::TempDir,
    cut: Arc<AtomicU8>,
}

const WHOLE: u8 = 0;
/// PostgreSQL never hears the COMMIT.
const BEFORE: u8 = 1;
/// PostgreSQL commits, and its answer is lost.
const AFTER: u8 = 2;

impl Line {
    fn to(socket: PathBuf) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).unwrap();
        let cut = Arc::new(AtomicU8::new(WHOLE));
        let switch = Arc::clone(&cut);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&socket).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&switch)));
            }
        });
        Self { directory, cut }
    }
}

async fn carry(mut client: UnixStream, mut server: UnixStream, cut: Arc<AtomicU8>) {
    let (mut asked, mut said) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            Ok(n @ 1..) = client.read(&mut asked) => {
                let commits = asked[..n].windows(6).any(|w| w == b"COMMIT");
                let cut = if commits { cut.swap(WHOLE, Ordering::SeqCst) } else { WHOLE };
                if cut == BEFORE {
                    return;
                }
                server.write_all(&asked[..n]).await.unwrap();
                if cut == AFTER {
                    // The answer has come this far, and no further.
                    assert_ne!(server.read(&mut said).await.unwrap(), 0);
                    return;
                }
            }
            Ok(n @ 1..) = server.read(&mut said) => client.write_all(&said[..n]).await.unwrap(),
            else => return,
        }
    }
}

async fn line_is_cut(how: u8, runs_expected: u32) {
    let house = House::postgres().await;
    let (head, socket_directory) = house.url.split_once("?host=").unwrap();
    let line = Line::to(Path::new(socket_directory).join(".s.PGSQL.5432"));
    let url = format!("{head}?host={}", line.directory.path().display());
    let daemon = open(&url, None, Arc::new(SystemClock::new())).await.unwrap();
    let runs = Arc::new(AtomicU32::new(0));
    line.cut.store(how, Ordering::SeqCst);
    let (counted, clock) = (Arc::clone(&runs), Arc::clone(&house.clock));
    let answer = write(&daemon.writer, move |unit| {
        // A new id each time: done twice it would be there twice.
        let n = counted.fetch_add(1, Ordering::SeqCst);
        let mut server = new_server(&*clock, &format!("s{n}"));
        Box::pin(async move { unit.insert_server(&mut server).await })
    })
    .await;
    assert_eq!(line.cut.load(Ordering::SeqCst), WHOLE, "the line was cut");
    let stored = house.read().await.db().servers("", 10).await.unwrap();
    assert_eq!((runs.load(Ordering::SeqCst), stored.len()), (runs_expected, usize::from(answer.is_ok())));
    assert_eq!(house.numbers().await.1, (1..=i64::from(answer.is_ok())).collect::<Vec<_>>());
    assert_eq!(answer.is_ok(), how == AFTER, "{answer:?}");
    house.server("later").await;
    let later =
        write(&daemon.writer, move |unit| Box::pin(async move { unit.keep_package("d", "p", "").await }));
    later.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_commit_whose_answer_is_lost_is_asked_after_and_not_repeated() {
    line_is_cut(AFTER, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_commit_that_never_arrived_is_not_acknowledged() {
    line_is_cut(BEFORE, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_full_disk_acknowledges_nothing_and_work_resumes_by_itself() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("not run: this user may not mount a small file system");
        return;
    };
    let clock: Arc<dyn settled::clock::Clock> = Arc::new(SystemClock::new());
    let url = format!("sqlite://{}/settled.db", disk.path().display());
    let opened = open(&url, None, Arc::clone(&clock)).await.unwrap();
    let add = |name: String| {
        let mut server = new_server(&*clock, &name);
        server.reach_detail = "x".repeat(30_000);
        let writer = &opened.writer;
        async move {
            write(writer, move |unit| {
                let mut server = server.clone();
                Box::pin(async move { unit.insert_server(&mut server).await })
            })
            .await
        }
    };
    add("before".into()).await.unwrap();
    disk.fill();
    let answers = join_all((0..20).map(|n| add(format!("during{n}")))).await;
    let refused = answers.iter().filter(|a| matches!(a, Err(StoreError::Full))).count();
    assert!(refused > 0, "{answers:?}");
    assert!(answers.iter().all(|a| matches!(a, Ok(()) | Err(StoreError::Full))), "{answers:?}");
    let acknowledged = answers.len() - refused;
    disk.free();
    join_all((0..5).map(|n| add(format!("later{n}")))).await.into_iter().for_each(Result::unwrap);
    let mut reader = opened.store.read().await.unwrap();
    assert_eq!(reader.db().servers("", 100).await.unwrap().len(), 1 + acknowledged + 5);
    let last = reader.db().last_seq().await.unwrap();
    let numbers: Vec<_> = reader.db().transitions(0, 100).await.unwrap().iter().map(|t| t.seq).collect();
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
    assert_eq!(numbers.len(), 1 + acknowledged + 5);
}

/// A daemon that dies while it migrates leaves nothing half done: whoever starts next brings the database up to date.
async fn migration_is_cut(how: u8) {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    let (head, socket_directory) = url.split_once("?host=").unwrap();
    let line = Line::to(Path::new(socket_directory).join(".s.PGSQL.5432"));
    let cut = format!("{head}?host={}", line.directory.path().display());
    line.cut.store(how, Ordering::SeqCst);
    assert!(open(&cut, None, Arc::new(SystemClock::new())).await.is_err(), "its line was cut at a COMMIT");
    assert_eq!(line.cut.load(Ordering::SeqCst), WHOLE);
    works(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_whose_commit_never_arrived_is_begun_again() {
    migration_is_cut(BEFORE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_whose_commit_was_not_answered_stands() {
    migration_is_cut(AFTER).await;
}

/// Opens a store and writes to it.
async fn works(url: &str) {
    let clock: Arc<dyn settled::clock::Clock> = Arc::new(SystemClock::new());
    let opened = open(url, None, Arc::clone(&clock)).await.unwrap();
    write(&opened.writer, move |unit| {
        let mut server = new_server(&*clock, "web1");
        Box::pin(async move { unit.insert_server(&mut server).await })
    })
    .await
    .unwrap();
}

/// The disk fills up after each page that a first start writes, until there is room for all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_runs_out_of_disk_anywhere_is_finished_by_the_next_start() {
    let Some(disk) = SmallDisk::of("16m") else {
        eprintln!("not run: this user may not mount a small file system");
        return;
    };
    let path = disk.path().join("settled.db");
    let url = format!("sqlite://{}", path.display());
    let (mut pages, mut fitted) = (0, false);
    while !fitted {
        disk.leave(pages);
        fitted = open(&url, None, Arc::new(SystemClock::new())).await.is_ok();
        disk.free();
        works(&url).await;
        for file in ["settled.db", "settled.db-wal", "settled.db-shm"] {
            let removed = std::fs::remove_file(disk.path().join(file));
            assert!(removed.is_ok() || !disk.path().join(file).exists());
        }
        pages += 4;
    }
    assert!(pages > 20, "it failed in many places: {pages}");
}

/// PostgreSQL gives a transaction up when a statement fails, and answers COMMIT with a quiet ROLLBACK. What a neighbour had written
/// before must not be acknowledged then.
pub(crate) async fn a_read_that_fails_does_not_lose_what_a_neighbour_wrote(house: House) {
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&gate);
    let first = house.write(move |_| {
        let waiting = Arc::clone(&waiting);
        Box::pin(async move {
            // The permit is given back: a command may run again, alone, when its batch fails.
            waiting.acquire().await.map(drop).map_err(|_| StoreError::Conflict)
        })
    });
    let writes = house.write(|unit| Box::pin(async move { unit.keep_package("d1", "p", "text").await }));
    let fails = house.write(|unit| Box::pin(async move { unit.db().await?.server_by_name("\0").await }));
    // The other two are queued while the first holds the writer: they are one batch.
    let open = async { gate.add_permits(1) };
    let (_, kept, failed, ()) = tokio::join!(biased; first, writes, fails, open);
    kept.unwrap();
    assert_eq!(failed.is_err(), !house.is_sqlite());
    let kept = house.read().await.db().package_source("d1").await.unwrap();
    assert_eq!(kept.as_deref(), Some("text"));
}
