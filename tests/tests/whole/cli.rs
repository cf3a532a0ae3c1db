//! `settlectl`, a program and a watcher see the same sequence at once.

use std::path::PathBuf;
use std::process::Stdio;

use settled_proto::v1::{Outcome, WatchRequest, watch_request::Start, watch_response::Event};
use settled_tests::daemon;
use settled_tests::server::{Server, WITHIN, install, settled};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

/// The binary of this build, beside the test's own.
fn settlectl() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows where it is");
    let target =
        test.parent().and_then(|deps| deps.parent()).expect("tests are built below the target directory");
    let path = target.join("settlectl");
    assert!(path.exists(), "{} is missing: build the workspace (make test does)", path.display());
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn settlectl_a_program_and_a_watcher_see_the_same_sequence() {
    let server = Server::start();
    let daemon = daemon::Options::default().start().await;
    let endpoint = format!("unix:{}", daemon.socket().display());
    let mut ctl = Command::new(settlectl())
        .args(["--endpoint", &endpoint, "-o", "json", "watch", "--snapshot"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(ctl.stdout.take().unwrap()).lines();
    // The snapshot of an empty store is its bookmark: from here on both see everything.
    timeout(WITHIN, lines.next_line()).await.unwrap().unwrap().unwrap();
    let watch = WatchRequest { start: Some(Start::Snapshot(true)), ..WatchRequest::default() };
    let mut stream = daemon.transitions().watch(watch).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();

    server.register(&daemon, "web").await;
    let path = server.path("www").display().to_string();
    std::fs::create_dir(server.path("site")).unwrap();
    let source = server.path("site").display().to_string();
    let request =
        install("web", "deployment", "shop", &[("path", &path), ("source", &source), ("release", "1")]);
    let answer = daemon.resources().install(request).await.unwrap().into_inner();
    let run = settled(&daemon, &answer.run.unwrap().id).await;
    assert_eq!(run.outcome(), Outcome::Succeeded, "{run:?}");

    let mut program: Vec<(u64, String, String)> = Vec::new();
    while program.last().is_none_or(|(seq, ..)| *seq < run.seq) {
        let event = timeout(WITHIN, stream.next()).await.unwrap().unwrap().unwrap().event;
        if let Some(Event::Transition(t)) = event {
            program.push((t.seq, t.object_id.clone(), t.kind().as_str_name().to_owned()));
        }
    }
    let mut people = Vec::new();
    while people.len() < program.len() {
        let line = timeout(WITHIN, lines.next_line()).await.unwrap().unwrap().unwrap();
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        let t = &event["transition"];
        if t.is_object() {
            let kind = format!("KIND_{}", t["kind"].as_str().unwrap().to_uppercase());
            people.push((t["seq"].as_u64().unwrap(), t["object_id"].as_str().unwrap().to_owned(), kind));
        }
    }
    assert_eq!(program, people);
    let numbers: Vec<_> = program.iter().map(|(seq, ..)| *seq).collect();
    assert_eq!(numbers, (1..=run.seq).collect::<Vec<_>>(), "each once, in order, without a hole");
}
