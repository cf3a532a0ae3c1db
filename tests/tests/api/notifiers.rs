//! Notifiers over the API: made once, shown without their secret, tried out, taken away; and what is wrong with them is told field by field.

use std::collections::BTreeMap;

use settled_proto::v1::{
    CreateNotifierRequest, DeleteNotifierRequest, DeliveryState, GetNotifierRequest, ListAuditRequest,
    ListDeliveriesRequest, ListNotifiersRequest, NoticeEvent, TestNotifierRequest,
};
use settled_tests::engine::Served;
use tonic::Code;

use crate::fields;

/// Of which nothing is told beside packages.
const OF_SERVERS: [NoticeEvent; 5] = [
    NoticeEvent::ServerUnreachable,
    NoticeEvent::ServerRefused,
    NoticeEvent::ServerBack,
    NoticeEvent::LaneHeld,
    NoticeEvent::LaneFreed,
];
const SECRET: &str = "a secret of more than 16 bytes";

fn webhook(request_id: &str, name: &str) -> CreateNotifierRequest {
    CreateNotifierRequest {
        request_id: request_id.to_owned(),
        name: name.to_owned(),
        url: "https://hooks.example.org/T0KEN".to_owned(),
        secret: SECRET.as_bytes().to_vec(),
        ..CreateNotifierRequest::default()
    }
}

fn mail(request_id: &str, name: &str) -> CreateNotifierRequest {
    CreateNotifierRequest {
        recipients: vec!["ops@example.org".to_owned()],
        url: String::new(),
        secret: Vec::new(),
        ..webhook(request_id, name)
    }
}

#[tokio::test]
async fn p2_p12_a_notifier_is_made_once_and_shown_without_its_secret() {
    let api = Served::start().await;
    let labels = BTreeMap::from([("tier".to_owned(), "web".to_owned())]);
    let request = CreateNotifierRequest { labels, ..webhook("n1", "ops") };
    let made = api.admin().create_notifier(request.clone()).await.unwrap().into_inner().notifier.unwrap();
    let again = api.admin().create_notifier(request).await.unwrap().into_inner().notifier.unwrap();
    assert_eq!(again, made);
    let trouble = [
        NoticeEvent::RunFailed,
        NoticeEvent::RunBlocked,
        NoticeEvent::RunNeverStarted,
        NoticeEvent::RunStuck,
        NoticeEvent::ServerUnreachable,
        NoticeEvent::ServerRefused,
        NoticeEvent::LaneHeld,
        NoticeEvent::ResourceDrifted,
    ];
    assert_eq!(made.events().collect::<Vec<_>>(), trouble, "what goes wrong, when nobody says");
    let packages = vec!["site".to_owned()];
    let of_package = CreateNotifierRequest { packages, ..webhook("n4", "sites") };
    let of_package = api.admin().create_notifier(of_package).await.unwrap().into_inner().notifier.unwrap();
    let of_packages = trouble.into_iter().filter(|event| !OF_SERVERS.contains(event));
    assert_eq!(of_package.events().collect::<Vec<_>>(), of_packages.collect::<Vec<_>>());
    let taken = api.admin().create_notifier(webhook("n2", "ops")).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists, "{taken:?}");

    let events = vec![NoticeEvent::RunSucceeded.into()];
    let request = CreateNotifierRequest { events, ..mail("n3", "mails") };
    let mails = api.admin().create_notifier(request).await.unwrap().into_inner().notifier.unwrap();
    assert_eq!((mails.url.as_str(), &mails.recipients[..]), ("", &["ops@example.org".to_owned()][..]));
    let all = api.admin().list_notifiers(ListNotifiersRequest {}).await.unwrap().into_inner().notifiers;
    assert_eq!(all, [mails, made.clone(), of_package]);
    for named in ["ops", &made.id] {
        let request = GetNotifierRequest { notifier: named.to_owned() };
        let one = api.admin().get_notifier(request).await.unwrap().into_inner().notifier.unwrap();
        assert_eq!(one, made);
    }
    let audit = api.admin().list_audit(ListAuditRequest::default()).await.unwrap().into_inner().entries;
    assert!(audit.iter().all(|entry| entry.object.starts_with("notifier:")), "{audit:?}");
    let told = format!("{audit:?}{taken:?}");
    assert!(!told.contains(SECRET) && !told.contains("T0KEN"), "an URL may be a secret itself: {told}");
}

