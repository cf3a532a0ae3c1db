//! P6: a run ends when it was published to end, whatever the settings are by then.

use settled::domain::id::RunId;
use settled::domain::run::Run;
use settled::domain::time::Timestamp;
use settled::engine::Limits;
use settled_tests::scripted::Play;
use settled_tests::sim::{World, knobs};

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
        let mut other = knobs();
        other.engine.timings.settle_margin = seconds(margin);
        w.restart_with(other).await.unwrap();
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
    let mut other = knobs();
    other.engine.timings.queue_limit = seconds(7_200);
    w.restart_with(other).await.unwrap();
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
