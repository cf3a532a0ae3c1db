//! Who comes from the network: tokens and certificates, what they may do, and how they lose it.

use std::time::Duration;

use settled_proto::v1::admin_client::AdminClient;
use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::transitions_client::TransitionsClient;
use settled_proto::v1::watch_request::Start;
use settled_proto::v1::{
    AuditEntry, AuditResult, CreateTokenRequest, ListAuditRequest, ListTokensRequest, Outcome,
    PauseServerRequest, Reason, ReconcileRequest, ResumeServerRequest, RevokeTokenRequest, Role,
    WatchRequest,
};
use settled_tests::address::free_address;
use settled_tests::daemon::{Options, TestDaemon, key_file};
use settled_tests::engine::install;
use settled_tests::patience::until;
use settled_tests::postgres::Postgres;
use settled_tests::server::{Server, fresh_id, settled};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::world::{Authority, Caller, House, dns, listening, token, uri, who};

async fn revoke(daemon: &TestDaemon, name: &str) {
    let request = RevokeTokenRequest { request_id: fresh_id(), token: name.to_owned() };
    daemon.admin().revoke_token(request).await.unwrap();
}

fn refused(answer: Result<String, Status>, words: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert!(status.message().contains(words), "{words}: {}", status.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_a_token_is_stored_hashed_expires_and_is_revoked_at_once_on_every_daemon() {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    let (files, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.daemon().put(files.path());
    let key = key_file(files.path());
    let options =
        || Options::default().set("DATABASE__URL", &url).set("SECRETS__KEY_FILE", key.to_str().unwrap());
    let (here, there) = (free_address(), free_address());
    let one = listening(options(), here, files.path()).start().await;
    // By its clock a token of one day is over.
    let two = listening(options(), there, files.path()).later(Duration::from_hours(36)).start().await;

    let secret = token(&one, "ci", Role::Operator, 30).await;
    let caller = Caller::trusting(&authority).with_token(&secret);
    for address in [here, there] {
        assert_eq!(caller.who(address).await.unwrap(), "token:ci Operator");
    }
    let day = Caller::trusting(&authority).with_token(&token(&one, "day", Role::Viewer, 1).await);
    assert_eq!(day.who(here).await.unwrap(), "token:day Viewer");
    refused(day.who(there).await, "expired");
    // What is over gives its name free.
    let again = Caller::trusting(&authority).with_token(&token(&two, "day", Role::Viewer, 1).await);
    assert_eq!(again.who(there).await.unwrap(), "token:day Viewer");

    let dump = Postgres::shared()
        .psql(url_name(&url), "SELECT * FROM token; SELECT * FROM request; SELECT * FROM audit");
    assert!(dump.contains("token:ci"), "{dump}");
    assert!(!dump.contains(&secret), "the secret is stored: {dump}");
    until("its use is noted", async || {
        let page = one.admin().list_tokens(ListTokensRequest::default()).await.unwrap().into_inner();
        page.tokens.iter().all(|token| token.last_used.is_some()).then_some(())
    })
    .await;

    // A connection that was let in before is no way in any more, either.
    let open = caller.channel(there).await.unwrap();
    assert_eq!(who(open.clone()).await.unwrap(), "token:ci Operator");
    revoke(&one, "ci").await;
    refused(who(open).await, "revoked");
    for address in [here, there] {
        refused(caller.who(address).await, "revoked");
    }
    refused(Caller::trusting(&authority).who(here).await, "does not know who asks");
    refused(Caller::trusting(&authority).with_token("st_abc").who(here).await, "not a token");
    let unknown = settled::auth::Token::new(&[3; 32].into());
    refused(
        Caller::trusting(&authority).with_token(unknown.expose()).who(here).await,
        "does not know this token",
    );
}

/// The name of the database in a URL of the cluster.
fn url_name(url: &str) -> &str {
    url.split_once('?').unwrap().0.rsplit_once('/').unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_a_bearer_may_what_its_role_may_and_work_of_a_revoked_one_is_blocked() {
    let house = House::open().await;
    let server = Server::start();
    server.register(&house.daemon, "web").await;
    let secret = token(&house.daemon, "ci", Role::Operator, 1).await;
    let wire = house.caller().with_token(&secret).channel(house.address).await.unwrap();
    let mut admin = AdminClient::new(wire.clone());
    let denied = admin.reconcile(ReconcileRequest { request_id: fresh_id() }).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied, "{denied:?}");
    assert!(denied.message().contains("token:ci has the role operator"), "{}", denied.message());
    let more = CreateTokenRequest {
        request_id: fresh_id(),
        name: "more".to_owned(),
        role: Role::Admin.into(),
        ..Default::default()
    };
    assert_eq!(admin.create_token(more).await.unwrap_err().code(), Code::PermissionDenied);

    let pause = PauseServerRequest { request_id: fresh_id(), server: "web".to_owned() };
    house.daemon.servers().pause(pause).await.unwrap();
    let mut resources = ResourcesClient::new(wire.clone());
    let run = resources.install(install("i1", "web", "a")).await.unwrap().into_inner().run.unwrap();
    assert_eq!(run.principal, "token:ci");
    let mut watch = TransitionsClient::new(wire).watch(WatchRequest::default()).await.unwrap().into_inner();
    revoke(&house.daemon, "ci").await;
    let reading = async {
        loop {
            if let Err(status) = watch.message().await {
                return status;
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(10), reading).await.expect("the watch ends");
    assert_eq!(ended.code(), Code::PermissionDenied, "{ended:?}");
    assert_eq!(resources.install(install("i2", "web", "b")).await.unwrap_err().code(), Code::Unauthenticated);
    let resume = ResumeServerRequest { request_id: fresh_id(), server: "web".to_owned() };
    house.daemon.servers().resume(resume).await.unwrap();
    let run = settled(&house.daemon, &run.id).await;
    assert_eq!((run.outcome(), run.reason()), (Outcome::Blocked, Reason::Forbidden), "{run:#?}");

    let audit = house.daemon.admin().list_audit(ListAuditRequest::default()).await.unwrap().into_inner();
    let by = |method: &str| {
        let accepted =
            |entry: &&AuditEntry| entry.method == method && entry.result() == AuditResult::Accepted;
        audit.entries.iter().find(accepted).unwrap()
    };
    assert_eq!(by("Resources.Install").principal, "token:ci");
    let refused = |entry: &&AuditEntry| entry.code == "UNAUTHENTICATED";
    assert_eq!(audit.entries.iter().find(refused).unwrap().principal, "token:ci", "by its name");
    assert_eq!(
        (by("Admin.RevokeToken").object.as_str(), by("Admin.CreateToken").object.as_str()),
        ("token:ci", "token:ci")
    );
    // What it was refused is on record by its name, and where it came from.
    let denied = audit.entries.iter().find(|entry| entry.code == "PERMISSION_DENIED").unwrap();
    assert_eq!((denied.principal.as_str(), denied.method.as_str()), ("token:ci", "Admin.CreateToken"));
    assert!(denied.peer.contains("127.0.0.1"), "{denied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_a_client_certificate_is_a_principal() {
    let (clients, others) = (Authority::new(), Authority::new());
    let files = tempfile::tempdir().unwrap();
    let ca = files.path().join("clients.pem");
    std::fs::write(&ca, clients.pem()).unwrap();
    let options = Options::default()
        .set("LISTEN__TLS__CLIENT_CA", ca.to_str().unwrap())
        .set("ACCESS__ADMINS", "cert:spiffe://site/deploy")
        .set("ACCESS__VIEWERS", "cert:dashboard.site");
    let house = House::open_with(options).await;
    let deploy = || clients.vouch(vec![dns("whoever.site"), uri("spiffe://site/deploy")], 2100);
    let table = [
        (deploy(), Ok("cert:spiffe://site/deploy Admin")),
        (clients.vouch(vec![dns("dashboard.site")], 2100), Ok("cert:dashboard.site Viewer")),
        (clients.vouch(vec![dns("whoever.site")], 2100), Err("cert:whoever.site")),
        (clients.vouch(Vec::new(), 2100), Err("does not know who asks")),
    ];
    for (leaf, expected) in table {
        let answer = house.caller().showing(leaf).who(house.address).await;
        match expected {
            Ok(who) => assert_eq!(answer.unwrap(), who),
            Err(words) => refused(answer, words),
        }
    }
    let untrusted = [
        others.vouch(vec![uri("spiffe://site/deploy")], 2100),
        clients.vouch(vec![uri("spiffe://site/deploy")], 2001),
    ];
    for leaf in untrusted {
        let answer = house.caller().showing(leaf).who(house.address).await.unwrap_err();
        assert_ne!(answer.code(), Code::Unauthenticated, "it does not even come through TLS: {answer:?}");
    }
    // Both: the token counts, it is what was said with the request itself.
    let secret = token(&house.daemon, "ci", Role::Viewer, 1).await;
    let both = house.caller().showing(deploy()).with_token(&secret);
    assert_eq!(both.who(house.address).await.unwrap(), "token:ci Viewer");
    refused(house.caller().who(house.address).await, "does not know who asks");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_without_a_restart_and_without_ending_streams() {
    let house = House::open().await;
    let secret = token(&house.daemon, "eye", Role::Viewer, 1).await;
    let wire = house.caller().with_token(&secret).channel(house.address).await.unwrap();
    let watch = WatchRequest { start: Some(Start::FromNow(true)), ..Default::default() };
    let mut stream = TransitionsClient::new(wire).watch(watch).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();

    // Another authority altogether: who trusts the first one alone does not come in any more.
    let next = Authority::new();
    next.daemon().put(house.files.path());
    house.daemon.reload();
    let newcomer = Caller::trusting(&next).with_token(&secret);
    until("the certificate is another one", async || newcomer.who(house.address).await.ok()).await;
    house.caller().connect(house.address).await.unwrap_err();

    let server = Server::start();
    house.daemon.servers().create(server.record("web")).await.unwrap();
    let told = tokio::time::timeout(super::WITHIN, stream.message()).await.expect("the stream goes on");
    assert!(told.unwrap().is_some(), "the stream that was open goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_open_to_everybody_on_tcp_only_where_it_is_said_and_tokens_count_over_tls_alone() {
    for open in [false, true] {
        let house = House::open_with(Options::default().set("LISTEN__TCP_HEALTH", &open.to_string())).await;
        let wire = house.caller().channel(house.address).await.unwrap();
        let answer = HealthClient::new(wire).check(HealthCheckRequest::default()).await;
        assert_eq!(
            answer.map(drop).map_err(|status| status.code()),
            if open { Ok(()) } else { Err(Code::Unauthenticated) }
        );
        refused(house.caller().who(house.address).await, "does not know who asks");

        let secret = token(&house.daemon, "ci", Role::Viewer, 1).await;
        let mut request = tonic::Request::new(settled_proto::v1::WhoAmIRequest {});
        request.metadata_mut().insert("authorization", format!("Bearer {secret}").parse().unwrap());
        let status = house.daemon.admin().who_am_i(request).await.unwrap_err();
        assert_eq!(
            status.code(),
            Code::Unauthenticated,
            "through the socket the kernel says who asks: {status:?}"
        );
    }
}
