//! What foes do, each over one connection, again and again.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use settled_tests::process::a_moment;

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, HEADERS, Io, PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS, Talk,
    WINDOW_UPDATE, announced, frame, header, headers, request, streams,
};
use crate::house::{Person, Way};

/// Requests at the same time on one connection: what the daemon allows.
const STREAMS_MAX: usize = 256;
/// The largest message that the daemon takes.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// What comes of an answer before its caller asks for more, where nothing else is said.
const WINDOW: u32 = 65_535;
/// The largest window.
const WIDE: u32 = (1 << 31) - 1;

const WATCH: &str = "/settled.v1.Transitions/Watch";
const LIST: &str = "/settled.v1.Resources/List";
/// The method of the largest answer that is there in an empty house.
const PACKAGES: &str = "/settled.v1.Packages/List";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// Whoever attacks.
pub(crate) struct Foe {
    person: Person,
    blows: AtomicU64,
    /// Pause after each blow: the machine has other tests to run.
    pause: Duration,
}

impl Foe {
    pub(crate) fn new(person: Person, pause: Duration) -> Arc<Self> {
        Arc::new(Self { person, blows: AtomicU64::new(0), pause })
    }

    /// What was done so far: what it is, knows the attack.
    pub(crate) fn blows(&self) -> u64 {
        self.blows.load(Ordering::Relaxed)
    }

    fn struck(&self) {
        self.blows.fetch_add(1, Ordering::Relaxed);
    }

    /// The same, and a pause.
    async fn has_struck(&self) {
        self.struck();
        if !self.pause.is_zero() {
            a_moment(self.pause).await;
        }
    }

    async fn talk(&self, way: Way, window: u32) -> io::Result<Talk> {
        Talk::polite(self.person.connect(way).await?, window).await
    }
}

/// What is done over one connection, the how-manieth is told; it is done again when it has ended.
pub(crate) type Attack = fn(Arc<Foe>, usize) -> BoxFuture<'static, io::Result<()>>;

/// Begins an attack over so many connections at once. It ends when it is dropped.
pub(crate) fn begin(attack: Attack, foe: &Arc<Foe>, connections: usize) -> JoinSet<()> {
    let mut all = JoinSet::new();
    for number in 0..connections {
        let foe = Arc::clone(foe);
        all.spawn(async move {
            loop {
                // Ended by the daemon, as it should be.
                attack(Arc::clone(&foe), number).await.unwrap_or_default();
                tokio::task::yield_now().await;
            }
        });
    }
    all
}

/// Half of them come by the socket.
fn way(number: usize) -> Way {
    if number.is_multiple_of(2) { Way::Socket } else { Way::Network }
}

/// Says nothing, whether it has come by the socket, through TLS, or has not even begun with that; and does not come again.
pub(crate) fn silent(foe: Arc<Foe>, number: usize) -> BoxFuture<'static, io::Result<()>> {
    Box::pin(async move {
        let way = [Way::Socket, Way::Plain, Way::Socket, Way::Network][number % 4];
        let connected = foe.person.connect(way).await;
        foe.struck();
        if let Ok(mut io) = connected {
            ended(&mut io).await;
        }
        pending().await
    })
}

/// The same, and comes again at once.
pub(crate) fn restless(foe: Arc<Foe>, number: usize) -> BoxFuture<'static, io::Result<()>> {
    Box::pin(async move {
        let mut io = foe.person.connect(way(number)).await?;
        foe.has_struck().await;
        ended(&mut io).await;
        Ok(())
    })
}

async fn ended(io: &mut Io) {
    let mut heard = [0; 1024];
    while io.read(&mut heard).await.is_ok_and(|bytes| bytes > 0) {}
}

