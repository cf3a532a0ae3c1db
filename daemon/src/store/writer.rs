//! Group commit: one task per daemon gathers the commands that wait while a commit is in progress, and commits them together.
//!
//! Each command loads and decides first, and its first write is its guard: a refusal has written nothing and harms no neighbour. If a
//! command fails after it has written, or the database complains, the batch is rolled back and its commands run again one by one.
//! When the answer to a COMMIT is lost, the database is asked what became of it, so that nothing is done twice. Commits happen here,
//! never in a future that a client can cancel.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt as _;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::bell::{Bell, Committed};
use super::measured::Measured;
use super::open::Options;
use super::origin::Trail;
use super::unit::Done;
use super::{Db, StoreError, Unit, Wants};
use crate::clock::Clock;
use crate::domain::id::ServerId;
use crate::domain::time::Timestamp;

/// Commands that may wait for the writer; beyond it callers wait to enqueue.
const WAITING_MAX: usize = 1_024;
/// Commands in one commit: bounds how long a commit takes and what a failed one repeats.
const BATCH_MAX: usize = 256;
/// What callers are told when a COMMIT was not answered and nobody can ask what became of it.
const UNKNOWN: &str = "it went away during a commit, and whether that was stored is not known yet: ask again with the same request id";

/// One change of the store: loads, lets the domain decide, writes. May run twice, so it must not keep anything between runs.
#[async_trait]
pub trait Command: Send + Sync + 'static {
    /// What it answers once it is durable.
    type Answer: Send + 'static;
    /// Why it was refused.
    type Refusal: From<StoreError> + Send + 'static;

    /// Names what it will look at, so that it is loaded for a whole batch at once.
    fn wants(&self, _: &mut Wants) {}

    /// Does the work within the unit.
    async fn run(&self, unit: &mut Unit<'_>) -> Result<Self::Answer, Self::Refusal>;
}

/// The writer is gone: the daemon stops.
#[derive(Debug, thiserror::Error)]
#[error("the daemon is stopping")]
pub(super) struct Failed;

/// Hands commands to the writer task.
#[derive(Clone)]
pub struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    /// Held, so that whoever rings knows that somebody may wait.
    committed: watch::Receiver<Committed>,
    bell: Arc<Bell>,
    replaced: CancellationToken,
    ended: CancellationToken,
}

impl Writer {
    pub(super) fn spawn(
        conn: Conn,
        way: Way,
        clock: Arc<dyn Clock>,
        bell: Arc<Bell>,
        measured: Arc<Measured>,
    ) -> Self {
        let (jobs, inbox) = mpsc::channel(WAITING_MAX);
        let replaced = CancellationToken::new();
        let (of_task, told) = (Arc::clone(&bell), replaced.clone());
        let task = Task { conn: Some(conn), way, clock, bell: of_task, replaced: told, measured };
        let ended = CancellationToken::new();
        // Also when it panics.
        let end = ended.clone().drop_guard();
        tokio::spawn(async move {
            let _end = end;
            task.run(inbox).await;
        });
        Self { jobs, committed: bell.committed(), bell, replaced, ended }
    }

    /// Waits until nothing can be written any more, and answers why: the database is another one than was opened, or the writer broke.
    pub fn over(&self) -> impl Future<Output = StoreError> + Send + use<> {
        let (replaced, ended) = (self.replaced.clone(), self.ended.clone());
        async move {
            tokio::select! {
                biased;
                () = replaced.cancelled() => StoreError::Replaced,
                () = ended.cancelled() => StoreError::Unavailable("a fault in settled: its writer ended; the log tells more".to_owned()),
            }
        }
    }

    /// Runs the command in the next commit and answers when it is durable.
    pub async fn commit<C: Command>(&self, command: C) -> Result<C::Answer, C::Refusal> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Pending { command, outcome: None, reply });
        let stopping = || C::Refusal::from(StoreError::Unavailable(Failed.to_string()));
        self.jobs.send(job).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Changes with every commit of this daemon, and with those of others that are heard of.
    pub fn committed(&self) -> watch::Receiver<Committed> {
        self.committed.clone()
    }

    /// Sets who is told, right after a commit, for which servers it has news.
    pub fn on_call(&self, on_call: impl Fn(ServerId) + Send + Sync + 'static) {
        self.bell.on_call(Box::new(on_call));
    }
}

