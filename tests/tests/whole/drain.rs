//! Drains: nothing new is begun, what runs comes to its end, and nothing is lost whatever happens meanwhile.

use std::path::PathBuf;
use std::time::Duration;

use settled_proto::v1::{
    AuditResult, Drain, DrainMode, DrainRequest, GetRunRequest, GetStatusRequest, ListAuditRequest, Outcome,
    Run, RunState, WaitReason,
};
use settled_tests::daemon::{self, TestDaemon};
use settled_tests::notify::FakeSystemd;
use settled_tests::patience::until;
use settled_tests::postgres::Postgres;
use settled_tests::server::{Server, appears, follow, fresh_id, install, package_dir, settled};
use tempfile::TempDir;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::cli::settlectl_at;
use crate::crash::PATIENT;

/// A server, and the package whose installs wait for a file.
struct Place {
    server: Server,
    packages: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { server: Server::start(), packages: package_dir("patient", PATIENT) }
    }

    fn options(&self) -> daemon::Options {
        daemon::Options::default().set("PACKAGES__DIR", &self.packages.path().display().to_string())
    }

    /// The directory of an install.
    fn dir(&self, name: &str) -> PathBuf {
        self.server.path(name)
    }

    /// Asks for an install that waits in its directory.
    async fn install(&self, daemon: &TestDaemon, name: &str) -> String {
        let dir = self.dir(name);
        std::fs::create_dir(&dir).unwrap();
        let request = install("web", "patient", name, &[("dir", &dir.display().to_string())]);
        daemon.resources().install(request).await.unwrap().into_inner().run.unwrap().id
    }

    fn let_go(&self, name: &str) {
        std::fs::write(self.dir(name).join("go"), "").unwrap();
    }

    fn has_begun(&self, name: &str) -> bool {
        self.dir(name).join("witness").exists()
    }

    /// It was executed once, and its whole output is there.
    async fn ran_once(&self, daemon: &TestDaemon, name: &str, run: &str) {
        let (run, output) = follow(daemon, run).await;
        assert_eq!(run.outcome(), Outcome::Succeeded, "{run:?}");
        assert_eq!(String::from_utf8(output).unwrap(), "before\nafter\n");
        assert_eq!(std::fs::read_to_string(self.dir(name).join("witness")).unwrap(), "run\n", "it ran once");
    }
}

async fn status(daemon: &TestDaemon) -> Option<Drain> {
    daemon.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner().drain
}

async fn lanes(daemon: &TestDaemon) -> u32 {
    daemon.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner().lanes
}

/// Waits until the daemon drains, and answers how.
async fn draining(daemon: &TestDaemon) -> Drain {
    until("it drains", async || status(daemon).await).await
}

async fn order(daemon: &TestDaemon, mode: DrainMode, request_id: &str) -> Result<Option<Drain>, Status> {
    let request = DrainRequest { request_id: request_id.to_owned(), mode: mode as i32 };
    daemon.admin().drain(request).await.map(|answer| answer.into_inner().drain)
}

async fn run(daemon: &TestDaemon, id: &str) -> Run {
    daemon.runs().get(GetRunRequest { run_id: id.to_owned() }).await.unwrap().into_inner()
}

