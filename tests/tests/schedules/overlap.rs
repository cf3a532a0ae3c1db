//! What becomes of an occurrence while runs of an earlier one are open, and whose runs they are.

use std::sync::Arc;
use std::time::Duration;

use settled::auth::{Gate, Grants, Role, Scope};
use settled::clock::Clock as _;
use settled::domain::schedule::{Fate, Overlap, WAITING_MAX};
use settled::domain::verdict::Outcome;
use settled::engine::EditSchedule;
use settled::scheduler::Firing;
use settled::store::AuditFilter;
use settled_tests::users::Users;

use crate::fixture::{House, MINUTE, every};

fn overlapping(overlap: Overlap) -> EditSchedule {
    EditSchedule { overlap: Some(overlap), ..every("* * * * *") }
}

pub(crate) async fn what_overlaps_is_left_out(house: House) {
    let id = house.probing(overlapping(Overlap::Skip)).await;
    house.go(MINUTE).await;
    let first = house.history(id).await[0].runs[0];
    house.go(MINUTE).await;
    let skipped = house.history(id).await.pop().unwrap();
    assert_eq!(skipped.fate, Fate::Skipped);
    assert_eq!(skipped.why, format!("run {first} of an earlier occurrence is still open"));
    house.cancel(first).await;
    house.go(MINUTE).await;
    assert_eq!(house.words(id).await, ["due fired", "due skipped", "due fired"]);
}

pub(crate) async fn what_overlaps_waits_for_its_turn(house: House) {
    let id = house.probing(overlapping(Overlap::Queue)).await;
    for _ in 0..3 {
        house.go(MINUTE).await;
    }
    assert_eq!(house.words(id).await, ["due fired", "due waiting", "due waiting"]);
    assert_eq!(house.schedule("look").await.waiting, 2);
    let pause = house.clock.clone();
    assert_eq!(house.daemon.firing.step().await.unwrap(), 0, "the first is still open");
    // In the order in which they were due, each after the one before it, whoever ticks.
    let other = house.another().await;
    for n in 0..3 {
        house.cancel(house.history(id).await[n].runs[0]).await;
        let done = tokio::join!(house.daemon.firing.step(), other.firing.step());
        assert_eq!(done.0.unwrap() + done.1.unwrap(), u64::from(n < 2));
    }
    drop(pause);
    assert_eq!(house.words(id).await, ["due fired", "due fired", "due fired"]);
    assert_eq!(house.schedule("look").await.waiting, 0);
}

pub(crate) async fn a_queue_has_an_end(house: House) {
    let id = house.probing(overlapping(Overlap::Queue)).await;
    for _ in 0..WAITING_MAX + 3 {
        house.go(MINUTE).await;
    }
    let words = house.words(id).await;
    assert_eq!(words.iter().filter(|word| *word == "due waiting").count(), 16);
    assert_eq!(words.last().unwrap(), "due skipped");
    assert!(house.history(id).await.pop().unwrap().why.starts_with("16 occurrences wait already"));
}

pub(crate) async fn what_comes_later_cancels_what_came_earlier(house: House) {
    let id = house.probing(overlapping(Overlap::CancelEarlier)).await;
    house.go(MINUTE).await;
    house.go(MINUTE).await;
    let history = house.history(id).await;
    assert_eq!(house.words(id).await, ["due fired", "due fired"]);
    let first = house.run(history[0].runs[0]).await;
    assert_eq!(first.verdict().map(|verdict| verdict.outcome), Some(Outcome::Cancelled));
    assert_eq!(house.schedule("look").await.open_runs, history[1].runs);
}

pub(crate) async fn p14_what_is_fired_by_hand_and_waits_is_for_whoever_fired_it(house: House) {
    let id = house.probing(overlapping(Overlap::Queue)).await;
    house.go(MINUTE).await;
    for who in ["unix:1000", "unix:4711"] {
        let asked = house.asked_by(who, "Schedules.Fire");
        house.engine().fire_schedule(asked, "look".to_owned()).await.unwrap();
    }
    assert_eq!(house.words(id).await, ["due fired", "by_hand waiting", "by_hand waiting"]);
    house.cancel(house.history(id).await[0].runs[0]).await;
    house.daemon.firing.step().await.unwrap();
    let second = house.history(id).await.remove(1);
    assert_eq!(second.principal.as_deref(), Some("unix:1000"));
    assert_eq!(house.run(second.runs[0]).await.principal, "unix:1000");
    let mut reader = house.engine().store().read().await.unwrap();
    let row = reader.db().audited(&AuditFilter::default(), None, 1).await.unwrap().remove(0);
    assert_eq!((row.method.as_str(), row.principal.as_str()), ("Schedules.Fire", "unix:1000"));
    drop(reader);
    // The right of whoever fired it counts, not that of the schedule's owner.
    house.cancel(second.runs[0]).await;
    house.daemon.firing.step().await.unwrap();
    let third = house.history(id).await.remove(2);
    assert_eq!((third.fate, third.runs.len()), (Fate::Refused, 0));
    assert!(third.why.starts_with("unix:4711, who fired it by hand, may not"), "{}", third.why);
    assert_eq!(house.schedule("look").await.principal, "unix:0");
}

