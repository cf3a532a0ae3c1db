//! `settlectl` as people run it, against a daemon that says what the test wants: only the wire is real.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod daemon;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use daemon::{Daemon, Piece, Script, failed, queued, succeeded};
use serde_json::Value;
use settled_proto::v1::Position;
use settled_proto::v1::watch_request::Start;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// `settlectl` with nothing of this machine in its environment.
fn settlectl(dir: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_settlectl"));
    command.args(line.split_whitespace()).current_dir(dir).env_clear().env("HOME", dir).stdin(Stdio::null());
    command.env("SETTLECTL_ENDPOINT", format!("unix:{}", dir.join("s.sock").display()));
    command
}

fn run(dir: &Path, line: &str) -> Output {
    settlectl(dir, line).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Starts it and reads stdout up to the line that ends with `text`.
fn spawn_until(dir: &Path, line: &str, text: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = settlectl(dir, line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut read = String::new();
    while !read.trim_end().ends_with(text) {
        assert!(out.read_line(&mut read).unwrap() > 0, "it ended before '{text}': {read}");
    }
    (child, out)
}

/// Ctrl-C.
fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

fn end(mut child: Child, mut out: impl std::io::Read) -> (Option<i32>, String, String) {
    let (mut said, mut remarked) = (String::new(), String::new());
    out.read_to_string(&mut said).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut remarked).unwrap();
    (child.wait().unwrap().code(), said, remarked)
}

#[test]
fn a_daemon_that_does_not_run_is_one_clear_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), "status");
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("there is no socket"), "{}", stderr(&output));
    assert!(stderr(&output).contains("systemctl start settled"), "{}", stderr(&output));
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("s.sock")).unwrap());
    let output = run(dir.path(), "status");
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("nobody answers at its socket"), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
}

#[test]
fn what_was_typed_wrong_ends_with_2_before_anyone_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let table = [
        ("frobnicate", "unrecognized"),
        ("status --endpoint http://localhost:1", "write unix:/path or https://HOST:PORT"),
        ("server add web1 2001:db8::7 --user u", "brackets"),
        ("install site --server web1 --set a=@/does/not/exist", "--set a: /does/not/exist cannot be read"),
    ];
    for (line, sentence) in table {
        let output = run(dir.path(), line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(stderr(&output).contains(sentence), "{line}: {}", stderr(&output));
    }
}

#[test]
fn p12_a_plain_secret_is_refused_and_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), "install site --server web1 --secret token=hunter2");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("every user of this machine"));
    assert!(!stderr(&output).contains("hunter2"), "{}", stderr(&output));
}

#[test]
fn violations_are_told_by_the_flags_that_were_typed() {
    let dir = tempfile::tempdir().unwrap();
    let details = ErrorDetails::with_bad_request_violation("parameters.port", "must be 1 to 65535");
    let status = Status::with_error_details(Code::InvalidArgument, "One parameter does not fit.", details);
    let daemon = Daemon::start(dir.path(), Script::answers([Err(status)]));
    let output = run(dir.path(), "install site --server web1 --set port=0");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "settlectl: --set port: must be 1 to 65535\n");
    drop(daemon);
}

#[test]
fn a_refusal_ends_with_4_and_names_what_is_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let details = ErrorDetails::with_resource_info("run", "01RUN", "", "update, running");
    let status = Status::with_error_details(Code::FailedPrecondition, "Another run is open.", details);
    let daemon = Daemon::start(dir.path(), Script::answers([Err(status)]));
    let output = run(dir.path(), "install site --server web1");
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("run 01RUN: update, running"), "{}", stderr(&output));
    drop(daemon);
}

