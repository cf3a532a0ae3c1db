//! A daemon that was killed with a million finished runs in its store and a hundred steps at work: how soon it answers, and how soon it has
//! found every step again. Takes minutes, so it runs on request: `make million`.

use std::time::{Duration, Instant};

use settled_proto::v1::ListRunsRequest;
use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::runs_client::RunsClient;
use settled_tests::patience::until_within;
use settled_tests::server::install;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use tonic::transport::Channel;

use crate::clients::completed;
use crate::kill_nine::number;
use crate::run_126::get;
use crate::witness::{Seen, TICKING};
use crate::world::{Engine, Lease, World, name};

const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
const REATTACHED_WITHIN: Duration = Duration::from_secs(15);
/// A guard against hanging for ever, for what a hundred servers do.
const ALL_WITHIN: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make million"]
async fn p5_p6_a_store_with_a_million_runs_delays_no_restart_on_sqlite() {
    restart_with_a_million(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make million"]
async fn p5_p6_a_store_with_a_million_runs_delays_no_restart_on_postgres() {
    restart_with_a_million(Engine::Postgres).await;
}

#[expect(clippy::disallowed_methods, reason = "how long a restart takes is what is measured")]
async fn restart_with_a_million(engine: Engine) {
    let (runs, steps) = (number("SETTLED_RUNS", 1_000_000), number("SETTLED_STEPS", 100));
    let world = World::new(engine, Lease::SHORT, 1, usize::try_from(steps).unwrap()).await;
    let home = &world.homes[0];
    let channel = home.channel();
    let daemon = home.start();
    home.serves().await;
    world.register(&channel).await;
    daemon.kill();
    fill(&world, runs).await;

    let daemon = home.start();
    home.serves().await;
    let ids = start_steps(&world, &channel).await;
    let written = ticks(&channel, &ids, &vec![0; ids.len()]).await;
    daemon.kill();
    let began = Instant::now();
    let daemon = home.start();
    home.serves().await;
    RunsClient::new(channel.clone()).list(ListRunsRequest::default()).await.unwrap();
    let answered = began.elapsed();
    // What a step writes now can have been read only by who follows it now.
    ticks(&channel, &ids, &written).await;
    let reattached = began.elapsed();
    println!(
        "{engine:?}: {runs} finished runs; the API answers {:.2} s after the restart, {} steps are followed again after {:.2} s",
        answered.as_secs_f64(),
        ids.len(),
        reattached.as_secs_f64(),
    );
    end_steps(&world, &channel, &ids).await;
    drop(daemon);
    assert!(answered <= ANSWERS_WITHIN, "{answered:?}");
    assert!(reattached <= REATTACHED_WITHIN, "{reattached:?}");
}

/// One step on each server, none of which ends by itself; the ids of their runs.
async fn start_steps(world: &World, channel: &Channel) -> Vec<String> {
    let mut ids = Vec::new();
    for (n, dir) in world.witnesses().iter().enumerate() {
        let request = install(&name(n), TICKING, "it", &[("dir", &dir.display().to_string())]);
        let answer = ResourcesClient::new(channel.clone()).install(request).await.unwrap().into_inner();
        ids.push(answer.run.unwrap().id);
    }
    ids
}

/// Waits until more is stored of each step's output than that; answers how much.
async fn ticks(channel: &Channel, ids: &[String], before: &[u64]) -> Vec<u64> {
    let mut all = Vec::new();
    for (id, before) in ids.iter().zip(before) {
        let more = until_within(ALL_WITHIN, "more output is stored", async || {
            let run = get(channel, id).await;
            run.steps.first().map(|step| step.output_bytes).filter(|bytes| bytes > before)
        });
        all.push(more.await);
    }
    all
}

/// Every step ends, and each has run once.
async fn end_steps(world: &World, channel: &Channel, ids: &[String]) {
    let mut seen = Seen::default();
    for dir in world.witnesses() {
        std::fs::write(dir.join("go"), "").unwrap();
    }
    for id in ids {
        let (run, _) = completed(channel, id).await;
        assert_eq!((run.outcome(), run.attempt), (settled_proto::v1::Outcome::Succeeded, 1), "{run:#?}");
    }
    world.witnesses().iter().for_each(|dir| seen.read(dir));
    assert_eq!(seen.begun.len(), ids.len());
    assert!(seen.begun.values().all(|times| *times == 1), "{:#?}", seen.begun);
}

/// Finished runs: copies of one that there is, under older ids.
async fn fill(world: &World, runs: u64) {
    let numbers =
        format!("WITH RECURSIVE many (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < {runs})");
    let copy = |columns: &[String]| {
        let copied: Vec<_> = columns
            .iter()
            .map(|name| match name.as_str() {
                "id" => "'00' || substr('000000000000000000000000' || CAST(many.n AS TEXT), -24)".to_owned(),
                name => format!("r.{name}"),
            })
            .collect();
        format!(
            "{numbers} INSERT INTO run ({}) SELECT {} FROM (SELECT * FROM run WHERE state = 'completed' LIMIT 1) r, many",
            columns.join(", "),
            copied.join(", ")
        )
    };
    if let Some(url) = &world.url {
        let mut database = PgConnection::connect(url).await.unwrap();
        let columns = "SELECT column_name::TEXT FROM information_schema.columns WHERE table_name = 'run'";
        let columns: Vec<String> = sqlx::query_scalar(columns).fetch_all(&mut database).await.unwrap();
        let copy = copy(&columns).replace("substr(", "right(").replace(", -24)", ", 24)");
        sqlx::raw_sql(sqlx::AssertSqlSafe(copy)).execute(&mut database).await.unwrap();
    } else {
        let path = world.homes[0].path("data/settled.db");
        // The store's collation compares bytes.
        let options =
            SqliteConnectOptions::new().filename(path).collation("C", |a, b| a.as_bytes().cmp(b.as_bytes()));
        let mut database = SqliteConnection::connect_with(&options).await.unwrap();
        let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info('run')")
            .fetch_all(&mut database)
            .await
            .unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(copy(&columns))).execute(&mut database).await.unwrap();
    }
}
