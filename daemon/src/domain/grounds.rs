//! Grounds: everything that a verdict rests on, beside the one word of its evidence. Kept with the run, so that nobody has to believe it.

use std::collections::BTreeMap;

use super::resource::Presence;
use super::run::{Event, Proof, Run};
use super::step::{Cause, Ended, StepId};
use super::time::Timestamp;

/// Most processes that are kept.
pub const PROCESSES_MAX: usize = 20;
/// Most facts of a probe that are kept.
pub const FACTS_MAX: usize = 16;
/// Longest text that is kept of anything a server said, in bytes.
pub const TEXT_BYTES_MAX: usize = 256;

text_enum! {
    /// Who or what gave the grounds.
    Source {
        /// The server, by what it keeps of the step: its exit record, or that there is none.
        Server = "server",
        /// A look at what is there.
        Probe = "probe",
        /// Nobody: the time by which it settles has passed.
        Time = "time",
        /// Someone's command, while nothing of it lived on the server.
        Command = "command",
        /// settled itself: a refusal, or a fault.
        Daemon = "daemon",
    }
}

/// What a verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grounds {
    /// Who or what gave them.
    pub source: Source,
    /// The try that they are about.
    pub step: Option<StepId>,
    /// Its exit record: the code, and who or what ended it.
    pub exit: Option<(i32, Cause)>,
    /// What was seen beside that.
    pub seen: Seen,
}

/// What was seen on a server beside the end of a try.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Why there is no exit record, in the protocol's word: `reboot`, `supervisor-killed`, `disk`, ... Empty when there is one.
    pub why: String,
    /// Boot in which the step began; empty when unknown.
    pub boot_before: String,
    /// Boot of the server when it was asked; empty when unknown.
    pub boot_now: String,
    /// Whether the lock of the server's lane was free.
    pub lane_free: Option<bool>,
    /// Live processes of the step, as `pid name`.
    pub processes: Vec<String>,
    /// What the probe saw of what its proof names.
    pub probe: Option<Probed>,
}

/// What a probe saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The state that it printed.
    pub presence: Presence,
    /// The facts that the proof names.
    pub facts: BTreeMap<String, String>,
}

/// What a server showed of a try after its run had been settled without proof. The outcome stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late {
    /// When it was stored.
    pub at: Timestamp,
    /// In a sentence.
    pub text: String,
    /// In full.
    pub grounds: Grounds,
}

impl Grounds {
    /// What the end of a try gives.
    pub fn of_end(step: StepId, ended: &Ended, seen: Seen) -> Self {
        let (exit, why) = match ended {
            Ended::Exited { code, cause } => (Some((*code, *cause)), seen.why),
            Ended::Rejected { why } | Ended::Lost { why } => (None, why.clone()),
        };
        let seen = Seen { why, ..seen }.bounded();
        Self { source: Source::Server, step: Some(step), exit, seen }
    }

    /// What the verdict would rest on, if this event ended the run.
    pub(super) fn of(run: &Run, event: &Event) -> Self {
        let step = run.live_step().or_else(|| run.next_try());
        let bare = |source| Self { source, step, exit: None, seen: Seen::default() };
        match event {
            Event::StepEnded(ended, facts) | Event::Abandoned(ended, facts) => match step {
                Some(step) => Self::of_end(step, ended, facts.seen.clone()),
                None => bare(Source::Server),
            },
            Event::Judged(proof, facts) => {
                let source = if *proof == Proof::None { Source::Server } else { Source::Probe };
                Self { seen: facts.seen.clone().bounded(), ..bare(source) }
            }
            Event::Answered => bare(Source::Probe),
            Event::HeldUp(_) => bare(Source::Server),
            Event::Overdue(_) => bare(Source::Time),
            Event::CancelRequested => bare(Source::Command),
            Event::Started { .. }
            | Event::Waits { .. }
            | Event::Unanswered { .. }
            | Event::GoesOn { .. }
            | Event::TryStarted { .. }
            | Event::Refused(..)
            | Event::Broken(_) => bare(Source::Daemon),
        }
    }
}

impl Seen {
    /// Within the limits: a server may say anything.
    fn bounded(mut self) -> Self {
        self.processes.truncate(PROCESSES_MAX);
        let texts = [&mut self.why, &mut self.boot_before, &mut self.boot_now];
        texts.into_iter().chain(&mut self.processes).for_each(shorten);
        if let Some(probe) = &mut self.probe {
            let facts = std::mem::take(&mut probe.facts).into_iter().take(FACTS_MAX);
            probe.facts = facts
                .map(|(name, mut value)| {
                    shorten(&mut value);
                    (name, value)
                })
                .collect();
        }
        self
    }
}

fn shorten(text: &mut String) {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_kept_within_limits() {
        let long = "ä".repeat(TEXT_BYTES_MAX);
        let facts = (0..FACTS_MAX * 2).map(|n| (format!("f{n}"), long.clone())).collect();
        let seen = Seen {
            why: long.clone(),
            processes: vec![long.clone(); PROCESSES_MAX * 2],
            probe: Some(Probed { presence: Presence::Present, facts }),
            ..Seen::default()
        };
        let seen = seen.bounded();
        let probe = seen.probe.expect("it stays");
        assert_eq!((seen.processes.len(), probe.facts.len()), (PROCESSES_MAX, FACTS_MAX));
        let texts = seen.processes.iter().chain(probe.facts.values()).chain([&seen.why]);
        assert!(texts.into_iter().all(|text| text.len() == TEXT_BYTES_MAX), "two bytes for each letter");
    }
}
