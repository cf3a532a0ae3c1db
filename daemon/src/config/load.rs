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
    let Config { data_dir, listen, packages, ssh, secrets, webhook, smtp, traces, .. } = config;
    let Tls { cert, key, client_ca } = &mut listen.tls;
    let optional = [
        &mut packages.dir,
        &mut ssh.agent,
        &mut secrets.key_file,
        &mut webhook.ca_file,
        &mut smtp.password_file,
        &mut smtp.ca_file,
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
            key @ ("listen.tcp" | "listen.metrics") => {
                format!(
                    "{key}{from} is no address with a port: write IP:PORT, for instance 127.0.0.1:7443 or [::1]:7443"
                )
            }
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
mod tests;
