//! One unit of writing: what a batch of commands does in one transaction.
//!
//! Every write of an object goes with its transition, numbered here. The counter row is locked before anything else, so the order of
//! numbers is the order of commits, on one daemon or on several, and no two units can deadlock.
//!
//! Commands read and write through the unit as if they were alone. What they want is loaded for all of them at once ([`Wants`]), what
//! they know is kept ([`known`]), and what they write of the kinds that come in numbers is gathered and written as sets ([`pending`]):
//! at the end, or before anything that a set could not see. A set that does not come back whole refuses the batch, which is then run
//! one by one.

mod known;
mod objects;
mod pending;
mod wants;

pub use wants::Wants;

use std::collections::HashSet;
use std::time::Duration;

use known::Known;
use pending::Pending;

use super::audit::AuditRow;
use super::measured::Move;
use super::notices::Told;
use super::rows::TransitionRow;
use super::{Db, StoreError};
use crate::domain::id::{ResourceId, ServerId};
use crate::domain::resource::Resource;
use crate::domain::server::Server;
use crate::domain::time::Timestamp;

/// A row of the audit with its number, and the numbers of the transitions of its command, from the first to the last; none when the first
/// is larger.
struct Audited {
    seq: i64,
    row: AuditRow,
    transitions: (i64, i64),
}

/// What a command has done to a server or a resource: how it was, if it was there, and how it is, if it is there still.
#[derive(Debug, Clone)]
pub enum Touched {
    /// A server.
    Server(Option<Server>, Option<Server>),
    /// A resource.
    Resource(Option<Resource>, Option<Resource>),
}

/// How an object was before the command that runs now.
enum Before {
    Server(ServerId, Option<Server>),
    Resource(ResourceId, Option<Resource>),
}

/// A transaction in progress.
pub struct Unit<'c> {
    db: Db<'c>,
    now: Timestamp,
    seq: i64,
    writes: u64,
    known: Known,
    pending: Pending,
    /// A set did not come back whole: whose fault it is shows when the commands run one by one.
    spoilt: bool,
    transitions: Vec<TransitionRow>,
    audited: i64,
    /// When its last row was noted: no later one is from before.
    audited_at: Timestamp,
    audit: Vec<Audited>,
    /// The last number before what is noted next.
    began_at: i64,
    /// What that has changed, as it was before.
    before: Vec<Before>,
    called: Vec<ServerId>,
    /// What is to be told of it.
    told: Vec<Told>,
    /// What becomes of runs, to be counted once it is committed.
    moves: Vec<Move>,
}

/// What a unit has written, for the commit.
pub(super) struct Done {
    /// The last number.
    pub(super) seq: i64,
    /// The last number of the audit, and when that was noted.
    pub(super) audited: i64,
    pub(super) audited_at: Timestamp,
    /// Servers whose lanes have news.
    pub(super) called: Vec<ServerId>,
    /// What became of runs.
    pub(super) moves: Vec<Move>,
}

/// How far a unit had come before a command ran in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    writes: u64,
    audit: usize,
    called: usize,
}

/// How far the clock that noted the last row of the audit may have been ahead. Further, it was wrong, and is not followed.
const LEAD_MAX: Duration = Duration::from_mins(10);

/// When a row of the audit was noted, so that times follow the order of the rows although the clocks of several daemons differ.
fn in_order(before: Timestamp, now: Timestamp) -> Timestamp {
    if before.since(now) > LEAD_MAX { now } else { before.max(now) }
}

impl<'c> Unit<'c> {
    /// A unit on a connection that has begun its transaction and locked the counter, which stands at `seq`, and for the audit at `audited`.
    pub(super) fn new(db: Db<'c>, now: Timestamp, seq: i64, (audited, audited_at): (i64, Timestamp)) -> Self {
        Self {
            db,
            now,
            seq,
            writes: 0,
            known: Known::default(),
            pending: Pending::default(),
            spoilt: false,
            transitions: Vec::new(),
            audited,
            audited_at,
            audit: Vec::new(),
            began_at: seq,
            before: Vec::new(),
            called: Vec::new(),
            told: Vec::new(),
            moves: Vec::new(),
        }
    }

    /// Loads what commands want, before the first of them runs.
    pub(super) async fn load(&mut self, wants: Wants) -> Result<(), StoreError> {
        self.known.load(&mut self.db, wants).await
    }

    /// A command begins.
    pub(super) fn mark(&mut self) -> Mark {
        self.before.clear();
        self.began_at = self.seq;
        Mark { writes: self.writes, audit: self.audit.len(), called: self.called.len() }
    }

    /// Forgets a refused command; false when it had written, so that nothing of this unit may be committed.
    pub(super) fn forget(&mut self, since: Mark) -> bool {
        self.audited -= i64::try_from(self.audit.len() - since.audit).unwrap_or(0);
        self.audit.truncate(since.audit);
        self.called.truncate(since.called);
        self.writes == since.writes
    }

    /// Whether a set was refused while a command ran, so that nothing of this unit may be committed.
    pub(super) const fn is_spoilt(&self) -> bool {
        self.spoilt
    }

