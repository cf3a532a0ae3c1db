//! TLS to a daemon on another machine: version 1.3, whom we trust, who we are, and what went wrong in plain words.

use std::io;
use std::path::Path;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error as TlsError, RootCertStore,
};
use tonic::codegen::http::Uri;
use tonic::metadata::{Ascii, MetadataValue};
use tower::{Service, service_fn};

use super::endpoint::Credentials;
use crate::errors::{Error, Exit};

/// Where Debian and Ubuntu keep the authorities that a host trusts.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Largest file with a token that is read, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// Connects to one place, again after each break.
pub(super) fn connector(
    credentials: &Credentials,
    host: &str,
    port: u16,
) -> Result<
    impl Service<Uri, Response = TokioIo<TlsStream<TcpStream>>, Error = io::Error, Future: Send> + Send + 'static,
    Error,
> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Error::usage(format!("'{host}' is neither a name nor an address.")))?;
    let (tls, host) = (TlsConnector::from(config(credentials)?), host.to_owned());
    Ok(service_fn(move |_: Uri| {
        let (tls, name, host) = (tls.clone(), name.clone(), host.clone());
        async move {
            let tcp = TcpStream::connect((host.as_str(), port)).await?;
            tcp.set_nodelay(true)?;
            tls.connect(name, tcp).await.map(TokioIo::new)
        }
    }))
}

/// How to speak TLS with these credentials.
fn config(credentials: &Credentials) -> Result<Arc<ClientConfig>, Error> {
    let roots = roots(credentials.ca.as_deref())?;
    let broken = |error: TlsError| Error::usage(format!("TLS cannot be spoken: {error}."));
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(broken)?
        .with_root_certificates(roots);
    let mut config = match (&credentials.cert, &credentials.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                Error::usage(format!("The key in {} cannot be read: {error}.", key.display()))
            })?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                Error::usage(format!(
                    "The certificate in {} and its key cannot be used: {error}.",
                    cert.display()
                ))
            })?
        }
        _ => return Err(Error::usage("--cert and --key belong together: give both, or neither.")),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let found = certificates(ca.unwrap_or_else(|| Path::new(AUTHORITIES)))?;
    // One that is odd keeps nobody from the others.
    roots.add_parsable_certificates(found);
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let unreadable =
        |why: String| Error::usage(format!("The certificates in {} cannot be read: {why}.", path.display()));
    let found = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))?;
    let found: Vec<_> = found.filter_map(Result::ok).collect();
    if found.is_empty() {
        return Err(unreadable("there is none in PEM".to_owned()));
    }
    Ok(found)
}

/// What is sent with every request to say who asks. The file holds nothing but the token.
pub(super) fn bearer(file: &Path) -> Result<MetadataValue<Ascii>, Error> {
    let wrong = |why: &str| Error::usage(format!("The token in {} cannot be used: {why}.", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error.to_string()))?;
    let token = text.trim();
    let is_one = (1..=TOKEN_BYTES_MAX).contains(&token.len()) && token.chars().all(|c| c.is_ascii_graphic());
    let value = format!("Bearer {token}").parse::<MetadataValue<Ascii>>().ok().filter(|_| is_one);
    let mut value = value.ok_or_else(|| {
        wrong("the file must hold one token, as `settlectl token create` prints it, and nothing else")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// What it means that TLS failed, and what to do.
pub(super) fn explain(place: &str, error: &TlsError) -> Error {
    let (what, next) = match error {
        TlsError::InvalidCertificate(error) => of_the_daemon(error),
        TlsError::AlertReceived(AlertDescription::NoApplicationProtocol) => (
            "what answers there does not speak gRPC".to_owned(),
            "Is it settled's listen.tcp, or something before it?",
        ),
        TlsError::AlertReceived(AlertDescription::ProtocolVersion) => {
            ("what answers there does not speak TLS 1.3".to_owned(), "Is it settled's listen.tcp?")
        }
        other => (other.to_string(), "Is it settled's listen.tcp? Look there: settlectl status"),
    };
    Error {
        exit: Exit::Unreachable,
        lines: vec![format!("settled cannot be trusted at {place}: {what}."), next.to_owned()],
    }
}

fn of_the_daemon(error: &CertificateError) -> (String, &'static str) {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            "its certificate is from an authority that this machine does not know".to_owned(),
            "Name the authority: --ca FILE",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "its certificate is for another name".to_owned(),
            "Use the name that stands in the certificate in --endpoint; if you did, somebody may be in between",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            "its certificate has expired".to_owned(),
            "Have the daemon's administrator renew it; is the time of this machine right?",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("its certificate is not valid yet".to_owned(), "Is the time of this machine right?")
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
            "its certificate is one of an authority, and none of a server".to_owned(),
            "Tell the daemon's administrator: docs/network.md shows how to make one that callers accept",
        ),
        other => (format!("its certificate is not in order ({other})"), "Tell the daemon's administrator"),
    }
}

/// What the daemon says of our own certificate, if that is why the connection broke.
pub(crate) fn refused_by_daemon(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let error = error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<TlsError>()?;
    let TlsError::AlertReceived(alert) = error else { return None };
    match alert {
        AlertDescription::UnknownCA => Some("it does not know the authority of the certificate in --cert"),
        AlertDescription::CertificateExpired => Some("the certificate in --cert has expired"),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => Some("the certificate in --cert is not in order"),
        _ => None,
    }
}

/// The TLS error in an I/O error, if there is one.
pub(super) fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a TlsError> {
    error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}