fn ids(drain: &Drain) -> Vec<&str> {
    drain.runs.iter().map(|run| run.id.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_stop_that_finishes_follows_what_runs_and_leaves_the_queue_to_the_next_start() {
    let mut systemd = FakeSystemd::start();
    let place = Place::new();
    let options = || place.options().set("RUN__DRAIN", "finish");
    let daemon = options().systemd(&systemd.path()).start().await;
    place.server.register(&daemon, "web").await;
    let one = place.install(&daemon, "one").await;
    let two = place.install(&daemon, "two").await;
    appears(&place.dir("one").join("started")).await;

    daemon.terminate();
    systemd.wait_for("STOPPING=1").await;
    systemd.wait_for("EXTEND_TIMEOUT_USEC=60000000").await;
    let drain = draining(&daemon).await;
    assert_eq!((ids(&drain), drain.who.as_str()), (vec![one.as_str()], "a stop"));
    assert!(
        drain.until.unwrap().seconds > drain.since.unwrap().seconds,
        "it does not wait for ever: {drain:?}"
    );
    // What is asked for meanwhile is on record, and waits with the rest.
    let three = place.install(&daemon, "three").await;
    for (name, run) in [("two", &two), ("three", &three)] {
        place.let_go(name);
        assert_eq!(self::run(&daemon, run).await.state(), RunState::Queued);
    }
    // Nobody can order it to serve again.
    let refused = order(&daemon, DrainMode::Cancel, &fresh_id()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");

    // Whoever follows it is told to connect again, now or a moment later: the daemon ends with the run.
    place.let_go("one");
    let (ended, home) = daemon.end().await;
    ended.unwrap();
    assert!(!place.has_begun("two") && !place.has_begun("three"), "nothing new was begun");

    let daemon = options().start_in(home).await;
    let now = daemon.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(now.drain, None);
    let at = |time: Option<prost_types::Timestamp>| time.map(|time| (time.seconds, time.nanos)).unwrap();
    let completed = at(self::run(&daemon, &one).await.completed_at);
    assert!(completed < at(now.started_at), "the daemon that drained has seen its end");
    for (name, run) in [("one", one), ("two", two), ("three", three)] {
        place.ran_once(&daemon, name, &run).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_second_signal_ends_the_drain_at_once_and_leaves_the_step_running() {
    let place = Place::new();
    let daemon = place.options().set("RUN__DRAIN", "finish").start().await;
    place.server.register(&daemon, "web").await;
    let one = place.install(&daemon, "one").await;
    appears(&place.dir("one").join("started")).await;
    daemon.terminate();
    draining(&daemon).await;

    daemon.terminate();
    let (ended, home) = timeout(Duration::from_secs(2), daemon.end()).await.expect("it stops within 2 s");
    ended.unwrap();
    let daemon = place.options().start_in(home).await;
    assert_eq!(run(&daemon, &one).await.state(), RunState::Running);
    place.let_go("one");
    place.ran_once(&daemon, "one", &one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_what_still_runs_when_the_grace_is_over_goes_on_for_the_next_start() {
    let place = Place::new();
    let daemon = place.options().set("RUN__DRAIN", "finish").set("RUN__DRAIN_GRACE_S", "1").start().await;
    place.server.register(&daemon, "web").await;
    let one = place.install(&daemon, "one").await;
    appears(&place.dir("one").join("started")).await;
    let (ended, home) = daemon.stop().await;
    ended.unwrap();
    let daemon = place.options().start_in(home).await;
    place.let_go("one");
    place.ran_once(&daemon, "one", &one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p14_a_drain_is_ordered_once_audited_and_taken_back() {
    let place = Place::new();
    let daemon = place.options().start().await;
    place.server.register(&daemon, "web").await;
    let one = place.install(&daemon, "one").await;
    appears(&place.dir("one").join("started")).await;

    let drain = order(&daemon, DrainMode::Finish, "d1").await.unwrap().unwrap();
    assert_eq!((ids(&drain), drain.until), (vec![one.as_str()], None));
    let two = place.install(&daemon, "two").await;
    place.let_go("one");
    place.let_go("two");
    place.ran_once(&daemon, "one", &one).await;
    // What waits has no lane: it was given back at once, although it is kept for half a minute otherwise.
    until("the lane is given back", async || (lanes(&daemon).await == 0).then_some(())).await;
    assert_eq!(status(&daemon).await.unwrap().runs, []);
    let held = run(&daemon, &two).await;
    let waiting = held.waiting.clone().unwrap();
    assert_eq!((held.state(), waiting.reason()), (RunState::Queued, WaitReason::Drain));
    assert!(waiting.who.contains("settlectl drain --cancel"), "P4: it says for whom it waits: {waiting:?}");

    assert_eq!(order(&daemon, DrainMode::Cancel, "d2").await.unwrap(), None);
    place.ran_once(&daemon, "two", &two).await;
    // The first order, repeated late, orders nothing any more; with other content it is refused.
    assert_eq!(order(&daemon, DrainMode::Finish, "d1").await.unwrap(), None);
    let refused = order(&daemon, DrainMode::Cancel, "d1").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");

    let audit = daemon.admin().list_audit(ListAuditRequest::default()).await.unwrap().into_inner().entries;
    let orders = audit.iter().filter(|e| e.method == "Admin.Drain");
    let orders: Vec<_> = orders.map(|e| (e.result(), e.detail.as_str())).collect();
    let accepted = |order| (AuditResult::Accepted, order);
    let newest_first = [(AuditResult::Refused, refused.message()), accepted("cancel"), accepted("finish")];
    assert_eq!(orders, newest_first);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_look_that_is_asked_for_during_a_drain_waits_too() {
    let place = Place::new();
    let daemon = place.options().start().await;
    place.server.register(&daemon, "web").await;
    order(&daemon, DrainMode::Finish, "d1").await.unwrap();
    let probe = settled_proto::v1::ProbeServerRequest { request_id: fresh_id(), server: "web".to_owned() };
    let probe = daemon.servers().probe(probe).await.unwrap().into_inner().id;
    // The dispatcher was called for it, and has looked since.
    until("the lane is given back", async || (lanes(&daemon).await == 0).then_some(())).await;
    assert_eq!(run(&daemon, &probe).await.state(), RunState::Queued);
    order(&daemon, DrainMode::Cancel, "d2").await.unwrap();
    assert_eq!(settled(&daemon, &probe).await.outcome(), Outcome::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_daemon_that_is_killed_while_it_drains_serves_again_after_its_next_start() {
    let place = Place::new();
    let daemon = place.options().start().await;
    place.server.register(&daemon, "web").await;
    let one = place.install(&daemon, "one").await;
    let two = place.install(&daemon, "two").await;
    appears(&place.dir("one").join("started")).await;
    order(&daemon, DrainMode::Finish, "d1").await.unwrap();

    let home = daemon.kill().await;
    let daemon = place.options().start_in(home).await;
    assert_eq!(status(&daemon).await, None);
    place.let_go("one");
    place.let_go("two");
    place.ran_once(&daemon, "one", &one).await;
    place.ran_once(&daemon, "two", &two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_another_daemon_serves_the_idle_lanes_of_one_that_drains_and_takes_up_what_it_hands_over() {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    let place = Place::new();
    // They share the key that seals the server's login.
    let home = tempfile::tempdir().unwrap();
    let key = daemon::key_file(home.path());
    let options =
        || place.options().set("DATABASE__URL", &url).set("SECRETS__KEY_FILE", &key.display().to_string());
    let one = options().start().await;
    place.server.register(&one, "web").await;
    let refused = order(&one, DrainMode::Detach, "d0").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert!(refused.message().contains("no other daemon"), "{refused:?}");
    assert_eq!(status(&one).await, None, "what is refused is not done");

    // Whoever is the dispatcher of an idle lane keeps it for half a minute; a daemon that drains does not.
    order(&one, DrainMode::Finish, "d1").await.unwrap();
    let two = options().start().await;
    let run = place.install(&two, "one").await;
    appears(&place.dir("one").join("started")).await;
    assert_eq!((lanes(&one).await, lanes(&two).await), (0, 1));

    order(&one, DrainMode::Cancel, "d2").await.unwrap();
    let left = order(&two, DrainMode::Detach, "d3").await.unwrap().unwrap();
    assert!(left.runs.is_empty() || ids(&left) == [run.as_str()], "{left:?}");
    until("the lane is handed over", async || {
        (lanes(&one).await == 1 && lanes(&two).await == 0).then_some(())
    })
    .await;
    place.let_go("one");
    place.ran_once(&one, "one", &run).await;
    assert_eq!(status(&two).await.unwrap().runs, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn settlectl_waits_for_a_drain_and_tells_what_it_waits_for() {
    let place = Place::new();
    let daemon = place.options().start().await;
    place.server.register(&daemon, "web").await;
    let one = place.install(&daemon, "one").await;
    appears(&place.dir("one").join("started")).await;
    let mut waiting = settlectl_at(&daemon, &["drain", "--wait"]);
    let waiting =
        waiting.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    draining(&daemon).await;
    place.let_go("one");
    let ended = waiting.wait_with_output().await.unwrap();
    let (out, told) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
    assert_eq!(ended.status.code(), Some(0), "{out}{told}");
    assert!(told.contains("It waits for 1 run:") && told.contains(&one), "{told}");
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["drain"]["runs"], serde_json::json!([]), "{out}");

    let back = settlectl_at(&daemon, &["drain", "--cancel"]).output().await.unwrap();
    assert_eq!((back.status.code(), back.stdout.as_slice()), (Some(0), b"{\"drain\":null}\n".as_slice()));
    assert_eq!(status(&daemon).await, None);
}
