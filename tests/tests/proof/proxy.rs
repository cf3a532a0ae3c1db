//! A socket before the daemon's that breaks connections, in the middle of whatever is being said.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// A connection lives for at most so many bytes of answers.
const BYTES_MAX: u64 = 12_000;

/// Connections break as long as there are cuts left.
pub(crate) struct Proxy {
    pub(crate) socket: PathBuf,
    made: Arc<AtomicU64>,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// Before `daemon`, with so many cuts to make at places that the seed chooses.
    pub(crate) fn start(socket: PathBuf, daemon: &Path, cuts: u64, seed: u64) -> Self {
        let listener = UnixListener::bind(&socket).unwrap();
        let (made, daemon) = (Arc::<AtomicU64>::default(), daemon.to_owned());
        let counted = Arc::clone(&made);
        let listening = tokio::spawn(async move {
            let mut random = StdRng::seed_from_u64(seed);
            while let Ok((client, _)) = listener.accept().await {
                let bytes = random.random_range(1..BYTES_MAX);
                let (daemon, counted) = (daemon.clone(), Arc::clone(&counted));
                tokio::spawn(async move { carry(client, &daemon, bytes, cuts, &counted).await });
            }
        });
        Self { socket, made, listening }
    }

    /// Connections that were cut.
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn carry(client: UnixStream, daemon: &Path, bytes: u64, cuts: u64, made: &AtomicU64) {
    let Ok(server) = UnixStream::connect(daemon).await else { return };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let asking = copy(&mut from_client, &mut to_server);
    let answering = async {
        let (mut left, mut piece) = (bytes, [0; 2_048]);
        loop {
            let Ok(read @ 1..) = from_server.read(&mut piece).await else { return };
            let cut = left <= read as u64 && made.load(Ordering::Relaxed) < cuts;
            let said = if cut { usize::try_from(left).unwrap_or(read) } else { read };
            if to_client.write_all(&piece[..said]).await.is_err() {
                return;
            }
            if cut {
                made.fetch_add(1, Ordering::Relaxed);
                return;
            }
            left = left.saturating_sub(read as u64).max(1);
        }
    };
    tokio::select! {
        _ = asking => {}
        () = answering => {}
    }
}
