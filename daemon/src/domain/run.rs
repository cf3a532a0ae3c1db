//! Runs: one execution of an operation, and the only rules by which it moves (`queued -> running -> completed`).
//!
//! [`Run::apply`] is the single place where a run changes. It is told what happened and answers the run as it is then, or that this
//! cannot happen here. It never knows how a fact was learned.

mod ends;
mod events;

use std::time::Duration;

use super::failure::Failure;
use super::freshness::Thresholds;
use super::grounds::{Grounds, Seen};
use super::id::{ResourceId, RunId, ServerId};
use super::operation::Operation;
use super::params::{Outputs, Params};
use super::resource::{self, Declared, Fate, ResourceStatus};
use super::step::{Ended, StepId};
use super::time::Timestamp;
use super::timings::Timings;
use super::turn::Priority;
use super::verdict::{Outcome, Reason, Verdict};
use super::waiting::{WaitReason, Waiting};

/// What a run works on. Ids and names stay after their objects are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The server itself: `register` and `probe`.
    Server,
    /// A resource on it.
    Resource {
        /// Its id.
        id: ResourceId,
        /// Its name at acceptance.
        name: String,
        /// Its package.
        package: String,
        /// Digest of the definition that the run uses.
        digest: String,
        /// Its status before acceptance: what a failed change goes back to.
        earlier: ResourceStatus,
        /// The statuses that the operation declares.
        declared: Declared,
    },
}

/// One execution of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Never changes.
    pub id: RunId,
    /// The server.
    pub server: ServerId,
    /// Its name at acceptance.
    pub server_name: String,
    /// What it works on.
    pub subject: Subject,
    /// What it does.
    pub operation: Operation,
    /// Whether it needs the lane for itself.
    pub exclusive: bool,
    /// Attempts it may use.
    pub attempts_max: u32,
    /// Who asked.
    pub principal: String,
    /// The run that it retries.
    pub retry_of: Option<RunId>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Until when it may stay queued.
    pub queue_until: Timestamp,
    /// The longest time between TERM and KILL of its steps.
    pub kill_grace: Duration,
    /// What is added to the last deadline before it is settled by time.
    pub settle_margin: Duration,
    /// How long it may wait between two tries.
    pub wait_limit: Duration,
    /// How long nothing may happen to it before it is shown as likely stale.
    pub stale: Thresholds,
    /// When something last happened to it.
    pub progress_at: Timestamp,
    /// Before whom it has its turn.
    pub priority: Priority,
    /// Someone asked for its cancellation.
    pub cancel_requested: bool,
    /// A step's payload may have run.
    pub payload: bool,
    /// What was given with the operation, for this run alone.
    pub parameters: Params,
    /// What the steps of its last attempt have written.
    pub outputs: Outputs,
    /// Where it stands.
    pub state: RunState,
    /// What its verdict rests on, in full; `None` while it is open.
    pub grounds: Option<Grounds>,
    /// Epoch of the lane that it last ran in; 0 before.
    pub epoch: i64,
    /// Rises with every change; the store's guard.
    pub version: i64,
    /// Sequence number of its last transition.
    pub seq: i64,
}

/// Where a run stands, with what is true only there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// Nothing has started.
    Queued {
        /// Why it waits, beyond its place in the lane.
        waiting: Option<Waiting>,
    },
    /// It has started.
    Running(Progress),
    /// It ended, for good.
    Completed {
        /// When its first step was started, if one was.
        started_at: Option<Timestamp>,
        /// Where it was then.
        position: Position,
        /// How it ended.
        verdict: Verdict,
    },
}

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// When its first step was started.
    pub started_at: Timestamp,
    /// The step in progress, or the one that comes next.
    pub position: Position,
    /// Whether something of it may live on the server.
    pub phase: Phase,
    /// Since when something on the server is in the way of this step, if it was: the wait for it has one end, whatever else is waited for
    /// in between.
    pub busy_since: Option<Timestamp>,
    /// Why it does not go on.
    pub waiting: Option<Waiting>,
}

