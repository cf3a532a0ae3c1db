//! The verbs of resources.

use std::collections::BTreeMap;

use settled_proto::v1::{
    AdoptRequest, CommandResponse, DoRequest, GetResourceRequest, InstallRequest, ListResourcesRequest,
    PauseResourceRequest, ProbeResourceRequest, RemoveResourceRequest, Resource, ResourceStatus,
    ResumeResourceRequest, RetryResourceRequest, UpdateResourceRequest,
};

use super::wait::{self, Left};
use super::{Context, pages};
use crate::args::{
    AdoptArgs, DoArgs, DryArgs, InstallArgs, OperateArgs, RemoveArgs, ResourceCommand, ResourceListArgs,
    TargetArgs, UpdateArgs, WaitArgs,
};
use crate::clock;
use crate::errors::{Error, Exit};
use crate::render::out::remark;
use crate::render::{json, plans, resources};

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
        dry_run: args.dry.dry_run,
        queue_limit_s: args.queue.seconds(),
        priority: args.queue.priority(),
        with_requirements: args.with_requirements,
    };
    let answer = ctx
        .client
        .command(&request, &request.request_id, async |q| ctx.client.resources().install(q).await)
        .await?;
    finish(ctx, answer, args.dry, &args.run.wait).await
}

/// Shows what a dry run would do, or what was asked for.
async fn finish(
    ctx: &Context,
    answer: CommandResponse,
    dry: DryArgs,
    wait: &WaitArgs,
) -> Result<Exit, Error> {
    if !dry.dry_run {
        return settle(ctx, answer, wait).await;
    }
    ctx.out.show(&json::command(&answer), || plans::show(&answer, ctx.out.style, clock::now()))?;
    Ok(Exit::Done)
}

/// `adopt`.
pub(crate) async fn adopt(
    ctx: &Context,
    args: AdoptArgs,
    parameters: Texts,
    secrets: Secrets,
) -> Result<Exit, Error> {
    let request = AdoptRequest {
        request_id: args.run.change.id(),
        server: args.server,
        package: args.package,
        name: args.name,
        parameters,
        secrets,
        queue_limit_s: args.queue.seconds(),
        priority: args.queue.priority(),
    };
    let answer = ctx
        .client
        .command(&request, &request.request_id, async |q| ctx.client.resources().adopt(q).await)
        .await?;
    settle(ctx, answer, &args.run.wait).await
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
        dry_run: args.dry.dry_run,
    };
    let answer = ctx
        .client
        .command(&request, &request.request_id, async |q| ctx.client.resources().update(q).await)
        .await?;
    finish(ctx, answer, args.dry, &args.run.wait).await
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

/// `remove`.
pub(crate) async fn remove(ctx: &Context, args: RemoveArgs, parameters: Texts) -> Result<Exit, Error> {
    let request = RemoveResourceRequest {
        request_id: args.run.change.id(),
        resource: args.resource,
        queue_limit_s: args.queue.seconds(),
        priority: args.queue.priority(),
        dry_run: args.dry.dry_run,
        parameters,
    };
    let answer = ctx
        .client
        .command(&request, &request.request_id, async |q| ctx.client.resources().remove(q).await)
        .await?;
    finish(ctx, answer, args.dry, &args.run.wait).await
}

verb!(pause, OperateArgs, PauseResourceRequest, queue_limit_s: limit, priority: priority);
verb!(resume, OperateArgs, ResumeResourceRequest, queue_limit_s: limit, priority: priority);
verb!(retry, OperateArgs, RetryResourceRequest, queue_limit_s: limit, priority: priority);
verb!(probe, TargetArgs, ProbeResourceRequest);

/// `do`.
pub(crate) async fn own(ctx: &Context, args: DoArgs, parameters: Texts) -> Result<Exit, Error> {
    let request = DoRequest {
        request_id: args.run.change.id(),
        resource: args.resource,
        operation: args.operation,
        queue_limit_s: args.queue.seconds(),
        priority: args.queue.priority(),
        dry_run: args.dry.dry_run,
        parameters,
    };
    let answer = ctx
        .client
        .command(&request, &request.request_id, async |q| ctx.client.resources().r#do(q).await)
        .await?;
    finish(ctx, answer, args.dry, &args.run.wait).await
}

async fn settle(ctx: &Context, answer: CommandResponse, wait: &WaitArgs) -> Result<Exit, Error> {
    let resource = answer.resource.ok_or_else(|| Error::contract("the resource"))?;
    let run = answer.run.ok_or_else(|| Error::contract("the run"))?;
    let id = resource.id.clone();
    let requirements = answer.requirements;
    for run in requirements.iter().filter(|_| !ctx.out.for_programs()) {
        remark(&format!("In front of it: {}", plans::required(run)));
    }
    wait::settle(
        ctx,
        Left { thing: Some(resource), run },
        wait,
        async || wait::resource_again(ctx, &id).await,
        |left| {
            let (resource, run) = (left.thing.clone(), Some(left.run.clone()));
            json::command(&CommandResponse { resource, run, requirements: requirements.clone() })
        },
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
