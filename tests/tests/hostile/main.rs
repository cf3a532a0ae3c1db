//! Hostile clients, and a daemon of its own process with few files to open: while they go on, others are answered, memory stays within what the
//! documented limits say, and who is silent costs no work.
//!
//! In the suite each attack goes on for as long as its friends need for some questions. With `SETTLED_HOSTILE_S` (see `make hostile`) it goes on for so many
//! seconds, and what was seen is printed, a line of JSON for each attack.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "what is measured is how long others wait")]

mod attacks;
mod frames;
mod house;

use std::time::{Duration, Instant};

use serde_json::json;
use settled_tests::process::a_moment;

use self::attacks::{Attack, Foe};
use self::house::{ASKED, House};

/// A guard against hangs: a question that is not answered by then is not answered at all.
const ANSWER: Duration = Duration::from_secs(60);
/// Pause after each blow in the suite, where others need the machine, too.
const PAUSE: Duration = Duration::from_millis(20);
/// Rounds of questions during an attack, at least.
const ROUNDS: usize = 5;

/// What a connection costs at most that sends nothing of its own: buffers of TLS and HTTP/2, in KiB.
const CONNECTION_KB: u64 = 64;
/// Connections by the socket and from one address: the defaults of `limits`.
const CONNECTIONS: u64 = 192 + 64;
/// Of one principal: `limits.body_bytes_per_principal_max`, and the foe is two principals.
const BODIES_KB: u64 = 2 * (16 << 10);
/// What one request that is open costs at most beside its messages, in KiB, with `limits.streams_per_principal_max` of each.
const OPEN_KB: u64 = 2 * 2_048 * 24;
/// What the allocator keeps back, and what the daemon itself needs meanwhile.
const SLACK_KB: u64 = 64 << 10;

/// An attack.
struct Siege {
    name: &'static str,
    attack: Attack,
    /// Connections at the same time: in the suite, and when it goes on for long.
    connections: [usize; 2],
    /// What has to have been done at least: an attack that does not take place proves nothing.
    blows: u64,
    /// What the daemon's memory may grow by, in KiB: by which limits, says each.
    growth_kb: u64,
    /// Files that the daemon may open.
    files: u32,
    settings: &'static [(&'static str, &'static str, &'static str)],
    /// Whether it does nothing once it has begun, so that the daemon has nothing to do.
    still: bool,
    /// Whether friends may have to come again: where there is not enough for everybody, whoever is quiet goes.
    again: bool,
}

/// An attack without peculiarities.
const SIEGE: Siege = Siege {
    name: "",
    attack: attacks::silent,
    connections: [12, 24],
    blows: 100,
    growth_kb: CONNECTIONS * CONNECTION_KB + SLACK_KB,
    files: 2_048,
    // A machine that has much else to do is slow to shake hands.
    settings: &[("limits", "handshake_s", "60"), ("limits", "first_request_s", "60")],
    still: false,
    again: false,
};

/// For how long an attack goes on at least, and whether anybody wants to know what was seen.
fn span() -> Option<Duration> {
    let seconds = std::env::var("SETTLED_HOSTILE_S").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("SETTLED_HOSTILE_S is a number of seconds")))
}

impl Siege {
    /// Friends ask while it goes on. Each has to be answered.
    async fn holds(self) {
        let house = House::open(self.files, self.settings).await;
        let mut before = Vec::new();
        self.round(&house, &mut before).await;
        let (rss_before, worked_before, began) =
            (house.daemon.resident_kb(), house.daemon.worked(), Instant::now());
        let (connections, pause) = match span() {
            None => (self.connections[0], PAUSE),
            Some(_) => (self.connections[1], Duration::ZERO),
        };
        let foe = Foe::new(house.foe.clone(), pause);
        let attack = attacks::begin(self.attack, &foe, connections);
        let (mut waits, mut peak) = (Vec::new(), rss_before);
        let goes_on = |rounds: usize| {
            let for_long = began.elapsed() >= span().unwrap_or_default();
            rounds < ROUNDS || foe.blows() < self.blows || !for_long
        };
        let mut rounds = 0;
        while goes_on(rounds) {
            self.round(&house, &mut waits).await;
            peak = peak.max(house.daemon.resident_kb());
            rounds += 1;
            assert!(began.elapsed() < 2 * ANSWER + span().unwrap_or_default(), "only {} blows", foe.blows());
        }
        let (worked, lasted) = (house.daemon.worked().saturating_sub(worked_before), began.elapsed());
        let still = if self.still { Some(at_rest(&house).await) } else { None };
        drop(attack);
        // It is as it was.
        self.round(&house, &mut before).await;
        if span().is_some() {
            waits.sort_unstable();
            let seen = json!({
                "attack": self.name,
                "connections": connections,
                "blows": foe.blows(),
                "seconds": rounded(lasted),
                "answered": waits.len(),
                "p50_ms": millis(waits[waits.len() / 2]),
                "p99_ms": millis(waits[waits.len() * 99 / 100]),
                "max_ms": millis(*waits.last().unwrap()),
                "without_attack_ms": millis(before.iter().sum::<Duration>() / u32::try_from(before.len()).unwrap()),
                "rss_before_kb": rss_before,
                "rss_peak_kb": peak,
                "rss_growth_max_kb": self.growth_kb,
                "cpu_s": rounded(worked),
                "cpu_share_at_rest": still,
            });
            println!("{seen}");
        }
        let growth = peak - rss_before;
        assert!(
            growth <= self.growth_kb,
            "{}: grew by {growth} of {} KiB\n{}",
            self.name,
            self.growth_kb,
            house.log()
        );
        assert!(still.is_none_or(|share| share < 0.25), "{}: {still:?} of a processor", self.name);
    }

