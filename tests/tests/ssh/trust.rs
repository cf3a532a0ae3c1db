//! Whom `SshExec` trusts, and who lets it in.

use settled::remote::ssh::SshSettings;
use settled::remote::{Login, Target};
use zeroize::Zeroizing;

use crate::server::{Agent, Server, fingerprint, keygen};
use crate::{identity, refused, run, ssh, ssh_with, stdout, target};

#[tokio::test]
async fn every_kind_of_identity_gets_in() {
    let sshd = Server::start();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let target = Target { login: identity(&sshd.client_key(kind)), ..target(&sshd) };
        assert_eq!(stdout(&ssh(), &target, "echo in").await, "in\n", "{kind}");
    }
}

#[tokio::test]
async fn an_identity_may_be_pem() {
    let sshd = Server::start();
    for (kind, form) in [("rsa", "PEM"), ("rsa", "PKCS8"), ("ecdsa", "PEM"), ("ecdsa", "PKCS8")] {
        let key = sshd.folder().join(format!("{form}_{kind}"));
        keygen(&key, kind, &["-m", form]);
        sshd.allow(&key);
        let target = Target { login: identity(&key), ..target(&sshd) };
        assert_eq!(stdout(&ssh(), &target, "echo in").await, "in\n", "{form} {kind}");
    }
}

#[tokio::test]
async fn p12_a_useless_identity_is_refused_and_not_shown() {
    let sshd = Server::start();
    for (kind, form) in [("ed25519", "RFC4716"), ("rsa", "PEM"), ("ecdsa", "PKCS8")] {
        let key = sshd.folder().join(format!("sealed_{kind}"));
        keygen(&key, kind, &["-m", form, "-N", "secret words"]);
        let target = Target { login: identity(&key), ..target(&sshd) };
        let text = refused(run(&ssh(), &target, "true").await);
        assert!(text.contains("passphrase"), "{kind}: {text}");
    }
    for garbage in
        [b"swordfish".as_slice(), b"", b"\xff\xfe", b"-----BEGIN OPENSSH PRIVATE KEY-----\nc3dvcmRmaXNo\n"]
    {
        let target = Target { login: Login::Key(Zeroizing::new(garbage.to_vec())), ..target(&sshd) };
        let text = refused(run(&ssh(), &target, "true").await);
        assert!(text.contains("not a private key") && text.contains("--identity"), "{text}");
        assert!(!text.contains("swordfish") && !text.contains("c3dvcmRmaXNo"), "{text}");
    }
}

#[tokio::test]
async fn a_login_that_the_server_does_not_accept_is_refused_with_the_key_that_was_offered() {
    let sshd = Server::start();
    let key = sshd.folder().join("stranger");
    keygen(&key, "ed25519", &[]);
    let target = Target { login: identity(&key), ..target(&sshd) };
    let text = refused(run(&ssh(), &target, "true").await);
    let offered = fingerprint(&key.with_extension("pub"));
    let (user, place) = (format!("user {}", sshd.user()), format!("127.0.0.1:{}", sshd.port()));
    for part in [&user, &place, &offered, "authorized_keys"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

#[tokio::test]
async fn every_key_of_an_agent_is_tried() {
    let sshd = Server::start();
    let agent = Agent::start().await;
    let ssh = ssh_with(SshSettings { agent: Some(agent.socket()), ..SshSettings::default() });
    let target = Target { login: Login::Agent, ..target(&sshd) };

    let text = refused(run(&ssh, &target, "true").await);
    assert!(text.contains("holds no key"), "{text}");

    let stranger = sshd.folder().join("stranger");
    keygen(&stranger, "ed25519", &[]);
    agent.add(&stranger);
    let text = refused(run(&ssh, &target, "true").await);
    assert!(text.contains(&format!("user {}", sshd.user())) && text.contains("ssh-agent"), "{text}");
    assert!(text.contains(&fingerprint(&stranger.with_extension("pub"))), "{text}");

    agent.add(&sshd.client_key("rsa"));
    assert_eq!(stdout(&ssh, &target, "echo in").await, "in\n");
}

#[tokio::test]
async fn an_agent_with_too_many_keys_is_told_apart_from_a_broken_line() {
    let sshd = Server::start_with("MaxAuthTries 2");
    let agent = Agent::start().await;
    for number in 0..4 {
        let stranger = sshd.folder().join(format!("stranger{number}"));
        keygen(&stranger, "ed25519", &[]);
        agent.add(&stranger);
    }
    let ssh = ssh_with(SshSettings { agent: Some(agent.socket()), ..SshSettings::default() });
    let text = refused(run(&ssh, &Target { login: Login::Agent, ..target(&sshd) }, "true").await);
    assert!(text.contains("Too many authentication failures"), "{text}");
}

#[tokio::test]
async fn a_missing_agent_is_refused_by_its_path() {
    let sshd = Server::start();
    let ssh = ssh_with(SshSettings { agent: Some("/nowhere/agent".into()), ..SshSettings::default() });
    let text = refused(run(&ssh, &Target { login: Login::Agent, ..target(&sshd) }, "true").await);
    assert!(text.contains("/nowhere/agent") && text.contains("no such file"), "{text}");
}

#[tokio::test]
async fn the_pin_may_be_of_any_host_key() {
    let sshd = Server::start();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let target = Target { host_key: sshd.host_key(kind), ..target(&sshd) };
        assert_eq!(stdout(&ssh(), &target, "echo in").await, "in\n", "{kind}");
    }
}

#[tokio::test]
async fn a_changed_host_key_is_refused_with_the_pinned_and_all_shown_keys() {
    let sshd = Server::start();
    let pinned = fingerprint(&sshd.client_key("ed25519").with_extension("pub"));
    let text = refused(run(&ssh(), &Target { host_key: pinned.clone(), ..target(&sshd) }, "true").await);
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let shown = format!("{kind} {}", sshd.host_key(kind));
        assert!(text.contains(&shown), "{shown} is missing in: {text}");
    }
    let next = format!("`settlectl server rekey web1 --host-key {}`", sshd.host_key("ed25519"));
    for part in [&pinned, &next, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

#[tokio::test]
async fn without_a_pin_nobody_is_trusted() {
    let sshd = Server::start();
    let text = refused(run(&ssh(), &Target { host_key: String::new(), ..target(&sshd) }, "true").await);
    assert!(text.contains("no host key is pinned"), "{text}");
    assert!(text.contains(&sshd.host_key("ed25519")), "{text}");
}

#[tokio::test]
async fn a_server_with_one_kind_of_host_key_is_refused_by_that_one() {
    let sshd = Server::start_with("HostKeyAlgorithms rsa-sha2-512,rsa-sha2-256");
    let text = refused(run(&ssh(), &target(&sshd), "true").await);
    assert!(text.contains(&sshd.host_key("rsa")), "{text}");
    assert!(text.contains("ssh_host_rsa_key.pub"), "{text}");
}

#[tokio::test]
async fn sha_1_signatures_are_refused() {
    let sshd = Server::start_with("HostKeyAlgorithms ssh-rsa");
    let target = Target { host_key: sshd.host_key("rsa"), ..target(&sshd) };
    let text = refused(run(&ssh(), &target, "true").await);
    assert!(text.contains("algorithms that settled does not use: ssh-rsa"), "{text}");
}