/// Says what everybody says, one byte at a time: the preface, the headers of a request, its message.
pub(crate) fn slow(foe: Arc<Foe>, number: usize) -> BoxFuture<'static, io::Result<()>> {
    const PACE: Duration = Duration::from_millis(20);
    Box::pin(async move {
        let way = way(number);
        match number / 2 % 3 {
            0 => {
                let mut io = foe.person.connect(way).await?;
                for byte in PREFACE {
                    io.write_all(&[*byte]).await?;
                    io.flush().await?;
                    foe.struck();
                    a_moment(PACE).await;
                }
                ended(&mut io).await;
            }
            1 => {
                let talk = foe.talk(way, WINDOW).await?;
                let all = frame(HEADERS, END_HEADERS, 1, &headers(LIST, foe.person.shows(way)));
                // Without its end.
                for byte in &all[..all.len() - 1] {
                    talk.say(&[*byte]).await?;
                    foe.struck();
                    a_moment(PACE).await;
                }
                end(talk).await;
            }
            _ => {
                let talk = foe.talk(way, WINDOW).await?;
                talk.say(&frame(HEADERS, END_HEADERS, 1, &headers(LIST, foe.person.shows(way)))).await?;
                talk.say(&frame(DATA, 0, 1, &announced(100_000))).await?;
                loop {
                    talk.say(&frame(DATA, 0, 1, &[0])).await?;
                    foe.struck();
                    a_moment(PACE).await;
                }
            }
        }
        Ok(())
    })
}

async fn end(mut talk: Talk) {
    talk.end().await;
}

/// Begins requests and takes them back in the same breath.
pub(crate) fn rapid_reset(foe: Arc<Foe>, number: usize) -> BoxFuture<'static, io::Result<()>> {
    Box::pin(async move {
        let (way, mut streams) = (way(number), streams());
        let talk = foe.talk(way, WINDOW).await?;
        let headers = headers(LIST, foe.person.shows(way));
        loop {
            let mut all = Vec::new();
            for stream in streams.by_ref().take(20) {
                all.extend(frame(HEADERS, END_HEADERS, stream, &headers));
                all.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            }
            talk.say(&all).await?;
            foe.has_struck().await;
        }
    })
}

/// Begins watches and takes them back when they have begun.
pub(crate) fn late_reset(foe: Arc<Foe>, number: usize) -> BoxFuture<'static, io::Result<()>> {
    Box::pin(async move {
        let (way, mut streams) = (way(number), streams());
        let talk = foe.talk(way, WIDE).await?;
        loop {
            let some: Vec<_> = streams.by_ref().take(100).collect();
            let watch = |stream: &u32| request(*stream, WATCH, foe.person.shows(way), &[]);
            talk.say(&some.iter().flat_map(watch).collect::<Vec<_>>()).await?;
            a_moment(Duration::from_millis(5)).await;
            let reset = |stream: &u32| frame(RST_STREAM, 0, *stream, &8_u32.to_be_bytes());
            talk.say(&some.iter().flat_map(reset).collect::<Vec<_>>()).await?;
            foe.has_struck().await;
        }
    })
}

/// Headers without an end: large ones, small ones, none.
pub(crate) fn headers_without_end(foe: Arc<Foe>, number: usize) -> BoxFuture<'static, io::Result<()>> {
    Box::pin(async move {
        let talk = foe.talk(way(number), WINDOW).await?;
        talk.say(&frame(HEADERS, 0, 1, &headers(LIST, None))).await?;
        let more = match number / 2 % 3 {
            0 => header("x-more", &"x".repeat(16_000)),
            1 => header("x-more", "x"),
            _ => Vec::new(),
        };
        let more = frame(CONTINUATION, 0, 1, &more).repeat(10);
        loop {
            talk.say(&more).await?;
            foe.has_struck().await;
        }
    })
}

/// Asks for large answers, and takes nothing of them, or one byte of each; or does not even listen.
pub(crate) fn unread(foe: Arc<Foe>, number: usize) -> BoxFuture<'static, io::Result<()>> {
    Box::pin(async move {
        let way = way(number);
        let talk = match number / 2 % 3 {
            0 => foe.talk(way, 0).await?,
            1 => foe.talk(way, 1).await?,
            _ => Talk::deaf(foe.person.connect(way).await?, WIDE).await?,
        };
        for stream in streams().take(STREAMS_MAX) {
            talk.say(&request(stream, PACKAGES, foe.person.shows(way), &[])).await?;
            foe.struck();
        }
        end(talk).await;
        Ok(())
    })
}

