//! Takes what is to be told to the collector, some of it at a time, and tries again for a while when the collector does not take it. Whatever is not
//! told in the end is counted: what could not be read, what was not taken, and what a stop cut off.

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
/// How long all that waits may take when the daemon stops.
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
    /// Ends of runs and calls that are being told.
    in_hand: usize,
    queue: Arc<Queue>,
    way: Way,
    teller: Teller,
    told: Sparse,
}

impl Exporter {
    pub(super) fn new(waiting: mpsc::Receiver<Piece>, queue: Arc<Queue>, way: Way) -> Self {
        let installation = way.store.about().installation.to_string();
        let teller = Teller { daemon: way.daemon.clone(), installation };
        Self { waiting, in_hand: 0, queue, way, teller, told: Sparse::default() }
    }

    /// Runs until `stop`, and then tells what waits, for a moment.
    pub async fn run(mut self, stop: CancellationToken) {
        let clock = Arc::clone(&self.way.clock);
        let over = async {
            stop.cancelled().await;
            clock.sleep_until(clock.monotonic() + LAST_LIMIT).await;
        };
        tokio::select! {
            () = self.tell_all(&stop) => {}
            () = over => {}
        }
        let cut_off = u64::try_from(self.in_hand + self.waiting.len()).unwrap_or(u64::MAX);
        if cut_off > 0 {
            self.queue.dropped.add_many(cut_off);
            tracing::warn!(
                dropped = self.queue.dropped.get(),
                cut_off,
                "the stop did not wait for the collector of traces"
            );
        }
    }

    async fn tell_all(&mut self, stop: &CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while stop.run_until_cancelled(self.waiting.recv_many(&mut batch, BATCH_MAX)).await.is_some() {
            self.tell(std::mem::take(&mut batch), stop).await;
        }
        while !self.waiting.is_empty() {
            self.waiting.recv_many(&mut batch, BATCH_MAX).await;
            self.tell(std::mem::take(&mut batch), stop).await;
        }
    }

    async fn tell(&mut self, batch: Vec<Piece>, stop: &CancellationToken) {
        self.in_hand = batch.len();
        let taken = match self.spans(batch).await {
            // What there was to tell of is gone, or cannot be read.
            Ok(spans) if spans.is_empty() => {
                self.in_hand = 0;
                return;
            }
            Ok(spans) => self.send(&spans, stop).await,
            Err(error) => self.fails(&format!("the store does not tell of the runs: {error}")),
        };
        let pieces = u64::try_from(std::mem::take(&mut self.in_hand)).unwrap_or(u64::MAX);
        if taken { &self.queue.sent } else { &self.queue.dropped }.add_many(pieces);
    }

    async fn spans(&mut self, batch: Vec<Piece>) -> Result<Vec<Span>, StoreError> {
        let mut spans = Vec::new();
        for piece in batch {
            match piece {
                Piece::Call(call) => spans.extend(spans::of_call(&call)),
                Piece::End(run) => match self.of_run(run).await {
                    Ok(of_run) => spans.extend(of_run),
                    Err(StoreError::Corrupt(error)) => self.drops(run, &error),
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(spans)
    }

    /// One that cannot be read never can: it harms none of the others.
    fn drops(&mut self, run: RunId, error: &str) {
        self.in_hand -= 1;
        self.queue.dropped.add();
        tracing::warn!(run_id = %run, error, "a run cannot be told as a trace: what the store has of it cannot be read");
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
            let (url, timeout) = (self.way.endpoint.clone(), ANSWER_LIMIT);
            let post = Post { url, headers: Vec::new(), body: body.clone(), timeout };
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
