//! `settlectl` does the main job, while a program and a watcher look on: all three see the same.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at what they cannot do")]

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use settled_proto::v1::transition::Object;
use settled_proto::v1::watch_request::Start;
use settled_proto::v1::watch_response::Event;
use settled_proto::v1::{Outcome, ResourceStatus, Step, Transition, WatchRequest, WatchResponse};
use settled_tests::daemon::{self, TestDaemon};
use settled_tests::server::{Server, WITHIN};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::Streaming;

/// The binary of this build, beside the test's own.
pub(crate) fn settlectl() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows where it is");
    let target =
        test.parent().and_then(|deps| deps.parent()).expect("tests are built below the target directory");
    let path = target.join("settlectl");
    assert!(path.exists(), "{} is missing: build the workspace (make test does)", path.display());
    path
}

/// `settlectl -o json ARGUMENTS`, for this daemon.
pub(crate) fn settlectl_at(daemon: &TestDaemon, arguments: &[&str]) -> Command {
    settlectl_on(daemon.socket(), arguments)
}

/// The same, for whichever daemon listens here.
pub(crate) fn settlectl_on(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(settlectl());
    let endpoint = format!("unix:{}", socket.display());
    command.args(["--endpoint", &endpoint, "-o", "json"]).args(arguments).kill_on_drop(true);
    command
}

/// What everyone must have seen of a transition: its number, its object, and the kind of that.
type Seen = (u64, String, String);

fn seen(transition: &Transition) -> Seen {
    (transition.seq, transition.object_id.clone(), transition.kind().as_str_name().to_owned())
}

fn seen_in_json(transition: &Value) -> Seen {
    let text = |name: &str| transition[name].as_str().unwrap().to_owned();
    (transition["seq"].as_u64().unwrap(), text("object_id"), format!("KIND_{}", text("kind").to_uppercase()))
}

/// The steps of the transitions, each as it stood last, in the order in which they began.
fn steps_of(transitions: &[Transition]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for transition in transitions {
        if let Some(Object::Step(step)) = &transition.object {
            match steps.iter_mut().find(|known| known.id == step.id) {
                Some(known) => known.clone_from(step),
                None => steps.push(step.clone()),
            }
        }
    }
    steps
}

/// Reads transitions until the run has ended and each of its steps has.
async fn watch_to_the_end(stream: &mut Streaming<WatchResponse>, run: &str) -> Vec<Transition> {
    let mut transitions: Vec<Transition> = Vec::new();
    let over = |all: &[Transition]| {
        let ended = |t: &Transition| matches!(&t.object, Some(Object::Run(r)) if r.id == run && r.completed_at.is_some());
        all.iter().any(ended) && steps_of(all).iter().all(|step| step.ended_at.is_some())
    };
    while !over(&transitions) {
        if let Some(Event::Transition(transition)) =
            timeout(WITHIN, stream.next()).await.unwrap().unwrap().unwrap().event
        {
            transitions.push(transition);
        }
    }
    transitions
}

#[tokio::test(flavor = "multi_thread")]
async fn settlectl_a_program_and_a_watcher_see_the_same_sequence() {
    let server = Server::start();
    let daemon = daemon::Options::default().start().await;
    let mut watcher = settlectl_at(&daemon, &["watch", "--snapshot"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watcher.stdout.take().unwrap()).lines();
    // The snapshot of an empty store is its bookmark: from here on both see everything.
    timeout(WITHIN, lines.next_line()).await.unwrap().unwrap().unwrap();
    let watch = WatchRequest { start: Some(Start::Snapshot(true)), ..WatchRequest::default() };
    let mut stream = daemon.transitions().watch(watch).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();

    server.register(&daemon, "web").await;
    std::fs::create_dir(server.path("site")).unwrap();
    let path = format!("path={}", server.path("www").display());
    let source = format!("source={}", server.path("site").display());
    let install = ["install", "deployment", "--server", "web", "--name", "shop", "--wait"];
    let given = ["--set", &path, "--set", &source, "--set", "release=1"];
    let installer = settlectl_at(&daemon, &[&install[..], &given].concat()).output();
    let output = timeout(WITHIN, installer).await.unwrap().unwrap();
    let story = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{story}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();

    let program = watch_to_the_end(&mut stream, told["run"]["id"].as_str().unwrap()).await;
    let mut people = Vec::new();
    while people.len() < program.len() {
        let line = timeout(WITHIN, lines.next_line()).await.unwrap().unwrap().unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["transition"].is_object() {
            people.push(seen_in_json(&event["transition"]));
        }
    }
    assert_eq!(program.iter().map(seen).collect::<Vec<_>>(), people);
    let numbers: Vec<_> = program.iter().map(|t| t.seq).collect();
    assert_eq!(
        numbers,
        (1..=numbers.len() as u64).collect::<Vec<_>>(),
        "each once, in order, without a hole"
    );
    let show = settlectl_at(&daemon, &["run", "show", told["run"]["id"].as_str().unwrap()]).output();
    let shown: Value = serde_json::from_slice(&timeout(WITHIN, show).await.unwrap().unwrap().stdout).unwrap();
    told_alike(&program, &told, &shown, &story);
}

/// What settlectl told of the run, as a result and as a story, is what the program saw of it.
fn told_alike(program: &[Transition], told: &Value, shown: &Value, story: &str) {
    let of_the_run: Vec<_> = program.iter().filter(|t| told["run"]["id"] == t.run_id).cloned().collect();
    let steps = steps_of(&of_the_run);
    let words = |step: &Step| {
        let state = step.state().as_str_name().trim_start_matches("STEP_STATE_").to_lowercase();
        json!([step.id, step.title, state, step.exit_code, step.output_bytes])
    };
    let fields = ["id", "title", "state", "exit_code", "output_bytes"];
    let told_words = |step: &Value| Value::from(fields.map(|field| step[field].clone()).to_vec());
    let told_steps: Vec<_> = shown["steps"].as_array().unwrap().iter().map(told_words).collect();
    assert_eq!(told_steps, steps.iter().map(words).collect::<Vec<_>>());

    let titles: Vec<_> = steps.iter().map(|step| step.title.as_str()).collect();
    let milestones: Vec<_> =
        story.lines().filter(|line| line.starts_with('[')).filter_map(|line| line.split_once("] ")).collect();
    assert_eq!(milestones.iter().map(|(_, title)| *title).collect::<Vec<_>>(), titles, "{story}");

    let last = |id: &Value| program.iter().rfind(|t| id == &t.object_id).unwrap().clone();
    let (run, resource) = (last(&told["run"]["id"]), last(&told["resource"]["id"]));
    assert_eq!(
        (told["run"]["seq"].as_u64(), told["resource"]["seq"].as_u64()),
        (Some(run.seq), Some(resource.seq))
    );
    assert!(matches!(run.object, Some(Object::Run(run)) if run.outcome() == Outcome::Succeeded));
    assert_eq!(told["run"]["outcome"], "succeeded");
    assert!(matches!(resource.object, Some(Object::Resource(it)) if it.status() == ResourceStatus::Success));
    assert_eq!(told["resource"]["status"], "success");
}
