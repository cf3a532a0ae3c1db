//! Lists page by page, packages, status.

use settled::domain::server::Reach;
use settled_proto::v1::{
    CancelRunRequest, CheckPackageRequest, Freshness, GetPackageRequest, GetRunRequest, GetStatusRequest,
    ListAuditRequest, ListPackagesRequest, ListResourcesRequest, ListRunsRequest, ListServersRequest,
    PauseServerRequest, ProbeResourceRequest, ResourceStatus, RunState, WaitReason,
};
use settled_tests::engine::{Served, install};

use crate::fields;

#[tokio::test]
async fn pages_together_are_the_list_and_tokens_fit_only_their_own() {
    let api = Served::start().await;
    for n in 0..3 {
        let name = format!("web{n}");
        api.server(&name).await;
        for m in 0..3 {
            api.resources().install(install(&format!("i{n}{m}"), &name, &format!("t{m}"))).await.unwrap();
        }
    }
    let whole = api.resources().list(ListResourcesRequest::default()).await.unwrap().into_inner();
    assert_eq!((whole.resources.len(), whole.next_page_token.as_str()), (9, ""));

    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let ask = ListResourcesRequest { page_size: 2, page_token: token, ..Default::default() };
        let page = api.resources().list(ask).await.unwrap().into_inner();
        assert!(page.resources.len() <= 2);
        paged.extend(page.resources);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, whole.resources);

    let ask = ListResourcesRequest { page_size: 2, ..Default::default() };
    let token = api.resources().list(ask).await.unwrap().into_inner().next_page_token;
    let filtered =
        ListResourcesRequest { server: "web1".into(), page_token: token.clone(), ..Default::default() };
    assert_eq!(fields(&api.resources().list(filtered).await.unwrap_err()), ["page_token"]);
    let elsewhere = ListRunsRequest { page_token: token, ..Default::default() };
    assert_eq!(fields(&api.runs().list(elsewhere).await.unwrap_err()), ["page_token"]);
}

#[tokio::test]
async fn filters_narrow_lists() {
    let api = Served::start().await;
    api.server("web1").await;
    let server = api.server("web2").await;
    for (request, name) in [("a", "web1"), ("b", "web2")] {
        api.resources().install(install(request, name, "task")).await.unwrap();
    }
    let count = |ask: ListResourcesRequest| {
        let mut client = api.resources();
        async move { client.list(ask).await.unwrap().into_inner().resources.len() }
    };
    assert_eq!(count(ListResourcesRequest { server: server.id.clone(), ..Default::default() }).await, 1);
    assert_eq!(count(ListResourcesRequest { package: "deployment".into(), ..Default::default() }).await, 0);
    let pending = ResourceStatus::Pending.into();
    assert_eq!(count(ListResourcesRequest { status: pending, ..Default::default() }).await, 2);
    let active = ResourceStatus::Active.into();
    assert_eq!(count(ListResourcesRequest { status: active, ..Default::default() }).await, 0);

    let ask = ListRunsRequest { server: "web2".into(), state: RunState::Queued.into(), ..Default::default() };
    let runs = api.runs().list(ask).await.unwrap().into_inner().runs;
    // Newest first: the install, then the registration; each is the first of its own queue.
    let told: Vec<_> = runs.iter().map(|r| (r.operation.as_str(), r.position)).collect();
    assert_eq!(told, [("install", 1), ("register", 1)]);
    let ask = ListRunsRequest { resource_id: runs[0].resource_id.clone(), ..Default::default() };
    assert_eq!(api.runs().list(ask).await.unwrap().into_inner().runs.len(), 1);
}

/// Nobody has the lane of such a server, so nobody writes down why its runs wait: they say it all the same.
#[tokio::test]
async fn p4_every_run_that_waits_for_a_server_that_refuses_or_is_paused_says_so() {
    let api = Served::start().await;
    api.server("web1").await;
    let id = api.server_id("web1").await;
    api.resources().install(install("i", "web1", "task")).await.unwrap();
    let waits = async || {
        let ask = ListRunsRequest { server: "web1".into(), ..Default::default() };
        let runs = api.runs().list(ask).await.unwrap().into_inner().runs;
        let told = runs.into_iter().map(|run| {
            let waiting = run.waiting.map(|w| (w.reason(), w.who));
            (run.operation, waiting, run.summary)
        });
        told.collect::<Vec<_>>()
    };

    let hold = api.engine.take_lane(id).await.unwrap();
    api.engine.set_reach(hold, Reach::Refused, "another installation".to_owned()).await.unwrap();
    api.engine.release_lane(hold).await.unwrap();
    // The second waits behind the first, and for the same reason.
    api.resources().install(install("j", "web1", "other")).await.unwrap();
    let look = ProbeResourceRequest { request_id: "p".into(), resource: "web1/scheduled_task/task".into() };
    api.resources().probe(look).await.unwrap();
    let refused = Some((WaitReason::Refused, "another installation".to_owned()));
    let told = waits().await;
    for (operation, waiting, summary) in &told {
        let looks_anew = operation == "register";
        assert_eq!(*waiting, if looks_anew { None } else { refused.clone() }, "{operation}: {summary}");
        assert_eq!(summary.contains("another installation"), !looks_anew, "{operation}: {summary}");
    }
    let operations: Vec<_> = told.iter().map(|(operation, ..)| operation.as_str()).collect();
    assert_eq!(operations, ["probe", "install", "install", "register"]);

    let pause = PauseServerRequest { request_id: "pause".into(), server: "web1".into() };
    api.servers().pause(pause).await.unwrap();
    let told = waits().await;
    assert!(told.iter().all(|(_, waiting, _)| matches!(waiting, Some((WaitReason::Paused, _)))), "{told:?}");
}

