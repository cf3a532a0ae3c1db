//! The one form of what stands around the services: each layer has the request, the services behind it, and what it keeps, and makes an answer.
//!
//! It knows neither what a layer does nor where it stands.

use std::convert::Infallible;

use futures::FutureExt as _;
use http::{Request, Response};
use tonic::body::Body;
use tower::{Service, ServiceExt as _, service_fn};

/// The services, with whatever stands around them.
pub(super) trait Services:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
    /// Answers a request as soon as they are ready for one.
    fn answer(self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send {
        self.oneshot(request).map(|Ok(answer)| answer)
    }
}

impl<S> Services for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// The services with a layer around them, which keeps `kept` from request to request.
pub(super) fn around<S, K, A>(
    inner: S,
    kept: K,
    layer: impl Fn(Request<Body>, S, K) -> A + Clone + Send + 'static,
) -> impl Services
where
    S: Services,
    K: Clone + Send + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    service_fn(move |request| layer(request, inner.clone(), kept.clone()).map(Ok))
}
