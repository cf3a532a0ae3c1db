//! The way to a server that only another one can reach: a channel of a connection that stands, in place of a TCP connection.
//!
//! The jump host carries bytes that it cannot read: key exchange and login are with the server behind it.

use std::convert::Infallible;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use russh::client::Msg;
use russh::{ChannelOpenFailure, ChannelStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::session::{Cut, Session};
use super::words;
use crate::remote::{RemoteError, Target};

/// A stream through a jump host. It ends when its other half, the [`Cut`], is dropped.
pub(super) struct Tunnel {
    stream: ChannelStream<Msg>,
    uncut: Option<oneshot::Receiver<Infallible>>,
}

/// Asks the jump host for a connection to the server.
pub(super) async fn open(via: &Session, target: &Target) -> Result<(Tunnel, Cut), RemoteError> {
    let opening = via.handle.channel_open_direct_tcpip(&target.host, u32::from(target.port), "127.0.0.1", 0);
    let channel = match timeout(via.patience, opening).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(russh::Error::ChannelOpenFailure(why))) => return Err(refusal(via, target, &why)),
        Ok(Err(_)) => {
            via.mark_silent();
            return Err(RemoteError::Unreachable(via.epitaph()));
        }
        Err(_) => {
            via.mark_silent();
            let why = format!("{} does not answer on a connection that seemed to stand", via.address);
            return Err(RemoteError::Unreachable(why));
        }
    };
    // It will be closed from this side.
    via.count_abandoned();
    let (cut, uncut) = oneshot::channel();
    Ok((Tunnel { stream: channel.into_stream(), uncut: Some(uncut) }, Cut::of_tunnel(cut)))
}

/// What the jump host says about the server, in words.
fn refusal(via: &Session, target: &Target, why: &ChannelOpenFailure) -> RemoteError {
    let (jump, server) = (&via.address, words::place(target));
    match why {
        ChannelOpenFailure::AdministrativelyProhibited => RemoteError::Refused(format!(
            "the jump host {jump} does not forward connections to {server}: \
             look at AllowTcpForwarding and PermitOpen in its sshd_config"
        )),
        _ => RemoteError::Unreachable(format!("the jump host {jump} cannot reach {server}")),
    }
}

impl Tunnel {
    /// The other half is gone. Whoever asks is woken when that happens.
    fn is_cut(&mut self, context: &mut Context<'_>) -> bool {
        let cut = self.uncut.as_mut().is_none_or(|uncut| Pin::new(uncut).poll(context).is_ready());
        if cut {
            // It must not be asked again.
            self.uncut = None;
        }
        cut
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_cut(context) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_cut(context) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
