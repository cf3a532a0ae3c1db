//! The protocol in every shell that may be a server's `/bin/sh`.

use std::path::PathBuf;
use std::time::Duration;

use settled::domain::step::{Cause, Ended};
use settled::remote::{Remote, StepStatus};

use crate::bench::{Bench, exited};

/// dash and bash are on every machine that develops settled; busybox is tried where it is.
pub(crate) fn shells() -> Vec<PathBuf> {
    let mut shells = vec![PathBuf::from("/bin/dash"), PathBuf::from("/bin/bash")];
    shells.extend(
        ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists()),
    );
    shells
}

#[tokio::test]
async fn a_whole_life_in_every_shell() {
    for shell in shells() {
        let bench = Bench::with_shell(&shell).await;
        bench.steps.hello(&bench.target).await.unwrap_or_else(|error| panic!("{}: {error}", shell.display()));

        let mut spec = bench.spec("cat \"$SETTLED_SECRETS/key\"; head -c 100000 /dev/zero; exit 3");
        spec.secrets.push(("key".to_owned(), b"\0\xffkey".to_vec().into()));
        spec.limits.output_bytes_max = 4096;
        let (ended, news) = bench.run(&spec).await;
        assert_eq!(ended, exited(3, Cause::Itself), "{}", shell.display());
        assert!(news.output.starts_with(b"\0\xffkey\0"));
        assert_eq!((news.output.len(), news.report.truncated), (4096, true), "{}", shell.display());
        bench.steps.reap(&bench.target, spec.id, 1).await.expect("cleared away");

        let spec = bench.spec("sleep 61 & sleep 62");
        bench.start(&spec).await;
        bench.cancel(spec.id).await;
        let (ended, _) = bench.follow(spec.id).await;
        assert_eq!(ended, exited(143, Cause::Cancel), "{}", shell.display());
        assert_eq!(Bench::processes_of(spec.id), Vec::<i32>::new(), "{}", shell.display());

        let spec = bench.spec("");
        bench.cancel(spec.id).await;
        let rejected = Ended::Rejected { why: "cancelled-before-start".to_owned() };
        assert_eq!(bench.start(&spec).await.status, StepStatus::Ended(rejected), "{}", shell.display());
        assert_eq!(
            bench.attach(bench.spec("").id, 0, Duration::ZERO).await.report.status,
            StepStatus::Absent,
            "{}",
            shell.display()
        );
    }
}
