//! A part of the daemon that stands still is noticed: the watchdog starves, and the part is named.

use std::time::Duration;

use settled_proto::v1::{
    FireScheduleRequest, GetStatusRequest, ListOccurrencesRequest, PauseScheduleRequest,
};
use settled_tests::daemon;
use settled_tests::notify::FakeSystemd;
use settled_tests::patience::until;
use settled_tests::postgres::Postgres;
use settled_tests::server::fresh_id;
use sqlx::{Connection as _, PgConnection};

/// What whoever reads or writes this table waits for, until it is rolled back.
const ALL: &str = "ACCESS EXCLUSIVE";
/// What only whoever writes it waits for.
const WRITERS: &str = "EXCLUSIVE";

/// Locks a table in this mode.
async fn lock<'c>(
    other: &'c mut PgConnection,
    table: &str,
    mode: &str,
) -> sqlx::Transaction<'c, sqlx::Postgres> {
    let mut transaction = other.begin().await.expect("a transaction");
    let sql = format!("LOCK TABLE {table} IN {mode} MODE");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&mut *transaction)
        .await
        .expect("the table can be locked");
    transaction
}

/// The next messages, up to one that names a part that stands still: these parts, in order of their coming, and no sign of life since.
async fn starves(systemd: &mut FakeSystemd, parts: usize) -> Vec<String> {
    let mut named = Vec::new();
    while named.len() < parts {
        let message = systemd.next().await;
        if let Some(status) = message.strip_prefix("STATUS=not well: ") {
            named.push(status.trim_end().to_owned());
        } else {
            assert!(named.is_empty(), "after {named:?}: {message}");
        }
    }
    named.sort();
    named
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_dispatcher_that_stands_still_starves_the_watchdog_although_the_others_live() {
    let mut systemd = FakeSystemd::start();
    let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    let options = daemon::Options::default().set("DATABASE__URL", &url).systemd(&systemd.path());
    let daemon = options.watchdog(Duration::from_secs(4)).start().await;
    systemd.wait_for("WATCHDOG=1").await;

    // The dispatcher looks for servers with work; nobody else here reads them.
    let mut other = PgConnection::connect(&url).await.unwrap();
    let locked = lock(&mut other, "server", ALL).await;
    let named = starves(&mut systemd, 1).await;
    assert!(named[0].starts_with("the dispatcher stands still"), "{named:?}");
    locked.rollback().await.unwrap();
    // It goes on: systemd hears how the daemon is, and a sign of life.
    systemd.wait_for("STATUS=serving").await;
    systemd.wait_for("WATCHDOG=1").await;
    daemon.stop().await.0.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_reconciler_that_stands_still_starves_the_watchdog_although_the_others_live() {
    let mut systemd = FakeSystemd::start();
    let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    // The dispatcher, which reads runs too, does not look before the minute is over.
    let options = daemon::Options::default()
        .set("DATABASE__URL", &url)
        .set("LANE__POLL_S", "60")
        .set("RUN__SETTLE_MARGIN_S", "215");
    let daemon = options.systemd(&systemd.path()).watchdog(Duration::from_secs(4)).start().await;
    systemd.wait_for("WATCHDOG=1").await;
    let mut other = PgConnection::connect(&url).await.unwrap();
    let locked = lock(&mut other, "run", ALL).await;
    // What moves enrollments on is told of the end of runs, and reads none.
    let named = starves(&mut systemd, 1).await;
    assert!(named[0].starts_with("the reconciler stands still"), "{named:?}");
    locked.rollback().await.unwrap();
    systemd.wait_for("WATCHDOG=1").await;
    daemon.stop().await.0.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_what_moves_enrollments_and_sends_webhooks_starves_the_watchdog_although_the_others_live() {
    let mut systemd = FakeSystemd::start();
    let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    let options = daemon::Options::default().set("DATABASE__URL", &url).systemd(&systemd.path());
    let daemon = options.watchdog(Duration::from_secs(4)).start().await;
    // Chores look at enrollments, too: none is begun from now on, and none is under way once a tick has done another one.
    let chores =
        ["enrollments", "clean_enrollments", "clean_executions", "retention", "compaction", "probes"];
    for chore in chores {
        let pause = PauseScheduleRequest { request_id: fresh_id(), schedule: format!("settled.{chore}") };
        daemon.schedules().pause(pause).await.unwrap();
    }
    let (request_id, schedule) = (fresh_id(), "settled.reconcile".to_owned());
    let fire = FireScheduleRequest { request_id, schedule: schedule.clone() };
    daemon.schedules().fire(fire).await.unwrap();
    until("a tick has looked", async || {
        let list = ListOccurrencesRequest { schedule: schedule.clone(), ..Default::default() };
        let listed = daemon.schedules().list_occurrences(list).await.unwrap().into_inner();
        listed.occurrences[0].why.starts_with("0 open runs").then_some(())
    })
    .await;
    systemd.wait_for("WATCHDOG=1").await;
    let mut other = PgConnection::connect(&url).await.unwrap();
    let locked = lock(&mut other, "enrollment", ALL).await;
    let named = starves(&mut systemd, 2).await;
    assert!(named[0].starts_with("what moves enrollments on stands still"), "{named:?}");
    assert!(named[1].starts_with("what sends webhooks stands still"), "{named:?}");
    locked.rollback().await.unwrap();
    systemd.wait_for("STATUS=serving").await;
    systemd.wait_for("WATCHDOG=1").await;
    daemon.stop().await.0.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_writer_that_stands_still_starves_the_watchdog_and_the_status_names_it() {
    let mut systemd = FakeSystemd::start();
    let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    let options = daemon::Options::default().set("DATABASE__URL", &url).set("LANE__RENEW_S", "1");
    let daemon = options.systemd(&systemd.path()).watchdog(Duration::from_secs(4)).start().await;
    systemd.wait_for("WATCHDOG=1").await;
    let mut other = PgConnection::connect(&url).await.unwrap();
    let locked = lock(&mut other, "daemon", WRITERS).await;
    // The reconciler frees the lanes of dead daemons: it waits for the same writer.
    let named = starves(&mut systemd, 2).await;
    assert!(named[0].starts_with("the reconciler stands still"), "{named:?}");
    assert!(named[1].starts_with("the renewal of the lease stands still"), "{named:?}");
    let warnings = daemon.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner().warnings;
    for part in ["the reconciler stands still", "the renewal of the lease stands still"] {
        let warning =
            warnings.iter().find(|w| w.starts_with(part)).unwrap_or_else(|| panic!("{part}: {warnings:?}"));
        assert!(warning.contains("systemctl restart settled"), "{warning}");
    }
    locked.rollback().await.unwrap();
    until("all is well again", async || {
        let status = daemon.admin().get_status(GetStatusRequest {}).await.ok()?;
        status.into_inner().warnings.is_empty().then_some(())
    })
    .await;
    systemd.wait_for("WATCHDOG=1").await;
    daemon.stop().await.0.unwrap();
}
