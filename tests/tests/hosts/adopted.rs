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
