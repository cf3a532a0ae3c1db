//! A login session ends, as logind ends one, and with it all that belongs to it: a step does not.

use crate::fixture::{Scene, WITNESS};

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p5_the_end_of_its_login_session_does_not_end_a_step() {
    let scene = Scene::new(&["dpkg"]).await;
    let run = scene.ask("slow", "it", &[]).await;
    scene.host.says(WITNESS, "configuring").await;
    let sessions = || scene.host.run("loginctl list-sessions --no-legend | awk '{ print $1 }'");
    let before = sessions();
    assert!(!before.is_empty(), "nobody has a session: the test would prove nothing");
    scene.host.run("loginctl terminate-user root");
    scene.go_on("dpkg");
    scene.ends_well_and_once(&run).await;
    assert!(before.lines().all(|id| !sessions().lines().any(|now| now == id)), "{before} lives on");
}
