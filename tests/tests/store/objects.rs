//! What is stored comes back equal, in the right order, whatever it says.

use std::collections::BTreeMap;

use settled::domain::operation::Operation;
use settled::domain::resource::{Applied, Difference, Observed, Presence, Resource, ResourceStatus};
use settled::domain::run::Event;
use settled::domain::server::{Held, Policy, Server};
use settled::domain::step::{StepId, StepState};
use settled::domain::time::Timestamp;
use settled::domain::waiting::WaitReason;
use settled::store::queries::{ResourceFilter, RunFilter};
use settled::store::rows::{Change, Object, RunRow};

use crate::fixture::{House, TIMINGS, failure, new_resource, new_run, new_server};
use crate::walk::Walk;

/// Quotes of every kind, what looks like SQL, placeholders, controls, and letters beyond the basic plane.
const HOSTILE: &str = "'; DROP TABLE run; -- \"`$1 ?1 %s \\ \\0 {}\t\r\n\u{7f}\u{202e}\u{1f9ea}é\u{fffd}";

fn hostile_map() -> BTreeMap<String, String> {
    BTreeMap::from([(HOSTILE.to_owned(), HOSTILE.to_owned()), (String::new(), "\0".to_owned())])
}

async fn last_object(house: &House) -> (Change, Object) {
    let (last, _) = house.numbers().await;
    let rows = house.read().await.db().transitions(last - 1, 1).await.unwrap();
    (rows[0].change().unwrap(), rows[0].object().unwrap())
}

pub(crate) async fn every_object_comes_back_as_it_was_stored(house: House) {
    let run_id =
        new_run(&*house.clock, &new_resource(&*house.clock, &new_server(&*house.clock, "x"), "x")).id;
    let server = Server {
        host: HOSTILE.into(),
        user: HOSTILE.into(),
        labels: hostile_map(),
        facts: hostile_map(),
        reach_detail: HOSTILE.into(),
        policy: Policy {
            time_zone: HOSTILE.into(),
            windows: vec!["Sat-Mon 22:00-06:00".parse().unwrap(), "daily 00:00-24:00".parse().unwrap()],
            repair_dpkg: true,
        },
        held: Some(Held {
            since: Timestamp(i64::MIN),
            step: StepId { run: run_id, step: 1, attempt: 2, try_no: 3 },
            processes: vec![HOSTILE.into(), String::new()],
        }),
        last_seen: Some(Timestamp(i64::MAX)),
        last_error: Some(failure(run_id, HOSTILE)),
        ..new_server(&*house.clock, HOSTILE)
    };
    let server = house.store_server(server).await.unwrap();
    assert_eq!(house.read().await.db().server(server.id).await.unwrap().as_ref(), Some(&server));
    assert_eq!(house.read().await.db().server_by_name(HOSTILE).await.unwrap().as_ref(), Some(&server));
    let (change, object) = last_object(&house).await;
    assert!(matches!(object, Object::Server(s) if s == server) && change == Change::Created);

    for &status in ResourceStatus::ALL {
        let resource = Resource {
            status,
            desired: hostile_map(),
            applied: Some(Applied {
                params: hostile_map(),
                digest: HOSTILE.into(),
                known: false,
                by: Operation::Own(HOSTILE.into()),
            }),
            secrets: vec![HOSTILE.into()],
            last_error: Some(failure(run_id, "\0")),
            observed: Some(Observed {
                presence: Presence::Drifted,
                facts: hostile_map(),
                differs: vec![Difference {
                    fact: HOSTILE.into(),
                    expected: HOSTILE.into(),
                    found: String::new(),
                }],
                at: Timestamp(-1),
            }),
            open_run: Some(run_id),
            ..new_resource(&*house.clock, &server, &format!("{HOSTILE}{status}"))
        };
        let resource = house.store_resource(resource).await.unwrap();
        assert_eq!(house.read().await.db().resource(resource.id).await.unwrap().as_ref(), Some(&resource));
        let (_, object) = last_object(&house).await;
        assert!(matches!(object, Object::Resource(r) if r == resource));
    }

    let resource = house.resource(&server, "blog").await;
    let (run, step) = house.started(house.run(&resource).await).await;
    assert_eq!(house.read().await.db().run(run.id).await.unwrap(), Some(run.clone()));
    for &state in StepState::ALL {
        let mut step = house.read().await.db().step(step.id).await.unwrap().unwrap();
        step.state = state;
        step.exit_code = Some(i32::MIN);
        step.why = HOSTILE.into();
        step.ended_at = Some(Timestamp(9));
        step.truncated = true;
        let step = house
            .write(move |unit| {
                let mut step = step.clone();
                Box::pin(async move { unit.update_step(&mut step).await.map(|()| step) })
            })
            .await
            .unwrap();
        assert_eq!(house.read().await.db().steps(run.id).await.unwrap(), std::slice::from_ref(&step));
        let (_, object) = last_object(&house).await;
        assert!(matches!(object, Object::Step(s) if s == step));
    }
}