/// Which step of which attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// Index of the step, from 0.
    pub step: u32,
    /// Try, from 1.
    pub try_no: u32,
}

impl Position {
    const FIRST: Self = Self { attempt: 1, step: 0, try_no: 1 };

    const fn next_step(self) -> Self {
        Self { step: self.step + 1, try_no: 1, ..self }
    }

    const fn next_try(self) -> Self {
        Self { try_no: self.try_no + 1, ..self }
    }

    const fn next_attempt(self) -> Self {
        Self { attempt: self.attempt + 1, step: 0, try_no: 1 }
    }
}

/// Whether something of a run may live on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A try is stored and may have been sent.
    Stepping {
        /// When the server ends it.
        deadline: Timestamp,
    },
    /// Between two tries: nothing of it lives on the server.
    Between {
        /// Since when; the settling of what never goes on is reckoned from here.
        since: Timestamp,
    },
}

/// What the definition says of the step that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFacts {
    /// Timeout of the step after it; `None` when it was the last.
    pub next: Option<Duration>,
    /// What its end says of another try, if it did not end well.
    pub retry: Retry,
    /// A timeout may be tried again.
    pub retry_on_timeout: bool,
    /// What it has to do with the repair of an interrupted dpkg.
    pub repair: Repair,
    /// What it has written, when it ended with 0; `None`: what does not fit its package, so that it has not ended well and would not the
    /// next time.
    pub outputs: Option<Outputs>,
    /// What went wrong, if it did.
    pub failure: Failure,
    /// What was seen on the server beside the end.
    pub seen: Seen,
}

/// What the end of a try says of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It may go better.
    May,
    /// Another program held a lock: it is tried again, and uses no attempt.
    Busy,
    /// Another try of this run cannot help.
    Hopeless,
    /// Of its exit code the package says that trying again would not help.
    FinalCode,
}

/// What a try has to do with the repair of an interrupted dpkg. The repair is a try of the step that was refused: it uses no attempt unless
/// it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Nothing.
    No,
    /// The server refused the try because dpkg was interrupted, and allows the repair: that is the next try, with this timeout.
    Begins(Duration),
    /// The try was the repair: when it has ended well, the step itself is tried, with the timeout in [`StepFacts::next`].
    Was,
}

/// What a probe proves about a lost step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The operation's aim is reached.
    Success,
    /// Nothing of it holds.
    Nothing,
    /// It proves neither.
    None,
}

/// What can happen to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It has the lane, and its first try is about to be sent.
    Started {
        /// Timeout of the first step.
        timeout: Duration,
    },
    /// It cannot go on now.
    Waits {
        /// Why.
        reason: WaitReason,
        /// For whom or what.
        who: String,
        /// When it looks again.
        next_try: Option<Timestamp>,
    },
    /// The start of its try was not answered: whether the server has it is not known, and it is sent again.
    Unanswered {
        /// What went wrong.
        who: String,
        /// When it is sent again.
        next_try: Timestamp,
        /// Timeout of its step.
        timeout: Duration,
    },
    /// It goes on after a wait, where it stands.
    GoesOn {
        /// Timeout of its step, when the server may have begun it only now.
        began: Option<Duration>,
    },
    /// The next try is about to be sent.
    TryStarted {
        /// Timeout of its step.
        timeout: Duration,
    },
    /// The server put the start of the try off, and stored nothing of it: another program holds a lock that the step needs.
    HeldUp(Failure),
    /// The server proved how a try ended.
    StepEnded(Ended, StepFacts),
    /// A try left no record; a probe was asked.
    Judged(Proof, StepFacts),
    /// The server answered a run that has no steps (`register`, `probe` of a server or a resource).
    Answered,
    /// Someone asks for its cancellation.
    CancelRequested,
    /// It is not allowed to begin, or its server refuses it, while nothing of it lives on the server.
    Refused(Outcome, Reason, Failure),
    /// It is past the time by which it settles. Illegal before that time.
    Overdue(Failure),
    /// The task that drove it broke while nothing of it lived on the server: a failed attempt.
    Broken(Failure),
    /// The task that drove it broke again and again; its try was ended on the server, which has proven how.
    Abandoned(Ended, StepFacts),
}

