//! Counts calls: by method and by the code that they end with, and how long each waited for its answer to begin.
//!
//! It stands outside all else, so what is refused anywhere counts too. The code of a call comes at the end of its answer; whoever goes away
//! before has cancelled it. Methods and codes are those of the contract, so the figures are bounded whatever callers ask.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};

use super::around::{Services, around};
use super::methods;
use super::refusals::word;
use crate::clock::Clock;
use crate::figures::{By, Count, Counts, Spread};

/// What is asked beside the contract: health, reflection, and what nobody knows.
const OTHER: &str = "other";
/// Borders of how long an answer takes to begin, in seconds.
const BORDERS_S: [f64; 9] = [0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// The figures of the API, since the start.
#[derive(Debug, Default)]
pub struct Calls {
    /// Calls that have ended, by method and by code.
    pub ended: Counts<(&'static str, &'static str)>,
    /// How long answers took to begin, by method; what a stream tells after that does not count.
    pub answered: By<&'static str, Spread>,
    /// Refusals that are on record in the audit.
    pub recorded: Count,
    /// Refusals that belong on record and are not: too many of one principal at once, or the store did not take them.
    pub unrecorded: Count,
}

/// The services, counted.
pub(super) fn counted(inner: impl Services, calls: Arc<Calls>, clock: Arc<dyn Clock>) -> impl Services {
    around(inner, (calls, clock), |request, inner, (calls, clock)| async move {
        let method = methods::at(request.uri().path()).map_or(OTHER, |method| method.name.as_str());
        let began = clock.monotonic();
        let mut call = Call { calls, method, code: None };
        let answer = inner.answer(request).await;
        call.answered(clock.monotonic().saturating_sub(began));
        // A refusal has no body: its code stands in the head.
        call.code = Status::from_header_map(answer.headers()).map(|status| status.code());
        answer.map(|body| Body::new(Counted { body, call }))
    })
}

/// A call that is counted when it goes.
struct Call {
    calls: Arc<Calls>,
    method: &'static str,
    code: Option<Code>,
}

impl Call {
    fn answered(&self, took: Duration) {
        self.calls.answered.of(self.method, || Spread::new(&BORDERS_S)).took(took);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.calls.ended.add((self.method, word(self.code.unwrap_or(Code::Cancelled))));
    }
}

struct Counted {
    body: Body,
    call: Call,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let status = frame.trailers_ref().and_then(Status::from_header_map);
                self.call.code = status.map(|status| status.code()).or(self.call.code);
            }
            Poll::Ready(Some(Err(status))) => self.call.code = Some(status.code()),
            Poll::Ready(None) => self.call.code = self.call.code.or(Some(Code::Unknown)),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
