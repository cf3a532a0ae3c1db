//! Cancel means stopped (P9).

use std::time::Duration;

use settled::domain::step::{Cause, Ended};
use settled::remote::{Remote, RemoteError, StepSpec, StepStatus};

use crate::bench::{Bench, alive, exited, guarded, kill, role, until};

fn rejected(why: &str) -> StepStatus {
    StepStatus::Ended(Ended::Rejected { why: why.to_owned() })
}

#[tokio::test]
async fn p9_a_cancel_ends_every_process_before_it_is_told() {
    let bench = Bench::new().await;
    // A child that ignores TERM, one in a group of its own, and the payload itself.
    let spec =
        bench.spec("(trap '' TERM; while :; do sleep 0.05; done) & timeout 60 sleep 61 & echo up; sleep 62");
    bench.start(&spec).await;
    bench.attach(spec.id, 0, Duration::from_secs(10)).await;
    assert!(!Bench::processes_of(spec.id).is_empty());
    assert_eq!(bench.cancel(spec.id).await.status, StepStatus::Running, "the answer does not wait");
    let (ended, _) = bench.follow(spec.id).await;
    assert_eq!(ended, exited(143, Cause::Cancel));
    assert_eq!(Bench::processes_of(spec.id), Vec::<i32>::new());
    assert_eq!(bench.cancel(spec.id).await.status, StepStatus::Ended(ended), "again changes nothing");
}

#[tokio::test]
async fn p9_a_cancel_that_comes_first_wins() {
    let bench = Bench::new().await;
    let witness = bench.path("witness");
    let mut spec = bench.spec("touch \"$P_WITNESS\"");
    spec.env.push(("P_WITNESS".to_owned(), witness.display().to_string()));
    assert_eq!(bench.cancel(spec.id).await.status, StepStatus::Absent);
    assert_eq!(bench.start(&spec).await.status, rejected("cancelled-before-start"));
    // Whether it had come before, and was lost, only the store knows.
    let news = bench.attach(spec.id, 0, Duration::ZERO).await;
    assert_eq!(news.report.status, StepStatus::Absent);
    bench.steps.reap(&bench.target, spec.id, 1).await.expect("cleared away");
    assert_eq!(bench.start(&spec).await.status, StepStatus::Reaped);
    assert!(!witness.exists());
}

#[tokio::test]
async fn p9_a_cancel_works_when_the_supervisor_is_dead() {
    let bench = Bench::new().await;
    let spec = bench.spec("sleep 60");
    bench.start(&spec).await;
    let dir = bench.step_dir(spec.id);
    kill(until(|| role(&dir, "sup")).await);
    bench.cancel(spec.id).await;
    let (ended, _) = bench.follow(spec.id).await;
    assert_eq!(ended, exited(143, Cause::Cancel));
}

#[tokio::test]
async fn p9_a_cancel_ends_orphans_too() {
    let bench = Bench::new().await;
    let spec = bench.spec("sleep 60");
    bench.start(&spec).await;
    let dir = bench.step_dir(spec.id);
    kill(until(|| role(&dir, "sup")).await);
    kill(until(|| role(&dir, "leaf")).await);
    bench.cancel(spec.id).await;
    let (ended, _) = bench.follow(spec.id).await;
    assert_eq!(ended, Ended::Lost { why: "supervisor-killed".to_owned() });
    assert_eq!(Bench::processes_of(spec.id), Vec::<i32>::new());
}

#[tokio::test]
async fn p3_an_old_epoch_cannot_cancel_or_clear_away() {
    let bench = Bench::new().await;
    let spec = bench.spec("sleep 60");
    bench.start(&spec).await;
    bench.steps.claim(&bench.target, bench.installation, 2).await.expect("claimed");
    let fenced = RemoteError::Fenced { highest: 2 };
    assert_eq!(bench.steps.cancel(&bench.target, spec.id, 1).await, Err(fenced.clone()));
    assert_eq!(bench.steps.reap(&bench.target, spec.id, 1).await, Err(fenced));
    let news = bench.attach(spec.id, 0, Duration::ZERO).await;
    assert_eq!(news.report.status, StepStatus::Running, "reading needs no epoch");
    bench.steps.cancel(&bench.target, spec.id, 2).await.expect("the new owner may");
    assert_eq!(bench.follow(spec.id).await.0, exited(143, Cause::Cancel));
}

