//! The daemon is killed again and again under load, at moments that a seed chooses, and started at once.
//!
//! `SETTLED_KILLS` says how often on each engine, `SETTLED_SEED` with which seed; `make kill-nine` kills a thousand times. Several worlds
//! share the kills: on PostgreSQL a daemon waits for the lease of the one that was killed, and meanwhile another world is at work.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use settled_tests::patience::until;
use settled_tests::process::a_moment;
use tokio_util::sync::CancellationToken;

use crate::clients;
use crate::judge::{Finding, judge};
use crate::world::{Engine, Lease, World};

/// Kills on each engine when nobody says how many.
const KILLS: u64 = 100;
const SERVERS: usize = 2;
const CLIENTS_PER_SERVER: usize = 2;
/// The moment of a kill lies within so much of the first sign of work, or of the start: long enough to see whole runs.
const MOMENT_MS_MAX: u64 = 400;

#[tokio::test(flavor = "multi_thread")]
async fn p5_p1_p3_p6_p7_a_thousand_kills_lose_double_and_falsify_nothing_on_sqlite() {
    kill_again_and_again(Engine::Sqlite, Lease::SHORT, 2, number("SETTLED_KILLS", KILLS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_p1_p3_p6_p7_a_thousand_kills_lose_double_and_falsify_nothing_on_postgres() {
    kill_again_and_again(Engine::Postgres, Lease::SHORT, 5, number("SETTLED_KILLS", KILLS)).await;
}

/// Not everybody hurries: once with the settings that a daemon has when nobody sets any.
#[tokio::test(flavor = "multi_thread")]
async fn p5_p1_p3_p6_p7_with_the_defaults_kills_lose_double_and_falsify_nothing() {
    kill_again_and_again(Engine::Sqlite, Lease::Defaults, 1, 3).await;
}

pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[expect(clippy::disallowed_methods, reason = "the time that the whole took is printed")]
async fn kill_again_and_again(engine: Engine, lease: Lease, worlds: u64, kills: u64) {
    let (seed, began) = (number("SETTLED_SEED", 1), Instant::now());
    let shares = (0..worlds)
        .map(|n| live(engine, lease, seed * 1_000 + n, kills / worlds + u64::from(n < kills % worlds)));
    let found = futures::future::join_all(shares).await;
    let sum = |of: fn(&Finding) -> usize| found.iter().map(of).sum::<usize>();
    let took = began.elapsed().as_secs_f64();
    println!(
        "{engine:?}, {lease:?}, seed {seed}: {kills} kills in {took:.1} s, in {worlds} worlds of {SERVERS} servers; \
         {} commands acknowledged, {} runs, {} steps, {} outputs compared",
        sum(|f| f.acknowledged),
        sum(|f| f.runs),
        sum(|f| f.steps),
        sum(|f| f.outputs_compared),
    );
}

/// One world in which the daemon is killed so often, judged when nothing moves any more.
async fn live(engine: Engine, lease: Lease, seed: u64, kills: u64) -> Finding {
    let mut random = StdRng::seed_from_u64(seed);
    let world = World::new(engine, lease, 1, SERVERS).await;
    let home = &world.homes[0];
    let channel = home.channel();
    let mut daemon = home.start();
    home.serves().await;
    world.register(&channel).await;

    let stop = CancellationToken::new();
    let killing = async {
        for _ in 0..kills {
            // One in eight dies while it starts, whatever it is doing then.
            if !random.random_ratio(1, 8) {
                let before = world.progress();
                until("work is done", async || (world.progress() > before).then_some(())).await;
            }
            a_moment(Duration::from_millis(random.random_range(0..MOMENT_MS_MAX))).await;
            daemon.kill();
            daemon = home.start();
        }
        stop.cancel();
        daemon
    };
    let channels = [channel.clone()];
    let (_daemon, journal) =
        tokio::join!(killing, clients::work(&world, &channels, CLIENTS_PER_SERVER, &stop));
    let finding = judge(&world, &channel, &journal).await;
    assert!(finding.is_good(), "seed {seed}: {finding:#?}\n{}", home.last_log());
    assert!(finding.outputs_compared > 0, "nothing was judged: {finding:#?}");
    finding
}
