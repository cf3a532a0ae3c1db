//! What a watch promises, each promise as a function over what one watcher wrote down and what the store says: ordered, unique, atomic, reliable,
//! resumable, bookmarkable. Pure, so that each can be shown a journal that is wrong, and has to say so.

use std::collections::BTreeMap;

/// A transition as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// The time of its commit, in microseconds: each commit has its own.
    pub(crate) at: i64,
    pub(crate) kind: String,
    pub(crate) change: String,
    pub(crate) object: String,
}

/// All transitions, by their numbers.
pub(crate) type Truth = BTreeMap<u64, Row>;

/// What a watcher wrote down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It began, or went on, after this position.
    Since(u64),
    /// A change, the position to go on from, and whether its commit is complete.
    Change { seq: u64, row: Row, position: u64, complete: bool },
    /// A bookmark.
    Bookmark(u64),
    /// The connection broke.
    Broke,
}

/// A watcher and all that it wrote down, up to a number that it has passed.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    pub(crate) entries: Vec<Entry>,
    /// It keeps only whole commits, and goes on from the end of the last one.
    pub(crate) whole: bool,
    /// It asks for one kind only.
    pub(crate) kind: Option<String>,
    /// Everything up to here must have come.
    pub(crate) end: u64,
}

/// A promise as a function: what is wrong, if something is.
pub(crate) type Validator = fn(&Truth, &Journal) -> Result<(), String>;

/// All six.
pub(crate) const VALIDATORS: [(&str, Validator); 6] = [
    ("ordered", ordered),
    ("unique", unique),
    ("atomic", atomic),
    ("reliable", reliable),
    ("resumable", resumable),
    ("bookmarkable", bookmarkable),
];

/// What is wrong with a journal, by all validators.
pub(crate) fn faults(truth: &Truth, journal: &Journal) -> Vec<String> {
    let wrong = VALIDATORS.iter().filter_map(|(name, validator)| {
        validator(truth, journal).err().map(|fault| format!("not {name}: {fault}"))
    });
    wrong.collect()
}

impl Journal {
    fn wants(&self, row: &Row) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == row.kind)
    }

    /// What the watcher kept, in the portions in which it kept it.
    fn kept(&self) -> Vec<Vec<(u64, &Row)>> {
        let (mut kept, mut pending) = (Vec::new(), Vec::new());
        for entry in &self.entries {
            match entry {
                Entry::Change { seq, row, complete, .. } => {
                    pending.push((*seq, row));
                    if *complete || !self.whole {
                        kept.push(std::mem::take(&mut pending));
                    }
                }
                Entry::Bookmark(_) if !pending.is_empty() => kept.push(std::mem::take(&mut pending)),
                // What was not complete comes again.
                Entry::Broke => pending.clear(),
                Entry::Bookmark(_) | Entry::Since(_) => {}
            }
        }
        kept
    }
}

/// What comes over one connection comes in the order of commits, and so does what is kept over all of them.
fn ordered(_: &Truth, journal: &Journal) -> Result<(), String> {
    let mut last = 0;
    for entry in &journal.entries {
        let (Entry::Since(seq) | Entry::Change { seq, .. }) = entry else { continue };
        if matches!(entry, Entry::Change { .. }) && *seq <= last {
            return Err(format!("{seq} after {last}"));
        }
        last = *seq;
    }
    let kept: Vec<_> = journal.kept().concat();
    match kept.windows(2).find(|pair| pair[0].0 > pair[1].0) {
        Some(pair) => Err(format!("{} was kept after {}", pair[1].0, pair[0].0)),
        None => Ok(()),
    }
}

/// Nothing is kept twice, over however many connections.
fn unique(_: &Truth, journal: &Journal) -> Result<(), String> {
    let mut times = BTreeMap::new();
    for (seq, _) in journal.kept().concat() {
        *times.entry(seq).or_insert(0) += 1;
    }
    match times.into_iter().find(|(_, times)| *times > 1) {
        Some((seq, times)) => Err(format!("{seq} was kept {times} times")),
        None => Ok(()),
    }
}

