//! Values that only one resource of a server may have: held from acceptance until nothing on the server has them any more.

use std::collections::BTreeMap;

use settled::domain::id::RunId;
use settled::domain::operation::Operation;
use settled::domain::turn::Turn;
use settled::engine::{Install, Operate, Refusal};
use settled_tests::scripted::Play;
use settled_tests::sim::World;

use super::{seconds, succeeded, world};

/// `thing` has the key parameter `port`.
async fn put(w: &mut World, name: &str, port: &str) -> Result<RunId, Refusal> {
    let asked = w.asked("Resources.Install");
    let ask = Install {
        server: "alpha".to_owned(),
        package: "thing".to_owned(),
        name: name.to_owned(),
        parameters: BTreeMap::from([("port".to_owned(), port.to_owned())]),
        secrets: BTreeMap::new(),
        turn: Turn::default(),
        with_requirements: false,
    };
    w.daemon.engine.install(asked, ask).await.map(|answer| answer.run.unwrap().id.parse().unwrap())
}

async fn update(w: &mut World, name: &str, port: &str) -> RunId {
    let asked = w.asked("Resources.Update");
    let ask = Operate {
        resource: format!("alpha/thing/{name}"),
        operation: Operation::Update,
        parameters: BTreeMap::from([("port".to_owned(), port.to_owned())]),
        secrets: BTreeMap::new(),
        turn: Turn::default(),
    };
    w.daemon.engine.operate(asked, ask).await.unwrap().run.unwrap().id.parse().unwrap()
}

#[tokio::test]
async fn a_key_value_is_held_until_nothing_on_the_server_has_it() {
    let mut w = world(&["alpha"]).await;
    let run = put(&mut w, "one", "80").await.unwrap();
    succeeded(&w.end(run, seconds(60)).await.unwrap());

    w.remote.decide(|_, _| Play::exit(78));
    let run = update(&mut w, "one", "81").await;
    w.end(run, seconds(900)).await.unwrap();
    assert_eq!(w.status("alpha/thing/one").await.unwrap(), "failed");
    for port in ["80", "81"] {
        let refused = put(&mut w, "two", port).await.unwrap_err();
        assert!(refused.to_string().contains(&format!("port = {port} is taken")), "{refused}");
    }

    w.remote.decide(|_, _| Play::exit(0));
    let run = w.retry("alpha/thing/one").await.unwrap();
    succeeded(&w.end(run, seconds(60)).await.unwrap());
    assert!(put(&mut w, "two", "81").await.is_err(), "it is there now");
    put(&mut w, "two", "80").await.expect("nothing has it any more");
}

/// Asked for at the same time, as two callers would.
async fn both(w: &mut World, names: [&str; 2]) -> [Result<RunId, Refusal>; 2] {
    let ask = |name: &str| Install {
        server: "alpha".to_owned(),
        package: "lonely".to_owned(),
        name: name.to_owned(),
        parameters: BTreeMap::new(),
        secrets: BTreeMap::new(),
        turn: Turn::default(),
        with_requirements: false,
    };
    let (one, two) = (w.asked("Resources.Install"), w.asked("Resources.Install"));
    let engine = &w.daemon.engine;
    let (one, two) = tokio::join!(engine.install(one, ask(names[0])), engine.install(two, ask(names[1])));
    [one, two].map(|answer| answer.map(|answer| answer.run.unwrap().id.parse().unwrap()))
}

#[tokio::test]
async fn a_server_has_one_of_what_it_can_have_one_of() {
    let mut w = world(&["alpha", "beta"]).await;
    let [Ok(run), Err(refused)] = both(&mut w, ["one", "two"]).await else { panic!("one is accepted") };
    assert_eq!(
        refused.to_string(),
        "a server has one lonely at most, and alpha has alpha/lonely/one: change that with `settlectl update \
         alpha/lonely/one`, or remove it first"
    );
    assert!(matches!(refused, Refusal::Exists { .. }), "{refused:?}");
    succeeded(&w.end(run, seconds(60)).await.unwrap());
    let run = w.install("beta", "lonely", "other").await.unwrap();
    succeeded(&w.end(run, seconds(60)).await.unwrap());

    let run = w.operate("alpha/lonely/one", "update").await.unwrap();
    succeeded(&w.end(run, seconds(60)).await.unwrap());
    assert!(w.install("alpha", "lonely", "two").await.is_err(), "it is there still");
    let run = w.remove("alpha/lonely/one").await.unwrap();
    assert!(w.install("alpha", "lonely", "two").await.is_err(), "until it is gone");
    succeeded(&w.end(run, seconds(60)).await.unwrap());
    w.install("alpha", "lonely", "two").await.unwrap();
}
