use super::super::{Sources, Surroundings};
use super::*;

/// One misaligned configuration per rule, in the order of [`RULES`]. Each breaks that rule and only that one.
const MISALIGNED: &[&[(&str, &str)]] = &[
    &[("lane.renew_s", "15")],
    &[("ssh.connect_timeout_s", "16")],
    &[("ssh.keepalive_s", "40")],
    &[("lane.lease_s", "60")],
    &[("lane.unreachable_retry_s", "110")],
    &[("run.backoff_s", "200"), ("run.queue_limit_s", "400")],
    &[("run.drain", "finish"), ("run.drain_grace_s", "3600"), ("run.queue_limit_s", "3600")],
    &[("run.attempts", "1"), ("run.queue_limit_s", "30")],
    &[("run.attempts", "1"), ("lane.unreachable_retry_s", "40"), ("run.queue_limit_s", "40")],
    &[("run.attempts", "1"), ("lane.busy_retry_s", "40"), ("run.queue_limit_s", "40")],
    &[("stale.running_s", "89")],
    &[("stale.queued_s", "299")],
    &[("run.queue_limit_s", "2592000"), ("retention.requests_days", "29")],
    &[("retention.runs_days", "29")],
    &[("limits.first_request_s", "4")],
    &[("limits.idle_s", "9")],
    &[("limits.connections_max", "192")],
    &[("limits.network_connections_max", "64")],
    &[("limits.body_bytes_max", "16777216")],
    &[("limits.requests_burst", "4999")],
];

fn with(settings: &[(&str, &str)]) -> Result<Config, String> {
    let env = settings
        .iter()
        .map(|(key, value)| {
            (format!("SETTLED_{}", key.to_uppercase().replace('.', "__")), (*value).to_owned())
        })
        .collect();
    let sources = Sources { env, ..Sources::default() };
    Config::load(&sources, &Surroundings::bare("/home/ann")).map_err(|faults| faults.to_string())
}

#[test]
fn p13_every_cross_rule_refuses_and_names_both_keys_and_a_value_that_works() {
    assert_eq!(MISALIGNED.len(), RULES.len(), "each rule needs its own misaligned configuration");
    for (rule, settings) in RULES.iter().zip(MISALIGNED) {
        let message = with(settings).unwrap_err();
        assert_eq!(message.lines().count(), 1, "only one rule is to break: {message}");
        assert!(message.contains(rule.why), "another rule broke than {}: {message}", rule.why);
        for key in [&[rule.raise], rule.because_of].concat() {
            assert!(message.contains(key), "{key} is missing in: {message}");
        }

        let advice = format!("Set {} to ", rule.raise);
        let safe = message.split(&advice).nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        let mended: Vec<_> = settings
            .iter()
            .filter(|(key, _)| *key != rule.raise)
            .copied()
            .chain([(rule.raise, safe)])
            .collect();
        let after = with(&mended).err().unwrap_or_default();
        assert!(!after.contains(rule.why), "the advice does not help: {after}");

        let below = (safe.parse::<u64>().unwrap() - 1).to_string();
        let nearly: Vec<_> = mended
            .iter()
            .map(|&(key, value)| (key, if key == rule.raise { &below } else { value }))
            .collect();
        assert!(with(&nearly).is_err(), "{safe} is not the smallest safe value of {}", rule.raise);
    }
}

#[test]
fn p13_the_margin_bears_all_of_a_takeover_and_the_defaults_do() {
    assert!(with(&[]).is_ok());
    // 43 + 5 + 2 * 6 + 60.
    let lease = |seconds| with(&[("lane.poll_s", "6"), ("lane.lease_s", seconds)]);
    assert!(lease("43").is_ok());
    assert!(lease("44").unwrap_err().contains("run.settle_margin_s to 121 or more"));
}

#[test]
fn p13_every_key_of_a_rule_is_a_number_of_the_configuration() {
    for key in RULES.iter().flat_map(|rule| [&[rule.raise], rule.because_of].concat()) {
        assert!(NUMBERS.iter().any(|number| number.key == key), "{key}");
    }
}

#[test]
fn p13_every_number_is_refused_outside_its_range_by_name() {
    for number in NUMBERS {
        for value in number.min.checked_sub(1).into_iter().chain([number.max + 1]) {
            let message = with(&[(number.key, &value.to_string())]).unwrap_err();
            assert!(message.contains(number.key), "{}: {message}", number.key);
            assert!(message.contains(&format!("{} to {}", number.min, number.max)), "{message}");
        }
    }
}

#[test]
fn a_store_that_nobody_knows_and_a_socket_path_that_is_too_long_are_refused() {
    let message = with(&[("database.url", "mysql://root:hunter2@db/x")]).unwrap_err();
    assert!(message.contains("database.url") && message.contains("sqlite://"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");

    let message = with(&[("listen.unix", &format!("/{}", "x".repeat(107)))]).unwrap_err();
    assert!(message.contains("listen.unix") && message.contains("107"), "{message}");
}

#[test]
fn metrics_are_served_on_loopback_only() {
    for good in ["127.0.0.1:9464", "127.3.4.5:1", "[::1]:9464"] {
        assert!(with(&[("listen.metrics", good)]).is_ok(), "{good}");
    }
    for bad in ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464", "9464", "localhost:9464"] {
        let message = with(&[("listen.metrics", bad)]).unwrap_err();
        assert!(message.contains("listen.metrics"), "{message}");
    }
    let message = with(&[("listen.tcp", "localhost:21443")]).unwrap_err();
    assert!(message.starts_with("listen.tcp (SETTLED_LISTEN__TCP) is no address"), "{message}");
    assert!(message.contains("IP:PORT, for instance 127.0.0.1:7443"), "{message}");
}

#[test]
fn p14_nobody_in_particular_is_no_admin() {
    let set = |key, who| with(&[(key, who)]);
    assert!(set("access.admins", "unix:1000, unix-group:65533").is_ok());
    for (key, who) in [
        ("access.admins", "unix:1000, unix:65534"),
        ("access.operators", "unix-group:65534"),
        ("access.viewers", "unix-group:65534, unix:65534"),
    ] {
        let message = set(key, who).unwrap_err();
        assert!(message.contains(&format!("{key} names 65534")), "{message}");
    }
}

#[test]
fn p13_an_endpoint_of_traces_that_is_none_is_refused_by_name() {
    for good in ["http://127.0.0.1:4318/v1/traces", "https://collector.example.org"] {
        assert!(with(&[("traces.endpoint", good)]).is_ok(), "{good}");
    }
    for bad in
        ["collector:4318", "grpc://collector", "http://", "https://ann:secret@collector/", "http://a b/"]
    {
        let message = with(&[("traces.endpoint", bad)]).unwrap_err();
        assert!(
            message.contains("traces.endpoint is no URL") && !message.contains("secret"),
            "{bad}: {message}"
        );
    }
}

#[test]
fn an_empty_text_is_refused_by_name() {
    for key in [
        "data_dir",
        "listen.unix",
        "listen.unix_group",
        "packages.dir",
        "ssh.agent",
        "secrets.key_file",
        "webhook.ca_file",
        "smtp.ca_file",
        "traces.endpoint",
        "traces.ca_file",
        "log.level",
    ] {
        let message = with(&[(key, "")]).unwrap_err();
        assert!(message.contains(key), "{key}: {message}");
    }
}
