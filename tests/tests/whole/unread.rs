//! Streams whose readers let nothing come: they stand still, and keep nothing that others need.

use settled_proto::v1::runs_client::RunsClient;
use settled_proto::v1::transitions_client::TransitionsClient;
use settled_proto::v1::watch_request::Start;
use settled_proto::v1::{CreateServerRequest, FollowRunRequest, ListRunsRequest, WatchRequest};
use settled_tests::daemon::TestDaemon;
use settled_tests::patience::WITHIN;
use settled_tests::server::Server;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status, Streaming};

/// Streams that stand still: several for each connection to the store that there is to read with.
const STREAMS: usize = 32;

/// A daemon with a run that waits for its server, which run that is, and a channel over which nothing of an answer may come but its head.
async fn house() -> (TestDaemon, String, Channel) {
    let daemon = TestDaemon::start().await;
    // Nobody listens there.
    let unreachable = CreateServerRequest { port: 1, ..Server::start().record("web") };
    let run = daemon.servers().create(unreachable).await.unwrap().into_inner().run.unwrap().id;
    let endpoint = Endpoint::from_shared(format!("unix:{}", daemon.socket().display())).unwrap();
    let closed = endpoint.initial_stream_window_size(0).connect().await.unwrap();
    (daemon, run, closed)
}

/// Others are answered while so many streams of this kind stand still.
async fn keeps_nobody_waiting<T>(
    daemon: &TestDaemon,
    open: impl AsyncFn() -> Result<Response<Streaming<T>>, Status>,
) {
    let mut standing = Vec::new();
    for _ in 0..STREAMS {
        standing.push(timeout(WITHIN, open()).await.expect("it is answered").unwrap());
    }
    for _ in 0..STREAMS {
        let asked = timeout(WITHIN, daemon.runs().list(ListRunsRequest::default())).await;
        assert_eq!(asked.expect("it is answered").unwrap().into_inner().runs.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_watches_that_nobody_reads_keep_nobody_waiting() {
    let (daemon, _, closed) = house().await;
    let watch = async || {
        let all = WatchRequest { start: Some(Start::Snapshot(true)), ..WatchRequest::default() };
        TransitionsClient::new(closed.clone()).watch(all).await
    };
    keeps_nobody_waiting(&daemon, watch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_stories_that_nobody_reads_keep_nobody_waiting() {
    let (daemon, run, closed) = house().await;
    let follow = async || {
        let story = FollowRunRequest { run_id: run.clone(), output_offset: 0 };
        RunsClient::new(closed.clone()).follow(story).await
    };
    keeps_nobody_waiting(&daemon, follow).await;
}
