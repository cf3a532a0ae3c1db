//! One command on one channel, attended by a task of its own.
//!
//! The task never stops reading while the command talks, because a channel left unread stops its whole connection. It ends
//! when the command has, or when nobody waits for the answer any more, and closes the channel then.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::session::Session;
use super::words::Deadline;
use crate::remote::RemoteError;
use crate::remote::exec::ExecOutput;

/// Stdin goes out in pieces of this size: longer writes have broken servers when keys were exchanged anew in between.
const STDIN_CHUNK_BYTES: usize = 32 * 1024;
/// Kept of stderr.
const STDERR_BYTES_MAX: usize = 16 * 1024;
/// A server that has no room for another session is asked again after this time, or as soon as one of ours has ended.
const ROOM_PATIENCE: Duration = Duration::from_millis(250);
/// The type of data that stderr has (RFC 4254, section 5.2).
const STDERR: u32 = 1;

/// What to run.
pub(super) struct Job {
    pub(super) command: &'static str,
    pub(super) stdin: Zeroizing<Vec<u8>>,
    /// More than this on stdout is an error.
    pub(super) stdout_bytes_max: usize,
}

/// Why there is no output.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection was dead before the server saw anything of the command; another connection may do.
    NotOpened(RemoteError),
    /// Anything else.
    Final(RemoteError),
}

impl Failure {
    pub(super) fn into_error(self) -> RemoteError {
        match self {
            Self::NotOpened(error) | Self::Final(error) => error,
        }
    }
}

type Answer = Result<ExecOutput, Failure>;

/// Runs a job. Dropping the future closes its channel.
pub(super) async fn exec(session: Arc<Session>, job: Arc<Job>, urgent: bool, deadline: Deadline) -> Answer {
    let room = deadline
        .bound(session.room(urgent), || format!("all channels to {} are still in use", session.address))
        .await
        .map_err(Failure::Final)?
        .map_err(|_| Failure::NotOpened(RemoteError::Unreachable(session.epitaph())))?;
    let (tell, told) = oneshot::channel();
    tokio::spawn(attend(session.clone(), job, room, tell));
    let answer = deadline.bound(told, || session.why_it_takes_so_long()).await.map_err(Failure::Final)?;
    answer.unwrap_or_else(|_| {
        let why = format!("lost the channel to {}: its task failed", session.address);
        Err(Failure::Final(RemoteError::Unreachable(why)))
    })
}

/// Owns the channel from its opening to its end.
async fn attend(
    session: Arc<Session>,
    job: Arc<Job>,
    room: OwnedSemaphorePermit,
    mut tell: oneshot::Sender<Answer>,
) {
    let answer = match open(&session, &mut tell).await {
        Ok(channel) => hold(&session, &job, channel, &mut tell).await.map_err(Failure::Final),
        Err(failure) => Err(failure),
    };
    drop(room);
    session.freed.notify_waiters();
    if tell.send(answer).is_err() {
        tracing::debug!(address = %session.address, "a command ended after its caller had gone");
    }
}

/// Opens a channel. A wish that was sent is never given up while the server may still grant it: nobody would close that channel.
async fn open(session: &Session, tell: &mut oneshot::Sender<Answer>) -> Result<Channel<Msg>, Failure> {
    loop {
        let freed = session.freed.notified();
        match timeout(session.patience, session.handle.channel_open_session()).await {
            Ok(Ok(channel)) => {
                session.set_full(false);
                return Ok(channel);
            }
            Ok(Err(russh::Error::ChannelOpenFailure(_))) => session.set_full(true),
            Ok(Err(_)) => return Err(Failure::NotOpened(RemoteError::Unreachable(session.epitaph()))),
            Err(_) => {
                session.mark_silent();
                let why = format!("{} does not answer on a connection that seemed to stand", session.address);
                return Err(Failure::NotOpened(RemoteError::Unreachable(why)));
            }
        }
        tokio::select! {
            _ = timeout(ROOM_PATIENCE, freed) => {}
            () = tell.closed() => return Err(Failure::Final(nobody_waits())),
        }
    }
}

/// Runs the command on an open channel. When there is no output, the channel is closed from this side.
async fn hold(
    session: &Session,
    job: &Job,
    channel: Channel<Msg>,
    tell: &mut oneshot::Sender<Answer>,
) -> Result<ExecOutput, RemoteError> {
    let (mut read, write) = channel.split();
    let output = tokio::select! {
        output = converse(session, job, &mut read, &write) => output,
        () = tell.closed() => Err(nobody_waits()),
    };
    // Before anything else is awaited: a channel with a full buffer that nobody reads stops the connection, the closing too.
    drop(read);
    if output.is_err() {
        session.count_abandoned();
        if let Err(error) = write.close().await {
            tracing::debug!(address = %session.address, %error, "the channel had ended with its connection");
        }
    }
    output
}

/// Sends the command and its stdin, and listens until the server closes the channel.
async fn converse(
    session: &Session,
    job: &Job,
    read: &mut ChannelReadHalf,
    write: &ChannelWriteHalf<Msg>,
) -> Result<ExecOutput, RemoteError> {
    let send = async {
        // A command that leaves before it has read everything is heard by the listener; so is a dead connection.
        if let Err(error) = feed(job, write).await {
            tracing::debug!(address = %session.address, %error, "stdin was not sent to its end");
        }
        pending::<Infallible>().await
    };
    tokio::select! {
        output = listen(session, job, read) => output,
        never = send => match never {},
    }
}

async fn feed(job: &Job, write: &ChannelWriteHalf<Msg>) -> Result<(), russh::Error> {
    write.exec(true, job.command).await?;
    for chunk in job.stdin.chunks(STDIN_CHUNK_BYTES) {
        write.data_bytes(Bytes::copy_from_slice(chunk)).await?;
    }
    write.eof().await
}

async fn listen(session: &Session, job: &Job, read: &mut ChannelReadHalf) -> Result<ExecOutput, RemoteError> {
    let mut output = ExecOutput { stdout: Vec::new(), stderr: Vec::new(), status: None };
    loop {
        match read.wait().await {
            Some(ChannelMsg::Data { data }) => {
                if data.len() > job.stdout_bytes_max.saturating_sub(output.stdout.len()) {
                    return Err(RemoteError::Protocol(format!(
                        "{} wrote more than {} bytes",
                        session.address, job.stdout_bytes_max
                    )));
                }
                output.stdout.extend_from_slice(&data);
            }
            Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => {
                let room = STDERR_BYTES_MAX.saturating_sub(output.stderr.len());
                output.stderr.extend(data.iter().take(room));
            }
            // It may come before or after the end of the data, so it ends nothing.
            Some(ChannelMsg::ExitStatus { exit_status }) => output.status = Some(exit_status),
            Some(ChannelMsg::Failure) => {
                return Err(RemoteError::Refused(format!(
                    "{} does not run commands for this login: look at ForceCommand and the login shell there",
                    session.address
                )));
            }
            Some(ChannelMsg::Close) => return Ok(output),
            Some(_) => {}
            None => return Err(RemoteError::Unreachable(session.epitaph())),
        }
    }
}

/// Read by nobody; it only ends the task.
fn nobody_waits() -> RemoteError {
    RemoteError::Unreachable("nobody waits for the answer".to_owned())
}
