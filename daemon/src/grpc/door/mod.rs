//! The door: everyone who comes in comes through here. It knows who knocks before a word is said, has a bounded number of places, and
//! ends whoever is silent, so that many who say nothing keep nobody waiting who speaks.
//!
//! What is asked it does not know. The accept loop is the unix socket's; everything behind it takes any stream of bytes, with
//! whoever is at its other end (`Peer`).

mod crowd;
mod line;
mod socket;
mod talk;

use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use http::{Request, Response};
use rustix::io::Errno;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::Service;

pub use socket::{BindError, bind};

use self::crowd::{Crowd, Who};
use self::line::Line;
use self::talk::talk;
use super::Leaving;
use crate::auth::Gate;
use crate::clock::{Clock, Sparse};

/// Pause after an accept that failed and could not be helped: without it a lack of file descriptors would be a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests in flight may take after the stop. A silent caller would hold the server for ever (hyperium/hyper#4170).
const DRAIN: Duration = Duration::from_secs(1);
/// What a spare file descriptor is spent on.
const SPARE: &str = "/dev/null";

/// Who is at the other end of a connection, as the system vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// A process of this user, through the unix socket.
    Unix {
        /// The user.
        uid: u32,
    },
}

impl Peer {
    /// Who it is, as far as the system vouches for it.
    pub(super) fn principal(self) -> String {
        match self {
            Self::Unix { uid } => format!("unix:{uid}"),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { .. } => f.write_str("unix socket"),
        }
    }
}

/// How many may be inside at once.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// Connections of everyone together.
    pub all: usize,
    /// Connections of one user.
    pub per_user: usize,
}

/// How long a connection may be silent.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until it has begun to speak HTTP/2.
    pub handshake: Duration,
    /// Until its first request has come.
    pub first_request: Duration,
    /// Without an open request.
    pub idle: Duration,
}

/// What all connections have in common.
pub(super) struct Manners {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) patience: Patience,
    /// Ends them all.
    pub(super) stop: CancellationToken,
    /// Whether callers do better elsewhere.
    pub(super) leaving: watch::Receiver<Leaving>,
}

/// Lets callers in until the stop.
pub(super) struct Door<S> {
    listener: UnixListener,
    gate: Gate,
    service: S,
    crowd: Arc<Crowd>,
    manners: Arc<Manners>,
    /// Given up to let somebody in when there are no others.
    spare: Option<File>,
    full: Sparse,
    lack: Sparse,
}

impl<S> Door<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    /// A door to `service`.
    pub(super) fn new(
        listener: UnixListener,
        gate: Gate,
        service: S,
        places: Places,
        manners: Manners,
    ) -> Self {
        let all = fitting(places.all);
        let crowd = Crowd::new(all, places.per_user.min(all));
        let manners = Arc::new(manners);
        let spare = File::open(SPARE).ok();
        let (full, lack) = <(Sparse, Sparse)>::default();
        Self { listener, gate, service, crowd, manners, spare, full, lack }
    }

    /// Lets callers in until the stop; then nobody, and what is in flight has a second.
    pub(super) async fn serve(mut self) {
        let manners = Arc::clone(&self.manners);
        let mut inside = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = manners.stop.cancelled() => break,
                Some(_) = inside.join_next() => {}
                caller = accept(&self.listener) => match caller {
                    Ok(stream) => self.let_in(stream, &mut inside),
                    Err(error) => self.could_not_accept(&error, &mut inside).await,
                },
            }
        }
        // Closed now: whoever connects from here on is refused at once, and goes elsewhere.
        drop(self);
        let clock = &manners.clock;
        let all_gone = async { while inside.join_next().await.is_some() {} };
        tokio::select! {
            () = all_gone => {}
            () = clock.sleep_until(clock.monotonic() + DRAIN) => {
                tracing::info!("some callers did not let go in time; their connections end with the daemon");
            }
        }
    }

    /// Lets a caller in, if there is a place for it.
    fn let_in(&mut self, stream: UnixStream, inside: &mut JoinSet<()>) {
        self.refill();
        // Without this nobody would know who asks.
        let Ok(peer) = stream.peer_cred() else { return };
        let uid = peer.uid();
        let who = who(&self.gate, uid);
        let line = Line::new(Arc::clone(&self.manners.clock));
        let Some(place) = self.crowd.enter(who, &line) else {
            if let Some(more) = self.full.tell(self.manners.clock.monotonic()) {
                tracing::warn!(
                    uid,
                    more,
                    "a caller was turned away: every connection that it could have had waits for an answer (limits.connections_max, limits.connections_per_user_max)"
                );
            }
            return;
        };
        let (service, manners) = (self.service.clone(), Arc::clone(&self.manners));
        let talking = talk(stream, line, Peer::Unix { uid }, service, Arc::clone(&manners));
        let gate = self.gate.clone();
        inside.spawn(async move {
            let _place = place;
            tokio::select! {
                () = talking => {}
                () = heard_why(&gate, uid, &manners) => {}
            }
        });
    }

    /// Callers whose connection ended before it was accepted are nobody's trouble. When file descriptors are lacking, somebody who can goes;
    /// if nobody can, the caller is turned away on the spare one instead of being left to wait.
    async fn could_not_accept(&mut self, error: &io::Error, inside: &mut JoinSet<()>) {
        if !is_lack(error) {
            tracing::debug!(%error, "a connection could not be accepted");
            return;
        }
        let clock = Arc::clone(&self.manners.clock);
        if let Some(more) = self.lack.tell(clock.monotonic()) {
            tracing::warn!(%error, more, "file descriptors are lacking: quiet connections are ended for new ones (LimitNOFILE of the unit)");
        }
        let pause = clock.sleep_until(clock.monotonic() + ACCEPT_PAUSE);
        if self.crowd.show_one_out() {
            tokio::select! {
                _ = inside.join_next() => {}
                () = pause => {}
            }
        } else if self.spare.take().is_some() {
            drop(accept(&self.listener).now_or_never());
            self.refill();
        } else {
            pause.await;
        }
    }

    /// A spare file descriptor, if there is none.
    fn refill(&mut self) {
        if self.spare.is_none() {
            self.spare = File::open(SPARE).ok();
        }
    }
}

/// Whose connection it is, as far as that is known at once: nobody is looked up at the door.
fn who(gate: &Gate, uid: u32) -> Who {
    if gate.is_house(uid) {
        Who::House
    } else if gate.seems_strange(uid) {
        Who::Stranger
    } else {
        Who::User(uid)
    }
}

/// Until a stranger has had long enough to hear why it may not come in; for ever with anybody else. Whoever has asked is known by then.
async fn heard_why(gate: &Gate, uid: u32, manners: &Manners) {
    manners.clock.sleep_until(manners.clock.monotonic() + manners.patience.first_request).await;
    if !gate.seems_strange(uid) {
        std::future::pending::<()>().await;
    }
}

async fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
    listener.accept().await.map(|(stream, _)| stream)
}

fn is_lack(error: &io::Error) -> bool {
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| lacks.contains(&errno))
}

/// So many connections, but no more than half of the files that may be open: the rest of the daemon needs some, too.
fn fitting(wanted: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let half = usize::try_from(limit.unwrap_or(u64::MAX) / 2).unwrap_or(usize::MAX);
    if half < wanted {
        tracing::warn!(
            connections = half,
            "limits.connections_max = {wanted} is more than half of the files that may be open (LimitNOFILE of the unit): it is held to that half"
        );
    }
    wanted.min(half)
}
