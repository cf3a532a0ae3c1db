//! One at a time (P3), as the server itself keeps it.

use std::time::Duration;

use futures::future::join_all;
use settled::domain::step::{Cause, Ended};
use settled::remote::{Dpkg, Remote, RemoteError, StepSpec, StepStatus};

use crate::bench::{Bench, PATIENCE, exited};

#[tokio::test]
async fn p3_two_steps_never_run_side_by_side() {
    let bench = Bench::new().await;
    // Each makes a directory for the time that it runs: two at once would meet.
    let inside = bench.path("inside").display().to_string();
    let specs: Vec<_> = (0..6)
        .map(|_| {
            let mut spec = bench.spec("mkdir \"$P_INSIDE\" || exit 99; sleep 0.2; rmdir \"$P_INSIDE\"");
            spec.env.push(("P_INSIDE".to_owned(), inside.clone()));
            spec
        })
        .collect();
    let ends = join_all(specs.iter().map(|spec| bench.run(spec))).await;
    let busy = Ended::Rejected { why: "lane-busy".to_owned() };
    let ran = ends.iter().filter(|(ended, _)| *ended == exited(0, Cause::Itself)).count();
    let refused = ends.iter().filter(|(ended, _)| *ended == busy).count();
    assert!(ran >= 1 && ran + refused == 6, "{ends:?}");
}

#[tokio::test]
async fn p3_a_busy_lane_rejects_the_next_step() {
    let bench = Bench::new().await;
    let first = bench.spec("sleep 60");
    bench.start(&first).await;
    let second = bench.spec("true");
    assert_eq!(bench.run(&second).await.0, Ended::Rejected { why: "lane-busy".to_owned() });
    bench.cancel(first.id).await;
    bench.follow(first.id).await;
    assert_eq!(bench.run(&bench.spec("true")).await.0, exited(0, Cause::Itself));
}

#[tokio::test]
async fn steps_that_follow_each_other_are_not_hindered_by_the_one_before() {
    let bench = Bench::new().await;
    for _ in 0..10 {
        // The background child keeps the pump of its step busy for 2 s after the end.
        let spec = bench.spec("sleep 3 & exit 0");
        bench.start(&spec).await;
        crate::bench::until(|| bench.step_dir(spec.id).join("exit").exists().then_some(())).await;
    }
    assert_eq!(bench.run(&bench.spec("true")).await.0, exited(0, Cause::Itself));
}

#[tokio::test]
async fn p3_an_old_epoch_cannot_start() {
    let bench = Bench::new().await;
    bench.steps.claim(&bench.target, bench.installation, 2).await.expect("claimed");
    let spec = bench.spec("true");
    let error = bench.steps.start(&bench.target, &spec).await;
    assert_eq!(error, Err(RemoteError::Fenced { highest: 2 }));
    assert_eq!(bench.attach(spec.id, 0, Duration::ZERO).await.report.status, StepStatus::Absent);
}

#[tokio::test]
async fn p3_a_copied_store_cannot_act_in_an_epoch_that_the_original_has_taken() {
    let bench = Bench::new().await;
    let spec = bench.spec("sleep 60");
    bench.start(&spec).await;
    // The same installation and the same epoch, because the store is the same to the last byte: another process.
    let copy = bench.through(&bench.path("speaker/sh"));
    let fenced = || RemoteError::Fenced { highest: 1 };
    assert_eq!(copy.claim(&bench.target, bench.installation, 1).await, Err(fenced()));
    assert_eq!(copy.start(&bench.target, &bench.spec("true")).await, Err(fenced()));
    assert_eq!(copy.cancel(&bench.target, spec.id, 1).await, Err(fenced()));
    assert_eq!(copy.reap(&bench.target, spec.id, 1).await, Err(fenced()));

    // It has to outbid, and then the original is the one that is told.
    assert_eq!(copy.claim(&bench.target, bench.installation, 2).await.map(drop), Ok(()));
    let fenced = RemoteError::Fenced { highest: 2 };
    assert_eq!(bench.steps.claim(&bench.target, bench.installation, 2).await, Err(fenced.clone()));
    assert_eq!(bench.steps.cancel(&bench.target, spec.id, 1).await, Err(fenced));
    assert_eq!(bench.attach(spec.id, 0, Duration::ZERO).await.report.status, StepStatus::Running);
}

#[tokio::test]
async fn p3_an_epoch_from_before_claimants_were_noted_is_accepted_once() {
    let bench = Bench::new().await;
    std::fs::remove_file(bench.path("state/claim")).expect("removed");
    let first = bench.through(&bench.path("speaker/sh"));
    assert_eq!(first.claim(&bench.target, bench.installation, 1).await.map(drop), Ok(()));
    let error = bench.steps.claim(&bench.target, bench.installation, 1).await;
    assert_eq!(error, Err(RemoteError::Fenced { highest: 1 }));
}