/// A step whose supervisor and leaf are dead, and whose payload ignores everything short of a KILL.
async fn orphaned(bench: &Bench) -> StepSpec {
    let spec = bench.spec("trap '' TERM; while :; do sleep 0.05; done");
    bench.start(&spec).await;
    let dir = bench.step_dir(spec.id);
    kill(until(|| role(&dir, "sup")).await);
    kill(until(|| role(&dir, "leaf")).await);
    // What they had started for a moment may still hold their locks.
    guarded(async {
        while bench.attach(spec.id, 0, Duration::ZERO).await.report.status != StepStatus::Orphaned {}
    })
    .await;
    spec
}

#[tokio::test]
async fn an_abandoned_orphan_frees_the_lane() {
    let bench = Bench::new().await;
    let spec = orphaned(&bench).await;
    bench.steps.claim(&bench.target, bench.installation, 2).await.expect("claimed");
    let stale = bench.steps.abandon(&bench.target, spec.id, 1).await;
    assert_eq!(stale, Err(RemoteError::Fenced { highest: 2 }), "p3: an old owner may not");
    bench.steps.abandon(&bench.target, spec.id, 2).await.expect("an answer");
    let (ended, news) = bench.follow(spec.id).await;
    assert_eq!(ended, Ended::Lost { why: "forced".to_owned() });
    let payload = bench.noted_pid(spec.id, "payload").await;
    assert!(alive(payload), "it is not touched");
    assert!(news.report.processes.contains(&format!("{payload} sh")), "{:?}", news.report.processes);
    let mut next = bench.spec("exit 5");
    next.epoch = 2;
    assert_eq!(bench.run(&next).await.0, exited(5, Cause::Itself));
}

#[tokio::test]
async fn what_a_kill_did_not_end_is_named_and_can_be_abandoned() {
    let bench = Bench::new().await;
    let spec = bench.spec("exec sleep 60");
    bench.start(&spec).await;
    let payload = bench.noted_pid(spec.id, "payload").await;
    assert_eq!(
        bench.steps.abandon(&bench.target, spec.id, 1).await.expect("an answer").status,
        StepStatus::Running
    );
    // As the supervisor notes it when the payload hangs in the kernel, which a test cannot make one do.
    std::fs::rename(bench.step_dir(spec.id).join("killed.new"), bench.step_dir(spec.id).join("killed"))
        .expect("noted");
    let report = bench.attach(spec.id, 0, Duration::ZERO).await.report;
    assert_eq!((report.status, report.processes), (StepStatus::Running, vec![format!("{payload} sleep")]));
    bench.steps.abandon(&bench.target, spec.id, 1).await.expect("an answer");
    assert_eq!(bench.follow(spec.id).await.0, Ended::Lost { why: "forced".to_owned() });
    assert_eq!(bench.run(&bench.spec("exit 5")).await.0, exited(5, Cause::Itself), "the lane is free");
    assert!(alive(payload));
}

#[tokio::test]
async fn p9_processes_that_left_the_group_are_named_with_the_end() {
    let bench = Bench::new().await;
    let spec = bench.spec("setsid sleep 61 >/dev/null 2>&1 & echo up; sleep 62");
    bench.start(&spec).await;
    bench.attach(spec.id, 0, Duration::from_secs(10)).await;
    bench.cancel(spec.id).await;
    let (ended, news) = bench.follow(spec.id).await;
    assert_eq!(ended, exited(143, Cause::Cancel));
    let left = Bench::processes_of(spec.id);
    let named: Vec<_> = left.iter().map(|pid| format!("{pid} sleep")).collect();
    assert_eq!((left.len(), news.report.processes), (1, named));
    kill(left[0]);
    until(|| (!alive(left[0])).then_some(())).await;
    assert_eq!(bench.attach(spec.id, 3, Duration::ZERO).await.report.processes, Vec::<String>::new());
}
