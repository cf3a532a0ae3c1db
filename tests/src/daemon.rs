//! A daemon of its own for a test: the real composition on a real socket, in the test's process and in a directory that goes away.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use settled::app::{self, Anew, Parts};
use settled::clock::{Clock, SystemClock};
use settled::config::{Config, Sources, Surroundings};
use settled::domain::time::Timestamp;
use settled::process::{Process, Systemd};
use settled::remote::Remote;
use settled_proto::v1::admin_client::AdminClient;
use settled_proto::v1::lifecycles_client::LifecyclesClient;
use settled_proto::v1::packages_client::PackagesClient;
use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::runs_client::RunsClient;
use settled_proto::v1::schedules_client::SchedulesClient;
use settled_proto::v1::servers_client::ServersClient;
use settled_proto::v1::transitions_client::TransitionsClient;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use ulid::Ulid;

use crate::patience::{WITHIN, until};
use crate::postgres;

/// The key to the secrets of a store that daemons share: `SECRETS__KEY_FILE` of each.
pub fn key_file(dir: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = dir.join("key");
    std::fs::write(&path, [7; 32]).expect("a key is written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
        .expect("a key is closed to others");
    path
}

/// What a daemon is to be like beside the defaults.
#[derive(Default)]
pub struct Options {
    env: Vec<(String, String)>,
    remote: Option<Arc<dyn Remote>>,
    systemd: Option<PathBuf>,
    watchdog: Option<Duration>,
    later: Duration,
}

impl Options {
    /// Sets a key as the environment does: `("LANE__POLL_S", "1")`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.env.push((format!("SETTLED_{key}"), value.to_owned()));
        self
    }

    /// Works on these servers instead of real ones.
    #[must_use]
    pub fn remote(mut self, remote: Arc<dyn Remote>) -> Self {
        self.remote = Some(remote);
        self
    }

    /// Speaks with this service manager.
    #[must_use]
    pub fn systemd(mut self, socket: &Path) -> Self {
        self.systemd = Some(socket.to_owned());
        self
    }

    /// Feeds a watchdog of that service manager.
    #[must_use]
    pub fn watchdog(mut self, interval: Duration) -> Self {
        self.watchdog = Some(interval);
        self
    }

    /// By its clock it is so much later than by the machine's.
    #[must_use]
    pub fn later(mut self, by: Duration) -> Self {
        self.later = by;
        self
    }

    /// Starts the daemon in a new directory.
    pub async fn start(self) -> TestDaemon {
        let dir = tempfile::Builder::new().prefix("settled").tempdir().expect("a temporary directory");
        self.start_in(dir).await
    }

    /// Starts the daemon in a directory where one ran before, or where a `settled.toml` lies.
    pub async fn start_in(mut self, dir: TempDir) -> TestDaemon {
        if let Some(url) = postgres::chosen(dir.path()).await {
            // What the test itself says comes later, and wins.
            self.env.insert(0, ("SETTLED_DATABASE__URL".to_owned(), url));
        }
        let file = Some(dir.path().join("settled.toml")).filter(|file| file.exists());
        let sources = Sources { env: self.env, file, ..Sources::default() };
        let surroundings = Surroundings::bare(dir.path());
        let config = Config::load(&sources, &surroundings).expect("the test's configuration can work");
        let socket = config.listen.unix.clone();
        let mut process = Process::default();
        if let Some(path) = self.systemd {
            process.systemd = Systemd::at(path);
        }
        process.watchdog = self.watchdog;
        let clock: Arc<dyn Clock> = Arc::new(Later { clock: SystemClock::new(), by: self.later });
        let parts = Parts {
            remote: self.remote.unwrap_or_else(|| app::ssh_remote(&config, Arc::clone(&clock))),
            clock,
            anew: Anew {
                config: Box::new(move || Ok(Config::load(&sources, &surroundings)?)),
                log: Box::new(|_| Ok(())),
            },
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads for the daemon");
        runtime.spawn(process.clone().watch(Arc::clone(&parts.clock)));
        let mut serving = runtime.spawn(app::run_with(config, process.clone(), parts));
        let channel = connect(&socket, &mut serving).await;
        TestDaemon { dir: Some(dir), socket, process, runtime: Some(runtime), serving, channel }
    }
}

/// The machine's clock, some time later.
struct Later {
    clock: SystemClock,
    by: Duration,
}

#[async_trait]
impl Clock for Later {
    fn now(&self) -> Timestamp {
        self.clock.now() + self.by
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    async fn sleep_until(&self, at: Duration) {
        self.clock.sleep_until(at).await;
    }

    fn ulid(&self) -> Ulid {
        self.clock.ulid()
    }

    fn random(&self) -> u64 {
        self.clock.random()
    }
}

/// Waits until the daemon answers; a daemon that ended instead fails the test with its error.
async fn connect(socket: &Path, serving: &mut JoinHandle<anyhow::Result<()>>) -> Channel {
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display()))
        .expect("the socket's path is an endpoint");
    until("the daemon serves", async || {
        assert!(!serving.is_finished(), "the daemon ended instead of serving: {:?}", (&mut *serving).await);
        endpoint.connect().await.ok()
    })
    .await
}

/// A daemon at work. Ends with the test.
pub struct TestDaemon {
    dir: Option<TempDir>,
    socket: PathBuf,
    process: Process,
    /// Its own threads, so that nothing of it goes on after a kill. There until the end.
    runtime: Option<Runtime>,
    serving: JoinHandle<anyhow::Result<()>>,
    channel: Channel,
}

macro_rules! client {
    ($name:ident, $client:ident) => {
        /// A client of the service.
        pub fn $name(&self) -> $client<Channel> {
            $client::new(self.channel.clone())
        }
    };
}

impl TestDaemon {
    /// With defaults.
    pub async fn start() -> Self {
        Options::default().start().await
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

    /// Asks it to reload, as SIGHUP would.
    pub fn reload(&self) {
        self.process.reload.request();
    }

    /// Sends it a SIGTERM, so to speak; the first asks it to stop.
    pub fn terminate(&self) {
        self.process.stop.escalate();
    }

    /// Stops it as SIGTERM would; answers how it ended, and its directory for the next one.
    pub async fn stop(self) -> (anyhow::Result<()>, TempDir) {
        self.process.stop.request();
        self.end().await
    }

    /// Waits for its end; answers how it ended, and its directory for the next one.
    pub async fn end(mut self) -> (anyhow::Result<()>, TempDir) {
        let ended = (&mut self.serving).await.expect("the daemon does not panic");
        (ended, self.dir.take().expect("the directory is there until the end"))
    }

    /// Ends it where it stands, as kill -9 would as far as its store is concerned; answers its directory.
    pub async fn kill(mut self) -> TempDir {
        let runtime = self.runtime.take().expect("the threads are there until the end");
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(WITHIN)).await.expect("the threads end");
        self.dir.take().expect("the directory is there until the end")
    }
}

impl Drop for TestDaemon {
    fn drop(&mut self) {
        self.process.stop.insist();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
