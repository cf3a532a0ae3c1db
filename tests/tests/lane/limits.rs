//! P6: a run ends when it was published to end, whatever the settings are by then, and however many end with it.

use std::collections::BTreeMap;

use settled::clock::Clock as _;
use settled::domain::id::RunId;
use settled::domain::run::Run;
use settled::domain::time::Timestamp;
use settled::domain::turn::Turn;
use settled::engine::{Install, Limits};
use settled_tests::scripted::Play;
use settled_tests::sim::World;

use super::{seconds, world};

/// By when a run was published to settle, in its row.
async fn published(w: &World, id: RunId) -> Timestamp {
    let row = w.daemon.engine.store().read().await.unwrap().db().run_row(id).await.unwrap().unwrap();
    Timestamp(row.settles_by.expect("it is open"))
}

/// How long after this time a run ended.
fn late(run: &Run, published: Timestamp) -> u64 {
    let at = run.verdict().expect("it is over").at;
    assert!(at > published, "it was settled before its time: {run:#?}");
    at.since(published).as_secs()
}

#[tokio::test]
async fn p6_a_restart_with_another_margin_moves_nothing_that_was_published() {
    for margin in [60, 600] {
        let mut w = world(&["alpha"]).await;
        w.remote.script("work", [Play::takes(seconds(10_000))]);
        let id = w.install("alpha", "task", "work").await.unwrap();
        w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
        w.go(seconds(1)).await.unwrap();
        w.remote.cut("alpha", seconds(100_000));
        let by = published(&w, id).await;
        w.restart_with(|knobs| knobs.engine.timings.settle_margin = seconds(margin)).await.unwrap();
        let run = w.end(id, seconds(2_000)).await.unwrap();
        assert!(late(&run, by) <= 10, "published {by:?}: {run:#?}");
    }
}

#[tokio::test]
async fn p6_a_restart_with_another_queue_limit_moves_no_wait_between_two_tries() {
    let mut w = world(&["alpha"]).await;
    w.remote.hold_dpkg("alpha", "unattended-upgr", seconds(200_000));
    let id = w.install("alpha", "task", "work").await.unwrap();
    w.until(id, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    let by = published(&w, id).await;
    w.restart_with(|knobs| knobs.engine.timings.queue_limit = seconds(7_200)).await.unwrap();
    w.go(seconds(8_000)).await.unwrap();
    assert!(w.run(id).await.unwrap().verdict().is_none(), "it has its day");
    assert_eq!(published(&w, id).await, by);
}

#[tokio::test]
async fn p6_a_reloaded_queue_limit_is_that_of_the_waits_of_what_comes_after_it() {
    let mut w = world(&["alpha"]).await;
    let limits = Limits { queue_limit: seconds(3_600), ..w.daemon.engine.limits() };
    w.daemon.engine.set_limits(limits);
    w.remote.hold_dpkg("alpha", "unattended-upgr", seconds(200_000));
    let id = w.install("alpha", "task", "work").await.unwrap();
    let waits = w.until(id, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    let since = waits.waiting().unwrap().since;
    assert_eq!(published(&w, id).await, since + seconds(3_600));
    let run = w.end(id, seconds(3_700)).await.unwrap();
    assert!(run.verdict().unwrap().at.since(since) <= seconds(3_610), "{run:#?}");
}

async fn queue(w: &mut World, runs: usize, limit: u64) {
    w.go(seconds(70)).await.unwrap();
    w.remote.cut("alpha", seconds(100_000));
    for n in 0..runs {
        let ask = Install {
            server: "alpha".to_owned(),
            package: "thing".to_owned(),
            name: format!("n{n}"),
            parameters: BTreeMap::new(),
            secrets: BTreeMap::new(),
            with_requirements: false,
            turn: Turn { limit: Some(seconds(limit)), ..Turn::default() },
        };
        let asked = w.asked("Resources.Install");
        w.daemon.engine.install(asked, ask).await.unwrap();
    }
}

/// The reconciler looks every 10 s, and nobody else does anything; how many it settled at each look.
async fn looks(w: &mut World, span: u64) -> Vec<usize> {
    let mut settled = Vec::new();
    for _ in 0..span / 10 {
        w.move_to(w.clock.monotonic() + seconds(10));
        settled.push(w.daemon.reconcile().await.unwrap().settled.len());
    }
    settled
}

#[tokio::test]
async fn p6_one_look_settles_all_that_is_overdue_however_many() {
    let mut w = world(&["alpha"]).await;
    queue(&mut w, 600, 60).await;
    assert_eq!(looks(&mut w, 80).await.into_iter().find(|n| *n > 0), Some(600));
}

#[tokio::test]
async fn p6_a_row_that_does_not_read_keeps_no_other_from_settling() {
    let mut w = world(&["alpha"]).await;
    queue(&mut w, 300, 60).await;
    // As many as are looked at in one go, and before all others.
    let broken = "UPDATE run SET wait_reason = 'nonsense', wait_since = 1, settles_by = settles_by - 1 \
                  WHERE id IN (SELECT id FROM run WHERE state = 'queued' ORDER BY id LIMIT 256)";
    w.change_store(broken).await.unwrap();
    assert_eq!(looks(&mut w, 80).await.into_iter().sum::<usize>(), 300 - 256);
}