#[test]
fn a_run_that_failed_last_is_retried_by_its_resource_and_no_other_is() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), Script { failed_last: "01R", ..Script::default() });
    let output = run(dir.path(), "run retry 01R --request-id fresh --queue-limit 2h");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let seen = daemon.seen().retries;
    assert_eq!(seen.len(), 1);
    let asked = (seen[0].resource.as_str(), seen[0].request_id.as_str(), seen[0].queue_limit_s);
    assert_eq!(asked, ("01X", "fresh", 7200));
    drop(daemon);

    let daemon = Daemon::start(dir.path(), Script { failed_last: "01LATER", ..Script::default() });
    let output = run(dir.path(), "run retry 01R");
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("is not what failed last on web1/site/a"), "{}", stderr(&output));
    assert!(stderr(&output).contains("settlectl resource show web1/site/a"), "{}", stderr(&output));
    assert!(daemon.seen().retries.is_empty());
}

#[test]
fn p2_a_broken_command_is_sent_again_with_the_same_request_id() {
    let dir = tempfile::tempdir().unwrap();
    let daemon =
        Daemon::start(dir.path(), Script::answers([Err(Status::unavailable("stopping")), Ok(queued())]));
    let output = run(dir.path(), "install site --server web1");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("web1/site/a is pending; run 01R (install) is queued #2."));
    let ids = daemon.seen().request_ids;
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[0].len(), 26, "a ULID: {}", ids[0]);
}

#[test]
fn waiting_prints_one_object_and_ends_with_the_outcome() {
    let dir = tempfile::tempdir().unwrap();
    for (end, code, outcome) in [(succeeded(), 0, "succeeded"), (failed(), 1, "failed")] {
        let story = vec![Piece::Step, Piece::Output("one\ntwo\n", 8), Piece::Run(end)];
        let daemon =
            Daemon::start(dir.path(), Script { follows: [story].into(), ..Script::answers([Ok(queued())]) });
        let output = run(dir.path(), "install site --server web1 --wait -o json");
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert_eq!(json(&output)["run"]["outcome"], outcome);
        assert_eq!(json(&output)["resource"]["status"], "pending");
        assert!(stderr(&output).contains("[1/2] Write it\n      one\n      two\n"), "{}", stderr(&output));
        drop(daemon);
    }
}

#[test]
fn a_failed_run_is_told_with_its_error_and_what_to_do_next() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script { follows: [vec![Piece::Run(failed())]].into(), ..Script::answers([Ok(queued())]) };
    let daemon = Daemon::start(dir.path(), script);
    let output = run(dir.path(), "install site --server web1 --wait");
    assert_eq!(output.status.code(), Some(1));
    let said = stdout(&output);
    for part in ["failed", "'Write it' ended with exit code 3", "| no space", "settlectl retry web1/site/a"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    drop(daemon);
}

#[test]
fn p5_following_survives_the_death_of_the_daemon_and_goes_on_at_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    let first = vec![Piece::Step, Piece::Output("one\n", 4), Piece::Hang];
    let daemon = Daemon::start(dir.path(), Script { follows: [first].into(), ..Script::default() });
    let (child, out) = spawn_until(dir.path(), "run follow 01R --patience 30s", "one");
    drop(daemon);
    let rest = vec![Piece::Step, Piece::Output("two\n", 8), Piece::Run(succeeded())];
    let daemon = Daemon::start(dir.path(), Script { follows: [rest].into(), ..Script::default() });
    let (code, said, remarked) = end(child, out);
    assert_eq!(code, Some(0), "{remarked}");
    assert_eq!(said, "      two\nInstall of web1/site/a succeeded.\n");
    assert!(
        remarked.contains("Looking for settled again") && remarked.contains("Connected again"),
        "{remarked}"
    );
    assert_eq!(daemon.seen().offsets, [4]);
}

#[test]
fn patience_ends_and_tells_how_to_resume() {
    let dir = tempfile::tempdir().unwrap();
    let story = vec![Piece::Output("one\n", 4), Piece::Hang];
    let daemon = Daemon::start(dir.path(), Script { follows: [story].into(), ..Script::default() });
    let (child, out) = spawn_until(dir.path(), "run follow 01R --patience 1s", "one");
    drop(daemon);
    let (code, _, remarked) = end(child, out);
    assert_eq!(code, Some(3));
    assert!(remarked.contains("settlectl run follow 01R --offset 4"), "{remarked}");
}

