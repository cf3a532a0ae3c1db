//! P14: a caller whose role holds on some servers finds nothing of the others, whatever it asks.

use settled::auth::{Grants, Role, Scope};
use settled_proto::v1::admin_client::AdminClient;
use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::runs_client::RunsClient;
use settled_proto::v1::servers_client::ServersClient;
use settled_proto::v1::{
    CreateServerRequest, GetServerRequest, GetStatusRequest, GetStatusResponse, ListResourcesRequest,
    ListRunsRequest, ListServersRequest, UpdateServerRequest, WhoAmIRequest,
};
use settled_tests::engine::{Served, install};
use tonic::Code;
use tonic::transport::Channel;

use crate::door::{callers, open_to_all, over};
use crate::fields;

/// Who has a role on some servers.
const ANN: u32 = 50_001;

/// The selectors of a scope.
pub(crate) fn scope(selectors: &[&str]) -> Scope {
    Scope::Of(selectors.iter().map(|text| text.parse().unwrap()).collect())
}

/// A channel of another user. The test is root.
pub(crate) async fn channel_of(api: &Served, uid: u32) -> Channel {
    over(callers(api.socket(), Some(uid), 1).await.remove(0)).await
}

pub(crate) async fn labelled(api: &Served, name: &str, env: &str) {
    let request = CreateServerRequest {
        request_id: format!("server-{name}"),
        name: name.to_owned(),
        host: "192.0.2.1".to_owned(),
        labels: [("env".to_owned(), env.to_owned())].into(),
        ..CreateServerRequest::default()
    };
    api.servers().create(request).await.unwrap();
}

fn give(api: &Served, role: Role, scope: Scope) {
    let mut grants = Grants::default();
    grants.user_on(ANN, role, scope);
    api.gate.replace(grants);
}

