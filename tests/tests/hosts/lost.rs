//! The store is lost, and the server has all that settled made there. Who asks for the same under another name is told how to give it a record
//! again; adopted in these words, it is as before: seen, updated, and removed with all that came with it.

use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::{Outcome, Presence, ResourceStatus};
use settled_tests::server::install;

use crate::fixture::{Scene, well};
use crate::story::{Script, Values, differences};

/// Where settlectl reads the password.
const PASSWORD: &str = "open sesame";

/// A resource that outlives its record.
struct Left {
    package: &'static str,
    name: &'static str,
    values: Values,
    /// Another name under which it is refused while it has no record, and what it is told to do; nothing, where any name will do.
    refused: Option<(&'static str, &'static str)>,
    /// What an adoption is told beside that.
    more: &'static str,
    change: Values,
    changed: Script,
    gone: Script,
}

const LEFT: [Left; 9] = [
    Left {
        package: "nginx",
        name: "web",
        values: &[("max_body", "4m")],
        refused: Some(("other", "settlectl adopt nginx --server SERVER --name web")),
        more: " --set max_body=4m",
        change: &[("max_body", "5m")],
        changed: "nginx -T 2>/dev/null | grep -q 'client_max_body_size 5m'",
        gone: "! command -v nginx",
    },
    Left {
        package: "mariadb",
        name: "data",
        values: &[("max_connections", "50")],
        refused: Some(("other", "settlectl adopt mariadb --server SERVER --name data")),
        more: " --set max_connections=50",
        change: &[("max_connections", "60")],
        changed: "mariadb -Ne 'SELECT @@max_connections' | grep -qx 60",
        gone: "! command -v mariadbd",
    },
    Left {
        package: "database",
        name: "shop",
        values: &[("database", "shop")],
        refused: None,
        more: " --set database=shop",
        change: &[("charset", "latin1")],
        changed: "mariadb shop -Ne 'SELECT @@character_set_database' | grep -qx latin1",
        gone: "mariadb shop -e 'SELECT 1'",
    },
    Left {
        package: "database_user",
        name: "keeper",
        values: &[("user", "keeper"), ("database", "shop")],
        refused: Some((
            "other",
            "settlectl adopt database_user --server SERVER --name keeper --set user=keeper --set host=localhost --set database=shop --secret password=@FILE",
        )),
        more: "",
        change: &[("privileges", "read")],
        changed: "mariadb -ukeeper '-popen sesame' shop -e 'SELECT 1'; ! mariadb -ukeeper '-popen sesame' shop -e 'CREATE TABLE t (n INT)'",
        gone: "! mariadb -ukeeper '-popen sesame' -e 'SELECT 1'",
    },
    Left {
        package: "tls_certificate",
        name: "a.test",
        values: &[("domains", "a.test")],
        refused: None,
        more: " --set domains=a.test",
        change: &[("domains", "a.test,b.test")],
        changed: "openssl x509 -in /etc/ssl/settled/a.test/live/fullchain.pem -noout -checkhost b.test | grep -q 'does match'",
        gone: "[ ! -e /etc/ssl/settled ]",
    },
    Left {
        package: "site",
        name: "a.test",
        values: &[
            ("domains", "a.test"),
            ("root", "/srv/a"),
            ("certificate", "/etc/ssl/settled/a.test/live/fullchain.pem"),
            ("certificate_key", "/etc/ssl/settled/a.test/live/privkey.pem"),
        ],
        refused: Some(("other", "settlectl adopt site --server SERVER --name a.test")),
        more: " --set domains=a.test --set root=/srv/a --set certificate=/etc/ssl/settled/a.test/live/fullchain.pem --set certificate_key=/etc/ssl/settled/a.test/live/privkey.pem",
        change: &[("max_body", "3m")],
        changed: "nginx -T 2>/dev/null | grep -q 'client_max_body_size 3m'",
        gone: "! ls /etc/nginx/sites-*/settled-*",
    },
    Left {
        package: "supervisor_program",
        name: "a.b",
        values: &[("command", "sleep\t1000")],
        refused: Some(("a_b", "settlectl adopt supervisor_program --server SERVER --name a.b")),
        more: " --set command=sleep\t1000",
        change: &[("processes", "2")],
        changed: "[ \"$(pgrep -cxf 'sleep 1000')\" = 2 ]",
        gone: "! pgrep -xf 'sleep 1000'; ! command -v supervisord",
    },
    Left {
        package: "scheduled_task",
        name: "a.b",
        values: &[("expression", "@daily"), ("command", "date")],
        refused: Some(("a_b", "settlectl adopt scheduled_task --server SERVER --name a.b")),
        more: " --set expression=@@daily --set command=date",
        change: &[("expression", "@weekly")],
        changed: "grep -q '^@weekly root ' /etc/cron.d/settled-a_b",
        gone: "[ ! -e /etc/cron.d/settled-a_b ]",
    },
    Left {
        package: "firewall_rule",
        name: "web",
        values: &[("port", "8080")],
        refused: Some((
            "other",
            "settlectl adopt firewall_rule --server SERVER --name web --set port=8080 --set protocol=any --set source=any",
        )),
        more: "",
        change: &[("port", "8081")],
        changed: "ufw show added | grep -q 8081",
        gone: "! ufw show added | grep -q 808",
    },
];

