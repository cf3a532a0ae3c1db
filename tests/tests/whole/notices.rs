//! Notices: posted to a real HTTP server, signed, sent again under their id, by one of two daemons, and given up after a day.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use settled::secrets::signature;
use settled_proto::v1::{
    CreateNotifierRequest, CreateServerRequest, Delivery, ListDeliveriesRequest, NoticeEvent,
    TestNotifierRequest,
};
use settled_tests::daemon::{self, TestDaemon};
use settled_tests::http::{Endpoint, Got, answer};
use settled_tests::patience::until;
use settled_tests::server::{Server, fresh_id, install, package_dir, settled};

use crate::cli::settlectl_at;
use crate::shared::{pair, status};

const SECRET: &str = "a secret of more than 16 bytes";
/// A port where nobody listens.
const NOBODY: u32 = 1;

async fn notifier(daemon: &TestDaemon, name: &str, url: &str, events: &[NoticeEvent]) {
    let request = CreateNotifierRequest {
        request_id: fresh_id(),
        name: name.to_owned(),
        url: url.to_owned(),
        secret: SECRET.as_bytes().to_vec(),
        events: events.iter().map(|event| (*event).into()).collect(),
        ..CreateNotifierRequest::default()
    };
    daemon.admin().create_notifier(request).await.unwrap();
}

async fn test(daemon: &TestDaemon, name: &str) -> Delivery {
    let request = TestNotifierRequest { request_id: fresh_id(), notifier: name.to_owned() };
    daemon.admin().test_notifier(request).await.unwrap().into_inner().delivery.unwrap()
}

async fn deliveries(daemon: &TestDaemon) -> Vec<Delivery> {
    let request = ListDeliveriesRequest { page_size: 500, ..ListDeliveriesRequest::default() };
    daemon.admin().list_deliveries(request).await.unwrap().into_inner().deliveries
}

fn is_signed(got: &Got) -> bool {
    let seconds = got.header("settled-timestamp").parse().unwrap();
    let id = got.json()["id"] == got.header("settled-id");
    id && got.header("settled-signature") == signature(SECRET.as_bytes(), seconds, got.body.as_bytes())
}

const BREAKS: &str = r#"
name = "breaks"
summary = "Takes a secret, and fails"

[parameters.password]
type = "secret"
summary = "The secret"

[operations.install]
attempts = 1
[[operations.install.steps]]
title = "Break"
secrets = ["password"]
script = '''
cat "$SETTLED_SECRETS/password"
exit 3
'''

