//! From a request to the watchers that see its transition, beside a bare tonic stream that only passes a signal on.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use settled::clock::{Clock, SystemClock};
use settled_proto::v1::watch_response::Event;
use settled_proto::v1::{CreateServerRequest, PauseServerRequest, ResumeServerRequest, WatchRequest};
use settled_tests::daemon::Options;
use settled_tests::scripted::{Patience, Scripted};
use settled_tests::server::fresh_id;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnixListenerStream;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::Place;
use crate::report::{Report, spread};

const WATCHERS: [usize; 2] = [1, 100];
const CHANGES: usize = 100;

pub(crate) async fn watch(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    for watchers in WATCHERS {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (url, _dir) = place.fresh()?;
        let remote = Arc::new(Scripted::new(Arc::clone(&clock), Patience::Waits));
        let daemon = Options::default().set("DATABASE__URL", &url).remote(remote).start().await;
        let server = CreateServerRequest {
            request_id: fresh_id(),
            name: "one".to_owned(),
            host: "one".to_owned(),
            ..CreateServerRequest::default()
        };
        let answer = daemon.servers().create(server).await?.into_inner();
        settled_tests::server::settled(&daemon, &answer.run.map(|run| run.id).unwrap_or_default()).await;
        let (saw, mut seen) = mpsc::unbounded_channel();
        for _ in 0..watchers {
            let mut stream = daemon.transitions().watch(WatchRequest::default()).await?.into_inner();
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
        let (mut answered, mut last) = (Vec::new(), Vec::new());
        for n in 0..CHANGES {
            let (request_id, server) = (fresh_id(), "one".to_owned());
            let before = clock.monotonic();
            if n % 2 == 0 {
                daemon.servers().pause(PauseServerRequest { request_id, server }).await?;
            } else {
                daemon.servers().resume(ResumeServerRequest { request_id, server }).await?;
            }
            answered.push(clock.monotonic().saturating_sub(before));
            last.push(all_saw(&mut seen, watchers).await.saturating_sub(before));
        }
        let [answer, _] = spread(answered);
        let [p50, p99] = spread(last);
        let numbers =
            vec![("answered_p50_ms", answer.1), ("all_saw_p50_ms", p50.1), ("all_saw_p99_ms", p99.1)];
        report.add(format!("watch: {watchers} watchers"), place.name(), numbers);
        daemon.stop().await.0?;
    }
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
        let client = HealthClient::new(endpoint.connect().await?);
        reporter.set_service_status("bench", ServingStatus::NotServing).await;
        let (saw, mut seen) = mpsc::unbounded_channel();
        let watch = |mut client: HealthClient<_>| async move {
            client.watch(HealthCheckRequest { service: "bench".to_owned() }).await
        };
        for stream in try_join_all((0..watchers).map(|_| watch(client.clone()))).await? {
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
