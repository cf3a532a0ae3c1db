//! What of all changes a watcher sees, and where commits end (P10).

use std::collections::{BTreeMap, BTreeSet};

use settled_proto::v1::watch_request::Start;
use settled_proto::v1::watch_response::Event;
use settled_proto::v1::{
    CancelRunRequest, Change, DeleteServerRequest, GetStatusRequest, Kind, ListRunsRequest, Position,
    UpdateServerRequest, WatchFilter, WatchRequest, WatchResponse,
};
use settled_tests::engine::{Served, install};
use settled_tests::server::fresh_id;
use tonic::Streaming;

use crate::soon;

/// What a client has: each object that it was told of and not of its end, by its id, with the number of its last change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct World(BTreeMap<String, (Kind, u64)>);

impl World {
    fn take(&mut self, response: &WatchResponse) {
        let Some(Event::Transition(t)) = &response.event else { return };
        if t.change() == Change::Gone {
            self.0.remove(&t.object_id);
        } else {
            self.0.insert(t.object_id.clone(), (t.kind(), t.seq));
        }
    }

    fn count(&self, kind: Kind) -> usize {
        self.0.values().filter(|(of, _)| *of == kind).count()
    }
}

async fn watch(api: &Served, start: Start, filters: &[WatchFilter]) -> Streaming<WatchResponse> {
    let request = WatchRequest { start: Some(start), filters: filters.to_vec() };
    api.transitions().watch(request).await.unwrap().into_inner()
}

async fn next(stream: &mut Streaming<WatchResponse>) -> WatchResponse {
    soon("an event", stream.message()).await.expect("the stream goes on").expect("the stream has no end")
}

/// Everything up to what says that this position was looked at.
async fn until(stream: &mut Streaming<WatchResponse>, seq: u64) -> Vec<WatchResponse> {
    let reading = async {
        let mut seen = Vec::new();
        loop {
            let response = next(stream).await;
            let there = response.position.as_ref().is_some_and(|position| position.seq >= seq);
            seen.push(response);
            if there {
                return seen;
            }
        }
    };
    soon("the position", reading).await
}

async fn now(api: &Served) -> Position {
    let status = api.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner();
    Position { generation: status.generation, seq: status.seq }
}

fn site(place: &str) -> WatchFilter {
    WatchFilter { labels: [("site".to_owned(), place.to_owned())].into(), ..WatchFilter::default() }
}

fn server(name: &str) -> WatchFilter {
    WatchFilter { server: name.to_owned(), ..WatchFilter::default() }
}

/// Gives a server this label; an empty one takes it off.
async fn label(api: &Served, name: &str, place: &str) {
    let mut update = UpdateServerRequest {
        request_id: fresh_id(),
        server: name.to_owned(),
        ..UpdateServerRequest::default()
    };
    if place.is_empty() {
        update.remove_labels.push("site".to_owned());
    } else {
        update.set_labels.insert("site".to_owned(), place.to_owned());
    }
    api.servers().update(update).await.unwrap();
}

async fn tasks(api: &Served, server: &str, count: usize) {
    for _ in 0..count {
        let id = fresh_id();
        api.resources().install(install(&id, server, &id.to_lowercase())).await.unwrap();
    }
}

async fn snapshot(api: &Served, filters: &[WatchFilter]) -> World {
    let mut stream = watch(api, Start::Snapshot(true), filters).await;
    let mut world = World::default();
    for response in until(&mut stream, 0).await {
        assert!(response.position.is_none() || response.commit_complete);
        world.take(&response);
    }
    world
}

#[tokio::test]
async fn p10_several_filters_are_one_stream_in_order() {
    let api = Served::start().await;
    let start = Start::Since(Position { seq: 0, ..now(&api).await });
    for name in ["a", "b", "c"] {
        api.server(name).await;
        tasks(&api, name, 3).await;
    }
    label(&api, "b", "oslo").await;
    tasks(&api, "b", 5).await;
    let end = now(&api).await.seq;
    let of_b = WatchFilter { kinds: vec![Kind::Run.into()], ..server("b") };
    let filters = [server("a"), of_b.clone(), site("oslo"), of_b];
    let mut stream = watch(&api, start.clone(), &filters).await;
    let seen = until(&mut stream, end).await;
    let transitions = |seen: Vec<WatchResponse>| {
        let of = |response: WatchResponse| match response.event {
            Some(Event::Transition(t)) => Some(t),
            _ => None,
        };
        seen.into_iter().filter_map(of)
    };
    let (held, told): (Vec<_>, Vec<_>) = transitions(seen).partition(|t| t.change() == Change::Snapshot);
    assert!(told.windows(2).all(|pair| pair[0].seq < pair[1].seq), "in order, and each once");

    let mut all = watch(&api, start, &[]).await;
    let ids: BTreeMap<_, _> = [("a", api.server_id("a").await), ("b", api.server_id("b").await)]
        .map(|(n, id)| (n, id.to_string()))
        .into();
    let mut is_labelled = false;
    let mut expected = Vec::new();
    for t in transitions(until(&mut all, end).await) {
        // The change itself comes as part of the entrance.
        let enters = t.kind() == Kind::Server && t.old_labels.is_some();
        is_labelled |= enters;
        let of_b = t.server_id == ids["b"] && (t.kind() == Kind::Run || is_labelled && !enters);
        // What came with the server holds it already.
        let is_held = held.iter().any(|held| held.object_id == t.object_id && held.seq >= t.seq);
        if (t.server_id == ids["a"] || of_b) && !is_held {
            expected.push(t.seq);
        }
    }
    assert_eq!(told.iter().map(|t| t.seq).collect::<Vec<_>>(), expected);
    // The server itself and its tasks; its runs were seen before.
    assert_eq!(held.len(), 1 + 3 + 5);
    let once = snapshot(&api, &filters).await;
    assert_eq!(once, snapshot(&api, &[server("a"), server("b")]).await);
}

