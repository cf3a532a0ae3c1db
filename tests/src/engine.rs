//! An engine on a store of its own, served on a socket, without anyone who works: runs stay queued until a test moves them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use settled::auth::{Gate, Grants};
use settled::catalog::{Catalog, FileProblem, Problem, parse};
use settled::clock::{Clock, SystemClock};
use settled::domain::freshness::Thresholds;
use settled::domain::id::{DaemonId, ServerId};
use settled::domain::time::Timestamp;
use settled::domain::timings::Timings;
use settled::engine::reconcile::Report;
use settled::engine::{Cleaning, DrainOrder, Engine, Refusal, Sealing, Settings, targets};
use settled::grpc::{
    self, Draining, GrpcParts, Leaving, Limits, Patience, Places, Portions, ServeError, Steward,
};
use settled::hub::Hub;
use settled::secrets::{Keys, MasterKey};
use settled::store::{self, Writer};
use settled_proto::v1::admin_client::AdminClient;
use settled_proto::v1::lifecycles_client::LifecyclesClient;
use settled_proto::v1::packages_client::PackagesClient;
use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::runs_client::RunsClient;
use settled_proto::v1::schedules_client::SchedulesClient;
use settled_proto::v1::servers_client::ServersClient;
use settled_proto::v1::transitions_client::TransitionsClient;
use settled_proto::v1::{CreateServerRequest, InstallRequest, Server};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::disk::SmallDisk;
use crate::postgres;

/// Timings of the defaults.
pub const TIMINGS: Timings = Timings {
    queue_limit: Duration::from_secs(24 * 3600),
    backoff_first: Duration::from_secs(5),
    backoff_max: Duration::from_secs(300),
    kill_grace: Duration::from_secs(10),
    settle_margin: Duration::from_secs(120),
    busy_retry: Duration::from_secs(10),
};

/// Limits of the defaults.
pub const LIMITS: Limits = Limits {
    places: Places { all: 256, per_one: 192 },
    network_places: Places { all: 256, per_one: 64 },
    patience: Patience {
        handshake: Duration::from_secs(5),
        first_request: Duration::from_secs(10),
        idle: Duration::from_secs(300),
    },
    body: Duration::from_secs(30),
    portions: Portions {
        requests_per_s: 5_000,
        requests_burst: 10_000,
        open: 2_048,
        body_bytes: 16 << 20,
        body_bytes_of_all: 64 << 20,
    },
};

/// An engine on a new store for `dir`, with the built-in packages.
pub async fn engine(dir: &Path, queue_max: i64) -> Engine {
    engine_and_writer(dir, queue_max).await.0
}

async fn engine_and_writer(dir: &Path, queue_max: i64) -> (Engine, Writer) {
    let url = postgres::chosen(dir).await;
    let url = url.unwrap_or_else(|| format!("sqlite://{}", dir.join("settled.db").display()));
    engine_at(&url, queue_max).await
}

async fn engine_at(url: &str, queue_max: i64) -> (Engine, Writer) {
    let keys = MasterKey::new([7; 32].into()).into();
    engine_with_keys(url, keys, queue_max).await.expect("the key fits")
}

/// An engine that holds these master keys, on the store at this URL.
pub async fn engine_with_keys(url: &str, keys: Keys, queue_max: i64) -> Result<(Engine, Writer), Refusal> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let opened = store::open(url, None, Arc::clone(&clock)).await.expect("a new store opens");
    let hub = Hub::new(&opened.writer);
    let sealing = Sealing::open(&opened.store, &opened.writer, keys, &clock).await?;
    let me = DaemonId(clock.ulid());
    let settings = Settings {
        timings: TIMINGS,
        attempts_max: 3,
        queue_max,
        stale: Thresholds::default(),
        queue_limit_least: Duration::from_secs(31),
        takeover: Duration::from_secs(90),
        output_bytes_max: 65_536,
    };
    let catalog = Catalog::builtin().expect("the built-in packages are sound");
    let writer = opened.writer.clone();
    Ok((Engine::new(opened.store, opened.writer, hub, catalog, sealing, clock, me, settings), writer))
}

/// A way into the SQLite database of a daemon, behind its back: for who damages it.
pub async fn behind(database: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(database);
    let options = options.collation("C", |a, b| a.as_bytes().cmp(b.as_bytes()));
    options.connect().await.expect("the database opens")
}

/// A house where nothing happens.
struct Idle;

#[async_trait]
impl Steward for Idle {
    async fn reconcile(&self) -> Result<Report, Refusal> {
        Ok(Report { examined: 3, ..Report::default() })
    }

    fn read_packages(&self) -> Result<Catalog, Vec<FileProblem>> {
        Catalog::builtin()
    }

    fn check_package(&self, source: &str, others: &[String], loaded: &Catalog) -> Vec<Problem> {
        parse(source).map_or_else(|problems| problems, |definition| loaded.faults_of(definition, others))
    }

    fn drain(&self, _order: DrainOrder, _who: &str) {}

    fn cleaning(&self) -> Cleaning {
        Cleaning { enrollments: Timestamp(i64::MIN), executions: Timestamp(i64::MIN) }
    }

    fn draining(&self) -> Option<Draining> {
        None
    }

