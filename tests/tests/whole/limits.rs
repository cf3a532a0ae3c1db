//! What packages say of time: it must fit the configuration, and a step gets the time that it needs to end.

use std::time::Duration;

use settled_proto::v1::{CancelRunRequest, CheckPackageRequest, Outcome, ReloadPackagesRequest, Run};
use settled_tests::daemon;
use settled_tests::server::{Server, appears, fresh_id, install, package_dir, settled};
use tonic::Code;

/// An install whose step ends only some time after it was told to.
const SLOW_TO_END: &str = r#"
name = "slow"
summary = "Takes its time to end"

[parameters.dir]
type = "path"
summary = "Where its files are"

[operations.install]
timeout = "2m"
[[operations.install.steps]]
title = "Wait"
kill_grace = "GRACE"
script = '''
trap 'echo told > "$P_DIR/told"; sleep 3; echo ended > "$P_DIR/ended"; exit 1' TERM
: > "$P_DIR/started"
while :; do sleep 0.05; done
'''

[operations.remove]
[[operations.remove.steps]]
title = "Nothing"
script = "true"
"#;

/// Cancels an install that has begun, and answers it with whether it came to its own end.
async fn cancelled(grace: &str) -> (Run, Run, bool) {
    let packages = package_dir("slow", &SLOW_TO_END.replace("GRACE", grace));
    let daemon =
        daemon::Options::default().set("PACKAGES__DIR", &packages.path().display().to_string()).start().await;
    let server = Server::start();
    let dir = server.path("work");
    std::fs::create_dir(&dir).unwrap();
    server.register(&daemon, "web").await;
    let request = install("web", "slow", "one", &[("dir", &dir.display().to_string())]);
    let id = daemon.resources().install(request).await.unwrap().into_inner().run.unwrap().id;
    appears(&dir.join("started")).await;
    let cancel = CancelRunRequest { request_id: fresh_id(), run_id: id.clone() };
    let running = daemon.runs().cancel(cancel).await.unwrap().into_inner();
    let ended = settled(&daemon, &id).await;
    assert!(dir.join("told").exists(), "it was told to end");
    (running, ended, dir.join("ended").exists())
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_step_that_declares_a_kill_grace_has_that_time_to_end_and_no_more() {
    for (grace, seconds, to_its_end) in [("1s", 1, false), ("10m", 600, true)] {
        let (running, ended, came_to_its_end) = cancelled(grace).await;
        assert_eq!(
            (ended.outcome(), came_to_its_end),
            (Outcome::Cancelled, to_its_end),
            "{grace}: {ended:?}"
        );
        // P6: the time by which it settles leaves room for it.
        let (from, by) = (running.started_at.unwrap(), running.settles_by.unwrap());
        let span = Duration::from_secs(u64::try_from(by.seconds - from.seconds).unwrap());
        let (timeout, margin) = (120, 120);
        assert!(span >= Duration::from_secs(timeout + seconds + margin - 1), "{grace}: {span:?}");
        assert!(span <= Duration::from_secs(timeout + seconds + margin + 60), "{grace}: {span:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p13_a_reload_with_a_timeout_that_does_not_fit_is_refused_by_file_operation_and_keys() {
    let packages = package_dir("slow", &SLOW_TO_END.replace("GRACE", "1s"));
    let options = daemon::Options::default().set("PACKAGES__DIR", &packages.path().display().to_string());
    let daemon = options.set("RUN__QUEUE_LIMIT_S", "3800").start().await;
    let reload = async || {
        let request = ReloadPackagesRequest { request_id: fresh_id() };
        daemon.packages().reload(request).await.map(|answer| answer.into_inner().changed)
    };
    // It has read its files.
    assert_eq!(reload().await.unwrap(), [""; 0]);
    let write = |text: String| std::fs::write(packages.path().join("slow.toml"), text).unwrap();
    let good = SLOW_TO_END.replace("GRACE", "2s");
    let table = [
        (good.replace("2m", "2h"), ["operations.install: timeout = 7200s", "run.queue_limit_s = 3800"]),
        (good.replace("2s", "1h"), ["operations.install: timeout = 120s", "its kill_grace = 3600"]),
        (
            good.replace("timeout = \"2m\"", "timeout = \"2m\"\nexpected_runtime = \"3m\""),
            [
                "operations.install.expected_runtime: 3m is longer than the `timeout`",
                "set expected_runtime to 2m",
            ],
        ),
    ];
    for (bad, parts) in table {
        // A check of the text alone says the same, with the line.
        let answer = daemon
            .packages()
            .check(CheckPackageRequest { source: bad.clone(), ..Default::default() })
            .await
            .unwrap();
        let [problem] = &answer.into_inner().problems[..] else { panic!("{bad}") };
        let told = format!("{}: {}", problem.field, problem.message);
        for part in parts {
            assert!(told.contains(part), "{part}: {told}");
        }
        let line = bad.lines().nth(problem.line as usize - 1).unwrap();
        assert!(line.starts_with("[operations.install]") || line.starts_with("expected_runtime"), "{line}");
        write(bad);
        let refused = reload().await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        for part in parts.into_iter().chain(["slow.toml", "stay in use"]) {
            assert!(refused.message().contains(part), "{part}: {}", refused.message());
        }
    }
    write(SLOW_TO_END.replace("GRACE", "1s"));
    assert_eq!(reload().await.unwrap(), [""; 0], "what was loaded before has stayed");
    write(good.replace("timeout = \"2m\"", "timeout = \"2m\"\nexpected_runtime = \"2m\""));
    assert_eq!(reload().await.unwrap(), ["slow"]);
}
