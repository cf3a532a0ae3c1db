//! Finds out where the daemon listens: flag or environment, then configuration file, then the usual sockets.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::errors::Error;

/// The usual sockets, in the order in which they are looked for. The last is meant when none exists.
const SOCKETS: [&str; 2] = ["./.settled/settled.sock", "/run/settled/settled.sock"];
/// Where the endpoint stands when no flag tells it.
const VARIABLE: &str = "SETTLECTL_ENDPOINT";
/// The configuration file of the whole machine.
const MACHINE_FILE: &str = "/etc/settlectl.toml";

/// Where a daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A unix socket.
    Socket(PathBuf),
    /// TLS, anywhere: `https://host:port`.
    Network {
        /// Name or address, as it has to stand in the certificate.
        host: String,
        /// The port.
        port: u16,
    },
}

/// How to know a daemon on another machine, and how to show who one is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// The authorities that are trusted, instead of the host's.
    pub(crate) ca: Option<PathBuf>,
    /// Our certificate.
    pub(crate) cert: Option<PathBuf>,
    /// Its key.
    pub(crate) key: Option<PathBuf>,
    /// Where our token stands.
    pub(crate) token_file: Option<PathBuf>,
}

/// Where a daemon listens, and what is shown there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// Where.
    pub(crate) place: Place,
    /// What is shown there.
    pub(crate) credentials: Credentials,
}

impl Place {
    /// What the transport wants to hear.
    pub(crate) fn uri(&self) -> String {
        self.to_string()
    }

    /// Reads an endpoint as people write it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err(format!("'{text}' names no socket: write unix:/path/to/settled.sock")),
                path => Ok(Place::Socket(path.into())),
            };
        }
        if let Some(authority) = text.strip_prefix("https://") {
            return network(authority.trim_end_matches('/'))
                .ok_or_else(|| format!("'{text}' names no host and port: write https://HOST:PORT"));
        }
        Err(format!("'{text}' is not an endpoint: write unix:/path or https://HOST:PORT"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Socket(path) => write!(f, "unix:{}", path.display()),
            Place::Network { host, port } if host.contains(':') => write!(f, "https://[{host}]:{port}"),
            Place::Network { host, port } => write!(f, "https://{host}:{port}"),
        }
    }
}

/// `HOST:PORT`, an IPv6 address in brackets.
fn network(authority: &str) -> Option<Place> {
    let (host, port) = authority.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok())?,
        None => host,
    };
    let is_plain = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c));
    let is_bare_v6 = host.contains(':') && !authority.starts_with('[');
    (is_plain && !is_bare_v6).then(|| Place::Network { host: host.to_owned(), port })
}

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// See [`Place::parse`].
    endpoint: Option<String>,
    /// See [`Credentials`]; relative paths begin at the file's directory.
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    token_file: Option<PathBuf>,
}

/// The endpoint that was given, or else the configured one, or else the first of the usual sockets.
///
/// What the file says of credentials is for the endpoint that it names, and is shown to no other.
pub(crate) fn find(given: Option<&str>, credentials: Credentials) -> Result<Way, Error> {
    let variable = || std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    if let Some(text) = given.map(str::to_owned).or_else(variable) {
        let place = Place::parse(&text).map_err(Error::usage)?;
        return Ok(Way { place, credentials });
    }
    let own = own_file();
    for path in own.as_deref().into_iter().chain([Path::new(MACHINE_FILE)]) {
        if let Some(way) = from_file(path)? {
            return Ok(Way { credentials: credentials.or(way.credentials), ..way });
        }
    }
    let [.., last] = SOCKETS;
    let found = SOCKETS.into_iter().find(|path| Path::new(path).exists());
    Ok(Way { place: Place::Socket(found.unwrap_or(last).into()), credentials })
}

impl Credentials {
    /// These, and where nothing is said, those. A certificate goes with its own key.
    fn or(self, others: Self) -> Self {
        let (cert, key) = match (self.cert, self.key) {
            (None, None) => (others.cert, others.key),
            own => own,
        };
        Self { ca: self.ca.or(others.ca), cert, key, token_file: self.token_file.or(others.token_file) }
    }
}

/// `$XDG_CONFIG_HOME/settlectl.toml`, else `~/.config/settlectl.toml`.
fn own_file() -> Option<PathBuf> {
    let dir = match std::env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".config"),
    };
    Some(dir.join("settlectl.toml"))
}

fn from_file(path: &Path) -> Result<Option<Way>, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::usage(format!("{} cannot be read: {e}.", path.display()))),
    };
    let settings: Settings = toml::from_str(&text)
        .map_err(|e| Error::usage(format!("{} is not as it should be: {}", path.display(), e.message())))?;
    let Settings { endpoint, ca, cert, key, token_file } = settings;
    let Some(endpoint) = endpoint else { return Ok(None) };
    let place =
        Place::parse(&endpoint).map_err(|e| Error::usage(format!("{}: endpoint: {e}", path.display())))?;
    let home = path.parent().unwrap_or(Path::new("/"));
    let [ca, cert, key, token_file] =
        [ca, cert, key, token_file].map(|file| file.map(|file| home.join(file)));
    Ok(Some(Way { place, credentials: Credentials { ca, cert, key, token_file } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_people_write_them() {
        let table = [
            ("unix:/run/s.sock", Some("unix:/run/s.sock")),
            ("unix:///run/s.sock", Some("unix:/run/s.sock")),
            ("unix:./s.sock", Some("unix:./s.sock")),
            ("http://127.0.0.1:7070", None),
            ("http://localhost:7070", None),
            ("unix:", None),
            ("/run/s.sock", None),
            ("https://settled.example:7070/", Some("https://settled.example:7070")),
            ("https://[2001:db8::1]:7070", Some("https://[2001:db8::1]:7070")),
            ("https://2001:db8::1:7070", None),
            ("https://settled.example", None),
            ("https://user@settled.example:7070", None),
            ("https://settled.example:7070/path", None),
            ("https://:7070", None),
        ];
        for (text, expected) in table {
            let place = Place::parse(text).ok().map(|p| p.to_string());
            assert_eq!(place.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_configuration_file_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settlectl.toml");
        assert_eq!(from_file(&path).unwrap(), None, "no file is fine");
        std::fs::write(&path, "endpoint = 'unix:/a'\n").unwrap();
        let way = from_file(&path).unwrap().unwrap();
        assert_eq!((way.place, way.credentials), (Place::Socket("/a".into()), Credentials::default()));
        let text = "endpoint = 'https://a:1'\nca = 'ca.pem'\ncert = '/c'\nkey = '/k'\ntoken_file = 't'\n";
        std::fs::write(&path, text).unwrap();
        let own = from_file(&path).unwrap().unwrap().credentials;
        let beside = |name: &str| Some(dir.path().join(name));
        assert_eq!((&own.ca, &own.token_file), (&beside("ca.pem"), &beside("t")));
        let typed = Credentials { cert: Some("/mine".into()), ..Credentials::default() };
        let both = typed.or(own.clone());
        assert_eq!((both.cert, both.key), (Some("/mine".into()), None), "no certificate with another's key");
        assert_eq!((both.ca, both.token_file), (own.ca, own.token_file));
        for wrong in ["endpont = 'unix:/a'", "endpoint = 3", "endpoint = 'ftp://x'"] {
            std::fs::write(&path, wrong).unwrap();
            assert!(from_file(&path).unwrap_err().lines[0].contains("settlectl.toml"), "{wrong}");
        }
    }
}
