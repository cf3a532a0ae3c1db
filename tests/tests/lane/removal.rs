//! P8: a removal is a transaction. From each earlier status, with each end.

use settled::domain::run::Run;
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::engine::Refusal;
use settled_tests::scripted::Play;
use settled_tests::sim::World;

use super::{ended, seconds, succeeded, world};

/// A resource `one` in this status, whose removal goes so. Answers its path.
async fn resource_in(w: &mut World, status: &str, removal: Play) -> String {
    let failing = status == "failed";
    w.remote.decide(move |_, spec| {
        let remove = spec.script.contains("take") || spec.script.contains("forget");
        if remove { removal.clone() } else { Play::exit(if failing { 78 } else { 0 }) }
    });
    let package = if status == "success" { "task" } else { "thing" };
    let path = format!("alpha/{package}/one");
    let install = w.install("alpha", package, "one").await.unwrap();
    w.end(install, seconds(5)).await.unwrap();
    if status == "paused" {
        let pause = w.operate(&path, "pause").await.unwrap();
        w.end(pause, seconds(5)).await.unwrap();
    }
    assert_eq!(w.status(&path).await.unwrap(), status);
    path
}

const EARLIER: [&str; 4] = ["active", "success", "failed", "paused"];

#[tokio::test]
async fn p8_a_removal_that_succeeds_takes_the_record_away() {
    for status in EARLIER {
        let mut w = world(&["alpha"]).await;
        let path = resource_in(&mut w, status, Play::takes(seconds(5))).await;
        let removal = w.remove(&path).await.unwrap();
        assert_eq!(w.status(&path).await.unwrap(), "removing", "at once");
        succeeded(&w.end(removal, seconds(30)).await.unwrap());
        assert_eq!(w.status(&path).await.unwrap(), "gone");
        assert_eq!(w.checker.statuses["one"].last(), Some(&"gone"));
        w.install("alpha", "thing", "one").await.expect("the name is free again");
    }
}

#[tokio::test]
async fn p8_a_removal_that_fails_gives_back_the_earlier_status_with_its_error() {
    for status in EARLIER {
        let mut w = world(&["alpha"]).await;
        let path = resource_in(&mut w, status, Play::exit(1).writes(seconds(0), "device is busy\n")).await;
        let removal = w.remove(&path).await.unwrap();
        let run = w.end(removal, seconds(300)).await.unwrap();
        ended(&run, Outcome::Failed, Reason::AttemptsExhausted, Evidence::ExitRecord);
        assert_eq!(w.status(&path).await.unwrap(), status);
        let resource = w.resource(&path).await.unwrap().unwrap();
        assert_eq!(resource.last_error.unwrap().last_lines, "device is busy");
        assert_eq!(resource.open_run, None);
    }
}

#[tokio::test]
async fn p8_a_removal_that_is_cancelled_gives_back_the_earlier_status() {
    for status in EARLIER {
        for running in [false, true] {
            let mut w = world(&["alpha"]).await;
            let path = resource_in(&mut w, status, Play::takes(seconds(60))).await;
            let removal = w.remove(&path).await.unwrap();
            if running {
                w.until(removal, seconds(5), |run| run.live_step().is_some()).await.unwrap();
                w.go(seconds(5)).await.unwrap();
            }
            w.cancel(removal).await.unwrap();
            let run = w.end(removal, seconds(60)).await.unwrap();
            assert_eq!(run.verdict().unwrap().outcome, Outcome::Cancelled);
            w.check().await.unwrap();
            assert_eq!(w.status(&path).await.unwrap(), status, "running: {running}");
        }
    }
}

#[tokio::test]
async fn p8_a_removal_survives_the_death_of_the_daemon_and_ends_true() {
    for status in EARLIER {
        for (code, after) in [(0, "gone"), (78, status)] {
            let mut w = world(&["alpha"]).await;
            let mut play = Play::exit(code);
            play.takes = seconds(60);
            let path = resource_in(&mut w, status, play).await;
            let removal = w.remove(&path).await.unwrap();
            w.until(removal, seconds(5), |run| run.live_step().is_some()).await.unwrap();
            w.go(seconds(5)).await.unwrap();
            w.restart().await.unwrap();
            assert_eq!(w.status(&path).await.unwrap(), "removing");
            w.end(removal, seconds(120)).await.unwrap();
            assert_eq!(w.status(&path).await.unwrap(), after);
        }
    }
}

