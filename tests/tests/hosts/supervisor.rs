//! A program under a supervisor whose configuration somebody else has broken, and whose state is not what the files say.

use settled_proto::v1::{Outcome, Presence, ResourceStatus};

use crate::fixture::Scene;

const PATH: &str = "host/supervisor_program/app";

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p7_what_supervisor_does_counts_and_not_what_its_files_say() {
    let scene = Scene::new(&[]).await;
    let well = async |run: String| {
        let (run, output) = scene.completed(&run).await;
        assert_eq!((run.outcome(), run.attempt), (Outcome::Succeeded, 1), "{run:#?}\n{output}");
    };
    let wrong = async |run: String, status: ResourceStatus| {
        let (run, output) = scene.completed(&run).await;
        assert_eq!((run.outcome(), run.attempt), (Outcome::Failed, 1), "{run:#?}\n{output}");
        assert!(output.contains("/etc/supervisor/conf.d/wrong.conf"), "{output}");
        assert_eq!(scene.looked_at("supervisor_program", "app").await.status(), status);
    };
    well(scene.ask("supervisor_program", "app", &[("command", "exec sleep 1000")]).await).await;
    well(scene.ask_pause(PATH).await).await;
    assert_eq!(
        scene.looked_at("supervisor_program", "app").await.observed.unwrap().presence(),
        Presence::Paused
    );
    // Somebody starts it by hand.
    scene.host.run("supervisorctl start 'settled-app:*'");
    assert_eq!(
        scene.looked_at("supervisor_program", "app").await.observed.unwrap().presence(),
        Presence::Drifted
    );
    well(scene.ask_resume(PATH).await).await;

    scene.host.run("echo nonsense >/etc/supervisor/conf.d/wrong.conf");
    wrong(scene.ask_pause(PATH).await, ResourceStatus::Active).await;
    scene.host.run("grep -qx autostart=true /etc/supervisor/conf.d/settled-app.conf");
    wrong(scene.ask_removal("supervisor_program", "app").await, ResourceStatus::Active).await;
    assert_eq!(scene.host.run("ls /etc/supervisor/conf.d"), "settled-app.conf\nwrong.conf\n");
    scene.host.run("rm /etc/supervisor/conf.d/wrong.conf; pgrep -xf 'sleep 1000'");

    // A removal that was cut off after it had put the file aside begins anew.
    scene.host.run("cd /etc/supervisor/conf.d; mv settled-app.conf settled-app.conf.settled-gone");
    well(scene.ask_removal("supervisor_program", "app").await).await;
    assert_eq!(scene.host.run("pgrep -xf 'sleep 1000' || echo none").trim(), "none");
    assert_eq!(scene.host.run("ls /etc/supervisor/conf.d 2>/dev/null || :"), "");
}
