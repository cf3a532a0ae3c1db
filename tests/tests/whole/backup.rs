//! A backup, taken with `settlectl` while the daemon works, and put back: everything that was accepted before is there, watchers begin anew,
//! and runs that were open then come to a true end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use settled_proto::v1::watch_request::Start;
use settled_proto::v1::{
    CreateServerRequest, Evidence, GetStatusRequest, ListResourcesRequest, Outcome, Position, Reason,
    WatchRequest,
};
use settled_tests::daemon::{Options, TestDaemon, key_file};
use settled_tests::patience::until;
use settled_tests::postgres::Postgres;
use settled_tests::server::{Server, WITHIN, appears, follow, install, package_dir};
use sha2::{Digest as _, Sha256};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tonic::Code;

use crate::cli::{settlectl_at, settlectl_on};
use crate::crash::PATIENT;

/// A port where nobody listens.
const NOBODY: u32 = 1;
/// Installs that are accepted before the backup is asked for.
const BEFORE: usize = 20;

/// What outlives a daemon and its database: packages, the master key, backups.
struct Safe {
    packages: TempDir,
    dir: TempDir,
}

impl Safe {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        key_file(dir.path());
        Self { packages: package_dir("patient", PATIENT), dir }
    }

    fn backup(&self) -> String {
        self.dir.path().join("backup.db").display().to_string()
    }

    /// A daemon on SQLite, whatever the others run on.
    async fn daemon_in(&self, home: TempDir) -> TestDaemon {
        let options = Options::default()
            .set("DATABASE__URL", &format!("sqlite://{}", home.path().join("settled.db").display()))
            .set("SECRETS__KEY_FILE", &self.dir.path().join("key").display().to_string())
            .set("PACKAGES__DIR", &self.packages.path().display().to_string())
            .set("LANE__QUEUE_MAX", "100000");
        options.start_in(home).await
    }

    async fn daemon(&self) -> TestDaemon {
        self.daemon_in(tempfile::tempdir().unwrap()).await
    }

    /// A daemon on another machine, so to speak, where nothing is but what was kept.
    async fn put_back(&self) -> TestDaemon {
        let home = tempfile::tempdir().unwrap();
        fs::copy(self.backup(), home.path().join("settled.db")).unwrap();
        self.daemon_in(home).await
    }

    /// Takes one, and checks what is said of it.
    async fn take(&self, daemon: &TestDaemon) -> Value {
        let file = self.backup();
        let output =
            timeout(WITHIN, settlectl_at(daemon, &["backup", &file]).output()).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let bytes = fs::read(&file).unwrap();
        assert_eq!(told["size_bytes"], bytes.len() as u64);
        assert_eq!(told["sha256"], hex::encode(Sha256::digest(&bytes)));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "for nobody else");
        told
    }
}

/// Has something installed on the server that waits for a file in this directory of it; answers the run.
async fn asked_for(daemon: &TestDaemon, server: &Server, name: &str) -> String {
    let dir = server.path(name);
    fs::create_dir(&dir).unwrap();
    let request = install("web", "patient", name, &[("dir", &dir.display().to_string())]);
    daemon.resources().install(request).await.unwrap().into_inner().run.unwrap().id
}

/// A server, and an install on it that has begun and waits.
async fn waiting_install(daemon: &TestDaemon, server: &Server) -> String {
    server.register(daemon, "web").await;
    let run = asked_for(daemon, server, "work").await;
    appears(&server.path("work/started")).await;
    run
}

async fn names(daemon: &TestDaemon) -> Vec<String> {
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let server = "away".to_owned();
        let request =
            ListResourcesRequest { page_size: 500, page_token, server, ..ListResourcesRequest::default() };
        let page = daemon.resources().list(request).await.unwrap().into_inner();
        names.extend(page.resources.into_iter().map(|resource| resource.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return names;
        }
    }
}

fn task(n: usize) -> settled_proto::v1::InstallRequest {
    install("away", "scheduled_task", &format!("t{n}"), &[("expression", "5 4 * * *"), ("command", "true")])
}

