//! From a commit to the watchers that see its transition, beside a bare tonic stream that only passes a signal on; and what a watcher costs that
//! waits, in the memory of a daemon of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use settled::clock::{Clock, SystemClock};
use settled_proto::v1::transitions_client::TransitionsClient;
use settled_proto::v1::watch_response::Event;
use settled_proto::v1::{PauseServerRequest, ResumeServerRequest, WatchRequest, WatchResponse};
use settled_tests::engine::{Served, connect};
use settled_tests::process::{Home, program};
use settled_tests::server::fresh_id;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Streaming;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::Place;
use crate::report::{Report, spread};

const WATCHERS: [usize; 3] = [1, 100, 1_000];
const CHANGES: usize = 100;
/// Watchers who wait, for the measurement of memory.
const IDLE: usize = 1_000;
/// Watchers over one connection: it takes 256 requests at once.
const STREAMS: usize = 200;

pub(crate) async fn watch(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    for watchers in WATCHERS {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (url, dir) = place.fresh()?;
        let api = Served::at(&url, dir).await;
        api.server("one").await;
        let (saw, mut seen) = mpsc::unbounded_channel();
        for mut stream in streams(api.socket(), watchers).await? {
            let (saw, clock) = (saw.clone(), Arc::clone(&clock));
            tokio::spawn(async move {
                while let Some(Ok(response)) = stream.next().await {
                    if matches!(response.event, Some(Event::Transition(_)))
                        && saw.send(clock.monotonic()).is_err()
                    {
                        return;
                    }
                }
            });
        }
        let mut committed = api.engine.hub().committed();
        let (mut answered, mut last) = (Vec::new(), Vec::new());
        for n in 0..CHANGES {
            let (request_id, server) = (fresh_id(), "one".to_owned());
            committed.mark_unchanged();
            let before = clock.monotonic();
            let asking = async {
                if n % 2 == 0 {
                    api.servers().pause(PauseServerRequest { request_id, server }).await.map(drop)
                } else {
                    api.servers().resume(ResumeServerRequest { request_id, server }).await.map(drop)
                }?;
                Ok::<_, tonic::Status>(clock.monotonic())
            };
            // The bell rings right after the commit.
            let ringing = async {
                let rang = committed.changed().await;
                rang.map(|()| clock.monotonic())
            };
            let (after, commit, saw) = tokio::join!(asking, ringing, all_saw(&mut seen, watchers));
            answered.push(after?.saturating_sub(before));
            last.push(saw.saturating_sub(commit?));
        }
        let [answer, _] = spread(answered);
        let [p50, p99] = spread(last);
        let numbers = vec![
            ("answered_p50_ms", answer.1),
            ("commit_to_last_p50_ms", p50.1),
            ("commit_to_last_p99_ms", p99.1),
        ];
        report.add(format!("watch: {watchers} watchers"), place.name(), numbers);
    }
    Ok(())
}

/// So many watches from now on, each of which has its first bookmark.
async fn streams(socket: &Path, count: usize) -> anyhow::Result<Vec<Streaming<WatchResponse>>> {
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        let client = TransitionsClient::new(connect(socket).await);
        for _ in 0..STREAMS.min(count - streams.len()) {
            let mut stream = client.clone().watch(WatchRequest::default()).await?.into_inner();
            stream.message().await?;
            streams.push(stream);
        }
    }
    Ok(streams)
}

/// The memory of a daemon, as a process of its own, before and with a thousand watchers who wait.
pub(crate) async fn idle(report: &mut Report) -> anyhow::Result<()> {
    if std::panic::catch_unwind(|| program("settled")).is_err() {
        println!("The memory of watchers is not measured: build settled as this was built");
        return Ok(());
    }
    let home = Home::new(&[]);
    let daemon = home.start();
    home.serves().await;
    // Connections first, so that what is measured is the watchers.
    drop(streams(&home.socket(), 1).await?);
    let before = daemon.resident_kb();
    let mut watching = streams(&home.socket(), IDLE).await?;
    // A bookmark of silence each: whatever a watcher that waits does, it has done.
    try_join_all(watching.iter_mut().map(Streaming::message)).await?;
    let with = daemon.resident_kb();
    let kb = |kb: u64| f64::from(u32::try_from(kb).unwrap_or(u32::MAX));
    let numbers = vec![
        ("before_kb", kb(before)),
        ("with_kb", kb(with)),
        ("each_kb", kb(with.saturating_sub(before)) / f64::from(u32::try_from(IDLE)?)),
    ];
    report.add(format!("watch: memory of {IDLE} who wait"), "sqlite", numbers);
    Ok(())
}

async fn all_saw(seen: &mut mpsc::UnboundedReceiver<Duration>, watchers: usize) -> Duration {
    let mut last = Duration::ZERO;
    for _ in 0..watchers {
        last = last.max(seen.recv().await.unwrap_or_default());
    }
    last
}

/// The health service of tonic over a unix socket: nothing is stored, nothing is read.
pub(crate) async fn bare_stream(report: &mut Report) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    for watchers in WATCHERS {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("socket");
        let listener = UnixListenerStream::new(tokio::net::UnixListener::bind(&socket)?);
        let (reporter, service) = tonic_health::server::health_reporter();
        let serving = tonic::transport::Server::builder().add_service(service).serve_with_incoming(listener);
        let serving = tokio::spawn(serving);
        let endpoint = tonic::transport::Endpoint::from_shared(format!("unix:{}", socket.display()))?;
        let mut clients = Vec::new();
        for _ in 0..watchers.div_ceil(STREAMS) {
            clients.push(HealthClient::new(endpoint.connect().await?));
        }
        reporter.set_service_status("bench", ServingStatus::NotServing).await;
        let (saw, mut seen) = mpsc::unbounded_channel();
        let watch = |mut client: HealthClient<_>| async move {
            client.watch(HealthCheckRequest { service: "bench".to_owned() }).await
        };
        for stream in try_join_all((0..watchers).map(|n| watch(clients[n / STREAMS].clone()))).await? {
            let (mut stream, saw, clock) = (stream.into_inner(), saw.clone(), Arc::clone(&clock));
            tokio::spawn(async move {
                while let Some(Ok(_)) = stream.next().await {
                    if saw.send(clock.monotonic()).is_err() {
                        return;
                    }
                }
            });
        }
        all_saw(&mut seen, watchers).await;
        let mut last = Vec::new();
        for n in 0..CHANGES {
            let status = if n % 2 == 0 { ServingStatus::Serving } else { ServingStatus::NotServing };
            let before = clock.monotonic();
            reporter.set_service_status("bench", status).await;
            last.push(all_saw(&mut seen, watchers).await.saturating_sub(before));
        }
        let [p50, p99] = spread(last);
        report.add(
            format!("raw: tonic stream, {watchers} watchers"),
            "none",
            vec![("all_saw_p50_ms", p50.1), ("all_saw_p99_ms", p99.1)],
        );
        serving.abort();
    }
    Ok(())
}
