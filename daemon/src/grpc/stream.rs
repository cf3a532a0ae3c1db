//! Streams that end when the daemon stops, and say so. They are pulled by the connection's flow control, so a slow reader pauses its
//! own reading of the store and nobody else's.

use std::pin::Pin;

use futures::{Stream, StreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::status;

/// A stream of answers.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The answers until their end, an error, or the stop of the daemon, which is an error too.
pub(super) fn until_stopped<T: Send + 'static>(
    answers: impl Stream<Item = Result<T, Status>> + Send + 'static,
    stop: CancellationToken,
) -> Answers<T> {
    let state = Some((Box::pin(answers), stop));
    Box::pin(stream::unfold(state, |state| async {
        let (mut answers, stop) = state?;
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => Some(Err(status::stopping())),
            next = answers.next() => next,
        };
        match next? {
            Ok(answer) => Some((Ok(answer), Some((answers, stop)))),
            Err(status) => Some((Err(status), None)),
        }
    }))
}
