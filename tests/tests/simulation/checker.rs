//! The checker is tested too: a fault that no world shows is a fault that it cannot see. One fault may break several promises.

use std::time::Duration;

use settled::domain::verdict::Outcome;
use settled_tests::scripted::{Bug, End, Play};
use settled_tests::sim::random::{Fault, live};
use settled_tests::sim::{World, knobs};

/// In one of these worlds, at the latest, the fault must show.
const WORLDS: u64 = 200;

/// Some world shows the fault, and the checker names the promise.
async fn is_caught(fault: Fault, promise: &str) {
    for seed in 0..WORLDS {
        if let Err(error) = live(seed, Some(fault)).await
            && format!("{error:#}").contains(promise)
        {
            return;
        }
    }
    panic!("{WORLDS} worlds with {fault:?}, and nobody noticed: {promise}");
}

/// A world with one server.
async fn small() -> World {
    let mut world = World::new(1, knobs()).await.unwrap();
    world.server("alpha").await.unwrap();
    world
}

/// What the checker says now; it must have something to say.
async fn said(world: &mut World) -> String {
    format!("{:#}", world.check().await.unwrap_err())
}

#[tokio::test]
async fn it_sees_a_payload_that_runs_twice() {
    is_caught(Fault::Server(Bug::RunsTwice), "P5: the payload of").await;
}

#[tokio::test]
async fn it_sees_payloads_that_overlap() {
    is_caught(Fault::Server(Bug::EndsEarly), "P3: two payloads at once").await;
}

#[tokio::test]
async fn it_sees_a_success_that_was_none() {
    is_caught(Fault::Server(Bug::SaysWell), "P7: succeeded by an exit record").await;
}

#[tokio::test]
async fn it_sees_that_nobody_checks_the_epoch() {
    is_caught(Fault::Server(Bug::NoEpochCheck), "P3: began by a command of an epoch that was over").await;
}

#[tokio::test]
async fn it_sees_a_lost_payload_that_is_run_again() {
    is_caught(Fault::Server(Bug::DeniesTheLost), "P5: a new try of a step whose payload had run").await;
}

#[tokio::test]
async fn it_sees_an_attempt_that_is_used_by_waiting() {
    is_caught(Fault::Server(Bug::CountsWaiting), "P4: an attempt was used, and nothing had run").await;
}

#[tokio::test]
async fn it_sees_a_removal_that_forgets_the_earlier_status() {
    let forgets = "CREATE TRIGGER fault AFTER INSERT ON run WHEN NEW.operation = 'remove' \
                   BEGIN UPDATE run SET earlier = 'updating' WHERE id = NEW.id; END";
    is_caught(Fault::Store(forgets), "P8").await;
}

#[tokio::test]
async fn it_sees_a_lane_that_its_dead_owner_keeps() {
    let keeps = "CREATE TRIGGER fault BEFORE UPDATE OF owner ON lane WHEN NEW.owner IS NULL BEGIN SELECT RAISE(IGNORE); END";
    is_caught(Fault::Store(keeps), "who is dead").await;
}

#[tokio::test]
async fn it_sees_a_lane_that_is_not_given_back() {
    let mut world = small().await;
    world.rest().await.unwrap();
    let keeps = "UPDATE lane SET owner = (SELECT id FROM daemon)";
    world.change_store(keeps).await.unwrap();
    let told = format!("{:#}", world.rest().await.unwrap_err());
    assert!(told.contains("P3: lanes were not given back"), "{told}");
}

#[tokio::test]
async fn it_sees_a_verdict_that_was_told_before_it_was_synced() {
    let mut world = small().await;
    let memory = world.remember().unwrap();
    let run = world.install("alpha", "task", "work").await.unwrap();
    let verdict = world.end(run, Duration::from_secs(5)).await.unwrap().verdict().map(|v| v.outcome);
    assert_eq!(verdict, Some(Outcome::Succeeded));
    world.check().await.unwrap();
    world.forget(&memory).await.unwrap();
    let told = said(&mut world).await;
    assert!(told.contains("P7: what was told is gone"), "{told}");
}

