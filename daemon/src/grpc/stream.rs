//! Streams that end when the daemon stops, or leaves for others, and say so. They are pulled by the connection's flow control, so a slow reader
//! pauses its own reading of the store and nobody else's.

use std::pin::Pin;

use futures::{Stream, StreamExt as _, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{GrpcParts, Leaving, status};

/// A stream of answers.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The methods of the contract that answer with a stream.
const STREAMED: [&str; 3] =
    ["/settled.v1.Transitions/Watch", "/settled.v1.Runs/Follow", "/settled.v1.Lifecycles/Work"];

/// Whether a method answers with a stream.
pub(super) fn is_stream(path: &str) -> bool {
    STREAMED.contains(&path)
}

/// What ends a stream of answers: the stop of the daemon, which is an error too, or a drain that begins while it is read. Whoever begins to
/// read during a drain has nowhere else to go, and reads on.
pub(super) struct End {
    stop: CancellationToken,
    leaving: watch::Receiver<Leaving>,
}

impl End {
    /// The end of a stream that begins now.
    pub(super) fn of(parts: &GrpcParts) -> Self {
        Self { stop: parts.stop.clone(), leaving: from_now(&parts.leaving) }
    }

    /// Returns when it comes, with what the stream ends with.
    pub(super) async fn comes(&mut self) -> Status {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => status::stopping(),
            () = leaves(&mut self.leaving) => status::draining(),
        }
    }
}

/// The answers until their end, an error, or what ends streams: the daemon's leaving, or that `over` comes true of their reader.
pub(super) fn until_stopped<T: Send + 'static>(
    answers: impl Stream<Item = Result<T, Status>> + Send + 'static,
    parts: &GrpcParts,
    over: impl Future<Output = Status> + Send + 'static,
) -> Answers<T> {
    let state = Some((Box::pin(answers), Box::pin(over), End::of(parts)));
    Box::pin(stream::unfold(state, |state| async {
        let (mut answers, mut over, mut end) = state?;
        let next = tokio::select! {
            biased;
            status = end.comes() => Some(Err(status)),
            status = &mut over => Some(Err(status)),
            next = answers.next() => next,
        };
        match next? {
            Ok(answer) => Some((Ok(answer), Some((answers, over, end)))),
            Err(status) => Some((Err(status), None)),
        }
    }))
}

/// Hears of what changes from here on.
pub(super) fn from_now(leaving: &watch::Receiver<Leaving>) -> watch::Receiver<Leaving> {
    let mut leaving = leaving.clone();
    leaving.mark_unchanged();
    leaving
}

/// Returns when the daemon begins to leave for others.
pub(super) async fn leaves(leaving: &mut watch::Receiver<Leaving>) {
    while leaving.changed().await.is_ok() {
        if *leaving.borrow_and_update() == Leaving::ToOthers {
            return;
        }
    }
    // Whoever would tell is gone: the stop comes.
    std::future::pending::<()>().await;
}
