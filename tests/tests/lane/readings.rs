//! Read-only runs go on beside the run in hand, are seen while they ask, and wait without ending.

use std::sync::Arc;

use settled::clock::SystemClock;
use settled::domain::id::RunId;
use settled::domain::run::RunState;
use settled::domain::server::{Reach, ServerStatus};
use settled::domain::step::StepState;
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::domain::waiting::WaitReason;
use settled_proto::v1::{
    self, CancelRunRequest, CreateServerRequest, GetRunRequest, GetServerRequest, ProbeResourceRequest,
};
use settled_tests::daemon;
use settled_tests::patience::until;
use settled_tests::scripted::{Luck, Patience, Play, Scripted};
use settled_tests::server::{fresh_id, install, settled};
use settled_tests::sim::{Actor, Kill, World, knobs};

use super::{ended, seconds, succeeded, world};

async fn probe(w: &mut World, path: &str) -> RunId {
    let asked = w.asked("Resources.Probe");
    let answer = w.daemon.engine.probe_resource(asked, path.to_owned()).await.unwrap();
    answer.run.unwrap().id.parse().unwrap()
}

/// A world with a thing on its server.
async fn with_thing(mut w: World) -> World {
    let install = w.install("alpha", "thing", "one").await.unwrap();
    succeeded(&w.end(install, seconds(5)).await.unwrap());
    w
}

/// The real driver: both go on, while each waits for its server.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_look_delays_neither_a_cancel_nor_a_first_contact_its_status() {
    let remote = Arc::new(Scripted::new(Arc::new(SystemClock::new()), Patience::Waits));
    let daemon = daemon::Options::default().remote(Arc::clone(&remote) as _).start().await;
    remote.hold("hello");
    let request = CreateServerRequest {
        request_id: fresh_id(),
        name: "web".to_owned(),
        host: "192.0.2.1".to_owned(),
        host_key: format!("SHA256:{}", "A".repeat(43)),
        ..CreateServerRequest::default()
    };
    let met = daemon.servers().create(request).await.unwrap().into_inner().run.unwrap();
    remote.holding().await;
    let server = daemon.servers().get(GetServerRequest { server: "web".to_owned() }).await.unwrap();
    assert_eq!(server.into_inner().status(), v1::ServerStatus::Updating, "somebody is asking it");
    remote.let_go();
    assert_eq!(settled(&daemon, &met.id).await.outcome(), v1::Outcome::Succeeded);

    remote.script("slow", [Play::held()]);
    let parameters = [("user", "root"), ("expression", "@daily"), ("command", "/usr/bin/true")];
    let request = install("web", "scheduled_task", "slow", &parameters);
    let run = daemon.resources().install(request).await.unwrap().into_inner().run.unwrap();
    until("the payload runs", async || (!remote.witness().is_empty()).then_some(())).await;
    remote.hold("probe");
    let resource = "web/scheduled_task/slow".to_owned();
    let request = ProbeResourceRequest { request_id: fresh_id(), resource };
    let look = daemon.resources().probe(request).await.unwrap().into_inner().run.unwrap();
    remote.holding().await;
    remote.toss(|_, verb| if verb == "probe" { Luck::Lost } else { Luck::Answered });
    let cancel = CancelRunRequest { request_id: fresh_id(), run_id: run.id.clone() };
    daemon.runs().cancel(cancel).await.unwrap();
    until("the payload has been ended", async || remote.witness()[0].gone).await;
    let asked = daemon.runs().get(GetRunRequest { run_id: look.id.clone() }).await.unwrap().into_inner();
    assert_eq!(asked.state(), v1::RunState::Running, "the look is not answered yet");
    remote.toss(|_, _| Luck::Answered);
    remote.let_go();
    assert_eq!(settled(&daemon, &look.id).await.outcome(), v1::Outcome::Succeeded);
    assert_eq!(settled(&daemon, &run.id).await.outcome(), v1::Outcome::Cancelled);
}

