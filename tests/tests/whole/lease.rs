//! The lease is renewed whatever else the daemon waits for.

use settled_tests::daemon;
use settled_tests::patience::until;
use settled_tests::postgres::Postgres;
use sqlx::{Connection as _, PgConnection};

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_reconciler_that_hangs_does_not_cost_the_lease() {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    let daemon = daemon::Options::default()
        .set("DATABASE__URL", &url)
        .set("LANE__RENEW_S", "1")
        .set("LANE__LEASE_S", "12")
        .start()
        .await;
    let mut other = PgConnection::connect(&url).await.unwrap();
    let mut looking = PgConnection::connect(&url).await.unwrap();
    let mut asking = PgConnection::connect(&url).await.unwrap();
    let mut lease =
        async || sqlx::query_scalar::<_, i64>("SELECT lease_until FROM daemon").fetch_one(&mut looking).await;
    until("the first renewal", async || lease().await.ok()).await;

    // Whoever reads runs now waits, and the reconciler does. The lease is another table.
    let mut transaction = other.begin().await.unwrap();
    sqlx::query("LOCK TABLE run IN ACCESS EXCLUSIVE MODE").execute(&mut *transaction).await.unwrap();
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity \
                   WHERE wait_event_type = 'Lock' AND query LIKE 'SELECT COUNT(*) FROM run WHERE settles_by%'";
    until("the reconciler waits", async || {
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut asking).await.ok()?;
        (waiting > 0).then_some(())
    })
    .await;
    for _ in 0..3 {
        let before = lease().await.unwrap();
        until("a renewal while the reconciler hangs", async || {
            lease().await.ok().filter(|now| *now > before)
        })
        .await;
    }
    transaction.rollback().await.unwrap();
    let (ended, _home) = daemon.stop().await;
    ended.unwrap();
}
