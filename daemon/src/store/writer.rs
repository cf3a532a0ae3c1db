//! Group commit: one task per daemon gathers the commands that wait while a commit is in progress, and commits them together.
//!
//! Each command loads and decides first, and its first write is its guard: a refusal has written nothing and harms no neighbour. If a
//! command fails after it has written, or the database complains, the batch is rolled back and its commands run again one by one.
//! Commits happen here, never in a future that a client can cancel.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt as _;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, SqliteConnection};
use tokio::sync::{mpsc, oneshot, watch};

use super::open::Options;
use super::{Db, StoreError, Unit};
use crate::clock::Clock;

/// Commands that may wait for the writer; beyond it callers wait to enqueue.
const WAITING_MAX: usize = 1_024;
/// Commands in one commit: bounds how long a commit takes and what a failed one repeats.
const BATCH_MAX: usize = 256;

/// One change of the store: loads, lets the domain decide, writes. May run twice, so it must not keep anything between runs.
#[async_trait]
pub trait Command: Send + Sync + 'static {
    /// What it answers once it is durable.
    type Answer: Send + 'static;
    /// Why it was refused.
    type Refusal: From<StoreError> + Send + 'static;

    /// Does the work within the unit.
    async fn run(&self, unit: &mut Unit<'_>) -> Result<Self::Answer, Self::Refusal>;
}

/// The writer is gone: the daemon stops.
#[derive(Debug, thiserror::Error)]
#[error("the daemon is stopping")]
pub(super) struct Failed;

/// The last commit: number of its last transition, and how many commits there were since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Committed {
    /// Number of the last transition.
    pub seq: i64,
    /// Commits so far.
    pub commits: u64,
}

/// Hands commands to the writer task.
#[derive(Clone)]
pub struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    committed: watch::Receiver<Committed>,
}

impl Writer {
    pub(super) fn spawn(conn: Conn, options: Options, clock: Arc<dyn Clock>, seq: i64) -> Self {
        let (jobs, inbox) = mpsc::channel(WAITING_MAX);
        let (tell, committed) = watch::channel(Committed { seq, commits: 0 });
        let task = Task { conn: Some(conn), options, clock, tell };
        tokio::spawn(task.run(inbox));
        Self { jobs, committed }
    }

    /// Runs the command in the next commit and answers when it is durable.
    pub async fn commit<C: Command>(&self, command: C) -> Result<C::Answer, C::Refusal> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Pending { command, outcome: None, reply });
        let stopping = || C::Refusal::from(StoreError::Unavailable(Failed.to_string()));
        self.jobs.send(job).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Changes with every commit.
    pub fn committed(&self) -> watch::Receiver<Committed> {
        self.committed.clone()
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

    async fn begin(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(conn) => sqlx::raw_sql("BEGIN IMMEDIATE").execute(conn).await.map(drop)?,
            Self::Postgres(conn) => sqlx::raw_sql("BEGIN").execute(conn).await.map(drop)?,
        }
        Ok(())
    }

    async fn end(&mut self, how: &'static str) -> Result<(), StoreError> {
        on!(&mut self.db(), c => sqlx::raw_sql(how).execute(c).await.map(drop))?;
        Ok(())
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

#[async_trait]
trait Job: Send {
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
    options: Options,
    clock: Arc<dyn Clock>,
    tell: watch::Sender<Committed>,
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
            Attempt::Committed => finish_all(batch, || Ok(())),
            Attempt::Failed(error) if batch.len() == 1 => {
                tracing::warn!(%error, "a command was not committed");
                finish_all(batch, || Err(StoreError::Unavailable(error.to_string())));
            }
            Attempt::Failed(error) => {
                tracing::debug!(%error, commands = batch.len(), "a batch is run again one by one");
                for job in batch {
                    Box::pin(self.commit(vec![job])).await;
                }
            }
            Attempt::RolledBack if batch.len() == 1 => finish_all(batch, || Ok(())),
            Attempt::RolledBack => {
                for job in batch {
                    Box::pin(self.commit(vec![job])).await;
                }
            }
        }
    }

    /// Runs all commands in one transaction.
    async fn attempt(&mut self, batch: &mut [Box<dyn Job>]) -> Attempt {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => match self.options.connect().await {
                Ok(conn) => conn,
                Err(error) => return Attempt::Failed(error),
            },
        };
        let result = work(&mut conn, batch, self.clock.now()).await;
        match result {
            Ok(Some(seq)) => {
                self.conn = Some(conn);
                self.tell.send_modify(|c| *c = Committed { seq: c.seq.max(seq), commits: c.commits + 1 });
                Attempt::Committed
            }
            Ok(None) => {
                self.roll_back(conn).await;
                Attempt::RolledBack
            }
            Err(error) => {
                self.roll_back(conn).await;
                Attempt::Failed(error)
            }
        }
    }

    /// Keeps the connection only if it could roll back; otherwise the next batch opens another.
    async fn roll_back(&mut self, mut conn: Conn) {
        match conn.end("ROLLBACK").await {
            Ok(()) => self.conn = Some(conn),
            Err(error) => {
                tracing::debug!(%error, "the writing connection is replaced");
                conn.close().await;
            }
        }
    }
}

enum Attempt {
    Committed,
    /// A command was refused after it had written.
    RolledBack,
    Failed(StoreError),
}

/// The transaction. `None`: a command was refused after it had written, so nothing may be committed.
async fn work(
    conn: &mut Conn,
    batch: &mut [Box<dyn Job>],
    now: crate::domain::time::Timestamp,
) -> Result<Option<i64>, StoreError> {
    conn.begin().await?;
    let mut unit = Unit::begin(conn.db(), now).await?;
    for job in batch {
        let before = unit.writes();
        let accepted = job.run(&mut unit).await;
        if !accepted && unit.writes() != before {
            return Ok(None);
        }
    }
    let seq = unit.finish().await?;
    conn.end("COMMIT").await?;
    Ok(Some(seq))
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