[operations.remove]
[[operations.remove.steps]]
title = "Nothing"
script = "true"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_run_that_fails_is_told_signed_and_without_a_secret() {
    const PASSWORD: &str = "correct-horse-battery";
    let packages = package_dir("breaks", BREAKS);
    let dir = packages.path().display().to_string();
    let daemon = daemon::Options::default().set("PACKAGES__DIR", &dir).start().await;
    let server = Server::start();
    server.register(&daemon, "web").await;
    let endpoint = Endpoint::answering(&[&answer("204 No Content", "", "")]).await;
    notifier(&daemon, "ops", &endpoint.url("/hook"), &[]).await;
    let mut request = install("web", "breaks", "one", &[]);
    request.secrets.insert("password".to_owned(), PASSWORD.as_bytes().to_vec());
    let run = daemon.resources().install(request).await.unwrap().into_inner().run.unwrap().id;
    let run = settled(&daemon, &run).await;
    let got = endpoint.has(1).await.remove(0);
    assert_eq!(got.line, "POST /hook HTTP/1.1");
    assert_eq!(got.header("content-type"), "application/json");
    assert!(is_signed(&got), "{got:?}");
    assert!(!got.body.contains(PASSWORD) && !got.body.contains(SECRET), "{}", got.body);
    let mut told = got.json();
    let keys: BTreeSet<_> = told.as_object().unwrap().keys().cloned().collect();
    let page = include_str!("../../../docs/notifications.md");
    for key in &keys {
        assert!(page.contains(&format!("| `{key}` |")), "docs/notifications.md does not tell of {key}");
    }
    for key in ["id", "at", "detail"] {
        assert!(!told.as_object_mut().unwrap().remove(key).unwrap().as_str().unwrap().is_empty(), "{key}");
    }
    let expected = serde_json::json!({
        "event": "run_failed", "server": "web", "package": "breaks", "resource": "one", "operation": "install",
        "run_id": run.id, "reason": "step_failed", "text": "install of web/breaks/one has failed",
    });
    assert_eq!(told, expected);
    until("it is sent", async || deliveries(&daemon).await[0].ended_at.map(drop)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_notice_that_a_killed_daemon_was_sending_is_sent_again_under_its_id() {
    let daemon = daemon::Options::default().start().await;
    let endpoint = Endpoint::answering(&["", &answer("200 OK", "", "")]).await;
    notifier(&daemon, "ops", &endpoint.url("/hook"), &[]).await;
    let told = test(&daemon, "ops").await;
    endpoint.has(1).await;
    let home = daemon.kill().await;
    let daemon = daemon::Options::default().start_in(home).await;
    let got = endpoint.has(2).await;
    assert!(got.iter().all(|got| got.header("settled-id") == told.id && is_signed(got)), "{got:?}");
    assert_eq!(got[0].body, got[1].body);
    let sent = until("it is sent", async || {
        let told = deliveries(&daemon).await.remove(0);
        (told.ended_at.is_some()).then_some(told)
    })
    .await;
    assert_eq!((sent.id, sent.attempts), (told.id, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_gives_back_what_was_not_answered() {
    let daemon = daemon::Options::default().start().await;
    let endpoint = Endpoint::answering(&["", &answer("200 OK", "", "")]).await;
    notifier(&daemon, "ops", &endpoint.url("/hook"), &[]).await;
    test(&daemon, "ops").await;
    endpoint.has(1).await;
    let (stopped, home) = daemon.stop().await;
    stopped.unwrap();
    let _daemon = daemon::Options::default().start_in(home).await;
    let got = endpoint.has(2).await;
    assert_eq!(got[0].header("settled-id"), got[1].header("settled-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_keeps_nobody_waiting() {
    let daemon = daemon::Options::default().start().await;
    let hangs = Endpoint::answering(&[""]).await;
    let lives = Endpoint::answering(&[&answer("200 OK", "", "")]).await;
    notifier(&daemon, "a-hangs", &hangs.url("/hook"), &[]).await;
    notifier(&daemon, "b-lives", &lives.url("/hook"), &[]).await;
    for _ in 0..20 {
        test(&daemon, "a-hangs").await;
    }
    hangs.has(2).await;
    for _ in 0..5 {
        test(&daemon, "b-lives").await;
    }
    lives.has(5).await;
    assert_eq!(hangs.got().len(), 2, "two at once, and no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_is_sent_again_and_after_a_day_it_is_dead_and_status_says_so() {
    let daemon = daemon::Options::default().start().await;
    notifier(&daemon, "ops", &Endpoint::gone().url("/hook"), &[]).await;
    test(&daemon, "ops").await;
    let waits = until("it is put off", async || {
        let told = deliveries(&daemon).await.remove(0);
        (!told.last_error.is_empty()).then_some(told)
    })
    .await;
    assert!(waits.last_error.contains("it cannot be reached"), "{waits:?}");
    assert!(waits.next_try.is_some() && waits.ended_at.is_none(), "{waits:?}");
    assert_eq!(status(&daemon).await.warnings, Vec::<String>::new());

    let (stopped, home) = daemon.stop().await;
    stopped.unwrap();
    let tomorrow = daemon::Options::default().later(Duration::from_secs(86_400));
    let daemon = tomorrow.start_in(home).await;
    let dead = until("it is given up", async || {
        let told = deliveries(&daemon).await.remove(0);
        told.ended_at.is_some().then_some(told)
    })
    .await;
    assert_eq!((dead.state(), dead.attempts), (settled_proto::v1::DeliveryState::Dead, 2), "{dead:?}");
    let warnings = status(&daemon).await.warnings;
    let named = warnings.iter().any(|warning| {
        warning.contains("notifier ops") && warning.contains("deliveries --notifier ops --state dead")
    });
    assert!(named, "{warnings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_send_each_notice_once() {
    const SERVERS: usize = 12;
    let (one, two, _dir) = pair().await;
    until("both know of each other", async || (status(&one).await.daemons.len() == 2).then_some(())).await;
    let endpoint = Endpoint::answering(&[&answer("200 OK", "", "")]).await;
    notifier(&one, "ops", &endpoint.url("/hook"), &[NoticeEvent::ServerUnreachable]).await;
    let server = Server::start();
    for n in 0..SERVERS {
        let record = CreateServerRequest { port: NOBODY, ..server.record(&format!("s{n}")) };
        one.servers().create(record).await.unwrap();
    }
    let all_sent = async || {
        let told = deliveries(&two).await;
        let sent = told.iter().filter(|told| told.ended_at.is_some()).count();
        (sent == SERVERS).then_some(())
    };
    until("all are sent", all_sent).await;
    let got = endpoint.got();
    let ids: BTreeSet<_> = got.iter().map(|got| got.header("settled-id").to_owned()).collect();
    assert_eq!((got.len(), ids.len()), (SERVERS, SERVERS), "each once");
    let servers: BTreeSet<_> = got.iter().map(|got| got.json()["server"].to_string()).collect();
    assert_eq!(servers.len(), SERVERS);
    assert!(got.iter().all(|got| got.json()["event"] == "server_unreachable" && is_signed(got)));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_make_try_and_take_away_notifiers_with_settlectl() {
    let daemon = daemon::Options::default().start().await;
    let said = async |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let output = settlectl_at(&daemon, &words).output().await.unwrap();
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code().unwrap(), printed, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let refuses = answer("404 Not Found", "", "no such hook");
    let endpoint = Endpoint::answering(&[&answer("200 OK", "", ""), &refuses]).await;
    let file = secret.display();
    let (code, made, told) = said(&format!(
        "notifier create ops --url {} --secret-file {file} --event run_failed --label tier=web",
        endpoint.url("/hook")
    ))
    .await;
    assert_eq!((code, &made["name"], &made["events"][0]), (0, &"ops".into(), &"run_failed".into()), "{told}");
    let (code, tried, told) = said("notifier test ops").await;
    assert_eq!((code, &tried["state"]), (0, &"sent".into()), "{told}");
    assert!(is_signed(&endpoint.got()[0]), "the end of the line is no part of the secret");
    let (code, tried, told) = said("notifier test ops").await;
    assert_eq!((code, &tried["last_error"]), (1, &"it answered 404: no such hook".into()), "{told}");
    let (code, story, told) = said("notifier show ops").await;
    assert_eq!((code, story["deliveries"].as_array().unwrap().len()), (0, 2), "{told}");
    let (code, list, told) = said("notifier deliveries --notifier ops --state sent").await;
    assert_eq!((code, list["deliveries"].as_array().unwrap().len()), (0, 1), "{told}");
    assert_eq!(said("notifier delete ops").await.0, 0);
    assert_eq!(said("notifier list").await.1["notifiers"], serde_json::json!([]));
    let (code, _, told) = said("notifier create x --mail nobody").await;
    assert!(code == 2 && told.contains("--mail"), "{code} {told}");
}
