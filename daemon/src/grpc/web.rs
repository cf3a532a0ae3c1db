//! Browsers. They speak gRPC-web, over HTTP/1.1 or HTTP/2, and ask first whether a page may (CORS). Both are dealt with here, around everything
//! else: behind this a browser's request is like any other, with its limits, its rights and its place on record.
//!
//! Pages of origins that the configuration names are spoken with, all others are not, whatever else their requests hold.

use std::sync::{Arc, PoisonError, RwLock};

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, VARY,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::Layer as _;

use super::around::{Services, around};
use super::status::clipped;
use crate::clock::{Clock, Sparse};

/// What a page may send.
const SENT: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, grpc-timeout, traceparent, tracestate, x-grpc-web, x-user-agent",
);
/// What a page may read of an answer's head: where nothing was answered, its status stands there.
const READ: HeaderValue = HeaderValue::from_static("grpc-status, grpc-message, grpc-status-details-bin");
/// For how long a browser remembers that a page may, in seconds. The names can change with a reload.
const REMEMBERED_S: HeaderValue = HeaderValue::from_static("600");
/// What a page of another origin is told. Its browser shows that to whoever looks for the reason, and hides it from the page.
const STRANGE: &str = "pages of this origin may not use this settled: whoever runs it names those that may in listen.web.origins\n";
/// Longest origin that the log repeats, in bytes.
const ORIGIN_BYTES_MAX: usize = 200;

/// The origins of the pages that may call. None of them: no browser can.
#[derive(Debug, Default)]
pub struct Origins {
    named: RwLock<Arc<[String]>>,
}

impl Origins {
    /// These, each as browsers write it: `https://panel.example`.
    pub fn new(named: &[String]) -> Self {
        Self { named: RwLock::new(named.into()) }
    }

    /// These from here on.
    pub fn replace(&self, named: &[String]) {
        *self.named.write().unwrap_or_else(PoisonError::into_inner) = named.into();
    }

    fn named(&self) -> Arc<[String]> {
        Arc::clone(&self.named.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a request says of the page that makes it.
enum Page {
    /// No page makes it.
    None,
    /// One that may.
    Known(HeaderValue),
    /// One that may not.
    Strange(String),
}

fn page(headers: &HeaderMap, named: &[String]) -> Page {
    match headers.get(ORIGIN) {
        None => Page::None,
        Some(origin) if named.iter().any(|name| name.as_bytes() == origin.as_bytes()) => {
            Page::Known(origin.clone())
        }
        Some(origin) => Page::Strange(clipped(&String::from_utf8_lossy(origin.as_bytes()), ORIGIN_BYTES_MAX)),
    }
}

/// The services, for browsers too.
pub(super) fn for_browsers(
    inner: impl Services,
    origins: Arc<Origins>,
    clock: Arc<dyn Clock>,
) -> impl Services {
    let strange = Arc::new(Sparse::default());
    around(inner, (origins, clock, strange), |request, inner, (origins, clock, strange)| async move {
        let named = origins.named();
        // Without a page that may there is nobody who speaks HTTP/1.1 here: what does has stayed from before a reload.
        if named.is_empty() && request.version() < Version::HTTP_2 {
            return refused();
        }
        let origin = match page(request.headers(), &named) {
            Page::None if named.is_empty() => return inner.answer(request).await,
            Page::None => None,
            Page::Known(origin) => Some(origin),
            Page::Strange(origin) => {
                if let Some(more) = strange.tell(clock.monotonic()) {
                    tracing::warn!(
                        origin,
                        more,
                        "a browser was refused: listen.web.origins does not name its page's origin"
                    );
                }
                return refused();
            }
        };
        let Some(origin) = origin else { return GrpcWebLayer::new().layer(inner).answer(request).await };
        let mut answer = if is_question(&request) {
            may()
        } else {
            GrpcWebLayer::new().layer(inner).answer(request).await
        };
        share(answer.headers_mut(), origin);
        answer
    })
}

/// Whether a browser asks if its page may. It shows no credentials then, and nothing is done.
fn is_question(request: &Request<Body>) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn may() -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, SENT);
    headers.insert(ACCESS_CONTROL_MAX_AGE, REMEMBERED_S);
    answer
}

/// Lets the page read an answer. Never every page: with the certificate that a browser shows by itself that would be anybody's.
fn share(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, READ);
    headers.append(VARY, HeaderValue::from_static("origin"));
}

fn refused() -> Response<Body> {
    let mut answer = Response::new(Body::new(Full::from(STRANGE)));
    *answer.status_mut() = StatusCode::FORBIDDEN;
    answer
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
