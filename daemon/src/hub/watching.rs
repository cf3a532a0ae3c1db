//! Watching (P10): pages the transition table from a cursor. Signals only say "look again"; what happened is read from the table, so a
//! slow watcher loses nothing and delays nobody.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::watch;

use super::{Hub, news};
use crate::clock::Clock;
use crate::store::queries::TransitionFilter;
use crate::store::rows::{Object, TransitionRow};
use crate::store::{Committed, Store, StoreError};

mod held;
mod snapshot;

use held::Held;
use snapshot::Snapshot;

/// Transitions read at once.
const PAGE: i64 = 256;
/// Characters of their objects that are read at once: a watcher that reads slowly keeps no more than these, and one object.
const PAGE_LENGTH: i64 = 1 << 20;
/// Objects of a snapshot read at once.
const OBJECTS: i64 = 32;
/// After so many transitions that do not match, the watcher is told how far was looked.
const SKIPPED_MAX: usize = 1_000;
/// After so long without an event, the watcher is told that all is well.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Why a watch cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The position is of another store.
    #[error(
        "this position is of another store (it was restored or replaced since): take a snapshot and go on from there"
    )]
    OtherGeneration {
        /// The oldest position that one can go on from.
        oldest: i64,
    },
    /// The position has not been reached yet.
    #[error("position {asked} is in the future: the last transition is {last}")]
    Future {
        /// What was asked for.
        asked: i64,
        /// Number of the last transition.
        last: i64,
        /// The oldest position that one can go on from.
        oldest: i64,
    },
    /// What came after the position is not kept any more.
    #[error(
        "what came after position {asked} is not kept any more: the oldest position to go on from is {oldest}; \
         take a snapshot and go on from there"
    )]
    Compacted {
        /// What was asked for.
        asked: i64,
        /// The oldest position that one can go on from.
        oldest: i64,
    },
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where a watch begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// After this position.
    Since {
        /// Generation of the store.
        generation: String,
        /// Number of the last transition seen.
        seq: i64,
    },
    /// With every object that matches as it stands.
    Snapshot,
    /// With what comes from now on.
    Now,
}

/// What a watcher is told.
#[derive(Debug, Clone)]
pub enum Seen {
    /// An object as it stood when the snapshot was taken. No position: an incomplete snapshot cannot be resumed.
    Held(Box<Object>),
    /// A committed change, which is also the position.
    Changed(Box<TransitionRow>),
    /// Everything up to this position was looked at.
    Bookmark {
        /// The position.
        seq: i64,
        /// The snapshot ends here.
        snapshot_complete: bool,
    },
}

/// One watch. Pulled, never pushed.
pub struct Watcher {
    store: Store,
    committed: watch::Receiver<Committed>,
    filter: TransitionFilter,
    /// Number of the last transition looked at.
    cursor: i64,
    /// Number of the last transition that was heard of.
    heard: i64,
    /// The position that the watcher knows.
    told: i64,
    skipped: usize,
    silent_since: Duration,
    snapshot: Option<Snapshot>,
    held: Held,
    ready: VecDeque<Seen>,
}

impl Watcher {
    /// Begins a watch. The position is taken now: nothing committed after this is missed.
    pub async fn begin(
        hub: &Hub,
        store: &Store,
        filter: TransitionFilter,
        start: Start,
        clock: &dyn Clock,
    ) -> Result<Self, WatchError> {
        let committed = hub.committed();
        let mut reader = store.read().await?;
        let mut db = reader.db();
        let last = db.last_seq().await?;
        let mut ready = VecDeque::new();
        let (cursor, snapshot) = match start {
            Start::Snapshot => (last, Some(Snapshot::new(filter.clone()))),
            Start::Now => {
                ready.push_back(Seen::Bookmark { seq: last, snapshot_complete: false });
                (last, None)
            }
            Start::Since { generation, seq: asked } => {
                let oldest = db.oldest_transition().await?.map_or(last, |seq| seq - 1);
                if generation != store.about().generation {
                    return Err(WatchError::OtherGeneration { oldest });
                }
                if asked > last {
                    return Err(WatchError::Future { asked, last, oldest });
                }
                if asked < oldest {
                    return Err(WatchError::Compacted { asked, oldest });
                }
                (asked, None)
            }
        };
        Ok(Self {
            store: store.clone(),
            committed,
            filter,
            cursor,
            heard: last,
            told: cursor,
            skipped: 0,
            silent_since: clock.monotonic(),
            snapshot,
            held: Held::default(),
            ready,
        })
    }

