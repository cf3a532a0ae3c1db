//! The verbs of packages.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use settled_proto::v1::{CheckPackageRequest, GetPackageRequest, ListPackagesRequest, ReloadPackagesRequest};

use super::Context;
use crate::args::{ChangeArgs, PackageCommand};
use crate::errors::{Error, Exit};
use crate::render::out::{Out, remark};
use crate::render::{json, packages};

/// Largest definition, in bytes (the daemon's limit).
const SOURCE_BYTES_MAX: u64 = 256 * 1024;

/// The JSON Schema of packages, as editors use it. A test of the daemon holds it to the parser.
const SCHEMA: &str = include_str!("../../../docs/package.schema.json");

/// `package ...`. `open` connects; files are read before.
pub(crate) async fn run(
    open: impl AsyncFnOnce() -> Result<Context, Error>,
    out: Out,
    command: PackageCommand,
) -> Result<Exit, Error> {
    match command {
        PackageCommand::List => list(&open().await?).await,
        PackageCommand::Show { package, source } => show(&open().await?, package, source).await,
        PackageCommand::Reload(change) => reload(&open().await?, &change).await,
        PackageCommand::Schema => {
            out.line(SCHEMA.trim_end())?;
            Ok(Exit::Done)
        }
        PackageCommand::Check { files } => {
            let sources = files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
            check(&open().await?, &files, &sources).await
        }
    }
}

async fn list(ctx: &Context) -> Result<Exit, Error> {
    let answer =
        ctx.client.ask(&ListPackagesRequest {}, async |q| ctx.client.packages().list(q).await).await?;
    if answer.packages.is_empty() && !ctx.out.for_programs() {
        remark("No packages are loaded.");
        return Ok(Exit::Done);
    }
    ctx.out.show(&json::page("packages", &answer.packages, json::package, ""), || {
        packages::list(&answer.packages, ctx.out.wide(), ctx.out.style)
    })?;
    Ok(Exit::Done)
}

async fn show(ctx: &Context, package: String, source: bool) -> Result<Exit, Error> {
    let request = GetPackageRequest { package };
    let package = ctx.client.ask(&request, async |q| ctx.client.packages().get(q).await).await?;
    if source {
        ctx.out.line(package.source.trim_end())?;
    } else {
        ctx.out.show(&json::package(&package), || packages::show(&package, ctx.out.style))?;
    }
    Ok(Exit::Done)
}

async fn reload(ctx: &Context, change: &ChangeArgs) -> Result<Exit, Error> {
    let request = ReloadPackagesRequest { request_id: change.id() };
    let answer = ctx
        .client
        .command(&request, &request.request_id, async |q| ctx.client.packages().reload(q).await)
        .await?;
    ctx.out.show(&json::reloaded(&answer), || packages::reloaded(&answer))?;
    Ok(Exit::Done)
}

/// Each file beside the others.
async fn check(ctx: &Context, files: &[PathBuf], sources: &[String]) -> Result<Exit, Error> {
    let mut exit = Exit::Done;
    for (n, (file, source)) in files.iter().zip(sources).enumerate() {
        let others = sources.iter().enumerate().filter(|(other, _)| *other != n);
        let others = others.map(|(_, source)| source.clone()).collect();
        let request = CheckPackageRequest { source: source.clone(), others };
        let answer = ctx.client.ask(&request, async |q| ctx.client.packages().check(q).await).await?;
        let name = file.display().to_string();
        ctx.out.show(&json::check(&answer), || match answer.problems.len() {
            0 => format!("{name}: nothing is wrong."),
            _ => packages::problems(&name, &answer),
        })?;
        if !answer.problems.is_empty() {
            exit = Exit::Failed;
        }
    }
    Ok(exit)
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
