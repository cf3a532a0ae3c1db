//! A server that has lost its state directory, and with it every record and every lock.

use std::time::Duration;

use settled::remote::{Remote as _, StepSpec, StepStatus};

use crate::bench::{Bench, alive, kill, role, until};

/// A step whose payload lives on, and the payload.
async fn lost(bench: &Bench) -> (StepSpec, i32) {
    let spec = bench.spec("exec sleep 60");
    bench.start(&spec).await;
    let payload = bench.noted_pid(spec.id, "payload").await;
    let comm = format!("/proc/{payload}/comm");
    until(|| std::fs::read_to_string(&comm).ok().filter(|name| name == "sleep\n")).await;
    let dir = bench.step_dir(spec.id);
    // They would write into what is being removed.
    kill(until(|| role(&dir, "sup")).await);
    kill(until(|| role(&dir, "leaf")).await);
    until(|| std::fs::remove_dir_all(bench.path("state")).ok()).await;
    (spec, payload)
}

#[tokio::test]
async fn p7_a_payload_without_a_record_is_found_by_its_mark() {
    let bench = Bench::new().await;
    let (spec, payload) = lost(&bench).await;
    let living = vec![format!("{payload} sleep")];
    for _ in 0..2 {
        let report = bench.attach(spec.id, 0, Duration::ZERO).await.report;
        assert_eq!((report.status, report.processes), (StepStatus::Orphaned, living.clone()));
        let report = bench.cancel(spec.id).await;
        assert_eq!((report.status, report.processes), (StepStatus::Orphaned, living.clone()));
    }
    kill(payload);
    until(|| Bench::processes_of(spec.id).is_empty().then_some(())).await;
    assert_eq!(bench.cancel(spec.id).await.status, StepStatus::Absent);
    assert_eq!(bench.attach(spec.id, 0, Duration::ZERO).await.report.status, StepStatus::Absent);
}

#[tokio::test]
async fn a_payload_without_a_record_can_be_given_up() {
    let bench = Bench::new().await;
    let (spec, payload) = lost(&bench).await;
    let given_up = bench.steps.abandon(&bench.target, spec.id, 1).await.expect("an answer");
    assert_eq!(given_up.status, StepStatus::Reaped);
    assert_eq!(bench.cancel(spec.id).await.status, StepStatus::Reaped);
    assert!(alive(payload), "it is not touched");
    kill(payload);
}

#[tokio::test]
async fn p5_a_start_that_is_sent_again_finds_the_payload_whose_record_was_lost() {
    let bench = Bench::new().await;
    let (spec, payload) = lost(&bench).await;
    let report = bench.steps.start(&bench.target, &spec).await.expect("an answer");
    assert_eq!((report.status, report.processes), (StepStatus::Orphaned, vec![format!("{payload} sleep")]));
    assert_eq!(Bench::processes_of(spec.id), [payload]);
    kill(payload);
}
