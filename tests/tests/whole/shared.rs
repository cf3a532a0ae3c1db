//! Two daemons that share one PostgreSQL: lanes are spread over them, a stop hands them over at once, and who has other packages is named.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use settled_proto::v1::transition::Object;
use settled_proto::v1::watch_request::Start;
use settled_proto::v1::watch_response::Event;
use settled_proto::v1::{
    CreateServerRequest, DrainMode, DrainRequest, GetStatusRequest, GetStatusResponse, Position,
    WatchRequest, WatchResponse,
};
use settled_tests::daemon::{Options, TestDaemon, key_file};
use settled_tests::patience::{WITHIN, until};
use settled_tests::postgres::Postgres;
use settled_tests::server::{Server, fresh_id};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::time::timeout;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::cli::settlectl_on;

/// A port where nobody listens: work on such a server waits, and its lane stays with its daemon.
const NOBODY: u32 = 1;
const SERVERS: u32 = 24;

/// Two daemons on a fresh database, with one sealing key; the second one has a package more.
pub(crate) async fn pair() -> (TestDaemon, TestDaemon, TempDir) {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (key, packages) = (key_file(dir.path()), dir.path().join("packages"));
    fs::create_dir(&packages).unwrap();
    fs::write(packages.join("own.toml"), OWN).unwrap();
    // For whoever looks into it.
    fs::write(dir.path().join("url"), &url).unwrap();
    let options =
        || Options::default().set("DATABASE__URL", &url).set("SECRETS__KEY_FILE", key.to_str().unwrap());
    let one = options().start().await;
    let two = options().set("PACKAGES__DIR", packages.to_str().unwrap()).start().await;
    (one, two, dir)
}

const OWN: &str = r#"
name = "own"
summary = "A package that only one of the two daemons has"

[operations.install]
steps = [{ title = "Do it", script = "true" }]

[operations.remove]
steps = [{ title = "Undo it", script = "true" }]
"#;

pub(crate) async fn status(daemon: &TestDaemon) -> GetStatusResponse {
    daemon.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner()
}

