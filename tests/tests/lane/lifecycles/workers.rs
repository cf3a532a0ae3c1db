//! Workers outside: leases, heartbeats, and what they may say.

use settled::store::{AuditFilter, AuditRecord};

use super::*;

fn completed(payload: &str) -> Done {
    Done::Completed(payload.to_owned())
}

#[tokio::test]
async fn a_worker_takes_a_task_keeps_it_and_completes_it() {
    let mut h = house(&[]).await;
    h.apply(&lifecycle("", &[("one", WORK), ("two", ASK)])).await;
    h.enroll_as(Enroll { payload: r#"{"a":1,"b":2}"#.to_owned(), ..enroll("user/1") }).await.unwrap();
    h.works().await;
    let offered = h.enrollment("user/1").await;
    assert_eq!(
        (offered.status(), offered.attempt),
        (Status::Pending, 0),
        "no attempt before somebody takes it"
    );
    assert_eq!(offered.waits_for, "a worker of the queue `q`");
    let task = h.take("q").await.unwrap();
    assert_eq!(h.take("q").await, None, "one worker has it");
    assert_eq!(h.enrollment("user/1").await.attempt, 1);
    for _ in 0..3 {
        h.passes(seconds(50)).await;
        let until = h.w.daemon.engine.heartbeat(task, "unix:0".to_owned()).await.unwrap();
        assert_eq!(until.since(h.w.clock.now()), seconds(60));
    }
    h.passes(seconds(61)).await;
    let lost = h.done(task, completed("{}")).await.unwrap_err().to_string();
    assert!(lost.contains("not yours any more"), "{lost}");
    h.look().await;
    let task = h.take("q").await.unwrap();
    assert_eq!(h.enrollment("user/1").await.attempt, 2);
    h.done(task, completed(r#"{"b":null,"c":"x"}"#)).await.unwrap();
    let next = h.enrollment("user/1").await;
    assert_eq!((next.stage.as_str(), next.payload.as_str()), ("two", r#"{"a":1,"c":"x"}"#));
    assert!(h.done(task, completed("{}")).await.is_err(), "said once");
}

#[tokio::test]
async fn a_worker_that_dies_is_followed_by_the_next_and_there_are_three_executions_in_all() {
    let mut h = house(&[]).await;
    h.apply(&lifecycle("", &[("one", WORK)])).await;
    h.enroll("user/1").await;
    h.works().await;
    for attempt in 1..=3 {
        assert_eq!(h.enrollment("user/1").await.attempt, attempt - 1);
        assert!(h.take("q").await.is_some(), "it is offered again at once");
        h.after(seconds(61)).await;
    }
    let failed = h.enrollment("user/1").await;
    assert_eq!((failed.status(), failed.attempt), (Status::Failed, 3));
    assert!(failed.last_error.contains("worker-1 has not been heard of"), "{}", failed.last_error);
    assert_eq!(h.log().await, ["one 1 failed", "one 2 failed", "one 3 failed"]);
}

#[tokio::test]
async fn p4_a_worker_may_defer_and_that_uses_no_attempt() {
    let mut h = house(&[]).await;
    h.apply(&lifecycle("", &[("one", WORK)])).await;
    h.enroll("user/1").await;
    h.works().await;
    let task = h.take("q").await.unwrap();
    let until = h.w.clock.now() + HOUR;
    h.done(task, Done::Deferred { until, why: "the bank is closed".to_owned() }).await.unwrap();
    let waits = h.enrollment("user/1").await;
    assert_eq!((waits.status(), waits.attempt, waits.deferrals), (Status::Pending, 0, 1));
    assert_eq!((waits.due(), waits.waits_for.as_str()), (Some(until), "the bank is closed"));
    h.works().await;
    assert_eq!(h.take("q").await, None, "nothing runs early");
    h.after(HOUR).await;
    let task = h.take("q").await.unwrap();
    h.done(task, Done::Failed("no money".to_owned())).await.unwrap();
    let failed = h.enrollment("user/1").await;
    assert_eq!((failed.attempt, failed.last_error.as_str()), (1, "no money"));
    assert_eq!(failed.due().unwrap().since(h.w.clock.now()), HOUR);
}

#[tokio::test]
async fn an_offer_that_nobody_takes_ends_when_its_time_is_over() {
    let mut h = house(&[]).await;
    h.apply(&lifecycle("", &[("one", WORK)])).await;
    h.enroll("user/1").await;
    h.works().await;
    h.after(DAY * 7).await;
    let failed = h.enrollment("user/1").await;
    assert_eq!((failed.status(), failed.attempt), (Status::Failed, 0));
    assert_eq!(failed.last_error, "no worker of the queue `q` took it");
}

#[tokio::test]
async fn p2_what_a_worker_says_twice_is_said_once_and_audited() {
    let mut h = house(&[]).await;
    h.apply(&lifecycle("", &[("one", WORK), ("two", WORK)])).await;
    h.enroll("user/1").await;
    h.works().await;
    let engine = h.w.daemon.engine.clone();
    let until = h.w.clock.now() + HOUR;
    let words = [
        Done::Deferred { until, why: "later".to_owned() },
        Done::Failed("no".to_owned()),
        completed(r#"{"a":1}"#),
    ];
    for done in words {
        h.after(HOUR * 2).await;
        let (task, asked) = (h.take("q").await.unwrap(), h.w.asked("Lifecycles.Complete"));
        let first = engine.end_task(asked.clone(), task, done.clone()).await.unwrap();
        let again = engine.end_task(asked, task, done.clone()).await.unwrap();
        let rows = [first.enrollment.unwrap(), again.enrollment.unwrap()];
        assert_eq!(rows[0], rows[1], "its answer was lost, and it asked again: {done:?}");
    }
    assert_eq!(h.log().await, ["one 1 failed", "one 2 succeeded"]);
    let audit =
        h.w.daemon
            .engine
            .store()
            .read()
            .await
            .unwrap()
            .db()
            .audited(&AuditFilter::default(), None, 20)
            .await
            .unwrap();
    let told: Vec<_> =
        audit.iter().filter(|row| row.method == "Lifecycles.Complete").map(|r| &r.detail).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().any(|detail| detail.starts_with("one: deferred until 2026-")), "{told:?}");
    let taken: Vec<_> = audit.iter().filter(|row| row.method == "Lifecycles.Work").collect();
    assert_eq!(taken.len(), 3, "{taken:?}");
    let told = |row: &AuditRecord| (row.principal.clone(), row.object.clone(), row.detail.clone());
    let expected = ["unix:0", "c/user/1", "one: taken by the worker worker-1"].map(ToOwned::to_owned);
    assert_eq!(told(taken[0]), expected.into());
}

#[tokio::test]
async fn p14_only_the_principal_who_took_a_task_may_speak_of_it() {
    let mut h = house(&[]).await;
    h.apply(&lifecycle("", &[("one", WORK)])).await;
    h.enroll("user/1").await;
    h.works().await;
    let task = h.take("q").await.unwrap();
    let engine = h.w.daemon.engine.clone();
    let other = settled::engine::Asked { principal: "unix:7".to_owned(), ..h.w.asked("Lifecycles.Complete") };
    let refused = engine.end_task(other, task, completed("{}")).await.unwrap_err();
    assert!(matches!(&refused, Refusal::Denied(why) if why.contains("unix:0")), "{refused}");
    let refused = engine.heartbeat(task, "unix:7".to_owned()).await.unwrap_err();
    assert!(matches!(refused, Refusal::Denied(_)), "{refused}");
    h.done(task, completed("{}")).await.unwrap();
}