impl Scene {
    /// Asks for it under this name; answers the run.
    async fn ask_for(&self, left: &Left, name: &str) -> String {
        let mut request = install("host", left.package, name, left.values);
        if left.package == "database_user" {
            request.secrets = [("password".to_owned(), PASSWORD.into())].into();
        }
        let answer = ResourcesClient::new(self.channel.clone()).install(request).await.unwrap();
        answer.into_inner().run.unwrap().id
    }

    /// Whoever asks for it under another name is told the command. It has no effect on what is there, and neither has its removal.
    async fn is_refused(&self, left: &Left) -> String {
        let Some((other, command)) = left.refused else {
            return format!("settlectl adopt {} --server SERVER --name {}", left.package, left.name);
        };
        let before = self.look();
        let (run, output) = self.completed(&self.ask_for(left, other).await).await;
        assert_eq!((run.outcome(), run.attempt), (Outcome::Failed, 1), "{run:#?}\n{output}");
        let said = output.find("settlectl adopt").map(|at| output[at..].lines().next().unwrap());
        assert_eq!(said, Some(command), "{output}");
        well(self, self.ask_removal(left.package, other).await).await;
        let differences = differences(&before, &self.look());
        assert!(differences.is_empty(), "{}: {differences}", left.package);
        command.to_owned()
    }

    async fn is_adopted(&self, left: &Left) {
        let told = self.is_refused(left).await;
        let file = self.home.path("password");
        std::fs::write(&file, PASSWORD).unwrap();
        let told = told.replace("SERVER", "host").replace("FILE", &file.display().to_string());
        self.settlectl(&format!("{told}{} --wait", left.more));
        self.stands_as_asked(left).await;
        well(self, self.ask_update(left.package, left.name, left.change).await).await;
        self.host.comes_to(left.changed).await;
        self.stands_as_asked(left).await;
    }

    async fn stands_as_asked(&self, left: &Left) {
        let resource = self.looked_at(left.package, left.name).await;
        assert_eq!(resource.status(), ResourceStatus::Active, "{resource:#?}");
        let observed = resource.observed.unwrap();
        assert_eq!((observed.presence(), observed.differs.len()), (Presence::Present, 0), "{observed:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn what_a_lost_store_knew_is_adopted_in_the_words_of_who_refuses_it_and_goes_as_if_nothing_had_been() {
    let mut scene = Scene::new(&[]).await;
    // What is there before is to be there afterwards.
    scene.host.run("apt-get -qq update; apt-get -qq -y --no-install-recommends install cron >/dev/null 2>&1; mkdir /srv/a");
    let before = scene.packages();
    for left in &LEFT {
        well(&scene, scene.ask_for(left, left.name).await).await;
    }
    scene.lose_the_store().await;
    for left in &LEFT {
        scene.is_adopted(left).await;
    }
    for left in LEFT.iter().rev() {
        well(&scene, scene.ask_removal(left.package, left.name).await).await;
        scene.host.comes_to(left.gone).await;
    }
    scene.has_only(&before);
}
