//! Drift: a resource whose server no longer agrees is marked by a look, asked for or on schedule, and cleared by the next that agrees.

use settled::domain::resource::{Difference, Observed, Presence};
use settled_tests::sim::World;

use super::{seconds, succeeded, world};

const PATH: &str = "alpha/thing/one";

async fn with_thing() -> World {
    let mut w = world(&["alpha"]).await;
    let install = w.install("alpha", "thing", "one").await.unwrap();
    succeeded(&w.end(install, seconds(30)).await.unwrap());
    w
}

async fn look(w: &mut World) -> Observed {
    let asked = w.asked("Resources.Probe");
    let answer = w.daemon.engine.probe_resource(asked, PATH.to_owned()).await.unwrap();
    let run = answer.run.unwrap().id.parse().unwrap();
    succeeded(&w.end(run, seconds(60)).await.unwrap());
    observed(w).await.unwrap()
}

async fn observed(w: &World) -> Option<Observed> {
    w.resource(PATH).await.unwrap().unwrap().observed
}

fn words(differs: &[Difference]) -> Vec<String> {
    differs.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_server_that_differs_is_told_fact_by_fact_and_an_ordinary_update_mends_it() {
    let mut w = with_thing().await;
    let seen = look(&mut w).await;
    assert_eq!((seen.presence, seen.differs.len()), (Presence::Present, 0));

    w.remote.put("alpha", "one", "8");
    let seen = look(&mut w).await;
    assert_eq!((seen.presence, seen.facts["version"].as_str()), (Presence::Drifted, "8"));
    assert_eq!(words(&seen.differs), ["version is `8`, not `1`"]);
    assert_eq!(w.status(PATH).await.unwrap(), "active", "the status is that of its operations");

    // Somebody mends it by hand: the next look that agrees clears it.
    w.remote.put("alpha", "one", "1");
    assert_eq!(look(&mut w).await.presence, Presence::Present);

    w.remote.put("alpha", "one", "8");
    look(&mut w).await;
    let asked = w.asked("Resources.Update");
    let same = settled::engine::Operate {
        resource: PATH.to_owned(),
        operation: settled::domain::operation::Operation::Update,
        parameters: std::collections::BTreeMap::new(),
        secrets: std::collections::BTreeMap::new(),
        turn: settled::domain::turn::Turn::default(),
    };
    let answer = w.daemon.engine.operate(asked, same).await.unwrap();
    succeeded(&w.end(answer.run.unwrap().id.parse().unwrap(), seconds(60)).await.unwrap());
    assert_eq!(w.remote.thing("alpha", "one").as_deref(), Some("1"));
    assert!(observed(&w).await.is_none(), "what was seen before is not what is there now");
    assert_eq!(look(&mut w).await.presence, Presence::Present);
}

#[tokio::test]
async fn what_is_gone_is_absent_and_says_that_it_should_be_there() {
    let mut w = with_thing().await;
    w.remote.take("alpha", "one");
    let seen = look(&mut w).await;
    assert_eq!(seen.presence, Presence::Absent);
    assert_eq!(words(&seen.differs), ["state is `absent`, not `present`", "version is nothing, not `1`"]);
}

#[tokio::test]
async fn nothing_is_compared_where_nobody_knows_what_holds() {
    let mut w = with_thing().await;
    // An own operation without a proof says nothing of facts; the thing is to be there.
    let shake = w.operate(PATH, "shake").await.unwrap();
    succeeded(&w.end(shake, seconds(60)).await.unwrap());
    w.remote.put("alpha", "one", "8");
    assert_eq!(look(&mut w).await.presence, Presence::Present);

    // A change that failed on the server leaves a doubt, not a drift.
    w.remote.decide(|_, spec| {
        settled_tests::scripted::Play::exit(if spec.script.contains("stop") { 78 } else { 0 })
    });
    let pause = w.operate(PATH, "pause").await.unwrap();
    w.end(pause, seconds(60)).await.unwrap();
    w.remote.take("alpha", "one");
    let seen = look(&mut w).await;
    assert_eq!((seen.presence, seen.differs.len()), (Presence::Absent, 0));
    // No proof of a pause: nothing can be said of what is paused.
    let mut w = with_thing().await;
    let pause = w.operate(PATH, "pause").await.unwrap();
    succeeded(&w.end(pause, seconds(60)).await.unwrap());
    assert_eq!(look(&mut w).await.differs, []);
}

#[tokio::test]
async fn looks_on_schedule_are_spread_read_only_and_never_two_of_one() {
    const EVERY: u64 = 3_600;
    let mut w = world(&["alpha", "beta"]).await;
    for n in 0..12 {
        let server = ["alpha", "beta"][n % 2];
        let install = w.install(server, "thing", &format!("t{n}")).await.unwrap();
        succeeded(&w.end(install, seconds(60)).await.unwrap());
    }
    let task = w.install("alpha", "task", "work").await.unwrap();
    succeeded(&w.end(task, seconds(60)).await.unwrap());
    let ran = w.remote.witness().len();
    let around =
        async |w: &World, tick| w.daemon.engine.look_around(seconds(EVERY), seconds(tick)).await.unwrap();
    assert_eq!(around(&w, 60).await, 0, "nothing has rested for so long");
    w.go(seconds(EVERY + 60)).await.unwrap();

    w.remote.put("beta", "t11", "8");
    let mut looks = Vec::new();
    for _ in 0..12 {
        looks.push(around(&w, 600).await);
        w.check().await.unwrap();
        w.go(seconds(60)).await.unwrap();
    }
    // 13 rest, one of them without a probe: at most three in a sixth of the round.
    assert!(looks.iter().all(|n| *n <= 3), "{looks:?}");
    assert_eq!(looks.iter().sum::<u64>(), 12, "{looks:?}");
    let seen = w.resource("beta/thing/t11").await.unwrap().unwrap().observed.unwrap();
    assert_eq!(
        (seen.presence, words(&seen.differs)),
        (Presence::Drifted, vec!["version is `8`, not `1`".to_owned()])
    );
    assert_eq!(w.remote.witness().len(), ran, "nothing ran there");

    // A server that is away gets one look of each, not one a round.
    w.go(seconds(EVERY)).await.unwrap();
    w.remote.cut("alpha", seconds(3 * EVERY));
    let mut queued = 0;
    for _ in 0..3 {
        queued += around(&w, EVERY).await;
        w.check().await.unwrap();
        w.go(seconds(EVERY)).await.unwrap();
    }
    let of_alpha = w.checker.open().filter(|run| run.server_name == "alpha").count();
    assert!(of_alpha <= 6 && queued >= 12, "{queued} were queued, {of_alpha} are open");
}
