//! The power of the host is cut in the middle of a step: what became of it is asked of the host, and nothing else.

use settled_proto::v1::{Evidence, Outcome, StepState};
use settled_tests::patience::until;

use crate::fixture::{Scene, WITNESS};

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p7_what_was_done_before_the_power_was_cut_is_proven_by_a_probe() {
    let scene = Scene::new(&["after"]).await;
    let run = scene.ask("slow", "it", &[]).await;
    scene.host.says(WITNESS, "installed").await;
    scene.host.cut_power().await;
    let (run, _) = scene.completed(&run).await;
    let verdict = (run.outcome(), run.evidence(), run.attempt);
    assert_eq!(verdict, (Outcome::Succeeded, Evidence::Probe, 1), "{run:#?}");
    assert_eq!(run.steps[0].state(), StepState::Lost, "{run:#?}");
    assert_eq!((scene.times("begin"), scene.times("end")), (1, 0), "{}", scene.host.read(WITNESS));
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p5_p7_what_was_not_done_before_the_power_was_cut_is_a_failed_attempt_and_is_done_in_the_next() {
    let scene = Scene::new(&["before"]).await;
    let run = scene.ask("slow", "it", &[]).await;
    scene.host.says(WITNESS, "begin").await;
    scene.host.cut_power().await;
    until("the next attempt begins", async || (scene.times("begin") == 2).then_some(())).await;
    scene.go_on("before");
    let (run, _) = scene.completed(&run).await;
    let verdict = (run.outcome(), run.evidence(), run.attempt);
    assert_eq!(verdict, (Outcome::Succeeded, Evidence::ExitRecord, 2), "{run:#?}");
    assert_eq!((scene.times("begin"), scene.times("end")), (2, 1), "{}", scene.host.read(WITNESS));
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p5_p7_a_step_that_a_shutdown_ends_is_told_as_ended_and_its_next_attempt_is_told_too() {
    let scene = Scene::new(&["after"]).await;
    let run = scene.ask("slow", "it", &[]).await;
    scene.host.says(WITNESS, "installed").await;
    scene.host.reboot().await;
    scene.go_on("after");
    let (run, _) = scene.completed(&run).await;
    assert_eq!(run.outcome(), Outcome::Succeeded, "{run:#?}");
    // Either the shutdown left a record of how it ended the step, or there is none and the probe proves that all was done.
    let tries = run.steps.iter().map(settled_proto::v1::Step::state).collect::<Vec<_>>();
    match run.evidence() {
        Evidence::Probe => assert_eq!(tries, [StepState::Lost], "{run:#?}"),
        _ => assert_eq!(tries, [StepState::Killed, StepState::Exited], "{run:#?}"),
    }
    assert_eq!(scene.times("begin"), tries.len(), "{}", scene.host.read(WITNESS));
}
