//! Webhooks: posted to a real HTTP server on this machine, signed, and sent again under the same id.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use settled::config::{Config, Sources, Surroundings};
use settled::process::Process;
use settled::secrets::signature;
use settled_tests::daemon;
use settled_tests::http::{Endpoint, answer};
use settled_tests::patience::until;
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::lifecycles::{House, top};

const SECRET: &str = "a secret of more than 16 bytes";

/// A stage whose action is this endpoint.
pub(crate) fn stage(endpoint: &Endpoint, name: &str, lines: &str) -> String {
    let url = endpoint.url("/hook?a=1");
    format!(
        "[[stages]]\nname = \"{name}\"\n{lines}\n[stages.action]\nwebhook = \"{url}\"\nsecret = \"billing\"\ntimeout = \"2s\"\n"
    )
}

impl House {
    /// Applies a definition with the secret `billing`.
    async fn apply_signed(&self, text: &str) -> Value {
        let (file, secret) = (self.dir.path().join("signed.toml"), self.dir.path().join("secret"));
        std::fs::write(&file, text).unwrap();
        std::fs::write(&secret, SECRET).unwrap();
        let secret = format!("billing=@{}", secret.display());
        self.ok(&["lifecycle", "apply", &file.display().to_string(), "--secret", &secret]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_signed_tells_all_and_hands_on_what_it_is_answered() {
    let h = House::start().await;
    let json = answer("200 OK", "content-type: application/json; charset=utf-8\r\n", "{\"invoice\": 7}");
    let endpoint = Endpoint::answering(&[&json, &answer("204 No Content", "", "")]).await;
    let text = [top(""), stage(&endpoint, "one", ""), stage(&endpoint, "two", "")].concat();
    h.apply_signed(&text).await;
    h.ok(&["enroll", "c", "user/42", "--payload", "{\"plan\": \"pro\"}"]).await;
    let done = h.becomes("user/42", "completed").await;
    assert_eq!(done["payload"], "{\"invoice\":7,\"plan\":\"pro\"}");
    assert_eq!(h.log("user/42").await, ["one 1 succeeded", "two 1 succeeded"]);
    let got = endpoint.got();
    assert_eq!(got.len(), 2);
    assert_eq!(got[0].line, "POST /hook?a=1 HTTP/1.1");
    assert_eq!(got[0].header("content-type"), "application/json");
    let mut told = got[0].json();
    let id = told.as_object_mut().unwrap().remove("id").unwrap();
    assert_eq!(id, got[0].header("settled-id"));
    let expected = serde_json::json!({
        "lifecycle": "c", "stage": "one", "attempt": 1, "deferrals": 0, "is_retry": false,
        "subject": { "type": "user", "id": "42" }, "payload": { "plan": "pro" },
    });
    assert_eq!(told, expected);
    for got in &got {
        let seconds = got.header("settled-timestamp").parse().unwrap();
        let signed = signature(SECRET.as_bytes(), seconds, got.body.as_bytes());
        assert_eq!(got.header("settled-signature"), signed);
    }
    assert_ne!(got[0].header("settled-id"), got[1].header("settled-id"), "another stage");
    assert_eq!(got[1].json()["payload"]["invoice"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_yet_uses_no_attempt_and_what_fails_is_sent_again_under_its_id() {
    let h = House::start().await;
    let answers = [
        answer("425 Too Early", "retry-after: 1\r\n", ""),
        answer("500 Internal Server Error", "", "out of paper"),
        answer("302 Found", "location: /elsewhere\r\n", ""),
        answer("200 OK", "content-type: application/json\r\n", "[1]"),
    ];
    let endpoint = Endpoint::answering(&answers.each_ref().map(String::as_str)).await;
    h.apply_signed(&[top(""), stage(&endpoint, "one", "backoff = \"1s\"")].concat()).await;
    h.ok(&["enroll", "c", "user/1"]).await;
    let failed = h.becomes("user/1", "failed").await;
    assert!(failed["last_error"].as_str().unwrap().contains("must be a JSON object"), "{failed}");
    assert_eq!(h.log("user/1").await, ["one 1 failed", "one 2 failed", "one 3 failed"]);
    let log = h.ok(&["enrollment", "show", "c/user/1", "--log"]).await;
    let errors: Vec<_> =
        log["executions"].as_array().unwrap().iter().rev().map(|e| e["error"].to_string()).collect();
    assert!(errors[0].contains("answered 500: out of paper"), "{errors:?}");
    assert!(errors[1].contains("redirects are not followed"), "{errors:?}");
    let got = endpoint.got();
    let told = |name: &str| got.iter().map(|got| got.json()[name].to_string()).collect::<Vec<_>>();
    assert_eq!(told("attempt"), ["1", "1", "2", "3"]);
    assert_eq!(told("deferrals"), ["0", "1", "1", "1"]);
    assert_eq!(told("is_retry"), ["false", "false", "true", "true"]);
    assert!(
        got.iter().all(
            |g| g.line.starts_with("POST /hook") && g.header("settled-id") == got[0].header("settled-id")
        )
    );
    // Somebody wants it done once more: that is another one.
    h.ok(&["enrollment", "retry", "c/user/1"]).await;
    assert_ne!(endpoint.has(5).await[4].header("settled-id"), got[0].header("settled-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_what_a_killed_daemon_was_sending_is_sent_again_under_the_same_id() {
    let mut h = House::start().await;
    let endpoint = Endpoint::answering(&["", &answer("200 OK", "", "")]).await;
    h.apply_signed(&[top(""), stage(&endpoint, "one", "")].concat()).await;
    h.ok(&["enroll", "c", "user/1"]).await;
    endpoint.has(1).await;
    let home = h.daemon.take().unwrap().kill().await;
    h.daemon = Some(daemon::Options::default().start_in(home).await);
    h.becomes("user/1", "completed").await;
    assert_eq!(h.log("user/1").await, ["one 1 failed", "one 2 succeeded"]);
    let got = endpoint.got();
    assert_eq!(got.len(), 2);
    assert_eq!(got[0].header("settled-id"), got[1].header("settled-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_an_ordinary_stop_uses_no_attempt_of_what_was_not_answered_and_it_is_sent_again_under_its_id() {
    let mut h = House::start().await;
    let endpoint = Endpoint::answering(&["", &answer("200 OK", "", "")]).await;
    let text = [top(""), stage(&endpoint, "one", "attempts = 1")].concat();
    h.apply_signed(&text.replace("timeout = \"2s\"", "timeout = \"5m\"")).await;
    h.ok(&["enroll", "c", "user/1"]).await;
    endpoint.has(1).await;
    let (stopped, home) = h.daemon.take().unwrap().stop().await;
    stopped.unwrap();
    h.daemon = Some(daemon::Options::default().start_in(home).await);
    let done = h.becomes("user/1", "completed").await;
    assert_eq!(h.log("user/1").await, ["one 1 succeeded"], "{done}");
    let got = endpoint.got();
    let told = |name: &str| got.iter().map(|got| got.json()[name].to_string()).collect::<Vec<_>>();
    assert_eq!(
        (told("attempt"), told("deferrals")),
        (vec!["1".into(), "1".into()], vec!["0".into(), "1".into()])
    );
    assert_eq!(got[0].header("settled-id"), got[1].header("settled-id"));
}

/// An authority and, signed by it, a certificate for `localhost`, as `openssl` makes them.
pub(crate) struct Signed(TempDir);

impl Signed {
    pub(crate) fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, extensions) in [("ca", "CA:TRUE"), ("host", "CA:FALSE\nsubjectAltName=DNS:localhost")] {
            let text = format!(
                "[req]\nprompt=no\ndistinguished_name=dn\nx509_extensions=x\n[dn]\nCN={name} of the test\n\
                 [x]\nbasicConstraints=critical,{extensions}\n"
            );
            std::fs::write(dir.path().join(format!("{name}.cnf")), text).unwrap();
            let line = format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -config {name}.cnf -keyout {name}.key -out {name}.pem"
            );
            let signed: &[&str] = if name == "ca" { &[] } else { &["-CA", "ca.pem", "-CAkey", "ca.key"] };
            let mut openssl = std::process::Command::new("openssl");
            let made = openssl.current_dir(&dir).args(line.split(' ')).args(signed).output().unwrap();
            assert!(made.status.success(), "{made:?}");
        }
        Self(dir)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let chain =
            CertificateDer::pem_file_iter(self.path("host.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(self.path("host.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_it_goes_to_whom_the_authority_has_signed_and_to_nobody_else() {
    let (signed, others) = (Signed::make(), Signed::make());
    let endpoint = Endpoint::over(Some(signed.acceptor()), &[&answer("200 OK", "", "")]).await;
    let stage = stage(&endpoint, "one", "").replace("http://127.0.0.1", "https://localhost");
    let mut h =
        House::start_with(daemon::Options::default().set("WEBHOOK__CA_FILE", &others.path("ca.pem"))).await;
    h.apply_signed(&[top(""), stage].concat()).await;
    h.ok(&["enroll", "c", "user/1"]).await;
    let waits = until("it waits", async || {
        let now = h.show("user/1").await;
        (now["deferrals"].as_u64() == Some(1)).then_some(now)
    })
    .await;
    let why = waits["waits_for"].as_str().unwrap();
    assert!(why.contains("its webhook cannot be reached: TLS: invalid peer certificate"), "{why}");
    assert_eq!(
        (endpoint.got().len(), &waits["attempt"]),
        (0, &Value::from(0)),
        "nothing was told to a stranger"
    );

    let (stopped, home) = h.daemon.take().unwrap().stop().await;
    stopped.unwrap();
    let options = daemon::Options::default().set("WEBHOOK__CA_FILE", &signed.path("ca.pem"));
    h.daemon = Some(options.start_in(home).await);
    h.ok(&["enroll", "c", "user/2"]).await;
    h.becomes("user/2", "completed").await;
    let got = endpoint.got();
    assert_eq!(got.iter().map(|got| got.json()["subject"]["id"].clone()).collect::<Vec<_>>(), ["2"]);
    let seconds = got[0].header("settled-timestamp").parse().unwrap();
    let signature = signature(SECRET.as_bytes(), seconds, got[0].body.as_bytes());
    assert_eq!(got[0].header("settled-signature"), signature);
}

#[test]
fn p13_a_file_that_holds_no_authority_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem").display().to_string();
    let check = || {
        let env = vec![("SETTLED_WEBHOOK__CA_FILE".to_owned(), path.clone())];
        let config = Config::load(&Sources { env, ..Sources::default() }, &Surroundings::bare(dir.path()));
        settled::app::check(&config.unwrap(), &Process::default()).unwrap_err().to_string()
    };
    let missing = check();
    assert!(missing.contains("webhook.ca_file") && missing.contains("cannot be read"), "{missing}");
    std::fs::write(&path, "no certificate").unwrap();
    assert!(check().contains("it holds no certificate in PEM"), "{}", check());
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_who_cannot_be_reached_is_waited_for_and_who_hangs_has_failed() {
    let h = House::start().await;
    let hangs = Endpoint::answering(&[""]).await;
    h.apply_signed(&[top(""), stage(&Endpoint::gone(), "one", "")].concat()).await;
    h.ok(&["enroll", "c", "user/1"]).await;
    let waits = until("it waits", async || {
        let now = h.show("user/1").await;
        (now["deferrals"].as_u64() == Some(1)).then_some(now)
    })
    .await;
    assert_eq!((&waits["status"], &waits["attempt"]), (&Value::from("pending"), &Value::from(0)));
    assert!(waits["waits_for"].as_str().unwrap().contains("its webhook cannot be reached"), "{waits}");
    h.apply_signed(&[top(""), stage(&hangs, "one", "attempts = 1")].concat()).await;
    h.ok(&["enroll", "c", "user/2"]).await;
    let failed = h.becomes("user/2", "failed").await;
    assert_eq!(failed["last_error"], "its webhook gave no answer: not within 2 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_secret_is_asked_for_by_name_and_stored_only_sealed() {
    let mut h = House::start().await;
    let endpoint = Endpoint::answering(&[&answer("200 OK", "", "")]).await;
    let text = [top(""), stage(&endpoint, "one", "")].concat();
    let file = h.dir.path().join("lifecycle.toml");
    std::fs::write(&file, &text).unwrap();
    let (code, _, told) = h.says(&["lifecycle", "apply", &file.display().to_string()]).await;
    assert_eq!(code, 2, "{told}");
    assert!(
        told.contains("`billing`, which was never given") && told.contains("--secret billing=@FILE"),
        "{told}"
    );
    h.apply_signed(&text).await;
    assert_eq!(h.apply(&text).await["change"], "unchanged", "it has been given");
    h.ok(&["enroll", "c", "user/1"]).await;
    h.becomes("user/1", "completed").await;
    let shown = h.ok(&["lifecycle", "show", "c"]).await.to_string();
    assert!(!shown.contains(SECRET), "{shown}");
    let home = h.daemon.take().unwrap().kill().await;
    let holds_it = |found: &[u8]| found.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
    let files = files_below(home.path());
    for path in &files {
        assert!(!holds_it(&std::fs::read(path).unwrap()), "{}", path.display());
    }
    if let Ok(url) = std::fs::read_to_string(home.path().join("database.url")) {
        let mut postgres = PgConnection::connect(&url).await.unwrap();
        let sealed: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT sealed FROM secret").fetch_all(&mut postgres).await.unwrap();
        assert!(!sealed.is_empty() && !sealed.iter().any(|secret| holds_it(secret)));
    } else {
        assert!(files.iter().any(|path| path.ends_with("settled.db")), "{files:?}");
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let (mut files, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.is_file() {
                files.push(path);
            }
        }
    }
    files
}
