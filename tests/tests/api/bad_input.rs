//! Bad input: every method names the field that is wrong.

use std::collections::BTreeMap;

use settled_proto::v1::{
    CancelRunRequest, CheckPackageRequest, CreateServerRequest, CreateTokenRequest, DeleteServerRequest,
    DoRequest, FollowRunRequest, ForceUnlockServerRequest, GetPackageRequest, GetResourceRequest,
    GetRunRequest, GetServerRequest, InstallRequest, ListAuditRequest, ListResourcesRequest, ListRunsRequest,
    ListServersRequest, ListTokensRequest, PauseResourceRequest, PauseServerRequest, ProbeResourceRequest,
    ProbeServerRequest, ReconcileRequest, RekeyServerRequest, ReloadPackagesRequest, RemoveResourceRequest,
    ResumeResourceRequest, ResumeServerRequest, RetryResourceRequest, RevokeTokenRequest,
    TakeoverServerRequest, UpdateResourceRequest, UpdateServerRequest, WatchFilter, WatchRequest, Windows,
    watch_request::Start,
};
use settled_tests::engine::{Served, install};
use settled_tests::raw::send;
use tonic::{Code, Status};

use crate::fields;

/// Asserts that each request is refused with exactly these fields.
macro_rules! refuses {
    ($($client:expr, $method:ident, $request:expr => $fields:expr;)+) => {$(
        let request = $request;
        let shown = format!("{:.200}", format!("{request:?}"));
        match $client.$method(request).await {
            Ok(_) => panic!("{} accepted {shown}", stringify!($method)),
            Err(status) => {
                let expected: &[&str] = &$fields;
                assert_eq!(fields(&status), expected, "{} {shown}", stringify!($method));
            }
        }
    )+};
}

fn text(len: usize) -> String {
    "x".repeat(len)
}

fn id() -> String {
    "fresh".to_owned()
}

