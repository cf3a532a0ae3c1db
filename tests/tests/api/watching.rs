//! Watching without gaps (P10).

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use settled::clock::Clock;
use settled::domain::time::Timestamp;
use settled::hub::watching::{Seen, Start as From, Wanted, WatchError, Watcher};
use settled::hub::{Next, Reading as _};
use settled::store::retention::Horizon;
use settled_proto::v1::transitions_client::TransitionsClient;
use settled_proto::v1::watch_request::Start;
use settled_proto::v1::watch_response::Event;
use settled_proto::v1::{
    CancelRunRequest, Change, GetStatusRequest, InstallRequest, Kind, Position, ResourceStatus, Transition,
    WatchFilter, WatchRequest, WatchResponse,
};
use settled_tests::engine::{Served, install};
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::soon;

async fn watch(api: &Served, request: WatchRequest) -> Result<Streaming<WatchResponse>, Status> {
    Ok(api.transitions().watch(request).await?.into_inner())
}

async fn next(stream: &mut Streaming<WatchResponse>) -> WatchResponse {
    soon("an event", stream.message()).await.expect("the stream goes on").expect("the stream has no end")
}

async fn next_change(stream: &mut Streaming<WatchResponse>) -> Transition {
    // Bookmarks come for ever, so it is the change that must come soon.
    let change = async {
        loop {
            if let Some(Event::Transition(t)) = next(stream).await.event {
                return t;
            }
        }
    };
    soon("a change", change).await
}

/// Changes up to the number `last`.
async fn changes_until(stream: &mut Streaming<WatchResponse>, last: u64) -> Vec<Transition> {
    let mut seen = Vec::new();
    loop {
        let t = next_change(stream).await;
        let seq = t.seq;
        seen.push(t);
        if seq >= last {
            return seen;
        }
    }
}

async fn now(api: &Served) -> Position {
    let status = api.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner();
    Position { generation: status.generation, seq: status.seq }
}

fn since(position: Position) -> WatchRequest {
    WatchRequest { start: Some(Start::Since(position)), ..WatchRequest::default() }
}

fn only(start: WatchRequest, filters: impl Into<Vec<WatchFilter>>) -> WatchRequest {
    WatchRequest { filters: filters.into(), ..start }
}

fn snapshot() -> WatchRequest {
    WatchRequest { start: Some(Start::Snapshot(true)), ..WatchRequest::default() }
}