#[test]
fn ctrl_c_ends_the_waiting_and_not_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let story = vec![Piece::Output("one\n", 4), Piece::Hang];
    let daemon = Daemon::start(dir.path(), Script { follows: [story].into(), ..Script::default() });
    let (child, out) = spawn_until(dir.path(), "run follow 01R", "one");
    interrupt(&child);
    let (code, _, remarked) = end(child, out);
    assert_eq!(code, Some(130));
    assert!(remarked.contains("the run goes on"), "{remarked}");
    assert!(remarked.contains("settlectl run cancel 01R"), "{remarked}");
    drop(daemon);
}

#[test]
fn programs_get_lines_of_json_while_they_follow() {
    let dir = tempfile::tempdir().unwrap();
    let story = vec![Piece::Step, Piece::Output("one\n", 4), Piece::Run(succeeded())];
    let daemon = Daemon::start(dir.path(), Script { follows: [story].into(), ..Script::default() });
    let output = run(dir.path(), "run follow 01R -o json");
    let values: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(values.len(), 3);
    assert_eq!(values[0]["step"]["title"], "Write it");
    assert_eq!(values[1]["output"]["text"], "one\n");
    assert_eq!(values[2]["run"]["state"], "completed");
    drop(daemon);
}

#[test]
fn lists_are_one_object_for_programs_and_columns_for_people() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), Script::default());
    let output = run(dir.path(), "run list -o json");
    assert_eq!(json(&output)["runs"][0]["id"], "01R");
    assert_eq!(json(&output)["next_page_token"], "");
    let table = stdout(&run(dir.path(), "run list"));
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().take(4).collect();
    assert_eq!(row, ["01R", "web1/site/a", "install", "queued"]);
    let yaml = stdout(&run(dir.path(), "run list -o yaml"));
    assert!(yaml.starts_with("---\nnext_page_token: \"\"\nruns:\n  -\n"), "{yaml}");
    drop(daemon);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), Script::default());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = settlectl(dir.path(), "run list").stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    drop(daemon);
}

#[test]
fn p10_a_watch_goes_on_after_its_last_position_when_the_daemon_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), Script { watches: [vec![8, 9]].into(), ..Script::default() });
    let (child, mut out) = spawn_until(dir.path(), "watch --since G:7", "#9");
    drop(daemon);
    let daemon = Daemon::start(dir.path(), Script { watches: [vec![10]].into(), ..Script::default() });
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.contains("#10"), "{line}");
    let since = |seq| Some(Start::Since(Position { generation: "G".into(), seq }));
    assert_eq!(daemon.seen().starts, [since(9)]);
    interrupt(&child);
    let (code, _, remarked) = end(child, out);
    assert_eq!(code, Some(130));
    assert!(remarked.contains("nothing was missed"), "{remarked}");
    assert!(remarked.contains("settlectl watch --since G:10"), "{remarked}");
}

#[test]
fn p10_a_position_that_is_not_kept_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), Script::default());
    let output = run(dir.path(), "watch --since OTHER:7");
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("another store") && stderr(&output).contains("--snapshot"));
    drop(daemon);
}

#[test]
fn p12_a_secret_comes_from_stdin_and_is_shown_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), Script::answers([Ok(queued())]));
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"hunter2").unwrap();
    drop(writer);
    let line = "install site --server web1 --secret token=- -o json";
    let output = settlectl(dir.path(), line).stdin(reader).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(daemon.seen().secrets[0]["token"], b"hunter2");
    assert!(!format!("{}{}", stdout(&output), stderr(&output)).contains("hunter2"));
}

#[test]
fn the_schema_of_packages_is_printed_without_a_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), "package schema");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(json(&output)["title"], "A package of settled");
}
