//! Watching (P10): pages the transition table from a cursor. Signals only say "look again"; what happened is read from the table, so a
//! slow watcher loses nothing and delays nobody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::shelf::{Page, Shelf};
use super::tail::{self, Piece, Tail};
use super::{Hub, Next, Reading, news};
use crate::clock::Clock;
use crate::figures::Here;
use crate::store::places::Place;
use crate::store::rows::{Change, Kind, Object, TransitionRow};
use crate::store::{Committed, Store, StoreError};

mod commit;
mod held;
mod leaving;
mod places;
mod scan;
mod snapshot;
mod wanted;

pub use wanted::{FILTERS_MAX, Filter, Sees, Wanted};

use commit::Commit;
use held::Held;
use leaving::Leaving;
use places::Places;
use snapshot::Snapshot;
use wanted::Mask;

/// What a transition takes beside its object, about.
const ROW_BYTES: usize = 320;
/// Objects that leave with their server, read at once.
const LEAVING: i64 = 256;
/// After so many transitions that do not match, the watcher is told how far was looked.
const SKIPPED_MAX: usize = 1_000;
/// After so long without an event, the watcher is told that all is well.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Why a watch cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The position is of another store.
    #[error(
        "this position is of another store (it was restored or replaced since), or of a caller who sees other servers: take a snapshot and go \
         on from there"
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
    /// An object as it stood when the snapshot was taken, or when its server came. No position: one that is not complete cannot be resumed.
    Held(Box<Object>),
    /// An object that went with its server's labels. No position.
    Left(Left),
    /// A committed change.
    Changed {
        /// The change.
        row: Arc<TransitionRow>,
        /// Where to go on from; `None` until the coming or leaving of a server is complete.
        position: Option<i64>,
        /// Nothing more comes of its commit.
        commit_complete: bool,
    },
    /// Everything up to this position was looked at, and it is the end of a commit.
    Bookmark {
        /// The position.
        seq: i64,
        /// The snapshot ends here.
        snapshot_complete: bool,
    },
}

/// An object that is not the watcher's any more, since its server has other labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The number of the change of labels.
    pub seq: i64,
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub object: String,
    /// Its server.
    pub server: String,
    /// Its resource.
    pub resource: Option<String>,
    /// Its run.
    pub run: Option<String>,
}

/// A server whose labels changed so that other filters admit it: first what comes, then what goes.
struct Turn {
    coming: Option<Snapshot>,
    leaving: Option<Leaving>,
}

/// One watch.
pub struct Watcher {
    store: Store,
    committed: watch::Receiver<Committed>,
    wanted: Wanted,
    places: Places,
    /// Number of the last transition looked at.
    cursor: i64,
    /// Number of the last transition that was heard of.
    heard: i64,
    /// Number of the last transition that there was at the last look.
    head: i64,
    /// The end of a commit up to which everything was looked at.
    settled: i64,
    /// Transitions that were not told since something was.
    skipped: usize,
    silent_since: Duration,
    snapshot: Option<Snapshot>,
    held: Held,
    shelf: Shelf,
    tail: Tail,
    /// What was read and not looked at yet.
    page: Option<Page<Arc<TransitionRow>>>,
    commit: Commit,
    turn: Option<Turn>,
    ready: VecDeque<Seen>,
    _here: Here,
}