/// Installs `count` tasks on `server`, many at once.
async fn install_many(api: &Served, server: &str, tag: &str, count: usize) {
    let calls = (0..count).map(|n| {
        let mut client = api.resources();
        let ask = install(&format!("{tag}{n}"), server, &format!("{tag}{n}"));
        async move { client.install(ask).await.expect("the install is accepted") }
    });
    futures::future::join_all(calls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_snapshot_and_what_follows_it_have_no_gap_while_200_installs_are_committed() {
    let api = Served::start().await;
    api.server("web1").await;
    install_many(&api, "web1", "before", 300).await;

    let watching = async {
        let mut stream = watch(&api, snapshot()).await.unwrap();
        let (mut world, mut complete, mut created) = (BTreeMap::new(), None, 0);
        while created < 500 {
            let response = next(&mut stream).await;
            match response.event.unwrap() {
                Event::Bookmark(b) if b.snapshot_complete => complete = response.position,
                Event::Bookmark(_) => {}
                Event::Transition(t) => {
                    let held = t.change() == Change::Snapshot;
                    assert_eq!(
                        held,
                        response.position.is_none(),
                        "only an incomplete snapshot has no position"
                    );
                    assert_eq!(held, complete.is_none(), "the bookmark ends the snapshot");
                    let before = world.insert(t.object_id.clone(), t.seq);
                    assert!(before.is_none_or(|seq| seq < t.seq), "{t:?} after {before:?}");
                    created += usize::from(t.kind() == Kind::Resource && before.is_none());
                }
            }
        }
        // The last install's run comes with it, in the same commit.
        while world.len() < 1 + 1 + 2 * 500 {
            let t = next_change(&mut stream).await;
            world.insert(t.object_id.clone(), t.seq);
        }
        world
    };
    let (world, ()) = tokio::join!(watching, install_many(&api, "web1", "during", 200));

    let mut truth = watch(&api, snapshot()).await.unwrap();
    let mut expected = BTreeMap::new();
    while let Event::Transition(t) = next(&mut truth).await.event.unwrap() {
        expected.insert(t.object_id, t.seq);
    }
    assert_eq!(world, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_resuming_from_any_position_shows_each_transition_once_in_order() {
    let api = Served::start().await;
    let start = Position { seq: 0, ..now(&api).await };
    api.server("web1").await;
    install_many(&api, "web1", "t", 300).await;
    let end = now(&api).await;
    assert!(end.seq > 600);
    let mut stream = watch(&api, since(start.clone())).await.unwrap();
    let all = changes_until(&mut stream, end.seq).await;
    let numbers: Vec<u64> = all.iter().map(|t| t.seq).collect();
    assert_eq!(numbers, (1..=end.seq).collect::<Vec<_>>());

    for from in [1, 255, 256, 257, 511, 512, end.seq - 1] {
        let mut stream = watch(&api, since(Position { seq: from, ..start.clone() })).await.unwrap();
        let rest = changes_until(&mut stream, end.seq).await;
        let at = usize::try_from(from).unwrap();
        assert_eq!(rest, all[at..], "from {from}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_two_watchers_see_the_same_and_a_slow_one_loses_nothing() {
    let api = Served::start().await;
    api.server("web1").await;
    let mut slow = watch(&api, WatchRequest::default()).await.unwrap();
    let mut swift = watch(&api, WatchRequest::default()).await.unwrap();
    let begin = next(&mut slow).await.position.unwrap();
    assert_eq!(next(&mut swift).await.position.unwrap(), begin);
    let (swift_saw, ()) =
        tokio::join!(changes_until(&mut swift, begin.seq + 600), install_many(&api, "web1", "t", 300));
    // The slow one has not read a byte until now.
    let slow_saw = changes_until(&mut slow, begin.seq + 600).await;
    assert_eq!(slow_saw, swift_saw);
    let numbers: Vec<u64> = slow_saw.iter().map(|t| t.seq).collect();
    assert_eq!(numbers, (begin.seq + 1..=begin.seq + 600).collect::<Vec<_>>());
}

#[tokio::test]
async fn p10_a_position_that_cannot_be_resumed_is_out_of_range_and_the_oldest_is_told() {
    let api = Served::start().await;
    api.server("web1").await;
    let last = now(&api).await;
    let future = Position { seq: last.seq + 1, ..last.clone() };
    let far = Position { seq: u64::MAX, ..last.clone() };
    let foreign = Position { generation: "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(), seq: 0 };
    for position in [future, far, foreign] {
        let status = watch(&api, since(position.clone())).await.unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange, "{position:?}");
        let info = status.get_error_details().error_info().cloned().unwrap();
        assert_eq!(
            (info.metadata["generation"].as_str(), info.metadata["oldest_seq"].as_str()),
            (last.generation.as_str(), "0")
        );
    }
}

#[tokio::test]
async fn p10_what_was_compacted_is_out_of_range_also_for_a_watcher_on_its_way() {
    const GONE: u64 = 900;
    let api = Served::start().await;
    let origin = Position { seq: 0, ..now(&api).await };
    api.server("web1").await;
    install_many(&api, "web1", "t", 500).await;
    // A reader with little room: the daemon cannot send it much ahead of what it reads.
    let endpoint = Endpoint::from_shared(format!("unix:{}", api.socket().display())).unwrap();
    let channel = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let mut client = TransitionsClient::new(channel.connect().await.unwrap());
    let mut reading = client.watch(since(origin.clone())).await.unwrap().into_inner();
    assert_eq!(next_change(&mut reading).await.seq, 1);

    let horizon = Horizon {
        runs: Timestamp(0),
        transitions: api.engine.clock().now(),
        requests: Timestamp(0),
        audit: Timestamp(0),
    };
    api.engine.expire(horizon, i64::try_from(GONE).unwrap()).await.unwrap();
    let status = watch(&api, since(origin.clone())).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    let oldest = status.get_error_details().error_info().unwrap().metadata["oldest_seq"].clone();
    let oldest: u64 = oldest.parse().unwrap();
    assert!(oldest.abs_diff(GONE) <= 1, "{oldest}");

    // What was read for it already it gets; then it is told, instead of missing something.
    let mut expected = 2;
    let status = loop {
        match soon("an event or the end", reading.message()).await {
            Ok(Some(WatchResponse { event: Some(Event::Transition(t)), .. })) => {
                assert_eq!(t.seq, expected);
                expected += 1;
            }
            Ok(other) => panic!("{other:?} where something is missing"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(expected <= oldest);

    let before_oldest = Position { seq: oldest - 1, ..origin.clone() };
    assert_eq!(watch(&api, since(before_oldest)).await.unwrap_err().code(), Code::OutOfRange);
    let mut resumed = watch(&api, since(Position { seq: oldest, ..origin })).await.unwrap();
    assert_eq!(next_change(&mut resumed).await.seq, oldest + 1);
}

#[tokio::test]
async fn p10_filters_narrow_and_bookmarks_tell_how_far_was_looked() {
    let api = Served::start().await;
    api.server("web1").await;
    let other = api.server("web2").await;
    let filter = WatchFilter {
        server: "web2".to_owned(),
        kinds: vec![Kind::Resource.into()],
        ..WatchFilter::default()
    };
    let mut stream = watch(&api, only(WatchRequest::default(), [filter])).await.unwrap();
    let begin = next(&mut stream).await.position.unwrap();
    install_many(&api, "web1", "t", 10).await;
    let looked = now(&api).await;
    assert_eq!(looked.seq, begin.seq + 20);
    loop {
        let response = next(&mut stream).await;
        assert!(matches!(response.event, Some(Event::Bookmark(_))), "nothing of web1 is sent: {response:?}");
        if response.position.as_ref() == Some(&looked) {
            break;
        }
    }
    api.resources().install(install("x", "web2", "mine")).await.unwrap();
    let t = next_change(&mut stream).await;
    assert_eq!((t.kind(), t.server_id), (Kind::Resource, other.id));
    let nowhere = WatchFilter { server: "nowhere".to_owned(), ..WatchFilter::default() };
    assert_eq!(
        watch(&api, only(WatchRequest::default(), [nowhere])).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn a_snapshot_holds_open_runs_and_a_resources_whole_history_on_request() {
    let api = Served::start().await;
    api.server("web1").await;
    let answer = api.resources().install(install("i", "web1", "a")).await.unwrap().into_inner();
    let (resource, run) = (answer.resource.unwrap(), answer.run.unwrap());
    let cancel = CancelRunRequest { request_id: "c".to_owned(), run_id: run.id.clone() };
    api.runs().cancel(cancel).await.unwrap();
    let held = async |request: WatchRequest| {
        let mut stream = watch(&api, request).await.unwrap();
        let mut held = Vec::new();
        loop {
            match next(&mut stream).await.event.unwrap() {
                Event::Transition(t) => held.push((t.kind(), t.object_id)),
                Event::Bookmark(b) => {
                    assert!(b.snapshot_complete);
                    return held;
                }
            }
        }
    };
    let kinds = |held: Vec<(Kind, String)>| held.into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    // The registration is open, the install is over.
    assert_eq!(kinds(held(snapshot()).await), [Kind::Server, Kind::Resource, Kind::Run]);
    let of = |resource: &str| WatchFilter { resource: resource.to_owned(), ..WatchFilter::default() };
    let history = [(Kind::Resource, resource.id.clone()), (Kind::Run, run.id.clone())];
    assert_eq!(held(only(snapshot(), [of(&resource.id)])).await, history);
    assert_eq!(held(only(snapshot(), [of("web1/scheduled_task/a")])).await, history);
    let of_run = WatchFilter { run_id: run.id.clone(), ..WatchFilter::default() };
    assert_eq!(held(only(snapshot(), [of_run])).await, [(Kind::Run, run.id)]);
}

#[tokio::test]
async fn the_last_transition_of_an_object_carries_its_last_state() {
    let api = Served::start().await;
    let start = now(&api).await;
    api.server("web1").await;
    api.resources().install(install("i", "web1", "a")).await.unwrap();
    let filter = WatchFilter { kinds: vec![Kind::Resource.into()], ..WatchFilter::default() };
    let mut stream = watch(&api, only(since(start), [filter])).await.unwrap();
    let t = next_change(&mut stream).await;
    assert_eq!(t.change(), Change::Created);
    let Some(settled_proto::v1::transition::Object::Resource(resource)) = t.object else {
        panic!("no resource")
    };
    assert_eq!((resource.status(), resource.seq), (ResourceStatus::Pending, t.seq));
}

#[tokio::test]
async fn p10_a_thousand_idle_watchers_ask_the_store_for_nothing() {
    let api = Served::start().await;
    let (engine, clock) = (&api.engine, api.engine.clock());
    let mut watchers = Vec::new();
    for _ in 0..1_000 {
        let all = Wanted::new(Vec::new());
        let watcher = Watcher::begin(engine.hub(), engine.store(), all, From::Now, clock).await;
        watchers.push(watcher.unwrap());
    }
    for watcher in &mut watchers {
        seen_next(watcher, clock).await.unwrap();
    }
    // Whoever asks the store now waits, and fails in the end.
    let mut readers = Vec::new();
    let moment = Duration::from_millis(500);
    while let Ok(reader) = tokio::time::timeout(moment, engine.store().read()).await {
        readers.push(reader.unwrap());
    }
    let all = join_all(watchers.iter_mut().map(|watcher| seen_next(watcher, clock)));
    for seen in soon("word that all is well", all).await {
        assert!(matches!(seen, Ok(Seen::Bookmark { .. })), "{seen:?}");
    }
    drop(readers);
    api.server("web").await;
    let all = join_all(watchers.iter_mut().map(|watcher| seen_next(watcher, clock)));
    for seen in soon("the news", all).await {
        assert!(matches!(seen, Ok(Seen::Changed { .. })), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_what_one_watcher_has_read_is_there_for_all_who_are_as_far() {
    let api = Served::start().await;
    let (engine, clock) = (&api.engine, api.engine.clock());
    let mut watchers = Vec::new();
    for _ in 0..100 {
        let all = Wanted::new(Vec::new());
        let mut watcher = Watcher::begin(engine.hub(), engine.store(), all, From::Now, clock).await.unwrap();
        seen_next(&mut watcher, clock).await.unwrap();
        watchers.push(watcher);
    }
    api.server("web").await;
    let end = i64::try_from(now(&api).await.seq).unwrap();
    let first = told_until(&mut watchers[0], clock, end).await;
    // Whoever asks the store now waits, and fails in the end.
    let mut readers = Vec::new();
    let moment = Duration::from_millis(500);
    while let Ok(reader) = tokio::time::timeout(moment, engine.store().read()).await {
        readers.push(reader.unwrap());
    }
    let others = join_all(watchers[1..].iter_mut().map(|watcher| told_until(watcher, clock, end)));
    for told in soon("the news", others).await {
        assert_eq!(told, first);
    }
}

/// What a watcher is told next.
async fn seen_next(watcher: &mut Watcher, clock: &dyn Clock) -> Result<Seen, WatchError> {
    loop {
        match watcher.next(clock)? {
            Next::Tell(seen) => return Ok(seen),
            Next::Look => watcher.look(clock).await?,
            Next::Wait => watcher.wait(clock).await,
        }
    }
}

/// The numbers of the changes that are told up to this one.
async fn told_until(watcher: &mut Watcher, clock: &dyn Clock, end: i64) -> Vec<i64> {
    let mut told = Vec::new();
    while told.last() != Some(&end) {
        if let Seen::Changed { row, .. } = seen_next(watcher, clock).await.unwrap() {
            told.push(row.seq);
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_hundred_slow_watchers_of_large_objects_keep_little_together_and_lose_nothing() {
    /// What the shelf holds at most, and the page that was read last.
    const KEPT_MAX: usize = (64 << 20) + (2 << 20);
    /// Bytes of each parameter of a resource.
    const LARGE: usize = 16_000;
    let api = Served::start().await;
    let start = now(&api).await;
    api.server("web1").await;
    for n in 0..24 {
        let large = InstallRequest {
            package: "script".to_owned(),
            parameters: ["setup", "check", "teardown"]
                .map(|name| (name.to_owned(), "x".repeat(LARGE)))
                .into(),
            ..install(&format!("{n}"), "web1", &format!("t{n}"))
        };
        api.resources().install(large).await.unwrap();
    }
    let end = i64::try_from(now(&api).await.seq).unwrap();
    let (engine, clock) = (&api.engine, api.engine.clock());
    let mut watchers = Vec::new();
    for n in 0..100 {
        let from =
            || From::Since { generation: start.generation.clone(), seq: i64::try_from(start.seq).unwrap() };
        let from = if n % 2 == 0 { From::Snapshot } else { from() };
        let all = Wanted::new(Vec::new());
        let mut watcher = Watcher::begin(engine.hub(), engine.store(), all, from, clock).await.unwrap();
        let mut first = Vec::new();
        for _ in 0..3 {
            first.push(seen_next(&mut watcher, clock).await.unwrap());
        }
        watchers.push((watcher, first));
        assert!(engine.hub().shelf().bytes() <= KEPT_MAX, "{}", engine.hub().shelf().bytes());
    }
    assert!(engine.hub().shelf().bytes() > KEPT_MAX / 2, "they do keep something");
    for (watcher, seen) in &mut watchers {
        loop {
            match seen_next(watcher, clock).await.unwrap() {
                Seen::Bookmark { seq, .. } if seq == end => break,
                last @ Seen::Changed { position: Some(seq), .. } if seq == end => {
                    seen.push(last);
                    break;
                }
                more => seen.push(more),
            }
        }
        assert!(engine.hub().shelf().bytes() <= KEPT_MAX);
        let changes = seen.iter().filter_map(|seen| match seen {
            Seen::Changed { row, .. } => Some(row.seq),
            _ => None,
        });
        let changes: Vec<_> = changes.collect();
        let held = seen.iter().filter(|seen| matches!(seen, Seen::Held(_))).count();
        let all: Vec<_> = (i64::try_from(start.seq).unwrap() + 1..=end).collect();
        // A server with its registration, and each task with its run.
        assert!(
            changes == all && held == 0 || changes.is_empty() && held == 2 + 2 * 24,
            "{changes:?} {held}"
        );
    }
    drop(watchers);
    assert_eq!(engine.hub().shelf().bytes(), 0);
}
