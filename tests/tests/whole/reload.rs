//! Package files are read anew as a command: audited, repeatable, all or nothing.

use std::path::Path;

use settled_proto::v1::{
    AuditResult, GetPackageRequest, InstallRequest, ListAuditRequest, ReloadPackagesRequest,
    ReloadPackagesResponse, UpdateResourceRequest,
};
use settled_tests::daemon::{self, TestDaemon};
use settled_tests::server::{Server, fresh_id, install, package_dir, settled};
use tonic::{Code, Status};

const THING: &str = r#"
name = "thing"
summary = "Writes a word"

[parameters.file]
type = "path"
summary = "Where to"

[operations.install]
[[operations.install.steps]]
title = "Write"
script = 'echo one > "$P_FILE"'

[operations.update]
[[operations.update.steps]]
title = "Write"
script = 'echo one > "$P_FILE"'

[operations.remove]
[[operations.remove.steps]]
title = "Delete"
script = 'rm -f "$P_FILE"'
"#;

async fn reload(daemon: &TestDaemon, request_id: &str) -> Result<ReloadPackagesResponse, Status> {
    let request = ReloadPackagesRequest { request_id: request_id.to_owned() };
    daemon.packages().reload(request).await.map(tonic::Response::into_inner)
}

async fn digest(daemon: &TestDaemon) -> String {
    let request = GetPackageRequest { package: "thing".to_owned() };
    daemon.packages().get(request).await.expect("it is loaded").into_inner().digest
}

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(format!("{name}.toml")), text).expect("a definition is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p14_a_reload_is_done_once_audited_and_refused_as_a_whole() {
    let packages = package_dir("thing", THING);
    let dir = packages.path();
    let daemon = daemon::Options::default().set("PACKAGES__DIR", &dir.display().to_string()).start().await;
    let one = digest(&daemon).await;
    assert_eq!(reload(&daemon, "r1").await.unwrap().changed, [""; 0]);

    write(dir, "thing", &THING.replace("echo one", "echo two"));
    write(dir, "more", &THING.replace("\"thing\"", "\"more\""));
    assert_eq!(reload(&daemon, "r2").await.unwrap().changed, ["more", "thing"]);
    let two = digest(&daemon).await;
    assert_ne!(one, two);

    // Asked again it answers what it answered, and does nothing: not even with files that say something else.
    write(dir, "thing", &THING.replace("script", "scirpt"));
    assert_eq!(reload(&daemon, "r2").await.unwrap().changed, ["more", "thing"]);

    write(dir, "more", &THING.replace("\"thing\"", "\"more\"").replace("one", "three"));
    let refused = reload(&daemon, "r3").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    for part in ["thing.toml:12: operations.install.steps[0].scirpt", "stay in use"] {
        assert!(refused.message().contains(part), "{part}: {}", refused.message());
    }
    assert_eq!(digest(&daemon).await, two, "nothing of it is used");

    let audit = daemon.admin().list_audit(ListAuditRequest::default()).await.unwrap().into_inner();
    let reloads: Vec<_> = audit.entries.iter().filter(|e| e.method == "Packages.Reload").collect();
    let reloads: Vec<_> = reloads.into_iter().filter(|e| e.code.is_empty()).collect();
    assert_eq!(reloads.len(), 2, "{reloads:?}");
    assert!(
        reloads.iter().all(|e| e.object == "packages" && e.result() == AuditResult::Accepted),
        "{reloads:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_installed_before_a_reload_is_changed_by_the_new_definition_and_removed_even_without_any() {
    // Shared text is kept with what uses it.
    let thing = THING.replacen("summary", "uses = [\"service\"]\nsummary", 1);
    let packages = package_dir("thing", &thing);
    let dir = packages.path();
    let daemon = daemon::Options::default().set("PACKAGES__DIR", &dir.display().to_string()).start().await;
    let server = Server::start();
    server.register(&daemon, "web").await;
    let file = server.path("word");
    let ask: InstallRequest = install("web", "thing", "a", &[("file", &file.display().to_string())]);
    let run = daemon.resources().install(ask).await.unwrap().into_inner().run.unwrap();
    settled(&daemon, &run.id).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one\n");

    write(dir, "thing", &thing.replace("echo one", "echo two"));
    reload(&daemon, "r1").await.unwrap();
    let resource = || "web/thing/a".to_owned();
    let update = UpdateResourceRequest { request_id: fresh_id(), resource: resource(), ..Default::default() };
    let run = daemon.resources().update(update).await.unwrap().into_inner().run.unwrap();
    settled(&daemon, &run.id).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "two\n");

    std::fs::remove_file(dir.join("thing.toml")).unwrap();
    reload(&daemon, "r2").await.unwrap();
    let remove = settled_proto::v1::RemoveResourceRequest {
        request_id: fresh_id(),
        resource: resource(),
        ..Default::default()
    };
    let run = daemon.resources().remove(remove).await.unwrap().into_inner().run.unwrap();
    settled(&daemon, &run.id).await;
    assert!(!file.exists());
}
