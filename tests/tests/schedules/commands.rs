//! What people ask for.

use std::time::Duration;

use settled::clock::Clock as _;
use settled::domain::schedule::{Cause, Chore, Fate, Missed, On, Overlap, Schedule, Target};
use settled::engine::{Asked, EditSchedule, Refusal};
use settled::store::AuditFilter;
use settled::store::rows::{Change, Object};

use crate::fixture::{HOUR, House, MINUTE, every, refused_field, servers, work};

pub(crate) async fn p2_asking_twice_gives_one_schedule(house: House) {
    house.server("web1", &[]).await;
    house.thing("web1", "a").await;
    let asked = house.asked("Schedules.Create");
    let once = house.engine().add_schedule(asked.clone(), "look".to_owned(), every("@hourly")).await.unwrap();
    let twice =
        house.engine().add_schedule(asked.clone(), "look".to_owned(), every("@hourly")).await.unwrap();
    assert_eq!(once.schedule.unwrap().id, twice.schedule.unwrap().id);
    let other = Asked { digest: "other".to_owned(), ..asked };
    let (field, _) = refused_field(house.engine().add_schedule(other, "x".to_owned(), every("@daily")).await);
    assert_eq!(field, "request_id");
    match house.add("look", every("@daily")).await.unwrap_err() {
        Refusal::Exists { what: "schedule", message, .. } => {
            assert!(message.contains("`look` already"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn bad_input_names_its_field(house: House) {
    house.server("web1", &[]).await;
    let now = house.clock.now();
    let target = |target| EditSchedule { target: Some(target), ..every("@daily") };
    let table: [(&str, EditSchedule, &str, &str); 17] = [
        ("a", every("61 * * * *"), "cron", "minute: `61` is not a number from 0 to 59"),
        ("a", every("0 0 30 2 *"), "cron", "no month has"),
        ("a", EditSchedule { cron: None, ..every("") }, "cron", "is missing"),
        (
            "a",
            EditSchedule { time_zone: Some("Europe/Berlyn".into()), ..every("@daily") },
            "time_zone",
            "is not a time zone",
        ),
        ("Look!", every("@daily"), "name", "a-z"),
        ("settled.look", every("@daily"), "name", "built-in"),
        ("a", EditSchedule { jitter: Some(25 * HOUR), ..every("@daily") }, "jitter_s", "at most 86400"),
        (
            "a",
            EditSchedule { starts_at: Some(Some(now + HOUR)), ends_at: Some(Some(now)), ..every("@daily") },
            "ends_at",
            "is not after starts_at",
        ),
        (
            "a",
            EditSchedule { ends_at: Some(Some(now + HOUR)), ..every("30 23 * * *") },
            "ends_at",
            "nothing would ever be due",
        ),
        ("a", EditSchedule { target: None, ..every("@daily") }, "target", "is missing"),
        (
            "a",
            target(work("probe", servers(&["web7"]))),
            "target.operation.servers",
            "there is no server `web7`",
        ),
        ("a", target(work("probe", servers(&[]))), "target.operation.servers", "is empty"),
        ("a", target(work("explode", servers(&["web1"]))), "target.operation.operation", "explode"),
        (
            "a",
            target(work("adopt", servers(&["web1"]))),
            "target.operation.operation",
            "cannot be done on schedule",
        ),
        (
            "a",
            target(work("probe", On::Resources(vec!["web1/thing/x".into()]))),
            "target.operation.resources",
            "there is no resource",
        ),
        (
            "a",
            target(work("install", On::Resources(vec!["web1/thing/x".into()]))),
            "target.operation.resources",
            "name servers or labels",
        ),
        (
            "a",
            target(match work("probe", servers(&["web1"])) {
                Target::Work(work) => {
                    Target::Work(settled::domain::schedule::Work { package: "thong".into(), ..work })
                }
                Target::Enrolling(_) | Target::Chore(_) => unreachable!(),
            }),
            "target.operation.package",
            "there is no package `thong`",
        ),
    ];
    for (name, settings, field, part) in table {
        let (named, message) = refused_field(house.add(name, settings).await);
        assert!(named == field && message.contains(part), "{named}: {message}, not {field}: {part}");
    }
    let nobody = house.engine().pause_schedule(house.asked("Schedules.Pause"), "nobody".to_owned()).await;
    assert!(matches!(nobody, Err(Refusal::NotFound { what: "schedule", .. })));
}

pub(crate) async fn every_change_is_a_transition(house: House) {
    let id = house.probing(every("@hourly")).await;
    let begun = house.engine().store().read().await.unwrap().db().last_seq().await.unwrap();
    let named = || "look".to_owned();
    let engine = house.engine();
    house.edit(EditSchedule { missed: Some(Missed::All), ..EditSchedule::default() }).await.unwrap();
    engine.pause_schedule(house.asked("Schedules.Pause"), named()).await.unwrap();
    engine.pause_schedule(house.asked("Schedules.Pause"), named()).await.unwrap();
    engine.resume_schedule(house.asked("Schedules.Resume"), id.to_string()).await.unwrap();
    let gone = engine.remove_schedule(house.asked("Schedules.Delete"), named()).await.unwrap();
    let rows = engine.store().read().await.unwrap().db().transitions(begun, 100).await.unwrap();
    let mut seen: Vec<(Change, Schedule)> = Vec::new();
    for row in rows {
        assert_eq!((row.object_id.as_str(), row.server_id.as_str()), (id.to_string().as_str(), ""));
        match row.object().unwrap() {
            Object::Schedule(schedule) => seen.push((row.change().unwrap(), schedule)),
            other => panic!("{other:?}"),
        }
    }
    let words: Vec<_> = seen.iter().map(|(change, s)| (*change, s.paused, s.next_due.is_some())).collect();
    let updated = |paused: bool| (Change::Updated, paused, !paused);
    assert_eq!(words, [updated(false), updated(true), updated(false), (Change::Gone, false, true)]);
    assert_eq!(seen[0].1.missed_within, Some(24 * HOUR), "all within a day, when nobody says");
    let last: Schedule = (*gone.schedule.unwrap()).try_into().unwrap();
    assert_eq!(last, seen[3].1);
    let audit =
        engine.store().read().await.unwrap().db().audited(&AuditFilter::default(), None, 5).await.unwrap();
    let methods: Vec<_> = audit.iter().rev().map(|row| row.method.as_str()).collect();
    assert_eq!(
        methods,
        ["Schedules.Update", "Schedules.Pause", "Schedules.Pause", "Schedules.Resume", "Schedules.Delete"]
    );
    assert_eq!(audit[4].detail, "missed: none -> all");
}

pub(crate) async fn firing_by_hand_is_whoever_asks_and_moves_no_time(house: House) {
    let id = house.probing(every("@hourly")).await;
    let before = house.schedule("look").await;
    let asked = house.asked_by("unix:1000", "Schedules.Fire");
    let answer = house.engine().fire_schedule(asked.clone(), "look".to_owned()).await.unwrap();
    let again = house.engine().fire_schedule(asked, "look".to_owned()).await.unwrap();
    assert_eq!(answer.occurrence, again.occurrence, "asked twice, fired once");
    let occurrence = house.history(id).await.remove(0);
    assert_eq!((occurrence.cause, occurrence.fate), (Cause::ByHand, Fate::Fired));
    assert_eq!(house.run(occurrence.runs[0]).await.principal, "unix:1000");
    let after = house.schedule("look").await;
    assert_eq!((after.next_due, &after.principal), (before.next_due, &before.principal));

    let busy = house.engine().fire_schedule(house.asked("Schedules.Fire"), "look".to_owned()).await;
    match busy.unwrap_err() {
        Refusal::NotNow { runs, .. } => assert_eq!(runs, occurrence.runs),
        other => panic!("{other:?}"),
    }
    house.edit(EditSchedule { overlap: Some(Overlap::Queue), ..EditSchedule::default() }).await.unwrap();
    house.engine().fire_schedule(house.asked("Schedules.Fire"), "look".to_owned()).await.unwrap();
    assert_eq!(house.words(id).await, ["by_hand fired", "by_hand waiting"]);
}

pub(crate) async fn a_paused_schedule_is_not_due_and_makes_up_for_nothing(house: House) {
    let settings =
        EditSchedule { missed: Some(Missed::All), overlap: Some(Overlap::Queue), ..every("@hourly") };
    let id = house.probing(settings).await;
    house.go(HOUR).await;
    house.go(HOUR).await;
    assert_eq!(house.words(id).await, ["due fired", "due waiting"]);
    house.engine().pause_schedule(house.asked("Schedules.Pause"), "look".to_owned()).await.unwrap();
    assert_eq!(house.words(id).await, ["due fired", "due skipped"]);
    house.go(5 * HOUR).await;
    house.engine().resume_schedule(house.asked("Schedules.Resume"), "look".to_owned()).await.unwrap();
    house.go(30 * MINUTE).await;
    assert_eq!(house.words(id).await, ["due fired", "due skipped"]);
    assert_eq!(house.schedule("look").await.next_due.unwrap().since(house.clock.now()), 30 * MINUTE);
}

pub(crate) async fn a_removed_schedule_leaves_its_history(house: House) {
    let id = house.probing(EditSchedule { overlap: Some(Overlap::Queue), ..every("@hourly") }).await;
    house.go(HOUR).await;
    house.go(HOUR).await;
    house.clock.move_to(house.clock.monotonic() + HOUR + Duration::from_secs(5));
    house.engine().remove_schedule(house.asked("Schedules.Delete"), "look".to_owned()).await.unwrap();
    assert_eq!(house.words(id).await, ["due fired", "due skipped", "due missed"]);
    let run = house.run(house.history(id).await[0].runs[0]).await;
    assert!(run.verdict().is_none(), "its runs go on");
    house.go(HOUR).await;
    assert_eq!(house.history(id).await.len(), 3);
    let chore =
        house.engine().remove_schedule(house.asked("Schedules.Delete"), "settled.probes".to_owned()).await;
    assert!(chore.unwrap_err().to_string().contains("settlectl schedule pause settled.probes"));
    assert_eq!(house.schedule("settled.probes").await.target, Target::Chore(Chore::Probes));
}

pub(crate) async fn what_its_jitter_holds_back_is_not_dropped_by_a_change(house: House) {
    let jitter = Some(Duration::from_secs(1_800));
    let id = house.probing(EditSchedule { jitter, ..every("@hourly") }).await;
    let schedule = house.schedule("look").await;
    let due = schedule.next_due.unwrap();
    house.go(due.since(house.engine().clock().now()) + Duration::from_secs(1)).await;
    assert!(schedule.fire_at(due) > house.engine().clock().now(), "it waits for its jitter");
    assert_eq!(house.words(id).await, Vec::<String>::new());
    house.edit(EditSchedule { missed: Some(Missed::All), ..EditSchedule::default() }).await.unwrap();
    let history = house.history(id).await;
    assert_eq!(history.len(), 1, "{history:?}");
    assert_eq!((history[0].due, history[0].fate), (due, Fate::Missed));
}
