//! An enrollment: one subject on its way through the stages of a lifecycle.
//!
//! Nobody owns an enrollment. What goes on for it is written down with the commit that begins it: a run, which lanes take over, a
//! question to a person, a task that a worker has until its lease passes. So whichever daemon looks next sees how that went, and no claim
//! can be lost with the one who made it.

mod task;

use std::fmt;
use std::time::Duration;

pub use task::TaskId;

use super::id::{EnrollmentId, LifecycleId, ResourceId, RunId, ServerId};
use super::lifecycle::CALLS;
use super::time::Timestamp;

text_enum! {
    /// Where an enrollment stands.
    Status {
        /// It waits for its time, for a gate, for a window or for a worker.
        Pending = "pending",
        /// A stage is being executed.
        Processing = "processing",
        /// It has done all stages.
        Completed = "completed",
        /// A stage has failed for good.
        Failed = "failed",
    }
}

text_enum! {
    /// How a stage, or an execution of it, ended.
    Outcome {
        /// It did what it was to do.
        Succeeded = "succeeded",
        /// The execution failed.
        Failed = "failed",
        /// It waited for too long, so the enrollment failed.
        TimedOut = "timed_out",
        /// It waited for too long, so it was left out.
        Skipped = "skipped",
        /// Someone moved on to the next stage.
        Advanced = "advanced",
        /// Someone asked for another try.
        Retried = "retried",
        /// Someone began anew.
        Reset = "reset",
    }
}

/// Who goes through a lifecycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its type, for instance `user` or `server`.
    pub kind: String,
    /// Its id within that type.
    pub id: String,
    /// The server that it is, or is on.
    pub server: Option<ServerId>,
    /// The resource that it is.
    pub resource: Option<ResourceId>,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

/// What goes on for an enrollment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// A probe of its gate.
    Look {
        /// The run.
        run: RunId,
    },
    /// Its action is a run.
    Run {
        /// The run.
        run: RunId,
    },
    /// A person is asked.
    Approval {
        /// Until when.
        until: Timestamp,
    },
    /// A worker may take it. Not begun: no attempt is used until one does.
    Offer {
        /// Name of the queue.
        queue: String,
        /// Until when.
        until: Timestamp,
    },
    /// A worker has it.
    Task {
        /// Name of the queue.
        queue: String,
        /// Who, as it calls itself.
        worker: String,
        /// The principal who took it, and so may speak of it.
        taken_by: String,
        /// Until when without a word.
        lease_until: Timestamp,
    },
}

impl Work {
    /// The run that it waits for.
    pub const fn run(&self) -> Option<RunId> {
        match self {
            Self::Look { run } | Self::Run { run } => Some(*run),
            _ => None,
        }
    }

    /// When time ends it.
    pub const fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Look { .. } | Self::Run { .. } => None,
            Self::Approval { until } | Self::Offer { until, .. } | Self::Task { lease_until: until, .. } => {
                Some(*until)
            }
        }
    }
}

/// Where an enrollment stands, and what is true there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is looked at when it is due.
    Waiting {
        /// When. Also its place in the order of those that are due.
        due: Timestamp,
    },
    /// Something goes on.
    Working {
        /// What.
        work: Work,
        /// When it was due.
        due: Timestamp,
    },
    /// It has done all stages.
    Completed {
        /// When.
        at: Timestamp,
    },
    /// A stage has failed for good.
    Failed {
        /// When.
        at: Timestamp,
    },
}

/// One subject on its way through a lifecycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrollment {
    /// Never changes.
    pub id: EnrollmentId,
    /// Its lifecycle.
    pub lifecycle: LifecycleId,
    /// Code of its lifecycle.
    pub code: String,
    /// Who.
    pub subject: Subject,
    /// Who enrolled it; what its stages do is done for them.
    pub principal: String,
    /// The version with which its stage began; before that, the one that was seen last.
    pub revision: u32,
    /// Name of the stage where it is.
    pub stage: String,
    /// Executions of this stage so far.
    pub attempt: u32,
    /// How often this stage was put off.
    pub deferrals: u32,
    /// Since when this stage waits without having been executed.
    pub waits_since: Option<Timestamp>,
    /// Since when it waits for its windows. That time is no part of how long its stage may wait.
    pub closed_since: Option<Timestamp>,
    /// What it waits for, in words; empty: for nothing but its time.
    pub waits_for: String,
    /// What stages hand on: a JSON object.
    pub payload: String,
    /// Where it stands.
    pub state: State,
    /// Why the last execution of this stage failed; empty: it did not.
    pub last_error: String,
    /// Rises with everything that begins for it: what was begun before cannot speak for it.
    pub work_no: u32,
    /// When the record was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Rises with every change; the store's guard.
    pub version: i64,
    /// Sequence number of its last transition.
    pub seq: i64,
}