/// Who keeps whole commits has of each commit all or nothing at any time.
fn atomic(truth: &Truth, journal: &Journal) -> Result<(), String> {
    if !journal.whole {
        return Ok(());
    }
    let mut commits: BTreeMap<i64, usize> = BTreeMap::new();
    for row in truth.values().filter(|row| journal.wants(row)) {
        *commits.entry(row.at).or_default() += 1;
    }
    for portion in journal.kept() {
        let mut parts: BTreeMap<i64, usize> = BTreeMap::new();
        for (_, row) in &portion {
            *parts.entry(row.at).or_default() += 1;
        }
        let torn = parts.iter().find(|(at, count)| commits.get(at) != Some(count));
        if let Some((at, count)) = torn {
            let (first, all) = (portion[0].0, commits.get(at));
            return Err(format!(
                "{count} of {all:?} changes of the commit at {at} were kept, from {first} on"
            ));
        }
    }
    Ok(())
}

/// Whatever was committed comes, as it was committed.
fn reliable(truth: &Truth, journal: &Journal) -> Result<(), String> {
    let Some(Entry::Since(begin)) = journal.entries.first() else { return Err("it never began".to_owned()) };
    let kept: BTreeMap<u64, &Row> = journal.kept().into_iter().flatten().collect();
    for (seq, row) in truth.range(begin + 1..=journal.end).filter(|(_, row)| journal.wants(row)) {
        match kept.get(seq) {
            None => return Err(format!("{seq} never came")),
            Some(told) if *told != row => return Err(format!("{seq} came as {told:?}, and is {row:?}")),
            Some(_) => {}
        }
    }
    match kept.iter().find(|(seq, row)| truth.get(seq).is_some_and(|of| of != **row)) {
        Some((seq, _)) => Err(format!("{seq} is not so in the store")),
        None => Ok(()),
    }
}

/// After each break the next that comes is the next that there is.
fn resumable(truth: &Truth, journal: &Journal) -> Result<(), String> {
    let mut begun = None;
    for entry in &journal.entries {
        match (entry, begun) {
            (Entry::Since(seq), _) => begun = Some(*seq),
            (Entry::Change { seq, .. }, Some(since)) => {
                let next = truth.range(since + 1..).find(|(_, row)| journal.wants(row)).map(|(seq, _)| *seq);
                if next != Some(*seq) {
                    return Err(format!("after {since} came {seq}, and {next:?} is next"));
                }
                begun = None;
            }
            (Entry::Broke, _) => begun = None,
            _ => {}
        }
    }
    Ok(())
}

/// A bookmark says that everything up to it was told, and none falls into a commit; nor does the position of a commit's last change.
fn bookmarkable(truth: &Truth, journal: &Journal) -> Result<(), String> {
    let splits = |seq: u64| {
        let at = |seq: u64| truth.get(&seq).map(|row| row.at);
        at(seq).is_some() && at(seq) == at(seq + 1)
    };
    let mut told = 0;
    for entry in &journal.entries {
        let ends = match entry {
            Entry::Since(seq) => {
                told = *seq;
                None
            }
            Entry::Change { seq, position, complete, .. } => {
                told = *seq;
                complete.then_some(*position)
            }
            Entry::Bookmark(seq) => Some(*seq),
            Entry::Broke => None,
        };
        let Some(seq) = ends else { continue };
        if splits(seq) {
            return Err(format!("{seq} falls into a commit"));
        }
        let missed =
            if told < seq { truth.range(told + 1..=seq).find(|(_, row)| journal.wants(row)) } else { None };
        if let Some((missed, _)) = missed {
            return Err(format!("{seq} was marked when {told} was the last told, and {missed} was not"));
        }
    }
    Ok(())
}

mod tests {
    use super::*;

