//! P6, to the microsecond: when a run is shown as likely stale, when it is settled, and that looking changes nothing. For operations with
//! thresholds of their own.

use std::time::Duration;

use settled::clock::Clock as _;
use settled::domain::freshness::Freshness;
use settled::domain::id::RunId;
use settled::domain::run::Run;
use settled::domain::time::Timestamp;
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::store::queries::RunFilter;
use settled_tests::scripted::Play;
use settled_tests::sim::World;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Row as _};

use super::{ended, seconds, world};

const UNIT: Duration = Duration::from_micros(1);

/// Lets the world go on until exactly this time of the wall clock.
async fn go_to(w: &mut World, at: Timestamp) {
    let left = at.since(w.clock.now());
    w.go(left).await.unwrap();
    assert_eq!(w.clock.now(), at);
}

/// Which runs are this fresh now, as a list would tell.
async fn listed(w: &World, freshness: Freshness) -> Vec<String> {
    let filter = RunFilter { freshness: Some((freshness, w.clock.now())), ..RunFilter::default() };
    let rows = w.daemon.engine.store().read().await.unwrap().db().runs(&filter, "", 100).await.unwrap();
    rows.into_iter().map(|row| row.id).collect()
}

/// It is fresh at this time, and likely stale one unit later, for lists and for itself.
async fn turns_stale_at(w: &mut World, id: RunId, at: Timestamp) {
    go_to(w, at).await;
    let run = w.run(id).await.unwrap();
    assert_eq!((run.stale_at(), run.freshness(at)), (Some(at), Freshness::Fresh));
    assert!(listed(w, Freshness::Fresh).await.contains(&id.to_string()));
    assert!(!listed(w, Freshness::LikelyStale).await.contains(&id.to_string()));
    w.go(UNIT).await.unwrap();
    assert_eq!(w.run(id).await.unwrap().freshness(at + UNIT), Freshness::LikelyStale);
    assert!(listed(w, Freshness::LikelyStale).await.contains(&id.to_string()));
    assert!(!listed(w, Freshness::Fresh).await.contains(&id.to_string()));
}

/// Every row of every table that tells of servers, runs and commands.
async fn everything(w: &World) -> Vec<String> {
    let path = w.url();
    let options = SqliteConnectOptions::new().filename(path.trim_start_matches("sqlite://")).read_only(true);
    let options = options.collation("C", |a, b| a.as_bytes().cmp(b.as_bytes()));
    let mut database = options.connect().await.unwrap();
    let mut found = Vec::new();
    for table in ["counter", "server", "lane", "unresolved", "resource", "run", "step", "transition", "audit"]
    {
        let sql = format!("SELECT * FROM {table}");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut database).await.unwrap();
        for row in rows {
            let value = |n| row.try_get_unchecked::<Option<String>, _>(n).unwrap().unwrap_or_default();
            let values: Vec<_> = (0..row.len()).map(value).collect();
            found.push(format!("{table}: {}", values.join("|")));
        }
    }
    found
}

/// At this time the reconciler leaves the run alone, one unit later it settles it, and a third look writes no row.
async fn settles_at(w: &mut World, id: RunId, at: Timestamp) -> Run {
    go_to(w, at).await;
    let untouched = everything(w).await;
    let report = w.daemon.reconcile().await.unwrap();
    assert_eq!((report.settled, report.grace_until), (vec![], None));
    assert_eq!(everything(w).await, untouched, "a look before its time writes nothing");
    assert!(w.run(id).await.unwrap().verdict().is_none());
    w.go(UNIT).await.unwrap();
    let report = w.daemon.reconcile().await.unwrap();
    let [settled] = &report.settled[..] else { panic!("one run is settled: {report:#?}") };
    assert_eq!((settled.id, settled.due, settled.at), (id, at, at + UNIT));
    let after = everything(w).await;
    assert_ne!(after, untouched);
    let report = w.daemon.reconcile().await.unwrap();
    assert_eq!((report.settled.len(), report.released.len()), (0, 0));
    assert_eq!(everything(w).await, after, "a second look writes no row");
    w.check().await.unwrap();
    w.run(id).await.unwrap()
}

