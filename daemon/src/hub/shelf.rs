//! What streams have read of the store and nobody has taken yet, bounded in sum. Where there is no room left, what has been kept for longest is
//! dropped: its reader reads it again when it comes back. So nobody waits for room, and a thousand readers that stand still cost no more
//! than a few.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that are kept for all streams together, beside the last page that was read.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Where pages are kept. Cheap to clone.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    bytes: usize,
    next: u64,
    /// In the order in which they came.
    pages: BTreeMap<u64, (usize, Arc<dyn Dropped>)>,
}

trait Dropped: Send + Sync {
    fn drop_all(&self);
}

/// What is left of a page; `None` when it was dropped.
struct Slot<T>(Mutex<Option<VecDeque<T>>>);

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send> Dropped for Slot<T> {
    fn drop_all(&self) {
        *self.lock() = None;
    }
}

impl Shelf {
    /// Keeps a page of so many bytes, and drops others where there is no room.
    pub(super) fn keep<T: Send + 'static>(&self, items: VecDeque<T>, bytes: usize) -> Page<T> {
        let slot = Arc::new(Slot(Mutex::new(Some(items))));
        let mut kept = self.kept();
        while kept.bytes > 0 && kept.bytes + bytes > KEPT_BYTES_MAX {
            let Some((_, (length, page))) = kept.pages.pop_first() else { break };
            kept.bytes -= length;
            page.drop_all();
        }
        let no = kept.next;
        kept.next += 1;
        kept.bytes += bytes;
        kept.pages.insert(no, (bytes, Arc::clone(&slot) as Arc<dyn Dropped>));
        Page { shelf: self.clone(), no, slot }
    }

    /// Bytes that are kept now.
    pub fn bytes(&self) -> usize {
        self.kept().bytes
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A page that was read of the store, until it is taken, or dropped.
pub(super) struct Page<T> {
    shelf: Shelf,
    no: u64,
    slot: Arc<Slot<T>>,
}

impl<T> Page<T> {
    /// The next of it.
    pub(super) fn take(&self) -> Option<T> {
        self.slot.lock().as_mut().and_then(VecDeque::pop_front)
    }

    /// What something is about the next of it.
    pub(super) fn peek<R>(&self, of: impl Fn(&T) -> R) -> Option<R> {
        self.slot.lock().as_ref().and_then(|items| items.front().map(of))
    }

    /// Whether what was left of it was dropped, to be read again.
    pub(super) fn was_dropped(&self) -> bool {
        self.slot.lock().is_none()
    }
}

impl<T> Drop for Page<T> {
    fn drop(&mut self) {
        let mut kept = self.shelf.kept();
        if let Some((bytes, _)) = kept.pages.remove(&self.no) {
            kept.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p10_what_nobody_takes_is_dropped_in_the_order_in_which_it_came() {
        let shelf = Shelf::default();
        let page = |n: usize| shelf.keep(VecDeque::from([n, n]), KEPT_BYTES_MAX / 4);
        let mut pages: Vec<_> = (0..4).map(page).collect();
        assert_eq!((shelf.bytes(), pages[0].take()), (KEPT_BYTES_MAX, Some(0)));
        pages.push(page(4));
        assert!(pages[0].was_dropped() && pages[0].take().is_none());
        assert!(!pages[1].was_dropped() && pages[1].peek(|n| *n) == Some(1));
        assert_eq!(shelf.bytes(), KEPT_BYTES_MAX);
        let large = shelf.keep(VecDeque::from([9]), 3 * KEPT_BYTES_MAX);
        assert!(pages.iter().all(Page::was_dropped), "there is room for nothing beside it");
        assert_eq!(large.take(), Some(9));
        drop((pages, large));
        assert_eq!(shelf.bytes(), 0);
    }
}
