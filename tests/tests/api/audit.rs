//! The audit: who asked for what, from where, and what came of it; refusals too.

use settled_proto::v1::{
    AuditEntry, AuditResult, GetAuditRequest, InstallRequest, ListAuditRequest, PauseServerRequest,
    UpdateServerRequest, Verb,
};
use settled_tests::engine::{Served, install};
use tonic::Code;

use crate::bad_input::answer;

async fn entries(api: &Served, request: ListAuditRequest) -> Vec<AuditEntry> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListAuditRequest { page_token, page_size: 7, ..request.clone() };
        let page = api.admin().list_audit(request).await.unwrap().into_inner();
        all.extend(page.entries);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

fn me() -> String {
    format!("unix:{}", rustix::process::geteuid().as_raw())
}

#[tokio::test]
async fn p14_an_entry_tells_who_from_where_what_was_before_and_what_was_committed_with_it() {
    let api = Served::start().await;
    api.server("web1").await;
    let set_labels = [("env".to_owned(), "prod".to_owned())].into();
    let (request_id, server) = ("edit".to_owned(), "web1".to_owned());
    let edit = UpdateServerRequest { request_id, server, port: Some(2222), set_labels, ..Default::default() };
    api.servers().update(edit).await.unwrap();
    let edited = entries(&api, ListAuditRequest::default()).await.remove(0);
    assert_eq!((edited.method.as_str(), edited.verb()), ("Servers.Update", Verb::Administer));
    assert_eq!((edited.principal.clone(), edited.peer.as_str()), (me(), "unix socket"));
    let told = |e: &AuditEntry, field: &str| {
        let found = e.changes.iter().find(|c| c.field == field).unwrap_or_else(|| panic!("{field}: {e:?}"));
        (found.old.clone(), found.new.clone())
    };
    assert_eq!(told(&edited, "web1 port"), (Some("22".into()), Some("2222".into())));
    assert_eq!(told(&edited, "web1 labels.env"), (None, Some("prod".into())));

    let secret = [("environment".to_owned(), b"TOKEN=hunter22".to_vec())].into();
    let with_secret = InstallRequest { secrets: secret, ..install("put", "web1", "a") };
    let refused = api.resources().install(with_secret).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "it has no such secret: {refused:?}");
    let put = api.resources().install(install("put", "web1", "a")).await.unwrap().into_inner();
    let run = put.run.unwrap();
    let newest = entries(&api, ListAuditRequest::default()).await.remove(0);
    assert_eq!((newest.object.as_str(), newest.server.as_str()), ("web1/scheduled_task/a", "web1"));
    assert_eq!(told(&newest, "web1/scheduled_task/a parameters.command"), (None, Some("true".into())));
    let found = api.admin().get_audit(GetAuditRequest { seq: newest.seq }).await.unwrap().into_inner();
    assert_eq!(found.entry.as_ref(), Some(&newest));
    assert_eq!(found.run.unwrap().id, run.id);
    let seqs: Vec<_> = found.transitions.iter().map(|t| t.seq).collect();
    assert_eq!(seqs, (newest.transitions_from..=newest.transitions_to).collect::<Vec<_>>());
    assert_eq!(seqs.len(), 2, "the record and its run");
    let missing = api.admin().get_audit(GetAuditRequest { seq: 9_999 }).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
}

