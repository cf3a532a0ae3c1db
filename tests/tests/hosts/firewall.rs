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

/// New sessions are shut out; the one through which the rule came lives on, and takes the rule away again.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn a_rule_against_ssh_itself_does_not_cut_the_session_that_made_it() {
    let scene = Scene::new(&[]).await;
    scene.host.run("ufw default allow incoming && ufw --force enable");
    let wrong = [("port", "22"), ("protocol", "tcp"), ("action", "deny")];
    let run = scene.ask("firewall_rule", "wrong", &wrong).await;
    let (run, output) = scene.completed(&run).await;
    assert_eq!(run.outcome(), Outcome::Succeeded, "{run:#?}\n{output}");
    assert!(scene.host.run("iptables -S ufw-user-input").contains("--dport 22 -j DROP"));
    let run = scene.ask_removal("firewall_rule", "wrong").await;
    let (run, output) = scene.completed(&run).await;
    assert_eq!((run.outcome(), run.attempt), (Outcome::Succeeded, 1), "{run:#?}\n{output}");
    assert!(!scene.host.run("ufw show added").contains("settled"));
}