async fn is_sound(file: &str) {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let mut conn = options.collation("C", |a, b| a.as_bytes().cmp(b.as_bytes())).connect().await.unwrap();
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut conn).await.unwrap();
    assert_eq!(sound, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_backup_under_load_is_put_back_whole_and_a_run_that_was_open_is_reattached() {
    let (safe, server) = (Safe::new(), Server::start());
    let daemon = safe.daemon().await;
    let run = waiting_install(&daemon, &server).await;
    let away = CreateServerRequest { port: NOBODY, ..server.record("away") };
    daemon.servers().create(away).await.unwrap();
    for n in 0..BEFORE {
        daemon.resources().install(task(n)).await.unwrap();
    }

    let (enough, asked) = tokio::sync::oneshot::channel::<()>();
    let mut resources = daemon.resources();
    let load = tokio::spawn(async move {
        let (mut asked, mut n) = (asked, BEFORE);
        while asked.try_recv().is_err() {
            resources.install(task(n)).await.unwrap();
            n += 1;
        }
        n
    });
    let told = safe.take(&daemon).await;
    enough.send(()).unwrap();
    let accepted = load.await.unwrap();
    is_sound(&safe.backup()).await;
    assert_eq!(names(&daemon).await.len(), accepted, "nobody was refused for it");

    drop(daemon.kill().await);
    let daemon = safe.put_back().await;
    let back = names(&daemon).await;
    for n in 0..BEFORE {
        assert!(back.contains(&format!("t{n}")), "t{n} was accepted before: {back:?}");
    }
    begins_anew(&daemon, &told["position"]).await;

    fs::write(server.path("work/go"), "").unwrap();
    let (run, output) = follow(&daemon, &run).await;
    assert_eq!((run.outcome(), run.evidence()), (Outcome::Succeeded, Evidence::ExitRecord), "{run:?}");
    assert_eq!(String::from_utf8(output).unwrap(), "before\nafter\n");
    assert_eq!(fs::read_to_string(server.path("work/witness")).unwrap(), "run\n", "it ran once");
}

/// P10: the numbers after the backup are given a second time, so nobody may go on from there.
async fn begins_anew(daemon: &TestDaemon, position: &Value) {
    let status = daemon.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner();
    assert_ne!(position["generation"], status.generation);
    let (generation, seq) =
        (position["generation"].as_str().unwrap().to_owned(), position["seq"].as_u64().unwrap());
    let start = Some(Start::Since(Position { generation, seq }));
    let watch = WatchRequest { start, ..WatchRequest::default() };
    let status = daemon.transitions().watch(watch).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_what_ran_after_the_backup_is_not_run_again_and_nothing_is_made_up() {
    let (safe, server) = (Safe::new(), Server::start());
    let daemon = safe.daemon().await;
    let runs = [waiting_install(&daemon, &server).await, asked_for(&daemon, &server, "behind").await];
    // One of them is at work, the other waits for its turn.
    safe.take(&daemon).await;
    for (dir, run) in ["work", "behind"].into_iter().zip(&runs) {
        fs::write(server.path(dir).join("go"), "").unwrap();
        assert_eq!(follow(&daemon, run).await.0.outcome(), Outcome::Succeeded);
    }
    let is_empty = || server.path("state/steps").read_dir().is_ok_and(|mut steps| steps.next().is_none());
    until("the steps are cleared away", async || is_empty().then_some(())).await;
    drop(daemon.kill().await);

    let daemon = safe.put_back().await;
    for (dir, run) in ["work", "behind"].into_iter().zip(&runs) {
        let run = follow(&daemon, run).await.0;
        let end = (run.outcome(), run.reason(), run.evidence());
        assert_eq!(end, (Outcome::Failed, Reason::Lost, Evidence::None), "{run:?}");
        let witness = fs::read_to_string(server.path(dir).join("witness")).unwrap();
        assert_eq!(witness, "run\n", "it ran once");
    }
}

/// How `settlectl` ends, and what it says.
async fn says(daemon: &TestDaemon, arguments: &[&str]) -> (Option<i32>, Vec<u8>, String) {
    let output = timeout(WITHIN, settlectl_at(daemon, arguments).output()).await.unwrap().unwrap();
    (output.status.code(), output.stdout, String::from_utf8(output.stderr).unwrap())
}

/// What a directory holds, the key of [`Safe`] apart.
fn files(dir: &Path) -> Vec<String> {
    let names = dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != "key").collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_there_stays_unless_it_is_told_to_go_and_standard_output_takes_one_too() {
    let safe = Safe::new();
    let daemon = safe.daemon().await;
    let file = safe.backup();
    fs::write(&file, "of yesterday").unwrap();
    let (code, _, why) = says(&daemon, &["backup", &file]).await;
    assert!(code == Some(4) && why.contains("is there already") && why.contains("--force"), "{code:?} {why}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "of yesterday");
    assert_eq!(says(&daemon, &["backup", &file, "--force"]).await.0, Some(0));
    is_sound(&file).await;
    let (code, _, why) = says(&daemon, &["backup", "/nowhere/at/all.db"]).await;
    assert!(code == Some(1) && why.contains("/nowhere/at/all.db"), "{code:?} {why}");

    fs::remove_file(&file).unwrap();
    let (code, bytes, said) = says(&daemon, &["backup", "-"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&hex::encode(Sha256::digest(&bytes))), "{said}");
    fs::write(&file, bytes).unwrap();
    is_sound(&file).await;
    assert_eq!(files(safe.dir.path()), ["backup.db"], "nothing else is left");
}

/// Passes connections on to a socket, and ends each after so many bytes of answers.
fn cut_after(bytes: u64, socket: &Path, at: &Path) {
    let (listener, socket) = (UnixListener::bind(at).unwrap(), socket.to_owned());
    tokio::spawn(async move {
        while let Ok((caller, _)) = listener.accept().await {
            let (mut asks, mut hears) = caller.into_split();
            let (answers, mut daemon) = UnixStream::connect(&socket).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut asks, &mut daemon).await });
            // Whoever is cut off cannot be told anything.
            drop(tokio::io::copy(&mut answers.take(bytes), &mut hears).await);
            drop(hears.shutdown().await);
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_leaves_no_half_backup() {
    let safe = Safe::new();
    let daemon = safe.daemon().await;
    let at = safe.packages.path().join("cut.sock");
    cut_after(100_000, daemon.socket(), &at);
    let file = safe.backup();
    let output = timeout(WITHIN, settlectl_on(&at, &["backup", &file]).output()).await.unwrap().unwrap();
    let why = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{why}");
    assert!(why.contains("No backup was taken"), "{why}");
    assert_eq!(files(safe.dir.path()), Vec::<String>::new());
    until("the place is free", async || (says(&daemon, &["backup", &file]).await.0 == Some(0)).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_the_way_to_a_backup_is_told() {
    let safe = Safe::new();
    let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    let daemon = Options::default().set("DATABASE__URL", &url).start().await;
    let (code, _, why) = says(&daemon, &["backup", &safe.backup()]).await;
    assert!(code == Some(4) && why.contains("pg_dump --format=custom"), "{code:?} {why}");
    assert_eq!(files(safe.dir.path()), Vec::<String>::new());
}
