//! Commands: record first, ask twice get one, refusals that name what stands in the way.

use std::collections::BTreeMap;

use settled_proto::v1::{
    AuditEntry, AuditResult, CancelRunRequest, CreateServerRequest, DeleteServerRequest, DoRequest,
    GetResourceRequest, GetRunRequest, GetServerRequest, InstallRequest, ListAuditRequest,
    ListResourcesRequest, Outcome, ReconcileRequest, RemoveResourceRequest, ResourceStatus, RunState,
    UpdateResourceRequest, WaitReason,
};
use settled_tests::engine::{Served, install};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::fields;

#[tokio::test]
async fn p1_an_accepted_install_is_visible_as_pending_with_its_queued_run() {
    let api = Served::start().await;
    let server = api.server("web1").await;
    let answer = api.resources().install(install("i1", "web1", "backup")).await.unwrap().into_inner();
    let (resource, run) = (answer.resource.unwrap(), answer.run.unwrap());
    assert_eq!(resource.status(), ResourceStatus::Pending);
    assert_eq!(resource.open_run_id, run.id);
    assert_eq!((run.state(), run.server_id.as_str()), (RunState::Queued, server.id.as_str()));
    assert!(run.settles_by.is_some());

    for named in [resource.id.as_str(), "web1/scheduled_task/backup"] {
        let seen = api.resources().get(GetResourceRequest { resource: named.to_owned() }).await.unwrap();
        assert_eq!(seen.into_inner(), resource);
    }
    let seen = api.runs().get(GetRunRequest { run_id: run.id.clone() }).await.unwrap().into_inner();
    assert_eq!((seen.state(), seen.position), (RunState::Queued, 1));
    assert_eq!(seen.step_titles, ["Write the cron file"]);
    assert!(seen.steps.is_empty() && seen.waiting.is_none(), "{seen:?}");
    assert!(seen.summary.starts_with("Queued"), "{}", seen.summary);
}

#[tokio::test]
async fn p2_the_same_request_gives_the_same_answer_and_other_content_is_refused() {
    let api = Served::start().await;
    api.server("web1").await;
    let first = api.resources().install(install("i1", "web1", "backup")).await.unwrap().into_inner();
    let again = api.resources().install(install("i1", "web1", "backup")).await.unwrap().into_inner();
    assert_eq!(first, again);

    let other = api.resources().install(install("i1", "web1", "other")).await.unwrap_err();
    assert_eq!(fields(&other), ["request_id"]);
    let mut secret = install("i1", "web1", "backup");
    secret.secrets.insert("token".to_owned(), b"x".to_vec());
    assert_eq!(fields(&api.resources().install(secret).await.unwrap_err()), ["request_id"]);

    let list = api.resources().list(ListResourcesRequest::default()).await.unwrap().into_inner();
    assert_eq!(list.resources.len(), 1, "{list:?}");
}

#[tokio::test]
async fn p2_callers_who_repeat_at_the_same_moment_get_one_run() {
    let api = Served::start().await;
    api.server("web1").await;
    let calls = (0..20).map(|_| {
        let mut client = api.resources();
        async move { client.install(install("same", "web1", "backup")).await.unwrap().into_inner() }
    });
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(|answer| answer == &answers[0]));
}

#[tokio::test]
async fn a_dry_run_plans_and_stores_nothing() {
    let api = Served::start().await;
    api.server("web1").await;
    let ask = InstallRequest { dry_run: true, request_id: String::new(), ..install("", "web1", "backup") };
    let answer = api.resources().install(ask).await.unwrap().into_inner();
    let (resource, run) = (answer.resource.unwrap(), answer.run.unwrap());
    assert_eq!((resource.id.as_str(), run.id.as_str()), ("", ""));
    assert_eq!(run.step_titles, ["Write the cron file"]);
    assert_eq!(resource.desired["user"], "root");
    let list = api.resources().list(ListResourcesRequest::default()).await.unwrap().into_inner();
    assert!(list.resources.is_empty());
}

#[tokio::test]
async fn what_is_there_already_is_named() {
    let api = Served::start().await;
    let server = api.server("web1").await;
    let first = api.resources().install(install("i1", "web1", "backup")).await.unwrap().into_inner();
    let status = api.resources().install(install("i2", "web1", "backup")).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    let info = status.get_error_details().resource_info().cloned().unwrap();
    assert_eq!((info.resource_type.as_str(), info.resource_name), ("resource", first.resource.unwrap().id));

    let twin = CreateServerRequest {
        request_id: "another".to_owned(),
        name: "web1".to_owned(),
        host: "192.0.2.2".to_owned(),
        ..CreateServerRequest::default()
    };
    let status = api.servers().create(twin).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(status.get_error_details().resource_info().unwrap().resource_name, server.id);
}

