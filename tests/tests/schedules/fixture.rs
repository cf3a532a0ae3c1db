//! A store, a clock, and daemons that can be added, stopped and stepped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use settled::auth::{Gate, Grants, Role};
use settled::clock::Clock as _;
use settled::domain::id::{DaemonId, RunId, ScheduleId};
use settled::domain::operation::Operation;
use settled::domain::run::Run;
use settled::domain::schedule::{Chore, Occurrence, On, Schedule, Target, Work};
use settled::domain::time::Timestamp;
use settled::engine::schedules::find_schedule;
use settled::engine::{
    AddServer, Answer, Asked, ChoreEnd, EditPolicy, EditSchedule, Engine, Login, Refusal, Sealing,
};
use settled::hub::Hub;
use settled::scheduler::{Chores, Firing};
use settled::secrets::MasterKey;
use settled::store::{self, Committed};
use settled_tests::postgres::Postgres;
use settled_tests::sim::{SimClock, catalog, install, knobs};
use tempfile::TempDir;
use tokio::sync::watch;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// What settled does for itself.
pub(crate) const CHORES: [&str; 7] = [
    "settled.clean_enrollments",
    "settled.clean_executions",
    "settled.compaction",
    "settled.enrollments",
    "settled.probes",
    "settled.reconcile",
    "settled.retention",
];
/// Of those, what is done every minute, by one daemon.
pub(crate) const MINUTELY: u64 = 4;
/// And weekly.
pub(crate) const WEEKLY: u64 = 2;

/// Chores that only tell what a test wants, and note that they were asked for.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) tells: Mutex<Option<Result<String, String>>>,
    pub(crate) more: AtomicBool,
    pub(crate) done: Mutex<Vec<(Chore, Duration)>>,
}

#[async_trait]
impl Chores for Told {
    async fn act(&self, chore: Chore, period: Duration) -> Result<ChoreEnd, String> {
        self.done.lock().unwrap().push((chore, period));
        let told = self.tells.lock().unwrap().clone().unwrap_or(Ok(String::new()))?;
        Ok(ChoreEnd { told, more: self.more.load(Ordering::Relaxed) })
    }
}

/// One daemon, as far as schedules go.
pub(crate) struct Daemon {
    pub(crate) engine: Engine,
    pub(crate) firing: Firing,
    pub(crate) committed: watch::Receiver<Committed>,
}

/// A store with a clock.
pub(crate) struct House {
    pub(crate) clock: Arc<SimClock>,
    pub(crate) daemon: Daemon,
    pub(crate) chores: Arc<Told>,
    url: String,
    asked: AtomicU64,
    _directory: TempDir,
}

impl House {
    pub(crate) async fn sqlite() -> Self {
        Self::sqlite_at(SimClock::new(1)).await
    }

    pub(crate) async fn sqlite_at(clock: SimClock) -> Self {
        let memory = std::path::Path::new("/dev/shm");
        let directory =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let url = format!("sqlite://{}/settled.db", directory.path().display());
        Self::open(url, directory, clock).await
    }

    pub(crate) async fn postgres() -> Self {
        Self::postgres_at(SimClock::new(1)).await
    }

    pub(crate) async fn postgres_at(clock: SimClock) -> Self {
        let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
        Self::open(url, tempfile::tempdir().unwrap(), clock).await
    }

    async fn open(url: String, directory: TempDir, clock: SimClock) -> Self {
        let clock = Arc::new(clock);
        let chores = Arc::new(Told::default());
        let daemon = daemon(&url, &clock, &chores).await;
        Self { clock, daemon, chores, url, asked: AtomicU64::new(0), _directory: directory }
    }

    /// Another daemon on the same store, or the same one after a restart.
    pub(crate) async fn another(&self) -> Daemon {
        daemon(&self.url, &self.clock, &self.chores).await
    }

    /// Another daemon whose chores are its own.
    pub(crate) async fn another_with(&self, chores: &Arc<Told>) -> Daemon {
        daemon(&self.url, &self.clock, chores).await
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.daemon.engine
    }

    pub(crate) fn asked(&self, method: &'static str) -> Asked {
        self.asked_by("unix:0", method)
    }

    pub(crate) fn asked_by(&self, principal: &str, method: &'static str) -> Asked {
        let n = self.asked.fetch_add(1, Ordering::Relaxed);
        Asked {
            principal: principal.to_owned(),
            method,
            request_id: format!("request-{n}"),
            digest: "d".to_owned(),
            peer: "test".to_owned(),
            verb: settled::auth::Verb::Operate,
        }
    }

    /// The clock goes on, and the daemon ticks once.
    pub(crate) async fn go(&self, span: Duration) -> u64 {
        self.clock.move_to(self.clock.monotonic() + span);
        self.daemon.firing.step().await.unwrap()
    }

    pub(crate) async fn server(&self, name: &str, labels: &[(&str, &str)]) {
        let ask = AddServer {
            name: name.to_owned(),
            host: name.to_owned(),
            port: 22,
            user: String::new(),
            host_key: String::new(),
            login: Login::Agent,
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            via: String::new(),
            policy: EditPolicy::default(),
        };
        self.engine().add_server(self.asked("Servers.Create"), ask).await.unwrap();
    }