#[tokio::test]
async fn what_is_wrong_with_a_notifier_is_told_field_by_field() {
    let api = Served::start().await;
    let url = |url: &str| CreateNotifierRequest { url: url.to_owned(), ..webhook("x", "ops") };
    let to = |to: &str| CreateNotifierRequest { recipients: vec![to.to_owned()], ..mail("x", "ops") };
    let table = [
        (CreateNotifierRequest { name: "Ops".to_owned(), ..webhook("x", "") }, "name"),
        (CreateNotifierRequest { secret: b"short".to_vec(), ..webhook("x", "ops") }, "secret"),
        (url("http://hooks.example.org/"), "url"),
        (url("ftp://hooks.example.org/"), "url"),
        (url("https://user@hooks.example.org/"), "url"),
        (CreateNotifierRequest { url: String::new(), ..webhook("x", "ops") }, "url"),
        (to("ops@example.org\r\nDATA"), "recipients"),
        (to("Ops <ops@example.org>"), "recipients"),
        (CreateNotifierRequest { secret: vec![1; 20], ..mail("x", "ops") }, "recipients"),
        (CreateNotifierRequest { recipients: vec!["a@b".to_owned()], ..webhook("x", "ops") }, "recipients"),
        (CreateNotifierRequest { events: vec![NoticeEvent::Test.into()], ..mail("x", "ops") }, "events"),
        (CreateNotifierRequest { events: vec![99], ..mail("x", "ops") }, "events"),
        (CreateNotifierRequest { packages: vec!["a b".to_owned()], ..mail("x", "ops") }, "packages"),
    ];
    let never = |event: NoticeEvent| {
        let (events, packages) = (vec![event.into()], vec!["site".to_owned()]);
        (CreateNotifierRequest { events, packages, ..mail("x", "ops") }, "events")
    };
    let unknown = CreateNotifierRequest { packages: vec!["nopkg".to_owned()], ..mail("x", "ops") };
    for (request, field) in table.into_iter().chain(OF_SERVERS.map(never)).chain([(unknown, "packages")]) {
        let refused = api.admin().create_notifier(request.clone()).await.unwrap_err();
        assert_eq!(fields(&refused), [field], "{request:?}: {refused:?}");
    }
    let plain = CreateNotifierRequest { plain: true, ..url("http://hooks.example.org/") };
    api.admin().create_notifier(plain).await.unwrap();
}

#[tokio::test]
async fn a_test_is_queued_once_and_goes_with_its_notifier() {
    let api = Served::start().await;
    api.admin().create_notifier(webhook("n1", "ops")).await.unwrap();
    let ask = |id: &str| TestNotifierRequest { request_id: id.to_owned(), notifier: "ops".to_owned() };
    let first = api.admin().test_notifier(ask("t1")).await.unwrap().into_inner().delivery.unwrap();
    assert_eq!((first.event(), first.state()), (NoticeEvent::Test, DeliveryState::Waiting));
    let again = api.admin().test_notifier(ask("t1")).await.unwrap().into_inner().delivery.unwrap();
    assert_eq!(again, first);
    let second = api.admin().test_notifier(ask("t2")).await.unwrap().into_inner().delivery.unwrap();
    assert_ne!(second.id, first.id);

    let page = |page_size, page_token: &str| ListDeliveriesRequest {
        page_size,
        page_token: page_token.to_owned(),
        notifier: "ops".to_owned(),
        state: DeliveryState::Waiting.into(),
    };
    let newest = api.admin().list_deliveries(page(1, "")).await.unwrap().into_inner();
    assert_eq!(newest.deliveries, [second]);
    let oldest = api.admin().list_deliveries(page(1, &newest.next_page_token)).await.unwrap().into_inner();
    assert_eq!((oldest.deliveries, oldest.next_page_token.as_str()), (vec![first], ""));
    let other = ListDeliveriesRequest { state: DeliveryState::Dead.into(), ..page(9, "") };
    assert_eq!(api.admin().list_deliveries(other).await.unwrap().into_inner().deliveries, []);

    let delete = |id: &str| DeleteNotifierRequest { request_id: id.to_owned(), notifier: "ops".to_owned() };
    let gone = api.admin().delete_notifier(delete("d1")).await.unwrap().into_inner();
    assert_eq!(api.admin().delete_notifier(delete("d1")).await.unwrap().into_inner(), gone);
    assert_eq!(api.admin().delete_notifier(delete("d2")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(api.admin().test_notifier(ask("t3")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(api.admin().list_deliveries(page(9, "")).await.unwrap_err().code(), Code::NotFound);
    let all = ListDeliveriesRequest { notifier: String::new(), ..page(9, "") };
    assert_eq!(api.admin().list_deliveries(all).await.unwrap().into_inner().deliveries, []);
}

#[test]
fn every_event_is_documented() {
    let text = include_str!("../../../docs/notifications.md");
    for event in settled::domain::notice::NoticeEvent::ALL {
        let is_told = settled::domain::notice::NoticeEvent::TROUBLE.contains(event);
        let line = text.lines().find(|line| line.starts_with(&format!("| `{event}` | ")));
        let line = line.unwrap_or_else(|| panic!("docs/notifications.md does not tell of {event}"));
        assert_eq!(line.ends_with("| told |"), is_told, "{event}");
    }
}
