//! Clearing away: only what the caller names, whatever the server's clock says.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use settled::domain::step::Cause;
use settled::remote::{Remote, RemoteError, StepStatus};

use crate::bench::{Bench, exited};

/// Makes a file look as if it had not been touched for half a century, as a clock that jumped ahead does.
fn age(path: &Path) {
    let file = fs::File::open(path).expect("a file");
    file.set_modified(SystemTime::UNIX_EPOCH).expect("aged");
}

#[tokio::test]
async fn p7_a_clock_that_jumps_buries_no_verdict_and_no_tombstone() {
    let bench = Bench::new().await;
    let (unread, reaped) = (bench.spec("exit 3"), bench.spec("true"));
    bench.run(&unread).await;
    bench.run(&reaped).await;
    bench.steps.reap(&bench.target, reaped.id, 1).await.expect("cleared away");
    age(&bench.step_dir(unread.id).join("exit"));
    age(&bench.path("state/reaped").join(reaped.id.to_string()));
    bench.steps.claim(&bench.target, bench.installation, 2).await.expect("claimed");
    assert_eq!(bench.follow(unread.id).await.0, exited(3, Cause::Itself));
    assert_eq!(bench.attach(reaped.id, 0, Duration::ZERO).await.report.status, StepStatus::Reaped);
}

#[tokio::test]
async fn tombstones_are_told_of_and_forgotten_when_they_are_named() {
    let bench = Bench::new().await;
    let (ran, cancelled, kept) = (bench.spec("true"), bench.spec("true"), bench.spec("true"));
    bench.run(&ran).await;
    bench.cancel(cancelled.id).await;
    bench.cancel(kept.id).await;
    bench.steps.reap(&bench.target, ran.id, 1).await.expect("cleared away");
    let all = vec![ran.id, cancelled.id, kept.id];
    let claim =
        async || bench.steps.claim(&bench.target, bench.installation, 1).await.expect("claimed").tombstones;
    assert_eq!(claim().await, all);
    bench.steps.gc(&bench.target, 1, &[ran.id, cancelled.id]).await.expect("forgotten");
    assert_eq!(claim().await, [kept.id]);
    for gone in [ran.id, cancelled.id] {
        assert_eq!(bench.attach(gone, 0, Duration::ZERO).await.report.status, StepStatus::Absent);
    }
    bench.steps.claim(&bench.target, bench.installation, 2).await.expect("claimed");
    let fenced = bench.steps.gc(&bench.target, 1, &[kept.id]).await;
    assert_eq!(fenced, Err(RemoteError::Fenced { highest: 2 }));
}

#[tokio::test]
async fn p12_what_a_killed_start_left_half_built_goes_away_with_its_secrets() {
    let bench = Bench::new().await;
    let id = bench.spec("").id;
    let (half, secrets) = (
        bench.path("state/tmp").join(format!("{id}.0123")),
        Path::new("/dev/shm").join(format!("settled-step-{id}-0123")),
    );
    fs::create_dir(&half).expect("made");
    fs::create_dir(&secrets).expect("made");
    fs::write(half.join("secrets.at"), format!("{}\n", secrets.display())).expect("written");
    // A hello that is still at work, and one whose shell is gone.
    let (alive, dead) = (
        bench.path("state/tmp").join(format!("hello.{}-0123", std::process::id())),
        bench.path("state/tmp/hello.999999999-0123"),
    );
    fs::create_dir(&alive).expect("made");
    fs::create_dir(&dead).expect("made");
    bench.claim().await;
    assert_eq!((half.exists(), secrets.exists(), dead.exists()), (false, false, false));
    assert!(alive.exists());
}
