use super::*;
use crate::domain::cron::Cron;
use jiff::tz::TimeZone;
use ulid::Ulid;

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;

/// Due every hour, from 01:00 on.
fn hourly() -> Schedule {
    let on = On::Servers(vec!["web1".to_owned()]);
    let work = Work {
        package: "site".to_owned(),
        operation: Operation::Own("renew".to_owned()),
        name: String::new(),
        on,
        parameters: Params::new(),
    };
    Schedule {
        id: ScheduleId(Ulid::from(7u128)),
        name: "renew".to_owned(),
        cron: "@hourly".to_owned(),
        time_zone: "UTC".to_owned(),
        target: Target::Work(work),
        overlap: Overlap::Skip,
        missed: Missed::None,
        missed_within: None,
        jitter: Duration::ZERO,
        starts_at: None,
        ends_at: None,
        paused: false,
        principal: "unix:0".to_owned(),
        next_due: Some(Timestamp(HOUR)),
        open_runs: Vec::new(),
        open_enrollments: Vec::new(),
        waiting: 0,
        last: None,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        version: 1,
        seq: 1,
    }
}

fn planned(schedule: &Schedule, now: i64) -> Plan {
    plan(schedule, &Cron::parse(&schedule.cron).unwrap(), &TimeZone::UTC, Timestamp(now))
}

/// `1` fired on time, `+1` made up for, `1-3` missed.
fn words(plan: &Plan) -> Vec<String> {
    let word = |entry: &Entry| match entry {
        Entry::Fire { due, cause: Cause::Due } => format!("{}", due.0 / HOUR),
        Entry::Fire { due, cause: _ } => format!("+{}", due.0 / HOUR),
        Entry::Missed { first, last, count } => {
            assert_eq!((last.0 - first.0) / HOUR + 1, *count);
            format!("{}-{}", first.0 / HOUR, last.0 / HOUR)
        }
    };
    plan.entries.iter().map(word).collect()
}

#[test]
fn each_policy_makes_up_for_what_it_says() {
    let at_five = 5 * HOUR + 30 * MINUTE;
    let day = Some(Duration::from_secs(86_400));
    let table: [(Missed, Option<Duration>, i64, &[&str]); 9] = [
        (Missed::None, None, HOUR - 1, &[]),
        (Missed::None, None, HOUR, &["1"]),
        (Missed::None, None, HOUR + MINUTE, &["1"]),
        (Missed::None, None, HOUR + MINUTE + 1, &["1-1"]),
        (Missed::None, day, at_five, &["1-5"]),
        (Missed::Once, None, at_five, &["1-4", "+5"]),
        (Missed::Once, Some(Duration::from_secs(60)), at_five, &["1-5"]),
        (Missed::All, day, at_five, &["+1", "+2", "+3", "+4", "+5"]),
        (Missed::All, Some(Duration::from_secs(2 * 3_600)), 5 * HOUR, &["1-2", "+3", "+4", "5"]),
    ];
    for (missed, missed_within, now, expected) in table {
        let schedule = Schedule { missed, missed_within, ..hourly() };
        let plan = planned(&schedule, now);
        assert_eq!(words(&plan), expected, "{missed} within {missed_within:?} at {now}");
        assert_eq!(
            plan.next_due,
            Some(Timestamp((now / HOUR + 1) * HOUR)).filter(|_| now >= HOUR).or(schedule.next_due)
        );
    }
}

