//! What the operator decides, complete and checked before anything starts (P13).
//!
//! A [`Config`] that exists is one that works: every value is in its range and all timings agree with each other.
//! It knows nobody else in the house. A reload makes a new one.
//!
//! `load` gathers the layers and translates their errors, `access` names who may do what, `listen` where callers come in, `rules` holds the ranges and the cross checks, `packages` what the timings must
//! bear of package definitions, `live` what can change while the daemon runs.

mod access;
mod listen;
mod live;
mod load;
mod packages;
mod rules;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use access::{Access, Grantee, Picked, Scoped, ScopedRole};
pub use listen::{Listen, Tls, Web};
pub use load::{Faults, Flag, Sources, Surroundings};
pub use packages::Demand;
pub use rules::{LOOK_EVERY_MAX_S, TAKEOVER_GRACE_S};

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
    /// Where traces are sent.
    pub traces: Traces,
    /// What callers of the API may take.
    pub limits: Limits,
}

/// `[database]`
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `sqlite://PATH`, the path as it stands, or `postgres://USER@HOST/NAME`. May hold a password: `Debug` leaves it out.
    pub url: String,
}

/// `[packages]`
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// Directory whose `*.toml` files are loaded beside the built-in packages.
    pub dir: Option<PathBuf>,
}

/// `[run]`
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// How long a run may stay queued before it is `failed`, reason `never_started`. Seconds.
    pub queue_limit_s: u64,
    /// How many attempts may fail before the run has.
    pub attempts: u32,
    /// Pause after the first failed attempt, in seconds; each further one is twice as long, up to [`BACKOFF_MAX_S`].
    pub backoff_s: u64,
    /// Time between TERM and KILL for a step that is to end. Seconds.
    pub kill_grace_s: u64,
    /// What is added to a try's deadline before the run is settled without its server's answer. Seconds.
    pub settle_margin_s: u64,
    /// How much output of one step is kept, in bytes; the rest is read and dropped.
    pub output_bytes_max: u64,
    /// What becomes of the runs at work when the daemon is told to stop.
    pub drain: Drain,
    /// How long a stop waits for the runs at work when they are to be finished; the rest is left running. Seconds.
    pub drain_grace_s: u64,
}

/// `run.drain`
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Drain {
    /// The daemon ends at once; what runs on servers goes on there, and the next start takes it up.
    Detach,
    /// The daemon begins nothing new, and ends when the runs at work have ended, or after `run.drain_grace_s`.
    Finish,
}

/// `[lane]`
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Lane {
    /// How many servers are worked on at once; those that wait do not count.
    pub at_work_max: u32,
    /// How many connections are opened at once.
    pub connects_max: u32,
    /// How many runs may be queued for one server; one more is refused.
    pub queue_max: u32,
    /// How long a daemon owns its lanes after its last renewal. Seconds.
    pub lease_s: u64,
    /// How often the lease is renewed. Seconds.
    pub renew_s: u64,
    /// How often the store is asked even if nobody woke the daemon. Seconds.
    pub poll_s: u64,
    /// When a server on which another program holds a lock is looked at again. Seconds.
    pub busy_retry_s: u64,
    /// When a server that cannot be reached is tried again; the longer it is away, the more rarely, up to every 5 minutes. Seconds.
    pub unreachable_retry_s: u64,
    /// How long a step without a proven end may hold a lane before `status` and the server's record tell of it. Seconds.
    pub orphan_alarm_s: u64,
}

/// `[stale]`: from when on an open run to which nothing happens is shown as likely stale. It decides nothing: runs end by `settles_by`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Stale {
    /// While it is queued, and half of the time that it may stay so at most. Seconds.
    pub queued_s: u64,
    /// Once it has started, unless its operation says how long it usually takes. Seconds.
    pub running_s: u64,
}

/// `[probe]`
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// How often each resource at rest is looked at, to see whether its server still agrees; 0 is never. Seconds.
    pub every_s: u64,
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

