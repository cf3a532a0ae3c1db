//! P5: what runs is re-attached, not rerun; P3: a daemon that lost its lane touches nothing.

use std::sync::{Arc, Mutex};

use settled::catalog::read_probe;
use settled::clock::Clock as _;
use settled::domain::id::RunId;
use settled::domain::step::StepId;
use settled_tests::scripted::{Luck, Play};
use settled_tests::sim::{Actor, Kill, Knobs, World};
use ulid::Ulid;

use super::{executions, seconds, succeeded, world};

#[tokio::test]
async fn p5_a_running_step_is_re_attached_and_its_output_goes_on() {
    let mut w = world(&["alpha"]).await;
    let lines = (0..10)
        .fold(Play::takes(seconds(100)), |play, n| play.writes(seconds(n * 10), &format!("line {n}\n")));
    w.remote.script("one", [lines, Play::exit(0)]);
    let id = w.install("alpha", "thing", "one").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    for _ in 0..4 {
        w.go(seconds(17)).await.unwrap();
        w.restart().await.unwrap();
    }
    let run = w.end(id, seconds(100)).await.unwrap();
    succeeded(&run);
    assert_eq!(executions(&w, &run), 2, "one for each of its two steps");
    let mut reader = w.daemon.engine.store().read().await.unwrap();
    let step = StepId { run: id, step: 0, attempt: 1, try_no: 1 };
    let stored = reader.db().output(step, 0, i64::MAX).await.unwrap();
    let text: Vec<u8> = stored.into_iter().flat_map(|(_, piece)| piece).collect();
    let expected = (0..10).fold(String::new(), |text, n| text + &format!("line {n}\n"));
    assert_eq!(String::from_utf8(text).unwrap(), expected);
    drop(reader);
    w.checker.finish(&w.daemon, &w.remote).await.unwrap();
}

#[tokio::test]
async fn p5_a_start_whose_answer_was_lost_is_sent_again_and_runs_once() {
    for luck in [Luck::Lost, Luck::Hangs] {
        let mut w = world(&["alpha"]).await;
        w.remote.script("one", [Play::takes(seconds(40)), Play::exit(0)]);
        w.remote.once("start", luck);
        let id = w.install("alpha", "thing", "one").await.unwrap();
        let run = w.end(id, seconds(120)).await.unwrap();
        succeeded(&run);
        assert_eq!(executions(&w, &run), 2);
        assert_eq!(run.position().attempt, 1);
    }
}

/// The server has it, the answer is not stored, and what is configured changes before it is sent again.
#[tokio::test]
async fn p5_a_start_is_sent_again_as_it_was_whatever_is_configured_now() {
    let changes: [fn(&mut Knobs); 2] =
        [|knobs| knobs.engine.output_bytes_max *= 2, |knobs| knobs.engine.timings.kill_grace = seconds(10)];
    for change in changes {
        let mut w = world(&["alpha"]).await;
        w.remote.script("one", [Play::takes(seconds(40)), Play::exit(0)]);
        w.remote.once("start", Luck::Lost);
        let id = w.install("alpha", "thing", "one").await.unwrap();
        w.until(id, seconds(5), |run| run.waiting().is_some()).await.unwrap();
        assert_eq!(w.remote.witness().len(), 1, "it runs, and nobody knows");
        w.restart_with(change).await.unwrap();
        let run = w.end(id, seconds(120)).await.unwrap();
        succeeded(&run);
        assert_eq!((run.position().attempt, executions(&w, &run)), (1, 2));
    }
}

/// Its start was stored long ago, so its time begins with the answer: whatever of the answer is stored when the daemon dies.
#[tokio::test]
async fn p6_a_step_that_began_late_keeps_its_time_when_the_daemon_dies_over_the_answer() {
    let mut w = world(&["alpha"]).await;
    let alpha = w.server_of("alpha").await.unwrap().id;
    w.remote.script("work", [Play::takes(seconds(100))]);
    let id = w.install("alpha", "task", "work").await.unwrap();
    w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    assert!(w.remote.witness().is_empty(), "the intent is stored, nothing is sent yet");
    // The daemon is dead for longer than the run has.
    w.daemon.stop_reconciling();
    w.move_to(seconds(900));
    w.restart().await.unwrap();
    let (asked, me) = (slow_verb(&w, "none"), w.daemon.engine.me());
    while w.remote.witness().is_empty() {
        let Some(actor) = w.daemon.runnable().first().copied() else {
            w.move_to(w.daemon.next_due());
            continue;
        };
        let sends = actor == Actor::Lane(alpha) && asked.lock().unwrap().contains(&"claim");
        w.step(actor, if sends { Kill::AfterCommit(1) } else { Kill::Never }).await.unwrap();
    }
    assert_ne!(w.daemon.engine.me(), me, "it has died over the answer");
    let run = w.end(id, seconds(120)).await.unwrap();
    succeeded(&run);
    assert_eq!(executions(&w, &run), 1);
}

