//! The example lifecycles of the documentation, worked off by the daemon's own binary on a real OpenSSH server: every stage fails and is
//! repeated, and the daemon is killed while each of them is at work.
//!
//! Only what would take hours is shortened: pauses and windows. What would change this machine has a stand-in of the same name in
//! `packages.dir`; `deployment` and the scripts of stages are the real ones.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use settled_proto::v1::lifecycles_client::LifecyclesClient;
use settled_proto::v1::servers_client::ServersClient;
use settled_proto::v1::{CompleteTaskRequest, FailTaskRequest, HeartbeatRequest, Task, WorkRequest};
use settled_tests::patience::until;
use settled_tests::process::{Daemon, Home};
use settled_tests::server::{Server, WITHIN, fresh_id};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::cli::settlectl_on;

/// `hook NAME` is what every action comes by: it notes who called, and waits while NAME is held, until this call may go on.
const HOOK: &str = r#"
at=${0%/*}/$1
echo "$SETTLED_STEP" >>"$at.calls"
n=$(wc -l <"$at.calls")
while [ -e "$at.hold" ] && [ ! -e "$at.go.$n" ]; do sleep 0.05; done
[ ! -e "$at.fails.$n" ] || { echo "it is to fail" >&2; exit 9; }
"#;

/// A package that is there in the place of the one of this name.
fn stand_in(name: &str, hook: &str) -> String {
    format!(
        "name = \"{name}\"\nsummary = \"Stands in\"\n[operations.install]\n\
         steps = [{{ title = \"Do it\", script = \"sh '{hook}' NAME\" }}]\n\
         [operations.remove]\nsteps = [{{ title = \"Undo it\", script = \"true\" }}]\n"
    )
}

/// A certificate that gets old when the test says so.
fn certificate(hook: &str, days: &str) -> String {
    let install = stand_in("tls_certificate", hook).replace(&format!("sh '{hook}' NAME"), "true");
    format!(
        "{install}[operations.renew]\nchanges = false\n\
         steps = [{{ title = \"Renew it\", script = \"sh '{hook}' renew; echo 80 >'{days}'\" }}]\n\
         [probe]\nscript = '''\n[ -n \"${{SETTLED_STAGE-}}\" ] && at=gate || at=look\nsh \"{hook}\" $at\n\
         echo state=present\necho \"fact.days_left=$(cat \"{days}\")\"\n'''\n"
    )
}

/// The example as it stands, but for its hours: it waits a second between two executions, and at no time of the day. Scripts come by the hook.
fn quick(text: &str, user: &str, hook: &str) -> String {
    let (mut stage, mut lines) = (String::new(), Vec::new());
    for line in text.lines() {
        if ["windows", "blackouts", "backoff"].iter().any(|key| line.starts_with(key)) {
            continue;
        }
        if let Some(name) = line.strip_prefix("name = ") {
            name.trim_matches('"').clone_into(&mut stage);
        }
        lines.push(line.to_owned());
        match line {
            "[[stages]]" => lines.push("backoff = \"1s\"".to_owned()),
            "[stages.action]" => lines.push(format!("user = \"{user}\"")),
            "script = '''" => lines.push(format!("sh \"{hook}\" {stage}")),
            _ => {}
        }
    }
    lines.join("\n")
}

/// A daemon that can be killed, a server that it has met as `web`, and one of the examples.
struct World {
    home: Home,
    daemon: Option<Daemon>,
    server: Server,
    /// The enrollment: LIFECYCLE/TYPE/ID.
    enrollment: String,
    _packages: TempDir,
}

impl World {
    async fn with(code: &str, subject: &str) -> Self {
        let server = Server::start();
        std::fs::create_dir(server.path("work")).unwrap();
        let hook = server.path("work/hook");
        std::fs::write(&hook, HOOK).unwrap();
        let (hook, days) = (hook.display().to_string(), server.path("work/days").display().to_string());
        let packages = tempfile::tempdir().unwrap();
        let put = |name: &str, text: String| {
            std::fs::write(packages.path().join(format!("{name}.toml")), text).unwrap();
        };
        put("firewall", stand_in("firewall", &hook).replace("NAME", "firewall"));
        put("nginx", stand_in("nginx", &hook).replace("NAME", "web"));
        put("tls_certificate", certificate(&hook, &days));
        let home = Home::new(&[("packages", "dir", &format!("'{}'", packages.path().display()))]);
        let daemon = Some(home.start());
        home.serves().await;
        ServersClient::new(home.channel()).create(server.record("web")).await.unwrap();
        let enrollment = format!("{code}/{subject}");
        let world = Self { home, daemon, server, enrollment, _packages: packages };
        until("the server is met", async || {
            (world.ok(&["server", "show", "web"]).await["status"] == "success").then_some(())
        })
        .await;
        world
    }

    /// Applies the example, and enrolls its subject.
    async fn begins(&self, text: &str, payload: &str) {
        let file = self.home.path("lifecycle.toml");
        let hook = self.path("hook").display().to_string();
        std::fs::write(&file, quick(text, &self.server.sshd.user(), &hook)).unwrap();
        self.ok(&["lifecycle", "apply", &file.display().to_string()]).await;
        let (code, subject) = self.enrollment.split_once('/').unwrap();
        self.ok(&["enroll", code, subject, "--payload", payload]).await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.server.path("work").join(name)
    }

    async fn ok(&self, arguments: &[&str]) -> Value {
        let output = settlectl_on(&self.home.socket(), arguments).output();
        let output = timeout(WITHIN, output).await.unwrap().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {told}\n{}", self.home.last_log());
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    async fn show(&self) -> Value {
        self.ok(&["enrollment", "show", &self.enrollment]).await
    }

    /// Waits until it stands so at this stage.
    async fn comes_to(&self, stage: &str, status: &str) -> Value {
        until(&format!("{status} at {stage}"), async || {
            let now = self.show().await;
            (now["stage"] == stage && now["status"] == status).then_some(now)
        })
        .await
    }

    /// The daemon dies, and another one is started.
    async fn kill(&mut self) {
        self.daemon.take().unwrap().kill();
        self.daemon = Some(self.home.start());
        self.home.serves().await;
    }

    fn hold(&self, name: &str) {
        std::fs::write(self.path(&format!("{name}.hold")), "").unwrap();
    }

    fn calls(&self, name: &str) -> Vec<String> {
        let calls = std::fs::read_to_string(self.path(&format!("{name}.calls"))).unwrap_or_default();
        calls.lines().map(ToOwned::to_owned).collect()
    }

    async fn is_called(&self, name: &str, times: usize) {
        until(&format!("{name} is called {times} times"), async || {
            (self.calls(name).len() >= times).then_some(())
        })
        .await;
    }

    /// The stage is executed for the n-th time: the daemon is killed in the middle of it, and then it ends so.
    async fn executes(&mut self, stage: &str, n: usize, ends_well: bool) {
        self.is_called(stage, n).await;
        self.kill().await;
        let now = self.show().await;
        assert_eq!((&now["stage"], &now["status"]), (&json!(stage), &json!("processing")), "{now}");
        if !ends_well {
            std::fs::write(self.path(&format!("{stage}.fails.{n}")), "").unwrap();
        }
        std::fs::write(self.path(&format!("{stage}.go.{n}")), "").unwrap();
    }

    /// A probe looks for the n-th time: the daemon is killed meanwhile, and probes go on.
    async fn looked(&mut self, name: &str, n: usize) {
        self.is_called(name, n).await;
        self.kill().await;
        std::fs::remove_file(self.path(&format!("{name}.hold"))).unwrap();
    }

    /// All of its executions fail, so the enrollment has failed; a person says that it goes on, and then it does.
    async fn fails_for_good_and_is_retried(&mut self, stage: &str, attempts: usize) {
        for n in 1..=attempts {
            self.executes(stage, n, false).await;
        }
        let failed = self.comes_to(stage, "failed").await;
        assert_eq!(failed["attempt"], attempts, "{failed}");
        assert_eq!(self.calls(stage).len(), attempts, "exactly so many");
        self.ok(&["enrollment", "retry", &self.enrollment]).await;
    }

    /// A person is asked, and the daemon is killed meanwhile.
    async fn asks(&mut self, stage: &str) {
        self.comes_to(stage, "processing").await;
        self.kill().await;
        self.comes_to(stage, "processing").await;
        self.ok(&["enrollment", "approve", &self.enrollment]).await;
    }

    /// It is completed; its log is this, and every line of a run tells of a run of its own, in which everything was done once.
    async fn is_completed(&self, expected: &[&str]) {
        let done = until("it is completed", async || {
            Some(self.show().await).filter(|now| now["status"] == "completed")
        })
        .await;
        let log = self.ok(&["enrollment", "show", &self.enrollment, "--log"]).await;
        let rows: Vec<&Value> = log["executions"].as_array().unwrap().iter().rev().collect();
        let word = |row: &Value, name: &str| row[name].to_string().trim_matches('"').to_owned();
        let line = |row: &&Value| ["stage", "attempt", "outcome"].map(|name| word(row, name)).join(" ");
        assert_eq!(rows.iter().map(line).collect::<Vec<_>>(), expected, "{done}");
        let failed = rows.iter().filter(|row| row["outcome"] == "failed");
        assert!(failed.clone().all(|row| !word(row, "error").is_empty()), "{log:#}");
        let runs: Vec<String> =
            rows.iter().map(|row| word(row, "run_id")).filter(|id| !id.is_empty()).collect();
        assert_eq!(runs.iter().collect::<BTreeSet<_>>().len(), runs.len(), "{runs:?}");
        for run in &runs {
            let run = self.ok(&["run", "show", run]).await;
            assert_eq!((&run["state"], &run["attempt"]), (&json!("completed"), &json!(1)), "{run:#}");
        }
        for name in ["inventory", "firewall", "web", "renew", "release", "health"] {
            let (calls, lines) = (self.calls(name), format!("{name} "));
            let executions = expected.iter().filter(|line| line.starts_with(&lines) && !line.contains(" 0 "));
            assert_eq!(calls.len(), executions.count(), "{name}: {calls:?}");
            assert_eq!(calls.iter().collect::<BTreeSet<_>>().len(), calls.len(), "nothing twice: {calls:?}");
        }
    }

    /// The only task of the queue.
    async fn task(&self) -> Task {
        let ask = WorkRequest { queue: "certificates".to_owned(), worker: "counter".to_owned() };
        let mut tasks = LifecyclesClient::new(self.home.channel()).work(ask).await.unwrap().into_inner();
        timeout(WITHIN, tasks.message()).await.unwrap().unwrap().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_server_comes_into_service_although_every_stage_fails_and_the_daemon_dies_in_each() {
    let mut w = World::with("server-onboarding", "server/web").await;
    for stage in ["inventory", "firewall", "web"] {
        w.hold(stage);
    }
    w.begins(include_str!("../../../docs/lifecycles/server-onboarding.toml"), "{}").await;
    w.fails_for_good_and_is_retried("inventory", 3).await;
    w.executes("inventory", 4, true).await;
    w.executes("firewall", 1, false).await;
    w.executes("firewall", 2, true).await;
    w.asks("approval").await;
    w.executes("web", 1, false).await;
    w.executes("web", 2, true).await;
    w.is_completed(&[
        "inventory 1 failed",
        "inventory 2 failed",
        "inventory 3 failed",
        "inventory 0 retried",
        "inventory 1 succeeded",
        "firewall 1 failed",
        "firewall 2 succeeded",
        "approval 1 succeeded",
        "web 1 failed",
        "web 2 succeeded",
    ])
    .await;
    let payload: Value = serde_json::from_str(w.show().await["payload"].as_str().unwrap()).unwrap();
    assert!(payload["kernel"].is_string() && payload["cpus"].is_string(), "{payload}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_certificate_is_renewed_once_although_every_stage_fails_and_the_daemon_dies_in_each() {
    let mut w = World::with("certificate-renewal", "resource/web/tls_certificate/shop").await;
    std::fs::write(w.path("days"), "80").unwrap();
    w.ok(&["install", "tls_certificate", "--server", "web", "--name", "shop", "--wait"]).await;
    std::fs::write(w.path("days"), "12").unwrap();
    w.hold("renew");
    w.hold("gate");
    w.begins(include_str!("../../../docs/lifecycles/certificate-renewal.toml"), "{}").await;
    w.looked("gate", 1).await;
    w.fails_for_good_and_is_retried("renew", 5).await;
    w.is_called("renew", 6).await;
    // The next stage has a gate that looks, and then looks itself.
    let (gate, look) = (w.calls("gate").len(), w.calls("look").len());
    w.hold("gate");
    w.hold("look");
    w.executes("renew", 6, true).await;
    w.looked("gate", gate + 1).await;
    w.looked("look", look + 1).await;
    let task = w.task().await;
    w.kill().await;
    let mut worker = LifecyclesClient::new(w.home.channel());
    worker.heartbeat(HeartbeatRequest { task_id: task.id.clone() }).await.unwrap();
    let error = "the list is locked".to_owned();
    worker.fail(FailTaskRequest { request_id: fresh_id(), task_id: task.id, error }).await.unwrap();
    let task = w.task().await;
    assert!(task.is_retry, "{task:?}");
    let complete = CompleteTaskRequest { request_id: fresh_id(), task_id: task.id, payload: String::new() };
    LifecyclesClient::new(w.home.channel()).complete(complete).await.unwrap();
    let failed = (1..=5).map(|n| format!("renew {n} failed"));
    let then =
        ["renew 0 retried", "renew 1 succeeded", "check 1 succeeded", "tell 1 failed", "tell 2 succeeded"];
    let expected: Vec<String> = failed.chain(then.map(ToOwned::to_owned)).collect();
    w.is_completed(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_release_is_switched_to_once_although_every_stage_fails_and_the_daemon_dies_in_each() {
    let mut w = World::with("zero-downtime-deployment", "resource/web/deployment/shop").await;
    let (source, at) = (w.path("source"), w.path("shop"));
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("page"), "old").unwrap();
    let set = |name: &str, value: &Path| format!("{name}={}", value.display());
    let build = format!("build=sh '{}' release", w.path("hook").display());
    let (path, from) = (set("path", &at), set("source", &source));
    let install =
        ["install", "deployment", "--server", "web", "--name", "shop", "--set", &path, "--set", &from];
    w.ok(&[&install[..], &["--set", "release=42", "--set", &build, "--wait"]].concat()).await;
    std::fs::remove_file(w.path("release.calls")).unwrap();
    std::fs::write(source.join("page"), "new").unwrap();
    w.hold("release");
    w.hold("health");
    w.begins(include_str!("../../../docs/lifecycles/zero-downtime-deployment.toml"), r#"{"release": "43"}"#)
        .await;
    w.fails_for_good_and_is_retried("release", 2).await;
    assert_eq!(std::fs::read_to_string(at.join("current/page")).unwrap(), "old", "it serves meanwhile");
    w.executes("release", 3, true).await;
    w.executes("health", 1, false).await;
    w.executes("health", 2, true).await;
    w.asks("verdict").await;
    w.is_completed(&[
        "release 1 failed",
        "release 2 failed",
        "release 0 retried",
        "release 1 succeeded",
        "health 1 failed",
        "health 2 succeeded",
        "verdict 1 succeeded",
    ])
    .await;
    assert_eq!(std::fs::read_to_string(at.join("current/page")).unwrap(), "new");
    assert_eq!(std::fs::read_link(at.join("current")).unwrap(), Path::new("releases/43"));
}
