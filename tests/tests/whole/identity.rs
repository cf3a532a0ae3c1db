//! The installation's own key to servers: shown as a line that OpenSSH takes, and then it opens the door.

use serde_json::Value;
use settled_proto::v1::{CreateServerRequest, IdentityKind, ProbeServerRequest, Reach};
use settled_tests::daemon::{Options, TestDaemon};
use settled_tests::server::{Server, fresh_id};

use crate::cli::settlectl_at;
use crate::servers::{reaches, record};

async fn shown(daemon: &TestDaemon) -> Value {
    let output = settlectl_at(daemon, &["identity", "show"]).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_entered_with_the_key_that_the_installation_has_made() {
    let (daemon, server) = (TestDaemon::start().await, Server::start());
    let identity = shown(&daemon).await;
    let line = identity["authorized_key"].as_str().unwrap();
    let file = server.path("settled.pub");
    std::fs::write(&file, line).unwrap();
    let read = std::process::Command::new("ssh-keygen").arg("-lf").arg(&file).output().unwrap();
    let read = String::from_utf8(read.stdout).unwrap();
    assert_eq!(read.split(' ').nth(1), identity["fingerprint"].as_str(), "{read}");

    let by_it = CreateServerRequest {
        identity_key: Vec::new(),
        identity: IdentityKind::Installation.into(),
        ..server.record("own")
    };
    daemon.servers().create(by_it).await.unwrap();
    let refused = reaches(&daemon, "own", Reach::Refused).await;
    assert_eq!(refused.identity(), IdentityKind::Installation);
    assert!(refused.reach_detail.contains(identity["fingerprint"].as_str().unwrap()), "{refused:?}");
    server.sshd.let_in(line);
    let probe = ProbeServerRequest { request_id: fresh_id(), server: "own".to_owned() };
    daemon.servers().probe(probe).await.unwrap();
    reaches(&daemon, "own", Reach::Ok).await;

    let (ended, home) = daemon.stop().await;
    ended.unwrap();
    let daemon = Options::default().start_in(home).await;
    assert_eq!(shown(&daemon).await, identity, "it is the installation's for good");
    let edit = ["server", "edit", "own", "--agent"];
    assert!(settlectl_at(&daemon, &edit).status().await.unwrap().success());
    assert_eq!(record(&daemon, "own").await.identity(), IdentityKind::Agent);
    let edit = ["server", "edit", "own", "--installation-identity"];
    assert!(settlectl_at(&daemon, &edit).status().await.unwrap().success());
    assert_eq!(record(&daemon, "own").await.identity(), IdentityKind::Installation);
    reaches(&daemon, "own", Reach::Ok).await;
}
