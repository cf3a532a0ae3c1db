//! The pump, which moves output to the disk, dies while others go on.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use settled::domain::step::Cause;
use settled::remote::StepStatus;

use crate::bench::{Bench, exited, role, until};

/// Slow where it opens the fifo for a second pump.
const SLOW: &str = "-P pipe -e inject=openat:delay_enter=1500ms:when=2";

#[tokio::test]
async fn p7_an_end_that_was_told_is_not_taken_back_for_another_pump() {
    let bench = Bench::unclaimed(Path::new("/bin/sh"));
    bench.ambush("sh", "[ \"${2:-}\" = launch ]", SLOW);
    bench.claim().await;
    // What stays behind would keep the other pump at work after the end.
    let mut spec = bench.spec("while [ ! -e \"$P_GATE\" ]; do sleep 0.02; done; sleep 60 &");
    spec.env.push(("P_GATE".to_owned(), bench.path("gate").display().to_string()));
    bench.start(&spec).await;
    let pump = Pid::from_raw(bench.noted_pid(spec.id, "pump").await).expect("a pid");
    kill_process_group(pump, Signal::KILL).expect("it lives");
    let dir = bench.step_dir(spec.id);
    // Its supervisor has noticed, and is about to begin another one.
    until(|| dir.join("truncated").exists().then_some(())).await;
    fs::write(bench.path("gate"), "").expect("written");
    let (ended, _) = bench.follow(spec.id).await;
    assert_eq!(ended, exited(0, Cause::Itself));
    while role(&dir, "sup").is_some() {
        let again = bench.attach(spec.id, 0, Duration::ZERO).await.report.status;
        assert_eq!(again, StepStatus::Ended(ended.clone()));
    }
}