#[tokio::test]
async fn p14_what_is_refused_is_on_record_with_its_reason_whatever_the_method() {
    let api = Served::start().await;
    let refused = api.resources().install(install("r", "nowhere", "a")).await.unwrap_err();
    let entry = entries(&api, ListAuditRequest::default()).await.remove(0);
    assert_eq!((entry.result(), entry.code.as_str()), (AuditResult::Refused, "NOT_FOUND"));
    assert_eq!((entry.object.as_str(), entry.server.as_str()), ("nowhere/scheduled_task/a", "nowhere"));
    assert_eq!((entry.detail.as_str(), entry.principal), (refused.message(), me()));
    assert_eq!((entry.transitions_from, entry.run_id.as_str()), (0, ""), "it has written nothing else");

    // Whatever a request names is kept, also what no database takes as it is.
    api.resources().install(install("odd", "a\0b", "x")).await.unwrap_err();
    let entry = entries(&api, ListAuditRequest::default()).await.remove(0);
    assert_eq!((entry.object.as_str(), entry.code.as_str()), ("a b/scheduled_task/x", "INVALID_ARGUMENT"));

    // An empty request is not enough for any method that changes something. To list changes nothing, nor does a backup.
    let looks = |path: &str| path.contains("/List") || path.ends_with("/Backup");
    let changes = |&&(path, verb, _): &&(&str, i32, i32)| verb != Verb::View as i32 && !looks(path);
    for &(path, verb, _) in settled_proto::ACCESS.iter().filter(changes) {
        answer(&api, path, vec![vec![]]).await;
        let method = path.trim_start_matches("/settled.v1.").replace('/', ".");
        let found = entries(&api, ListAuditRequest { method, ..ListAuditRequest::default() }).await;
        let entry = found.first().unwrap_or_else(|| panic!("{path}: it is not on record"));
        assert_eq!((entry.result(), entry.verb), (AuditResult::Refused, verb), "{path}");
    }
}

#[tokio::test]
async fn the_audit_is_filtered_by_principal_verb_method_server_result_and_time_and_read_either_way() {
    let api = Served::start().await;
    for server in ["web1", "web2"] {
        api.server(server).await;
        for name in ["a", "b"] {
            api.resources().install(install(&format!("{server}-{name}"), server, name)).await.unwrap();
        }
        let pause = PauseServerRequest { request_id: format!("p-{server}"), server: server.to_owned() };
        api.servers().pause(pause).await.unwrap();
    }
    let refused = PauseServerRequest { request_id: "p".to_owned(), server: "web3".to_owned() };
    api.servers().pause(refused).await.unwrap_err();
    let all = entries(&api, ListAuditRequest::default()).await;
    assert!(all.iter().map(|e| e.seq).eq((1..=9).rev()), "{all:?}");
    let oldest = entries(&api, ListAuditRequest { oldest_first: true, ..Default::default() }).await;
    assert!(oldest.iter().eq(all.iter().rev()));
    let count = async |request| entries(&api, request).await.len();
    let none = ListAuditRequest::default;
    let table = [
        (ListAuditRequest { principal: me(), ..none() }, 9),
        (ListAuditRequest { principal: "unix:7".to_owned(), ..none() }, 0),
        (ListAuditRequest { verb: Verb::Operate.into(), ..none() }, 7),
        (ListAuditRequest { method: "Resources.Install".to_owned(), ..none() }, 4),
        (ListAuditRequest { server: "web2".to_owned(), ..none() }, 4),
        (ListAuditRequest { server: "web2".to_owned(), verb: Verb::Operate.into(), ..none() }, 3),
        (ListAuditRequest { result: AuditResult::Refused.into(), ..none() }, 1),
        (ListAuditRequest { since: all[3].at, ..none() }, 4),
        (ListAuditRequest { until: all[3].at, oldest_first: true, ..none() }, 5),
        (ListAuditRequest { since: all[5].at, until: all[3].at, ..none() }, 2),
    ];
    for (request, expected) in table {
        assert_eq!(count(request.clone()).await, expected, "{request:?}");
    }
    let wrong = ListAuditRequest { verb: 99, ..none() };
    assert_eq!(crate::fields(&api.admin().list_audit(wrong).await.unwrap_err()), ["verb"]);
    let page =
        api.admin().list_audit(ListAuditRequest { page_size: 2, ..none() }).await.unwrap().into_inner();
    let other = ListAuditRequest { page_token: page.next_page_token, server: "web1".to_owned(), ..none() };
    let refused = api.admin().list_audit(other).await.unwrap_err();
    assert_eq!(crate::fields(&refused), ["page_token"], "a token is good for its own list only");
}
