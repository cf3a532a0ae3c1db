//! Servers, a store, and the homes of the daemons that share it.

use std::path::PathBuf;

use settled_proto::v1::servers_client::ServersClient;
use settled_proto::v1::{Outcome, Run};
use settled_tests::daemon::key_file;
use settled_tests::postgres::Postgres;
use settled_tests::process::Home;
use settled_tests::server::{Server, package_dir};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::clients;
use crate::witness::{DEFINITION, PACKAGE, PATIENT, PATIENT_DEFINITION, TICKING, TICKING_DEFINITION};

/// Where the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// Servers and daemons' homes. Nothing runs yet.
pub(crate) struct World {
    pub(crate) homes: Vec<Home>,
    pub(crate) servers: Vec<Server>,
    /// The database's URL, on PostgreSQL.
    pub(crate) url: Option<String>,
    _packages: TempDir,
}

/// Settings that hurry what waits for time, or for its turn.
const HURRY: [(&str, &str, &str); 7] = [
    ("lane", "at_work_max", "128"),
    ("lane", "unreachable_retry_s", "2"),
    ("lane", "busy_retry_s", "1"),
    ("ssh", "connect_timeout_s", "2"),
    ("run", "backoff_s", "1"),
    ("run", "kill_grace_s", "1"),
    ("run", "settle_margin_s", "97"),
];

/// How long daemons have their lanes without a sign of life, and how often they give one. In seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lease {
    /// So long, with everything else hurried.
    Hurried(u64, u64),
    /// Nothing is set, here or elsewhere.
    Defaults,
}

impl Lease {
    /// As short as whole seconds allow: the lanes of the dead are free soon.
    pub(crate) const SHORT: Self = Self::Hurried(3, 1);
    /// That of the defaults.
    pub(crate) const LONG: Self = Self::Hurried(30, 10);
}

impl World {
    pub(crate) async fn new(engine: Engine, lease: Lease, homes: usize, servers: usize) -> Self {
        let url = match engine {
            Engine::Sqlite => None,
            Engine::Postgres => {
                Some(tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap())
            }
        };
        if let Some(url) = &url {
            make_users(url, homes).await;
        }
        let packages = package_dir(PACKAGE, DEFINITION);
        for (name, text) in [(PATIENT, PATIENT_DEFINITION), (TICKING, TICKING_DEFINITION)] {
            std::fs::write(packages.path().join(format!("{name}.toml")), text).unwrap();
        }
        let key = key_file(packages.path());
        let homes = (0..homes).map(|n| home(n, lease, url.as_deref(), &packages, &key)).collect();
        let servers = Server::several(servers);
        for server in &servers {
            std::fs::create_dir(server.path("work")).unwrap();
        }
        Self { homes, servers, url, _packages: packages }
    }

    /// Makes every server known through this channel, and waits until each was met.
    pub(crate) async fn register(&self, channel: &Channel) {
        for (n, server) in self.servers.iter().enumerate() {
            let request = server.record(&name(n));
            let answer = ServersClient::new(channel.clone()).create(request).await.unwrap().into_inner();
            let met: Run = clients::completed(channel, &answer.run.unwrap().id).await.0;
            assert_eq!(met.outcome(), Outcome::Succeeded, "{met:?}");
        }
    }

    /// The directories of the witnesses.
    pub(crate) fn witnesses(&self) -> Vec<PathBuf> {
        self.servers.iter().map(|server| server.path("work")).collect()
    }

    /// How long all witnesses are together: it grows while work is done.
    pub(crate) fn progress(&self) -> u64 {
        self.witnesses().iter().map(|dir| crate::witness::length(dir)).sum()
    }
}

/// The name by which settled knows a server.
pub(crate) fn name(n: usize) -> String {
    format!("server-{n}")
}

/// As whom a daemon is connected to PostgreSQL: by that the database tells the daemons apart.
pub(crate) fn user(n: usize) -> String {
    format!("daemon_{n}")
}

/// Makes the users, each of whom may do everything. They are the whole cluster's: another test may have been first.
async fn make_users(url: &str, count: usize) {
    let mut database = PgConnection::connect(url).await.unwrap();
    for n in 0..count {
        let make = format!(
            "DO $$ BEGIN CREATE ROLE {} SUPERUSER LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
            user(n)
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(make)).execute(&mut database).await.unwrap();
    }
}

fn home(n: usize, lease: Lease, url: Option<&str>, packages: &TempDir, key: &std::path::Path) -> Home {
    let (packages, key) = (format!("'{}'", packages.path().display()), format!("'{}'", key.display()));
    let url = url.map(|url| format!("'{}'", url.replace("//settled@", &format!("//{}@", user(n)))));
    let mut settings = vec![("packages", "dir", packages.as_str()), ("secrets", "key_file", key.as_str())];
    let numbers;
    if let Lease::Hurried(lease, renew) = lease {
        numbers = [lease, renew].map(|seconds| seconds.to_string());
        settings.extend(HURRY);
        settings.extend([("lane", "lease_s", numbers[0].as_str()), ("lane", "renew_s", numbers[1].as_str())]);
    }
    settings.extend(url.as_deref().map(|url| ("database", "url", url)));
    Home::new(&settings)
}