    /// A friend asks once by each way.
    async fn round(&self, house: &House, waits: &mut Vec<Duration>) {
        for (way, name) in ASKED.iter().enumerate() {
            let asked = Instant::now();
            let answered = async {
                while let Err(status) = house.ask(way).await {
                    assert!(self.again, "{name}: {status:?}\n{}", house.log());
                    house.come_again(way).await;
                }
            };
            let answered = tokio::time::timeout(ANSWER, answered).await;
            assert!(answered.is_ok(), "{name}: no answer within {ANSWER:?}\n{}", house.log());
            waits.push(asked.elapsed());
        }
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 100.0).round() / 100.0
}

/// The share of a processor that the daemon takes while nobody does anything.
async fn at_rest(house: &House) -> f64 {
    let (worked, began) = (house.daemon.worked(), Instant::now());
    a_moment(span().unwrap_or(Duration::from_secs(2))).await;
    house.daemon.worked().saturating_sub(worked).as_secs_f64() / began.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_silent_connections() {
    // None of them goes because of time.
    let siege = Siege { name: "silent", connections: [1_000; 2], blows: 1_000, still: true, ..SIEGE };
    siege.holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_descriptors_left() {
    // What may be connected is all that may be open: each connection takes from what the store needs.
    let settings = &[
        ("limits", "connections_max", "20"),
        ("limits", "connections_per_user_max", "15"),
        ("limits", "network_connections_max", "12"),
        ("limits", "connections_per_address_max", "8"),
    ];
    let (attack, connections, files, again) = (attacks::restless, [100, 1_000], 64, true);
    let siege = Siege { name: "descriptors", attack, connections, files, settings, again, ..SIEGE };
    siege.holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_at_a_time() {
    let siege =
        Siege { name: "slow-loris", attack: attacks::slow, connections: [12, 60], settings: &[], ..SIEGE };
    siege.holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset() {
    Siege { name: "rapid reset", attack: attacks::rapid_reset, ..SIEGE }.holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_when_they_have_begun() {
    let siege =
        Siege { name: "late reset", attack: attacks::late_reset, growth_kb: OPEN_KB + SLACK_KB, ..SIEGE };
    siege.holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_end() {
    Siege { name: "headers", attack: attacks::headers_without_end, ..SIEGE }.holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads() {
    let growth_kb = BODIES_KB + OPEN_KB + SLACK_KB;
    let siege = Siege {
        name: "unread",
        attack: attacks::unread,
        connections: [6, 12],
        blows: 6 * 256,
        growth_kb,
        ..SIEGE
    };
    siege.holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_as_large_as_they_may_be() {
    // What was read, and as much again while its buffers grow; and what has arrived on each connection before it is read.
    let growth_kb = 2 * BODIES_KB + 24 * (1 << 10) + SLACK_KB;
    Siege { name: "huge", attack: attacks::huge, growth_kb, ..SIEGE }.holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_without_end() {
    let growth_kb = OPEN_KB + SLACK_KB;
    let siege = Siege { name: "endless", attack: attacks::endless, blows: 12 * 256, growth_kb, ..SIEGE };
    siege.holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_mean_nothing() {
    Siege { name: "floods", attack: attacks::floods, ..SIEGE }.holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_nobody() {
    // Each of their requests is work for the daemon: in the suite there are few of them.
    Siege { name: "strangers", attack: attacks::strangers, connections: [4, 24], ..SIEGE }.holds().await;
}
