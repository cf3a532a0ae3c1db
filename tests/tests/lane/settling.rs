//! P6 and P7: what time settles, what it says then, and when it does not.

use settled::domain::turn::Turn;
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::domain::waiting::WaitReason;
use settled::engine::Install;
use settled_tests::scripted::Play;

use super::{ended, executions, seconds, succeeded, world};

#[tokio::test]
async fn p7_an_unreachable_running_run_is_settled_without_proof_and_blocks_its_lane() {
    let mut w = world(&["alpha"]).await;
    // The server would end it after 120 s and 30 s of grace; nobody hears of it.
    let mut stubborn = Play::takes(seconds(10_000));
    stubborn.after_term = seconds(1_000);
    w.remote.script("work", [stubborn]);
    let id = w.install("alpha", "task", "work").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.go(seconds(10)).await.unwrap();
    w.remote.cut("alpha", seconds(600));
    let next = w.install("alpha", "thing", "next").await.unwrap();
    w.go(seconds(250)).await.unwrap();
    assert!(w.run(id).await.unwrap().verdict().is_none(), "120 + 30 + 120 s are not over");
    let run = w.end(id, seconds(30)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    assert!(run.verdict().unwrap().reconciled);
    assert_eq!(w.status("alpha/task/work").await.unwrap(), "failed");

    w.go(seconds(200)).await.unwrap();
    assert_eq!(executions(&w, &w.run(next).await.unwrap()), 0, "nothing starts beside what may still run");
    succeeded(&w.end(next, seconds(300)).await.unwrap());
    ended(&w.run(id).await.unwrap(), Outcome::Failed, Reason::Lost, Evidence::None);
}

#[tokio::test]
async fn p3_nothing_starts_beside_a_settled_step_that_still_runs() {
    let mut w = world(&["alpha"]).await;
    let orphan = Play::takes(seconds(5)).ending(settled_tests::scripted::End::Orphan(seconds(2_000)));
    w.remote.script("work", [orphan]);
    let id = w.install("alpha", "task", "work").await.unwrap();
    let next = w.install("alpha", "thing", "next").await.unwrap();
    let run = w.end(id, seconds(600)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    w.go(seconds(600)).await.unwrap();
    let waits = w.run(next).await.unwrap();
    assert_eq!(waits.waiting().map(|w| w.reason), Some(WaitReason::Unresolved), "{waits:#?}");
    assert_eq!((executions(&w, &waits), waits.position().attempt), (0, 0));
    succeeded(&w.end(next, seconds(2_000)).await.unwrap());
}

#[tokio::test]
async fn p6_a_run_that_stays_queued_beyond_its_limit_was_never_started() {
    let mut w = world(&["alpha"]).await;
    w.go(seconds(60)).await.unwrap();
    w.remote.cut("alpha", seconds(7_200));
    let asked = w.asked("Resources.Install");
    let ask = Install {
        server: "alpha".to_owned(),
        package: "thing".to_owned(),
        name: "one".to_owned(),
        parameters: std::collections::BTreeMap::new(),
        secrets: std::collections::BTreeMap::new(),
        turn: Turn { limit: Some(seconds(3_600)), ..Turn::default() },
        with_requirements: false,
    };
    let answer = w.daemon.engine.install(asked, ask).await.unwrap();
    let id = answer.run.unwrap().id.parse().unwrap();
    w.go(seconds(3_599)).await.unwrap();
    assert!(w.run(id).await.unwrap().verdict().is_none());
    let run = w.end(id, seconds(10)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::NeverStarted, Evidence::NotStarted);
    assert_eq!((run.position().attempt, executions(&w, &run)), (0, 0));
    assert_eq!(w.status("alpha/thing/one").await.unwrap(), "failed");
}

#[tokio::test]
async fn p7_a_second_look_of_the_reconciler_changes_nothing() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("work", [Play::takes(seconds(10_000))]);
    let id = w.install("alpha", "task", "work").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.go(seconds(1)).await.unwrap();
    w.remote.cut("alpha", seconds(100_000));
    w.end(id, seconds(400)).await.unwrap();
    let before = w.daemon.engine.store().read().await.unwrap().db().last_seq().await.unwrap();
    let report = w.daemon.reconcile().await.unwrap();
    assert_eq!((report.settled.len(), report.released.len()), (0, 0));
    let after = w.daemon.engine.store().read().await.unwrap().db().last_seq().await.unwrap();
    assert_eq!(before, after);
}

#[tokio::test]
async fn p6_nothing_is_settled_by_time_in_the_first_minute_after_a_start_or_a_jump_of_the_clock() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("work", [Play::takes(seconds(10_000))]);
    let id = w.install("alpha", "task", "work").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.go(seconds(1)).await.unwrap();
    w.remote.cut("alpha", seconds(1_000));
    w.daemon.stop_reconciling();
    // The daemon is dead for a long time: the run's time passes without anyone who could ask the server.
    w.move_to(std::time::Duration::from_secs(900));
    w.restart().await.unwrap();
    w.go(seconds(59)).await.unwrap();
    assert!(w.run(id).await.unwrap().verdict().is_none(), "nothing is settled in the first minute");
    w.clock.jump(seconds(3_600));
    w.go(seconds(40)).await.unwrap();
    assert!(w.run(id).await.unwrap().verdict().is_none(), "a jump begins the minute anew");
    let run = w.end(id, seconds(60)).await.unwrap();
    assert!(run.verdict().is_some());
}

