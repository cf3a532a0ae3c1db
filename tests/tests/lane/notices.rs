//! What notifiers are told of: ends of runs, runs that fall silent or never start, servers, lanes and drift; each once.

use std::collections::BTreeMap;

use settled::domain::notice::{Notice, NoticeEvent, Wanted};
use settled::domain::turn::Turn;
use settled::engine::{Install, NewNotifier, Way};
use settled::store::notices::DeliveryFilter;
use settled_tests::scripted::{End, Play};
use settled_tests::sim::World;

use super::{seconds, world};

/// Somebody who wants to hear of everything.
async fn listened(w: &mut World) {
    let asked = w.asked("Admin.CreateNotifier");
    let events = NoticeEvent::ALL.iter().copied().filter(|event| event.can_be_asked_for()).collect();
    let (labels, packages) = (BTreeMap::new(), std::collections::BTreeSet::new());
    let secret = b"sixteen bytes, or more".to_vec().into();
    let new = NewNotifier {
        name: "all".to_owned(),
        way: Way::Webhook { url: "https://example.org/hook".to_owned(), plain: false, secret },
        wanted: Wanted { events, labels, packages },
    };
    w.daemon.engine.create_notifier(asked, new).await.unwrap();
}

/// What was told, oldest first.
async fn told(w: &World) -> Vec<Notice> {
    let mut reader = w.daemon.engine.store().read().await.unwrap();
    let rows = reader.db().deliveries(&DeliveryFilter::default(), None, 1_000).await.unwrap();
    rows.iter().rev().map(|row| row.notice().unwrap()).collect()
}

async fn events(w: &World) -> Vec<&'static str> {
    told(w).await.iter().map(|notice| notice.event.as_str()).collect()
}

async fn look(w: &mut World) {
    let asked = w.asked("Resources.Probe");
    let answer = w.daemon.engine.probe_resource(asked, "alpha/thing/one".to_owned()).await.unwrap();
    let run = answer.run.unwrap().id.parse().unwrap();
    Box::pin(w.end(run, seconds(60))).await.unwrap();
}

#[tokio::test]
async fn the_end_of_each_run_is_told_once_and_a_look_only_by_what_it_finds() {
    let mut w = world(&["alpha"]).await;
    listened(&mut w).await;
    let first = w.install("alpha", "thing", "one").await.unwrap();
    w.end(first, seconds(30)).await.unwrap();
    w.remote.script("two", [Play::exit(1)]);
    let second = w.install("alpha", "thing", "two").await.unwrap();
    w.end(second, seconds(4_000)).await.unwrap();
    assert_eq!(events(&w).await, ["run_succeeded", "run_failed"], "attempts are no ends");
    let last = told(&w).await.pop().unwrap();
    assert_eq!((last.run, last.resource.as_deref()), (Some(second), Some("two")));
    assert!(!last.detail.is_empty(), "{last:?}");

    look(&mut w).await;
    w.remote.put("alpha", "one", "8");
    look(&mut w).await;
    look(&mut w).await;
    w.remote.put("alpha", "one", "1");
    look(&mut w).await;
    assert_eq!(events(&w).await[2..], ["resource_drifted", "resource_agrees"]);
    assert_eq!(told(&w).await[2].detail, "version is `8`, not `1`");
}

#[tokio::test]
async fn a_run_that_falls_silent_is_told_once_also_across_a_restart_and_then_that_it_never_started() {
    let mut w = world(&["alpha"]).await;
    listened(&mut w).await;
    w.go(seconds(60)).await.unwrap();
    let asked = w.asked("Servers.Pause");
    w.daemon.engine.pause_server(asked, "alpha".to_owned()).await.unwrap();
    let asked = w.asked("Resources.Install");
    let ask = Install {
        server: "alpha".to_owned(),
        package: "thing".to_owned(),
        name: "one".to_owned(),
        parameters: BTreeMap::new(),
        secrets: BTreeMap::new(),
        turn: Turn { limit: Some(seconds(3_600)), ..Turn::default() },
        with_requirements: false,
    };
    let answer = w.daemon.engine.install(asked, ask).await.unwrap();
    let id = answer.run.unwrap().id.parse().unwrap();
    w.go(seconds(1_790)).await.unwrap();
    assert_eq!(events(&w).await, Vec::<&str>::new(), "half of its limit is not over");
    w.go(seconds(60)).await.unwrap();
    assert_eq!(events(&w).await, ["run_stuck"]);
    let seq = w.run(id).await.unwrap().seq;
    w.restart().await.unwrap();
    w.go(seconds(300)).await.unwrap();
    assert_eq!(events(&w).await, ["run_stuck"], "once");
    assert_eq!(w.run(id).await.unwrap().seq, seq, "being told of is no change");
    w.end(id, seconds(3_600)).await.unwrap();
    assert_eq!(events(&w).await, ["run_stuck", "run_never_started"]);
    let told = told(&w).await;
    assert!(told.iter().all(|notice| notice.run == Some(id)), "{told:#?}");
    assert!(told[0].detail.contains("nothing has happened to it"), "{}", told[0].detail);
}

#[tokio::test]
async fn a_server_that_is_away_and_comes_back_is_told_and_its_run_that_waits_is_not() {
    let mut w = world(&["alpha"]).await;
    listened(&mut w).await;
    w.remote.cut("alpha", seconds(600));
    let id = w.install("alpha", "thing", "one").await.unwrap();
    w.go(seconds(300)).await.unwrap();
    assert_eq!(events(&w).await, ["server_unreachable"]);
    w.end(id, seconds(900)).await.unwrap();
    assert_eq!(events(&w).await, ["server_unreachable", "server_back", "run_succeeded"]);
    assert_eq!(told(&w).await[0].server, "alpha");
}

#[tokio::test]
async fn a_lane_that_is_held_is_told_until_it_is_free() {
    let mut w = world(&["alpha"]).await;
    listened(&mut w).await;
    w.remote.script("work", [Play::takes(seconds(5)).ending(End::Orphan(seconds(3_000)))]);
    let id = w.install("alpha", "task", "work").await.unwrap();
    w.end(id, seconds(600)).await.unwrap();
    w.go(seconds(1_500)).await.unwrap();
    let so_far = events(&w).await;
    assert!(so_far.contains(&"run_failed") && so_far.contains(&"lane_held"), "{so_far:?}");
    let held = told(&w).await.into_iter().find(|notice| notice.event == NoticeEvent::LaneHeld).unwrap();
    assert!(held.detail.contains("is not proven to have ended"), "{}", held.detail);
    w.go(seconds(2_500)).await.unwrap();
    let all = events(&w).await;
    assert_eq!(
        all.iter().filter(|event| event.starts_with("lane_")).collect::<Vec<_>>(),
        [&"lane_held", &"lane_freed"]
    );
}

#[tokio::test]
async fn nothing_is_kept_while_there_is_nobody_to_tell() {
    let mut w = world(&["alpha"]).await;
    let id = w.install("alpha", "thing", "one").await.unwrap();
    w.end(id, seconds(30)).await.unwrap();
    assert_eq!(told(&w).await, []);
    listened(&mut w).await;
    assert_eq!(told(&w).await, [], "what was before is not told");
}
