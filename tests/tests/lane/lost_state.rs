//! A server that loses its state directory: what ran there has no record and no lock, and may live (P3, P7).

use settled::domain::run::Run;
use settled::domain::step::StepId;
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::domain::waiting::WaitReason;
use settled_tests::scripted::{Luck, Play};
use settled_tests::sim::World;

use super::{ended, executions, seconds, succeeded, world};

/// A world in which the first step of an install of `package` runs for so long, and the store knows it.
async fn running(package: &str, span: u64) -> (World, Run, StepId) {
    let mut w = world(&["alpha"]).await;
    w.remote.script("one", [Play::takes(seconds(span)), Play::exit(0)]);
    let id = w.install("alpha", package, "one").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.go(seconds(5)).await.unwrap();
    let run = w.run(id).await.unwrap();
    let step = run.live_step().unwrap();
    (w, run, step)
}

#[tokio::test]
async fn p3_no_attempt_begins_while_a_step_without_a_record_lives() {
    let (mut w, run, _) = running("thing", 400).await;
    w.remote.lose_state("alpha");
    w.go(seconds(300)).await.unwrap();
    let waits = w.run(run.id).await.unwrap();
    let waiting = waits.waiting().expect("it waits");
    assert_eq!((waiting.reason, waits.position().attempt), (WaitReason::Unresolved, 1));
    assert!(waiting.who.contains("4711 payload"), "{}", waiting.who);
    // It ends, and the probe shows that nothing of it holds.
    let run = w.end(run.id, seconds(300)).await.unwrap();
    succeeded(&run);
    assert_eq!((run.position().attempt, executions(&w, &run)), (2, 3));
}

#[tokio::test]
async fn p3_no_run_begins_while_a_step_without_a_record_lives() {
    let (mut w, run, step) = running("task", 2_000).await;
    let next = w.install("alpha", "thing", "next").await.unwrap();
    w.remote.lose_state("alpha");
    ended(&w.end(run.id, seconds(300)).await.unwrap(), Outcome::Failed, Reason::Lost, Evidence::None);
    w.go(seconds(600)).await.unwrap();
    assert_eq!(w.unresolved("alpha").await.unwrap(), [step.to_string()]);
    assert_eq!(executions(&w, &w.run(next).await.unwrap()), 0);
    // Whatever lived, a reboot ends.
    w.remote.reboot("alpha");
    succeeded(&w.end(next, seconds(600)).await.unwrap());
    assert!(w.unresolved("alpha").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_operator_frees_a_lane_from_a_step_without_a_record() {
    let (mut w, run, _) = running("task", 1_000_000).await;
    let next = w.install("alpha", "thing", "next").await.unwrap();
    w.remote.lose_state("alpha");
    w.end(run.id, seconds(300)).await.unwrap();
    w.go(seconds(600)).await.unwrap();
    let asked = w.asked("Servers.ForceUnlock");
    w.daemon.engine.unlock_server(asked, "alpha".to_owned(), "it is harmless".to_owned()).await.unwrap();
    succeeded(&w.end(next, seconds(60)).await.unwrap());
    assert!(w.unresolved("alpha").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_run_whose_step_has_no_record_ends_when_its_lane_is_freed() {
    let (mut w, run, _) = running("task", 1_000_000).await;
    w.remote.lose_state("alpha");
    w.until(run.id, seconds(60), |run| run.waiting().is_some()).await.unwrap();
    let asked = w.asked("Servers.ForceUnlock");
    w.daemon.engine.unlock_server(asked, "alpha".to_owned(), "it is harmless".to_owned()).await.unwrap();
    let run = w.end(run.id, seconds(60)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    assert!(!run.verdict().unwrap().reconciled, "its server has said so, not the time");
    let next = w.install("alpha", "thing", "next").await.unwrap();
    succeeded(&w.end(next, seconds(60)).await.unwrap());
}

/// The server only knows that it has cleared the step away.
#[tokio::test]
async fn p3_what_is_not_proven_to_have_ended_is_not_tried_again_and_goes_on_the_list() {
    for done in [false, true] {
        let (mut w, run, step) = running("thing", 400).await;
        w.remote.lose_state("alpha");
        w.remote.bury("alpha", step);
        if done {
            w.remote.put("alpha", "one", "1");
        }
        let run = w.end(run.id, seconds(30)).await.unwrap();
        if done {
            ended(&run, Outcome::Succeeded, None, Evidence::Probe);
        } else {
            ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
        }
        assert_eq!(w.unresolved("alpha").await.unwrap(), [step.to_string()]);
    }
}

#[tokio::test]
async fn p7_a_step_that_ran_and_cannot_be_driven_is_lost_and_not_rejected() {
    let (mut w, run, _) = running("thing", 400).await;
    w.remote.toss(|_, verb| if verb == "attach" { Luck::PanicsBefore } else { Luck::Answered });
    w.remote.lose_state("alpha");
    w.remote.reboot("alpha");
    let run = w.end(run.id, seconds(60)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    assert_eq!(executions(&w, &run), 1);
}