pub(crate) async fn names_are_ordered_by_their_bytes_and_paged_by_key(house: House) {
    let mut names = ["b", "B", "a", "A", "_", "-", "é", "z", "ab", "a b", "a-b", "10", "9", "\u{1f9ea}"];
    for name in names {
        house.server(name).await;
    }
    names.sort_unstable();
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = house.read().await.db().servers(&after, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after.clone_from(&last.name);
        seen.extend(page.into_iter().map(|s| s.name));
    }
    assert_eq!(seen, names);
}

pub(crate) async fn ids_are_ordered_by_their_bytes_newest_first(house: House) {
    let server = house.server("web1").await;
    let (mut resources, mut runs) = (Vec::new(), Vec::new());
    for n in 0..7 {
        let resource = house.resource(&server, &format!("r{n}")).await;
        runs.push(house.run(&resource).await.id.to_string());
        resources.push(resource.id.to_string());
    }
    resources.sort_unstable();
    runs.sort_unstable_by(|a, b| b.cmp(a));
    let filter = ResourceFilter {
        server: Some(server.id),
        status: Some("pending".into()),
        ..ResourceFilter::default()
    };
    let first = house.read().await.db().resources(&filter, "", 3).await.unwrap();
    let after = first[2].id.to_string();
    let rest = house.read().await.db().resources(&filter, &after, 100).await.unwrap();
    let seen: Vec<_> = first.iter().chain(&rest).map(|r| r.id.to_string()).collect();
    assert_eq!(seen, resources);
    let filter = RunFilter { server: Some(server.id), state: Some("queued".into()), ..RunFilter::default() };
    let first = house.read().await.db().runs(&filter, "", 3).await.unwrap();
    let rest = house.read().await.db().runs(&filter, &first[2].id, 100).await.unwrap();
    let seen: Vec<_> = first.iter().chain(&rest).map(|r| r.id.clone()).collect();
    assert_eq!(seen, runs);
    let none = RunFilter { outcome: Some("failed".into()), ..RunFilter::default() };
    assert!(house.read().await.db().runs(&none, "", 3).await.unwrap().is_empty());
}

/// PostgreSQL cannot store NUL in a text. A server that says one must not stop its lane.
pub(crate) async fn what_a_server_says_can_always_be_stored(house: House) {
    let server = house.server("web1").await;
    let run = house.run(&house.resource(&server, "blog").await).await;
    let said = Event::Waits { reason: WaitReason::Busy, who: "apt\0get".into(), next_try: None };
    let run = run.apply(said, house.clock.now(), &TIMINGS).unwrap();
    let run = house.update_run(run).await.unwrap();
    let stored = house.read().await.db().run(run.id).await.unwrap().unwrap();
    assert_eq!(stored.waiting().map(|w| w.who.as_str()), Some("apt\u{fffd}get"));
    let (_, step) = house.started(stored).await;
    house
        .write(move |unit| {
            let mut step = step.clone();
            step.why = "\0".into();
            let mut server = server.clone();
            server.reach_detail = "\0".into();
            server.facts.insert("machine_id".into(), "\0".into());
            Box::pin(async move {
                unit.update_step(&mut step).await?;
                unit.add_unresolved(server.id, step.id, "\0").await?;
                unit.update_server(&mut server).await
            })
        })
        .await
        .unwrap();
}

pub(crate) async fn every_reachable_run_comes_back_equal_and_its_transition_is_its_row(house: House) {
    let server = house.server("web1").await;
    let mut states = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let resource = house.resource(&server, &format!("r{seed}")).await;
        let mut run = house.run(&resource).await;
        let mut walk = Walk::new(seed);
        while let Some(next) = walk.next(&run) {
            run = house.update_run(next).await.unwrap();
            let stored = house.read().await.db().run_row(run.id).await.unwrap().unwrap();
            assert_eq!(stored.settles_by, run.settles_by().map(|t| t.0));
            states.insert(format!("{} {:?} {:?}", stored.state, stored.wait_reason, stored.reason));
            let (_, object) = last_object(&house).await;
            let Object::Run(from_transition, row) = object else { panic!("the last change was of the run") };
            assert_eq!(format!("{row:?}"), format!("{stored:?}"));
            assert_eq!(format!("{:?}", RunRow::new(&run)), format!("{stored:?}"));
            assert_eq!(from_transition, run, "seed {seed}");
            assert_eq!(
                house.read().await.db().run(run.id).await.unwrap().as_ref(),
                Some(&run),
                "seed {seed}"
            );
        }
    }
    assert!(states.len() > 20, "the walks reach too little: {states:#?}");
}
