//! Worlds out of seeds: the promises hold in each, whatever goes wrong, and a seed that fails says so and fails again.
//!
//! `SETTLED_SEEDS=10000` lives more worlds, `SETTLED_SEED=17` only that one.

#![expect(clippy::unwrap_used, reason = "a test fails where something is not as it should be")]

mod checker;

use std::collections::BTreeMap;
use std::time::Instant;

use settled_tests::sim::many::live_all;
use settled_tests::sim::random::live;

/// Worlds lived when nobody says how many.
const SEEDS: u64 = 500;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the time that the whole took is printed")]
fn p1_to_p10_hold_in_every_world() {
    let seeds = match number("SETTLED_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SETTLED_SEEDS").unwrap_or(SEEDS),
    };
    let (began, worlds) = (Instant::now(), seeds.end - seeds.start);
    let mut failed = Vec::new();
    let (mut steps, mut deaths, mut ends) = (0, 0, BTreeMap::<String, u64>::new());
    for (seed, story) in live_all(seeds) {
        match story {
            Ok(story) => {
                (steps, deaths) = (steps + story.steps, deaths + story.deaths);
                story.ends.into_iter().for_each(|(end, n)| *ends.entry(end).or_default() += n);
            }
            Err(error) => failed.push(format!("seed {seed}: {error:#}")),
        }
    }
    let took = began.elapsed().as_secs_f64();
    println!("{worlds} worlds in {took:.1} s: {steps} steps, {deaths} deaths, ends {ends:?}");
    assert!(failed.is_empty(), "live it again with SETTLED_SEED=<seed>:\n{}", failed.join("\n\n"));
}

#[tokio::test]
async fn a_seed_gives_the_same_world_again() {
    for seed in [3, 7] {
        assert_eq!(live(seed, None).await.unwrap(), live(seed, None).await.unwrap(), "seed {seed}");
    }
}

/// Also beside others, and on other threads: a seed that failed among ten thousand fails alone.
#[test]
fn a_seed_gives_the_same_world_alone_and_among_others() {
    let among = live_all(0..6).swap_remove(3);
    let alone = live_all(3..4).swap_remove(0);
    assert_eq!((among.0, among.1.unwrap()), (alone.0, alone.1.unwrap()));
}
