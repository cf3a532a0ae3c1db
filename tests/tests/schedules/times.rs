//! Due times: each once, on time, made up for or recorded as missed.

use std::time::Duration;

use settled::clock::Clock as _;
use settled::domain::schedule::{Fate, Missed, Overlap};
use settled::domain::time::Timestamp;
use settled::engine::EditSchedule;
use settled::store::AuditFilter;
use settled::store::rows::Kind;

use crate::fixture::{HOUR, House, MINUTE, every};

pub(crate) async fn p1_a_due_time_makes_its_run_and_its_record_in_one_commit(house: House) {
    let id = house.probing(every("0 * * * *")).await;
    house.go(Duration::from_secs(3_599)).await;
    assert!(house.history(id).await.is_empty(), "not a second early");
    let due = house.schedule("look").await.next_due.unwrap();
    house.go(Duration::from_secs(1)).await;
    let history = house.history(id).await;
    let [occurrence] = &history[..] else { panic!("{history:?}") };
    assert_eq!((occurrence.due, occurrence.fate, occurrence.runs.len()), (due, Fate::Fired, 1));
    let run = house.run(occurrence.runs[0]).await;
    assert_eq!(run.principal, "unix:0", "the runs are those of whoever made the schedule");
    assert_eq!(run.accepted_at, house.clock.now());

    let mut reader = house.engine().store().read().await.unwrap();
    let last = reader.db().last_seq().await.unwrap();
    let rows = reader.db().transitions(last - 2, 2).await.unwrap();
    let kinds: Vec<_> = rows.iter().map(|row| (row.kind.clone(), row.at)).collect();
    let now = house.clock.now().0;
    assert_eq!(kinds, [(Kind::Run.to_string(), now), (Kind::Schedule.to_string(), now)]);
    let schedule = house.schedule("look").await;
    assert_eq!(schedule.next_due, Some(due + HOUR));
    assert_eq!(schedule.open_runs, occurrence.runs);
    let audit = reader.db().audited(&AuditFilter::default(), None, 2).await.unwrap();
    assert!(audit.iter().all(|row| row.method == "Schedules.Fire" && row.principal == "unix:0"), "{audit:?}");
}

pub(crate) async fn p2_of_three_daemons_one_fires(house: House) {
    let id = house.probing(EditSchedule { overlap: Some(Overlap::Queue), ..every("*/5 * * * *") }).await;
    let others = [house.another().await, house.another().await];
    for n in 1..=6 {
        house.clock.move_to(house.clock.monotonic() + 5 * MINUTE);
        let [second, third] = &others;
        let all = tokio::join!(house.daemon.firing.step(), second.firing.step(), third.firing.step());
        for done in [all.0, all.1, all.2] {
            done.unwrap();
        }
        let history = house.history(id).await;
        assert_eq!(history.len(), n);
        let last = history.last().unwrap();
        assert_eq!(last.fate, Fate::Fired);
        house.cancel(last.runs[0]).await;
    }
    let mut reader = house.engine().store().read().await.unwrap();
    let audit = reader.db().audited(&AuditFilter::default(), None, 100).await.unwrap();
    let runs = audit.iter().filter(|row| row.method == "Schedules.Fire" && row.run_id.is_some()).count();
    assert_eq!(runs, 6, "one run each");
}

pub(crate) async fn p2_a_daemon_that_starts_again_fires_nothing_twice(house: House) {
    let id = house.probing(every("*/5 * * * *")).await;
    house.go(5 * MINUTE).await;
    for _ in 0..3 {
        let again = house.another().await;
        assert_eq!(again.firing.step().await.unwrap(), 0);
    }
    assert_eq!(house.words(id).await, ["due fired"]);
}

