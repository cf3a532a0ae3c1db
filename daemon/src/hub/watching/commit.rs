//! Where commits end: the last change of a commit that a watcher is told says so. Whether it is the last is known only when the next
//! transition is, so one change is held back until then.

use std::sync::Arc;

use super::Seen;
use crate::store::rows::TransitionRow;

/// The commit that is being told.
#[derive(Default)]
pub(super) struct Commit {
    /// Its time, which is its own; `None` between two commits.
    at: Option<i64>,
    /// The change that may be its last.
    last: Option<Arc<TransitionRow>>,
    /// Something of it has no place to go on from: its end is told by a bookmark.
    bare: bool,
}

impl Commit {
    /// Whether a commit of another time than this has not been ended.
    pub(super) fn ends_before(&self, at: i64) -> bool {
        self.at.is_some_and(|mine| mine != at)
    }

    /// Whether a commit has not been ended.
    pub(super) fn is_open(&self) -> bool {
        self.at.is_some()
    }

    /// A transition of it was looked at.
    pub(super) fn pass(&mut self, at: i64) {
        self.at = Some(at);
    }

    /// Tells a change of it; what can be told now.
    pub(super) fn tell(&mut self, row: Arc<TransitionRow>) -> Option<Seen> {
        if self.bare {
            return Some(Seen::Changed { row, position: None, commit_complete: false });
        }
        let before = self.release();
        self.last = Some(row);
        before
    }

    /// From here to its end there is nothing to go on from; what can be told now.
    pub(super) fn bare(&mut self) -> Option<Seen> {
        let before = self.release();
        self.bare = true;
        before
    }

    /// What was held back: it is not the last.
    fn release(&mut self) -> Option<Seen> {
        let row = self.last.take()?;
        let position = Some(row.seq);
        Some(Seen::Changed { row, position, commit_complete: false })
    }

    /// It ends at this number; what can be told now.
    pub(super) fn end(&mut self, seq: i64) -> Option<Seen> {
        self.at = None;
        if std::mem::take(&mut self.bare) {
            return Some(Seen::Bookmark { seq, snapshot_complete: false });
        }
        let row = self.last.take()?;
        Some(Seen::Changed { row, position: Some(seq), commit_complete: true })
    }
}
