//! Lanes: one owner, an epoch that rises, and nothing written by those who lost it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use settled::clock::{Clock, SystemClock};
use settled::domain::id::{DaemonId, ServerId};
use settled::domain::operation::Operation;
use settled::domain::run::{Event, Run, Subject};
use settled::domain::server::{Reach, Server};
use settled::domain::time::Timestamp;
use settled::store::{StoreError, Writer, open};

use crate::fixture::{House, TIMINGS, new_run, new_server, write};

async fn take(house: &House, server: ServerId, me: DaemonId) -> Result<i64, StoreError> {
    house.write(move |unit| Box::pin(async move { unit.take_lane(server, me).await })).await
}

pub(crate) async fn p3_a_lane_has_one_owner_and_its_epoch_rises(house: House) {
    let server = house.server("web1").await.id;
    let (me, other) = (house.daemon(), house.daemon());
    assert_eq!(take(&house, server, me).await.unwrap(), 1);
    assert!(matches!(take(&house, server, other).await, Err(StoreError::Conflict)));
    assert!(
        matches!(take(&house, server, me).await, Err(StoreError::Conflict)),
        "not even twice by the same"
    );
    let hold = |who, epoch| {
        house.write(move |unit| Box::pin(async move { unit.hold_lane(server, who, epoch).await }))
    };
    let release = |who, epoch| {
        house.write(move |unit| Box::pin(async move { unit.release_lane(server, who, epoch).await }))
    };
    hold(me, 1).await.unwrap();
    for (who, epoch) in [(other, 1), (me, 0), (me, 2)] {
        assert!(matches!(hold(who, epoch).await, Err(StoreError::Conflict)));
        assert!(matches!(release(who, epoch).await, Err(StoreError::Conflict)));
    }
    let raise = house.write(move |unit| Box::pin(async move { unit.raise_epoch(server, me, 1, 41).await }));
    raise.await.unwrap();
    assert!(matches!(hold(me, 1).await, Err(StoreError::Conflict)));
    release(me, 41).await.unwrap();
    assert_eq!(take(&house, server, other).await.unwrap(), 42);
}

pub(crate) async fn p3_an_older_epoch_writes_nothing(house: House) {
    let server = house.server("web1").await;
    let queued = house.run(&house.resource(&server, "blog").await).await;
    let mine = take(&house, server.id, house.daemon()).await.unwrap();
    let (run, _) = house.started(Run { epoch: mine, ..queued }).await;
    let id = server.id;
    let adopted =
        house.write(move |unit| Box::pin(async move { unit.adopt_running(id, 2).await })).await.unwrap();
    assert_eq!(adopted, [run.id]);
    let stale = run.clone().apply(Event::CancelRequested, house.clock.now(), &TIMINGS).unwrap();
    assert!(matches!(house.update_run(stale.clone()).await, Err(StoreError::Conflict)));
    house.update_run(Run { epoch: 2, ..stale }).await.unwrap();
}

pub(crate) async fn lanes_of_the_dead_are_freed(house: House) {
    let servers = [house.server("a").await.id, house.server("b").await.id, house.server("c").await.id];
    let (me, alive, dead) = (house.daemon(), house.daemon(), house.daemon());
    for (server, owner) in servers.into_iter().zip([me, alive, dead]) {
        take(&house, server, owner).await.unwrap();
    }
    renew(&house.opened.writer, alive, Duration::from_secs(30)).await;
    renew(&house.opened.writer, dead, Duration::ZERO).await;
    let free =
        |everyone| house.write(move |unit| Box::pin(async move { unit.release_dead(me, everyone).await }));
    let freed = free(false).await.unwrap();
    let named: Vec<_> = freed.iter().map(|lane| (lane.server.as_str(), lane.owner.as_str())).collect();
    assert_eq!(named, [("c", dead.to_string().as_str())]);
    assert_eq!(take(&house, servers[2], me).await.unwrap(), 2);
    assert_eq!(free(true).await.unwrap().len(), 1, "who holds the data directory is alone");
    let detach = house.write(move |unit| Box::pin(async move { unit.detach(me).await }));
    assert_eq!(detach.await.unwrap(), 2);
}

async fn renew(writer: &Writer, who: DaemonId, length: Duration) {
    let renewal = write(writer, move |unit| {
        Box::pin(async move {
            let until = unit.now() + length;
            unit.renew_lease(who, "0.1.0", &[].into(), &[], true, until).await
        })
    });
    renewal.await.unwrap();
}

