use std::io::Write;

use super::super::{Grantee, ScopedRole};
use super::*;

fn env(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn from_env(settings: &[(&str, &str)]) -> Result<Config, Faults> {
    load(&Sources { env: env(settings), ..Sources::default() }, &Surroundings::bare("/home/ann"))
}

fn from_file(text: &str) -> (String, Result<Config, Faults>) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
    (file.path().display().to_string(), load(&sources, &Surroundings::bare("/home/ann")))
}

fn refused(text: &str) -> String {
    let (path, result) = from_file(text);
    result.unwrap_err().to_string().replace(&path, "FILE")
}

#[test]
fn without_any_word_a_user_gets_a_store_below_the_working_directory() {
    let config = load(&Sources::default(), &Surroundings::bare("/home/ann")).unwrap();
    assert_eq!(config.data_dir, Path::new("/home/ann/.settled"));
    assert_eq!(config.database.url, "sqlite:///home/ann/.settled/settled.db");
    assert_eq!(config.listen.unix, Path::new("/home/ann/.settled/settled.sock"));
    assert_eq!(config.run.queue_limit_s, 86_400);
}

#[test]
fn under_systemd_the_unit_directories_are_the_defaults() {
    let config = load(&Sources::default(), &Surroundings::systemd()).unwrap();
    assert_eq!(config.data_dir, Path::new("/var/lib/settled"));
    assert_eq!(config.database.url, "sqlite:///var/lib/settled/settled.db");
    assert_eq!(config.listen.unix, Path::new("/run/settled/settled.sock"));
}

#[test]
fn later_layers_win_and_what_follows_from_the_data_directory_moves_with_it() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"data_dir = '/file'\n[lane]\nlease_s = 31\nqueue_max = 31\npoll_s = 2\n").unwrap();
    let sources = Sources {
        file: Some(file.path().to_owned()),
        env: env(&[
            ("SETTLED_LANE__LEASE_S", "32"),
            ("SETTLED_LANE__QUEUE_MAX", "32"),
            ("SETTLED_DATA_DIR", "/env"),
        ]),
        flags: vec![Flag { name: "--data-dir", key: "data_dir", value: "flag".to_owned() }],
    };
    let config = load(&sources, &Surroundings::bare("/home/ann")).unwrap();
    assert_eq!((config.lane.poll_s, config.lane.lease_s, config.lane.queue_max), (2, 32, 32));
    assert_eq!(config.data_dir, Path::new("/home/ann/flag"));
    assert_eq!(config.database.url, "sqlite:///home/ann/flag/settled.db");
}

#[test]
fn a_text_from_the_environment_stays_the_text_it_is() {
    let config = from_env(&[
        ("SETTLED_LISTEN__UNIX_GROUP", "007"),
        ("SETTLED_ACCESS__VIEWERS", "unix:1000, unix-group:33"),
        ("SETTLED_LANE__POLL_S", " 2 "),
    ])
    .unwrap();
    assert_eq!(config.listen.unix_group.as_deref(), Some("007"));
    assert_eq!(config.access.viewers, [Grantee::User(1000), Grantee::Group(33)]);
    assert_eq!(config.lane.poll_s, 2);
}

#[test]
fn p14_a_role_on_some_servers_is_read_with_them_and_refused_by_name_when_it_cannot_be_meant() {
    let scoped = |who: &str, role: &str, servers: &str| {
        from_file(&format!("[[access.scoped]]\nwho = {who:?}\nrole = {role:?}\nservers = {servers}\n")).1
    };
    let config = scoped("unix-group:33", "operator", "['label:env=prod', 'server:web1']").unwrap();
    let [given] = &config.access.scoped[..] else { panic!("{:?}", config.access) };
    assert_eq!((&given.who, given.role), (&Grantee::Group(33), ScopedRole::Operator));
    let servers: Vec<_> = given.servers.iter().map(|picked| picked.0.to_string()).collect();
    assert_eq!(servers, ["label:env=prod", "server:web1"]);
    for (who, role, servers, says) in [
        ("ann", "viewer", "['server:web1']", "unix:1000 (a user"),
        ("unix:1", "admin", "['server:web1']", "viewer, operator"),
        ("unix:1", "viewer", "['web1']", "server:NAME"),
        ("unix:1", "viewer", "['server:Web 1']", "must name a server"),
        ("unix:1", "viewer", "['label:=x']", "must have a key"),
        ("unix:1", "viewer", "[]", "on 0 servers: name 1 to"),
        ("unix:65534", "viewer", "['server:web1']", "names 65534"),
    ] {
        let message = scoped(who, role, servers).unwrap_err().to_string();
        assert!(message.contains("access.scoped") && message.contains(says), "{says}: {message}");
    }
}