    /// The next event; waits for it.
    pub async fn next(&mut self, clock: &dyn Clock) -> Result<Seen, WatchError> {
        loop {
            if let Some(seen) = self.ready.pop_front() {
                self.silent_since = clock.monotonic();
                return Ok(seen);
            }
            if self.snapshot.is_some() {
                self.look_at_objects().await?;
            } else if self.has_news() {
                self.look_at_transitions().await?;
            } else if clock.monotonic() >= self.silent_since + SILENCE_MAX {
                self.bookmark(self.cursor);
            } else {
                // The store is not asked again before there is something in it.
                news::wait_until(&mut self.committed, clock, self.silent_since + SILENCE_MAX).await;
            }
        }
    }

    /// Whether there is something to look at.
    fn has_news(&mut self) -> bool {
        self.heard = self.heard.max(self.committed.borrow_and_update().seq);
        self.heard > self.cursor
    }

    /// The next page of the snapshot.
    async fn look_at_objects(&mut self) -> Result<(), WatchError> {
        let Some(snapshot) = &mut self.snapshot else { return Ok(()) };
        let page = snapshot.next(&mut self.store.read().await?.db(), OBJECTS).await?;
        let Some(objects) = page else {
            self.snapshot = None;
            self.ready.push_back(Seen::Bookmark { seq: self.cursor, snapshot_complete: true });
            return Ok(());
        };
        for object in objects {
            let (id, seq) = identity(&object);
            if seq > self.cursor {
                self.held.add(id, seq);
            }
            self.ready.push_back(Seen::Held(Box::new(object)));
        }
        Ok(())
    }

    /// The next page of transitions.
    async fn look_at_transitions(&mut self) -> Result<(), WatchError> {
        let mut reader = self.store.read().await?;
        let mut db = reader.db();
        // Before the page, so that a transition that it counts must be found in the page, or is gone.
        let last = db.last_seq().await?;
        if last <= self.cursor {
            self.heard = self.cursor;
            return Ok(());
        }
        let rows = db.page_of_transitions(self.cursor, PAGE, PAGE_LENGTH).await?;
        // Numbers have no holes, so a hole is what was removed for its age.
        let whole = rows.iter().zip(self.cursor + 1..).all(|(row, expected)| row.seq == expected);
        if rows.is_empty() || !whole {
            let oldest = db.oldest_transition().await?.map_or(last, |seq| seq - 1);
            return Err(WatchError::Compacted { asked: self.cursor, oldest });
        }
        drop(reader);
        self.take(rows);
        Ok(())
    }

    fn take(&mut self, rows: Vec<TransitionRow>) {
        let boundary = rows.windows(2).rev().find(|pair| pair[0].at != pair[1].at).map(|pair| pair[0].seq);
        for row in rows {
            self.cursor = row.seq;
            if self.filter.matches(&row) && !self.held.has(&row.object_id, row.seq) {
                self.skipped = 0;
                self.told = row.seq;
                self.ready.push_back(Seen::Changed(Box::new(row)));
            } else {
                self.skipped += 1;
            }
        }
        self.held.pass(self.cursor);
        // A commit has one time, so where the time changes there is no commit to fall into.
        if let Some(boundary) = boundary.filter(|_| self.skipped >= SKIPPED_MAX) {
            self.bookmark(boundary);
        }
    }

    fn bookmark(&mut self, seq: i64) {
        if seq < self.told {
            return;
        }
        self.skipped = 0;
        self.told = seq;
        self.ready.push_back(Seen::Bookmark { seq, snapshot_complete: false });
    }
}

fn identity(object: &Object) -> (String, i64) {
    match object {
        Object::Server(s) => (s.id.to_string(), s.seq),
        Object::Resource(r) => (r.id.to_string(), r.seq),
        Object::Run(_, row) => (row.id.clone(), row.seq),
        Object::Step(s) => (s.id.to_string(), s.seq),
        Object::Schedule(s) => (s.id.to_string(), s.seq),
        Object::Enrollment(e) => (e.id.to_string(), e.seq),
    }
}
