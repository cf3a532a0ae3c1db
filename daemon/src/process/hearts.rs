//! Proofs of life of the parts that must not stand still: each says by when it is heard of again, and who is late is named.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A part of the daemon that must not stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Settles what time has overtaken.
    Reconciler,
    /// Takes the lanes of servers that have work.
    Dispatcher,
    /// Renews the lease, through the writer.
    Lease,
    /// Moves enrollments on.
    Lifecycles,
    /// Sends webhooks.
    Webhooks,
    /// Sends notices.
    Notices,
}

impl Part {
    pub(super) const ALL: [Self; 6] =
        [Self::Reconciler, Self::Dispatcher, Self::Lease, Self::Lifecycles, Self::Webhooks, Self::Notices];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reconciler => "the reconciler",
            Self::Dispatcher => "the dispatcher",
            Self::Lease => "the renewal of the lease",
            Self::Lifecycles => "what moves enrollments on",
            Self::Webhooks => "what sends webhooks",
            Self::Notices => "what sends notices",
        })
    }
}

/// A part that stands still, and what that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Still {
    /// The part.
    pub part: Part,
    /// How late it is.
    pub late: Duration,
}

impl fmt::Display for Still {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let so = match self.part {
            Part::Reconciler => "runs past their time are not settled",
            Part::Dispatcher => "no server is taken to work on",
            Part::Lease => "nothing is written, and soon nothing is started",
            Part::Lifecycles => "no stage begins or ends",
            Part::Webhooks => "no webhook is sent",
            Part::Notices => "nobody is notified",
        };
        write!(f, "{} stands still, {} s late: {so}", self.part, self.late.as_secs())
    }
}

/// By when each part is heard of again, in microseconds of the monotonic clock; 0 before it began. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Hearts(Arc<[AtomicU64; Part::ALL.len()]>);

impl Hearts {
    /// The part lives, and is heard of again by `until` of the monotonic clock.
    pub fn alive(&self, part: Part, until: Duration) {
        let us = u64::try_from(until.as_micros()).unwrap_or(u64::MAX).max(1);
        self.0[part as usize].store(us, Ordering::Relaxed);
    }

    /// Whether every part has begun.
    pub(super) fn all_began(&self) -> bool {
        self.0.iter().all(|until| until.load(Ordering::Relaxed) > 0)
    }

    /// The parts that are late by more than `patience`.
    pub fn still(&self, now: Duration, patience: Duration) -> Vec<Still> {
        let late = |part: Part| {
            let until = self.0[part as usize].load(Ordering::Relaxed);
            let late = now.saturating_sub(Duration::from_micros(until));
            (until > 0 && late > patience).then_some(Still { part, late })
        };
        Part::ALL.into_iter().filter_map(late).collect()
    }
}
