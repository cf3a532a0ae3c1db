//! Gathers the layers defaults < file < environment < flags, and says what is wrong with them in the operator's words.
//!
//! Reads the process's surroundings only in [`Sources::from_process`] and [`Surroundings::from_process`], so that a test
//! can bring its own.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use figment::error::{Actual, Kind};
use figment::providers::{Format, Serialized};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::de::DeserializeOwned;

use super::{Config, SYSTEM_DATA_DIR, SYSTEM_RUNTIME_DIR, Tls, rules};

/// Variables that begin so are configuration; two underscores part the levels: `SETTLED_LANE__RENEW_S`.
const ENV_PREFIX: &str = "SETTLED_";
/// The name under which systemd hands over the sealing key (`LoadCredential=settled.key`).
const CREDENTIAL: &str = "settled.key";

/// What the operator said, in the order in which later ones win.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file; it must exist.
    pub file: Option<PathBuf>,
    /// Environment variables, with their prefix.
    pub env: Vec<(String, String)>,
    /// Flags of the command line.
    pub flags: Vec<Flag>,
}

/// One flag that sets a key.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As it is written, `--data-dir`.
    pub name: &'static str,
    /// The key that it sets, `data_dir`.
    pub key: &'static str,
    /// The text that was given.
    pub value: String,
}

/// What the process finds around itself: it decides the defaults.
#[derive(Clone, Debug)]
pub struct Surroundings {
    working_dir: PathBuf,
    state_dir: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    sealing_key: Option<PathBuf>,
}

/// Everything that is wrong with a configuration, one sentence per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<String>);

impl Faults {
    pub(super) fn one(sentence: String) -> Self {
        Self(vec![sentence])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Faults {}

impl Sources {
    /// The file and flags given, and the process's own environment.
    ///
    /// # Errors
    /// A variable of ours is not UTF-8.
    pub fn from_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Result<Self, Faults> {
        let env = std::env::vars_os()
            .filter_map(|(name, value)| variable(name, value))
            .collect::<Result<_, _>>()?;
        Ok(Self { file, env, flags })
    }
}

/// The variable, if it is one of ours.
fn variable(name: OsString, value: OsString) -> Option<Result<(String, String), Faults>> {
    let name = name.into_string().ok().filter(|name| name.starts_with(ENV_PREFIX))?;
    Some(match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => {
            Err(Faults::one(format!("{name} is not UTF-8: write its value anew, or set the key in the file")))
        }
    })
}

impl Surroundings {
    /// What systemd or a shell gave this process.
    ///
    /// # Errors
    /// There is no working directory, or the credentials that systemd announced cannot be read.
    pub fn from_process() -> std::io::Result<Self> {
        let directory = |name| std::env::var_os(name).as_deref().and_then(first_of_list);
        let sealing_key = match directory("CREDENTIALS_DIRECTORY").map(|dir| dir.join(CREDENTIAL)) {
            Some(key) if key.try_exists()? => Some(key),
            _ => None,
        };
        Ok(Self {
            working_dir: std::env::current_dir()?,
            state_dir: directory("STATE_DIRECTORY"),
            runtime_dir: directory("RUNTIME_DIRECTORY"),
            sealing_key,
        })
    }

    /// A shell in `working_dir`, nothing else.
    pub fn bare(working_dir: impl Into<PathBuf>) -> Self {
        Self { working_dir: working_dir.into(), state_dir: None, runtime_dir: None, sealing_key: None }
    }

    /// What our own unit gives the daemon.
    pub fn systemd() -> Self {
        Self {
            working_dir: PathBuf::from("/"),
            state_dir: Some(PathBuf::from(SYSTEM_DATA_DIR)),
            runtime_dir: Some(PathBuf::from(SYSTEM_RUNTIME_DIR)),
            sealing_key: None,
        }
    }

    pub(super) fn socket(&self, data_dir: &Path) -> PathBuf {
        self.runtime_dir.as_deref().unwrap_or(data_dir).join("settled.sock")
    }

    pub(super) fn sealing_key(&self) -> Option<PathBuf> {
        self.sealing_key.clone()
    }

    fn data_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| self.working_dir.join(".settled"))
    }

    /// The path as seen from the working directory; an empty one stays empty, for the rules to find.
    fn absolute(&self, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() {
            path.to_owned()
        } else {
            self.working_dir.join(path).components().collect()
        }
    }
}

