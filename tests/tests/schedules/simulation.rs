//! Years of schedules in the zones with odd rules, with three daemons that tick when they like, sleep for hours, die after a commit and
//! start again. Every due time, found by looking at each minute, must be in exactly one occurrence, and have at most one run.
//!
//! Some days around a change of each clock by default; `SETTLED_SCHEDULES=whole` lives five years in each zone (`make schedules`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use settled::clock::Clock as _;
use settled::domain::id::{RunId, ScheduleId};
use settled::domain::operation::Operation;
use settled::domain::schedule::{Cause, Fate, LATE, Missed, Occurrence, Overlap};
use settled::domain::time::Timestamp;
use settled::engine::EditSchedule;
use settled::store::queries::RunFilter;
use settled::store::retention::Horizon;
use settled_tests::sim::SimClock;

use crate::fixture::{Daemon, HOUR, House, MINUTE, every};

/// Days of a slice.
const SLICE_DAYS: i64 = 10;
/// Old transitions that go at once, while the clock stands.
const EXPIRED_AT_ONCE: i64 = 5_000;

/// A pattern, and what it names, written a second time: fixed times of the day, or minutes of each hour.
struct Pattern {
    cron: &'static str,
    fixed: bool,
    names: fn(i64) -> bool,
    overlap: Overlap,
    missed: Missed,
    within: Option<Duration>,
}

const PATTERNS: [Pattern; 5] = [
    Pattern {
        cron: "30 2 * * *",
        fixed: true,
        names: |m| m == 150,
        overlap: Overlap::Queue,
        missed: Missed::Once,
        within: None,
    },
    Pattern {
        cron: "@daily",
        fixed: true,
        names: |m| m == 0,
        overlap: Overlap::Skip,
        missed: Missed::All,
        within: Some(Duration::from_secs(2 * 86_400)),
    },
    Pattern {
        cron: "@hourly",
        fixed: false,
        names: |m| m % 60 == 0,
        overlap: Overlap::CancelEarlier,
        missed: Missed::All,
        within: Some(Duration::from_secs(3 * 3_600)),
    },
    Pattern {
        cron: "7,37 * * * *",
        fixed: false,
        names: |m| m % 60 == 7 || m % 60 == 37,
        overlap: Overlap::Skip,
        missed: Missed::None,
        within: None,
    },
    Pattern {
        cron: "*/13 1-3 * * *",
        fixed: false,
        names: |m| (60..240).contains(&m) && m % 60 % 13 == 0,
        overlap: Overlap::Queue,
        missed: Missed::Once,
        within: None,
    },
];

fn midnight(day: Date) -> Timestamp {
    let at = TimeZone::UTC.to_timestamp(day.to_datetime(jiff::civil::Time::midnight())).unwrap();
    Timestamp(at.as_microsecond())
}

/// Every time at which a pattern is due in a zone, after `from` and up to `until`, by looking at each minute.
fn scan(pattern: &Pattern, zone: &TimeZone, from: Timestamp, until: Timestamp) -> BTreeSet<Timestamp> {
    let mut found = BTreeSet::new();
    let (mut offset, mut shown_last) = (0, i64::MIN);
    // Two days before, so that the clock is known to have been changed.
    for minute in from.0 / 60_000_000 - 2_880..=until.0 / 60_000_000 {
        if minute % 15 == 0 || shown_last == i64::MIN {
            let moment = jiff::Timestamp::from_second(minute * 60).unwrap();
            offset = i64::from(zone.to_offset(moment).seconds()) / 60;
        }
        let wall = minute + offset;
        let names = |wall: i64| (pattern.names)(wall.rem_euclid(1440));
        // In a repeated hour nothing fixed is due that was shown before; after a gap all that it skipped is due at once.
        let as_ever = !pattern.fixed || shown_last == i64::MIN;
        let due = if as_ever { names(wall) } else { wall > shown_last && (shown_last + 1..=wall).any(names) };
        let at = Timestamp(minute * 60_000_000);
        if due && at > from && at <= until {
            found.insert(at);
        }
        shown_last = shown_last.max(wall);
    }
    found
}

/// What a world came to.
#[derive(Debug, Default)]
struct Figures {
    due: usize,
    ticks: u64,
    deaths: u64,
    fates: BTreeMap<String, i64>,
}

struct World {
    house: House,
    daemons: Vec<Daemon>,
    random: StdRng,
    schedules: Vec<ScheduleId>,
    figures: Figures,
}

