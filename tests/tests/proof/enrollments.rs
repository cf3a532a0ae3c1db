//! Very many enrollments due in the same instant: none is lost, none is done twice, and memory does not grow with their number.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use settled::engine::{ApplyLifecycle, Asked, Engine, Enroll, Lease};
use settled::lifecycles::Keeper;
use settled::store::lifecycles::ExecutionFilter;
use settled_tests::engine::Served;

/// The first stage has nothing to do, so that the keeper alone is measured; the second asks, and waits.
const SOURCE: &str = r#"
code = "many"
name = "Many"
[[stages]]
name = "clear"
action = { operation = "remove", package = "nginx", server = "web" }
[[stages]]
name = "ask"
action = { approval = "Well?" }
"#;
/// More than what a look of the keeper holds, and much less than what all enrollments hold.
const GROWTH_MAX_KB: u64 = 64 * 1024;

fn asked(n: usize) -> Asked {
    let (principal, digest) = ("unix:0".to_owned(), "d".to_owned());
    let (peer, verb) = ("test".to_owned(), settled::auth::Verb::Operate);
    Asked { principal, method: "Lifecycles.Enroll", request_id: format!("r{n}"), digest, peer, verb }
}

async fn enroll_all(engine: &Engine, count: usize) {
    let enrolling = (0..count).map(async |n| {
        let ask = Enroll {
            lifecycle: "many".to_owned(),
            subject: format!("user/{n}"),
            payload: r#"{"plan":"pro"}"#.to_owned(),
            at: None,
            again: false,
            cancel: false,
        };
        engine.enroll(asked(n), ask).await.expect("a subject can be enrolled");
    });
    futures::stream::iter(enrolling).buffer_unordered(512).collect::<Vec<()>>().await;
}

/// The most memory that this process has held since it was asked last, in KiB.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the process can read of itself");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it has held memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

async fn count(engine: &Engine, status: &str) -> i64 {
    let mut reader = engine.store().read().await.expect("the store can be read");
    let mut db = reader.db();
    let found = db.lifecycle_by_code("many").await.expect("it can be read").expect("it is there");
    let counts = db.enrollment_counts(found.id).await.expect("they can be counted");
    counts.get(status).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a hundred thousand enrollments take minutes"]
#[expect(clippy::disallowed_methods, reason = "what is measured is the time of the machine")]
async fn a_hundred_thousand_enrollments_due_at_once_are_worked_off_without_loss() {
    let wanted = std::env::var("SETTLED_ENROLLMENTS").ok().and_then(|text| text.parse().ok());
    let number: usize = wanted.unwrap_or(100_000);
    let all = i64::try_from(number).expect("a number of enrollments");
    let api = Served::start().await;
    api.server("web").await;
    let engine = api.engine.clone();
    let ask =
        ApplyLifecycle { source: SOURCE.to_owned(), mapping: [].into(), secrets: [].into(), dry: false };
    engine.apply_lifecycle(asked(number), ask).await.expect("the definition is sound");
    let began = Instant::now();
    enroll_all(&engine, number).await;
    let enrolled = began.elapsed();

    let lease =
        Lease::new(Duration::from_secs(3_600), std::sync::Arc::new(settled::clock::SystemClock::new()));
    engine.renew_lease(&lease, true).await.expect("a lease");
    let mut keeper = Keeper::new(engine.clone(), lease, false, || false);
    std::fs::write("/proc/self/clear_refs", "5").expect("the peak can be forgotten");
    let (before, began, mut looks) = (peak_kb(), Instant::now(), 0_u64);
    while count(&engine, "processing").await < all {
        keeper.step().await;
        looks += 1;
        assert!(looks < 20 + 4 * number as u64 / 100, "it does not come to an end");
    }
    let (worked, grown) = (began.elapsed(), peak_kb().saturating_sub(before));
    let rate =
        2 * u128::try_from(number).expect("a number of enrollments") * 1_000 / worked.as_millis().max(1);
    println!(
        "{}: {number} enrolled in {:.1} s; {number} due at once, two stages each, in {:.1} s ({rate} stages/s, {looks} looks); \
         memory at most {} MiB above the {} MiB before",
        engine.store().about().engine,
        enrolled.as_secs_f64(),
        worked.as_secs_f64(),
        grown / 1024,
        before / 1024,
    );
    assert_eq!((count(&engine, "processing").await, count(&engine, "pending").await), (all, 0));
    let mut reader = engine.store().read().await.expect("the store can be read");
    let (mut lines, mut before_line) = (0, None);
    loop {
        let page = reader.db().executions(&ExecutionFilter::default(), before_line, 1_000).await;
        let page = page.expect("the log can be read");
        let Some(last) = page.last() else { break };
        before_line = Some((last.at, last.seq));
        assert!(
            page.iter().all(|row| row.stage == "clear" && row.outcome == "succeeded" && row.attempt == 1)
        );
        lines += page.len();
    }
    assert_eq!(lines, number, "each of them once");
    assert!(grown < GROWTH_MAX_KB, "memory grew by {grown} KiB");
}
