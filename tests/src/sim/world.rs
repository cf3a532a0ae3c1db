//! A world: servers, a daemon that can be killed and started again on the same store, clients, and the checker that looks after every step.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use settled::auth::{Gate, Grants, Verb};
use settled::catalog::Catalog;
use settled::clock::Clock as _;
use settled::domain::freshness::Thresholds;
use settled::domain::id::{RunId, ServerId};
use settled::domain::operation::Operation;
use settled::domain::params::Params;
use settled::domain::resource::Resource;
use settled::domain::run::Run;
use settled::domain::server::Server;
use settled::domain::timings::Timings;
use settled::domain::turn::Turn;
use settled::engine::{
    self, AddServer, Answer, Asked, EditPolicy, Install, Login, Operate, Refusal, targets,
};
use settled::{dispatch, store};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use super::{Actor, Checker, Daemon, Kill, Knobs, SimClock, Stepped, catalog};
use crate::scripted::{Patience, Scripted};
use crate::users::Users;

/// Steps without the clock moving after which a world is said to spin.
const SPIN: u32 = 5_000;

/// The settings of production, as far as they matter to the rules of state.
pub const fn knobs() -> Knobs {
    let seconds = Duration::from_secs;
    Knobs {
        engine: engine::Settings {
            timings: Timings {
                queue_limit: seconds(86_400),
                backoff_first: seconds(30),
                backoff_max: seconds(600),
                kill_grace: seconds(30),
                settle_margin: seconds(120),
                busy_retry: seconds(10),
            },
            attempts_max: 3,
            queue_max: 1_000,
            stale: Thresholds { queued: seconds(3_600), running: seconds(300) },
            queue_limit_least: Duration::ZERO,
            takeover: Duration::ZERO,
            output_bytes_max: 65_536,
        },
        dispatch: dispatch::Settings {
            unreachable_retry: seconds(15),
            orphan_alarm: seconds(900),
            poll: seconds(5),
            linger: seconds(30),
            attach_wait: seconds(20),
            shared: false,
        },
        at_work_max: 64,
        lease: seconds(300),
        reconcile_every: seconds(5),
    }
}

/// A simulated world.
pub struct World {
    /// Its time.
    pub clock: Arc<SimClock>,
    /// Its servers.
    pub remote: Arc<Scripted>,
    /// The user database of its daemon's machine.
    pub users: Arc<Users>,
    /// Who may what there; nobody but the daemon and root at first.
    pub gate: Gate,
    /// Its daemon.
    pub daemon: Box<Daemon>,
    /// What looks after every step.
    pub checker: Checker,
    catalog: Catalog,
    knobs: Knobs,
    dir: TempDir,
    asked: u64,
    spin: u32,
}

/// A store as it was: the database and its log.
pub struct Memory([Vec<u8>; 2]);

impl World {
    /// A world with a daemon that was just started.
    pub async fn new(seed: u64, knobs: Knobs) -> anyhow::Result<Self> {
        Self::with(seed, knobs, catalog()?).await
    }

    /// The same with other packages.
    pub async fn with(seed: u64, knobs: Knobs, catalog: Catalog) -> anyhow::Result<Self> {
        // Nothing here survives the machine, so memory will do, and is faster to sync.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
        let clock = Arc::new(SimClock::new(seed));
        let remote = Arc::new(Scripted::new(Arc::clone(&clock) as _, Patience::AnswersAtOnce));
        let users = Arc::new(Users::default());
        let gate = Gate::with_members(0, Grants::default(), Arc::clone(&users) as _, Arc::clone(&clock) as _);
        let daemon = Box::new(Daemon::open(&url(&dir), &clock, &remote, &catalog, &gate, knobs).await?);
        Ok(Self {
            checker: Checker::default(),
            clock,
            remote,
            users,
            gate,
            daemon,
            catalog,
            knobs,
            dir,
            asked: 0,
            spin: 0,
        })
    }

    /// Where the store is.
    pub fn url(&self) -> String {
        url(&self.dir)
    }