#[tokio::test]
async fn p3_what_was_accepted_under_an_old_epoch_is_fenced_when_it_would_start() {
    let bench = Bench::new().await;
    let spec = bench.spec("true");
    bench.leave_accepted(&spec).await;
    bench.steps.claim(&bench.target, bench.installation, 2).await.expect("claimed");
    // A supervisor that was slow to come.
    bench.supervise(spec.id).await;
    let fenced = StepStatus::Ended(Ended::Rejected { why: "fenced".to_owned() });
    assert_eq!(bench.attach(spec.id, 0, Duration::ZERO).await.report.status, fenced);
}

#[tokio::test]
async fn p4_a_foreign_dpkg_lock_is_told_by_name_before_anything_is_stored() {
    let bench = Bench::new().await;
    let lock = std::fs::File::create(bench.path("dpkg-lock")).expect("a lock file");
    rustix::fs::fcntl_lock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    let mut spec = bench.spec("true");
    spec.dpkg = Dpkg::Needed;
    let status = bench.start(&spec).await.status;
    let StepStatus::Busy { holder } = status else { panic!("{status:?}") };
    assert_eq!(holder.pid, std::process::id());
    let comm = std::fs::read_to_string("/proc/self/comm").expect("readable");
    assert_eq!(holder.name, comm.trim());
    assert!(holder.age < PATIENCE, "{holder}: this process has just begun");
    assert!(!bench.step_dir(spec.id).exists());
    let hello = bench.steps.hello(&bench.target).await.expect("an answer");
    let told = &hello.facts["dpkg_lock"];
    assert!(told.starts_with(&format!("{} (pid {}", holder.name, holder.pid)), "{told}");
    drop(lock);
    assert_eq!(bench.run(&spec).await.0, exited(0, Cause::Itself));
}

#[tokio::test]
async fn p4_the_age_of_a_holder_grows() {
    let bench = Bench::new().await;
    let lock = std::fs::File::create(bench.path("dpkg-lock")).expect("a lock file");
    rustix::fs::fcntl_lock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    let mut spec = bench.spec("true");
    spec.dpkg = Dpkg::Needed;
    let mut ages = Vec::new();
    while ages.last().is_none_or(|age| *age < Duration::from_secs(2)) {
        let StepStatus::Busy { holder } = bench.start(&spec).await.status else { panic!("the lock is held") };
        ages.push(holder.age);
    }
    assert!(ages.is_sorted() && ages[0] < PATIENCE, "{ages:?}");
}

/// What dpkg leaves when it is killed between unpacking and configuring.
#[tokio::test]
async fn p4_an_interrupted_dpkg_is_told_before_anything_is_stored() {
    let bench = Bench::laid_out("/bin/sh".as_ref(), |layout| {
        layout.dpkg_dir = layout.state_dir.clone().expect("a state directory").replace("state", "dpkg");
    });
    bench.claim().await;
    let status = |word: &str| {
        std::fs::create_dir_all(bench.path("dpkg/updates")).expect("made");
        std::fs::create_dir_all(bench.path("dpkg/info")).expect("made");
        let package = |name: &str, word: &str| {
            format!(
                "Package: {name}\nStatus: install ok {word}\nMaintainer: x\nArchitecture: all\n\
                 Version: 1\nDescription: x\n\n"
            )
        };
        // One that was installed without checksums, which `dpkg --audit` would complain of.
        let text = package("well", "installed") + &package("thing", word);
        std::fs::write(bench.path("dpkg/status"), text).expect("written");
    };
    let mut spec = bench.spec("true");
    spec.dpkg = Dpkg::Needed;
    for word in ["unpacked", "half-configured", "half-installed"] {
        status(word);
        let packages = format!("thing {word}");
        let hello = bench.steps.hello(&bench.target).await.expect("an answer");
        assert_eq!(
            (hello.facts["dpkg"].as_str(), &hello.facts["dpkg_interrupted"]),
            ("interrupted", &packages)
        );
        assert_eq!(bench.start(&spec).await.status, StepStatus::Interrupted { packages });
    }
    // What is to mend it is not refused for it.
    let repair = StepSpec { dpkg: Dpkg::Repaired, ..bench.spec("true") };
    assert_eq!(bench.run(&repair).await.0, exited(0, Cause::Itself));
    status("installed");
    std::fs::write(bench.path("dpkg/updates/0001"), "").expect("written");
    let packages = "its journal is not empty".to_owned();
    assert_eq!(bench.start(&spec).await.status, StepStatus::Interrupted { packages });
    assert!(!bench.step_dir(spec.id).exists());

    std::fs::remove_file(bench.path("dpkg/updates/0001")).expect("removed");
    assert_eq!(bench.run(&spec).await.0, exited(0, Cause::Itself));
    assert_eq!(bench.steps.hello(&bench.target).await.expect("an answer").facts["dpkg"], "ok");
}