impl Watcher {
    /// Begins a watch. The position is taken now: nothing committed after this is missed.
    pub async fn begin(
        hub: &Hub,
        store: &Store,
        wanted: Wanted,
        start: Start,
        clock: &dyn Clock,
    ) -> Result<Self, WatchError> {
        let committed = hub.committed();
        let mut reader = store.read().await?;
        let mut db = reader.db();
        let last = db.last_seq().await?;
        let mut ready = VecDeque::new();
        let (cursor, snapshot) = match start {
            Start::Snapshot => (last, Some(Snapshot::of_all(&wanted, hub.shelf()))),
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
            wanted,
            places: Places::default(),
            cursor,
            heard: last,
            head: last,
            settled: cursor,
            skipped: 0,
            silent_since: clock.monotonic(),
            snapshot,
            held: Held::default(),
            shelf: hub.shelf().clone(),
            tail: hub.tail().clone(),
            page: None,
            commit: Commit::default(),
            turn: None,
            ready,
            _here: hub.watchers().enter(),
        })
    }

    /// Whether there is something to look at. What is heard of is believed once: should the store not have it, only more news does.
    fn has_news(&mut self) -> bool {
        if self.committed.has_changed().unwrap_or(false) {
            self.hear();
        }
        self.heard > self.cursor || self.commit.is_open()
    }

    fn hear(&mut self) {
        self.heard = self.heard.max(self.committed.borrow_and_update().seq);
    }

    /// The next object of the snapshot.
    async fn look_at_objects(&mut self) -> Result<(), WatchError> {
        let Some(snapshot) = &mut self.snapshot else { return Ok(()) };
        if let Some(object) = snapshot.next(&self.store, &self.wanted, self.cursor).await? {
            self.hold(object);
        } else {
            self.snapshot = None;
            self.ready.push_back(Seen::Bookmark { seq: self.cursor, snapshot_complete: true });
        }
        Ok(())
    }

    /// Tells an object as it stands, which may be after changes that are still to be looked at.
    fn hold(&mut self, object: Object) {
        if object.seq() > self.cursor {
            self.held.add(object.id(), object.seq());
        }
        self.ready.push_back(Seen::Held(Box::new(object)));
    }

    /// More of what comes or goes with a server.
    async fn look_at_turn(&mut self) -> Result<(), WatchError> {
        let Some(turn) = &mut self.turn else { return Ok(()) };
        if let Some(coming) = &mut turn.coming {
            match coming.next(&self.store, &self.wanted, self.cursor).await? {
                Some(object) => self.hold(object),
                None => turn.coming = None,
            }
        } else if let Some(leaving) = &mut turn.leaving {
            match leaving.next(&mut self.store.read().await?.db(), LEAVING).await? {
                Some(left) => self.ready.extend(left.into_iter().map(Seen::Left)),
                None => turn.leaving = None,
            }
        } else {
            self.turn = None;
        }
        Ok(())
    }

    /// The next page of transitions.
    async fn look_at_transitions(&mut self) -> Result<(), WatchError> {
        self.page = None;
        let Piece { rows, head } = match self.in_the_tail().await? {
            Some(piece) => piece,
            None => self.read_alone().await?,
        };
        self.head = head;
        if rows.is_empty() {
            self.heard = self.cursor;
            return Ok(());
        }
        self.heard = self.heard.max(head);
        self.places.learn(&self.store, &self.wanted, self.cursor, &rows).await?;
        let bytes = rows.iter().map(|row| ROW_BYTES + row.object.len()).sum();
        self.page = Some(self.shelf.keep(rows.into(), bytes));
        Ok(())
    }

    /// What the tail has. It can outlive what the store keeps, and with that the labels that servers had: who asks for those reads alone.
    async fn in_the_tail(&self) -> Result<Option<Piece>, WatchError> {
        if self.wanted.asks_for_places() {
            return Ok(None);
        }
        Ok(self.tail.after(&self.store, self.cursor).await?)
    }

    /// The same for one that is further behind than the others, or asks for labels.
    async fn read_alone(&self) -> Result<Piece, WatchError> {
        let piece = tail::read(&self.store, self.cursor).await?;
        if piece.head > self.cursor && !tail::is_whole(&piece.rows, self.cursor) {
            let oldest = self.store.read().await?.db().oldest_transition().await?;
            let oldest = oldest.map_or(piece.head, |seq| seq - 1);
            return Err(WatchError::Compacted { asked: self.cursor, oldest });
        }
        Ok(piece)
    }

    fn take(&mut self, row: Arc<TransitionRow>) -> Result<(), WatchError> {
        let before = self.places.of(&self.wanted, &row.server_id);
        let after = self.mask_after(&row, before)?;
        let held = self.held.has(&row.object_id, row.seq);
        let was = self.wanted.matches(before, &row)?;
        let seen = was && (before == after || self.wanted.matches(after, &row)?);
        self.cursor = row.seq;
        self.commit.pass(row.at);
        self.held.pass(self.cursor);
        if before != after {
            self.begin_turn(&row.server_id, before, after);
        }
        if seen && !held {
            self.skipped = 0;
            self.ready.extend(self.commit.tell(row));
        } else {
            self.skipped += 1;
        }
        Ok(())
    }

    /// The filters that admit the server after this change.
    fn mask_after(&mut self, row: &TransitionRow, before: Mask) -> Result<Mask, WatchError> {
        if row.kind != Kind::Server.as_str() || !self.wanted.asks_for_places() {
            return Ok(before);
        }
        if row.change()? == Change::Gone {
            self.places.leave(&self.wanted, &row.server_id);
        } else if row.old_labels.is_some()
            && let Object::Server(server) = row.object()?
        {
            let place = Place { name: server.name, labels: server.labels };
            return Ok(self.places.turn(&self.wanted, &row.server_id, &place));
        }
        Ok(before)
    }

    /// A server is admitted by other filters than before. To its commit's end there is nothing to go on from, so that whoever breaks
    /// off begins with this again.
    fn begin_turn(&mut self, server: &str, before: Mask, after: Mask) {
        let (comes, goes) = (after.without(before), before.without(after));
        let stays = before.without(goes);
        self.ready.extend(self.commit.bare());
        let coming =
            (!comes.is_empty()).then(|| Snapshot::of_server(&self.wanted, server, comes, stays, &self.shelf));
        let leaving =
            (!goes.is_empty()).then(|| Leaving::new(&self.wanted, server, self.cursor, (goes, after)));
        self.turn = Some(Turn { coming, leaving });
    }

    /// Whether the commit that is being looked at is known to end here. A commit has one time, and is there as a whole or not at all.
    fn is_at_an_end(&self) -> bool {
        match self.page.as_ref().and_then(|page| page.peek(|next| next.at)) {
            Some(next) => self.commit.ends_before(next),
            None => self.commit.is_open() && self.cursor == self.head,
        }
    }

    fn end_commit(&mut self) {
        self.settled = self.cursor;
        self.ready.extend(self.commit.end(self.cursor));
        if self.skipped >= SKIPPED_MAX && self.ready.is_empty() {
            self.bookmark();
        }
    }

    fn bookmark(&mut self) {
        self.skipped = 0;
        self.ready.push_back(Seen::Bookmark { seq: self.settled, snapshot_complete: false });
    }
}