    /// The daemon dies and is started again on the same store.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let url = self.url();
        let started = Daemon::open(&url, &self.clock, &self.remote, &self.catalog, &self.gate, self.knobs);
        *self.daemon = started.await.context("the daemon does not start again")?;
        self.checker.no_dead_owner(&self.daemon).await
    }

    /// The daemon dies and is started again with another configuration.
    pub async fn restart_with(&mut self, change: impl FnOnce(&mut Knobs)) -> anyhow::Result<()> {
        change(&mut self.knobs);
        self.restart().await
    }

    /// Does this to the store, behind the daemon's back: for tests of the checker.
    pub async fn change_store(&self, sql: &'static str) -> anyhow::Result<()> {
        // The store's collation compares bytes.
        let there = SqliteConnectOptions::from_str(&self.url())?
            .collation("C", |a, b| a.as_bytes().cmp(b.as_bytes()));
        let mut store = there.connect().await?;
        sqlx::raw_sql(sql).execute(&mut store).await?;
        Ok(store.close().await?)
    }

    /// The store as it is now, for [`World::forget`].
    pub fn remember(&self) -> anyhow::Result<Memory> {
        let read = |name| std::fs::read(self.dir.path().join(name));
        Ok(Memory([read("settled.db")?, read("settled.db-wal")?]))
    }

    /// The power fails, and the store did not sync what it has committed since then: for tests of the checker.
    pub async fn forget(&mut self, memory: &Memory) -> anyhow::Result<()> {
        let path = |name| self.dir.path().join(name);
        // Other files: the dead daemon's connections keep theirs.
        std::fs::remove_file(path("settled.db-shm"))?;
        for (name, bytes) in ["settled.db", "settled.db-wal"].into_iter().zip(&memory.0) {
            std::fs::remove_file(path(name))?;
            std::fs::write(path(name), bytes)?;
        }
        self.restart().await
    }

    /// Nobody asks for anything any more: in time all lanes are given back. What a lost run has left may be looked at in that time, and
    /// the lane stays for a while once more.
    pub async fn rest(&mut self) -> anyhow::Result<()> {
        for _ in 0..20 {
            self.go(self.knobs.dispatch.linger + self.knobs.dispatch.poll).await?;
            if self.checker.all_lanes_free(&self.daemon).await.is_ok() {
                return Ok(());
            }
        }
        self.checker.all_lanes_free(&self.daemon).await
    }

    /// One step of one part; a daemon that was killed in it is started again.
    pub async fn step(&mut self, actor: Actor, kill: Kill) -> anyhow::Result<()> {
        self.spin += 1;
        if self.spin >= SPIN {
            let open: Vec<_> = self.checker.open().collect();
            bail!("the daemon spins: {SPIN} steps in one instant, the last of {actor:?}; open: {open:#?}");
        }
        if self.daemon.step(actor, kill).await? == Stepped::Killed {
            self.restart().await?;
        }
        self.check().await
    }

    /// The checker looks.
    pub async fn check(&mut self) -> anyhow::Result<()> {
        self.checker.check(&self.daemon, &self.remote, &self.clock, &self.knobs).await
    }

    /// The clock moves on.
    pub fn move_to(&mut self, at: Duration) {
        self.spin = 0;
        self.clock.move_to(at);
    }

    /// Lets the world go on for this long.
    pub async fn go(&mut self, span: Duration) -> anyhow::Result<()> {
        let until = self.clock.monotonic() + span;
        loop {
            while let Some(actor) = self.daemon.runnable().first() {
                self.step(*actor, Kill::Never).await?;
            }
            let due = self.daemon.next_due();
            self.move_to(due.min(until));
            if due > until {
                return Ok(());
            }
        }
    }

    /// Lets the world go on, step by step, until this holds of the run; at most for `span`.
    pub async fn until(
        &mut self,
        run: RunId,
        span: Duration,
        holds: impl Fn(&Run) -> bool,
    ) -> anyhow::Result<Run> {
        let until = self.clock.monotonic() + span;
        loop {
            let now = self.run(run).await?;
            if holds(&now) {
                return Ok(now);
            }
            if let Some(actor) = self.daemon.runnable().first() {
                self.step(*actor, Kill::Never).await?;
                continue;
            }
            let due = self.daemon.next_due();
            if due > until {
                bail!("after {span:?} the run still is {now:#?}");
            }
            self.move_to(due);
        }
    }

    /// Lets the world go on until the run has ended; at most for `span`.
    pub async fn end(&mut self, run: RunId, span: Duration) -> anyhow::Result<Run> {
        self.until(run, span, |run| run.verdict().is_some()).await
    }

    /// A fresh request.
    pub fn asked(&mut self, method: &'static str) -> Asked {
        self.asked += 1;
        Asked {
            principal: "unix:0".to_owned(),
            method,
            request_id: format!("request-{}", self.asked),
            digest: "digest".to_owned(),
            peer: "test".to_owned(),
            verb: Verb::Operate,
        }
    }

    /// Registers a server and lets it be met.
    pub async fn server(&mut self, name: &str) -> anyhow::Result<ServerId> {
        let (id, run) = self.add(name).await?;
        self.end(run, Duration::from_secs(60)).await?;
        Ok(id)
    }

    /// Registers a server; answers the run that is to meet it.
    pub async fn add(&mut self, name: &str) -> anyhow::Result<(ServerId, RunId)> {
        let asked = self.asked("Servers.Create");
        let answer = self.daemon.engine.add_server(asked, add_server(name)).await?;
        let id = answer.server.context("no server in the answer")?.id.parse()?;
        Ok((id, run_of(answer.run.as_ref().map(|run| run.id.as_str()))?))
    }

    /// Asks for an install.
    pub async fn install(&mut self, server: &str, package: &str, name: &str) -> Result<RunId, Refusal> {
        let asked = self.asked("Resources.Install");
        let answer = self.daemon.engine.install(asked, install(server, package, name)).await?;
        Ok(run_in(&answer))
    }

    /// Asks for an operation that has no method of its own.
    pub async fn operate(&mut self, resource: &str, word: &str) -> Result<RunId, Refusal> {
        let asked = self.asked("Resources.Operate");
        let answer = self.daemon.engine.operate(asked, operate(resource, word, "2")).await?;
        Ok(run_in(&answer))
    }

    /// Asks for an own operation with these values.
    pub async fn operate_with(
        &mut self,
        resource: &str,
        word: &str,
        given: &[(&str, &str)],
    ) -> Result<RunId, Refusal> {
        let asked = self.asked("Resources.Operate");
        let ask = Operate { parameters: values(given), ..operate(resource, word, "2") };
        Ok(run_in(&self.daemon.engine.operate(asked, ask).await?))
    }

    /// Asks for a removal.
    pub async fn remove(&mut self, resource: &str) -> Result<RunId, Refusal> {
        self.remove_with(resource, &[]).await
    }

    /// Asks for a removal with these values.
    pub async fn remove_with(&mut self, resource: &str, given: &[(&str, &str)]) -> Result<RunId, Refusal> {
        let (asked, resource) = (self.asked("Resources.Remove"), resource.to_owned());
        let answer = self.daemon.engine.remove(asked, resource, values(given), Turn::default()).await?;
        Ok(run_in(&answer))
    }

    /// Asks for a retry.
    pub async fn retry(&mut self, resource: &str) -> Result<RunId, Refusal> {
        let asked = self.asked("Resources.Retry");
        Ok(run_in(&self.daemon.engine.retry(asked, resource.to_owned(), Turn::default()).await?))
    }

    /// Asks for the end of a run.
    pub async fn cancel(&mut self, run: RunId) -> Result<Answer, Refusal> {
        let asked = self.asked("Runs.Cancel");
        self.daemon.engine.cancel(asked, run).await
    }

    /// A run as it is stored.
    pub async fn run(&self, id: RunId) -> anyhow::Result<Run> {
        self.reader().await?.db().run(id).await?.with_context(|| format!("there is no run {id}"))
    }

    /// A resource as it is stored; `None` when it is gone.
    pub async fn resource(&self, path: &str) -> anyhow::Result<Option<Resource>> {
        match targets::find_resource(&mut self.reader().await?.db(), path).await {
            Ok(resource) => Ok(Some(resource)),
            Err(Refusal::NotFound { .. }) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// The word of a resource's status; `gone` when it is gone.
    pub async fn status(&self, path: &str) -> anyhow::Result<&'static str> {
        Ok(self.resource(path).await?.map_or("gone", |resource| resource.status.as_str()))
    }

    /// A server as it is stored.
    pub async fn server_of(&self, name: &str) -> anyhow::Result<Server> {
        Ok(targets::find_server(&mut self.reader().await?.db(), name).await?)
    }

    /// Steps of a server that are not proven to have ended.
    pub async fn unresolved(&self, server: &str) -> anyhow::Result<Vec<String>> {
        let id = self.server_of(server).await?.id;
        let rows = self.reader().await?.db().unresolved(id).await?;
        Ok(rows.into_iter().map(|row| row.step_id).collect())
    }

    async fn reader(&self) -> anyhow::Result<store::Reader> {
        Ok(self.daemon.engine.store().read().await?)
    }
}

