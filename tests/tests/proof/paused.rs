//! Several daemons on one PostgreSQL: one that stands still and does not know it, one that dies, one that is stopped.
//!
//! `SETTLED_PAUSES` says how often one stands still, `SETTLED_SEED` with which seed.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::process::Signal;
use settled_tests::patience::until;
use settled_tests::process::{Daemon, a_moment};
use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::clients::{completed, work};
use crate::judge::judge;
use crate::kill_nine::number;
use crate::run_126::waits;
use crate::world::{Engine, Lease, World, user};

const DAEMONS: usize = 3;
const SERVERS: usize = 4;
/// Three times the lease.
const PAUSE_S: u64 = 9;

/// What looks at every commit whether its writer has the lane.
const FENCE: &str = include_str!("fence.sql");

async fn connect(world: &World) -> PgConnection {
    PgConnection::connect(world.url.as_deref().unwrap()).await.unwrap()
}

async fn count(database: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(database).await.unwrap()
}

/// Puts the fence up, and waits until it knows all daemons by name.
async fn put_up_fence(database: &mut PgConnection) {
    sqlx::raw_sql(FENCE).execute(&mut *database).await.unwrap();
    until("every daemon is known by name", async || {
        let known = count(database, "SELECT COUNT(*) FROM proof_name").await;
        (known == i64::try_from(DAEMONS).unwrap()).then_some(())
    })
    .await;
}

/// The number of a daemon that has a lane: only of it something can be taken.
async fn somebody_with_a_lane(database: &mut PgConnection, random: &mut StdRng) -> usize {
    let names = "SELECT n.app FROM lane l JOIN proof_name n ON n.id = l.owner ORDER BY l.server_id";
    let names = until("somebody has a lane", async || {
        let names: Vec<String> = sqlx::query_scalar(names).fetch_all(&mut *database).await.unwrap();
        (!names.is_empty()).then_some(names)
    })
    .await;
    let name = &names[random.random_range(0..names.len())];
    (0..DAEMONS).find(|n| user(*n) == *name).expect("a daemon's name")
}

