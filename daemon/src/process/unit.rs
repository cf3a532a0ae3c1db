//! The systemd unit, with timings and paths that match the configuration.
//!
//! `systemd/settled.service` is what this prints for the default configuration; a test holds them together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Config, Drain, SYSTEM_DATA_DIR, SYSTEM_RUNTIME_DIR};

const TEMPLATE: &str = include_str!("unit.service.in");
/// What the daemon needs to stop when nothing is wrong and nothing is to be finished is 2 s; the rest is for a disk that is slow.
const STOP_S: u64 = 20;
/// The shortest watchdog interval worth having: below it a busy disk looks like a hung daemon.
const WATCHDOG_MIN: Duration = Duration::from_secs(30);
/// What the unit hides from the daemon.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// The unit's text for a configuration that was read from `file`, if any.
///
/// # Errors
/// One sentence, when a path of the configuration lies where the unit's own hardening hides it.
pub fn render(config: &Config, file: Option<&Path>) -> Result<String, String> {
    let paths = [
        Some(&config.data_dir),
        Some(&config.listen.unix),
        config.packages.dir.as_ref(),
        config.secrets.key_file.as_ref(),
        config.webhook.ca_file.as_ref(),
        config.listen.tls.cert.as_ref(),
        config.listen.tls.key.as_ref(),
        config.listen.tls.client_ca.as_ref(),
    ];
    for path in paths.into_iter().flatten().map(PathBuf::as_path).chain(file) {
        refuse_hidden(path)?;
    }
    let watchdog = config.watchdog_interval_min().max(WATCHDOG_MIN);
    Ok(TEMPLATE
        .replace("@CONFIG@", &file.map(|path| format!(" --config {}", quoted(path))).unwrap_or_default())
        .replace("@WATCHDOG_S@", &watchdog.as_secs().to_string())
        .replace("@STOP_S@", &stop_s(config).to_string())
        .replace("@WRITABLE@", &writable(config)))
}

/// How long a stop may take, in seconds: what the runs at work may take goes before, if they are to be finished.
fn stop_s(config: &Config) -> u64 {
    let drain = match config.run.drain {
        Drain::Detach => 0,
        Drain::Finish => config.run.drain_grace_s,
    };
    drain + STOP_S + config.ssh.connect_timeout_s
}

fn refuse_hidden(path: &Path) -> Result<(), String> {
    match HIDDEN.iter().find(|hidden| path.starts_with(hidden)) {
        None => Ok(()),
        Some(hidden) => Err(format!(
            "{} cannot be used under systemd: the unit hides {hidden} from the daemon. \
             Move it, for instance below /etc/settled or {SYSTEM_DATA_DIR}",
            path.display()
        )),
    }
}

/// What the daemon writes besides its own state and runtime directory.
fn writable(config: &Config) -> String {
    let socket_dir = config.listen.unix.parent().unwrap_or(&config.listen.unix);
    let elsewhere =
        |path: &Path| ![SYSTEM_DATA_DIR, SYSTEM_RUNTIME_DIR].iter().any(|own| path.starts_with(own));
    let mut paths = vec![config.data_dir.as_path(), socket_dir];
    paths.dedup();
    paths.retain(|path| elsewhere(path));
    paths.iter().fold(String::new(), |lines, path| lines + "ReadWritePaths=" + &quoted(path) + "\n")
}

/// A path as a unit file wants it: specifiers and quotes escaped.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%");
    if text.contains([' ', '"', '\'', '\\', '$']) {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "$$"))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, Surroundings};

    fn config(env: &[(&str, &str)]) -> Config {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::load(&Sources { env, ..Sources::default() }, &Surroundings::systemd()).unwrap()
    }

    #[test]
    fn the_unit_of_the_repository_is_the_one_for_the_defaults() {
        let shipped = include_str!("../../../systemd/settled.service");
        let printed = render(&config(&[]), None).unwrap();
        assert_eq!(printed, shipped, "run: settled unit > systemd/settled.service");
    }

    #[test]
    fn p13_the_timings_of_the_unit_follow_the_configuration() {
        let config = config(&[
            ("SETTLED_LANE__POLL_S", "10"),
            ("SETTLED_SSH__CONNECT_TIMEOUT_S", "15"),
            ("SETTLED_DATA_DIR", "/srv/settled data"),
        ]);
        let unit = render(&config, Some(Path::new("/etc/settled/settled.toml"))).unwrap();
        for line in [
            "WatchdogSec=40",
            "TimeoutStopSec=35",
            "ReadWritePaths=\"/srv/settled data\"",
            "ExecStart=/usr/bin/settled --config /etc/settled/settled.toml",
        ] {
            assert!(unit.lines().any(|l| l == line), "{line} is missing in:\n{unit}");
        }
        assert!(!unit.contains('@') || unit.contains("SystemCallFilter=@"), "{unit}");
        config.check_watchdog(Duration::from_secs(40)).unwrap();
    }

    #[test]
    fn p13_a_stop_that_finishes_has_the_time_for_it() {
        let stop = |drain: &str| {
            let config = config(&[("SETTLED_RUN__DRAIN", drain), ("SETTLED_RUN__DRAIN_GRACE_S", "600")]);
            let unit = render(&config, None).unwrap();
            let line = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
            line.parse::<u64>().unwrap()
        };
        assert_eq!((stop("detach"), stop("finish")), (30, 630));
    }

    #[test]
    fn a_path_that_the_unit_would_hide_is_refused() {
        let message = render(&config(&[("SETTLED_PACKAGES__DIR", "/home/ann/packages")]), None).unwrap_err();
        assert!(message.contains("/home/ann/packages"), "{message}");
    }
}