/// Whatever the daemon was about to do with the answer of a server: after its death the next one does it, once.
#[tokio::test]
async fn p5_a_probe_survives_the_death_of_the_daemon_after_each_commit() {
    for commits in 1..6 {
        let mut w = world(&["alpha"]).await;
        let alpha = w.server_of("alpha").await.unwrap().id;
        let install = w.install("alpha", "thing", "one").await.unwrap();
        succeeded(&w.end(install, seconds(5)).await.unwrap());
        let asked = w.asked("Resources.Probe");
        let answer = w.daemon.engine.probe_resource(asked, "alpha/thing/one".to_owned()).await.unwrap();
        let probe = answer.run.unwrap().id.parse().unwrap();
        assert!(w.daemon.runnable().contains(&Actor::Readings(alpha)));
        w.step(Actor::Readings(alpha), Kill::AfterCommit(commits)).await.unwrap();
        succeeded(&w.end(probe, seconds(60)).await.unwrap());
        let resource = w.resource("alpha/thing/one").await.unwrap().unwrap();
        let expected = read_probe(b"state=present\nfact.version=1\n");
        assert_eq!(
            resource.observed.map(|o| (Some(o.presence), o.facts)),
            Some((expected.presence, expected.facts))
        );
    }
}

#[tokio::test]
async fn p3_a_lane_with_an_old_epoch_is_outbid_by_its_owner() {
    let mut w = world(&["alpha"]).await;
    w.go(seconds(60)).await.unwrap();
    // A store that was restored from a copy knows lower epochs than its servers.
    let installation = w.daemon.engine.store().about().installation;
    w.remote.claim_behind("alpha", installation, 40);
    let id = w.install("alpha", "thing", "one").await.unwrap();
    let run = w.end(id, seconds(30)).await.unwrap();
    succeeded(&run);
    assert!(run.epoch > 40, "{run:#?}");
}

#[tokio::test]
async fn a_server_forgets_the_tombstones_of_old_runs_that_no_store_can_start_any_more() {
    let mut w = world(&["alpha"]).await;
    let recent = w.install("alpha", "thing", "one").await.unwrap();
    succeeded(&w.end(recent, seconds(30)).await.unwrap());
    // One of a run that this store has forgotten, as old as 1970.
    let old = StepId { run: RunId(Ulid::from_parts(1, 1)), step: 0, attempt: 1, try_no: 1 };
    w.remote.bury("alpha", old);
    let before = w.remote.tombstones("alpha");
    w.restart().await.unwrap();
    let next = w.install("alpha", "thing", "two").await.unwrap();
    w.until(next, seconds(30), |run| run.live_step().is_some()).await.unwrap();
    let after = w.remote.tombstones("alpha");
    assert!(before.contains(&old) && !after.contains(&old), "{after:?}");
    assert!(after.iter().any(|id| id.run == recent), "{after:?}");
}

/// The verbs that were asked of a server, while `verb` takes longer than the lease.
fn slow_verb(w: &World, verb: &'static str) -> Arc<Mutex<Vec<&'static str>>> {
    let (clock, asked) = (Arc::clone(&w.clock), Arc::<Mutex<Vec<_>>>::default());
    let verbs = Arc::clone(&asked);
    w.remote.toss(move |_, now| {
        let mut verbs = verbs.lock().unwrap();
        if now == verb && !verbs.contains(&verb) {
            clock.move_to(clock.monotonic() + seconds(400));
        }
        verbs.push(now);
        Luck::Answered
    });
    asked
}

#[tokio::test]
async fn p3_nothing_is_started_or_cleared_away_once_the_lease_has_passed_within_a_step() {
    for (slow, then) in [("cancel", "start"), ("attach", "reap")] {
        let mut w = world(&["alpha"]).await;
        let server = w.server_of("alpha").await.unwrap().id;
        w.remote.script("one", [Play::takes(seconds(30)), Play::exit(0)]);
        let id = w.install("alpha", "thing", "one").await.unwrap();
        w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
        if slow == "cancel" {
            // The intent is stored, nothing is sent yet.
            w.cancel(id).await.unwrap();
        } else {
            w.go(seconds(1)).await.unwrap();
            w.remote.release("alpha");
        }
        let asked = slow_verb(&w, slow);
        while !asked.lock().unwrap().contains(&slow) {
            w.daemon.runnable();
            w.step(Actor::Lane(server), Kill::Never).await.unwrap();
        }
        assert!(!asked.lock().unwrap().contains(&then), "{then} after {slow}: {:?}", asked.lock().unwrap());
    }
}
