//! P7: what a verdict rests on is kept in full; what a server shows afterwards is kept beside it, and changes nothing of it.

use settled::domain::grounds::Source;
use settled::domain::id::RunId;
use settled::domain::resource::Presence;
use settled::domain::step::{Cause, StepState};
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::store::rows::StepRecord;
use settled_tests::scripted::{End, Play};
use settled_tests::sim::World;

use super::{ended, seconds, world};

/// The run as it is stored, to the last byte.
async fn stored(w: &World, run: RunId) -> String {
    let row = w.daemon.engine.store().read().await.unwrap().db().run_row(run).await.unwrap().unwrap();
    serde_json::to_string(&row).unwrap()
}

async fn step_of(w: &World, run: RunId) -> StepRecord {
    w.daemon.engine.store().read().await.unwrap().db().steps(run).await.unwrap().remove(0)
}

async fn last_seq(w: &World) -> i64 {
    w.daemon.engine.store().read().await.unwrap().db().last_seq().await.unwrap()
}

#[tokio::test]
async fn p7_late_evidence_is_kept_with_the_step_and_its_run_stays_as_it_is_byte_for_byte() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("one", [Play::takes(seconds(10_000))]);
    let id = w.install("alpha", "thing", "one").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.go(seconds(1)).await.unwrap();
    w.remote.cut("alpha", seconds(2_000));
    let run = w.end(id, seconds(1_000)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    assert_eq!(run.grounds.as_ref().unwrap().source, Source::Time);
    let (before, seq) = (stored(&w, id).await, last_seq(&w).await);
    assert_eq!(step_of(&w, id).await.late, None);

    w.remote.put("alpha", "one", "7");
    w.go(seconds(2_000)).await.unwrap();
    let step = step_of(&w, id).await;
    let late = step.late.as_ref().expect("its server has the exit record");
    assert_eq!((step.state, late.grounds.exit), (StepState::Lost, Some((143, Cause::Deadline))));
    assert!(late.text.contains("at its deadline, with exit code 143"), "{}", late.text);
    assert_eq!(stored(&w, id).await, before);

    let told = w.daemon.engine.store().read().await.unwrap().db().transitions(seq, 1_000).await.unwrap();
    let told: Vec<_> = told.iter().filter(|row| row.run_id == Some(id.to_string())).collect();
    let [told] = told[..] else { panic!("watchers hear of it once: {told:#?}") };
    assert_eq!((told.kind.as_str(), told.object_id.as_str()), ("step", step.id.to_string().as_str()));
    let seen = w.resource("alpha/thing/one").await.unwrap().unwrap().observed.expect("a look follows");
    assert_eq!((seen.presence, seen.at >= late.at), (Presence::Present, true));
}

#[tokio::test]
async fn p7_a_lost_step_tells_both_boots_and_whether_its_lane_was_free() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("work", [Play::takes(seconds(50))]);
    let id = w.install("alpha", "task", "work").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.go(seconds(10)).await.unwrap();
    w.remote.reboot("alpha");
    let run = w.end(id, seconds(60)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    let grounds = run.grounds.unwrap();
    assert_eq!((grounds.source, grounds.exit), (Source::Server, None));
    assert_eq!(grounds.step.map(|step| step.run), Some(id));
    let seen = grounds.seen;
    assert_eq!(
        (seen.why.as_str(), seen.boot_before.as_str(), seen.boot_now.as_str()),
        ("reboot", "boot-1", "boot-2")
    );
    assert_eq!((seen.lane_free, seen.probe), (Some(true), None));
}

#[tokio::test]
async fn p7_a_success_by_proof_keeps_what_proved_it() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("one", [Play::exit(0), Play::takes(seconds(5)).ending(End::NoRecord { done: true })]);
    let id = w.install("alpha", "thing", "one").await.unwrap();
    let run = w.end(id, seconds(60)).await.unwrap();
    ended(&run, Outcome::Succeeded, None, Evidence::Probe);
    let grounds = run.grounds.unwrap();
    let probe = grounds.seen.probe.expect("the probe proved it");
    assert_eq!((grounds.source, grounds.seen.why.as_str()), (Source::Probe, "supervisor-killed"));
    assert_eq!((probe.presence, probe.facts), (Presence::Present, [("version".into(), "1".into())].into()));
}
