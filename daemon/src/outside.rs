//! Speaks to whom a definition or a notifier names outside: one POST over HTTP/1.1, with TLS by the host's own authorities; and one mail
//! (`smtp`). The only code that does.
//!
//! It knows what is sent and what comes back, and never why. It follows no redirect, keeps no connection and no cookie, and asks no
//! proxy: what is sent goes where the definition says, or nowhere.

mod mail;
mod queue;
mod smtp;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::clock::Clock;

pub use mail::Mail;
pub use queue::{Sends, drive};
pub use smtp::{MailServer, Mailer, Privacy, check_mail};

/// Largest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 65_536;
/// Where Debian and Ubuntu keep the authorities that a host trusts.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Of an answer that is an error, so many characters are told.
const TOLD_CHARS: usize = 200;

/// What is sent.
#[derive(Debug, Clone)]
pub struct Post {
    /// Where: `https`, or `http`.
    pub url: String,
    /// Beside what every request has.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: String,
    /// From the first name look-up to the last byte of the answer.
    pub timeout: Duration,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// When to ask again, if it says so in seconds.
    pub retry_after: Option<Duration>,
    /// Whether the body says that it is JSON.
    pub is_json: bool,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The beginning of its body, on one line, to be told of an answer that is an error. Empty, or begins with a colon.
    pub fn told(&self) -> String {
        let line = self.body.split_whitespace().collect::<Vec<_>>().join(" ");
        let line: String = line.chars().filter(|c| !c.is_control()).take(TOLD_CHARS).collect();
        if line.is_empty() { line } else { format!(": {line}") }
    }
}

/// Why nothing came back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// Nothing was sent.
    #[error("cannot be reached: {0}")]
    NotSent(String),
    /// It was sent, and perhaps done.
    #[error("gave no answer: {0}")]
    NoAnswer(String),
}

/// Posts. Cheap to clone.
#[derive(Clone)]
pub struct Caller {
    authorities: PathBuf,
    clock: Arc<dyn Clock>,
}

impl Caller {
    /// A caller that trusts the authorities in this file; the host's, without one. It is read anew for each connection.
    pub fn new(clock: Arc<dyn Clock>, ca_file: Option<PathBuf>) -> Self {
        Self { authorities: ca_file.unwrap_or_else(|| PathBuf::from(AUTHORITIES)), clock }
    }

    /// Posts once.
    pub async fn post(&self, post: &Post) -> Result<Answer, Failed> {
        let until = self.clock.monotonic() + post.timeout;
        let late = || format!("not within {} s", post.timeout.as_secs());
        let not_sent = |why: String| Failed::NotSent(why);
        let uri: Uri = post.url.parse().map_err(|_| not_sent("its URL is none".to_owned()))?;
        let request = request(post, &uri).map_err(|error| not_sent(error.to_string()))?;
        let connecting = async { self.connect(&uri).await.map_err(not_sent) };
        let mut sender = self.by(until, connecting).await.unwrap_or_else(|| Err(not_sent(late())))?;
        let asking = async { answer(&mut sender, request).await.map_err(Failed::NoAnswer) };
        self.by(until, asking).await.unwrap_or_else(|| Err(Failed::NoAnswer(late())))
    }

    /// What comes of it by then.
    async fn by<T>(&self, until: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.clock.sleep_until(until) => None,
        }
    }

    async fn connect(&self, uri: &Uri) -> Result<http1::SendRequest<Full<Bytes>>, String> {
        let host = uri.host().ok_or("its URL has no host")?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_tls = uri.scheme_str() != Some("http");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tcp = TcpStream::connect((bare, port)).await.map_err(|error| error.to_string())?;
        if !is_tls {
            return shake(tcp).await;
        }
        let name = ServerName::try_from(bare.to_owned()).map_err(|error| error.to_string())?;
        let tls = connector(&self.authorities)?.connect(name, tcp).await;
        shake(tls.map_err(|error| format!("TLS: {error}"))?).await
    }
}

/// A connection over which a request can be sent.
async fn shake(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<http1::SendRequest<Full<Bytes>>, String> {
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to an endpoint outside ended");
        }
    });
    Ok(sender)
}

/// Whether a file holds authorities that can be trusted. The error is a sentence.
pub fn check_authorities(file: &Path) -> Result<(), String> {
    roots(file).map(drop)
}

fn roots(authorities: &Path) -> Result<RootCertStore, String> {
    let unreadable =
        |error: String| format!("the authorities in {} cannot be read: {error}", authorities.display());
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(authorities).map_err(|error| unreadable(error.to_string()))?;
    // One that is odd keeps nobody from the others.
    roots.add_parsable_certificates(found.filter_map(Result::ok));
    if roots.is_empty() {
        return Err(unreadable("it holds no certificate in PEM".to_owned()));
    }
    Ok(roots)
}

fn connector(authorities: &Path) -> Result<TlsConnector, String> {
    let roots = roots(authorities)?;
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}

fn request(post: &Post, uri: &Uri) -> Result<Request<Full<Bytes>>, http::Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, host)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("settled/", env!("CARGO_PKG_VERSION")));
    for (name, value) in &post.headers {
        request = request.header(*name, value);
    }
    request.body(Full::new(Bytes::from(post.body.clone())))
}

async fn answer(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, String> {
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let (status, retry_after, is_json) =
        (response.status().as_u16(), retry_after(&response), is_json(&response));
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| format!("its answer was not read to the end: {error}"))?.to_bytes();
    Ok(Answer { status, retry_after, is_json, body: String::from_utf8_lossy(&body).into_owned() })
}

fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    seconds.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs)
}

fn is_json(response: &Response<Incoming>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::to_str);
    kind.and_then(Result::ok)
        .is_some_and(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json"))
}
