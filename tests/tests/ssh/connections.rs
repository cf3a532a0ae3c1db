//! How connections are made, shared, lost and replaced.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use settled::domain::id::ServerId;
use settled::remote::exec::{Exec, ExecOutput};
use settled::remote::ssh::{SshExec, SshSettings};
use settled::remote::{RemoteError, Target};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use ulid::Ulid;

use crate::server::{Server, freeze};
use crate::{PATIENCE, ROOM, connection, identity, run, ssh, ssh_with, stdout, target, unreachable, until};

/// Runs a command in the background that says when it has begun, by making a file.
fn begin(
    ssh: &Arc<SshExec>,
    target: &Target,
    mark: &Path,
    then: &str,
) -> tokio::task::JoinHandle<Result<ExecOutput, RemoteError>> {
    let script = format!("touch {}; {then}", mark.display());
    let (ssh, target) = (ssh.clone(), target.clone());
    tokio::spawn(async move { run(&ssh, &target, &script).await })
}

#[tokio::test]
async fn twenty_commands_at_once_share_one_connection() {
    let sshd = Server::start();
    let (ssh, target) = (ssh(), target(&sshd));
    let scripts = (0..20).map(|number| format!("echo {number} $SSH_CONNECTION")).collect::<Vec<_>>();
    let answers = join_all(scripts.iter().map(|script| stdout(&ssh, &target, script))).await;
    let one = connection(&ssh, &target).await;
    let wanted = (0..20).map(|number| format!("{number} {one}")).collect::<Vec<_>>();
    assert_eq!(answers, wanted);
}

#[tokio::test]
async fn a_server_with_few_sessions_is_waited_for() {
    let sshd = Server::start_with("MaxSessions 2");
    let (ssh, target) = (ssh(), target(&sshd));
    let answers = join_all((0..12).map(|_| connection(&ssh, &target))).await;
    assert_eq!(answers, vec![connection(&ssh, &target).await; 12]);
}

#[tokio::test]
async fn a_server_without_any_session_is_named() {
    let sshd = Server::start_with("MaxSessions 0");
    let text = unreachable(ssh().exec(&target(&sshd), b"true", ROOM, Duration::from_secs(1)).await);
    assert!(text.contains("MaxSessions"), "{text}");
}

#[tokio::test]
async fn p9_a_cancel_finds_a_free_channel() {
    let sshd = Server::start();
    let (ssh, target) = (Arc::new(ssh()), target(&sshd));
    let gate = sshd.folder().join("gate");
    let wait = format!("while ! [ -e {} ]; do sleep 0.05; done", gate.display());
    let marks = (0..7).map(|number| sshd.folder().join(format!("mark{number}"))).collect::<Vec<_>>();
    let busy = marks.iter().map(|mark| begin(&ssh, &target, mark, &wait)).collect::<Vec<_>>();
    until("seven commands run", || marks.iter().all(|mark| mark.exists())).await;

    let ordinary = ssh.exec(&target, b"true", ROOM, Duration::from_millis(300)).await;
    assert!(unreachable(ordinary).contains("still in use"));
    let urgent = ssh.exec_urgent(&target, b"echo $SSH_CONNECTION", ROOM, PATIENCE).await.unwrap();

    std::fs::write(&gate, "").unwrap();
    for command in busy {
        assert_eq!(command.await.unwrap().unwrap().status, Some(0));
    }
    assert_eq!(urgent.stdout, connection(&ssh, &target).await.as_bytes());
}

#[tokio::test]
async fn floods_stop_nobody() {
    let sshd = Server::start();
    let (ssh, target) = (ssh(), target(&sshd));
    let floods = (0..21).map(|_| ssh.exec(&target, b"exec cat /dev/zero", ROOM, PATIENCE));
    let whispers = (0..21).map(|_| connection(&ssh, &target));
    let (floods, whispers) = tokio::join!(join_all(floods), join_all(whispers));
    for flood in floods {
        assert!(matches!(flood, Err(RemoteError::Protocol(_))), "{flood:?}");
    }
    assert_eq!(whispers, vec![connection(&ssh, &target).await; 21]);
}

#[tokio::test]
async fn a_dropped_command_frees_its_channel() {
    let sshd = Server::start();
    let (ssh, target) = (Arc::new(ssh()), target(&sshd));
    let before = connection(&ssh, &target).await;
    for round in 0..10 {
        let mark = sshd.folder().join(format!("mark{round}"));
        let command = begin(&ssh, &target, &mark, "while echo on; do sleep 0.05; done");
        until("the command runs", || mark.exists()).await;
        command.abort();
    }
    assert_eq!(connection(&ssh, &target).await, before);
}

#[tokio::test]
async fn a_session_killed_under_a_command_is_unreachable_and_the_next_one_connects_anew() {
    let sshd = Server::start();
    let (ssh, target) = (Arc::new(ssh()), target(&sshd));
    let mark = sshd.folder().join("mark");
    let command = begin(&ssh, &target, &mark, "exec sleep 60");
    until("the command runs", || mark.exists()).await;
    sshd.kill_sessions();
    let text = unreachable(command.await.unwrap());
    assert!(text.contains("lost the connection") && text.contains(&format!(":{}", sshd.port())), "{text}");
    assert_eq!(stdout(&ssh, &target, "echo back").await, "back\n");
}

