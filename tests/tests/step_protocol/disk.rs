//! A full disk on the server: nothing runs, or the verdict is right.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use settled::domain::step::{Cause, Ended};
use settled::remote::StepStatus;

use crate::bench::{Bench, exited, until};

/// A small file system for the state directory, gone when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path) -> Self {
        std::fs::create_dir(at).expect("made");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(at).status();
        assert!(mounted.expect("mount runs").success());
        Self(at)
    }

    /// Writes until nothing more fits.
    fn fill(&self) {
        let path = self.0.join("fill");
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).expect("opened");
        for size in [4096, 1] {
            while std::io::Write::write_all(&mut file, &vec![b'x'; size]).is_ok() {}
        }
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0).status();
        assert!(unmounted.expect("umount runs").success());
    }
}

/// Mounting takes root, as in CI and in containers; for others there is nothing to be said here.
#[tokio::test]
#[ignore = "needs root to mount a small tmpfs: run with --run-ignored"]
async fn a_full_disk_rejects_or_truncates_and_never_lies() {
    assert!(rustix::process::geteuid().is_root(), "this test mounts a tmpfs: run it as root");
    let bench = Bench::unclaimed("/bin/sh".as_ref());
    let state = bench.path("state");
    let disk = SmallDisk::mount(&state);
    bench.claim().await;

    // During a run: the output is cut, the verdict right.
    let gate = bench.path("gate");
    let mut spec = bench
        .spec("while [ ! -e \"$P_GATE\" ]; do sleep 0.02; done; head -c 900000 /dev/zero || exit 1; exit 6");
    spec.env.push(("P_GATE".to_owned(), gate.display().to_string()));
    bench.start(&spec).await;
    until(|| bench.step_dir(spec.id).join("payload").exists().then_some(())).await;
    disk.fill();
    std::fs::write(&gate, "").expect("written");
    let (ended, news) = bench.follow(spec.id).await;
    assert_eq!(ended, exited(6, Cause::Itself));
    assert!(news.report.truncated);

    // Before a start: nothing is stored and nothing runs.
    let spec = bench.spec("true");
    let disk_full = Ended::Rejected { why: "disk".to_owned() };
    assert_eq!(bench.start(&spec).await.status, StepStatus::Ended(disk_full));
    assert_eq!(bench.attach(spec.id, 0, Duration::ZERO).await.report.status, StepStatus::Absent);
    std::fs::remove_file(state.join("fill")).expect("removed");
    assert_eq!(bench.run(&spec).await.0, exited(0, Cause::Itself));
    drop(disk);
}
