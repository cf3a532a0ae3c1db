//! Backups: everything, as of one moment; one at a time; nothing is left of them; and who gets none is told what to do.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use settled::auth::{Grants, Role, Scope};
use settled::store::{Command, StoreError, Unit};
use settled_proto::v1::admin_client::AdminClient;
use settled_proto::v1::backup_response::Part;
use settled_proto::v1::{BackupEnd, BackupHead, BackupRequest, BackupResponse, ListAuditRequest};
use settled_tests::disk::SmallDisk;
use settled_tests::engine::{LIMITS, Served, install};
use settled_tests::patience::until;
use settled_tests::postgres::Postgres;
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::door::open_to_all;
use crate::scopes::channel_of;
use crate::soon;

/// More than is on its way while nobody reads.
const MUCH: usize = 16 << 20;
/// Somebody who is not of the house.
const ANN: u32 = 50_201;

/// Makes the store this much bigger.
struct Grow(usize);

#[async_trait]
impl Command for Grow {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), StoreError> {
        unit.keep_package("much", "much", &"x".repeat(self.0)).await
    }
}

/// An API whose store is an SQLite database in a directory of its own, whatever the others run on.
async fn served() -> (Served, TempDir) {
    let store = tempfile::tempdir().unwrap();
    (Served::on_sqlite(store.path(), LIMITS).await, store)
}

async fn begun(channel: Channel) -> Result<Streaming<BackupResponse>, Status> {
    let mut admin = AdminClient::new(channel);
    Ok(soon("a backup", admin.backup(BackupRequest {})).await?.into_inner())
}

async fn next(backup: &mut Streaming<BackupResponse>) -> Result<Option<Part>, Status> {
    Ok(soon("the next part", backup.message()).await?.and_then(|answer| answer.part))
}

/// Reads on to the end.
async fn ended(backup: &mut Streaming<BackupResponse>) -> Status {
    loop {
        match next(backup).await {
            Ok(part) => assert!(part.is_some(), "it ended well"),
            Err(status) => return status,
        }
    }
}