#[tokio::test]
async fn an_idle_connection_that_died_costs_no_error() {
    let mut sshd = Server::start();
    let (ssh, target) = (ssh(), target(&sshd));
    assert_eq!(stdout(&ssh, &target, "echo one").await, "one\n");
    sshd.stop();
    sshd.restart();
    assert_eq!(stdout(&ssh, &target, "echo two").await, "two\n");
}

#[tokio::test]
async fn a_frozen_server_is_noticed() {
    let sshd = Server::start();
    // Long enough that a busy machine answers in time until the server is frozen.
    let keepalive = Duration::from_secs(1);
    let ssh = Arc::new(ssh_with(SshSettings { keepalive, ..SshSettings::default() }));
    let target = target(&sshd);
    let session = stdout(&ssh, &target, "echo $PPID").await;
    let mark = sshd.folder().join("mark");
    let command = begin(&ssh, &target, &mark, "exec sleep 60");
    until("the command runs", || mark.exists()).await;
    freeze(&session);
    let text = unreachable(command.await.unwrap());
    assert!(text.contains("fell silent"), "{text}");
    assert_eq!(stdout(&ssh, &target, "echo back").await, "back\n");
}

#[tokio::test]
async fn a_frozen_warm_connection_is_replaced_before_the_command_starts() {
    let sshd = Server::start();
    let connect_timeout = Duration::from_secs(1);
    let ssh = ssh_with(SshSettings { connect_timeout, ..SshSettings::default() });
    let target = target(&sshd);
    freeze(&stdout(&ssh, &target, "echo $PPID").await);
    assert_eq!(stdout(&ssh, &target, "echo two").await, "two\n");
}

#[tokio::test]
async fn another_way_in_means_another_connection() {
    let sshd = Server::start();
    let (ssh, target) = (ssh(), target(&sshd));
    let first = connection(&ssh, &target).await;
    let other = Target { login: identity(&sshd.client_key("rsa")), ..target.clone() };
    let second = connection(&ssh, &other).await;
    assert_ne!(second, first);

    ssh.forget(other.server).await;
    assert_ne!(connection(&ssh, &other).await, second);
}

#[tokio::test]
async fn many_servers_connect_at_once_within_the_limit() {
    let sshd = Server::start();
    let ssh = ssh_with(SshSettings { connects_max: 2, ..SshSettings::default() });
    let targets = (0..12)
        .map(|number| Target { server: ServerId(Ulid::from_parts(2, number)), ..target(&sshd) })
        .collect::<Vec<_>>();
    let mut answers = join_all(targets.iter().map(|target| connection(&ssh, target))).await;
    answers.sort_unstable();
    answers.dedup();
    assert_eq!(answers.len(), 12);
}

#[tokio::test]
async fn a_closed_port_and_an_unknown_name_are_unreachable() {
    let sshd = Server::start();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let text = unreachable(run(&ssh(), &Target { port: free, ..target(&sshd) }, "true").await);
    assert_eq!(text, format!("cannot reach 127.0.0.1:{free}: connection refused"));

    let nowhere = Target { host: "nowhere.invalid".to_owned(), ..target(&sshd) };
    let text = unreachable(run(&ssh(), &nowhere, "true").await);
    assert!(text.starts_with(&format!("cannot reach nowhere.invalid:{}: ", sshd.port())), "{text}");
}

#[tokio::test]
async fn a_server_that_stalls_is_given_up_and_leaves_no_task() {
    let sshd = Server::start();
    for greeting in ["", "SSH-2.0-stall\r\n", "not ssh at all\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(greeting.as_bytes()).await.unwrap();
                held.push(stream);
            }
        });
        let tasks = Handle::current().metrics().num_alive_tasks();
        let connect_timeout = Duration::from_millis(300);
        let ssh = ssh_with(SshSettings { connect_timeout, ..SshSettings::default() });
        let text = unreachable(run(&ssh, &Target { port, ..target(&sshd) }, "true").await);
        assert!(text.contains("no SSH handshake within 300ms"), "{greeting:?}: {text}");
        until("no task is left", || Handle::current().metrics().num_alive_tasks() <= tasks).await;
        server.abort();
        assert!(server.await.unwrap_err().is_cancelled());
    }
}

#[tokio::test]
async fn who_waits_for_the_same_connection_shares_its_failure() {
    let sshd = Server::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target { port: listener.local_addr().unwrap().port(), ..target(&sshd) };
    let connect_timeout = Duration::from_millis(300);
    let ssh = ssh_with(SshSettings { connect_timeout, ..SshSettings::default() });
    let answers = join_all((0..20).map(|_| run(&ssh, &target, "true"))).await;
    let texts = answers.into_iter().map(unreachable).collect::<Vec<_>>();
    assert!(texts.iter().all(|text| text.contains("no SSH handshake")), "{texts:?}");

    let mut connects = 0;
    while tokio::time::timeout(Duration::from_millis(50), listener.accept()).await.is_ok() {
        connects += 1;
    }
    assert_eq!(connects, 1);
}
