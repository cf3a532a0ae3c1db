//! Servers behind a jump host, with another host key, of another installation, and registered twice: what people are told works as it
//! stands.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at what they cannot do")]

use settled_proto::v1::{
    CreateServerRequest, GetServerRequest, ListAuditRequest, Outcome, ProbeServerRequest, Reach, Run,
    Server as Record, UpdateServerRequest,
};
use settled_tests::daemon::{self, TestDaemon};
use settled_tests::patience::until;
use settled_tests::server::{Server, WITHIN, fresh_id, install, package_dir, registered, settled};
use settled_tests::sshd;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::cli::settlectl_at;

pub(crate) async fn record(daemon: &TestDaemon, name: &str) -> Record {
    daemon.servers().get(GetServerRequest { server: name.to_owned() }).await.unwrap().into_inner()
}

pub(crate) async fn reaches(daemon: &TestDaemon, name: &str, reach: Reach) -> Record {
    until(&format!("{name} is {reach:?}"), async || {
        Some(record(daemon, name).await).filter(|s| s.reach() == reach)
    })
    .await
}

/// Something that can be put on every server.
const PLAIN: &str = r#"
name = "plain"
summary = "Nothing much"

[operations.install]
[[operations.install.steps]]
title = "Do nothing"
script = "true"

[operations.remove]
[[operations.remove.steps]]
title = "Do nothing"
script = "true"
"#;

/// A daemon that looks again every second, and its packages.
async fn daemon() -> (TestDaemon, TempDir) {
    let packages = package_dir("plain", PLAIN);
    let options = daemon::Options::default()
        .set("PACKAGES__DIR", &packages.path().display().to_string())
        .set("LANE__UNREACHABLE_RETRY_S", "1")
        .set("SSH__CONNECT_TIMEOUT_S", "1");
    (options.start().await, packages)
}

/// Asks for something on the server.
async fn ask(daemon: &TestDaemon, server: &str, name: &str) -> Run {
    let request = install(server, "plain", name, &[]);
    daemon.resources().install(request).await.unwrap().into_inner().run.unwrap()
}

async fn probe(daemon: &TestDaemon, server: &str) -> Run {
    let request = ProbeServerRequest { request_id: fresh_id(), server: server.to_owned() };
    daemon.servers().probe(request).await.unwrap().into_inner()
}

/// Types the command that stands in backquotes in a message and begins with these words.
async fn type_what_it_says(daemon: &TestDaemon, message: &str, begins: &str) {
    let command =
        message.split('`').find(|part| part.starts_with(begins)).unwrap_or_else(|| panic!("{message}"));
    let words: Vec<_> = command.split(' ').skip(1).collect();
    let output = timeout(WITHIN, settlectl_at(daemon, &words).output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_behind_a_jump_host_is_worked_on_through_it() {
    // A gate that only forwards. The two stand on one machine: if it could be met, the server behind it would be its second record.
    let mut gate = Server::start_with(sshd::Options::default().line("ForceCommand /bin/false"));
    let inner = Server::start_with(sshd::Options::default().line("ListenAddress 127.0.0.2"));
    let (daemon, _packages) = daemon().await;
    gate.register(&daemon, "gate").await;
    let behind =
        CreateServerRequest { host: "127.0.0.2".to_owned(), via: "gate".to_owned(), ..inner.record("inner") };
    registered(&daemon, behind).await;
    assert_eq!(record(&daemon, "inner").await.via, "gate");
    let run = ask(&daemon, "inner", "one").await;
    assert_eq!(settled(&daemon, &run.id).await.outcome(), Outcome::Succeeded);

    // It is the only way in: without the gate the server is not reached, and with it the same run goes on.
    gate.sshd.stop();
    let run = ask(&daemon, "inner", "two").await;
    let away = reaches(&daemon, "inner", Reach::Unreachable).await;
    assert!(
        away.reach_detail.contains("no way to 127.0.0.2") || away.reach_detail.contains("lost"),
        "{away:?}"
    );
    gate.sshd.restart();
    assert_eq!(settled(&daemon, &run.id).await.outcome(), Outcome::Succeeded);

    let direct = UpdateServerRequest {
        request_id: fresh_id(),
        server: "inner".to_owned(),
        via: Some(String::new()),
        ..UpdateServerRequest::default()
    };
    daemon.servers().update(direct).await.unwrap();
    gate.sshd.stop();
    let run = ask(&daemon, "inner", "three").await;
    assert_eq!(settled(&daemon, &run.id).await.outcome(), Outcome::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_key_is_refused_until_the_command_that_the_refusal_names_was_typed() {
    let mut server = Server::start();
    let (daemon, _packages) = daemon().await;
    server.register(&daemon, "web").await;
    let before = server.sshd.host_key_fingerprint();
    server.sshd.rekey();
    let run = probe(&daemon, "web").await;
    assert_eq!(settled(&daemon, &run.id).await.outcome(), Outcome::Failed);
    let refused = reaches(&daemon, "web", Reach::Refused).await;
    let run = ask(&daemon, "web", "one").await;
    type_what_it_says(&daemon, &refused.reach_detail, "settlectl server rekey web").await;
    assert_eq!(settled(&daemon, &run.id).await.outcome(), Outcome::Succeeded);
    let audit = daemon.admin().list_audit(ListAuditRequest::default()).await.unwrap().into_inner();
    let told = format!("{before} -> {}", server.sshd.host_key_fingerprint());
    assert_eq!((audit.entries[0].method.as_str(), &audit.entries[0].detail), ("Servers.Rekey", &told));
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_server_of_another_installation_changes_hands_by_the_command_that_the_refusal_names() {
    let server = Server::start();
    let ((first, _one), (second, _other)) = (daemon().await, daemon().await);
    server.register(&first, "web").await;
    let run = ask(&first, "web", "one").await;
    assert_eq!(settled(&first, &run.id).await.outcome(), Outcome::Succeeded);

    server.register(&second, "mine").await;
    let run = ask(&second, "mine", "two").await;
    let refused = reaches(&second, "mine", Reach::Refused).await;
    type_what_it_says(&second, &refused.reach_detail, "settlectl server takeover mine").await;
    assert_eq!(settled(&second, &run.id).await.outcome(), Outcome::Succeeded);

    ask(&first, "web", "three").await;
    let lost = reaches(&first, "web", Reach::Refused).await;
    assert!(lost.reach_detail.contains("another installation"), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_registered_twice_is_told_how_to_remove_the_second_record() {
    let server = Server::start();
    let (daemon, _packages) = daemon().await;
    server.register(&daemon, "web").await;
    let run = server.register(&daemon, "again").await;
    assert_eq!(run.outcome(), Outcome::Failed);
    let message = run.failure.unwrap().message;
    type_what_it_says(&daemon, &message, "settlectl server remove again").await;
    assert_eq!(record(&daemon, "web").await.reach(), Reach::Ok);
}
