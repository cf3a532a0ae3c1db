//! The verbs of resources.

use std::collections::BTreeMap;

use settled_proto::v1::{
    CommandResponse, DoRequest, GetResourceRequest, InstallRequest, ListResourcesRequest,
    PauseResourceRequest, ProbeResourceRequest, RemoveResourceRequest, Resource, ResourceStatus,
    ResumeResourceRequest, RetryResourceRequest, UpdateResourceRequest,
};

use super::wait::{self, Left};
use super::{Context, pages};
use crate::args::{
    DoArgs, InstallArgs, OperateArgs, ResourceCommand, ResourceListArgs, TargetArgs, UpdateArgs, WaitArgs,
};
use crate::clock;
use crate::errors::{Error, Exit};
use crate::render::out::remark;
use crate::render::{json, resources, text};

/// Values by parameter name.
type Texts = BTreeMap<String, String>;
/// Secrets by parameter name.
type Secrets = BTreeMap<String, Vec<u8>>;

/// `install`.
pub(crate) async fn install(
    ctx: &Context,
    args: InstallArgs,
    parameters: Texts,
    secrets: Secrets,
) -> Result<Exit, Error> {
    let request = InstallRequest {
        request_id: args.run.change.id(),
        server: args.server,
        package: args.package,
        name: args.name,
        parameters,
        secrets,
        dry_run: args.dry_run,
        queue_limit_s: args.queue.seconds(),
        priority: args.queue.priority(),
    };
    let answer = ctx
        .client
        .command(&request, &request.request_id, async |q| ctx.client.resources().install(q).await)
        .await?;
    if args.dry_run {
        ctx.out.show(&json::command(&answer), || plan(ctx, &answer))?;
        return Ok(Exit::Done);
    }
    settle(ctx, answer, &args.run.wait).await
}

/// What an install would do.
fn plan(ctx: &Context, answer: &CommandResponse) -> String {
    let mut parts =
        vec!["Nothing was stored and nothing was done. This install would be accepted:".to_owned()];
    parts.extend(answer.resource.as_ref().map(|r| resources::show(r, ctx.out.style, clock::now())));
    if let Some(run) = &answer.run {
        let steps = run.step_titles.iter().enumerate();
        parts.push(
            steps.map(|(i, t)| format!("{}. {}", i + 1, text::clean(t))).collect::<Vec<_>>().join("\n"),
        );
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

/// `update`.
pub(crate) async fn update(
    ctx: &Context,
    args: UpdateArgs,
    parameters: Texts,
    secrets: Secrets,
) -> Result<Exit, Error> {
    let request = UpdateResourceRequest {
        request_id: args.run.change.id(),
        resource: args.resource,
        parameters,
        secrets,
        queue_limit_s: args.queue.seconds(),
        priority: args.queue.priority(),
    };
    let answer = ctx
        .client
        .command(&request, &request.request_id, async |q| ctx.client.resources().update(q).await)
        .await?;
    settle(ctx, answer, &args.run.wait).await
}

/// A verb that takes a resource and little else.
macro_rules! verb {
    ($name:ident, $args:ident, $request:ident $(, $field:ident: $value:expr)*) => {
        /// The verb of this name.
        pub(crate) async fn $name(ctx: &Context, args: $args) -> Result<Exit, Error> {
            $(let $field = $value(&args);)*
            let request = $request { request_id: args.run.change.id(), resource: args.resource $(, $field)* };
            let answer = ctx
                .client
                .command(&request, &request.request_id, async |q| ctx.client.resources().$name(q).await)
                .await?;
            settle(ctx, answer, &args.run.wait).await
        }
    };
}

fn limit(args: &OperateArgs) -> u32 {
    args.queue.seconds()
}

fn priority(args: &OperateArgs) -> i32 {
    args.queue.priority()
}

verb!(remove, OperateArgs, RemoveResourceRequest, queue_limit_s: limit, priority: priority);
verb!(pause, OperateArgs, PauseResourceRequest, queue_limit_s: limit, priority: priority);
verb!(resume, OperateArgs, ResumeResourceRequest, queue_limit_s: limit, priority: priority);
verb!(retry, OperateArgs, RetryResourceRequest, queue_limit_s: limit, priority: priority);
verb!(probe, TargetArgs, ProbeResourceRequest);

/// `do`.
pub(crate) async fn own(ctx: &Context, args: DoArgs) -> Result<Exit, Error> {
    let request = DoRequest {
        request_id: args.run.change.id(),
        resource: args.resource,
        operation: args.operation,
        queue_limit_s: args.queue.seconds(),
        priority: args.queue.priority(),
    };
    let answer = ctx
        .client
        .command(&request, &request.request_id, async |q| ctx.client.resources().r#do(q).await)
        .await?;
    settle(ctx, answer, &args.run.wait).await
}

async fn settle(ctx: &Context, answer: CommandResponse, wait: &WaitArgs) -> Result<Exit, Error> {
    let resource = answer.resource.ok_or_else(|| Error::contract("the resource"))?;
    let run = answer.run.ok_or_else(|| Error::contract("the run"))?;
    let id = resource.id.clone();
    wait::settle(
        ctx,
        Left { thing: Some(resource), run },
        wait,
        async || wait::resource_again(ctx, &id).await,
        |left| json::command(&CommandResponse { resource: left.thing.clone(), run: Some(left.run.clone()) }),
    )
    .await
}

/// `resource list`, `resource show`.
pub(crate) async fn look(ctx: &Context, command: ResourceCommand) -> Result<Exit, Error> {
    match command {
        ResourceCommand::List(args) => list(ctx, args).await,
        ResourceCommand::Show { resource } => {
            let resource = get(ctx, &resource).await?;
            ctx.out.show(&json::resource(&resource), || {
                resources::show(&resource, ctx.out.style, clock::now())
            })?;
            Ok(Exit::Done)
        }
    }
}

async fn list(ctx: &Context, args: ResourceListArgs) -> Result<Exit, Error> {
    let status = args.status.map_or(0, |word| ResourceStatus::from(word) as i32);
    let (rows, next) = pages::collect(&args.page, async |page_size, page_token| {
        let request = ListResourcesRequest {
            page_size,
            page_token,
            server: args.server.clone(),
            package: args.package.clone(),
            status,
        };
        let page = ctx.client.ask(&request, async |q| ctx.client.resources().list(q).await).await?;
        Ok((page.resources, page.next_page_token))
    })
    .await?;
    if rows.is_empty() && !ctx.out.for_programs() {
        remark("No resources.");
        return Ok(Exit::Done);
    }
    ctx.out.show(&json::page("resources", &rows, json::resource, &next), || {
        resources::list(&rows, ctx.out.wide(), ctx.out.style, clock::now())
    })?;
    if !ctx.out.for_programs() {
        pages::more(&next);
    }
    Ok(Exit::Done)
}

/// One resource, by id or address.
pub(crate) async fn get(ctx: &Context, resource: &str) -> Result<Resource, Error> {
    let request = GetResourceRequest { resource: resource.to_owned() };
    ctx.client.ask(&request, async |q| ctx.client.resources().get(q).await).await
}

/// The id of a resource that may have been typed as an address; empty when none was typed.
pub(crate) async fn id_of(ctx: &Context, resource: Option<String>) -> Result<String, Error> {
    match resource {
        Some(address) if address.contains('/') => Ok(get(ctx, &address).await?.id),
        Some(id) => Ok(id),
        None => Ok(String::new()),
    }
}
