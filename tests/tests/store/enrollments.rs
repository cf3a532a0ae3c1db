//! Lifecycles and enrollments: what is stored comes back, each subject once, in the order in which it is due.

use std::collections::BTreeMap;

use settled::domain::enrollment::{Enrollment, Outcome, State, Subject, Work};
use settled::domain::id::{EnrollmentId, LifecycleId, RunId};
use settled::domain::lifecycle::{Activation, Lifecycle};
use settled::domain::time::Timestamp;
use settled::store::StoreError;
use settled::store::enrollments::Execution;
use settled::store::lifecycles::{EnrollmentFilter, ExecutionFilter, VersionRow};
use settled::store::rows::{Change, Object};
use ulid::Ulid;

use crate::fixture::House;

fn lifecycle(n: u128, code: &str) -> Lifecycle {
    Lifecycle {
        id: LifecycleId(Ulid(n)),
        code: code.to_owned(),
        name: "C".to_owned(),
        active: true,
        starts_at: Some(Timestamp(1)),
        ends_at: None,
        activation: Activation::Hand,
        revision: 1,
        run_at: Some(Timestamp(7)),
        created_at: Timestamp(1),
        updated_at: Timestamp(1),
        version: 1,
    }
}

fn enrollment(n: u128, state: State) -> Enrollment {
    Enrollment {
        id: EnrollmentId(Ulid(n)),
        lifecycle: LifecycleId(Ulid(1)),
        code: "c".to_owned(),
        subject: Subject { kind: "user".to_owned(), id: n.to_string(), server: None, resource: None },
        principal: "unix:0".to_owned(),
        revision: 2,
        stage: "one".to_owned(),
        attempt: 1,
        deferrals: 3,
        waits_since: Some(Timestamp(5)),
        closed_since: Some(Timestamp(6)),
        waits_for: "somebody\0".replace('\0', "\u{fffd}"),
        payload: r#"{"a":1}"#.to_owned(),
        state,
        last_error: "no".to_owned(),
        work_no: 4,
        created_at: Timestamp(1),
        updated_at: Timestamp(1),
        version: 1,
        seq: 0,
    }
}

const fn waiting(due: i64) -> State {
    State::Waiting { due: Timestamp(due) }
}

async fn insert(house: &House, enrollment: Enrollment) -> Result<Enrollment, StoreError> {
    house
        .write(move |unit| {
            let mut enrollment = enrollment.clone();
            Box::pin(async move { unit.insert_enrollment(&mut enrollment).await.map(|()| enrollment) })
        })
        .await
}

async fn update(house: &House, enrollment: Enrollment) -> Result<Enrollment, StoreError> {
    house
        .write(move |unit| {
            let mut enrollment = enrollment.clone();
            Box::pin(async move { unit.update_enrollment(&mut enrollment).await.map(|()| enrollment) })
        })
        .await
}

pub(crate) async fn a_lifecycle_and_its_versions_come_back(house: House) {
    let (first, other) = (lifecycle(1, "c"), lifecycle(2, "c"));
    let stored = first.clone();
    let mapping = BTreeMap::from([("old".to_owned(), "new".to_owned())]);
    let version = VersionRow { source: "code = \"c\"".to_owned(), mapping };
    let kept = version.clone();
    house
        .write(move |unit| {
            let (lifecycle, version) = (stored.clone(), kept.clone());
            Box::pin(async move {
                unit.insert_lifecycle(&lifecycle).await?;
                unit.insert_lifecycle_version(lifecycle.id, 1, &version, "unix:0").await
            })
        })
        .await
        .unwrap();
    let twice = house.write(move |unit| {
        let other = other.clone();
        Box::pin(async move { unit.insert_lifecycle(&other).await })
    });
    assert!(matches!(twice.await, Err(StoreError::Duplicate(what)) if what == "code"));
    let mut reader = house.read().await;
    assert_eq!(reader.db().lifecycle_by_code("c").await.unwrap(), Some(first.clone()));
    assert_eq!(reader.db().lifecycle_version(first.id, 1).await.unwrap(), Some(version));
    assert_eq!(reader.db().lifecycles("c", 10).await.unwrap(), []);
}

