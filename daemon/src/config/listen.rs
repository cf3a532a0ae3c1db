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

impl Listen {
    /// On this socket, and nowhere else.
    pub(super) fn on(unix: PathBuf) -> Self {
        Self { unix, unix_group: None, tcp: None, tcp_health: false, tls: Tls::default(), metrics: None }
    }
}

/// What is wrong with where callers come in.
pub(super) fn faults(config: &Config) -> impl Iterator<Item = Fault> {
    [socket(&config.listen.unix), tls(&config.listen), metrics(config)].into_iter().flatten()
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
    let Listen { tcp, tcp_health, tls: Tls { cert, key, client_ca }, .. } = listen;
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
    ];
    let (idle, _) = idle.into_iter().find(|(_, is_set)| *is_set)?;
    fault(
        format!(
            "{idle} is set and listen.tcp is not, so it would do nothing: set listen.tcp = \"ADDRESS:PORT\", or leave {idle} out"
        ),
        idle,
    )
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
