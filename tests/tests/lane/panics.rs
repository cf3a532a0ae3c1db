//! A panic in an attempt's task is a failed attempt at once; what lives on the server is taken up again, not given up.

use settled::domain::run::Run;
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::domain::waiting::WaitReason;
use settled_tests::scripted::{Luck, Play};
use settled_tests::sim::World;

use super::{ended, executions, seconds, succeeded, world};

/// From now on this verb panics so often.
fn panics(w: &World, verb: &'static str, luck: Luck, mut times: u32) {
    w.remote.toss(move |_, asked| {
        if asked == verb && times > 0 {
            times -= 1;
            return luck;
        }
        Luck::Answered
    });
}

async fn stored(w: &World, run: &Run) -> String {
    let mut reader = w.daemon.engine.store().read().await.unwrap();
    let step = reader.db().steps(run.id).await.unwrap().remove(0);
    let pieces = reader.db().output(step.id, 0, i64::MAX).await.unwrap();
    String::from_utf8(pieces.into_iter().flat_map(|(_, piece)| piece).collect()).unwrap()
}

#[tokio::test]
async fn a_panic_before_anything_was_sent_is_a_failed_attempt_at_once() {
    let mut w = world(&["alpha"]).await;
    w.go(seconds(60)).await.unwrap();
    panics(&w, "claim", Luck::PanicsBefore, 1);
    let id = w.install("alpha", "thing", "one").await.unwrap();
    let run = w.until(id, seconds(1), |run| run.position().attempt == 2).await.unwrap();
    let waiting = run.waiting().unwrap();
    assert_eq!(waiting.reason, WaitReason::Backoff);
    assert!(waiting.who.contains("a fault in settled"), "{waiting:?}");
    assert_eq!(waiting.next_try, Some(waiting.since + seconds(30)));
    let run = w.end(id, seconds(40)).await.unwrap();
    succeeded(&run);
    assert_eq!(executions(&w, &run), 2, "one for each of its two steps");
}

#[tokio::test]
async fn panics_in_every_attempt_end_the_run_as_internal() {
    let mut w = world(&["alpha"]).await;
    w.go(seconds(60)).await.unwrap();
    panics(&w, "claim", Luck::PanicsBefore, 3);
    let id = w.install("alpha", "thing", "one").await.unwrap();
    let run = w.end(id, seconds(100)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::Internal, Evidence::NotStarted);
    assert_eq!((run.position().attempt, executions(&w, &run)), (3, 0));
    assert_eq!(w.status("alpha/thing/one").await.unwrap(), "failed");
    let next = w.retry("alpha/thing/one").await.unwrap();
    succeeded(&w.end(next, seconds(10)).await.unwrap());
}

#[tokio::test]
async fn p5_a_panic_over_a_start_costs_nothing_and_runs_nothing_twice() {
    for luck in [Luck::PanicsBefore, Luck::PanicsAfter] {
        let mut w = world(&["alpha"]).await;
        w.remote.script("one", [Play::takes(seconds(20)), Play::exit(0)]);
        panics(&w, "start", luck, 2);
        let id = w.install("alpha", "thing", "one").await.unwrap();
        let run = w.end(id, seconds(25)).await.unwrap();
        succeeded(&run);
        assert_eq!((run.position().attempt, executions(&w, &run)), (1, 2));
    }
}

#[tokio::test]
async fn p5_a_panic_over_a_running_step_takes_it_up_again_at_once() {
    let mut w = world(&["alpha"]).await;
    let writes = Play::takes(seconds(40)).writes(seconds(10), "ten\n").writes(seconds(30), "thirty\n");
    w.remote.script("one", [writes, Play::exit(0)]);
    panics(&w, "attach", Luck::PanicsAfter, 2);
    let id = w.install("alpha", "thing", "one").await.unwrap();
    let run = w.end(id, seconds(45)).await.unwrap();
    succeeded(&run);
    assert_eq!((run.position().attempt, executions(&w, &run)), (1, 2));
    assert_eq!(stored(&w, &run).await, "ten\nthirty\n");
}

#[tokio::test]
async fn p9_a_step_that_cannot_be_driven_is_ended_on_its_server() {
    for (after_term, code) in [(3, 143), (1_000, 137)] {
        let mut w = world(&["alpha"]).await;
        let mut play = Play::takes(seconds(400));
        play.after_term = seconds(after_term);
        w.remote.script("one", [play]);
        panics(&w, "attach", Luck::PanicsBefore, u32::MAX);
        let id = w.install("alpha", "thing", "one").await.unwrap();
        let run = w.end(id, seconds(60)).await.unwrap();
        ended(&run, Outcome::Failed, Reason::Internal, Evidence::ExitRecord);
        let witness = w.remote.witness();
        assert_eq!((witness.len(), witness[0].code), (1, Some(code)));
        assert_eq!(w.status("alpha/thing/one").await.unwrap(), "failed");
        assert!(w.unresolved("alpha").await.unwrap().is_empty());
        w.remote.toss(|_, _| Luck::Answered);
        let next = w.install("alpha", "thing", "two").await.unwrap();
        succeeded(&w.end(next, seconds(60)).await.unwrap());
    }
}

#[tokio::test]
async fn p7_what_a_step_that_could_not_be_driven_has_proven_counts() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("one", [Play::exit(0), Play::takes(seconds(5))]);
    let id = w.install("alpha", "thing", "one").await.unwrap();
    w.until(id, seconds(5), |run| run.position().step == 1).await.unwrap();
    w.go(seconds(1)).await.unwrap();
    w.remote.release("alpha");
    panics(&w, "attach", Luck::PanicsBefore, u32::MAX);
    succeeded(&w.end(id, seconds(60)).await.unwrap());
}
