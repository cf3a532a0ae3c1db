//! Once (P5): a try's payload runs at most once, whatever is sent again and whoever is killed.

use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use rustix::fs::{FlockOperation, flock};
use settled::domain::step::{Cause, Ended};
use settled::remote::{Remote, RemoteError, StepSpec, StepStatus};

use crate::bench::{Bench, exited, guarded, kill, role, until};

/// A step that writes a line into a file when it runs, and waits for the gate.
fn witnessed(bench: &Bench) -> (StepSpec, PathBuf, PathBuf) {
    let mut spec = bench.spec(
        "echo ran >>\"$P_WITNESS\"; echo up; while [ ! -e \"$P_GATE\" ]; do sleep 0.02; done; echo down; exit 4",
    );
    let (witness, gate) =
        (bench.path(&format!("witness-{}", spec.id)), bench.path(&format!("gate-{}", spec.id)));
    spec.env.push(("P_WITNESS".to_owned(), witness.display().to_string()));
    spec.env.push(("P_GATE".to_owned(), gate.display().to_string()));
    (spec, witness, gate)
}

fn runs(witness: &PathBuf) -> usize {
    std::fs::read_to_string(witness).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn p5_a_start_that_is_sent_again_runs_once() {
    let bench = Bench::new().await;
    let (spec, witness, gate) = witnessed(&bench);
    // At once, one after another, and after the end.
    join_all((0..5).map(|_| bench.start(&spec))).await;
    assert_eq!(bench.start(&spec).await.status, StepStatus::Running);
    std::fs::write(&gate, "").expect("written");
    assert_eq!(bench.follow(spec.id).await.0, exited(4, Cause::Itself));
    assert_eq!(bench.start(&spec).await.status, StepStatus::Ended(exited(4, Cause::Itself)));
    assert_eq!(runs(&witness), 1);
}

#[tokio::test]
async fn p2_the_same_id_with_other_content_is_a_conflict() {
    let bench = Bench::new().await;
    let spec = bench.spec("true");
    bench.run(&spec).await;
    let mut other = spec.clone();
    other.env.push(("P_X".to_owned(), String::new()));
    let error = bench.steps.start(&bench.target, &other).await;
    assert_eq!(error, Err(RemoteError::Conflict(spec.id)));
}

#[tokio::test]
async fn p5_the_leaf_ends_a_step_whose_supervisor_was_killed() {
    let bench = Bench::new().await;
    let (spec, witness, gate) = witnessed(&bench);
    bench.start(&spec).await;
    let dir = bench.step_dir(spec.id);
    kill(until(|| role(&dir, "sup")).await);
    assert_eq!(bench.attach(spec.id, 3, Duration::from_millis(100)).await.report.status, StepStatus::Running);
    assert_eq!(bench.start(&spec).await.status, StepStatus::Running);
    std::fs::write(&gate, "").expect("written");
    let (ended, news) = bench.follow(spec.id).await;
    assert_eq!((ended, news.output.as_slice()), (exited(4, Cause::Itself), b"up\ndown\n".as_slice()));
    assert_eq!(runs(&witness), 1);
}

#[tokio::test]
async fn a_deadline_is_kept_when_the_supervisor_was_killed() {
    let bench = Bench::new().await;
    let mut spec = bench.spec("sleep 60");
    spec.limits.timeout = Duration::from_secs(1);
    bench.start(&spec).await;
    let dir = bench.step_dir(spec.id);
    kill(until(|| role(&dir, "sup")).await);
    assert_eq!(bench.follow(spec.id).await.0, exited(143, Cause::Deadline), "whoever asks sets a guard");
}

#[tokio::test]
async fn p7_a_killed_leaf_takes_the_exit_code_with_it_and_the_payload_is_waited_for() {
    let bench = Bench::new().await;
    let (spec, witness, gate) = witnessed(&bench);
    bench.start(&spec).await;
    let dir = bench.step_dir(spec.id);
    kill(until(|| role(&dir, "leaf")).await);
    let news = bench.attach(spec.id, 3, Duration::from_secs(1)).await;
    assert_eq!(news.report.status, StepStatus::Running, "the supervisor and the payload live");
    std::fs::write(&gate, "").expect("written");
    let (ended, news) = bench.follow(spec.id).await;
    assert_eq!(ended, Ended::Lost { why: "leaf-killed".to_owned() });
    assert_eq!(news.output, b"up\ndown\n");
    assert_eq!(runs(&witness), 1);
}

#[tokio::test]
async fn p7_orphans_are_told_of_and_lost_when_they_are_gone() {
    let bench = Bench::new().await;
    let (spec, witness, gate) = witnessed(&bench);
    bench.start(&spec).await;
    bench.attach(spec.id, 0, Duration::from_secs(10)).await;
    let dir = bench.step_dir(spec.id);
    kill(until(|| role(&dir, "sup")).await);
    kill(until(|| role(&dir, "leaf")).await);
    // What they had started for a moment may still hold their locks.
    let processes = guarded(async {
        loop {
            let news = bench.attach(spec.id, 3, Duration::ZERO).await;
            if news.report.status == StepStatus::Orphaned {
                return news.report.processes;
            }
        }
    })
    .await;
    let payload = bench.noted_pid(spec.id, "payload").await;
    assert!(processes.contains(&format!("{payload} sh")), "{processes:?} without {payload}");

    // Nothing else may run beside them.
    let Ended::Rejected { why } = bench.run(&bench.spec("true")).await.0 else { panic!("it is in the way") };
    let named = format!("lane-orphaned by {}: ", spec.id);
    assert!(why.starts_with(&named) && why.contains(&format!("{payload} sh")), "{why}");

    std::fs::write(&gate, "").expect("written");
    let (ended, news) = bench.follow(spec.id).await;
    assert_eq!(ended, Ended::Lost { why: "supervisor-killed".to_owned() });
    assert_eq!(news.output, b"up\ndown\n");
    assert_eq!(runs(&witness), 1);
    assert_eq!(bench.run(&bench.spec("true")).await.0, exited(0, Cause::Itself), "the lane is free again");
}

#[tokio::test]
async fn p7_a_step_of_an_earlier_boot_is_lost() {
    let bench = Bench::new().await;
    let spec = bench.spec("sleep 60");
    bench.start(&spec).await;
    let dir = bench.step_dir(spec.id);
    // What a power cut leaves: the records, no process, and another boot_id.
    for role_name in ["sup", "leaf"] {
        kill(until(|| role(&dir, role_name)).await);
    }
    kill(bench.noted_pid(spec.id, "payload").await);
    std::fs::write(dir.join("started"), "11111111-2222-3333-4444-555555555555 100\n").expect("written");
    let (ended, _) = bench.follow(spec.id).await;
    assert_eq!(ended, Ended::Lost { why: "reboot".to_owned() });
    let scene = bench.cancel(spec.id).await.scene.expect("a lost step has a scene");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("read");
    assert_eq!(
        (scene.boot_before.as_str(), scene.boot_now.as_str(), scene.lane_free),
        ("11111111-2222-3333-4444-555555555555", boot.trim(), true)
    );
    assert_eq!(bench.start(&spec).await.status, StepStatus::Ended(Ended::Lost { why: "reboot".to_owned() }));
    assert_eq!(bench.run(&bench.spec("true")).await.0, exited(0, Cause::Itself));
}

#[tokio::test]
async fn p5_what_was_accepted_and_not_started_starts_when_it_is_sent_again() {
    let bench = Bench::new().await;
    let (spec, witness, gate) = witnessed(&bench);
    std::fs::write(&gate, "").expect("written");
    // Where the machine died between acceptance and launch: the directory is there, and nobody works on it.
    bench.leave_accepted(&spec).await;
    assert_eq!(bench.attach(spec.id, 0, Duration::from_mins(1)).await.report.status, StepStatus::Accepted);
    assert_eq!(runs(&witness), 0);
    assert_eq!(bench.run(&spec).await.0, exited(4, Cause::Itself));
    assert_eq!(runs(&witness), 1);
}

#[tokio::test]
async fn p5_a_supervisor_whose_step_was_cleared_away_meanwhile_starts_nothing() {
    let bench = Bench::new().await;
    let (spec, witness, gate) = witnessed(&bench);
    std::fs::write(&gate, "").expect("written");
    bench.leave_accepted(&spec).await;
    // It has come as far as the lock that whoever clears away holds.
    let lock = |name: &str| std::fs::File::open(bench.path("state").join(name)).expect("a lock file");
    let (epoch, lane) = (lock("epoch.lock"), lock("lane"));
    flock(&epoch, FlockOperation::LockExclusive).expect("locked");
    let supervisor = bench.supervise(spec.id);
    let cleared = async {
        until(|| {
            let taken = flock(&lane, FlockOperation::NonBlockingLockShared).is_err();
            flock(&lane, FlockOperation::Unlock).expect("unlocked");
            taken.then_some(())
        })
        .await;
        // The directory is out of the way and not yet removed, as when the remover is killed.
        std::fs::rename(bench.step_dir(spec.id), bench.path("state/tmp/away")).expect("moved");
        flock(&epoch, FlockOperation::Unlock).expect("unlocked");
    };
    tokio::join!(supervisor, cleared);
    assert_eq!(runs(&witness), 0);
    assert!(!bench.path("state/tmp/away/started").exists());
}

#[tokio::test]
async fn a_pump_that_dies_does_not_block_the_payload() {
    let bench = Bench::new().await;
    let gate = bench.path("gate");
    let mut spec = bench.spec(
        "echo up; while [ ! -e \"$P_GATE\" ]; do sleep 0.02; done; head -c 1000000 /dev/zero || exit 1; exit 6",
    );
    spec.env.push(("P_GATE".to_owned(), gate.display().to_string()));
    bench.start(&spec).await;
    bench.attach(spec.id, 0, Duration::from_secs(10)).await;
    let pump = bench.noted_pid(spec.id, "pump").await;
    for pid in Bench::processes_in_group(pump) {
        kill(pid);
    }
    std::fs::write(&gate, "").expect("written");
    let (ended, news) = bench.follow(spec.id).await;
    assert_eq!(ended, exited(6, Cause::Itself));
    assert!(news.report.truncated, "bytes may have been lost, and that is said");
}
