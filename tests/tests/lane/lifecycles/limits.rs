//! What has an end, what uses an attempt, and what begins nothing: stages that cannot begin, workers who put off, lifecycles at rest.

use settled::domain::verdict::Reason;
use settled_tests::scripted::Play;

use super::*;

#[tokio::test]
async fn what_cannot_begin_whatever_is_waited_for_is_a_failed_execution() {
    let mut h = house(&["alpha"]).await;
    let run = h.w.install("alpha", "thing", "one").await.unwrap();
    h.w.end(run, seconds(60)).await.unwrap();
    let resume = "action = { operation = \"resume\", package = \"thing\", name = \"one\" }";
    h.apply(&lifecycle("", &[("wake", resume)])).await;
    h.enroll("server/alpha").await;
    h.works().await;
    let failed = h.enrollment("server/alpha").await;
    assert_eq!((failed.status(), failed.attempt, failed.deferrals), (Status::Pending, 1, 0));
    assert!(failed.last_error.contains("it is not paused"), "{}", failed.last_error);
    assert_eq!(failed.due().unwrap().since(failed.updated_at), HOUR);
}

#[tokio::test]
async fn an_install_that_failed_is_done_again_with_the_values_of_now() {
    let mut h = house(&["alpha"]).await;
    let put = "action = { operation = \"install\", package = \"thing\", name = \"one\", set = { version = { from = \"payload.release\" } } }";
    h.apply(&lifecycle("", &[("put", put)])).await;
    h.w.remote.script("one", [Play::exit(1), Play::exit(0), Play::exit(0)]);
    let with = |release: &str| format!("{{\"release\":\"{release}\"}}");
    h.enroll_as(Enroll { payload: with("7"), ..enroll("server/alpha") }).await.unwrap();
    h.works().await;
    assert_eq!(h.enrollment("server/alpha").await.attempt, 1);
    h.enroll_as(Enroll { payload: with("8"), again: true, ..enroll("server/alpha") }).await.unwrap();
    h.works().await;
    assert_eq!(h.status("server/alpha").await, Status::Completed);
    let resource = h.w.resource("alpha/thing/one").await.unwrap().unwrap();
    assert_eq!(resource.applied.unwrap().params["version"], "8");
}

#[tokio::test]
async fn a_worker_who_puts_off_again_and_again_makes_the_wait_no_longer() {
    let mut h = house(&[]).await;
    h.apply(&lifecycle("", &[("one", WORK)])).await;
    h.enroll("user/1").await;
    h.works().await;
    let since = h.w.clock.now();
    for _ in 0..8 {
        let task = h.take("q").await.unwrap();
        let until = h.w.clock.now() + HOUR * 20;
        h.done(task, Done::Deferred { until, why: "later".to_owned() }).await.unwrap();
        h.after(HOUR * 20).await;
    }
    let task = h.take("q").await.unwrap();
    let until = h.w.clock.now() + DAY * 365_000;
    h.done(task, Done::Deferred { until, why: "never".to_owned() }).await.unwrap();
    let due = h.enrollment("user/1").await.due().unwrap();
    assert!(due.since(since) <= DAY * 7 + seconds(60), "{:?}", due.since(since));
    h.after(DAY).await;
    h.works().await;
    let ended = h.enrollment("user/1").await;
    assert_eq!((ended.status(), ended.attempt), (Status::Failed, 0));
    assert_eq!(h.log().await, ["one 0 timed_out"]);
}

#[tokio::test]
async fn what_is_offered_while_its_lifecycle_rests_stays_pending_however_long() {
    let mut h = house(&[]).await;
    h.apply(&lifecycle("", &[("one", WORK)])).await;
    h.enroll("user/1").await;
    h.works().await;
    h.apply(&lifecycle("active = false", &[("one", WORK)])).await;
    assert_eq!(h.take("q").await, None);
    h.after(DAY * 30).await;
    let rests = h.enrollment("user/1").await;
    assert_eq!((rests.status(), rests.attempt), (Status::Pending, 0));
    assert_eq!(h.log().await, Vec::<String>::new());
    h.apply(&lifecycle("", &[("one", WORK)])).await;
    h.works().await;
    assert!(h.take("q").await.is_some(), "it is offered again");
}

