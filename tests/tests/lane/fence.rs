//! P3: a daemon that lost its lane writes nothing any more, whatever it was about to write.

use std::collections::BTreeMap;
use std::time::Duration;

use settled::domain::resource::Presence;
use settled::domain::run::Event;
use settled::domain::server::Reach;
use settled::domain::waiting::WaitReason;
use settled::engine::{Advance, LaneError, LaneHold};
use settled_tests::sim::World;

use super::{seconds, world};

/// A lane in the test's own hands: the daemon's has been given back.
async fn take(w: &mut World) -> LaneHold {
    w.go(seconds(60)).await.unwrap();
    let server = w.server_of("alpha").await.unwrap().id;
    w.daemon.engine.take_lane(server).await.unwrap()
}

async fn last_seq(w: &World) -> i64 {
    w.daemon.engine.store().read().await.unwrap().db().last_seq().await.unwrap()
}

fn lost<T: std::fmt::Debug>(answer: &Result<T, LaneError>) {
    assert!(matches!(answer, Err(LaneError::Lost)), "{answer:?}");
}

#[tokio::test]
async fn p3_between_losing_a_lane_and_its_next_owner_nothing_is_written() {
    let mut w = world(&["alpha"]).await;
    let hold = take(&mut w).await;
    let id = w.install("alpha", "thing", "one").await.unwrap();
    let asked = w.asked("Servers.Probe");
    let probe = w.daemon.engine.probe_server(asked, "alpha".to_owned()).await.unwrap();
    let probe = probe.run.unwrap().id.parse().unwrap();
    let engine = w.daemon.engine.clone();
    let advance = |run, event| Advance { run, event, end: None, outlines: [].into() };
    let started = || Event::Started { timeout: Duration::from_secs(60) };
    for run in [id, probe] {
        engine.advance(hold, advance(run, started())).await.unwrap();
    }
    let resource = w.resource("alpha/thing/one").await.unwrap().unwrap().id;

    engine.release_lane(hold).await.unwrap();
    let before = last_seq(&w).await;
    let waits =
        Event::Waits { reason: WaitReason::Unreachable, who: "the network".to_owned(), next_try: None };
    lost(&engine.advance(hold, advance(id, waits)).await);
    lost(&engine.set_reach(hold, Reach::Unreachable, "away".to_owned()).await);
    lost(&engine.observe(hold, resource, Presence::Absent, BTreeMap::new()).await);
    lost(&engine.met_server(hold, probe, BTreeMap::new()).await);
    assert_eq!(last_seq(&w).await, before);
}
