//! What settled does for itself, as schedules.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use settled::domain::schedule::{Chore, Fate, Overlap};
use settled::domain::time::Timestamp;
use settled::engine::EditSchedule;
use settled::store::retention::Horizon;

use crate::fixture::{CHORES, HOUR, House, MINUTE, MINUTELY, Told, WEEKLY, every};

async fn last_seq(house: &House) -> i64 {
    house.engine().store().read().await.unwrap().db().last_seq().await.unwrap()
}

pub(crate) async fn a_chore_that_did_nothing_leaves_no_trace(house: House) {
    let before = last_seq(&house).await;
    for n in 0..3 {
        let weekly = if n == 0 { WEEKLY } else { 0 };
        assert_eq!(house.go(MINUTE).await, MINUTELY + weekly);
        assert_eq!(house.go(MINUTE / 2).await, 0);
        house.go(MINUTE / 2).await;
    }
    assert_eq!(last_seq(&house).await, before, "nobody's news");
    for name in CHORES {
        let schedule = house.schedule(name).await;
        assert!(house.history(schedule.id).await.is_empty());
        assert_eq!((schedule.seq, schedule.last), (0, None));
    }
    let done = house.chores.done.lock().unwrap().clone();
    let weekly = [Chore::CleanEnrollments, Chore::CleanExecutions];
    assert!(
        done.iter().all(
            |(chore, period)| *chore != Chore::Reconcile && (*period <= MINUTE || weekly.contains(chore))
        ),
        "{done:?}"
    );
}

pub(crate) async fn a_chore_is_done_by_one_daemon_and_its_work_is_told(house: House) {
    // What is weekly has had its first time.
    house.go(MINUTE).await;
    house.chores.done.lock().unwrap().clear();
    *house.chores.tells.lock().unwrap() = Some(Ok("12 old records were removed".to_owned()));
    let other_chores = Arc::new(Told::default());
    *other_chores.tells.lock().unwrap() = Some(Ok("12 old records were removed".to_owned()));
    let other = house.another_with(&other_chores).await;
    for n in 1..=4u64 {
        house.clock.move_to(settled::clock::Clock::monotonic(&*house.clock) + MINUTE);
        let all = tokio::join!(house.daemon.firing.step(), other.firing.step());
        assert_eq!(all.0.unwrap() + all.1.unwrap(), MINUTELY, "each by one daemon");
        let done = house.chores.done.lock().unwrap().len() + other_chores.done.lock().unwrap().len();
        assert_eq!(done as u64, MINUTELY * n);
    }
    let schedule = house.schedule("settled.retention").await;
    let history = house.history(schedule.id).await;
    assert_eq!(history.len(), 4);
    assert!(history.iter().all(|o| o.fate == Fate::Fired && o.why == "12 old records were removed"));
    assert_eq!(schedule.last.unwrap().fate, Fate::Fired);

    *house.chores.tells.lock().unwrap() = Some(Err("the disk is full".to_owned()));
    house.go(MINUTE).await;
    let last = house.schedule("settled.retention").await.last.unwrap();
    assert_eq!((last.fate, last.why.as_str()), (Fate::Refused, "the disk is full"));
}

pub(crate) async fn chores_can_be_re_timed_and_paused_but_not_what_settling_rests_on(house: House) {
    let engine = house.engine();
    let edit = async |name: &str, edit| {
        engine.edit_schedule(house.asked("Schedules.Update"), name.to_owned(), edit).await
    };
    let daily = EditSchedule { cron: Some("15 4 * * *".into()), ..EditSchedule::default() };
    edit("settled.retention", daily.clone()).await.unwrap();
    house.only("settled.retention").await;
    assert_eq!(house.go(HOUR).await, 0);
    assert_eq!(house.go(3 * HOUR + 15 * MINUTE).await, 1);
    let done = house.chores.done.lock().unwrap().clone();
    assert_eq!(done, [(Chore::Retention, 24 * HOUR)]);
    engine.resume_schedule(house.asked("Schedules.Resume"), "settled.probes".to_owned()).await.unwrap();
    assert_eq!(house.go(MINUTE).await, 1);

    let why = edit("settled.reconcile", daily).await.unwrap_err().to_string();
    assert!(
        why.starts_with("settled.reconcile cannot be re-timed: that every run settles in time rests on it"),
        "{why}"
    );
    let pause = engine.pause_schedule(house.asked("Schedules.Pause"), "settled.reconcile".to_owned()).await;
    assert!(pause.unwrap_err().to_string().contains("cannot be paused"));
    let overlap = EditSchedule { overlap: Some(Overlap::Queue), ..EditSchedule::default() };
    assert!(
        edit("settled.probes", overlap).await.unwrap_err().to_string().contains("built in: only its cron")
    );
}