#[tokio::test]
async fn the_run_in_the_way_is_named() {
    let api = Served::start().await;
    api.server("web1").await;
    let first = api.resources().install(install("i1", "web1", "backup")).await.unwrap().into_inner();
    let run = first.run.unwrap().id;
    let update = UpdateResourceRequest {
        request_id: "u1".to_owned(),
        resource: "web1/scheduled_task/backup".to_owned(),
        parameters: BTreeMap::from([("command".to_owned(), "false".to_owned())]),
        ..UpdateResourceRequest::default()
    };
    let status = api.resources().update(update).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let details = status.get_error_details();
    let violations = &details.precondition_failure().unwrap().violations;
    assert_eq!(violations.iter().map(|v| v.subject.as_str()).collect::<Vec<_>>(), [run.as_str()]);

    let delete =
        DeleteServerRequest { request_id: "d1".to_owned(), server: "web1".to_owned(), forget: false };
    let status = api.servers().delete(delete).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let details = status.get_error_details();
    // The run that registers the server, and the install.
    assert_eq!(details.precondition_failure().unwrap().violations.len(), 2);
}

#[tokio::test]
async fn a_full_queue_is_told_as_such() {
    let api = Served::with_queue(2).await;
    api.server("web1").await;
    api.resources().install(install("i1", "web1", "a")).await.unwrap();
    let status = api.resources().install(install("i2", "web1", "b")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.get_error_details().quota_failure().is_some());
}

#[tokio::test]
async fn whoever_stands_in_line_is_told_its_place_and_who_is_ahead() {
    let api = Served::start().await;
    api.server("web1").await;
    let mut ids = Vec::new();
    for n in 0..3 {
        let ask = install(&format!("i{n}"), "web1", &format!("task{n}"));
        ids.push(api.resources().install(ask).await.unwrap().into_inner().run.unwrap().id);
    }
    for (n, id) in ids.iter().enumerate() {
        let run = api.runs().get(GetRunRequest { run_id: id.clone() }).await.unwrap().into_inner();
        assert_eq!(run.position as usize, n + 1);
        let waiting = run.waiting;
        assert_eq!(
            waiting.as_ref().map(settled_proto::v1::Waiting::reason),
            (n > 0).then_some(WaitReason::Lane)
        );
        if n > 0 {
            assert!(waiting.unwrap().who.contains(&ids[n - 1]));
        }
    }
}

