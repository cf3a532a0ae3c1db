//! SIGKILL at every system call of the verbs and of the processes on the server that others can see the effect of.
//!
//! strace kills the shell that it follows before its Nth `write`, its Nth `close` and so on, and writes down whether it did: it counts
//! each kind of call by itself. Whatever dies, the payload runs at most once, a verdict is true, and sending the verb again brings the
//! try to its end. The programs that a shell starts (`mv`, `ln`, `sync`) are not killed themselves: each does one thing or does not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use settled::domain::step::{Cause, Ended};
use settled::remote::{Remote, RemoteError, StepSpec, StepStatus};

use crate::bench::{Bench, exited, guarded, until};

/// The processes of a step, in the order in which they begin. The launcher becomes the supervisor.
const ROLES: [&str; 4] = ["launch", "pump", "leaf", "payload"];

/// A place to be killed in.
#[derive(Debug, Clone, Copy)]
enum Victim {
    /// The first process in this role.
    Role(&'static str),
    Claim,
    Start,
    Cancel,
    Reap,
}

const VERBS: [Victim; 4] = [Victim::Claim, Victim::Start, Victim::Cancel, Victim::Reap];

fn victims() -> impl Iterator<Item = Victim> {
    ROLES.into_iter().map(Victim::Role).chain(VERBS)
}

/// Calls that only look or only concern the caller's memory: between them it makes no difference where a process dies.
const SILENT: &[&str] = &[
    "access",
    "arch_prctl",
    "brk",
    "faccessat",
    "faccessat2",
    "fstat",
    "getegid",
    "geteuid",
    "getgid",
    "getpgrp",
    "getpid",
    "getppid",
    "getrandom",
    "getuid",
    "ioctl",
    "lseek",
    "lstat",
    "mmap",
    "mprotect",
    "munmap",
    "newfstatat",
    "pread64",
    "prlimit64",
    "read",
    "readlink",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "set_robust_list",
    "set_tid_address",
    "stat",
    "sysinfo",
    "uname",
];

/// Before the `count`th call of this name.
#[derive(Debug, Clone)]
struct Point {
    call: String,
    count: u32,
}

/// A life with one kill, if the victim came as far as that; without a point it is only written down.
struct Life {
    bench: Bench,
    point: Option<Point>,
}

impl Life {
    fn new(point: Option<Point>) -> Self {
        Self { bench: Bench::unclaimed(Path::new("/bin/sh")), point }
    }

    /// Where the kill is, for messages.
    fn place(&self) -> String {
        self.point
            .as_ref()
            .map_or_else(String::new, |point| format!("killed at {} {}", point.call, point.count))
    }

    /// The victim is whoever gets this shell of the bench once `condition` holds.
    fn ambush(&self, shell: &str, condition: &str) {
        let kill = self.point.as_ref().map_or_else(String::new, |point| {
            format!("-e inject={}:signal=KILL:when={}", point.call, point.count)
        });
        self.bench.ambush(shell, condition, &kill);
    }

    /// The next verb is the victim.
    fn ambush_verb(&self) {
        self.ambush("speaker/sh", "true");
    }

    /// What the victim did, to its end.
    async fn trace(&self) -> String {
        let trace = self.bench.path("trace");
        until(|| {
            let told = String::from_utf8_lossy(&fs::read(&trace).unwrap_or_default()).into_owned();
            told.contains("\n+++ ").then_some(told)
        })
        .await
    }

    /// A step that says when it runs, with a secret to lose.
    fn spec(&self) -> StepSpec {
        let mut spec = self.bench.spec("echo ran >>\"$P_WITNESS\"; exit 5");
        spec.env.push(("P_WITNESS".to_owned(), self.bench.path("witness").display().to_string()));
        spec.secrets.push(("key".to_owned(), b"hidden".to_vec().into()));
        spec
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.bench.path("witness")).unwrap_or_default().lines().count()
    }

