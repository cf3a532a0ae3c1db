//! What a caller may take: time for its request, bytes on their way, requests in a second, open streams. And how it is told.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use settled::grpc::{Limits, Portions};
use settled_proto::v1::{GetStatusRequest, WatchRequest};
use settled_tests::engine::{LIMITS, Served};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::soon;

type Body = StreamBody<stream::BoxStream<'static, Result<Frame<Bytes>, Status>>>;

/// These bytes, and then nothing more for ever.
fn unfinished(bytes: Vec<u8>) -> Body {
    let first = stream::iter([Ok(Frame::data(Bytes::from(bytes)))]);
    StreamBody::new(first.chain(stream::pending()).boxed())
}

fn whole(bytes: Vec<u8>) -> Body {
    StreamBody::new(stream::iter([Ok(Frame::data(Bytes::from(bytes)))]).boxed())
}

/// The first bytes of a message of this length.
fn beginning(length: u32, there: usize) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(length.to_be_bytes());
    bytes.resize(5 + there, 0);
    bytes
}

/// A caller who holds to the protocol and to nothing else.
struct Raw(hyper::client::conn::http2::SendRequest<Body>);

impl Raw {
    async fn connect(api: &Served) -> Self {
        let stream = TokioIo::new(tokio::net::UnixStream::connect(api.socket()).await.unwrap());
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// The status with which a request ends, wherever it stands.
    fn ask(
        &self,
        method: &str,
        timeout: Option<&str>,
        body: Body,
    ) -> impl Future<Output = Status> + Send + use<> {
        let mut request = Request::post(format!("http://settled{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(timeout) = timeout {
            request = request.header("grpc-timeout", timeout);
        }
        let request = request.body(body).unwrap();
        let mut sender = self.0.clone();
        async move {
            let answer = sender.send_request(request).await.unwrap();
            let of = |headers: &HeaderMap| Status::from_header_map(headers);
            if let Some(status) = of(answer.headers()) {
                return status;
            }
            let collected = answer.into_body().collect().await.unwrap();
            of(collected.trailers().expect("an answer ends with its status")).unwrap()
        }
    }
}

const INSTALL: &str = "/settled.v1.Resources/Install";
const WATCH: &str = "/settled.v1.Transitions/Watch";

fn retry_after(status: &Status) -> Duration {
    let details = status.get_error_details();
    details.retry_info().and_then(|retry| retry.retry_delay).unwrap_or_else(|| panic!("{status:?}"))
}

#[tokio::test]
async fn a_request_that_does_not_arrive_ends_and_all_that_are_on_their_way_are_bounded_in_sum() {
    let portions = Portions { body_bytes: 1_000_000, ..LIMITS.portions };
    let body = Duration::from_secs(3);
    let api = Served::with_limits(Limits { body, portions, ..LIMITS }).await;
    let raw = Raw::connect(&api).await;
    // Ten times more than may be on the way.
    let slow: Vec<_> = (0..40)
        .map(|_| tokio::spawn(raw.ask(INSTALL, None, unfinished(beginning(1 << 20, 250_000)))))
        .collect();
    let mut codes = Vec::new();
    for asked in slow {
        codes.push(soon("the end of a slow request", asked).await.unwrap().code());
    }
    let count = |code| codes.iter().filter(|found| **found == code).count();
    let (late, too_many) = (count(Code::DeadlineExceeded), count(Code::ResourceExhausted));
    assert!(late > 0 && too_many > 0, "{codes:?}");
    assert_eq!(late + too_many, 40, "{codes:?}");
    // All of it was given back.
    api.admin().get_status(GetStatusRequest {}).await.unwrap();
    let last = raw.ask(INSTALL, None, whole(beginning(900_000, 900_000)));
    let refused = soon("a refusal", last).await;
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
}

#[tokio::test]
async fn a_deadline_is_told_as_such_by_the_server_too() {
    let api = Served::start().await;
    let raw = Raw::connect(&api).await;
    let stream = soon("the end of a stream", raw.ask(WATCH, Some("300m"), whole(beginning(0, 0)))).await;
    assert_eq!(stream.code(), Code::DeadlineExceeded, "{stream:?}");
    let slow = raw.ask(INSTALL, Some("100m"), unfinished(beginning(100, 1)));
    let unary = soon("the end of a request", slow).await;
    assert_eq!(unary.code(), Code::DeadlineExceeded, "{unary:?}");
    let wrong = soon("a refusal", raw.ask(WATCH, Some("soon"), whole(beginning(0, 0)))).await;
    assert_eq!(wrong.code(), Code::InvalidArgument, "{wrong:?}");
}

#[tokio::test]
async fn a_principal_that_asks_without_end_is_told_to_slow_down_and_is_served_when_it_does() {
    let portions = Portions { requests_per_s: 2, requests_burst: 5, ..LIMITS.portions };
    let api = Served::with_limits(Limits { portions, ..LIMITS }).await;
    let at_once = (0..50).map(|_| {
        let mut admin = api.admin();
        async move { admin.get_status(GetStatusRequest {}).await.err() }
    });
    let answers = soon("the answers", futures::future::join_all(at_once)).await;
    let refused = answers.into_iter().flatten().next_back().expect("50 at once are more than 5");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("limits.requests_per_s"), "{refused:?}");
    let quota = refused.get_error_details().quota_failure().unwrap().clone();
    assert_eq!(quota.violations[0].description, "rate");
    let wait = retry_after(&refused);
    assert!(wait <= Duration::from_millis(500), "{wait:?}");
    let clock = api.engine.clock();
    clock.sleep_until(clock.monotonic() + wait).await;
    api.admin().get_status(GetStatusRequest {}).await.unwrap();
}

#[tokio::test]
async fn open_streams_are_bounded_and_one_that_ends_makes_room() {
    let portions = Portions { open: 2, ..LIMITS.portions };
    let api = Served::with_limits(Limits { portions, ..LIMITS }).await;
    let watch = || async { api.transitions().watch(WatchRequest::default()).await };
    let (one, _two) = (watch().await.unwrap(), watch().await.unwrap());
    let refused = watch().await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("limits.streams_per_principal_max"), "{refused:?}");
    retry_after(&refused);
    drop(one);
    let again = async {
        while watch().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon("room", again).await;
}

#[tokio::test]
async fn answers_that_nobody_takes_are_bounded_in_sum_and_end_their_connection() {
    let portions = Portions { body_bytes: 1_000_000, ..LIMITS.portions };
    let api = Served::with_limits(Limits { body: Duration::from_secs(3), portions, ..LIMITS }).await;
    let stream = tokio::net::UnixStream::connect(api.socket()).await.unwrap();
    // Nothing of an answer may come but its head.
    let handshake = h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(stream);
    let (client, connection) = handshake.await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..100 {
        let request = Request::post("http://settled/settled.v1.Packages/List")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
        answers.push(answer);
    }
    let heads = soon("the heads of the answers", futures::future::join_all(answers)).await;
    let mut taken = Vec::new();
    for head in heads {
        let (head, body) = head.unwrap().into_parts();
        match Status::from_header_map(&head.headers) {
            Some(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                let quota = status.get_error_details().quota_failure().unwrap().clone();
                assert_eq!(quota.violations[0].description, "answer bytes");
                retry_after(&status);
            }
            None => taken.push(body),
        }
    }
    assert!(!taken.is_empty() && taken.len() < 100, "{}", taken.len());
    // Who does not listen is not told either.
    let ended = soon("the end of the connection", connection).await.unwrap();
    assert!(ended.is_err() || taken.iter().all(|body| !body.is_end_stream()));
    // All of it was given back.
    api.packages().list(settled_proto::v1::ListPackagesRequest {}).await.unwrap();
}

#[tokio::test]
async fn what_stands_beside_the_contract_takes_no_large_messages() {
    let api = Served::start().await;
    let raw = Raw::connect(&api).await;
    for method in [
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        // It ends because of what it says that it will be, before any of it is kept. Reflection ends without a word.
        let asked = raw.ask(method, None, unfinished(beginning(4 << 20, 1)));
        let ended = soon("the end of the answer", asked).await;
        assert!(method.contains("Reflection") || ended.code() == Code::OutOfRange, "{method}: {ended:?}");
    }
}
