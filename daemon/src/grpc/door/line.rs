//! One connection as its door sees it: how much has arrived, which requests are open, and since when nothing was asked.

use std::collections::BTreeMap;
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
/// So much of one connection is heard at once; then others have their turn. It may be thousands of frames, each of which is work.
const TURN_BYTES: usize = 16 << 10;

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
    /// Number of the next request.
    next: u64,
    /// Requests whose answer is there as a whole, and since when it waits to be taken, by the monotonic clock.
    unread: BTreeMap<u64, Duration>,
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
            next: 0,
            unread: BTreeMap::new(),
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
        let number = talk.next;
        talk.next += 1;
        drop(talk);
        Open { line: Arc::clone(self), number }
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

    /// Returns when an answer has waited for longer than that to be taken.
    pub(super) async fn unread(&self, patience: Duration) {
        loop {
            let now = self.clock.monotonic();
            let since = self.talk().unread.values().min().copied();
            if since.is_some_and(|since| now >= since + patience) {
                return;
            }
            self.clock.sleep_until(since.unwrap_or(now) + patience).await;
        }
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
pub(super) struct Open {
    line: Arc<Line>,
    number: u64,
}

impl Open {
    /// Its answer is there as a whole, and waits to be taken.
    pub(super) fn answered(&self) {
        let now = self.line.clock.monotonic();
        self.line.talk().unread.insert(self.number, now);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let now = self.line.clock.monotonic();
        let mut talk = self.line.talk();
        talk.open -= 1;
        talk.unread.remove(&self.number);
        talk.quiet_since = now;
    }
}

/// The bytes of a connection, counted as they arrive, and not too many at once.
pub(super) struct Heard<IO> {
    io: IO,
    line: Arc<Line>,
    /// Bytes that were heard since others had their turn.
    at_once: usize,
}

impl<IO> Heard<IO> {
    /// The bytes of this connection.
    pub(super) fn new(io: IO, line: Arc<Line>) -> Self {
        Self { io, line, at_once: 0 }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Heard<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.at_once >= TURN_BYTES {
            self.at_once = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        let arrived = buf.filled().len() - before;
        self.line.heard.fetch_add(arrived as u64, Ordering::Relaxed);
        self.at_once = if polled.is_ready() { self.at_once + arrived } else { 0 };
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

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::clock::SystemClock;

    fn line() -> Arc<Line> {
        Line::new(Arc::new(SystemClock::new()))
    }

    #[tokio::test]
    async fn one_who_says_something_without_end_is_not_listened_to_without_end() {
        let mut heard = Heard::new(tokio::io::repeat(7), line());
        let (mut chunk, mut at_once) = ([0; 1_000], 0);
        while let Some(read) = heard.read(&mut chunk).now_or_never() {
            at_once += read.unwrap();
            assert!(at_once < 2 * TURN_BYTES, "others wait");
        }
        assert!(at_once >= TURN_BYTES, "{at_once}");
        // It goes on by itself.
        let mut much = vec![0; 5 * TURN_BYTES];
        let goes_on = heard.read_exact(&mut much);
        tokio::time::timeout(Duration::from_secs(20), goes_on).await.expect("it is woken").unwrap();
    }

    #[tokio::test]
    async fn only_an_answer_that_is_there_and_is_not_taken_is_unread() {
        let line = line();
        let patience = Duration::from_millis(20);
        let (works, answered) = (line.open(false), line.open(false));
        answered.answered();
        tokio::time::timeout(Duration::from_secs(20), line.unread(patience))
            .await
            .expect("it waits to be taken");
        drop(answered);
        line.clock.sleep_until(line.clock.monotonic() + patience).await;
        assert!(line.unread(patience).now_or_never().is_none(), "the other one is not there yet");
        drop(works);
    }
}
