//! A fresh store, commands as closures, and the objects that tests put in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use settled::clock::{Clock, SystemClock};
use settled::domain::failure::Failure;
use settled::domain::freshness::Thresholds;
use settled::domain::grounds::Seen;
use settled::domain::id::{DaemonId, ResourceId, RunId, ServerId};
use settled::domain::operation::Operation;
use settled::domain::resource::{Declared, Resource, ResourceStatus};
use settled::domain::run::{Event, Repair, Retry, Run, RunState, StepFacts, Subject};
use settled::domain::server::{IdentityKind, Policy, Reach, Server, ServerStatus};
use settled::domain::step::StepState;
use settled::domain::time::Timestamp;
use settled::domain::timings::Timings;
use settled::domain::turn::Priority;
use settled::store::rows::StepRecord;
use settled::store::{AuditResult, AuditRow, Command, Opened, Reader, StoreError, Unit, Writer, open};
use settled_tests::postgres::Postgres;
use tempfile::TempDir;

pub(crate) const TIMINGS: Timings = Timings {
    queue_limit: Duration::from_hours(24),
    backoff_first: Duration::from_secs(5),
    backoff_max: Duration::from_mins(1),
    kill_grace: Duration::from_secs(30),
    settle_margin: Duration::from_mins(2),
    busy_retry: Duration::from_secs(15),
};

/// A fresh store.
pub(crate) struct House {
    pub(crate) url: String,
    pub(crate) opened: Opened,
    pub(crate) clock: Arc<dyn Clock>,
    /// Keeps the files of SQLite.
    directory: TempDir,
}

impl House {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/settled.db", directory.path().display());
        Self::open(url, directory).await
    }

    pub(crate) async fn postgres() -> Self {
        let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
        Self::open(url, tempfile::tempdir().unwrap()).await
    }

    async fn open(url: String, directory: TempDir) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let opened = open(&url, None, Arc::clone(&clock)).await.unwrap();
        Self { url, opened, clock, directory }
    }

    /// The store, where it is, and what keeps its files.
    pub(crate) fn into_parts(self) -> (Opened, String, TempDir) {
        (self.opened, self.url, self.directory)
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }

    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a, 'b> Fn(&'a mut Unit<'b>) -> BoxFuture<'a, Result<T, StoreError>> + Send + Sync + 'static,
    {
        write(&self.opened.writer, work).await
    }

    pub(crate) async fn read(&self) -> Reader {
        self.opened.store.read().await.unwrap()
    }

    /// A stored server.
    pub(crate) async fn server(&self, name: &str) -> Server {
        self.store_server(new_server(&*self.clock, name)).await.unwrap()
    }

    pub(crate) async fn store_server(&self, server: Server) -> Result<Server, StoreError> {
        self.write(move |unit| {
            let mut server = server.clone();
            Box::pin(async move { unit.insert_server(&mut server).await.map(|()| server) })
        })
        .await
    }

    /// A stored resource.
    pub(crate) async fn resource(&self, server: &Server, name: &str) -> Resource {
        self.store_resource(new_resource(&*self.clock, server, name)).await.unwrap()
    }

    pub(crate) async fn store_resource(&self, resource: Resource) -> Result<Resource, StoreError> {
        self.write(move |unit| {
            let mut resource = resource.clone();
            Box::pin(async move { unit.insert_resource(&mut resource).await.map(|()| resource) })
        })
        .await
    }

    /// A stored run of a resource.
    pub(crate) async fn run(&self, resource: &Resource) -> Run {
        self.store_run(new_run(&*self.clock, resource)).await.unwrap()
    }

    pub(crate) async fn store_run(&self, run: Run) -> Result<Run, StoreError> {
        self.write(move |unit| {
            let mut run = run.clone();
            Box::pin(async move { unit.insert_run(&mut run).await.map(|()| run) })
        })
        .await
    }

    /// Stores what the domain made of a run.
    pub(crate) async fn update_run(&self, run: Run) -> Result<Run, StoreError> {
        self.write(move |unit| {
            let mut run = run.clone();
            Box::pin(async move { unit.update_run(&mut run).await.map(|()| run) })
        })
        .await
    }

    /// A started run and the record of its first try.
    pub(crate) async fn started(&self, run: Run) -> (Run, StepRecord) {
        let run = run.apply(started(), self.clock.now(), &TIMINGS).unwrap();
        let run = self.update_run(run).await.unwrap();
        let step = new_step(&run, self.clock.now());
        let step = self
            .write(move |unit| {
                let mut step = step.clone();
                Box::pin(async move { unit.insert_step(&mut step).await.map(|()| step) })
            })
            .await
            .unwrap();
        (run, step)
    }

    pub(crate) fn daemon(&self) -> DaemonId {
        DaemonId(self.clock.ulid())
    }

    /// The number of the last transition, and all numbers that there are.
    pub(crate) async fn numbers(&self) -> (i64, Vec<i64>) {
        let mut reader = self.read().await;
        let last = reader.db().last_seq().await.unwrap();
        let all = reader.db().transitions(0, 100_000).await.unwrap();
        (last, all.iter().map(|t| t.seq).collect())
    }
}