    /// A server that nobody has met goes away.
    pub(crate) async fn gone(&self, name: &str) {
        let remove = || self.engine().remove_server(self.asked("Servers.Delete"), name.to_owned(), true);
        match remove().await.unwrap_err() {
            Refusal::NotNow { runs, .. } => self.cancel(runs[0]).await,
            other => panic!("{other:?}"),
        }
        remove().await.unwrap();
    }

    /// A resource whose install is queued, and stays so.
    pub(crate) async fn thing(&self, server: &str, name: &str) {
        self.engine().install(self.asked("Resources.Install"), install(server, "thing", name)).await.unwrap();
    }

    /// A server `web1` with `thing/a`, and a schedule that probes that: a probe needs nothing but a queue.
    pub(crate) async fn probing(&self, settings: EditSchedule) -> ScheduleId {
        self.server("web1", &[("tier", "web")]).await;
        self.thing("web1", "a").await;
        self.add("look", settings).await.unwrap()
    }

    pub(crate) async fn add(&self, name: &str, settings: EditSchedule) -> Result<ScheduleId, Refusal> {
        let answer =
            self.engine().add_schedule(self.asked("Schedules.Create"), name.to_owned(), settings).await?;
        Ok(answer.schedule.unwrap().id.parse().unwrap())
    }

    pub(crate) async fn edit(&self, edit: EditSchedule) -> Result<Answer, Refusal> {
        self.engine().edit_schedule(self.asked("Schedules.Update"), "look".to_owned(), edit).await
    }

    pub(crate) async fn schedule(&self, named: &str) -> Schedule {
        let mut reader = self.engine().store().read().await.unwrap();
        find_schedule(&mut reader.db(), named).await.unwrap()
    }

    /// What became of a schedule's times, the oldest first.
    pub(crate) async fn history(&self, id: ScheduleId) -> Vec<Occurrence> {
        let mut reader = self.engine().store().read().await.unwrap();
        let mut all = reader.db().occurrences(id, None, Timestamp(i64::MAX), i64::MAX).await.unwrap();
        all.reverse();
        all
    }

    /// The same in words: `due fired`, `made_up fired`, `due missed 3`.
    pub(crate) async fn words(&self, id: ScheduleId) -> Vec<String> {
        let word = |o: Occurrence| {
            let count = if o.count == 1 { String::new() } else { format!(" {}", o.count) };
            format!("{} {}{count}", o.cause, o.fate)
        };
        self.history(id).await.into_iter().map(word).collect()
    }

    /// Pauses every chore but this one.
    pub(crate) async fn only(&self, chore: &str) {
        for name in CHORES.iter().filter(|name| **name != chore && **name != "settled.reconcile") {
            let asked = self.asked("Schedules.Pause");
            self.engine().pause_schedule(asked, (*name).to_owned()).await.unwrap();
        }
    }

    pub(crate) async fn run(&self, id: RunId) -> Run {
        self.engine().store().read().await.unwrap().db().run(id).await.unwrap().unwrap()
    }

    /// Ends a queued run.
    pub(crate) async fn cancel(&self, run: RunId) {
        self.engine().cancel(self.asked("Runs.Cancel"), run).await.unwrap();
    }
}

async fn daemon(url: &str, clock: &Arc<SimClock>, chores: &Arc<Told>) -> Daemon {
    let opened = store::open(url, None, Arc::clone(clock) as _).await.unwrap();
    let committed = opened.writer.committed();
    let hub = Hub::new(&opened.writer);
    let keys = MasterKey::new([7; 32].into()).into();
    let sealing =
        Sealing::open(&opened.store, &opened.writer, keys, &(Arc::clone(clock) as _)).await.unwrap();
    let me = DaemonId(clock.ulid());
    let packages = catalog().unwrap();
    let engine = Engine::new(
        opened.store,
        opened.writer,
        hub,
        packages,
        sealing,
        Arc::clone(clock) as _,
        me,
        knobs().engine,
    );
    engine.keep_packages(engine.catalog()).await.unwrap();
    let mut grants = Grants::default();
    grants.user(1000, Role::Operator);
    let gate = Gate::new(0, grants, Arc::clone(clock) as _);
    let firing = Firing::new(engine.clone(), gate, Arc::clone(chores) as _);
    Daemon { engine, firing, committed }
}

/// Operates on things.
pub(crate) fn work(operation: &str, on: On) -> Target {
    let package = if matches!(on, On::Resources(_)) { "" } else { "thing" };
    Target::Work(Work {
        package: package.to_owned(),
        operation: Operation::from_word(operation),
        name: String::new(),
        on,
        parameters: BTreeMap::new(),
    })
}

pub(crate) fn servers(names: &[&str]) -> On {
    On::Servers(names.iter().map(|name| (*name).to_owned()).collect())
}

/// Probes the things on `web1`.
pub(crate) fn every(cron: &str) -> EditSchedule {
    EditSchedule {
        cron: Some(cron.to_owned()),
        target: Some(work("probe", servers(&["web1"]))),
        ..EditSchedule::default()
    }
}

/// The field that is named, and what is said of it.
#[track_caller]
pub(crate) fn refused_field<T: std::fmt::Debug>(answer: Result<T, Refusal>) -> (String, String) {
    match answer.unwrap_err() {
        Refusal::Invalid(problems) => (problems[0].field.clone(), problems[0].message.clone()),
        other => panic!("{other:?}"),
    }
}
