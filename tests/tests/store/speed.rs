//! How fast the store is, beside durable one-row commits of the same engine. For people: `cargo test -p settled-tests --test store --release -- --ignored --nocapture --test-threads 1 speed`.

use std::time::Duration;

use futures::future::join_all;
use settled::domain::run::{Event, Run};
use settled::domain::server::Server;
use settled::domain::step::{Cause, Ended};
use settled::store::AuditRow;
use sqlx::Connection as _;

use crate::fixture::{House, TIMINGS, audit_row, facts, new_resource, new_run, new_step, started};

/// Accepts an install, as the engine does: resource, run, request id, audit.
async fn accept(house: &House, server: &Server, name: String) -> Run {
    let mut resource = new_resource(&*house.clock, server, &name);
    let run = new_run(&*house.clock, &resource);
    resource.open_run = Some(run.id);
    house
        .write(move |unit| {
            let (mut resource, mut run, id) = (resource.clone(), run.clone(), run.id.to_string());
            Box::pin(async move {
                unit.db().await?.request("unix:0", "Resources.Install", &id).await?;
                unit.insert_resource(&mut resource).await?;
                unit.insert_run(&mut run).await?;
                unit.keep_request(("unix:0", "Resources.Install", &id), "d", "{}").await?;
                let run_id = Some(run.id.to_string());
                unit.audit(AuditRow { run_id, ..audit_row("Resources.Install", &resource.name) });
                Ok(run)
            })
        })
        .await
        .unwrap()
}

/// A run from its start to its end, as a lane writes it: two commits, each with the run and a step.
async fn drive(house: &House, run: Run) {
    let now = house.clock.now();
    let run = run.apply(started(), now, &TIMINGS).unwrap();
    let step = new_step(&run, now);
    let begun = house.write(move |unit| {
        let (mut run, mut step) = (run.clone(), step.clone());
        Box::pin(async move {
            unit.update_run(&mut run).await?;
            unit.insert_step(&mut step).await?;
            Ok((run, step))
        })
    });
    let (run, step) = begun.await.unwrap();
    let end = Event::StepEnded(Ended::Exited { code: 0, cause: Cause::Itself }, facts(run.id));
    let run = run.apply(end, now, &TIMINGS).unwrap();
    let ended = house.write(move |unit| {
        let (mut run, mut step) = (run.clone(), step.clone());
        Box::pin(async move {
            unit.update_run(&mut run).await?;
            unit.update_step(&mut step).await
        })
    });
    ended.await.unwrap();
}

/// Durable one-row commits per second, one after the other.
async fn raw_commits(house: &House, count: usize) -> f64 {
    let sql = "UPDATE counter SET seq = seq";
    let begin = house.clock.monotonic();
    if let Some(path) = house.url.strip_prefix("sqlite://") {
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(path)
            .synchronous(sqlx::sqlite::SqliteSynchronous::Full);
        let mut c = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        for _ in 0..count {
            sqlx::query(sql).execute(&mut c).await.unwrap();
        }
    } else {
        let mut c = sqlx::PgConnection::connect(&house.url).await.unwrap();
        for _ in 0..count {
            sqlx::query(sql).execute(&mut c).await.unwrap();
        }
    }
    per_second(count, house.clock.monotonic().saturating_sub(begin))
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

async fn measure(house: House) {
    for callers in [1, 128] {
        let rounds = if callers == 1 { 300 } else { 25 };
        let mut servers = Vec::new();
        for n in 0..callers {
            servers.push(house.server(&format!("s{callers}.{n}")).await);
        }
        let raw = raw_commits(&house, 300).await;
        let (mut accepting, mut driving) = (Duration::ZERO, Duration::ZERO);
        for round in 0..rounds {
            let begin = house.clock.monotonic();
            let runs = join_all(servers.iter().map(|s| accept(&house, s, format!("r{round}")))).await;
            accepting += house.clock.monotonic().saturating_sub(begin);
            let begin = house.clock.monotonic();
            join_all(runs.into_iter().map(|run| drive(&house, run))).await;
            driving += house.clock.monotonic().saturating_sub(begin);
        }
        println!(
            "{}, {callers} callers: {:.0} accepts/s, {:.0} advances/s, {raw:.0} raw one-row commits/s",
            house.opened.store.about().engine,
            per_second(rounds * callers, accepting),
            per_second(2 * rounds * callers, driving),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn speed_of_sqlite() {
    measure(House::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn speed_of_postgres() {
    measure(House::postgres().await).await;
}
