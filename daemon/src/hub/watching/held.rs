//! What a snapshot held already although it happened after its position, so that it is not told twice. Forgotten as soon as the watch is past it.

use std::collections::HashMap;

/// Objects whose rows in the snapshot held changes after its position.
#[derive(Default)]
pub(super) struct Held {
    /// Number of the last change that an object's row held, by the object's id.
    objects: HashMap<String, i64>,
    /// The largest of these numbers.
    until: i64,
}

impl Held {
    /// The snapshot held this object with its change of this number.
    pub(super) fn add(&mut self, id: String, seq: i64) {
        self.until = self.until.max(seq);
        self.objects.insert(id, seq);
    }

    /// Whether this change of the object was held.
    pub(super) fn has(&self, id: &str, seq: i64) -> bool {
        self.objects.get(id).is_some_and(|held| seq <= *held)
    }

    /// Everything up to this number was looked at.
    pub(super) fn pass(&mut self, seq: i64) {
        if seq >= self.until && !self.objects.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p10_what_a_snapshot_remembers_goes_away_once_live() {
        let mut held = Held::default();
        held.add("a".to_owned(), 7);
        held.add("b".to_owned(), 9);
        assert!(held.has("a", 6) && held.has("a", 7) && !held.has("a", 8));
        assert!(!held.has("c", 7), "it came after the snapshot");
        held.pass(8);
        assert!(held.has("b", 9), "its row is still to come");
        held.pass(9);
        assert!(!held.has("b", 9));
        assert_eq!(held.objects.capacity(), 0, "and takes no room");
    }
}