#[test]
fn p13_a_fault_names_the_key_as_it_was_written() {
    let check = |settings: &[(&str, &str)], parts: &[&str]| {
        let message = from_env(settings).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{part:?} is missing in: {message}");
        }
    };
    check(&[("SETTLED_LANE__POLL_S", "soon")], &["lane.poll_s", "SETTLED_LANE__POLL_S", "whole number"]);
    check(&[("SETTLED_LANE__POLL_S", "-1")], &["lane.poll_s", "SETTLED_LANE__POLL_S"]);
    check(&[("SETTLED_LANE__POL_S", "1")], &["lane.pol_s", "SETTLED_LANE__POL_S", "poll_s", "busy_retry_s"]);
    check(&[("SETTLED_LAN", "1")], &["lan (SETTLED_LAN)", "lane"]);
    check(&[("SETTLED_LOG__FORMAT", "xml")], &["log.format", "SETTLED_LOG__FORMAT", "text, json, journald"]);
    for who in ["ann", "1000", "unix:ann", "unix:-1", "unix-group:", "user:1000"] {
        check(&[("SETTLED_ACCESS__ADMINS", who)], &["access.admins", "SETTLED_ACCESS__ADMINS", "unix:1000"]);
    }
    check(
        &[("SETTLED_LANE__RENEW_S", "20")],
        &["lane.renew_s: SETTLED_LANE__RENEW_S", "lane.lease_s: the default"],
    );
}

#[test]
fn p13_a_fault_in_the_file_names_key_and_file() {
    assert!(refused("[ssh]\nkeepalive = 3\n").starts_with("ssh.keepalive (FILE) is no setting of settled"));
    assert!(refused("data_dir = 3\n").starts_with("data_dir (FILE) is the number 3, but must be a text"));
    assert!(
        refused("[run]\nattempts = -1\n")
            .starts_with("run.attempts (FILE) is the number -1, but must be a whole")
    );
    assert!(refused("lane = 3\n").contains("lane (FILE) is the number 3, but must be a section"));
    assert!(refused("[lane]\nlease_s = 15\n").contains("lane.lease_s: FILE; lane.renew_s: the default"));
}

#[test]
fn p13_tcp_without_a_certificate_is_refused_with_the_reason() {
    for message in [
        refused("[listen]\ntcp = '0.0.0.0:7443'\n"),
        from_env(&[("SETTLED_LISTEN__TCP", "0.0.0.0:7443")]).unwrap_err().to_string(),
    ] {
        assert!(message.contains("listen.tcp = 0.0.0.0:7443 needs listen.tls.cert"), "{message}");
    }
    assert!(refused("[listen]\ntcp_health = true\n").contains("would do nothing"));
    let env = [("SETTLED_LISTEN__TCP_HEALTH", "true")];
    assert!(from_env(&env).unwrap_err().to_string().contains("would do nothing"), "read as what it is");
}

#[test]
fn a_file_that_is_missing_or_broken_is_one_sentence() {
    let sources = Sources { file: Some(PathBuf::from("/nowhere/settled.toml")), ..Sources::default() };
    let message = load(&sources, &Surroundings::bare("/home/ann")).unwrap_err().to_string();
    assert!(message.contains("/nowhere/settled.toml"), "{message}");

    let message = refused("[database]\nurl = 'postgres://settled:hunter2@db\n");
    assert!(message.contains("FILE") && message.contains("line 2"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn p12_no_fault_repeats_a_text_that_may_hold_a_password() {
    let url = "postgres://settled:hunter2@db";
    for message in [
        refused(&format!("[database]\nurl = '{url}\n")),
        refused(&format!("database = '{url}'\n")),
        refused(&format!("[lane]\npoll_s = '{url}'\n")),
        from_env(&[("SETTLED_DATABASE", url)]).unwrap_err().to_string(),
        from_env(&[("SETTLED_LOG__FORMAT", url)]).unwrap_err().to_string(),
    ] {
        assert!(!message.contains("hunter2"), "{message}");
    }
}
