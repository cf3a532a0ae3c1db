//! Shows the story of a run while it happens: lines, and on a terminal a spinner below them.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use settled_proto::v1::follow_run_response::Event;
use settled_proto::v1::{FollowRunResponse, Run};

use super::Listener;
use crate::errors::Error;
use crate::render::json;
use crate::render::out::{Out, remark};
use crate::render::story::Story;
use crate::render::verdict;

/// How often the spinner turns.
const TURN: Duration = Duration::from_millis(120);

/// Where the lines of a story go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Channel {
    /// The story is the result: `run follow`.
    Stdout(Out),
    /// The story goes beside the result: `--wait`.
    Stderr,
}

/// Lines for people.
pub(crate) struct Live {
    story: Story,
    channel: Channel,
    spinner: Option<ProgressBar>,
}

impl Live {
    /// A view that has shown nothing yet.
    pub(crate) fn new(channel: Channel) -> Self {
        let spinner = std::io::stderr().is_terminal().then(|| {
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(TURN);
            spinner
        });
        Self { story: Story::default(), channel, spinner }
    }

    /// Prints a line above the spinner.
    fn line(&self, line: &str) -> Result<(), Error> {
        let print = || match self.channel {
            Channel::Stdout(out) => out.line(line),
            Channel::Stderr => {
                remark(line);
                Ok(())
            }
        };
        match &self.spinner {
            Some(spinner) => spinner.suspend(print),
            None => print(),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

impl Listener for Live {
    fn begin(&mut self, run: &Run) {
        self.story.learn(run);
        self.remark(&format!("{} of {}, run {}", run.operation, verdict::subject(run), run.id));
    }

    fn hear(&mut self, piece: &FollowRunResponse) -> Result<(), Error> {
        let Some(event) = &piece.event else { return Ok(()) };
        for line in self.story.tell(event) {
            self.line(&line)?;
        }
        if let Some(spinner) = &self.spinner {
            match event {
                Event::Run(run) => spinner.set_message(Story::now(run)),
                Event::Step(step) => spinner.set_message(crate::render::text::clean(&step.title)),
                Event::Output(_) => {}
            }
        }
        Ok(())
    }

    fn remark(&mut self, line: &str) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| remark(line)),
            None => remark(line),
        }
    }
}

/// One value per piece, for programs.
pub(crate) struct Values(pub(crate) Out);

impl Listener for Values {
    fn begin(&mut self, _run: &Run) {}

    fn hear(&mut self, piece: &FollowRunResponse) -> Result<(), Error> {
        self.0.show(&json::follow(piece), String::new)
    }

    fn remark(&mut self, line: &str) {
        remark(line);
    }
}
