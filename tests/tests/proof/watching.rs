//! Watchers whose connections are cut and whose daemon is killed, again and again under load, judged by the six promises of a watch (P10).
//!
//! `SETTLED_CUTS` says how often connections are cut on each engine, `SETTLED_RESTARTS` how often the daemon is killed, `SETTLED_SEED` where;
//! `make watch-proof` cuts a thousand times and kills a hundred times.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use settled_proto::v1::admin_client::AdminClient;
use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::runs_client::RunsClient;
use settled_proto::v1::servers_client::ServersClient;
use settled_proto::v1::transitions_client::TransitionsClient;
use settled_proto::v1::watch_request::Start;
use settled_proto::v1::watch_response::Event;
use settled_proto::v1::{
    CancelRunRequest, CreateServerRequest, GetStatusRequest, Kind, Position, UpdateServerRequest,
    WatchFilter, WatchRequest, WatchResponse,
};
use settled_tests::patience::until_within;
use settled_tests::process::a_moment;
use settled_tests::server::{fresh_id, install};
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::kill_nine::number;
use crate::proxy::Proxy;
use crate::validators::{Entry, Journal, Row, Truth, faults};
use crate::world::{Engine, Lease, World};

/// Cuts and restarts on each engine when nobody says how many.
const CUTS: u64 = 60;
const RESTARTS: u64 = 3;
/// Servers that nobody reaches: what is asked for them is recorded, changed and cancelled.
const SERVERS: usize = 3;
/// Clients who change something without a pause.
const CLIENTS: usize = 3;
/// The moment of a kill lies within so much of the first sign of life.
const MOMENT_MS_MAX: u64 = 600;
/// A guard against hanging for ever.
const PATIENCE: Duration = Duration::from_secs(1_200);