/// A connection that writes.
pub(super) enum Conn {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Conn {
    pub(super) fn db(&mut self) -> Db<'_> {
        match self {
            Self::Sqlite(conn) => Db::Sqlite(conn),
            Self::Postgres(conn) => Db::Postgres(conn),
        }
    }

    /// Begins a transaction and locks the counter before anything else: no two writers can deadlock, and number order is commit order.
    pub(super) async fn begin(&mut self) -> Result<Begun, StoreError> {
        let (seq, audited, audited_at, name) = match self {
            Self::Sqlite(conn) => {
                let sql = "BEGIN IMMEDIATE; SELECT seq, audited, audited_at, '' FROM counter";
                let row = sqlx::raw_sql(sql).fetch_one(conn).await?;
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)
            }
            Self::Postgres(conn) => {
                let sql = "BEGIN; SELECT seq, audited, audited_at, pg_current_xact_id()::text FROM counter FOR UPDATE";
                let row = sqlx::raw_sql(sql).fetch_one(conn).await?;
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)
            }
        };
        Ok(Begun { seq, audited, audited_at: Timestamp(audited_at), name })
    }

    /// Moves the counter and commits, in one exchange. The counter is written even when it stays: in a transaction that the engine has
    /// given up this is an error, where COMMIT alone would quietly roll back.
    async fn commit(&mut self, done: &Done, bell: &Bell) -> Result<(), sqlx::Error> {
        let (seq, audited, at) = (done.seq, done.audited, done.audited_at.0);
        let notify = match self {
            Self::Sqlite(_) => String::new(),
            Self::Postgres(_) => bell.notify(seq, &done.called) + "; ",
        };
        let sql =
            format!("UPDATE counter SET seq = {seq}, audited = {audited}, audited_at = {at}; {notify}COMMIT");
        on!(&mut self.db(), c => sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(c).await.map(drop))
    }

    /// Commits what has no transition.
    pub(super) async fn end(&mut self) -> Result<(), StoreError> {
        Ok(on!(&mut self.db(), c => sqlx::raw_sql("COMMIT").execute(c).await.map(drop))?)
    }

    async fn roll_back(&mut self) -> Result<(), StoreError> {
        Ok(on!(&mut self.db(), c => sqlx::raw_sql("ROLLBACK").execute(c).await.map(drop))?)
    }

    /// Whether a transaction of another connection, which is gone, was committed. The lock on the counter waits for its end.
    async fn was_committed(&mut self, begun: &Begun) -> Result<bool, StoreError> {
        self.begin().await?;
        let committed = match self {
            // The engine is in this process: what it did not confirm did not happen.
            Self::Sqlite(_) => false,
            Self::Postgres(conn) => {
                let sql = "SELECT pg_xact_status(CAST($1 AS xid8)) = 'committed'";
                sqlx::query_scalar(sql).bind(&begun.name).fetch_one(conn).await?
            }
        };
        self.roll_back().await?;
        Ok(committed)
    }

    async fn close(self) {
        let closed = match self {
            Self::Sqlite(conn) => conn.close().await,
            Self::Postgres(conn) => conn.close().await,
        };
        if let Err(error) = closed {
            tracing::debug!(%error, "the database connection did not close cleanly");
        }
    }
}

/// A transaction that has begun: where the counter stood, and the engine's name for it.
pub(super) struct Begun {
    pub(super) seq: i64,
    audited: i64,
    audited_at: Timestamp,
    name: String,
}

