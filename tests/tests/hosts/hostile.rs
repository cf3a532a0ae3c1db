//! Hostile values that the grammars let through, followed into programs of a host that read them with parsers of their own (P11): nginx, `MariaDB`,
//! Redis; `interpreted.rs` has those that run what they are given. Each value is refused with a plain sentence that names the parameter, or
//! arrives as it is, and nothing else changes. The scripts are those of the packages, run on the host without a daemon between;
//! `tests/packages/hostile.rs` has what a host adds nothing to.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use settled::catalog::{Catalog, Definition, Given};
use settled::domain::operation::Operation;
use settled::domain::params::Params;
use settled_tests::host::Host;

#[path = "../../../daemon/src/catalog/types/payloads.rs"]
pub(crate) mod payloads;

/// What the operations find their secrets in.
const SECRETS: &str = "/root/secrets";
/// Shows that no value was taken for a command.
pub(crate) const TRAP: &str = "rm /usr/sbin/reboot; printf '%s\n' '#!/bin/sh' 'touch /root/trapped' >/usr/sbin/reboot; chmod 755 /usr/sbin/reboot; \
                    mkdir /root/secrets";
pub(crate) const NOT_TRAPPED: &str =
    "[ ! -e /root/trapped ]; grep -q '^root:x:0:0:' /etc/passwd; grep -q '^root:' /etc/shadow";

/// A package on a host, with what it is given beside the hostile value.
pub(crate) struct Subject<'a> {
    host: &'a Host,
    definition: Arc<Definition>,
    pub(crate) name: String,
    given: Vec<(&'static str, &'static str)>,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(host: &'a Host, package: &str, given: &[(&'static str, &'static str)]) -> Self {
        let definition = Catalog::builtin().unwrap().get(package).unwrap();
        Self { host, definition, name: "hostile".to_owned(), given: given.to_vec() }
    }

    /// The same with another value beside the hostile one.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.given.retain(|(given, _)| *given != name);
        self.given.push((name, value));
        self
    }

    /// The package's own form of the values, if it takes them; if not, it says which it does not.
    pub(crate) fn taken(
        &self,
        name: &str,
        value: &str,
        secrets: &BTreeMap<String, Vec<u8>>,
    ) -> Option<Params> {
        let mut params: Params = self.given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        if secrets.is_empty() {
            params.insert(name.to_owned(), value.to_owned());
        }
        let checked = self.definition.check(&params, secrets, Given::Install);
        for problem in checked.as_ref().err().into_iter().flatten() {
            assert!(problem.field.contains(name), "{name}: {value:?}: {problem:?}");
        }
        checked.ok()
    }

    /// Installs it: whether it was taken; if not, it was refused for good, and said which parameter is at fault.
    pub(crate) fn install(&self, params: &Params, name: &str, value: &str) -> bool {
        let plan = self.definition.plan(&Operation::Install, &self.name, params, None).unwrap();
        for step in plan.steps {
            let mut env = step.env.clone();
            env.push(("SETTLED_SECRETS".to_owned(), SECRETS.to_owned()));
            env.push(("SETTLED_OUTPUT".to_owned(), "/root/outputs".to_owned()));
            let done = self.host.attempt(&env, &step.script);
            let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
            match done.status.code() {
                Some(0) => {}
                Some(78) => {
                    assert!(said.contains(name), "{name}: {value:?}: {said}");
                    return false;
                }
                other => panic!(
                    "{}: {value:?} ended {:?} with {other:?}\n{said}",
                    self.definition.name, step.title
                ),
            }
        }
        true
    }

    /// Tries every value around a good one; `arrived` shows on the host what was taken. Answers how many were taken, and refused by the scripts.
    pub(crate) fn try_all(&self, name: &str, good: &str, arrived: impl Fn(&Host, &str)) -> (u32, u32) {
        let (mut taken, mut refused) = (0, 0);
        for value in payloads::around(good) {
            let Some(params) = self.taken(name, &value, &BTreeMap::new()) else { continue };
            if self.install(&params, name, &value) {
                arrived(self.host, &params[name]);
                taken += 1;
            } else {
                refused += 1;
            }
        }
        self.host.run(NOT_TRAPPED);
        (taken, refused)
    }

    /// The same for a secret.
    fn try_secrets(&self, name: &str, values: &[String], arrived: impl Fn(&Host, &str)) -> (u32, u32) {
        let (mut taken, mut refused) = (0, 0);
        for value in values {
            let secrets = BTreeMap::from([(name.to_owned(), value.clone().into_bytes())]);
            let Some(params) = self.taken(name, value, &secrets) else { continue };
            fs::write(self.host.file(&format!("{SECRETS}/{name}")), value).unwrap();
            if self.install(&params, name, value) {
                arrived(self.host, value);
                taken += 1;
            } else {
                refused += 1;
            }
        }
        self.host.run(NOT_TRAPPED);
        (taken, refused)
    }
}

