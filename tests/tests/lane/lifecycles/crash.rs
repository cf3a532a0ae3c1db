//! A daemon that dies at any commit of a stage loses none of it, and does nothing twice.

use settled_tests::scripted::Play;
use settled_tests::sim::{Actor, Kill};

use super::super::executions;
use super::*;

#[tokio::test]
async fn p5_a_stage_whose_daemon_dies_at_any_time_is_executed_once() {
    for dies_after in 0..12 {
        let mut h = house(&["alpha"]).await;
        h.apply(&lifecycle("", &[("put", THING), ("ask", ASK)])).await;
        h.w.remote.script("one", [Play::takes(seconds(2)), Play::takes(seconds(2))]);
        h.enroll("server/alpha").await;
        h.look().await;
        let run = h.run_of("server/alpha").await;
        let mut steps = 0;
        while h.w.run(run).await.unwrap().verdict().is_none() {
            let Some(actor) = h.w.daemon.runnable().first().copied() else {
                let due = h.w.daemon.next_due();
                h.w.move_to(due);
                continue;
            };
            let lane = matches!(actor, Actor::Lane(_));
            let kill = if lane && steps == dies_after { Kill::AfterCommit(1) } else { Kill::Never };
            steps += usize::from(lane);
            h.w.step(actor, kill).await.unwrap();
        }
        // It also dies before anybody has noticed that the run is over.
        h.w.restart().await.unwrap();
        h.works().await;
        let after = h.enrollment("server/alpha").await;
        assert_eq!(
            (after.stage.as_str(), after.status()),
            ("ask", Status::Processing),
            "dies after {dies_after}"
        );
        let run = h.w.run(run).await.unwrap();
        assert_eq!((executions(&h.w, &run), after.attempt), (2, 1), "each of its two steps once");
        assert_eq!(h.log().await, ["put 1 succeeded"]);
    }
}

#[tokio::test]
async fn p3_two_daemons_that_look_at_once_begin_a_stage_once() {
    let mut h = house(&["alpha"]).await;
    h.apply(&lifecycle("", &[("put", THING)])).await;
    h.enroll("server/alpha").await;
    let engine = h.w.daemon.engine.clone();
    let lifecycle = engine.store().read().await.unwrap().db().lifecycle_by_code("c").await.unwrap().unwrap();
    let mut reader = engine.store().read().await.unwrap();
    let seen = reader.db().due(lifecycle.id, h.w.clock.now(), 10).await.unwrap().remove(0);
    drop(reader);
    let (one, two) = tokio::join!(engine.step_enrollment(&seen), engine.step_enrollment(&seen));
    one.unwrap();
    two.unwrap();
    let after = h.enrollment("server/alpha").await;
    assert_eq!((after.attempt, after.status()), (1, Status::Processing));
    h.works().await;
    assert_eq!(h.log().await, ["put 1 succeeded"]);
}