#[tokio::test]
async fn it_sees_a_cursor_that_passes_what_is_committed_later() {
    let mut world = small().await;
    world.install("alpha", "task", "one").await.unwrap();
    // The last number belongs to somebody who has inserted first and commits last: what came after is to be seen before it.
    let late = "CREATE TABLE late AS SELECT * FROM transition WHERE seq = (SELECT MAX(seq) FROM transition); \
                DELETE FROM transition WHERE seq = (SELECT seq FROM late)";
    world.change_store(late).await.unwrap();
    world.install("alpha", "task", "two").await.unwrap();
    let told = said(&mut world).await;
    assert!(told.contains("P10") && told.contains("follows"), "{told}");
}

#[tokio::test]
async fn it_sees_a_terminal_run_that_is_rewritten() {
    let mut world = small().await;
    world.remote.script("work", [Play::exit(0).ending(End::Exit(78))]);
    let run = world.install("alpha", "task", "work").await.unwrap();
    world.end(run, Duration::from_secs(5)).await.unwrap();
    world.check().await.unwrap();
    // A reconciler that settles what is settled: with a transition, as all that is told.
    let rewrites = "UPDATE run SET version = version + 1, reconciled = TRUE WHERE state = 'completed'; \
                    CREATE TABLE again AS SELECT * FROM transition WHERE kind = 'run' ORDER BY seq DESC LIMIT 1; \
                    UPDATE counter SET seq = seq + 1; \
                    UPDATE again SET seq = (SELECT seq FROM counter), object = json_set(object, '$.version', \
                        json_extract(object, '$.version') + 1, '$.reconciled', json('true')); \
                    INSERT INTO transition SELECT * FROM again";
    world.change_store(rewrites).await.unwrap();
    world.restart().await.unwrap();
    let told = said(&mut world).await;
    assert!(told.contains("P7: a terminal run changed"), "{told}");
}

#[tokio::test]
async fn it_sees_a_run_that_nobody_settles() {
    let mut world = small().await;
    world.remote.script("work", [Play::takes(Duration::from_secs(100_000))]);
    let run = world.install("alpha", "task", "work").await.unwrap();
    world.until(run, Duration::from_secs(5), |run| run.live_step().is_some()).await.unwrap();
    world.go(Duration::from_secs(1)).await.unwrap();
    world.remote.cut("alpha", Duration::from_secs(100_000));
    world.daemon.stop_reconciling();
    let told = format!("{:#}", world.go(Duration::from_secs(1_000)).await.unwrap_err());
    assert!(told.contains("P6"), "{told}");
}

/// A run is open for as long as one look takes after its time, and no longer.
#[tokio::test]
async fn it_allows_one_look_after_the_published_time_and_not_a_moment_more() {
    let mut world = small().await;
    world.remote.script("work", [Play::takes(Duration::from_secs(100_000))]);
    let run = world.install("alpha", "task", "work").await.unwrap();
    world.until(run, Duration::from_secs(5), |run| run.live_step().is_some()).await.unwrap();
    world.go(Duration::from_secs(1)).await.unwrap();
    world.remote.cut("alpha", Duration::from_secs(100_000));
    world.daemon.stop_reconciling();
    let by = world.run(run).await.unwrap().settles_by().unwrap();
    let left = by.since(settled::clock::Clock::now(&*world.clock));
    world.move_to(settled::clock::Clock::monotonic(&*world.clock) + left + knobs().reconcile_every);
    world.check().await.unwrap();
    let moment = Duration::from_micros(1);
    world.move_to(settled::clock::Clock::monotonic(&*world.clock) + moment);
    let told = said(&mut world).await;
    assert!(told.contains("P6"), "{told}");
}

#[tokio::test]
async fn it_sees_a_record_that_changed_without_being_told() {
    let mut world = small().await;
    let run = world.install("alpha", "task", "work").await.unwrap();
    world.end(run, Duration::from_secs(5)).await.unwrap();
    world.checker.finish(&world.daemon, &world.remote).await.unwrap();
    let changes = "UPDATE run SET evidence = 'probe' WHERE evidence = 'exit_record'";
    world.change_store(changes).await.unwrap();
    let told = format!("{:#}", world.checker.finish(&world.daemon, &world.remote).await.unwrap_err());
    assert!(told.contains("P10"), "{told}");
}
