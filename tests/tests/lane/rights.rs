//! P14 and P4: whether who asked for a run may still do it is asked when its turn comes; when nobody can tell, the run waits.

use settled::auth::{Grants, Role, Scope};
use settled::clock::Clock as _;
use settled::domain::id::RunId;
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::domain::waiting::WaitReason;
use settled_tests::sim::{World, install};

use super::{ended, executions, seconds, succeeded, world};

/// Who asks.
const ANN: u32 = 1000;
/// Whose members may operate.
const OPERATORS: u32 = 50;

/// Ann is an operator by her group, and has asked for something on `alpha`.
async fn asked_by_ann() -> (World, RunId) {
    let mut w = world(&["alpha"]).await;
    let run = ann_asks(&mut w).await;
    (w, run)
}

async fn ann_asks(w: &mut World) -> RunId {
    let mut grants = Grants::default();
    grants.group(OPERATORS, Role::Operator);
    w.gate.replace(grants);
    w.users.put(ANN, &[OPERATORS]);
    let mut asked = w.asked("Resources.Install");
    asked.principal = format!("unix:{ANN}");
    let answer = w.daemon.engine.install(asked, install("alpha", "thing", "a")).await.unwrap();
    answer.run.unwrap().id.parse().unwrap()
}

#[tokio::test]
async fn p4_a_run_waits_by_name_while_nobody_can_tell_whether_its_principal_may_still_do_it() {
    let (mut w, run) = asked_by_ann().await;
    w.users.set_away(true);
    w.go(seconds(3_600)).await.unwrap();
    let waits = w.run(run).await.unwrap();
    let waiting = waits.waiting().expect("it waits");
    assert_eq!(waiting.reason, WaitReason::Access);
    assert!(waiting.who.contains("does not answer") && waiting.who.contains("unix:1000"), "{}", waiting.who);
    assert!(waiting.next_try.is_some_and(|at| at > w.clock.now()));
    assert!(w.clock.now().since(waiting.since) > seconds(3_500), "it waits for one reason since one time");
    w.users.set_away(false);
    let run = w.end(run, seconds(400)).await.unwrap();
    succeeded(&run);
    assert_eq!(run.position().attempt, 1, "waiting uses no attempt");
}

#[tokio::test]
async fn p14_who_is_out_of_the_group_or_of_the_scope_when_the_turn_comes_is_blocked() {
    let elsewhere = Scope::Of(vec!["server:beta".parse().unwrap(), "label:tier=web".parse().unwrap()]);
    for leaves_group in [true, false] {
        let (mut w, run) = asked_by_ann().await;
        if leaves_group {
            w.users.put(ANN, &[]);
        } else {
            let mut grants = Grants::default();
            grants.group_on(OPERATORS, Role::Operator, elsewhere.clone());
            w.gate.replace(grants);
        }
        let run = w.end(run, seconds(60)).await.unwrap();
        ended(&run, Outcome::Blocked, Reason::Forbidden, Evidence::NotStarted);
        assert_eq!(executions(&w, &run), 0);
    }
}

#[tokio::test]
async fn p14_whoever_may_not_any_more_is_blocked_before_anything_touches_the_server() {
    let mut w = world(&["alpha"]).await;
    w.go(seconds(60)).await.unwrap();
    w.remote.cut("alpha", seconds(7_200));
    let run = ann_asks(&mut w).await;
    w.users.put(ANN, &[]);
    let run = w.end(run, seconds(60)).await.unwrap();
    ended(&run, Outcome::Blocked, Reason::Forbidden, Evidence::NotStarted);
}
