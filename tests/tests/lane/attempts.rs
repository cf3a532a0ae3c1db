//! Attempts: how many, when, and which status the resource shows meanwhile.

use settled::domain::server::Reach;
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::domain::waiting::WaitReason;
use settled_tests::scripted::{End, Luck, Play};

use super::{ended, executions, seconds, succeeded, world};

#[tokio::test]
async fn three_failures_end_a_run_and_the_status_stays_in_progress_between_them() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("bad", [Play::exit(1).writes(seconds(0), "no space left\n")]);
    let id = w.install("alpha", "thing", "bad").await.unwrap();
    for (attempt, pause) in [(2, 30), (3, 60)] {
        let waits = w.until(id, seconds(2), |run| run.position().attempt == attempt).await.unwrap();
        let waiting = waits.waiting().unwrap();
        assert_eq!(waiting.reason, WaitReason::Backoff);
        assert_eq!(waiting.next_try, Some(waiting.since + seconds(pause)));
        assert_eq!(w.status("alpha/thing/bad").await.unwrap(), "installing");
        w.go(seconds(pause - 1)).await.unwrap();
        assert_eq!(executions(&w, &waits), attempt as usize - 1, "the pause is kept");
        w.go(seconds(1)).await.unwrap();
    }
    let run = w.end(id, seconds(2)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::AttemptsExhausted, Evidence::ExitRecord);
    assert_eq!(executions(&w, &run), 3);
    let resource = w.resource("alpha/thing/bad").await.unwrap().unwrap();
    let error = resource.last_error.unwrap();
    assert_eq!((error.step.as_str(), error.exit_code), ("Get the thing ready", Some(1)));
    assert_eq!(error.last_lines, "no space left");
    assert_eq!(w.checker.statuses["bad"], ["pending", "installing", "failed"]);
    assert!(resource.observed.is_some(), "a look follows a failure");
}

#[tokio::test]
async fn an_exit_that_makes_a_retry_pointless_ends_the_run() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("bad", [Play::exit(78)]);
    let run = w.install("alpha", "thing", "bad").await.unwrap();
    let run = w.end(run, seconds(5)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::FinalCode, Evidence::ExitRecord);
    assert_eq!(executions(&w, &run), 1);
}

#[tokio::test]
async fn a_timeout_ends_the_run_on_the_server_and_is_not_tried_again() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("slow", [Play::takes(seconds(10_000))]);
    let run = w.install("alpha", "task", "slow").await.unwrap();
    let run = w.end(run, seconds(200)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Timeout, Evidence::ExitRecord);
    let witness = w.remote.witness();
    assert_eq!(witness.len(), 1);
    assert_eq!(
        witness[0].gone.unwrap().saturating_sub(witness[0].began),
        seconds(121),
        "120 s and the second it took to die"
    );
}

#[tokio::test]
async fn a_timeout_is_tried_again_where_the_operation_says_so() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("slow", [Play::exit(0), Play::takes(seconds(10_000)), Play::exit(0)]);
    let install = w.install("alpha", "task", "slow").await.unwrap();
    succeeded(&w.end(install, seconds(5)).await.unwrap());
    let update = w.operate("alpha/task/slow", "update").await.unwrap();
    let run = w.end(update, seconds(300)).await.unwrap();
    succeeded(&run);
    assert_eq!(run.position().attempt, 2);
}

#[tokio::test]
async fn a_failed_install_is_retried_on_the_same_record() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("bad", [Play::exit(78), Play::exit(0)]);
    let first = w.install("alpha", "thing", "bad").await.unwrap();
    w.end(first, seconds(5)).await.unwrap();
    let before = w.resource("alpha/thing/bad").await.unwrap().unwrap();
    let retry = w.retry("alpha/thing/bad").await.unwrap();
    assert_eq!(w.status("alpha/thing/bad").await.unwrap(), "pending");
    let run = w.end(retry, seconds(5)).await.unwrap();
    succeeded(&run);
    assert_eq!(run.retry_of, Some(first));
    let after = w.resource("alpha/thing/bad").await.unwrap().unwrap();
    assert_eq!((after.id, after.last_error), (before.id, None));
    assert_eq!(
        w.checker.statuses["bad"],
        ["pending", "installing", "failed", "pending", "installing", "active"]
    );
}

