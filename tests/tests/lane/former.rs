//! An update of which nothing has run has asked for nothing: parameters, secrets and key values are again what they were.

use std::collections::BTreeMap;

use settled::domain::id::RunId;
use settled::domain::operation::Operation;
use settled::domain::turn::Turn;
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::engine::{Install, Operate};
use settled_tests::scripted::Play;
use settled_tests::sim::World;

use super::{ended, seconds, succeeded, world};

type Values = BTreeMap<String, String>;

fn values(version: &str, port: &str) -> Values {
    [("version", version), ("port", port)].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

async fn install(w: &mut World, name: &str, parameters: Values) -> RunId {
    let asked = w.asked("Resources.Install");
    let ask = Install {
        server: "alpha".to_owned(),
        package: "thing".to_owned(),
        name: name.to_owned(),
        parameters,
        secrets: BTreeMap::from([("password".to_owned(), b"first".to_vec())]),
        turn: Turn::default(),
        with_requirements: false,
    };
    w.daemon.engine.install(asked, ask).await.unwrap().run.unwrap().id.parse().unwrap()
}

async fn update(w: &mut World, parameters: Values, password: Option<&str>) -> RunId {
    let asked = w.asked("Resources.Update");
    let secrets = password.map(|value| ("password".to_owned(), value.as_bytes().to_vec()));
    let ask = Operate {
        resource: "alpha/thing/one".to_owned(),
        operation: Operation::Update,
        parameters,
        secrets: secrets.into_iter().collect(),
        turn: Turn::default(),
    };
    w.daemon.engine.operate(asked, ask).await.unwrap().run.unwrap().id.parse().unwrap()
}

/// `alpha/thing/one` is installed; a long run has the lane.
async fn busy() -> (World, RunId) {
    let mut w = world(&["alpha"]).await;
    let run = install(&mut w, "one", values("1", "80")).await;
    succeeded(&w.end(run, seconds(60)).await.unwrap());
    w.remote.script("long", [Play::takes(seconds(100))]);
    let long = install(&mut w, "long", Values::new()).await;
    w.until(long, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    (w, long)
}

/// What a run of it that begins now would be sent.
async fn password_of(w: &World, run: RunId) -> String {
    let run = w.run(run).await.unwrap();
    let prepared = w.daemon.engine.prepare_run(&run).await.unwrap();
    let (_, password) = prepared.secrets.iter().find(|(name, _)| name == "password").expect("it has one");
    String::from_utf8(password.to_vec()).unwrap()
}

#[tokio::test]
async fn an_update_that_was_cancelled_before_it_began_has_asked_for_nothing() {
    let (mut w, long) = busy().await;
    let cancelled = update(&mut w, values("2", "81"), Some("second")).await;
    assert_eq!(w.resource("alpha/thing/one").await.unwrap().unwrap().desired, values("2", "81"));
    w.cancel(cancelled).await.unwrap();

    let resource = w.resource("alpha/thing/one").await.unwrap().unwrap();
    assert_eq!(resource.desired, values("1", "80"));
    assert_eq!(resource.applied.unwrap().params, values("1", "80"));
    let again = update(&mut w, Values::new(), None).await;
    assert_eq!(password_of(&w, again).await, "first");
    succeeded(&w.end(long, seconds(200)).await.unwrap());
    succeeded(&w.end(again, seconds(60)).await.unwrap());
    let resource = w.resource("alpha/thing/one").await.unwrap().unwrap();
    assert_eq!(
        resource.applied.unwrap().params,
        values("1", "80"),
        "an update without values applies the same again"
    );
    let other = install(&mut w, "other", values("1", "81")).await;
    succeeded(&w.end(other, seconds(60)).await.unwrap());
}

#[tokio::test]
async fn a_secret_that_only_a_cancelled_update_has_brought_is_gone() {
    let mut w = world(&["alpha"]).await;
    let run = w.install("alpha", "thing", "one").await.unwrap();
    succeeded(&w.end(run, seconds(60)).await.unwrap());
    w.remote.script("long", [Play::takes(seconds(100))]);
    let long = install(&mut w, "long", Values::new()).await;
    w.until(long, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    let cancelled = update(&mut w, Values::new(), Some("second")).await;
    w.cancel(cancelled).await.unwrap();
    let resource = w.resource("alpha/thing/one").await.unwrap().unwrap();
    assert_eq!(resource.secrets, Vec::<String>::new());
    let owner = resource.id.to_string();
    let mut reader = w.daemon.engine.store().read().await.unwrap();
    assert_eq!(reader.db().secrets(&owner).await.unwrap(), []);
    assert_eq!(reader.db().former_secrets(&owner).await.unwrap(), []);
}

#[tokio::test]
async fn an_update_that_has_begun_and_failed_stays_what_is_asked_for() {
    let mut w = world(&["alpha"]).await;
    let run = install(&mut w, "one", values("1", "80")).await;
    succeeded(&w.end(run, seconds(60)).await.unwrap());
    w.remote.decide(|_, _| Play::exit(1));
    let failed = update(&mut w, values("2", "80"), Some("second")).await;
    let run = w.end(failed, seconds(900)).await.unwrap();
    ended(&run, Outcome::Failed, Reason::AttemptsExhausted, Evidence::ExitRecord);
    let resource = w.resource("alpha/thing/one").await.unwrap().unwrap();
    assert_eq!((resource.desired, resource.former), (values("2", "80"), None));

    w.remote.decide(|_, _| Play::exit(0));
    let retried = w.retry("alpha/thing/one").await.unwrap();
    assert_eq!(password_of(&w, retried).await, "second");
    succeeded(&w.end(retried, seconds(60)).await.unwrap());
}

#[tokio::test]
async fn a_removal_in_place_of_a_queued_update_works_with_what_was_asked_for_before() {
    let (mut w, long) = busy().await;
    update(&mut w, values("2", "81"), Some("second")).await;
    let removal = w.remove("alpha/thing/one").await.unwrap();
    assert_eq!(w.resource("alpha/thing/one").await.unwrap().unwrap().desired, values("1", "80"));
    succeeded(&w.end(long, seconds(200)).await.unwrap());
    succeeded(&w.end(removal, seconds(60)).await.unwrap());
}