/// `[limits]`: what callers of the API may take, so that none of them keeps the others waiting.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// How many connections there may be at once. For one more, a quiet one is ended; one in 16 is kept for root.
    pub connections_max: u32,
    /// How many of them one user may have.
    pub connections_per_user_max: u32,
    /// How many connections from the network there may be at once, beside those.
    pub network_connections_max: u32,
    /// How many of them may come from one address; of IPv6, from one network of 64 bits.
    pub connections_per_address_max: u32,
    /// How long a new connection may take to begin with HTTP/2. Seconds.
    pub handshake_s: u64,
    /// How long it may take until its first request has come. Seconds.
    pub first_request_s: u64,
    /// How long a connection may have no open request. Seconds.
    pub idle_s: u64,
    /// How long the message of a request may take to arrive. Seconds.
    pub body_s: u64,
    /// How many bytes of requests may be on their way or being answered at once.
    pub body_bytes_max: u64,
    /// How many of them may be those of one principal.
    pub body_bytes_per_principal_max: u64,
    /// How many requests one principal may make in a second, in the long run.
    pub requests_per_s: u32,
    /// How many it may make at once after a rest.
    pub requests_burst: u32,
    /// How many requests of one principal may be open at once, streams among them.
    pub streams_per_principal_max: u32,
}

impl Config {
    /// Gathers defaults, file, environment and flags (later ones win) and checks the result as a whole.
    ///
    /// # Errors
    /// Every fault that was found, each one sentence that names the key as the operator wrote it.
    pub fn load(sources: &Sources, surroundings: &Surroundings) -> Result<Self, Faults> {
        load::load(sources, surroundings)
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
            traces: Traces::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Run {
    fn default() -> Self {
        Self {
            queue_limit_s: 86_400,
            attempts: 3,
            backoff_s: 30,
            kill_grace_s: 30,
            settle_margin_s: 120,
            output_bytes_max: 4 << 20,
            drain: Drain::Detach,
            drain_grace_s: 900,
        }
    }
}

impl Run {
    /// See [`Run::queue_limit_s`].
    pub fn queue_limit(&self) -> Duration {
        Duration::from_secs(self.queue_limit_s)
    }

    /// See [`Run::backoff_s`].
    pub fn backoff_first(&self) -> Duration {
        Duration::from_secs(self.backoff_s)
    }

    /// See [`Run::kill_grace_s`].
    pub fn kill_grace(&self) -> Duration {
        Duration::from_secs(self.kill_grace_s)
    }

    /// See [`Run::settle_margin_s`].
    pub fn settle_margin(&self) -> Duration {
        Duration::from_secs(self.settle_margin_s)
    }

    /// See [`Run::drain_grace_s`].
    pub fn drain_grace(&self) -> Duration {
        Duration::from_secs(self.drain_grace_s)
    }
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            at_work_max: 64,
            connects_max: 32,
            queue_max: 1000,
            lease_s: 30,
            renew_s: 10,
            poll_s: 1,
            busy_retry_s: 10,
            unreachable_retry_s: 15,
            orphan_alarm_s: 900,
        }
    }
}

impl Lane {
    /// See [`Lane::lease_s`].
    pub fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_s)
    }

    /// See [`Lane::renew_s`].
    pub fn renew(&self) -> Duration {
        Duration::from_secs(self.renew_s)
    }

    /// See [`Lane::poll_s`].
    pub fn poll(&self) -> Duration {
        Duration::from_secs(self.poll_s)
    }

    /// See [`Lane::busy_retry_s`].
    pub fn busy_retry(&self) -> Duration {
        Duration::from_secs(self.busy_retry_s)
    }

    /// See [`Lane::unreachable_retry_s`].
    pub fn unreachable_retry(&self) -> Duration {
        Duration::from_secs(self.unreachable_retry_s)
    }

    /// See [`Lane::orphan_alarm_s`].
    pub fn orphan_alarm(&self) -> Duration {
        Duration::from_secs(self.orphan_alarm_s)
    }
}

