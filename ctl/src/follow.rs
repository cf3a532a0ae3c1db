//! Follows one run to its end and outlives breaks of the stream: it resumes at the byte where it stopped.
//! How the story is shown is the listener's affair.

pub(crate) mod live;

use settled_proto::v1::follow_run_response::Event;
use settled_proto::v1::{FollowRunRequest, FollowRunResponse, GetRunRequest, Outcome, Run, RunState};
use tonic::Status;

use crate::clock;
use crate::connect::{Client, limited};
use crate::errors::{Error, Exit, is_transient};
use crate::patience::Patience;

/// Hears the story of a run.
pub(crate) trait Listener {
    /// The run as it stood before the first event, with the titles of its steps.
    fn begin(&mut self, run: &Run);
    /// A piece of the story.
    fn hear(&mut self, piece: &FollowRunResponse) -> Result<(), Error>;
    /// A remark of the follower itself.
    fn remark(&mut self, line: &str);
}

/// How following ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The run has completed.
    Settled(Box<Run>),
    /// Ctrl-C.
    Interrupted,
}

/// Follows a run until it has completed, Ctrl-C, or patience ends.
pub(crate) async fn follow(
    client: &Client,
    run_id: &str,
    offset: u64,
    mut patience: Patience,
    listener: &mut impl Listener,
) -> Result<Ending, Error> {
    tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => match interrupted {
            Ok(()) => Ok(Ending::Interrupted),
            Err(e) => Err(Error::output(&e)),
        },
        ending = to_the_end(client, run_id, offset, &mut patience, listener) => ending,
    }
}

async fn to_the_end(
    client: &Client,
    run_id: &str,
    mut offset: u64,
    patience: &mut Patience,
    listener: &mut impl Listener,
) -> Result<Ending, Error> {
    let question = GetRunRequest { run_id: run_id.to_owned() };
    let (mut begun, mut away) = (false, false);
    loop {
        match client.runs().get(limited(question.clone())).await {
            Ok(run) => {
                if std::mem::take(&mut away) {
                    listener.remark("Connected again.");
                }
                if !std::mem::replace(&mut begun, true) {
                    listener.begin(run.get_ref());
                }
                match stream(client, run_id, &mut offset, patience, listener).await? {
                    Part::Settled(run) => return Ok(Ending::Settled(run)),
                    Part::Refused(status) => return Err(client.refusal(&status)),
                    Part::Broken => {}
                }
            }
            Err(status) if is_transient(&status) => {}
            Err(status) => return Err(client.refusal(&status)),
        }
        let Some(pause) = patience.pause(clock::instant()) else {
            return Err(gave_up(run_id, offset));
        };
        if !std::mem::replace(&mut away, true) {
            listener
                .remark("The connection to settled broke; the run goes on. Looking for settled again ...");
        }
        clock::pause(pause).await;
    }
}

/// How one stream ended.
enum Part {
    Settled(Box<Run>),
    Broken,
    Refused(Status),
}

/// One stream, from `offset` on, which it moves forward.
async fn stream(
    client: &Client,
    run_id: &str,
    offset: &mut u64,
    patience: &mut Patience,
    listener: &mut impl Listener,
) -> Result<Part, Error> {
    let question = FollowRunRequest { run_id: run_id.to_owned(), output_offset: *offset };
    let ended = |status: Status| if is_transient(&status) { Part::Broken } else { Part::Refused(status) };
    let mut pieces = match client.runs().follow(question).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return Ok(ended(status)),
    };
    let mut completed = None;
    let broke = loop {
        match pieces.message().await {
            Ok(Some(piece)) => {
                listener.hear(&piece)?;
                match piece.event {
                    Some(Event::Output(output)) => *offset = output.next_offset.max(*offset),
                    Some(Event::Run(run)) if run.state == RunState::Completed as i32 => {
                        completed = Some(Box::new(run));
                    }
                    _ => {}
                }
            }
            // The story may go on after the run has completed: its last output. Only the end of the stream is the end.
            Ok(None) => break Part::Broken,
            Err(status) => break ended(status),
        }
    };
    // A run may be silent for long, so patience counts from the break and not from the last piece.
    patience.heard(clock::instant());
    Ok(match (broke, completed) {
        (Part::Broken, Some(run)) => Part::Settled(run),
        (broke, _) => broke,
    })
}

fn gave_up(run_id: &str, offset: u64) -> Error {
    Error::unreachable(
        "settled went away and did not come back in time. The run is not lost: it goes on when settled runs again.",
        format!("Resume with: settlectl run follow {run_id}{}", offset_flag(offset)),
    )
}

fn offset_flag(offset: u64) -> String {
    if offset > 0 { format!(" --offset {offset}") } else { String::new() }
}

/// What Ctrl-C left behind.
pub(crate) fn interrupted(run_id: &str) -> Error {
    Error {
        exit: Exit::Interrupted,
        lines: vec![
            "No longer waiting; the run goes on.".to_owned(),
            format!("Follow it again: settlectl run follow {run_id}"),
            format!("Stop it:         settlectl run cancel {run_id}"),
        ],
    }
}

/// The exit code for a run that has completed.
pub(crate) fn exit_of(run: &Run, wanted: Outcome) -> Exit {
    if run.outcome == wanted as i32 { Exit::Done } else { Exit::Failed }
}