#[tokio::test]
async fn a_worker_gets_nothing_while_the_windows_are_closed() {
    let mut h = house(&[]).await;
    let top = "windows = [\"daily 00:00-04:00\"]\ntime_zone = \"UTC\"";
    h.apply(&lifecycle(top, &[("one", WORK)])).await;
    h.enroll("user/1").await;
    h.works().await;
    h.passes(HOUR * 5).await;
    assert_eq!(h.take("q").await, None, "it is five o'clock");
    h.passes(HOUR * 20).await;
    assert!(h.take("q").await.is_some(), "it is one o'clock");
}

const PROBED: &str = "gate = { probe = { package = \"thing\", name = \"one\" }, when = \"probe.state == 'present'\" }\n\
                      action = { approval = \"Well?\" }";

/// A house in which the gate of a stage has its probe queued, and nobody has worked on it yet.
async fn house_that_looks(top: &str) -> House {
    let mut h = house(&["alpha"]).await;
    let run = h.w.install("alpha", "thing", "one").await.unwrap();
    h.w.end(run, seconds(60)).await.unwrap();
    h.apply(&lifecycle(top, &[("ask", PROBED)])).await;
    h.enroll("server/alpha").await;
    h.look().await;
    assert!(matches!(h.enrollment("server/alpha").await.work(), Some(Work::Look { .. })));
    h
}

#[tokio::test]
async fn a_probe_that_ends_while_its_lifecycle_rests_begins_nothing() {
    let mut h = house_that_looks("").await;
    h.apply(&lifecycle("active = false", &[("ask", PROBED)])).await;
    h.works().await;
    let rests = h.enrollment("server/alpha").await;
    assert_eq!((rests.status(), rests.work(), rests.attempt, rests.deferrals), (Status::Pending, None, 0, 0));
    assert_eq!(rests.waits_for, "its lifecycle to be at work again");
    h.after(DAY * 30).await;
    assert_eq!(h.status("server/alpha").await, Status::Pending);
    h.apply(&lifecycle("", &[("ask", PROBED)])).await;
    h.works().await;
    assert_eq!(h.status("server/alpha").await, Status::Processing, "it looks again, and asks");
}

#[tokio::test]
async fn a_probe_that_ends_when_the_windows_have_closed_begins_nothing() {
    let top = "windows = [\"daily 00:00-04:00\"]\ntime_zone = \"UTC\"";
    let mut h = house_that_looks(top).await;
    h.passes(HOUR * 5).await;
    h.works().await;
    let waits = h.enrollment("server/alpha").await;
    assert_eq!((waits.status(), waits.work(), waits.deferrals), (Status::Pending, None, 0));
    assert_eq!(waits.waits_for, "its windows to open");
    assert_eq!(waits.due().unwrap().0 / 3_600_000_000 % 24, 0, "until midnight");
    h.after(HOUR * 20).await;
    assert_eq!(h.status("server/alpha").await, Status::Processing);
}

