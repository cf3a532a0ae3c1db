//! A connection that stands: logged in, shared by its channels, replaced as a whole when it breaks.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use russh::client::Handle;
use tokio::net::TcpStream;
use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::host_key::{Farewell, Gatekeeper};

/// Channels for ordinary commands. OpenSSH allows 10 sessions per connection by default.
const ORDINARY_CHANNELS_MAX: usize = 7;
/// Channels kept free for urgent commands, beside the ordinary ones.
const URGENT_CHANNELS_MAX: usize = 1;
/// The SSH library keeps a few kilobytes for each channel that this side closed first, as long as the connection lives. After so many
/// of them the next command gets a new connection.
const ABANDONED_CHANNELS_MAX: usize = 256;

/// Ends what carries the connection when it is dropped, whatever the SSH library's task is waiting for. Without it a handshake that was
/// given up lives on until the inactivity timeout.
pub(super) struct Cut(Carrier);

enum Carrier {
    Tcp(OwnedFd),
    #[expect(dead_code, reason = "the tunnel's half is told when this one is dropped")]
    Tunnel(oneshot::Sender<Infallible>),
}

impl Cut {
    pub(super) fn of(stream: &TcpStream) -> std::io::Result<Self> {
        stream.as_fd().try_clone_to_owned().map(|fd| Self(Carrier::Tcp(fd)))
    }

    pub(super) fn of_tunnel(half: oneshot::Sender<Infallible>) -> Self {
        Self(Carrier::Tunnel(half))
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if let Carrier::Tcp(fd) = &self.0
            && let Err(error) = rustix::net::shutdown(fd, rustix::net::Shutdown::Both)
        {
            tracing::trace!(%error, "the connection had already ended");
        }
    }
}

/// One logged-in connection.
pub(super) struct Session {
    pub(super) handle: Handle<Gatekeeper>,
    /// `host:port`, for sentences.
    pub(super) address: String,
    /// A server that does not answer a wish for a channel within this time is taken for gone.
    pub(super) patience: Duration,
    /// Told whenever a channel has ended: the server may have room for another.
    pub(super) freed: Notify,
    farewell: Arc<OnceLock<Farewell>>,
    ordinary: Arc<Semaphore>,
    urgent: Arc<Semaphore>,
    abandoned: AtomicUsize,
    silent: AtomicBool,
    full: AtomicBool,
    #[expect(dead_code, reason = "it works when it is dropped")]
    cut: Cut,
    /// The connection that carries this one. After `cut`, so that this one goes first.
    #[expect(dead_code, reason = "it is kept alive by being here")]
    via: Option<Arc<Session>>,
}

impl Session {
    pub(super) fn new(
        handle: Handle<Gatekeeper>,
        address: String,
        patience: Duration,
        farewell: Arc<OnceLock<Farewell>>,
        cut: Cut,
        via: Option<Arc<Session>>,
    ) -> Self {
        Self {
            handle,
            address,
            patience,
            freed: Notify::new(),
            farewell,
            ordinary: Arc::new(Semaphore::new(ORDINARY_CHANNELS_MAX)),
            urgent: Arc::new(Semaphore::new(URGENT_CHANNELS_MAX)),
            abandoned: AtomicUsize::new(0),
            silent: AtomicBool::new(false),
            full: AtomicBool::new(false),
            cut,
            via,
        }
    }

    /// New commands may be given to it.
    pub(super) fn is_usable(&self) -> bool {
        !self.handle.is_closed()
            && !self.silent.load(Ordering::Relaxed)
            && self.abandoned.load(Ordering::Relaxed) < ABANDONED_CHANNELS_MAX
    }

    /// Waits for room for one more channel. An urgent command takes ordinary room first, then the reserved one.
    pub(super) async fn room(&self, urgent: bool) -> Result<OwnedSemaphorePermit, AcquireError> {
        if !urgent {
            return self.ordinary.clone().acquire_owned().await;
        }
        match self.ordinary.clone().try_acquire_owned() {
            Ok(room) => Ok(room),
            Err(_) => self.urgent.clone().acquire_owned().await,
        }
    }

    /// The server did not even answer to a wish for a channel: no further command is given to this connection.
    pub(super) fn mark_silent(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    /// The server granted or denied the last wish for a channel.
    pub(super) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// The beginning of a sentence about a deadline that has passed.
    pub(super) fn why_it_takes_so_long(&self) -> String {
        if self.full.load(Ordering::Relaxed) {
            format!("{} allows no further session (MaxSessions of its sshd) even", self.address)
        } else {
            format!("the command on {} has not ended", self.address)
        }
    }

    /// A channel was closed from this side.
    pub(super) fn count_abandoned(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    /// Why it has ended, as a sentence.
    pub(super) fn epitaph(&self) -> String {
        let why = self.farewell.get().map_or("the connection broke", |farewell| farewell.why.as_str());
        format!("lost the connection to {}: {why}", self.address)
    }
}
