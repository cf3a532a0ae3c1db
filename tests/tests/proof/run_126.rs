//! A run left `running` with neither success nor failure recorded, and nobody who owns it: named after the run of a predecessor that
//! stayed so for months. It ends, in time, and everyone is told on what grounds.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use prost_types::Timestamp;
use settled_proto::v1::admin_client::AdminClient;
use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::runs_client::RunsClient;
use settled_proto::v1::{
    DoRequest, Evidence, GetRunRequest, GetStatusRequest, Outcome, Reason, Run, RunState,
};
use settled_tests::patience::{until, until_within};
use settled_tests::process::{Home, program};
use settled_tests::server::{appears, fresh_id, install};
use tonic::transport::Channel;

use crate::clients::completed;
use crate::witness::{PATIENT, Seen};
use crate::world::{Engine, Lease, World, name};

/// After a start nothing is settled by time for so long, then the next look does it.
const GRACE_AND_LOOK_S: i64 = 60 + 10;

pub(crate) async fn get(channel: &Channel, run: &str) -> Run {
    RunsClient::new(channel.clone()).get(GetRunRequest { run_id: run.to_owned() }).await.unwrap().into_inner()
}

/// Waits until the run's step is recorded as running.
async fn runs(channel: &Channel, run: &str) -> Run {
    until("the step runs", async || {
        let run = get(channel, run).await;
        run.steps.iter().any(|step| step.state() == settled_proto::v1::StepState::Running).then_some(run)
    })
    .await
}

/// Installs the patient package, and waits until its step is at work.
pub(crate) async fn waits(channel: &Channel, world: &World, server: usize, dir: &Path) -> Run {
    std::fs::create_dir(dir).unwrap();
    let request = install(&name(server), PATIENT, "it", &[("dir", &dir.display().to_string())]);
    let answer = ResourcesClient::new(channel.clone()).install(request).await.unwrap().into_inner();
    appears(&dir.join("witness")).await;
    assert!(world.servers.len() > server);
    runs(channel, &answer.run.unwrap().id).await
}

/// What `settlectl` says.
fn settlectl(home: &Home, arguments: &[&str]) -> String {
    let endpoint = format!("unix:{}", home.socket().display());
    let said = Command::new(program("settlectl")).args(["--endpoint", &endpoint]).args(arguments).output();
    let said = said.unwrap();
    String::from_utf8(said.stdout).unwrap() + &String::from_utf8(said.stderr).unwrap()
}

fn seconds(at: Option<&Timestamp>) -> i64 {
    at.unwrap().seconds
}

/// Looking again, twice, finds nothing to do, and the run stays as it is. That no row at all is written is shown on a clock moved by hand:
/// here the daemon goes on working, with the look at what the lost run has left.
async fn a_second_look_changes_nothing(home: &Home, channel: &Channel, run: &Run) {
    // Who looks after its server, and until when, is not of the run.
    let alone = async || Run { diagnostics: None, ..get(channel, &run.id).await };
    let before = alone().await;
    for _ in 0..2 {
        let said = settlectl(home, &["reconcile"]);
        assert!(said.contains("There was nothing to do."), "{said}");
    }
    let after = alone().await;
    assert_eq!((after.seq, &after), (run.seq, &before));
}

