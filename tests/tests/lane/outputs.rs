//! What steps tell in `SETTLED_OUTPUT`: kept with the verdict, carried to later steps, stored with the resource by success alone.

use settled::domain::run::Run;
use settled::domain::step::StepId;
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled_tests::scripted::{End, Play};
use settled_tests::sim::{Actor, Kill, World};

use super::{ended, executions, seconds, succeeded, world};

const PATH: &str = "alpha/maker/one";

/// What the resource tells.
async fn told(w: &World) -> String {
    let outputs = w.resource(PATH).await.unwrap().unwrap().outputs;
    outputs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// A variable of the step with which it was sent.
fn variable(w: &World, run: &Run, step: u32, attempt: u32, name: &str) -> String {
    let id = StepId { run: run.id, step, attempt, try_no: 1 };
    let env = w.remote.env_of("alpha", id);
    env.into_iter().find(|(key, _)| key == name).expect("it is there").1
}

#[tokio::test]
async fn outputs_are_carried_to_later_steps_and_stored_with_success() {
    let mut w = world(&["alpha"]).await;
    let first = Play::exit(0).tells("port=080\nrelease=r1\n");
    w.remote.script("one", [first, Play::exit(0).tells("release=r2"), Play::exit(0).tells("port=")]);
    let id = w.install("alpha", "maker", "one").await.unwrap();
    let run = w.end(id, seconds(30)).await.unwrap();
    succeeded(&run);
    assert_eq!(told(&w).await, "port=80 release=r2");
    assert_eq!(variable(&w, &run, 0, 1, "OUT_PORT"), "", "it is set, and empty");
    assert_eq!(variable(&w, &run, 1, 1, "OUT_PORT"), "80");
    assert_eq!(variable(&w, &run, 1, 1, "OUT_RELEASE"), "r1");

    let id = w.operate(PATH, "turn").await.unwrap();
    succeeded(&w.end(id, seconds(30)).await.unwrap());
    assert_eq!(told(&w).await, "release=r2", "an own operation changes what it tells");
}

#[tokio::test]
async fn what_a_package_does_not_declare_or_does_not_fit_fails_the_step_in_words() {
    for (written, part) in [
        ("color=red", "`color`, which its package does not declare"),
        ("port=99999", "`port=99999`"),
        (&*"release=x\n".repeat(2_000), "more than 16384 bytes"),
    ] {
        let mut w = world(&["alpha"]).await;
        w.remote.script("one", [Play::exit(0).tells(written)]);
        let id = w.install("alpha", "maker", "one").await.unwrap();
        let run = w.end(id, seconds(30)).await.unwrap();
        ended(&run, Outcome::Failed, Reason::StepFailed, Evidence::ExitRecord);
        assert_eq!(executions(&w, &run), 1, "another attempt would not help");
        let message = run.verdict().unwrap().failure.as_ref().unwrap().message.clone();
        assert!(message.starts_with("`Make it` ended with exit code 0, but it wrote"), "{message}");
        assert!(message.contains(part), "{message}");
        assert_eq!((w.status(PATH).await.unwrap(), told(&w).await.as_str()), ("failed", ""));
    }
}

#[tokio::test]
async fn p5_outputs_survive_a_death_between_the_end_of_the_step_and_its_commit() {
    for commits in 1..=2 {
        let mut w = world(&["alpha"]).await;
        let alpha = w.server_of("alpha").await.unwrap().id;
        let first = Play::takes(seconds(5)).tells("port=80").writes(seconds(1), "made\n");
        w.remote
            .script("one", [first, Play::takes(seconds(5)).tells("release=r1").writes(seconds(1), "done\n")]);
        let id = w.install("alpha", "maker", "one").await.unwrap();
        for step in 0..2 {
            let stepping = |run: &Run| run.live_step().is_some_and(|live| live.step == step);
            w.until(id, seconds(60), stepping).await.unwrap();
            w.go(seconds(2)).await.unwrap();
            // It ends unseen; what it wrote is stored, and the daemon dies with or without having stored its end.
            w.move_to(settled::clock::Clock::monotonic(&*w.clock) + seconds(5));
            w.daemon.runnable();
            w.step(Actor::Lane(alpha), Kill::AfterCommit(commits)).await.unwrap();
        }
        let run = w.end(id, seconds(300)).await.unwrap();
        succeeded(&run);
        assert_eq!((executions(&w, &run), told(&w).await.as_str()), (2, "port=80 release=r1"));
    }
}

#[tokio::test]
async fn a_new_attempt_begins_without_the_outputs_of_the_one_before() {
    let mut w = world(&["alpha"]).await;
    let plays = [Play::exit(0).tells("port=80"), Play::exit(1), Play::exit(0), Play::exit(0)];
    w.remote.script("one", plays);
    let id = w.install("alpha", "maker", "one").await.unwrap();
    let run = w.end(id, seconds(300)).await.unwrap();
    succeeded(&run);
    assert_eq!(variable(&w, &run, 1, 1, "OUT_PORT"), "80");
    assert_eq!((variable(&w, &run, 1, 2, "OUT_PORT").as_str(), told(&w).await.as_str()), ("", ""));
}

#[tokio::test]
async fn p7_without_an_exit_record_nothing_that_was_written_counts() {
    let mut w = world(&["alpha"]).await;
    w.remote.script(
        "one",
        [
            Play::exit(0).tells("port=80"),
            Play::exit(0).ending(End::NoRecord { done: true }).tells("release=r1"),
        ],
    );
    let id = w.install("alpha", "maker", "one").await.unwrap();
    let run = w.end(id, seconds(300)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
    assert_eq!(told(&w).await, "");
}
