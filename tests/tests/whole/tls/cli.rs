//! `settlectl` over https, with the daemon as it is installed: what it needs, and what it says when something of it is missing.

use std::net::SocketAddr;
use std::path::PathBuf;

use settled_tests::address::free_address;
use settled_tests::process::{Daemon, Home};
use tempfile::TempDir;
use tokio::process::Command;

use super::world::{Authority, NAME, dns};
use crate::cli::settlectl;

/// An environment, what is typed, how it ends, and what it says.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], i32, &'a str);

/// A daemon of its own process on TCP, and the files of a client.
struct Site {
    home: Home,
    _daemon: Daemon,
    authority: Authority,
    address: SocketAddr,
    files: TempDir,
}

impl Site {
    async fn open() -> Self {
        let (authority, address, files) = (Authority::new(), free_address(), tempfile::tempdir().unwrap());
        // The machine knows it by this name alone.
        authority.vouch(vec![dns(NAME), dns("localhost")], 2100).put(files.path());
        let quoted = |name: &str| format!("'{}'", files.path().join(name).display());
        let tcp = format!("'{address}'");
        let (cert, key) = (quoted("cert.pem"), quoted("key.pem"));
        let home = Home::new(&[
            ("log", "level", "'trace'"),
            ("listen", "tcp", &tcp),
            ("listen.tls", "cert", &cert),
            ("listen.tls", "key", &key),
        ]);
        let daemon = home.start();
        home.serves().await;
        std::fs::write(files.path().join("ca.pem"), authority.pem()).unwrap();
        Self { home, _daemon: daemon, authority, address, files }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// How `settlectl` ends, and what it says: on its output, and beside it.
    async fn says(&self, environment: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(settlectl());
        command.env_clear().env("HOME", self.files.path()).current_dir(self.files.path());
        let output = command.envs(environment.iter().copied()).args(arguments).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settlectl_comes_over_https_with_a_token_and_says_in_plain_words_what_is_missing() {
    let site = Site::open().await;
    let socket = format!("unix:{}", site.home.socket().display());
    let create = ["--endpoint", &socket, "token", "create", "ci", "--role", "viewer", "--days", "1"];
    let (exit, secret, said) = site.says(&[], &create).await;
    assert_eq!(exit, 0, "{said}");
    assert!(secret.starts_with("st_") && !said.contains(&secret) && said.contains("shown once"), "{said}");
    std::fs::write(site.file("token"), &secret).unwrap();

    let (port, ca) = (site.address.port(), site.file("ca.pem").display().to_string());
    let (here, by_address) = (format!("https://localhost:{port}"), format!("https://127.0.0.1:{port}"));
    let token_file = site.file("token").display().to_string();
    let whole =
        [("SETTLECTL_ENDPOINT", &*here), ("SETTLECTL_CA", &ca), ("SETTLECTL_TOKEN_FILE", &token_file)];
    assert_eq!(site.says(&whole, &["whoami"]).await, (0, "token:ci (viewer)".to_owned(), String::new()));
    assert_eq!(site.says(&whole, &["status"]).await.0, 0);
    let (exit, _, said) = site.says(&whole, &["reconcile"]).await;
    assert!(exit == 4 && said.contains("the role admin"), "{exit}: {said}");

    // The same, from a file.
    let config = site.file(".config");
    std::fs::create_dir(&config).unwrap();
    std::fs::copy(site.file("token"), config.join("token")).unwrap();
    std::fs::write(
        config.join("settlectl.toml"),
        format!("endpoint = '{here}'\nca = '{ca}'\ntoken_file = 'token'\n"),
    )
    .unwrap();
    assert_eq!(site.says(&[], &["whoami"]).await.1, "token:ci (viewer)");
    // A token that a file names goes to that file's endpoint, and to no other.
    let elsewhere = ["--endpoint", &by_address, "--ca", &ca, "whoami"];

    let strange = site.file("strange.pem").display().to_string();
    std::fs::write(&strange, Authority::new().pem()).unwrap();
    let table: [Case; 6] = [
        (&whole[..2], &["--endpoint", &here, "whoami"], 4, "--token-file"),
        (&[], &["--endpoint", &here, "whoami"], 3, "--ca FILE"),
        (&whole, &["--ca", &strange, "whoami"], 3, "does not know"),
        (&whole, &elsewhere, 3, "another name"),
        (&whole, &["--token-file", "nowhere", "whoami"], 2, "nowhere"),
        (&whole, &["--token-file", &ca, "whoami"], 2, "must hold one token"),
    ];
    for (environment, arguments, exit, words) in table {
        let (ended, _, said) = site.says(environment, arguments).await;
        assert_eq!(ended, exit, "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {words}: {said}");
    }

    let revoke = ["--endpoint", &socket, "token", "revoke", "ci"];
    assert_eq!(site.says(&[], &revoke).await.0, 0);
    let (exit, _, said) = site.says(&whole, &["whoami"]).await;
    assert!(exit == 4 && said.contains("revoked"), "{exit}: {said}");
    let (exit, listed, _) = site.says(&[], &["--endpoint", &socket, "token", "list"]).await;
    assert!(exit == 0 && listed.contains("revoked") && !listed.contains(&secret), "{listed}");

    site.authority.vouch(vec![dns("localhost")], 2001).put(site.files.path());
    settled_tests::patience::until("the certificate is the expired one", async || {
        let (exit, _, said) = site.says(&whole, &["whoami"]).await;
        (exit == 3 && said.contains("has expired")).then_some(())
    })
    .await;
    let log = std::fs::read_to_string(site.home.path("log")).unwrap();
    assert!(log.contains("Admin/WhoAmI") || log.contains("TRACE"), "the log tells everything that it can");
    assert!(!log.contains(&secret), "the secret is in the log");
}
