//! What packages require of their server: seen to when an operation is accepted, brought along on request, and looked at again when it begins.

use std::collections::BTreeMap;

use settled::domain::id::RunId;
use settled::domain::run::Run;
use settled::domain::turn::{Priority, Turn};
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::engine::{Answer, Install, Refusal};
use settled::store::AuditFilter;
use settled_tests::scripted::Play;
use settled_tests::sim::World;

use super::{ended, executions, seconds, succeeded, world};

const GUEST: &str = "alpha/guest/anna";

fn guest(wants: &str, with_requirements: bool) -> Install {
    Install {
        parameters: [("wants".to_owned(), wants.to_owned())].into(),
        with_requirements,
        ..settled_tests::sim::install("alpha", "guest", "anna")
    }
}

async fn ask(w: &mut World, ask: Install) -> Result<Answer, Refusal> {
    let asked = w.asked("Resources.Install");
    w.daemon.engine.install(asked, ask).await
}

fn run_of(answer: &Answer) -> RunId {
    answer.run.as_ref().unwrap().id.parse().unwrap()
}

/// The packages that a refusal names, and its sentence.
#[track_caller]
fn missing(refused: Result<impl std::fmt::Debug, Refusal>) -> (Vec<String>, String) {
    match refused {
        Err(Refusal::Missing { packages, message }) => {
            (packages.into_iter().map(|(package, _)| package).collect(), message)
        }
        other => panic!("{other:?}"),
    }
}

async fn done(w: &mut World, package: &str, name: &str) {
    let id = w.install("alpha", package, name).await.unwrap();
    succeeded(&w.end(id, seconds(60)).await.unwrap());
}

