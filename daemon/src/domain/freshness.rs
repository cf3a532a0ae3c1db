//! Freshness: whether an open run still shows signs of life, and who ended one that does not. A word for people and for filters: it
//! decides nothing, and never changes a run.
//!
//! A sign of life is a change of the run. Who waits has promised to look again, so silence counts from that promise on; what waits because somebody
//! has paused its server is as that person wants it. A `running` run without an owner is ordinary after a stop, and is not stale for that alone.

use std::time::Duration;

use super::run::{Phase, Run, RunState};
use super::time::Timestamp;
use super::verdict::Verdict;
use super::waiting::WaitReason;

text_enum! {
    /// How fresh a run is.
    Freshness {
        /// It is open, and something has happened to it lately.
        Fresh = "fresh",
        /// It is open, and nothing has happened to it for longer than it should take. It settles by itself.
        LikelyStale = "likely_stale",
        /// It is over, and the reconciler ended it.
        Reconciled = "reconciled",
        /// It is over, in the ordinary way.
        Terminal = "terminal",
    }
}

/// How long nothing may happen to an open run before it is shown as likely stale. A run keeps those that it was accepted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// While it is queued.
    pub queued: Duration,
    /// Once it has started.
    pub running: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { queued: Duration::from_hours(1), running: Duration::from_mins(5) }
    }
}

impl Thresholds {
    /// Those of one run. `limit`: how long it may stay queued, and people are to hear of it well before that. `expected`: how long its
    /// operation usually takes as a whole; a silence of that length is a long one, whatever the configuration says. `takeover`: how long the
    /// silence lasts while another daemon takes over, which is ordinary, however short the operation.
    #[must_use]
    pub fn of_run(self, limit: Duration, expected: Option<Duration>, takeover: Duration) -> Self {
        let running = expected.map_or(self.running, |expected| expected.max(takeover));
        Self { queued: self.queued.min(limit / 2), running }
    }
}

impl Run {
    /// After this time it is likely stale, unless something happens to it; `None` once it is over. Never later than its server has to end
    /// its step: it is shown before it is settled, and the margin lies between. What is paused is not stale before its limit ends it.
    pub fn stale_at(&self) -> Option<Timestamp> {
        if self.is_queued() && self.waiting().is_some_and(|w| w.reason == WaitReason::Paused) {
            return Some(self.queue_until);
        }
        let promised = self.waiting().and_then(|w| w.next_try);
        let heard = promised.map_or(self.progress_at, |at| at.max(self.progress_at));
        match &self.state {
            RunState::Queued { .. } => Some(heard + self.stale.queued),
            RunState::Running(progress) => Some(match progress.phase {
                Phase::Stepping { deadline } => (heard + self.stale.running).min(deadline + self.kill_grace),
                Phase::Between { .. } => heard + self.stale.running,
            }),
            RunState::Completed { .. } => None,
        }
    }

    /// How fresh it is now.
    pub fn freshness(&self, now: Timestamp) -> Freshness {
        match (self.verdict(), self.stale_at()) {
            (Some(verdict), _) => verdict.freshness(),
            (None, Some(at)) if now > at => Freshness::LikelyStale,
            (None, _) => Freshness::Fresh,
        }
    }
}

impl Verdict {
    /// That of a run which has ended so; it does not change any more.
    pub fn freshness(&self) -> Freshness {
        if self.reconciled { Freshness::Reconciled } else { Freshness::Terminal }
    }
}
