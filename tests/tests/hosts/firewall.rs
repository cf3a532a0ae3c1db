//! The rule of the real ufw, on a host where it is on.

use settled_proto::v1::Outcome;

use crate::fixture::Scene;

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn a_rule_is_added_to_the_real_ufw_and_survives_a_cut_of_the_power() {
    let scene = Scene::new(&[]).await;
    scene.host.run("ufw allow 22/tcp && ufw --force enable");
    let run = scene.ask("firewall_rule", "web", &[("port", "8080")]).await;
    let (run, output) = scene.completed(&run).await;
    assert_eq!(run.outcome(), Outcome::Succeeded, "{run:#?}\n{output}");
    let shown = || scene.host.run("ufw status");
    assert!(shown().contains("8080") && shown().contains("settled:web"), "{}", shown());
    scene.host.run("sync");
    scene.host.cut_power().await;
    assert!(shown().contains("Status: active") && shown().contains("settled:web"), "{}", shown());
}

/// The rule that lets SSH in is one of ours: it cannot go, nor be changed, before another does.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p8_a_rule_that_lets_ssh_in_stays_until_another_does() {
    let scene = Scene::new(&[]).await;
    // The older kind of iptables, which knows no chain that ufw makes only when it starts.
    scene.host.run(
        "for six in '' 6; do update-alternatives --set ip${six}tables /usr/sbin/ip${six}tables-legacy; done",
    );
    let ssh = [("port", "22"), ("protocol", "tcp")];
    let run = scene.ask("firewall_rule", "ssh", &ssh).await;
    assert_eq!(scene.completed(&run).await.0.outcome(), Outcome::Succeeded);
    let (run, output) = scene.completed(&scene.ask("firewall", "fw", &[]).await).await;
    assert_eq!(run.outcome(), Outcome::Succeeded, "{run:#?}\n{output}");
    assert!(output.contains("port 22 is let in already"), "{output}");

    for run in [
        scene.ask_removal("firewall_rule", "ssh").await,
        scene
            .ask("firewall_rule", "wrong", &[("port", "22"), ("action", "deny"), ("source", "10.0.0.0/8")])
            .await,
    ] {
        let (run, output) = scene.completed(&run).await;
        assert_eq!((run.outcome(), run.attempt), (Outcome::Failed, 1), "{run:#?}\n{output}");
        assert!(output.contains("nothing else lets SSH in at port 22"), "{output}");
        scene.host.answers().await;
    }
    let rules = "ufw show added | grep '^ufw'";
    assert_eq!(scene.host.run(rules), "ufw allow 22/tcp comment 'settled:ssh'\n");

    let run = scene.ask("firewall_rule", "all", &[("port", "22")]).await;
    assert_eq!(scene.completed(&run).await.0.outcome(), Outcome::Succeeded);
    let (run, output) = scene.completed(&scene.ask_removal("firewall_rule", "ssh").await).await;
    assert_eq!(run.outcome(), Outcome::Succeeded, "{run:#?}\n{output}");
    assert_eq!(scene.host.run(rules), "ufw allow 22 comment 'settled:all'\n");
    scene.host.answers().await;
}

/// Sessions may be older than the firewall: that it is on does not mean that SSH comes in.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn a_firewall_that_is_on_and_lets_nobody_in_is_given_a_rule_for_ssh() {
    let scene = Scene::new(&[]).await;
    scene.host.run("ufw --force enable");
    let (run, output) = scene.completed(&scene.ask("firewall", "fw", &[]).await).await;
    assert_eq!(run.outcome(), Outcome::Succeeded, "{run:#?}\n{output}");
    assert_eq!(scene.host.run("ufw show added | grep '^ufw'"), "ufw allow 22/tcp comment 'settled-ssh:fw'\n");
    scene.host.answers().await;
}
