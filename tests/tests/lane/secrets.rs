//! P12: what a secret was stays masked until nothing on the server has it any more.

use std::collections::BTreeMap;

use settled::domain::id::RunId;
use settled::domain::operation::Operation;
use settled::domain::turn::Turn;
use settled::engine::{Install, Operate};
use settled_tests::scripted::Play;
use settled_tests::sim::World;

use super::{seconds, world};

async fn install(w: &mut World, password: &str) -> RunId {
    let asked = w.asked("Resources.Install");
    let ask = Install {
        server: "alpha".to_owned(),
        package: "thing".to_owned(),
        name: "one".to_owned(),
        parameters: BTreeMap::new(),
        secrets: BTreeMap::from([("password".to_owned(), password.as_bytes().to_vec())]),
        turn: Turn::default(),
        with_requirements: false,
    };
    w.daemon.engine.install(asked, ask).await.unwrap().run.unwrap().id.parse().unwrap()
}

async fn update(w: &mut World, password: Option<&str>) -> RunId {
    let asked = w.asked("Resources.Update");
    let secret = password.map(|password| ("password".to_owned(), password.as_bytes().to_vec()));
    let ask = Operate {
        resource: "alpha/thing/one".to_owned(),
        operation: Operation::Update,
        parameters: BTreeMap::new(),
        secrets: secret.into_iter().collect(),
        turn: Turn::default(),
    };
    w.daemon.engine.operate(asked, ask).await.unwrap().run.unwrap().id.parse().unwrap()
}

/// What the steps of a run have written, as it is stored.
async fn output(w: &World, run: RunId) -> String {
    let mut reader = w.daemon.engine.store().read().await.unwrap();
    let mut written = Vec::new();
    for step in reader.db().steps(run).await.unwrap() {
        for (_, piece) in reader.db().output(step.id, 0, 100).await.unwrap() {
            written.extend(piece);
        }
    }
    String::from_utf8(written).unwrap()
}

#[tokio::test]
async fn p12_a_replaced_secret_is_masked_until_a_change_has_succeeded() {
    let mut w = world(&["alpha"]).await;
    let run = install(&mut w, "hunter22").await;
    w.end(run, seconds(60)).await.unwrap();

    let says = "from hunter22 to correct-horse\n";
    w.remote.decide(move |_, _| Play::exit(78).writes(seconds(0), says));
    let run = update(&mut w, Some("correct-horse")).await;
    w.end(run, seconds(900)).await.unwrap();
    assert_eq!(output(&w, run).await, "from ******** to *************\n");

    w.remote.decide(move |_, _| Play::exit(0).writes(seconds(0), says));
    let run = update(&mut w, None).await;
    w.end(run, seconds(60)).await.unwrap();
    assert_eq!(output(&w, run).await, "from ******** to *************\n", "it may have been there still");

    let run = update(&mut w, None).await;
    w.end(run, seconds(60)).await.unwrap();
    assert_eq!(output(&w, run).await, "from hunter22 to *************\n", "nothing has it any more");
}
