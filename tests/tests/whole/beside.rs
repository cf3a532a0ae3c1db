//! An operation that only looks, on a real server: beside the lane, and nothing of the record follows it.

use std::fs;

use settled_proto::v1::{CommandResponse, DoRequest, GetRunRequest, Outcome, ResourceStatus, RunState};
use settled_tests::daemon::{self, TestDaemon};
use settled_tests::server::{Server, appears, follow, fresh_id, install, package_dir, resource, settled};

const PACKAGE: &str = r#"
name = "counted"
summary = "Can be counted at any time"
[parameters.file]
type = "path"
summary = "What is counted"
[operations.install]
steps = [{ title = "Nothing", script = ":" }]
[operations.hold]
attempts = 1
steps = [{ title = "Hold the lane", script = 'touch "$P_FILE.held"; until [ -e "$P_FILE.go" ]; do sleep 0.1; done' }]
[operations.count]
exclusive = false
steps = [{ title = "Count the lines", script = 'echo "state=absent"; [ -r "$P_FILE" ]; wc -l <"$P_FILE" | sed "s/^/$P_WORD /"' }]
[operations.count.parameters.word]
type = "text"
summary = "What stands in front"
default = "lines:"
[operations.remove]
steps = [{ title = "Nothing", script = ":" }]
"#;

async fn asked(
    daemon: &TestDaemon,
    operation: &str,
    given: &[(&str, &str)],
    dry_run: bool,
) -> CommandResponse {
    let request = DoRequest {
        request_id: fresh_id(),
        resource: "web/counted/one".to_owned(),
        operation: operation.to_owned(),
        parameters: given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        dry_run,
        ..DoRequest::default()
    };
    daemon.resources().r#do(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_operation_that_only_looks_is_answered_while_another_has_the_lane() {
    let packages = package_dir("counted", PACKAGE);
    let daemon =
        daemon::Options::default().set("PACKAGES__DIR", &packages.path().display().to_string()).start().await;
    let server = Server::start();
    server.register(&daemon, "web").await;
    let file = server.path("counted");
    fs::write(&file, "one\ntwo\n").unwrap();
    let file = file.display().to_string();
    let run = daemon.resources().install(install("web", "counted", "one", &[("file", &file)])).await.unwrap();
    settled(&daemon, &run.into_inner().run.unwrap().id).await;

    let hold = asked(&daemon, "hold", &[], false).await.run.unwrap();
    appears(format!("{file}.held").as_ref()).await;
    let before = resource(&daemon, "web/counted/one").await.unwrap();
    assert_eq!(before.status(), ResourceStatus::Updating);

    let plan = asked(&daemon, "count", &[], true).await.run.unwrap();
    assert_eq!((plan.position, plan.step_titles), (1, vec!["Count the lines".to_owned()]));
    let look = asked(&daemon, "count", &[("word", "found")], false).await.run.unwrap();
    assert!(!look.exclusive);
    let (look, output) = follow(&daemon, &look.id).await;
    assert_eq!(look.outcome(), Outcome::Succeeded, "{look:?}");
    assert_eq!(String::from_utf8_lossy(&output), "state=absent\nfound 2\n");
    let look = daemon.runs().get(GetRunRequest { run_id: look.id }).await.unwrap().into_inner();
    assert_eq!(look.steps[0].title, "Count the lines");
    assert_eq!(
        resource(&daemon, "web/counted/one").await.unwrap(),
        before,
        "what it prints is no observation"
    );

    fs::remove_file(&file).unwrap();
    let look = asked(&daemon, "count", &[], false).await.run.unwrap();
    let look = settled(&daemon, &look.id).await;
    assert_eq!((look.outcome(), look.attempt), (Outcome::Failed, 1), "{look:?}");
    assert_eq!(resource(&daemon, "web/counted/one").await.unwrap(), before);
    let still = daemon.runs().get(GetRunRequest { run_id: hold.id.clone() }).await.unwrap().into_inner();
    assert_eq!(still.state(), RunState::Running, "it has had the lane all along");

    fs::write(format!("{file}.go"), "").unwrap();
    assert_eq!(settled(&daemon, &hold.id).await.outcome(), Outcome::Succeeded);
    assert_eq!(resource(&daemon, "web/counted/one").await.unwrap().status(), ResourceStatus::Active);
}
