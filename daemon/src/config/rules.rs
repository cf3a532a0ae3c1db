//! What makes a configuration one that can work: ranges of single values, and how the timings fit each other (P13).
//!
//! Every cross rule has the same form, "this value is at least so much, because of those", so that each message can
//! name both sides and a value that is safe.

use super::access::NOBODY;
use super::{BACKOFF_MAX_S, Config, Drain, Grantee, listen, smtp};

/// How long after a start or a takeover nothing is settled by time, in seconds.
pub const TAKEOVER_GRACE_S: u64 = 60;

/// How often, at least, the reconciler asks time whom it has overtaken, in seconds.
pub const LOOK_EVERY_MAX_S: u64 = 5;

const DAY_S: u64 = 86_400;

/// A value that must not be smaller than others demand.
pub(super) struct Rule {
    /// The key whose value can be raised.
    pub(super) raise: &'static str,
    /// The keys that demand it.
    pub(super) because_of: &'static [&'static str],
    /// Why, as the second half of a sentence.
    why: &'static str,
    /// The smallest value that is safe.
    pub(super) least: fn(&Config) -> u64,
}

pub(super) const RULES: &[Rule] = &[
    // Nothing is started in the last third of a lease, 10 s at most: this rule lets a renewal come before that, too.
    Rule {
        raise: "lane.lease_s",
        because_of: &["lane.renew_s"],
        why: "one lost renewal would cost the daemon all its lanes",
        least: |c| 2 * c.lane.renew_s + 1,
    },
    Rule {
        raise: "lane.unreachable_retry_s",
        because_of: &["ssh.connect_timeout_s"],
        why: "a second connect would begin before the first has ended",
        least: |c| c.ssh.connect_timeout_s,
    },
    Rule {
        raise: "run.settle_margin_s",
        because_of: &["ssh.keepalive_s", "ssh.keepalive_max"],
        why: "a run would be settled before a dead connection is noticed",
        least: |c| c.ssh.keepalive_s * u64::from(c.ssh.keepalive_max) + 1,
    },
    Rule {
        raise: "run.settle_margin_s",
        because_of: &["lane.lease_s", "lane.poll_s"],
        why: "a lane is freed some seconds after the lease, another daemon takes it at its second look, and asks the server for up to 60 s",
        least: takeover_s,
    },
    Rule {
        raise: "run.settle_margin_s",
        because_of: &["lane.unreachable_retry_s", "ssh.connect_timeout_s"],
        why: "a run would be settled before its server is asked once more",
        least: |c| c.lane.unreachable_retry_s + c.ssh.connect_timeout_s + 1,
    },
    // What waits between two attempts is settled when it has waited for longer than a run may stay queued.
    Rule {
        raise: "run.queue_limit_s",
        because_of: &["run.backoff_s", "run.attempts"],
        why: "a run would be settled in the pause before its last attempt",
        least: |c| longest_pause_s(c.run.backoff_s, c.run.attempts) + 1,
    },
    Rule {
        raise: "run.queue_limit_s",
        because_of: &["run.drain_grace_s"],
        why: "a queued run would end while a daemon that is told to stop finishes others (run.drain = finish)",
        least: |c| if c.run.drain == Drain::Finish { c.run.drain_grace_s + 1 } else { 0 },
    },
    Rule {
        raise: "run.queue_limit_s",
        because_of: &["lane.lease_s"],
        why: "a queued run would end before another daemon can take over its server",
        least: |c| c.lane.lease_s + 1,
    },
    Rule {
        raise: "run.queue_limit_s",
        because_of: &["lane.unreachable_retry_s"],
        why: "a queued run would end before its server is tried a second time",
        least: |c| c.lane.unreachable_retry_s + 1,
    },
    Rule {
        raise: "run.queue_limit_s",
        because_of: &["lane.busy_retry_s"],
        why: "a queued run would end before a busy server is looked at a second time",
        least: |c| c.lane.busy_retry_s + 1,
    },
    Rule {
        raise: "stale.running_s",
        because_of: &["lane.lease_s", "lane.poll_s"],
        why: "a run would be shown as likely stale while another daemon takes over its server, which is ordinary",
        least: takeover_s,
    },
    Rule {
        raise: "stale.queued_s",
        because_of: &["stale.running_s"],
        why: "a run that waits for its turn would be shown as likely stale before one that works and is silent",
        least: |c| c.stale.running_s,
    },
    Rule {
        raise: "retention.requests_days",
        because_of: &["run.queue_limit_s"],
        why: "a repeated request would start a second run while the first may still be queued",
        least: |c| c.run.queue_limit_s.div_ceil(DAY_S),
    },
    Rule {
        raise: "retention.runs_days",
        because_of: &["retention.requests_days"],
        why: "a repeated request would be answered with a run that is no longer there",
        least: |c| u64::from(c.retention.requests_days),
    },
    Rule {
        raise: "limits.first_request_s",
        because_of: &["limits.handshake_s"],
        why: "a caller could not ask anything in the time that it has to begin",
        least: |c| c.limits.handshake_s,
    },
    Rule {
        raise: "limits.idle_s",
        because_of: &["limits.first_request_s"],
        why: "a connection would be ended as idle before its first request is due",
        least: |c| c.limits.first_request_s,
    },
    Rule {
        raise: "limits.connections_max",
        because_of: &["limits.connections_per_user_max"],
        why: "one user could take every place, those of others too",
        least: |c| u64::from(c.limits.connections_per_user_max) + 1,
    },
    Rule {
        raise: "limits.network_connections_max",
        because_of: &["limits.connections_per_address_max"],
        why: "one address could take every place, those of others too",
        least: |c| u64::from(c.limits.connections_per_address_max) + 1,
    },
    Rule {
        raise: "limits.body_bytes_max",
        because_of: &["limits.body_bytes_per_principal_max"],
        why: "one principal could take the room of all others",
        least: |c| c.limits.body_bytes_per_principal_max + 1,
    },
    Rule {
        raise: "limits.requests_burst",
        because_of: &["limits.requests_per_s"],
        why: "a principal could never ask as often in one second as it may",
        least: |c| u64::from(c.limits.requests_per_s),
    },
];

