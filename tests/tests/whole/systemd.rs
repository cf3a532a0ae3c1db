//! The systemd contract, on a notify socket of the test's own: READY only when Health answers, a stop within its time.

use std::time::Duration;

use settled_proto::v1::{WatchRequest, watch_request::Start};
use settled_tests::daemon;
use settled_tests::notify::FakeSystemd;
use settled_tests::server::{Server, appears, install, package_dir};
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
