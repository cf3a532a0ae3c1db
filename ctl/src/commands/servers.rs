//! The verbs of servers.

use settled_proto::v1::{
    CreateServerRequest, CreateServerResponse, DeleteServerRequest, ForceUnlockServerRequest,
    GetServerRequest, IdentityKind, ListServersRequest, PauseServerRequest, ProbeServerRequest,
    RekeyServerRequest, ResumeServerRequest, Server, TakeoverServerRequest, UpdateServerRequest, Windows,
};

use super::wait::{self, Left};
use super::{Context, pages};
use crate::args::{
    AddArgs, EditArgs, RekeyArgs, RemoveServerArgs, ServerCommand, ServerListArgs, ServerTargetArgs,
    TakeoverArgs, UnlockArgs, values,
};
use crate::clock;
use crate::errors::{Error, Exit};
use crate::render::out::remark;
use crate::render::{json, servers, text};

/// The port when none was typed.
const SSH_PORT: u16 = 22;

/// `server ...`. `open` connects; files are read before.
pub(crate) async fn run(
    open: impl AsyncFnOnce() -> Result<Context, Error>,
    command: ServerCommand,
) -> Result<Exit, Error> {
    match command {
        ServerCommand::Add(args) => {
            let request = create_request(&args)?;
            add(&open().await?, request, args).await
        }
        ServerCommand::Edit(args) => {
            let request = update_request(args)?;
            let ctx = open().await?;
            let server = ctx
                .client
                .command(&request, &request.request_id, async |q| ctx.client.servers().update(q).await)
                .await?;
            show(&ctx, &server)
        }
        ServerCommand::Rekey(args) => rekey(&open().await?, args).await,
        ServerCommand::Takeover(args) => takeover(&open().await?, args).await,
        ServerCommand::Unlock(args) => unlock(&open().await?, args).await,
        ServerCommand::List(args) => list(&open().await?, args).await,
        ServerCommand::Show { server } => {
            let ctx = open().await?;
            show(&ctx, &get(&ctx, &server).await?)
        }
        ServerCommand::Probe(args) => probe(&open().await?, args).await,
        ServerCommand::Pause { server, change } => {
            let ctx = open().await?;
            let request = PauseServerRequest { request_id: change.id(), server };
            let server = ctx
                .client
                .command(&request, &request.request_id, async |q| ctx.client.servers().pause(q).await)
                .await?;
            changed(&ctx, &server, "is paused: nothing new starts there, what runs goes on to its end.")
        }
        ServerCommand::Resume { server, change } => {
            let ctx = open().await?;
            let request = ResumeServerRequest { request_id: change.id(), server };
            let server = ctx
                .client
                .command(&request, &request.request_id, async |q| ctx.client.servers().resume(q).await)
                .await?;
            changed(&ctx, &server, "is no longer paused: its work goes on.")
        }
        ServerCommand::Remove(args) => remove(&open().await?, args).await,
    }
}

fn create_request(args: &AddArgs) -> Result<CreateServerRequest, Error> {
    Ok(CreateServerRequest {
        request_id: args.run.change.id(),
        name: args.name.clone(),
        host: args.host.host.clone(),
        port: args.host.port.unwrap_or(SSH_PORT).into(),
        user: args.user.clone(),
        host_key: args.host_key.clone().unwrap_or_default(),
        identity_key: args.identity.as_deref().map(values::identity).transpose()?.unwrap_or_default(),
        labels: values::map(&args.labels, "--label")?,
        via: args.via.clone().unwrap_or_default(),
        time_zone: args.time_zone.clone().unwrap_or_default(),
        windows: args.windows.clone(),
        repair_dpkg: args.repair_dpkg,
        identity: kind(args.installation_identity).into(),
    })
}

fn update_request(args: EditArgs) -> Result<UpdateServerRequest, Error> {
    let identity_key = match (&args.identity, args.agent) {
        (Some(path), _) => Some(values::identity(path)?),
        (None, true) => Some(Vec::new()),
        (None, false) => None,
    };
    let port = args.host.as_ref().map(|h| u32::from(h.port.unwrap_or(SSH_PORT)));
    let windows = (args.no_windows || !args.windows.is_empty()).then_some(Windows { windows: args.windows });
    Ok(UpdateServerRequest {
        request_id: args.change.id(),
        server: args.server,
        host: args.host.map(|h| h.host),
        port,
        user: args.user,
        identity_key,
        via: args.via.or(args.direct.then(String::new)),
        time_zone: args.time_zone,
        windows,
        repair_dpkg: (args.repair_dpkg || args.no_repair_dpkg).then_some(args.repair_dpkg),
        set_labels: values::map(&args.labels, "--label")?,
        remove_labels: args.unlabel,
        identity: kind(args.installation_identity).into(),
    })
}

/// What is to be said beside a key.
fn kind(is_own: bool) -> IdentityKind {
    if is_own { IdentityKind::Installation } else { IdentityKind::Unspecified }
}

