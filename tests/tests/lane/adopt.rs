//! Adoption: a record of what is on a server already, made active by proof alone, and without a trace on the server.

use settled::domain::resource::{Presence, Resource};
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::engine::{Answer, Install, Refusal};
use settled_tests::sim::World;

use super::{ended, seconds, succeeded, world};

const PATH: &str = "alpha/thing/one";

async fn adopt(w: &mut World, package: &str, version: Option<&str>) -> Result<Answer, Refusal> {
    let asked = w.asked("Resources.Adopt");
    let ask = Install {
        parameters: version.map(|v| ("version".to_owned(), v.to_owned())).into_iter().collect(),
        ..settled_tests::sim::install("alpha", package, "one")
    };
    w.daemon.engine.adopt(asked, ask).await
}

fn run_of(answer: &Answer) -> settled::domain::id::RunId {
    answer.run.as_ref().unwrap().id.parse().unwrap()
}

async fn record(w: &World) -> Resource {
    w.resource(PATH).await.unwrap().unwrap()
}

#[tokio::test]
async fn p7_what_is_there_as_given_is_adopted_on_the_proof_of_a_probe() {
    let mut w = world(&["alpha"]).await;
    w.remote.put("alpha", "one", "7");
    let answer = adopt(&mut w, "thing", Some("7")).await.unwrap();
    assert_eq!(w.status(PATH).await.unwrap(), "pending", "P1: the record comes first");
    let run = w.end(run_of(&answer), seconds(30)).await.unwrap();
    ended(&run, Outcome::Succeeded, None, Evidence::Probe);
    assert!(!run.exclusive && !run.payload && w.remote.witness().is_empty(), "nothing ran there");
    let resource = record(&w).await;
    assert_eq!((resource.status.as_str(), resource.open_run), ("active", None));
    let applied = resource.applied.unwrap();
    assert!(applied.known && applied.params == resource.desired);
    let seen = resource.observed.unwrap();
    assert_eq!((seen.presence, seen.facts["version"].as_str()), (Presence::Present, "7"));

    // From here on it is a resource like any other.
    let update = w.operate(PATH, "update").await.unwrap();
    succeeded(&w.end(update, seconds(30)).await.unwrap());
    let removal = w.remove(PATH).await.unwrap();
    succeeded(&w.end(removal, seconds(30)).await.unwrap());
    assert_eq!(w.remote.thing("alpha", "one"), None);
}

#[tokio::test]
async fn p7_what_differs_is_told_and_neither_the_adoption_nor_its_removal_touches_the_server() {
    let mut w = world(&["alpha"]).await;
    for (there, part) in [(None, "state is `absent`, not `present`"), (Some("8"), "version is `8`, not `7`")]
    {
        if let Some(version) = there {
            w.remote.put("alpha", "one", version);
        }
        let answer = adopt(&mut w, "thing", Some("7")).await.unwrap();
        let run = w.end(run_of(&answer), seconds(30)).await.unwrap();
        ended(&run, Outcome::Failed, Reason::Differs, Evidence::Probe);
        let resource = record(&w).await;
        let error = resource.last_error.unwrap().message;
        assert!(error.contains(part), "{error}");
        assert_eq!((resource.status.as_str(), resource.applied), ("failed", None));
        assert!(resource.observed.is_some(), "with what was observed");

        let removal = w.remove(PATH).await.unwrap();
        assert_eq!(w.status(PATH).await.unwrap(), "removing");
        let run = w.end(removal, seconds(30)).await.unwrap();
        ended(&run, Outcome::Succeeded, None, Evidence::Probe);
        assert_eq!(w.status(PATH).await.unwrap(), "gone");
        assert_eq!(w.remote.thing("alpha", "one").as_deref(), there, "it is left as it is");
    }
    assert!(w.remote.witness().is_empty());
}

#[tokio::test]
async fn an_adoption_that_failed_can_be_tried_again_or_made_so() {
    let mut w = world(&["alpha"]).await;
    w.remote.put("alpha", "one", "8");
    let answer = adopt(&mut w, "thing", Some("7")).await.unwrap();
    w.end(run_of(&answer), seconds(30)).await.unwrap();
    w.remote.put("alpha", "one", "7");
    let retry = w.retry(PATH).await.unwrap();
    assert_eq!(w.status(PATH).await.unwrap(), "pending");
    let run = w.end(retry, seconds(30)).await.unwrap();
    assert_eq!(run.operation.as_str(), "adopt");
    ended(&run, Outcome::Succeeded, None, Evidence::Probe);

    let mut w = world(&["alpha"]).await;
    w.remote.put("alpha", "one", "8");
    let answer = adopt(&mut w, "thing", Some("7")).await.unwrap();
    w.end(run_of(&answer), seconds(30)).await.unwrap();
    let update = w.operate(PATH, "update").await.unwrap();
    succeeded(&w.end(update, seconds(30)).await.unwrap());
    let removal = w.remove(PATH).await.unwrap();
    succeeded(&w.end(removal, seconds(30)).await.unwrap());
    assert_eq!(w.remote.thing("alpha", "one"), None, "an update has made it ours");
}

#[tokio::test]
async fn p4_an_adoption_waits_for_its_server_beside_the_lane_and_is_cancelled_at_once() {
    let mut w = world(&["alpha"]).await;
    w.remote.put("alpha", "one", "1");
    w.remote.cut("alpha", seconds(600));
    let answer = adopt(&mut w, "thing", None).await.unwrap();
    let id = run_of(&answer);
    w.until(id, seconds(60), |run| run.waiting().is_some()).await.unwrap();
    assert!(matches!(w.operate(PATH, "update").await, Err(Refusal::NotNow { .. })), "its run has the record");
    w.restart().await.unwrap();
    w.go(seconds(60)).await.unwrap();
    w.cancel(id).await.unwrap();
    ended(&w.run(id).await.unwrap(), Outcome::Cancelled, Reason::Cancelled, Evidence::NotStarted);
    w.check().await.unwrap();
    assert_eq!(w.status(PATH).await.unwrap(), "failed");
    let retry = w.retry(PATH).await.unwrap();
    ended(&w.end(retry, seconds(900)).await.unwrap(), Outcome::Succeeded, None, Evidence::Probe);
}

#[tokio::test]
async fn p2_an_adoption_is_one_and_what_cannot_be_proven_is_not_adopted() {
    let mut w = world(&["alpha"]).await;
    let asked = w.asked("Resources.Adopt");
    let ask = settled_tests::sim::install("alpha", "thing", "one");
    let first = w.daemon.engine.adopt(asked.clone(), ask.clone()).await.unwrap();
    let again = w.daemon.engine.adopt(asked, ask).await.unwrap();
    assert_eq!(run_of(&first), run_of(&again));
    assert!(matches!(adopt(&mut w, "thing", None).await, Err(Refusal::Exists { .. })));
    let refused = adopt(&mut w, "task", None).await.unwrap_err().to_string();
    assert!(refused.contains("does not say what proves that it is there"), "{refused}");
    assert_eq!(w.status("alpha/task/one").await.unwrap(), "gone");
}