/// systemd joins several directories with colons; ours is the first.
fn first_of_list(list: &std::ffi::OsStr) -> Option<PathBuf> {
    std::env::split_paths(list).next().filter(|path| !path.as_os_str().is_empty())
}

pub(super) fn load(sources: &Sources, surroundings: &Surroundings) -> Result<Config, Faults> {
    let said = said(sources, &Config::defaults(Path::new("/"), surroundings))?;
    let data_dir = match said.extract_inner::<PathBuf>("data_dir") {
        Ok(path) => surroundings.absolute(&path),
        Err(error) if error.missing() => surroundings.data_dir(),
        Err(error) => return Err(translate(error)),
    };
    let all = Figment::from(Serialized::defaults(Config::defaults(&data_dir, surroundings))).merge(&said);
    let mut config: Config = all.extract().map_err(translate)?;
    make_absolute(&mut config, surroundings);

    let faults: Vec<_> =
        rules::faults(&config).into_iter().map(|fault| with_origins(&fault, &said)).collect();
    if faults.is_empty() { Ok(config) } else { Err(Faults(faults)) }
}

/// TOML as package files are read, too: figment's own needs a second, older parser.
struct Toml;

impl Format for Toml {
    type Error = toml::de::Error;
    const NAME: &'static str = "TOML";

    fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, toml::de::Error> {
        toml::from_str(text)
    }
}

/// The operator's layers alone.
fn said(sources: &Sources, defaults: &Config) -> Result<Figment, Faults> {
    let defaults = Value::serialize(defaults).map_err(translate)?;
    let mut said = Figment::new();
    if let Some(file) = &sources.file {
        said = said.merge(Toml::file_exact(file));
    }
    for (name, text) in &sources.env {
        let key = name.trim_start_matches(ENV_PREFIX).to_lowercase().replace("__", ".");
        said = said.merge(Setting::new(name.clone(), key, text, &defaults));
    }
    for flag in &sources.flags {
        said = said.merge(Setting::new(flag.name.to_owned(), flag.key.to_owned(), &flag.value, &defaults));
    }
    Ok(said)
}

/// One key with its value and the name under which the operator knows it.
struct Setting {
    name: String,
    key: String,
    value: Value,
}

impl Setting {
    /// The default's type decides how the text is read: a number or a list where the key holds one, else the text as
    /// it stands. So a password of digits stays a text.
    fn new(name: String, key: String, text: &str, defaults: &Value) -> Self {
        let value = match defaults.find_ref(&key) {
            Some(Value::Num(..)) => {
                text.trim().parse::<u64>().map_or_else(|_| Value::from(text), Value::from)
            }
            Some(Value::Array(..)) => list(text),
            Some(Value::Bool(..)) => {
                text.trim().parse::<bool>().map_or_else(|_| Value::from(text), Value::from)
            }
            _ => Value::from(text),
        };
        Self { name, key, value }
    }
}

/// `1000, 1001` or `[1000, 1001]`.
fn list(text: &str) -> Value {
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let items = inner.split(',').map(str::trim).filter(|item| !item.is_empty());
    Value::from(
        items
            .map(|item| item.parse::<u64>().map_or_else(|_| Value::from(item), Value::from))
            .collect::<Vec<_>>(),
    )
}

impl Provider for Setting {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let nested = figment::util::nest(&self.key, self.value.clone());
        Ok(nested.into_dict().map(|dict| Map::from([(Profile::Default, dict)])).unwrap_or_default())
    }
}

fn make_absolute(config: &mut Config, surroundings: &Surroundings) {
    let Config { data_dir, listen, packages, ssh, secrets, webhook, traces, .. } = config;
    let Tls { cert, key, client_ca } = &mut listen.tls;
    let optional = [
        &mut packages.dir,
        &mut ssh.agent,
        &mut secrets.key_file,
        &mut webhook.ca_file,
        &mut traces.ca_file,
        cert,
        key,
        client_ca,
    ];
    let optional = optional.into_iter().flatten();
    for path in [data_dir, &mut listen.unix].into_iter().chain(optional) {
        *path = surroundings.absolute(path);
    }
}

