//! The master key of a daemon, as operators meet it: it is never made where one is missing, and another takes its place while all goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use settled::app::{self, Anew};
use settled::config::{Config, Sources, Surroundings};
use settled::process::Process;
use settled_proto::v1::{
    AuditEntry, AuditResult, CreateServerRequest, ListAuditRequest, ListServersRequest, Outcome,
};
use settled_tests::daemon::{Options, TestDaemon};
use settled_tests::engine::behind;
use settled_tests::patience::until;
use settled_tests::postgres;
use settled_tests::server::{Server, fresh_id, install, package_dir, settled};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tonic::Code;

use crate::cli::settlectl_at;
use crate::shared::{pair, status};

fn private(path: &Path, byte: u8) {
    fs::write(path, [byte; 32]).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn new_server(name: &str) -> CreateServerRequest {
    CreateServerRequest {
        request_id: fresh_id(),
        name: name.to_owned(),
        host: "192.0.2.1".to_owned(),
        identity_key: b"-----BEGIN OPENSSH PRIVATE KEY-----\n".to_vec(),
        ..CreateServerRequest::default()
    }
}

async fn rotate(daemon: &TestDaemon) -> (Option<i32>, Value, String) {
    let output = settlectl_at(daemon, &["secrets", "rotate"]).output().await.unwrap();
    let told = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), told, String::from_utf8(output.stderr).unwrap())
}

async fn audit(daemon: &TestDaemon) -> Vec<AuditEntry> {
    let list = ListAuditRequest { method: "Admin.RotateSecrets".to_owned(), ..ListAuditRequest::default() };
    daemon.admin().list_audit(list).await.unwrap().into_inner().entries
}

/// A daemon that serves, and its database, which is SQLite's.
async fn on_sqlite(options: Options) -> (TestDaemon, PathBuf) {
    let home = tempfile::Builder::new().prefix("settled").tempdir().unwrap();
    let database = home.path().join(".settled/settled.db");
    let url = format!("sqlite://{}", database.display());
    let daemon = options.set("DATABASE__URL", &url).start_in(home).await;
    status(&daemon).await;
    (daemon, database)
}

