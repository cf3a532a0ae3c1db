//! An interrupted dpkg is repaired as a step that everyone sees, where the server's policy allows it.

use settled::domain::id::RunId;
use settled::domain::step::StepState;
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::domain::waiting::WaitReason;
use settled::engine::{EditPolicy, EditServer};
use settled::store::rows::StepRecord;
use settled_tests::scripted::{End, Play};
use settled_tests::sim::World;

use super::{ended, seconds, succeeded, world};

const REPAIR: &str = "Repair interrupted dpkg";

async fn interrupted(allowed: bool) -> World {
    let mut w = world(&["alpha"]).await;
    let policy = EditPolicy { repair_dpkg: Some(allowed), ..EditPolicy::default() };
    let asked = w.asked("Servers.Update");
    let edit = EditServer { server: "alpha".to_owned(), policy, ..EditServer::default() };
    w.daemon.engine.edit_server(asked, edit).await.unwrap();
    w.remote.interrupt_dpkg("alpha", Some("libc6 half-configured"));
    w
}

async fn tries(w: &World, run: RunId) -> Vec<StepRecord> {
    w.daemon.engine.store().read().await.unwrap().db().steps(run).await.unwrap()
}

/// Title, try and end of each try.
async fn story(w: &World, run: RunId) -> Vec<(String, u32, StepState)> {
    tries(w, run).await.into_iter().map(|t| (t.title, t.id.try_no, t.state)).collect()
}

#[tokio::test]
async fn p4_an_interrupted_dpkg_is_repaired_as_a_visible_step_and_costs_no_attempt() {
    let mut w = interrupted(true).await;
    w.remote.decide(|_, spec| Play::exit(0).writes(seconds(0), &format!("out of {}\n", spec.id.try_no)));
    let id = w.install("alpha", "task", "work").await.unwrap();
    let run = w.end(id, seconds(30)).await.unwrap();
    succeeded(&run);
    assert_eq!(run.position().attempt, 1);
    assert_eq!(
        story(&w, id).await,
        [
            ("Do the work".to_owned(), 1, StepState::Rejected),
            (REPAIR.to_owned(), 2, StepState::Exited),
            ("Do the work".to_owned(), 3, StepState::Exited),
        ]
    );
    let repair = &tries(&w, id).await[1];
    assert!(repair.repair && repair.exit_code == Some(0) && repair.output_bytes > 0, "{repair:#?}");
    let refused = &tries(&w, id).await[0];
    assert!(
        refused.why.contains("libc6 half-configured") && refused.why.contains("repaired"),
        "{refused:#?}"
    );
}

#[tokio::test]
async fn p5_a_repair_is_taken_up_again_after_the_daemon_died() {
    let mut w = interrupted(true).await;
    w.remote.decide(|_, spec| match spec.id.try_no {
        2 => Play::takes(seconds(100)),
        _ => Play::exit(0),
    });
    let id = w.install("alpha", "task", "work").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some_and(|s| s.try_no == 2)).await.unwrap();
    w.restart().await.unwrap();
    w.go(seconds(50)).await.unwrap();
    w.restart().await.unwrap();
    succeeded(&w.end(id, seconds(120)).await.unwrap());
    let repairs = w.remote.witness().into_iter().filter(|ran| ran.id.run == id && ran.id.try_no == 2).count();
    assert_eq!((repairs, story(&w, id).await.len()), (1, 3));
}

#[tokio::test]
async fn a_repair_that_fails_is_a_failed_attempt_and_the_last_one_ends_the_run() {
    let mut w = interrupted(true).await;
    w.remote.decide(|_, _| Play::exit(1));
    let id = w.install("alpha", "task", "work").await.unwrap();
    let run = w.end(id, seconds(600)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::AttemptsExhausted, Evidence::ExitRecord);
    let failure = run.verdict().unwrap().failure.clone().unwrap();
    assert_eq!((failure.step.as_str(), failure.exit_code), (REPAIR, Some(1)));
    assert!(w.remote.witness().iter().all(|ran| ran.id.try_no == 2), "the work itself never began");
}

#[tokio::test]
async fn p4_what_a_repair_does_not_mend_is_waited_for_and_not_repaired_again() {
    let mut w = interrupted(true).await;
    let id = w.install("alpha", "task", "work").await.unwrap();
    // Somebody interrupts it again as soon as it is mended.
    w.until(id, seconds(5), |run| run.live_step().is_some_and(|s| s.try_no == 3)).await.unwrap();
    w.remote.interrupt_dpkg("alpha", Some("libc6 half-configured"));
    let waits = w.until(id, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    assert_eq!(waits.waiting().unwrap().reason, WaitReason::Busy);
    assert!(waits.waiting().unwrap().who.contains("has not mended it"), "{waits:#?}");
    w.go(seconds(60)).await.unwrap();
    assert_eq!(tries(&w, id).await.iter().filter(|t| t.repair).count(), 1);
    w.remote.interrupt_dpkg("alpha", None);
    let run = w.end(id, seconds(60)).await.unwrap();
    succeeded(&run);
    assert_eq!(run.position().attempt, 1);
}

#[tokio::test]
async fn p9_a_run_is_cancelled_while_its_repair_runs() {
    let mut w = interrupted(true).await;
    w.remote.decide(|_, _| Play::takes(seconds(100)).ending(End::Exit(0)));
    let id = w.install("alpha", "task", "work").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some_and(|s| s.try_no == 2)).await.unwrap();
    w.go(seconds(10)).await.unwrap();
    w.cancel(id).await.unwrap();
    ended(
        &w.end(id, seconds(60)).await.unwrap(),
        Outcome::Cancelled,
        Reason::Cancelled,
        Evidence::ExitRecord,
    );
}

#[tokio::test]
async fn a_foreign_lock_is_waited_for_before_a_repair_too() {
    let mut w = interrupted(true).await;
    w.remote.hold_dpkg("alpha", "unattended-upgr", seconds(60));
    let id = w.install("alpha", "task", "work").await.unwrap();
    let waits = w.until(id, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    assert!(waits.waiting().unwrap().who.contains("unattended-upgr"), "{waits:#?}");
    succeeded(&w.end(id, seconds(120)).await.unwrap());
    assert_eq!(story(&w, id).await.len(), 3);
}