#[tokio::test]
async fn a_snapshot_tells_each_object_once_however_many_filters_match_it() {
    let api = Served::start().await;
    for name in ["a", "b"] {
        api.server(name).await;
        label(&api, name, "oslo").await;
        tasks(&api, name, 40).await;
    }
    let package = WatchFilter { package: "scheduled_task".to_owned(), ..WatchFilter::default() };
    let filters = [site("oslo"), server("a"), WatchFilter::default(), package.clone()];
    let mut stream = watch(&api, Start::Snapshot(true), &filters).await;
    let told = until(&mut stream, 0).await;
    let ids: BTreeSet<_> = told
        .iter()
        .filter_map(|response| match &response.event {
            Some(Event::Transition(t)) => Some(t.object_id.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(ids.len(), told.len() - 1, "all but the bookmark are objects, and none comes twice");
    // Two servers, their registrations, 40 tasks on each with a run.
    assert_eq!(ids.len(), 2 * (1 + 1 + 40 + 40));
    let packaged = snapshot(&api, &[package]).await;
    assert_eq!(
        (packaged.count(Kind::Server), packaged.count(Kind::Resource), packaged.count(Kind::Run)),
        (0, 80, 80)
    );
    let labelled = snapshot(&api, &[site("oslo")]).await;
    assert_eq!(labelled.0.len(), ids.len());
    assert_eq!(snapshot(&api, &[site("berlin")]).await, World::default());
}

#[tokio::test]
async fn p10_a_server_that_loses_its_label_is_gone_with_all_that_is_on_it() {
    let api = Served::start().await;
    let start = Position { seq: 0, ..now(&api).await };
    for name in ["a", "b"] {
        api.server(name).await;
        label(&api, name, "oslo").await;
        // More than one page of what leaves.
        tasks(&api, name, 300).await;
    }
    let filters = [site("oslo"), WatchFilter { kinds: vec![Kind::Resource.into()], ..server("b") }];
    let mut stream = watch(&api, Start::Snapshot(true), &filters).await;
    let mut world = World::default();
    for response in until(&mut stream, 0).await {
        world.take(&response);
    }
    assert_eq!(world, snapshot(&api, &[server("a"), server("b")]).await);

    label(&api, "a", "berlin").await;
    let seq = now(&api).await.seq;
    let left = until(&mut stream, seq).await;
    for response in &left[..left.len() - 1] {
        let Some(Event::Transition(t)) = &response.event else { panic!("{response:?}") };
        assert_eq!((t.change(), t.seq, t.object.as_ref()), (Change::Gone, seq, None), "only that it is gone");
        assert!(response.position.is_none() && !response.commit_complete);
        assert!(world.0.contains_key(&t.object_id), "it was told before: {t:?}");
        world.take(response);
    }
    let end = left.last().unwrap();
    assert!(matches!(end.event, Some(Event::Bookmark(_))) && end.commit_complete, "{end:?}");
    assert_eq!(world, snapshot(&api, &[server("b")]).await);
    assert_eq!(left.len(), 1 + 1 + 1 + 2 * 300);

    // What another filter asks for stays.
    label(&api, "b", "").await;
    let seq = now(&api).await.seq;
    for response in until(&mut stream, seq).await {
        world.take(&response);
    }
    assert_eq!((world.count(Kind::Resource), world.0.len()), (300, 300));
    // And nothing more is heard of the one that left.
    tasks(&api, "a", 2).await;
    label(&api, "a", "rome").await;
    let seq = now(&api).await.seq;
    let heard = until(&mut stream, seq).await;
    assert!(heard.iter().all(|response| matches!(response.event, Some(Event::Bookmark(_)))), "{heard:?}");

    // Whoever reads all of it later comes to the same, whatever the labels are by then.
    let mut world = World::default();
    let mut stream = watch(&api, Start::Since(start), &filters).await;
    for response in until(&mut stream, seq).await {
        world.take(&response);
    }
    assert_eq!((world.count(Kind::Resource), world.0.len()), (300, 300));
}

#[tokio::test]
async fn p10_resuming_within_an_entrance_repeats_it() {
    let api = Served::start().await;
    api.server("a").await;
    tasks(&api, "a", 100).await;
    api.server("b").await;
    label(&api, "b", "oslo").await;
    let filters = [site("oslo")];
    let begin = now(&api).await;
    let mut whole = watch(&api, Start::Since(begin.clone()), &filters).await;
    label(&api, "a", "oslo").await;
    let seq = now(&api).await.seq;
    tasks(&api, "a", 1).await;
    let end = now(&api).await.seq;
    let all = until(&mut whole, end).await;
    let held = |seen: &[WatchResponse]| {
        let snapshot = |response: &&WatchResponse| matches!(&response.event, Some(Event::Transition(t)) if t.change() == Change::Snapshot);
        seen.iter().filter(snapshot).count()
    };
    assert!(held(&all) >= 1 + 1 + 100 + 100, "the server with its registration, and each task with its run");
    for cut in [1, 50, 150] {
        let mut stream = watch(&api, Start::Since(begin.clone()), &filters).await;
        let mut position = begin.clone();
        let mut world = World::default();
        for _ in 0..cut {
            let response = next(&mut stream).await;
            world.take(&response);
            position = response.position.unwrap_or(position);
        }
        assert_eq!(position, begin, "there is nothing to go on from within");
        drop(stream);
        let mut stream = watch(&api, Start::Since(position), &filters).await;
        let again = until(&mut stream, end).await;
        for response in &again {
            world.take(response);
        }
        assert!(held(&again) >= 1 + 1 + 100 + 100);
        // All that is on it; of the other one nothing has changed.
        assert_eq!(world, snapshot(&api, &[server("a")]).await);
    }
    // From its end on it does not come again.
    let mut after = watch(&api, Start::Since(Position { seq, ..begin }), &filters).await;
    assert_eq!(held(&until(&mut after, end).await), 0);
}

#[tokio::test]
async fn p10_what_goes_while_its_server_leaves_is_told_too() {
    let api = Served::start().await;
    let b = api.server("b").await;
    label(&api, "b", "oslo").await;
    tasks(&api, "b", 3).await;
    let filters = [site("oslo")];
    let begin = now(&api).await;
    let mut world = snapshot(&api, &filters).await;
    assert_eq!(world.0.len(), 1 + 1 + 2 * 3);
    label(&api, "b", "berlin").await;
    // By the time that somebody looks, the server is gone altogether, and its runs are over.
    let runs = ListRunsRequest { server: "b".to_owned(), ..ListRunsRequest::default() };
    for run in api.runs().list(runs).await.unwrap().into_inner().runs {
        api.runs().cancel(CancelRunRequest { request_id: fresh_id(), run_id: run.id }).await.unwrap();
    }
    let remove = DeleteServerRequest { request_id: fresh_id(), server: b.id, forget: true };
    api.servers().delete(remove).await.unwrap();
    let end = now(&api).await.seq;
    let mut stream = watch(&api, Start::Since(begin), &filters).await;
    for response in until(&mut stream, end).await {
        world.take(&response);
    }
    assert_eq!(world, World::default());
}

/// Installs one after the other while a client that applies only whole commits looks on over connections that break.
#[tokio::test(flavor = "multi_thread")]
async fn p10_atomic_a_client_that_applies_only_whole_commits_never_sees_half_an_install() {
    let api = Served::start().await;
    api.server("a").await;
    label(&api, "a", "oslo").await;
    let mut position = now(&api).await;
    let filters = [site("oslo"), WatchFilter { kinds: vec![Kind::Resource.into()], ..server("a") }];
    let looking = async {
        let (mut world, mut broken) = (World::default(), 0);
        while world.count(Kind::Resource) < 200 {
            let mut stream = watch(&api, Start::Since(position.clone()), &filters).await;
            let mut pending = Vec::new();
            // Each connection lives for some more responses than the one before, so the cut falls everywhere.
            for _ in 0..5 + broken % 7 {
                if world.count(Kind::Resource) == 200 {
                    break;
                }
                let response = next(&mut stream).await;
                let complete = response.commit_complete;
                pending.push(response);
                if !complete {
                    continue;
                }
                for response in &pending {
                    world.take(response);
                }
                position =
                    pending.drain(..).next_back().and_then(|last| last.position).expect("an end has a place");
                assert_eq!(world.count(Kind::Run), world.count(Kind::Resource), "each task has its run");
            }
            broken += 1;
        }
        broken
    };
    let (broken, ()) = tokio::join!(looking, tasks(&api, "a", 200));
    assert!(broken > 20, "{broken}");
}
