//! What somebody put on a server by hand: adopted, found to differ, repaired by an ordinary run, and left where it is when its record goes.

use settled_proto::v1::{Outcome, Presence, Reason, ResourceStatus};

use crate::fixture::{Scene, well};

const BY_HAND: &str = "
apt-get -qq update
apt-get -qq -y --no-install-recommends install nginx cron >/dev/null 2>&1
sed -i 's/# server_tokens off;/server_tokens off;/' /etc/nginx/nginx.conf
systemctl reload nginx
";

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn what_was_put_there_by_hand_is_adopted_repaired_and_left_where_it_is() {
    let scene = Scene::new(&[]).await;
    scene.host.run(BY_HAND);
    // What is not there, and what is there otherwise.
    for (package, values, words) in [
        ("mariadb", &[][..], "state is `absent`, not `present`"),
        ("nginx", &[("max_body", "7m")], "max_body is `1m`, not `7m`"),
    ] {
        let (run, _) = scene.completed(&scene.ask_adoption(package, "it", values).await).await;
        assert_eq!((run.outcome(), run.reason()), (Outcome::Failed, Reason::Differs), "{run:#?}");
        let resource = scene.found(package, "it").await.unwrap();
        assert_eq!(resource.status(), ResourceStatus::Failed);
        let message = resource.last_error.unwrap().message;
        assert!(message.contains(words), "{message}");
        well(&scene, scene.ask_removal(package, "it").await).await;
    }
    scene.host.run("systemctl -q is-active nginx; [ ! -e /etc/nginx/conf.d/settled.conf ]");

    well(&scene, scene.ask_adoption("nginx", "web", &[]).await).await;
    well(&scene, scene.ask_adoption("apt_package", "cron", &[("package", "cron")]).await).await;
    for (package, name) in [("nginx", "web"), ("apt_package", "cron")] {
        let resource = scene.looked_at(package, name).await;
        assert_eq!(resource.status(), ResourceStatus::Active);
        let observed = resource.observed.unwrap();
        assert_eq!((observed.presence(), observed.differs.len()), (Presence::Present, 0), "{observed:#?}");
    }

    scene.host.run("sed -i '/server_tokens/d' /etc/nginx/nginx.conf; systemctl reload nginx");
    let observed = scene.looked_at("nginx", "web").await.observed.unwrap();
    assert_eq!(observed.presence(), Presence::Drifted, "{observed:#?}");
    let [differs] = &observed.differs[..] else { panic!("{observed:#?}") };
    let told = (differs.fact.as_str(), differs.expected.as_str(), differs.found.as_str());
    assert_eq!(told, ("hide_version", "true", "false"));
    well(&scene, scene.ask_update("nginx", "web", &[]).await).await;
    let observed = scene.looked_at("nginx", "web").await.observed.unwrap();
    assert_eq!((observed.presence(), observed.differs.len()), (Presence::Present, 0), "{observed:#?}");

    for (package, name) in [("nginx", "web"), ("apt_package", "cron")] {
        well(&scene, scene.ask_removal(package, name).await).await;
    }
    scene.host.run(
        "systemctl -q is-active nginx; systemctl -q is-active cron; [ ! -e /etc/nginx/conf.d/settled.conf ]",
    );
}

/// A fact that differs, as a look at the resource tells it: what should be, and what is.
async fn differs(scene: &Scene, package: &str, fact: &str) -> (String, String) {
    let observed = scene.looked_at(package, "it").await.observed.unwrap();
    assert_eq!(observed.presence(), Presence::Drifted, "{package}: {observed:#?}");
    let found = observed.differs.iter().find(|differs| differs.fact == fact);
    let found = found.unwrap_or_else(|| panic!("{package}: {observed:#?}"));
    (found.expected.clone(), found.found.clone())
}