pub(crate) async fn what_is_missed_is_recorded_or_made_up_for(house: House) {
    let day = Some(24 * HOUR);
    let table: [(Missed, Option<Duration>, &[&str]); 4] = [
        (Missed::None, None, &["due missed 4"]),
        (Missed::Once, None, &["due missed 3", "made_up fired"]),
        (Missed::All, day, &["made_up fired", "made_up waiting", "made_up waiting", "made_up waiting"]),
        (Missed::All, Some(2 * HOUR), &["due missed 2", "made_up fired", "made_up waiting"]),
    ];
    house.server("web1", &[]).await;
    house.thing("web1", "a").await;
    for (n, (missed, missed_within, expected)) in table.into_iter().enumerate() {
        let overlap = Some(Overlap::Queue);
        let settings = EditSchedule { missed: Some(missed), missed_within, overlap, ..every("0 * * * *") };
        let id = house.add(&format!("s{n}"), settings).await.unwrap();
        // Nobody is there for four hours, and then late by half an hour.
        let to_the_hour = 3_600_000_000 - house.clock.now().0.rem_euclid(3_600_000_000);
        let to_the_hour = Duration::from_micros(to_the_hour.unsigned_abs());
        house.go(to_the_hour + 3 * HOUR + 30 * MINUTE).await;
        assert_eq!(house.words(id).await, expected, "{missed} within {missed_within:?}");
        let schedule = house.schedule(&format!("s{n}")).await;
        assert_eq!(schedule.next_due.unwrap().since(house.clock.now()), 30 * MINUTE);
        house.engine().remove_schedule(house.asked("Schedules.Delete"), schedule.name).await.unwrap();
    }
}

pub(crate) async fn a_time_that_was_never_looked_at_is_recorded_when_its_schedule_changes(house: House) {
    let id = house.probing(every("0 * * * *")).await;
    // Two hours pass, and no daemon ticks before somebody changes the schedule.
    house.clock.move_to(house.clock.monotonic() + 2 * HOUR);
    house.edit(EditSchedule { cron: Some("30 * * * *".into()), ..EditSchedule::default() }).await.unwrap();
    assert_eq!(house.words(id).await, ["due missed", "due missed"]);
    assert!(house.history(id).await.iter().all(|o| o.why.contains("was changed before it was looked at")));
    house.go(30 * MINUTE).await;
    assert_eq!(house.words(id).await.last().unwrap(), "due fired");
}

pub(crate) async fn the_next_times_are_told_within_start_and_end(house: House) {
    let now = house.clock.now();
    let (starts_at, ends_at) = (Some(Some(now + 2 * HOUR)), Some(Some(now + 5 * HOUR)));
    house.probing(EditSchedule { starts_at, ends_at, ..every("0 * * * *") }).await;
    let times = house.engine().next_times("look", 10).await.unwrap();
    assert_eq!(times, [now + 2 * HOUR, now + 3 * HOUR, now + 4 * HOUR]);
    let all = EditSchedule { starts_at: Some(None), ends_at: Some(None), ..EditSchedule::default() };
    house.edit(all).await.unwrap();
    assert_eq!(house.engine().next_times("look", 10).await.unwrap().len(), 10);
}

pub(crate) async fn a_zone_that_is_gone_brings_the_schedule_to_rest_and_says_so(house: House) {
    let id = house.probing(every("0 * * * *")).await;
    let mut seen = house.schedule("look").await;
    // As if it had been set when the machine's data still had it.
    "Mars/Olympus".clone_into(&mut seen.time_zone);
    assert!(house.engine().fire_due(seen, true).await.unwrap());
    let schedule = house.schedule("look").await;
    assert_eq!(schedule.next_due, None);
    let last = schedule.last.unwrap();
    assert!(
        last.fate == Fate::Refused && last.why.contains("Mars/Olympus is not in this machine's"),
        "{}",
        last.why
    );
    assert_eq!(house.words(id).await, ["due refused"]);
    assert!(house.schedule("look").await.next_fire_at().is_none_or(|at| at > Timestamp(0)));
}
