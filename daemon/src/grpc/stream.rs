//! Streams that end when the daemon stops, or leaves for others, and say so. They are pulled by the connection's flow control, so a slow reader
//! pauses its own reading of the store and nobody else's.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::{GrpcParts, Leaving, status};
use crate::clock::Clock;
use crate::engine::Refusal;
use crate::hub::{Next, Reading};

/// A stream of answers.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The methods of the contract that answer with a stream.
const STREAMED: [&str; 4] = [
    "/settled.v1.Transitions/Watch",
    "/settled.v1.Runs/Follow",
    "/settled.v1.Lifecycles/Work",
    "/settled.v1.Admin/Backup",
];

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

/// Has something done that is driven on whether or not anybody asks for it, until whoever waits for it goes away. A stream is asked only while
/// its reader takes what it is sent; what it has in its hands in between, a connection to the store or a lock, others would wait for.
pub(super) fn driven<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = Result<T, Refusal>> + Send {
    // Begun at once: whoever waits for it need not have room for the work itself.
    let task = AbortOnDropHandle::new(tokio::spawn(work));
    async move { task.await.map_err(|error| Refusal::Internal(error.to_string())) }
}

/// The next thing that somebody is told who reads on, with who it is. Its looks are driven. While it waits it has nothing in its hands, and is as small
/// as can be.
pub(super) async fn told<R: Reading + 'static>(
    mut reader: Box<R>,
    clock: &Arc<dyn Clock>,
) -> Result<(Box<R>, Result<R::Told, R::Error>), Refusal> {
    loop {
        match reader.next(&**clock) {
            Ok(Next::Tell(told)) => return Ok((reader, Ok(told))),
            Ok(Next::Wait) => reader.wait(&**clock).await,
            Ok(Next::Look) => {
                let clock = Arc::clone(clock);
                let look = driven(async move {
                    let looked = reader.look(&*clock).await;
                    (reader, looked)
                });
                let looked;
                (reader, looked) = look.await?;
                if let Err(error) = looked {
                    return Ok((reader, Err(error)));
                }
            }
            Err(error) => return Ok((reader, Err(error))),
        }
    }
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

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::sync::{Semaphore, oneshot};

    use super::*;

    #[tokio::test]
    async fn p10_what_a_stream_has_in_its_hands_it_gives_back_though_nobody_asks_it_any_more() {
        let readers = Arc::new(Semaphore::new(1));
        let ((began, has_begun), (go, goes_on)) = (oneshot::channel(), oneshot::channel::<()>());
        let taken = Arc::clone(&readers);
        let mut work = Box::pin(driven(async move {
            let _reader = taken.acquire_owned().await;
            let _ = began.send(());
            let _ = goes_on.await;
        }));
        assert!((&mut work).now_or_never().is_none());
        has_begun.await.unwrap();
        assert_eq!(readers.available_permits(), 0);
        go.send(()).unwrap();
        drop(readers.acquire().await.unwrap());
        drop(work);

        // Whoever goes away takes it along.
        let taken = Arc::clone(&readers);
        let mut work = Box::pin(driven(async move {
            let _reader = taken.acquire_owned().await;
            std::future::pending::<()>().await;
        }));
        while readers.available_permits() > 0 {
            assert!((&mut work).now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        drop(work);
        drop(readers.acquire().await.unwrap());
    }
}
