//! The newest transitions, read once for all who watch: a thousand watchers at the end of the log cost the store one look for each commit, not a
//! thousand. Whoever is further behind reads by itself, so that the tail need not be long.
//!
//! It says the same as the store would. What it keeps is never changed there, only taken away by age.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::store::rows::TransitionRow;
use crate::store::{Store, StoreError};

/// Transitions that are kept.
const KEPT_MAX: usize = 4_096;
/// Bytes of their objects that are kept, beside one page.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// Transitions read at once.
const PAGE: i64 = 256;
/// Characters of their objects that are read at once, and one object.
const PAGE_LENGTH: i64 = 1 << 20;

/// The end of the log. Clones share it.
#[derive(Clone, Default)]
pub struct Tail(Arc<Mutex<Kept>>);

/// Transitions in order, without a hole, from the one after `before` on.
#[derive(Default)]
struct Kept {
    before: i64,
    rows: VecDeque<Arc<TransitionRow>>,
    bytes: usize,
    /// The last number at the last look.
    head: i64,
}

/// What comes after a number: a page of it, and the last number that there was when it was looked for.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) rows: Vec<Arc<TransitionRow>>,
    pub(super) head: i64,
}

impl Tail {
    /// What comes after this number. `None`: that is not kept here, or not any more.
    pub(super) async fn after(&self, store: &Store, seq: i64) -> Result<Option<Piece>, StoreError> {
        // Held while it reads: whoever comes meanwhile wants the same.
        let mut kept = self.0.lock().await;
        if seq - kept.end() > PAGE || kept.rows.is_empty() {
            *kept = Kept { before: seq, head: seq, ..Kept::default() };
        }
        while kept.end() <= seq {
            match kept.read_on(store).await? {
                Read::More => {}
                Read::Nothing => break,
                Read::Hole => return Ok(None),
            }
        }
        Ok(kept.piece(seq))
    }
}

/// What a look has found.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    More,
    Nothing,
    /// What comes next was taken away for its age.
    Hole,
}

impl Kept {
    /// Its last number.
    fn end(&self) -> i64 {
        self.rows.back().map_or(self.before, |row| row.seq)
    }

    async fn read_on(&mut self, store: &Store) -> Result<Read, StoreError> {
        Ok(self.take_in(read(store, self.end()).await?))
    }

    /// Takes in what comes after its end. The page may be ahead of the number that was read before it.
    fn take_in(&mut self, Piece { rows, head }: Piece) -> Read {
        let end = self.end();
        if head <= end {
            self.head = head;
            return Read::Nothing;
        }
        if !is_whole(&rows, end) {
            *self = Self::default();
            return Read::Hole;
        }
        self.head = head;
        self.bytes += rows.iter().map(|row| row.object.len()).sum::<usize>();
        self.rows.extend(rows);
        while self.rows.len() > KEPT_MAX || self.bytes > KEPT_BYTES_MAX && self.rows.len() > 1 {
            let Some(first) = self.rows.pop_front() else { break };
            (self.before, self.bytes) = (first.seq, self.bytes - first.object.len());
        }
        Read::More
    }

    fn piece(&self, seq: i64) -> Option<Piece> {
        let passed = usize::try_from(seq - self.before).ok()?;
        let page = usize::try_from(PAGE).unwrap_or(usize::MAX);
        let (mut length, mut rows) = (0, Vec::new());
        for row in self.rows.iter().skip(passed).take(page) {
            length += i64::try_from(row.object.len()).unwrap_or(i64::MAX);
            if length > PAGE_LENGTH && !rows.is_empty() {
                break;
            }
            rows.push(Arc::clone(row));
        }
        Some(Piece { rows, head: self.head })
    }
}

/// A page of what comes after a number, as the store has it.
pub(super) async fn read(store: &Store, after: i64) -> Result<Piece, StoreError> {
    let mut reader = store.read().await?;
    let mut db = reader.db();
    // Before the page, so that a transition that it counts must be found in the page, or is gone.
    let head = db.last_seq().await?;
    let rows =
        if head > after { db.page_of_transitions(after, PAGE, PAGE_LENGTH).await? } else { Vec::new() };
    Ok(Piece { rows: rows.into_iter().map(Arc::new).collect(), head })
}

/// Whether these come right after a number. Numbers have no holes, so a hole is what was taken away for its age.
pub(super) fn is_whole(rows: &[Arc<TransitionRow>], after: i64) -> bool {
    !rows.is_empty() && rows.iter().zip(after + 1..).all(|(row, expected)| row.seq == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(numbers: std::ops::RangeInclusive<i64>) -> Vec<Arc<TransitionRow>> {
        let row = |seq| TransitionRow {
            seq,
            at: seq,
            kind: "server".to_owned(),
            change: "updated".to_owned(),
            object_id: "A".to_owned(),
            server_id: "A".to_owned(),
            resource_id: None,
            run_id: None,
            old_labels: None,
            object: "{}".to_owned(),
        };
        numbers.map(|seq| Arc::new(row(seq))).collect()
    }

    fn numbers(kept: &Kept, seq: i64) -> Option<(Vec<i64>, i64)> {
        kept.piece(seq).map(|piece| (piece.rows.iter().map(|row| row.seq).collect(), piece.head))
    }

    #[test]
    fn p10_a_page_that_is_ahead_of_its_head_is_known_to_end_by_the_next_look() {
        let mut kept = Kept { before: 100, head: 100, ..Kept::default() };
        // Something was committed between the two questions.
        assert_eq!(kept.take_in(Piece { rows: rows(101..=102), head: 101 }), Read::More);
        assert_eq!(numbers(&kept, 100), Some((vec![101, 102], 101)));
        assert_eq!(kept.take_in(Piece { rows: Vec::new(), head: 102 }), Read::Nothing);
        assert_eq!(numbers(&kept, 102), Some((Vec::new(), 102)), "the commit of 102 is known to end there");
    }

    #[test]
    fn p10_the_tail_is_bounded_and_gives_nothing_that_it_does_not_keep() {
        let mut kept = Kept { before: 100, head: 100, ..Kept::default() };
        assert_eq!(kept.take_in(Piece { rows: rows(102..=103), head: 103 }), Read::Hole);
        assert!(kept.rows.is_empty(), "what comes behind a hole is not kept");
        let mut kept = Kept { before: 0, head: 0, ..Kept::default() };
        let most = i64::try_from(KEPT_MAX).unwrap();
        assert_eq!(kept.take_in(Piece { rows: rows(1..=most), head: most }), Read::More);
        assert_eq!(kept.take_in(Piece { rows: rows(most + 1..=most + 2), head: most + 2 }), Read::More);
        assert_eq!((kept.rows.len(), kept.before), (KEPT_MAX, 2));
        assert_eq!(numbers(&kept, 1), None);
        assert_eq!(numbers(&kept, 2).unwrap().0[0], 3);
    }
}
