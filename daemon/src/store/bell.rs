//! Rings after each commit: that there was one, and for which servers it has news.
//!
//! Daemons that share a PostgreSQL hear of each other's commits by `NOTIFY`, sent with the commit itself. That is a hint, and may be
//! lost with a connection: each daemon looks every second for transitions that it has not heard of, for all who wait there.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::watch;

use super::Store;
use crate::clock::Clock;
use crate::domain::id::ServerId;

/// Where daemons that share a database hear of each other.
const CHANNEL: &str = "settled";
/// Servers named in one notification: PostgreSQL takes less than 8 000 bytes.
const CALLED_MAX: usize = 256;
/// How often it is looked for commits that were not heard of.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause before a database that does not answer is listened to again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// The last commit: number of its last transition, and how many commits were heard of since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Committed {
    /// Number of the last transition.
    pub seq: i64,
    /// Commits so far.
    pub commits: u64,
}

type OnCall = Box<dyn Fn(ServerId) + Send + Sync>;

/// What rings.
pub(super) struct Bell {
    committed: watch::Sender<Committed>,
    on_call: OnceLock<OnCall>,
    /// Tells our own notifications from those of others.
    origin: String,
}

impl Bell {
    pub(super) fn new(seq: i64, clock: &dyn Clock) -> Arc<Self> {
        let committed = watch::Sender::new(Committed { seq, commits: 0 });
        Arc::new(Self { committed, on_call: OnceLock::new(), origin: clock.ulid().to_string() })
    }

    /// Number of the last transition that was heard of.
    pub(super) fn seq(&self) -> i64 {
        self.committed.borrow().seq
    }

    pub(super) fn committed(&self) -> watch::Receiver<Committed> {
        self.committed.subscribe()
    }

    /// Who is told that a server's lane has news. The first to ask is; there is one hub.
    pub(super) fn on_call(&self, on_call: OnCall) {
        if self.on_call.set(on_call).is_err() {
            tracing::error!("a fault in settled: two hubs on one store; the second is woken by time alone");
        }
    }

    /// After a commit, whoever made it.
    pub(super) fn ring(&self, seq: i64, called: impl IntoIterator<Item = ServerId>) {
        self.committed.send_modify(|c| *c = Committed { seq: c.seq.max(seq), commits: c.commits + 1 });
        if let Some(on_call) = self.on_call.get() {
            called.into_iter().for_each(on_call);
        }
    }

    /// The statement that tells the other daemons, to be sent with the commit. Nothing in it comes from outside.
    pub(super) fn notify(&self, seq: i64, called: &[ServerId]) -> String {
        let mut sql = format!("NOTIFY {CHANNEL}, '{} {seq}", self.origin);
        for server in called.iter().take(CALLED_MAX) {
            sql.push(' ');
            sql.push_str(&server.to_string());
        }
        sql + "'"
    }

    /// Hears of the commits of other daemons, until nobody here waits for news any more.
    pub(super) async fn listen(
        self: Arc<Self>,
        ear: PgListener,
        options: PgConnectOptions,
        store: Store,
        clock: Arc<dyn Clock>,
    ) {
        tokio::select! {
            () = self.committed.closed() => {}
            () = self.hear(ear, options, &*clock) => {}
            () = self.look(store, &*clock) => {}
        }
    }

    /// Looks for what was not heard of: one look for all who wait.
    async fn look(&self, store: Store, clock: &dyn Clock) {
        loop {
            clock.sleep_until(clock.monotonic() + LOOK_EVERY).await;
            let last = match store.read().await {
                Ok(mut reader) => reader.db().last_seq().await,
                Err(error) => Err(error),
            };
            match last {
                Ok(last) if last > self.seq() => self.ring(last, []),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "it cannot be looked for commits of other daemons"),
            }
        }
    }

    async fn hear(&self, mut hearing: PgListener, options: PgConnectOptions, clock: &dyn Clock) {
        loop {
            match hearing.try_recv().await {
                Ok(Some(heard)) => self.heard(heard.payload()),
                // The connection was lost, and there is another: what was committed meanwhile was not heard of.
                Ok(None) => self.ring(0, []),
                Err(error) => {
                    tracing::debug!(%error, "commits of other daemons are not heard of; they are looked for");
                    clock.sleep_until(clock.monotonic() + LISTEN_AGAIN).await;
                    if let Ok(again) = ear(options.clone()).await {
                        hearing = again;
                        self.ring(0, []);
                    }
                }
            }
        }
    }

    /// A notification that is not understood comes from another version: it still says that something was committed.
    fn heard(&self, payload: &str) {
        let mut words = payload.split(' ');
        if words.next() == Some(&self.origin) {
            return;
        }
        let seq = words.next().and_then(|seq| seq.parse().ok()).unwrap_or(0);
        self.ring(seq, words.filter_map(|id| id.parse().ok()));
    }
}

/// A connection that hears of commits from here on.
pub(super) async fn ear(options: PgConnectOptions) -> Result<PgListener, sqlx::Error> {
    // Kept for as long as it lasts, and replaced when it breaks.
    let alone = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
    let mut ear = PgListener::connect_with(&alone.connect_lazy_with(options)).await?;
    ear.listen(CHANNEL).await?;
    Ok(ear)
}
