//! `[listen]`: where callers come in, and what can be wrong with that.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Config;
use super::rules::Fault;

/// `sun_path` has 108 bytes, the last of them is zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// `[listen]`
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Path of the unix socket: absolute, at most 107 bytes.
    pub unix: PathBuf,
    /// Group that owns the socket (mode 0660); without it the daemon's own group.
    pub unix_group: Option<String>,
    /// Where callers from the network come in, with TLS: an address with a port. Off when it is left out.
    pub tcp: Option<SocketAddr>,
    /// Whether Health answers whoever asks over TCP, without credentials: for what spreads callers over daemons.
    pub tcp_health: bool,
    /// What callers from the network are shown.
    pub tls: Tls,
    /// Which browsers may call over TCP, too.
    pub web: Web,
    /// Where figures are served in the text form of Prometheus: a loopback address with a port. Off when it is left out.
    pub metrics: Option<SocketAddr>,
}

/// `[listen.tls]`
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// File with the certificate and those between it and the authority, in PEM.
    pub cert: Option<PathBuf>,
    /// File with its key, in PEM.
    pub key: Option<PathBuf>,
    /// File with the authorities that vouch for clients, in PEM; without it clients come with tokens alone.
    pub client_ca: Option<PathBuf>,
}

/// `[listen.web]`
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Web {
    /// The origins of the pages that may call, as browsers write them: `https://HOST` or `https://HOST:PORT`. None: no gRPC-web, and no HTTP/1.1.
    pub origins: Vec<String>,
}

impl Listen {
    /// On this socket, and nowhere else.
    pub(super) fn on(unix: PathBuf) -> Self {
        Self {
            unix,
            unix_group: None,
            tcp: None,
            tcp_health: false,
            tls: Tls::default(),
            web: Web::default(),
            metrics: None,
        }
    }
}

/// What is wrong with where callers come in.
pub(super) fn faults(config: &Config) -> impl Iterator<Item = Fault> {
    [socket(&config.listen.unix), tls(&config.listen), web(&config.listen.web), metrics(config)]
        .into_iter()
        .flatten()
}

fn socket(path: &Path) -> Option<Fault> {
    let bytes = path.as_os_str().len();
    (bytes > SOCKET_PATH_BYTES_MAX).then(|| Fault {
        text: format!(
            "listen.unix is {bytes} bytes long, and a socket's path may have {SOCKET_PATH_BYTES_MAX}: \
             set listen.unix to a shorter path, such as {}/settled.sock",
            super::SYSTEM_RUNTIME_DIR
        ),
        keys: vec!["listen.unix"],
    })
}

/// Over TCP there is TLS or nothing; and what is said of TLS without TCP would do nothing.
fn tls(listen: &Listen) -> Option<Fault> {
    let Listen { tcp, tcp_health, tls: Tls { cert, key, client_ca }, web, .. } = listen;
    let fault = |text: String, key: &'static str| Some(Fault { text, keys: vec!["listen.tcp", key] });
    if let Some(address) = tcp {
        let missing = [("listen.tls.cert", cert), ("listen.tls.key", key)];
        if let Some((missing, _)) = missing.into_iter().find(|(_, file)| file.is_none()) {
            let text = format!(
                "listen.tcp = {address} needs {missing}: over TCP settled speaks TLS or not at all. Name a certificate (listen.tls.cert) and its \
                 key (listen.tls.key), or leave listen.tcp out and come through the unix socket"
            );
            return fault(text, missing);
        }
        return (address.port() == 0).then(|| Fault {
            text: format!("listen.tcp = {address} names no port: nobody would know where to connect"),
            keys: vec!["listen.tcp"],
        });
    }
    let idle = [
        ("listen.tls.cert", cert.is_some()),
        ("listen.tls.key", key.is_some()),
        ("listen.tls.client_ca", client_ca.is_some()),
        ("listen.tcp_health", *tcp_health),
        ("listen.web.origins", !web.origins.is_empty()),
    ];
    let (idle, _) = idle.into_iter().find(|(_, is_set)| *is_set)?;
    fault(
        format!(
            "{idle} is set and listen.tcp is not, so it would do nothing: set listen.tcp = \"ADDRESS:PORT\", or leave {idle} out"
        ),
        idle,
    )
}

/// An origin that no browser would send lets nobody in, and one that stands for all lets in everybody: neither is what was meant.
fn web(web: &Web) -> Option<Fault> {
    let (origin, why) = web.origins.iter().find_map(|origin| Some((origin, misfit(origin)?)))?;
    Some(Fault {
        text: format!(
            "listen.web.origins has `{origin}`, {why}: name each origin as browsers write it, https://HOST or https://HOST:PORT, \
             for instance https://panel.example"
        ),
        keys: vec!["listen.web.origins"],
    })
}

/// Why a text is not an origin whose pages may call.
fn misfit(origin: &str) -> Option<&'static str> {
    if origin.contains('*') {
        return Some("and settled speaks with no page that is not named");
    }
    let Some((scheme @ ("https" | "http"), place)) = origin.split_once("://") else {
        return Some("which does not begin with https://");
    };
    let is_plain =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if place.is_empty() || !place.chars().all(is_plain) {
        return Some("which has something else than a host in lower case and a port");
    }
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (place, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) || host.is_empty() {
        return Some("which has no host, or a port that is none");
    }
    match (scheme, port) {
        ("https", Some("443")) | ("http", Some("80")) => {
            Some("where browsers leave the port out, because it is the scheme's own")
        }
        ("http", _) if !matches!(host, "localhost" | "127.0.0.1" | "[::1]") => {
            Some("and whoever is on the way can change a page that comes without TLS")
        }
        _ => None,
    }
}

fn metrics(config: &Config) -> Option<Fault> {
    let address = config.listen.metrics.filter(|address| !address.ip().is_loopback())?;
    Some(Fault {
        text: format!(
            "listen.metrics = {address} can be reached from elsewhere, and whoever reaches it is answered: \
             use a loopback address such as 127.0.0.1:{}",
            address.port()
        ),
        keys: vec!["listen.metrics"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_would_send_and_nothing_that_stands_for_all() {
        let good = [
            "https://panel.example",
            "https://panel.example:8443",
            "https://192.0.2.7:8443",
            "https://[2001:db8::1]",
            "https://[2001:db8::1]:8443",
            "http://localhost:3000",
            "http://[::1]:3000",
            "http://127.0.0.1",
        ];
        for origin in good {
            assert_eq!(misfit(origin), None, "{origin}");
        }
        let table = [
            ("*", "not named"),
            ("https://*.example", "not named"),
            ("null", "https://"),
            ("panel.example", "https://"),
            ("ftp://panel.example", "https://"),
            ("https://", "lower case"),
            ("https://panel.example/", "lower case"),
            ("https://Panel.example", "lower case"),
            ("https://ann@panel.example", "lower case"),
            ("https://panel.example:", "a port that is none"),
            ("https://panel.example:70000", "a port that is none"),
            ("https://:8443", "no host"),
            ("https://panel.example:443", "leave the port out"),
            ("http://localhost:80", "leave the port out"),
            ("http://panel.example", "without TLS"),
        ];
        for (origin, why) in table {
            assert!(misfit(origin).is_some_and(|said| said.contains(why)), "{origin}: {:?}", misfit(origin));
        }
    }
}
