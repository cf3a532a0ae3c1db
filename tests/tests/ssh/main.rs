//! `SshExec` against a real OpenSSH server, and against one that misbehaves.

#![expect(
    clippy::unwrap_used,
    reason = "in a test an error is a failure, and the line is what one wants to see"
)]

mod commands;
mod connections;
mod jump;
mod odd_server;
mod server;
mod steps;
mod trust;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use settled::clock::SystemClock;
use settled::domain::id::ServerId;
use settled::remote::exec::{Exec, ExecOutput};
use settled::remote::ssh::{SshExec, SshSettings};
use settled::remote::{Login, RemoteError, Target};
use ulid::Ulid;
use zeroize::Zeroizing;

use crate::server::Server;

/// Enough for every answer in these tests; only a hang takes longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Enough output for every test that is not about its limit.
const ROOM: usize = 1024 * 1024;

pub(crate) fn ssh() -> SshExec {
    ssh_with(SshSettings::default())
}

pub(crate) fn ssh_with(settings: SshSettings) -> SshExec {
    SshExec::new(settings, Arc::new(SystemClock::new()))
}

/// The way into a server, with its ed25519 keys on both sides.
pub(crate) fn target(sshd: &Server) -> Target {
    Target {
        server: ServerId(Ulid::from_parts(1, 1)),
        host: "127.0.0.1".to_owned(),
        port: sshd.port(),
        user: sshd.user(),
        host_key: sshd.host_key("ed25519"),
        login: identity(&sshd.client_key("ed25519")),
        name: "web1".to_owned(),
        via: None,
    }
}

pub(crate) fn identity(path: &Path) -> Login {
    Login::Key(Zeroizing::new(std::fs::read(path).unwrap()))
}

pub(crate) async fn run(ssh: &SshExec, target: &Target, script: &str) -> Result<ExecOutput, RemoteError> {
    ssh.exec(target, script.as_bytes(), ROOM, PATIENCE).await
}

pub(crate) async fn stdout(ssh: &SshExec, target: &Target, script: &str) -> String {
    let output = run(ssh, target, script).await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Which connection commands use now, as the server tells them apart.
pub(crate) async fn connection(ssh: &SshExec, target: &Target) -> String {
    stdout(ssh, target, "echo $SSH_CONNECTION").await
}

pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, RemoteError>) -> String {
    match result {
        Err(RemoteError::Refused(text)) => text,
        other => panic!("should be refused, is {other:?}"),
    }
}

pub(crate) fn unreachable<T: std::fmt::Debug>(result: Result<T, RemoteError>) -> String {
    match result {
        Err(RemoteError::Unreachable(text)) => text,
        other => panic!("should be unreachable, is {other:?}"),
    }
}

/// Waits until something is true, and fails when it does not become so.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not reached: {what}"));
}
