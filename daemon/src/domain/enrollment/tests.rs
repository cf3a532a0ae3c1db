use ulid::Ulid;

use super::*;

const RULES: Rules = Rules { attempts: 3, backoff: Duration::from_secs(3_600) };
const HOUR: i64 = 3_600_000_000;

fn run(n: u128) -> RunId {
    RunId(Ulid(n))
}

fn fresh() -> Enrollment {
    Enrollment {
        id: EnrollmentId(Ulid(1)),
        lifecycle: LifecycleId(Ulid(2)),
        code: "c".to_owned(),
        subject: Subject { kind: "user".to_owned(), id: "42".to_owned(), server: None, resource: None },
        principal: "unix:0".to_owned(),
        revision: 1,
        stage: "one".to_owned(),
        attempt: 0,
        deferrals: 0,
        waits_since: None,
        waits_for: String::new(),
        payload: "{}".to_owned(),
        state: State::Waiting { due: Timestamp(0) },
        last_error: String::new(),
        work_no: 0,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        version: 1,
        seq: 0,
    }
}

fn after(enrollment: Enrollment, now: i64, event: Event) -> Enrollment {
    enrollment.apply(event, Timestamp(now), RULES).expect("it may happen")
}

fn began(enrollment: Enrollment, now: i64) -> Enrollment {
    after(enrollment, now, Event::Began(Work::Run { run: run(7) }))
}

fn error(text: &str) -> Event {
    Event::Failed { error: text.to_owned() }
}

fn deferred(until: i64) -> Event {
    Event::Deferred { until: Timestamp(until), why: "not yet".to_owned() }
}

fn second() -> Next {
    Next::Stage { stage: "two".to_owned(), revision: 2 }
}

#[test]
fn a_stage_fails_three_times_an_hour_apart_and_then_for_good() {
    let mut enrollment = fresh();
    for attempt in 1..=2 {
        let now = i64::from(attempt) * HOUR;
        enrollment = after(began(enrollment, now), now, error("no"));
        assert_eq!(enrollment.attempt, attempt);
        assert_eq!((enrollment.status(), enrollment.due()), (Status::Pending, Some(Timestamp(now + HOUR))));
    }
    let failed = after(began(enrollment, 3 * HOUR), 3 * HOUR, error("no"));
    assert_eq!((failed.attempt, failed.status(), failed.last_error.as_str()), (3, Status::Failed, "no"));
    let again = after(failed, 4 * HOUR, Event::Retried);
    assert_eq!((again.attempt, again.status(), again.stage.as_str()), (0, Status::Pending, "one"));
}

#[test]
fn what_cannot_begin_uses_an_attempt_like_what_fails() {
    let mut enrollment = fresh();
    for attempt in 1..=3 {
        enrollment = after(enrollment, HOUR, error("there is no such server"));
        assert_eq!(enrollment.attempt, attempt);
    }
    assert_eq!(enrollment.status(), Status::Failed);
}

#[test]
fn p4_a_deferral_uses_no_attempt_and_keeps_since_when_it_waits() {
    let once = after(fresh(), 5, deferred(10));
    let twice = after(once, 10, deferred(20));
    assert_eq!((twice.attempt, twice.deferrals, twice.waits_since), (0, 2, Some(Timestamp(5))));
    assert_eq!((twice.waits_for.as_str(), twice.due()), ("not yet", Some(Timestamp(20))));
    assert!(twice.waited_out(Duration::from_micros(15), Timestamp(20)));
    assert!(!twice.waited_out(Duration::from_micros(16), Timestamp(20)));
    let began = began(twice, 20);
    assert_eq!((began.attempt, began.waits_since, began.waits_for.as_str()), (1, None, ""));
    let put_off = after(began, 21, deferred(30));
    assert_eq!((put_off.attempt, put_off.deferrals), (0, 3), "the attempt is given back");
}

#[test]
fn the_next_stage_begins_at_nought_and_keeps_its_place() {
    let one = after(began(after(fresh(), 5, deferred(10)), 10), 11, error("no"));
    let two = after(began(one, HOUR), HOUR, Event::Succeeded(second()));
    assert_eq!((two.stage.as_str(), two.revision, two.attempt, two.deferrals), ("two", 2, 0, 0));
    assert_eq!((two.status(), two.last_error.as_str()), (Status::Pending, ""));
    assert_eq!(two.due(), Some(Timestamp(HOUR)), "never in the future");
    let done = after(began(two, HOUR), HOUR + 5, Event::Succeeded(Next::Done));
    assert_eq!((done.status(), done.due()), (Status::Completed, None));
}

#[test]
fn a_worker_uses_an_attempt_when_it_takes_a_task_and_not_before() {
    let queue = || "mail".to_owned();
    let offered = after(fresh(), 1, Event::Offered { queue: queue(), until: Timestamp(99) });
    assert_eq!((offered.status(), offered.attempt, offered.execution()), (Status::Pending, 0, 1));
    let task = Work::Task { queue: queue(), worker: "w".to_owned(), lease_until: Timestamp(5) };
    let taken = after(offered.clone(), 2, Event::Began(task));
    assert_eq!((taken.status(), taken.attempt), (Status::Processing, 1));
    assert!(taken.work_no > offered.work_no, "what was begun before cannot speak for it");
    let alive = after(taken, 3, Event::Alive { lease_until: Timestamp(9) });
    assert_eq!(alive.work().and_then(Work::until), Some(Timestamp(9)));
    assert_eq!(after(alive, 9, error("gone")).attempt, 1);
}