/// How long it takes until another daemon has taken over a server and asked it, in seconds: the reconciler frees the lane, and who is not
/// preferred for it takes it at the second look that finds it without an owner.
pub(super) const fn takeover_s(config: &Config) -> u64 {
    config.lane.lease_s + LOOK_EVERY_MAX_S + 2 * config.lane.poll_s + TAKEOVER_GRACE_S
}

/// The longest pause between two of so many attempts, in seconds: each is twice as long as the one before, up to a limit.
pub(super) fn longest_pause_s(first_s: u64, attempts: u32) -> u64 {
    let doublings = attempts.saturating_sub(2);
    let longest = first_s.saturating_mul(1_u64.checked_shl(doublings).unwrap_or(u64::MAX)).min(BACKOFF_MAX_S);
    if attempts > 1 { longest } else { 0 }
}

/// A numeric key with its value and the range it may have.
pub(super) struct Number {
    pub(super) key: &'static str,
    pub(super) value: fn(&Config) -> u64,
    pub(super) min: u64,
    pub(super) max: u64,
}

const fn number(key: &'static str, value: fn(&Config) -> u64, min: u64, max: u64) -> Number {
    Number { key, value, min, max }
}

/// Every number of the configuration. The upper bounds keep all sums small; nobody needs more.
pub(super) const NUMBERS: &[Number] = &[
    number("run.queue_limit_s", |c| c.run.queue_limit_s, 1, 30 * DAY_S),
    number("run.attempts", |c| u64::from(c.run.attempts), 1, 100),
    number("run.backoff_s", |c| c.run.backoff_s, 1, BACKOFF_MAX_S),
    number("run.kill_grace_s", |c| c.run.kill_grace_s, 1, 3600),
    number("run.settle_margin_s", |c| c.run.settle_margin_s, 1, DAY_S),
    number("run.drain_grace_s", |c| c.run.drain_grace_s, 1, DAY_S),
    number("run.output_bytes_max", |c| c.run.output_bytes_max, 4 << 10, 1 << 30),
    number("lane.at_work_max", |c| u64::from(c.lane.at_work_max), 1, 10_000),
    number("lane.connects_max", |c| u64::from(c.lane.connects_max), 1, 1000),
    number("lane.queue_max", |c| u64::from(c.lane.queue_max), 1, 1_000_000),
    number("lane.lease_s", |c| c.lane.lease_s, 1, 3600),
    number("lane.renew_s", |c| c.lane.renew_s, 1, 1200),
    number("lane.poll_s", |c| c.lane.poll_s, 1, 60),
    number("lane.busy_retry_s", |c| c.lane.busy_retry_s, 1, 3600),
    number("lane.unreachable_retry_s", |c| c.lane.unreachable_retry_s, 1, 3600),
    number("probe.every_s", |c| c.probe.every_s, 0, 30 * DAY_S),
    number("stale.queued_s", |c| c.stale.queued_s, 1, 30 * DAY_S),
    number("stale.running_s", |c| c.stale.running_s, 1, 30 * DAY_S),
    number("lane.orphan_alarm_s", |c| c.lane.orphan_alarm_s, 1, 7 * DAY_S),
    number("ssh.connect_timeout_s", |c| c.ssh.connect_timeout_s, 1, 300),
    number("ssh.keepalive_s", |c| c.ssh.keepalive_s, 1, 600),
    number("ssh.keepalive_max", |c| u64::from(c.ssh.keepalive_max), 1, 20),
    number("smtp.port", |c| u64::from(c.smtp.port), 1, 65_535),
    number("retention.runs_days", |c| u64::from(c.retention.runs_days), 1, 3650),
    number("retention.transitions_days", |c| u64::from(c.retention.transitions_days), 1, 3650),
    number("retention.requests_days", |c| u64::from(c.retention.requests_days), 1, 3650),
    number("retention.audit_days", |c| u64::from(c.retention.audit_days), 1, 36_500),
    number("retention.enrollments_days", |c| u64::from(c.retention.enrollments_days), 1, 36_500),
    number("retention.executions_days", |c| u64::from(c.retention.executions_days), 1, 36_500),
    number("limits.connections_max", |c| u64::from(c.limits.connections_max), 2, 100_000),
    number("limits.connections_per_user_max", |c| u64::from(c.limits.connections_per_user_max), 1, 100_000),
    number("limits.network_connections_max", |c| u64::from(c.limits.network_connections_max), 2, 100_000),
    number(
        "limits.connections_per_address_max",
        |c| u64::from(c.limits.connections_per_address_max),
        1,
        100_000,
    ),
    number("limits.handshake_s", |c| c.limits.handshake_s, 1, 60),
    number("limits.first_request_s", |c| c.limits.first_request_s, 1, 300),
    number("limits.idle_s", |c| c.limits.idle_s, 1, DAY_S),
    number("limits.body_s", |c| c.limits.body_s, 1, 3600),
    // The largest message that the contract allows has to find room.
    number("limits.body_bytes_max", |c| c.limits.body_bytes_max, 5 << 20, 16 << 30),
    number(
        "limits.body_bytes_per_principal_max",
        |c| c.limits.body_bytes_per_principal_max,
        5 << 20,
        4 << 30,
    ),
    number("limits.requests_per_s", |c| u64::from(c.limits.requests_per_s), 1, 1_000_000),
    number("limits.requests_burst", |c| u64::from(c.limits.requests_burst), 1, 1_000_000),
    number("limits.streams_per_principal_max", |c| u64::from(c.limits.streams_per_principal_max), 1, 100_000),
];