/// An update without values brings it back to what was asked for.
async fn is_repaired(scene: &Scene, package: &str) {
    well(scene, scene.ask_update(package, "it", &[]).await).await;
    let observed = scene.looked_at(package, "it").await.observed.unwrap();
    assert_eq!((observed.presence(), observed.differs.len()), (Presence::Present, 0), "{observed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn what_has_secrets_or_runs_again_is_compared_adopted_and_repaired_by_what_can_be_seen() {
    let scene = Scene::new(&[]).await;
    scene.host.run(
        "apt-get -qq update; apt-get -qq -y --no-install-recommends install redis-server openssl >/dev/null 2>&1
        redis-cli set thing kept >/dev/null; touch /srv/mine",
    );
    let pair = |expected: &str, found: &str| (expected.to_owned(), found.to_owned());

    // Redis: one that was put there by hand, by what it answers and not by its files.
    let (run, _) = scene.completed(&scene.ask_adoption("redis", "it", &[("port", "6380")]).await).await;
    assert_eq!((run.outcome(), run.reason()), (Outcome::Failed, Reason::Differs), "{run:#?}");
    let message = scene.found("redis", "it").await.unwrap().last_error.unwrap().message;
    assert!(message.contains("port is `6379`, not `6380`"), "{message}");
    well(&scene, scene.ask_removal("redis", "it").await).await;
    let values = [("port", "6379"), ("eviction", "noeviction"), ("max_memory_mb", "0")];
    well(&scene, scene.ask_adoption("redis", "it", &values).await).await;
    is_repaired(&scene, "redis").await;
    scene
        .host
        .run("redis-cli config set maxmemory 33554432; redis-cli config set maxmemory-policy allkeys-lru");
    assert_eq!(differs(&scene, "redis", "max_memory_mb").await, pair("0", "32"));
    assert_eq!(differs(&scene, "redis", "eviction").await, pair("noeviction", "allkeys-lru"));
    scene.host.run("systemctl restart redis-server");
    is_repaired(&scene, "redis").await;
    scene.host.run("redis-cli get thing | grep -qx kept");

    // A script, by its check.
    let values = [("setup", "touch /srv/mine"), ("check", "[ -e /srv/mine ]"), ("teardown", "rm /srv/mine")];
    well(&scene, scene.ask_adoption("script", "it", &values).await).await;
    scene.host.run("rm /srv/mine");
    let observed = scene.looked_at("script", "it").await.observed.unwrap();
    assert_eq!(observed.presence(), Presence::Absent, "{observed:#?}");
    assert_eq!(observed.differs[0].fact, "state");
    is_repaired(&scene, "script").await;

    // A certificate, by its names, whoever signed it, and its time.
    let values = [("domains", "a.test b.test"), ("source", "self_signed"), ("days", "30")];
    well(&scene, scene.ask("tls_certificate", "it", &values).await).await;
    is_repaired(&scene, "tls_certificate").await;
    let other = "cd /etc/ssl/settled/it/live; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=settled it' \
         -addext subjectAltName=DNS:NAMES -days DAYS -keyout privkey.pem -out fullchain.pem 2>/dev/null";
    scene.host.run(&other.replace("NAMES", "c.test").replace("DAYS", "30"));
    assert_eq!(differs(&scene, "tls_certificate", "domains").await, pair("a.test b.test", "c.test"));
    is_repaired(&scene, "tls_certificate").await;
    scene.host.run("cd /etc/ssl/settled/it/live; openssl genpkey -algorithm ed25519 -out privkey.pem");
    assert_eq!(differs(&scene, "tls_certificate", "as_asked").await, pair("true", "false"));
    is_repaired(&scene, "tls_certificate").await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn rights_that_somebody_changed_by_hand_are_told_and_put_right_and_others_are_not_touched() {
    let scene = Scene::new(&[]).await;
    well(&scene, scene.ask("mariadb", "it", &[]).await).await;
    well(&scene, scene.ask("database", "it", &[("database", "shop")]).await).await;
    let mut request = settled_tests::server::install(
        "host",
        "database_user",
        "it",
        &[("user", "keeper"), ("database", "shop"), ("privileges", "write")],
    );
    request.secrets = [("password".to_owned(), b"open".to_vec())].into();
    let mut resources = settled_proto::v1::resources_client::ResourcesClient::new(scene.channel.clone());
    let answer = resources.install(request).await.unwrap().into_inner();
    well(&scene, answer.run.unwrap().id).await;
    let pair = |expected: &str, found: &str| (expected.to_owned(), found.to_owned());

    // What is as asked is not touched: MariaDB notes when a password is set, and logs what is granted.
    scene
        .host
        .run("mariadb -e 'SET GLOBAL general_log_file = \"/var/tmp/asked\"; SET GLOBAL general_log = ON'");
    well(&scene, scene.ask_update("database_user", "it", &[]).await).await;
    scene.host.run("mariadb -e 'SET GLOBAL general_log = OFF'; find /var/lib/mysql /var/tmp -name asked -exec cat {} + >/root/asked");
    scene.host.run(
        "grep -q SELECT /root/asked; ! grep -E 'GRANT |REVOKE |ALTER USER' /root/asked | grep -v GRANTABLE",
    );

    scene.host.run("mariadb -e \"CREATE DATABASE other; GRANT SELECT ON other.* TO keeper@localhost; GRANT DROP ON shop.* TO keeper@localhost\"");
    assert_eq!(differs(&scene, "database_user", "elsewhere").await, pair("none", "database other"));
    assert_eq!(differs(&scene, "database_user", "privileges").await, pair("write", "other"));
    is_repaired(&scene, "database_user").await;
    scene
        .host
        .run("! mariadb -ukeeper -popen other -e 'SELECT 1'; mariadb -ukeeper -popen shop -e 'SELECT 1'");
}