fn begun(dir: &Path) -> Vec<u32> {
    let mut seen = Seen::default();
    seen.read(dir);
    seen.begun.into_values().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_p7_on_sqlite_a_run_that_nothing_is_known_of_is_lost_in_words_and_a_fresh_one_goes_on() {
    nothing_is_known(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_p7_on_postgres_a_run_that_nothing_is_known_of_is_lost_in_words_and_a_fresh_one_goes_on() {
    nothing_is_known(Engine::Postgres).await;
}

async fn nothing_is_known(engine: Engine) {
    let world = World::new(engine, Lease::LONG, 1, 2).await;
    let (home, work) = (&world.homes[0], world.witnesses());
    let channel = home.channel();
    let daemon = home.start();
    home.serves().await;
    world.register(&channel).await;
    let left = waits(&channel, &world, 0, &work[0].join("left")).await;
    // Where servers cannot be told apart there is one only.
    let fresh_dir: Option<PathBuf> = work.get(1).map(|dir| dir.join("fresh"));
    let fresh = match &fresh_dir {
        Some(dir) => Some(waits(&channel, &world, 1, dir).await),
        None => None,
    };

    daemon.kill();
    world.servers[0].lose_steps();
    let _daemon = home.start();
    let (lost, _) = completed(&channel, &left.id).await;
    assert_eq!(
        (lost.outcome(), lost.reason(), lost.evidence()),
        (Outcome::Failed, Reason::Lost, Evidence::None),
        "{lost:#?}"
    );
    assert!(seconds(lost.completed_at.as_ref()) <= seconds(left.settles_by.as_ref()), "{lost:#?}");
    let shown = settlectl(home, &["run", "show", &lost.id]);
    assert!(shown.contains("Nobody can prove how it ended"), "{shown}");
    let listed = settlectl(home, &["run", "list"]);
    assert!(listed.contains("unproven"), "an ordinary failure reads differently: {listed}");
    assert_eq!(begun(&work[0].join("left")), [1], "it was not run again");

    if let (Some(fresh), Some(dir)) = (fresh, fresh_dir) {
        let now = get(&channel, &fresh.id).await;
        let what = |run: &Run| (run.state(), run.steps.clone(), run.settles_by, run.attempt);
        assert_eq!(what(&now), what(&fresh), "a fresh run is untouched");
        a_second_look_changes_nothing(home, &channel, &lost).await;
        std::fs::write(dir.join("go"), "").unwrap();
        let (fresh, _) = completed(&channel, &fresh.id).await;
        assert_eq!((fresh.outcome(), fresh.attempt), (Outcome::Succeeded, 1), "{fresh:#?}");
        assert_eq!(begun(&dir), [1]);
    }
    a_second_look_changes_nothing(home, &channel, &lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_p7_on_sqlite_a_run_whose_server_is_gone_is_reconciled_when_its_time_has_passed() {
    its_server_is_gone(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_p7_on_postgres_a_run_whose_server_is_gone_is_reconciled_when_its_time_has_passed() {
    its_server_is_gone(Engine::Postgres).await;
}

async fn its_server_is_gone(engine: Engine) {
    let mut world = World::new(engine, Lease::LONG, 1, 1).await;
    let dir = world.witnesses()[0].join("left");
    let channel = world.homes[0].channel();
    let daemon = world.homes[0].start();
    world.homes[0].serves().await;
    world.register(&channel).await;
    let installed = waits(&channel, &world, 0, &dir).await;
    std::fs::write(dir.join("go"), "").unwrap();
    assert_eq!(completed(&channel, &installed.id).await.0.outcome(), Outcome::Succeeded);
    let hurry = DoRequest {
        request_id: fresh_id(),
        resource: format!("{}/{PATIENT}/it", name(0)),
        operation: "hurry".to_owned(),
        ..DoRequest::default()
    };
    let answer = ResourcesClient::new(channel.clone()).r#do(hurry).await.unwrap().into_inner();
    let left = runs(&channel, &answer.run.unwrap().id).await;

    daemon.kill();
    world.servers[0].sshd.stop();
    world.servers[0].lose_steps();
    let home = &world.homes[0];
    let _daemon = home.start();
    home.serves().await;
    let started = AdminClient::new(channel.clone()).get_status(GetStatusRequest {}).await.unwrap();
    let started = seconds(started.into_inner().started_at.as_ref());
    let open = seconds(left.settles_by.as_ref()) - seconds(left.started_at.as_ref());
    println!("it is to settle {open} s after its start");
    let settled = until_within(Duration::from_secs(180), "it is settled by time", async || {
        let run = get(&channel, &left.id).await;
        if run.state() == RunState::Running {
            assert_eq!(run.settles_by, left.settles_by, "what was published stands");
        }
        (run.state() == RunState::Completed).then_some(run)
    })
    .await;
    assert_eq!(
        (settled.outcome(), settled.reason(), settled.evidence(), settled.reconciled),
        (Outcome::Failed, Reason::Lost, Evidence::None, true),
        "{settled:#?}"
    );
    let (published, at) = (seconds(left.settles_by.as_ref()), seconds(settled.completed_at.as_ref()));
    println!("settled {} s after what was published", at - published);
    assert!(at >= published, "not before its time: {settled:#?}");
    assert!(at <= (published + 10).max(started + GRACE_AND_LOOK_S), "{settled:#?}");
    let shown = settlectl(home, &["run", "show", &settled.id]);
    assert!(shown.contains("reconciler closed it"), "{shown}");
    assert!(settlectl(home, &["run", "list"]).contains("reconciled"));
    let listed = settlectl(home, &["run", "list", "--freshness", "reconciled"]);
    assert!(listed.contains(&settled.id) && !listed.contains(&installed.id), "{listed}");
    a_second_look_changes_nothing(home, &channel, &settled).await;
    assert_eq!(begun(&dir), [1, 1], "it was not run again");
}
