//! A real server with systemd, reached by an ssh client: what this machine's shells cannot show.
//!
//! `SETTLED_TEST_SSH` holds a command that runs its stdin as root there, for instance `ssh root@h1 /bin/sh -s`;
//! `SETTLED_TEST_REBOOT` one that reboots it and returns when it answers again.

use std::time::Duration;

use settled::domain::step::{Cause, Ended};
use settled::remote::{Remote, StepStatus};

use crate::bench::{Bench, exited, guarded};

/// Servers remember their owner: comes back as the one that was there before, with the next epoch.
async fn reach() -> (Bench, u64) {
    let bench = Bench::reached_by(&std::env::var("SETTLED_TEST_SSH").expect("SETTLED_TEST_SSH"));
    let hello = bench.steps.hello(&bench.target).await.expect("an answer");
    let owner = hello.installation.map_or(bench.installation, |owner| owner.parse().expect("an id"));
    let epoch = hello.epoch + 1;
    bench.steps.claim(&bench.target, owner, epoch).await.expect("claimed");
    (bench, epoch)
}

#[tokio::test]
#[ignore = "needs a server with systemd: set SETTLED_TEST_SSH and run with --run-ignored"]
async fn a_step_lives_in_a_scope_of_its_own_and_outlives_the_connection() {
    let (bench, epoch) = reach().await;
    let hello = bench.steps.hello(&bench.target).await.expect("an answer");
    assert_eq!((hello.facts["init"].as_str(), hello.facts["launcher"].as_str()), ("systemd", "systemd-run"));

    // Every verb is a connection of its own, so the step outlives the one that started it.
    let mut spec = bench.spec("cat /proc/self/cgroup; sleep 3; cat \"$SETTLED_SECRETS/key\"; exit 3");
    spec.secrets.push(("key".to_owned(), b"kept in memory".to_vec().into()));
    spec.epoch = epoch;
    let (ended, news) = bench.run(&spec).await;
    let output = String::from_utf8(news.output).expect("text");
    assert_eq!(ended, exited(3, Cause::Itself), "{output}");
    let scope = format!("/settled-step-{}-", spec.id);
    assert!(output.contains(&scope) && output.contains(".scope\n"), "{output}");
    assert!(output.ends_with("kept in memory"), "{output}");
    bench.steps.reap(&bench.target, spec.id, epoch).await.expect("cleared away");

    let mut spec = bench.spec("sleep 61 & timeout 62 sleep 63");
    spec.epoch = epoch;
    bench.start(&spec).await;
    guarded(bench.steps.cancel(&bench.target, spec.id, epoch)).await.expect("an answer");
    let (ended, _) = bench.follow(spec.id).await;
    assert_eq!(ended, exited(143, Cause::Cancel));
    bench.steps.reap(&bench.target, spec.id, epoch).await.expect("cleared away");
    let news = bench.attach(spec.id, 0, Duration::ZERO).await;
    assert_eq!(news.report.status, StepStatus::Reaped);
}

#[tokio::test]
#[ignore = "needs a server that may be rebooted: set SETTLED_TEST_SSH, SETTLED_TEST_REBOOT and run with --run-ignored"]
async fn p7_a_plug_that_is_pulled_loses_what_ran_and_keeps_what_had_ended() {
    let reboot = std::env::var("SETTLED_TEST_REBOOT").expect("SETTLED_TEST_REBOOT");
    let (bench, epoch) = reach().await;
    let mut done = bench.spec("echo before; exit 3");
    let mut running = bench.spec("sleep 600");
    (done.epoch, running.epoch) = (epoch, epoch);
    bench.run(&done).await;
    bench.start(&running).await;
    let rebooted = guarded(tokio::process::Command::new("/bin/sh").args(["-c", &reboot]).status()).await;
    assert!(rebooted.expect("it starts").success());

    let (ended, news) = bench.follow(done.id).await;
    assert_eq!((ended, news.output.as_slice()), (exited(3, Cause::Itself), b"before\n".as_slice()));
    assert_eq!(bench.follow(running.id).await.0, Ended::Lost { why: "reboot".to_owned() });
    let mut next = bench.spec("exit 5");
    next.epoch = epoch;
    assert_eq!(bench.run(&next).await.0, exited(5, Cause::Itself), "the lane is free");
    for id in [done.id, running.id, next.id] {
        bench.steps.reap(&bench.target, id, epoch).await.expect("cleared away");
    }
}
