//! Which events each state allows, and what they do there. Answers whether the event can happen; when it cannot, nothing has changed.
//!
//! Every event is named in every state: a new one does not compile before it is decided everywhere.

use std::time::Duration;

use super::{Event, Phase, Position, Progress, Proof, Run, RunState};
use crate::domain::failure::Failure;
use crate::domain::time::Timestamp;
use crate::domain::timings::Timings;
use crate::domain::verdict::{Evidence, Outcome, Reason, Verdict};
use crate::domain::waiting::{WaitReason, Waiting};

impl Run {
    pub(super) fn when_queued(&mut self, event: Event, now: Timestamp, timings: &Timings) -> bool {
        match event {
            Event::Started { timeout } => self.start(Phase::Stepping { deadline: now + timeout }, now),
            Event::Waits { reason, who, next_try } => self.wait(reason, who, next_try, now),
            Event::GoesOn { .. } => self.set_waiting(None),
            Event::CancelRequested => self.complete_cancelled(self.evidence_so_far(), now),
            Event::Refused(outcome, reason, failure) => self.refused(outcome, reason, failure, now),
            Event::Overdue(failure) => {
                self.fail(Reason::NeverStarted, Evidence::NotStarted, failure, true, now);
            }
            Event::Broken(failure) if self.attempts_max > 1 => {
                self.start(Phase::Between { since: now }, now);
                self.attempt_broken(failure, now, timings);
            }
            Event::Broken(failure) => {
                self.fail(Reason::Internal, Evidence::NotStarted, failure, false, now);
            }
            Event::Unanswered { .. }
            | Event::TryStarted { .. }
            | Event::HeldUp(_)
            | Event::StepEnded(..)
            | Event::Judged(..)
            | Event::Answered
            | Event::Abandoned(..) => return false,
        }
        true
    }

    /// A try is stored, and may live on the server; a run without steps only asks it.
    pub(super) fn when_stepping(&mut self, event: Event, now: Timestamp, timings: &Timings) -> bool {
        let only_asks = !self.has_steps();
        match event {
            Event::Waits { reason, who, next_try } => self.wait(reason, who, next_try, now),
            Event::Unanswered { who, next_try, timeout } => self.unanswered(who, next_try, timeout, now),
            Event::GoesOn { began } => self.go_on(began, now),
            Event::CancelRequested if only_asks => self.complete_cancelled(self.evidence_so_far(), now),
            Event::CancelRequested => self.cancel_requested = true,
            Event::HeldUp(failure) => self.held_up(failure, now, timings),
            Event::StepEnded(ended, facts) => self.step_ended(&ended, facts, now, timings),
            Event::Judged(Proof::Success, _) if only_asks => self.succeed(Evidence::Probe, now),
            Event::Judged(_, facts) if only_asks => {
                self.fail(Reason::Differs, Evidence::Probe, facts.failure, false, now);
            }
            Event::Judged(proof, facts) => {
                self.payload = true;
                match proof {
                    Proof::Success => self.succeed(Evidence::Probe, now),
                    Proof::Nothing if self.cancel_requested => {
                        self.complete_cancelled(Evidence::Probe, now);
                    }
                    Proof::Nothing => {
                        self.attempt_failed(facts.failure, Evidence::Probe, self.exhausted(), now, timings);
                    }
                    Proof::None => self.fail(Reason::Lost, Evidence::None, facts.failure, false, now),
                }
            }
            Event::Answered => self.succeed(Evidence::Probe, now),
            Event::Refused(outcome, reason, failure) => self.refused(outcome, reason, failure, now),
            Event::Overdue(failure) if only_asks => self.overdue_wait(failure, now),
            Event::Overdue(failure) => {
                self.payload = true;
                self.fail(Reason::Lost, Evidence::None, failure, true, now);
            }
            Event::Broken(failure) if only_asks => self.attempt_broken(failure, now, timings),
            Event::Abandoned(ended, facts) => self.abandoned(&ended, facts, now),
            Event::Started { .. } | Event::TryStarted { .. } | Event::Broken(_) => return false,
        }
        true
    }

    /// Nothing of it lives on the server.
    pub(super) fn when_between(&mut self, event: Event, now: Timestamp, timings: &Timings) -> bool {
        match event {
            Event::Waits { reason, who, next_try } => self.wait(reason, who, next_try, now),
            Event::GoesOn { .. } => self.set_waiting(None),
            Event::TryStarted { timeout } => self.start_try(now + timeout),
            Event::CancelRequested => self.complete_cancelled(self.evidence_so_far(), now),
            Event::Refused(outcome, reason, failure) => self.refused(outcome, reason, failure, now),
            Event::Overdue(failure) => self.overdue_wait(failure, now),
            Event::Broken(failure) => self.attempt_broken(failure, now, timings),
            Event::Started { .. }
            | Event::Unanswered { .. }
            | Event::HeldUp(_)
            | Event::StepEnded(..)
            | Event::Judged(..)
            | Event::Answered
            | Event::Abandoned(..) => return false,
        }
        true
    }

    fn start(&mut self, phase: Phase, now: Timestamp) {
        let (started_at, position) = (now, Position::FIRST);
        self.state =
            RunState::Running(Progress { started_at, position, phase, busy_since: None, waiting: None });
    }

    fn start_try(&mut self, deadline: Timestamp) {
        if let RunState::Running(progress) = &mut self.state {
            progress.phase = Phase::Stepping { deadline };
            // Whether the lock is free shows only when the server has answered: until then it waits since it began to.
            progress.waiting.take_if(|w| w.reason != WaitReason::Busy);
        }
    }

    fn set_waiting(&mut self, now_waiting: Option<Waiting>) {
        if let RunState::Queued { waiting } | RunState::Running(Progress { waiting, .. }) = &mut self.state {
            *waiting = now_waiting;
        }
    }

    fn wait(&mut self, reason: WaitReason, who: String, next_try: Option<Timestamp>, now: Timestamp) {
        let since = self.waiting_since(reason, now);
        self.set_waiting(Some(Waiting { reason, who, since, next_try }));
    }

    fn go_on(&mut self, began: Option<Duration>, now: Timestamp) {
        self.set_waiting(None);
        if let RunState::Running(Progress { phase: Phase::Stepping { deadline }, .. }) = &mut self.state
            && let Some(timeout) = began
        {
            *deadline = (*deadline).max(now + timeout);
        }
    }

    fn refused(&mut self, outcome: Outcome, reason: Reason, failure: Failure, now: Timestamp) {
        self.complete(Verdict {
            outcome,
            reason: Some(reason),
            evidence: self.evidence_so_far(),
            reconciled: false,
            failure: Some(failure),
            at: now,
        });
    }

    /// What it waited for did not come in time.
    fn overdue_wait(&mut self, failure: Failure, now: Timestamp) {
        let reason = match self.waiting().map(|w| w.reason) {
            Some(WaitReason::Refused) => Reason::Refused,
            Some(WaitReason::Unreachable) => Reason::Unreachable,
            // Its server was asked, and has not answered.
            None if self.live_step().is_some() => Reason::Unreachable,
            _ => Reason::WaitedTooLong,
        };
        self.fail(reason, self.evidence_so_far(), failure, true, now);
    }
}