#[tokio::test]
async fn what_is_missing_is_named_with_the_command_that_helps_and_nothing_is_stored() {
    let mut w = world(&["alpha"]).await;
    let (packages, message) = missing(ask(&mut w, guest("garden", false)).await);
    assert_eq!(packages, ["garden", "house"]);
    for part in [
        "alpha/guest/anna requires `garden` and `house`, which are not there on alpha",
        "settlectl install garden --server alpha; settlectl install house --server alpha",
        "--with-requirements",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(w.status(GUEST).await.unwrap(), "gone");
    done(&mut w, "house", "mine").await;
    let answer = ask(&mut w, guest("nothing", false)).await.unwrap();
    succeeded(&w.end(run_of(&answer), seconds(60)).await.unwrap());
    // An update that comes to need more is a change like an install.
    let mut update = settled::engine::Operate {
        resource: GUEST.to_owned(),
        operation: settled::domain::operation::Operation::Update,
        parameters: [("wants".to_owned(), "garden".to_owned())].into(),
        secrets: std::collections::BTreeMap::new(),
        turn: Turn::default(),
    };
    let asked = w.asked("Resources.Update");
    let (packages, message) = missing(w.daemon.engine.operate(asked, update.clone()).await);
    assert!(packages == ["garden"] && !message.contains("--with-requirements"), "{message}");
    update.parameters.clear();
    let asked = w.asked("Resources.Update");
    w.daemon.engine.operate(asked, update).await.expect("it has what it needs");
}

#[tokio::test]
async fn p1_requirements_are_installed_in_front_all_in_one_and_each_once() {
    let mut w = world(&["alpha"]).await;
    let answer = ask(&mut w, guest("garden", true)).await.unwrap();
    let names = |answer: &Answer| {
        let rows = answer.required.iter().map(|run| run.package.clone().unwrap());
        rows.collect::<Vec<_>>()
    };
    assert_eq!(names(&answer), ["house", "garden"], "a garden requires a house, too");
    for path in ["alpha/house/house", "alpha/garden/garden", GUEST] {
        assert_eq!(w.status(path).await.unwrap(), "pending", "{path}");
    }
    let run = w.end(run_of(&answer), seconds(60)).await.unwrap();
    succeeded(&run);
    for row in &answer.required {
        let required = w.run(row.id.parse().unwrap()).await.unwrap();
        succeeded(&required);
        assert!(required.id < run.id && required.verdict().unwrap().at <= run.verdict().unwrap().at);
    }
    let audit = w
        .daemon
        .engine
        .store()
        .read()
        .await
        .unwrap()
        .db()
        .audited(&AuditFilter::default(), None, 10)
        .await
        .unwrap();
    let of = |object: &str| audit.iter().find(|row| row.object == object).map(|row| row.detail.clone());
    assert!(of("alpha/house/house").unwrap().starts_with("required by alpha/guest/anna; definition sha256:"));
    assert!(of(GUEST).unwrap().contains("wants=\"garden\""));

    // What is there, or on its way in front, is not installed again.
    let other = Install { name: "ben".to_owned(), ..guest("garden", true) };
    assert_eq!(names(&ask(&mut w, other).await.unwrap()), [""; 0]);
}

#[tokio::test]
async fn p2_requirements_that_are_asked_for_twice_come_once() {
    let mut w = world(&["alpha"]).await;
    let asked = w.asked("Resources.Install");
    let first = w.daemon.engine.install(asked.clone(), guest("garden", true)).await.unwrap();
    let again = w.daemon.engine.install(asked, guest("garden", true)).await.unwrap();
    let ids = |answer: &Answer| answer.required.iter().map(|run| run.id.clone()).collect::<Vec<_>>();
    assert_eq!((run_of(&first), ids(&first)), (run_of(&again), ids(&again)));
    assert_eq!(w.checker.open().count(), 0, "the checker has not looked yet");
    w.check().await.unwrap();
    assert_eq!(w.checker.open().count(), 3);
}

#[tokio::test]
async fn all_or_nothing_and_what_cannot_be_installed_by_itself_is_named_with_its_values() {
    let mut w = world(&["alpha"]).await;
    let (packages, message) = missing(ask(&mut w, guest("key", true)).await);
    assert_eq!(packages, ["key"]);
    let command = "settlectl install key --server alpha --set shape=... --secret code=@FILE";
    assert!(message.contains(command), "{message}");
    assert_eq!(w.status("alpha/house/house").await.unwrap(), "gone", "nothing of it was stored");

    w.remote.script("house", [Play::exit(1)]);
    let id = w.install("alpha", "house", "house").await.unwrap();
    w.end(id, seconds(60)).await.unwrap();
    let (_, message) = missing(ask(&mut w, guest("garden", true)).await);
    assert!(message.contains("settlectl retry alpha/house/house"), "{message}");
    assert_eq!(w.status("alpha/garden/garden").await.unwrap(), "gone");
}

#[tokio::test]
async fn only_what_has_its_turn_before_counts_as_on_its_way() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("long", [Play::takes(seconds(100))]);
    let long = w.install("alpha", "thing", "long").await.unwrap();
    w.until(long, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.install("alpha", "house", "house").await.unwrap();
    let at = |priority| Install { turn: Turn { priority, ..Turn::default() }, ..guest("nothing", false) };
    let (packages, message) = missing(ask(&mut w, at(Priority::High)).await);
    assert!(packages == ["house"] && message.contains("comes later"), "{message}");
    let answer = ask(&mut w, at(Priority::Normal)).await.unwrap();
    succeeded(&w.end(run_of(&answer), seconds(200)).await.unwrap());
}

#[tokio::test]
async fn a_run_whose_requirement_has_failed_before_its_turn_is_blocked_and_touches_nothing() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("house", [Play::exit(1), Play::exit(0)]);
    let answer = ask(&mut w, guest("garden", true)).await.unwrap();
    let blocked = |run: &Run| {
        ended(run, Outcome::Blocked, Reason::Requirement, Evidence::NotStarted);
        run.verdict().unwrap().failure.clone().unwrap().message
    };
    let run = w.end(run_of(&answer), seconds(60)).await.unwrap();
    let message = blocked(&run);
    assert!(message.contains("alpha/house/house failed: settlectl retry alpha/house/house"), "{message}");
    let garden = w.run(answer.required[1].id.parse().unwrap()).await.unwrap();
    blocked(&garden);
    assert_eq!((run.position().attempt, executions(&w, &run) + executions(&w, &garden)), (0, 0));
    assert_eq!(w.status(GUEST).await.unwrap(), "failed");

    for path in ["alpha/house/house", "alpha/garden/garden", GUEST] {
        let retry = w.retry(path).await.unwrap();
        succeeded(&w.end(retry, seconds(60)).await.unwrap());
    }
}