#[tokio::test]
async fn servers_name_the_field() {
    let api = Served::start().await;
    api.server("web1").await;
    let new = |name: &str| CreateServerRequest {
        request_id: id(),
        name: name.to_owned(),
        host: "192.0.2.9".to_owned(),
        ..CreateServerRequest::default()
    };
    let windows = |texts: &[&str]| Windows { windows: texts.iter().map(|&text| text.to_owned()).collect() };
    let edit = || UpdateServerRequest {
        request_id: id(),
        server: "web1".to_owned(),
        ..UpdateServerRequest::default()
    };
    let rekey = || RekeyServerRequest {
        request_id: id(),
        server: "web1".to_owned(),
        host_key: format!("SHA256:{}", "A".repeat(43)),
    };
    let unlock = || ForceUnlockServerRequest { request_id: id(), server: "web1".to_owned(), reason: id() };
    refuses! {
        api.servers(), create, CreateServerRequest { request_id: String::new(), ..new("a") } => ["request_id"];
        api.servers(), create, CreateServerRequest { request_id: text(129), ..new("a") } => ["request_id"];
        api.servers(), create, CreateServerRequest { request_id: "a\nb".into(), ..new("a") } => ["request_id"];
        api.servers(), create, new("") => ["name"];
        api.servers(), create, new("Web One") => ["name"];
        api.servers(), create, new(&text(64)) => ["name"];
        api.servers(), create, CreateServerRequest { host: String::new(), ..new("a") } => ["host"];
        api.servers(), create, CreateServerRequest { host: "-oProxyCommand=x".into(), ..new("a") } => ["host"];
        api.servers(), create, CreateServerRequest { port: 65_536, ..new("a") } => ["port"];
        api.servers(), create, CreateServerRequest { user: "a b".into(), ..new("a") } => ["user"];
        api.servers(), create, CreateServerRequest { host_key: "SHA256:short".into(), ..new("a") } => ["host_key"];
        api.servers(), create, CreateServerRequest { identity_key: b"no key".to_vec(), ..new("a") } => ["identity_key"];
        api.servers(), create, CreateServerRequest { identity_key: vec![b'x'; 17 * 1024], ..new("a") } => ["identity_key"];
        api.servers(), create, CreateServerRequest { identity: 1, ..new("a") } => ["identity_key"];
        api.servers(), create, CreateServerRequest { identity: 3, identity_key: b"x".to_vec(), ..new("a") } => ["identity"];
        api.servers(), create, CreateServerRequest { identity: 4, ..new("a") } => ["identity"];
        api.servers(), create, CreateServerRequest { labels: [(text(64), id())].into(), ..new("a") } => ["labels"];
        api.servers(), create, CreateServerRequest { host: String::new(), ..new("") } => ["name", "host"];
        api.servers(), create, CreateServerRequest { time_zone: "Nowhere/Nothing".into(), ..new("a") } => ["time_zone"];
        api.servers(), create, CreateServerRequest { time_zone: "../etc/passwd".into(), ..new("a") } => ["time_zone"];
        api.servers(), create, CreateServerRequest { time_zone: text(100_000), ..new("a") } => ["time_zone"];
        api.servers(), create, CreateServerRequest { windows: vec!["always".into()], ..new("a") } => ["windows"];
        api.servers(), create, CreateServerRequest { windows: vec![text(100_000)], ..new("a") } => ["windows"];
        api.servers(), create, CreateServerRequest { windows: vec!["daily 01:00-02:00".into(); 17], ..new("a") } => ["windows"];
        api.servers(), update, UpdateServerRequest { time_zone: Some("CEST?".into()), ..edit() } => ["time_zone"];
        api.servers(), update, UpdateServerRequest { windows: Some(windows(&["daily 01:00-02:00", ""])), ..edit() } => ["windows"];
        api.servers(), get, GetServerRequest { server: String::new() } => ["server"];
        api.servers(), get, GetServerRequest { server: text(1_000_000) } => ["server"];
        api.servers(), list, ListServersRequest { page_size: 501, ..Default::default() } => ["page_size"];
        api.servers(), list, ListServersRequest { page_token: "garbage".into(), ..Default::default() } => ["page_token"];
        api.servers(), update, UpdateServerRequest { request_id: String::new(), ..edit() } => ["request_id"];
        api.servers(), update, UpdateServerRequest { server: String::new(), ..edit() } => ["server"];
        api.servers(), update, UpdateServerRequest { port: Some(0), ..edit() } => ["port"];
        api.servers(), update, UpdateServerRequest { host: Some(String::new()), ..edit() } => ["host"];
        api.servers(), update, UpdateServerRequest { user: Some("; id".into()), ..edit() } => ["user"];
        api.servers(), update, UpdateServerRequest { identity_key: Some(b"x".to_vec()), ..edit() } => ["identity_key"];
        api.servers(), create, CreateServerRequest { via: "nowhere".into(), ..new("a") } => ["via"];
        api.servers(), create, CreateServerRequest { via: "a".into(), ..new("a") } => ["via"];
        api.servers(), create, CreateServerRequest { via: text(64), ..new("a") } => ["via"];
        api.servers(), update, UpdateServerRequest { via: Some("nowhere".into()), ..edit() } => ["via"];
        api.servers(), update, UpdateServerRequest { via: Some("web1".into()), ..edit() } => ["via"];
        api.servers(), update, UpdateServerRequest { via: Some(text(64)), ..edit() } => ["via"];
        api.servers(), rekey, RekeyServerRequest { request_id: String::new(), ..rekey() } => ["request_id"];
        api.servers(), rekey, RekeyServerRequest { server: String::new(), ..rekey() } => ["server"];
        api.servers(), rekey, RekeyServerRequest { host_key: String::new(), ..rekey() } => ["host_key"];
        api.servers(), rekey, RekeyServerRequest { host_key: "MD5:x".into(), ..rekey() } => ["host_key"];
        api.servers(), takeover, TakeoverServerRequest { server: "web1".into(), ..Default::default() } => ["request_id"];
        api.servers(), takeover, TakeoverServerRequest { request_id: id(), ..Default::default() } => ["server"];
        api.servers(), force_unlock, ForceUnlockServerRequest { request_id: String::new(), ..unlock() } => ["request_id"];
        api.servers(), force_unlock, ForceUnlockServerRequest { server: String::new(), ..unlock() } => ["server"];
        api.servers(), force_unlock, ForceUnlockServerRequest { reason: String::new(), ..unlock() } => ["reason"];
        api.servers(), force_unlock, ForceUnlockServerRequest { reason: " ".into(), ..unlock() } => ["reason"];
        api.servers(), force_unlock, ForceUnlockServerRequest { reason: "a\nb".into(), ..unlock() } => ["reason"];
        api.servers(), force_unlock, ForceUnlockServerRequest { reason: text(501), ..unlock() } => ["reason"];
        api.servers(), probe, ProbeServerRequest { server: "web1".into(), ..Default::default() } => ["request_id"];
        api.servers(), probe, ProbeServerRequest { request_id: id(), ..Default::default() } => ["server"];
        api.servers(), pause, PauseServerRequest { server: "web1".into(), ..Default::default() } => ["request_id"];
        api.servers(), pause, PauseServerRequest { request_id: id(), ..Default::default() } => ["server"];
        api.servers(), resume, ResumeServerRequest { server: "web1".into(), ..Default::default() } => ["request_id"];
        api.servers(), resume, ResumeServerRequest { request_id: id(), ..Default::default() } => ["server"];
        api.servers(), delete, DeleteServerRequest { server: "web1".into(), ..Default::default() } => ["request_id"];
        api.servers(), delete, DeleteServerRequest { request_id: id(), ..Default::default() } => ["server"];
    }
}

