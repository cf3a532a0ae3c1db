//! The cable is pulled in the middle of `apt-get install`, for longer than the connection lives.

use std::time::Duration;

use settled_proto::v1::WaitReason;
use settled_tests::patience::until;
use settled_tests::process::a_moment;

use crate::fixture::{Scene, WITNESS};

/// How long the cable is pulled when nobody says so: the connection is given up after three seconds of silence.
const CUT_S: u64 = 8;

fn cut() -> Duration {
    Duration::from_secs(std::env::var("SETTLED_CUT_S").map_or(CUT_S, |text| text.parse().unwrap()))
}

/// Waits until the run says that its server cannot be reached, as soon as anyone can know it.
async fn waits_for_the_host(scene: &Scene, run: &str) {
    until("the run says that it waits for its server", async || {
        let waiting = scene.run(run).await.waiting?;
        (waiting.reason() == WaitReason::Unreachable).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p4_p5_p7_apt_goes_on_while_the_cable_is_pulled_and_ends_once_and_truly() {
    let scene = Scene::new(&["dpkg"]).await;
    let run = scene.ask("slow", "it", &[]).await;
    scene.host.says(WITNESS, "configuring").await;
    scene.host.cut();
    waits_for_the_host(&scene, &run).await;
    a_moment(cut()).await;
    scene.host.mend();
    scene.go_on("dpkg");
    scene.ends_well_and_once(&run).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p5_p7_apt_ends_while_the_cable_is_pulled_and_the_daemon_dies_too() {
    let mut scene = Scene::new(&["dpkg"]).await;
    let run = scene.ask("slow", "it", &[]).await;
    scene.host.says(WITNESS, "configuring").await;
    scene.host.cut();
    scene.kill_daemon().await;
    scene.go_on("dpkg");
    scene.host.says(WITNESS, "end").await;
    a_moment(cut()).await;
    scene.host.mend();
    scene.ends_well_and_once(&run).await;
}
