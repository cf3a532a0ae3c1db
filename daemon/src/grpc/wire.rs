//! What arrives on the wire, before any method sees it: one whole message, in time, not too large, of the shape that the contract says. All
//! else is the caller's error, and is told as such for every method alike.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures::future::OptionFuture;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use settled_proto::MESSAGE_BYTES_MAX;
use tonic::Status;
use tonic::body::Body;

use super::around::{Services, around};
use super::methods;
use super::reason::Reason;
use super::shape::Shapes;
use super::shares::{Held, Share};
use super::status;
use crate::auth::Verb;
use crate::clock::Clock;

/// One byte that tells whether the message is compressed, four for its length.
const HEAD_BYTES: usize = 5;

/// Looks at what arrives for the methods of the contract.
struct Wire {
    shapes: Shapes,
    clock: Arc<dyn Clock>,
    /// How long a message may take to arrive.
    within: Duration,
}

/// The services, which are asked for what the contract says only. A message has `within` to arrive.
pub(super) fn wired(
    inner: impl Services,
    within: Duration,
    clock: Arc<dyn Clock>,
) -> Result<impl Services, prost::DecodeError> {
    let wire = Arc::new(Wire { shapes: Shapes::of_the_contract()?, clock, within });
    Ok(around(inner, wire, |request, inner, wire| async move {
        if wire.shapes.request_of(request.uri().path()).is_none() {
            return inner.answer(request).await;
        }
        let (parts, body) = request.into_parts();
        let mut held = Held::default();
        let share: Option<Arc<Share>> = parts.extensions.get().cloned();
        match wire.checked(parts.uri.path(), body, share.as_ref(), &mut held).await {
            Ok(whole) => {
                // Commands are gathered by the writer: the more of them, the better.
                let asks = methods::at(parts.uri.path()).is_some_and(|method| method.verb == Verb::View);
                let turn = OptionFuture::from(share.filter(|_| asks).map(Share::turn_to_read)).await;
                let answer = inner.answer(Request::from_parts(parts, Body::new(Full::new(whole)))).await;
                drop((held, turn));
                answer
            }
            Err(status) => status.into_http(),
        }
    }))
}

impl Wire {
    async fn checked(
        &self,
        path: &str,
        body: Body,
        share: Option<&Arc<Share>>,
        held: &mut Held,
    ) -> Result<Bytes, Status> {
        let share = share.ok_or_else(status::nobody)?;
        let whole = tokio::select! {
            biased;
            whole = read(body, share, held) => whole?,
            () = self.clock.sleep_until(self.clock.monotonic() + self.within) => return Err(Reason::SlowRequest.status(format!(
                "the request did not arrive within {} s (limits.body_s); nothing was done",
                self.within.as_secs()
            ))),
        };
        if let Some(message) = self.shapes.request_of(path) {
            let fits = self.shapes.check(message, &whole[HEAD_BYTES..]);
            fits.map_err(|problem| status::malformed(&problem))?;
        }
        Ok(whole)
    }
}

/// The one message of a request, with its head. Its bytes are held in its principal's share.
async fn read(mut body: Body, share: &Share, held: &mut Held) -> Result<Bytes, Status> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Reason::BrokenOff.status("the request did not arrive whole"))?;
        let Ok(data) = frame.into_data() else { continue };
        share.hold(data.len(), held)?;
        read.extend_from_slice(&data);
        // Looked at with every piece: nobody is to make the daemon keep more than one message.
        if let Some(length) = announced(&read)?
            && read.len() > HEAD_BYTES + length
        {
            return Err(Reason::WrongForm.status("the request has more than one message"));
        }
    }
    match announced(&read)? {
        None if read.is_empty() => Err(Reason::WrongForm.status("the request has no message")),
        Some(length) if read.len() == HEAD_BYTES + length => Ok(read.freeze()),
        _ => Err(Reason::WrongForm.status("the request ends in the middle of its message")),
    }
}

/// The length that the head tells, as soon as the head is there.
fn announced(mut read: &[u8]) -> Result<Option<usize>, Status> {
    if read.len() < HEAD_BYTES {
        return Ok(None);
    }
    if read.get_u8() != 0 {
        return Err(Reason::Compressed.status("compressed requests are not understood: send it as it is"));
    }
    let length = read.get_u32() as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(Reason::WrongForm
            .status(format!("the request has {length} bytes; at most {MESSAGE_BYTES_MAX} are allowed")));
    }
    Ok(Some(length))
}
