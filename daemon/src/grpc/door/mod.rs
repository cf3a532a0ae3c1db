//! The door: everyone who comes in comes through here. It knows who knocks before a word is said, has a bounded number of places, and
//! ends whoever is silent, so that many who say nothing keep nobody waiting who speaks.
//!
//! What is asked it does not know. There are two, each with places of its own: the unix socket, and TCP with TLS (`Entry`). Everything
//! behind them takes any stream of bytes, with whoever is at its other end (`Peer`).

mod crowd;
mod entry;
mod expiry;
mod line;
mod socket;
mod talk;
mod tls;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use rustix::io::Errno;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(super) use entry::{Peer, house_of};
pub use socket::{BindError, bind};
pub use tls::{Credentials, Network, Tls, TlsError, TlsFiles};

pub(super) use self::entry::{Socket, Tcp};

use self::crowd::{Crowd, Who};
use self::entry::{Caller as _, Entry};
use self::line::Line;
use self::talk::talk;
use super::Leaving;
use super::around::Services;
use crate::auth::Gate;
use crate::clock::{Clock, Sparse};

/// Pause after an accept that failed and could not be helped: without it a lack of file descriptors would be a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests in flight may take after the stop. A silent caller would hold the server for ever (hyperium/hyper#4170).
const DRAIN: Duration = Duration::from_secs(1);
/// What a spare file descriptor is spent on.
const SPARE: &str = "/dev/null";

/// A caller that died silently is noticed: asked this often whether it is there.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
/// How long that may stay unanswered.
const KEEPALIVE_LIMIT: Duration = Duration::from_secs(10);

/// How many may be inside at once.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// Connections of everyone together.
    pub all: usize,
    /// Connections of one user, or of one address.
    pub per_one: usize,
}

/// How long a connection may be silent.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until it has begun to speak HTTP.
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
    /// How long an answer of one message may wait for its caller to take it.
    pub(super) unread: Duration,
    /// Ends them all.
    pub(super) stop: CancellationToken,
    /// Whether callers do better elsewhere.
    pub(super) leaving: watch::Receiver<Leaving>,
}

/// Lets callers in until the stop.
pub(super) struct Door<E, S> {
    entry: E,
    gate: Gate,
    service: S,
    crowd: Arc<Crowd>,
    manners: Arc<Manners>,
    /// Given up to let somebody in when there are no others.
    spare: Option<File>,
    full: Sparse,
    lack: Sparse,
}

impl<E, S> Door<E, S>
where
    E: Entry,
    S: Services,
{
    /// A door to `service`.
    pub(super) fn new(entry: E, gate: Gate, service: S, places: Places, manners: Arc<Manners>) -> Self {
        let crowd = Crowd::new(places.all, places.per_one.min(places.all));
        let spare = File::open(SPARE).ok();
        let (full, lack) = <(Sparse, Sparse)>::default();
        Self { entry, gate, service, crowd, manners, spare, full, lack }
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
                caller = self.entry.accept() => match caller {
                    Ok(None) => {}
                    Ok(Some((caller, who))) => self.let_in(caller, who, &mut inside),
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
    fn let_in(&mut self, caller: E::Caller, who: Who, inside: &mut JoinSet<()>) {
        self.refill();
        let line = Line::new(Arc::clone(&self.manners.clock));
        let Some(place) = self.crowd.enter(who, &line) else {
            if let Some(more) = self.full.tell(self.manners.clock.monotonic()) {
                tracing::warn!(
                    ?who,
                    more,
                    limits = %self.entry.limits(),
                    "a caller was turned away: every connection that it could have had waits for an answer"
                );
            }
            return;
        };
        let (gate, service, manners) = (self.gate.clone(), self.service.clone(), Arc::clone(&self.manners));
        inside.spawn(async move {
            let _place = place;
            let clock = &manners.clock;
            let born = clock.monotonic();
            let greeted = tokio::select! {
                greeted = caller.greet() => greeted,
                () = line.shown_out() => None,
                () = manners.stop.cancelled() => None,
                () = clock.sleep_until(born + manners.patience.handshake) => None,
            };
            let Some((io, speaks, peer)) = greeted else { return };
            let talking = talk(io, speaks, line, peer.clone(), service, Arc::clone(&manners));
            tokio::select! {
                () = talking => {}
                () = heard_why(&gate, &peer, &manners) => {}
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
            drop(self.entry.accept().now_or_never());
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

/// Until a stranger has had long enough to hear why it may not come in; for ever with anybody else. Whoever has asked is known by then.
async fn heard_why(gate: &Gate, peer: &Peer, manners: &Manners) {
    manners.clock.sleep_until(manners.clock.monotonic() + manners.patience.first_request).await;
    let is_strange = matches!(peer, Peer::Unix { uid } if gate.seems_strange(*uid));
    if !is_strange {
        std::future::pending::<()>().await;
    }
}

fn is_lack(error: &io::Error) -> bool {
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| lacks.contains(&errno))
}

/// So many connections through both doors, but no more than half of the files that may be open: the rest of the daemon needs some, too.
pub(super) fn fitting(socket: Places, network: Places) -> (Places, Places) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let half = usize::try_from(limit.unwrap_or(u64::MAX) / 2).unwrap_or(usize::MAX);
    let wanted = socket.all.saturating_add(network.all);
    if wanted <= half {
        return (socket, network);
    }
    tracing::warn!(
        connections = half,
        wanted,
        "limits.connections_max and limits.network_connections_max are more together than half of the files that may be open \
         (LimitNOFILE of the unit): they are held to that half"
    );
    // The socket comes first: it is the way in that is left when the network is not well.
    let all = socket.all.min(half);
    (Places { all, ..socket }, Places { all: network.all.min(half - all), ..network })
}
