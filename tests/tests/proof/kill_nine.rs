//! The daemon is killed again and again under load, at moments that a seed chooses, and started at once.
//!
//! `SETTLED_KILLS` says how often on each engine, `SETTLED_SEED` with which seed; `make kill-nine` kills a thousand times.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use settled_tests::patience::until;
use settled_tests::process::a_moment;
use tokio_util::sync::CancellationToken;

use crate::clients;
use crate::judge::judge;
use crate::world::{Engine, Lease, World};

const SERVERS: usize = 4;
const CLIENTS_PER_SERVER: usize = 2;
/// The moment of a kill lies within so much of the first sign of work, or of the start: long enough to see whole runs.
const MOMENT_MS_MAX: u64 = 700;

#[tokio::test(flavor = "multi_thread")]
async fn p5_p1_p3_p6_p7_a_thousand_kills_lose_double_and_falsify_nothing_on_sqlite() {
    kill_again_and_again(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_p1_p3_p6_p7_a_thousand_kills_lose_double_and_falsify_nothing_on_postgres() {
    kill_again_and_again(Engine::Postgres).await;
}

pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[expect(clippy::disallowed_methods, reason = "the time that the whole took is printed")]
async fn kill_again_and_again(engine: Engine) {
    let (kills, seed) = (number("SETTLED_KILLS", 20), number("SETTLED_SEED", 1));
    let mut random = StdRng::seed_from_u64(seed);
    let world = World::new(engine, Lease::SHORT, 1, SERVERS).await;
    let home = &world.homes[0];
    let channel = home.channel();
    let mut daemon = home.start();
    home.serves().await;
    world.register(&channel).await;

    let stop = CancellationToken::new();
    let began = Instant::now();
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
    let took = began.elapsed();
    let finding = judge(&world, &channel, &journal).await;
    println!(
        "{engine:?}, seed {seed}: {kills} kills in {:.1} s ({:.2} s per kill), {} servers; {} commands acknowledged, {} runs, \
         {} steps, {} outputs compared",
        took.as_secs_f64(),
        (took / u32::try_from(kills.max(1)).unwrap()).as_secs_f64(),
        world.servers.len(),
        finding.acknowledged,
        finding.runs,
        finding.steps,
        finding.outputs_compared,
    );
    assert!(finding.is_good(), "seed {seed}: {finding:#?}\n{}", home.last_log());
    assert!(finding.outputs_compared > 0, "nothing was judged: {finding:#?}");
}
