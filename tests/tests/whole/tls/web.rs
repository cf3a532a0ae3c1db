//! Browsers: gRPC-web over HTTP/1.1 and HTTP/2, which pages may call, and that all limits hold for them as for everyone.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use settled_proto::v1::admin_client::AdminClient;
use settled_proto::v1::watch_request::Start;
use settled_proto::v1::{
    CommandResponse, ListResourcesRequest, Role, WatchRequest, WatchResponse, WhoAmIRequest, WhoAmIResponse,
    watch_response,
};
use settled_tests::address::free_address;
use settled_tests::daemon::Options;
use settled_tests::engine::install;
use settled_tests::patience::until;
use settled_tests::server::Server;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::page::{Form, Frame, Frames, Head, PANEL, Page};
use super::world::{Authority, House, listening, token};

const WHO: &str = "/settled.v1.Admin/WhoAmI";
const INSTALL: &str = "/settled.v1.Resources/Install";
const WATCH: &str = "/settled.v1.Transitions/Watch";

fn for_pages() -> Options {
    Options::default().set("LISTEN__WEB__ORIGINS", PANEL)
}

/// What lets a page read an answer.
fn is_shared(head: &Head) -> bool {
    head.get("access-control-allow-origin") == Some(PANEL)
        && head
            .get("access-control-expose-headers")
            .is_some_and(|all| all.contains("grpc-status-details-bin"))
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().unwrap_or_else(|| panic!("{status:?}")).reason.clone()
}