impl World {
    async fn new(house: House, seed: u64, zone: &str) -> Self {
        house.server("web1", &[]).await;
        house.thing("web1", "a").await;
        let mut schedules = Vec::new();
        for (n, pattern) in PATTERNS.iter().enumerate() {
            let settings = EditSchedule {
                time_zone: Some(zone.to_owned()),
                overlap: Some(pattern.overlap),
                missed: Some(pattern.missed),
                missed_within: pattern.within,
                jitter: Some(if n % 2 == 0 { Duration::ZERO } else { MINUTE / 2 }),
                ..every(pattern.cron)
            };
            schedules.push(house.add(&format!("s{n}"), settings).await.unwrap());
        }
        house.only("").await;
        let daemons = vec![house.another().await, house.another().await, house.another().await];
        Self { house, daemons, random: StdRng::seed_from_u64(seed), schedules, figures: Figures::default() }
    }

    async fn live(&mut self, until: Timestamp) {
        while self.house.clock.now() < until {
            self.wait().await;
            self.tick().await;
            if self.random.random_bool(0.95) {
                self.end_runs().await;
            }
            if self.figures.ticks.is_multiple_of(100) {
                self.forget().await;
            }
        }
        // Whatever came before the end is dealt with, in as many looks as that takes.
        loop {
            self.end_runs().await;
            if self.daemons[0].firing.step().await.unwrap() == 0 {
                return;
            }
        }
    }

    /// The clock goes on to the next thing that is due, mostly; now and then every daemon sleeps.
    async fn wait(&mut self) {
        let mut reader = self.house.engine().store().read().await.unwrap();
        let next = reader.db().next_fire_at().await.unwrap().unwrap();
        drop(reader);
        let late = match self.random.random_range(0..1_000) {
            0..3 => HOUR * self.random.random_range(1..40),
            3..15 => MINUTE * self.random.random_range(1..300),
            15..100 => Duration::from_secs(self.random.random_range(1..60)),
            _ => Duration::from_millis(self.random.random_range(0..1_000)),
        };
        let span = next.since(self.house.clock.now()) + late;
        self.house.clock.move_to(self.house.clock.monotonic() + span);
    }

    /// Some daemons tick, at the same moment; now and then one dies right after a commit, before it has heard of it.
    async fn tick(&mut self) {
        self.figures.ticks += 1;
        let mut kills = Vec::new();
        for _ in &self.daemons {
            let ticks = self.random.random_bool(0.6);
            let dies = self.random.random_bool(0.01).then(|| self.random.random_range(1..4));
            kills.push(ticks.then_some(dies));
        }
        let ticking = self.daemons.iter().zip(&kills).map(|(daemon, kill)| async move {
            let Some(kill) = kill else { return false };
            let mut committed = daemon.committed.clone();
            let limit = kill.map_or(u64::MAX, |n| committed.borrow().commits + n);
            tokio::select! {
                biased;
                _ = committed.wait_for(|c| c.commits >= limit) => true,
                done = daemon.firing.step() => { done.unwrap(); false }
            }
        });
        let died = futures::future::join_all(ticking).await;
        for n in (0..self.daemons.len()).filter(|n| died[*n]) {
            self.figures.deaths += 1;
            self.daemons[n] = self.house.another().await;
        }
    }

    /// Whoever works ends what is open.
    async fn end_runs(&self) {
        let mut reader = self.house.engine().store().read().await.unwrap();
        let mut open = Vec::new();
        for id in &self.schedules {
            let schedule = reader.db().schedule(*id).await.unwrap().unwrap();
            for run in schedule.open_runs {
                open.extend(reader.db().run(run).await.unwrap().filter(|run| run.verdict().is_none()));
            }
        }
        drop(reader);
        for run in open {
            self.house.cancel(run.id).await;
        }
    }

    async fn forget(&self) {
        let (never, always) = (Timestamp(i64::MIN), Timestamp(i64::MAX));
        let horizon = Horizon { runs: never, transitions: always, requests: always, audit: always };
        self.house.engine().expire(horizon, EXPIRED_AT_ONCE).await.unwrap();
    }

    async fn judge(&mut self, zone: &str, from: Timestamp) {
        let zone = TimeZone::get(zone).unwrap();
        let now = self.house.clock.now();
        let mut runs = BTreeSet::new();
        for (n, pattern) in PATTERNS.iter().enumerate() {
            let schedule = self.house.schedule(&format!("s{n}")).await;
            let until = schedule.next_due.map_or(now, |next| Timestamp(next.0 - 1));
            assert!(schedule.next_fire_at().unwrap() > now, "{}: something due was left", pattern.cron);
            let mut expected = scan(pattern, &zone, from, until);
            self.figures.due += expected.len();
            for occurrence in self.house.history(schedule.id).await {
                self.judge_one(pattern, &occurrence, &mut expected, &mut runs);
            }
            assert!(expected.is_empty(), "{}: nobody knows what became of {expected:?}", pattern.cron);
        }
        assert_eq!(self.probes().await, runs, "every run has its occurrence");
    }