/// The fence sees an old epoch, and a writer who has no lane, when there is one; otherwise its silence means nothing. By then the lanes may
/// have been given back, so the one of the forged write is somebody's in the same transaction.
async fn the_fence_would_have_seen_it(database: &mut PgConnection) {
    let mut forgery = database.begin().await.unwrap();
    let taken = "UPDATE lane SET owner = (SELECT MIN(id) FROM proof_name) WHERE server_id = \
                 (SELECT server_id FROM run WHERE attempt > 0 ORDER BY id LIMIT 1)";
    assert_eq!(sqlx::query(taken).execute(&mut *forgery).await.unwrap().rows_affected(), 1);
    let forged =
        "UPDATE run SET epoch = -1 WHERE id = (SELECT id FROM run WHERE attempt > 0 ORDER BY id LIMIT 1)";
    assert_eq!(sqlx::query(forged).execute(&mut *forgery).await.unwrap().rows_affected(), 1);
    forgery.commit().await.unwrap();
    let kinds = "SELECT COUNT(DISTINCT what) FROM proof_violation";
    assert_eq!(count(database, kinds).await, 2, "the fence is blind to an old epoch, or to a stranger");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the time that the whole took is printed")]
async fn p3_a_daemon_that_stood_still_for_three_leases_starts_and_writes_nothing_of_what_it_lost() {
    let (pauses, seed) = (number("SETTLED_PAUSES", 4), number("SETTLED_SEED", 1));
    let mut random = StdRng::seed_from_u64(seed);
    let world = World::new(Engine::Postgres, Lease::Hurried(PAUSE_S / 3, 1), DAEMONS, SERVERS).await;
    let daemons: Vec<Daemon> = world.homes.iter().map(settled_tests::process::Home::start).collect();
    for home in &world.homes {
        home.serves().await;
    }
    let channels: Vec<_> = world.homes.iter().map(settled_tests::process::Home::channel).collect();
    world.register(&channels[0]).await;
    let mut database = connect(&world).await;
    put_up_fence(&mut database).await;

    let mut watching = connect(&world).await;
    let (stop, began) = (CancellationToken::new(), Instant::now());
    let pausing = async {
        for _ in 0..pauses {
            let before = world.progress();
            until("work is done", async || (world.progress() > before).then_some(())).await;
            a_moment(Duration::from_millis(random.random_range(0..700))).await;
            let daemon = &daemons[somebody_with_a_lane(&mut watching, &mut random).await];
            daemon.stop();
            a_moment(Duration::from_secs(PAUSE_S)).await;
            daemon.go_on();
        }
        stop.cancel();
    };
    let ((), journal) = tokio::join!(pausing, work(&world, &channels, 3, &stop));
    let took = began.elapsed();
    let finding = judge(&world, &channels[0], &journal).await;
    let (looked, handed_over) = (
        count(&mut database, "SELECT last_value FROM proof_looked").await,
        count(&mut database, "SELECT COALESCE(SUM(epoch), 0)::BIGINT FROM lane").await,
    );
    println!(
        "seed {seed}: {pauses} pauses of {} s among {DAEMONS} daemons in {:.1} s; {} commands acknowledged, {} steps, {handed_over} \
         changes of hands, {looked} writes looked at",
        PAUSE_S,
        took.as_secs_f64(),
        finding.acknowledged,
        finding.steps,
    );
    let violations: Vec<(String, String, String, String)> =
        sqlx::query_as("SELECT what, tab, app, detail FROM proof_violation LIMIT 20")
            .fetch_all(&mut database)
            .await
            .unwrap();
    assert!(violations.is_empty(), "written by who had lost the lane: {violations:#?}");
    assert!(finding.is_good(), "seed {seed}: {finding:#?}");
    assert!(handed_over > i64::try_from(world.servers.len()).unwrap(), "nobody took over from anyone");
    assert!(looked > 0 && finding.outputs_compared > 0, "nothing was judged");
    the_fence_would_have_seen_it(&mut database).await;
}

/// Who has the only lane.
async fn owner(database: &mut PgConnection) -> Option<String> {
    sqlx::query_scalar("SELECT owner FROM lane").fetch_one(database).await.unwrap()
}

/// Ends the daemon that has the lane with this signal while a step runs there; answers how long the other took to have it.
#[expect(clippy::disallowed_methods, reason = "how long a takeover takes is what is measured")]
async fn takeover_after(signal: Signal) -> Duration {
    let world = World::new(Engine::Postgres, Lease::LONG, 2, 1).await;
    let first = world.homes[0].start();
    world.homes[0].serves().await;
    let channel = world.homes[0].channel();
    world.register(&channel).await;
    let dir = world.witnesses()[0].join("patient");
    let run = waits(&channel, &world, 0, &dir).await;
    let mut database = connect(&world).await;
    let had = owner(&mut database).await.expect("the first daemon has the lane");
    let _second = world.homes[1].start();
    world.homes[1].serves().await;

    let began = Instant::now();
    first.signal(signal);
    until("the other takes over", async || owner(&mut database).await.filter(|now| *now != had)).await;
    let took = began.elapsed();
    std::fs::write(dir.join("go"), "").unwrap();
    let (run, _) = completed(&world.homes[1].channel(), &run.id).await;
    assert_eq!((run.outcome(), run.attempt), (settled_proto::v1::Outcome::Succeeded, 1), "{run:#?}");
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_the_lanes_of_a_stopped_daemon_are_taken_over_at_once() {
    let took = takeover_after(Signal::TERM).await;
    println!("taken over {:.2} s after SIGTERM, with the default lease", took.as_secs_f64());
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_the_lanes_of_a_dead_daemon_are_taken_over_within_45_s() {
    let took = takeover_after(Signal::KILL).await;
    println!("taken over {:.2} s after SIGKILL, with the default lease", took.as_secs_f64());
    assert!(took < Duration::from_secs(45), "{took:?}");
}
