//! What becomes of a command: its output, its status, its limits.

use std::time::Duration;

use settled::domain::id::ServerId;
use settled::remote::exec::Exec;
use settled::remote::{Login, RemoteError, Target};
use ulid::Ulid;
use zeroize::Zeroizing;

use crate::odd_server::{Manner, OddServer};
use crate::server::Server;
use crate::{PATIENCE, ROOM, connection, refused, run, ssh, stdout, target, unreachable};

fn odd_target(server: &OddServer, user: &str) -> Target {
    Target {
        server: ServerId(Ulid::from_parts(1, 2)),
        host: "localhost".to_owned(),
        port: server.port,
        user: user.to_owned(),
        host_key: server.fingerprint.clone(),
        login: Login::Key(Zeroizing::new(server.client_key.clone())),
        name: "web1".to_owned(),
        via: None,
    }
}

#[tokio::test]
async fn output_errors_and_status_come_back() {
    let sshd = Server::start();
    let output = run(&ssh(), &target(&sshd), "echo out; echo err >&2; exit 7").await.unwrap();
    assert_eq!(
        (output.stdout.as_slice(), output.stderr.as_slice()),
        (b"out\n".as_slice(), b"err\n".as_slice())
    );
    assert_eq!(output.status, Some(7));
}

#[tokio::test]
async fn p7_a_command_that_was_killed_has_no_status() {
    let sshd = Server::start();
    assert_eq!(run(&ssh(), &target(&sshd), "kill -9 $$").await.unwrap().status, None);

    let odd = OddServer::start(Manner::NoStatus).await;
    let output = run(&ssh(), &odd_target(&odd, "root"), "").await.unwrap();
    assert_eq!((output.stdout.as_slice(), output.status), (b"hello".as_slice(), None));
}

#[tokio::test]
async fn a_status_after_the_end_of_the_output_counts() {
    let odd = OddServer::start(Manner::StatusAfterEof).await;
    assert_eq!(run(&ssh(), &odd_target(&odd, "root"), "").await.unwrap().status, Some(3));
}

#[tokio::test]
async fn a_server_that_runs_no_commands_is_refused() {
    let odd = OddServer::start(Manner::NoExec).await;
    let text = refused(run(&ssh(), &odd_target(&odd, "root"), "").await);
    assert!(text.contains("does not run commands"), "{text}");
}

#[tokio::test]
async fn p11_only_constant_commands_reach_a_server() {
    let odd = OddServer::start(Manner::StatusAfterEof).await;
    for user in ["root", "deploy"] {
        run(&ssh(), &odd_target(&odd, user), "echo data").await.unwrap();
    }
    let commands = odd.commands.lock().unwrap().clone();
    assert_eq!(commands, ["root: /bin/sh -s", "deploy: sudo -n /bin/sh -s"]);
}

#[tokio::test]
async fn five_megabytes_of_stdin_arrive_whole_also_while_keys_are_exchanged_anew() {
    for config in ["", "RekeyLimit 512K"] {
        let sshd = Server::start_with(config);
        let line = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";
        let script = format!("wc -c <<'END'\n{}END\n", line.repeat(5 * 1024 * 1024 / line.len()));
        assert_eq!(stdout(&ssh(), &target(&sshd), &script).await.trim(), "5242880", "{config}");
    }
}

#[tokio::test]
async fn a_command_that_does_not_read_its_stdin_still_ends() {
    let sshd = Server::start();
    let script = format!("exit 4\n{}", "#".repeat(8 * 1024 * 1024));
    assert_eq!(run(&ssh(), &target(&sshd), &script).await.unwrap().status, Some(4));
}

#[tokio::test]
async fn output_beyond_the_limit_is_an_error_and_harms_nobody() {
    let sshd = Server::start();
    let (ssh, target) = (ssh(), target(&sshd));
    let before = connection(&ssh, &target).await;
    let within = ssh.exec(&target, b"head -c 100000 /dev/zero", 100_000, PATIENCE).await.unwrap();
    assert_eq!(within.stdout.len(), 100_000);

    let beyond = ssh.exec(&target, b"head -c 20000000 /dev/zero", 100_000, PATIENCE).await;
    assert!(
        matches!(&beyond, Err(RemoteError::Protocol(text)) if text.contains("100000 bytes")),
        "{beyond:?}"
    );
    assert_eq!(connection(&ssh, &target).await, before);
}

#[tokio::test]
async fn only_the_beginning_of_stderr_is_kept() {
    let sshd = Server::start();
    let output = run(&ssh(), &target(&sshd), "head -c 20000000 /dev/zero >&2; echo done").await.unwrap();
    assert_eq!((output.stderr.len(), output.stdout.as_slice()), (16 * 1024, b"done\n".as_slice()));
}

#[tokio::test]
async fn past_its_deadline_a_command_is_unreachable_and_the_connection_goes_on() {
    let sshd = Server::start();
    let (ssh, target) = (ssh(), target(&sshd));
    let before = connection(&ssh, &target).await;
    let late = ssh.exec(&target, b"exec sleep 60", ROOM, Duration::from_millis(300)).await;
    let text = unreachable(late);
    assert!(text.contains("has not ended after 300ms"), "{text}");
    assert_eq!(connection(&ssh, &target).await, before);
}
