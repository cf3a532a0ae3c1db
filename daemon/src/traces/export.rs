//! Takes what is to be told to the collector, some of it at a time, and tries again for a while when the collector does not take it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::json::{self, Teller};
use super::spans::{self, Span};
use super::{Piece, Queue};
use crate::clock::{Clock, Sparse};
use crate::domain::id::{RunId, ServerId};
use crate::domain::time::Timestamp;
use crate::outside::{Caller, Post};
use crate::store::{Store, StoreError};

/// Ends of runs and calls that are told at once.
const BATCH_MAX: usize = 64;
/// How long the collector may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The same when the daemon stops.
const LAST_LIMIT: Duration = Duration::from_millis(500);
/// Pauses before what was not taken is sent again; then it is dropped. Meanwhile what comes waits in the queue.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15), Duration::from_secs(40)];

/// When connections to a server were made, the last few: from when to when.
pub type Connects = Box<dyn Fn(ServerId) -> Vec<(Timestamp, Timestamp)> + Send + Sync>;

/// Where traces go, and where what is in them comes from.
pub struct Way {
    /// The collector.
    pub endpoint: String,
    /// Who posts.
    pub caller: Caller,
    /// Where runs are read.
    pub store: Store,
    /// This daemon.
    pub daemon: String,
    /// When servers were connected to.
    pub connects: Connects,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Takes traces to the collector.
pub struct Exporter {
    waiting: mpsc::Receiver<Piece>,
    queue: Arc<Queue>,
    way: Way,
    teller: Teller,
    told: Sparse,
}

impl Exporter {
    pub(super) fn new(waiting: mpsc::Receiver<Piece>, queue: Arc<Queue>, way: Way) -> Self {
        let installation = way.store.about().installation.to_string();
        let teller = Teller { daemon: way.daemon.clone(), installation };
        Self { waiting, queue, way, teller, told: Sparse::default() }
    }

    /// Runs until `stop`, and then tells once more what waits.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while stop.run_until_cancelled(self.waiting.recv_many(&mut batch, BATCH_MAX)).await.is_some() {
            self.tell(std::mem::take(&mut batch), &stop).await;
        }
        while let Ok(piece) = self.waiting.try_recv() {
            batch.push(piece);
        }
        if !batch.is_empty() {
            self.tell(batch, &stop).await;
        }
    }

    async fn tell(&self, batch: Vec<Piece>, stop: &CancellationToken) {
        let pieces = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let taken = match self.spans(batch).await {
            Ok(spans) if spans.is_empty() => return,
            Ok(spans) => self.send(&spans, stop).await,
            Err(error) => self.fails(&format!("the store does not tell of the runs: {error}")),
        };
        if taken { &self.queue.sent } else { &self.queue.dropped }.add_many(pieces);
    }

    async fn spans(&self, batch: Vec<Piece>) -> Result<Vec<Span>, StoreError> {
        let mut spans = Vec::new();
        for piece in batch {
            match piece {
                Piece::Call(call) => spans.extend(spans::of_call(&call)),
                Piece::End(run) => spans.extend(self.of_run(run).await?),
            }
        }
        Ok(spans)
    }

    async fn of_run(&self, id: RunId) -> Result<Vec<Span>, StoreError> {
        let mut reader = self.way.store.read().await?;
        let mut db = reader.db();
        // One whose record is gone already has no story.
        let Some(run) = db.run(id).await? else { return Ok(Vec::new()) };
        let steps = db.steps(id).await?;
        Ok(spans::of_run(&run, &steps, &(self.way.connects)(run.server)))
    }

    /// Whether the collector has taken them.
    async fn send(&self, spans: &[Span], stop: &CancellationToken) -> bool {
        let body = json::request(&self.teller, spans);
        for pause in PAUSES.map(Some).into_iter().chain([None]) {
            let timeout = if stop.is_cancelled() { LAST_LIMIT } else { ANSWER_LIMIT };
            let post =
                Post { url: self.way.endpoint.clone(), headers: Vec::new(), body: body.clone(), timeout };
            let again = match self.way.caller.post(&post).await {
                Ok(answer) if (200..300).contains(&answer.status) => {
                    *self.queue.trouble() = None;
                    return true;
                }
                Ok(answer) => {
                    self.fails(&format!("it answers {}", answer.status));
                    answer.status >= 500 || matches!(answer.status, 408 | 429)
                }
                Err(failed) => {
                    self.fails(&format!("it {failed}"));
                    true
                }
            };
            let Some(pause) = pause.filter(|_| again && !stop.is_cancelled()) else { return false };
            let clock = &self.way.clock;
            let _ = stop.run_until_cancelled(clock.sleep_until(clock.monotonic() + pause)).await;
        }
        false
    }

    fn fails(&self, why: &str) -> bool {
        // What comes after the path may be a key.
        let endpoint = self.way.endpoint.split('?').next().unwrap_or_default();
        *self.queue.trouble() = Some(why.to_owned());
        if let Some(more) = self.told.tell(self.way.clock.monotonic()) {
            let dropped = self.queue.dropped.get();
            tracing::warn!(
                endpoint,
                why,
                more,
                dropped,
                "traces cannot be sent; what waits too long is dropped"
            );
        }
        false
    }
}
