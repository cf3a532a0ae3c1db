//! SIGKILL at every system call of the verbs and of the processes on the server.
//!
//! strace kills the shell that it follows, or any of its children, at its Nth system call. Whatever dies, the payload runs at most
//! once, a verdict of the protocol is true, and sending the start again brings the try to an end.

use std::path::Path;
use std::time::Duration;

use settled::domain::step::{Cause, Ended};
use settled::remote::{Remote, StepStatus};

use crate::bench::{Bench, exited, guarded};

/// A script in place of `/bin/sh` that lets strace kill the processes of `role` at their system call number `point`.
fn killer(bench: &Bench, role: &str, point: u32) {
    let shell = bench.path("sh");
    std::fs::remove_file(&shell).ok();
    let text = format!(
        "#!/bin/sh\nif [ \"${{2:-}}\" = {role} ] && mkdir {dir}/struck 2>/dev/null; then\n\
         exec strace -D -o /dev/null -e inject=all:signal=KILL:when={point} /bin/sh \"$@\"\nfi\nexec /bin/sh \"$@\"\n",
        dir = bench.dir.path().display(),
    );
    std::fs::write(&shell, text).expect("written");
    std::fs::set_permissions(&shell, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("executable");
}

/// One life with one kill. Sends the start again like a daemon would; gives the end, and how often the payload ran.
async fn life(role: &str, point: u32) -> (Ended, usize) {
    let bench = Bench::unclaimed(Path::new("/bin/sh"));
    killer(&bench, role, point);
    bench.claim().await;
    let witness = bench.path("witness");
    let mut spec = bench.spec("echo ran >>\"$P_WITNESS\"; exit 5");
    spec.env.push(("P_WITNESS".to_owned(), witness.display().to_string()));
    let ended = guarded(async {
        loop {
            // A verb that is killed gives no answer: the next one asks again.
            bench.steps.start(&bench.target, &spec).await.ok();
            let news = bench.steps.attach(&bench.target, spec.id, 0, Duration::from_millis(500)).await;
            if let Ok(StepStatus::Ended(ended)) = news.map(|news| news.report.status) {
                return ended;
            }
        }
    })
    .await;
    let runs = std::fs::read_to_string(witness).unwrap_or_default().lines().count();
    (ended, runs)
}

fn judge(role: &str, point: u32, (ended, runs): &(Ended, usize)) {
    let told = format!("{role} killed at {point}: {ended:?} after {runs} runs");
    match ended {
        // A payload that was killed has said so itself.
        Ended::Exited { code: 137, cause: Cause::Outside } if role == "payload" => {
            assert!(*runs <= 1, "{told}");
        }
        Ended::Exited { .. } => assert!(*ended == exited(5, Cause::Itself) && *runs == 1, "{told}"),
        Ended::Rejected { .. } => assert!(*runs == 0, "{told}"),
        Ended::Lost { .. } => assert!(*runs <= 1, "{told}"),
    }
}

async fn strike(role: &str, points: impl Iterator<Item = u32>) {
    for point in points {
        let outcome = life(role, point).await;
        judge(role, point, &outcome);
    }
}

#[tokio::test]
async fn p5_a_kill_at_sampled_points_never_runs_twice_and_never_lies() {
    for role in ["sup", "leaf", "payload", "pump", "launch"] {
        strike(role, (8..120).step_by(41)).await;
    }
}

/// Some minutes. `SETTLED_KILL_POINTS` sets how many system calls of each process are tried.
#[tokio::test]
#[ignore = "every system call of five processes: minutes; run with --run-ignored"]
async fn p5_a_kill_at_every_point_never_runs_twice_and_never_lies() {
    let points = std::env::var("SETTLED_KILL_POINTS").ok().and_then(|text| text.parse().ok()).unwrap_or(130);
    for role in ["payload", "pump", "launch", "leaf", "sup"] {
        strike(role, 1..points).await;
    }
}
