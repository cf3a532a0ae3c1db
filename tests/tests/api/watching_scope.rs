//! P14 for streams: what a caller whose role holds on some servers is told of them, and that a stream ends with the right to read it.

use std::collections::BTreeSet;

use settled::auth::{Grants, Role};
use settled_proto::v1::runs_client::RunsClient;
use settled_proto::v1::transitions_client::TransitionsClient;
use settled_proto::v1::watch_request::Start;
use settled_proto::v1::watch_response::Event;
use settled_proto::v1::{
    Change, FollowRunRequest, Kind, Position, Transition, UpdateServerRequest, WatchFilter, WatchRequest,
    WatchResponse,
};
use settled_tests::engine::{Served, install};
use settled_tests::server::fresh_id;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::door::open_to_all;
use crate::scopes::{channel_of, labelled, scope};
use crate::soon;

/// Who has a role on some servers.
const ANN: u32 = 50_001;

fn give(api: &Served, selectors: &[&str]) {
    let mut grants = Grants::default();
    grants.user_on(ANN, Role::Viewer, scope(selectors));
    api.gate.replace(grants);
}

/// An API on which Ann sees what is in production, and her channel.
async fn served() -> (Served, Channel) {
    let api = Served::start().await;
    open_to_all(&api);
    give(&api, &["label:env=prod"]);
    let channel = channel_of(&api, ANN).await;
    (api, channel)
}

async fn relabel(api: &Served, server: &str, env: &str) {
    let relabel = UpdateServerRequest {
        request_id: fresh_id(),
        server: server.to_owned(),
        set_labels: [("env".to_owned(), env.to_owned())].into(),
        ..UpdateServerRequest::default()
    };
    api.servers().update(relabel).await.unwrap();
}

/// The ids of a resource on web1, and of its run.
async fn installed(api: &Served, name: &str) -> [String; 2] {
    let answer = api.resources().install(install(&fresh_id(), "web1", name)).await.unwrap().into_inner();
    [answer.resource.unwrap().id, answer.run.unwrap().id]
}

async fn watch(
    channel: &Channel,
    start: Start,
    filters: Vec<WatchFilter>,
) -> Result<Streaming<WatchResponse>, Status> {
    let request = WatchRequest { start: Some(start), filters };
    Ok(TransitionsClient::new(channel.clone()).watch(request).await?.into_inner())
}

/// What is told until a position that is this or a later one.
async fn until(watch: &mut Streaming<WatchResponse>, seq: u64) -> Vec<Transition> {
    let reading = async {
        let mut told = Vec::new();
        loop {
            let seen = watch.message().await.expect("it goes on").expect("it has no end");
            let is_there = seen.position.is_some_and(|position| position.seq >= seq);
            if let Some(Event::Transition(transition)) = seen.event {
                told.push(transition);
            }
            if is_there {
                return told;
            }
        }
    };
    soon("the position", reading).await
}

