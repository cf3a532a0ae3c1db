//! The verbs of lifecycles.

use std::io::Read as _;
use std::path::Path;

use settled_proto::v1::{
    ApplyLifecycleRequest, ApplyLifecycleResponse, CheckLifecycleRequest, CleanLifecyclesRequest,
    DeleteLifecycleRequest, GetLifecycleRequest, ListLifecyclesRequest, RunLifecycleRequest,
};

use super::{Context, create, pages};
use crate::args::values;
use crate::args::{ApplyArgs, CreateArgs, LifecycleCommand, PageArgs};
use crate::errors::{Error, Exit};
use crate::render::out::remark;
use crate::render::{json, lifecycles, text};

/// Largest definition, in bytes (the daemon's limit).
const SOURCE_BYTES_MAX: u64 = 256 * 1024;

/// `lifecycle ...`. `open` connects; files are read before.
pub(crate) async fn run(
    open: impl AsyncFnOnce() -> Result<Context, Error>,
    command: LifecycleCommand,
) -> Result<Exit, Error> {
    match command {
        LifecycleCommand::Apply(args) => {
            let source = read(&args.file)?;
            let mapping = values::map(&args.mapping, "--map")?;
            let secrets = values::secrets(&args.secret)?;
            apply(&open().await?, &args, source, mapping, secrets).await
        }
        LifecycleCommand::Create(args) => {
            let source = create::ask()?;
            created(&open().await?, args, source).await
        }
        LifecycleCommand::List(page) => list(&open().await?, page).await,
        LifecycleCommand::Show { code, source } => show(&open().await?, code, source).await,
        LifecycleCommand::Run { code, change } => {
            let ctx = open().await?;
            let request = RunLifecycleRequest { request_id: change.id(), code };
            let call = async |q| ctx.client.lifecycles().run(q).await;
            let answer = ctx.client.command(&request, &request.request_id, call).await?;
            ctx.out.show(&json::ran(&answer), || lifecycles::ran(&answer))?;
            Ok(Exit::Done)
        }
        LifecycleCommand::Remove { code, change } => {
            let ctx = open().await?;
            let request = DeleteLifecycleRequest { request_id: change.id(), code };
            let call = async |q| ctx.client.lifecycles().delete(q).await;
            ctx.client.command(&request, &request.request_id, call).await?;
            let told = || format!("The lifecycle {} is gone. Its log stays.", text::clean(&request.code));
            ctx.out.show(&serde_json::json!({}), told)?;
            Ok(Exit::Done)
        }
        LifecycleCommand::Clean { dry_run, change } => {
            let ctx = open().await?;
            let request = CleanLifecyclesRequest { request_id: change.id(), dry_run };
            let call = async |q| ctx.client.lifecycles().clean(q).await;
            let answer = ctx.client.command(&request, &request.request_id, call).await?;
            ctx.out.show(&json::cleaned(&answer), || lifecycles::cleaned(&answer, dry_run))?;
            Ok(Exit::Done)
        }
    }
}

async fn apply(
    ctx: &Context,
    args: &ApplyArgs,
    source: String,
    mapping: std::collections::BTreeMap<String, String>,
    secrets: std::collections::BTreeMap<String, Vec<u8>>,
) -> Result<Exit, Error> {
    if !is_sound(ctx, &args.file.display().to_string(), &source).await? {
        return Ok(Exit::Usage);
    }
    let (request_id, dry_run) = (args.change.id(), args.dry_run);
    let request = ApplyLifecycleRequest { request_id, source, mapping, dry_run, secrets };
    let answer = applied(ctx, &request).await?;
    ctx.out.show(&json::applied(&answer), || lifecycles::applied(&answer, args.dry_run))?;
    Ok(Exit::Done)
}

async fn applied(ctx: &Context, request: &ApplyLifecycleRequest) -> Result<ApplyLifecycleResponse, Error> {
    let call = async |q| ctx.client.lifecycles().apply(q).await;
    ctx.client.command(request, &request.request_id, call).await
}

/// Tells what is wrong with a text, line by line.
async fn is_sound(ctx: &Context, name: &str, source: &str) -> Result<bool, Error> {
    let request = CheckLifecycleRequest { source: source.to_owned() };
    let answer = ctx.client.ask(&request, async |q| ctx.client.lifecycles().check(q).await).await?;
    for problem in &answer.problems {
        remark(&lifecycles::problem(name, problem));
    }
    Ok(answer.problems.is_empty())
}

async fn created(ctx: &Context, args: CreateArgs, source: String) -> Result<Exit, Error> {
    if let Some(file) = &args.save {
        let wrong = |e: std::io::Error| Error::usage(format!("{} cannot be written: {e}.", file.display()));
        std::fs::write(file, &source).map_err(wrong)?;
        remark(&format!("Written to {}.", file.display()));
    }
    if !is_sound(ctx, "the definition", &source).await? {
        return Ok(Exit::Usage);
    }
    remark(&source);
    if !create::confirm("Apply it?")? {
        remark("Nothing was applied.");
        return Ok(Exit::Done);
    }
    let request =
        ApplyLifecycleRequest { request_id: args.change.id(), source, ..ApplyLifecycleRequest::default() };
    let answer = applied(ctx, &request).await?;
    ctx.out.show(&json::applied(&answer), || lifecycles::applied(&answer, false))?;
    Ok(Exit::Done)
}

async fn list(ctx: &Context, page: PageArgs) -> Result<Exit, Error> {
    let (rows, next) = pages::collect(&page, async |page_size, page_token| {
        let request = ListLifecyclesRequest { page_size, page_token };
        let page = ctx.client.ask(&request, async |q| ctx.client.lifecycles().list(q).await).await?;
        Ok((page.lifecycles, page.next_page_token))
    })
    .await?;
    if rows.is_empty() && !ctx.out.for_programs() {
        remark("No lifecycles. Begin with: settlectl lifecycle apply FILE, or settlectl lifecycle create");
        return Ok(Exit::Done);
    }
    ctx.out.show(&json::page("lifecycles", &rows, json::lifecycle, &next), || {
        lifecycles::list(&rows, ctx.out.style)
    })?;
    if !ctx.out.for_programs() {
        pages::more(&next);
    }
    Ok(Exit::Done)
}

async fn show(ctx: &Context, code: String, source: bool) -> Result<Exit, Error> {
    let request = GetLifecycleRequest { code };
    let found = ctx.client.ask(&request, async |q| ctx.client.lifecycles().get(q).await).await?;
    if source {
        ctx.out.line(found.source.trim_end())?;
    } else {
        ctx.out.show(&json::lifecycle(&found), || lifecycles::show(&found, ctx.out.style))?;
    }
    Ok(Exit::Done)
}

fn read(file: &Path) -> Result<String, Error> {
    let wrong = |e: std::io::Error| Error::usage(format!("{} cannot be read: {e}.", file.display()));
    let from: Box<dyn std::io::Read> = match file.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(file).map_err(wrong)?),
    };
    let mut source = String::new();
    from.take(SOURCE_BYTES_MAX + 1).read_to_string(&mut source).map_err(wrong)?;
    if source.len() as u64 > SOURCE_BYTES_MAX {
        let line = format!("{} is larger than {} KiB.", file.display(), SOURCE_BYTES_MAX / 1024);
        return Err(Error::usage(line));
    }
    Ok(source)
}
