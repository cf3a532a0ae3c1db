//! A step runs, ends, and is told of truly.

use std::time::Duration;

use settled::domain::step::Cause;
use settled::remote::{Remote, StepStatus};

use crate::bench::{Bench, exited};

#[tokio::test]
async fn hello_tells_who_the_server_is() {
    let bench = Bench::new().await;
    let hello = bench.steps.hello(&bench.target).await.expect("an answer");
    eprintln!("{hello:#?}");
    assert_eq!(hello.machine_id, std::fs::read_to_string("/etc/machine-id").expect("readable").trim());
    assert_eq!(hello.epoch, 1);
    assert_eq!(hello.installation, Some(bench.installation.to_string()));
}

#[tokio::test]
async fn p7_the_verdict_is_the_exit_code_and_the_output_is_every_byte() {
    let bench = Bench::new().await;
    let spec = bench.spec("printf 'a\\000b\\377\\n'; echo err >&2; exit 3");
    let began = std::time::Duration::ZERO;
    let _ = began;
    let (ended, news) = bench.run(&spec).await;
    assert_eq!(ended, exited(3, Cause::Itself));
    assert_eq!(news.output, b"a\0b\xff\nerr\n");
    assert!(!news.report.truncated);
    let status = bench.attach(spec.id, 0, Duration::ZERO).await.report.status;
    assert_eq!(status, StepStatus::Ended(ended));
}