#[tokio::test]
async fn p1_a_look_is_stored_as_started_before_its_server_is_asked() {
    let mut w = with_thing(world(&["alpha"]).await).await;
    let alpha = w.server_of("alpha").await.unwrap().id;
    let asked = w.asked("Servers.Probe");
    let answer = w.daemon.engine.probe_server(asked, "alpha".to_owned()).await.unwrap();
    let look = answer.run.unwrap().id.parse().unwrap();
    let verbs = w.remote.verbs();
    w.daemon.runnable();
    w.step(Actor::Readings(alpha), Kill::AfterCommit(1)).await.unwrap();
    assert_eq!(w.remote.verbs(), verbs, "nobody was asked yet");
    assert!(matches!(w.run(look).await.unwrap().state, RunState::Running(_)));
    assert_eq!(w.server_of("alpha").await.unwrap().status, ServerStatus::Updating);
    let run = w.end(look, seconds(30)).await.unwrap();
    ended(&run, Outcome::Succeeded, None, Evidence::Probe);
    assert_eq!(w.server_of("alpha").await.unwrap().status, ServerStatus::Success);
}

#[tokio::test]
async fn p4_a_look_waits_for_its_server_and_ends_well() {
    let mut w = with_thing(world(&["alpha"]).await).await;
    w.remote.cut("alpha", seconds(1_200));
    let look = probe(&mut w, "alpha/thing/one").await;
    w.go(seconds(1_100)).await.unwrap();
    let waits = w.run(look).await.unwrap();
    let waiting = waits.waiting().expect("it says why it waits");
    assert_eq!((waits.state_word(), waiting.reason), ("running", WaitReason::Unreachable));
    assert!(waiting.next_try.is_some());
    assert_eq!(w.server_of("alpha").await.unwrap().reach, Reach::Unreachable);
    succeeded(&w.end(look, seconds(200)).await.unwrap());
}

#[tokio::test]
async fn p6_a_look_at_a_server_that_stays_away_ends_as_unreachable() {
    let mut knobs = knobs();
    knobs.engine.timings.queue_limit = seconds(900);
    let mut w = World::new(1, knobs).await.unwrap();
    w.server("alpha").await.unwrap();
    let mut w = with_thing(w).await;
    w.remote.cut("alpha", seconds(100_000));
    let look = probe(&mut w, "alpha/thing/one").await;
    w.go(seconds(890)).await.unwrap();
    assert!(w.run(look).await.unwrap().verdict().is_none());
    let run = w.end(look, seconds(300)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Unreachable, Evidence::NotStarted);
    let steps = w.daemon.engine.store().read().await.unwrap().db().steps(look).await.unwrap();
    assert_eq!(steps.iter().map(|s| s.state).collect::<Vec<_>>(), [StepState::Rejected]);
}

#[tokio::test]
async fn p9_a_look_that_waits_is_cancelled_at_once() {
    let mut w = with_thing(world(&["alpha"]).await).await;
    w.remote.cut("alpha", seconds(1_200));
    let look = probe(&mut w, "alpha/thing/one").await;
    w.until(look, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    w.cancel(look).await.unwrap();
    let run = w.run(look).await.unwrap();
    ended(&run, Outcome::Cancelled, Reason::Cancelled, Evidence::NotStarted);
}

#[tokio::test]
async fn a_panic_over_a_look_ends_it_at_once_and_nothing_else() {
    let mut w = with_thing(world(&["alpha"]).await).await;
    w.remote.script("long", [Play::takes(seconds(100)), Play::exit(0)]);
    let long = w.install("alpha", "thing", "long").await.unwrap();
    w.until(long, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.remote.once("probe", Luck::PanicsAfter);
    let look = probe(&mut w, "alpha/thing/one").await;
    let run = w.end(look, seconds(1)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Internal, Evidence::NotStarted);
    let run = w.end(long, seconds(120)).await.unwrap();
    succeeded(&run);
    assert_eq!(run.position().attempt, 1);
}
