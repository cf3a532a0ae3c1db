//! What is left in doubt is looked at as soon as its server answers: the wish to look is stored with the verdict.

use settled::domain::resource::Presence;
use settled::domain::run::Run;
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::engine::EditServer;
use settled_tests::scripted::Play;
use settled_tests::sim::{World, knobs};

use super::{ended, seconds, world};

const DAY: u64 = 86_400;

/// A world whose daemon looks around rarely, with a run that was lost on a server that is away for so long.
async fn lost(away: u64) -> World {
    let mut knobs = knobs();
    knobs.dispatch.poll = seconds(60);
    knobs.reconcile_every = seconds(300);
    let mut w = World::new(1, knobs).await.unwrap();
    w.server("alpha").await.unwrap();
    w.remote.script("one", [Play::takes(seconds(10))]);
    let id = w.install("alpha", "thing", "one").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.go(seconds(1)).await.unwrap();
    w.remote.cut("alpha", seconds(away));
    let run = w.end(id, seconds(3_600)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    assert!(observed(&w).await.is_none());
    w
}

async fn observed(w: &World) -> Option<settled::domain::resource::Observed> {
    w.resource("alpha/thing/one").await.unwrap().expect("the record is there").observed
}

fn open(w: &World) -> Vec<&Run> {
    w.checker.open().collect()
}

#[tokio::test]
async fn p7_after_a_lost_change_its_resource_is_looked_at_when_the_server_is_back_days_later() {
    let mut w = lost(5 * DAY / 2).await;
    w.restart().await.unwrap();
    w.go(seconds(2 * DAY)).await.unwrap();
    assert!(observed(&w).await.is_none());
    assert_eq!(open(&w).len(), 1, "one look waits: {:#?}", open(&w));
    w.restart().await.unwrap();
    w.remote.put("alpha", "one", "7");
    w.go(seconds(DAY / 2)).await.unwrap();
    let seen = observed(&w).await.expect("it was looked at, although nothing else was to be done there");
    assert_eq!((seen.presence, seen.facts["version"].as_str()), (Presence::Present, "7"));
    assert!(open(&w).is_empty());
    assert!(w.unresolved("alpha").await.unwrap().is_empty(), "and its step is proven to have ended");
}

#[tokio::test]
async fn a_look_that_was_refused_is_taken_up_again_when_the_refusal_is_mended() {
    let mut w = lost(3_600).await;
    w.remote.refuse("alpha", Some("permission denied (publickey)"));
    w.go(seconds(2 * 3_600)).await.unwrap();
    assert!(observed(&w).await.is_none());
    w.remote.refuse("alpha", None);
    let asked = w.asked("Servers.Update");
    let edit =
        EditServer { server: "alpha".to_owned(), user: Some("deploy".to_owned()), ..EditServer::default() };
    w.daemon.engine.edit_server(asked, edit).await.unwrap();
    w.go(seconds(600)).await.unwrap();
    assert!(observed(&w).await.is_some());
}

#[tokio::test]
async fn p7_a_change_that_a_reboot_has_lost_is_looked_at_also_after_a_death_right_behind_its_verdict() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("one", [Play::exit(0), Play::takes(seconds(50))]);
    let id = w.install("alpha", "thing", "one").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some_and(|step| step.step == 1)).await.unwrap();
    w.go(seconds(10)).await.unwrap();
    w.remote.put("alpha", "one", "other");
    w.remote.reboot("alpha");
    let run = w.end(id, seconds(60)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    w.restart().await.unwrap();
    w.go(seconds(60)).await.unwrap();
    assert_eq!(observed(&w).await.expect("it was looked at").facts["version"], "other");
}

#[tokio::test]
async fn a_look_that_nobody_asked_for_does_not_keep_a_server_from_being_removed() {
    let mut w = lost(10 * DAY).await;
    let asked = w.asked("Servers.Delete");
    w.daemon.engine.remove_server(asked, "alpha".to_owned(), true).await.unwrap();
    let open = w.daemon.engine.store().read().await.unwrap().db().open_runs().await.unwrap();
    assert_eq!(open, 0, "the look has ended with the record");
}