fn url(dir: &TempDir) -> String {
    format!("sqlite://{}", dir.path().join("settled.db").display())
}

/// Asks for a server at the address that is its name.
pub(super) fn add_server(name: &str) -> AddServer {
    AddServer {
        name: name.to_owned(),
        host: name.to_owned(),
        port: 22,
        user: String::new(),
        host_key: String::new(),
        login: Login::Agent,
        labels: BTreeMap::new(),
        via: String::new(),
        policy: EditPolicy::default(),
    }
}

/// An install with the values that a package has by default.
pub fn install(server: &str, package: &str, name: &str) -> Install {
    Install {
        server: server.to_owned(),
        package: package.to_owned(),
        name: name.to_owned(),
        parameters: BTreeMap::new(),
        secrets: BTreeMap::new(),
        turn: Turn::default(),
        with_requirements: false,
    }
}

fn values(given: &[(&str, &str)]) -> Params {
    given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn operate(resource: &str, word: &str, version: &str) -> Operate {
    let operation = Operation::from_word(word);
    let versioned = operation == Operation::Update && resource.contains("/thing/");
    let parameters = versioned.then(|| ("version".to_owned(), version.to_owned()));
    Operate {
        resource: resource.to_owned(),
        operation,
        parameters: parameters.into_iter().collect(),
        secrets: BTreeMap::new(),
        turn: Turn::default(),
    }
}

fn run_of(id: Option<&str>) -> anyhow::Result<RunId> {
    Ok(id.context("no run in the answer")?.parse()?)
}

/// The run of an accepted command.
#[expect(
    clippy::expect_used,
    reason = "an accepted command without its run is a fault that a test must show at once"
)]
fn run_in(answer: &Answer) -> RunId {
    run_of(answer.run.as_ref().map(|run| run.id.as_str())).expect("an accepted command answers its run")
}