/// The fault, followed by where each of its values comes from, if any was said.
fn with_origins(fault: &rules::Fault, said: &Figment) -> String {
    let origin = |key: &str| said.find_metadata(key).map_or_else(|| "the default".to_owned(), place);
    let origins: Vec<_> = fault.keys.iter().map(|key| format!("{key}: {}", origin(key))).collect();
    format!("{} ({})", fault.text, origins.join("; "))
}

/// The name of a variable or flag, or the path of the file.
fn place(metadata: &Metadata) -> String {
    let file = metadata.source.as_ref().and_then(figment::Source::file_path);
    file.map_or_else(|| metadata.name.to_string(), |path| path.display().to_string())
}

fn translate(error: figment::Error) -> Faults {
    Faults(error.into_iter().map(|error| sentence(&error)).collect())
}

/// One sentence. It never repeats a text that was given, since that may be a password in the wrong place.
fn sentence(error: &figment::Error) -> String {
    let key = error.path.join(".");
    let from = error.metadata.as_ref().map_or_else(String::new, |metadata| format!(" ({})", place(metadata)));
    match &error.kind {
        Kind::UnknownField(field, known) => unknown(field, &key, known, &from),
        Kind::InvalidType(found, wanted) | Kind::InvalidValue(found, wanted) => {
            format!("{key}{from} is {}, but must be {}", kind(found), wanted_in_words(wanted))
        }
        Kind::UnknownVariant(_, known) => format!("{key}{from} must be one of: {}", known.join(", ")),
        Kind::Message(message) => match key.as_str() {
            "" => format!("The configuration cannot be read{from}: {}", without_excerpt(message)),
            key => format!("{key}{from}: {}", without_excerpt(message)),
        },
        other => format!("{key}{from}: {other}"),
    }
}

fn unknown(field: &str, path: &str, known: &[&str], from: &str) -> String {
    let section = path.strip_suffix(field).unwrap_or(path).trim_end_matches('.');
    let key = if section.is_empty() { field.to_owned() } else { format!("{section}.{field}") };
    let place = if section.is_empty() { "At the top level".to_owned() } else { format!("In [{section}]") };
    format!(
        "{key}{from} is no setting of settled: mend its name or remove it. {place} there are: {}",
        known.join(", ")
    )
}

fn kind(found: &Actual) -> String {
    match found {
        Actual::Str(_) | Actual::Char(_) => "a text".to_owned(),
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(value) => format!("the number {value}"),
        Actual::Signed(value) => format!("the number {value}"),
        Actual::Float(value) => format!("the number {value}"),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a section".to_owned(),
        _ => "something else".to_owned(),
    }
}

fn wanted_in_words(wanted: &str) -> String {
    match wanted {
        "u64" | "u32" => "a whole number, not below zero".to_owned(),
        "a string" | "path string" => "a text".to_owned(),
        "a sequence" => "a list".to_owned(),
        section if section.starts_with("struct ") => "a section with keys of its own".to_owned(),
        other => other.to_owned(),
    }
}

/// The TOML parser quotes the line, which may hold a password: only its first and its last line are kept.
fn without_excerpt(message: &str) -> String {
    let lines: Vec<_> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.as_slice() {
        [first, .., last] => format!("{first}: {last}"),
        _ => lines.concat(),
    }
}

#[cfg(test)]
mod tests {
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
        check(
            &[("SETTLED_LANE__POL_S", "1")],
            &["lane.pol_s", "SETTLED_LANE__POL_S", "poll_s", "busy_retry_s"],
        );
        check(&[("SETTLED_LAN", "1")], &["lan (SETTLED_LAN)", "lane"]);
        check(
            &[("SETTLED_LOG__FORMAT", "xml")],
            &["log.format", "SETTLED_LOG__FORMAT", "text, json, journald"],
        );
        for who in ["ann", "1000", "unix:ann", "unix:-1", "unix-group:", "user:1000"] {
            check(
                &[("SETTLED_ACCESS__ADMINS", who)],
                &["access.admins", "SETTLED_ACCESS__ADMINS", "unix:1000"],
            );
        }
        check(
            &[("SETTLED_LANE__RENEW_S", "20")],
            &["lane.renew_s: SETTLED_LANE__RENEW_S", "lane.lease_s: the default"],
        );
    }

    #[test]
    fn p13_a_fault_in_the_file_names_key_and_file() {
        assert!(
            refused("[ssh]\nkeepalive = 3\n").starts_with("ssh.keepalive (FILE) is no setting of settled")
        );
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
}
