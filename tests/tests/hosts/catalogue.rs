//! The built-in packages on whole hosts: the same story for each (`story.rs`, `tales.rs`), and what only one of them has to show.

use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::servers_client::ServersClient;
use settled_proto::v1::{Outcome, ProbeServerRequest, Reason};
use settled_tests::host::Host;
use settled_tests::patience::until;
use settled_tests::server::{fresh_id, install};

use crate::fixture::{Scene, well, wrong};
use crate::story::Tale;
use crate::{interpreted, tales};

/// What nginx on the host answers to a request for a name: status, and body.
pub(crate) fn page(scene: &Scene, name: &str) -> String {
    let script = "exec 3<>/dev/tcp/127.0.0.1/80; \
         printf 'GET / HTTP/1.0\\r\\nHost: NAME\\r\\n\\r\\n' >&3; cat <&3";
    scene.host.run(&format!("bash -c {:?}", script.replace("NAME", name)))
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn a_firewall_lets_ssh_in_before_it_closes_and_is_off_again_when_it_goes() {
    let mut scene = Scene::new(&[]).await;
    scene.host.run("ufw deny from 10.0.0.0/8");
    well(&scene, scene.ask("firewall", "fw", &[("incoming", "reject")]).await).await;
    let rules = scene.host.run("ufw show added | grep '^ufw'");
    let rules: Vec<_> = rules.lines().collect();
    assert_eq!(rules, ["ufw allow 22/tcp comment 'settled-ssh:fw'", "ufw deny from 10.0.0.0/8"]);
    assert!(scene.host.run("ufw status verbose").contains("Default: reject (incoming)"));
    // Another daemon needs another connection, which the rule of somebody else would refuse.
    scene.kill_daemon().await;
    well(&scene, scene.ask_removal("firewall", "fw").await).await;
    assert_eq!(
        scene.host.run("ufw status | head -n 1; ufw show added | grep -c settled || :").trim(),
        "Status: inactive\n0"
    );
    assert_eq!(
        scene.host.run("ls -A /var/lib/settled-packages/debian; dpkg-query -W -f '${db:Status-Status}' ufw"),
        "installed"
    );

    scene.host.run("ufw allow 22/tcp");
    wrong(&scene, scene.ask("firewall", "fw", &[]).await, "deny from 10.0.0.0/8").await;
    assert!(scene.host.run("ufw status").contains("Status: inactive"));
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn a_site_that_nginx_does_not_take_harms_no_other() {
    let scene = Scene::new(&[]).await;
    scene.host.run("mkdir /srv/one; echo page one >/srv/one/index.html");
    well(&scene, scene.ask("nginx", "nginx", &[("max_body", "4m")]).await).await;
    well(&scene, scene.ask("site", "one", &[("domains", "one.test"), ("root", "/srv/one")]).await).await;
    // nginx answers a reload before its new workers serve.
    until("the site is served", async || page(&scene, "one.test").contains("page one").then_some(())).await;

    let taken = [("domains", "two.test one.test"), ("root", "/srv/one")];
    wrong(
        &scene,
        scene.ask("site", "taken", &taken).await,
        "another site of this server has one of these domains",
    )
    .await;
    let not_one = "/etc/hostname";
    let unread = [
        ("domains", "three.test"),
        ("root", "/srv/one"),
        ("certificate", not_one),
        ("certificate_key", not_one),
    ];
    wrong(&scene, scene.ask("site", "unread", &unread).await, "nginx does not take this site").await;
    assert_eq!(
        scene.host.run("nginx -t -q; ls /etc/nginx/sites-enabled").trim(),
        "default\nsettled-one.conf"
    );
    assert!(page(&scene, "one.test").contains("page one"));

    let refused = scene.refused_removal("nginx", "nginx").await;
    assert!(refused.contains("is required by host/site/one"), "{refused}");
    well(&scene, scene.ask_removal("site", "one").await).await;
    until("the site is gone", async || (!page(&scene, "one.test").contains("page one")).then_some(())).await;
    well(&scene, scene.ask_removal("nginx", "nginx").await).await;
    assert_eq!(scene.host.run("command -v nginx || echo gone").trim(), "gone");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn nginx_bears_a_main_file_that_hides_the_version_itself() {
    let scene = Scene::new(&[]).await;
    well(&scene, scene.ask("nginx", "nginx", &[]).await).await;
    // As a new release of the distribution may do below what is installed: Debian 13 did.
    scene.host.run("sed -i 's/# server_tokens off;/server_tokens off;/' /etc/nginx/nginx.conf");
    well(&scene, scene.ask_update("nginx", "nginx", &[("max_body", "3m")]).await).await;
    scene.host.run("nginx -t -q; systemctl -q is-active nginx; grep -q 'client_max_body_size 3m' /etc/nginx/conf.d/settled.conf");
    assert!(page(&scene, "any.test").contains("Server: nginx\r\n"));

    let shown = scene.ask_update("nginx", "nginx", &[("hide_version", "false")]).await;
    wrong(&scene, shown, "nginx.conf says server_tokens off, and nginx lets that be said once").await;
    scene.host.run("nginx -t -q; sed -i '/server_tokens/d' /etc/nginx/nginx.conf");
    well(&scene, scene.ask_update("nginx", "nginx", &[("hide_version", "false")]).await).await;
    until("it is shown", async || page(&scene, "any.test").contains("Server: nginx/1.").then_some(())).await;
}

/// These come to a host one after the other, refuse to go, and go the other way round.
async fn come_and_go(tales: &[Tale]) {
    come_are_tried_and_go(tales, |_| ()).await;
}

/// The same, with something more to be tried on the host while all are there.
async fn come_are_tried_and_go(tales: &[Tale], more: impl Fn(&Host)) {
    let scene = Scene::new(&[]).await;
    let before = scene.packages();
    for tale in tales {
        scene.arrives(tale).await;
    }
    more(&scene.host);
    for tale in tales {
        scene.stays(tale).await;
    }
    for tale in tales.iter().rev() {
        scene.leaves(tale).await;
    }
    scene.has_only(&before);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p8_what_serves_the_web_comes_and_goes() {
    let tales = [tales::NGINX, tales::PHP, tales::TLS_CERTIFICATE, tales::SITE];
    come_are_tried_and_go(&tales, interpreted::php_goes_by_what_it_is_given).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p8_what_keeps_data_comes_and_goes() {
    come_and_go(&[tales::MARIADB, tales::DATABASE, tales::DATABASE_USER, tales::REDIS]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p8_what_is_of_the_system_comes_and_goes() {
    come_and_go(&[tales::APT_PACKAGE, tales::FIREWALL, tales::FIREWALL_RULE, tales::SCHEDULED_TASK]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p8_what_is_ones_own_comes_and_goes() {
    come_and_go(&[tales::SUPERVISOR_PROGRAM, tales::DEPLOYMENT, tales::SCRIPT]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p8_certificates_of_an_authority_come_and_go() {
    let scene = Scene::new(&[]).await;
    scene.host.run(tales::AUTHORITY);
    // Nothing has port 80 yet, so certbot answers there itself.
    let parameters = &tales::TLS_FROM_AUTHORITY.parameters[..3];
    well(&scene, scene.ask("tls_certificate", "alone", parameters).await).await;
    scene.arrives(&tales::TLS_FROM_AUTHORITY).await;
    wrong(
        &scene,
        scene.ask("tls_certificate", "late", parameters).await,
        "port 80 is taken by nginx, so the authority cannot be answered there",
    )
    .await;
    // nginx answers for every site of settled, also for one that leads elsewhere.
    well(&scene, scene.ask("nginx", "nginx", &[]).await).await;
    let proxy = [("domains", "acme.test"), ("kind", "proxy"), ("upstream", "http://127.0.0.1:3000")];
    well(&scene, scene.ask("site", "proxied", &proxy).await).await;
    well(&scene, scene.retry("tls_certificate", "late").await).await;
    interpreted::certbot_takes_them_as_they_are(&scene.host);
    scene.stays(&tales::TLS_FROM_AUTHORITY).await;
    scene.leaves(&tales::TLS_FROM_AUTHORITY).await;
    // What the other one needs is still there.
    scene.host.run("command -v certbot; openssl x509 -noout -in /etc/ssl/settled/alone/live/fullchain.pem");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn mysql_is_refused_where_there_is_none_and_mariadb_is_named() {
    let scene = Scene::new(&[]).await;
    let request = install("host", "mysql", "mysql", &[]);
    let refused = ResourcesClient::new(scene.channel.clone()).install(request).await.unwrap_err();
    assert!(refused.message().contains("use mariadb instead"), "{refused:#?}");
}

/// Looks at the host anew, as what it says that it is.
async fn met_as(scene: &Scene, id: &str, version: &str) {
    scene
        .host
        .run(&format!("rm /etc/os-release; printf 'ID=%s\nVERSION_ID=%s\n' {id} {version} >/etc/os-release"));
    let request = ProbeServerRequest { request_id: fresh_id(), server: "host".to_owned() };
    let answer = ServersClient::new(scene.channel.clone()).probe(request).await.unwrap().into_inner();
    let (run, _) = scene.completed(&answer.id).await;
    assert_eq!(run.outcome(), Outcome::Succeeded, "{run:#?}");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn mysql_is_blocked_where_there_is_none_any_more_and_mariadb_is_named() {
    let scene = Scene::new(&["before"]).await;
    met_as(&scene, "ubuntu", "24.04").await;
    let ahead = scene.ask("slow", "slow", &[]).await;
    let run = scene.ask("mysql", "mysql", &[]).await;
    met_as(&scene, "debian", "12").await;
    scene.go_on("before");
    well(&scene, ahead).await;
    let (run, _) = scene.completed(&run).await;
    assert_eq!((run.outcome(), run.reason()), (Outcome::Blocked, Reason::Unsupported), "{run:#?}");
    let message = run.failure.unwrap().message;
    assert!(
        message.contains("this server is debian 12") && message.contains("use mariadb instead"),
        "{message}"
    );
    scene.host.run("! command -v mysqld");
}