/// What happens to an enrollment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its lifecycle does not work any more: what was asked is taken back, and the time until it works again does not count.
    SetAside {
        /// What it waits for.
        why: String,
    },
    /// It is not looked at before then, whatever its gate would say: its windows are closed.
    Closed {
        /// When one opens.
        until: Timestamp,
        /// In words.
        why: String,
    },
    /// A probe is asked first.
    Looked {
        /// The run.
        run: RunId,
    },
    /// Not yet.
    Deferred {
        /// When it is looked at again.
        until: Timestamp,
        /// In words.
        why: String,
    },
    /// A worker may take it.
    Offered {
        /// Name of the queue.
        queue: String,
        /// Until when.
        until: Timestamp,
    },
    /// An execution begins.
    Began(Work),
    /// The worker has said that it lives.
    Alive {
        /// Until when it has it now.
        lease_until: Timestamp,
    },
    /// It did what it was to do.
    Succeeded(Next),
    /// An execution failed, or could not begin at all.
    Failed {
        /// Why.
        error: String,
    },
    /// It has waited for too long, and fails.
    TimedOut {
        /// In words.
        why: String,
    },
    /// It goes on with the next stage although this one was not done: it waited for too long, or someone said so.
    Left(Next),
    /// Someone wants another try of the stage that failed.
    Retried,
    /// Its subject is another server or resource of the same name by now.
    Linked(Subject),
    /// Someone begins anew.
    Reset {
        /// Who it is by now.
        subject: Subject,
        /// The first stage.
        stage: String,
        /// The newest version.
        revision: u32,
        /// What it begins with.
        payload: String,
        /// When.
        due: Timestamp,
    },
}

/// What comes after a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Another one.
    Stage {
        /// Its name.
        stage: String,
        /// The newest version.
        revision: u32,
    },
    /// Nothing.
    Done,
}

/// How a stage is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Executions in total.
    pub attempts: u32,
    /// The pause between two.
    pub backoff: Duration,
}

/// What cannot happen to an enrollment where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this cannot happen to an enrollment that is `{status}`")]
pub struct Illegal {
    /// Where it stands.
    pub status: Status,
}

impl Enrollment {
    /// The word for where it stands.
    pub const fn status(&self) -> Status {
        match &self.state {
            State::Waiting { .. } | State::Working { work: Work::Offer { .. }, .. } => Status::Pending,
            State::Working { .. } => Status::Processing,
            State::Completed { .. } => Status::Completed,
            State::Failed { .. } => Status::Failed,
        }
    }

    /// When it is looked at next; `None` when something else wakes it, or nothing.
    pub const fn due(&self) -> Option<Timestamp> {
        match &self.state {
            State::Waiting { due } => Some(*due),
            _ => None,
        }
    }

    /// What goes on for it.
    pub const fn work(&self) -> Option<&Work> {
        match &self.state {
            State::Working { work, .. } => Some(work),
            _ => None,
        }
    }

    /// Whether its stage has begun: something goes on for it, or went on. From then on it keeps its version until the stage is done.
    pub const fn has_begun(&self) -> bool {
        self.attempt > 0 || matches!(self.state, State::Working { .. })
    }

    /// Since when it waits for what it waits for now.
    pub const fn waiting_since(&self) -> Option<Timestamp> {
        match self.closed_since {
            None => self.waits_since,
            since => since,
        }
    }

    /// Whether it has waited for longer than it may.
    pub fn waited_out(&self, max: Duration, now: Timestamp) -> bool {
        self.waits_since.is_some_and(|since| now >= since + max)
    }

    /// The number of the execution that goes on, or would be the next.
    pub const fn execution(&self) -> u32 {
        match &self.state {
            State::Working { work: Work::Run { .. } | Work::Approval { .. } | Work::Task { .. }, .. } => {
                self.attempt
            }
            _ => self.attempt + 1,
        }
    }

