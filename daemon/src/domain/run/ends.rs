//! How a try's end moves its run: to the next step, to another try, to another attempt, or to its verdict.
//!
//! Nothing here asks whether that can happen now; [`Run::apply`] has.

use std::time::Duration;

use super::{Phase, Position, Repair, Retry, Run, RunState, StepFacts};
use crate::domain::failure::Failure;
use crate::domain::step::{Cause, Ended};
use crate::domain::time::Timestamp;
use crate::domain::timings::Timings;
use crate::domain::verdict::{Evidence, Outcome, Reason, Verdict};
use crate::domain::waiting::{WaitReason, Waiting, pause};

impl Run {
    pub(super) fn step_ended(&mut self, ended: &Ended, facts: StepFacts, now: Timestamp, timings: &Timings) {
        match ended {
            Ended::Rejected { why } if self.cancel_requested || why == "cancelled-before-start" => {
                self.complete_cancelled(self.evidence_so_far(), now);
            }
            Ended::Rejected { .. } if facts.retry == Retry::Hopeless => {
                self.fail(Reason::StepFailed, self.evidence_so_far(), facts.failure, false, now);
            }
            Ended::Rejected { why } => {
                if let Repair::Begins(timeout) = facts.repair {
                    return self.at_once(Position::next_try, now + timeout);
                }
                let who = format!("the server did not start it: {why}");
                self.another_try(who, facts.failure, now, timings);
            }
            Ended::Exited { code, cause } => {
                self.payload = true;
                self.exited(*code, *cause, facts, now, timings);
            }
            // A lost step is judged by a probe; until then nothing is known, and nothing changes but this.
            Ended::Lost { .. } => self.payload = true,
        }
    }

    fn exited(&mut self, code: i32, cause: Cause, facts: StepFacts, now: Timestamp, timings: &Timings) {
        // A payload that was stopped may still say 0: it has ended well only when it ended by itself.
        let well = code == 0 && cause == Cause::Itself && facts.outputs.is_some();
        if well {
            self.outputs.extend(facts.outputs.into_iter().flatten());
        }
        match facts.next {
            None if well => self.succeed(Evidence::ExitRecord, now),
            _ if self.cancel_requested || cause == Cause::Cancel => {
                self.complete_cancelled(Evidence::ExitRecord, now);
            }
            Some(timeout) if well && facts.repair == Repair::Was => {
                self.at_once(Position::next_try, now + timeout);
            }
            Some(timeout) if well => self.at_once(Position::next_step, now + timeout),
            _ if cause == Cause::Deadline && !facts.retry_on_timeout => {
                self.fail(Reason::Timeout, Evidence::ExitRecord, facts.failure, false, now);
            }
            _ if facts.retry == Retry::Busy && cause == Cause::Itself => {
                self.another_try(facts.failure.message.clone(), facts.failure, now, timings);
            }
            _ if facts.retry == Retry::FinalCode && cause == Cause::Itself => {
                self.fail(Reason::FinalCode, Evidence::ExitRecord, facts.failure, false, now);
            }
            _ if (facts.retry == Retry::Hopeless || code == 0) && cause == Cause::Itself => {
                self.fail(Reason::StepFailed, Evidence::ExitRecord, facts.failure, false, now);
            }
            _ => {
                self.attempt_failed(facts.failure, Evidence::ExitRecord, self.exhausted(), now, timings);
            }
        }
    }

    /// The same try is sent again, and gets its whole time from then on: the server counts from the real start. A start is not hoped for
    /// longer than the run might have stayed queued.
    pub(super) fn unanswered(&mut self, who: String, next_try: Timestamp, timeout: Duration, now: Timestamp) {
        let since = self.waiting_since(WaitReason::Unreachable, now);
        let hope = self.queue_until.since(self.accepted_at);
        let RunState::Running(progress) = &mut self.state else { return };
        if let Phase::Stepping { deadline } = &mut progress.phase {
            let last = progress.started_at + hope;
            *deadline = (*deadline).max(next_try.min(last) + timeout);
        }
        let reason = WaitReason::Unreachable;
        progress.waiting = Some(Waiting { reason, who, since, next_try: Some(next_try) });
    }

    /// The same try, later: nothing of it was stored on the server. A lock that nobody lets go holds the lane no longer than the limit.
    pub(super) fn held_up(&mut self, failure: Failure, now: Timestamp, timings: &Timings) {
        if self.cancel_requested {
            return self.complete_cancelled(self.evidence_so_far(), now);
        }
        let waited = now.since(self.busy_since(now));
        if waited >= self.wait_limit {
            return self.waited_too_long(failure, now);
        }
        self.busy(|same| same, failure.message, pause(timings.busy_retry, waited), now);
    }

    /// A new try of the same step, later; waiting uses no attempt. Also this has an end, or a full disk would hold the lane for good.
    fn another_try(&mut self, who: String, failure: Failure, now: Timestamp, timings: &Timings) {
        let waited = now.since(self.busy_since(now));
        if self.position().try_no >= timings.tries_max(self.wait_limit) || waited >= self.wait_limit {
            return self.waited_too_long(failure, now);
        }
        self.busy(Position::next_try, who, pause(timings.busy_retry, waited), now);
    }

    /// What is in the way of its step is there after all its time.
    fn waited_too_long(&mut self, failure: Failure, now: Timestamp) {
        // Without an exit code no step has ended: what was in the way is told, not a step.
        let step = failure.exit_code.map_or_else(String::new, |_| failure.step);
        let message = format!("it could not go on within its limit: {}", failure.message);
        let failure = Failure { step, message, ..failure };
        self.fail(Reason::WaitedTooLong, self.evidence_so_far(), failure, false, now);
    }

