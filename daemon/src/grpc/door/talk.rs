//! One connection from its first byte to its last: HTTP/2 or HTTP/1.1, the requests in it counted, and an end when it is silent, shown out, or the daemon
//! drains or stops.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tonic::body::Body;
use tower::Service;

use super::entry::Speaks;
use super::line::{Heard, Line, Silence};
use super::{KEEPALIVE_EVERY, KEEPALIVE_LIMIT, Manners, Peer};
use crate::grpc::Leaving;
use crate::grpc::around::Services;
use crate::grpc::kept::keeping;
use crate::grpc::methods::answers_once;
use crate::grpc::status;
use crate::grpc::stream::{from_now, is_stream, leaves};

/// Requests at the same time on one connection.
const STREAMS_MAX: u32 = 256;
/// Bytes of headers of a request.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Bytes that may arrive before somebody takes them: for one request, and for a whole connection.
const WINDOW_BYTES: (u32, u32) = (256 << 10, 1 << 20);
/// Bytes of answers that wait for one who does not read, for each request.
const UNREAD_BYTES: usize = 64 << 10;
/// Bytes that are read ahead over HTTP/1.1, and of answers that wait there for one who does not read.
const BUFFER_BYTES: usize = 64 << 10;
/// Resets of requests that are answered with the end of the connection (rapid reset).
const RESETS_MAX: usize = 20;
/// How long an idle connection may take to agree to its end.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long requests that are open may take when the daemon drains. At a stop the door says how long.
const MOVE: Duration = Duration::from_secs(60);

/// Speaks with a caller until either has enough.
pub(super) async fn talk<IO, S>(
    io: IO,
    speaks: Speaks,
    line: Arc<Line>,
    peer: Peer,
    service: S,
    manners: Arc<Manners>,
) where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Services,
{
    let counted = TowerToHyperService::new(Counted { inner: service, peer, line: Arc::clone(&line) });
    let io = TokioIo::new(Heard::new(io, Arc::clone(&line)));
    match speaks {
        Speaks::Http2 => {
            let connection = http2().serve_connection(io, counted);
            hold(connection, http2::Connection::graceful_shutdown, &line, &manners).await;
        }
        Speaks::Http1 => {
            let connection = http1().serve_connection(io, counted);
            hold(connection, http1::Connection::graceful_shutdown, &line, &manners).await;
        }
    }
}

/// Drives a connection until either side has enough, or something ends it; `end` has it finish what is open, and no more.
async fn hold<C>(connection: C, end: impl FnOnce(Pin<&mut C>), line: &Arc<Line>, manners: &Manners)
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let mut leaving = from_now(&manners.leaving);
    // How long it has to agree to its end; nothing is waited for when nothing was asked.
    let goodbye = tokio::select! {
        ended = &mut connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke");
            }
            return;
        }
        () = line.shown_out() => return,
        () = line.unread(manners.unread) => {
            tracing::debug!("a connection was ended: its caller does not read what it has asked for");
            return;
        }
        silence = line.silence(&manners.patience) => (silence == Silence::Idle).then_some(GOODBYE),
        () = moves(line, &mut leaving) => Some(MOVE),
        () = manners.stop.cancelled() => line.has_asked().then_some(MOVE),
    };
    let Some(goodbye) = goodbye else { return };
    // Whoever asks at this moment is answered still, and asks elsewhere from then on.
    line.tell();
    end(connection.as_mut());
    tokio::select! {
        ended = connection => {
            ended.unwrap_or_else(|error| tracing::debug!(%error, "a connection broke at its end"));
        }
        () = line.shown_out() => {}
        () = said(line, manners, goodbye) => {}
    }
}

/// Returns when a connection that was told to end has had its time: what was asked at the last moment, and is answered still, has as long as
/// at a drain.
async fn said(line: &Line, manners: &Manners, goodbye: Duration) {
    let until = manners.clock.monotonic() + MOVE;
    loop {
        let now = manners.clock.monotonic();
        if now >= until {
            return;
        }
        manners.clock.sleep_until(until.min(now + goodbye)).await;
        if line.quiet().is_some() {
            return;
        }
    }
}

/// The answer to a stream that begins on a connection that was told to end: it would be cut without a word.
fn ends(line: &Line, path: &str) -> Option<Response<Body>> {
    (is_stream(path) && line.is_told()).then(|| status::ending().into_http())
}

/// Returns when the daemon begins to leave for others, if something has been streamed here: streams end then, and are to be opened elsewhere. A
/// connection that has none is served on, because its end could break a request that is on its way.
async fn moves(line: &Line, leaving: &mut watch::Receiver<Leaving>) {
    loop {
        leaves(leaving).await;
        if line.has_streamed() {
            return;
        }
    }
}

fn http2() -> http2::Builder<TokioExecutor> {
    let (stream, connection) = WINDOW_BYTES;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_LIMIT)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_send_buf_size(UNREAD_BYTES)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .initial_stream_window_size(stream)
        .initial_connection_window_size(connection);
    builder
}

/// How long a head may take the line knows, for the first one and for those that follow.
fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_header_size(HEADER_BYTES_MAX as usize).max_buf_size(BUFFER_BYTES);
    builder
}

/// The services, as one connection has them: each request knows who asks, and is counted until its answer has ended.
#[derive(Clone)]
struct Counted<S> {
    inner: S,
    peer: Peer,
    line: Arc<Line>,
}

impl<S: Services> Service<Request<Incoming>> for Counted<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        if let Some(answer) = ends(&self.line, request.uri().path()) {
            return Box::pin(std::future::ready(Ok(answer)));
        }
        let open = self.line.open(is_stream(request.uri().path()));
        let is_whole = answers_once(request.uri().path());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.peer.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            if is_whole {
                open.answered();
            }
            Ok(answer.map(|body| keeping(body, open)))
        })
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::clock::SystemClock;

    const WATCH: &str = "/settled.v1.Transitions/Watch";

    #[test]
    fn a_stream_that_begins_on_a_connection_that_ends_is_sent_on() {
        let line = Line::new(Arc::new(SystemClock::new()));
        assert!(ends(&line, WATCH).is_none());
        line.tell();
        let answer = ends(&line, WATCH).expect("it is turned away");
        let status = tonic::Status::from_header_map(answer.headers()).expect("with a status");
        assert_eq!(status.code(), Code::Unavailable);
        assert!(ends(&line, "/settled.v1.Servers/Pause").is_none(), "a command is carried out still");
    }
}