    fn can_mail(&self) -> bool {
        true
    }

    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The API over an engine that nobody works for.
pub struct Served {
    /// The engine behind it.
    pub engine: Engine,
    /// Its writer, for who wants to be in its way.
    pub writer: Writer,
    /// Who may what there: at first root and whoever runs the tests, everything.
    pub gate: Gate,
    /// Stops it.
    pub stop: CancellationToken,
    /// Says that it leaves.
    pub leaving: watch::Sender<Leaving>,
    socket: PathBuf,
    serving: Option<JoinHandle<Result<(), ServeError>>>,
    channel: Channel,
    _dir: TempDir,
}

macro_rules! client {
    ($name:ident, $client:ident) => {
        /// A client of the service.
        pub fn $name(&self) -> $client<Channel> {
            $client::new(self.channel.clone())
        }
    };
}

impl Served {
    /// With room for 1,000 queued runs per server.
    pub async fn start() -> Self {
        Self::with_queue(1_000).await
    }

    /// With room for so many queued runs per server.
    pub async fn with_queue(queue_max: i64) -> Self {
        let dir = tempfile::Builder::new().prefix("settled").tempdir().expect("a temporary directory");
        let store = dir.path().to_owned();
        Self::with_store_in(&store, queue_max, dir, LIMITS).await
    }

    /// With these limits.
    pub async fn with_limits(limits: Limits) -> Self {
        let dir = tempfile::Builder::new().prefix("settled").tempdir().expect("a temporary directory");
        let store = dir.path().to_owned();
        Self::with_store_in(&store, 1_000, dir, limits).await
    }

    /// With its store on this disk.
    pub async fn on(disk: &SmallDisk) -> Self {
        let dir = tempfile::Builder::new().prefix("settled").tempdir().expect("a temporary directory");
        Self::with_store_in(disk.path(), 1_000, dir, LIMITS).await
    }

    /// On the store at this URL; its socket is in `dir`.
    pub async fn at(url: &str, dir: TempDir) -> Self {
        Self::with_engine(engine_at(url, 1_000).await, dir, LIMITS).await
    }

    /// With its store on SQLite in this directory whatever the others run on, and these limits.
    pub async fn on_sqlite(store: &Path, limits: Limits) -> Self {
        let dir = tempfile::Builder::new().prefix("settled").tempdir().expect("a temporary directory");
        let url = format!("sqlite://{}", store.join("settled.db").display());
        Self::with_engine(engine_at(&url, 1_000).await, dir, limits).await
    }

    async fn with_store_in(store: &Path, queue_max: i64, dir: TempDir, limits: Limits) -> Self {
        Self::with_engine(engine_and_writer(store, queue_max).await, dir, limits).await
    }

    async fn with_engine((engine, writer): (Engine, Writer), dir: TempDir, limits: Limits) -> Self {
        let socket = dir.path().join("settled.sock");
        let (stop, leaving) = (CancellationToken::new(), watch::Sender::default());
        let listener = grpc::bind(&socket, None).await.expect("the socket can be bound");
        let gate = Gate::new(rustix::process::geteuid().as_raw(), Grants::default(), engine.shared_clock());
        let parts = GrpcParts {
            gate: gate.clone(),
            stop: stop.clone(),
            started_at: engine.clock().now(),
            steward: Arc::new(Idle),
            limits,
            leaving: leaving.subscribe(),
            calls: Arc::default(),
            traces: settled::traces::Traces::default(),
            engine: engine.clone(),
        };
        let serving = Some(tokio::spawn(grpc::serve(listener, None, parts)));
        let channel = connect(&socket).await;
        Self { engine, writer, gate, stop, leaving, socket, serving, channel, _dir: dir }
    }

    client!(servers, ServersClient);
    client!(lifecycles, LifecyclesClient);
    client!(packages, PackagesClient);
    client!(resources, ResourcesClient);
    client!(runs, RunsClient);
    client!(schedules, SchedulesClient);
    client!(transitions, TransitionsClient);
    client!(admin, AdminClient);

    /// The channel to it.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Stops it; answers how serving ended.
    pub async fn ended(&mut self) -> Result<(), ServeError> {
        self.stop.cancel();
        let serving = self.serving.take().expect("it is stopped once");
        serving.await.expect("serving does not panic")
    }

    /// The id of a server.
    pub async fn server_id(&self, name: &str) -> ServerId {
        let mut reader = self.engine.store().read().await.expect("the store can be read");
        targets::find_server(&mut reader.db(), name).await.expect("the server is there").id
    }

    /// Registers a server that nobody connects to.
    pub async fn server(&self, name: &str) -> Server {
        let request = CreateServerRequest {
            request_id: format!("server-{name}"),
            name: name.to_owned(),
            host: "192.0.2.1".to_owned(),
            ..CreateServerRequest::default()
        };
        let answer = self.servers().create(request).await.expect("the server is accepted").into_inner();
        answer.server.expect("the answer has the server")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A channel to a socket.
pub async fn connect(socket: &Path) -> Channel {
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display()));
    endpoint.expect("the path is an endpoint").connect().await.expect("it answers")
}

/// An install of a scheduled task, sound in all its parts.
pub fn install(request_id: &str, server: &str, name: &str) -> InstallRequest {
    let parameters = [("expression", "5 4 * * *"), ("command", "true")];
    InstallRequest {
        request_id: request_id.to_owned(),
        server: server.to_owned(),
        package: "scheduled_task".to_owned(),
        name: name.to_owned(),
        parameters: parameters.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ..InstallRequest::default()
    }
}
