//! The verbs of runs.

use settled_proto::v1::{CancelRunRequest, Freshness, GetRunRequest, ListRunsRequest, Outcome, RunState};

use super::{Context, pages, resources, wait};
use crate::args::{CancelArgs, FollowArgs, OperateArgs, RetryArgs, RunCommand, RunListArgs};
use crate::clock;
use crate::errors::{Error, Exit};
use crate::follow::live::{Channel, Live, Values};
use crate::follow::{self, Ending};
use crate::patience::Patience;
use crate::render::out::remark;
use crate::render::{json, runs, text, verdict};

/// `run ...`.
pub(crate) async fn run(ctx: &Context, command: RunCommand) -> Result<Exit, Error> {
    match command {
        RunCommand::List(args) => list(ctx, args).await,
        RunCommand::Show { run } => {
            let request = GetRunRequest { run_id: run };
            let run = ctx.client.ask(&request, async |q| ctx.client.runs().get(q).await).await?;
            ctx.out.show(&json::run(&run), || runs::show(&run, ctx.out.style, clock::now()))?;
            Ok(Exit::Done)
        }
        RunCommand::Follow(args) => follow_to_stdout(ctx, args).await,
        RunCommand::Cancel(args) => cancel(ctx, args).await,
        RunCommand::Retry(args) => retry(ctx, args).await,
    }
}

async fn list(ctx: &Context, args: RunListArgs) -> Result<Exit, Error> {
    let resource_id = resources::id_of(ctx, args.resource).await?;
    let state = args.state.map_or(0, |word| RunState::from(word) as i32);
    let outcome = args.outcome.map_or(0, |word| Outcome::from(word) as i32);
    let freshness = args.freshness.map_or(0, |word| Freshness::from(word) as i32);
    let (rows, next) = pages::collect(&args.page, async |page_size, page_token| {
        let request = ListRunsRequest {
            page_size,
            page_token,
            server: args.server.clone(),
            resource_id: resource_id.clone(),
            state,
            outcome,
            freshness,
        };
        let page = ctx.client.ask(&request, async |q| ctx.client.runs().list(q).await).await?;
        Ok((page.runs, page.next_page_token))
    })
    .await?;
    if rows.is_empty() && !ctx.out.for_programs() {
        remark("No runs.");
        return Ok(Exit::Done);
    }
    ctx.out.show(&json::page("runs", &rows, json::run, &next), || {
        runs::list(&rows, ctx.out.wide(), ctx.out.style, clock::now())
    })?;
    if !ctx.out.for_programs() {
        pages::more(&next);
    }
    Ok(Exit::Done)
}

async fn follow_to_stdout(ctx: &Context, args: FollowArgs) -> Result<Exit, Error> {
    let patience = Patience::new(args.patience.patience, clock::instant());
    let ending = if ctx.out.for_programs() {
        follow::follow(&ctx.client, &args.run, args.offset, patience, &mut Values(ctx.out)).await?
    } else {
        let mut live = Live::new(Channel::Stdout(ctx.out));
        follow::follow(&ctx.client, &args.run, args.offset, patience, &mut live).await?
    };
    match ending {
        Ending::Interrupted => Err(follow::interrupted(&args.run)),
        Ending::Settled(run) => {
            if !ctx.out.for_programs() {
                ctx.out.line(&verdict::verdict(&run).join("\n"))?;
            }
            Ok(follow::exit_of(&run, Outcome::Succeeded))
        }
    }
}

/// Retries the resource of a run, if that run is what failed there last: the daemon retries what failed last, whatever was typed.
async fn retry(ctx: &Context, args: RetryArgs) -> Result<Exit, Error> {
    let request = GetRunRequest { run_id: args.run };
    let run = ctx.client.ask(&request, async |q| ctx.client.runs().get(q).await).await?;
    if run.resource_id.is_empty() {
        return Err(refused(format!(
            "Run {} was about server {} and no resource.",
            run.id,
            text::clean(&run.server)
        ))
        .hint(format!("Have settled meet it again: settlectl server probe {}", text::clean(&run.server))));
    }
    let resource = resources::get(ctx, &run.resource_id).await?;
    let path = text::clean(&format!("{}/{}/{}", resource.server, resource.package, resource.name));
    if resource.last_error.as_ref().is_none_or(|error| error.run_id != run.id) {
        return Err(refused(format!("Run {} is not what failed last on {path}.", run.id))
            .hint(format!("See what did: settlectl resource show {path}")));
    }
    let args = OperateArgs { resource: resource.id, queue: args.queue, run: args.args };
    resources::retry(ctx, args).await
}

fn refused(line: String) -> Error {
    Error { exit: Exit::Refused, lines: vec![line] }
}

async fn cancel(ctx: &Context, args: CancelArgs) -> Result<Exit, Error> {
    let request = CancelRunRequest { request_id: args.args.change.id(), run_id: args.run };
    let run = ctx
        .client
        .command(&request, &request.request_id, async |q| ctx.client.runs().cancel(q).await)
        .await?;
    if run.state == RunState::Completed as i32 {
        ctx.out.show(&json::run(&run), || verdict::verdict(&run).join("\n"))?;
        return Ok(follow::exit_of(&run, Outcome::Cancelled));
    }
    if !args.args.wait.wait {
        ctx.out.show(&json::run(&run), || {
            format!(
                "Run {} is being stopped; it is cancelled when the server has shown that it ended.",
                run.id
            )
        })?;
        return Ok(Exit::Done);
    }
    let run = wait::follow_run(ctx, &run.id, &args.args.wait).await?;
    ctx.out.show(&json::run(&run), || verdict::verdict(&run).join("\n"))?;
    Ok(follow::exit_of(&run, Outcome::Cancelled))
}
