//! Worlds out of seeds: the promises hold in each, whatever goes wrong, and a seed that fails says so and fails again.
//!
//! `SETTLED_SEEDS=1000` lives more worlds, `SETTLED_SEED=17` only that one.

#![expect(clippy::unwrap_used, reason = "a test fails where something is not as it should be")]

use std::time::Duration;

use settled_tests::scripted::{Bug, Play};
use settled_tests::sim::random::live;
use settled_tests::sim::{World, knobs};

/// Worlds lived when nobody says how many.
const SEEDS: u64 = 24;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[tokio::test]
async fn p1_to_p10_hold_in_every_world() {
    let seeds = match number("SETTLED_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SETTLED_SEEDS").unwrap_or(SEEDS),
    };
    let mut failed = Vec::new();
    let (mut steps, mut deaths, mut ends) = (0, 0, std::collections::BTreeMap::<String, u64>::new());
    for seed in seeds {
        match live(seed, None).await {
            Ok(story) => {
                (steps, deaths) = (steps + story.steps, deaths + story.deaths);
                story.ends.into_iter().for_each(|(end, n)| *ends.entry(end).or_default() += n);
            }
            Err(error) => failed.push(format!("seed {seed}: {error:#}")),
        }
    }
    println!("{steps} steps, {deaths} deaths, ends {ends:?}");
    assert!(failed.is_empty(), "live it again with SETTLED_SEED=<seed>:\n{}", failed.join("\n\n"));
}

#[tokio::test]
async fn a_seed_gives_the_same_world_again() {
    for seed in [3, 7] {
        assert_eq!(live(seed, None).await.unwrap(), live(seed, None).await.unwrap(), "seed {seed}");
    }
}

/// The checker is tested too: a fault that no world shows is a fault that it cannot see. One fault may break several promises.
async fn is_caught(bug: Bug, promise: &str) {
    for seed in 0..20 {
        if let Err(error) = live(seed, Some(bug)).await
            && format!("{error:#}").contains(promise)
        {
            return;
        }
    }
    panic!("20 worlds with {bug:?}, and nobody noticed that {promise} does not hold");
}

#[tokio::test]
async fn the_checker_sees_a_payload_that_runs_twice() {
    is_caught(Bug::RunsTwice, "P5").await;
}

#[tokio::test]
async fn the_checker_sees_payloads_that_overlap() {
    is_caught(Bug::EndsEarly, "P3").await;
}

#[tokio::test]
async fn the_checker_sees_a_success_that_was_none() {
    is_caught(Bug::SaysWell, "P7").await;
}

#[tokio::test]
async fn the_checker_sees_a_run_that_nobody_settles() {
    let mut world = World::new(1, knobs()).await.unwrap();
    world.server("alpha").await.unwrap();
    world.remote.script("work", [Play::takes(Duration::from_secs(100_000))]);
    let run = world.install("alpha", "task", "work").await.unwrap();
    world.until(run, Duration::from_secs(5), |run| run.live_step().is_some()).await.unwrap();
    world.go(Duration::from_secs(1)).await.unwrap();
    world.remote.cut("alpha", Duration::from_secs(100_000));
    world.daemon.stop_reconciling();
    let told = format!("{:#}", world.go(Duration::from_secs(1_000)).await.unwrap_err());
    assert!(told.contains("P6"), "{told}");
}

#[tokio::test]
async fn the_checker_sees_a_record_that_changed_without_being_told() {
    let mut world = World::new(1, knobs()).await.unwrap();
    world.server("alpha").await.unwrap();
    let run = world.install("alpha", "task", "work").await.unwrap();
    world.end(run, Duration::from_secs(5)).await.unwrap();
    world.checker.finish(&world.daemon, &world.remote).await.unwrap();
    let database = sqlx::SqlitePool::connect(&world.url()).await.unwrap();
    sqlx::query("UPDATE run SET evidence = 'probe' WHERE evidence = 'exit_record'")
        .execute(&database)
        .await
        .unwrap();
    let told = format!("{:#}", world.checker.finish(&world.daemon, &world.remote).await.unwrap_err());
    assert!(told.contains("P10"), "{told}");
}
