//! Notices: written with what they tell of, for whom it fits; sent by one at a time, and gone when they are old.

use std::collections::BTreeSet;

use settled::domain::id::DaemonId;
use settled::domain::notice::{Notice, NoticeEvent, Wanted};
use settled::domain::run::{Event, Run};
use settled::domain::server::{Reach, Server};
use settled::domain::step::{Cause, Ended};
use settled::domain::time::Timestamp;
use settled::store::StoreError;
use settled::store::notices::DeliveryFilter;
use settled::store::retention::Horizon;
use settled::store::rows::{DeliveryRow, NotifierRow};

use crate::fixture::{House, TIMINGS, facts, new_server};

fn notifier(id: &str, name: &str) -> NotifierRow {
    let row = NotifierRow {
        id: id.to_owned(),
        name: name.to_owned(),
        kind: "webhook".to_owned(),
        url: "https://example.org/hook".to_owned(),
        recipients: String::new(),
        events: String::new(),
        labels: String::new(),
        packages: String::new(),
        principal: "unix:0".to_owned(),
        created_at: 5,
    };
    row.wanting(&wanted(&[], &[])).to(&[])
}

/// Everything that has all these labels and is of one of these packages.
fn wanted(labels: &[(&str, &str)], packages: &[&str]) -> Wanted {
    Wanted {
        events: NoticeEvent::ALL.iter().copied().collect(),
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        packages: packages.iter().map(|&package| package.to_owned()).collect(),
    }
}

async fn insert(house: &House, row: NotifierRow) -> Result<(), StoreError> {
    let insert = house.write(move |unit| {
        let row = row.clone();
        Box::pin(async move { unit.insert_notifier(&row).await })
    });
    insert.await
}

/// A run that has failed, as the domain says, not yet stored.
async fn failed(house: &House) -> Run {
    let server = house.server("web1").await;
    let (run, _) = house.started(house.run(&house.resource(&server, "blog").await).await).await;
    let (ended, facts) = (Ended::Exited { code: 1, cause: Cause::Itself }, facts(run.id));
    let mut run = run;
    run.attempts_max = 1;
    run.apply(Event::StepEnded(ended, facts), house.clock.now(), &TIMINGS).unwrap()
}

async fn all(house: &House) -> Vec<DeliveryRow> {
    house.read().await.db().deliveries(&DeliveryFilter::default(), None, 100).await.unwrap()
}

async fn test(house: &House, to: &NotifierRow) -> DeliveryRow {
    let to = to.clone();
    let tell = house.write(move |unit| {
        let to = to.clone();
        Box::pin(async move { unit.tell_one(&to, &Notice::test(&to.name)).await })
    });
    tell.await.unwrap()
}

pub(crate) async fn a_notice_is_stored_with_what_it_tells(house: House) {
    let (one, two) = (notifier("01A", "one"), notifier("01B", "two"));
    insert(&house, one.clone()).await.unwrap();
    insert(&house, two).await.unwrap();
    let twin = insert(&house, notifier("01C", "one")).await;
    assert!(matches!(&twin, Err(StoreError::Duplicate(what)) if what == "name"), "{twin:?}");
    let run = failed(&house).await;

    let twice = run.clone();
    let refused: Result<(), _> = house
        .write(move |unit| {
            let mut run = twice.clone();
            Box::pin(async move {
                unit.update_run(&mut run).await?;
                Err(StoreError::Conflict)
            })
        })
        .await;
    assert!(refused.is_err());
    assert_eq!(all(&house).await, [], "what was not committed is not told");

    let run = house.update_run(run).await.unwrap();
    let told = all(&house).await;
    assert_eq!(told.iter().map(|row| row.notifier.as_str()).collect::<Vec<_>>(), ["two", "one"]);
    let (row, notice) = (&told[1], told[1].notice().unwrap());
    assert_eq!((row.state.as_str(), row.attempt, &row.taken_by), ("waiting", 0, &None));
    assert_eq!(row.id(), format!("01A.{}.{}", row.seq, row.created_at));
    assert_eq!((notice.event, notice.run), (NoticeEvent::RunFailed, Some(run.id)));
    assert_eq!(notice.detail, "unpack: it broke");
    let ids: BTreeSet<_> = told.iter().map(DeliveryRow::id).collect();
    assert_eq!(ids.len(), 2, "each has an id of its own");
    assert_eq!(house.numbers().await.0, run.seq, "a notice is no transition");
}

pub(crate) async fn who_is_told_goes_by_labels_packages_and_events(house: House) {
    let rows = [
        ("01A", "all", wanted(&[], &[])),
        ("01B", "prod", wanted(&[("env", "prod")], &[])),
        ("01C", "test", wanted(&[("env", "test")], &[])),
        ("01D", "deploys", wanted(&[("env", "prod")], &["deployment"])),
        ("01E", "sites", wanted(&[], &["site"])),
        ("01F", "ends", Wanted { events: [NoticeEvent::RunSucceeded].into(), ..wanted(&[], &[]) }),
    ];
    for (id, name, wanted) in rows {
        insert(&house, notifier(id, name).wanting(&wanted)).await.unwrap();
    }
    let server = new_server(&*house.clock, "web1");
    let labels = [("env".to_owned(), "prod".to_owned())].into();
    let server = house.store_server(Server { labels, ..server }).await.unwrap();
    let away = Server { reach: Reach::Unreachable, ..server.clone() };
    let update = house.write(move |unit| {
        let mut server = away.clone();
        Box::pin(async move { unit.update_server(&mut server).await })
    });
    update.await.unwrap();
    let names = |rows: Vec<DeliveryRow>| {
        let mut names: Vec<_> = rows.into_iter().map(|row| row.notifier).collect();
        names.sort();
        names
    };
    assert_eq!(names(all(&house).await), ["all", "prod"], "of servers those hear who name no package");

    let resource = house.resource(&server, "blog").await;
    let (run, _) = house.started(house.run(&resource).await).await;
    let (ended, facts) = (Ended::Exited { code: 0, cause: Cause::Itself }, facts(run.id));
    let run = run.apply(Event::StepEnded(ended, facts), house.clock.now(), &TIMINGS).unwrap();
    let before = all(&house).await.len();
    house.update_run(run).await.unwrap();
    let mut rows = all(&house).await;
    rows.truncate(rows.len() - before);
    assert_eq!(names(rows), ["all", "deploys", "ends", "prod"]);
    let filter = DeliveryFilter { notifier: Some("prod".to_owned()), state: Some("waiting".to_owned()) };
    let of_one = house.read().await.db().deliveries(&filter, None, 100).await.unwrap();
    assert_eq!(of_one.len(), 2);
    let older = house.read().await.db().deliveries(&filter, Some(of_one[0].seq), 100).await.unwrap();
    assert_eq!(older, of_one[1..]);
}