/// Everything of a backup.
async fn whole(channel: Channel) -> Result<(BackupHead, Vec<u8>, BackupEnd), Status> {
    let mut backup = begun(channel).await?;
    let Some(Part::Head(head)) = next(&mut backup).await? else { panic!("it begins with its head") };
    let mut bytes = Vec::new();
    let end = loop {
        match next(&mut backup).await? {
            Some(Part::Data(data)) => {
                assert!(!data.is_empty() && data.len() <= 64 << 10);
                bytes.extend(data);
            }
            Some(Part::End(end)) => break end,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(next(&mut backup).await?, None);
    Ok((head, bytes, end))
}

async fn opened(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    options.collation("C", |a, b| a.as_bytes().cmp(b.as_bytes())).connect().await.unwrap()
}

fn files(dir: &Path) -> Vec<String> {
    let names = dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().unwrap_or_else(|| panic!("{status:?}")).reason.clone()
}

#[tokio::test]
async fn a_backup_is_a_whole_store_and_its_own_row_of_the_audit_is_in_it() {
    let (api, store) = served().await;
    api.server("web1").await;
    api.resources().install(install("i", "web1", "one")).await.unwrap();
    let before = files(store.path());
    let (head, bytes, end) = whole(api.channel()).await.unwrap();
    assert_eq!(files(store.path()), before, "nothing is left of it");

    assert_eq!(head.size_bytes, bytes.len() as u64);
    assert_eq!(end.sha256, hex::encode(Sha256::digest(&bytes)));
    let position = head.position.unwrap();
    assert_eq!(position.generation, api.engine.store().about().generation);
    let copy = store.path().join("taken.db");
    std::fs::write(&copy, bytes).unwrap();
    let mut copy = opened(&copy).await;
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut copy).await.unwrap();
    assert_eq!(sound, "ok");
    let seq: i64 = sqlx::query_scalar("SELECT seq FROM counter").fetch_one(&mut copy).await.unwrap();
    assert_eq!(u64::try_from(seq).unwrap(), position.seq);
    let count = "SELECT COUNT(*) FROM resource WHERE name = 'one'";
    let there: i64 = sqlx::query_scalar(count).fetch_one(&mut copy).await.unwrap();
    assert_eq!(there, 1);
    let count = "SELECT COUNT(*) FROM audit WHERE method = 'Admin.Backup' AND verb = 'administer'";
    let on_record: i64 = sqlx::query_scalar(count).fetch_one(&mut copy).await.unwrap();
    assert_eq!(on_record, 1, "P14: it is on record before it is made");
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_a_backup_is_for_admins_and_each_is_on_record_and_ends_with_the_right_to_it() {
    let (api, _store) = served().await;
    api.writer.commit(Grow(MUCH)).await.unwrap();
    open_to_all(&api);
    let give = |role| {
        let mut grants = Grants::default();
        grants.user_on(ANN, role, Scope::Whole);
        api.gate.replace(grants);
    };
    give(Role::Operator);
    let ann = channel_of(&api, ANN).await;
    let refused = begun(ann.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "ROLE_TOO_LOW", "{refused:?}");

    give(Role::Admin);
    let mut backup = begun(ann).await.unwrap();
    assert!(matches!(next(&mut backup).await, Ok(Some(Part::Head(_)))));
    // An operator may look on; the whole store is more than that.
    give(Role::Operator);
    assert_eq!(reason(&ended(&mut backup).await), "RIGHT_LOST");

    let list = ListAuditRequest { method: "Admin.Backup".to_owned(), ..ListAuditRequest::default() };
    let rows = api.admin().list_audit(list).await.unwrap().into_inner().entries;
    let rows: Vec<_> =
        rows.iter().map(|row| (row.principal.as_str(), row.object.as_str(), row.code.as_str())).collect();
    let ann = format!("unix:{ANN}");
    assert_eq!(rows, [(&*ann, "store", ""), (&*ann, "", "PERMISSION_DENIED")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_at_a_time_and_who_goes_away_gives_the_place_back() {
    let (api, store) = served().await;
    api.writer.commit(Grow(MUCH)).await.unwrap();
    let mut backup = begun(api.channel()).await.unwrap();
    assert!(matches!(next(&mut backup).await, Ok(Some(Part::Head(_)))));
    let refused = begun(api.channel()).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::FailedPrecondition, "NOT_NOW"), "{refused:?}");
    assert!(refused.message().contains("another backup is being taken"), "{refused:?}");
    // What is being sent has no name, and holds nobody up.
    assert!(!files(store.path()).iter().any(|name| name.contains("copy")), "{:?}", files(store.path()));
    api.server("web1").await;

    drop(backup);
    until("the place is free", async || whole(api.channel()).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_nobody_waits_for_is_not_made() {
    let (api, store) = served().await;
    api.writer.commit(Grow(4 * MUCH)).await.unwrap();
    let copy = store.path().join("settled.db-copy");
    let asked = async {
        loop {
            let asked = tokio::spawn(begun(api.channel()));
            while !copy.exists() && !asked.is_finished() {
                tokio::task::yield_now().await;
            }
            if copy.exists() {
                return asked.abort();
            }
            // It was made before anybody saw it: once more.
            drop(asked.await);
        }
    };
    soon("a copy", asked).await;
    until("it is gone", async || (!copy.exists()).then_some(())).await;
    until("the place is free", async || whole(api.channel()).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stands_still_is_let_go_of_and_told_so() {
    let store = tempfile::tempdir().unwrap();
    let limits = settled::grpc::Limits { body: Duration::from_millis(300), ..LIMITS };
    let api = Served::on_sqlite(store.path(), limits).await;
    api.writer.commit(Grow(MUCH)).await.unwrap();
    let mut stands = begun(api.channel()).await.unwrap();
    until("the place is free", async || whole(api.channel()).await.ok()).await;
    let status = ended(&mut stands).await;
    assert_eq!((status.code(), &*reason(&status)), (Code::Aborted, "SLOW_READER"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_needs_none_of_the_readers_that_others_wait_for() {
    let (api, _store) = served().await;
    let all = join_all((0..8).map(|_| api.engine.store().read())).await;
    let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    whole(api.channel()).await.unwrap();
    drop(all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_it() {
    let (api, _store) = served().await;
    api.writer.commit(Grow(MUCH)).await.unwrap();
    let mut backup = begun(api.channel()).await.unwrap();
    assert!(matches!(next(&mut backup).await, Ok(Some(Part::Head(_)))));
    api.stop.cancel();
    let status = ended(&mut backup).await;
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "STOPPING"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_it_nothing_is_copied_and_the_need_is_told() {
    let Some(disk) = SmallDisk::of("48m") else {
        eprintln!("not run: this user may not mount a small file system");
        return;
    };
    let api = Served::on_sqlite(disk.path(), LIMITS).await;
    api.writer.commit(Grow(4 << 20)).await.unwrap();
    disk.leave(2_048);
    let refused = begun(api.channel()).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::ResourceExhausted, "DISK_FULL"), "{refused:?}");
    let place = disk.path().display().to_string();
    // 4 MiB and what every store has, and 16 MiB to spare.
    for part in ["needs 21 MiB", &place, "has 8 MiB left", "make room", "nothing was copied"] {
        assert!(refused.message().contains(part), "{part}: {refused:?}");
    }
    assert!(!files(disk.path()).iter().any(|name| name.contains("copy")));
    disk.free();
    whole(api.channel()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_postgresql_is_copied_by_its_own_tools() {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    let api = Served::at(&url, tempfile::tempdir().unwrap()).await;
    let refused = begun(api.channel()).await.unwrap_err();
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::FailedPrecondition, "OTHER_ENGINE"),
        "{refused:?}"
    );
    assert!(refused.message().contains("pg_dump --format=custom"), "{refused:?}");
}
