//! Whose turn it is: by priority, and within one by who came first. What has begun is not interrupted.

use settled::domain::id::RunId;
use settled::domain::run::RunState;
use settled::domain::turn::{Priority, Turn};
use settled::engine::Install;
use settled_tests::scripted::Play;
use settled_tests::sim::World;

use super::{seconds, succeeded, world};

async fn put(w: &mut World, name: &str, priority: Priority) -> RunId {
    let asked = w.asked("Resources.Install");
    let ask = Install {
        server: "alpha".to_owned(),
        package: "thing".to_owned(),
        name: name.to_owned(),
        parameters: [].into(),
        secrets: [].into(),
        turn: Turn { priority, ..Turn::default() },
        with_requirements: false,
    };
    w.daemon.engine.install(asked, ask).await.unwrap().run.unwrap().id.parse().unwrap()
}

#[tokio::test]
async fn a_run_has_its_turn_by_priority_and_then_by_who_came_first() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("first", [Play::takes(seconds(60))]);
    let first = put(&mut w, "first", Priority::Low).await;
    w.until(first, seconds(5), |run| run.live_step().is_some()).await.unwrap();

    let mut asked = Vec::new();
    for (name, priority) in [
        ("f", Priority::Low),
        ("d", Priority::Normal),
        ("b", Priority::High),
        ("e", Priority::Normal),
        ("c", Priority::High),
    ] {
        asked.push((name, put(&mut w, name, priority).await));
    }
    asked.sort_unstable();
    let mut places = Vec::new();
    for (_, run) in &asked {
        let mut reader = w.daemon.engine.store().read().await.unwrap();
        places.push(reader.db().queue_position(*run).await.unwrap());
    }
    assert_eq!(places, [1, 2, 3, 4, 5], "as they are shown to wait");
    assert!(matches!(w.run(first).await.unwrap().state, RunState::Running(_)), "what has begun goes on");

    w.go(seconds(600)).await.unwrap();
    let mut order = w.remote.witness().iter().map(|ran| ran.id.run).collect::<Vec<_>>();
    order.dedup();
    let expected: Vec<_> = [first].into_iter().chain(asked.iter().map(|(_, run)| *run)).collect();
    assert_eq!(order, expected, "as they ran");
    for run in order {
        succeeded(&w.run(run).await.unwrap());
    }
}