/// An event that cannot happen in this state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot happen to a {state} run")]
pub struct Illegal {
    /// The state.
    pub state: &'static str,
    /// The event.
    pub event: &'static str,
}

impl Run {
    /// The word of its state.
    pub const fn state_word(&self) -> &'static str {
        match self.state {
            RunState::Queued { .. } => "queued",
            RunState::Running(_) => "running",
            RunState::Completed { .. } => "completed",
        }
    }

    /// Whether it works by steps, which may live on a server by themselves. What is not exclusive only asks and is answered.
    pub const fn has_steps(&self) -> bool {
        self.exclusive && self.operation.has_steps()
    }

    /// Whether its resource's record follows it. A look leaves the record as it is; an adoption and the end of one that failed do not,
    /// although all they do on the server is to look.
    pub const fn keeps_record(&self) -> bool {
        self.exclusive || matches!(self.operation, Operation::Adopt | Operation::Remove)
    }

    /// Whether nothing of it has started.
    pub const fn is_queued(&self) -> bool {
        matches!(self.state, RunState::Queued { .. })
    }

    /// Its position; zeros before the first step.
    pub fn position(&self) -> Position {
        match &self.state {
            RunState::Queued { .. } => Position::default(),
            RunState::Running(progress) => progress.position,
            RunState::Completed { position, .. } => *position,
        }
    }

    /// Its verdict, once it has one.
    pub const fn verdict(&self) -> Option<&Verdict> {
        match &self.state {
            RunState::Completed { verdict, .. } => Some(verdict),
            _ => None,
        }
    }

    /// Whether it has succeeded.
    pub fn succeeded(&self) -> bool {
        self.verdict().is_some_and(|verdict| verdict.outcome == Outcome::Succeeded)
    }

    /// Whether it is what left its resource `failed`: an install that did not succeed, or an update that had begun on the server.
    pub fn failed_its_resource(&self) -> bool {
        let unsuccessful = self.verdict().is_some_and(|verdict| verdict.outcome != Outcome::Succeeded);
        unsuccessful
            && match self.operation {
                Operation::Install | Operation::Adopt => true,
                Operation::Update => self.payload,
                _ => false,
            }
    }

    /// Why it waits, if it does.
    pub const fn waiting(&self) -> Option<&Waiting> {
        match &self.state {
            RunState::Queued { waiting } => waiting.as_ref(),
            RunState::Running(progress) => progress.waiting.as_ref(),
            RunState::Completed { .. } => None,
        }
    }

    /// The try that may live on the server.
    pub const fn live_step(&self) -> Option<StepId> {
        match &self.state {
            RunState::Running(Progress { position: p, phase: Phase::Stepping { .. }, .. }) => {
                Some(StepId { run: self.id, step: p.step, attempt: p.attempt, try_no: p.try_no })
            }
            _ => None,
        }
    }

    /// The try that is not begun yet. It may have a record already: its start was put off.
    pub const fn next_try(&self) -> Option<StepId> {
        match &self.state {
            RunState::Running(Progress { position: p, phase: Phase::Between { .. }, .. }) => {
                Some(StepId { run: self.id, step: p.step, attempt: p.attempt, try_no: p.try_no })
            }
            _ => None,
        }
    }

    /// Whether a try that the server begins at `now` may run beyond what was reckoned when it was stored.
    pub fn begins_late(&self, now: Timestamp, timeout: Duration) -> bool {
        match &self.state {
            RunState::Running(Progress { phase: Phase::Stepping { deadline }, .. }) => {
                now + timeout > *deadline + self.settle_margin / 2
            }
            _ => false,
        }
    }

    /// By when it is terminal as long as a daemon runs (P6); `None` once it is. From what the run keeps alone, so that other settings
    /// move nothing that was published.
    pub fn settles_by(&self) -> Option<Timestamp> {
        match &self.state {
            RunState::Queued { .. } => Some(self.queue_until),
            RunState::Running(Progress { phase: Phase::Stepping { deadline }, .. }) => {
                Some(*deadline + self.kill_grace + self.settle_margin)
            }
            RunState::Running(Progress { phase: Phase::Between { since }, .. }) => {
                Some(*since + self.wait_limit)
            }
            RunState::Completed { .. } => None,
        }
    }

    /// What becomes of its resource now; `None` when the resource keeps its status.
    pub fn fate(&self) -> Option<Fate> {
        let Subject::Resource { earlier, declared, .. } = &self.subject else { return None };
        match &self.state {
            RunState::Queued { .. } => None,
            RunState::Running(_) => {
                Some(Fate::Status(resource::in_lane(&self.operation, *earlier, *declared)))
            }
            RunState::Completed { verdict, .. } => {
                Some(resource::at_end(&self.operation, verdict.outcome, self.payload, *earlier, *declared))
            }
        }
    }

    /// The run after the event.
    pub fn apply(mut self, event: Event, now: Timestamp, timings: &Timings) -> Result<Self, Illegal> {
        let illegal = Illegal { state: self.state_word(), event: event.word() };
        let grounds = Grounds::of(&self, &event);
        let legal = !self.contradicts(&event, now)
            && match &self.state {
                RunState::Queued { .. } => self.when_queued(event, now, timings),
                RunState::Running(progress) if progress.is_stepping() => {
                    self.when_stepping(event, now, timings)
                }
                RunState::Running(_) => self.when_between(event, now, timings),
                RunState::Completed { .. } => false,
            };
        if !legal {
            return Err(illegal);
        }
        self.grounds = self.verdict().is_some().then_some(grounds);
        self.progress_at = now;
        self.version += 1;
        Ok(self)
    }

    /// What no state allows, or the facts of this one forbid.
    fn contradicts(&self, event: &Event, now: Timestamp) -> bool {
        match event {
            // Success is proven, never declared.
            Event::Refused(Outcome::Succeeded, ..) => true,
            // What may live on the server is not ended by words.
            Event::Refused(..) => self.live_step().is_some() && self.has_steps(),
            // An adoption needs proof, not only an answer.
            Event::Answered => self.has_steps() || self.operation == Operation::Adopt,
            Event::Judged(..) => !self.has_steps() && self.operation != Operation::Adopt,
            Event::HeldUp(_) | Event::Abandoned(..) => !self.has_steps(),
            // Whoever looked may have seen an earlier state: the run may have gone on since.
            Event::Overdue(_) => self.settles_by().is_some_and(|due| now <= due),
            _ => false,
        }
    }
}

impl Progress {
    const fn is_stepping(&self) -> bool {
        matches!(self.phase, Phase::Stepping { .. })
    }

    /// Another try, step or attempt. What was in the way of one step says nothing about another.
    fn move_to(&mut self, next: Position) {
        if (next.attempt, next.step) != (self.position.attempt, self.position.step) {
            self.busy_since = None;
        }
        self.position = next;
    }
}

impl Event {
    const fn word(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Waits { .. } => "waits",
            Self::Unanswered { .. } => "unanswered",
            Self::GoesOn { .. } => "goes on",
            Self::TryStarted { .. } => "try started",
            Self::HeldUp(_) => "held up",
            Self::StepEnded(..) => "step ended",
            Self::Judged(..) => "judged",
            Self::Answered => "answered",
            Self::CancelRequested => "cancel requested",
            Self::Refused(..) => "refused",
            Self::Overdue(_) => "overdue",
            Self::Broken(_) => "broken",
            Self::Abandoned(..) => "abandoned",
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