#[tokio::test]
async fn resources_name_the_field() {
    let api = Served::start().await;
    api.server("web1").await;
    api.resources().install(install("i0", "web1", "there")).await.unwrap();
    let there = || "web1/scheduled_task/there".to_owned();
    let ask = || install("fresh", "web1", "new");
    let (too_long, too_short) = (30 * 86_400 + 1, 30);
    let with = |name: &str, value: String| {
        let mut ask = ask();
        ask.parameters.insert(name.to_owned(), value);
        ask
    };
    refuses! {
        api.resources(), install, InstallRequest { request_id: String::new(), ..ask() } => ["request_id"];
        api.resources(), install, InstallRequest { server: String::new(), ..ask() } => ["server"];
        api.resources(), install, InstallRequest { server: text(64), ..ask() } => ["server"];
        api.resources(), install, InstallRequest { package: String::new(), ..ask() } => ["package"];
        api.resources(), install, InstallRequest { package: "nothing".into(), ..ask() } => ["package"];
        api.resources(), install, InstallRequest { package: text(100_000), ..ask() } => ["package"];
        api.resources(), install, InstallRequest { name: "Näme".into(), ..ask() } => ["name"];
        api.resources(), install, InstallRequest { name: text(64), ..ask() } => ["name"];
        api.resources(), install, InstallRequest { parameters: BTreeMap::new(), ..ask() }
            => ["parameters.expression", "parameters.command"];
        api.resources(), install, with("expression", "never".into()) => ["parameters.expression"];
        api.resources(), install, with("unknown", "1".into()) => ["parameters.unknown"];
        api.resources(), install, with("command", text(64 * 1024 + 1)) => ["parameters.command"];
        api.resources(), install, InstallRequest { parameters: (0..65).map(|n| (format!("p{n}"), id())).collect(), ..ask() }
            => ["parameters"];
        api.resources(), install, InstallRequest { parameters: (0..40).map(|n| (format!("p{n}"), text(60_000))).collect(), ..ask() }
            => ["parameters"];
        api.resources(), install, InstallRequest { secrets: [("token".to_owned(), b"x".to_vec())].into(), ..ask() }
            => ["secrets.token"];
        api.resources(), install, InstallRequest { dry_run: true, package: "nothing".into(), ..ask() } => ["package"];
        api.resources(), update, UpdateResourceRequest { resource: there(), ..Default::default() } => ["request_id"];
        api.resources(), update, UpdateResourceRequest { request_id: id(), ..Default::default() } => ["resource"];
        api.resources(), update, UpdateResourceRequest { request_id: id(), resource: "a/b".into(), ..Default::default() }
            => ["resource"];
        api.resources(), remove, RemoveResourceRequest { resource: there(), ..Default::default() } => ["request_id"];
        api.resources(), remove, RemoveResourceRequest { request_id: id(), resource: text(192), ..Default::default() } => ["resource"];
        api.resources(), pause, PauseResourceRequest { resource: there(), ..Default::default() } => ["request_id"];
        api.resources(), pause, PauseResourceRequest { request_id: id(), ..Default::default() } => ["resource"];
        api.resources(), resume, ResumeResourceRequest { resource: there(), ..Default::default() } => ["request_id"];
        api.resources(), resume, ResumeResourceRequest { request_id: id(), resource: "x".into(), ..Default::default() } => ["resource"];
        api.resources(), retry, RetryResourceRequest { resource: there(), ..Default::default() } => ["request_id"];
        api.resources(), retry, RetryResourceRequest { request_id: id(), resource: "a\0b".into(), ..Default::default() } => ["resource"];
        api.resources(), probe, ProbeResourceRequest { resource: there(), ..Default::default() } => ["request_id"];
        api.resources(), probe, ProbeResourceRequest { request_id: id(), ..Default::default() } => ["resource"];
        api.resources(), r#do, DoRequest { resource: there(), operation: "x".into(), ..Default::default() } => ["request_id"];
        api.resources(), r#do, DoRequest { request_id: id(), operation: "x".into(), ..Default::default() } => ["resource"];
        api.resources(), r#do, DoRequest { request_id: id(), resource: there(), ..Default::default() } => ["operation"];
        api.resources(), r#do, DoRequest { request_id: id(), resource: there(), operation: "install".into(), ..Default::default() } => ["operation"];
        api.resources(), r#do, DoRequest { request_id: id(), resource: there(), operation: text(64), ..Default::default() } => ["operation"];
        api.resources(), install, InstallRequest { queue_limit_s: too_long, ..ask() } => ["queue_limit_s"];
        api.resources(), install, InstallRequest { queue_limit_s: too_short, ..ask() } => ["queue_limit_s"];
        api.resources(), retry, RetryResourceRequest { request_id: id(), resource: there(), queue_limit_s: too_short, ..Default::default() } => ["queue_limit_s"];
        api.resources(), install, InstallRequest { priority: 4, ..ask() } => ["priority"];
        api.resources(), update, UpdateResourceRequest { request_id: id(), resource: there(), queue_limit_s: too_long, ..Default::default() }
            => ["queue_limit_s"];
        api.resources(), remove, RemoveResourceRequest { request_id: id(), resource: there(), queue_limit_s: too_long, ..Default::default() } => ["queue_limit_s"];
        api.resources(), pause, PauseResourceRequest { request_id: id(), resource: there(), queue_limit_s: too_long, ..Default::default() } => ["queue_limit_s"];
        api.resources(), resume, ResumeResourceRequest { request_id: id(), resource: there(), queue_limit_s: u32::MAX, ..Default::default() } => ["queue_limit_s"];
        api.resources(), retry, RetryResourceRequest { request_id: id(), resource: there(), queue_limit_s: too_long, ..Default::default() } => ["queue_limit_s"];
        api.resources(), r#do, DoRequest { request_id: id(), resource: there(), operation: "rollback".into(), queue_limit_s: too_long, ..Default::default() }
            => ["queue_limit_s"];
        api.resources(), get, GetResourceRequest { resource: String::new() } => ["resource"];
        api.resources(), get, GetResourceRequest { resource: "not-an-id".into() } => ["resource"];
        api.resources(), list, ListResourcesRequest { page_size: u32::MAX, ..Default::default() } => ["page_size"];
        api.resources(), list, ListResourcesRequest { page_token: "AAAA".into(), ..Default::default() } => ["page_token"];
        api.resources(), list, ListResourcesRequest { status: 99, ..Default::default() } => ["status"];
        api.resources(), list, ListResourcesRequest { server: text(64), ..Default::default() } => ["server"];
        api.resources(), list, ListResourcesRequest { package: text(64), ..Default::default() } => ["package"];
    }
}