#[async_trait]
trait Job: Send {
    fn wants(&self, wants: &mut Wants);
    /// Runs the command; false when it was refused.
    async fn run(&mut self, unit: &mut Unit<'_>) -> bool;
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Pending<C: Command> {
    command: C,
    outcome: Option<Result<C::Answer, C::Refusal>>,
    reply: oneshot::Sender<Result<C::Answer, C::Refusal>>,
}

#[async_trait]
impl<C: Command> Job for Pending<C> {
    fn wants(&self, wants: &mut Wants) {
        self.command.wants(wants);
    }

    async fn run(&mut self, unit: &mut Unit<'_>) -> bool {
        self.outcome = None;
        let outcome = AssertUnwindSafe(self.command.run(unit)).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(
                "a fault in settled: a command panicked; the log tells more".to_owned(),
            )
            .into())
        });
        let accepted = outcome.is_ok();
        self.outcome = Some(outcome);
        accepted
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (committed, self.outcome) {
            (Err(error), Some(Ok(_)) | None) => Err(error.into()),
            (_, Some(outcome)) => outcome,
            (Ok(()), None) => Err(StoreError::Unavailable("the command did not run".to_owned()).into()),
        };
        // A caller that went away does not want its answer; the command is done all the same.
        drop(self.reply.send(answer));
    }
}

struct Task {
    conn: Option<Conn>,
    way: Way,
    clock: Arc<dyn Clock>,
    bell: Arc<Bell>,
    replaced: CancellationToken,
    measured: Arc<Measured>,
}

/// The way to the database that was opened, and to no other.
pub(super) struct Way {
    pub(super) options: Options,
    pub(super) trail: Trail,
}

impl Way {
    async fn connect(&self) -> Result<Conn, StoreError> {
        let mut conn = self.options.connect().await?;
        if !self.trail.leads_on(&mut conn.db()).await? {
            conn.close().await;
            return Err(StoreError::Replaced);
        }
        Ok(conn)
    }
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::Receiver<Box<dyn Job>>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while inbox.recv_many(&mut batch, BATCH_MAX).await > 0 {
            self.commit(std::mem::take(&mut batch)).await;
        }
        if let Some(conn) = self.conn.take() {
            conn.close().await;
        }
    }

    async fn commit(&mut self, mut batch: Vec<Box<dyn Job>>) {
        match self.attempt(&mut batch).await {
            Attempt::Done => finish_all(batch, || Ok(())),
            Attempt::Again(error) if batch.len() > 1 => {
                self.measured.failed.add();
                tracing::debug!(%error, commands = batch.len(), "a batch is run again one by one");
                for job in batch {
                    Box::pin(self.commit(vec![job])).await;
                }
            }
            // A command that was refused has its own answer; the error is for one that had none.
            Attempt::Again(error) => {
                self.measured.failed.add();
                tracing::debug!(%error, "nothing was committed");
                for job in batch {
                    job.finish(Err(error.clone()));
                }
            }
            Attempt::Failed(error) => {
                self.measured.failed.add();
                tracing::debug!(%error, commands = batch.len(), "nothing was committed");
                finish_all(batch, || match &error {
                    StoreError::Full | StoreError::Replaced => Err(error.clone()),
                    error => Err(StoreError::Unavailable(error.to_string())),
                });
            }
        }
    }

    /// Runs all commands in one transaction.
    async fn attempt(&mut self, batch: &mut [Box<dyn Job>]) -> Attempt {
        let since = self.measured.monotonic();
        let (mut conn, begun) = match self.begin().await {
            Ok(begun) => begun,
            Err(error) => return Attempt::Failed(error),
        };
        let done = match work(&mut conn, &begun, batch, self.clock.now()).await {
            Ok(Some(done)) => done,
            Ok(None) => {
                self.roll_back(conn).await;
                return Attempt::Done;
            }
            Err(error) => {
                self.roll_back(conn).await;
                return Attempt::Again(error);
            }
        };
        match conn.commit(&done, &self.bell).await {
            Ok(()) => self.conn = Some(conn),
            // The engine says that it did not commit.
            Err(error @ sqlx::Error::Database(_)) => {
                self.roll_back(conn).await;
                return Attempt::Again(error.into());
            }
            Err(error) => {
                conn.close().await;
                match self.was_committed(&begun).await {
                    Ok(true) => {}
                    Ok(false) => return Attempt::Again(error.into()),
                    Err(_) => return Attempt::Failed(StoreError::Unavailable(UNKNOWN.to_owned())),
                }
            }
        }
        self.measured.committed(since, batch.len(), &done.moves);
        self.way.trail.committed(done.seq);
        self.bell.ring(done.seq, done.called);
        Attempt::Done
    }

    /// Begins on the connection of the last commit, or on a new one when that is gone: nothing has happened yet that could be lost.
    ///
    /// A database whose counter is behind what was heard of it was put back under us.
    async fn begin(&mut self) -> Result<(Conn, Begun), StoreError> {
        let (mut conn, begun) = self.begun().await?;
        if begun.seq < self.bell.seq() {
            conn.roll_back().await?;
            self.replaced.cancel();
            return Err(StoreError::Replaced);
        }
        Ok((conn, begun))
    }

    async fn begun(&mut self) -> Result<(Conn, Begun), StoreError> {
        if let Some(mut conn) = self.conn.take() {
            match conn.begin().await {
                Ok(begun) => return Ok((conn, begun)),
                Err(error) => {
                    tracing::debug!(%error, "the writing connection is replaced");
                    conn.close().await;
                }
            }
        }
        let mut conn = self.connect().await?;
        let begun = conn.begin().await?;
        Ok((conn, begun))
    }

    async fn connect(&self) -> Result<Conn, StoreError> {
        let connected = self.way.connect().await;
        if let Err(StoreError::Replaced) = connected {
            self.replaced.cancel();
        }
        connected
    }

    /// Asks on a new connection what became of a COMMIT whose answer was lost.
    async fn was_committed(&mut self, begun: &Begun) -> Result<bool, StoreError> {
        let mut conn = self.connect().await?;
        let committed = conn.was_committed(begun).await?;
        self.conn = Some(conn);
        Ok(committed)
    }

    /// Keeps the connection only if it could roll back; otherwise the next batch opens another.
    async fn roll_back(&mut self, mut conn: Conn) {
        match conn.roll_back().await {
            Ok(()) => self.conn = Some(conn),
            Err(error) => {
                tracing::debug!(%error, "the writing connection is replaced");
                conn.close().await;
            }
        }
    }
}

