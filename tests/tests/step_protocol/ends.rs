//! A step runs, ends, and is told of truly.

use std::time::Duration;

use settled::domain::step::Cause;
use settled::remote::{Remote, StepStatus};

use crate::bench::{Bench, alive, exited, guarded, processes_with, until};

#[tokio::test]
async fn p7_the_verdict_is_the_exit_code_and_the_output_is_every_byte() {
    let bench = Bench::new().await;
    let spec = bench.spec("printf 'a\\000b\\377\\n'; echo err >&2; exit 3");
    let (ended, news) = bench.run(&spec).await;
    assert_eq!(ended, exited(3, Cause::Itself));
    assert_eq!(news.output, b"a\0b\xff\nerr\n");
    assert!(!news.report.truncated);
    let again = bench.attach(spec.id, 0, Duration::ZERO).await;
    assert_eq!(again, news, "asking again changes nothing");
}

#[tokio::test]
async fn megabytes_of_binary_output_arrive_as_they_are() {
    let bench = Bench::new().await;
    let file = bench.path("random");
    let bytes: Vec<u8> =
        (0..3_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    std::fs::write(&file, &bytes).expect("written");
    let mut spec = bench.spec("cat \"$P_FILE\"");
    spec.env.push(("P_FILE".to_owned(), file.display().to_string()));
    spec.limits.output_bytes_max = 16 * 1024 * 1024;
    let (ended, news) = bench.run(&spec).await;
    assert_eq!(ended, exited(0, Cause::Itself));
    assert!(news.output == bytes, "{} bytes came of {}", news.output.len(), bytes.len());
}

#[tokio::test]
async fn a_flood_ends_at_the_limit_and_the_payload_does_not_notice() {
    let bench = Bench::new().await;
    // The code tells whether the writer was ended by SIGPIPE.
    let mut spec = bench.spec("head -c 50000000 /dev/zero || exit 1; exit 7");
    spec.limits.output_bytes_max = 65_536;
    let (ended, news) = bench.run(&spec).await;
    assert_eq!(ended, exited(7, Cause::Itself));
    assert_eq!(news.output, vec![0; 65_536]);
    assert!(news.report.truncated);
}

#[tokio::test]
async fn output_of_exactly_the_limit_is_not_truncated() {
    let bench = Bench::new().await;
    let mut spec = bench.spec("head -c 2048 /dev/zero");
    spec.limits.output_bytes_max = 2048;
    let (_, news) = bench.run(&spec).await;
    assert_eq!((news.output.len(), news.report.truncated), (2048, false));
}

#[tokio::test]
async fn p5_output_goes_on_from_the_byte_where_the_reader_stopped() {
    let bench = Bench::new().await;
    let gate = bench.path("gate");
    let mut spec = bench.spec("printf one; while [ ! -e \"$P_GATE\" ]; do sleep 0.02; done; printf two");
    spec.env.push(("P_GATE".to_owned(), gate.display().to_string()));
    bench.start(&spec).await;
    let first = bench.attach(spec.id, 0, Duration::from_secs(10)).await;
    assert_eq!((first.output.as_slice(), &first.report.status), (b"one".as_slice(), &StepStatus::Running));
    std::fs::write(&gate, "").expect("written");
    let (ended, _) = bench.follow(spec.id).await;
    assert_eq!(ended, exited(0, Cause::Itself));
    let rest = bench.attach(spec.id, 3, Duration::ZERO).await;
    assert_eq!(rest.output, b"two");
    let middle = bench.attach(spec.id, 2, Duration::ZERO).await;
    assert_eq!(middle.output, b"etwo");
    let beyond = bench.attach(spec.id, 99, Duration::ZERO).await;
    assert_eq!(beyond.output, b"");
}

#[tokio::test]
async fn attach_answers_at_once_when_the_step_ends() {
    let bench = Bench::new().await;
    let spec = bench.spec("sleep 0.3");
    bench.start(&spec).await;
    // Guarded far below the wait: only the end of the step can end this in time.
    let news = guarded(bench.attach(spec.id, 0, Duration::from_mins(1))).await;
    assert_eq!(news.report.status, StepStatus::Ended(exited(0, Cause::Itself)));
}

#[tokio::test]
async fn a_payload_finds_a_clean_room() {
    let bench = Bench::new().await;
    let mut spec =
        bench.spec("pwd; umask; env | sort; cat; echo kept >\"$SETTLED_OUTPUT\" && cat \"$SETTLED_OUTPUT\"");
    spec.env.push(("P_NAME".to_owned(), "value".to_owned()));
    let (_, news) = bench.run(&spec).await;
    let text = String::from_utf8(news.output).expect("text");
    let home = bench.dir.path().display();
    let expected = format!(
        "/\n0022\nDEBIAN_FRONTEND=noninteractive\nHOME={home}\nLANG=C\nLC_ALL=C\nNEEDRESTART_SUSPEND=1\n\
         PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/\nP_NAME=value\n\
         SETTLED_OUTPUT={dir}/result\nSETTLED_STEP={id}\nkept\n",
        dir = bench.step_dir(spec.id).display(),
        id = spec.id,
    );
    assert_eq!(text, expected);
}

#[tokio::test]
async fn a_child_in_the_background_that_keeps_the_output_open_does_not_keep_the_step() {
    let bench = Bench::new().await;
    let spec = bench.spec("sleep 60 & echo $!");
    let (ended, news) = bench.run(&spec).await;
    assert_eq!(ended, exited(0, Cause::Itself));
    let child = String::from_utf8(news.output).expect("text").trim().parse().expect("a pid");
    assert!(alive(child), "it is nobody's to kill unless asked");
    crate::bench::kill(child);
}

#[tokio::test]
async fn a_deadline_is_kept_on_the_server_with_all_processes() {
    let bench = Bench::new().await;
    let mut spec = bench.spec("sleep 61 & timeout 62 sleep 63 & sleep 64");
    spec.limits.timeout = Duration::from_millis(300);
    let (ended, _) = bench.run(&spec).await;
    assert_eq!(ended, exited(143, Cause::Deadline));
    assert_eq!(Bench::processes_of(spec.id), Vec::<i32>::new());
}

#[tokio::test]
async fn what_ignores_term_gets_kill_after_the_grace() {
    let bench = Bench::new().await;
    let mut spec = bench.spec("trap '' TERM; while :; do sleep 0.05; done");
    spec.limits.timeout = Duration::from_millis(300);
    spec.limits.grace = Duration::from_millis(400);
    let (ended, _) = bench.run(&spec).await;
    assert_eq!(ended, exited(137, Cause::Deadline));
}

#[tokio::test]
async fn a_payload_that_someone_else_kills_is_told_as_such() {
    let bench = Bench::new().await;
    let spec = bench.spec("sleep 60");
    bench.start(&spec).await;
    crate::bench::kill(bench.noted_pid(spec.id, "payload").await);
    let (ended, _) = bench.follow(spec.id).await;
    assert_eq!(ended, exited(137, Cause::Outside));
}

#[tokio::test]
async fn a_try_that_was_cleared_away_leaves_a_tombstone_and_nothing_else() {
    let bench = Bench::new().await;
    let spec = bench.spec("echo once");
    bench.run(&spec).await;
    for _ in 0..2 {
        bench.steps.reap(&bench.target, spec.id, 1).await.expect("cleared away");
    }
    let news = bench.attach(spec.id, 0, Duration::ZERO).await;
    assert_eq!(news.report.status, StepStatus::Reaped);
    assert_eq!(bench.start(&spec).await.status, StepStatus::Reaped);
    assert_eq!(bench.steps.list(&bench.target).await, Ok(Vec::new()));
    until(|| (!bench.step_dir(spec.id).exists()).then_some(())).await;
    // Its supervisor may have slept through the short life of its exit record.
    let state = bench.path("state").display().to_string();
    until(|| processes_with(&state).is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_try_that_is_cleared_away_at_once_leaves_no_process() {
    let bench = Bench::new().await;
    for _ in 0..10 {
        // The end is told as soon as the leaf has written it: the supervisor has not looked yet.
        let spec = bench.spec("true");
        bench.run(&spec).await;
        bench.steps.reap(&bench.target, spec.id, 1).await.expect("cleared away");
    }
    let ours = bench.dir.path().display().to_string();
    until(|| processes_with(&ours).is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_running_try_is_not_cleared_away() {
    let bench = Bench::new().await;
    let spec = bench.spec("sleep 60");
    bench.start(&spec).await;
    bench.steps.reap(&bench.target, spec.id, 1).await.expect_err("it runs");
    let list = bench.steps.list(&bench.target).await.expect("an answer");
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].0, &list[0].1.status), (spec.id, &StepStatus::Running));
}

#[tokio::test]
async fn an_unknown_try_is_absent() {
    let bench = Bench::new().await;
    let news = bench.attach(bench.spec("").id, 0, Duration::from_mins(1)).await;
    assert_eq!(news.report.status, StepStatus::Absent);
}
