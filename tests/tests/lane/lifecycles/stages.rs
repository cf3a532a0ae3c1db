//! How stages begin, wait, fail and hand on.

use settled::domain::lifecycle::Rest;
use settled::domain::time::Timestamp;
use settled::engine::{Cleaning, EditPolicy, EditServer};
use settled_tests::scripted::Play;

use super::*;

#[tokio::test]
async fn enrolling_twice_gives_one_enrollment() {
    let mut h = house(&[]).await;
    h.apply(&lifecycle("", &[("ask", ASK)])).await;
    assert_eq!(h.enroll("user/42").await, "created");
    let first = h.enrollment("user/42").await;
    h.works().await;
    assert_eq!(h.enroll("user/42").await, "unchanged");
    assert_eq!(h.enrollment("user/42").await.id, first.id);
    let (one, two) = (enroll("user/7"), enroll("user/7"));
    let engine = h.w.daemon.engine.clone();
    let (a, b) = (h.w.asked("Lifecycles.Enroll"), h.w.asked("Lifecycles.Enroll"));
    let (one, two) = tokio::join!(engine.enroll(a, one), engine.enroll(b, two));
    let ids = [one.unwrap(), two.unwrap()].map(|answer| answer.enrollment.unwrap().id);
    assert_eq!(ids[0], ids[1], "also at the same time");
}

