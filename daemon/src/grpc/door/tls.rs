//! TLS for callers from the network: version 1.3 and HTTP/2, for browsers HTTP/1.1 too, and nothing else. What a certificate allows is not known here, only whose it is.
//!
//! Certificate, key and the authorities of clients are read as a whole, and replaced as a whole: connections that are open go on with what
//! they began with, and those that come are shown what is there now.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::entry::Speaks;
use super::expiry::not_after;
use crate::domain::time::Timestamp;
use crate::grpc::web::Origins;

/// What is spoken over TLS.
const HTTP_2: &[u8] = b"h2";
/// What is spoken where browsers come in, too.
const HTTP_1: &[u8] = b"http/1.1";
/// Longest name of a client's certificate, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// Where certificate and key stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and the authority, in PEM.
    pub cert: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// The authorities that vouch for clients, in PEM; without them no client shows a certificate.
    pub client_ca: Option<PathBuf>,
}

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{key} = {path} cannot be read: {why}", path = path.display())]
    Unreadable {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// A file holds nothing of what it should.
    #[error("{key} = {path} holds no {what} in PEM", path = path.display())]
    Empty {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The key is another certificate's.
    #[error(
        "the key in listen.tls.key does not belong to the certificate in listen.tls.cert: name two files that belong together"
    )]
    OtherKey,
    /// Something else is wrong with it.
    #[error("the certificate in listen.tls.cert and its key cannot be used: {0}")]
    Unusable(String),
    /// The authorities of clients cannot be used.
    #[error("the authorities in listen.tls.client_ca cannot be used: {0}")]
    Authorities(String),
}

/// Certificate and key, read and found to fit each other.
#[derive(Clone)]
pub struct Credentials {
    config: Arc<ServerConfig>,
    expires: Option<Timestamp>,
}

impl Credentials {
    /// Reads the files, all of them, to speak with clients of gRPC, or with browsers too.
    pub fn read(files: &TlsFiles, with_browsers: bool) -> Result<Self, TlsError> {
        let chain = certificates("listen.tls.cert", &files.cert)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| unreadable("listen.tls.key", &files.key, "private key", &error))?;
        let expires = chain.first().and_then(|own| not_after(own));
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| TlsError::Unusable(error.to_string()))?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates("listen.tls.client_ca", path)? {
                    roots.add(authority).map_err(|error| TlsError::Authorities(error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    // A bearer token will do instead.
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| TlsError::Authorities(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::OtherKey,
            other => TlsError::Unusable(other.to_string()),
        })?;
        config.alpn_protocols = vec![HTTP_2.to_vec()];
        if with_browsers {
            config.alpn_protocols.push(HTTP_1.to_vec());
        }
        // Each connection is looked at from the beginning: none is let in by what was shown to an earlier configuration.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), expires })
    }
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let what = "certificate";
    let broken = |error| unreadable(key, path, what, &error);
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(broken)?.collect::<Result<_, _>>().map_err(broken)?;
    if found.is_empty() {
        return Err(TlsError::Empty { key, path: path.to_owned(), what });
    }
    Ok(found)
}

fn unreadable(key: &'static str, path: &Path, what: &'static str, error: &pem::Error) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::NoItemsFound => TlsError::Empty { key, path, what },
        pem::Error::Io(error) => TlsError::Unreadable { key, path, why: error.to_string() },
        other => TlsError::Unreadable { key, path, why: other.to_string() },
    }
}

/// What callers from the network are shown, as it is now.
pub struct Tls {
    shown: RwLock<Credentials>,
}

impl Tls {
    /// Shows these.
    pub fn new(credentials: Credentials) -> Self {
        Self { shown: RwLock::new(credentials) }
    }

    /// Shows these from here on, to whoever comes.
    pub fn replace(&self, credentials: Credentials) {
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = credentials;
    }

    /// Until when the certificate is good, as far as can be told.
    pub fn expires(&self) -> Option<Timestamp> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).expires
    }

    /// Greets a caller. Nothing if it does not speak as it should.
    pub(super) async fn greet(
        &self,
        caller: TcpStream,
    ) -> Option<(TlsStream<TcpStream>, Speaks, Option<Arc<str>>)> {
        let config = Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner).config);
        let stream = match TlsAcceptor::from(config).accept(caller).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "a caller from the network does not come through TLS");
                return None;
            }
        };
        let (_, session) = stream.get_ref();
        let speaks = match session.alpn_protocol()? {
            HTTP_2 => Speaks::Http2,
            HTTP_1 => Speaks::Http1,
            _ => return None,
        };
        let name = session.peer_certificates().and_then(|chain| name_of(chain.first()?));
        Some((stream, speaks, name))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("expires", &self.expires()).finish_non_exhaustive()
    }
}

/// Whose a certificate is: its first URI, else its first DNS name. Only what can stand in a record.
fn name_of(certificate: &CertificateDer<'_>) -> Option<Arc<str>> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let name = certificate.valid_uri_names().next().or_else(|| certificate.valid_dns_names().next())?;
    let is_plain = name.len() <= NAME_BYTES_MAX && name.chars().all(|c| c.is_ascii_graphic());
    is_plain.then(|| name.into())
}

/// Where callers from the network come in.
pub struct Network {
    /// Listens.
    pub listener: TcpListener,
    /// What they are shown.
    pub tls: Arc<Tls>,
    /// Whether Health answers whoever asks.
    pub open_health: bool,
    /// Whose pages may call.
    pub origins: Arc<Origins>,
}

impl Network {
    /// Listens at this address.
    pub async fn bind(
        address: SocketAddr,
        tls: Arc<Tls>,
        open_health: bool,
        origins: Arc<Origins>,
    ) -> std::io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, tls, open_health, origins })
    }
}