/// The value of `P_PURGE` in every try of this run, in order.
fn purge(w: &World, run: &Run) -> Vec<String> {
    let tries = w.remote.witness().into_iter().filter(|ran| ran.id.run == run.id);
    let value = |env: Vec<(String, String)>| env.into_iter().find(|(name, _)| name == "P_PURGE").unwrap().1;
    tries.map(|ran| value(w.remote.env_of("alpha", ran.id))).collect()
}

#[tokio::test]
async fn p8_what_is_given_with_a_removal_holds_for_that_run_alone() {
    let mut w = world(&["alpha"]).await;
    let path = "alpha/maker/one";
    let install = w.install("alpha", "maker", "one").await.unwrap();
    succeeded(&w.end(install, seconds(30)).await.unwrap());
    let before = w.resource(path).await.unwrap().unwrap();

    // The second attempt, after the daemon has died in the first, is told the same.
    w.remote.decide(
        |_, spec| if spec.script.contains("burn") { Play::exit(1) } else { Play::takes(seconds(20)) },
    );
    let removal = w.remove_with(path, &[("purge", "yes")]).await.unwrap();
    w.until(removal, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.restart().await.unwrap();
    let failed = w.end(removal, seconds(300)).await.unwrap();
    ended(&failed, Outcome::Failed, Reason::AttemptsExhausted, Evidence::ExitRecord);
    assert_eq!(failed.parameters, [("purge".to_owned(), "true".to_owned())].into());
    assert_eq!(purge(&w, &failed), ["true"; 4]);
    let after = w.resource(path).await.unwrap().unwrap();
    assert_eq!((after.status, &after.desired), (before.status, &before.desired));
    assert_eq!(after.applied.unwrap().params, before.applied.unwrap().params);

    let removal = w.remove(path).await.unwrap();
    let run = w.end(removal, seconds(60)).await.unwrap();
    succeeded(&run);
    assert_eq!(purge(&w, &run), ["false"], "and there is nothing to burn");
}

#[tokio::test]
async fn an_own_operation_takes_parameters_for_one_run() {
    let mut w = world(&["alpha"]).await;
    let install = w.install("alpha", "maker", "one").await.unwrap();
    succeeded(&w.end(install, seconds(30)).await.unwrap());
    for (given, expected) in [(&[("angle", "090")][..], "90"), (&[], "")] {
        let turn = w.operate_with("alpha/maker/one", "turn", given).await.unwrap();
        let run = w.end(turn, seconds(30)).await.unwrap();
        succeeded(&run);
        let id = w.remote.witness().last().unwrap().id;
        let env = w.remote.env_of("alpha", id);
        assert_eq!(env.iter().find(|(name, _)| name == "P_ANGLE").unwrap().1, expected);
    }
    for given in [("angle", "360"), ("angel", "1"), ("port", "80")] {
        let refused = w.operate_with("alpha/maker/one", "turn", &[given]).await.unwrap_err();
        let Refusal::Invalid(problems) = refused else { panic!("{refused:?}") };
        assert_eq!(problems[0].field, format!("parameters.{}", given.0));
    }
}

#[tokio::test]
async fn p8_removing_a_queued_install_cancels_it() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("long", [Play::takes(seconds(100)), Play::exit(0)]);
    let long = w.install("alpha", "thing", "long").await.unwrap();
    w.until(long, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    let install = w.install("alpha", "thing", "one").await.unwrap();
    let removal = w.remove("alpha/thing/one").await.unwrap();
    ended(&w.run(install).await.unwrap(), Outcome::Cancelled, Reason::Cancelled, Evidence::NotStarted);
    succeeded(&w.end(removal, seconds(200)).await.unwrap());
    assert_eq!(w.status("alpha/thing/one").await.unwrap(), "gone");
}