/// Something that cannot work: the sentence, and the keys it is about.
pub(super) struct Fault {
    pub(super) text: String,
    pub(super) keys: Vec<&'static str>,
}

/// Everything that is wrong with these values. Cross rules are asked only when each value is in its own range.
pub(super) fn faults(config: &Config) -> Vec<Fault> {
    let alone: Vec<_> = ranges(config).chain(texts(config)).collect();
    if alone.is_empty() { RULES.iter().filter_map(|rule| rule.fault(config)).collect() } else { alone }
}

/// What must have happened at least once before a queued run may end, whoever set its limit: the configuration, an operation, a request.
const BEFORE_A_QUEUED_RUN_ENDS: [&str; 3] = ["lane.lease_s", "lane.unreachable_retry_s", "lane.busy_retry_s"];

/// The rules of [`RULES`] that hold for every queue limit.
pub(super) fn of_every_queue_limit() -> impl Iterator<Item = &'static Rule> {
    let of_every = |rule: &&Rule| rule.because_of.iter().all(|key| BEFORE_A_QUEUED_RUN_ENDS.contains(key));
    RULES.iter().filter(|rule| rule.raise == "run.queue_limit_s").filter(of_every)
}

impl Rule {
    fn fault(&self, config: &Config) -> Option<Fault> {
        let text = self.broken_by(self.raise, value(self.raise, config), config)?;
        Some(Fault { text, keys: [&[self.raise], self.because_of].concat() })
    }

    /// What is wrong with this value of what is called `raise`, if it is too small.
    pub(super) fn broken_by(&self, raise: &str, now: u64, config: &Config) -> Option<String> {
        let least = (self.least)(config);
        if now >= least {
            return None;
        }
        let others: Vec<_> =
            self.because_of.iter().map(|key| format!("{key} = {}", value(key, config))).collect();
        Some(format!(
            "{raise} = {now} is too small for {others}: {why}. Set {raise} to {least} or more, or lower {lower}",
            others = others.join(" and "),
            why = self.why,
            lower = self.because_of.join(" or "),
        ))
    }
}

