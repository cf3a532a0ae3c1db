//! Sites in front of other servers, whose names come and go: nginx starts without them, and serves all other sites.

use settled_proto::v1::Presence;
use settled_tests::patience::until;

use crate::catalogue::page;
use crate::fixture::{Scene, well};

/// An application, which tells what it was asked for, and two more sites: files, and a name that /etc/hosts has.
const APPLICATION: &str = r#"
mkdir /srv/one
echo page one >/srv/one/index.html
echo '127.0.0.1 near.test' >>/etc/hosts
systemd-run --quiet --unit=app perl -MIO::Socket::INET -e '
    my $s = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1", LocalPort => 3000, ReuseAddr => 1) or die;
    while (my $c = $s->accept) {
        my $line = <$c>;
        while (my $more = <$c>) { last if $more =~ /^\r?$/ }
        print $c "HTTP/1.0 200 OK\r\n\r\nit was asked: $line";
        close $c;
    }'
"#;
/// A nameserver that knows every name, as this host.
const NAMES: &str = r#"
systemd-run --quiet --unit=names perl -MIO::Socket::INET -e '
    my $s = IO::Socket::INET->new(Proto => "udp", LocalAddr => "127.0.0.1", LocalPort => 53) or die;
    while (defined $s->recv(my $asked, 512)) {
        my $end = index($asked, "\0", 12) + 5;
        my $is_a = unpack("n", substr($asked, $end - 4, 2)) == 1 ? 1 : 0;
        my $answer = $is_a ? pack("n3Nn", 0xc00c, 1, 1, 1, 4) . pack("C4", 127, 0, 0, 1) : "";
        $s->send(substr($asked, 0, 2) . pack("n5", 0x8180, 1, $is_a, 0, 0) . substr($asked, 12, $end - 12) . $answer);
    }'
rm -f /etc/resolv.conf
echo nameserver 127.0.0.1 >/etc/resolv.conf
"#;

async fn serves(scene: &Scene, name: &str, words: &str) {
    until(&format!("{name} answers {words}"), async || page(scene, name).contains(words).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn an_upstream_whose_name_is_gone_keeps_no_other_site_from_being_served() {
    let scene = Scene::new(&[]).await;
    scene.host.run(&format!("{APPLICATION}{NAMES}"));
    well(&scene, scene.ask("nginx", "nginx", &[]).await).await;
    well(&scene, scene.ask("site", "one", &[("domains", "one.test"), ("root", "/srv/one")]).await).await;
    for (name, upstream) in [
        ("far", "http://app.test:3000"),
        ("below", "http://app.test:3000/base/"),
        ("near", "http://near.test:3000/base/"),
    ] {
        let domain = format!("{name}.site.test");
        let values = [("domains", domain.as_str()), ("kind", "proxy"), ("upstream", upstream)];
        let said = well(&scene, scene.ask("site", name, &values).await).await;
        assert!(!said.contains("nobody knows the name"), "{said}");
    }
    serves(&scene, "far.site.test", "it was asked: GET / ").await;
    serves(&scene, "below.site.test", "it was asked: GET /base/ ").await;
    serves(&scene, "near.site.test", "it was asked: GET /base/ ").await;

    scene.host.run("systemctl stop names; sed -i '/near.test/d' /etc/hosts; systemctl restart nginx; systemctl -q is-active nginx");
    serves(&scene, "one.test", "page one").await;
    serves(&scene, "far.site.test", " 502 ").await;
    serves(&scene, "near.site.test", "it was asked: GET /base/ ").await;
    // What is written goes by what /etc/hosts said; it has changed, and that is told.
    assert_eq!(scene.looked_at("site", "near").await.observed.unwrap().presence(), Presence::Drifted);
    assert_eq!(scene.looked_at("site", "far").await.observed.unwrap().presence(), Presence::Present);
    let said = well(&scene, scene.ask_update("site", "far", &[("max_body", "2m")]).await).await;
    assert!(said.contains("nobody knows the name app.test now"), "{said}");

    scene.host.run(NAMES);
    serves(&scene, "far.site.test", "it was asked: GET / ").await;
}
