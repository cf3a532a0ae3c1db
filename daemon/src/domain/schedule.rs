//! Schedules: what is to be done again and again, and what becomes of each time at which it is due.
//!
//! A due time comes from the cron expression alone, so every daemon finds the same; with the schedule's id it names one occurrence,
//! for good. The jitter only says how long after its due time an occurrence is looked at.

mod plan;

pub use plan::{Entry, LATE, PLANNED_MAX, Plan, plan};

use std::collections::BTreeMap;
use std::time::Duration;

use super::id::{EnrollmentId, RunId, ScheduleId};
use super::operation::Operation;
use super::params::Params;
use super::time::Timestamp;

/// Occurrences of one schedule that wait for an earlier one, at most.
pub const WAITING_MAX: i64 = 16;
/// Resources that one occurrence may be about, at most.
pub const TARGETS_MAX: usize = 1_000;

text_enum! {
    /// What becomes of an occurrence while runs of an earlier one are still open.
    Overlap {
        /// It is left out.
        Skip = "skip",
        /// It waits until they have ended.
        Queue = "queue",
        /// They are cancelled, and it waits until they have ended.
        CancelEarlier = "cancel_earlier",
    }
}

text_enum! {
    /// What becomes of occurrences for which no daemon was there in time.
    Missed {
        /// They are only recorded.
        None = "none",
        /// The last of them is made up for.
        Once = "once",
        /// Each of them is made up for.
        All = "all",
    }
}

text_enum! {
    /// What settled does for itself, on schedule.
    Chore {
        /// Settles what time has overtaken.
        Reconcile = "reconcile",
        /// Lets go of old records.
        Retention = "retention",
        /// Moves the oldest position from which transitions can be watched.
        Compaction = "compaction",
        /// Looks for enrollments that are due, beside their being woken.
        Enrollments = "enrollments",
        /// Lets go of enrollments that were completed long ago.
        CleanEnrollments = "clean_enrollments",
        /// Lets go of old lines of the log of executions.
        CleanExecutions = "clean_executions",
        /// Looks at what is at rest on the servers.
        Probes = "probes",
    }
}

text_enum! {
    /// What became of an occurrence.
    Fate {
        /// It waits until runs of an earlier one have ended.
        Waiting = "waiting",
        /// Its runs or enrollments were accepted, at least one.
        Fired = "fired",
        /// It was left out, for what came of an earlier one.
        Skipped = "skipped",
        /// No daemon was there in time, and it is not made up for.
        Missed = "missed",
        /// Nothing could be accepted.
        Refused = "refused",
    }
}

text_enum! {
    /// What brought an occurrence about.
    Cause {
        /// It was due.
        Due = "due",
        /// It was missed, and made up for.
        MadeUp = "made_up",
        /// Somebody asked for it.
        ByHand = "by_hand",
    }
}

/// What is done when a schedule fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An operation of packages on servers.
    Work(Work),
    /// Subjects are enrolled in a lifecycle.
    Enrolling(Enrolling),
    /// What settled does for itself.
    Chore(Chore),
}

/// Subjects that are enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolling {
    /// Code of the lifecycle.
    pub lifecycle: String,
    /// Who.
    pub whom: Whom,
    /// What each begins with: a JSON object, or nothing.
    pub payload: String,
    /// What is completed by then begins anew.
    pub again: bool,
}

/// Who is enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// Subjects, TYPE/ID.
    Subjects(Vec<String>),
    /// Servers that have all these labels when it fires, or what they have of a package.
    Labelled {
        /// The labels.
        labels: BTreeMap<String, String>,
        /// The resources of this package on them; none: the servers themselves.
        package: Option<String>,
    },
}

/// An operation on resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The package; empty when resources are named one by one.
    pub package: String,
    /// What is run.
    pub operation: Operation,
    /// Only resources of this name; empty means all of the package, and for an install the package's name.
    pub name: String,
    /// Where.
    pub on: On,
    /// Values: of an install or update those of the resource, of a removal or an own operation what it takes for this run.
    pub parameters: Params,
}

/// On which resources or servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum On {
    /// Servers by name or id.
    Servers(Vec<String>),
    /// Servers that have all these labels, as they are when it fires.
    Labels(BTreeMap<String, String>),
    /// Resources by id or SERVER/PACKAGE/NAME.
    Resources(Vec<String>),
}