#[tokio::test]
async fn p3_a_step_that_was_given_up_without_proof_stays_on_the_list_of_its_lane() {
    let mut w = world(&["alpha"]).await;
    let id = w.install("alpha", "task", "work").await.unwrap();
    let live = w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap().live_step().unwrap();
    let mut other = Play::takes(seconds(2_000));
    other.after_term = seconds(100);
    w.remote.plant("alpha", live, other);
    let next = w.install("alpha", "thing", "next").await.unwrap();
    // Its time is 120 s, 30 s of grace and 120 s of margin.
    let run = w.end(id, seconds(280)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    assert_eq!(w.unresolved("alpha").await.unwrap(), [live.to_string()]);
    w.go(seconds(60)).await.unwrap();
    let waits = w.run(next).await.unwrap();
    assert_eq!(waits.waiting().map(|w| w.reason), Some(WaitReason::Unresolved), "{waits:#?}");
    succeeded(&w.end(next, seconds(200)).await.unwrap());
    assert!(w.unresolved("alpha").await.unwrap().is_empty());
}

#[tokio::test]
async fn p7_other_content_under_the_id_of_a_try_is_not_judged_before_it_has_ended() {
    let mut w = world(&["alpha"]).await;
    let id = w.install("alpha", "task", "work").await.unwrap();
    let live = w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap().live_step().unwrap();
    w.remote.plant("alpha", live, Play::takes(seconds(50)));
    w.go(seconds(40)).await.unwrap();
    let waits = w.run(id).await.unwrap();
    let waiting = waits.waiting().expect("it waits");
    assert_eq!(waiting.reason, WaitReason::Unresolved);
    assert!(waiting.who.contains(&format!("`settlectl run cancel {id}`")), "{}", waiting.who);
    let run = w.end(id, seconds(60)).await.unwrap();
    // Its exit code is that of something else, and the package cannot prove anything.
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    assert!(w.unresolved("alpha").await.unwrap().is_empty(), "it is proven to have ended");
    let ran = w.remote.witness();
    assert_eq!(ran.iter().map(|ran| (ran.id, ran.code)).collect::<Vec<_>>(), [(live, Some(0))], "unharmed");
}

#[tokio::test]
async fn p9_other_content_under_the_id_of_a_try_is_ended_by_a_cancel() {
    let mut w = world(&["alpha"]).await;
    let id = w.install("alpha", "task", "work").await.unwrap();
    let live = w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap().live_step().unwrap();
    w.remote.plant("alpha", live, Play::takes(seconds(2_000)));
    w.go(seconds(40)).await.unwrap();
    w.cancel(id).await.unwrap();
    let run = w.end(id, seconds(60)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    assert!(w.remote.witness().iter().all(|ran| ran.gone.is_some()));
    assert!(w.unresolved("alpha").await.unwrap().is_empty());
}

#[tokio::test]
async fn p7_a_step_that_its_server_has_shown_to_be_lost_blocks_nobody() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("work", [Play::takes(seconds(50))]);
    let id = w.install("alpha", "task", "work").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.go(seconds(10)).await.unwrap();
    w.remote.reboot("alpha");
    let run = w.end(id, seconds(60)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    assert!(w.unresolved("alpha").await.unwrap().is_empty(), "it is proven to have ended, only not how");
}

#[tokio::test]
async fn p6_after_a_sleep_of_the_daemon_nothing_is_settled_in_the_first_minute() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("work", [Play::takes(seconds(10_000))]);
    let id = w.install("alpha", "task", "work").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.go(seconds(1)).await.unwrap();
    w.remote.cut("alpha", seconds(10_000));
    // SIGSTOP: both clocks go on, and nobody looks at them.
    w.move_to(seconds(900));
    w.clock.forgive();
    w.go(seconds(58)).await.unwrap();
    assert!(w.run(id).await.unwrap().verdict().is_none(), "its server may have been reachable all the time");
    let run = w.end(id, seconds(30)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
}

#[tokio::test]
async fn p4_a_try_that_never_reached_its_server_is_waited_for() {
    let mut w = world(&["alpha"]).await;
    let id = w.install("alpha", "task", "work").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    assert!(w.remote.witness().is_empty(), "the intent is stored, nothing is sent yet");
    w.remote.cut("alpha", seconds(1_800));
    w.go(seconds(1_700)).await.unwrap();
    let waits = w.run(id).await.unwrap();
    assert_eq!(waits.waiting().map(|w| w.reason), Some(WaitReason::Unreachable), "{waits:#?}");
    let run = w.end(id, seconds(400)).await.unwrap();
    succeeded(&run);
    assert_eq!((run.position().attempt, run.position().try_no), (1, 1));
    assert_eq!(executions(&w, &run), 1);
}

#[tokio::test]
async fn p6_a_try_that_never_reaches_its_server_settles_within_the_limit_of_its_run() {
    let mut w = world(&["alpha"]).await;
    let asked = w.asked("Resources.Install");
    let ask = Install {
        server: "alpha".to_owned(),
        package: "task".to_owned(),
        name: "work".to_owned(),
        parameters: std::collections::BTreeMap::new(),
        secrets: std::collections::BTreeMap::new(),
        turn: Turn { limit: Some(seconds(3_600)), ..Turn::default() },
        with_requirements: false,
    };
    let answer = w.daemon.engine.install(asked, ask).await.unwrap();
    let id = answer.run.unwrap().id.parse().unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.remote.cut("alpha", seconds(100_000));
    w.go(seconds(3_590)).await.unwrap();
    assert!(w.run(id).await.unwrap().verdict().is_none());
    // The last try may be sent at the limit; it has 120 s, 30 s of grace and 120 s of margin.
    let run = w.end(id, seconds(300)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    assert!(run.verdict().unwrap().reconciled);
    assert_eq!(w.unresolved("alpha").await.unwrap().len(), 1, "it may have come through");
}

#[tokio::test]
async fn a_look_follows_a_settlement_by_time() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("one", [Play::takes(seconds(10_000))]);
    let id = w.install("alpha", "thing", "one").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.go(seconds(1)).await.unwrap();
    w.remote.cut("alpha", seconds(2_000));
    let run = w.end(id, seconds(1_000)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    w.remote.put("alpha", "one", "7");
    w.go(seconds(2_000)).await.unwrap();
    let seen = w.resource("alpha/thing/one").await.unwrap().unwrap().observed.expect("a look follows");
    assert_eq!(seen.facts["version"], "7");
}