#[tokio::test]
async fn a_failed_update_is_retried_as_an_update() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("one", [Play::exit(0), Play::exit(0), Play::exit(78), Play::exit(0)]);
    let install = w.install("alpha", "thing", "one").await.unwrap();
    succeeded(&w.end(install, seconds(5)).await.unwrap());
    let update = w.operate("alpha/thing/one", "update").await.unwrap();
    assert_eq!(w.status("alpha/thing/one").await.unwrap(), "active");
    ended(
        &w.end(update, seconds(5)).await.unwrap(),
        Outcome::Failed,
        Reason::FinalCode,
        Evidence::ExitRecord,
    );
    let failed = w.resource("alpha/thing/one").await.unwrap().unwrap();
    assert!(!failed.applied.unwrap().known, "nobody knows what holds after a failed change");
    let retry = w.retry("alpha/thing/one").await.unwrap();
    let run = w.end(retry, seconds(5)).await.unwrap();
    succeeded(&run);
    assert_eq!(run.operation.as_str(), "update");
    assert_eq!(w.remote.thing("alpha", "one").as_deref(), Some("2"));
    let resource = w.resource("alpha/thing/one").await.unwrap().unwrap();
    assert_eq!(resource.applied.unwrap().params["version"], "2");
    assert_eq!(
        w.checker.statuses["one"],
        ["pending", "installing", "active", "updating", "failed", "pending", "updating", "active"]
    );
}

#[tokio::test]
async fn a_failed_pause_gives_back_the_earlier_status() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("one", [Play::exit(0), Play::exit(0), Play::exit(78), Play::exit(0)]);
    let install = w.install("alpha", "thing", "one").await.unwrap();
    succeeded(&w.end(install, seconds(5)).await.unwrap());
    for (word, status) in [("pause", "active"), ("pause", "paused"), ("resume", "active")] {
        let run = w.operate("alpha/thing/one", word).await.unwrap();
        w.end(run, seconds(5)).await.unwrap();
        assert_eq!(w.status("alpha/thing/one").await.unwrap(), status);
    }
}

#[tokio::test]
async fn p7_a_lost_step_is_judged_by_the_probe() {
    for (done, outcome, reason, evidence) in [
        (true, Outcome::Succeeded, None, Evidence::Probe),
        (false, Outcome::Failed, Some(Reason::AttemptsExhausted), Evidence::Probe),
    ] {
        let mut w = world(&["alpha"]).await;
        let lost = Play::takes(seconds(5)).ending(End::NoRecord { done });
        w.remote
            .decide(move |_, spec| if spec.script.contains("put") { lost.clone() } else { Play::exit(0) });
        let run = w.install("alpha", "thing", "one").await.unwrap();
        let run = w.end(run, seconds(300)).await.unwrap();
        ended(&run, outcome, reason, evidence);
    }
}

#[tokio::test]
async fn p7_a_lost_step_that_nothing_proves_is_lost() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("work", [Play::takes(seconds(50))]);
    let run = w.install("alpha", "task", "work").await.unwrap();
    w.until(run, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.go(seconds(10)).await.unwrap();
    w.remote.reboot("alpha");
    let run = w.end(run, seconds(60)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    assert!(run.verdict().unwrap().failure.as_ref().unwrap().message.contains("reboot"), "{run:#?}");
    assert_eq!(executions(&w, &run), 1, "nobody knows, so nobody tries again");
}

#[tokio::test]
async fn a_look_whose_answer_nobody_understands_is_a_fault_and_no_refusal() {
    let mut w = world(&["alpha"]).await;
    let install = w.install("alpha", "thing", "one").await.unwrap();
    succeeded(&w.end(install, seconds(5)).await.unwrap());
    w.remote.once("probe", Luck::Garbled);
    let asked = w.asked("Resources.Probe");
    let answer = w.daemon.engine.probe_resource(asked, "alpha/thing/one".to_owned()).await.unwrap();
    let probe = w.end(answer.run.unwrap().id.parse().unwrap(), seconds(30)).await.unwrap();
    ended(&probe, Outcome::Failed, Reason::Internal, Evidence::NotStarted);
    assert_eq!(w.server_of("alpha").await.unwrap().reach, Reach::Ok);
}

#[tokio::test]
async fn an_own_operation_does_not_wake_what_is_paused_and_a_change_forgets_what_was_seen_before() {
    let mut w = world(&["alpha"]).await;
    let install = w.install("alpha", "thing", "one").await.unwrap();
    w.end(install, seconds(60)).await.unwrap();
    w.remote.decide(|_, _| Play::exit(78));
    let shake = w.operate("alpha/thing/one", "shake").await.unwrap();
    w.end(shake, seconds(900)).await.unwrap();
    let seen = |r: settled::domain::resource::Resource| r.observed.is_some();
    assert!(w.resource("alpha/thing/one").await.unwrap().is_some_and(seen), "looked at after the failure");

    w.remote.decide(|_, _| Play::exit(0));
    let pause = w.operate("alpha/thing/one", "pause").await.unwrap();
    w.end(pause, seconds(60)).await.unwrap();
    assert!(!w.resource("alpha/thing/one").await.unwrap().is_some_and(seen));
    let shake = w.operate("alpha/thing/one", "shake").await.unwrap();
    succeeded(&w.end(shake, seconds(60)).await.unwrap());
    assert_eq!(w.status("alpha/thing/one").await.unwrap(), "paused");
}