enum Attempt {
    /// Committed, or there was nothing to commit.
    Done,
    /// Rolled back because of one of them: alone, the others can do better.
    Again(StoreError),
    /// The database cannot, or cannot say whether it did: trying again now is useless, or could do things twice.
    Failed(StoreError),
}

/// Runs the commands; answers what is to be committed, or `None` when there is nothing to commit.
async fn work(
    conn: &mut Conn,
    begun: &Begun,
    batch: &mut [Box<dyn Job>],
    now: Timestamp,
) -> Result<Option<Done>, StoreError> {
    let mut unit = Unit::new(conn.db(), now, begun.seq, (begun.audited, begun.audited_at));
    if batch.len() > 1 {
        let mut wants = Wants::default();
        for job in batch.iter() {
            job.wants(&mut wants);
        }
        unit.load(wants).await?;
    }
    for job in batch {
        let before = unit.mark();
        let accepted = job.run(&mut unit).await;
        if unit.is_spoilt() {
            return Err(StoreError::Unavailable("what a command wrote was refused".to_owned()));
        }
        if !accepted && !unit.forget(before) {
            return Err(StoreError::Unavailable("a command was refused after it had written".to_owned()));
        }
    }
    if unit.is_empty() {
        unit.still_stands().await?;
        return Ok(None);
    }
    unit.finish().await.map(Some)
}

fn finish_all(batch: Vec<Box<dyn Job>>, committed: impl Fn() -> Result<(), StoreError>) {
    for job in batch {
        job.finish(committed());
    }
}

impl Options {
    pub(super) async fn connect(&self) -> Result<Conn, StoreError> {
        Ok(match self {
            Self::Sqlite(options) => Conn::Sqlite(options.connect().await?),
            Self::Postgres(options) => Conn::Postgres(options.connect().await?),
        })
    }
}