/// Which lanes want an owner: by the reach of their server and by what stands in them.
const WORK: &[(Reach, &str, bool)] = &[
    (Reach::Ok, "nothing", false),
    (Reach::Ok, "queued", true),
    (Reach::Ok, "running", true),
    (Reach::Unreachable, "queued", true),
    (Reach::Unreachable, "running", true),
    (Reach::Paused, "queued", false),
    (Reach::Paused, "running", true),
    (Reach::Refused, "queued", false),
    (Reach::Refused, "running", false),
    (Reach::Refused, "look", true),
];

pub(crate) async fn lanes_with_work_are_found(house: House) {
    let mut expected = Vec::new();
    for (n, (reach, work, found)) in WORK.iter().enumerate() {
        let server = Server { reach: *reach, ..new_server(&*house.clock, &format!("s{n}")) };
        let server = house.store_server(server).await.unwrap();
        if *work != "nothing" {
            let mut run = new_run(&*house.clock, &house.resource(&server, "blog").await);
            if *work == "look" {
                (run.subject, run.operation) = (Subject::Server, Operation::Register);
            }
            let run = house.store_run(run).await.unwrap();
            if *work == "running" {
                house.started(run).await;
            }
        }
        let alone = house.read().await.db().lanes_to_take(Some(server.id), 10).await.unwrap();
        assert_eq!(!alone.is_empty(), *found, "{reach}, {work}");
        expected.extend(found.then(|| server.id.to_string()));
    }
    expected.sort_unstable();
    let found = async || house.read().await.db().lanes_to_take(None, 100).await.unwrap();
    assert_eq!(found().await, expected);
    let taken = expected.remove(0).parse().unwrap();
    take(&house, taken, house.daemon()).await.unwrap();
    assert_eq!(found().await, expected, "a lane with an owner is not found");
}

pub(crate) async fn what_is_unresolved_is_listed_once_until_it_is_resolved(house: House) {
    let server = house.server("web1").await;
    let (_, step) = house.started(house.run(&house.resource(&server, "blog").await).await).await;
    let (id, step) = (server.id, step.id);
    let note = |detail| {
        house.write(move |unit| Box::pin(async move { unit.add_unresolved(id, step, detail).await }))
    };
    note("no exit record").await.unwrap();
    note("said twice").await.unwrap();
    let unresolved = house.read().await.db().unresolved(id).await.unwrap();
    assert_eq!((unresolved.len(), unresolved[0].detail.as_str()), (1, "no exit record"));
    house.write(move |unit| Box::pin(async move { unit.resolve(step).await })).await.unwrap();
    assert!(house.read().await.db().unresolved(id).await.unwrap().is_empty());
}

/// A machine whose clock is wrong.
struct Wrong(SystemClock, i64);

#[async_trait]
impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.now().0 + self.1)
    }
    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
    async fn sleep_until(&self, at: Duration) {
        self.0.sleep_until(at).await;
    }
    fn ulid(&self) -> ulid::Ulid {
        self.0.ulid()
    }
    fn random(&self) -> u64 {
        self.0.random()
    }
}

/// Two daemons share PostgreSQL, and one of their machines is an hour ahead.
#[tokio::test(flavor = "multi_thread")]
async fn p3_a_wrong_clock_frees_no_lane_of_the_living() {
    const HOUR_US: i64 = 3_600_000_000;
    let house = House::postgres().await;
    let server = house.server("web1").await.id;
    let (me, other) = (house.daemon(), house.daemon());
    take(&house, server, me).await.unwrap();
    renew(&house.opened.writer, me, Duration::from_secs(30)).await;
    let ahead = open(&house.url, None, Arc::new(Wrong(SystemClock::new(), HOUR_US))).await.unwrap();
    let free = |length| {
        let writer = ahead.writer.clone();
        async move {
            renew(&writer, other, length).await;
            write(&writer, move |unit| Box::pin(async move { unit.release_dead(other, false).await }))
                .await
                .unwrap()
                .len()
        }
    };
    assert_eq!(free(Duration::from_secs(30)).await, 0, "the lease of the other is good");
    renew(&house.opened.writer, me, Duration::ZERO).await;
    assert_eq!(free(Duration::from_secs(30)).await, 1);
}