#[tokio::test]
async fn runs_are_told_and_listed_by_how_fresh_they_are() {
    let api = Served::start().await;
    api.server("web1").await;
    let answer = api.resources().install(install("i", "web1", "task")).await.unwrap().into_inner();
    let id = answer.run.unwrap().id;
    let count = async |freshness: Freshness| {
        let ask = ListRunsRequest { freshness: freshness.into(), ..Default::default() };
        api.runs().list(ask).await.unwrap().into_inner().runs.len()
    };
    let counts = async || {
        let [fresh, stale] = [count(Freshness::Fresh).await, count(Freshness::LikelyStale).await];
        (fresh, stale, count(Freshness::Reconciled).await, count(Freshness::Terminal).await)
    };
    assert_eq!(counts().await, (2, 0, 0, 0), "the install and the registration");
    let get = async || api.runs().get(GetRunRequest { run_id: id.clone() }).await.unwrap().into_inner();
    let run = get().await;
    assert_eq!(
        (run.freshness(), run.stale_at.is_some(), run.grounds.is_none()),
        (Freshness::Fresh, true, true)
    );
    let told = run.diagnostics.unwrap();
    assert_eq!((told.stale_after_s, told.progress_at), (3_600, run.accepted_at));
    assert_eq!((told.owner.as_str(), told.owner_alive), ("", false), "nobody works here");

    let cancel = CancelRunRequest { request_id: "c".to_owned(), run_id: id.clone() };
    api.runs().cancel(cancel).await.unwrap();
    assert_eq!(counts().await, (1, 0, 0, 1));
    let run = get().await;
    assert_eq!((run.freshness(), run.stale_at), (Freshness::Terminal, None));
    assert_eq!(run.grounds.unwrap().source, "command");
    let ask = ListRunsRequest { freshness: 9, ..Default::default() };
    assert_eq!(fields(&api.runs().list(ask).await.unwrap_err()), ["freshness"]);
}

#[tokio::test]
async fn packages_are_listed_without_and_shown_with_their_text() {
    let api = Served::start().await;
    let list = api.packages().list(ListPackagesRequest {}).await.unwrap().into_inner().packages;
    assert!(list.iter().any(|p| p.name == "scheduled_task") && list.iter().all(|p| p.source.is_empty()));
    let one = GetPackageRequest { package: "scheduled_task".into() };
    let one = api.packages().get(one).await.unwrap().into_inner();
    assert!(one.source.contains("scheduled_task"));
    let expression = one.parameters.iter().find(|p| p.name == "expression").unwrap();
    assert_eq!((expression.r#type.as_str(), expression.required), ("cron", true));
    assert!(one.operations.iter().any(|o| o.name == "install" && o.exclusive && !o.steps.is_empty()));

    let sound = api
        .packages()
        .check(CheckPackageRequest { source: one.source, ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    assert!(sound.problems.is_empty(), "{sound:?}");
    let bad = CheckPackageRequest { source: "name = \"x\"\nsumary = \"y\"\n".into(), ..Default::default() };
    let bad = api.packages().check(bad).await.unwrap().into_inner();
    assert!(bad.problems.iter().any(|p| p.line == 2), "{bad:?}");
}

#[tokio::test]
async fn status_counts_what_there_is() {
    let api = Served::start().await;
    api.server("web1").await;
    let status = api.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.runs_queued, status.runs_running, status.servers["ok"]), (1, 0, 1));
    assert!(
        status.seq > 0 && status.database == api.engine.store().about().engine && status.warnings.is_empty(),
        "{status:?}"
    );
    let servers = api.servers().list(ListServersRequest::default()).await.unwrap().into_inner().servers;
    assert_eq!(servers.len(), 1);
    let audit = api.admin().list_audit(ListAuditRequest::default()).await.unwrap().into_inner();
    assert_eq!(audit.entries.len(), 1);
}