impl Default for Stale {
    fn default() -> Self {
        Self { queued_s: 3_600, running_s: 300 }
    }
}

impl Stale {
    /// See [`Stale::queued_s`].
    pub fn queued(&self) -> Duration {
        Duration::from_secs(self.queued_s)
    }

    /// See [`Stale::running_s`].
    pub fn running(&self) -> Duration {
        Duration::from_secs(self.running_s)
    }
}

impl Probe {
    /// See [`Probe::every_s`]; `None` is never.
    pub fn every(&self) -> Option<Duration> {
        (self.every_s > 0).then(|| Duration::from_secs(self.every_s))
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

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 256,
            connections_per_user_max: 192,
            network_connections_max: 256,
            connections_per_address_max: 64,
            handshake_s: 5,
            first_request_s: 10,
            idle_s: 300,
            body_s: 30,
            body_bytes_max: 64 << 20,
            body_bytes_per_principal_max: 16 << 20,
            requests_per_s: 5_000,
            requests_burst: 10_000,
            streams_per_principal_max: 2_048,
        }
    }
}

impl Limits {
    /// See [`Limits::handshake_s`].
    pub fn handshake(&self) -> Duration {
        Duration::from_secs(self.handshake_s)
    }

    /// See [`Limits::first_request_s`].
    pub fn first_request(&self) -> Duration {
        Duration::from_secs(self.first_request_s)
    }

    /// See [`Limits::idle_s`].
    pub fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_s)
    }

    /// See [`Limits::body_s`].
    pub fn body(&self) -> Duration {
        Duration::from_secs(self.body_s)
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Database {
    /// The URL without its password: for logs and messages.
    pub fn url_redacted(&self) -> String {
        redact(&self.url)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("url", &self.url_redacted()).finish()
    }
}

fn days(n: u32) -> Duration {
    Duration::from_secs(u64::from(n) * 86_400)
}

/// The URL of an SQLite file. What follows `sqlite://` is the path as it stands: nothing is escaped, and nothing is decoded.
fn sqlite_url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

/// Hides the password in `scheme://user:password@host` and in `?password=`. Rather too much than too little: an
/// unescaped `/` or `@` inside a password does not make the rest of it visible.
fn redact(url: &str) -> String {
    let (head, tail) = match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            let (user, host) = (&url[..at], &url[at..]);
            match user[scheme + 3..].find(':') {
                Some(colon) => (format!("{}:***", &user[..scheme + 3 + colon]), host),
                None => (user.to_owned(), host),
            }
        }
        _ => (String::new(), url),
    };
    let Some((place, query)) = tail.split_once('?') else { return head + tail };
    let query: Vec<_> = query
        .split('&')
        .map(|pair| if pair.starts_with("password=") { "password=***" } else { pair })
        .collect();
    format!("{head}{place}?{}", query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p12_a_database_password_is_never_shown() {
        for url in [
            "postgres://settled:hunter2@db/settled",
            "postgres://settled:hun/ter2@db/settled",
            "postgres://settled:hunter2@hunter2@db/settled?sslmode=require",
            "postgres://settled@db/settled?sslmode=require&password=hunter2",
            "postgres:///settled?host=/run/postgresql&password=hunter2&user=settled",
        ] {
            let shown = format!("{:?}", Database { url: url.to_owned() });
            assert!(!shown.contains("ter2"), "{shown}");
            assert!(shown.contains("***"), "{shown}");
            assert!(shown.contains("settled"), "{shown}");
        }
        assert_eq!(redact("sqlite:///var/lib/settled/settled.db"), "sqlite:///var/lib/settled/settled.db");
    }

    #[test]
    fn the_path_of_an_sqlite_file_survives_its_url() {
        for path in ["/tmp/50%?/a.db", "/tmp/50%25/a b.db", "/tmp/\u{e4}#/a.db"] {
            let url = sqlite_url(Path::new(path));
            assert_eq!(crate::store::sqlite_path(&url).as_deref(), Some(Path::new(path)), "{url}");
        }
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
