//! What could cost somebody data, a service or the way to a server: seen on whole hosts not to.

use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::{Outcome, Presence, RemoveResourceRequest, RetryResourceRequest};
use settled_tests::server::fresh_id;

use crate::fixture::{Scene, well, wrong};

/// Two Debian packages that cannot be there together.
const RIVALS: &str = r#"
cd /srv/packages
for name in first second; do
    mkdir -p /root/$name/DEBIAN
    printf 'Package: %s\nVersion: 1.0\nArchitecture: all\nMaintainer: tests\nDescription: one of two\n' $name >/root/$name/DEBIAN/control
done
echo 'Conflicts: first' >>/root/second/DEBIAN/control
for name in first second; do
    dpkg-deb --build /root/$name $name.deb >/dev/null
    dpkg-deb --field $name.deb
    printf 'Filename: ./%s.deb\nSize: %s\nSHA256: %s\n\n' $name "$(stat -c %s $name.deb)" "$(sha256sum <$name.deb | cut -d ' ' -f 1)"
done >more
{ echo; cat more; } >>Packages
"#;

/// A port is taken by another program.
const TAKEN: &str = "systemd-run --quiet --unit=taken perl -MIO::Socket::INET -e \
    'my $s = IO::Socket::INET->new(Listen => 1, LocalPort => 443, ReuseAddr => 1) or die; sleep 1000'
until ss -Htln 'sport = :443' | grep -q .; do sleep 0.1; done";

impl Scene {
    pub(crate) async fn purge(&self, package: &str, name: &str) -> String {
        let request = RemoveResourceRequest {
            request_id: fresh_id(),
            resource: format!("host/{package}/{name}"),
            parameters: [("purge".to_owned(), "true".to_owned())].into(),
            ..Default::default()
        };
        let answer = ResourcesClient::new(self.channel.clone()).remove(request).await.unwrap().into_inner();
        answer.run.unwrap().id
    }