#[tokio::test]
async fn runs_transitions_packages_and_admin_name_the_field() {
    let api = Served::start().await;
    refuses! {
        api.runs(), get, GetRunRequest { run_id: String::new() } => ["run_id"];
        api.runs(), get, GetRunRequest { run_id: "01ARZ3".into() } => ["run_id"];
        api.runs(), get, GetRunRequest { run_id: text(1_000_000) } => ["run_id"];
        api.runs(), list, ListRunsRequest { page_size: 501, ..Default::default() } => ["page_size"];
        api.runs(), list, ListRunsRequest { page_token: "%".into(), ..Default::default() } => ["page_token"];
        api.runs(), list, ListRunsRequest { resource_id: "a/b/c".into(), ..Default::default() } => ["resource_id"];
        api.runs(), list, ListRunsRequest { server: text(64), ..Default::default() } => ["server"];
        api.runs(), list, ListRunsRequest { state: -1, ..Default::default() } => ["state"];
        api.runs(), list, ListRunsRequest { outcome: 77, ..Default::default() } => ["outcome"];
        api.runs(), cancel, CancelRunRequest { request_id: id(), run_id: "x".into() } => ["run_id"];
        api.runs(), cancel, CancelRunRequest { run_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".into(), ..Default::default() }
            => ["request_id"];
        api.runs(), follow, FollowRunRequest { run_id: "x".into(), output_offset: 0 } => ["run_id"];
        api.transitions(), watch, only(WatchFilter { server: text(64), ..Default::default() }) => ["filters.server"];
        api.transitions(), watch, only(WatchFilter { resource: "a/b".into(), ..Default::default() }) => ["resource"];
        api.transitions(), watch, only(WatchFilter { resource: text(192), ..Default::default() }) => ["filters.resource"];
        api.transitions(), watch, only(WatchFilter { package: text(64), ..Default::default() }) => ["filters.package"];
        api.transitions(), watch, only(WatchFilter { labels: (0..17).map(|n| (n.to_string(), String::new())).collect(), ..Default::default() })
            => ["filters.labels"];
        api.transitions(), watch, WatchRequest { filters: vec![WatchFilter::default(); 33], ..Default::default() } => ["filters"];
        api.transitions(), watch, only(WatchFilter { run_id: "x".into(), ..Default::default() }) => ["filters.run_id"];
        api.transitions(), watch, only(WatchFilter { kinds: vec![9], ..Default::default() }) => ["filters.kinds"];
        api.transitions(), watch, only(WatchFilter { kinds: vec![1; 100], ..Default::default() }) => ["filters.kinds"];
        api.transitions(), watch, WatchRequest { start: Some(Start::Snapshot(false)), ..Default::default() } => ["snapshot"];
        api.transitions(), watch, WatchRequest { start: Some(Start::FromNow(false)), ..Default::default() } => ["from_now"];
        api.packages(), get, GetPackageRequest { package: String::new() } => ["package"];
        api.packages(), get, GetPackageRequest { package: text(64) } => ["package"];
        api.packages(), check, CheckPackageRequest { source: text(256 * 1024 + 1), ..Default::default() } => ["source"];
        api.packages(), reload, ReloadPackagesRequest::default() => ["request_id"];
        api.admin(), reconcile, ReconcileRequest::default() => ["request_id"];
        api.admin(), create_token, CreateTokenRequest { request_id: id(), name: "Ci".into(), role: 1, ..Default::default() } => ["name"];
        api.admin(), create_token, CreateTokenRequest { request_id: id(), name: "ci".into(), ..Default::default() } => ["role"];
        api.admin(), create_token, CreateTokenRequest { request_id: id(), name: "ci".into(), role: 4, ..Default::default() } => ["role"];
        api.admin(), create_token, CreateTokenRequest { request_id: id(), name: "ci".into(), role: 1, days: 3651, ..Default::default() } => ["days"];
        api.admin(), create_token, CreateTokenRequest { request_id: id(), name: "ci".into(), role: 1, scope: vec!["web1".into()], ..Default::default() } => ["scope"];
        api.admin(), create_token, CreateTokenRequest { request_id: id(), name: "ci".into(), role: 3, scope: vec!["server:web1".into()], ..Default::default() } => ["scope"];
        api.admin(), create_token, CreateTokenRequest { name: "ci".into(), role: 1, ..Default::default() } => ["request_id"];
        api.admin(), revoke_token, RevokeTokenRequest { request_id: id(), ..Default::default() } => ["token"];
        api.admin(), revoke_token, RevokeTokenRequest { token: "ci".into(), ..Default::default() } => ["request_id"];
        api.admin(), list_tokens, ListTokensRequest { page_size: 501, ..Default::default() } => ["page_size"];
        api.admin(), list_audit, ListAuditRequest { page_size: 501, ..Default::default() } => ["page_size"];
        api.admin(), list_audit, ListAuditRequest { page_token: "x".into(), ..Default::default() } => ["page_token"];
    }
}

fn only(filter: WatchFilter) -> WatchRequest {
    WatchRequest { filters: vec![filter], ..WatchRequest::default() }
}

/// How a method answers these bytes. A stream counts as an answer when its first message does.
pub(crate) async fn answer(api: &Served, path: &'static str, messages: Vec<Vec<u8>>) -> Status {
    let status = match send(api.channel(), path, messages).await {
        Ok(mut stream) => stream.message().await.err(),
        Err(status) => Some(status),
    };
    status.unwrap_or_else(|| panic!("{path} accepted it"))
}

#[tokio::test]
async fn every_method_refuses_what_is_malformed_missing_oversized_or_unknown() {
    let api = Served::start().await;
    for &(path, ..) in settled_proto::ACCESS {
        let refused = async |messages: Vec<Vec<u8>>, part: &str| {
            let status = answer(&api, path, messages).await;
            assert_eq!(status.code(), Code::InvalidArgument, "{path}: {status:?}");
            assert!(status.message().contains(part), "{path}: {status:?}");
            status
        };
        refused(vec![vec![0xff]], "not in protobuf form").await;
        refused(vec![vec![0x0a, 0x7f, b'a']], "not in protobuf form").await;
        refused(vec![], "no message").await;
        refused(vec![vec![], vec![]], "more than one message").await;
        refused(vec![vec![0; settled_proto::MESSAGE_BYTES_MAX + 1]], "4194305 bytes").await;
        // Field 15000, a number.
        let status = refused(vec![vec![0xc0, 0xa9, 0x07, 0x01]], "has no field 15000").await;
        assert_eq!(fields(&status), ["#15000"], "{path}");
    }
}

#[tokio::test]
async fn a_field_that_is_not_what_the_contract_says_is_named_at_any_depth() {
    let api = Served::start().await;
    let table: [(&str, &[u8], &str); 4] = [
        ("/settled.v1.Resources/Install", &[0x08, 0x01], "request_id"),
        ("/settled.v1.Resources/Install", &[0x0a, 0x01, 0xff], "request_id"),
        ("/settled.v1.Resources/Install", &[0x2a, 0x03, 0x12, 0x01, 0xff], "parameters.value"),
        ("/settled.v1.Transitions/Watch", &[0x0a, 0x02, 0x78, 0x01], "since.#15"),
    ];
    for (path, bytes, field) in table {
        let status = answer(&api, path, vec![bytes.to_vec()]).await;
        assert_eq!(fields(&status), [field], "{path}: {status:?}");
    }
}
