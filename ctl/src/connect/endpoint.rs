//! Finds out where the daemon listens: flag or environment, then configuration file, then the usual sockets.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::errors::Error;

/// The usual sockets, in the order in which they are looked for. The last is meant when none exists.
const SOCKETS: [&str; 2] = ["./.settled/settled.sock", "/run/settled/settled.sock"];
/// The configuration file of the whole machine.
const MACHINE_FILE: &str = "/etc/settlectl.toml";

/// Where a daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A unix socket.
    Socket(PathBuf),
    /// Plain HTTP on this machine: `http://host:port`.
    Loopback(String),
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
        if text.starts_with("https://") {
            return Err(
                "TLS is not there yet: use the unix socket, through `ssh -L` from another machine.".into()
            );
        }
        let Some(authority) = text.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')) else {
            return Err(format!("'{text}' is not an endpoint: write unix:/path or http://127.0.0.1:PORT"));
        };
        match authority.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok_and(|p| p > 0) => {
                if is_loopback(host) {
                    Ok(Place::Loopback(format!("http://{authority}")))
                } else {
                    Err(format!(
                        "'{text}' is another machine, and without TLS everyone between could read along: \
                         use the unix socket, through `ssh -L` from there."
                    ))
                }
            }
            _ => Err(format!("'{text}' names no port: write http://127.0.0.1:PORT")),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Socket(path) => write!(f, "unix:{}", path.display()),
            Place::Loopback(uri) => f.write_str(uri),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// See [`Place::parse`].
    endpoint: Option<String>,
}

/// The endpoint that was given, or else the configured one, or else the first of the usual sockets.
pub(crate) fn find(given: Option<&str>) -> Result<Place, Error> {
    if let Some(text) = given {
        return Place::parse(text).map_err(Error::usage);
    }
    let own = own_file();
    for path in own.as_deref().into_iter().chain([Path::new(MACHINE_FILE)]) {
        if let Some(place) = from_file(path)? {
            return Ok(place);
        }
    }
    let [.., last] = SOCKETS;
    let found = SOCKETS.into_iter().find(|path| Path::new(path).exists());
    Ok(Place::Socket(found.unwrap_or(last).into()))
}

/// `$XDG_CONFIG_HOME/settlectl.toml`, else `~/.config/settlectl.toml`.
fn own_file() -> Option<PathBuf> {
    let dir = match std::env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".config"),
    };
    Some(dir.join("settlectl.toml"))
}

fn from_file(path: &Path) -> Result<Option<Place>, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::usage(format!("{} cannot be read: {e}.", path.display()))),
    };
    let file: File = toml::from_str(&text)
        .map_err(|e| Error::usage(format!("{} is not as it should be: {}", path.display(), e.message())))?;
    let Some(endpoint) = file.endpoint else { return Ok(None) };
    let place =
        Place::parse(&endpoint).map_err(|e| Error::usage(format!("{}: endpoint: {e}", path.display())))?;
    Ok(Some(place))
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
            ("http://127.0.0.1:7070", Some("http://127.0.0.1:7070")),
            ("http://[::1]:7070/", Some("http://[::1]:7070")),
            ("http://localhost:7070", Some("http://localhost:7070")),
            ("unix:", None),
            ("/run/s.sock", None),
            ("http://127.0.0.1", None),
            ("http://127.0.0.1:0", None),
            ("http://10.0.0.1:7070", None),
            ("http://localhost.example:7070", None),
            ("https://127.0.0.1:7070", None),
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
        assert_eq!(from_file(&path).unwrap(), Some(Place::Socket("/a".into())));
        for wrong in ["endpont = 'unix:/a'", "endpoint = 3", "endpoint = 'ftp://x'"] {
            std::fs::write(&path, wrong).unwrap();
            assert!(from_file(&path).unwrap_err().lines[0].contains("settlectl.toml"), "{wrong}");
        }
    }
}
