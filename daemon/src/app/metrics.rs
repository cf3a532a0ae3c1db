//! Figures for a monitoring system, in the text form of Prometheus, on a loopback address of their own (`listen.metrics`, off by default).
//!
//! Each part keeps its own figures, whether anybody asks or not; here they are put together when somebody does. A few callers are served at
//! once, each within a limit: who is slow or says nothing keeps nobody waiting. There is no access control, so there is nothing in it that
//! names servers or people.

mod all;
mod text;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(super) use all::Sources;

/// How long one caller may take.
const CALLER_LIMIT: Duration = Duration::from_secs(2);
/// Callers at once; the next one waits for a place, at most for as long as one may take.
const CALLERS_MAX: usize = 16;
/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Pause after a failed accept: without it a lack of file descriptors would be a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where figures are asked for, if they are.
pub(super) async fn listen(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("listen.metrics = {address} cannot be listened on")).map(Some)
}

/// Serves what the sources tell until `stop`.
pub(super) async fn serve(sources: Sources, listener: TcpListener, stop: CancellationToken) {
    let sources = Arc::new(sources);
    let mut callers = JoinSet::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((caller, _)) => {
                if callers.len() >= CALLERS_MAX {
                    callers.join_next().await;
                }
                callers.spawn(serve_one(Arc::clone(&sources), caller));
            }
            Err(error) => {
                tracing::warn!(%error, "a caller for metrics could not be accepted; trying again");
                sources.clock().sleep_until(sources.clock().monotonic() + ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_one(sources: Arc<Sources>, caller: TcpStream) {
    let limit = sources.clock().sleep_until(sources.clock().monotonic() + CALLER_LIMIT);
    tokio::select! {
        answered = answer(&sources, caller) => if let Err(error) = answered {
            tracing::debug!(%error, "a caller for metrics was not answered");
        },
        () = limit => {}
    }
}

async fn answer(sources: &Sources, mut caller: TcpStream) -> anyhow::Result<()> {
    let (status, body) = match asked_for(&mut caller).await?.as_deref() {
        Some("/metrics") => ("200 OK", sources.text().await),
        _ => ("404 Not Found", "The metrics are at /metrics.\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    caller.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
    Ok(caller.shutdown().await?)
}

/// The path of a GET; nothing for anything else.
async fn asked_for(caller: &mut TcpStream) -> anyhow::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX || caller.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split_ascii_whitespace();
    Ok((words.next() == Some("GET")).then(|| words.next().map(str::to_owned)).flatten())
}
