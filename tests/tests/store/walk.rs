//! Random walks of runs through the domain: whatever is reachable is reached by some seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use settled::domain::run::{Event, Proof, Repair, Retry, Run, StepFacts};
use settled::domain::step::{Cause, Ended};
use settled::domain::time::Timestamp;
use settled::domain::verdict::{Outcome, Reason};
use settled::domain::waiting::WaitReason;

use crate::fixture::{TIMINGS, facts, failure, started};

/// One seed, one walk: until the run is terminal, or twenty events have happened.
pub(crate) struct Walk {
    random: StdRng,
    now: Timestamp,
    left: u32,
}

impl Walk {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), now: Timestamp(1_000_000), left: 20 }
    }

    /// The run after the next thing that can happen to it.
    pub(crate) fn next(&mut self, run: &Run) -> Option<Run> {
        self.left = self.left.checked_sub(1)?;
        for _ in 0..200 {
            let event = self.event(run);
            self.now = self.now + Duration::from_secs(self.random.random_range(0..40));
            if let Ok(next) = run.clone().apply(event, self.now, &TIMINGS) {
                return Some(next);
            }
        }
        assert!(run.verdict().is_some(), "an open run can always go on: {run:?}");
        None
    }

    pub(crate) fn event(&mut self, run: &Run) -> Event {
        let timeout = Duration::from_secs(self.random.random_range(1..900));
        match self.random.random_range(0..24) {
            0..=5 => started(),
            6..=8 => Event::TryStarted { timeout },
            9 => Event::Waits {
                reason: *WaitReason::ALL.choose(&mut self.random).unwrap(),
                who: "someone".into(),
                next_try: self.random.random_bool(0.5).then_some(self.now),
            },
            10 => Event::GoesOn { began: None },
            11..=16 => Event::StepEnded(self.ended(), self.facts(run, timeout)),
            17 => Event::Judged(
                *[Proof::Success, Proof::Nothing, Proof::None].choose(&mut self.random).unwrap(),
                self.facts(run, timeout),
            ),
            18 => Event::Answered,
            19 => Event::CancelRequested,
            20 => Event::Refused(
                *Outcome::ALL.choose(&mut self.random).unwrap(),
                *Reason::ALL.choose(&mut self.random).unwrap(),
                failure(run.id, "no"),
            ),
            21 | 22 => Event::Broken(failure(run.id, "a panic")),
            _ => {
                self.now = self.now + Duration::from_secs(self.random.random_range(0..100_000));
                Event::Overdue(failure(run.id, "late"))
            }
        }
    }

    fn ended(&mut self) -> Ended {
        match self.random.random_range(0..6) {
            0 => Ended::Rejected { why: "disk".into() },
            1 => Ended::Lost { why: "reboot".into() },
            _ => Ended::Exited {
                code: self.random.random_range(0..2),
                cause: *Cause::ALL.choose(&mut self.random).unwrap(),
            },
        }
    }

    fn facts(&mut self, run: &Run, timeout: Duration) -> StepFacts {
        StepFacts {
            next: self.random.random_bool(0.6).then_some(timeout),
            retry: match self.random.random_range(0..10) {
                0..3 => Retry::Busy,
                3 => Retry::Hopeless,
                4 => Retry::FinalCode,
                _ => Retry::May,
            },
            retry_on_timeout: self.random.random_bool(0.5),
            repair: Repair::No,
            ..facts(run.id)
        }
    }
}
