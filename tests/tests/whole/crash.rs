//! A daemon that dies while a step runs finds it again: one execution, the whole output, the true verdict.

use settled_proto::v1::{Evidence, Outcome};
use settled_tests::daemon;
use settled_tests::server::{Server, appears, follow, install, package_dir};

/// A step that leaves a witness, writes, and waits for a file before it ends.
pub(crate) const PATIENT: &str = r#"
name = "patient"
summary = "Waits for a file"

[parameters.dir]
type = "path"
summary = "Where its files are"

[operations.install]
[[operations.install.steps]]
title = "Wait"
timeout = "2m"
script = '''
echo run >> "$P_DIR/witness"
echo before
: > "$P_DIR/started"
while [ ! -e "$P_DIR/go" ]; do sleep 0.05; done
echo after
'''

[operations.remove]
[[operations.remove.steps]]
title = "Nothing"
script = "true"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_step_is_reattached_after_the_daemon_was_killed() {
    let packages = package_dir("patient", PATIENT);
    let options = || daemon::Options::default().set("PACKAGES__DIR", &packages.path().display().to_string());
    let server = Server::start();
    let dir = server.path("work");
    std::fs::create_dir(&dir).unwrap();

    let daemon = options().start().await;
    server.register(&daemon, "web").await;
    let request = install("web", "patient", "one", &[("dir", &dir.display().to_string())]);
    let run = daemon.resources().install(request).await.unwrap().into_inner().run.unwrap().id;
    appears(&dir.join("started")).await;

    let home = daemon.kill().await;
    let daemon = options().start_in(home).await;
    std::fs::write(dir.join("go"), "").unwrap();
    let (run, output) = follow(&daemon, &run).await;

    assert_eq!((run.outcome(), run.evidence()), (Outcome::Succeeded, Evidence::ExitRecord), "{run:?}");
    assert_eq!(String::from_utf8(output).unwrap(), "before\nafter\n");
    assert_eq!(std::fs::read_to_string(dir.join("witness")).unwrap(), "run\n", "it ran once");
    assert_eq!(run.attempt, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_cut_connection_is_not_a_failure() {
    let packages = package_dir("patient", PATIENT);
    let daemon = daemon::Options::default()
        .set("PACKAGES__DIR", &packages.path().display().to_string())
        .set("LANE__UNREACHABLE_RETRY_S", "1")
        .set("SSH__CONNECT_TIMEOUT_S", "1")
        .start()
        .await;
    let mut server = Server::start();
    let dir = server.path("work");
    std::fs::create_dir(&dir).unwrap();
    server.register(&daemon, "web").await;
    let request = install("web", "patient", "one", &[("dir", &dir.display().to_string())]);
    let run = daemon.resources().install(request).await.unwrap().into_inner().run.unwrap().id;
    appears(&dir.join("started")).await;

    server.sshd.stop();
    std::fs::write(dir.join("go"), "").unwrap();
    server.sshd.restart();
    let (run, output) = follow(&daemon, &run).await;

    assert_eq!((run.outcome(), run.attempt), (Outcome::Succeeded, 1), "{run:?}");
    assert_eq!(String::from_utf8(output).unwrap(), "before\nafter\n");
    assert_eq!(std::fs::read_to_string(dir.join("witness")).unwrap(), "run\n", "it ran once");
}