/// What came of the last occurrence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    /// When it was due.
    pub due: Timestamp,
    /// What became of it.
    pub fate: Fate,
    /// In a sentence; may be empty.
    pub why: String,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// ULID.
    pub id: ScheduleId,
    /// Unique. Names that begin with `settled.` are those of built-in schedules.
    pub name: String,
    /// The cron expression.
    pub cron: String,
    /// IANA name of the zone whose clock it means.
    pub time_zone: String,
    /// What is done.
    pub target: Target,
    /// While an earlier one is at work.
    pub overlap: Overlap,
    /// When no daemon was there.
    pub missed: Missed,
    /// How old a missed occurrence may be to be made up for; `None`: of any age.
    pub missed_within: Option<Duration>,
    /// Each occurrence is looked at up to so long after its due time.
    pub jitter: Duration,
    /// Nothing is due before.
    pub starts_at: Option<Timestamp>,
    /// Nothing is due from then on.
    pub ends_at: Option<Timestamp>,
    /// Somebody has paused it: nothing is due.
    pub paused: bool,
    /// Who made it, or changed it last: the principal of its runs.
    pub principal: String,
    /// The next due time; `None`: there is none.
    pub next_due: Option<Timestamp>,
    /// Runs that it has made and that may be open still.
    pub open_runs: Vec<RunId>,
    /// Enrollments that it has made or begun anew, and that may be under way still.
    pub open_enrollments: Vec<EnrollmentId>,
    /// Occurrences that wait.
    pub waiting: i64,
    /// What came of the last occurrence.
    pub last: Option<Last>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Rises with every change.
    pub version: i64,
    /// Number of its last transition; 0: it was never changed since settled was installed.
    pub seq: i64,
}

/// What became of one due time, or of a row of missed ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// Of which schedule.
    pub schedule: ScheduleId,
    /// When it was due; by hand: when it was asked for.
    pub due: Timestamp,
    /// The last of a row of missed ones; else the same.
    pub until: Timestamp,
    /// How many due times it stands for: 1, or a row of missed ones.
    pub count: i64,
    /// What brought it about.
    pub cause: Cause,
    /// What became of it.
    pub fate: Fate,
    /// In a sentence; may be empty.
    pub why: String,
    /// Runs that came of it.
    pub runs: Vec<RunId>,
    /// Enrollments that it made or began anew.
    pub enrollments: Vec<EnrollmentId>,
    /// What could not be accepted: the target, and why. The first of them.
    pub refused: Vec<(String, String)>,
    /// Who fired it by hand, and so the principal of what comes of it; else that is the schedule's.
    pub principal: Option<String>,
    /// When that was decided.
    pub at: Timestamp,
}

impl Schedule {
    /// Built into settled: it can be re-timed and paused, not removed.
    pub fn chore(&self) -> Option<Chore> {
        match self.target {
            Target::Chore(chore) => Some(chore),
            Target::Work(_) | Target::Enrolling(_) => None,
        }
    }

    /// When an occurrence is looked at.
    pub fn fire_at(&self, due: Timestamp) -> Timestamp {
        due + jitter(self.id, due, self.jitter)
    }

    /// When the next occurrence is looked at.
    pub fn next_fire_at(&self) -> Option<Timestamp> {
        self.next_due.map(|due| self.fire_at(due))
    }

    /// A due time that counts: neither paused, nor before its start, nor at or after its end.
    pub fn counts(&self, due: Timestamp) -> bool {
        !self.paused
            && self.starts_at.is_none_or(|start| due >= start)
            && self.ends_at.is_none_or(|end| due < end)
    }
}

/// The same for every daemon: drawn from the schedule's id and the due time.
fn jitter(id: ScheduleId, due: Timestamp, max: Duration) -> Duration {
    let millis = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return Duration::ZERO;
    }
    let (time, chance) = (id.0.timestamp_ms(), id.0.random());
    let [chance, more] = [chance >> 40, chance & 0xff_ffff_ffff].map(|part| u64::try_from(part).unwrap_or(0));
    let parts = [time, chance, more, due.0.cast_unsigned()];
    let drawn = parts.into_iter().fold(0, |seed, part| mixed(seed ^ part));
    Duration::from_millis(drawn % millis)
}

/// One round of `SplitMix64`: every bit of the input moves about half of the output.
const fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
