//! What the operator decides, complete and checked before anything starts (P13).
//!
//! A [`Config`] that exists is one that works: every value is in its range and all timings agree with each other.
//! It knows nobody else in the house. A reload makes a new one.
//!
//! `load` gathers the layers and translates their errors, `access` names who may do what, `database` the store, `listen` where callers come
//! in, `limits` what they may take, `work` how servers are worked on, `smtp` where mail goes, `rules` holds the ranges and the cross checks,
//! `packages` what the timings must bear of package definitions, `live` what can change while the daemon runs.

mod access;
mod database;
mod limits;
mod listen;
mod live;
mod load;
mod packages;
mod rules;
mod smtp;
mod work;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use access::{Access, Grantee, Picked, Scoped, ScopedRole};
pub use database::Database;
use database::sqlite_url;
pub use limits::Limits;
pub use listen::{Listen, Tls, Web};
pub use load::{Faults, Flag, Sources, Surroundings};
pub use packages::Demand;
pub use rules::{LOOK_EVERY_MAX_S, TAKEOVER_GRACE_S};
pub use smtp::{Smtp, SmtpTls};
pub use work::{Drain, Lane, Probe, Run, Stale};

/// Where a service that systemd starts keeps its records, as the unit has it (`StateDirectory=settled`).
pub const SYSTEM_DATA_DIR: &str = "/var/lib/settled";
/// Where a service that systemd starts listens, as the unit has it (`RuntimeDirectory=settled`).
pub const SYSTEM_RUNTIME_DIR: &str = "/run/settled";
/// The longest pause between two attempts, in seconds: the doubling of `run.backoff_s` ends here.
pub const BACKOFF_MAX_S: u64 = 600;

/// The whole configuration. Every key of the file stands here under the same name.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Directory of the embedded database, the key and the lock: absolute.
    pub data_dir: PathBuf,
    /// Which store.
    pub database: Database,
    /// Where clients reach the daemon.
    pub listen: Listen,
    /// Who may do what.
    pub access: Access,
    /// Where package definitions beside the built-in ones come from.
    pub packages: Packages,
    /// Limits of one run.
    pub run: Run,
    /// Limits of lanes and of the whole daemon.
    pub lane: Lane,
    /// When an open run is shown as likely stale.
    pub stale: Stale,
    /// How often what is at rest is looked at.
    pub probe: Probe,
    /// The SSH client.
    pub ssh: Ssh,
    /// How long records are kept.
    pub retention: Retention,
    /// What is logged, and how.
    pub log: Log,
    /// The key that seals secrets at rest.
    pub secrets: Secrets,
    /// What lifecycles tell others.
    pub webhook: Webhook,
    /// Where mail of notifiers goes.
    pub smtp: Smtp,
    /// Where traces are sent.
    pub traces: Traces,
    /// What callers of the API may take.
    pub limits: Limits,
}

/// `[packages]`
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// Directory whose `*.toml` files are loaded beside the built-in packages.
    pub dir: Option<PathBuf>,
}

/// `[ssh]`
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Ssh {
    /// Socket of an ssh-agent whose keys may be used.
    pub agent: Option<PathBuf>,
    /// How long connecting and logging in may take. Seconds.
    pub connect_timeout_s: u64,
    /// How often a quiet connection is asked whether it lives. Seconds.
    pub keepalive_s: u64,
    /// How many of those questions may stay unanswered.
    pub keepalive_max: u32,
}

/// `[retention]`
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// How many days completed runs and their output are kept.
    pub runs_days: u32,
    /// How many days transitions can be watched from.
    pub transitions_days: u32,
    /// How many days a `request_id` is remembered together with its answer.
    pub requests_days: u32,
    /// How many days the audit is kept.
    pub audit_days: u32,
    /// How many days completed enrollments are kept.
    pub enrollments_days: u32,
    /// How many days the log of executions is kept.
    pub executions_days: u32,
}

/// `[log]`
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or filters such as `info,settled::dispatch=debug`.
    pub level: String,
    /// How a line looks and where it goes.
    pub format: LogFormat,
}

/// `log.format`
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people on standard error.
    Text,
    /// One JSON object per line on standard error.
    Json,
    /// Straight to the journal, with fields that `journalctl` can filter by.
    Journald,
}

/// `[secrets]`
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// File with the key that seals secrets (mode 0600); without it the daemon makes one in `data_dir`.
    pub key_file: Option<PathBuf>,
}

/// `[webhook]`
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// File with the authorities, in PEM, that endpoints of webhooks are checked by, instead of the host's.
    pub ca_file: Option<PathBuf>,
}

/// `[traces]`
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// The URL of a collector that takes traces by OTLP over HTTP with JSON, such as `http://127.0.0.1:4318/v1/traces`. Off when it is left out.
    pub endpoint: Option<String>,
    /// File with the authorities, in PEM, that it is checked by, instead of the host's.
    pub ca_file: Option<PathBuf>,
}