#[tokio::test]
async fn a_stage_runs_an_operation_through_the_lane_and_hands_its_outputs_on() {
    let mut h = house(&["alpha"]).await;
    let make = "action = { operation = \"install\", package = \"maker\", name = \"one\" }";
    let put = "gate = { when = \"payload.port == 80\" }\naction = { operation = \"install\", package = \"thing\", name = \"two\", \
               set = { version = { from = \"payload.release\" } } }";
    h.apply(&lifecycle("", &[("make", make), ("put", put)])).await;
    h.w.remote.script("one", [Play::exit(0).tells("port=80\nrelease=7\n"), Play::exit(0)]);
    let ask = Enroll { payload: r#"{"kept":true}"#.to_owned(), ..enroll("server/alpha") };
    h.enroll_as(ask).await.unwrap();
    h.works().await;
    let done = h.enrollment("server/alpha").await;
    assert_eq!(done.status(), Status::Completed, "{done:?}");
    assert_eq!(done.payload, r#"{"kept":true,"port":"80","release":"7"}"#);
    assert_eq!(h.w.resource("alpha/thing/two").await.unwrap().unwrap().desired["version"], "7");
    assert_eq!(h.log().await, ["make 1 succeeded", "put 1 succeeded"]);
    let log = h.executions().await;
    assert_eq!(payload_of(&log[0].payload_before).len(), 1, "a snapshot before");
    assert_eq!(payload_of(&log[0].payload_after).len(), 3, "and one after");
    let run = log[0].run_id.as_ref().unwrap().parse().unwrap();
    assert_eq!(h.w.run(run).await.unwrap().attempts_max, 1, "one execution is one attempt");
}

#[tokio::test]
async fn a_stage_fails_three_times_an_hour_apart_and_a_retry_goes_on_there() {
    let mut h = house(&["alpha"]).await;
    h.apply(&lifecycle("", &[("ask", ASK), ("put", THING)])).await;
    h.w.remote.script("one", [Play::exit(1), Play::exit(1), Play::exit(1), Play::exit(0), Play::exit(0)]);
    h.enroll("server/alpha").await;
    h.works().await;
    h.change("server/alpha", approve()).await.unwrap();
    for attempt in 1..=2 {
        h.works().await;
        let failed = h.enrollment("server/alpha").await;
        assert_eq!(
            (failed.status(), failed.attempt, failed.stage.as_str()),
            (Status::Pending, attempt, "put")
        );
        let wait = failed.due().unwrap().since(failed.updated_at);
        assert_eq!(wait, HOUR);
        h.after(seconds(3_540)).await;
        assert_eq!(h.enrollment("server/alpha").await.attempt, attempt, "nothing runs early");
        h.after(seconds(120)).await;
    }
    let failed = h.enrollment("server/alpha").await;
    assert_eq!((failed.status(), failed.attempt), (Status::Failed, 3));
    assert!(failed.last_error.contains("Get the thing ready"), "{}", failed.last_error);
    h.after(DAY).await;
    assert_eq!(h.log().await.len(), 4, "exactly three executions");
    h.change("server/alpha", Change::Retry).await.unwrap();
    h.works().await;
    assert_eq!(h.status("server/alpha").await, Status::Completed);
    assert_eq!(
        h.log().await,
        [
            "ask 1 succeeded",
            "put 1 failed",
            "put 2 failed",
            "put 3 failed",
            "put 0 retried",
            "put 1 succeeded"
        ]
    );
}

#[tokio::test]
async fn what_cannot_begin_fails_like_what_fails() {
    let mut h = house(&["alpha"]).await;
    let nowhere =
        "attempts = 2\nbackoff = \"10m\"\naction = { operation = \"install\", package = \"nonesuch\" }";
    h.apply(&lifecycle("", &[("put", nowhere)])).await;
    h.enroll("server/alpha").await;
    h.works().await;
    assert_eq!(h.enrollment("server/alpha").await.attempt, 1);
    h.after(seconds(600)).await;
    let failed = h.enrollment("server/alpha").await;
    assert_eq!((failed.status(), failed.attempt), (Status::Failed, 2));
    assert!(failed.last_error.contains("there is no package `nonesuch`"), "{}", failed.last_error);
    h.enroll("user/1").await;
    h.works().await;
    assert!(h.enrollment("user/1").await.last_error.contains("is on no server"));
}

#[tokio::test]
async fn p4_a_gate_defers_until_it_is_true_and_uses_no_attempt() {
    let mut h = house(&["alpha"]).await;
    let gated = format!("gate = {{ when = \"server.labels.ready == 'yes'\", again = \"10m\" }}\n{THING}");
    h.apply(&lifecycle("", &[("put", &gated)])).await;
    h.enroll("server/alpha").await;
    h.works().await;
    for deferrals in 1..=3 {
        let waits = h.enrollment("server/alpha").await;
        assert_eq!((waits.status(), waits.attempt, waits.deferrals), (Status::Pending, 0, deferrals));
        assert_eq!(waits.waits_for, "`server.labels.ready == 'yes'` to hold");
        assert!(waits.waits_since.is_some() && waits.last_error.is_empty());
        h.after(seconds(600)).await;
    }
    assert_eq!(h.log().await, Vec::<String>::new(), "no failure is logged");
    let asked = h.w.asked("Servers.Update");
    let labels = BTreeMap::from([("ready".to_owned(), "yes".to_owned())]);
    let edit = EditServer { server: "alpha".to_owned(), set_labels: labels, ..EditServer::default() };
    h.w.daemon.engine.edit_server(asked, edit).await.unwrap();
    h.after(seconds(600)).await;
    let done = h.enrollment("server/alpha").await;
    assert_eq!((done.status(), done.attempt), (Status::Completed, 1));
}

#[tokio::test]
async fn a_wait_beyond_the_maximum_ends_as_the_definition_says() {
    for (then, status, log) in [
        ("", Status::Failed, vec!["put 0 timed_out"]),
        ("then = \"fail\"", Status::Failed, vec!["put 0 timed_out"]),
        ("then = \"skip\"", Status::Processing, vec!["put 0 skipped"]),
        ("then = \"go_on\"", Status::Processing, vec!["put 1 succeeded"]),
    ] {
        let mut h = house(&["alpha"]).await;
        let gated = format!("{then}\ngate = {{ when = \"payload.never\", again = \"5h\" }}\n{THING}");
        h.apply(&lifecycle("", &[("put", &gated), ("ask", ASK)])).await;
        h.enroll("server/alpha").await;
        h.works().await;
        let since = h.enrollment("server/alpha").await.waits_since.unwrap();
        for _ in 0..33 {
            h.after(seconds(5 * 3_600)).await;
        }
        let waits = h.enrollment("server/alpha").await;
        assert_eq!((waits.status(), waits.waits_since), (Status::Pending, Some(since)), "{then}: 6 d 21 h");
        assert_eq!(waits.due().unwrap(), since + DAY * 7, "{then}: looked at when its time is over");
        h.after(seconds(4 * 3_600)).await;
        h.works().await;
        assert_eq!(h.status("server/alpha").await, status, "{then}");
        assert_eq!(h.log().await, log, "{then}");
    }
}

#[tokio::test]
async fn a_gate_may_name_the_time_and_a_probe_may_look_first() {
    let mut h = house(&["alpha"]).await;
    let timed = "gate = { until = \"payload.at\" }\naction = { approval = \"Well?\" }";
    let probed = "gate = { probe = { package = \"thing\", name = \"one\" }, when = \"probe.state == 'present'\", again = \"10m\" }\n\
                  action = { approval = \"Well?\" }";
    h.apply(&lifecycle("", &[("timed", timed), ("probed", probed)])).await;
    let at =
        jiff::Timestamp::from_microsecond(h.w.clock.now().0).unwrap() + jiff::SignedDuration::from_hours(5);
    let ask = Enroll { payload: format!("{{\"at\":\"{at}\"}}"), ..enroll("server/alpha") };
    h.enroll_as(ask).await.unwrap();
    h.works().await;
    let waits = h.enrollment("server/alpha").await;
    assert_eq!(waits.due().map(|due| due.0), Some(at.as_microsecond()));
    h.after(seconds(5 * 3_600)).await;
    h.change("server/alpha", approve()).await.unwrap();
    h.works().await;
    let waits = h.enrollment("server/alpha").await;
    assert_eq!((waits.stage.as_str(), waits.status()), ("probed", Status::Pending));
    assert!(waits.waits_for.contains("there is no resource"), "{}", waits.waits_for);
    let run = h.w.install("alpha", "thing", "one").await.unwrap();
    h.w.end(run, seconds(60)).await.unwrap();
    h.after(seconds(600)).await;
    assert_eq!(h.status("server/alpha").await, Status::Processing, "it is there, so the question is asked");
}

#[tokio::test]
async fn windows_and_blackouts_are_meant_in_the_zone_of_the_server() {
    let mut h = house(&["alpha"]).await;
    let asked = h.w.asked("Servers.Update");
    let policy = EditPolicy { time_zone: Some("Asia/Kathmandu".to_owned()), ..EditPolicy::default() };
    let edit = EditServer { server: "alpha".to_owned(), policy, ..EditServer::default() };
    h.w.daemon.engine.edit_server(asked, edit).await.unwrap();
    let top = "windows = [\"daily 02:00-04:00\"]\nblackouts = [\"daily 02:00-03:00\"]\ntime_zone = \"UTC\"";
    h.apply(&lifecycle(top, &[("ask", ASK)])).await;
    for (subject, offset) in [("server/alpha", 5 * 60 + 45), ("user/1", 0)] {
        h.enroll(subject).await;
        h.works().await;
        let waits = h.enrollment(subject).await;
        let minute = (waits.due().unwrap().0 / 60_000_000 + offset) % (24 * 60);
        assert_eq!(minute, 3 * 60, "{subject}: at three by the clock on its wall");
        assert_eq!((waits.waits_for.as_str(), waits.deferrals), ("its windows to open", 0));
    }
    h.after(DAY).await;
    // A whole day later both have had their hour, or wait for the next one; none was lost.
    for subject in ["server/alpha", "user/1"] {
        let later = h.enrollment(subject).await;
        let until = later.due().unwrap_or(h.w.clock.now()).since(h.w.clock.now());
        assert!(later.status() == Status::Processing || until <= DAY, "{later:?}");
    }
}

#[tokio::test]
async fn what_stands_in_the_way_is_waited_for() {
    let mut h = house(&["alpha"]).await;
    h.w.remote.script("one", [Play::takes(seconds(40)), Play::exit(0)]);
    let run = h.w.install("alpha", "thing", "one").await.unwrap();
    h.w.until(run, seconds(20), |run| run.live_step().is_some()).await.unwrap();
    h.apply(&lifecycle("", &[("put", THING)])).await;
    h.enroll("server/alpha").await;
    h.look().await;
    let waits = h.enrollment("server/alpha").await;
    assert_eq!((waits.status(), waits.attempt, waits.deferrals), (Status::Pending, 0, 1));
    assert!(waits.waits_for.contains(&run.to_string()), "{}", waits.waits_for);
    h.works().await;
    h.after(seconds(30)).await;
    h.after(seconds(30)).await;
    assert_eq!(h.status("server/alpha").await, Status::Completed);
    assert_eq!(h.log().await, ["put 1 succeeded"]);
}

#[tokio::test]
async fn an_inactive_lifecycle_keeps_its_enrollments_and_they_are_worked_off_later() {
    let mut h = house(&[]).await;
    h.apply(&lifecycle("active = false", &[("ask", ASK)])).await;
    h.enroll("user/1").await;
    h.after(DAY * 30).await;
    assert_eq!(h.status("user/1").await, Status::Pending);
    assert!(h.run_all("c").await.unwrap_err().to_string().contains("inactive"));
    assert_eq!(h.run_all("").await.unwrap(), Vec::<String>::new());

    h.apply(&lifecycle("ends_at = 1970-01-01T00:00:01Z", &[("ask", ASK)])).await;
    h.works().await;
    assert_eq!(h.status("user/1").await, Status::Pending, "it has ended");
    h.apply(&lifecycle("starts_at = 9999-01-01T00:00:00Z", &[("ask", ASK)])).await;
    h.works().await;
    assert_eq!(h.status("user/1").await, Status::Pending, "it has not begun");
    h.apply(&lifecycle("", &[("ask", ASK)])).await;
    h.look().await;
    assert_eq!(h.status("user/1").await, Status::Processing, "at the next look, however late");
}

#[tokio::test]
async fn a_lifecycle_by_hand_is_worked_off_by_run_alone() {
    let mut h = house(&[]).await;
    h.apply(&lifecycle("activation = \"hand\"", &[("one", ASK), ("two", ASK)])).await;
    h.enroll("user/1").await;
    let later = Timestamp(h.w.clock.now().0 + 3_600_000_000);
    h.enroll_as(Enroll { at: Some(later), ..enroll("user/2") }).await.unwrap();
    h.after(seconds(60)).await;
    assert_eq!(h.status("user/1").await, Status::Pending);
    let reader = h.w.daemon.engine.store();
    let found = reader.read().await.unwrap().db().lifecycle_by_code("c").await.unwrap().unwrap();
    assert_eq!(found.rests(h.w.clock.now(), h.w.clock.now()), Some(Rest::ByHand));
    assert_eq!(h.run_all("c").await.unwrap(), ["c"]);
    h.works().await;
    assert_eq!(h.status("user/1").await, Status::Processing);
    h.change("user/1", approve()).await.unwrap();
    h.works().await;
    let second = h.enrollment("user/1").await;
    assert_eq!((second.stage.as_str(), second.status()), ("two", Status::Processing), "all its stages");
    h.after(HOUR * 2).await;
    assert_eq!(h.status("user/2").await, Status::Pending, "it was not due then");
}

#[tokio::test]
async fn advance_and_remove_do_as_they_say() {
    let mut h = house(&["alpha"]).await;
    let gated = format!("gate = {{ when = \"payload.never\" }}\n{ASK}");
    h.apply(&lifecycle("", &[("one", &gated), ("two", ASK), ("three", &gated)])).await;
    h.enroll("user/1").await;
    h.works().await;
    h.change("user/1", Change::Advance).await.unwrap();
    h.works().await;
    assert_eq!(
        (h.enrollment("user/1").await.stage.as_str(), h.status("user/1").await),
        ("two", Status::Processing)
    );
    let refused = h.change("user/1", Change::Advance).await.unwrap_err().to_string();
    assert!(refused.contains("is being executed"), "{refused}");
    let refused = h.change("user/1", Change::Remove { cancel: false }).await.unwrap_err().to_string();
    assert!(refused.contains("--cancel"), "{refused}");
    h.change("user/1", approve()).await.unwrap();
    h.works().await;
    h.change("user/1", Change::Advance).await.unwrap();
    assert_eq!(h.status("user/1").await, Status::Completed);
    assert!(h.change("user/1", Change::Advance).await.is_err());
    assert_eq!(h.log().await, ["one 0 advanced", "two 1 succeeded", "three 0 advanced"]);
    h.change("user/1", Change::Remove { cancel: false }).await.unwrap();
    assert_eq!(h.enroll("user/1").await, "created");
    assert_eq!(h.log().await.len(), 3, "the log stays");
}

#[tokio::test]
async fn enrolling_again_begins_anew_from_wherever_it_was() {
    let mut h = house(&["alpha"]).await;
    h.apply(&lifecycle("", &[("put", THING)])).await;
    let again =
        |cancel| Enroll { again: true, cancel, payload: r#"{"n":1}"#.to_owned(), ..enroll("server/alpha") };
    assert_eq!(h.enroll_as(again(false)).await.unwrap(), "created", "from absent");
    h.works().await;
    assert_eq!(h.status("server/alpha").await, Status::Completed);
    assert_eq!(h.enroll_as(again(false)).await.unwrap(), "reset", "from completed");
    h.w.remote.script("one", [Play::takes(seconds(500)), Play::exit(1), Play::exit(0)]);
    h.look().await;
    h.w.go(seconds(3)).await.unwrap();
    let run = h.run_of("server/alpha").await;
    let refused = h.enroll_as(again(false)).await.unwrap_err();
    assert!(matches!(&refused, Refusal::NotNow { runs, .. } if runs == &[run]), "{refused}");
    assert_eq!(h.enroll_as(again(true)).await.unwrap(), "reset", "it is given up");
    let anew = h.enrollment("server/alpha").await;
    assert_eq!((anew.status(), anew.attempt, anew.payload.as_str()), (Status::Pending, 0, r#"{"n":1}"#));
    h.works().await;
    h.after(seconds(30)).await;
    let cancelled = h.w.run(run).await.unwrap();
    assert_eq!(cancelled.verdict().unwrap().outcome.as_str(), "cancelled");
    let failed = h.enrollment("server/alpha").await;
    assert_eq!((failed.attempt, failed.status()), (1, Status::Pending), "{failed:?}");
    h.after(HOUR).await;
    assert_eq!(h.status("server/alpha").await, Status::Completed);
}

#[tokio::test]
async fn a_rejection_is_final_and_only_those_named_decide() {
    let mut h = house(&[]).await;
    h.apply(&lifecycle("", &[("ask", "action = { approval = \"Well?\", by = [\"unix:77\"] }")])).await;
    h.enroll("user/1").await;
    h.works().await;
    let refused = h.change("user/1", approve()).await.unwrap_err();
    assert!(matches!(refused, Refusal::Denied(_)), "{refused}");
    h.apply(&lifecycle("", &[("ask", ASK)])).await;
    h.enroll("user/2").await;
    h.works().await;
    h.change("user/2", Change::Decide { approve: false, note: "no".to_owned() }).await.unwrap();
    let rejected = h.enrollment("user/2").await;
    assert_eq!((rejected.status(), rejected.last_error.as_str()), (Status::Failed, "rejected by unix:0: no"));
    assert!(h.change("user/2", approve()).await.is_err(), "nothing is asked any more");
    h.enroll("user/3").await;
    h.works().await;
    h.after(DAY * 7).await;
    let late = h.enrollment("user/3").await;
    assert_eq!((late.status(), late.last_error.as_str()), (Status::Failed, "nobody decided"));
}

#[tokio::test]
async fn old_enrollments_and_old_lines_go_in_batches_and_a_dry_run_counts() {
    let mut h = house(&[]).await;
    h.apply(&lifecycle("", &[("one", ASK)])).await;
    for n in 0..3 {
        h.enroll(&format!("user/{n}")).await;
    }
    h.works().await;
    for n in 0..2 {
        h.change(&format!("user/{n}"), approve()).await.unwrap();
    }
    let engine = h.w.daemon.engine.clone();
    let kept = |h: &House, enrollments: u32, executions: u32| {
        let now = h.w.clock.now();
        Cleaning { enrollments: now - DAY * enrollments, executions: now - DAY * executions }
    };
    h.after(DAY * 31).await;
    let cleaning = kept(&h, 30, 90);
    assert_eq!(engine.plan_cleaning(cleaning).await.unwrap(), (2, 0), "dry");
    assert_eq!(engine.clean_lifecycles(cleaning).await.unwrap(), (2, 0));
    assert_eq!(engine.clean_lifecycles(cleaning).await.unwrap(), (0, 0));
    assert_eq!(h.status("user/2").await, Status::Failed, "what is not completed stays");
    h.after(DAY * 60).await;
    let cleaning = kept(&h, 30, 90);
    assert_eq!(engine.plan_cleaning(cleaning).await.unwrap(), (0, 2));
    assert_eq!(engine.clean_lifecycles(cleaning).await.unwrap(), (0, 2));
    assert_eq!(h.log().await, ["one 0 timed_out"]);
}

#[tokio::test]
async fn a_probe_is_told_of_its_stage_and_may_write_into_the_payload_and_name_the_time() {
    let mut h = house(&["alpha"]).await;
    let run = h.w.install("alpha", "thing", "one").await.unwrap();
    h.w.end(run, seconds(60)).await.unwrap();
    let gate = "gate = { probe = { package = \"thing\", name = \"one\" }, when = \"payload.days == 9\" }\n\
                action = { approval = \"Well?\" }";
    h.apply(&lifecycle("", &[("ask", gate)])).await;
    let at =
        jiff::Timestamp::from_microsecond(h.w.clock.now().0).unwrap() + jiff::SignedDuration::from_hours(5);
    h.w.remote.probes_tell("alpha", &format!("executes_at={at}\ndays=9\n"));
    h.enroll_as(Enroll { payload: r#"{"plan":"pro"}"#.to_owned(), ..enroll("server/alpha") }).await.unwrap();
    h.look().await;
    let probe = h.w.run(h.run_of("server/alpha").await).await.unwrap();
    let told = |name: &str| probe.parameters.get(name).map(String::as_str);
    for (name, value) in [
        ("lifecycle", "c"),
        ("stage", "ask"),
        ("attempt", "1"),
        ("deferrals", "0"),
        ("is_retry", "false"),
        ("subject_type", "server"),
        ("subject_id", "alpha"),
        ("payload", r#"{"plan":"pro"}"#),
    ] {
        assert_eq!(told(name), Some(value), "{name}");
    }
    h.works().await;
    let waits = h.enrollment("server/alpha").await;
    assert_eq!((waits.status(), waits.due().map(|due| due.0)), (Status::Pending, Some(at.as_microsecond())));
    h.w.remote.probes_tell("alpha", "days=9\n");
    h.after(seconds(5 * 3_600)).await;
    let asks = h.enrollment("server/alpha").await;
    assert_eq!((asks.status(), asks.payload.as_str()), (Status::Processing, r#"{"days":"9","plan":"pro"}"#));
}