#[tokio::test]
async fn p6_a_queued_run_is_shown_and_then_settled_by_the_thresholds_of_its_operation() {
    let mut w = world(&["alpha"]).await;
    w.go(seconds(70)).await.unwrap();
    let asked = w.asked("Servers.Pause");
    w.daemon.engine.pause_server(asked, "alpha".to_owned()).await.unwrap();
    let hurried = w.install("alpha", "hurried", "one").await.unwrap();
    let patient = w.install("alpha", "thing", "two").await.unwrap();
    let accepted = w.run(hurried).await.unwrap().accepted_at;
    assert_eq!(w.run(patient).await.unwrap().accepted_at, accepted);

    // The operation says that it may stay queued for 10 min; half of that, and it is shown.
    turns_stale_at(&mut w, hurried, accepted + seconds(300)).await;
    let run = settles_at(&mut w, hurried, accepted + seconds(600)).await;
    ended(&run, Outcome::Failed, Reason::NeverStarted, Evidence::NotStarted);
    assert_eq!((run.position().attempt, w.status("alpha/hurried/one").await.unwrap()), (0, "failed"));
    assert_eq!(listed(&w, Freshness::Reconciled).await, [hurried.to_string()]);

    // The other one goes by the configuration: 1 h, and 24 h.
    turns_stale_at(&mut w, patient, accepted + seconds(3_600)).await;
    let run = settles_at(&mut w, patient, accepted + seconds(86_400)).await;
    ended(&run, Outcome::Failed, Reason::NeverStarted, Evidence::NotStarted);
}

/// Installs on two servers whose steps say nothing for hours: what usually takes 40 s and may take 60, and what may take 120.
async fn two_silent_runs(w: &mut World) -> [Run; 2] {
    w.go(seconds(70)).await.unwrap();
    for name in ["one", "two"] {
        w.remote.script(name, [Play::takes(seconds(10_000))]);
    }
    let ids = [
        w.install("alpha", "hurried", "one").await.unwrap(),
        w.install("beta", "task", "two").await.unwrap(),
    ];
    for id in ids {
        w.until(id, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    }
    w.go(seconds(1)).await.unwrap();
    [w.run(ids[0]).await.unwrap(), w.run(ids[1]).await.unwrap()]
}

#[tokio::test]
async fn p6_a_silent_run_is_shown_when_it_takes_longer_than_its_operation_usually_does() {
    let mut w = world(&["alpha", "beta"]).await;
    let [hurried, patient] = two_silent_runs(&mut w).await;
    turns_stale_at(&mut w, hurried.id, hurried.progress_at + seconds(40)).await;
    assert!(listed(&w, Freshness::Fresh).await.contains(&patient.id.to_string()));
    let before = everything(&w).await;
    let report = w.daemon.reconcile().await.unwrap();
    let named: Vec<_> = report.likely_stale.iter().map(|run| (run.id, run.progress_at)).collect();
    assert_eq!((named, report.settled.len()), (vec![(hurried.id, hurried.progress_at)], 0));
    assert_eq!(everything(&w).await, before, "being shown is no change");
    assert!(w.end(hurried.id, seconds(100)).await.unwrap().verdict().is_some_and(|v| !v.reconciled));
}

#[tokio::test]
async fn p6_a_run_that_nobody_hears_of_is_settled_by_the_thresholds_of_its_operation() {
    let mut w = world(&["alpha", "beta"]).await;
    let runs = two_silent_runs(&mut w).await;
    for server in ["alpha", "beta"] {
        w.remote.cut(server, seconds(100_000));
    }
    for (run, timeout) in runs.iter().zip([60, 120]) {
        // What its step may take, 30 s to end it, and the margin of 120 s.
        let due = run.settles_by().unwrap();
        assert_eq!(due, run.progress_at + seconds(timeout + 30 + 120));
        let run = settles_at(&mut w, run.id, due).await;
        ended(&run, Outcome::Failed, Reason::Lost, Evidence::None);
        assert_eq!(run.freshness(w.clock.now()), Freshness::Reconciled);
    }
}

#[tokio::test]
async fn p6_how_late_a_run_is_settled_is_measured() {
    let mut w = world(&["alpha", "beta"]).await;
    let [hurried, _] = two_silent_runs(&mut w).await;
    w.remote.cut("alpha", seconds(100_000));
    let due = hurried.settles_by().unwrap();
    let run = w.end(hurried.id, seconds(300)).await.unwrap();
    let lag = run.verdict().unwrap().at.since(due).as_secs_f64();
    let measured = w.daemon.engine.store().measured().settle_lag.read();
    assert_eq!(measured.count, 1);
    assert!(lag > 0.0 && (measured.sum - lag).abs() < 1e-6, "{lag}: {measured:?}");
}