#[tokio::test]
async fn a_queued_run_is_cancelled_at_once_and_only_once() {
    let api = Served::start().await;
    api.server("web1").await;
    let run = api.resources().install(install("i1", "web1", "a")).await.unwrap().into_inner().run.unwrap();
    let cancel = |id: &str| CancelRunRequest { request_id: id.to_owned(), run_id: run.id.clone() };
    let ended = api.runs().cancel(cancel("c1")).await.unwrap().into_inner();
    assert_eq!((ended.state(), ended.outcome()), (RunState::Completed, Outcome::Cancelled));
    assert!(ended.summary.starts_with("Cancelled before anything was started."), "{}", ended.summary);
    assert_eq!(api.runs().cancel(cancel("c1")).await.unwrap().into_inner(), ended);
    assert_eq!(api.runs().cancel(cancel("c2")).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn p8_a_removal_cancels_what_is_queued_and_says_removing_at_once() {
    let api = Served::start().await;
    api.server("web1").await;
    let first = api.resources().install(install("i1", "web1", "a")).await.unwrap().into_inner().run.unwrap();
    let remove = RemoveResourceRequest {
        request_id: "r1".to_owned(),
        resource: "web1/scheduled_task/a".to_owned(),
        ..Default::default()
    };
    let answer = api.resources().remove(remove).await.unwrap().into_inner();
    assert_eq!(answer.resource.unwrap().status(), ResourceStatus::Removing);
    let first = api.runs().get(GetRunRequest { run_id: first.id }).await.unwrap().into_inner();
    assert_eq!(first.outcome(), Outcome::Cancelled);
}

#[tokio::test]
async fn p14_accepted_commands_are_in_the_audit_with_their_principal_and_run() {
    let api = Served::start().await;
    api.server("web1").await;
    let run = api.resources().install(install("i1", "web1", "a")).await.unwrap().into_inner().run.unwrap();
    let audit = api.admin().list_audit(ListAuditRequest::default()).await.unwrap().into_inner();
    let newest = &audit.entries[0];
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!((newest.method.as_str(), newest.run_id.as_str()), ("Resources.Install", run.id.as_str()));
    assert_eq!(
        (newest.principal.as_str(), newest.object.as_str()),
        (&*format!("unix:{uid}"), "web1/scheduled_task/a")
    );
    assert_eq!((newest.result(), run.principal.as_str()), (AuditResult::Accepted, newest.principal.as_str()));
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let api = Served::start().await;
    let status = api.servers().get(GetServerRequest { server: "nowhere".to_owned() }).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let info = status.get_error_details().resource_info().cloned().unwrap();
    assert_eq!((info.resource_type.as_str(), info.resource_name.as_str()), ("server", "nowhere"));
}

#[tokio::test]
async fn p14_who_makes_the_reconciler_look_is_in_the_audit_once() {
    let api = Served::start().await;
    for _ in 0..2 {
        let request = ReconcileRequest { request_id: "r".to_owned() };
        let report = api.admin().reconcile(request).await.unwrap().into_inner();
        assert_eq!(report.examined, 3);
    }
    let audit = api.admin().list_audit(ListAuditRequest::default()).await.unwrap().into_inner();
    let told = |e: &AuditEntry| (e.method.clone(), e.object.clone(), e.result(), e.detail.clone());
    let entries: Vec<_> = audit.entries.iter().map(told).collect();
    let line =
        |result, detail: &str| ("Admin.Reconcile".into(), "installation".into(), result, detail.into());
    let found = "examined 3, settled 0, released 0, likely stale 0";
    assert_eq!(entries, [line(AuditResult::Done, found), line(AuditResult::Accepted, "")]);
}

#[tokio::test]
async fn a_dry_run_of_an_update_a_removal_and_an_own_operation_stores_nothing() {
    let api = Served::start().await;
    api.server("web1").await;
    let parameters = [("source", "/srv/a"), ("path", "/srv/b"), ("release", "r1")];
    let ask = InstallRequest {
        package: "deployment".to_owned(),
        parameters: parameters.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ..install("i1", "web1", "site")
    };
    let first = api.resources().install(ask).await.unwrap().into_inner();
    let resource = first.resource.unwrap();
    let named = resource.id.clone();
    let remove =
        RemoveResourceRequest { resource: named.clone(), dry_run: true, ..RemoveResourceRequest::default() };
    let planned = api.resources().remove(remove).await.unwrap().into_inner();
    let (shown, run) = (planned.resource.unwrap(), planned.run.unwrap());
    assert_eq!((shown.id.as_str(), shown.status()), (named.as_str(), ResourceStatus::Removing));
    assert_eq!((run.id.as_str(), run.operation.as_str()), ("", "remove"));
    assert!(!run.step_titles.is_empty() && run.summary.contains("dry run"), "{run:?}");

    // What would be refused is refused, by the same words.
    let update =
        UpdateResourceRequest { resource: named.clone(), dry_run: true, ..UpdateResourceRequest::default() };
    let refused = api.resources().update(update).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains(&resource.open_run_id), "{refused:?}");
    let own = DoRequest {
        resource: named.clone(),
        operation: "rollback".to_owned(),
        dry_run: true,
        ..DoRequest::default()
    };
    assert_eq!(api.resources().r#do(own).await.unwrap_err().message(), refused.message());
    let seen = api.resources().get(GetResourceRequest { resource: named }).await.unwrap().into_inner();
    assert_eq!(seen, resource);
}

#[tokio::test]
async fn what_is_given_with_a_removal_is_checked_kept_with_its_run_and_audited() {
    let api = Served::start().await;
    api.server("web1").await;
    let ask = InstallRequest { package: "mariadb".to_owned(), ..install("i1", "web1", "mariadb") };
    let ask = InstallRequest { parameters: BTreeMap::new(), ..ask };
    let resource = api.resources().install(ask).await.unwrap().into_inner().resource.unwrap();
    let remove = |request_id: &str, name: &str, value: &str| RemoveResourceRequest {
        request_id: request_id.to_owned(),
        resource: resource.id.clone(),
        parameters: [(name.to_owned(), value.to_owned())].into(),
        ..RemoveResourceRequest::default()
    };
    for (name, value, words) in [
        ("purge", "perhaps", "true or false"),
        ("purg", "true", "did you mean `purge`?"),
        ("port", "3306", "it is one of the resource, which an update changes"),
    ] {
        let refused = api.resources().remove(remove("r0", name, value)).await.unwrap_err();
        assert_eq!(fields(&refused), [format!("parameters.{name}")]);
        let details = refused.get_error_details();
        let told = &details.bad_request().unwrap().field_violations[0].description;
        assert!(told.contains(words), "{told}");
    }
    let planned = RemoveResourceRequest { dry_run: true, ..remove("", "purge", "yes") };
    let given = BTreeMap::from([("purge".to_owned(), "true".to_owned())]);
    assert_eq!(api.resources().remove(planned).await.unwrap().into_inner().run.unwrap().parameters, given);

    let run = api.resources().remove(remove("r1", "purge", "yes")).await.unwrap().into_inner().run.unwrap();
    assert_eq!(run.parameters, given);
    let seen = api.runs().get(GetRunRequest { run_id: run.id.clone() }).await.unwrap().into_inner();
    assert_eq!(seen.parameters, given);
    let seen = api.resources().get(GetResourceRequest { resource: resource.id }).await.unwrap().into_inner();
    assert!(!seen.desired.contains_key("purge"), "{seen:?}");
    let audit = api.admin().list_audit(ListAuditRequest::default()).await.unwrap().into_inner();
    let removal = audit.entries.iter().find(|entry| entry.run_id == run.id).unwrap();
    assert!(removal.detail.contains("purge=\"true\""), "{removal:?}");
}

#[tokio::test]
async fn p14_the_audit_says_who_had_which_text_run_where_and_tells_no_secret() {
    let api = Served::start().await;
    api.server("web1").await;
    let text = |setup: &str| BTreeMap::from([("setup".to_owned(), setup.to_owned())]);
    let script = InstallRequest {
        package: "script".to_owned(),
        parameters: text("echo one\necho two\n"),
        ..install("i1", "web1", "mine")
    };
    let run = api.resources().install(script).await.unwrap().into_inner().run.unwrap();
    let mut user = InstallRequest { package: "redis".to_owned(), ..install("i2", "web1", "redis") };
    user.parameters = BTreeMap::new();
    user.secrets = BTreeMap::from([("password".to_owned(), b"open-sesame".to_vec())]);
    api.resources().install(user).await.unwrap();

    let audit = api.admin().list_audit(ListAuditRequest::default()).await.unwrap().into_inner();
    let told = |object: &str| audit.entries.iter().find(|e| e.object == object).unwrap();
    let script = told("web1/script/mine");
    assert_eq!((script.method.as_str(), script.run_id.as_str()), ("Resources.Install", run.id.as_str()));
    assert_eq!(script.principal, run.principal);
    // As `printf 'echo one\necho two\n' | sha256sum` has it.
    let digest = "5c5386da62193eb9d9cb7c9b2208cdf75bf7828c4bd326b8702f940b4b45d6cf";
    for part in
        [&format!("definition sha256:{}", run.digest), &format!("setup=sha256:{digest}"), "user=\"root\""]
    {
        assert!(script.detail.contains(part), "{part}: {script:?}");
    }
    let redis = told("web1/redis/redis");
    assert!(redis.detail.contains("password=(secret)") && !redis.detail.contains("open-sesame"), "{redis:?}");
}

#[tokio::test]
async fn what_a_package_requires_is_named_and_comes_along_on_request() {
    let api = Served::start().await;
    api.server("web1").await;
    let site = |request_id: &str, with_requirements, dry_run| InstallRequest {
        request_id: request_id.to_owned(),
        package: "site".to_owned(),
        name: "one".to_owned(),
        parameters: [("domains", "one.test"), ("root", "/srv/one"), ("kind", "php")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        with_requirements,
        dry_run,
        ..install("", "web1", "")
    };
    let refused = api.resources().install(site("s1", false, false)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let details = refused.get_error_details();
    let violations = &details.precondition_failure().unwrap().violations;
    let told: Vec<_> =
        violations.iter().map(|v| (v.r#type.as_str(), v.subject.as_str(), v.description.as_str())).collect();
    let expected = [
        ("REQUIREMENT", "nginx", "settlectl install nginx --server web1"),
        ("REQUIREMENT", "php", "settlectl install php --server web1"),
    ];
    assert_eq!(told, expected);

    let planned = api.resources().install(site("", true, true)).await.unwrap().into_inner();
    let places: Vec<_> =
        planned.requirements.iter().map(|run| (run.package.as_str(), run.position)).collect();
    assert_eq!(places, [("nginx", 1), ("php", 2)]);
    assert!(planned.requirements.iter().all(|run| run.id.is_empty() && !run.step_titles.is_empty()));
    assert_eq!(planned.run.unwrap().position, 3);
    let list = api.resources().list(ListResourcesRequest::default()).await.unwrap().into_inner();
    assert!(list.resources.is_empty());

    let answer = api.resources().install(site("s2", true, false)).await.unwrap().into_inner();
    let again = api.resources().install(site("s2", true, false)).await.unwrap().into_inner();
    assert_eq!(answer, again);
    assert_eq!(answer.requirements.len(), 2);
    let list = api.resources().list(ListResourcesRequest::default()).await.unwrap().into_inner();
    let mut there: Vec<_> = list.resources.iter().map(|r| format!("{}/{}", r.package, r.name)).collect();
    there.sort();
    assert_eq!(there, ["nginx/nginx", "php/php", "site/one"]);
}
