//! P3: a server changes hands between installations only by an operator's word, and never with a step of the other one beside ours.

use settled::clock::Clock as _;
use settled::domain::id::{InstallationId, RunId};
use settled::domain::server::Reach;
use settled::domain::step::StepId;
use settled::domain::waiting::WaitReason;
use settled_tests::scripted::{End, Play};
use settled_tests::sim::World;

use super::{executions, seconds, succeeded, world};

/// A server that another installation has, in a higher epoch than ours; a run that is refused there.
async fn foreign(w: &mut World) -> RunId {
    let other = InstallationId(w.clock.ulid());
    w.remote.claim_behind("alpha", other, 70);
    let id = w.install("alpha", "task", "work").await.unwrap();
    w.go(seconds(60)).await.unwrap();
    let waits = w.run(id).await.unwrap();
    assert_eq!(waits.waiting().map(|w| w.reason), Some(WaitReason::Refused), "{waits:#?}");
    id
}

async fn take_over(w: &mut World, force: bool) {
    let asked = w.asked("Servers.Takeover");
    w.daemon.engine.take_over_server(asked, "alpha".to_owned(), force).await.unwrap();
}

/// A step of the other installation.
fn strange(w: &World) -> StepId {
    StepId { run: RunId(w.clock.ulid()), step: 0, attempt: 1, try_no: 1 }
}

#[tokio::test]
async fn a_server_of_another_installation_is_worked_on_after_a_takeover() {
    let mut w = world(&["alpha"]).await;
    let id = foreign(&mut w).await;
    take_over(&mut w, false).await;
    succeeded(&w.end(id, seconds(60)).await.unwrap());
    let server = w.server_of("alpha").await.unwrap();
    assert_eq!(server.reach, Reach::Ok);
    assert_eq!(w.daemon.engine.takeover(server.id).await.unwrap(), None, "it is done once");
}

#[tokio::test]
async fn p3_a_running_step_of_the_other_installation_stands_in_the_way() {
    let mut w = world(&["alpha"]).await;
    let id = foreign(&mut w).await;
    let step = strange(&w);
    w.remote.plant("alpha", step, Play::takes(seconds(1_000)));
    take_over(&mut w, false).await;
    w.go(seconds(60)).await.unwrap();
    let server = w.server_of("alpha").await.unwrap();
    assert_eq!(server.reach, Reach::Refused);
    for part in [step.to_string().as_str(), "settlectl server takeover alpha --force"] {
        assert!(server.reach_detail.contains(part), "{}", server.reach_detail);
    }
    assert_eq!(executions(&w, &w.run(id).await.unwrap()), 0);

    // It has ended: a probe lets the lane look again, and the takeover is still wanted.
    w.go(seconds(1_000)).await.unwrap();
    let asked = w.asked("Servers.Probe");
    w.daemon.engine.probe_server(asked, "alpha".to_owned()).await.unwrap();
    succeeded(&w.end(id, seconds(120)).await.unwrap());
}

#[tokio::test]
async fn p3_a_forced_takeover_ends_the_other_step_before_ours_begins() {
    let mut w = world(&["alpha"]).await;
    let id = foreign(&mut w).await;
    let step = strange(&w);
    let mut slow = Play::takes(seconds(1_000));
    slow.after_term = seconds(20);
    w.remote.plant("alpha", step, slow);
    take_over(&mut w, true).await;
    succeeded(&w.end(id, seconds(300)).await.unwrap());
    let ran = w.remote.witness();
    let gone = ran.iter().find(|ran| ran.id == step).unwrap().gone.expect("it has ended");
    assert!(ran.iter().filter(|ran| ran.id.run == id).all(|ran| ran.began >= gone), "{ran:#?}");
}

#[tokio::test]
async fn a_forced_takeover_gives_up_what_the_other_installation_has_left_orphaned() {
    let mut w = world(&["alpha"]).await;
    let id = foreign(&mut w).await;
    let step = strange(&w);
    w.remote.plant("alpha", step, Play::takes(seconds(1)).ending(End::Orphan(seconds(1_000_000))));
    w.go(seconds(5)).await.unwrap();
    take_over(&mut w, true).await;
    succeeded(&w.end(id, seconds(60)).await.unwrap());
    assert!(w.unresolved("alpha").await.unwrap().is_empty());
}

#[tokio::test]
async fn p3_a_takeover_that_crashed_half_way_is_taken_up_again() {
    let mut w = world(&["alpha"]).await;
    let id = foreign(&mut w).await;
    w.remote.once("take_over", settled_tests::scripted::Luck::Lost);
    take_over(&mut w, false).await;
    w.go(seconds(5)).await.unwrap();
    w.restart().await.unwrap();
    succeeded(&w.end(id, seconds(120)).await.unwrap());
}
