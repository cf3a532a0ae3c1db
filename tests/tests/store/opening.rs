//! Opening: again and again, refused in clear words where it cannot work.

use std::sync::Arc;

use settled::clock::SystemClock;
use settled::store::{Db, OpenError, open};

use crate::fixture::House;

async fn refusal(url: &str) -> OpenError {
    open(url, None, Arc::new(SystemClock::new())).await.err().expect(url)
}

pub(crate) async fn a_store_is_opened_again_as_the_same_installation(house: House) {
    let server = house.server("web1").await;
    let about = house.opened.store.about().clone();
    for _ in 0..2 {
        let again = open(&house.url, None, Arc::clone(&house.clock)).await.unwrap();
        assert_eq!(again.store.about().installation, about.installation);
        assert_eq!(again.store.about().generation, about.generation);
        assert_eq!(again.writer.committed().borrow().seq, server.seq);
    }
}

pub(crate) async fn a_newer_database_is_refused(house: House) {
    house
        .write(move |unit| {
            let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                       SELECT 9999, 'from the future', success, checksum, 0 FROM _sqlx_migrations";
            Box::pin(async move {
                match unit.db().await? {
                    Db::Sqlite(c) => sqlx::query(sql).execute(&mut **c).await.map(drop)?,
                    Db::Postgres(c) => sqlx::query(sql).execute(&mut **c).await.map(drop)?,
                }
                unit.keep_package("d", "p", "").await
            })
        })
        .await
        .unwrap();
    let refused = refusal(&house.url).await;
    assert!(matches!(refused, OpenError::Newer(9999)));
    let text = refused.to_string();
    assert!(text.contains("newer than this settled") && text.contains("9999"), "{text}");
}

#[tokio::test]
async fn what_a_kill_has_left_of_a_copy_goes_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let left = ["settled.db-copy", "settled.db-copy-journal"].map(|name| directory.path().join(name));
    for file in &left {
        std::fs::write(file, "half").unwrap();
    }
    let url = format!("sqlite://{}/settled.db", directory.path().display());
    open(&url, None, Arc::new(SystemClock::new())).await.unwrap();
    assert!(!left.iter().any(|file| file.exists()), "{left:?}");
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let missing = format!("sqlite://{}/no/such/dir/settled.db", directory.path().display());
    let text = refusal(&missing).await.to_string();
    assert!(text.contains("/no/such/dir/settled.db") && text.contains("may this user write there"), "{text}");

    let no_database = directory.path().join("text.db");
    std::fs::write(&no_database, "this is no database ".repeat(100)).unwrap();
    let text = refusal(&format!("sqlite://{}", no_database.display())).await.to_string();
    assert!(text.contains("text.db") && text.contains("not a database"), "{text}");

    let text = refusal("mysql://root:hunter2@localhost/x").await.to_string();
    assert!(text.contains("`mysql`") && text.contains("postgres://") && !text.contains("hunter2"), "{text}");

    let nobody = format!("postgres://x@localhost/x?host={}", directory.path().display());
    let text = refusal(&nobody).await.to_string();
    assert!(text.contains("No such file") && !text.contains("timed out"), "{text}");
    let text = refusal("postgres://x:hunter2@127.0.0.1:1/x").await.to_string();
    assert!(text.contains("refused") && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn sqlite_is_really_durable() {
    let house = House::sqlite().await;
    let settings: (String, i64, i64) = house
        .write(move |unit| {
            Box::pin(async move {
                let Db::Sqlite(c) = unit.db().await? else { panic!("SQLite") };
                let journal = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut **c).await?;
                let synchronous = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut **c).await?;
                let foreign_keys = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(&mut **c).await?;
                Ok((journal, synchronous, foreign_keys))
            })
        })
        .await
        .unwrap();
    assert_eq!(settings, ("wal".to_owned(), 2, 1));
}

#[tokio::test]
async fn readers_cannot_write_to_sqlite() {
    let house = House::sqlite().await;
    let mut reader = house.read().await;
    let Db::Sqlite(c) = reader.db() else { panic!("SQLite") };
    let refused = sqlx::query("DELETE FROM counter").execute(&mut *c).await.expect_err("read-only");
    assert!(refused.to_string().contains("readonly"), "{refused}");
}
