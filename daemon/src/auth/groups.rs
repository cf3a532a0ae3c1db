//! Groups of users, looked up beside everything else: the user database may ask a server that is away. A look-up has a thread of its own
//! and a deadline, what came of it is kept for some seconds, and one that fails is an answer of its own: nobody is taken to be in no group
//! because nobody could tell.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use super::members::Members;
use crate::clock::{Clock, SparseEach};

/// How long a look-up is waited for.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long an answer is good for.
const KEPT: Duration = Duration::from_secs(5);
/// How long it is believed that nobody can tell.
const KEPT_FAILED: Duration = Duration::from_secs(1);
/// For how long a user must have been unknown before it is believed to be gone: a directory server that is away knows nobody.
const GONE_AFTER: Duration = Duration::from_secs(300);
/// Look-ups at the same time. One whose directory server hangs keeps its thread for as long as that takes.
const AT_ONCE_MAX: usize = 4;
/// Users whose answers are kept.
const USERS_MAX: usize = 1_024;

/// What is known of a user's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// It is in these.
    In(Arc<[u32]>),
    /// Nobody knows the user. `gone`: and that has been so at every look for long enough to be believed.
    NobodyKnows {
        /// Whether it is believed.
        gone: bool,
    },
    /// It could not be looked up.
    Failed,
}

/// Looks up groups, and keeps them for a while.
pub(super) struct Groups {
    members: Arc<dyn Members>,
    clock: Arc<dyn Clock>,
    threads: Arc<Semaphore>,
    kept: Mutex<HashMap<u32, Kept>>,
    failed: SparseEach,
}

#[derive(Debug, Clone)]
struct Kept {
    found: Found,
    at: Duration,
    /// Since when every look has found that nobody knows the user.
    unknown_since: Option<Duration>,
}

impl Groups {
    pub(super) fn new(members: Arc<dyn Members>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let threads = Arc::new(Semaphore::new(AT_ONCE_MAX));
        Arc::new(Self { members, clock, threads, kept: Mutex::default(), failed: SparseEach::default() })
    }

    /// The groups of a user.
    pub(super) async fn of(self: &Arc<Self>, uid: u32) -> Found {
        if let Some(found) = self.fresh(uid) {
            return found;
        }
        let until = self.clock.monotonic() + DEADLINE;
        tokio::select! {
            biased;
            found = self.look(uid) => found,
            () = self.clock.sleep_until(until) => {
                self.keep(uid, Err(format!("no answer within {} s", DEADLINE.as_secs())))
            }
        }
    }

    /// What was found last, however long ago; without a look.
    pub(super) fn last(&self, uid: u32) -> Option<Found> {
        self.kept().get(&uid).map(|kept| kept.found.clone())
    }

    /// Everybody is looked up anew.
    pub(super) fn forget(&self) {
        self.kept().clear();
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<u32, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, uid: u32) -> Option<Found> {
        let now = self.clock.monotonic();
        self.kept().get(&uid).filter(|kept| kept.is_fresh(now)).map(|kept| kept.found.clone())
    }

    /// Asks on a thread of its own: it may be held up for minutes, and nothing waits for it at the end of the process. An answer that comes
    /// too late for whoever asked is kept for who asks next.
    async fn look(self: &Arc<Self>, uid: u32) -> Found {
        let Ok(permit) = Arc::clone(&self.threads).acquire_owned().await else { return Found::Failed };
        if let Some(found) = self.fresh(uid) {
            return found;
        }
        let (tell, told) = oneshot::channel();
        let groups = Arc::clone(self);
        let thread = std::thread::Builder::new().name("groups".to_owned()).spawn(move || {
            let found = groups.keep(uid, groups.members.groups_of(uid));
            drop(permit);
            // Nobody listens any more: it came too late.
            let _ = tell.send(found);
        });
        match thread {
            Ok(_) => told.await.unwrap_or(Found::Failed),
            Err(error) => self.keep(uid, Err(error.to_string())),
        }
    }

    fn keep(&self, uid: u32, looked: Result<Option<Vec<u32>>, String>) -> Found {
        let now = self.clock.monotonic();
        let mut kept = self.kept();
        let before =
            kept.get(&uid).and_then(|before| before.unknown_since.filter(|_| now < before.at + GONE_AFTER));
        let (found, unknown_since) = match looked {
            Ok(Some(groups)) => (Found::In(groups.into()), None),
            Ok(None) => {
                let since = before.unwrap_or(now);
                (Found::NobodyKnows { gone: now >= since + GONE_AFTER }, Some(since))
            }
            Err(why) => {
                if let Some(more) = self.failed.tell(&uid.to_string(), now) {
                    tracing::warn!(
                        uid,
                        why,
                        more,
                        "the groups of a user cannot be looked up: what they would give it waits"
                    );
                }
                // Only looks that were answered count together.
                (Found::Failed, None)
            }
        };
        if kept.len() >= USERS_MAX && !kept.contains_key(&uid) {
            kept.retain(|_, kept| kept.is_fresh(now));
            if kept.len() >= USERS_MAX {
                kept.clear();
            }
        }
        kept.insert(uid, Kept { found: found.clone(), at: now, unknown_since });
        found
    }
}

impl Kept {
    fn is_fresh(&self, now: Duration) -> bool {
        let good_for = if self.found == Found::Failed { KEPT_FAILED } else { KEPT };
        now < self.at + good_for
    }
}