    /// Sends the start again like a daemon would, until the step has ended. A verb that is killed gives no answer: the next one asks
    /// again.
    async fn end(&self, spec: &StepSpec) -> Ended {
        let (steps, target) = (&self.bench.steps, &self.bench.target);
        guarded(async {
            loop {
                steps.start(target, spec).await.ok();
                let news = steps.attach(target, spec.id, 0, Duration::from_millis(500)).await;
                if let Ok(StepStatus::Ended(ended)) = news.map(|news| news.report.status) {
                    return ended;
                }
            }
        })
        .await
    }

    /// Cleared away, nothing is left of a step but its tombstone: no directory, nothing half built, no secret.
    async fn clear(&self, spec: &StepSpec) {
        let (steps, target) = (&self.bench.steps, &self.bench.target);
        steps.reap(target, spec.id, 1).await.expect("cleared away");
        let left = |dir: &Path| {
            let names = fs::read_dir(dir).expect("readable").flatten();
            let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
            names.filter(|name| name.contains(&spec.id.to_string())).count()
        };
        assert_eq!(left(&self.bench.path("state/steps")), 0, "{}", self.place());
        // A supervisor that comes late may hold up whoever removes its directory.
        guarded(async {
            while left(&self.bench.path("state/tmp")) > 0 {
                let claimed = steps.claim(target, self.bench.installation, 1).await.expect("claimed");
                assert_eq!(claimed.tombstones, [spec.id], "{}", self.place());
            }
        })
        .await;
        // Whoever was told of the end may have been faster than whoever wipes the secrets.
        until(|| (left(Path::new("/run")) + left(Path::new("/dev/shm")) == 0).then_some(())).await;
    }
}

/// Lives once with a kill of the victim, and judges. What the victim did.
async fn live(victim: Victim, point: Option<Point>) -> String {
    let life = Life::new(point);
    match victim {
        Victim::Role(role) => role_life(&life, role).await,
        Victim::Claim => claim_life(&life).await,
        Victim::Start => start_life(&life).await,
        Victim::Cancel => cancel_life(&life).await,
        Victim::Reap => reap_life(&life).await,
    }
    life.trace().await
}

/// Whether the kill happened.
async fn strike(victim: Victim, point: Point) -> bool {
    live(victim, Some(point)).await.contains("+++ killed by SIGKILL +++")
}

