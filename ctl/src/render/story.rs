//! The story of a run as lines: milestones, output, waiting. It remembers what it has told, so that a stream that
//! was cut and resumed tells nothing twice. It neither prints nor waits.

use std::collections::BTreeMap;

use settled_proto::v1::follow_run_response::{Event, Output};
use settled_proto::v1::{Run, RunState, Step, StepState, WaitReason, Waiting};

use super::text;
use super::words::word_or_empty;

/// Longest piece of a line that is held back until its end arrives, in bytes.
const LINE_BYTES_MAX: usize = 4096;

/// What was told so far.
#[derive(Debug, Default)]
pub(crate) struct Story {
    titles: Vec<String>,
    told_steps: BTreeMap<String, i32>,
    told_waiting: Option<(i32, String)>,
    attempt: u32,
    cancel_told: bool,
    begun_line: Vec<u8>,
}

impl Story {
    /// Takes the titles of all steps from a run that carries them.
    pub(crate) fn learn(&mut self, run: &Run) {
        if !run.step_titles.is_empty() {
            self.titles.clone_from(&run.step_titles);
        }
    }

    /// The lines that an event adds.
    pub(crate) fn tell(&mut self, event: &Event) -> Vec<String> {
        match event {
            Event::Run(run) => self.tell_run(run),
            Event::Step(step) => self.tell_step(step),
            Event::Output(output) => self.tell_output(output),
        }
    }

    /// What stands there now, in a few words, for a spinner.
    pub(crate) fn now(run: &Run) -> String {
        match (&run.waiting, RunState::try_from(run.state)) {
            (Some(waiting), _) => wait_line(waiting),
            (None, Ok(RunState::Queued)) if run.position > 0 => format!("queued, place {}", run.position),
            (None, Ok(RunState::Queued)) => "queued".to_owned(),
            (None, Ok(RunState::Running)) => "running".to_owned(),
            _ => String::new(),
        }
    }

    fn tell_run(&mut self, run: &Run) -> Vec<String> {
        self.learn(run);
        let mut lines = Vec::new();
        if run.attempt > 1 && run.attempt > self.attempt {
            lines.extend(self.rest());
            lines.push(format!("Attempt {} of {}", run.attempt, run.max_attempts.max(run.attempt)));
        }
        self.attempt = self.attempt.max(run.attempt);
        let waiting = run.waiting.as_ref().map(|w| (w.reason, w.who.clone()));
        if waiting != self.told_waiting {
            if let Some(waiting) = &run.waiting {
                lines.extend(self.rest());
                lines.push(wait_line(waiting));
            }
            self.told_waiting = waiting;
        }
        if run.cancel_requested && !self.cancel_told && run.state != RunState::Completed as i32 {
            self.cancel_told = true;
            lines.push("Cancelling: waiting until the server has shown that it stopped".to_owned());
        }
        if run.state == RunState::Completed as i32 {
            lines.extend(self.rest());
        }
        lines
    }

    fn tell_step(&mut self, step: &Step) -> Vec<String> {
        let before = self.told_steps.insert(step.id.clone(), step.state);
        if before == Some(step.state) {
            return Vec::new();
        }
        let mut lines = self.rest();
        if before.is_none() {
            lines.push(format!("{} {}", self.number(step), text::clean(&step.title)));
        }
        lines.extend(end_line(step));
        lines
    }

    fn tell_output(&mut self, output: &Output) -> Vec<String> {
        self.begun_line.extend_from_slice(&output.data);
        let mut lines = Vec::new();
        while let Some(end) = self.begun_line.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.begun_line.drain(..=end).collect();
            lines.push(output_line(&line[..end]));
        }
        if self.begun_line.len() > LINE_BYTES_MAX {
            lines.extend(self.rest());
        }
        if output.truncated {
            lines.extend(self.rest());
            lines.push("      (the step wrote more than its limit; the rest is not kept)".to_owned());
        }
        lines
    }

    /// A line whose end never came.
    fn rest(&mut self) -> Vec<String> {
        if self.begun_line.is_empty() {
            return Vec::new();
        }
        vec![output_line(&std::mem::take(&mut self.begun_line))]
    }

    fn number(&self, step: &Step) -> String {
        let number = step.index + 1;
        match self.titles.len() {
            0 => format!("[{number}]"),
            all => format!("[{number}/{all}]"),
        }
    }
}

fn output_line(bytes: &[u8]) -> String {
    format!("      {}", text::line(&String::from_utf8_lossy(bytes)))
}

