//! What a payload writes to `SETTLED_OUTPUT` is told with its end, as it was written.

use std::time::Duration;

use settled::domain::step::Cause;
use settled::remote::{RESULT_BYTES_MAX, Remote};

use crate::bench::{Bench, exited};

#[tokio::test]
async fn p5_what_was_written_is_told_with_the_end_again_and_again_until_it_is_cleared_away() {
    let bench = Bench::new().await;
    let spec = bench.spec("printf 'port=80\\n\\377' >\"$SETTLED_OUTPUT\"; echo said; exit 3");
    let (ended, news) = bench.run(&spec).await;
    assert_eq!(ended, exited(3, Cause::Itself));
    assert_eq!(
        (news.output.as_slice(), news.report.result.as_slice()),
        (&b"said\n"[..], &b"port=80\n\xff"[..])
    );
    for _ in 0..2 {
        assert_eq!(bench.attach(spec.id, 0, Duration::ZERO).await, news);
    }
    // A start whose answer was lost is sent again.
    assert_eq!(bench.start(&spec).await.result, news.report.result);
    let listed = bench.steps.list(&bench.target).await.expect("an answer");
    assert!(listed[0].1.result.is_empty(), "a list does not carry it");
    bench.steps.reap(&bench.target, spec.id, 1).await.expect("cleared away");
    assert!(bench.attach(spec.id, 0, Duration::ZERO).await.report.result.is_empty());
}

#[tokio::test]
async fn nothing_is_told_while_it_runs_and_too_much_is_cut_a_byte_late() {
    let bench = Bench::new().await;
    let gate = bench.path("gate");
    let mut spec = bench.spec(
        "head -c 100000 /dev/zero >\"$SETTLED_OUTPUT\"; echo up; while [ ! -e \"$P_GATE\" ]; do sleep 0.02; done",
    );
    spec.env.push(("P_GATE".to_owned(), gate.display().to_string()));
    bench.start(&spec).await;
    let news = bench.attach(spec.id, 0, Duration::from_secs(10)).await;
    assert_eq!((news.output.as_slice(), news.report.result.len()), (b"up\n".as_slice(), 0));
    std::fs::write(&gate, "").expect("written");
    let (_, news) = bench.follow(spec.id).await;
    assert_eq!(news.report.result, vec![0; RESULT_BYTES_MAX + 1]);
}

#[tokio::test]
async fn what_is_no_plain_file_is_not_read() {
    let bench = Bench::new().await;
    for make in ["ln -s /etc/passwd", "mkfifo", "mkdir"] {
        let (ended, news) = bench.run(&bench.spec(&format!("{make} \"$SETTLED_OUTPUT\""))).await;
        assert_eq!((ended, news.report.result.len()), (exited(0, Cause::Itself), 0), "{make}");
    }
}
