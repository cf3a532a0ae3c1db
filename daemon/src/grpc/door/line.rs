//! One connection as its door sees it: how much has arrived, which requests are open, and since when nothing was asked.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::Patience;
use crate::clock::Clock;

/// What every HTTP/2 connection begins with; no request in HTTP/1.1 is shorter.
const PREFACE_BYTES: u64 = 24;

/// A connection.
pub(super) struct Line {
    clock: Arc<dyn Clock>,
    /// When it was accepted, by the monotonic clock.
    born: Duration,
    /// Bytes that have arrived.
    heard: AtomicU64,
    talk: Mutex<Talk>,
    shown_out: CancellationToken,
}

struct Talk {
    has_asked: bool,
    /// Requests whose answers have not ended.
    open: usize,
    /// One of the requests, now or before, was for a stream.
    has_streamed: bool,
    /// The caller was told that the connection ends.
    is_told: bool,
    /// Since when there is none, by the monotonic clock.
    quiet_since: Duration,
}

/// Why a connection is not worth its place any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// It does not speak HTTP.
    NoPreface,
    /// It has asked nothing.
    NoRequest,
    /// It has asked nothing for long.
    Idle,
}

impl Line {
    /// A connection that was accepted now.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let born = clock.monotonic();
        let talk = Mutex::new(Talk {
            has_asked: false,
            open: 0,
            has_streamed: false,
            is_told: false,
            quiet_since: born,
        });
        let (heard, shown_out) = (AtomicU64::new(0), CancellationToken::new());
        Arc::new(Self { clock, born, heard, talk, shown_out })
    }

    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come, for one answer or for a stream of them.
    pub(super) fn open(self: &Arc<Self>, is_stream: bool) -> Open {
        let mut talk = self.talk();
        talk.has_asked = true;
        talk.open += 1;
        talk.has_streamed |= is_stream;
        drop(talk);
        Open(Arc::clone(self))
    }

    /// Whether a stream was asked for, now or before.
    pub(super) fn has_streamed(&self) -> bool {
        self.talk().has_streamed
    }

    /// The caller is told that the connection ends. What it asks before it has heard of that is answered still.
    pub(super) fn tell(&self) {
        self.talk().is_told = true;
    }

    /// Whether the caller was told that the connection ends.
    pub(super) fn is_told(&self) -> bool {
        self.talk().is_told
    }

    /// Whether anything was ever asked.
    pub(super) fn has_asked(&self) -> bool {
        self.talk().has_asked
    }

    /// How easily it can go: whether it ever asked anything, and since when it is quiet. `None` while a request is open.
    pub(super) fn quiet(&self) -> Option<(bool, Duration)> {
        let talk = self.talk();
        (talk.open == 0).then_some((talk.has_asked, talk.quiet_since))
    }

    /// Ends it: someone else needs the place.
    pub(super) fn show_out(&self) {
        self.shown_out.cancel();
    }

    /// Returns when someone else needs the place.
    pub(super) async fn shown_out(&self) {
        self.shown_out.cancelled().await;
    }

    /// Returns when it has been silent for longer than one has patience.
    pub(super) async fn silence(&self, patience: &Patience) -> Silence {
        self.clock.sleep_until(self.born + patience.handshake).await;
        if self.heard.load(Ordering::Relaxed) < PREFACE_BYTES {
            return Silence::NoPreface;
        }
        self.clock.sleep_until(self.born + patience.first_request).await;
        if !self.has_asked() {
            return Silence::NoRequest;
        }
        loop {
            let now = self.clock.monotonic();
            let since = self.quiet().map_or(now, |(_, since)| since);
            if now >= since + patience.idle {
                return Silence::Idle;
            }
            self.clock.sleep_until(since + patience.idle).await;
        }
    }
}

/// An open request of a connection, until its answer has ended.
pub(super) struct Open(Arc<Line>);

impl Drop for Open {
    fn drop(&mut self) {
        let now = self.0.clock.monotonic();
        let mut talk = self.0.talk();
        talk.open -= 1;
        talk.quiet_since = now;
    }
}

/// The bytes of a connection, counted as they arrive.
pub(super) struct Heard<IO> {
    pub(super) io: IO,
    pub(super) line: Arc<Line>,
}

impl<IO: AsyncRead + Unpin> AsyncRead for Heard<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        let arrived = buf.filled().len() - before;
        self.line.heard.fetch_add(arrived as u64, Ordering::Relaxed);
        polled
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Heard<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
