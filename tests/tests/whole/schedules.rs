//! Schedules as people meet them: through `settlectl`, with a real server that does the work.

use serde_json::Value;
use settled_proto::v1::schedule_target::Target;
use settled_tests::daemon::TestDaemon;
use settled_tests::patience::until;
use settled_tests::server::{Server, WITHIN, install, settled};
use tokio::time::timeout;

use crate::cli::settlectl_at;

/// What a command prints, and how it ended.
async fn run(daemon: &TestDaemon, arguments: &[&str]) -> (i32, Value, String) {
    let output = timeout(WITHIN, settlectl_at(daemon, arguments).output()).await.unwrap().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let printed = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), printed, told)
}

async fn done(daemon: &TestDaemon, arguments: &[&str]) -> Value {
    let (code, printed, told) = run(daemon, arguments).await;
    assert_eq!(code, 0, "{arguments:?}: {told}");
    printed
}

fn fates(story: &Value) -> Vec<String> {
    let all = story["occurrences"].as_array().unwrap();
    all.iter()
        .rev()
        .map(|o| format!("{} {}", o["cause"].as_str().unwrap(), o["fate"].as_str().unwrap()))
        .collect()
}

/// A daemon with a server `web` and a script on it that writes a line into `lines`, and then sleeps for so many seconds.
async fn writing(server: &Server, seconds: u32) -> TestDaemon {
    let daemon = TestDaemon::start().await;
    server.register(&daemon, "web").await;
    let lines = server.path("lines");
    let setup = format!("echo line >>{}; sleep {seconds}", lines.display());
    let ask = install("web", "script", "job", &[("setup", &setup), ("user", &server.sshd.user())]);
    let run = daemon.resources().install(ask).await.unwrap().into_inner().run.unwrap();
    let run = settled(&daemon, &run.id).await;
    assert_eq!(run.outcome().as_str_name(), "OUTCOME_SUCCEEDED", "{run:?}");
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_does_its_work_every_second_until_it_is_paused_and_then_by_hand() {
    let server = Server::start();
    let daemon = writing(&server, 0).await;
    let add = ["schedule", "add", "again", "* * * * * *", "--do", "update", "--resource", "web/script/job"];
    let made =
        done(&daemon, &[&add[..], &["--overlap", "skip", "--time-zone", "Europe/Berlin"]].concat()).await;
    assert_eq!(made["next_times"].as_array().unwrap().len(), 10);
    assert_eq!(made["schedule"]["target"]["operation"]["resources"][0], "web/script/job");

    // Two lines of it, beside that of the install.
    let lines = || std::fs::read_to_string(server.path("lines")).unwrap().lines().count();
    until("it works twice", async || (lines() >= 3).then_some(())).await;
    let paused = done(&daemon, &["schedule", "pause", "again"]).await;
    assert_eq!((&paused["paused"], &paused["next_due"]), (&Value::Bool(true), &Value::Null));
    let story = done(&daemon, &["schedule", "show", "again", "--history", "500"]).await;
    let fired: Vec<_> =
        story["occurrences"].as_array().unwrap().iter().filter(|o| o["fate"] == "fired").cloned().collect();
    assert!(fired.len() >= 2, "{story:#}");
    for occurrence in &fired {
        let run = settled(&daemon, occurrence["run_ids"][0].as_str().unwrap()).await;
        assert_eq!(
            (run.operation.as_str(), run.outcome().as_str_name()),
            ("update", "OUTCOME_SUCCEEDED"),
            "{run:?}"
        );
    }
    assert_eq!(lines(), fired.len() + 1, "each occurrence has worked once");

    let by_hand = done(&daemon, &["schedule", "fire", "again"]).await;
    assert_eq!(by_hand["occurrence"]["cause"], "by_hand");
    settled(&daemon, by_hand["occurrence"]["run_ids"][0].as_str().unwrap()).await;
    assert_eq!(lines(), fired.len() + 2);
    done(&daemon, &["schedule", "remove", "again"]).await;
    assert_eq!(run(&daemon, &["schedule", "show", "again"]).await.0, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_later_occurrence_stops_the_earlier_one_on_the_server_before_it_begins() {
    let server = Server::start();
    let daemon = writing(&server, 0).await;
    let long = format!("setup=echo long >>{}; sleep 600", server.path("lines").display());
    let add =
        ["schedule", "add", "long", "@yearly", "--do", "update", "--server", "web", "--package", "script"];
    done(&daemon, &[&add[..], &["--overlap", "cancel_earlier", "--set", &long]].concat()).await;
    let first = done(&daemon, &["schedule", "fire", "long"]).await;
    let lines = || std::fs::read_to_string(server.path("lines")).unwrap();
    until("the first works", async || lines().contains("long").then_some(())).await;
    let second = done(&daemon, &["schedule", "fire", "long"]).await;
    assert_eq!(second["occurrence"]["fate"], "waiting");
    let run = settled(&daemon, first["occurrence"]["run_ids"][0].as_str().unwrap()).await;
    assert_eq!(run.outcome().as_str_name(), "OUTCOME_CANCELLED", "{run:?}");
    let story = until("the second has its turn", async || {
        let story = done(&daemon, &["schedule", "show", "long"]).await;
        (fates(&story) == ["by_hand fired", "by_hand fired"]).then_some(story)
    })
    .await;
    let second = story["occurrences"][0]["run_ids"][0].as_str().unwrap().to_owned();
    until("the second works", async || (lines().matches("long").count() == 2).then_some(())).await;
    done(&daemon, &["run", "cancel", &second, "--wait"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_settled_does_for_itself_is_listed_re_timed_and_done_by_hand() {
    let daemon = TestDaemon::start().await;
    let all = done(&daemon, &["schedule", "list"]).await;
    let names: Vec<_> =
        all["schedules"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "settled.clean_enrollments",
            "settled.clean_executions",
            "settled.compaction",
            "settled.enrollments",
            "settled.probes",
            "settled.reconcile",
            "settled.retention"
        ]
    );
    done(&daemon, &["schedule", "edit", "settled.retention", "--cron", "15 4 * * *"]).await;
    let pause = run(&daemon, &["schedule", "pause", "settled.reconcile"]).await;
    assert!(pause.0 == 4 && pause.2.contains("that every run settles in time rests on it"), "{}", pause.2);
    for (chore, told) in [
        ("settled.retention", "there was nothing to do"),
        ("settled.compaction", "there was nothing to do"),
        ("settled.enrollments", "there was nothing to do"),
        ("settled.clean_enrollments", "there was nothing to do"),
        ("settled.clean_executions", "there was nothing to do"),
        ("settled.reconcile", "0 open runs were looked at"),
    ] {
        done(&daemon, &["schedule", "fire", chore]).await;
        until("the next tick does it", async || {
            let story = done(&daemon, &["schedule", "show", chore]).await;
            let last = &story["occurrences"][0];
            (last["fate"] == "fired" && last["why"].as_str().unwrap().starts_with(told)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_told_with_its_field() {
    let server = Server::start();
    let daemon = writing(&server, 0).await;
    let add = |cron: &'static str, more: &[&'static str]| {
        let mut line = vec!["schedule", "add", "x", cron, "--do", "update", "--package", "script"];
        line.extend(more);
        line
    };
    let table = [
        (add("61 * * * *", &["--server", "web"]), "minute: `61` is not a number from 0 to 59"),
        (add("@daily", &["--server", "web", "--time-zone", "Berlin"]), "is not a time zone"),
        (add("@daily", &["--server", "nowhere"]), "there is no server `nowhere`"),
        (
            add(
                "@daily",
                &["--server", "web", "--starts", "2030-01-02T00:00:00Z", "--ends", "2030-01-01T00:00:00Z"],
            ),
            "is not after starts_at",
        ),
        (
            vec!["schedule", "add", "x", "@daily", "--do", "renew", "--package", "nginks", "--server", "web"],
            "no package `nginks`",
        ),
        (
            vec!["schedule", "add", "x", "@daily", "--do", "renew", "--server", "web"],
            "say with --package of which package",
        ),
        (
            vec!["schedule", "add", "x", "@daily", "--enroll", "c", "--subject", "user/1"],
            "there is no lifecycle `c`",
        ),
        (
            vec!["schedule", "add", "x", "@daily", "--enroll", "c", "--server", "web", "--set", "a=b"],
            "--set and --name go with --do",
        ),
    ];
    for (line, part) in table {
        let (code, _, told) = run(&daemon, &line).await;
        assert!(code == 2 && told.contains(part), "{line:?}: {code} {told}");
    }
    let target = daemon.schedules().list(settled_proto::v1::ListSchedulesRequest::default()).await.unwrap();
    let targets = target.into_inner().schedules.into_iter().filter_map(|s| s.target.and_then(|t| t.target));
    assert!(targets.into_iter().all(|target| matches!(target, Target::Chore(_))), "nothing was stored");
}