/// An API on which Ann operates what is in production.
async fn served() -> (Served, Channel) {
    let api = Served::start().await;
    open_to_all(&api);
    give(&api, Role::Operator, scope(&["label:env=prod"]));
    let channel = channel_of(&api, ANN).await;
    (api, channel)
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_lists_have_what_is_in_the_scope_and_pages_of_it_end() {
    let (api, channel) = served().await;
    for n in 0..9 {
        let (name, env) = (format!("web{n}"), if n % 3 == 0 { "prod" } else { "test" });
        labelled(&api, &name, env).await;
        let answer = api.resources().install(install(&format!("install-{n}"), &name, "a")).await;
        answer.unwrap();
    }
    let mut seen = (Vec::new(), Vec::new(), Vec::new());
    let mut token = String::new();
    for _ in 0..3 {
        let ask = ListServersRequest { page_size: 1, page_token: token };
        let page = ServersClient::new(channel.clone()).list(ask).await.unwrap().into_inner();
        seen.0.extend(page.servers.into_iter().map(|server| server.name));
        token = page.next_page_token;
    }
    assert_eq!(token, "");
    let mut token = String::new();
    for _ in 0..3 {
        let ask = ListResourcesRequest { page_size: 1, page_token: token, ..ListResourcesRequest::default() };
        let page = ResourcesClient::new(channel.clone()).list(ask).await.unwrap().into_inner();
        seen.1.extend(page.resources.into_iter().map(|resource| resource.server));
        token = page.next_page_token;
    }
    assert_eq!(token, "");
    let mut token = String::new();
    for _ in 0..2 {
        let ask = ListRunsRequest { page_size: 4, page_token: token, ..ListRunsRequest::default() };
        let page = RunsClient::new(channel.clone()).list(ask).await.unwrap().into_inner();
        seen.2.extend(page.runs.into_iter().map(|run| run.server));
        token = page.next_page_token;
    }
    assert_eq!(token, "");
    assert_eq!(seen.0, ["web0", "web3", "web6"]);
    assert_eq!(seen.1, ["web0", "web3", "web6"]);
    assert_eq!(seen.2, ["web6", "web6", "web3", "web3", "web0", "web0"], "the newest first");
    // A filter that names a server which is not seen is one that names none.
    let ask = ListRunsRequest { server: "web1".to_owned(), ..ListRunsRequest::default() };
    let refused = RunsClient::new(channel).list(ask).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::NotFound, "there is no server `web1`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_a_page_token_is_good_for_nobody_who_sees_something_else_and_tells_nothing() {
    let (api, _) = served().await;
    // So many that one page does not look at them all, and none of them seen.
    for n in 0..21 {
        let names: Vec<_> = (0..100).map(|i| format!("hidden{:04}", n * 100 + i)).collect();
        futures::future::join_all(names.iter().map(|name| labelled(&api, name, "test"))).await;
    }
    labelled(&api, "seen", "prod").await;
    // Whoever connects and asks nothing for long is shown out: she comes now.
    let mut servers = ServersClient::new(channel_of(&api, ANN).await);
    let page = servers.list(ListServersRequest::default()).await.unwrap().into_inner();
    assert_eq!(page.servers, [], "a page looks at a bounded number");
    let token = page.next_page_token;
    let decoded = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &token).unwrap();
    for told in [token.as_bytes(), &decoded] {
        assert!(!told.windows(6).any(|part| part == b"hidden"), "it names nobody");
    }
    let next = ListServersRequest { page_token: token, ..ListServersRequest::default() };
    let page = servers.list(next.clone()).await.unwrap().into_inner();
    assert_eq!(page.servers.iter().map(|server| server.name.as_str()).collect::<Vec<_>>(), ["seen"]);
    assert_eq!(page.next_page_token, "");
    assert_eq!(fields(&api.servers().list(next.clone()).await.unwrap_err()), ["page_token"], "of root");
    let whole = ListServersRequest { page_size: 2, ..ListServersRequest::default() };
    let of_root = api.servers().list(whole).await.unwrap().into_inner().next_page_token;
    let ask = ListServersRequest { page_token: of_root, ..ListServersRequest::default() };
    assert_eq!(fields(&servers.list(ask).await.unwrap_err()), ["page_token"], "of somebody who sees all");
    give(&api, Role::Operator, scope(&["label:env=test"]));
    assert_eq!(fields(&servers.list(next).await.unwrap_err()), ["page_token"], "of who saw something else");
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_an_answer_that_was_kept_is_told_to_nobody_who_does_not_see_its_server_any_more() {
    let (api, channel) = served().await;
    labelled(&api, "web1", "prod").await;
    let mut resources = ResourcesClient::new(channel);
    let ask = install("once", "web1", "a");
    let first = resources.install(ask.clone()).await.unwrap().into_inner();
    give(&api, Role::Operator, scope(&["server:web2"]));
    let refused = resources.install(ask.clone()).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::NotFound, "there is no server `web1`"));
    give(&api, Role::Operator, scope(&["server:web2", "server:web1"]));
    assert_eq!(resources.install(ask).await.unwrap().into_inner(), first, "P2");
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_a_server_that_loses_its_label_is_not_there_any_more() {
    let (api, channel) = served().await;
    labelled(&api, "web1", "prod").await;
    let mut servers = ServersClient::new(channel);
    let ask = GetServerRequest { server: "web1".to_owned() };
    servers.get(ask.clone()).await.unwrap();
    let relabel = UpdateServerRequest {
        request_id: "relabel".to_owned(),
        server: "web1".to_owned(),
        set_labels: [("env".to_owned(), "test".to_owned())].into(),
        ..UpdateServerRequest::default()
    };
    api.servers().update(relabel).await.unwrap();
    assert_eq!(servers.get(ask).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(servers.list(ListServersRequest::default()).await.unwrap().into_inner().servers, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_status_tells_of_itself_alone_and_whoami_tells_the_scope() {
    let (api, channel) = served().await;
    labelled(&api, "web1", "test").await;
    let mut admin = AdminClient::new(channel);
    let told = admin.get_status(GetStatusRequest {}).await.unwrap().into_inner();
    let of_itself = GetStatusResponse {
        version: told.version.clone(),
        installation_id: told.installation_id.clone(),
        generation: told.generation.clone(),
        database: told.database.clone(),
        started_at: told.started_at,
        ..GetStatusResponse::default()
    };
    assert_eq!(told, of_itself);
    assert!(
        !told.version.is_empty()
            && !api.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner().servers.is_empty()
    );
    let who = admin.who_am_i(WhoAmIRequest {}).await.unwrap().into_inner();
    assert_eq!((who.principal.as_str(), who.servers), ("unix:50001", vec!["label:env=prod".to_owned()]));
    assert_eq!(
        api.admin().who_am_i(WhoAmIRequest {}).await.unwrap().into_inner().servers,
        Vec::<String>::new()
    );
}