/// The value as the directive of the site's file, and nothing more in that than a good value brings.
fn is_directive(host: &Host, directive: &str, value: &str) {
    let env = [("V".to_owned(), value.to_owned()), ("D".to_owned(), directive.to_owned())];
    host.run_with(
        &env,
        r#"
        nginx -T 2>/dev/null >/root/all
        sed -n '/^# Made by settled, site hostile/,$p' /etc/nginx/sites-available/settled-hostile.conf >/root/one
        grep -qE "^ *$D " /root/one
        grep -qF "$D $V;" /root/one
        [ "$(grep -c '^server {' /root/one)" = 1 ]
        [ "$(grep -cE '^ *(server_name|root|proxy_pass|set) ' /root/one)" -le 4 ]
        systemctl -q is-active nginx
        "#,
    );
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p11_what_a_site_takes_nginx_reads_as_it_is() {
    let host = Host::start(&[]).await;
    host.run(TRAP);
    let nginx = Subject::new(&host, "nginx", &[]);
    assert!(nginx.install(&nginx.taken("max_body", "1m", &BTreeMap::new()).unwrap(), "max_body", "1m"));
    let files = Subject::new(&host, "site", &[("domains", "a.test"), ("root", "/srv/a")]);
    let by = |directive: &'static str| move |host: &Host, value: &str| is_directive(host, directive, value);
    let told = [
        ("domains", files.try_all("domains", "a.test", by("server_name"))),
        ("root", files.try_all("root", "/srv/a", by("root"))),
        ("max_body", files.try_all("max_body", "3m", by("client_max_body_size"))),
        (
            "upstream",
            Subject::new(&host, "site", &[("domains", "a.test"), ("kind", "proxy")]).try_all(
                "upstream",
                "http://127.0.0.1:3000/a",
                by("proxy_pass"),
            ),
        ),
        (
            "certificate",
            Subject::new(
                &host,
                "site",
                &[("domains", "a.test"), ("root", "/srv/a"), ("certificate_key", "/srv/key")],
            )
            .try_all("certificate", "/srv/pem", |_, value| panic!("{value:?} is no certificate")),
        ),
    ];
    println!("taken and refused: {told:?}");
    assert!(told.iter().map(|(_, (taken, _))| taken).sum::<u32>() > 5, "{told:?}");
    assert!(told.iter().map(|(_, (_, refused))| refused).sum::<u32>() > 100, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p11_every_password_that_mariadb_and_redis_are_given_is_the_one_that_they_ask_for() {
    let host = Host::start(&[]).await;
    host.run(TRAP);
    let plain = |package, given| {
        let subject = Subject::new(&host, package, given);
        let (name, value) = given[0];
        assert!(subject.install(&subject.taken(name, value, &BTreeMap::new()).unwrap(), name, value));
    };
    plain("mariadb", &[("max_connections", "50")]);
    plain("database", &[("database", "shop")]);
    let values: Vec<_> = payloads::around("good").into_iter().step_by(3).collect();
    let user = Subject::new(&host, "database_user", &[("user", "keeper"), ("database", "shop")]);
    let told = user.try_secrets("password", &values, |host, value| {
        // A variable of a process cannot hold it.
        if !value.contains('\0') {
            let env = [("MYSQL_PWD".to_owned(), value.to_owned())];
            host.run_with(&env, "mariadb --no-defaults --user keeper shop -e 'SELECT 1' >/dev/null");
        }
        host.run("[ \"$(mariadb -Ne \"SELECT COUNT(*) FROM mysql.global_priv WHERE user NOT IN ('root', 'mysql', 'mariadb.sys')\")\" = 1 ]");
    });
    println!("mariadb, taken and refused: {told:?}");
    assert!(told.0 > 50, "{told:?}");

    let short: Vec<_> =
        values.iter().filter(|value| !value.starts_with("good ")).step_by(2).cloned().collect();
    let redis = Subject::new(&host, "redis", &[("port", "6380")]);
    let told = redis.try_secrets("password", &short, |host, value| {
        let env = [("REDISCLI_AUTH".to_owned(), value.to_owned())];
        host.run_with(
            &env,
            "[ \"$(redis-cli -p 6380 ping)\" = PONG ]; redis-cli -p 6380 config get save >/dev/null",
        );
        host.run("redis-cli -p 6380 ping | grep -q NOAUTH");
    });
    println!("redis, taken and refused: {told:?}");
    assert!(told.0 > 5 && told.1 > 5, "{told:?}");
}