#[tokio::test(flavor = "multi_thread")]
async fn p10_watches_keep_all_six_promises_over_cuts_and_kills_on_sqlite() {
    prove(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_watches_keep_all_six_promises_over_cuts_and_kills_on_postgres() {
    prove(Engine::Postgres).await;
}

#[expect(clippy::disallowed_methods, reason = "the time that the whole took is printed")]
async fn prove(engine: Engine) {
    let (cuts, restarts) = (number("SETTLED_CUTS", CUTS), number("SETTLED_RESTARTS", RESTARTS));
    let (seed, began) = (number("SETTLED_SEED", 1), Instant::now());
    let world = World::new(engine, Lease::SHORT, 1, 0).await;
    let home = &world.homes[0];
    let channel = home.channel();
    let mut daemon = home.start();
    home.serves().await;
    let first = now(&channel).await;
    let proxy = Proxy::start(home.path("proxy.sock"), &home.socket(), cuts, seed);
    let (stop, (told, end)) = (CancellationToken::new(), watch::channel(None));

    let disturbing = async {
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..restarts {
            until_within(PATIENCE, "the daemon serves", async || now_if_it_serves(&channel).await).await;
            a_moment(Duration::from_millis(random.random_range(0..MOMENT_MS_MAX))).await;
            daemon.kill();
            daemon = home.start();
        }
        until_within(PATIENCE, "all cuts are made", async || (proxy.made() >= cuts).then_some(())).await;
        stop.cancel();
        daemon
    };
    let watching = futures::future::join_all(kinds_of_watchers().map(|(whole, kind)| {
        let watcher = Watcher { socket: proxy.socket.clone(), first: first.clone(), whole, kind };
        watcher.watch(end.clone())
    }));
    let working = async {
        let loads = (0..CLIENTS).map(|n| load(&channel, n, &stop));
        futures::future::join_all(loads).await;
        let last =
            until_within(PATIENCE, "the daemon serves", async || now_if_it_serves(&channel).await).await;
        told.send_replace(Some(last.seq));
        last.seq
    };
    let (daemon, journals, last) = tokio::join!(disturbing, watching, working);
    drop(daemon);
    let truth = truth(&world).await;
    assert!(truth.len() as u64 >= last, "the store has them all");
    for journal in &journals {
        let wrong = faults(&truth, journal);
        assert!(wrong.is_empty(), "seed {seed}, {engine:?}, whole {}: {wrong:#?}", journal.whole);
    }
    let breaks: usize = journals
        .iter()
        .map(|journal| journal.entries.iter().filter(|entry| **entry == Entry::Broke).count())
        .sum();
    assert!(breaks as u64 >= cuts, "{breaks} breaks were seen, and {cuts} made");
    println!(
        "{engine:?}, seed {seed}: {} watchers over {cuts} cuts and {restarts} restarts ({breaks} breaks seen) in {:.1} s; {last} transitions, \
         {} told; ordered, unique, atomic, reliable, resumable, bookmarkable",
        journals.len(),
        began.elapsed().as_secs_f64(),
        journals.iter().map(|journal| journal.entries.len()).sum::<usize>(),
    );
}

/// Whether it keeps only whole commits, and the kind that it asks for, if it does not ask for all.
fn kinds_of_watchers() -> impl Iterator<Item = (bool, Option<Kind>)> {
    [
        (false, None),
        (true, None),
        (true, None),
        (false, Some(Kind::Run)),
        (true, Some(Kind::Run)),
        (true, Some(Kind::Server)),
    ]
    .into_iter()
}

async fn now_if_it_serves(channel: &Channel) -> Option<Position> {
    let status = AdminClient::new(channel.clone()).get_status(GetStatusRequest {}).await.ok()?.into_inner();
    Some(Position { generation: status.generation, seq: status.seq })
}

async fn now(channel: &Channel) -> Position {
    now_if_it_serves(channel).await.expect("the daemon serves")
}

/// One who watches, whatever becomes of the connection.
struct Watcher {
    socket: std::path::PathBuf,
    first: Position,
    whole: bool,
    kind: Option<Kind>,
}

impl Watcher {
    async fn watch(self, end: watch::Receiver<Option<u64>>) -> Journal {
        let (mut entries, mut position) = (Vec::new(), self.first.seq);
        loop {
            entries.push(Entry::Since(position));
            self.stream(&mut entries, &mut position, end.clone()).await;
            if end.borrow().is_some_and(|end| position >= end) {
                break;
            }
            entries.push(Entry::Broke);
            a_moment(Duration::from_millis(20)).await;
        }
        let kind = self.kind.map(|kind| word(kind).to_owned());
        let end = end.borrow().unwrap_or(position);
        Journal { entries, whole: self.whole, kind, end }
    }

    /// One connection, until it breaks or everything was told.
    async fn stream(
        &self,
        entries: &mut Vec<Entry>,
        position: &mut u64,
        mut end: watch::Receiver<Option<u64>>,
    ) {
        let endpoint = Endpoint::from_shared(format!("unix:{}", self.socket.display())).unwrap();
        let Ok(channel) = endpoint.connect().await else { return };
        let filters =
            self.kind.map(|kind| WatchFilter { kinds: vec![kind.into()], ..WatchFilter::default() });
        let since = Position { seq: *position, ..self.first.clone() };
        let request =
            WatchRequest { start: Some(Start::Since(since)), filters: filters.into_iter().collect() };
        let mut stream = match TransitionsClient::new(channel).watch(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => {
                assert_ne!(
                    status.code(),
                    Code::OutOfRange,
                    "a position that was told is refused: {status:?}"
                );
                return;
            }
        };
        loop {
            if end.borrow_and_update().is_some_and(|end| *position >= end) {
                return;
            }
            let response = tokio::select! {
                response = stream.message() => response,
                _ = end.changed() => continue,
            };
            let Ok(Some(response)) = response else { return };
            if response.commit_complete || !self.whole {
                *position = response.position.as_ref().expect("each has a position here").seq;
            }
            entries.push(entry(response));
        }
    }
}

fn entry(response: WatchResponse) -> Entry {
    let position = response.position.expect("each has a position here").seq;
    match response.event.expect("each says something") {
        Event::Bookmark(_) => Entry::Bookmark(position),
        Event::Transition(t) => {
            let at = t.at.expect("each has a time here");
            let row = Row {
                at: at.seconds * 1_000_000 + i64::from(at.nanos) / 1_000,
                kind: word(t.kind()).to_owned(),
                change: t.change().as_str_name().trim_start_matches("CHANGE_").to_lowercase(),
                object: t.object_id,
            };
            Entry::Change { seq: t.seq, row, position, complete: response.commit_complete }
        }
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Server => "server",
        Kind::Resource => "resource",
        Kind::Run => "run",
        Kind::Step => "step",
        Kind::Schedule => "schedule",
        Kind::Enrollment => "enrollment",
        Kind::Unspecified => panic!("it is never sent"),
    }
}

/// Changes one thing after the other: commits of one, two and more transitions. What is refused or lost with the daemon is not missed.
async fn load(channel: &Channel, n: usize, stop: &CancellationToken) {
    let server = format!("server-{}", n % SERVERS);
    let (mut servers, mut resources, mut runs) = (
        ServersClient::new(channel.clone()),
        ResourcesClient::new(channel.clone()),
        RunsClient::new(channel.clone()),
    );
    let create = CreateServerRequest {
        request_id: fresh_id(),
        name: server.clone(),
        host: "127.0.0.1".to_owned(),
        port: 9,
        ..CreateServerRequest::default()
    };
    until_within(PATIENCE, "the server is known", async || servers.create(create.clone()).await.ok()).await;
    let parameters = [("expression", "5 4 * * *"), ("command", "true")];
    for round in 0_u32.. {
        if stop.is_cancelled() {
            return;
        }
        let asked = install(&server, "scheduled_task", &fresh_id().to_lowercase(), &parameters);
        match resources.install(asked).await {
            Ok(answer) => {
                let run_id = answer.into_inner().run.expect("an install has a run").id;
                drop(runs.cancel(CancelRunRequest { request_id: fresh_id(), run_id }).await);
            }
            Err(_) => a_moment(Duration::from_millis(20)).await,
        }
        let label = BTreeMap::from([("round".to_owned(), round.to_string())]);
        let update = UpdateServerRequest {
            request_id: fresh_id(),
            server: server.clone(),
            set_labels: label.into_iter().collect(),
            ..UpdateServerRequest::default()
        };
        drop(servers.update(update).await);
    }
}

/// What the store itself says, when no daemon is there.
async fn truth(world: &World) -> Truth {
    let sql = "SELECT seq, at, kind, change, object_id FROM transition ORDER BY seq";
    let rows: Vec<(i64, i64, String, String, String)> = if let Some(url) = &world.url {
        let mut database = PgConnection::connect(url).await.unwrap();
        sqlx::query_as(sql).fetch_all(&mut database).await.unwrap()
    } else {
        let file = format!("sqlite://{}", world.homes[0].path("data/settled.db").display());
        let mut database = SqliteConnection::connect(&file).await.unwrap();
        sqlx::query_as(sql).fetch_all(&mut database).await.unwrap()
    };
    let row =
        |(seq, at, kind, change, object)| (u64::try_from(seq).unwrap(), Row { at, kind, change, object });
    rows.into_iter().map(row).collect()
}