    /// Commits of one, two, three, ... changes.
    fn truth() -> Truth {
        let commits = (1..=8_i64).flat_map(|at| std::iter::repeat_n(at, usize::try_from(at).unwrap()));
        let row = |(at, seq): (i64, u64)| {
            let kind = if seq % 2 == 0 { "run" } else { "resource" };
            let object = format!("object-{}", seq % 5);
            (seq, Row { at, kind: kind.to_owned(), change: "updated".to_owned(), object })
        };
        commits.zip(1..).map(row).collect()
    }

    /// What a watcher writes down to whom everything is told as it should be, with breaks after these numbers and a bookmark after each.
    fn journal(truth: &Truth, whole: bool, breaks: &[u64]) -> Journal {
        let ends = |seq: u64| truth.get(&(seq + 1)).is_none_or(|next| next.at != truth[&seq].at);
        let (mut entries, mut seq, mut safe) = (vec![Entry::Since(0)], 0, 0);
        let mut breaks = breaks.iter().copied().peekable();
        while seq < truth.len() as u64 {
            seq += 1;
            let complete = ends(seq);
            entries.push(Entry::Change { seq, row: truth[&seq].clone(), position: seq, complete });
            if complete || !whole {
                safe = seq;
            }
            if complete {
                entries.push(Entry::Bookmark(seq));
            }
            if breaks.next_if_eq(&seq).is_some() {
                entries.extend([Entry::Broke, Entry::Since(safe)]);
                seq = safe;
            }
        }
        Journal { entries, whole, kind: None, end: seq }
    }

    /// The journal with this changed in it must be refused by the validator.
    fn caught(name: &str, whole: bool, mutate: impl Fn(&mut Vec<Entry>)) {
        let truth = truth();
        let mut journal = journal(&truth, whole, &[3, 9, 17, 30]);
        assert_eq!(faults(&truth, &journal), Vec::<String>::new());
        mutate(&mut journal.entries);
        let (_, validator) = VALIDATORS.iter().find(|(of, _)| *of == name).unwrap();
        assert!(validator(&truth, &journal).is_err(), "{name} does not see it");
    }

    fn place(entries: &[Entry], of: u64) -> usize {
        entries.iter().position(|entry| matches!(entry, Entry::Change { seq, .. } if *seq == of)).unwrap()
    }

    #[test]
    fn each_validator_of_watches_catches_its_mutant() {
        for whole in [false, true] {
            caught("ordered", whole, |entries| {
                let at = place(entries, 12);
                entries.swap(at, at + 1);
            });
            caught("unique", whole, |entries| {
                let at = place(entries, 10);
                entries.insert(at + 1, entries[at].clone());
            });
            caught("reliable", whole, |entries| drop(entries.remove(place(entries, 5))));
            caught("reliable", whole, |entries| {
                let at = place(entries, 5);
                let Entry::Change { row, .. } = &mut entries[at] else { panic!("a change is there") };
                row.object.push('x');
            });
            // It goes on after something that it never had.
            caught("resumable", whole, |entries| {
                let at = entries.iter().position(|entry| *entry == Entry::Broke).unwrap();
                drop(entries.remove(at + 2));
            });
            caught("bookmarkable", whole, |entries| {
                let at = place(entries, 12);
                entries.insert(at + 1, Entry::Bookmark(12));
            });
            // It promises more than was told.
            caught("bookmarkable", whole, |entries| {
                let at = place(entries, 12);
                entries.insert(at, Entry::Bookmark(15));
            });
        }
        // A commit whose end is told too early is applied in two.
        caught("atomic", true, |entries| {
            let at = place(entries, 12);
            let Entry::Change { complete, .. } = &mut entries[at] else { panic!("a change is there") };
            *complete = true;
        });
        // What was pending when the connection broke is applied all the same.
        caught("atomic", true, |entries| {
            let at = entries.iter().rposition(|entry| *entry == Entry::Broke).unwrap();
            drop(entries.remove(at));
            entries.insert(at, Entry::Bookmark(30));
        });
    }
}
