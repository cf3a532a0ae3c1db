//! Clients that watch through something that falls silent: the connection stays open, and nothing comes through it any more. They notice it,
//! and go on through another one from where they were.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use settled_proto::v1::Change;
use settled_proto::v1::transition::Object;
use settled_tests::address::free_address;
use settled_tests::patience::until;
use settled_tests::server::fresh_id;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{mpsc, watch as signal};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::Endpoint;

use super::{EXAMPLES, Examples, Eye, PYTHON, Site, WITHIN, generated, install, watch};

/// Where the daemon is behind it.
#[derive(Debug, Clone)]
enum Behind {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What stands between.
struct Between {
    address: SocketAddr,
    /// How many connections were made.
    made: signal::Receiver<usize>,
    /// How many of them, from the first one, are silent.
    silent: signal::Sender<usize>,
    listening: JoinHandle<()>,
}

impl Between {
    async fn start(behind: Behind) -> Self {
        let address = free_address();
        let listener = TcpListener::bind(address).await.unwrap();
        let (making, made) = signal::channel(0);
        let (silent, silenced) = signal::channel(0);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                making.send_modify(|made| *made += 1);
                let number = *making.borrow();
                let (behind, mut silenced) = (behind.clone(), silenced.clone());
                tokio::spawn(async move {
                    let mut client = client;
                    let is_silent = tokio::select! {
                        () = carry(&mut client, &behind) => false,
                        silent = silenced.wait_for(|silent| number <= *silent) => silent.is_ok(),
                    };
                    if is_silent {
                        // It stays open as long as the other side likes.
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self { address, made, silent, listening }
    }

    /// From now on nothing comes through the connections that there are. New ones are carried.
    fn falls_silent(&self) {
        self.silent.send_replace(*self.made.borrow());
    }

    /// Waits until somebody has connected again since it fell silent.
    async fn is_connected_to_again(&mut self) {
        let silent = *self.silent.borrow();
        let made = timeout(WITHIN, self.made.wait_for(|made| *made > silent)).await;
        made.expect("the silence is noticed").unwrap();
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn carry(client: &mut TcpStream, behind: &Behind) {
    match behind {
        Behind::Tcp(address) => between(client, TcpStream::connect(address).await).await,
        Behind::Unix(path) => between(client, UnixStream::connect(path).await).await,
    }
}

async fn between<D: AsyncRead + AsyncWrite + Unpin>(client: &mut TcpStream, daemon: io::Result<D>) {
    if let Ok(mut daemon) = daemon {
        // However it ends, it is over.
        let _ = copy_bidirectional(client, &mut daemon).await;
    }
}

async fn installed(site: &Site, name: &str) {
    install::install(site.daemon.channel(), &fresh_id(), "web", name).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_in_rust_notice_silence() {
    let site = Site::open().await;
    let mut between = Between::start(Behind::Unix(site.daemon.socket().to_owned())).await;
    installed(&site, "rust").await;
    let endpoint = Endpoint::from_shared(format!("http://{}", between.address)).unwrap();
    let (seen, mut heard) = mpsc::unbounded_channel();
    let watching = tokio::spawn(watch::watch(
        move || endpoint.connect_lazy(),
        None,
        move |changes, _| {
            for change in changes {
                let kind = change.change();
                if let Some(Object::Resource(resource)) = change.object {
                    seen.send((resource.name, kind)).unwrap();
                }
            }
        },
    ));
    let mut next = async || timeout(WITHIN, heard.recv()).await.expect("something is seen").unwrap();
    assert_eq!(next().await, ("rust".to_owned(), Change::Snapshot));
    between.falls_silent();
    installed(&site, "rust-other").await;
    between.is_connected_to_again().await;
    assert_eq!(next().await, ("rust-other".to_owned(), Change::Created), "the next one, and nothing twice");
    watching.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_in_python_notice_silence() {
    let site = Site::open().await;
    let between = Between::start(Behind::Tcp(site.address)).await;
    let site = site.to(|_| between.address.to_string());
    notices_silence(&site, between, PYTHON, generated().await.path(), "py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_in_pages_notice_silence() {
    let site = Site::open().await;
    let between = Between::start(Behind::Tcp(site.address)).await;
    let site = site.to(|_| format!("https://{}", between.address));
    notices_silence(&site, between, "node", EXAMPLES.as_ref(), "mjs").await;
}

async fn notices_silence(site: &Site, mut between: Between, program: &str, dir: &Path, ending: &'static str) {
    installed(site, "one").await;
    let position = site.files.path().join("position");
    let examples = Examples { site, program, dir: dir.to_owned(), ending };
    let mut eye = Eye::of(examples.start("watch", &[&position.display().to_string()]));
    eye.sees("web/greeting/one CHANGE_SNAPSHOT").await;
    until("the position is kept", async || position.exists().then_some(())).await;
    between.falls_silent();
    installed(site, "other").await;
    between.is_connected_to_again().await;
    assert_eq!(eye.sees("web/greeting/other CHANGE_CREATED").await, 1, "the next one, and nothing twice");
}