async fn take(house: &House, row: &DeliveryRow, me: DaemonId, until: Timestamp) -> Result<(), StoreError> {
    let (seq, seen) = (row.seq, row.attempt);
    house.write(move |unit| Box::pin(async move { unit.take_delivery(seq, seen, me, until).await })).await
}

async fn put_off(house: &House, seq: i64, due: Timestamp) -> Result<(), StoreError> {
    let why = "it answered 500";
    house.write(move |unit| Box::pin(async move { unit.put_off_delivery(seq, 2, due, why).await })).await
}

pub(crate) async fn a_notice_is_sent_by_one_daemon_at_a_time(house: House) {
    let one = notifier("01A", "one");
    insert(&house, one.clone()).await.unwrap();
    let row = test(&house, &one).await;
    let (me, other, later) = (house.daemon(), house.daemon(), Timestamp(i64::MAX));
    let due = async || house.read().await.db().due_deliveries("01A", house.clock.now(), 9).await.unwrap();
    assert_eq!(due().await, std::slice::from_ref(&row));
    take(&house, &row, me, later).await.unwrap();
    assert_eq!(due().await, [], "it is being sent");
    assert!(matches!(take(&house, &row, other, later).await, Err(StoreError::Conflict)));

    // Whoever has it is gone: by its lease, that of a daemon that never was.
    let seq = row.seq;
    let free = house.write(move |unit| Box::pin(async move { unit.release_dead(other, false).await }));
    free.await.unwrap();
    let again = due().await;
    assert_eq!(again.iter().map(|row| (row.attempt, row.taken_by.clone())).collect::<Vec<_>>(), [(1, None)]);
    take(&house, &again[0], other, later).await.unwrap();
    let late = house.write(move |unit| Box::pin(async move { unit.delivered(seq, 1, "").await })).await;
    assert!(matches!(late, Err(StoreError::Conflict)), "it was taken from the first one");
    put_off(&house, seq, later).await.unwrap();
    assert_eq!(due().await, []);
    let found = house.read().await.db().delivery(seq).await.unwrap().unwrap();
    assert_eq!((found.last_error.as_str(), found.taken_by), ("it answered 500", None));
    put_off(&house, seq, Timestamp(0)).await.unwrap();
    take(&house, &due().await[0], me, later).await.unwrap();
    house.write(move |unit| Box::pin(async move { unit.delivered(seq, 3, "").await })).await.unwrap();
    let found = house.read().await.db().delivery(seq).await.unwrap().unwrap();
    assert_eq!((found.state.as_str(), found.attempt, found.ended_at.is_some()), ("sent", 3, true));
    assert_eq!(due().await, []);
}

pub(crate) async fn what_was_told_goes_with_age_and_what_waits_with_its_notifier(house: House) {
    let (one, two) = (notifier("01A", "one"), notifier("01B", "two"));
    insert(&house, one.clone()).await.unwrap();
    insert(&house, two.clone()).await.unwrap();
    let (dead, waits, of_two) =
        (test(&house, &one).await, test(&house, &one).await, test(&house, &two).await);
    let seq = dead.seq;
    house
        .write(move |unit| Box::pin(async move { unit.give_up_delivery(seq, 0, "gone").await }))
        .await
        .unwrap();
    let count = house.read().await.db().dead_deliveries(Timestamp(0)).await.unwrap();
    assert_eq!(count.into_iter().collect::<Vec<_>>(), [("one".to_owned(), 1)]);
    assert!(house.read().await.db().dead_deliveries(Timestamp(i64::MAX)).await.unwrap().is_empty());

    house.write(|unit| Box::pin(async move { unit.delete_notifier("01A").await })).await.unwrap();
    let gone = house.write(|unit| Box::pin(async move { unit.delete_notifier("01A").await })).await;
    assert!(matches!(gone, Err(StoreError::Conflict)));
    let left: Vec<_> = all(&house).await.into_iter().map(|row| row.seq).collect();
    assert_eq!(left, [of_two.seq, dead.seq], "{} waited", waits.seq);
    let never = Timestamp(0);
    let expire = async |requests| {
        let horizon = Horizon { runs: never, transitions: never, requests, audit: never };
        house.write(move |unit| Box::pin(async move { unit.expire(horizon, 5).await })).await.unwrap()
    };
    assert_eq!(expire(Timestamp(1)).await, 0);
    assert_eq!(expire(Timestamp(i64::MAX)).await, 1);
    assert_eq!(all(&house).await.len(), 1, "what waits is not old");
}