/// As many watches as there may be, and more.
pub(crate) fn endless(foe: Arc<Foe>, number: usize) -> BoxFuture<'static, io::Result<()>> {
    Box::pin(async move {
        let way = way(number);
        let talk = foe.talk(way, WINDOW).await?;
        for stream in streams().take(STREAMS_MAX) {
            talk.say(&request(stream, WATCH, foe.person.shows(way), &[])).await?;
            foe.struck();
        }
        end(talk).await;
        Ok(())
    })
}

/// Frames that cost their sender nothing: pings, settings, windows, priorities, pieces of a message with nothing in them. A few do not listen to what is
/// answered.
pub(crate) fn floods(foe: Arc<Foe>, number: usize) -> BoxFuture<'static, io::Result<()>> {
    Box::pin(async move {
        let way = way(number);
        let talk = if number % 12 >= 10 {
            Talk::deaf(foe.person.connect(way).await?, WINDOW).await?
        } else {
            foe.talk(way, WINDOW).await?
        };
        let one = match number / 2 % 5 {
            0 => frame(PING, 0, 0, &[7; 8]),
            1 => frame(SETTINGS, 0, 0, &[]),
            2 => frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
            3 => frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
            _ => {
                talk.say(&frame(HEADERS, END_HEADERS, 1, &headers(LIST, foe.person.shows(way)))).await?;
                frame(DATA, 0, 1, &[])
            }
        };
        let many = one.repeat(200);
        loop {
            talk.say(&many).await?;
            foe.has_struck().await;
        }
    })
}

/// Requests of nobody: without a token, as many as are answered.
pub(crate) fn strangers(foe: Arc<Foe>, _: usize) -> BoxFuture<'static, io::Result<()>> {
    Box::pin(async move {
        let mut streams = streams();
        let talk = foe.talk(Way::Network, WIDE).await?;
        loop {
            for path in [WATCH, LIST, HEALTH, REFLECTION] {
                talk.say(&request(streams.next().unwrap(), path, None, &[])).await?;
                foe.has_struck().await;
            }
            tokio::task::yield_now().await;
        }
    })
}

/// Messages as large as they may be, all but their last byte, on as many requests as there may be: of the contract, and of what stands beside it.
pub(crate) fn huge(foe: Arc<Foe>, number: usize) -> BoxFuture<'static, io::Result<()>> {
    Box::pin(async move {
        let way = way(number);
        let path = [LIST, HEALTH, REFLECTION][number / 2 % 3];
        let (client, connection) =
            h2::client::handshake(foe.person.connect(way).await?).await.map_err(io::Error::other)?;
        let mut all = JoinSet::new();
        all.spawn(async move { connection.await.unwrap_or_default() });
        for _ in 0..STREAMS_MAX {
            let mut request = http::Request::post(format!("http://settled{path}"))
                .header("te", "trailers")
                .header("content-type", "application/grpc");
            if let Some(token) = foe.person.shows(way) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let mut client = client.clone().ready().await.map_err(io::Error::other)?;
            let request = request.body(()).unwrap();
            let (answer, body) = client.send_request(request, false).map_err(io::Error::other)?;
            let foe = Arc::clone(&foe);
            all.spawn(async move {
                pour(body, MESSAGE_BYTES_MAX - 1).await;
                foe.struck();
                answer.await.map(drop).unwrap_or_default();
            });
        }
        // Over when everything was refused, or the connection has ended.
        while all.join_next().await.is_some() {}
        Ok(())
    })
}

/// Sends so many bytes of the largest message, as fast as they are taken.
async fn pour(mut body: h2::SendStream<bytes::Bytes>, mut bytes: usize) {
    let head = bytes::Bytes::copy_from_slice(&announced(MESSAGE_BYTES_MAX));
    if body.send_data(head, false).is_err() {
        return;
    }
    while bytes > 0 {
        body.reserve_capacity(bytes.min(64 << 10));
        let Some(Ok(room)) = std::future::poll_fn(|cx| body.poll_capacity(cx)).await else { return };
        let piece = room.min(bytes);
        if body.send_data(vec![0; piece].into(), false).is_err() {
            return;
        }
        bytes -= piece;
    }
}