pub(crate) async fn every_enrollment_comes_back_as_it_was_stored(house: House) {
    let (due, until) = (Timestamp(9), Timestamp(99));
    let (run, queue, worker) = (RunId(Ulid(77)), "q".to_owned(), "w".to_owned());
    let work = [
        Work::Look { run },
        Work::Run { run },
        Work::Approval { until },
        Work::Offer { queue: queue.clone(), until },
        Work::Task { queue, worker, taken_by: "unix:7".to_owned(), lease_until: until },
    ];
    let working = work.map(|work| State::Working { work, due });
    let ended = [State::Completed { at: due }, State::Failed { at: due }];
    for (n, state) in (1..).zip([waiting(9)].into_iter().chain(working).chain(ended)) {
        let stored = insert(&house, enrollment(n, state)).await.unwrap();
        let mut reader = house.read().await;
        let mut db = reader.db();
        assert_eq!(db.enrollment(stored.id).await.unwrap().as_ref(), Some(&stored));
        let row = db.transitions(stored.seq - 1, 1).await.unwrap().remove(0);
        assert_eq!((row.change().unwrap(), row.server_id.as_str()), (Change::Created, ""));
        assert!(matches!(row.object().unwrap(), Object::Enrollment(found) if found == stored));
        let changed = update(&house, Enrollment { stage: "two".to_owned(), ..stored }).await.unwrap();
        assert_eq!(reader.db().enrollment(changed.id).await.unwrap(), Some(changed));
    }
}

pub(crate) async fn a_subject_is_enrolled_once_and_a_stale_write_is_refused(house: House) {
    let first = insert(&house, enrollment(1, waiting(9))).await.unwrap();
    let same = Enrollment { id: EnrollmentId(Ulid(2)), ..first.clone() };
    assert!(matches!(insert(&house, same).await, Err(StoreError::Duplicate(what)) if what == "subject"));
    let (one, two) = (update(&house, first.clone()), update(&house, first.clone()));
    let (one, two) = tokio::join!(one, two);
    let (won, lost) = if one.is_ok() { (one, two) } else { (two, one) };
    assert!(matches!(lost, Err(StoreError::Conflict)));
    let mut reader = house.read().await;
    assert_eq!(reader.db().enrollment(first.id).await.unwrap(), Some(won.unwrap()));
}

pub(crate) async fn what_is_due_is_found_in_order_and_page_by_page(house: House) {
    for (n, due) in [(1, 30), (2, 10), (3, 20), (4, 20)] {
        insert(&house, enrollment(n, waiting(due))).await.unwrap();
    }
    let offer = Work::Offer { queue: "q".to_owned(), until: Timestamp(50) };
    insert(&house, enrollment(5, State::Working { work: offer, due: Timestamp(1) })).await.unwrap();
    let mut reader = house.read().await;
    let mut db = reader.db();
    let id = LifecycleId(Ulid(1));
    let ids = |seen: Vec<settled::store::enrollments::Seen>| {
        seen.into_iter().map(|seen| seen.id.parse::<EnrollmentId>().unwrap().0.0).collect::<Vec<_>>()
    };
    assert_eq!(ids(db.due(id, Timestamp(20), 10).await.unwrap()), [2, 3, 4]);
    assert_eq!(db.dues(Timestamp(20), 10).await.unwrap(), [], "of lifecycles that are there");
    assert_eq!(ids(db.offers("q", Timestamp(20), 10).await.unwrap()), [5]);
    assert_eq!(ids(db.out_of_time(Timestamp(49), 10).await.unwrap()), [0; 0]);
    assert_eq!(ids(db.out_of_time(Timestamp(50), 10).await.unwrap()), [5]);
    let (mut place, mut found) = ((i64::MIN, String::new()), Vec::new());
    loop {
        let after = (place.0, place.1.as_str());
        let page = db.enrollments_due(Some(id), Timestamp(30), after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        place = (last.due.unwrap(), last.id.clone());
        found.extend(page.iter().map(|row| row.id.parse::<EnrollmentId>().unwrap().0.0));
    }
    assert_eq!(found, [2, 3, 4]);
    let filter = EnrollmentFilter {
        subject: Some(("user".to_owned(), "3".to_owned())),
        ..EnrollmentFilter::default()
    };
    assert_eq!(db.enrollments(&filter, "", 10).await.unwrap().len(), 1);
    let standing = db.standing(id).await.unwrap();
    assert_eq!(standing.iter().map(|s| (s.begun, s.count)).collect::<Vec<_>>(), [(true, 5)]);
}

pub(crate) async fn the_next_due_is_seen_behind_what_is_due_already(house: House) {
    house
        .write(|unit| Box::pin(async move { unit.insert_lifecycle(&lifecycle(1, "c")).await }))
        .await
        .unwrap();
    for (n, due) in [(1, 30), (2, 10), (3, 25)] {
        insert(&house, enrollment(n, waiting(due))).await.unwrap();
    }
    let mut reader = house.read().await;
    let dues = async |db: &mut settled::store::Db<'_>, now| {
        let dues = db.dues(Timestamp(now), 10).await.unwrap().remove(0);
        (dues.first.map(|at| at.0), dues.next.map(|at| at.0))
    };
    let mut db = reader.db();
    assert_eq!(dues(&mut db, 9).await, (Some(10), Some(10)));
    assert_eq!(dues(&mut db, 20).await, (Some(10), Some(25)));
    assert_eq!(dues(&mut db, 30).await, (Some(10), None));
}