pub(crate) async fn write<T, F>(writer: &Writer, work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: for<'a, 'b> Fn(&'a mut Unit<'b>) -> BoxFuture<'a, Result<T, StoreError>> + Send + Sync + 'static,
{
    writer.commit(Work(work)).await
}

struct Work<F>(F);

#[async_trait]
impl<T, F> Command for Work<F>
where
    T: Send + 'static,
    F: for<'a, 'b> Fn(&'a mut Unit<'b>) -> BoxFuture<'a, Result<T, StoreError>> + Send + Sync + 'static,
{
    type Answer = T;
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<T, StoreError> {
        (self.0)(unit).await
    }
}

pub(crate) fn started() -> Event {
    Event::Started { timeout: Duration::from_mins(10) }
}

pub(crate) fn failure(run: RunId, message: &str) -> Failure {
    Failure {
        step: "unpack".into(),
        exit_code: Some(1),
        message: message.into(),
        last_lines: "no space".into(),
        run,
        at: Timestamp(5),
    }
}

pub(crate) fn facts(run: RunId) -> StepFacts {
    StepFacts {
        next: None,
        retry: Retry::May,
        retry_on_timeout: false,
        repair: Repair::No,
        outputs: Some(BTreeMap::new()),
        failure: failure(run, "it broke"),
        seen: Seen::default(),
    }
}

pub(crate) fn new_server(clock: &dyn Clock, name: &str) -> Server {
    let now = clock.now();
    Server {
        id: ServerId(clock.ulid()),
        name: name.into(),
        host: "192.0.2.7".into(),
        port: 22,
        user: "root".into(),
        host_key: "SHA256:abc".into(),
        identity: IdentityKind::Key,
        via: None,
        labels: BTreeMap::new(),
        policy: Policy::default(),
        status: ServerStatus::Pending,
        reach: Reach::Ok,
        reach_detail: String::new(),
        held: None,
        last_seen: None,
        last_error: None,
        facts: BTreeMap::new(),
        created_at: now,
        updated_at: now,
        version: 1,
        seq: 0,
    }
}

pub(crate) fn new_resource(clock: &dyn Clock, server: &Server, name: &str) -> Resource {
    let now = clock.now();
    Resource {
        id: ResourceId(clock.ulid()),
        name: name.into(),
        server: server.id,
        server_name: server.name.clone(),
        package: "deployment".into(),
        status: ResourceStatus::Pending,
        desired: BTreeMap::from([("port".to_owned(), "80".to_owned())]),
        former: None,
        applied: None,
        secrets: vec![],
        outputs: BTreeMap::new(),
        ours: true,
        last_error: None,
        observed: None,
        open_run: None,
        created_at: now,
        updated_at: now,
        version: 1,
        seq: 0,
    }
}

pub(crate) fn new_run(clock: &dyn Clock, resource: &Resource) -> Run {
    let now = clock.now();
    Run {
        id: RunId(clock.ulid()),
        server: resource.server,
        server_name: resource.server_name.clone(),
        subject: Subject::Resource {
            id: resource.id,
            name: resource.name.clone(),
            package: resource.package.clone(),
            digest: "d1".into(),
            earlier: resource.status,
            declared: Declared { in_progress: ResourceStatus::Installing, success: ResourceStatus::Active },
        },
        operation: Operation::Install,
        exclusive: true,
        attempts_max: 3,
        principal: "unix:0".into(),
        retry_of: None,
        accepted_at: now,
        queue_until: now + TIMINGS.queue_limit,
        kill_grace: TIMINGS.kill_grace,
        settle_margin: TIMINGS.settle_margin,
        wait_limit: TIMINGS.queue_limit,
        stale: Thresholds::default(),
        progress_at: now,
        priority: Priority::Normal,
        cancel_requested: false,
        payload: false,
        parameters: BTreeMap::new(),
        outputs: BTreeMap::new(),
        state: RunState::Queued { waiting: None },
        grounds: None,
        epoch: 0,
        version: 1,
        seq: 0,
    }
}

pub(crate) fn new_step(run: &Run, now: Timestamp) -> StepRecord {
    let Subject::Resource { id, .. } = &run.subject else { panic!("a run of a resource") };
    StepRecord {
        id: run.live_step().expect("it is stepping"),
        server: run.server,
        resource: Some(*id),
        no: 0,
        title: "unpack".into(),
        repair: false,
        kill_grace: Duration::from_secs(30),
        output_bytes_max: 65_536,
        state: StepState::Starting,
        exit_code: None,
        why: String::new(),
        started_at: now,
        ended_at: None,
        output_bytes: 0,
        truncated: false,
        late: None,
        version: 1,
        seq: 0,
    }
}

/// A row of the audit.
pub(crate) fn audit_row(method: &str, object: &str) -> AuditRow {
    AuditRow {
        principal: "unix:0".to_owned(),
        peer: "test".to_owned(),
        verb: "operate",
        method: method.to_owned(),
        object: object.to_owned(),
        server: String::new(),
        detail: String::new(),
        result: AuditResult::Accepted,
        changes: String::new(),
        run_id: None,
    }
}