/// The calls of an undisturbed life that count, in their order.
async fn calls(victim: Victim) -> Vec<Point> {
    let mut counts = BTreeMap::<String, u32>::new();
    let trace = live(victim, None).await;
    let names = trace.lines().filter_map(|line| line.split_once('(')).map(|(name, _)| name);
    let plain = |name: &&str| {
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let telling = names.filter(plain).filter(|name| !name.is_empty() && !SILENT.contains(name));
    telling
        .map(|name| {
            let count = counts.entry(name.to_owned()).or_default();
            *count += 1;
            Point { call: name.to_owned(), count: *count }
        })
        .collect()
}

async fn role_life(life: &Life, role: &str) {
    life.ambush("sh", &format!("[ \"${{2:-}}\" = {role} ]"));
    life.bench.claim().await;
    let spec = life.spec();
    let (ended, runs) = (life.end(&spec).await, life.runs());
    let told = format!("{role} {}: {ended:?} after {runs} runs", life.place());
    match ended {
        // A payload that was killed has said so itself.
        Ended::Exited { code: 137, cause: Cause::Outside } if role == "payload" => {
            assert!(runs <= 1, "{told}");
        }
        Ended::Exited { .. } => assert!(ended == exited(5, Cause::Itself) && runs == 1, "{told}"),
        Ended::Rejected { .. } => assert!(runs == 0, "{told}"),
        Ended::Lost { .. } => assert!(runs <= 1, "{told}"),
    }
    life.clear(&spec).await;
}

async fn claim_life(life: &Life) {
    let bench = &life.bench;
    life.ambush_verb();
    bench.steps.claim(&bench.target, bench.installation, 1).await.ok();
    let claimed = bench.steps.claim(&bench.target, bench.installation, 1).await;
    assert_eq!(claimed.map(drop), Ok(()), "{}", life.place());
    let copy = bench.through(Path::new("/bin/sh")).claim(&bench.target, bench.installation, 1).await;
    assert_eq!(copy, Err(RemoteError::Fenced { highest: 1 }), "p3: {}", life.place());
    assert_eq!(life.end(&life.spec()).await, exited(5, Cause::Itself), "{}", life.place());
}

async fn start_life(life: &Life) {
    life.bench.claim().await;
    life.ambush_verb();
    let spec = life.spec();
    assert_eq!((life.end(&spec).await, life.runs()), (exited(5, Cause::Itself), 1), "{}", life.place());
    life.clear(&spec).await;
}

async fn cancel_life(life: &Life) {
    let bench = &life.bench;
    bench.claim().await;
    let spec = bench.spec("sleep 60");
    bench.start(&spec).await;
    life.ambush_verb();
    bench.steps.cancel(&bench.target, spec.id, 1).await.ok();
    bench.cancel(spec.id).await;
    assert_eq!(bench.follow(spec.id).await.0, exited(143, Cause::Cancel), "{}", life.place());
    assert_eq!(Bench::processes_of(spec.id), Vec::<i32>::new(), "{}", life.place());
}

async fn reap_life(life: &Life) {
    let bench = &life.bench;
    bench.claim().await;
    let spec = life.spec();
    assert_eq!(life.end(&spec).await, exited(5, Cause::Itself));
    life.ambush_verb();
    bench.steps.reap(&bench.target, spec.id, 1).await.ok();
    life.clear(&spec).await;
    assert_eq!(bench.start(&spec).await.status, StepStatus::Reaped, "p5: {}", life.place());
    assert_eq!(life.runs(), 1);
}

#[tokio::test]
async fn p5_a_kill_at_sampled_points_never_runs_twice_and_never_lies() {
    for victim in victims() {
        let calls = calls(victim).await;
        // Later ones may not come in every life: how often a process looks again differs.
        for eighth in 1..4 {
            let point = calls[calls.len() * eighth / 8].clone();
            let told = format!("{victim:?} did not come to {point:?}");
            assert!(strike(victim, point).await, "{told}");
        }
    }
}

/// Lives at the same time: most of a life is waiting.
const AT_ONCE: usize = 4;

/// Strikes the victim before every call that it makes, and further until a whole life passes without a strike.
async fn enumerate(victim: Victim) {
    let calls = calls(victim).await;
    let lives_at_once = futures::stream::iter(calls.clone()).map(|point| strike(victim, point));
    let hits: Vec<bool> = lives_at_once.buffer_unordered(AT_ONCE).collect().await;
    let (mut lives, mut strikes) = (hits.len(), hits.into_iter().filter(|hit| *hit).count());
    let last: BTreeMap<_, _> = calls.iter().map(|point| (point.call.clone(), point.count)).collect();
    for (call, mut count) in last {
        loop {
            (lives, count) = (lives + 1, count + 1);
            if !strike(victim, Point { call: call.clone(), count }).await {
                break;
            }
            strikes += 1;
        }
    }
    println!("{victim:?}: {strikes} kills in {lives} lives, {} calls in an undisturbed one", calls.len());
    let missed = calls.len().saturating_sub(strikes);
    assert!(missed * 10 <= calls.len(), "{victim:?} was killed only {strikes} times");
}

#[tokio::test]
#[ignore = "every telling system call of four processes and four verbs, some 20 minutes: make kills"]
async fn p5_a_kill_at_every_point_never_runs_twice_and_never_lies() {
    for victim in victims() {
        enumerate(victim).await;
    }
}
