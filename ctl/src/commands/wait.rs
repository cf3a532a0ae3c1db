//! After a command: tell its run, or follow it to its end.

use settled_proto::v1::{GetResourceRequest, Outcome, Resource, ResourceStatus, Run, Server, ServerStatus};
use tonic::Code;

use super::Context;
use crate::args::WaitArgs;
use crate::clock;
use crate::connect::limited;
use crate::errors::{Error, Exit};
use crate::follow::live::{Channel, Live};
use crate::follow::{self, Ending};
use crate::patience::Patience;
use crate::render::out::remark;
use crate::render::words::word_or_empty;
use crate::render::{resources, runs, servers, text, verdict};

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

/// What a run is about and what people want to hear of it.
pub(crate) trait Subject {
    /// Its status, in a word.
    fn status(&self) -> String;
    /// How it stands now, in a sentence.
    fn stands(&self) -> String;
}

impl Subject for Resource {
    fn status(&self) -> String {
        word_or_empty::<ResourceStatus>(self.status)
    }

    fn stands(&self) -> String {
        resources::stands(self, clock::now())
    }
}

impl Subject for Server {
    fn status(&self) -> String {
        word_or_empty::<ServerStatus>(self.status)
    }

    fn stands(&self) -> String {
        servers::stands(self)
    }
}

/// Tells a queued run in a sentence, or follows it, and shows one value for programs either way.
///
/// `again` reads the thing once more when the run has ended; `value` is what programs get.
pub(crate) async fn settle<T: Subject>(
    ctx: &Context,
    left: Left<T>,
    wait: &WaitArgs,
    again: impl AsyncFnOnce() -> Result<Option<T>, Error>,
    value: impl Fn(&Left<T>) -> serde_json::Value,
) -> Result<Exit, Error> {
    if !wait.wait {
        ctx.out.show(&value(&left), || queued(&left))?;
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
    ctx.out.show(&value(&left), || {
        let mut lines = verdict::verdict(&left.run);
        lines.extend(left.thing.as_ref().map(Subject::stands));
        lines.join("\n")
    })?;
    Ok(follow::exit_of(&left.run, Outcome::Succeeded))
}

/// `web1/site/a is pending; run 01R (install) is queued #2.`
fn queued<T: Subject>(left: &Left<T>) -> String {
    let run = &left.run;
    let subject = verdict::subject(run);
    let what = match left.thing.as_ref().map(Subject::status) {
        Some(status) => format!("{subject} is {status};"),
        None => format!("{subject}:"),
    };
    format!("{what} run {} ({}) is {}.", run.id, text::clean(&run.operation), runs::state(run))
}

/// A resource, or nothing when it is gone.
pub(crate) async fn resource_again(ctx: &Context, id: &str) -> Result<Option<Resource>, Error> {
    let question = GetResourceRequest { resource: id.to_owned() };
    match ctx.client.resources().get(limited(question)).await {
        Ok(answer) => Ok(Some(answer.into_inner())),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(ctx.client.refusal(&status)),
    }
}