pub(crate) async fn what_a_chore_has_not_done_in_its_time_goes_on_with_the_next_tick(house: House) {
    house.only("settled.clean_executions").await;
    assert_eq!(house.go(MINUTE).await, 1, "the first time is at once");
    let next = house.schedule("settled.clean_executions").await.next_due.unwrap();
    assert_eq!(
        house.engine().next_times("settled.clean_executions", 2).await.unwrap()[1],
        next + 7 * 24 * HOUR
    );

    *house.chores.tells.lock().unwrap() = Some(Ok("500 old records were removed".to_owned()));
    house.chores.more.store(true, Ordering::Relaxed);
    house.chores.done.lock().unwrap().clear();
    let asked = house.asked("Schedules.Fire");
    house.engine().fire_schedule(asked, "settled.clean_executions".to_owned()).await.unwrap();
    for n in 1..=3 {
        assert_eq!(house.go(MINUTE / 60).await, 1);
        assert_eq!(house.chores.done.lock().unwrap().len(), n);
    }
    house.chores.more.store(false, Ordering::Relaxed);
    assert_eq!(house.go(MINUTE / 60).await, 1);
    assert_eq!(house.go(HOUR).await, 0);
    let schedule = house.schedule("settled.clean_executions").await;
    assert_eq!(schedule.next_due, Some(next), "and its own time has stayed");
    let history = house.history(schedule.id).await;
    assert!(
        history.len() == 4 && history.iter().all(|o| o.why == "500 old records were removed"),
        "{history:?}"
    );

    // A pause in between ends it.
    house.chores.more.store(true, Ordering::Relaxed);
    let asked = house.asked("Schedules.Fire");
    house.engine().fire_schedule(asked, "settled.clean_executions".to_owned()).await.unwrap();
    assert_eq!(house.go(MINUTE / 60).await, 1);
    house.only("").await;
    assert_eq!(house.go(MINUTE / 60).await, 0);
}

pub(crate) async fn a_chore_by_hand_is_done_by_the_next_tick(house: House) {
    house.go(MINUTE).await;
    house.chores.done.lock().unwrap().clear();
    let asked = house.asked("Schedules.Fire");
    house.engine().fire_schedule(asked, "settled.reconcile".to_owned()).await.unwrap();
    let schedule = house.schedule("settled.reconcile").await;
    assert_eq!(house.words(schedule.id).await, ["by_hand waiting"]);
    assert_eq!(house.daemon.firing.step().await.unwrap(), 1);
    assert_eq!(house.chores.done.lock().unwrap().as_slice(), [(Chore::Reconcile, MINUTE)]);
    let history = house.history(schedule.id).await;
    assert_eq!((history[0].fate, history[0].why.as_str()), (Fate::Fired, "there was nothing to do"));
    assert_eq!(house.daemon.firing.step().await.unwrap(), 0);
    assert_eq!(house.schedule("settled.reconcile").await.waiting, 0);
}

pub(crate) async fn old_occurrences_go_and_those_that_wait_stay(house: House) {
    let id = house.probing(EditSchedule { overlap: Some(Overlap::Queue), ..every("@hourly") }).await;
    house.go(HOUR).await;
    house.go(HOUR).await;
    assert_eq!(house.words(id).await, ["due fired", "due waiting"]);
    let (never, always) = (Timestamp(0), Timestamp(i64::MAX));
    let horizon = Horizon { runs: always, transitions: never, requests: never, audit: never };
    assert!(house.engine().expire(horizon, 100).await.unwrap() >= 1);
    assert_eq!(house.words(id).await, ["due waiting"]);
}
