//! After a command: tell its run, or follow it to its end.

use settled_proto::v1::{GetResourceRequest, Outcome, Resource, Run};
use tonic::Code;

use super::Context;
use crate::args::WaitArgs;
use crate::clock;
use crate::errors::{Error, Exit};
use crate::follow::live::{Channel, Live};
use crate::follow::{self, Ending};
use crate::patience::Patience;
use crate::render::out::remark;
use crate::render::{runs, verdict};

/// Follows a run on stderr. The run as it ended, or the error that tells how to go on.
pub(crate) async fn follow_run(ctx: &Context, run_id: &str, wait: &WaitArgs) -> Result<Run, Error> {
    let patience = Patience::new(wait.patience.patience, clock::instant());
    let mut live = Live::new(Channel::Stderr);
    match follow::follow(&ctx.client, run_id, 0, patience, &mut live).await? {
        Ending::Settled(run) => Ok(*run),
        Ending::Interrupted => Err(follow::interrupted(run_id)),
    }
}

/// What a command left: the thing it is about and its run, both perhaps newer than the answer.
pub(crate) struct Left<T> {
    /// The thing; nothing when it is gone.
    pub(crate) thing: Option<T>,
    /// Its run.
    pub(crate) run: Run,
}

/// Tells a queued run in a sentence, or follows it, and shows one value for programs either way.
///
/// `again` reads the thing once more when the run has ended; `value` is what programs get; `status` names its status.
pub(crate) async fn settle<T>(
    ctx: &Context,
    left: Left<T>,
    wait: &WaitArgs,
    wanted: Outcome,
    again: impl AsyncFnOnce() -> Result<Option<T>, Error>,
    value: impl Fn(&Left<T>) -> serde_json::Value,
    status: impl Fn(&T) -> String,
) -> Result<Exit, Error> {
    if !wait.wait {
        ctx.out.show(&value(&left), || queued(&left.run, left.thing.as_ref().map(&status)))?;
        if !ctx.out.for_programs() {
            remark(&format!("Follow it: settlectl run follow {}", left.run.id));
        }
        return Ok(Exit::Done);
    }
    let run = match follow_run(ctx, &left.run.id, wait).await {
        Ok(run) => run,
        Err(error) => {
            // Programs need the run's id most when the waiting ended early.
            if ctx.out.for_programs() {
                ctx.out.show(&value(&left), String::new)?;
            }
            return Err(error);
        }
    };
    let left = Left { thing: again().await?, run };
    ctx.out.show(&value(&left), || verdict::verdict(&left.run).join("\n"))?;
    Ok(follow::exit_of(&left.run, wanted))
}

/// `web1/site/a is pending; run 01R is queued at place 2.`
fn queued(run: &Run, status: Option<String>) -> String {
    let subject = verdict::subject(run);
    let status = status
        .filter(|s| !s.is_empty())
        .map_or_else(|| format!("{subject}:"), |s| format!("{subject} is {s};"));
    format!("{status} run {} ({}) is {}.", run.id, run.operation, runs::state(run))
}

/// A resource, or nothing when it is gone.
pub(crate) async fn resource_again(ctx: &Context, id: &str) -> Result<Option<Resource>, Error> {
    let question = GetResourceRequest { resource: id.to_owned() };
    match ctx.client.resources().get(question).await {
        Ok(answer) => Ok(Some(answer.into_inner())),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(ctx.client.refusal(&status)),
    }
}