/// How a step ended, where that is not plain success.
fn end_line(step: &Step) -> Option<String> {
    let why = text::clean(&step.why);
    let because = if why.is_empty() { String::new() } else { format!(" ({why})") };
    let line = match StepState::try_from(step.state) {
        Ok(StepState::Exited) => match step.exit_code {
            Some(0) => return None,
            Some(code) => format!("exit code {code}{because}"),
            None => format!("ended without an exit code{because}"),
        },
        Ok(StepState::Killed) => format!("was ended on the server{because}"),
        Ok(StepState::Rejected) => format!("did not start{because}"),
        Ok(StepState::Lost) => format!("left no exit record{because}: nobody knows yet how it ended"),
        _ => return None,
    };
    Some(format!("      -> {line}"))
}

/// Why a run waits, for whom, since when and until when.
pub(crate) fn wait_line(waiting: &Waiting) -> String {
    let reason = match WaitReason::try_from(waiting.reason) {
        Ok(WaitReason::Lane) => "for its turn on the server".to_owned(),
        Ok(WaitReason::Unreachable) => "for the server, which cannot be reached".to_owned(),
        Ok(WaitReason::Refused) => "because the server refuses settled; someone must edit it".to_owned(),
        Ok(WaitReason::Paused) => "because the server is paused".to_owned(),
        Ok(WaitReason::Busy) => "for something on the server".to_owned(),
        Ok(WaitReason::Backoff) => "between two attempts".to_owned(),
        Ok(WaitReason::Unresolved) => "until a step on this server is proven to have ended".to_owned(),
        Ok(WaitReason::Window) => "for a maintenance window of the server".to_owned(),
        Ok(WaitReason::Drain) => "because nothing new is begun".to_owned(),
        Ok(WaitReason::Access) => "until it can be told whether who asked may still do this".to_owned(),
        Ok(WaitReason::Limit) => "because as many servers are at work as settled may use at once".to_owned(),
        Ok(WaitReason::Unspecified) | Err(_) => word_or_empty::<WaitReason>(waiting.reason),
    };
    let mut line = format!("Waiting {reason}");
    let who = text::clean(&waiting.who);
    if !who.is_empty() {
        line = format!("{line}: {who}");
    }
    let mut times = Vec::new();
    if let Some(since) = text::time(waiting.since.as_ref()) {
        times.push(format!("since {}", text::clock(since)));
    }
    if let Some(next) = text::time(waiting.next_try.as_ref()) {
        // An opening may be days away.
        times.push(if waiting.reason == WaitReason::Window as i32 {
            format!("one opens at {}", text::local(next))
        } else {
            format!("looks again at {}", text::clock(next))
        });
    }
    if times.is_empty() { line } else { format!("{line} ({})", times.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(index: u32, state: StepState, exit_code: Option<i32>) -> Event {
        Event::Step(Step {
            id: format!("R.{index}.1.1"),
            title: format!("Do {index}"),
            index,
            state: state as i32,
            exit_code,
            ..Step::default()
        })
    }

    fn output(text: &str) -> Event {
        Event::Output(Output { data: text.into(), ..Output::default() })
    }

    #[test]
    fn milestones_and_output_become_lines() {
        let mut story = Story::default();
        story.learn(&Run { step_titles: vec!["Do 0".into(), "Do 1".into()], ..Run::default() });
        let events = [
            step(0, StepState::Starting, None),
            step(0, StepState::Running, None),
            output("one\ntw"),
            output("o\nrest"),
            step(0, StepState::Exited, Some(0)),
            step(1, StepState::Running, None),
            step(1, StepState::Exited, Some(3)),
        ];
        let told: Vec<String> = events.iter().flat_map(|e| story.tell(e)).collect();
        let expected =
            ["[1/2] Do 0", "      one", "      two", "      rest", "[2/2] Do 1", "      -> exit code 3"];
        assert_eq!(told, expected);
    }

    #[test]
    fn p5_a_resumed_stream_tells_nothing_twice() {
        let mut story = Story::default();
        let run = Event::Run(Run { attempt: 2, max_attempts: 3, ..Run::default() });
        let events = [run, step(0, StepState::Running, None)];
        assert_eq!(events.iter().flat_map(|e| story.tell(e)).count(), 2);
        assert_eq!(events.iter().flat_map(|e| story.tell(e)).count(), 0);
    }

    #[test]
    fn p4_waiting_is_told_once_with_its_reason_and_for_whom() {
        let mut story = Story::default();
        let waiting = |who: &str| {
            let waiting = Waiting { reason: WaitReason::Busy as i32, who: who.into(), ..Waiting::default() };
            Event::Run(Run { waiting: Some(waiting), ..Run::default() })
        };
        let told: Vec<String> = [waiting("apt-get (812)"), waiting("apt-get (812)"), waiting("dpkg (813)")]
            .iter()
            .flat_map(|e| story.tell(e))
            .collect();
        assert_eq!(
            told,
            [
                "Waiting for something on the server: apt-get (812)",
                "Waiting for something on the server: dpkg (813)"
            ]
        );
    }
}
