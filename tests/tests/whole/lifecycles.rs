//! Lifecycles as people use them: through `settlectl`, with scripts on a real OpenSSH server.

use std::path::PathBuf;

use serde_json::Value;
use settled_proto::v1::{
    CompleteTaskRequest, EnrollRequest, EnrollmentStatus, HeartbeatRequest, WorkRequest,
};
use settled_tests::daemon::{self, TestDaemon};
use settled_tests::patience::until;
use settled_tests::server::{Server, WITHIN, appears};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

use crate::cli::settlectl_at;
use crate::shared;

/// A daemon, a server that it has met, and a directory for what tests write.
pub(crate) struct House {
    pub(crate) daemon: Option<TestDaemon>,
    pub(crate) server: Server,
    pub(crate) dir: TempDir,
}

impl House {
    pub(crate) async fn start() -> Self {
        Self::start_with(daemon::Options::default()).await
    }

    pub(crate) async fn start_with(options: daemon::Options) -> Self {
        let (daemon, server) = (options.start().await, Server::start());
        server.register(&daemon, "web").await;
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(server.path("work")).unwrap();
        Self { daemon: Some(daemon), server, dir }
    }

    pub(crate) fn daemon(&self) -> &TestDaemon {
        self.daemon.as_ref().unwrap()
    }

    /// Where the scripts of stages leave what they did.
    pub(crate) fn trace(&self, name: &str) -> PathBuf {
        self.server.path("work").join(name)
    }

    /// A stage with a script, run by the user who logs in.
    pub(crate) fn script(&self, name: &str, lines: &str, script: &str) -> String {
        let user = self.server.sshd.user();
        format!(
            "[[stages]]\nname = \"{name}\"\n{lines}\n[stages.action]\nuser = \"{user}\"\nscript = '''\n{script}\n'''\n"
        )
    }

