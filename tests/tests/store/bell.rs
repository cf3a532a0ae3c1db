//! Calls: who is told, right after a commit, that a server's lane has news. In the daemon that commits, and in those that share its
//! database.

use std::collections::BTreeSet;
use std::sync::Arc;

use settled::domain::id::ServerId;
use settled::hub::Hub;
use settled::store::{StoreError, open};
use settled_tests::postgres::Postgres;

use crate::fixture::House;

/// Commits something that has news for a server.
async fn call(house: &House, server: ServerId, digest: &'static str) {
    let called = house.write(move |unit| {
        Box::pin(async move {
            unit.keep_package(digest, "p", "").await?;
            unit.call(server);
            Ok(())
        })
    });
    called.await.unwrap();
}

pub(crate) async fn a_commit_calls_and_a_refusal_does_not(house: House) {
    let hub = Hub::new(&house.opened.writer);
    let [one, other] = [0, 1].map(|_| ServerId(house.clock.ulid()));
    let refused: Result<(), _> = house
        .write(move |unit| {
            unit.call(other);
            Box::pin(async { Err(StoreError::Conflict) })
        })
        .await;
    assert!(refused.is_err());
    call(&house, one, "d").await;
    assert_eq!(hub.take_called(), BTreeSet::from([one]), "before the command is answered");

    let lane = hub.enter(one);
    call(&house, one, "e").await;
    lane.notified().await;
    assert_eq!(hub.take_called(), BTreeSet::new(), "whoever works there is told itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_on_one_postgresql_hear_of_each_others_commits() {
    let (here, server) = (House::postgres().await, ServerId(ulid::Ulid::from_parts(1, 1)));
    let there = open(&here.url, None, Arc::clone(&here.clock)).await.unwrap();
    let hub = Hub::new(&there.writer);
    let mut committed = hub.committed();
    committed.mark_unchanged();

    let seq = here.server("web1").await.seq;
    committed.changed().await.unwrap();
    assert_eq!(committed.borrow_and_update().seq, seq, "a watcher there looks again");

    call(&here, server, "d").await;
    hub.dispatcher().notified().await;
    assert_eq!(hub.take_called(), BTreeSet::from([server]), "the dispatcher there looks at that server");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_cut_off_looks_again_and_hears_again() {
    let (here, server) = (House::postgres().await, ServerId(ulid::Ulid::from_parts(1, 1)));
    let there = open(&here.url, None, Arc::clone(&here.clock)).await.unwrap();
    let hub = Hub::new(&there.writer);
    let mut committed = hub.committed();
    committed.mark_unchanged();

    let database = here.url.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned();
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    let ended = tokio::task::spawn_blocking(move || Postgres::shared().psql(&database, cut)).await.unwrap();
    assert_eq!(ended.trim(), "2", "both daemons were listening");

    committed.changed().await.unwrap();
    call(&here, server, "d").await;
    hub.dispatcher().notified().await;
    assert_eq!(hub.take_called(), BTreeSet::from([server]));
}