async fn add(ctx: &Context, request: CreateServerRequest, args: AddArgs) -> Result<Exit, Error> {
    let answer = ctx
        .client
        .command(&request, &request.request_id, async |q| ctx.client.servers().create(q).await)
        .await?;
    let server = answer.server.ok_or_else(|| Error::contract("the server"))?;
    let run = answer.run.ok_or_else(|| Error::contract("the run"))?;
    let id = server.id.clone();
    wait::settle(
        ctx,
        Left { thing: Some(server), run },
        &args.run.wait,
        async || Ok(Some(get(ctx, &id).await?)),
        |left| {
            json::created_server(&CreateServerResponse {
                server: left.thing.clone(),
                run: Some(left.run.clone()),
            })
        },
    )
    .await
}

async fn probe(ctx: &Context, args: ServerTargetArgs) -> Result<Exit, Error> {
    let request = ProbeServerRequest { request_id: args.run.change.id(), server: args.server };
    let run = ctx
        .client
        .command(&request, &request.request_id, async |q| ctx.client.servers().probe(q).await)
        .await?;
    let id = run.server_id.clone();
    wait::settle(
        ctx,
        Left { thing: None, run },
        &args.run.wait,
        async || Ok(Some(get(ctx, &id).await?)),
        |left| json::run(&left.run),
    )
    .await
}

async fn rekey(ctx: &Context, args: RekeyArgs) -> Result<Exit, Error> {
    let request =
        RekeyServerRequest { request_id: args.change.id(), server: args.server, host_key: args.host_key };
    let server = ctx
        .client
        .command(&request, &request.request_id, async |q| ctx.client.servers().rekey(q).await)
        .await?;
    changed(ctx, &server, "has the new host key pinned: it is met again, then its work goes on.")
}

async fn takeover(ctx: &Context, args: TakeoverArgs) -> Result<Exit, Error> {
    let request =
        TakeoverServerRequest { request_id: args.change.id(), server: args.server, force: args.force };
    let server = ctx
        .client
        .command(&request, &request.request_id, async |q| ctx.client.servers().takeover(q).await)
        .await?;
    changed(ctx, &server, "is taken from the other installation with the next work on it.")
}

async fn unlock(ctx: &Context, args: UnlockArgs) -> Result<Exit, Error> {
    let request =
        ForceUnlockServerRequest { request_id: args.change.id(), server: args.server, reason: args.reason };
    let answer = ctx
        .client
        .command(&request, &request.request_id, async |q| ctx.client.servers().force_unlock(q).await)
        .await?;
    ctx.out.show(&json::unlocked_server(&answer), || servers::unlocked(&answer))?;
    Ok(Exit::Done)
}

async fn get(ctx: &Context, server: &str) -> Result<Server, Error> {
    let request = GetServerRequest { server: server.to_owned() };
    ctx.client.ask(&request, async |q| ctx.client.servers().get(q).await).await
}

fn show(ctx: &Context, server: &Server) -> Result<Exit, Error> {
    ctx.out.show(&json::server(server), || servers::show(server, ctx.out.style, clock::now()))?;
    Ok(Exit::Done)
}

fn changed(ctx: &Context, server: &Server, words: &str) -> Result<Exit, Error> {
    ctx.out.show(&json::server(server), || format!("{} {words}", text::clean(&server.name)))?;
    Ok(Exit::Done)
}

async fn list(ctx: &Context, args: ServerListArgs) -> Result<Exit, Error> {
    let (rows, next) = pages::collect(&args.page, async |page_size, page_token| {
        let request = ListServersRequest { page_size, page_token };
        let page = ctx.client.ask(&request, async |q| ctx.client.servers().list(q).await).await?;
        Ok((page.servers, page.next_page_token))
    })
    .await?;
    if rows.is_empty() && !ctx.out.for_programs() {
        remark(
            "No servers yet. Register one: settlectl server add NAME HOST --user USER --host-key SHA256:...",
        );
        return Ok(Exit::Done);
    }
    ctx.out.show(&json::page("servers", &rows, json::server, &next), || {
        servers::list(&rows, ctx.out.wide(), ctx.out.style, clock::now())
    })?;
    if !ctx.out.for_programs() {
        pages::more(&next);
    }
    Ok(Exit::Done)
}

async fn remove(ctx: &Context, args: RemoveServerArgs) -> Result<Exit, Error> {
    let name = text::clean(&args.server);
    let request =
        DeleteServerRequest { request_id: args.change.id(), server: args.server, forget: args.forget };
    let answer = ctx
        .client
        .command(&request, &request.request_id, async |q| ctx.client.servers().delete(q).await)
        .await?;
    ctx.out.show(&json::deleted_server(&answer), || match answer.forgotten_resource_ids.len() {
        0 => format!("The record of {name} is gone. The host was not touched."),
        n => format!(
            "The record of {name} is gone, and those of its {n} resources. The host was not touched: what was \
             installed is still there."
        ),
    })?;
    Ok(Exit::Done)
}
