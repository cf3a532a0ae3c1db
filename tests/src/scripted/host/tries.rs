//! Tries on a scripted server: accepted, live or over, and when a payload would end by itself.

use std::time::Duration;

use settled::domain::step::{Cause, Ended};
use settled::remote::{Limits, Report, StepStatus};

use crate::scripted::{End, Play};

#[derive(Debug)]
pub(super) struct Try {
    pub(super) script: String,
    pub(super) env: Vec<(String, String)>,
    pub(super) limits: Limits,
    /// The boot in which it came.
    pub(super) boot: String,
    /// What it wrote to `SETTLED_OUTPUT`, when it ended with a record.
    pub(super) result: Vec<u8>,
    pub(super) stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Stored, not started.
    Accepted(Play),
    Live(Live),
    /// How it ended, and what it wrote until then.
    Over(Ended, Vec<u8>),
}

#[derive(Debug)]
pub(super) struct Live {
    pub(super) play: Play,
    pub(super) limits: Limits,
    pub(super) began: Duration,
    pub(super) cancelled: Option<Duration>,
    pub(super) witness: usize,
}

/// When a payload ends, if nothing else happens.
pub(super) struct Fate {
    /// The record is there, or the supervisor is gone.
    pub(super) at: Duration,
    /// The last process is gone.
    pub(super) gone: Duration,
    pub(super) ended: Ended,
    pub(super) done: bool,
}

impl Live {
    pub(super) fn fate(&self) -> Fate {
        let own = self.began + self.play.takes;
        let deadline = (self.began + self.limits.timeout, Cause::Deadline);
        let stop = self.cancelled.map_or(deadline, |at| deadline.min((at, Cause::Cancel)));
        let dies = stop.0 + self.play.after_term.min(self.limits.grace);
        if dies < own {
            let code = if self.play.after_term > self.limits.grace { 137 } else { 143 };
            return Fate { at: dies, gone: dies, ended: Ended::Exited { code, cause: stop.1 }, done: false };
        }
        let cause = if stop.0 < own { stop.1 } else { Cause::Itself };
        let (gone, ended, done) = match self.play.end {
            End::Exit(code) => (own, Ended::Exited { code, cause }, code == 0),
            End::Killed => (own, Ended::Exited { code: 137, cause: Cause::Outside }, false),
            End::NoRecord { done } => (own, Ended::Lost { why: "supervisor-killed".to_owned() }, done),
            End::Orphan(lives) => (own + lives, Ended::Lost { why: "supervisor-killed".to_owned() }, true),
        };
        Fate { at: own, gone, ended, done }
    }

    pub(super) fn written(&self, now: Duration) -> Vec<u8> {
        let max = usize::try_from(self.limits.output_bytes_max).unwrap_or(usize::MAX);
        let seen = self.play.output.iter().filter(|(after, _)| self.began + *after <= now);
        seen.flat_map(|(_, text)| text.iter().copied()).take(max).collect()
    }

    pub(super) fn truncated(&self) -> bool {
        self.play.output.iter().map(|(_, text)| text.len() as u64).sum::<u64>() > self.limits.output_bytes_max
    }
}

pub(super) fn report(status: StepStatus, output: usize) -> Report {
    Report {
        status,
        output_bytes: output as u64,
        truncated: false,
        processes: Vec::new(),
        scene: None,
        result: Vec::new(),
    }
}

pub(super) fn rejected(why: &str) -> Stage {
    Stage::Over(Ended::Rejected { why: why.to_owned() }, Vec::new())
}
