//! Traces for a collector, by OTLP over HTTP with JSON (`traces.endpoint`, off by default): one trace per run, from the call that asked for it
//! to its last step.
//!
//! Nothing of a trace is kept open. Its id is the run's ULID, the ids of its spans follow from that and from what they are, and its times are those
//! that the store has: so whichever daemon brings a run to its end tells the whole of it, after however many restarts. Only what no store
//! has (a call, a connect) is told by the daemon that saw it, in the same trace. A collector that is away delays nothing: what it
//! does not take in time is dropped, and counted. It never knows what a step printed or what was wrong in words: no secret is in a trace.

mod export;
mod json;
mod spans;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

pub use export::{Connects, Exporter, Way};
pub use spans::Caller;

use crate::domain::id::RunId;
use crate::domain::time::Timestamp;
use crate::figures::Count;

/// Ends of runs and calls that wait for the collector. Beyond it they are dropped.
const WAITING_MAX: usize = 4_096;

/// A call that was asked for runs.
#[derive(Debug, Clone)]
pub struct Call {
    /// `Resources.Install`.
    pub method: &'static str,
    /// The runs that it has asked for.
    pub runs: Vec<RunId>,
    /// When it came.
    pub began: Timestamp,
    /// When its answer began.
    pub ended: Timestamp,
    /// The code of its status: 0 when it was answered.
    pub code: i32,
    /// The span from which it was made, if it says so.
    pub caller: Option<Caller>,
}

/// What is told to the collector.
enum Piece {
    Call(Call),
    End(RunId),
}

/// What is to be told goes in here. Cheap to clone, and to call when traces are off.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Queue>>);

struct Queue {
    pieces: mpsc::Sender<Piece>,
    sent: Count,
    dropped: Count,
    /// Why the collector does not take them, as of the last time.
    trouble: Mutex<Option<String>>,
}

impl Traces {
    /// Traces that go to a collector, and what takes them there.
    pub fn to(way: Way) -> (Self, Exporter) {
        let (pieces, waiting) = mpsc::channel(WAITING_MAX);
        let (sent, dropped, trouble) = (Count::default(), Count::default(), Mutex::default());
        let queue = Arc::new(Queue { pieces, sent, dropped, trouble });
        (Self(Some(Arc::clone(&queue))), Exporter::new(waiting, queue, way))
    }

    /// Whether anything is told.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A call has asked for runs.
    pub fn asked(&self, call: Call) {
        self.tell(Piece::Call(call));
    }

    /// A run has ended, and that is durable.
    pub fn ended(&self, run: RunId) {
        self.tell(Piece::End(run));
    }

    fn tell(&self, piece: Piece) {
        let Some(queue) = &self.0 else { return };
        if queue.pieces.try_send(piece).is_err() {
            queue.dropped.add();
        }
    }

    /// Ends of runs and calls that the collector has taken, and that were dropped.
    pub fn counts(&self) -> (u64, u64) {
        self.0.as_ref().map_or((0, 0), |queue| (queue.sent.get(), queue.dropped.get()))
    }

    /// Why the collector takes nothing, if so.
    pub fn trouble(&self) -> Option<String> {
        self.0.as_ref().and_then(|queue| queue.trouble().clone())
    }
}

impl Queue {
    fn trouble(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    #[test]
    fn what_does_not_fit_the_queue_is_dropped_and_counted() {
        let (pieces, waiting) = mpsc::channel(1);
        let (sent, dropped, trouble) = (Count::default(), Count::default(), Mutex::default());
        let traces = Traces(Some(Arc::new(Queue { pieces, sent, dropped, trouble })));
        for _ in 0..3 {
            traces.ended(RunId(Ulid(7)));
        }
        assert_eq!(traces.counts(), (0, 2));
        drop(waiting);
    }
}