/// Asks for a reload, and waits until it was done or refused.
async fn reloaded(daemon: &TestDaemon, done: impl AsyncFn() -> bool) {
    daemon.reload();
    until("the reload", async || done().await.then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_request_repeated_after_a_rotation_is_the_same() {
    let daemon = TestDaemon::start().await;
    let (first, second) = (new_server("one"), new_server("two"));
    let answer = daemon.servers().create(first.clone()).await.unwrap().into_inner();
    daemon.servers().create(second).await.unwrap();
    let page = ListServersRequest { page_size: 1, ..ListServersRequest::default() };
    let token = daemon.servers().list(page.clone()).await.unwrap().into_inner().next_page_token;

    let (exit, _, said) = rotate(&daemon).await;
    assert_eq!(exit, Some(4), "{said}");
    assert!(said.contains(".next") && said.contains("systemctl reload settled"), "{said}");
    let dir = daemon.socket().parent().unwrap().to_owned();
    let (key, next) = (dir.join("key"), dir.join("key.next"));
    private(&next, 2);
    let mut told = Value::Null;
    daemon.reload();
    until("the second key is read", async || {
        let (exit, answer, _) = rotate(&daemon).await;
        told = answer;
        (exit == Some(0)).then_some(())
    })
    .await;
    // The servers' login keys, and the installation's own two secrets.
    assert_eq!((&told["resealed"], &told["left"]), (&json!(4), &json!(0)), "{told}");
    let entries = audit(&daemon).await;
    let (done, accepted) = (&entries[0], &entries[1]);
    assert_eq!((done.result(), accepted.result()), (AuditResult::Done, AuditResult::Accepted));
    assert!(accepted.detail.ends_with(told["key_id"].as_str().unwrap()), "{accepted:?}");
    assert!(entries.iter().skip(2).all(|entry| entry.result() == AuditResult::Refused), "{entries:?}");

    fs::rename(&next, &key).unwrap();
    let (ended, home) = daemon.stop().await;
    ended.unwrap();
    let daemon = Options::default().start_in(home).await;
    let again = daemon.servers().create(first).await.unwrap().into_inner();
    assert_eq!(again, answer);
    let page = ListServersRequest { page_token: token, ..page };
    let servers = daemon.servers().list(page).await.unwrap().into_inner().servers;
    assert_eq!(servers.iter().map(|server| server.name.as_str()).collect::<Vec<_>>(), ["two"]);
    assert!(status(&daemon).await.warnings.iter().all(|warning| !warning.contains("master key")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_the_store_does_not_take_takes_no_key_either() {
    let (daemon, database) = on_sqlite(Options::default()).await;
    private(&daemon.socket().parent().unwrap().join("key.next"), 2);
    let mut store = behind(&database).await;
    store.execute("ALTER TABLE package RENAME TO elsewhere").await.unwrap();
    let refused = async || {
        status(&daemon)
            .await
            .warnings
            .iter()
            .any(|warning| warning.starts_with("The last reload was refused"))
    };
    reloaded(&daemon, &refused).await;
    store.execute("ALTER TABLE elsewhere RENAME TO package").await.unwrap();
    let (exit, _, said) = rotate(&daemon).await;
    assert_eq!(exit, Some(4), "{said}");
    assert!(said.contains("no other to go over to"), "{said}");
    reloaded(&daemon, async || !refused().await).await;
    assert_eq!(rotate(&daemon).await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_key_that_is_missing_is_named_and_none_is_made_in_its_place() {
    let daemon = TestDaemon::start().await;
    let (ended, home) = daemon.stop().await;
    ended.unwrap();
    let data_dir = home.path().join(".settled");
    let (key, aside) = (data_dir.join("key"), data_dir.join("aside"));
    fs::rename(&key, &aside).unwrap();
    let why = refused_start(home.path()).await;
    assert!(why.contains("key is missing") && why.contains("put that key there"), "{why}");
    assert!(!key.exists(), "one was made");
    private(&key, 9);
    let why = refused_start(home.path()).await;
    assert!(why.contains("is missing, with which") && why.contains("key.next"), "{why}");
    fs::rename(&aside, data_dir.join("key.next")).unwrap();
    drop(Options::default().start_in(home).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_key_file_that_goes_while_its_daemon_runs_is_told_of_while_there_is_time() {
    let daemon = TestDaemon::start().await;
    status(&daemon).await;
    let key = daemon.socket().parent().unwrap().join("key");
    let kept = fs::read(&key).unwrap();
    let told = async || {
        let warnings = status(&daemon).await.warnings;
        warnings
            .into_iter()
            .find(|warning| warning.starts_with("The next start will not find the master key"))
    };
    fs::remove_file(&key).unwrap();
    let warning = until("it is gone", &told).await;
    assert!(warning.contains("key is gone") && warning.contains("from the copy that you keep"), "{warning}");
    private(&key, 9);
    until("it is another one", async || {
        told().await.filter(|warning| warning.contains("is missing, with which"))
    })
    .await;
    fs::write(&key, kept).unwrap();
    until("it is back", async || told().await.is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_daemon_whose_key_file_is_lost_for_good_goes_over_to_another_key() {
    let daemon = TestDaemon::start().await;
    daemon.servers().create(new_server("one")).await.unwrap();
    let dir = daemon.socket().parent().unwrap().to_owned();
    fs::remove_file(dir.join("key")).unwrap();
    private(&dir.join("key.next"), 2);
    reloaded(&daemon, async || rotate(&daemon).await.0 == Some(0)).await;
    fs::rename(dir.join("key.next"), dir.join("key")).unwrap();
    let (ended, home) = daemon.stop().await;
    ended.unwrap();
    drop(Options::default().start_in(home).await);
}

/// Why a daemon does not start here.
async fn refused_start(dir: &Path) -> String {
    let mut config = Config::load(&Sources::default(), &Surroundings::bare(dir)).unwrap();
    if let Some(url) = postgres::chosen(dir).await {
        config.database.url = url;
    }
    let anew =
        Anew { config: Box::new(|| anyhow::bail!("nothing is read again")), log: Box::new(|_| Ok(())) };
    let ended = app::run(config, Process::default(), anew).await;
    format!("{:#}", ended.unwrap_err())
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_rotation_waits_until_every_daemon_holds_both_keys() {
    let (one, two, dir) = pair().await;
    until("both know of each other", async || (status(&one).await.daemons.len() == 2).then_some(())).await;
    one.servers().create(new_server("one")).await.unwrap();
    private(&dir.path().join("key.next"), 2);
    reloaded(&one, async || rotate(&one).await.2.contains("could not open what is sealed with it")).await;
    let (exit, _, said) = rotate(&two).await;
    assert_eq!(exit, Some(4), "{said}");
    assert!(said.contains("no other to go over to"), "{said}");
    reloaded(&two, async || rotate(&one).await.0 == Some(0)).await;
    // Both seal with it now, and know each other's requests.
    for daemon in [&one, &two] {
        daemon.servers().create(new_server(&fresh_id().to_lowercase())).await.unwrap();
    }
    let request = new_server("two");
    one.servers().create(request.clone()).await.unwrap();
    two.servers().create(request).await.unwrap();
    assert_eq!(rotate(&two).await.1["resealed"], 0);
    let warnings = status(&two).await.warnings;
    let of_keys: Vec<_> = warnings.iter().filter(|warning| warning.contains("master key")).collect();
    assert!(
        matches!(of_keys[..], [only] if only.contains("is only in the place of the next one")),
        "{warnings:?}"
    );
}

const LOCKED: &str = r#"
name = "locked"
summary = "Has a password"

[parameters.password]
type = "secret"
summary = "The password"

[operations.install]
steps = [{ title = "Do it", script = "true", secrets = ["password"] }]

[operations.update]
steps = [{ title = "Do it again", script = "true", secrets = ["password"] }]

[operations.remove]
steps = [{ title = "Undo it", script = "true" }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_status_says_of_a_secret_that_does_not_open_any_more_mends_it() {
    let packages = package_dir("locked", LOCKED);
    let options = Options::default().set("PACKAGES__DIR", packages.path().to_str().unwrap());
    let (daemon, database) = on_sqlite(options).await;
    let server = Server::start();
    server.register(&daemon, "web").await;
    let mut ask = install("web", "locked", "one", &[]);
    ask.secrets.insert("password".to_owned(), b"hunter22".to_vec());
    let run = daemon.resources().install(ask).await.unwrap().into_inner().run.unwrap();
    assert_eq!(settled(&daemon, &run.id).await.outcome(), Outcome::Succeeded);
    let mut store = behind(&database).await;
    store.execute("UPDATE secret SET sealed = zeroblob(48) WHERE name = 'password'").await.unwrap();

    private(&daemon.socket().parent().unwrap().join("key.next"), 2);
    reloaded(&daemon, async || rotate(&daemon).await.0 == Some(0)).await;
    let (_, told, _) = rotate(&daemon).await;
    assert_eq!(told["damaged"][0]["owner"], "web/locked/one", "{told}");
    let damaged = async || {
        let warnings = status(&daemon).await.warnings;
        warnings.into_iter().find(|warning| warning.contains("cannot be opened any more"))
    };
    let warning = damaged().await.unwrap();
    let command = "settlectl update web/locked/one --secret password=@FILE";
    assert!(warning.contains("`password` of web/locked/one") && warning.contains(command), "{warning}");

    let file = packages.path().join("password");
    fs::write(&file, "correct-horse").unwrap();
    let secret = format!("password=@{}", file.display());
    let update = ["update", "web/locked/one", "--secret", &secret];
    let output = settlectl_at(&daemon, &update).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    until("it is mended", async || damaged().await.is_none().then_some(())).await;
}

/// Has a rotation done while a daemon seems to sleep: its lease is over, as the store tells.
async fn rotate_behind(sleeper: &TestDaemon, by: &TestDaemon, dir: &Path) {
    let me = status(sleeper).await.daemons.into_iter().find(|daemon| daemon.answers).unwrap().id;
    let url = fs::read_to_string(dir.join("url")).unwrap();
    let mut store = PgConnection::connect(&url).await.unwrap();
    let over = format!("UPDATE daemon SET lease_until = 0 WHERE id = '{me}'");
    // It may renew its lease in between.
    for _ in 0..10 {
        store.execute(sqlx::AssertSqlSafe(over.clone())).await.unwrap();
        if rotate(by).await.0 == Some(0) {
            return;
        }
    }
    panic!("the rotation is refused again and again");
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_daemon_that_slept_through_a_rotation_says_what_it_lacks_and_its_runs_wait() {
    let (one, two, dir) = pair().await;
    let server = Server::start();
    server.register(&one, "web").await;
    private(&dir.path().join("key.next"), 2);
    reloaded(&one, async || rotate(&one).await.2.contains("could not open what is sealed with it")).await;
    rotate_behind(&two, &one, dir.path()).await;
    let lacks = async || {
        let warnings = status(&two).await.warnings;
        warnings.iter().any(|warning| warning.starts_with("This daemon lacks the master key"))
    };
    assert!(lacks().await);
    one.stop().await.0.unwrap();

    let refused = two.servers().create(new_server("new")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    let run =
        two.resources().install(install("web", "own", "one", &[])).await.unwrap().into_inner().run.unwrap();
    reloaded(&two, async || !lacks().await).await;
    assert_eq!(settled(&two, &run.id).await.outcome(), Outcome::Succeeded);
}
