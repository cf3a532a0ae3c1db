//! P4: a closed maintenance window is waited for, by name and with its opening; what has begun goes on.

use std::time::Duration;

use settled::clock::Clock as _;
use settled::domain::time::Timestamp;
use settled::domain::turn::Turn;
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::domain::waiting::WaitReason;
use settled::engine::{EditPolicy, EditServer, Install, Refusal};
use settled_tests::scripted::Play;
use settled_tests::sim::World;

use super::{ended, executions, seconds, succeeded, world};

const HOUR: Duration = Duration::from_secs(3_600);

/// A world that begins at midnight, on a Thursday, UTC.
async fn open_at(windows: &[&str], zone: &str) -> World {
    let mut w = world(&["alpha"]).await;
    set(&mut w, windows, zone).await;
    w
}

async fn set(w: &mut World, windows: &[&str], zone: &str) {
    let windows = windows.iter().map(|&text| text.to_owned()).collect();
    let policy =
        EditPolicy { windows: Some(windows), time_zone: Some(zone.to_owned()), ..EditPolicy::default() };
    let asked = w.asked("Servers.Update");
    let edit = EditServer { server: "alpha".to_owned(), policy, ..EditServer::default() };
    w.daemon.engine.edit_server(asked, edit).await.unwrap();
}

/// Midnight and so many hours.
fn at(hours: u32) -> Timestamp {
    Timestamp(1_767_225_600_000_000) + HOUR * hours
}

async fn transitions(w: &World) -> i64 {
    w.daemon.engine.store().read().await.unwrap().db().last_seq().await.unwrap()
}

#[tokio::test]
async fn p4_a_closed_window_is_waited_for_until_it_opens() {
    let mut w = open_at(&["daily 02:00-03:00"], "UTC").await;
    let id = w.install("alpha", "thing", "one").await.unwrap();
    let waits = w.until(id, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    let waiting = waits.waiting().unwrap();
    assert_eq!((waiting.reason, waiting.who.as_str()), (WaitReason::Window, "daily 02:00-03:00 UTC"));
    assert_eq!(waiting.next_try, Some(at(2)));
    let (told, asked) = (transitions(&w).await, w.remote.verbs());
    w.go(HOUR).await.unwrap();
    assert_eq!(transitions(&w).await, told, "an hour of waiting tells nothing new");
    assert_eq!(w.remote.verbs(), asked, "and does not bother the server");
    let run = w.end(id, HOUR + seconds(5)).await.unwrap();
    succeeded(&run);
    assert!(w.clock.now() >= at(2) && w.clock.now() < at(2) + seconds(60), "it begins as soon as one opens");
    assert_eq!(run.position().attempt, 1);
}

#[tokio::test]
async fn p4_windows_follow_the_clock_of_their_zone() {
    let mut w = open_at(&["Thu 03:00-04:00"], "Europe/Berlin").await;
    let id = w.install("alpha", "thing", "one").await.unwrap();
    let waits = w.until(id, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    assert_eq!(waits.waiting().unwrap().next_try, Some(at(2)));
    assert_eq!(waits.waiting().unwrap().who, "Thu 03:00-04:00 Europe/Berlin");
}

#[tokio::test]
async fn what_has_begun_goes_on_when_its_window_closes_with_all_its_attempts() {
    let mut w = open_at(&["daily 00:00-00:10"], "UTC").await;
    w.remote.script(
        "one",
        [Play::takes(seconds(590)).ending(settled_tests::scripted::End::Exit(1)), Play::exit(0)],
    );
    let id = w.install("alpha", "thing", "one").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    let next = w.install("alpha", "thing", "next").await.unwrap();
    let run = w.end(id, HOUR).await.unwrap();
    succeeded(&run);
    assert_eq!(run.position().attempt, 2);
    let waits = w.until(next, seconds(60), |run| run.waiting().is_some()).await.unwrap();
    assert_eq!(waits.waiting().unwrap().reason, WaitReason::Window);
    assert_eq!(executions(&w, &waits), 0);
}

#[tokio::test]
async fn p9_a_run_that_waits_for_a_window_is_cancelled_at_once() {
    let mut w = open_at(&["daily 02:00-03:00"], "UTC").await;
    let id = w.install("alpha", "thing", "one").await.unwrap();
    w.until(id, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    w.cancel(id).await.unwrap();
    ended(&w.run(id).await.unwrap(), Outcome::Cancelled, Reason::Cancelled, Evidence::NotStarted);
}

#[tokio::test]
async fn other_windows_hold_at_once_and_what_only_looks_does_not_wait() {
    let mut w = open_at(&["daily 02:00-03:00"], "UTC").await;
    let id = w.install("alpha", "thing", "one").await.unwrap();
    w.until(id, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    let asked = w.asked("Resources.Probe");
    let answer = w.daemon.engine.probe_resource(asked, "alpha/thing/one".to_owned()).await.unwrap();
    succeeded(&w.end(answer.run.unwrap().id.parse().unwrap(), seconds(60)).await.unwrap());
    assert!(w.run(id).await.unwrap().is_queued());
    set(&mut w, &[], "UTC").await;
    succeeded(&w.end(id, seconds(5)).await.unwrap());
}

#[tokio::test]
async fn a_clock_on_the_wall_that_is_set_opens_windows_too() {
    let mut w = open_at(&["daily 02:00-03:00"], "UTC").await;
    let id = w.install("alpha", "thing", "one").await.unwrap();
    w.until(id, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    w.clock.jump(HOUR * 2);
    succeeded(&w.end(id, seconds(70)).await.unwrap());
}

#[tokio::test]
async fn a_run_that_would_end_before_its_window_opens_is_refused_with_what_to_do() {
    let mut w = open_at(&["daily 02:00-03:00"], "UTC").await;
    let asked = w.asked("Resources.Install");
    let ask = |limit| Install {
        server: "alpha".to_owned(),
        package: "thing".to_owned(),
        name: "one".to_owned(),
        parameters: std::collections::BTreeMap::new(),
        secrets: std::collections::BTreeMap::new(),
        turn: Turn { limit: Some(limit), ..Turn::default() },
        with_requirements: false,
    };
    let refused = w.daemon.engine.install(asked.clone(), ask(HOUR)).await.unwrap_err();
    assert!(matches!(refused, Refusal::Closed { opens, .. } if opens == at(2)), "{refused:?}");
    let told = refused.to_string();
    for part in
        ["opens for work at 2026-01-01 02:00", "daily 02:00-03:00, UTC", "--queue-limit", "--no-windows"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(w.status("alpha/thing/one").await.unwrap(), "gone", "nothing was stored");
    w.daemon.engine.install(asked, ask(HOUR * 3)).await.unwrap();
}

#[tokio::test]
async fn p5_a_daemon_that_dies_while_a_window_is_closed_waits_on() {
    let mut w = open_at(&["daily 02:00-03:00"], "UTC").await;
    let id = w.install("alpha", "thing", "one").await.unwrap();
    w.until(id, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    let told = transitions(&w).await;
    w.restart().await.unwrap();
    w.go(HOUR).await.unwrap();
    assert_eq!(transitions(&w).await, told);
    succeeded(&w.end(id, HOUR + seconds(5)).await.unwrap());
}

#[tokio::test]
async fn an_operation_that_waits_a_short_time_only_is_refused_alike() {
    let mut w = open_at(&["daily 02:00-03:00"], "UTC").await;
    let refused = w.install("alpha", "hurried", "one").await.unwrap_err();
    assert!(refused.to_string().contains("would wait only until 2026-01-01 00:10"), "{refused}");
}
