//! Reads the values on the command line that have a form of their own: pure, except for `@file` and stdin.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use std::time::Duration;

use settled_proto::v1::Position;

use super::{GivenArgs, ValueArgs};
use crate::errors::Error;

/// Largest value of a parameter, in bytes (the daemon's limit).
const VALUE_BYTES_MAX: u64 = 64 * 1024;
/// Largest private key, in bytes (the daemon's limit).
const IDENTITY_BYTES_MAX: u64 = 16 * 1024;

/// A host and perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// Name or address, an IPv6 address without its brackets.
    pub(crate) host: String,
    /// The port, when one was given.
    pub(crate) port: Option<u16>,
}

/// `HOST`, `HOST:PORT`, `[IPV6]`, `[IPV6]:PORT`.
pub(crate) fn host_port(text: &str) -> Result<HostPort, String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("the bracket is never closed")?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| format!("'{host}' is not an IPv6 address"))?;
            match rest {
                "" => (host, None),
                _ => (host, Some(rest.strip_prefix(':').ok_or("after ']' only :PORT may follow")?)),
            }
        }
        None => match text.split_once(':') {
            Some((_, rest)) if rest.contains(':') => {
                return Err("an IPv6 address stands in brackets, for instance [2001:db8::7]:22".into());
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err("the host is missing".into());
    }
    let port = match port {
        None => None,
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => {
                return Err(format!(
                    "write HOST or HOST:PORT, the port a number from 1 to 65535; '{digits}' is none"
                ));
            }
        },
    };
    Ok(HostPort { host: host.to_owned(), port })
}

/// The number of an audit entry.
pub(crate) fn audit_number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "it is the number of an audit entry, as 'settlectl audit list' shows it".into())
}

/// `SHA256:` and 43 characters of base64.
pub(crate) fn host_key(text: &str) -> Result<String, String> {
    let base64 = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    match text.strip_prefix("SHA256:") {
        Some(hash) if hash.len() == 43 && hash.chars().all(base64) => Ok(text.to_owned()),
        _ => {
            Err("a fingerprint is 'SHA256:' and 43 characters, as 'ssh-keygen -lf FILE.pub' prints it".into())
        }
    }
}

/// `KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".into()),
    }
}

/// The text of a parameter: as it stands, or `@FILE`, or `@@TEXT` for a text that begins with `@`.
fn text(value: &str) -> Result<String, String> {
    match value.strip_prefix('@') {
        None => Ok(value.to_owned()),
        Some(text) if text.starts_with('@') => Ok(text.to_owned()),
        Some(file) => {
            let bytes = read_file(Path::new(file), VALUE_BYTES_MAX)
                .map_err(|why| format!("{why}; if the value is the text '@{file}', write '@@{file}'"))?;
            String::from_utf8(bytes).map_err(|_| format!("{file} is not text (UTF-8)"))
        }
    }
}

/// `90`, `90s`, `15m`, `12h`, `2d`: at least a second, and it fits 32 bits of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        unit => return Err(format!("'{unit}' is no unit: write s, m, h or d, for instance 30m")),
    };
    let number: u32 = digits.parse().map_err(|_| format!("'{text}' is no time: write for instance 30m"))?;
    match number.checked_mul(factor) {
        Some(0) => Err("it must be at least one second".into()),
        Some(seconds) => Ok(Duration::from_secs(seconds.into())),
        None => Err(format!("'{text}' is too long")),
    }
}

/// A time like `2026-03-01T00:00:00Z`.
pub(crate) fn time(text: &str) -> Result<prost_types::Timestamp, String> {
    let at: jiff::Timestamp =
        text.parse().map_err(|_| format!("'{text}' is no time: write it like 2026-03-01T00:00:00Z"))?;
    Ok(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() })
}

/// A JSON object, or `@FILE` with one.
pub(crate) fn payload(value: &str) -> Result<String, Error> {
    self::text(value).map_err(|why| Error::usage(format!("--payload: {why}.")))
}

/// `GENERATION:SEQ`.
pub(crate) fn position(text: &str) -> Result<Position, String> {
    match text.rsplit_once(':').map(|(generation, seq)| (generation, seq.parse())) {
        Some((generation, Ok(seq))) if !generation.is_empty() => {
            Ok(Position { generation: generation.to_owned(), seq })
        }
        _ => Err("a position is GENERATION:SEQ, as an earlier watch printed it".into()),
    }
}

/// Pairs as a map; a key that is given twice is a mistake.
pub(crate) fn map(pairs: &[(String, String)], flag: &str) -> Result<BTreeMap<String, String>, Error> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        if map.insert(key.clone(), value.clone()).is_some() {
            return Err(Error::usage(format!("{flag} {key} is given twice.")));
        }
    }
    Ok(map)
}