    /// What `settlectl` prints and how it ends.
    pub(crate) async fn says(&self, arguments: &[&str]) -> (i32, Value, String) {
        let output = timeout(WITHIN, settlectl_at(self.daemon(), arguments).output()).await.unwrap().unwrap();
        let printed = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().unwrap(), printed, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub(crate) async fn ok(&self, arguments: &[&str]) -> Value {
        let (code, printed, told) = self.says(arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {told}");
        printed
    }

    pub(crate) async fn apply(&self, text: &str) -> Value {
        let file = self.dir.path().join("lifecycle.toml");
        std::fs::write(&file, text).unwrap();
        self.ok(&["lifecycle", "apply", &file.display().to_string()]).await
    }

    pub(crate) async fn show(&self, subject: &str) -> Value {
        self.ok(&["enrollment", "show", &format!("c/{subject}")]).await
    }

    /// Waits until the enrollment has this status.
    pub(crate) async fn becomes(&self, subject: &str, status: &str) -> Value {
        until(&format!("{subject} becomes {status}"), async || {
            let now = self.show(subject).await;
            (now["status"] == status).then_some(now)
        })
        .await
    }

    /// The log, oldest first, as `stage attempt outcome`.
    pub(crate) async fn log(&self, subject: &str) -> Vec<String> {
        let log = self.ok(&["enrollment", "show", &format!("c/{subject}"), "--log"]).await;
        let rows = log["executions"].as_array().unwrap().iter().rev();
        let word = |row: &Value, name: &str| row[name].to_string().trim_matches('"').to_owned();
        rows.map(|row| ["stage", "attempt", "outcome"].map(|name| word(row, name)).join(" ")).collect()
    }
}

pub(crate) fn top(lines: &str) -> String {
    format!("code = \"c\"\nname = \"C\"\n{lines}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn enrol_twice_and_payload_from_stage_one_to_stage_two() {
    let h = House::start().await;
    let tell = "printf 'kernel=%s\\nstage=%s\\n' \"$(uname -s)\" \"$P_STAGE\" > \"$SETTLED_OUTPUT\"";
    let trace = h.trace("seen");
    let take = format!(
        "printf '%s %s %s %s' \"$P_SUBJECT_ID\" \"$P_ATTEMPT\" \"$P_IS_RETRY\" \"$P_PAYLOAD\" > '{}'",
        trace.display()
    );
    let text = [top(""), h.script("one", "", tell), h.script("two", "", &take)].concat();
    assert_eq!(h.apply(&text).await["change"], "created");
    assert_eq!(h.apply(&text).await["change"], "unchanged");
    let enroll = ["enroll", "c", "server/web", "--payload", "{\"given\": 1}"];
    assert_eq!(h.ok(&enroll).await["change"], "created");
    let again = h.ok(&enroll).await;
    assert_eq!(again["change"], "unchanged", "one per lifecycle and subject");
    let done = h.becomes("server/web", "completed").await;
    let payload: Value = serde_json::from_str(done["payload"].as_str().unwrap()).unwrap();
    assert_eq!(payload, serde_json::json!({ "given": 1, "kernel": "Linux", "stage": "one" }));
    let seen = std::fs::read_to_string(trace).unwrap();
    assert_eq!(seen, "web 1 false {\"given\":1,\"kernel\":\"Linux\",\"stage\":\"one\"}");
    assert_eq!(h.log("server/web").await, ["one 1 succeeded", "two 1 succeeded"]);
    let listed = h.ok(&["enrollment", "list", "--subject", "server/web"]).await;
    assert_eq!(listed["enrollments"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn defer_until_true_and_wait_beyond_the_maximum() {
    let h = House::start().await;
    let gate = "gate = { when = \"server.labels.ready == 'yes'\", again = \"1s\" }";
    let text = [top(""), h.script("one", gate, "true")].concat();
    h.apply(&text).await;
    h.ok(&["enroll", "c", "server/web"]).await;
    let waits = until("it was put off twice", async || {
        let now = h.show("server/web").await;
        (now["deferrals"].as_u64() >= Some(2)).then_some(now)
    })
    .await;
    assert_eq!((&waits["status"], &waits["attempt"]), (&Value::from("pending"), &Value::from(0)));
    assert_eq!(waits["waits_for"], "`server.labels.ready == 'yes'` to hold");
    h.ok(&["server", "edit", "web", "--label", "ready=yes"]).await;
    h.becomes("server/web", "completed").await;
    assert_eq!(h.log("server/web").await, ["one 1 succeeded"], "no failure was logged");

    let gate = "max_wait = \"2s\"\ngate = { when = \"payload.never\", again = \"1s\" }";
    h.apply(&[top(""), h.script("one", gate, "true")].concat()).await;
    h.ok(&["enroll", "c", "server/web", "--again"]).await;
    let failed = h.becomes("server/web", "failed").await;
    assert_eq!(failed["last_error"], "it waited for `payload.never` to hold");
    let log = h.ok(&["enrollment", "show", "c/server/web", "--log", "--outcome", "timed-out"]).await;
    assert_eq!(log["executions"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_three_times_and_enrol_again_from_failed_completed_and_absent() {
    let h = House::start().await;
    let (count, go) = (h.trace("count"), h.trace("go"));
    let script =
        format!("echo \"$P_ATTEMPT $P_IS_RETRY\" >> '{}'; [ -e '{}' ]", count.display(), go.display());
    h.apply(&[top(""), h.script("one", "backoff = \"1s\"", &script)].concat()).await;
    h.ok(&["enroll", "c", "server/web", "--again"]).await;
    let failed = h.becomes("server/web", "failed").await;
    assert_eq!(failed["attempt"], 3);
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "1 false\n2 true\n3 true\n", "exactly three");
    let (code, _, told) = h.says(&["enrollment", "approve", "c/server/web"]).await;
    assert_eq!(code, 4, "{told}");
    std::fs::write(&go, "").unwrap();
    assert_eq!(h.ok(&["enroll", "c", "server/web", "--again"]).await["change"], "reset");
    h.becomes("server/web", "completed").await;
    h.ok(&["enrollment", "reset", "c/server/web", "--payload", "{\"a\": 1}"]).await;
    h.becomes("server/web", "completed").await;
    h.ok(&["enrollment", "remove", "c/server/web"]).await;
    let (code, _, told) = h.says(&["enrollment", "show", "c/server/web"]).await;
    assert_eq!(code, 4, "{told}");
    assert_eq!(h.ok(&["enroll", "c", "server/web", "--again"]).await["change"], "created");
    h.becomes("server/web", "completed").await;
    assert_eq!(std::fs::read_to_string(&count).unwrap().lines().count(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn advance_approve_and_remove() {
    let h = House::start().await;
    let stages = "[[stages]]\nname = \"one\"\ngate = { when = \"payload.never\" }\naction = { approval = \"One?\" }\n\
                  [[stages]]\nname = \"two\"\naction = { approval = \"Two?\" }\n";
    h.apply(&(top("") + stages)).await;
    h.ok(&["enroll", "c", "user/42"]).await;
    h.ok(&["enrollment", "advance", "c/user/42"]).await;
    h.becomes("user/42", "processing").await;
    let (code, _, told) = h.says(&["enrollment", "remove", "c/user/42"]).await;
    assert_eq!(code, 4, "{told}");
    let done = h.ok(&["enrollment", "approve", "c/user/42", "--note", "well done"]).await;
    assert_eq!(done["status"], "completed");
    assert_eq!(h.log("user/42").await, ["one 0 advanced", "two 1 succeeded"]);
    h.ok(&["enrollment", "remove", "c/user/42"]).await;
    let log = h.ok(&["enrollment", "show", done["id"].as_str().unwrap(), "--log"]).await;
    assert_eq!(log["executions"].as_array().unwrap().len(), 2, "the log stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn inactive_outside_its_dates_and_not_by_cron() {
    let h = House::start().await;
    let stage = "[[stages]]\nname = \"one\"\naction = { approval = \"Well?\" }\n";
    h.apply(&(top("active = false") + stage)).await;
    h.ok(&["enroll", "c", "user/1"]).await;
    assert_eq!(h.show("user/1").await["waits_for"], "its lifecycle is inactive");
    h.apply(&(top("ends_at = 2020-01-01T00:00:00Z") + stage)).await;
    let waits = h.show("user/1").await;
    assert_eq!(waits["waits_for"], "its lifecycle has ended at 2020-01-01T00:00:00Z");
    let (code, _, told) = h.says(&["lifecycle", "run", "c"]).await;
    assert_eq!(code, 4, "{told}");
    h.apply(&(top("activation = \"hand\"") + stage)).await;
    let waits = h.show("user/1").await;
    assert!(waits["waits_for"].as_str().unwrap().contains("by hand"), "{waits}");
    let due = h.ok(&["enrollment", "list", "--due-before", "2100-01-01T00:00:00Z"]).await;
    assert_eq!(due["enrollments"].as_array().unwrap().len(), 1);
    h.ok(&["lifecycle", "run", "c"]).await;
    h.becomes("user/1", "processing").await;
    let (code, _, told) = h.says(&["lifecycle", "remove", "c"]).await;
    assert_eq!(code, 4, "{told}");
    h.ok(&["enrollment", "approve", "c/user/1"]).await;
    let counted = h.ok(&["lifecycle", "clean", "--dry-run"]).await;
    assert_eq!(counted, serde_json::json!({ "enrollments": 0, "executions": 0 }));
    h.ok(&["lifecycle", "clean"]).await;
    h.ok(&["lifecycle", "remove", "c"]).await;
    assert_eq!(h.ok(&["lifecycle", "list"]).await["lifecycles"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_definition_is_told_by_line() {
    let h = House::start().await;
    let file = h.dir.path().join("bad.toml");
    std::fs::write(&file, "code = \"c\"\nname = \"C\"\nactiv = true\n").unwrap();
    let (code, _, told) = h.says(&["lifecycle", "apply", &file.display().to_string()]).await;
    assert_eq!(code, 2);
    assert!(told.contains("bad.toml:3: activ: unknown key (did you mean `active`?)"), "{told}");
    assert!(told.contains("a lifecycle has at least one stage"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_stage_goes_on_after_the_daemon_was_killed() {
    let mut h = House::start().await;
    let (witness, go) = (h.trace("witness"), h.trace("go"));
    let script = format!(
        "echo run >> '{}'; while [ ! -e '{}' ]; do sleep 0.05; done; echo told=yes > \"$SETTLED_OUTPUT\"",
        witness.display(),
        go.display()
    );
    h.apply(&[top(""), h.script("one", "", &script), h.script("two", "", "true")].concat()).await;
    h.ok(&["enroll", "c", "server/web"]).await;
    appears(&witness).await;
    let home = h.daemon.take().unwrap().kill().await;
    std::fs::write(&go, "").unwrap();
    h.daemon = Some(daemon::Options::default().start_in(home).await);
    let done = h.becomes("server/web", "completed").await;
    assert_eq!(done["payload"], "{\"told\":\"yes\"}");
    assert_eq!(std::fs::read_to_string(&witness).unwrap(), "run\n", "it ran once");
    assert_eq!(h.log("server/web").await, ["one 1 succeeded", "two 1 succeeded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_outside_gets_tasks_as_they_come() {
    let h = House::start().await;
    h.apply(&(top("") + "[[stages]]\nname = \"one\"\naction = { work = \"bills\" }\n")).await;
    let mut client = h.daemon().lifecycles();
    let work = WorkRequest { queue: "bills".to_owned(), worker: "biller-1".to_owned() };
    let mut tasks = client.work(work).await.unwrap().into_inner();
    h.ok(&["enroll", "c", "order/7", "--payload", "{\"sum\": 5}"]).await;
    h.ok(&["enroll", "c", "order/8"]).await;
    let task = timeout(WITHIN, tasks.next()).await.unwrap().unwrap().unwrap();
    let enrollment = task.enrollment.unwrap();
    assert_eq!((enrollment.subject_id.as_str(), enrollment.payload.as_str()), ("7", "{\"sum\":5}"));
    assert_eq!((enrollment.attempt, enrollment.stage.as_str(), task.is_retry), (1, "one", false));
    assert_eq!(h.show("order/7").await["worker"], "biller-1");
    client.heartbeat(HeartbeatRequest { task_id: task.id.clone() }).await.unwrap();
    assert_eq!(h.show("order/8").await["worker"], "", "the worker has one at a time");
    let (request_id, payload) = ("said-once".to_owned(), "{\"paid\": true}".to_owned());
    let complete = CompleteTaskRequest { request_id, task_id: task.id, payload };
    let done = client.complete(complete.clone()).await.unwrap().into_inner();
    assert_eq!(
        (done.status(), done.payload.as_str()),
        (EnrollmentStatus::Completed, "{\"paid\":true,\"sum\":5}")
    );
    let next = timeout(WITHIN, tasks.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(next.enrollment.unwrap().subject_id, "8");
    let again = client.complete(complete.clone()).await.unwrap().into_inner();
    assert_eq!(again, done, "a worker whose answer was lost asks again, and gets it");
    let anew = CompleteTaskRequest { request_id: "said-twice".to_owned(), ..complete };
    let refused = client.complete(anew).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_stage_whose_daemon_died_is_taken_over_by_the_other() {
    let (one, two, _keys) = shared::pair().await;
    let server = Server::start();
    server.register(&one, "web").await;
    std::fs::create_dir(server.path("work")).unwrap();
    let mut h = House { daemon: Some(one), server, dir: tempfile::tempdir().unwrap() };
    let (witness, go) = (h.trace("witness"), h.trace("go"));
    let script = format!(
        "echo run >> '{}'; while [ ! -e '{}' ]; do sleep 0.05; done; echo told=yes > \"$SETTLED_OUTPUT\"",
        witness.display(),
        go.display()
    );
    h.apply(&[top(""), h.script("one", "", &script), h.script("two", "", "true")].concat()).await;
    let ask = |request_id: &str| EnrollRequest {
        request_id: request_id.to_owned(),
        lifecycle: "c".to_owned(),
        subject: "server/web".to_owned(),
        payload: "{\"a\": 1}".to_owned(),
        ..EnrollRequest::default()
    };
    let (mut here, mut there) = (h.daemon().lifecycles(), two.lifecycles());
    let (here, there) = tokio::join!(here.enroll(ask("here")), there.enroll(ask("there")));
    let answers = [here.unwrap().into_inner(), there.unwrap().into_inner()];
    let ids = answers.each_ref().map(|answer| answer.enrollment.as_ref().unwrap().id.clone());
    assert_eq!(ids[0], ids[1], "one enrollment, whichever daemon is asked");
    let mut changes = answers.map(|answer| answer.change);
    changes.sort();
    assert_eq!(changes, ["created", "unchanged"]);
    appears(&witness).await;
    let first = h.daemon.take().unwrap();
    let (dies, lives) =
        if shared::lanes(&shared::status(&first).await).0 > 0 { (first, two) } else { (two, first) };
    let _home = dies.kill().await;
    std::fs::write(&go, "").unwrap();
    h.daemon = Some(lives);
    let done = h.becomes("server/web", "completed").await;
    assert_eq!(done["payload"], "{\"a\":1,\"told\":\"yes\"}");
    assert_eq!(std::fs::read_to_string(&witness).unwrap(), "run\n", "it ran once");
    assert_eq!(h.log("server/web").await, ["one 1 succeeded", "two 1 succeeded"]);
}
