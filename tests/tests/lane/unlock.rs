//! Force-unlock: an operator knows better than the server can show, and the lane goes on.

use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::domain::waiting::WaitReason;
use settled::engine::{Asked, Refusal};
use settled_tests::scripted::{End, Play};
use settled_tests::sim::World;

use super::{ended, executions, seconds, succeeded, world};

async fn unlock(w: &World, asked: Asked) -> Result<Vec<String>, Refusal> {
    let reason = "its processes hang in a dead mount".to_owned();
    Ok(w.daemon.engine.unlock_server(asked, "alpha".to_owned(), reason).await?.ids)
}

async fn epoch(w: &World) -> i64 {
    let id = w.server_of("alpha").await.unwrap().id;
    w.daemon.engine.store().read().await.unwrap().db().lane(id).await.unwrap().unwrap().epoch
}

fn orphan() -> Play {
    Play::takes(seconds(5)).ending(End::Orphan(seconds(1_000_000)))
}

#[tokio::test]
async fn an_orphaned_step_blocks_its_lane_until_an_operator_frees_it() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("work", [orphan()]);
    let id = w.install("alpha", "task", "work").await.unwrap();
    let next = w.install("alpha", "thing", "next").await.unwrap();
    ended(&w.end(id, seconds(600)).await.unwrap(), Outcome::Failed, Reason::Lost, Evidence::None);
    w.go(seconds(600)).await.unwrap();
    let blocked = w.run(next).await.unwrap();
    let waiting = blocked.waiting().expect("it waits");
    assert_eq!((waiting.reason, executions(&w, &blocked)), (WaitReason::Unresolved, 0));
    assert!(waiting.who.contains("`settlectl server unlock alpha --reason TEXT`"), "{}", waiting.who);

    let (before, asked) = (epoch(&w).await, w.asked("Servers.ForceUnlock"));
    let given_up = unlock(&w, asked.clone()).await.unwrap();
    assert_eq!(given_up, w.unresolved("alpha").await.unwrap());
    assert!(epoch(&w).await > before);
    succeeded(&w.end(next, seconds(60)).await.unwrap());
    assert!(w.unresolved("alpha").await.unwrap().is_empty(), "the server has confirmed it");
    ended(&w.run(id).await.unwrap(), Outcome::Failed, Reason::Lost, Evidence::None);

    let after = epoch(&w).await;
    assert_eq!(unlock(&w, asked).await.unwrap(), given_up, "asked again, it is the same answer");
    assert_eq!(epoch(&w).await, after);
}

#[tokio::test]
async fn a_run_whose_step_is_orphaned_ends_when_its_lane_is_freed() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("work", [orphan()]);
    let id = w.install("alpha", "task", "work").await.unwrap();
    let next = w.install("alpha", "thing", "next").await.unwrap();
    let stuck =
        |run: &settled::domain::run::Run| run.waiting().is_some_and(|w| w.reason == WaitReason::Unresolved);
    w.until(id, seconds(60), stuck).await.unwrap();
    let asked = w.asked("Servers.ForceUnlock");
    assert_eq!(unlock(&w, asked).await.unwrap().len(), 1);
    let run = w.end(id, seconds(30)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    assert!(!run.verdict().unwrap().reconciled, "its server has said so, not the time");
    succeeded(&w.end(next, seconds(60)).await.unwrap());
    assert!(w.unresolved("alpha").await.unwrap().is_empty());
}

#[tokio::test]
async fn what_an_operator_gave_up_while_the_server_was_away_is_given_up_there_when_it_is_back() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("work", [orphan()]);
    let id = w.install("alpha", "task", "work").await.unwrap();
    let next = w.install("alpha", "thing", "next").await.unwrap();
    w.end(id, seconds(600)).await.unwrap();
    w.remote.cut("alpha", seconds(300));
    let asked = w.asked("Servers.ForceUnlock");
    unlock(&w, asked).await.unwrap();
    w.go(seconds(290)).await.unwrap();
    assert_eq!(w.unresolved("alpha").await.unwrap().len(), 1, "the server has not confirmed it");
    succeeded(&w.end(next, seconds(120)).await.unwrap());
    assert!(w.unresolved("alpha").await.unwrap().is_empty());
}

#[tokio::test]
async fn p3_what_can_be_ended_is_ended_first_even_when_the_lane_is_freed() {
    let mut w = world(&["alpha"]).await;
    let id = w.install("alpha", "task", "work").await.unwrap();
    let live = w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap().live_step().unwrap();
    let mut other = Play::takes(seconds(2_000));
    other.after_term = seconds(100);
    w.remote.plant("alpha", live, other);
    let next = w.install("alpha", "thing", "next").await.unwrap();
    // Its time is 120 s, 30 s of grace and 120 s of margin.
    w.end(id, seconds(280)).await.unwrap();
    let asked = w.asked("Servers.ForceUnlock");
    unlock(&w, asked).await.unwrap();
    succeeded(&w.end(next, seconds(300)).await.unwrap());
    let ran = w.remote.witness();
    let gone = ran.iter().find(|ran| ran.id == live).unwrap().gone.expect("it has ended");
    assert!(ran.iter().filter(|ran| ran.id.run == next).all(|ran| ran.began >= gone), "{ran:#?}");
}

#[tokio::test]
async fn a_lane_that_nothing_holds_is_not_unlocked() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("work", [Play::takes(seconds(50))]);
    let id = w.install("alpha", "task", "work").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    let before = epoch(&w).await;
    let asked = w.asked("Servers.ForceUnlock");
    let refused = unlock(&w, asked).await.unwrap_err();
    assert!(refused.to_string().contains("settlectl run cancel"), "{refused}");
    assert_eq!(epoch(&w).await, before);
    succeeded(&w.end(id, seconds(120)).await.unwrap());
}
