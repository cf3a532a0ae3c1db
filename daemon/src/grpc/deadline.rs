//! Deadlines of callers (`grpc-timeout`): what takes longer is ended, also in the middle of a stream, and is told as what it is.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame};
use tonic::Status;
use tonic::body::Body;

use super::around::{Services, around};
use super::reason::Reason;
use crate::clock::Clock;

/// Where a caller says how long it waits.
const TIMEOUT: &str = "grpc-timeout";
/// The longest time that is looked at; whoever says more waits for so long at least.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// The services, none of whose answers takes longer than its caller waits.
pub(super) fn limited(inner: impl Services, clock: Arc<dyn Clock>) -> impl Services {
    around(inner, clock, |request, inner, clock| async move {
        let span = match timeout(request.headers()) {
            Ok(None) => return inner.answer(request).await,
            Ok(Some(span)) => span,
            Err(status) => return status.into_http(),
        };
        let mut over: BoxFuture<'static, ()> = Box::pin(async move {
            let at = clock.monotonic() + span;
            clock.sleep_until(at).await;
        });
        tokio::select! {
            biased;
            answer = inner.answer(request) => answer.map(|body| Body::new(UntilDeadline { body, over: Some(over) })),
            () = &mut over => exceeded().into_http(),
        }
    })
}

fn exceeded() -> Status {
    Reason::DeadlineOver.status(
        "the deadline that came with the request is over; a command may have been accepted all the same: ask again with the same request_id",
    )
}

/// How long the caller waits: up to eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let wrong = || Reason::WrongForm.status("grpc-timeout is up to eight digits and one of H M S m u n");
    let text = value.to_str().map_err(|_| wrong())?;
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    if number.is_empty() || number.len() > 8 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let span = match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return Err(wrong()),
    };
    Ok(Some(span.min(LONGEST)))
}

/// An answer until its deadline.
struct UntilDeadline {
    body: Body,
    /// `None` once the deadline was told.
    over: Option<BoxFuture<'static, ()>>,
}

impl HttpBody for UntilDeadline {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(over) = &mut self.over else { return Poll::Ready(None) };
        if over.as_mut().poll(cx).is_pending() {
            return Pin::new(&mut self.body).poll_frame(cx);
        }
        self.over = None;
        // What the answer held is let go of now, not when the caller has read this.
        self.body = Body::empty();
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(exceeded().add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over.is_none() || self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_read_as_the_protocol_has_it() {
        let read = |text: &str| {
            let headers =
                HeaderMap::from_iter([(http::HeaderName::from_static(TIMEOUT), text.parse().unwrap())]);
            timeout(&headers).ok().flatten()
        };
        let table = [
            ("2H", Some(Duration::from_secs(7_200))),
            ("1M", Some(Duration::from_secs(60))),
            ("30S", Some(Duration::from_secs(30))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("99999999H", Some(LONGEST)),
            ("0S", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("5", None),
            ("123456789S", None),
            ("+5S", None),
            ("5s", None),
        ];
        for (text, expected) in table {
            assert_eq!(read(text), expected, "{text}");
        }
        assert_eq!(timeout(&HeaderMap::new()).unwrap(), None);
    }
}
