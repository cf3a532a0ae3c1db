//! What arrives on the wire, before any method sees it: one whole message, not too large, of the shape that the contract says. All else is
//! the caller's error, and is told as such for every method alike.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use settled_proto::MESSAGE_BYTES_MAX;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::shape::Shapes;
use super::status;

/// One byte that tells whether the message is compressed, four for its length.
const HEAD_BYTES: usize = 5;

/// Looks at what arrives for the methods of the contract.
#[derive(Clone)]
pub(super) struct WireLayer {
    shapes: Arc<Shapes>,
}

impl WireLayer {
    pub(super) fn new() -> Result<Self, prost::DecodeError> {
        Ok(Self { shapes: Arc::new(Shapes::of_the_contract()?) })
    }
}

impl<S> Layer<S> for WireLayer {
    type Service = Wired<S>;

    fn layer(&self, inner: S) -> Wired<S> {
        Wired { shapes: Arc::clone(&self.shapes), inner }
    }
}

/// The services behind it.
#[derive(Clone)]
pub(super) struct Wired<S> {
    shapes: Arc<Shapes>,
    inner: S,
}

impl<S> Service<Request<Body>> for Wired<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if self.shapes.request_of(request.uri().path()).is_none() {
            return Box::pin(self.inner.call(request));
        }
        // The clone takes the place of the one that is ready.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let shapes = Arc::clone(&self.shapes);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            match checked(&shapes, parts.uri.path(), body).await {
                Ok(whole) => inner.call(Request::from_parts(parts, Body::new(Full::new(whole)))).await,
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

async fn checked(shapes: &Shapes, path: &str, body: Body) -> Result<Bytes, Status> {
    let whole = read(body).await?;
    if let Some(message) = shapes.request_of(path) {
        shapes.check(message, &whole[HEAD_BYTES..]).map_err(|problem| status::malformed(&problem))?;
    }
    Ok(whole)
}

/// The one message of a request, with its head.
async fn read(mut body: Body) -> Result<Bytes, Status> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Status::cancelled("the request did not arrive whole"))?;
        let Ok(data) = frame.into_data() else { continue };
        read.extend_from_slice(&data);
        // Looked at with every piece: nobody is to make the daemon keep more than one message.
        if let Some(length) = announced(&read)?
            && read.len() > HEAD_BYTES + length
        {
            return Err(Status::invalid_argument("the request has more than one message"));
        }
    }
    match announced(&read)? {
        None if read.is_empty() => Err(Status::invalid_argument("the request has no message")),
        Some(length) if read.len() == HEAD_BYTES + length => Ok(read.freeze()),
        _ => Err(Status::invalid_argument("the request ends in the middle of its message")),
    }
}

/// The length that the head tells, as soon as the head is there.
fn announced(mut read: &[u8]) -> Result<Option<usize>, Status> {
    if read.len() < HEAD_BYTES {
        return Ok(None);
    }
    if read.get_u8() != 0 {
        return Err(Status::unimplemented("compressed requests are not understood: send it as it is"));
    }
    let length = read.get_u32() as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(Status::invalid_argument(format!(
            "the request has {length} bytes; at most {MESSAGE_BYTES_MAX} are allowed"
        )));
    }
    Ok(Some(length))
}
