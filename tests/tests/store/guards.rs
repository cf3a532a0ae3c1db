//! The store refuses what the domain did not decide on the present state, and what can never be.

use std::collections::BTreeMap;

use settled::domain::id::ServerId;
use settled::domain::resource::Resource;
use settled::domain::run::{Event, Run, RunState};
use settled::domain::server::Server;
use settled::store::{Db, StoreError};

use crate::fixture::{House, TIMINGS, new_resource, new_run, new_server, started};

fn word(refused: Result<impl std::fmt::Debug, StoreError>) -> String {
    match refused {
        Err(StoreError::Duplicate(word)) => word,
        other => panic!("expected a duplicate: {other:?}"),
    }
}

pub(crate) async fn p2_a_request_id_is_kept_once(house: House) {
    let keep = |digest: &'static str, answer: &'static str| {
        house.write(move |unit| {
            Box::pin(async move {
                unit.keep_request(("unix:0", "Resources.Install", "r-1"), digest, answer).await
            })
        })
    };
    keep("d1", "{}").await.unwrap();
    assert!(matches!(keep("d2", "[]").await, Err(StoreError::Conflict)));
    let mut reader = house.read().await;
    let kept = reader.db().request("unix:0", "Resources.Install", "r-1").await.unwrap().unwrap();
    assert_eq!((kept.digest.as_str(), kept.answer.as_str()), ("d1", "{}"));
    assert_eq!(reader.db().request("unix:1", "Resources.Install", "r-1").await.unwrap(), None);
    assert_eq!(reader.db().request("unix:0", "Resources.Update", "r-1").await.unwrap(), None);
}

pub(crate) async fn a_stale_version_is_a_conflict_and_leaves_nothing(house: House) {
    let server = house.server("web1").await;
    let resource = house.resource(&server, "blog").await;
    let (run, step) = house.started(house.run(&resource).await).await;
    let (before, _) = house.numbers().await;
    let (mut server, mut resource, mut run, mut step) = (server, resource, run, step);
    server.version += 1;
    resource.version += 1;
    run.version += 2;
    step.version += 1;
    for n in 0..6 {
        let (server, resource, run, step) = (server.clone(), resource.clone(), run.clone(), step.clone());
        let refused = house
            .write(move |unit| {
                let (mut server, mut resource, mut run, mut step) =
                    (server.clone(), resource.clone(), run.clone(), step.clone());
                Box::pin(async move {
                    match n {
                        0 => unit.update_server(&mut server).await,
                        1 => unit.delete_server(&mut server).await,
                        2 => unit.update_resource(&mut resource).await,
                        3 => unit.delete_resource(&mut resource).await,
                        4 => unit.update_run(&mut run).await,
                        _ => unit.update_step(&mut step).await,
                    }
                })
            })
            .await;
        assert!(matches!(refused, Err(StoreError::Conflict)), "{n}: {refused:?}");
    }
    assert_eq!(house.numbers().await.0, before);
}

pub(crate) async fn p7_a_completed_run_cannot_be_changed(house: House) {
    let server = house.server("web1").await;
    let run = house.run(&house.resource(&server, "blog").await).await;
    let open = run.clone();
    let ended = run.apply(Event::CancelRequested, house.clock.now(), &TIMINGS).unwrap();
    let ended = house.update_run(ended).await.unwrap();
    // As if a program forgot what the domain says: right version, and still refused.
    let revived = Run { version: ended.version + 1, epoch: 99, ..open };
    assert!(matches!(house.update_run(revived).await, Err(StoreError::Conflict)));
    let again = Run { version: ended.version + 1, ..ended.clone() };
    assert!(matches!(house.update_run(again).await, Err(StoreError::Conflict)));
    assert_eq!(house.read().await.db().run(ended.id).await.unwrap(), Some(ended));
}

pub(crate) async fn p3_one_exclusive_run_is_in_progress_on_a_server(house: House) {
    let server = house.server("web1").await;
    let (one, two) = (house.resource(&server, "one").await, house.resource(&server, "two").await);
    let (first, second) = (house.run(&one).await, house.run(&two).await);
    house.started(first).await;
    let second = second.apply(started(), house.clock.now(), &TIMINGS).unwrap();
    assert_eq!(word(house.update_run(second).await), "server, and a run in progress");
    let mut look = new_run(&*house.clock, &one);
    (look.exclusive, look.operation) = (false, settled::domain::operation::Operation::Probe);
    let look = house.store_run(look).await.unwrap();
    house.started(look).await;
    assert_eq!(house.read().await.db().running(server.id).await.unwrap().len(), 2, "a probe runs beside it");
}

pub(crate) async fn one_exclusive_run_is_open_on_a_resource(house: House) {
    let server = house.server("web1").await;
    let resource = house.resource(&server, "blog").await;
    let first = house.run(&resource).await;
    let second = new_run(&*house.clock, &resource);
    assert_eq!(word(house.store_run(second.clone()).await), "resource, and an open run");
    let ended = first.apply(Event::CancelRequested, house.clock.now(), &TIMINGS).unwrap();
    house.update_run(ended).await.unwrap();
    house.store_run(second).await.unwrap();
}

