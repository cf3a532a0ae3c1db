//! Steps: one command of an operation, and what a server can say of one try of it.

use std::fmt;
use std::str::FromStr;

use super::id::RunId;

/// Names one try of one step: `run.step.attempt.try`. Stored before it is sent, so that a lost answer never makes a second execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId {
    /// The run.
    pub run: RunId,
    /// Index of the step in the operation, from 0.
    pub step: u32,
    /// Attempt, from 1.
    pub attempt: u32,
    /// Try within the attempt, from 1.
    pub try_no: u32,
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.run, self.step, self.attempt, self.try_no)
    }
}

/// A text that does not name a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` does not name a step: expected run.step.attempt.try")]
pub struct BadStepId(pub String);

impl FromStr for StepId {
    type Err = BadStepId;

    fn from_str(text: &str) -> Result<Self, BadStepId> {
        let bad = || BadStepId(text.to_owned());
        let mut parts = text.split('.');
        let run = parts.next().ok_or_else(bad)?.parse().map_err(|_| bad())?;
        let mut number = || parts.next().ok_or_else(bad)?.parse::<u32>().map_err(|_| bad());
        let (step, attempt, try_no) = (number()?, number()?, number()?);
        if parts.next().is_some() {
            return Err(bad());
        }
        let id = Self { run, step, attempt, try_no };
        // One step has one name: `01` and `+1` are not 1.
        if id.to_string() == text { Ok(id) } else { Err(bad()) }
    }
}

text_enum! {
    /// Where a step stands in the store.
    StepState {
        /// The intent is stored; whether the server has it is not known yet.
        Starting = "starting",
        /// The server has it.
        Running = "running",
        /// It ended with an exit code.
        Exited = "exited",
        /// It was ended at its deadline, by a cancel or by someone else.
        Killed = "killed",
        /// Its payload did not run.
        Rejected = "rejected",
        /// It left no exit record.
        Lost = "lost",
    }
}

text_enum! {
    /// Who or what ended a payload.
    Cause {
        /// It ended by itself.
        Itself = "itself",
        /// The deadline of its try.
        Deadline = "deadline",
        /// A cancel.
        Cancel = "cancel",
        /// Someone else on the server.
        Outside = "outside",
    }
}

/// How one try of a step ended, as its server proves or disproves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// There is an exit record.
    Exited {
        /// Exit code of the payload; 128 + n when signal n ended it.
        code: i32,
        /// Who or what ended it.
        cause: Cause,
    },
    /// Proof that the payload did not run.
    Rejected {
        /// Why, in the protocol's word: `lane-busy`, `disk`, `cancelled-before-start`, `lane-orphaned by STEP: PID NAME, ...`, ...
        why: String,
    },
    /// It was started, has ended, and left no record: reboot, power loss, out-of-memory kill.
    Lost {
        /// What is known: `reboot`, `supervisor-killed`, `forced` (an operator gave it up), ...
        why: String,
    },
}

#[cfg(test)]
mod tests;