pub(crate) async fn what_is_due_is_counted_as_the_domain_says(house: House) {
    let (soon, past) = (Some(Timestamp(21)), Some(Timestamp(20)));
    let by_hand = Lifecycle { starts_at: None, ..lifecycle(1, "a") };
    let by_cron = Lifecycle { activation: Activation::Cron, run_at: None, ..by_hand.clone() };
    let all = [
        Lifecycle { run_at: None, ..by_hand.clone() },
        Lifecycle { run_at: Some(Timestamp(90)), ..by_hand.clone() },
        Lifecycle { active: false, ..by_cron.clone() },
        Lifecycle { starts_at: soon, ..by_cron.clone() },
        Lifecycle { starts_at: past, ends_at: soon, ..by_cron.clone() },
        Lifecycle { ends_at: past, ..by_cron.clone() },
        by_hand,
        by_cron,
    ];
    let mut expected = 0;
    for (n, like) in (1_u8..).zip(all) {
        let (id, code) = (LifecycleId(Ulid(n.into())), format!("c{n}"));
        let lifecycle = Lifecycle { id, code, ..like };
        let stored = lifecycle.clone();
        house
            .write(move |unit| {
                let lifecycle = stored.clone();
                Box::pin(async move { unit.insert_lifecycle(&lifecycle).await })
            })
            .await
            .unwrap();
        let offer = Work::Offer { queue: "q".to_owned(), until: Timestamp(50) };
        let offered = State::Working { work: offer, due: Timestamp(1) };
        for (m, state) in (1_u8..).zip([waiting(6), waiting(8), waiting(20), waiting(21), offered]) {
            let id = u128::from(n) * 100 + u128::from(m);
            insert(&house, Enrollment { lifecycle: lifecycle.id, ..enrollment(id, state) }).await.unwrap();
        }
        let until = lifecycle.works_until(Timestamp(20));
        expected +=
            [6, 8, 20, 21].iter().filter(|due| until.is_some_and(|until| Timestamp(**due) <= until)).count();
    }
    assert_eq!(expected, 1 + 3 + 3 + 3);
    let counted = house.read().await.db().due_count(Timestamp(20)).await.unwrap();
    assert_eq!(usize::try_from(counted), Ok(expected));
}

pub(crate) async fn the_log_is_read_newest_first_and_goes_by_age(house: House) {
    let first = insert(&house, enrollment(1, waiting(9))).await.unwrap();
    let mut now = first.clone();
    for outcome in [Outcome::Failed, Outcome::Succeeded, Outcome::Failed] {
        let before = now.clone();
        now = house
            .write(move |unit| {
                let (before, mut after) = (before.clone(), before.clone());
                Box::pin(async move {
                    unit.update_enrollment(&mut after).await?;
                    let (attempt, error, who) = (1, "why\0", "unix:0");
                    let execution = Execution { before: &before, attempt, outcome, error, run: None, who };
                    unit.log_execution(&after, execution).await.map(|()| after)
                })
            })
            .await
            .unwrap();
    }
    let mut reader = house.read().await;
    let mut db = reader.db();
    let all = db.executions(&ExecutionFilter::default(), None, 10).await.unwrap();
    assert_eq!(all.iter().map(|row| row.seq).collect::<Vec<_>>(), [4, 3, 2]);
    assert_eq!(all[0].error, "why\u{fffd}");
    let failed = ExecutionFilter {
        outcome: Some("failed".to_owned()),
        enrollment: Some(first.id.to_string()),
        since: Some(0),
        until: Some(i64::MAX),
        ..ExecutionFilter::default()
    };
    let page = db.executions(&failed, Some((all[0].at, all[0].seq)), 10).await.unwrap();
    assert_eq!(page.iter().map(|row| row.seq).collect::<Vec<_>>(), [2]);
    let always = Timestamp(i64::MAX);
    assert_eq!(db.expired_enrollments(always, always).await.unwrap(), (0, 3));
    drop(reader);
    let expire =
        |batch| house.write(move |unit| Box::pin(async move { unit.expire_executions(always, batch).await }));
    assert_eq!((expire(2).await.unwrap(), expire(2).await.unwrap(), expire(2).await.unwrap()), (2, 1, 0));
}
