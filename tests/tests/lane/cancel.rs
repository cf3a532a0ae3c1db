//! P9: cancelled is said when it is true.

use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled_tests::scripted::Play;

use super::{ended, executions, seconds, succeeded, world};

#[tokio::test]
async fn p9_a_queued_run_is_cancelled_at_once_and_never_runs() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("long", [Play::takes(seconds(100)), Play::exit(0)]);
    let long = w.install("alpha", "thing", "long").await.unwrap();
    w.until(long, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    let queued = w.install("alpha", "thing", "queued").await.unwrap();
    w.cancel(queued).await.unwrap();
    let run = w.run(queued).await.unwrap();
    ended(&run, Outcome::Cancelled, Reason::Cancelled, Evidence::NotStarted);
    assert_eq!(w.status("alpha/thing/queued").await.unwrap(), "failed");
    succeeded(&w.end(long, seconds(200)).await.unwrap());
    w.go(seconds(60)).await.unwrap();
    assert_eq!(executions(&w, &run), 0);
}

#[tokio::test]
async fn p9_a_running_run_is_cancelled_when_its_server_has_shown_the_end() {
    for (after_term, code) in [(20, 143), (1_000, 137)] {
        let mut w = world(&["alpha"]).await;
        let mut play = Play::takes(seconds(400));
        play.after_term = seconds(after_term);
        w.remote.script("long", [play]);
        let id = w.install("alpha", "thing", "long").await.unwrap();
        w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
        w.go(seconds(50)).await.unwrap();
        w.cancel(id).await.unwrap();
        w.go(seconds(after_term.min(30) - 1)).await.unwrap();
        let run = w.run(id).await.unwrap();
        assert!(run.cancel_requested && run.verdict().is_none(), "its payload lives: {run:#?}");
        assert_eq!(w.status("alpha/thing/long").await.unwrap(), "installing");
        let run = w.end(id, seconds(5)).await.unwrap();
        ended(&run, Outcome::Cancelled, Reason::Cancelled, Evidence::ExitRecord);
        assert_eq!(w.remote.witness()[0].code, Some(code));
        assert_eq!(executions(&w, &run), 1);
        assert_eq!(w.status("alpha/thing/long").await.unwrap(), "failed");
    }
}

#[tokio::test]
async fn p9_between_two_attempts_a_cancel_takes_effect_at_once() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("bad", [Play::exit(1)]);
    let id = w.install("alpha", "thing", "bad").await.unwrap();
    w.until(id, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    w.cancel(id).await.unwrap();
    let run = w.run(id).await.unwrap();
    ended(&run, Outcome::Cancelled, Reason::Cancelled, Evidence::ExitRecord);
    w.go(seconds(120)).await.unwrap();
    assert_eq!(executions(&w, &run), 1);
}

#[tokio::test]
async fn p9_a_cancel_that_crosses_the_start_has_one_outcome() {
    let mut w = world(&["alpha"]).await;
    w.go(seconds(60)).await.unwrap();
    let id = w.install("alpha", "thing", "one").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    // The intent is stored, nothing is sent yet.
    assert_eq!(w.remote.witness().len(), 0);
    w.cancel(id).await.unwrap();
    let run = w.end(id, seconds(5)).await.unwrap();
    ended(&run, Outcome::Cancelled, Reason::Cancelled, Evidence::NotStarted);
    assert_eq!(executions(&w, &run), 0);
}

#[tokio::test]
async fn p9_a_cancel_while_the_server_is_away_is_kept_for_when_it_is_back() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("long", [Play::takes(seconds(400))]);
    let id = w.install("alpha", "thing", "long").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.go(seconds(10)).await.unwrap();
    w.remote.cut("alpha", seconds(100));
    w.cancel(id).await.unwrap();
    w.go(seconds(90)).await.unwrap();
    assert!(w.run(id).await.unwrap().verdict().is_none());
    let run = w.end(id, seconds(60)).await.unwrap();
    ended(&run, Outcome::Cancelled, Reason::Cancelled, Evidence::ExitRecord);
}

#[tokio::test]
async fn a_look_follows_a_cancel_between_two_attempts() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("bad", [Play::exit(0), Play::exit(1)]);
    let id = w.install("alpha", "thing", "bad").await.unwrap();
    w.until(id, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    w.remote.put("alpha", "bad", "half");
    w.cancel(id).await.unwrap();
    w.go(seconds(5)).await.unwrap();
    let resource = w.resource("alpha/thing/bad").await.unwrap().unwrap();
    assert_eq!(resource.observed.expect("a look follows").facts["version"], "half");
    let look = w.checker.runs().find(|run| run.principal == "settled").expect("somebody looked");
    assert!(!look.exclusive && look.verdict().is_some(), "{look:#?}");
}

#[tokio::test]
async fn a_cancel_before_the_start_keeps_the_error_of_a_failed_resource() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("bad", [Play::exit(78).writes(seconds(0), "no space left\n")]);
    let install = w.install("alpha", "thing", "bad").await.unwrap();
    w.end(install, seconds(5)).await.unwrap();
    w.remote.script("long", [Play::takes(seconds(100)), Play::exit(0)]);
    let long = w.install("alpha", "thing", "long").await.unwrap();
    w.until(long, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    for word in ["update", "remove", "retry"] {
        let queued = match word {
            "remove" => w.remove("alpha/thing/bad").await.unwrap(),
            "retry" => w.retry("alpha/thing/bad").await.unwrap(),
            _ => w.operate("alpha/thing/bad", word).await.unwrap(),
        };
        w.cancel(queued).await.unwrap();
        let resource = w.resource("alpha/thing/bad").await.unwrap().unwrap();
        assert_eq!(resource.status.as_str(), "failed");
        assert_eq!(resource.last_error.unwrap().last_lines, "no space left", "{word}");
    }
}

#[tokio::test]
async fn an_update_that_never_began_is_not_asked_for_any_more() {
    let mut w = world(&["alpha"]).await;
    let install = w.install("alpha", "thing", "one").await.unwrap();
    w.end(install, seconds(60)).await.unwrap();
    w.remote.script("long", [Play::takes(seconds(100)), Play::exit(0)]);
    let long = w.install("alpha", "thing", "long").await.unwrap();
    w.until(long, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    let update = w.operate("alpha/thing/one", "update").await.unwrap();
    assert_eq!(w.resource("alpha/thing/one").await.unwrap().unwrap().desired["version"], "2");
    w.cancel(update).await.unwrap();
    let resource = w.resource("alpha/thing/one").await.unwrap().unwrap();
    assert_eq!(resource.desired, resource.applied.unwrap().params);

    // Nor by an operation that comes later.
    let pause = w.operate("alpha/thing/one", "pause").await.unwrap();
    let run = w.end(pause, seconds(300)).await.unwrap();
    let step = w.remote.witness().into_iter().find(|ran| ran.id.run == run.id).unwrap().id;
    let env = w.remote.env_of("alpha", step);
    assert_eq!(env.iter().find(|(name, _)| name == "P_VERSION").unwrap().1, "1");
}
