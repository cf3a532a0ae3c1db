//! The lease is renewed whatever else the daemon waits for.

use std::time::Duration;

use settled::config::{Config, Sources, Surroundings};
use settled::engine::Lease;
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

#[test]
fn p13_the_shortest_lease_that_is_accepted_is_renewed_before_it_is_distrusted() {
    let config = |renew: u64, lease: u64| {
        let set = |key: &str, value: u64| (format!("SETTLED_{key}"), value.to_string());
        // What else a long lease demands.
        let env = vec![
            set("LANE__RENEW_S", renew),
            set("LANE__LEASE_S", lease),
            set("RUN__SETTLE_MARGIN_S", 4000),
            set("STALE__RUNNING_S", 3600),
        ];
        Config::load(&Sources { env, ..Sources::default() }, &Surroundings::bare("/home/ann"))
    };
    for renew in [1, 2, 3, 5, 7, 10, 14, 15, 16, 100, 1200] {
        let shortest = config(renew, 2 * renew + 1).unwrap().lane;
        assert!(Lease::trusted_for(shortest.lease()) > shortest.renew(), "{shortest:?}");
        assert!(config(renew, 2 * renew).is_err(), "a lease of {} s", 2 * renew);
    }
    assert_eq!(Lease::trusted_for(Duration::from_secs(30)), Duration::from_secs(20));
}
