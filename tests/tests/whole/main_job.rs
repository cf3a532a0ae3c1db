//! The main job: a site is installed, updated, broken, mended and removed on a real server.

use settled_proto::v1::{
    Outcome, Reason, RemoveResourceRequest, ResourceStatus, RetryResourceRequest, UpdateResourceRequest,
};
use settled_tests::daemon;
use settled_tests::server::{Server, fresh_id, install, observed, resource, settled};

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_installed_updated_broken_mended_and_removed() {
    let server = Server::start();
    let daemon = daemon::Options::default().set("RUN__ATTEMPTS", "1").start().await;
    let met = server.register(&daemon, "web").await;
    assert_eq!(met.outcome(), Outcome::Succeeded, "{met:?}");

    let (site, www) = (server.path("site"), server.path("www"));
    std::fs::create_dir(&site).unwrap();
    std::fs::write(site.join("index.html"), "first").unwrap();
    let page = || std::fs::read_to_string(www.join("current/index.html")).unwrap();
    let (path, source) = (www.display().to_string(), site.display().to_string());

    let parameters = [("path", path.as_str()), ("source", source.as_str()), ("release", "1")];
    let answer = daemon
        .resources()
        .install(install("web", "deployment", "shop", &parameters))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.resource.unwrap().status(), ResourceStatus::Pending);
    let run = settled(&daemon, &answer.run.unwrap().id).await;
    assert_eq!(run.outcome(), Outcome::Succeeded, "{run:?}");
    let shop = resource(&daemon, "web/deployment/shop").await.unwrap();
    assert_eq!(
        (shop.status(), shop.applied.get("release").map(String::as_str)),
        (ResourceStatus::Success, Some("1"))
    );
    assert_eq!(page(), "first");

    let update = |changes: &[(&str, &str)]| UpdateResourceRequest {
        request_id: fresh_id(),
        resource: "web/deployment/shop".to_owned(),
        parameters: changes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..UpdateResourceRequest::default()
    };
    std::fs::write(site.join("index.html"), "second").unwrap();
    let answer = daemon.resources().update(update(&[("release", "2")])).await.unwrap().into_inner();
    assert_eq!(settled(&daemon, &answer.run.unwrap().id).await.outcome(), Outcome::Succeeded);
    assert_eq!(page(), "second");

    let menu = server.path("menu");
    let build = format!("test -s {} || {{ echo 'no menu' >&2; exit 3; }}", menu.display());
    let answer =
        daemon.resources().update(update(&[("release", "3"), ("build", &build)])).await.unwrap().into_inner();
    let run = settled(&daemon, &answer.run.unwrap().id).await;
    assert_eq!((run.outcome(), run.reason()), (Outcome::Failed, Reason::StepFailed));
    let shop = resource(&daemon, "web/deployment/shop").await.unwrap();
    let error = shop.last_error.clone().unwrap();
    assert_eq!(
        (shop.status(), error.step.as_str(), error.exit_code),
        (ResourceStatus::Failed, "Build", Some(3))
    );
    assert!(error.last_lines.contains("no menu"), "{error:?}");
    let seen = observed(&daemon, "web/deployment/shop").await;
    assert_eq!(seen.facts.get("release").map(String::as_str), Some("2"), "a probe follows a failed change");
    assert_eq!(page(), "second");

    std::fs::write(&menu, "tea").unwrap();
    let retry = RetryResourceRequest {
        request_id: fresh_id(),
        resource: "web/deployment/shop".to_owned(),
        ..Default::default()
    };
    let answer = daemon.resources().retry(retry).await.unwrap().into_inner();
    assert_eq!(answer.resource.unwrap().status(), ResourceStatus::Pending);
    let again = answer.run.unwrap();
    assert_eq!(again.retry_of, run.id);
    assert_eq!(settled(&daemon, &again.id).await.outcome(), Outcome::Succeeded);
    let shop = resource(&daemon, "web/deployment/shop").await.unwrap();
    assert_eq!((shop.status(), shop.last_error), (ResourceStatus::Success, None));

    let remove = RemoveResourceRequest {
        request_id: fresh_id(),
        resource: "web/deployment/shop".to_owned(),
        ..Default::default()
    };
    let answer = daemon.resources().remove(remove).await.unwrap().into_inner();
    assert_eq!(answer.resource.unwrap().status(), ResourceStatus::Removing);
    assert_eq!(settled(&daemon, &answer.run.unwrap().id).await.outcome(), Outcome::Succeeded);
    assert_eq!(resource(&daemon, "web/deployment/shop").await, None);
    assert!(!www.join("current").exists());
}
