//! P4: waiting uses no attempt, and says why, for whom, since when, and when it looks again.

use settled::clock::Clock as _;
use settled::domain::id::InstallationId;
use settled::domain::run::{Event, RunState};
use settled::domain::server::Reach;
use settled::domain::step::StepState;
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::domain::waiting::WaitReason;
use settled::engine::{Advance, EditServer, LaneError};
use settled_tests::scripted::{End, Play};
use settled_tests::sim::{World, knobs};

use ulid::Ulid;

use super::{ended, executions, seconds, succeeded, world};

#[tokio::test]
async fn p4_the_second_run_on_a_server_waits_without_an_attempt_and_then_runs() {
    let mut w = world(&["alpha", "beta"]).await;
    w.remote.script("first", [Play::takes(seconds(250))]);
    let first = w.install("alpha", "thing", "first").await.unwrap();
    let second = w.install("alpha", "task", "second").await.unwrap();
    let elsewhere = w.install("beta", "thing", "elsewhere").await.unwrap();
    assert_eq!(
        w.status("alpha/task/second").await.unwrap(),
        "pending",
        "visible in the instant of acceptance"
    );

    w.go(seconds(241)).await.unwrap();
    let waiting = w.run(second).await.unwrap();
    assert!(matches!(waiting.state, RunState::Queued { .. }), "{waiting:#?}");
    assert_eq!(waiting.position().attempt, 0);
    assert_eq!(w.status("alpha/task/second").await.unwrap(), "pending");
    assert_eq!(w.status("alpha/thing/first").await.unwrap(), "installing");
    succeeded(&w.run(elsewhere).await.unwrap());

    succeeded(&w.end(first, seconds(600)).await.unwrap());
    let second = w.end(second, seconds(60)).await.unwrap();
    succeeded(&second);
    assert_eq!(second.position().attempt, 1);
    assert_eq!(w.status("alpha/task/second").await.unwrap(), "success");
    assert_eq!(w.checker.statuses["second"], ["pending", "updating", "success"]);
}