impl Config {
    /// Gathers defaults, file, environment and flags (later ones win) and checks the result as a whole.
    ///
    /// # Errors
    /// Every fault that was found, each one sentence that names the key as the operator wrote it.
    pub fn load(sources: &Sources, surroundings: &Surroundings) -> Result<Self, Faults> {
        load::load(sources, surroundings)
    }

    /// The whole configuration as a file would say it, without the password of the store.
    ///
    /// # Errors
    /// A path is not UTF-8.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let database = Database { url: self.database.url_redacted() };
        toml::to_string(&Self { database, ..self.clone() })
    }

    /// Whether the watchdog that systemd announced can notice in time that a part of the daemon stands still.
    ///
    /// # Errors
    /// One sentence that names both settings and the smallest interval that is safe.
    pub fn check_watchdog(&self, interval: Duration) -> Result<(), Faults> {
        let least = self.watchdog_interval_min();
        if interval >= least {
            return Ok(());
        }
        Err(Faults::one(format!(
            "WatchdogSec = {} s in the systemd unit is too short for lane.poll_s = {}: the dispatcher is heard of no more often than \
             that, and one look that is late would look like a death. Set WatchdogSec to {} s or more (`settled unit` prints a unit that fits), or lower lane.poll_s",
            interval.as_secs(),
            self.lane.poll_s,
            least.as_secs(),
        )))
    }

    /// The shortest watchdog interval that makes sense: four looks of the dispatcher, so that one that is late is no death.
    pub fn watchdog_interval_min(&self) -> Duration {
        Duration::from_secs(4 * self.lane.poll_s)
    }

    /// The embedded database's defaults and everything else that an operator need not say.
    fn defaults(data_dir: &Path, surroundings: &Surroundings) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            database: Database { url: sqlite_url(&data_dir.join("settled.db")) },
            listen: Listen::on(surroundings.socket(data_dir)),
            access: Access::default(),
            packages: Packages::default(),
            run: Run::default(),
            lane: Lane::default(),
            stale: Stale::default(),
            probe: Probe::default(),
            ssh: Ssh::default(),
            retention: Retention::default(),
            log: Log::default(),
            secrets: Secrets { key_file: surroundings.sealing_key() },
            webhook: Webhook::default(),
            smtp: Smtp::default(),
            traces: Traces::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Ssh {
    fn default() -> Self {
        Self { agent: None, connect_timeout_s: 10, keepalive_s: 15, keepalive_max: 3 }
    }
}

impl Ssh {
    /// See [`Ssh::connect_timeout_s`].
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_s)
    }

    /// See [`Ssh::keepalive_s`].
    pub fn keepalive(&self) -> Duration {
        Duration::from_secs(self.keepalive_s)
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            runs_days: 90,
            transitions_days: 30,
            requests_days: 30,
            audit_days: 400,
            enrollments_days: 30,
            executions_days: 90,
        }
    }
}

impl Retention {
    /// See [`Retention::runs_days`].
    pub fn runs(&self) -> Duration {
        days(self.runs_days)
    }

    /// See [`Retention::transitions_days`].
    pub fn transitions(&self) -> Duration {
        days(self.transitions_days)
    }

    /// See [`Retention::requests_days`].
    pub fn requests(&self) -> Duration {
        days(self.requests_days)
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

fn days(n: u32) -> Duration {
    Duration::from_secs(u64::from(n) * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_read_again_and_tells_no_password() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("settled.toml");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let sources = Sources { file: Some(file.clone()), ..Sources::default() };
            Config::load(&sources, &Surroundings::bare("/home/ann")).unwrap()
        };
        let said = "[listen]\nmetrics = '127.0.0.1:9464'\n[access]\nadmins = ['unix:1000']\n\
                    [[access.scoped]]\nwho = 'unix:1001'\nrole = 'operator'\nservers = ['label:tier=web']\n";
        let config = read(said);
        assert_eq!(read(&config.to_toml().unwrap()), config);

        let config = read("[database]\nurl = 'postgres://settled:hunter2@db/settled'\n");
        let shown = config.to_toml().unwrap();
        assert!(shown.contains("settled:***@db") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn the_watchdog_must_leave_room_for_four_ticks() {
        let config = Config::load(&Sources::default(), &Surroundings::bare("/home/ann")).unwrap();
        assert!(config.check_watchdog(Duration::from_secs(4)).is_ok());
        let fault = config.check_watchdog(Duration::from_secs(3)).unwrap_err().to_string();
        for part in ["WatchdogSec", "lane.poll_s", "4 s or more"] {
            assert!(fault.contains(part), "{fault}");
        }
    }
}