    /// Since when something is in the way of its step; now, if nothing was until now.
    fn busy_since(&self, now: Timestamp) -> Timestamp {
        let RunState::Running(progress) = &self.state else { return now };
        progress.busy_since.unwrap_or(now)
    }

    /// It looks again after the pause, at the limit of the wait at the latest. All of the wait is one: it settles when that has passed.
    fn busy(&mut self, next: fn(Position) -> Position, who: String, pause: Duration, now: Timestamp) {
        let since = self.busy_since(now);
        let until = (now + pause).min(since + self.wait_limit);
        let RunState::Running(progress) = &mut self.state else { return };
        progress.move_to(next(progress.position));
        progress.phase = Phase::Between { since };
        progress.busy_since = Some(since);
        progress.waiting = Some(Waiting { reason: WaitReason::Busy, who, since, next_try: Some(until) });
    }

    /// The next attempt, later; after the last one the run fails for this reason.
    pub(super) fn attempt_failed(
        &mut self,
        failure: Failure,
        evidence: Evidence,
        at_last: Reason,
        now: Timestamp,
        timings: &Timings,
    ) {
        let attempt = self.position().attempt;
        if attempt >= self.attempts_max {
            return self.fail(at_last, evidence, failure, false, now);
        }
        self.outputs.clear();
        let who = format!("attempt {attempt} of {} failed: {}", self.attempts_max, failure.message);
        let (since, until) = (self.waiting_since(WaitReason::Backoff, now), now + timings.backoff(attempt));
        let RunState::Running(progress) = &mut self.state else { return };
        progress.move_to(progress.position.next_attempt());
        progress.phase = Phase::Between { since: now };
        progress.waiting = Some(Waiting { reason: WaitReason::Backoff, who, since, next_try: Some(until) });
    }

    /// The reason of a run whose last attempt has failed.
    pub(super) const fn exhausted(&self) -> Reason {
        if self.attempts_max > 1 { Reason::AttemptsExhausted } else { Reason::StepFailed }
    }

    /// The task that drove it broke. Nothing of it lives on the server, so a cancel that was asked for is done.
    pub(super) fn attempt_broken(&mut self, failure: Failure, now: Timestamp, timings: &Timings) {
        if self.cancel_requested {
            return self.complete_cancelled(self.evidence_so_far(), now);
        }
        self.attempt_failed(failure, self.evidence_so_far(), Reason::Internal, now, timings);
    }

    /// A try that settled itself ended, because it could not go on with it. What the record proves still counts.
    pub(super) fn abandoned(&mut self, ended: &Ended, facts: StepFacts, now: Timestamp) {
        self.payload |= !matches!(ended, Ended::Rejected { .. });
        match ended {
            Ended::Exited { code: 0, cause: Cause::Itself }
                if facts.next.is_none() && facts.outputs.is_some() =>
            {
                self.outputs.extend(facts.outputs.into_iter().flatten());
                self.succeed(Evidence::ExitRecord, now);
            }
            Ended::Lost { .. } => self.fail(Reason::Lost, Evidence::None, facts.failure, false, now),
            _ if self.cancel_requested => self.complete_cancelled(self.evidence_so_far(), now),
            _ => self.fail(Reason::Internal, self.evidence_so_far(), facts.failure, false, now),
        }
    }

    /// The next step or try is sent without a pause.
    fn at_once(&mut self, next: fn(Position) -> Position, deadline: Timestamp) {
        if let RunState::Running(progress) = &mut self.state {
            progress.move_to(next(progress.position));
            progress.phase = Phase::Stepping { deadline };
            progress.waiting = None;
        }
    }

    /// Since when it waits for this reason; now, if it did not until now.
    pub fn waiting_since(&self, reason: WaitReason, now: Timestamp) -> Timestamp {
        self.waiting().filter(|w| w.reason == reason).map_or(now, |w| w.since)
    }

    pub(super) fn succeed(&mut self, evidence: Evidence, now: Timestamp) {
        let outcome = Outcome::Succeeded;
        self.complete(Verdict { outcome, reason: None, evidence, reconciled: false, failure: None, at: now });
    }

    pub(super) fn fail(
        &mut self,
        reason: Reason,
        evidence: Evidence,
        failure: Failure,
        reconciled: bool,
        now: Timestamp,
    ) {
        let outcome = Outcome::Failed;
        self.complete(Verdict {
            outcome,
            reason: Some(reason),
            evidence,
            reconciled,
            failure: Some(failure),
            at: now,
        });
    }

    /// What a verdict rests on when nothing of the run lives on the server.
    pub(super) const fn evidence_so_far(&self) -> Evidence {
        if self.payload { Evidence::ExitRecord } else { Evidence::NotStarted }
    }

    pub(super) fn complete_cancelled(&mut self, evidence: Evidence, now: Timestamp) {
        let (outcome, reason) = (Outcome::Cancelled, Some(Reason::Cancelled));
        self.cancel_requested = true;
        self.complete(Verdict { outcome, reason, evidence, reconciled: false, failure: None, at: now });
    }

    pub(super) fn complete(&mut self, verdict: Verdict) {
        let started_at = match &self.state {
            RunState::Running(progress) => Some(progress.started_at),
            _ => None,
        };
        self.state = RunState::Completed { started_at, position: self.position(), verdict };
    }
}