async fn says_who(page: &mut Page) -> Result<String, Status> {
    let answer: WhoAmIResponse = page.call(WHO, &WhoAmIRequest {}).await?;
    Ok(format!("{} {:?}", answer.principal, answer.role()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_installs_watches_and_hears_why_not_over_http_1_1() {
    let house = House::open_with(for_pages()).await;
    let server = Server::start();
    house.daemon.servers().create(server.record("web")).await.unwrap();
    let secret = token(&house.daemon, "panel", Role::Operator, 1).await;
    for (form, name) in [(Form::Binary, "a"), (Form::Text, "b")] {
        let open = || async { Page::open(&house.caller(), house.address, form, &secret).await };
        let (mut page, mut eye) = (open().await, open().await);
        let may = page.question(INSTALL).await;
        assert_eq!((may.code, may.get("access-control-allow-methods")), (204, Some("POST")));
        assert!(
            may.get("access-control-allow-headers").unwrap().contains("authorization") && is_shared(&may)
        );
        assert_eq!(says_who(&mut page).await.unwrap(), "token:panel Operator", "on the same connection");

        let watch = WatchRequest { start: Some(Start::FromNow(true)), ..WatchRequest::default() };
        let head = eye.ask(WATCH, &watch).await;
        assert!(head.code == 200 && is_shared(&head));
        let mut frames = Frames::default();
        assert!(matches!(next(&mut frames, &mut eye, &head).await, watch_response::Event::Bookmark(_)));

        let answer: CommandResponse = page.call(INSTALL, &install(name, "web", name)).await.unwrap();
        let id = answer.resource.unwrap().id;
        loop {
            let event = next(&mut frames, &mut eye, &head).await;
            if matches!(event, watch_response::Event::Transition(seen) if seen.resource_id == id) {
                break;
            }
        }
        let refused = page.call::<CommandResponse>(INSTALL, &install("none", "nowhere", name)).await;
        let refused = refused.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "NOT_FOUND"));
        assert!(refused.message().contains("nowhere"), "{refused:?}");
        let about = refused.get_error_details().resource_info().unwrap().clone();
        assert_eq!((about.resource_type.as_str(), about.resource_name.as_str()), ("server", "nowhere"));
    }
}

async fn next(frames: &mut Frames, page: &mut Page, head: &Head) -> watch_response::Event {
    match frames.next(page, head).await {
        Some(Frame::Message(bytes)) => {
            let answer: WatchResponse = prost::Message::decode(&bytes[..]).unwrap();
            answer.event.expect("each answer tells something")
        }
        Some(Frame::End(status)) => panic!("the watch ended: {status:?}"),
        None => panic!("the watch ended without a word"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_prefers_http_2_is_served_over_it() {
    let house = House::open_with(for_pages()).await;
    let secret = token(&house.daemon, "panel", Role::Viewer, 1).await;
    let stream = house.caller().speaking(&["h2", "http/1.1"]).connect(house.address).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("https://settled.test{WHO}"))
        .header("content-type", "application/grpc-web+proto")
        .header("origin", PANEL)
        .header("authorization", format!("Bearer {secret}"))
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], PANEL);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains("token:panel") && text.contains("grpc-status:0"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_a_page_of_another_origin_gets_nothing_and_one_that_may_needs_credentials() {
    let house = House::open_with(for_pages()).await;
    let server = Server::start();
    house.daemon.servers().create(server.record("web")).await.unwrap();
    let secret = token(&house.daemon, "panel", Role::Operator, 1).await;
    let open = || async { Page::open(&house.caller(), house.address, Form::Binary, &secret).await };
    let others =
        ["https://panel.example.evil", "https://evil.example", "http://panel.example", "null", "", "*"];
    for other in others {
        let mut page = open().await.of(Some(other));
        let may = page.question(INSTALL).await;
        assert_eq!(may.code, 403, "{other}");
        let mut page = open().await.of(Some(other));
        let head = page.ask(INSTALL, &install("stolen", "web", "stolen")).await;
        assert_eq!(head.code, 403, "{other}");
        for head in [may, head] {
            let told: Vec<_> =
                head.headers.keys().filter(|name| name.as_str().starts_with("access-")).collect();
            assert!(told.is_empty(), "{other}: {told:?}");
        }
    }
    let list = house.daemon.resources().list(ListResourcesRequest::default()).await.unwrap().into_inner();
    assert!(list.resources.is_empty(), "nothing was done: {list:?}");

    let mut unknown = open().await.without_token();
    let head = unknown.ask(WHO, &WhoAmIRequest {}).await;
    assert!(is_shared(&head), "the page may read why");
    let refused = unknown.answer::<WhoAmIResponse>(&head).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "NO_CREDENTIALS"));
    // What is no browser has no origin, and needs none.
    let mut script = open().await.of(None);
    assert_eq!(says_who(&mut script).await.unwrap(), "token:panel Operator");
    // What is no gRPC-web is nothing at all.
    let mut stray = open().await;
    stray.write(b"GET / HTTP/1.1\r\nHost: settled.test\r\n\r\n").await;
    assert_eq!(stray.head().await.code, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_where_no_page_is_named_every_page_is_refused_before_anything_is_done() {
    let house = House::open().await;
    let secret = token(&house.daemon, "panel", Role::Operator, 1).await;
    let wire = house.caller().with_token(&secret).channel(house.address).await.unwrap();
    let mut admin = AdminClient::new(wire);
    let mut of_a_page = tonic::Request::new(WhoAmIRequest {});
    of_a_page.metadata_mut().insert("origin", "https://evil.example".parse().unwrap());
    let refused = admin.who_am_i(of_a_page).await.unwrap_err();
    assert!(refused.message().contains("403 Forbidden"), "{refused:?}");
    assert_eq!(admin.who_am_i(WhoAmIRequest {}).await.unwrap().into_inner().principal, "token:panel");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_over_http_1_1_ends_at_every_stage_and_an_open_stream_does_not() {
    let patience = [("HANDSHAKE_S", "3"), ("FIRST_REQUEST_S", "4"), ("IDLE_S", "5"), ("BODY_S", "2")];
    let set = |options: Options, (key, value): (&str, &str)| options.set(&format!("LIMITS__{key}"), value);
    let house = House::open_with(patience.into_iter().fold(for_pages(), set)).await;
    let secret = token(&house.daemon, "panel", Role::Operator, 1).await;
    let open = || async { Page::open(&house.caller(), house.address, Form::Binary, &secret).await };
    let mut eye = open().await;
    let watch = WatchRequest { start: Some(Start::FromNow(true)), ..WatchRequest::default() };
    let head = eye.ask(WATCH, &watch).await;
    let mut frames = Frames::default();
    next(&mut frames, &mut eye, &head).await;

    let silent = async { open().await.rest().await };
    let half_a_head = async {
        let mut page = open().await;
        let head = page.request(INSTALL, 5);
        page.write(&head.as_bytes()[..head.len() - 4]).await;
        page.rest().await
    };
    let no_body = async {
        let mut page = open().await;
        let head = page.request(INSTALL, 100);
        page.write(head.as_bytes()).await;
        page.write(&[0; 5]).await;
        let head = page.head().await;
        let refused = page.answer::<CommandResponse>(&head).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::DeadlineExceeded, "SLOW_REQUEST"));
        page.rest().await
    };
    let nothing_more = async {
        let mut page = open().await;
        says_who(&mut page).await.unwrap();
        page.rest().await
    };
    let half_a_second_head = async {
        let mut page = open().await;
        says_who(&mut page).await.unwrap();
        page.write(b"POST /settled.v1.Admin/WhoAmI HTTP/1.1\r\nHost: settled.test\r\nX-").await;
        page.rest().await
    };
    let rests = tokio::join!(silent, half_a_head, no_body, nothing_more, half_a_second_head);
    assert_eq!(rests, <(Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>)>::default());
    // All of that took longer than the patience with who is idle.
    next(&mut frames, &mut eye, &head).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_may_take_is_what_everyone_may() {
    let options = for_pages().set("LIMITS__REQUESTS_PER_S", "1").set("LIMITS__REQUESTS_BURST", "5");
    let house = House::open_with(options).await;
    let secret = token(&house.daemon, "panel", Role::Operator, 1).await;
    let open = || async { Page::open(&house.caller(), house.address, Form::Binary, &secret).await };

    let mut large = open().await;
    let mut begins = large.request(INSTALL, 8 << 20).into_bytes();
    begins.extend([0, 0, 0x80, 0, 0]);
    large.write(&begins).await;
    let head = large.head().await;
    let refused = large.answer::<CommandResponse>(&head).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "WRONG_FORM"));

    let mut chatty = open().await;
    let mut head = chatty.request(WHO, 5);
    head.insert_str(head.len() - 2, &format!("X-More: {}\r\n", "x".repeat(17 << 10)));
    chatty.write(head.as_bytes()).await;
    assert_eq!(chatty.head().await.code, 431);

    let mut page = open().await;
    let refused = loop {
        if let Err(refused) = says_who(&mut page).await {
            break refused;
        }
    };
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "TOO_FAST"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_let_in_and_out_by_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("settled.toml");
    std::fs::write(&file, "").unwrap();
    let (authority, address) = (Authority::new(), free_address());
    let files = tempfile::tempdir().unwrap();
    authority.daemon().put(files.path());
    let daemon = listening(Options::default(), address, files.path()).start_in(dir).await;
    let house = House { daemon, authority, address, files };
    let secret = token(&house.daemon, "panel", Role::Viewer, 1).await;
    let browser = || house.caller().speaking(&["http/1.1"]);
    browser().connect(address).await.expect_err("nobody speaks HTTP/1.1 by default");

    std::fs::write(&file, format!("[listen.web]\norigins = ['{PANEL}']\n")).unwrap();
    house.daemon.reload();
    until("pages are let in", async || browser().connect(address).await.ok()).await;
    let mut page = Page::open(&house.caller(), address, Form::Binary, &secret).await;
    assert_eq!(says_who(&mut page).await.unwrap(), "token:panel Viewer");

    std::fs::write(&file, "[listen.web]\norigins = ['https://other.example']\n").unwrap();
    house.daemon.reload();
    until("the page is another one's", async || (page.question(WHO).await.code == 403).then_some(())).await;
}