/// The value of a numeric key. Every key that a rule names is in [`NUMBERS`]; a test holds that.
fn value(key: &str, config: &Config) -> u64 {
    NUMBERS.iter().find(|number| number.key == key).map_or(0, |number| (number.value)(config))
}

fn ranges(config: &Config) -> impl Iterator<Item = Fault> {
    NUMBERS.iter().filter_map(|&Number { key, value, min, max }| {
        let now = value(config);
        (now < min || now > max).then(|| Fault {
            text: format!("{key} = {now} is out of range: it may be {min} to {max}"),
            keys: vec![key],
        })
    })
}

fn texts(config: &Config) -> impl Iterator<Item = Fault> {
    let others =
        [url(config), nobody(config), scopes(config), certificates(config), traces(config), empty(config)];
    others.into_iter().flatten().chain(listen::faults(config)).chain(smtp::faults(config))
}

fn url(config: &Config) -> Option<Fault> {
    let known = ["sqlite://", "postgres://", "postgresql://"];
    if known.iter().any(|scheme| config.database.url.starts_with(scheme)) {
        return None;
    }
    let text = "database.url names no store that settled knows: \
                write sqlite:///PATH or postgres://USER:PASSWORD@HOST/DATABASE, or leave it out for SQLite in data_dir";
    Some(Fault { text: text.to_owned(), keys: vec!["database.url"] })
}

fn nobody(config: &Config) -> Option<Fault> {
    let (key, _) = config.access.named().find(|(_, who)| who.is_nobody())?;
    Some(Fault {
        text: format!(
            "{key} names {NOBODY}, which stands for everybody outside the daemon's user namespace: name users and groups by their own id, \
             and run the daemon without a namespace of its own (no PrivateUsers= in its unit)"
        ),
        keys: vec![key],
    })
}

/// A certificate is worth nothing when no authority vouches for it.
fn certificates(config: &Config) -> Option<Fault> {
    let (key, who) = config.access.named().find(|(_, who)| matches!(who, Grantee::Certificate(_)))?;
    config.listen.tls.client_ca.is_none().then(|| Fault {
        text: format!(
            "{key} names {who}, and no authority vouches for certificates, so nobody could show it: name the authority's file in \
             listen.tls.client_ca, or leave {who} out"
        ),
        keys: vec![key, "listen.tls.client_ca"],
    })
}

fn scopes(config: &Config) -> Option<Fault> {
    config.access.misfit().map(|text| Fault { text, keys: vec!["access.scoped"] })
}

/// Whatever is in the URL would be sent in the clear, or shown: a collector gets no password this way.
fn traces(config: &Config) -> Option<Fault> {
    let endpoint = config.traces.endpoint.as_deref().filter(|endpoint| !endpoint.is_empty())?;
    let rest = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    let host = rest.and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default();
    let fits = !host.is_empty()
        && !host.contains('@')
        && !endpoint.contains(|c: char| c.is_whitespace() || c.is_control());
    (!fits).then(|| Fault {
        text: "traces.endpoint is no URL of a collector: write one that begins with http:// or https://, without a user or password, \
               such as http://127.0.0.1:4318/v1/traces"
            .to_owned(),
        keys: vec!["traces.endpoint"],
    })
}

fn empty(config: &Config) -> Option<Fault> {
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().is_some_and(|p| p.as_os_str().is_empty());
    let key = [
        ("data_dir", config.data_dir.as_os_str().is_empty()),
        ("listen.unix", config.listen.unix.as_os_str().is_empty()),
        ("listen.unix_group", config.listen.unix_group.as_deref() == Some("")),
        ("packages.dir", path(&config.packages.dir)),
        ("ssh.agent", path(&config.ssh.agent)),
        ("secrets.key_file", path(&config.secrets.key_file)),
        ("webhook.ca_file", path(&config.webhook.ca_file)),
        ("smtp.password_file", path(&config.smtp.password_file)),
        ("smtp.ca_file", path(&config.smtp.ca_file)),
        ("traces.endpoint", config.traces.endpoint.as_deref() == Some("")),
        ("traces.ca_file", path(&config.traces.ca_file)),
        ("listen.tls.cert", path(&config.listen.tls.cert)),
        ("listen.tls.key", path(&config.listen.tls.key)),
        ("listen.tls.client_ca", path(&config.listen.tls.client_ca)),
        ("log.level", config.log.level.trim().is_empty()),
    ]
    .into_iter()
    .find_map(|(key, empty)| empty.then_some(key))?;
    Some(Fault { text: format!("{key} is empty: give it a value, or leave it out"), keys: vec![key] })
}

#[cfg(test)]
mod tests;
