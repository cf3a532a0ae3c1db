//! The door: whoever is silent keeps nobody waiting who speaks, a stranger takes nobody's place, and nothing is open for ever.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustix::process::Uid;
use settled::grpc::{Limits, Patience, Places};
use settled_proto::v1::admin_client::AdminClient;
use settled_proto::v1::{GetStatusRequest, WatchRequest};
use settled_tests::engine::{LIMITS, Served, connect};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::soon;

/// Nobody in particular, and nobody who is let in.
const STRANGER: u32 = 54_321;

const MINUTE: Duration = Duration::from_secs(60);

/// So many connections as this user, who need not be us.
pub(crate) async fn callers(socket: &Path, uid: Option<u32>, count: usize) -> Vec<UnixStream> {
    let socket: PathBuf = socket.to_owned();
    // A thread of its own: it does not come back from being somebody else.
    let (send, come) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        if let Some(uid) = uid {
            let uid = Uid::from_raw(uid);
            rustix::thread::set_thread_res_uid(uid, uid, uid).expect("the test is root");
        }
        let all: Vec<_> = (0..count).map(|_| UnixStream::connect(&socket).unwrap()).collect();
        send.send(all).unwrap();
    });
    soon("the callers", come).await.unwrap()
}

/// Everybody reaches its socket.
pub(crate) fn open_to_all(api: &Served) {
    for (path, mode) in [(api.socket().parent().unwrap(), 0o755), (api.socket(), 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// Waits until the other side has ended it.
async fn ended(mut caller: UnixStream) {
    let end = tokio::task::spawn_blocking(move || {
        let mut heard = Vec::new();
        // Reset or closed: it is over.
        caller.read_to_end(&mut heard).unwrap_or_default()
    });
    soon("the end of a connection", end).await.unwrap();
}

/// Waits until no more than so many of them are open: who has to go goes a moment after a newcomer has come.
async fn few(callers: &[UnixStream], most: usize) {
    let gone = async {
        while open(callers) > most {
            tokio::task::yield_now().await;
        }
    };
    soon("the end of those who had to go", gone).await;
}

/// How many of them are still open.
fn open(callers: &[UnixStream]) -> usize {
    let is_open = |caller: &&UnixStream| {
        let mut caller = *caller;
        caller.set_nonblocking(true).unwrap();
        // What the daemon says first is of no interest.
        let mut heard = caller.read(&mut [0; 1024]);
        while heard.as_ref().is_ok_and(|bytes| *bytes > 0) {
            heard = caller.read(&mut [0; 1024]);
        }
        matches!(heard, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    };
    callers.iter().filter(is_open).count()
}

async fn status(channel: Channel) -> Result<(), Status> {
    let asked = AdminClient::new(channel).get_status(GetStatusRequest {}).await;
    asked.map(drop)
}

/// A channel over a connection that is there already.
pub(crate) async fn over(caller: UnixStream) -> Channel {
    caller.set_nonblocking(true).unwrap();
    let mut caller = Some(TokioIo::new(tokio::net::UnixStream::from_std(caller).unwrap()));
    let connector = tower::service_fn(move |_| {
        let caller = caller.take();
        async move { caller.ok_or_else(|| std::io::Error::other("there is only one connection")) }
    });
    Endpoint::from_static("http://settled").connect_with_connector(connector).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_silent_callers_do_not_keep_one_who_speaks_waiting() {
    let api = Served::start().await;
    status(api.channel()).await.unwrap();
    let mut watch = api.transitions().watch(WatchRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap().expect("a bookmark comes at once");

    let silent = callers(api.socket(), None, 1_000).await;
    let newcomer = soon("a connection", connect(api.socket())).await;
    soon("an answer", status(newcomer)).await.unwrap();
    soon("an answer to who was there before", status(api.channel())).await.unwrap();
    few(&silent, LIMITS.places.per_one).await;
    // The stream of before was not ended for them.
    api.server("web").await;
    soon("the news", watch.message()).await.unwrap().expect("a stream has no end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_takes_no_place_and_hears_why() {
    let api = Served::with_limits(Limits {
        places: Places { all: 16, per_one: 12 },
        // Nobody is to go because of time here.
        patience: Patience { handshake: MINUTE, first_request: MINUTE, idle: MINUTE },
        ..LIMITS
    })
    .await;
    open_to_all(&api);
    let ours = callers(api.socket(), None, 8).await;
    // Each has asked for a place before the first stranger comes.
    soon("an answer", status(api.channel())).await.unwrap();

    let strangers = callers(api.socket(), Some(STRANGER), 500).await;
    soon("an answer", status(connect(api.socket()).await)).await.unwrap();
    assert_eq!(open(&ours), 8, "nobody had to go for a stranger");
    few(&strangers, 8).await;

    let speaks = callers(api.socket(), Some(STRANGER), 1).await.remove(0);
    let refused = soon("a refusal", status(over(speaks).await)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    assert!(refused.message().contains("access.admins"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_or_nothing_more_is_let_go_and_an_open_stream_is_not() {
    let patience = Patience {
        handshake: Duration::from_millis(500),
        // A busy machine makes a connection and asks something in that time.
        first_request: Duration::from_secs(3),
        idle: Duration::from_millis(500),
    };
    let api = Served::with_limits(Limits { patience, ..LIMITS }).await;
    let watching = api.transitions().watch(WatchRequest::default()).await;
    let mut watch = watching.unwrap().into_inner();
    watch.message().await.unwrap().expect("a bookmark comes at once");

    let caller = async || callers(api.socket(), None, 1).await.remove(0);
    ended(caller().await).await;
    let mut half = caller().await;
    half.write_all(b"PRI * HTTP/2.0\r\n").unwrap();
    ended(half).await;
    let mut polite = caller().await;
    polite.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    ended(polite).await;
    let idle = over(caller().await).await;
    status(idle.clone()).await.unwrap();
    let gone = async {
        while status(idle.clone()).await.is_ok() {
            tokio::time::timeout(Duration::from_secs(1), watch.message()).await.map(drop).unwrap_or_default();
        }
    };
    soon("the end of an idle connection", gone).await;

    api.server("web").await;
    let news = async { while watch.message().await.unwrap().unwrap().event.is_none() {} };
    soon("the news", news).await;
}
