//! Servers that only another server can reach.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use settled::domain::id::ServerId;
use settled::remote::ssh::{SshExec, SshSettings};
use settled::remote::{JUMPS_MAX, Target};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use ulid::Ulid;

use crate::server::{Server, freeze};
use crate::{connection, refused, run, ssh, ssh_with, stdout, target, unreachable, until};

/// A server of its own record.
fn numbered(sshd: &Server, number: u128) -> Target {
    Target { server: ServerId(Ulid::from_parts(3, number)), ..target(sshd) }
}

/// A gate, and a server behind it that listens on another address.
fn behind() -> (Server, Server, Target) {
    let (gate, inner) = (Server::start(), Server::start_with("ListenAddress 127.0.0.2"));
    let way = through(&inner, &gate);
    (gate, inner, way)
}

fn through(inner: &Server, gate: &Server) -> Target {
    let via = Some(Box::new(numbered(gate, 1)));
    Target { host: "127.0.0.2".to_owned(), via, ..numbered(inner, 2) }
}

fn gate_of(target: &mut Target) -> &mut Target {
    target.via.as_deref_mut().unwrap()
}

fn at(target: &Target) -> String {
    format!("{}:{}", target.host, target.port)
}

#[tokio::test]
async fn a_server_behind_a_jump_host_is_reached_through_it() {
    let (gate, _inner, target) = behind();
    let ssh = ssh();
    let answers = join_all((0..5).map(|_| connection(&ssh, &target))).await;
    assert_eq!(answers, vec![connection(&ssh, &target).await; 5], "they share one connection");
    assert!(answers[0].contains(" 127.0.0.2 "), "{}", answers[0]);
    let gates = connection(&ssh, &numbered(&gate, 1)).await;
    assert!(gates.contains(" 127.0.0.1 "), "{gates}");

    // It is the only way: when the gate is gone, so is the server behind it.
    drop(gate);
    let text = unreachable(run(&ssh, &target, "true").await);
    let (server, gate) = (at(&target), at(target.via.as_ref().unwrap()));
    assert_eq!(text, format!("no way to {server}: cannot reach {gate}: connection refused"));
}

#[tokio::test]
async fn three_jump_hosts_in_a_row_are_the_limit() {
    let servers = (0..=JUMPS_MAX + 1).map(|_| Server::start()).collect::<Vec<_>>();
    let mut way: Option<Box<Target>> = None;
    for (number, server) in servers.iter().enumerate().take(JUMPS_MAX + 1) {
        way = Some(Box::new(Target { via: way, ..numbered(server, number as u128) }));
    }
    // With turns for one connect only: who waits for a hop holds none.
    let ssh = ssh_with(SshSettings { connects_max: 1, ..SshSettings::default() });
    assert_eq!(stdout(&ssh, way.as_ref().unwrap(), "echo there").await, "there\n");

    let last = servers.last().unwrap();
    let text = refused(run(&ssh, &Target { via: way, ..numbered(last, 99) }, "true").await);
    assert!(text.contains("behind more than 3 jump hosts"), "{text}");
}

#[tokio::test]
async fn a_way_that_leads_through_a_server_twice_is_refused() {
    let (_gate, _inner, mut target) = behind();
    let again = Target { via: None, ..target.clone() };
    gate_of(&mut target).via = Some(Box::new(again));
    let text = refused(run(&ssh(), &target, "true").await);
    assert!(text.contains("twice"), "{text}");
}

#[tokio::test]
async fn each_hop_has_a_pinned_key_and_the_one_that_fails_is_named() {
    let (gate, inner, target) = behind();
    let mut other_gate = target.clone();
    gate_of(&mut other_gate).host_key = inner.host_key("ed25519");
    let text = refused(run(&ssh(), &other_gate, "true").await);
    let gates = at(target.via.as_ref().unwrap());
    assert!(text.starts_with(&format!("no way to {}: {gates} shows ", at(&target))), "{text}");
    assert!(text.contains(&gate.host_key("ed25519")), "{text}");

    let other_server = Target { host_key: gate.host_key("ed25519"), ..target.clone() };
    let text = refused(run(&ssh(), &other_server, "true").await);
    assert!(text.starts_with(&format!("{} via {gates} shows ", at(&target))), "{text}");
    assert!(text.contains(&inner.host_key("ed25519")), "{text}");

    // One that is not the first shown is found behind a jump host too.
    let rsa = Target { host_key: inner.host_key("rsa"), ..target };
    assert_eq!(stdout(&ssh(), &rsa, "echo there").await, "there\n");
}

#[tokio::test]
async fn what_a_jump_host_cannot_or_may_not_do_is_said_of_it() {
    let (_gate, _inner, target) = behind();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let closed = Target { host: "127.0.0.1".to_owned(), port: free, ..target.clone() };
    let gates = at(target.via.as_ref().unwrap());
    let text = unreachable(run(&ssh(), &closed, "true").await);
    assert_eq!(text, format!("the jump host {gates} cannot reach 127.0.0.1:{free}"));

    let (closed_gate, inner) =
        (Server::start_with("AllowTcpForwarding no"), Server::start_with("ListenAddress 127.0.0.2"));
    let target = through(&inner, &closed_gate);
    let text = refused(run(&ssh(), &target, "true").await);
    assert!(
        text.contains(&format!("the jump host {} does not forward", at(target.via.as_ref().unwrap()))),
        "{text}"
    );
}

#[tokio::test]
async fn a_gate_that_loses_its_connections_is_gone_through_anew() {
    let (gate, _inner, target) = behind();
    let ssh = Arc::new(ssh());
    let mark = gate.folder().join("mark");
    let script = format!("touch {}; exec sleep 60", mark.display());
    let command = {
        let (ssh, target) = (Arc::clone(&ssh), target.clone());
        tokio::spawn(async move { run(&ssh, &target, &script).await })
    };
    until("the command runs", || mark.exists()).await;
    gate.kill_sessions();
    let text = unreachable(command.await.unwrap());
    assert!(text.contains("lost the connection") && text.contains(&at(&target)), "{text}");
    assert_eq!(stdout(&ssh, &target, "echo back").await, "back\n");
}

#[tokio::test]
async fn a_gate_that_froze_under_a_warm_connection_is_replaced() {
    let (gate, _inner, target) = behind();
    let connect_timeout = Duration::from_secs(1);
    let ssh: SshExec = ssh_with(SshSettings { connect_timeout, ..SshSettings::default() });
    assert_eq!(stdout(&ssh, &target, "echo one").await, "one\n");
    freeze(&stdout(&ssh, &numbered(&gate, 1), "echo $PPID").await);
    assert_eq!(stdout(&ssh, &target, "echo two").await, "two\n");
}

#[tokio::test]
async fn a_server_that_stalls_behind_a_jump_host_is_given_up_and_leaves_no_task() {
    let (gate, _inner, target) = behind();
    let connect_timeout = Duration::from_millis(500);
    let ssh = ssh_with(SshSettings { connect_timeout, ..SshSettings::default() });
    assert_eq!(stdout(&ssh, &numbered(&gate, 1), "echo warm").await, "warm\n");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // It says who it is, and no more: then the SSH library has a task of its own for it.
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-stall\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let tasks = Handle::current().metrics().num_alive_tasks();
    let stalled = Target { host: "127.0.0.1".to_owned(), port, ..target };
    let text = unreachable(run(&ssh, &stalled, "true").await);
    assert!(text.contains("no SSH handshake within 500ms"), "{text}");
    until("no task is left", || Handle::current().metrics().num_alive_tasks() <= tasks).await;
    server.abort();
}