#[tokio::test]
async fn p4_beyond_the_limit_of_servers_at_work_a_run_waits_and_says_so() {
    let mut knobs = knobs();
    knobs.at_work_max = 1;
    let mut w = World::new(1, knobs).await.unwrap();
    for server in ["alpha", "beta"] {
        w.server(server).await.unwrap();
    }
    w.remote.script("long", [Play::takes(seconds(100)), Play::exit(0)]);
    let long = w.install("alpha", "thing", "long").await.unwrap();
    w.until(long, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    let waits = w.install("beta", "thing", "waits").await.unwrap();
    let run = w.until(waits, seconds(30), |run| run.waiting().is_some()).await.unwrap();
    assert_eq!(run.waiting().unwrap().reason, WaitReason::Limit);
    assert_eq!(run.position().attempt, 0);
    w.go(seconds(50)).await.unwrap();
    assert_eq!(executions(&w, &run), 0);
    succeeded(&w.end(waits, seconds(60)).await.unwrap());
    succeeded(&w.run(long).await.unwrap());
}

#[tokio::test]
async fn p4_a_server_that_waits_does_not_count_against_the_limit() {
    let mut knobs = knobs();
    knobs.at_work_max = 1;
    let mut w = World::new(1, knobs).await.unwrap();
    for server in ["alpha", "beta", "gamma"] {
        w.server(server).await.unwrap();
    }
    w.remote.script("fails", [Play::exit(1), Play::exit(0)]);
    let backs_off = w.install("alpha", "thing", "fails").await.unwrap();
    w.until(backs_off, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    succeeded_soon(&mut w, "beta").await;

    w.remote.script("cut", [Play::takes(seconds(60)), Play::exit(0)]);
    let cut = w.install("gamma", "thing", "cut").await.unwrap();
    w.until(cut, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.remote.cut("gamma", seconds(50));
    w.until(cut, seconds(30), |run| run.waiting().is_some()).await.unwrap();
    succeeded_soon(&mut w, "beta").await;
    succeeded(&w.end(backs_off, seconds(120)).await.unwrap());
    succeeded(&w.end(cut, seconds(120)).await.unwrap());
}

async fn succeeded_soon(w: &mut World, server: &str) {
    let name = format!("soon-{}", w.remote.verbs());
    let run = w.install(server, "thing", &name).await.unwrap();
    succeeded(&w.end(run, seconds(1)).await.unwrap());
}

#[tokio::test]
async fn p4_after_a_pause_between_attempts_a_run_waits_for_the_limit_and_says_so() {
    let mut knobs = knobs();
    knobs.at_work_max = 1;
    let mut w = World::new(1, knobs).await.unwrap();
    for server in ["alpha", "beta"] {
        w.server(server).await.unwrap();
    }
    w.remote.script("fails", [Play::exit(1), Play::exit(0)]);
    w.remote.script("long", [Play::takes(seconds(300)), Play::exit(0)]);
    let fails = w.install("alpha", "thing", "fails").await.unwrap();
    w.until(fails, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    let long = w.install("beta", "thing", "long").await.unwrap();
    w.go(seconds(60)).await.unwrap();
    let run = w.run(fails).await.unwrap();
    assert_eq!(run.waiting().unwrap().reason, WaitReason::Limit, "{run:#?}");
    succeeded(&w.end(fails, seconds(400)).await.unwrap());
    succeeded(&w.run(long).await.unwrap());
}

#[tokio::test]
async fn p4_a_message_can_mean_busy_whatever_the_exit_code() {
    let mut w = world(&["alpha"]).await;
    let install = w.install("alpha", "task", "one").await.unwrap();
    succeeded(&w.end(install, seconds(60)).await.unwrap());
    let says = |code, words: &str| Play::exit(0).writes(seconds(0), words).ending(End::Exit(code));
    w.remote.script(
        "one",
        [says(76, "the tool could not lock its file\n"), says(76, "could not lock\n"), Play::exit(0)],
    );
    let update = w.operate("alpha/task/one", "update").await.unwrap();
    let run = w.end(update, seconds(600)).await.unwrap();
    succeeded(&run);
    assert_eq!((run.position().attempt, run.position().try_no, executions(&w, &run)), (1, 3, 3));

    // By the code that says that trying again would not help, or by other words, it is a failure.
    for (code, words, attempts) in [(78, "could not lock", 1), (3, "could not look", 3)] {
        w.remote.script("one", vec![says(code, words); 3]);
        let update = w.operate("alpha/task/one", "update").await.unwrap();
        let run = w.end(update, seconds(600)).await.unwrap();
        assert_eq!((run.verdict().unwrap().outcome, run.position().attempt), (Outcome::Failed, attempts));
    }
}

#[tokio::test]
async fn p4_a_busy_exit_is_a_new_try_not_a_new_attempt() {
    let mut w = world(&["alpha"]).await;
    let busy = || Play::exit(0).ending(End::Exit(75));
    w.remote.script("busy", [busy(), busy(), busy(), busy(), Play::exit(0)]);
    let run = w.install("alpha", "task", "busy").await.unwrap();
    let waits = w.until(run, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    let waiting = waits.waiting().unwrap();
    assert_eq!(waiting.reason, WaitReason::Busy);
    assert_eq!(waiting.next_try, Some(waiting.since + seconds(10)));
    let run = w.end(run, seconds(120)).await.unwrap();
    succeeded(&run);
    assert_eq!((run.position().attempt, run.position().try_no), (1, 5));
}

#[tokio::test]
async fn p4_a_foreign_dpkg_lock_is_waited_for_by_name() {
    let mut w = world(&["alpha"]).await;
    w.remote.hold_dpkg("alpha", "unattended-upgr", seconds(95));
    let run = w.install("alpha", "task", "work").await.unwrap();
    let waits = w.until(run, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    assert_eq!(waits.waiting().unwrap().reason, WaitReason::Busy);
    let who = "unattended-upgr (pid 4711) holds the package lock of the server";
    assert!(waits.waiting().unwrap().who.ends_with(who), "{waits:#?}");
    w.go(seconds(70)).await.unwrap();
    let waits = w.run(run).await.unwrap();
    let who = "unattended-upgr (pid 4711, for 1 min) holds the package lock of the server";
    assert!(waits.waiting().unwrap().who.ends_with(who), "{waits:#?}");
    let run = w.end(run, seconds(200)).await.unwrap();
    succeeded(&run);
    assert_eq!(run.position().attempt, 1);
    assert_eq!(executions(&w, &run), 1);
}

#[tokio::test]
async fn p4_an_interrupted_dpkg_is_waited_for_with_the_command_that_mends_it() {
    let mut w = world(&["alpha"]).await;
    w.remote.interrupt_dpkg("alpha", Some("libc6 half-configured"));
    let run = w.install("alpha", "task", "work").await.unwrap();
    let waits = w.until(run, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    let who = "dpkg was interrupted on the server (libc6 half-configured): run `dpkg --configure -a` there, or let settled do it \
               (`settlectl server edit alpha --repair-dpkg`)";
    assert!(waits.waiting().unwrap().who.ends_with(who), "{waits:#?}");
    w.remote.interrupt_dpkg("alpha", None);
    let run = w.end(run, seconds(200)).await.unwrap();
    succeeded(&run);
    assert_eq!((run.position().attempt, executions(&w, &run)), (1, 1));
}

#[tokio::test]
async fn p4_a_server_that_cannot_be_reached_costs_no_attempt() {
    let mut w = world(&["alpha"]).await;
    w.go(seconds(60)).await.unwrap();
    w.remote.cut("alpha", seconds(3_600));
    let run = w.install("alpha", "thing", "one").await.unwrap();
    w.go(seconds(1_800)).await.unwrap();
    let waits = w.run(run).await.unwrap();
    let waiting = waits.waiting().expect("it says why it waits");
    assert_eq!((waiting.reason, waits.position().attempt), (WaitReason::Unreachable, 0));
    assert!(waiting.next_try.is_some());
    assert_eq!(w.server_of("alpha").await.unwrap().reach, Reach::Unreachable);
    let run = w.end(run, seconds(3_600)).await.unwrap();
    succeeded(&run);
    assert_eq!(run.position().attempt, 1);
    assert_eq!(w.server_of("alpha").await.unwrap().reach, Reach::Ok);
}

#[tokio::test]
async fn p4_a_refused_server_stays_so_until_someone_edits_it() {
    let mut w = world(&["alpha"]).await;
    w.go(seconds(60)).await.unwrap();
    w.remote.refuse("alpha", Some("permission denied (publickey)"));
    let run = w.install("alpha", "thing", "one").await.unwrap();
    w.go(seconds(60)).await.unwrap();
    w.remote.refuse("alpha", None);
    let asked = w.remote.verbs();
    w.go(seconds(7_200)).await.unwrap();
    assert_eq!(w.remote.verbs(), asked, "nobody knocks at a door that was shut");
    let waits = w.run(run).await.unwrap();
    assert_eq!(waits.waiting().unwrap().reason, WaitReason::Refused);
    assert_eq!(waits.position().attempt, 0);
    let server = w.server_of("alpha").await.unwrap();
    assert_eq!(
        (server.reach, server.reach_detail.as_str()),
        (Reach::Refused, "permission denied (publickey)")
    );

    let asked = w.asked("Servers.Edit");
    let edit =
        EditServer { server: "alpha".to_owned(), user: Some("deploy".to_owned()), ..EditServer::default() };
    w.daemon.engine.edit_server(asked, edit).await.unwrap();
    succeeded(&w.end(run, seconds(30)).await.unwrap());
}

#[tokio::test]
async fn p4_a_paused_server_starts_nothing_until_it_is_resumed() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("long", [Play::takes(seconds(100))]);
    let long = w.install("alpha", "thing", "long").await.unwrap();
    w.until(long, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    let asked = w.asked("Servers.Pause");
    w.daemon.engine.pause_server(asked, "alpha".to_owned()).await.unwrap();
    let next = w.install("alpha", "thing", "next").await.unwrap();
    succeeded(&w.end(long, seconds(400)).await.unwrap());
    w.go(seconds(600)).await.unwrap();
    let waits = w.run(next).await.unwrap();
    assert_eq!(waits.waiting().unwrap().reason, WaitReason::Paused, "{waits:#?}");
    assert_eq!(executions(&w, &waits), 0);
    let asked = w.asked("Servers.Resume");
    w.daemon.engine.resume_server(asked, "alpha".to_owned()).await.unwrap();
    succeeded(&w.end(next, seconds(5)).await.unwrap());
}

#[tokio::test]
async fn a_machine_that_is_registered_already_is_refused_and_nothing_runs_there() {
    let mut w = world(&["alpha"]).await;
    w.remote.set_machine("alias", "machine-of-alpha");
    w.server("alias").await.unwrap();
    let run = w.install("alias", "thing", "one").await.unwrap();
    w.go(seconds(600)).await.unwrap();
    let run = w.run(run).await.unwrap();
    assert_eq!(executions(&w, &run), 0, "{run:#?}");
    let server = w.server_of("alias").await.unwrap();
    assert_eq!(server.reach, Reach::Refused);
    assert!(server.reach_detail.contains("`alpha`"), "{}", server.reach_detail);
}

#[tokio::test]
async fn p3_a_server_that_moved_is_claimed_anew() {
    let mut w = world(&["alpha"]).await;
    let first = w.install("alpha", "thing", "one").await.unwrap();
    succeeded(&w.end(first, seconds(5)).await.unwrap());
    w.remote.claim_behind("elsewhere", InstallationId(Ulid(7)), 0);
    let asked = w.asked("Servers.Edit");
    let edit = EditServer {
        server: "alpha".to_owned(),
        host: Some("elsewhere".to_owned()),
        ..EditServer::default()
    };
    w.daemon.engine.edit_server(asked, edit).await.unwrap();
    let next = w.install("alpha", "thing", "two").await.unwrap();
    w.go(seconds(60)).await.unwrap();
    let run = w.run(next).await.unwrap();
    assert_eq!(run.waiting().map(|w| w.reason), Some(WaitReason::Refused), "{run:#?}");
    assert_eq!(executions(&w, &run), 0, "the other machine belongs to someone else");
}

#[tokio::test]
async fn p4_a_lock_that_is_held_for_an_hour_is_waited_for_since_its_beginning() {
    let mut w = world(&["alpha"]).await;
    w.remote.hold_dpkg("alpha", "unattended-upgr (4711)", seconds(3_600));
    let id = w.install("alpha", "task", "work").await.unwrap();
    let first = w.until(id, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    let since = first.waiting().unwrap().since;
    w.go(seconds(3_500)).await.unwrap();
    let waits = w.until(id, seconds(300), |run| run.live_step().is_none()).await.unwrap();
    let waiting = waits.waiting().unwrap();
    assert_eq!((waiting.reason, waiting.since), (WaitReason::Busy, since), "{waits:#?}");
    assert!(waiting.who.contains("unattended-upgr (4711)"), "{waits:#?}");
    assert!(waiting.next_try.is_some_and(|at| at > w.clock.now()));
    let run = w.end(id, seconds(500)).await.unwrap();
    succeeded(&run);
    assert_eq!((run.position().attempt, run.position().try_no), (1, 1), "nothing was stored on the server");
    let steps = w.daemon.engine.store().read().await.unwrap().db().steps(id).await.unwrap();
    assert_eq!(steps.len(), 1, "one try has one record: {steps:#?}");
}

#[tokio::test]
async fn p9_a_run_that_waits_for_a_lock_is_cancelled_at_once_and_its_try_is_closed() {
    let mut w = world(&["alpha"]).await;
    w.remote.hold_dpkg("alpha", "unattended-upgr (4711)", seconds(3_600));
    let id = w.install("alpha", "task", "work").await.unwrap();
    w.until(id, seconds(5), |run| run.waiting().is_some()).await.unwrap();
    w.cancel(id).await.unwrap();
    let run = w.run(id).await.unwrap();
    ended(&run, Outcome::Cancelled, Reason::Cancelled, Evidence::NotStarted);
    let steps = w.daemon.engine.store().read().await.unwrap().db().steps(id).await.unwrap();
    assert_eq!(steps.iter().map(|s| s.state).collect::<Vec<_>>(), [StepState::Rejected], "{steps:#?}");
}

/// A world whose daemon looks around rarely, so that a day passes soon.
async fn patient_world() -> World {
    let mut knobs = knobs();
    knobs.dispatch.poll = seconds(60);
    knobs.reconcile_every = seconds(300);
    let mut w = World::new(1, knobs).await.unwrap();
    w.server("alpha").await.unwrap();
    w
}

#[tokio::test]
async fn p4_a_server_that_is_away_for_a_day_is_waited_for_in_some_hundreds_of_transitions() {
    let mut w = patient_world().await;
    w.go(seconds(60)).await.unwrap();
    w.remote.cut("alpha", seconds(86_000));
    let id = w.install("alpha", "thing", "one").await.unwrap();
    let before = w.daemon.engine.store().read().await.unwrap().db().last_seq().await.unwrap();
    w.go(seconds(85_000)).await.unwrap();
    let rows = w.daemon.engine.store().read().await.unwrap().db().last_seq().await.unwrap() - before;
    assert!((100..500).contains(&rows), "{rows} transitions");
    let waits = w.run(id).await.unwrap();
    let next_try = waits.waiting().and_then(|waiting| waiting.next_try).expect("it says when it looks again");
    let now = w.clock.now();
    assert!(next_try > now && next_try <= now + seconds(300), "and that is true");
    succeeded(&w.end(id, seconds(1_300)).await.unwrap());
}

#[tokio::test]
async fn p4_a_lock_that_is_held_for_a_day_is_waited_for_in_some_hundreds_of_transitions() {
    let mut w = patient_world().await;
    w.remote.hold_dpkg("alpha", "unattended-upgr", seconds(80_000));
    let id = w.install("alpha", "task", "work").await.unwrap();
    let before = w.daemon.engine.store().read().await.unwrap().db().last_seq().await.unwrap();
    w.go(seconds(80_000)).await.unwrap();
    let rows = w.daemon.engine.store().read().await.unwrap().db().last_seq().await.unwrap() - before;
    assert!((100..1_000).contains(&rows), "{rows} transitions");
    succeeded(&w.end(id, seconds(400)).await.unwrap());
}

/// Found by seed 20 of the simulator: the lane was given back and taken again without end, and each time the server was asked.
#[tokio::test]
async fn p4_a_paused_server_that_refuses_is_asked_again_later_and_not_at_once() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("long", [Play::takes(seconds(300))]);
    let id = w.install("alpha", "thing", "long").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.go(seconds(1)).await.unwrap();
    let asked = w.asked("Servers.Pause");
    w.daemon.engine.pause_server(asked, "alpha".to_owned()).await.unwrap();
    w.remote.refuse("alpha", Some("permission denied (publickey)"));
    let before = w.remote.verbs();
    w.go(seconds(100)).await.unwrap();
    let verbs = w.remote.verbs() - before;
    assert!((2..20).contains(&verbs), "asked {verbs} times in 100 s");
    let waits = w.run(id).await.unwrap();
    let waiting = waits.waiting().expect("the run says that it waits");
    assert_eq!(waiting.reason, WaitReason::Refused, "{waits:#?}");
    assert!(waiting.next_try.is_some(), "{waits:#?}");
    assert_eq!(w.server_of("alpha").await.unwrap().reach, Reach::Paused);
    w.remote.refuse("alpha", None);
    succeeded(&w.end(id, seconds(600)).await.unwrap());
}

#[tokio::test]
async fn p4_a_lane_that_looked_before_a_pause_begins_nothing_after_it() {
    let mut w = world(&["alpha"]).await;
    w.go(seconds(60)).await.unwrap();
    let engine = w.daemon.engine.clone();
    let hold = engine.take_lane(w.server_of("alpha").await.unwrap().id).await.unwrap();
    let run = w.install("alpha", "thing", "one").await.unwrap();
    let paused = w.asked("Servers.Pause");
    engine.pause_server(paused, "alpha".to_owned()).await.unwrap();
    let event = Event::Started { timeout: seconds(60) };
    let begun = engine.advance(hold, Advance { run, event, end: None, outlines: [].into() }).await;
    assert!(matches!(begun, Err(LaneError::Lost)), "{begun:?}");
    assert!(w.run(run).await.unwrap().is_queued());
}
