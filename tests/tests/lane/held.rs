//! A lane that is held for too long by what is not proven to have ended: the server's record tells of it until the lane is free again.

use settled::dispatch::Mode;
use settled::domain::server::Held;
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled_tests::scripted::{End, Play};
use settled_tests::sim::World;

use super::{ended, seconds, succeeded, world};

async fn held(w: &World) -> Option<Held> {
    w.server_of("alpha").await.unwrap().held
}

/// A world with an orphan that lives for so long.
async fn orphaned(lives: u64) -> (World, settled::domain::id::RunId) {
    let mut w = world(&["alpha"]).await;
    w.remote.script("work", [Play::takes(seconds(5)).ending(End::Orphan(seconds(lives)))]);
    let id = w.install("alpha", "task", "work").await.unwrap();
    (w, id)
}

#[tokio::test]
async fn an_orphan_that_outlives_its_run_is_told_after_a_quarter_of_an_hour_and_until_it_is_gone() {
    let (mut w, id) = orphaned(3_000).await;
    let run = w.end(id, seconds(600)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    w.go(seconds(800)).await.unwrap();
    assert_eq!(held(&w).await, None, "not yet");
    w.go(seconds(400)).await.unwrap();
    let told = held(&w).await.expect("nobody else works there, and it is told all the same");
    assert_eq!(told.processes, ["4711 payload"]);
    assert_eq!(told.step.run, id);
    assert_eq!(told.since, run.verdict().unwrap().at);
    let seq = w.server_of("alpha").await.unwrap().seq;
    w.restart().await.unwrap();
    w.go(seconds(600)).await.unwrap();
    assert_eq!(w.server_of("alpha").await.unwrap().seq, seq, "it is told once");
    w.go(seconds(1_500)).await.unwrap();
    assert_eq!(
        held(&w).await,
        None,
        "the lane is free, and nothing had to be done there for that to be seen"
    );
    assert!(w.unresolved("alpha").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_step_that_cannot_be_asked_about_is_told_too() {
    let (mut w, id) = orphaned(1_000_000).await;
    w.end(id, seconds(600)).await.unwrap();
    w.remote.cut("alpha", seconds(5_000));
    w.go(seconds(3_000)).await.unwrap();
    let told = held(&w).await.expect("it is told");
    assert!(told.processes.is_empty(), "{told:?}");
    w.go(seconds(3_000)).await.unwrap();
    assert_eq!(held(&w).await.expect("it still is").processes, ["4711 payload"]);
}

#[tokio::test]
async fn a_lane_that_an_operator_freed_is_not_held_any_more() {
    let (mut w, id) = orphaned(1_000_000).await;
    let next = w.install("alpha", "thing", "next").await.unwrap();
    w.end(id, seconds(600)).await.unwrap();
    w.go(seconds(1_200)).await.unwrap();
    assert!(held(&w).await.is_some());
    let waits = w.run(next).await.unwrap();
    let who = &waits.waiting().expect("it waits").who;
    let named = "its supervisor is dead, and processes of it live: 4711 payload";
    assert!(who.contains(named) && who.contains("settlectl server unlock alpha"), "{who}");
    let asked = w.asked("Servers.ForceUnlock");
    w.daemon.engine.unlock_server(asked, "alpha".to_owned(), "they do no harm".to_owned()).await.unwrap();
    succeeded(&w.end(next, seconds(60)).await.unwrap());
    assert_eq!(held(&w).await, None);
}

#[tokio::test]
async fn a_lane_is_looked_after_for_a_day_without_a_transition_for_each_look() {
    let (mut w, id) = orphaned(1_000_000).await;
    w.install("alpha", "thing", "next").await.unwrap();
    w.end(id, seconds(600)).await.unwrap();
    let told = async |w: &World| w.daemon.engine.store().read().await.unwrap().db().last_seq().await.unwrap();
    let before = told(&w).await;
    w.go(seconds(20_000)).await.unwrap();
    let rows = told(&w).await - before;
    assert!(rows < 150, "{rows} transitions in 20,000 s");
}

#[tokio::test]
async fn a_drain_does_not_wait_for_what_may_never_end() {
    let (mut w, id) = orphaned(1_000_000).await;
    w.end(id, seconds(600)).await.unwrap();
    w.go(seconds(600)).await.unwrap();
    assert_eq!(w.daemon.engine.hub().at_work(), 1, "an orphan is looked after");
    w.daemon.drain().set(Mode::Finish);
    w.go(seconds(400)).await.unwrap();
    assert_eq!(w.daemon.engine.hub().at_work(), 0, "nothing runs, so nothing is waited for");
    w.daemon.drain().set(Mode::Serve);
    w.go(seconds(400)).await.unwrap();
    assert_eq!(held(&w).await.expect("it is looked after again").processes, ["4711 payload"]);
}
