//! A package that supports other servers only: refused when it is asked for, blocked when the server has changed since.

use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled_tests::sim::World;

use super::{ended, seconds, succeeded, world};

const WORDS: &str =
    "the package choosy supports debian 12, 13; this server is ubuntu 24.04: take a thing instead";

async fn look(w: &mut World) {
    let asked = w.asked("Servers.Probe");
    let answer = w.daemon.engine.probe_server(asked, "alpha".to_owned()).await.unwrap();
    let run = answer.run.unwrap().id.parse().unwrap();
    ended(&w.end(run, seconds(60)).await.unwrap(), Outcome::Succeeded, None, Evidence::Probe);
}

#[tokio::test]
async fn what_cannot_work_there_is_refused_and_what_is_there_can_be_removed() {
    let mut w = world(&["alpha"]).await;
    let run = w.install("alpha", "choosy", "one").await.unwrap();
    succeeded(&w.end(run, seconds(60)).await.unwrap());

    w.remote.turn_into("alpha", "ubuntu", "24.04");
    look(&mut w).await;
    let refused = w.install("alpha", "choosy", "two").await.unwrap_err().to_string();
    assert!(refused.starts_with(WORDS), "{refused}");
    assert!(refused.ends_with("settlectl server probe alpha"), "{refused}");
    let refused = w.operate("alpha/choosy/one", "update").await.unwrap_err().to_string();
    assert!(refused.starts_with(WORDS), "{refused}");
    assert_eq!(w.status("alpha/choosy/one").await.unwrap(), "active");
    assert!(w.resource("alpha/choosy/two").await.unwrap().is_none(), "nothing is stored");

    let asked = w.asked("Resources.Probe");
    let answer = w.daemon.engine.probe_resource(asked, "alpha/choosy/one".to_owned()).await.unwrap();
    succeeded(&w.end(answer.run.unwrap().id.parse().unwrap(), seconds(60)).await.unwrap());
    let run = w.remove("alpha/choosy/one").await.unwrap();
    succeeded(&w.end(run, seconds(60)).await.unwrap());
}

#[tokio::test]
async fn a_run_that_waited_until_its_server_was_another_is_blocked_and_nothing_of_it_began() {
    let mut w = world(&["alpha"]).await;
    let first = w.install("alpha", "choosy", "one").await.unwrap();
    succeeded(&w.end(first, seconds(60)).await.unwrap());
    w.remote.hold_dpkg("alpha", "apt-get", seconds(300));
    let ahead = w.install("alpha", "task", "ahead").await.unwrap();
    w.until(ahead, seconds(60), |run| run.waiting().is_some()).await.unwrap();
    let install = w.install("alpha", "choosy", "two").await.unwrap();
    let update = w.operate("alpha/choosy/one", "update").await.unwrap();

    w.remote.turn_into("alpha", "ubuntu", "24.04");
    look(&mut w).await;
    w.end(ahead, seconds(900)).await.unwrap();
    for (run, resource, status) in [(install, "two", "failed"), (update, "one", "active")] {
        let run = w.end(run, seconds(60)).await.unwrap();
        ended(&run, Outcome::Blocked, Reason::Unsupported, Evidence::NotStarted);
        assert_eq!(run.verdict().unwrap().failure.as_ref().unwrap().message, WORDS);
        assert!(w.remote.witness().iter().all(|ran| ran.id.run != run.id));
        assert_eq!(w.status(&format!("alpha/choosy/{resource}")).await.unwrap(), status);
    }
}

#[tokio::test]
async fn a_server_that_was_never_met_is_asked_first() {
    let mut w = world(&[]).await;
    w.remote.turn_into("beta", "ubuntu", "24.04");
    w.add("beta").await.unwrap();
    let run = w.install("beta", "choosy", "one").await.unwrap();
    let run = w.end(run, seconds(60)).await.unwrap();
    ended(&run, Outcome::Blocked, Reason::Unsupported, Evidence::NotStarted);
}
