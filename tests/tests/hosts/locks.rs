//! Who works on a server at the same time: settled's own runs never, another program's apt is waited for, other servers do not matter.

use settled_proto::v1::{Outcome, Run, WaitReason};
use settled_tests::patience::until;

use crate::fixture::{Scene, WITNESS, host_with};

/// When a run began and ended, in nanoseconds.
fn span(run: &Run) -> (i128, i128) {
    let nanos = |at: &Option<prost_types::Timestamp>| {
        let at = at.as_ref().unwrap();
        i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos)
    };
    (nanos(&run.started_at), nanos(&run.completed_at))
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p3_p4_packages_that_are_asked_for_at_once_never_meet_the_lock_of_dpkg() {
    let scene = Scene::new(&[]).await;
    let mut asked = Vec::new();
    for package in ["curl", "cron", "git", "openssl"] {
        asked.push(scene.ask("apt_package", package, &[("package", package)]).await);
    }
    let mut free_from = 0;
    for id in asked {
        let (run, output) = scene.completed(&id).await;
        assert_eq!((run.outcome(), run.attempt), (Outcome::Succeeded, 1), "{run:#?}\n{output}");
        assert!(run.steps.iter().all(|step| step.r#try == 1), "a step met a lock: {run:#?}");
        let (began, ended) = span(&run);
        assert!(began >= free_from, "it began before the one ahead of it had ended: {run:#?}");
        free_from = ended;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p4_the_apt_of_another_program_is_waited_for_by_name_and_costs_no_attempt() {
    let scene = Scene::new(&["dpkg"]).await;
    scene.host.run("systemd-run --quiet --unit=somebody apt-get install -y /srv/slow.deb");
    scene.host.says(WITNESS, "configuring").await;
    let run = scene.ask("apt_package", "cron", &[("package", "cron")]).await;
    let waiting = until("the run waits for whoever has the lock", async || {
        scene.run(&run).await.waiting.filter(|waiting| waiting.reason() == WaitReason::Busy)
    })
    .await;
    let named = ["apt-get (pid ", "dpkg (pid "].iter().any(|name| waiting.who.starts_with(name));
    assert!(named, "{waiting:#?}");
    assert!(waiting.next_try.is_some(), "{waiting:#?}");
    scene.go_on("dpkg");
    let (run, output) = scene.completed(&run).await;
    assert_eq!((run.outcome(), run.attempt), (Outcome::Succeeded, 1), "{run:#?}\n{output}");
    let both = scene.host.run("dpkg-query -W -f '${Package} ${db:Status-Status}\n' slow cron");
    assert_eq!(both, "cron installed\nslow installed\n");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn two_servers_install_at_the_same_time() {
    let scene = Scene::new(&["dpkg"]).await;
    let other = host_with(&["dpkg"]).await;
    scene.register(&other, "other").await;
    let runs = [scene.ask("slow", "it", &[]).await, scene.ask_on("other", "slow", "it", &[]).await];
    // Both are in the middle of it: neither ends before the test lets it.
    scene.host.says(WITNESS, "configuring").await;
    other.says(WITNESS, "configuring").await;
    for host in [&scene.host, &other] {
        std::fs::remove_file(host.file("/var/tmp/dpkg")).unwrap();
    }
    for id in runs {
        let (run, output) = scene.completed(&id).await;
        assert_eq!((run.outcome(), run.attempt), (Outcome::Succeeded, 1), "{run:#?}\n{output}");
    }
}
