//! `backup`: everything that the store has, into a file that is there as a whole or not at all.

use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use settled_proto::v1::backup_response::Part;
use settled_proto::v1::{BackupEnd, BackupHead, BackupRequest};
use sha2::{Digest as _, Sha256};
use tempfile::TempPath;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::Context;
use crate::args::BackupArgs;
use crate::clock;
use crate::errors::{Error, Exit};
use crate::render::out::remark;
use crate::render::{backup, json};

/// Where the backup goes.
pub(crate) struct Target {
    to: File,
    place: Option<Place>,
}

/// A name beside the one that the file gets in the end. It goes away unless that comes.
struct Place {
    beside: TempPath,
    path: PathBuf,
    force: bool,
}

impl Target {
    /// What can be seen to be in the way is told before anybody copies anything.
    pub(crate) fn open(args: &BackupArgs) -> Result<Self, Error> {
        if is_stdout(&args.file) {
            if io::stdout().is_terminal() {
                let line = "A terminal cannot take a backup: name a file, or lead it elsewhere.";
                return Err(Error::usage(line));
            }
            let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(|error| Error::output(&error))?;
            return Ok(Self { to: std::fs::File::from(stdout).into(), place: None });
        }
        if !args.force && args.file.symlink_metadata().is_ok() {
            return Err(is_there(&args.file));
        }
        Self::beside(args).map_err(|error| unwritable(&args.file, &error))
    }

    fn beside(args: &BackupArgs) -> io::Result<Self> {
        let name = args.file.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!(".{name}.");
        let made =
            tempfile::Builder::new().prefix(&prefix).suffix(".part").tempfile_in(directory(&args.file));
        let (to, beside) = made?.into_parts();
        let place = Place { beside, path: args.file.clone(), force: args.force };
        Ok(Self { to: to.into(), place: Some(place) })
    }

    async fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        self.to.write_all(data).await.map_err(|error| self.failed(&error))
    }

    /// It is whole: its file takes its place once the disk has it.
    async fn end(mut self) -> Result<(), Error> {
        self.to.flush().await.map_err(|error| self.failed(&error))?;
        if self.place.is_some() {
            self.to.sync_all().await.map_err(|error| self.failed(&error))?;
        }
        self.place.map_or(Ok(()), Place::take)
    }

    fn failed(&self, error: &io::Error) -> Error {
        // A reader of standard output who goes away has no backup, so that is no quiet end.
        self.place.as_ref().map_or_else(|| Error::output(error), |place| unwritable(&place.path, error))
    }
}

impl Place {
    fn take(self) -> Result<(), Error> {
        let Self { beside, path, force } = self;
        let taken = if force { beside.persist(&path) } else { beside.persist_noclobber(&path) };
        taken.map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => is_there(&path),
            _ => unwritable(&path, &error.error),
        })?;
        let synced = std::fs::File::open(directory(&path)).and_then(|directory| directory.sync_all());
        synced.map_err(|error| unwritable(&path, &error))
    }
}

/// `backup`.
pub(crate) async fn run(ctx: &Context, args: &BackupArgs, target: Target) -> Result<Exit, Error> {
    let (head, end) = tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|error| Error::output(&error))?;
            return Err(Error { exit: Exit::Interrupted, lines: vec!["No backup was taken.".to_owned()] });
        }
        taken = take(ctx, target) => taken?,
    };
    let text = || backup::taken(&args.file, &head, &end, ctx.out.style, clock::now());
    if is_stdout(&args.file) {
        remark(&text());
    } else {
        ctx.out.show(&json::backup(&args.file, &head, &end), text)?;
    }
    Ok(Exit::Done)
}

async fn take(ctx: &Context, mut target: Target) -> Result<(BackupHead, BackupEnd), Error> {
    let refused = |status| ctx.client.refusal(&status).hint("No backup was taken.");
    let asked = ctx.client.admin().backup(BackupRequest {}).await;
    let mut parts = asked.map_err(|status| ctx.client.refusal(&status))?.into_inner();
    let (mut head, mut bytes, mut digest) = (None, 0, Sha256::new());
    while let Some(answer) = parts.message().await.map_err(refused)? {
        match answer.part {
            Some(Part::Head(said)) => head = Some(said),
            Some(Part::Data(data)) => {
                target.write(&data).await?;
                digest.update(&data);
                bytes += data.len() as u64;
            }
            Some(Part::End(end)) => {
                let head = head.ok_or_else(|| Error::contract("what the backup is"))?;
                if (bytes, &format!("{:x}", digest.finalize())) != (head.size_bytes, &end.sha256) {
                    return Err(Error { exit: Exit::Failed, lines: vec![DAMAGED.to_owned()] });
                }
                target.end().await?;
                return Ok((head, end));
            }
            // A newer daemon has more to tell.
            None => {}
        }
    }
    Err(Error::contract("the end of the backup"))
}

/// What arrived is not what was sent.
const DAMAGED: &str = "The backup was damaged on its way, and is not kept: take it again.";

fn is_stdout(file: &Path) -> bool {
    file == Path::new("-")
}

fn is_there(path: &Path) -> Error {
    let lines = vec![
        format!("{} is there already.", path.display()),
        "Take another name, or have the backup take its place: --force".to_owned(),
    ];
    Error { exit: Exit::Refused, lines }
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    let line = format!("The backup cannot be written to {}: {error}.", path.display());
    Error { exit: Exit::Failed, lines: vec![line] }
}

/// Where a file is.
fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