/// However long nobody was there, one look is bounded, and looks go on until every due time has its entry.
#[test]
fn every_due_time_is_in_exactly_one_entry() {
    for missed in Missed::ALL {
        let now = 2_500 * HOUR + 10 * MINUTE;
        let mut schedule = Schedule { missed: *missed, ..hourly() };
        let (mut count, mut fired, mut looks) = (0, 0, 0);
        while schedule.next_fire_at().is_some_and(|at| at.0 <= now) {
            let plan = planned(&schedule, now);
            for entry in &plan.entries {
                let (first, n) = match entry {
                    Entry::Fire { due, .. } => (due, 1),
                    Entry::Missed { first, count, .. } => (first, *count),
                };
                assert_eq!(first.0, (count + 1) * HOUR, "in order, without a hole");
                count += n;
                fired += i64::from(matches!(entry, Entry::Fire { .. }));
            }
            schedule.next_due = plan.next_due;
            looks += 1;
        }
        assert_eq!(count, 2_500);
        let expected = match missed {
            Missed::None => (0, 3),
            Missed::Once => (1, 3),
            Missed::All => (2_500, 157),
        };
        assert_eq!((fired, looks), expected, "{missed}");
    }
}

#[test]
fn start_end_and_pause_bound_what_is_due() {
    let (cron, utc) = (Cron::parse("@hourly").unwrap(), TimeZone::UTC);
    let after = |schedule: &Schedule, at| schedule.due_after(&cron, &utc, Timestamp(at));
    let bounded =
        Schedule { starts_at: Some(Timestamp(3 * HOUR)), ends_at: Some(Timestamp(5 * HOUR)), ..hourly() };
    assert_eq!(after(&bounded, 0), Some(Timestamp(3 * HOUR)), "a start is due itself");
    assert_eq!(after(&bounded, 3 * HOUR), Some(Timestamp(4 * HOUR)));
    assert_eq!(after(&bounded, 4 * HOUR), None, "an end is not");
    assert_eq!(after(&Schedule { paused: true, ..hourly() }, 0), None);
    let ending = Schedule { next_due: Some(Timestamp(4 * HOUR)), ..bounded };
    assert_eq!(planned(&ending, 4 * HOUR).next_due, None);
}

#[test]
fn jitter_is_the_same_for_everyone_and_spread() {
    let schedule = Schedule { jitter: Duration::from_secs(600), ..hourly() };
    let delay = |n: i64| schedule.fire_at(Timestamp(n * HOUR)).0 - n * HOUR;
    let delays: Vec<_> = (0..1_000).map(delay).collect();
    assert_eq!(delays, (0..1_000).map(delay).collect::<Vec<_>>());
    assert!(delays.iter().all(|d| (0..600_000_000).contains(d)));
    let early = delays.iter().filter(|d| **d < 300_000_000).count();
    assert!((400..600).contains(&early), "{early}");
    let other = Schedule { id: ScheduleId(Ulid::from(8u128)), ..schedule.clone() };
    assert_ne!(other.fire_at(Timestamp(HOUR)), schedule.fire_at(Timestamp(HOUR)));
    assert_eq!(hourly().fire_at(Timestamp(HOUR)), Timestamp(HOUR));
    // Not looked at before its jitter has passed.
    let due = Schedule { next_due: Some(Timestamp(HOUR)), ..schedule.clone() };
    assert!(planned(&due, HOUR + delay(1) - 1).entries.is_empty());
    assert_eq!(planned(&due, HOUR + delay(1)).entries.len(), 1);
}

#[test]
fn a_chore_is_done_once_however_late() {
    let chore = Schedule { target: Target::Chore(Chore::Retention), ..hourly() };
    let plan = planned(&chore, 9 * HOUR + 1);
    assert_eq!(words(&plan), ["1"]);
    assert_eq!(plan.next_due, Some(Timestamp(10 * HOUR)));
}

#[test]
fn a_jitter_longer_than_the_interval_makes_nothing_missed() {
    let mut schedule = hourly();
    schedule.jitter = Duration::from_secs(3 * 3_600);
    let mut fired = Vec::new();
    for minute in 0..48 * 60 {
        let plan = planned(&schedule, minute * MINUTE);
        fired.extend(words(&plan));
        schedule.next_due = plan.next_due;
    }
    let whole: Vec<_> = (1..=fired.len()).map(|hour| hour.to_string()).collect();
    assert!(fired.len() >= 40, "{fired:?}");
    assert_eq!(fired, whole);
}