#[tokio::test]
async fn p7_what_was_lost_or_stopped_by_its_timeout_is_not_executed_again_by_itself() {
    for lost in [true, false] {
        let mut h = house(&["alpha"]).await;
        let work = "action = { operation = \"install\", package = \"task\", name = \"work\" }";
        h.apply(&lifecycle("", &[("work", work)])).await;
        h.w.remote.script("work", [Play::takes(seconds(10_000)), Play::exit(0)]);
        h.enroll("server/alpha").await;
        h.look().await;
        let run = h.run_of("server/alpha").await;
        h.w.until(run, seconds(20), |run| run.live_step().is_some()).await.unwrap();
        h.w.go(seconds(5)).await.unwrap();
        if lost {
            h.w.remote.reboot("alpha");
        }
        h.w.end(run, seconds(300)).await.unwrap();
        h.works().await;
        let failed = h.enrollment("server/alpha").await;
        assert_eq!((failed.status(), failed.attempt), (Status::Failed, 1), "lost: {lost}");
        assert!(failed.last_error.contains(&run.to_string()), "{}", failed.last_error);
        h.after(DAY).await;
        assert_eq!(h.log().await, ["work 1 failed"], "lost: {lost}");
        h.change("server/alpha", Change::Retry).await.unwrap();
        h.works().await;
        assert_eq!(h.status("server/alpha").await, Status::Completed, "a person may say so");
    }
}

#[tokio::test]
async fn what_its_package_calls_final_or_a_person_has_stopped_is_not_executed_again_by_itself() {
    for stopped in [true, false] {
        let mut h = house(&["alpha"]).await;
        h.apply(&lifecycle("", &[("put", THING)])).await;
        let play = if stopped { Play::held() } else { Play::exit(78) };
        h.w.remote.script("one", [play, Play::exit(0), Play::exit(0)]);
        h.enroll("server/alpha").await;
        h.look().await;
        let run = h.run_of("server/alpha").await;
        if stopped {
            h.w.until(run, seconds(20), |run| run.live_step().is_some()).await.unwrap();
            h.w.go(seconds(5)).await.unwrap();
            let asked = h.w.asked("Runs.Cancel");
            h.w.daemon.engine.cancel(asked, run).await.unwrap();
        }
        h.w.end(run, seconds(60)).await.unwrap();
        h.works().await;
        let failed = h.enrollment("server/alpha").await;
        assert_eq!((failed.status(), failed.attempt), (Status::Failed, 1), "stopped: {stopped}");
        let reason = h.w.run(run).await.unwrap().verdict().and_then(|verdict| verdict.reason);
        assert_eq!(reason, Some(if stopped { Reason::Cancelled } else { Reason::FinalCode }));
        h.after(DAY).await;
        assert_eq!(h.log().await, ["put 1 failed"], "stopped: {stopped}");
        h.change("server/alpha", Change::Retry).await.unwrap();
        h.works().await;
        assert_eq!(
            h.status("server/alpha").await,
            Status::Completed,
            "a person may say so; stopped: {stopped}"
        );
    }
}

#[tokio::test]
async fn a_timeout_that_its_operation_lets_be_tried_again_is_an_attempt_of_its_stage() {
    let mut h = house(&["alpha"]).await;
    let run = h.w.install("alpha", "task", "work").await.unwrap();
    h.w.end(run, seconds(60)).await.unwrap();
    let work = "action = { operation = \"update\", package = \"task\", name = \"work\" }";
    h.apply(&lifecycle("", &[("work", work)])).await;
    h.w.remote.script("work", [Play::takes(seconds(10_000)), Play::exit(0)]);
    h.enroll("server/alpha").await;
    h.look().await;
    let run = h.run_of("server/alpha").await;
    h.w.end(run, seconds(300)).await.unwrap();
    h.look().await;
    assert_eq!(h.status("server/alpha").await, Status::Pending);
    h.after(HOUR).await;
    assert_eq!(h.log().await, ["work 1 failed", "work 2 succeeded"]);
}

#[tokio::test]
async fn what_no_minute_of_the_week_lets_begin_is_refused() {
    let mut h = house(&[]).await;
    let never = lifecycle(
        "",
        &[(
            "one",
            &format!("windows = [\"Mon-Fri 09:00-17:00\"]\nblackouts = [\"daily 08:00-18:00\"]\n{ASK}"),
        )],
    );
    let refused = h.apply_mapped(&never, &[]).await.unwrap_err().to_string();
    assert!(refused.contains("leave the stage `one` no minute of the week"), "{refused}");
}
