//! From a request to the first byte of the remote command that the client sees, on a warm connection to a real OpenSSH server, beside the
//! same `echo` through OpenSSH's own shared connection (`ControlMaster`).

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use settled::clock::{Clock, SystemClock};
use settled_proto::v1::FollowRunRequest;
use settled_proto::v1::follow_run_response::Event;
use settled_tests::daemon::{Options, TestDaemon};
use settled_tests::server::{Server, install, package_dir};
use settled_tests::sshd::Kind;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio_stream::StreamExt as _;

use crate::report::{Report, spread};

const RUNS: usize = 40;

const ECHO: &str = r#"
name = "echo"
summary = "Says a word"

[operations.install]
[[operations.install.steps]]
title = "Say it"
script = "echo word"

[operations.remove]
[[operations.remove.steps]]
title = "Nothing"
script = "true"
"#;

pub(crate) async fn dispatch(report: &mut Report) -> anyhow::Result<()> {
    let clock = SystemClock::new();
    let packages = package_dir("echo", ECHO);
    let daemon =
        Options::default().set("PACKAGES__DIR", &packages.path().display().to_string()).start().await;
    let server = Server::start();
    server.register(&daemon, "one").await;
    let control = tempfile::tempdir()?;

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // The first of each makes the connection, and is not counted. In turn, so that both see the same machine.
    for n in 0..=RUNS {
        let through_settled = first_byte(&daemon, n, &clock).await?;
        let through_ssh = ssh(&server, control.path(), &clock).await?;
        if n > 0 {
            ours.push(through_settled);
            theirs.push(through_ssh);
        }
    }
    report.add("dispatch: request to first byte", "sqlite", spread(ours).to_vec());
    report.add("raw: ssh over a ControlMaster", "-", spread(theirs).to_vec());
    daemon.stop().await.0
}

async fn first_byte(daemon: &TestDaemon, n: usize, clock: &SystemClock) -> anyhow::Result<Duration> {
    let request = install("one", "echo", &format!("e{n}"), &[]);
    let before = clock.monotonic();
    let answer = daemon.resources().install(request).await?.into_inner();
    let run_id = answer.run.context("an install answers its run")?.id;
    let mut story = daemon.runs().follow(FollowRunRequest { run_id, output_offset: 0 }).await?.into_inner();
    let mut took = None;
    while let Some(piece) = story.next().await {
        if let Some(Event::Output(_)) = piece?.event {
            took.get_or_insert_with(|| clock.monotonic().saturating_sub(before));
        }
    }
    took.context("the step writes a word")
}

async fn ssh(server: &Server, control: &Path, clock: &SystemClock) -> anyhow::Result<Duration> {
    let before = clock.monotonic();
    let mut ssh = Command::new("ssh")
        .args([
            "-F",
            "none",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        ])
        .args(["-o", "ControlMaster=auto", "-o", "ControlPersist=60"])
        .arg("-o")
        .arg(format!("ControlPath={}", control.join("mux").display()))
        .arg("-i")
        .arg(server.sshd.client_key(Kind::Ed25519))
        .args([
            "-p",
            &server.sshd.port().to_string(),
            &format!("{}@127.0.0.1", server.sshd.user()),
            "echo word",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut byte = [0];
    ssh.stdout.take().context("ssh has a stdout")?.read_exact(&mut byte).await?;
    let took = clock.monotonic().saturating_sub(before);
    ssh.wait().await?;
    Ok(took)
}