#[tokio::test]
async fn what_others_require_is_not_taken_away_before_they_are() {
    let mut w = world(&["alpha"]).await;
    let answer = ask(&mut w, guest("garden", true)).await.unwrap();
    succeeded(&w.end(run_of(&answer), seconds(60)).await.unwrap());
    let refused = w.remove("alpha/house/house").await.unwrap_err();
    let Refusal::NotNow { resources, message, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(resources, ["alpha/garden/garden", GUEST]);
    assert!(message.contains("is required by alpha/garden/garden, alpha/guest/anna"), "{message}");

    // Another one of the package is as good.
    done(&mut w, "house", "second").await;
    let spare = w.remove("alpha/house/second").await.unwrap();
    succeeded(&w.end(spare, seconds(60)).await.unwrap());

    // What is being removed in front holds nothing, unless that removal fails.
    w.remote.decide(
        |_, spec| {
            if spec.script.contains("move out") { Play::exit(78) } else { Play::takes(seconds(5)) }
        },
    );
    let garden = w.remove("alpha/garden/garden").await;
    assert!(garden.is_err(), "the guest wants it");
    let moves_out = w.remove(GUEST).await.unwrap();
    let garden = w.remove("alpha/garden/garden").await.unwrap();
    w.end(moves_out, seconds(60)).await.unwrap();
    let garden = w.end(garden, seconds(60)).await.unwrap();
    ended(&garden, Outcome::Blocked, Reason::Requirement, Evidence::NotStarted);
    assert_eq!(w.status("alpha/garden/garden").await.unwrap(), "active", "P8: the earlier status");
    let pause = w.operate(GUEST, "pause").await.unwrap();
    w.remote.decide(|_, _| Play::exit(0));
    succeeded(&w.end(pause, seconds(60)).await.unwrap());
}

#[tokio::test]
async fn a_dry_run_tells_requirements_steps_and_places_and_stores_nothing() {
    let mut w = world(&["alpha"]).await;
    w.remote.script("long", [Play::takes(seconds(100))]);
    let long = w.install("alpha", "thing", "long").await.unwrap();
    w.until(long, seconds(5), |run| run.live_step().is_some()).await.unwrap();
    w.install("alpha", "thing", "next").await.unwrap();
    w.check().await.unwrap();
    let seq = || async { w.daemon.engine.store().read().await.unwrap().db().last_seq().await.unwrap() };
    let before = seq().await;
    let asked = settled::engine::Asked {
        principal: "unix:0".to_owned(),
        method: "Resources.Install",
        request_id: String::new(),
        digest: String::new(),
        peer: String::new(),
        verb: settled::auth::Verb::Operate,
    };
    let engine = &w.daemon.engine;
    let answer = engine.plan_install(asked.clone(), guest("garden", true)).await.unwrap();
    let plan = answer.plan.unwrap();
    assert_eq!((plan.position, plan.steps.as_slice()), (4, &["Move in".to_owned()][..]));
    assert_eq!(plan.required_steps, [["Build the house"], ["Dig"]]);
    missing(engine.plan_install(asked.clone(), guest("garden", false)).await);
    assert_eq!(seq().await, before);
    assert_eq!(w.status(GUEST).await.unwrap(), "gone");
    let planned = engine
        .plan_remove(asked, "alpha/thing/next".to_owned(), BTreeMap::new(), Turn::default())
        .await
        .unwrap();
    let plan = planned.plan.unwrap();
    assert_eq!(
        (plan.position, plan.steps.as_slice()),
        (1, &["Take the thing away".to_owned()][..]),
        "its install goes"
    );
    assert_eq!((seq().await, w.status("alpha/thing/next").await.unwrap()), (before, "pending"));
}