/// Where the watcher is now.
async fn position(channel: &Channel) -> Position {
    let mut watch = watch(channel, Start::FromNow(true), Vec::new()).await.unwrap();
    let first = soon("the bookmark", watch.message()).await.unwrap().unwrap();
    first.position.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_p10_a_watch_tells_of_the_scope_alone_and_what_leaves_it_is_gone() {
    let (api, channel) = served().await;
    for (name, env) in [("web1", "prod"), ("web2", "test")] {
        labelled(&api, name, env).await;
        api.resources().install(install(&format!("{name}-a"), name, "a")).await.unwrap();
    }
    let mut told = watch(&channel, Start::Snapshot(true), Vec::new()).await.unwrap();
    let first = until(&mut told, 0).await;
    let web1 = api.server_id("web1").await.to_string();
    assert!(first.iter().all(|told| told.server_id == web1), "{first:?}");
    assert_eq!(first.len(), 4, "the server, its resource and two runs: {first:?}");

    // What is not seen brings nothing, and what leaves the scope is gone with all that is on it.
    api.resources().install(install("web2-b", "web2", "b")).await.unwrap();
    relabel(&api, "web1", "test").await;
    let end = position(&channel).await.seq;
    let then = until(&mut told, end).await;
    assert!(then.iter().all(|told| told.change() == Change::Gone && told.server_id == web1), "{then:?}");
    let kinds: BTreeSet<_> = then.iter().map(|told| told.kind() as i32).collect();
    assert_eq!(kinds, [Kind::Server as i32, Kind::Resource as i32, Kind::Run as i32].into());

    // Whoever is not seen cannot be asked for, and enrollments are shown to nobody who does not see all.
    let of = |server: &str| vec![WatchFilter { server: server.to_owned(), ..WatchFilter::default() }];
    let refused = watch(&channel, Start::FromNow(true), of("web2")).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::NotFound, "there is no server `web2`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_a_watch_from_the_past_tells_what_was_in_the_scope_then_and_nothing_that_came_later() {
    let (api, channel) = served().await;
    labelled(&api, "web1", "test").await;
    let begin = position(&channel).await;
    relabel(&api, "web1", "prod").await;
    let inside = installed(&api, "a").await;
    relabel(&api, "web1", "test").await;
    let outside = installed(&api, "b").await;
    let end = position(&channel).await.seq;

    let mut stream = watch(&channel, Start::Since(begin.clone()), Vec::new()).await.unwrap();
    let told = until(&mut stream, end).await;
    let ids: BTreeSet<_> = told.iter().map(|told| told.object_id.as_str()).collect();
    assert!(inside.iter().all(|id| ids.contains(id.as_str())), "{told:?}");
    assert!(!outside.iter().any(|id| ids.contains(id.as_str())), "{told:?}");
    let (gone, before): (Vec<_>, Vec<_>) = told.iter().partition(|told| told.change() == Change::Gone);
    let server = |told: &Transition| told.kind() == Kind::Server;
    assert!(gone.iter().any(|told| server(told)), "it left: {told:?}");
    assert!(
        !before.iter().any(|told| server(told)),
        "how it stands is told to nobody who does not see it any more: {told:?}"
    );
    assert!(gone.iter().any(|told| told.object_id == inside[0]), "with what was on it: {told:?}");

    // Once it is in the scope again, all of it comes.
    relabel(&api, "web1", "prod").await;
    let again = position(&channel).await.seq;
    let ids: BTreeSet<_> = until(&mut stream, again).await.into_iter().map(|told| told.object_id).collect();
    assert!(outside.iter().all(|id| ids.contains(id)), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_p10_a_position_is_good_for_nobody_who_sees_something_else() {
    let (api, channel) = served().await;
    labelled(&api, "web1", "prod").await;
    let (of_ann, of_root) = (position(&channel).await, position(&api.channel()).await);
    assert_eq!(of_ann.seq, of_root.seq);
    let refused = async |channel: &Channel, since: &Position| {
        let refused = watch(channel, Start::Since(since.clone()), Vec::new()).await.unwrap_err();
        let info = refused.get_error_details().error_info().cloned().unwrap();
        assert_eq!((refused.code(), info.reason.as_str()), (Code::OutOfRange, "POSITION_OUT_OF_RANGE"));
        info.metadata["generation"].clone()
    };
    assert_eq!(refused(&channel, &of_root).await, of_ann.generation);
    assert_eq!(refused(&api.channel(), &of_ann).await, of_root.generation);
    watch(&channel, Start::Since(of_ann.clone()), Vec::new()).await.unwrap();

    give(&api, &["label:env=test"]);
    refused(&channel, &of_ann).await;
    give(&api, &["label:env=prod"]);
    watch(&channel, Start::Since(of_ann), Vec::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_who_loses_the_right_to_read_reads_no_further() {
    let (api, channel) = served().await;
    labelled(&api, "web1", "prod").await;
    let run = api.resources().install(install("a", "web1", "a")).await.unwrap().into_inner().run.unwrap().id;
    let begin = async || {
        let watch = watch(&channel, Start::FromNow(true), Vec::new()).await.unwrap();
        let follow = FollowRunRequest { run_id: run.clone(), output_offset: 0 };
        let follow = RunsClient::new(channel.clone()).follow(follow).await.unwrap().into_inner();
        (watch, follow)
    };
    let (mut told, mut story) = begin().await;
    give(&api, &["server:web1"]);
    for ended in [end(&mut told).await, end(&mut story).await] {
        let reason = ended.get_error_details().error_info().cloned().unwrap().reason;
        assert_eq!((ended.code(), reason.as_str()), (Code::OutOfRange, "SCOPE_CHANGED"), "{ended:?}");
    }
    let (mut told, mut story) = begin().await;
    api.gate.replace(Grants::default());
    for ended in [end(&mut told).await, end(&mut story).await] {
        assert_eq!(ended.code(), Code::PermissionDenied, "{ended:?}");
        assert!(ended.message().contains("unix:50001"), "{ended:?}");
    }
}

/// With what a stream ends.
async fn end<T>(stream: &mut Streaming<T>) -> Status {
    let reading = async {
        loop {
            if let Err(status) = stream.message().await.map(|told| told.expect("it does not end well")) {
                return status;
            }
        }
    };
    soon("the end of a stream", reading).await
}