    pub(crate) async fn retry(&self, package: &str, name: &str) -> String {
        let resource = format!("host/{package}/{name}");
        let request = RetryResourceRequest { request_id: fresh_id(), resource, ..Default::default() };
        let answer = ResourcesClient::new(self.channel.clone()).retry(request).await.unwrap().into_inner();
        answer.run.unwrap().id
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn a_debian_package_comes_by_its_own_name_and_not_at_the_cost_of_another() {
    let scene = Scene::new(&[]).await;
    scene.host.run(RIVALS);
    // Lists that cannot be fetched say nothing about what is offered.
    scene.host.run(
        "mv /etc/apt/sources.list /root; rm -rf /var/lib/apt/lists/*; echo 'deb [trusted=yes] http://127.0.0.1:1/ ./' >/etc/apt/sources.list",
    );
    let (run, output) =
        scene.completed(&scene.ask("apt_package", "first", &[("package", "first")]).await).await;
    assert_eq!((run.outcome(), run.attempt), (Outcome::Failed, 3), "{run:#?}");
    assert!(output.contains("they could not be fetched anew"), "{output}");
    scene.host.run("mv /root/sources.list /etc/apt/sources.list");
    well(&scene, scene.retry("apt_package", "first").await).await;

    let before = scene.packages();
    let second = scene.ask("apt_package", "second", &[("package", "second")]).await;
    wrong(&scene, second, "that cannot be here together with what apt would remove").await;
    // apt takes an unknown name with a dot for a pattern.
    let pattern = scene.ask("apt_package", "pattern", &[("package", "seco.d")]).await;
    wrong(&scene, pattern, "does not offer the package seco.d").await;
    assert_eq!(scene.packages(), before);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn the_last_rule_that_lets_ssh_in_stays() {
    let mut scene = Scene::new(&[]).await;
    well(&scene, scene.ask("firewall_rule", "ssh", &[("port", "22"), ("protocol", "tcp")]).await).await;
    let said = well(&scene, scene.ask("firewall", "fw", &[]).await).await;
    assert!(said.contains("port 22 is let in already"), "{said}");
    let words = "nothing else lets SSH in at port 22";
    wrong(&scene, scene.ask_update("firewall_rule", "ssh", &[("port", "2222")]).await, words).await;
    wrong(
        &scene,
        scene.ask_update("firewall_rule", "ssh", &[("port", "22"), ("action", "deny")]).await,
        words,
    )
    .await;
    wrong(
        &scene,
        scene.ask_update("firewall_rule", "ssh", &[("action", "allow"), ("source", "192.0.2.0/24")]).await,
        words,
    )
    .await;
    wrong(&scene, scene.ask_removal("firewall_rule", "ssh").await, words).await;
    assert_eq!(
        scene.host.run("ufw show added | grep '^ufw'").trim(),
        "ufw allow 22/tcp comment 'settled:ssh'"
    );
    // Another daemon needs another connection.
    scene.kill_daemon().await;
    // Where the session comes from is enough.
    scene.host.run("ufw allow from 10.213.0.0/16 to any port 22 proto tcp");
    well(&scene, scene.ask_removal("firewall_rule", "ssh").await).await;
    scene.kill_daemon().await;
    well(&scene, scene.ask_removal("firewall", "fw").await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn a_port_that_another_program_has_is_told_before_nginx_is_asked() {
    let scene = Scene::new(&[]).await;
    scene.host.run(&format!("mkdir /srv/one; {TAKEN}"));
    well(&scene, scene.ask("nginx", "nginx", &[]).await).await;
    let certificate = [("domains", "one.test"), ("source", "self_signed")];
    well(&scene, scene.ask("tls_certificate", "one", &certificate).await).await;
    let told = scene.found("tls_certificate", "one").await.unwrap().outputs;
    let shown = scene.host.run("date -u -d \"$(openssl x509 -noout -enddate -in /etc/ssl/settled/one/live/fullchain.pem | cut -d = -f 2)\" +%FT%TZ");
    assert_eq!(told["not_after"], shown.trim());
    let with_tls = [
        ("domains", "one.test"),
        ("root", "/srv/one"),
        ("certificate", "/etc/ssl/settled/one/live/fullchain.pem"),
        ("certificate_key", "/etc/ssl/settled/one/live/privkey.pem"),
    ];
    wrong(&scene, scene.ask("site", "one", &with_tls).await, "port 443 is taken by perl").await;
    scene.host.run(
        "[ ! -e /etc/nginx/sites-enabled/settled-one.conf ]; systemctl restart nginx; systemctl stop taken",
    );
    well(&scene, scene.retry("site", "one").await).await;
    scene.host.run("ss -Htlnp 'sport = :443' | grep -q nginx");
    // A site that nginx cannot let go of is not said to be gone.
    scene.host.run("echo nonsense >/etc/nginx/conf.d/wrong.conf");
    let removal = scene.ask_removal("site", "one").await;
    wrong(&scene, removal, "the configuration of nginx is broken already without this site").await;
    scene.host.run("[ -e /etc/nginx/sites-enabled/settled-one.conf ]; rm /etc/nginx/conf.d/wrong.conf");
    well(&scene, scene.ask_removal("site", "one").await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn a_program_is_not_said_to_be_gone_or_paused_while_it_runs() {
    let scene = Scene::new(&[]).await;
    well(&scene, scene.ask("supervisor_program", "one", &[("command", "exec sleep 1000")]).await).await;
    scene.host.run("echo nonsense >/etc/supervisor/conf.d/wrong.conf");
    let removal = scene.ask_removal("supervisor_program", "one").await;
    wrong(&scene, removal, "supervisor does not take its configuration").await;
    scene.host.run("[ -e /etc/supervisor/conf.d/settled-one.conf ]; pgrep -xf 'sleep 1000'; rm /etc/supervisor/conf.d/wrong.conf");
    // As a removal that was killed in the middle leaves it.
    scene.host.run("cd /etc/supervisor/conf.d; mv settled-one.conf settled-one.conf.settled-gone");
    well(&scene, scene.ask_removal("supervisor_program", "one").await).await;
    scene
        .host
        .run("! pgrep -xf 'sleep 1000'; [ ! -e /etc/supervisor ] || ! ls /etc/supervisor/conf.d/settled-*");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p7_databases_of_others_and_data_of_before_stay_whatever_is_asked() {
    let scene = Scene::new(&[]).await;
    scene.host.run("mkdir /var/lib/redis; echo precious >/var/lib/redis/before");
    well(&scene, scene.ask("redis", "redis", &[]).await).await;
    well(&scene, scene.purge("redis", "redis").await).await;
    scene.host.run("! command -v redis-server; grep -q precious /var/lib/redis/before");

    well(&scene, scene.ask("mariadb", "mariadb", &[]).await).await;
    well(&scene, scene.ask("database", "shop", &[("database", "shop")]).await).await;
    scene.host.run("mariadb -e 'CREATE DATABASE theirs'; systemctl stop mariadb");
    // Nobody can say that it is gone.
    let observed = scene.looked_at("database", "shop").await.observed.unwrap();
    assert_eq!(observed.presence(), Presence::Unknown, "{observed:#?}");
    let theirs = scene.ask("database", "theirs", &[("database", "theirs")]).await;
    wrong(&scene, theirs, "MariaDB does not run on this server").await;
    scene.host.run("systemctl start mariadb");
    wrong(&scene, scene.retry("database", "theirs").await, "was not made by settled").await;
    well(&scene, scene.purge("database", "theirs").await).await;
    scene.host.run("mariadb theirs -e 'SELECT 1' >/dev/null");
    well(&scene, scene.purge("database", "shop").await).await;
    scene.host.run("! mariadb shop -e 'SELECT 1'");
}