#[test]
fn what_a_worker_puts_off_has_waited_since_it_was_offered_first() {
    let offered = |enrollment, now| {
        after(enrollment, now, Event::Offered { queue: "q".to_owned(), until: Timestamp(99) })
    };
    let taken = |enrollment, now| {
        let task = Work::Task { queue: "q".to_owned(), worker: "w".to_owned(), lease_until: Timestamp(50) };
        after(enrollment, now, Event::Began(task))
    };
    let once = after(taken(offered(fresh(), 3), 4), 5, deferred(10));
    let twice = after(taken(offered(once, 10), 11), 12, deferred(20));
    assert_eq!((twice.waits_since, twice.attempt, twice.deferrals), (Some(Timestamp(3)), 0, 2));
    let failed = after(taken(offered(twice, 20), 21), 22, error("no"));
    assert_eq!(failed.waits_since, None, "what was executed waits anew");
}

#[test]
fn what_is_set_aside_gives_its_attempt_back_and_does_not_wait() {
    let asked = began(after(fresh(), 2, deferred(3)), 3);
    let asked = after(asked, 4, error("no"));
    let asked = after(asked, HOUR * 2, Event::Began(Work::Approval { until: Timestamp(9) }));
    let aside = after(asked, HOUR * 3, Event::SetAside { why: "later".to_owned() });
    assert_eq!((aside.status(), aside.attempt, aside.waits_since), (Status::Pending, 1, None));
    assert_eq!((aside.due(), aside.waits_for.as_str()), (Some(Timestamp(HOUR * 3)), "later"));
}

#[test]
fn beginning_anew_forgets_everything_but_who_it_is() {
    let reset = |enrollment: Enrollment| {
        let (stage, payload) = ("one".to_owned(), r#"{"a":1}"#.to_owned());
        after(enrollment, 9, Event::Reset { stage, revision: 3, payload, due: Timestamp(9) })
    };
    let failed = after(fresh(), 1, Event::TimedOut { why: "too long".to_owned() });
    let completed = after(fresh(), 1, Event::Succeeded(Next::Done));
    for before in [began(fresh(), 1), failed, completed, after(fresh(), 1, deferred(5))] {
        let now = reset(before.clone());
        assert!(now.work_no > before.work_no);
        let expected = Enrollment {
            revision: 3,
            payload: now.payload.clone(),
            state: State::Waiting { due: Timestamp(9) },
            work_no: now.work_no,
            ..fresh()
        };
        assert_eq!(now, expected);
    }
}

/// Which events may happen where. Whatever is not here is refused.
#[test]
fn what_may_happen_is_a_table() {
    let task = Work::Task { queue: "q".to_owned(), worker: "w".to_owned(), lease_until: Timestamp(9) };
    let offer = after(fresh(), 1, Event::Offered { queue: "q".to_owned(), until: Timestamp(9) });
    let states = [
        ("waiting", fresh()),
        ("look", after(fresh(), 1, Event::Looked { run: run(1) })),
        ("run", began(fresh(), 1)),
        ("approval", after(fresh(), 1, Event::Began(Work::Approval { until: Timestamp(9) }))),
        ("offer", offer.clone()),
        ("task", after(offer, 1, Event::Began(task.clone()))),
        ("completed", after(fresh(), 1, Event::Succeeded(Next::Done))),
        ("failed", after(fresh(), 1, Event::TimedOut { why: "late".to_owned() })),
    ];
    let open = "waiting look run approval offer task";
    let events = [
        (Event::Closed { until: Timestamp(2), why: String::new() }, "waiting look"),
        (Event::SetAside { why: String::new() }, "look approval offer"),
        (Event::Looked { run: run(2) }, "waiting"),
        (deferred(2), open),
        (Event::Offered { queue: "q".to_owned(), until: Timestamp(9) }, "waiting look"),
        (Event::Began(task), "waiting look offer"),
        (Event::Alive { lease_until: Timestamp(9) }, "task"),
        (Event::Succeeded(second()), open),
        (error("no"), open),
        (Event::TimedOut { why: String::new() }, open),
        (Event::Left(second()), "waiting look run approval offer task failed"),
        (Event::Retried, "failed"),
    ];
    for (event, allowed) in events {
        for (name, state) in &states {
            let found = state.clone().apply(event.clone(), Timestamp(3), RULES).is_ok();
            assert_eq!(found, allowed.split(' ').any(|word| word == *name), "{event:?} while {name}");
        }
    }
}

#[test]
fn a_task_has_an_id_of_its_own() {
    let id = TaskId { enrollment: EnrollmentId(Ulid(9)), work_no: 3 };
    assert_eq!(id.to_string().parse(), Ok(id));
    for bad in ["", "x.1", "00000000000000000000000009", "00000000000000000000000009.x"] {
        assert!(bad.parse::<TaskId>().is_err(), "{bad}");
    }
}
