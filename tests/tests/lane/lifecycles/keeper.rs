//! How much a look moves, of whom, and what it is woken by.

use super::*;

/// What one step of a keeper has moved, by lifecycle.
async fn moved(h: &House, codes: &[String]) -> Vec<usize> {
    let mut reader = h.w.daemon.engine.store().read().await.unwrap();
    let mut db = reader.db();
    let mut counts = Vec::new();
    for code in codes {
        let lifecycle = db.lifecycle_by_code(code).await.unwrap().unwrap();
        let by_status = db.enrollment_counts(lifecycle.id).await.unwrap();
        counts.push(usize::try_from(by_status.get("processing").copied().unwrap_or(0)).unwrap());
    }
    counts
}

#[tokio::test]
async fn a_look_is_bounded_in_all_and_serves_every_lifecycle() {
    let mut h = house(&[]).await;
    let codes: Vec<_> = (0..6).map(|n| format!("c{n}")).collect();
    for code in &codes {
        let source = lifecycle("", &[("ask", ASK)]).replace("code = \"c\"", &format!("code = \"{code}\""));
        h.apply(&source).await;
    }
    // The first has more than fits a look, the others come later.
    let engine = h.w.daemon.engine.clone();
    for (n, code) in codes.iter().enumerate() {
        let number = if n == 0 { 400 } else { 30 };
        let asks: Vec<_> = (0..number)
            .map(|k| {
                (
                    h.w.asked("Lifecycles.Enroll"),
                    Enroll { lifecycle: code.clone(), ..enroll(&format!("user/{k}")) },
                )
            })
            .collect();
        let enrolled = asks.into_iter().map(|(asked, ask)| engine.enroll(asked, ask));
        futures::future::try_join_all(enrolled).await.unwrap();
    }
    let lease = Lease::new(seconds(300), h.w.clock.clone());
    engine.renew_lease(&lease, true).await.unwrap();
    let mut keeper = Keeper::new(engine.clone(), lease, false, || false);
    keeper.step().await;
    let first = moved(&h, &codes).await;
    assert!(first.iter().sum::<usize>() <= 256, "{first:?}");
    assert!(first.iter().all(|served| *served >= 30), "nobody waits behind the first: {first:?}");
    for _ in 0..20 {
        keeper.step().await;
    }
    assert_eq!(moved(&h, &codes).await, [400, 30, 30, 30, 30, 30]);
}

#[tokio::test]
async fn the_end_of_a_run_marks_who_waits_for_it_and_nobody_else() {
    let mut h = house(&["alpha", "beta"]).await;
    h.apply(&lifecycle("", &[("put", THING)])).await;
    for server in ["alpha", "beta"] {
        h.enroll(&format!("server/{server}")).await;
    }
    h.look().await;
    let over = async |h: &House| {
        let engine = &h.w.daemon.engine;
        engine.store().read().await.unwrap().db().runs_over(10).await.unwrap()
    };
    assert_eq!(over(&h).await, []);
    let run = h.run_of("server/alpha").await;
    let asked = h.w.asked("Runs.Cancel");
    h.w.daemon.engine.cancel(asked, run).await.unwrap();
    h.w.end(run, seconds(60)).await.unwrap();
    let waits = h.enrollment("server/alpha").await;
    let seen = over(&h).await;
    assert!(seen.iter().any(|seen| seen.id == waits.id.to_string()), "{seen:?}");
    h.look().await;
    assert_eq!(over(&h).await.len(), 0, "what was taken note of is marked no more");
}