    /// Whether there is nothing to commit.
    pub(super) const fn is_empty(&self) -> bool {
        self.writes == 0 && self.audit.is_empty()
    }

    /// The time of this unit.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The connection, to load what a decision needs and the unit does not know. It sees everything that was written before.
    pub async fn db(&mut self) -> Result<&mut Db<'c>, StoreError> {
        self.flush().await?;
        Ok(&mut self.db)
    }

    /// The connection, for a statement that writes. Counted before it runs: one that fails half-way has written too.
    pub(super) async fn writing(&mut self) -> Result<&mut Db<'c>, StoreError> {
        self.flush().await?;
        self.writes += 1;
        Ok(&mut self.db)
    }

    /// Takes back the count of a statement that turned out to change nothing.
    pub(super) const fn wrote_nothing(&mut self) {
        self.writes -= 1;
    }

    /// Zero rows: the guard of a [`Unit::writing`] statement has refused it, and it has changed nothing.
    pub(super) const fn guarded(&mut self, rows: u64) -> Result<(), StoreError> {
        if rows == 0 {
            self.wrote_nothing();
            return Err(StoreError::Conflict);
        }
        Ok(())
    }

    /// Where the row of an object is gathered. Counts as written.
    async fn gathering(&mut self, id: &str) -> Result<&mut Pending, StoreError> {
        if !self.pending.takes(id) {
            self.flush().await?;
            self.pending.takes(id);
        }
        self.writes += 1;
        Ok(&mut self.pending)
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let written = std::mem::take(&mut self.pending).write(&mut self.db, self.now).await;
        self.spoilt |= written.is_err();
        written
    }

    /// The number of the next transition; taken only by [`Unit::record`], so that a refused write leaves no hole.
    pub(super) const fn next_seq(&self) -> i64 {
        self.seq + 1
    }

    pub(super) fn record(&mut self, mut row: TransitionRow) {
        row.at = self.now.0;
        self.seq = row.seq;
        self.transitions.push(row);
    }

    /// Makes sure that the engine has not given the transaction up: then a refusal would only be the echo of a neighbour's fault.
    pub(super) async fn still_stands(mut self) -> Result<(), StoreError> {
        Ok(on!(&mut self.db, c => sqlx::raw_sql("SELECT 1").execute(c).await.map(drop))?)
    }

    /// Writes what is gathered.
    pub(super) async fn finish(mut self) -> Result<Done, StoreError> {
        let told = std::mem::take(&mut self.told);
        if !told.is_empty() {
            self.tell(told).await?;
        }
        self.flush().await?;
        pending::write_transitions(&mut self.db, &self.transitions).await?;
        if !self.audit.is_empty() {
            self.audited_at = in_order(self.audited_at, self.now);
        }
        pending::write_audit(&mut self.db, &self.audit, self.audited_at).await?;
        self.called.sort_unstable();
        self.called.dedup();
        let Self { seq, audited, audited_at, called, moves, .. } = self;
        Ok(Done { seq, audited, audited_at, called, moves })
    }

    /// Once this is committed, the server's lane is told to look again, here and in every daemon on this store.
    pub fn call(&mut self, server: ServerId) {
        self.called.push(server);
    }

    /// Notes a command, or a part of it, for the audit, with the transitions that it has made since it began or since the last part; written
    /// with the rest of the unit.
    pub fn audit(&mut self, row: AuditRow) {
        self.audited += 1;
        let transitions = (self.began_at + 1, self.seq);
        self.audit.push(Audited { seq: self.audited, row, transitions });
        self.before.clear();
        self.began_at = self.seq;
    }

    /// What the command has done to servers and resources since it began or since the last part that was noted, each once.
    pub fn touched(&self) -> Vec<Touched> {
        let (mut seen, mut touched) = (HashSet::new(), Vec::new());
        for before in &self.before {
            match before {
                Before::Server(id, before) if seen.insert(id.0) => {
                    let now = self.known.servers.get(id).cloned().flatten();
                    touched.push(Touched::Server(before.clone(), now));
                }
                Before::Resource(id, before) if seen.insert(id.0) => {
                    let now = self.known.resources.get(id).cloned().flatten();
                    touched.push(Touched::Resource(before.clone(), now));
                }
                Before::Server(..) | Before::Resource(..) => {}
            }
        }
        touched
    }

    /// Gathers what is to be told of a change that was written.
    pub(super) fn tells(&mut self, told: Told) {
        self.told.push(told);
    }

    fn replaced_server(&mut self, id: ServerId, before: Option<Server>) {
        self.before.push(Before::Server(id, before));
    }

    fn replaced_resource(&mut self, id: ResourceId, before: Option<Resource>) {
        self.before.push(Before::Resource(id, before));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p14_times_of_the_audit_follow_its_order_unless_a_clock_was_wrong() {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000);
        for (before, now, noted) in [(0, 5, 5), (100, 95, 100), (700, 100, 700), (701, 100, 100)] {
            assert_eq!(in_order(at(before), at(now)), at(noted), "{before} {now}");
        }
    }
}