/// What `--set` gives, with every `@FILE` read.
fn texts(set: &[(String, String)]) -> Result<BTreeMap<String, String>, Error> {
    let mut parameters = map(set, "--set")?;
    for (key, value) in &mut parameters {
        *value = text(value).map_err(|e| Error::usage(format!("--set {key}: {e}.")))?;
    }
    Ok(parameters)
}

impl GivenArgs {
    /// The parameters, those with `@FILE` read.
    pub(crate) fn parameters(&self) -> Result<BTreeMap<String, String>, Error> {
        texts(&self.set)
    }
}

impl ValueArgs {
    /// The parameters, those with `@FILE` read.
    pub(crate) fn parameters(&self) -> Result<BTreeMap<String, String>, Error> {
        texts(&self.set)
    }

    /// The secrets, read from files and stdin.
    pub(crate) fn secrets(&self) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let secrets = secrets(&self.secret)?;
        match secrets.keys().find(|key| self.set.iter().any(|(k, _)| k == *key)) {
            Some(key) => Err(Error::usage(format!("{key} is given twice."))),
            None => Ok(secrets),
        }
    }
}

/// What `--secret` gives, read from files and stdin.
pub(crate) fn secrets(given: &[String]) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let mut secrets = BTreeMap::new();
    let mut stdin_of: Option<String> = None;
    for text in given {
        let (key, source) = secret_source(text)?;
        if secrets.contains_key(key) {
            return Err(Error::usage(format!("{key} is given twice.")));
        }
        let value = match source {
            Source::File(path) => {
                let read = read_file(path, VALUE_BYTES_MAX);
                read.map_err(|why| Error::usage(format!("--secret {key}: {why}.")))?
            }
            Source::Stdin => {
                if let Some(other) = stdin_of.replace(key.to_owned()) {
                    let line = format!("stdin can only be one secret, not {other} and {key}: use files.");
                    return Err(Error::usage(line));
                }
                read_stdin()?
            }
        };
        secrets.insert(key.to_owned(), value);
    }
    Ok(secrets)
}

/// Where a secret comes from.
#[derive(Debug, PartialEq, Eq)]
enum Source<'a> {
    File(&'a Path),
    Stdin,
}

/// `KEY=@FILE` or `KEY=-`. The error never repeats the value: it may be a secret.
fn secret_source(text: &str) -> Result<(&str, Source<'_>), Error> {
    match text.split_once('=') {
        Some((key, "-")) if !key.is_empty() => Ok((key, Source::Stdin)),
        Some((key, value)) if !key.is_empty() => match value.strip_prefix('@') {
            Some(file) if !file.is_empty() => Ok((key, Source::File(Path::new(file)))),
            _ => Err(Error::usage(format!(
                "--secret {key}: the value may not stand on the command line, where every user of this machine \
                 can read it."
            ))
            .hint(format!("Put it into a file and write --secret {key}=@FILE, or pipe it in: --secret {key}=-"))),
        },
        _ => Err(Error::usage("--secret takes KEY=@FILE or KEY=-.")),
    }
}

/// A secret that stands alone in a file, without the end of its last line.
pub(crate) fn one_secret(path: &Path) -> Result<Vec<u8>, Error> {
    let read = read_file(path, VALUE_BYTES_MAX);
    let mut secret = read.map_err(|why| Error::usage(format!("--secret-file: {why}.")))?;
    for end in [b'\n', b'\r'] {
        if secret.last() == Some(&end) {
            secret.pop();
        }
    }
    Ok(secret)
}

fn read_stdin() -> Result<Vec<u8>, Error> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Error::usage("stdin is a terminal, where the secret would be seen: pipe it in."));
    }
    read_limited(stdin.lock(), "stdin", VALUE_BYTES_MAX).map_err(Error::usage)
}

/// A private key for a server, as it stands in the file.
pub(crate) fn identity(path: &Path) -> Result<Vec<u8>, Error> {
    let read = read_file(path, IDENTITY_BYTES_MAX);
    let key = read.map_err(|why| Error::usage(format!("--identity: {why}.")))?;
    let shown = path.display();
    if key.starts_with(b"ssh-") || key.starts_with(b"ecdsa-") {
        let line =
            format!("{shown} is a public key: --identity takes the private one, the file without '.pub'.");
        return Err(Error::usage(line));
    }
    if key.is_empty() {
        return Err(Error::usage(format!("{shown} is empty.")));
    }
    Ok(key)
}

fn read_file(path: &Path, max: u64) -> Result<Vec<u8>, String> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|e| format!("{name} cannot be read: {e}"))?;
    read_limited(file, &name, max)
}

fn read_limited(from: impl std::io::Read, name: &str, max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    from.take(max + 1).read_to_end(&mut bytes).map_err(|e| format!("{name} cannot be read: {e}"))?;
    if bytes.len() as u64 > max {
        return Err(format!("{name} is larger than {} KiB", max / 1024));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