pub(crate) async fn what_is_unique_is_refused_with_the_same_word(house: House) {
    let with_machine = |name: &str| {
        let mut server = new_server(&*house.clock, name);
        server.facts.insert("machine_id".into(), "m1".into());
        server
    };
    let server = house.store_server(with_machine("web1")).await.unwrap();
    assert_eq!(word(house.store_server(new_server(&*house.clock, "web1")).await), "name");
    assert_eq!(word(house.store_server(with_machine("web2")).await), "machine id");
    let again = Server { name: "web3".into(), facts: BTreeMap::new(), ..server.clone() };
    assert_eq!(word(house.store_server(again).await), "id");
    let resource = house.resource(&server, "blog").await;
    assert_eq!(word(house.store_resource(new_resource(&*house.clock, &server, "blog")).await), "name");
    let again = Resource { name: "other".into(), ..resource };
    assert_eq!(word(house.store_resource(again).await), "id");
    let other = house.server("web9").await;
    house.resource(&other, "blog").await;
}

pub(crate) async fn a_key_parameter_has_one_holder(house: House) {
    let server = house.server("web1").await;
    let (one, two) = (house.resource(&server, "one").await, house.resource(&server, "two").await);
    let take = |of: &Resource| {
        let of = of.clone();
        house.write(move |unit| {
            let of = of.clone();
            Box::pin(async move { unit.take_key(&of, "port", "80").await })
        })
    };
    take(&one).await.unwrap();
    assert_eq!(word(take(&two).await), "port");
    let holder = house.read().await.db().key_holder(server.id, "deployment", "port", "80").await.unwrap();
    assert_eq!(holder, Some(one.id.to_string()));
    house
        .write(move |unit| {
            let mut one = one.clone();
            Box::pin(async move { unit.delete_resource(&mut one).await })
        })
        .await
        .unwrap();
    take(&two).await.unwrap();
}

/// Rows that the domain cannot produce, tried past it.
const IMPOSSIBLE: &[&str] = &[
    "UPDATE run SET state = 'paused'",
    "UPDATE run SET state = 'completed'",
    "UPDATE run SET outcome = 'failed'",
    "UPDATE run SET outcome = 'perfect'",
    "UPDATE run SET settles_by = NULL",
    "UPDATE run SET state = 'running'",
    "UPDATE run SET state = 'running', deadline = 1",
    "UPDATE run SET state = 'running', deadline = 1, attempt = 1",
    "UPDATE run SET state = 'running', deadline = 1, attempt = 4, started_at = 1",
    "UPDATE run SET state = 'running', deadline = 1, between_since = 1, attempt = 1, started_at = 1",
    "UPDATE run SET deadline = 1",
    "UPDATE run SET attempt = 1",
    "UPDATE run SET wait_reason = 'busy'",
    "UPDATE run SET resource_id = NULL",
    "UPDATE run SET state = 'completed', settles_by = NULL, completed_at = 1, outcome = 'failed', reason = 'lost'",
    "UPDATE run SET state = 'completed', settles_by = NULL, completed_at = 1, outcome = 'failed', evidence = 'none'",
    "UPDATE run SET state = 'completed', settles_by = NULL, completed_at = 1, outcome = 'succeeded', evidence = 'none'",
    "UPDATE run SET state = 'completed', settles_by = NULL, completed_at = 1, outcome = 'succeeded', evidence = 'not_started'",
    "UPDATE run SET state = 'completed', settles_by = NULL, completed_at = 1, outcome = 'succeeded', evidence = 'probe', reason = 'lost'",
    "UPDATE resource SET status = 'broken'",
    "UPDATE resource SET applied = '{}'",
    "UPDATE resource SET name = NULL",
    "UPDATE server SET port = 0",
    "UPDATE server SET status = 'active'",
    "UPDATE server SET reach = 'maybe'",
    "UPDATE server SET identity = 'password'",
    "INSERT INTO counter (one, seq) VALUES (2, 0)",
];

pub(crate) async fn impossible_rows_meet_a_check(house: House) {
    let server = house.server("web1").await;
    let run = house.run(&house.resource(&server, "blog").await).await;
    let (before, _) = house.numbers().await;
    for sql in IMPOSSIBLE {
        let refused = house
            .write(move |unit| {
                Box::pin(async move {
                    match unit.db().await? {
                        Db::Sqlite(c) => sqlx::query(*sql).execute(&mut **c).await.map(drop)?,
                        Db::Postgres(c) => sqlx::query(*sql).execute(&mut **c).await.map(drop)?,
                    }
                    Ok(())
                })
            })
            .await;
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{sql}: {refused:?}");
    }
    assert_eq!(house.read().await.db().run(run.id).await.unwrap(), Some(run.clone()));
    assert!(matches!(run.state, RunState::Queued { .. }));
    assert_eq!(house.numbers().await.0, before);
}

pub(crate) async fn a_server_with_resources_stays(house: House) {
    let server = house.server("web1").await;
    let resource = house.resource(&server, "blog").await;
    let delete_server = |server: &Server| {
        let server = server.clone();
        house.write(move |unit| {
            let mut server = server.clone();
            Box::pin(async move { unit.delete_server(&mut server).await })
        })
    };
    assert!(matches!(delete_server(&server).await, Err(StoreError::Conflict)));
    house
        .write(move |unit| {
            let mut resource = resource.clone();
            Box::pin(async move { unit.delete_resource(&mut resource).await })
        })
        .await
        .unwrap();
    delete_server(&server).await.unwrap();
    assert_eq!(house.read().await.db().lane(ServerId(server.id.0)).await.unwrap(), None);
    assert_eq!(house.numbers().await.0, 4, "each delete has its transition");
}