/// Lanes of the daemon that answers, and of the other.
pub(crate) fn lanes(status: &GetStatusResponse) -> (u32, u32) {
    let of = |answers| status.daemons.iter().filter(|d| d.answers == answers).map(|d| d.lanes).sum();
    (of(true), of(false))
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_are_spread_over_daemons_and_handed_over_at_a_stop() {
    let (one, two, _dir) = pair().await;
    until("both know of each other", async || (status(&one).await.daemons.len() == 2).then_some(())).await;
    // What it takes to log in; nobody ever does.
    let server = Server::start();
    for n in 0..SERVERS {
        let record = CreateServerRequest { port: NOBODY, ..server.record(&format!("s{n}")) };
        one.servers().create(record).await.unwrap();
    }
    let (mine, others) = until("every lane has its daemon", async || {
        let (mine, others) = lanes(&status(&one).await);
        (mine + others == SERVERS).then_some((mine, others))
    })
    .await;
    assert!(mine > 0 && others > 0, "one daemon has all lanes: {mine} and {others}");
    assert_eq!(lanes(&status(&two).await), (others, mine), "both tell the same");

    one.stop().await.0.unwrap();
    until("the other has all", async || (lanes(&status(&two).await) == (SERVERS, 0)).then_some(())).await;
}

async fn drain(daemon: &TestDaemon, mode: DrainMode) -> Result<(), tonic::Status> {
    let request = DrainRequest { request_id: fresh_id(), mode: mode as i32 };
    daemon.admin().drain(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_are_spread_over_those_that_serve() {
    let (one, two, _dir) = pair().await;
    until("both know of each other", async || (status(&one).await.daemons.len() == 2).then_some(())).await;
    drain(&one, DrainMode::Finish).await.unwrap();
    until("the other one knows that it drains", async || {
        let all = status(&two).await.daemons;
        all.iter().any(|daemon| !daemon.serves && !daemon.answers).then_some(())
    })
    .await;
    let refused = drain(&two, DrainMode::Detach).await.unwrap_err();
    assert!(refused.message().contains("no other daemon that serves"), "{refused:?}");
    drain(&one, DrainMode::Cancel).await.unwrap();
    until("it serves again", async || {
        status(&two).await.daemons.iter().all(|daemon| daemon.serves).then_some(())
    })
    .await;
    drain(&two, DrainMode::Detach).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_has_other_packages_is_named() {
    let (one, two, _dir) = pair().await;
    let status = until("one knows of both", async || {
        Some(status(&one).await).filter(|status| status.daemons.len() == 2)
    })
    .await;
    let other = status.daemons.iter().find(|daemon| !daemon.answers).unwrap();
    assert_eq!(other.other_packages, ["own"]);
    let warning = status.warnings.iter().find(|warning| warning.contains(&other.id)).unwrap();
    assert!(warning.contains("own") && warning.contains("settlectl package reload"), "{warning}");
    drop(two);
}

/// Registers a server that nobody can log in to.
async fn record(daemon: &TestDaemon, server: &Server, name: &str) {
    let record = CreateServerRequest { port: NOBODY, ..server.record(name) };
    daemon.servers().create(record).await.unwrap();
}

/// What one who goes from daemon to daemon has seen.
#[derive(Default)]
struct Reader {
    position: Option<Position>,
    numbers: Vec<u64>,
    servers: Vec<String>,
}

impl Reader {
    fn take(&mut self, event: WatchResponse) {
        if let Some(Event::Transition(transition)) = event.event {
            self.numbers.push(transition.seq);
            if let Some(Object::Server(server)) = transition.object {
                self.servers.push(server.name);
            }
        }
        self.position = event.position;
    }

    fn knows(&self, server: &str) -> bool {
        self.servers.iter().any(|known| known == server)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_drain_sends_watchers_to_the_other_daemon_without_a_gap() {
    let (one, two, dir) = pair().await;
    until("both know of each other", async || (status(&one).await.daemons.len() == 2).then_some(())).await;
    let server = Server::start();
    // An endpoint that leads to another daemon from some moment on.
    let (link, next) = (dir.path().join("endpoint"), dir.path().join("next"));
    symlink(one.socket(), &link).unwrap();
    let mut people = settlectl_on(&link, &["watch"]);
    people.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut people = people.spawn().unwrap();
    let mut lines = BufReader::new(people.stdout.take().unwrap()).lines();
    let mut remarks = BufReader::new(people.stderr.take().unwrap()).lines();
    timeout(WITHIN, lines.next_line()).await.unwrap().unwrap().expect("a bookmark comes at once");

    let mut watch = one.transitions().watch(WatchRequest::default()).await.unwrap().into_inner();
    let mut reader = Reader::default();
    reader.take(watch.message().await.unwrap().unwrap());
    let begun = reader.position.as_ref().unwrap().seq;
    record(&one, &server, "before").await;
    symlink(two.socket(), &next).unwrap();
    fs::rename(&next, &link).unwrap();
    drain(&one, DrainMode::Finish).await.unwrap();
    let ended = loop {
        match timeout(WITHIN, watch.message()).await.unwrap() {
            Ok(event) => reader.take(event.unwrap()),
            Err(status) => break status,
        }
    };
    let details = ended.get_error_details();
    assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some("DRAINING"), "{ended:?}");
    assert!(details.retry_info().is_some(), "{ended:?}");
    for (daemon, expected) in [(&one, ServingStatus::NotServing), (&two, ServingStatus::Serving)] {
        until("Health says so", async || {
            let request = HealthCheckRequest { service: String::new() };
            let answer = HealthClient::new(daemon.channel()).check(request).await.ok()?.into_inner();
            (answer.status() == expected).then_some(())
        })
        .await;
    }
    // People's watch goes where the endpoint leads now.
    until_line(&mut remarks, "nothing was missed").await;

    record(&two, &server, "after").await;
    one.stop().await.0.unwrap();
    let start = Some(Start::Since(reader.position.clone().unwrap()));
    let since = WatchRequest { start, ..WatchRequest::default() };
    let mut watch = two.transitions().watch(since).await.unwrap().into_inner();
    while !reader.knows("after") {
        reader.take(timeout(WITHIN, watch.message()).await.unwrap().unwrap().unwrap());
    }
    assert!(reader.knows("before"), "{:?}", reader.servers);
    let whole: Vec<_> = (begun + 1..).take(reader.numbers.len()).collect();
    assert_eq!(reader.numbers, whole, "each once, in order");
    until_line(&mut lines, "\"after\"").await;
    people.kill().await.unwrap();
    while let Some(remark) = remarks.next_line().await.unwrap() {
        assert!(!remark.contains("broke"), "it had moved before that daemon stopped: {remark}");
    }
}

/// Reads lines until one has this in it.
async fn until_line(lines: &mut Lines<BufReader<impl AsyncRead + Unpin>>, part: &str) {
    let found = async { while !lines.next_line().await.unwrap().expect("it goes on").contains(part) {} };
    timeout(WITHIN, found).await.unwrap_or_else(|_| panic!("no line with {part}"));
}
