//! What is old goes away in small batches, and what stays can be trusted to be complete.

use settled::domain::run::Event;
use settled::domain::time::Timestamp;
use settled::store::retention::Horizon;
use settled::store::{AuditFilter, Db, StoreError};

use crate::fixture::{House, TIMINGS, audit_row};

const NEVER: Timestamp = Timestamp(0);
const ALWAYS: Timestamp = Timestamp(i64::MAX);

async fn expire(house: &House, horizon: Horizon, batch: i64) -> u64 {
    house.write(move |unit| Box::pin(async move { unit.expire(horizon, batch).await })).await.unwrap()
}

async fn run_sql(house: &House, sql: &str) -> Result<(), StoreError> {
    let sql = sql.to_owned();
    house
        .write(move |unit| {
            let sql = sqlx::AssertSqlSafe(sql.clone());
            Box::pin(async move {
                match unit.db().await? {
                    Db::Sqlite(c) => sqlx::query(sql).execute(&mut **c).await.map(drop)?,
                    Db::Postgres(c) => sqlx::query(sql).execute(&mut **c).await.map(drop)?,
                }
                // So that there is something to commit.
                unit.keep_package("d", "p", "").await
            })
        })
        .await
}

pub(crate) async fn what_is_kept_has_no_holes_and_begins_where_it_says(house: House) {
    let horizon = |transitions| Horizon { runs: NEVER, transitions, requests: NEVER, audit: NEVER };
    assert_eq!(house.read().await.db().oldest_transition().await.unwrap(), None);
    assert_eq!(expire(&house, horizon(ALWAYS), 5).await, 0);
    for n in 0..12 {
        house.server(&format!("s{n}")).await;
    }
    // A clock that jumped: number 4 is young among the old.
    run_sql(&house, "UPDATE transition SET at = CASE WHEN seq = 4 THEN 2000 ELSE 10 END").await.unwrap();
    assert_eq!(expire(&house, horizon(Timestamp(1000)), 100).await, 3);
    assert_eq!(house.numbers().await.1, (4..=12).collect::<Vec<_>>());
    assert_eq!(house.read().await.db().oldest_transition().await.unwrap(), Some(4));
    assert!(expire(&house, horizon(ALWAYS), 3).await <= 3, "in batches");
    while expire(&house, horizon(ALWAYS), 3).await > 0 {}
    assert_eq!(house.numbers().await, (12, vec![12]), "the newest stays, and tells where watching can begin");
    house.server("later").await;
    assert_eq!(house.numbers().await, (13, vec![12, 13]));
}

pub(crate) async fn old_runs_go_with_their_steps_and_output_in_batches(house: House) {
    let server = house.server("web1").await;
    let mut steps = Vec::new();
    for n in 0..5 {
        let run = house.run(&house.resource(&server, &format!("r{n}")).await).await;
        let (run, step) = house.started(run).await;
        let id = step.id;
        house
            .write(move |unit| Box::pin(async move { unit.append_output(id, 0, b"x").await }))
            .await
            .unwrap();
        if n < 4 {
            let broken = run.apply(
                Event::Judged(settled::domain::run::Proof::Success, crate::fixture::facts(id.run)),
                house.clock.now(),
                &TIMINGS,
            );
            house.update_run(broken.unwrap()).await.unwrap();
        }
        steps.push(id);
    }
    let horizon = Horizon { runs: ALWAYS, transitions: NEVER, requests: NEVER, audit: NEVER };
    assert_eq!(expire(&house, horizon, 3).await, 3);
    assert_eq!(expire(&house, horizon, 3).await, 1);
    assert_eq!(expire(&house, horizon, 3).await, 0);
    let mut reader = house.read().await;
    for (n, step) in steps.into_iter().enumerate() {
        assert_eq!(reader.db().step(step).await.unwrap().is_some(), n == 4, "an open run stays");
        assert_eq!(reader.db().output(step, 0, 9).await.unwrap().len(), usize::from(n == 4));
    }
}

pub(crate) async fn the_audit_goes_by_its_own_age_in_batches(house: House) {
    for n in 1..=5 {
        let at = if n < 4 { 10 } else { 2000 };
        let row = format!(
            "INSERT INTO audit VALUES ({n}, {at}, 'unix:0', '', 'operate', 'Servers.Pause', 'web1', 'web1', '', 'accepted', '', '', NULL, 1, 0)"
        );
        run_sql(&house, &row).await.unwrap();
    }
    let horizon = |audit| Horizon { runs: ALWAYS, transitions: ALWAYS, requests: ALWAYS, audit };
    assert_eq!(expire(&house, horizon(NEVER), 10).await, 0, "other ages are no matter");
    assert_eq!(expire(&house, horizon(Timestamp(1000)), 2).await, 2);
    assert_eq!(expire(&house, horizon(Timestamp(1000)), 2).await, 1);
    assert_eq!(expire(&house, horizon(Timestamp(1000)), 2).await, 0, "the young stay");
}

pub(crate) async fn p14_a_row_of_the_audit_cannot_be_changed_or_taken_out_of_the_middle(house: House) {
    for n in 0..3 {
        let row = audit_row("Servers.Pause", &format!("web{n}"));
        house
            .write(move |unit| {
                unit.audit(row.clone());
                Box::pin(async { Ok(()) })
            })
            .await
            .unwrap();
    }
    let rows = || async { house.read().await.db().audited(&AuditFilter::default(), None, 10).await.unwrap() };
    let before = rows().await;
    assert_eq!(before.len(), 3);
    for sql in [
        "UPDATE audit SET principal = 'unix:1' WHERE seq = 2",
        "UPDATE audit SET at = 0",
        "DELETE FROM audit WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 1",
        "DELETE FROM audit",
    ] {
        let refused = run_sql(&house, sql).await.unwrap_err().to_string();
        assert!(refused.contains("the audit"), "{sql}: {refused}");
    }
    assert_eq!(rows().await, before);
    let all = Horizon { runs: NEVER, transitions: NEVER, requests: NEVER, audit: ALWAYS };
    assert_eq!(expire(&house, all, 2).await, 2, "age takes the oldest");
    assert_eq!(rows().await, before[..1]);
}

pub(crate) async fn nothing_old_means_nothing_written(house: House) {
    house.server("web1").await;
    let before = house.opened.writer.committed().borrow().commits;
    assert_eq!(
        expire(&house, Horizon { runs: NEVER, transitions: NEVER, requests: NEVER, audit: NEVER }, 10).await,
        0
    );
    assert_eq!(house.opened.writer.committed().borrow().commits, before);
}
