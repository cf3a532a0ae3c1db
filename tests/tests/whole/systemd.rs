//! The systemd contract, on a notify socket of the test's own: READY only when Health answers, a stop within its time.

use std::collections::BTreeSet;
use std::time::Duration;

use settled_proto::v1::{WatchRequest, watch_request::Start};
use settled_tests::daemon;
use settled_tests::notify::FakeSystemd;
use settled_tests::patience::until;
use settled_tests::server::{Server, appears, install, package_dir};
use sqlx::{Connection as _, SqliteConnection};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::crash::PATIENT;

#[tokio::test(flavor = "multi_thread")]
async fn ready_is_said_when_health_answers_and_stopping_when_it_stops() {
    let mut systemd = FakeSystemd::start();
    let daemon = daemon::Options::default().systemd(&systemd.path()).start().await;
    systemd.wait_for("READY=1").await;
    let request = HealthCheckRequest { service: String::new() };
    let health = HealthClient::new(daemon.channel()).check(request).await.unwrap().into_inner();
    assert_eq!(health.status(), ServingStatus::Serving);
    let (ended, _home) = daemon.stop().await;
    ended.unwrap();
    systemd.wait_for("STOPPING=1").await;
}

/// A daemon that has run before, whose store a stranger holds: the next start stands in the middle of it until the stranger lets go.
async fn held_store() -> (tempfile::TempDir, SqliteConnection) {
    let (ended, home) = daemon::TestDaemon::start().await.stop().await;
    ended.expect("it ends well");
    let path = home.path().join(".settled/settled.db");
    let stranger = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await;
    let mut stranger = stranger.expect("a stranger can open it");
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut stranger).await.expect("it can be held");
    (home, stranger)
}

#[tokio::test(flavor = "multi_thread")]
async fn more_time_is_asked_for_while_the_store_is_opened_and_ready_is_not_said_before_health_answers() {
    let mut systemd = FakeSystemd::start();
    let (home, mut stranger) = held_store().await;
    let daemon =
        daemon::Options::default().set("LANE__RENEW_S", "1").systemd(&systemd.path()).start_in(home).await;
    // It is bound already, and answers nobody; and whoever knows it by its path does not find it.
    let away = daemon.socket().with_extension("away");
    std::fs::rename(daemon.socket(), &away).unwrap();
    systemd.wait_for("EXTEND_TIMEOUT_USEC=60000000").await;
    assert_eq!(systemd.messages().len(), 1, "{:?}", systemd.messages());

    // The store opens, the daemon works, and Health cannot answer yet.
    sqlx::query("ROLLBACK").execute(&mut stranger).await.unwrap();
    let mut seen = BTreeSet::new();
    until("two renewals of the lease", async || {
        let lease = sqlx::query_scalar::<_, i64>("SELECT lease_until FROM daemon");
        seen.extend(lease.fetch_optional(&mut stranger).await.ok()?);
        (seen.len() > 2).then_some(())
    })
    .await;
    assert!(systemd.is_silent(), "{:?}", systemd.messages());
    std::fs::rename(&away, daemon.socket()).unwrap();
    systemd.wait_for("READY=1").await;
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_takes_less_than_two_seconds_with_a_watcher_and_a_running_step() {
    let packages = package_dir("patient", PATIENT);
    let daemon =
        daemon::Options::default().set("PACKAGES__DIR", &packages.path().display().to_string()).start().await;
    let server = Server::start();
    let dir = server.path("work");
    std::fs::create_dir(&dir).unwrap();
    server.register(&daemon, "web").await;
    let request = install("web", "patient", "one", &[("dir", &dir.display().to_string())]);
    daemon.resources().install(request).await.unwrap();
    appears(&dir.join("started")).await;
    let watch = WatchRequest { start: Some(Start::Snapshot(true)), ..WatchRequest::default() };
    let mut stream = daemon.transitions().watch(watch).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();

    let (ended, _home) = timeout(Duration::from_secs(2), daemon.stop()).await.expect("it stops within 2 s");
    ended.unwrap();
    let status = loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(status)) => break status,
            None => panic!("the stream ended without a word"),
        }
    };
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
    std::fs::write(dir.join("go"), "").unwrap();
}
