//! What a reload can change while the daemon runs, and what needs a restart.
//!
//! What runs have begun with stays: their deadlines were computed from it, and servers were told. So were leases, connections and the
//! socket made from what the start said.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Config;

/// Keys that a reload applies. All others need a restart.
const LIVE: &[&str] = &[
    "access.viewers",
    "access.operators",
    "access.admins",
    "listen.tls.cert",
    "listen.tls.key",
    "listen.tls.client_ca",
    "listen.web.origins",
    "access.scoped",
    "packages.dir",
    "run.queue_limit_s",
    "run.attempts",
    "run.drain",
    "run.drain_grace_s",
    "lane.at_work_max",
    "lane.queue_max",
    "stale.queued_s",
    "stale.running_s",
    "probe.every_s",
    "retention.runs_days",
    "retention.transitions_days",
    "retention.requests_days",
    "retention.audit_days",
    "retention.enrollments_days",
    "retention.executions_days",
    "log.level",
];

impl Config {
    /// The keys that differ between this and `new` and cannot change without a restart.
    pub fn restart_keys(&self, new: &Self) -> Vec<String> {
        let (mut old_values, mut new_values) = (BTreeSet::new(), BTreeSet::new());
        flatten(&values(self), "", &mut old_values);
        flatten(&values(new), "", &mut new_values);
        let differing: BTreeSet<_> =
            old_values.symmetric_difference(&new_values).map(|(key, _)| key.clone()).collect();
        differing.into_iter().filter(|key| !LIVE.contains(&key.as_str())).collect()
    }
}

fn values(config: &Config) -> Value {
    serde_json::to_value(config).unwrap_or_default()
}

/// Every key with its value, dotted.
fn flatten(value: &Value, path: &str, found: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(section) => {
            for (key, value) in section {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(value, &path, found);
            }
        }
        value => {
            found.insert((path.to_owned(), value.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::NUMBERS;
    use super::super::{Sources, Surroundings};
    use super::*;

    fn with(settings: &[(&str, &str)]) -> Config {
        let env =
            settings.iter().map(|(name, value)| (format!("SETTLED_{name}"), (*value).to_owned())).collect();
        Config::load(&Sources { env, ..Sources::default() }, &Surroundings::bare("/home/ann")).unwrap()
    }

    #[test]
    fn every_live_key_is_a_key() {
        let mut keys = BTreeSet::new();
        flatten(&values(&with(&[])), "", &mut keys);
        for live in LIVE {
            assert!(keys.iter().any(|(key, _)| key == live), "{live}");
        }
    }

    #[test]
    fn the_page_of_the_configuration_has_every_key_as_it_is() {
        let page = include_str!("../../../docs/configuration.md");
        let config = Config::load(&Sources::default(), &Surroundings::systemd()).unwrap();
        let mut keys = BTreeSet::new();
        flatten(&values(&config), "", &mut keys);
        for (key, value) in &keys {
            let default = match value.trim_matches('"') {
                "null" => "-".to_owned(),
                value => format!("`{value}`"),
            };
            let number = NUMBERS.iter().find(|number| number.key == key);
            let range = number.map_or(String::new(), |number| format!("{} to {}", number.min, number.max));
            let reload = if LIVE.contains(&key.as_str()) { "yes" } else { "" };
            let row = page.lines().find(|line| line.starts_with(&format!("| `{key}` | {default} | {range}")));
            let row = row.unwrap_or_else(|| panic!("docs/configuration.md: | `{key}` | {default} | {range}"));
            assert_eq!(row.split(" | ").nth(3).map(str::trim), Some(reload), "{row}");
        }
        assert_eq!(page.lines().filter(|line| line.starts_with("| `")).count(), keys.len(), "and no other");
    }

    #[test]
    fn p13_what_needs_a_restart_is_named_and_the_rest_is_not() {
        let old = with(&[]);
        let check = |settings: &[(&str, &str)], expected: &[&str]| {
            assert_eq!(old.restart_keys(&with(settings)), expected, "{settings:?}");
        };
        check(&[], &[]);
        check(&[("LOG__LEVEL", "debug"), ("RUN__ATTEMPTS", "5"), ("PACKAGES__DIR", "/etc/p")], &[]);
        check(&[("LANE__LEASE_S", "40")], &["lane.lease_s"]);
        check(&[("SSH__AGENT", "/run/agent"), ("LOG__LEVEL", "debug")], &["ssh.agent"]);
        check(&[("ACCESS__ADMINS", "unix:1000")], &[]);
        let tcp =
            [("LISTEN__TCP", "127.0.0.1:7443"), ("LISTEN__TLS__CERT", "/c"), ("LISTEN__TLS__KEY", "/k")];
        let pages = with(&[&tcp[..], &[("LISTEN__WEB__ORIGINS", "https://a.example")]].concat());
        assert_eq!(with(&tcp).restart_keys(&pages), [""; 0]);
        // What follows from the data directory goes with it.
        check(&[("DATA_DIR", "/srv")], &["data_dir", "database.url", "listen.unix"]);
    }
}
