//! Worlds out of seeds: the promises hold in each, whatever goes wrong, and a seed that fails says so and fails again.
//!
//! `SETTLED_SEEDS=1000` lives more worlds, `SETTLED_SEED=17` only that one.

use settled_tests::scripted::Bug;
use settled_tests::sim::random::live;

/// Worlds lived when nobody says how many.
const SEEDS: u64 = 40;

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

/// The checker is tested too: a fault that no world shows is a fault that it cannot see.
async fn is_caught(bug: Bug, promise: &str) {
    for seed in 0..20 {
        if let Err(error) = live(seed, Some(bug)).await {
            let told = format!("{error:#}");
            assert!(told.contains(promise), "seed {seed}, {bug:?}: {told}");
            return;
        }
    }
    panic!("20 worlds with {bug:?}, and nobody noticed");
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