    fn judge_one(
        &mut self,
        pattern: &Pattern,
        o: &Occurrence,
        expected: &mut BTreeSet<Timestamp>,
        runs: &mut BTreeSet<RunId>,
    ) {
        let cron = pattern.cron;
        let covered: Vec<_> = expected.range(o.due..=o.until).copied().collect();
        assert_eq!(covered.len(), usize::try_from(o.count).unwrap(), "{cron}: double, or never due: {o:?}");
        assert!(covered.first() == Some(&o.due) && covered.last() == Some(&o.until), "{cron}: {o:?}");
        for due in covered {
            expected.remove(&due);
        }
        *self.figures.fates.entry(format!("{} {}", o.cause, o.fate)).or_default() += o.count;
        let late = o.at.since(o.until);
        match o.fate {
            Fate::Fired => assert_eq!(o.runs.len(), 1, "{cron}: {o:?}"),
            Fate::Missed => assert!(late > LATE, "{cron}: nobody was late: {o:?}"),
            Fate::Skipped => assert!(!o.why.is_empty()),
            Fate::Waiting | Fate::Refused => panic!("{cron}: {o:?}"),
        }
        assert!(o.cause != Cause::MadeUp || late > LATE, "{cron}: {o:?}");
        for run in &o.runs {
            assert!(runs.insert(*run), "{cron}: one run for two times: {o:?}");
        }
    }

    /// Every probe that there is.
    async fn probes(&self) -> BTreeSet<RunId> {
        let mut reader = self.house.engine().store().read().await.unwrap();
        let (mut found, mut before) = (BTreeSet::new(), String::new());
        loop {
            let page = reader.db().runs(&RunFilter::default(), &before, 5_000).await.unwrap();
            let Some(last) = page.last() else { return found };
            before.clone_from(&last.id);
            let probes = page.iter().filter(|row| row.operation == Operation::Probe.as_str());
            found.extend(probes.map(|row| row.id.parse::<RunId>().unwrap()));
        }
    }
}

fn whole() -> bool {
    std::env::var("SETTLED_SCHEDULES").is_ok_and(|word| word == "whole")
}

/// Lives in a zone from three days before a change of its clock, or for five years.
async fn live(zone: &str, change: Date, on_postgres: bool) {
    let seed = std::env::var("SETTLED_SEED").map_or(7, |seed| seed.parse().unwrap());
    let (from, until) = if whole() {
        (midnight(date(2010, 1, 1)), midnight(date(2015, 1, 1)))
    } else {
        let from = Timestamp(midnight(change).0 - 3 * 86_400_000_000);
        (from, Timestamp(from.0 + SLICE_DAYS * 86_400_000_000))
    };
    let clock = SimClock::at(seed, from);
    let house = if on_postgres { House::postgres_at(clock).await } else { House::sqlite_at(clock).await };
    let mut world = World::new(house, seed, zone).await;
    world.live(until).await;
    world.judge(zone, from).await;
    let Figures { due, ticks, deaths, fates } = &world.figures;
    println!(
        "{zone}: {due} due times, 0 doubles, 0 silent misses; {ticks} ticks of 3 daemons, {deaths} deaths; {fates:?}"
    );
    assert!(fates.len() >= 4 && *deaths > 0, "the world was too quiet: {deaths} deaths, {fates:?}");
}

macro_rules! worlds {
    ($($name:ident = $zone:literal from $change:expr,)+) => { $(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            live($zone, $change, false).await;
        }
    )+ };
}

worlds! {
    p2_berlin = "Europe/Berlin" from date(2011, 10, 30),
    p2_new_york = "America/New_York" from date(2011, 3, 13),
    p2_lord_howe = "Australia/Lord_Howe" from date(2011, 10, 2),
    p2_kathmandu = "Asia/Kathmandu" from date(2011, 6, 1),
    p2_apia = "Pacific/Apia" from date(2011, 12, 30),
    p2_sao_paulo = "America/Sao_Paulo" from date(2011, 10, 16),
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_berlin_on_postgres() {
    live("Europe/Berlin", date(2012, 3, 25), true).await;
}