    /// What the event makes of it. The payload is the caller's to change: it comes with the event's outcome.
    pub fn apply(self, event: Event, now: Timestamp, rules: Rules) -> Result<Self, Illegal> {
        let illegal = Illegal { status: self.status() };
        match (&self.state, event) {
            (
                State::Waiting { .. } | State::Working { work: Work::Look { .. }, .. },
                Event::Closed { until, why },
            ) => {
                let closed_since = self.closed_since.or(Some(now));
                Ok(Self { closed_since, ..self.waits(until, why) })
            }
            (
                State::Working {
                    work: Work::Look { .. } | Work::Approval { .. } | Work::Offer { .. }, ..
                },
                Event::SetAside { why },
            ) => {
                let attempt = self.execution() - 1;
                Ok(Self { attempt, waits_since: None, ..self.waits(now, why) })
            }
            (State::Waiting { due }, Event::Looked { run }) => {
                let due = *due;
                Ok(self.works(Work::Look { run }, due))
            }
            (State::Waiting { .. } | State::Working { .. }, Event::Deferred { until, why }) => {
                Ok(self.deferred(until, why, now))
            }
            (
                State::Waiting { due } | State::Working { work: Work::Look { .. }, due },
                Event::Offered { queue, until },
            ) => {
                let due = *due;
                let waits_since = self.waits_since.or(Some(now));
                let waits_for = match queue.as_str() {
                    CALLS => "its webhook to be sent".to_owned(),
                    queue => format!("a worker of the queue `{queue}`"),
                };
                let offered = self.works(Work::Offer { queue, until }, due);
                Ok(Self { waits_since, waits_for, ..offered })
            }
            (
                State::Waiting { due } | State::Working { work: Work::Look { .. } | Work::Offer { .. }, due },
                Event::Began(work),
            ) => {
                let due = *due;
                // A worker may put it off again: then it has waited since it was offered first.
                let waits_since = self.waits_since.filter(|_| matches!(work, Work::Task { .. }));
                let began = self.works(work, due);
                Ok(Self { attempt: began.attempt + 1, waits_since, waits_for: String::new(), ..began })
            }
            (
                State::Working { work: Work::Task { queue, worker, taken_by, .. }, due },
                Event::Alive { lease_until },
            ) => {
                let (queue, worker, taken_by) = (queue.clone(), worker.clone(), taken_by.clone());
                let work = Work::Task { queue, worker, taken_by, lease_until };
                let due = *due;
                Ok(Self { state: State::Working { work, due }, ..self })
            }
            (
                State::Working { due, .. } | State::Waiting { due },
                Event::Succeeded(next) | Event::Left(next),
            ) => {
                let due = *due;
                Ok(self.goes_to(next, due, now))
            }
            (State::Failed { .. }, Event::Left(next)) => Ok(self.goes_to(next, now, now)),
            (State::Working { .. } | State::Waiting { .. }, Event::Failed { error }) => {
                Ok(self.failed(error, now, rules))
            }
            (State::Working { .. } | State::Waiting { .. }, Event::TimedOut { why }) => {
                Ok(Self { last_error: why, ..self.rests(State::Failed { at: now }) })
            }
            (State::Failed { .. }, Event::Retried) => {
                Ok(Self { attempt: 0, deferrals: 0, ..self.rests(State::Waiting { due: now }) })
            }
            (_, Event::Linked(subject)) => Ok(Self { subject, ..self }),
            (_, Event::Reset { subject, stage, revision, payload, due }) => {
                let rests = self.rests(State::Waiting { due });
                let last_error = String::new();
                Ok(Self { subject, stage, revision, payload, attempt: 0, deferrals: 0, last_error, ..rests })
            }
            _ => Err(illegal),
        }
    }

    fn works(self, work: Work, due: Timestamp) -> Self {
        Self { state: State::Working { work, due }, work_no: self.work_no + 1, closed_since: None, ..self }
    }

    /// Nothing goes on for it, and it waits for nothing.
    fn rests(self, state: State) -> Self {
        let waits_for = String::new();
        Self { state, work_no: self.work_no + 1, waits_since: None, closed_since: None, waits_for, ..self }
    }

    fn waits(self, due: Timestamp, waits_for: String) -> Self {
        let state = State::Waiting { due };
        Self { state, work_no: self.work_no + 1, closed_since: None, waits_for, ..self }
    }

    /// A deferral uses no attempt: one that had begun is given back.
    fn deferred(self, until: Timestamp, why: String, now: Timestamp) -> Self {
        let attempt = self.execution() - 1;
        let (deferrals, waits_since) = (self.deferrals.saturating_add(1), self.waits_since.or(Some(now)));
        Self { attempt, deferrals, waits_since, ..self.waits(until, why) }
    }

    fn failed(self, error: String, now: Timestamp, rules: Rules) -> Self {
        let attempt = self.execution();
        let state = if attempt < rules.attempts {
            State::Waiting { due: now + rules.backoff }
        } else {
            State::Failed { at: now }
        };
        Self { attempt, last_error: error, ..self.rests(state) }
    }

    /// The next stage keeps the place in the order of those that are due.
    fn goes_to(self, next: Next, due: Timestamp, now: Timestamp) -> Self {
        match next {
            Next::Stage { stage, revision } => {
                let rests = self.rests(State::Waiting { due: due.min(now) });
                Self { stage, revision, attempt: 0, deferrals: 0, last_error: String::new(), ..rests }
            }
            Next::Done => Self { last_error: String::new(), ..self.rests(State::Completed { at: now }) },
        }
    }
}

#[cfg(test)]
mod tests;
