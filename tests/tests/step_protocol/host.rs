//! A real server with systemd, reached by an ssh client: what this machine's shells cannot show.
//!
//! `SETTLED_TEST_SSH` holds a command that runs its stdin as root there, for instance `ssh root@h1 /bin/sh -s`.

use std::time::Duration;

use settled::domain::step::Cause;
use settled::remote::{Remote, StepStatus};

use crate::bench::{Bench, exited, guarded};

#[tokio::test]
#[ignore = "needs a server with systemd: set SETTLED_TEST_SSH and run with --run-ignored"]
async fn a_step_lives_in_a_scope_of_its_own_and_outlives_the_connection() {
    let ssh = std::env::var("SETTLED_TEST_SSH").expect("SETTLED_TEST_SSH");
    let bench = Bench::reached_by(&ssh);
    let hello = bench.steps.hello(&bench.target).await.expect("an answer");
    assert_eq!((hello.facts["init"].as_str(), hello.facts["launcher"].as_str()), ("systemd", "systemd-run"));
    // Servers remember their owner: come back as the one that was here before.
    let owner = hello.installation.map_or(bench.installation, |owner| owner.parse().expect("an id"));
    let epoch = hello.epoch + 1;
    bench.steps.claim(&bench.target, owner, epoch).await.expect("claimed");

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