pub(crate) async fn p14_who_may_not_any_more_gets_no_run(house: House) {
    house.server("web1", &[]).await;
    house.thing("web1", "a").await;
    let asked = house.asked_by("unix:4711", "Schedules.Create");
    house.engine().add_schedule(asked, "look".to_owned(), every("* * * * *")).await.unwrap();
    house.go(MINUTE).await;
    let schedule = house.schedule("look").await;
    let occurrence = house.history(schedule.id).await.pop().unwrap();
    assert_eq!((occurrence.fate, occurrence.runs.len()), (Fate::Refused, 0));
    assert!(
        occurrence.why.starts_with("unix:4711, who made or changed this schedule last, may not"),
        "{}",
        occurrence.why
    );
    let mut reader = house.engine().store().read().await.unwrap();
    let row = reader.db().audited(&AuditFilter::default(), None, 1).await.unwrap().remove(0);
    assert_eq!(
        (row.method.as_str(), row.principal.as_str(), row.result.as_str()),
        ("Schedules.Fire", "unix:4711", "refused")
    );
    assert!(row.detail.ends_with(&occurrence.why), "{row:?}");
    // Whoever may, takes it over.
    house.edit(EditSchedule { overlap: Some(Overlap::Queue), ..EditSchedule::default() }).await.unwrap();
    house.go(MINUTE).await;
    assert_eq!(house.words(schedule.id).await, ["due refused", "due fired"]);
}

pub(crate) async fn p14_a_schedule_is_not_for_who_may_on_some_servers_only(house: House) {
    let mut grants = Grants::default();
    grants.user_on(4711, Role::Operator, Scope::Of(vec!["server:web1".parse().unwrap()]));
    let gate = Gate::new(0, grants, Arc::clone(&house.clock) as _);
    let firing = Firing::new(house.engine().clone(), gate, Arc::clone(&house.chores) as _);
    house.server("web1", &[]).await;
    house.thing("web1", "a").await;
    let asked = house.asked_by("unix:4711", "Schedules.Create");
    house.engine().add_schedule(asked, "look".to_owned(), every("* * * * *")).await.unwrap();
    house.clock.move_to(house.clock.monotonic() + MINUTE);
    firing.step().await.unwrap();
    assert_eq!(house.words(house.schedule("look").await.id).await, ["due refused"]);
}

pub(crate) async fn p4_a_hundred_schedules_of_whom_nobody_can_tell_keep_nobody_elses_waiting(house: House) {
    let users = Arc::new(Users::default());
    let mut grants = Grants::default();
    grants.group(50, Role::Operator);
    let gate = Gate::with_members(0, grants, Arc::clone(&users) as _, Arc::clone(&house.clock) as _);
    let firing = Firing::new(house.engine().clone(), gate, Arc::clone(&house.chores) as _);
    house.server("web1", &[]).await;
    house.thing("web1", "a").await;
    for n in 0..100 {
        let asked = house.asked_by("unix:4711", "Schedules.Create");
        house.engine().add_schedule(asked, format!("look-{n}"), every("* * * * *")).await.unwrap();
    }
    let asked = house.asked_by("unix:0", "Schedules.Create");
    house.engine().add_schedule(asked, "roots".to_owned(), every("* * * * *")).await.unwrap();
    users.set_away(true);
    house.clock.move_to(house.clock.monotonic() + MINUTE);
    while firing.step().await.unwrap() > 0 {}
    assert_eq!(house.words(house.schedule("look-99").await.id).await, Vec::<String>::new());
    assert_eq!(house.words(house.schedule("roots").await.id).await, ["due fired"]);
}

pub(crate) async fn p14_of_whom_nobody_can_tell_the_occurrence_comes_with_a_later_tick(house: House) {
    let (users, clock) = (Arc::new(Users::default()), Arc::clone(&house.clock));
    let mut grants = Grants::default();
    grants.group(50, Role::Operator);
    let gate = Gate::with_members(0, grants, Arc::clone(&users) as _, Arc::clone(&clock) as _);
    let firing = Firing::new(house.engine().clone(), gate, Arc::clone(&house.chores) as _);
    users.put(4711, &[50]);
    house.server("web1", &[]).await;
    house.thing("web1", "a").await;
    let asked = house.asked_by("unix:4711", "Schedules.Create");
    house.engine().add_schedule(asked, "look".to_owned(), overlapping(Overlap::Queue)).await.unwrap();
    let id = house.schedule("look").await.id;
    users.set_away(true);
    clock.move_to(clock.monotonic() + MINUTE);
    firing.step().await.unwrap();
    assert_eq!(house.words(id).await, Vec::<String>::new(), "nothing has become of it");
    users.set_away(false);
    clock.move_to(clock.monotonic() + Duration::from_secs(2));
    firing.step().await.unwrap();
    assert_eq!(house.words(id).await, ["due fired"]);
    // The same for one that has waited for its turn.
    clock.move_to(clock.monotonic() + MINUTE);
    firing.step().await.unwrap();
    house.cancel(house.history(id).await[0].runs[0]).await;
    users.set_away(true);
    clock.move_to(clock.monotonic() + Duration::from_secs(6));
    firing.step().await.unwrap();
    assert_eq!(house.words(id).await, ["due fired", "due waiting"]);
    users.set_away(false);
    clock.move_to(clock.monotonic() + Duration::from_secs(2));
    firing.step().await.unwrap();
    assert_eq!(house.words(id).await, ["due fired", "due fired"]);
}