impl Reading for Watcher {
    type Told = Seen;
    type Error = WatchError;

    fn next(&mut self, clock: &dyn Clock) -> Result<Next<Seen>, WatchError> {
        loop {
            if let Some(seen) = self.ready.pop_front() {
                self.silent_since = clock.monotonic();
                return Ok(Next::Tell(seen));
            }
            if self.snapshot.is_some() || self.turn.is_some() {
                return Ok(Next::Look);
            }
            if self.is_at_an_end() {
                self.end_commit();
            } else if let Some(row) = self.page.as_ref().and_then(Page::take) {
                self.take(row)?;
            } else if self.has_news() {
                return Ok(Next::Look);
            } else if clock.monotonic() >= self.silent_since + SILENCE_MAX {
                self.bookmark();
            } else {
                return Ok(Next::Wait);
            }
        }
    }

    async fn look(&mut self, _: &dyn Clock) -> Result<(), WatchError> {
        if self.snapshot.is_some() {
            self.look_at_objects().await
        } else if self.turn.is_some() {
            self.look_at_turn().await
        } else {
            self.look_at_transitions().await
        }
    }

    /// The store is not asked again before there is something in it.
    async fn wait(&mut self, clock: &dyn Clock) {
        news::wait_until(&mut self.committed, clock, self.silent_since + SILENCE_MAX).await;
        self.hear();
    }
}
