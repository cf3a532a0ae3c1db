//! What a schedule is about when it fires.

use settled::domain::operation::Operation;
use settled::domain::schedule::{Fate, On};
use settled::engine::EditSchedule;

use crate::fixture::{House, MINUTE, every, servers, work};

fn on(operation: &str, on: On) -> EditSchedule {
    EditSchedule { target: Some(work(operation, on)), ..every("* * * * *") }
}

fn tier(value: &str) -> On {
    On::Labels([("tier".to_owned(), value.to_owned())].into())
}

pub(crate) async fn labels_are_looked_at_when_it_fires(house: House) {
    let id = house.add("look", on("probe", tier("web"))).await.unwrap();
    house.go(MINUTE).await;
    for (name, label) in [("web1", "web"), ("web2", "web"), ("db1", "db")] {
        house.server(name, &[("tier", label), ("site", "fra")]).await;
        house.thing(name, "a").await;
    }
    house.thing("web2", "b").await;
    house.go(MINUTE).await;
    let history = house.history(id).await;
    assert_eq!(history[0].fate, Fate::Refused);
    assert_eq!(history[0].why, "there is no server with the labels tier=web and `thing` on it");
    assert_eq!(history[1].runs.len(), 3, "{:?}", history[1]);
    for run in &history[1].runs {
        let run = house.run(*run).await;
        assert!(run.operation == Operation::Probe && run.server_name.starts_with("web"), "{run:?}");
    }
}

pub(crate) async fn a_target_that_cannot_be_accepted_is_told_with_its_sentence(house: House) {
    for name in ["web1", "web2", "web3"] {
        house.server(name, &[]).await;
    }
    house.thing("web1", "a").await;
    house.thing("web2", "a").await;
    // Their installs are open, so nothing else can be done with them; and one server has none.
    let id = house.add("look", on("shake", servers(&["web1", "web2", "web3"]))).await.unwrap();
    house.go(MINUTE).await;
    let occurrence = house.history(id).await.remove(0);
    assert_eq!((occurrence.fate, occurrence.runs.len(), occurrence.refused.len()), (Fate::Refused, 0, 3));
    let targets: Vec<_> = occurrence.refused.iter().map(|(target, _)| target.as_str()).collect();
    assert_eq!(targets, ["web1/thing/a", "web2/thing/a", "web3"]);
    assert!(occurrence.refused[0].1.contains("is still open on this resource"), "{:?}", occurrence.refused);
    assert_eq!(occurrence.refused[2].1, "there is no `thing` on web3");
    assert!(
        occurrence.why.starts_with("all 3 were refused, the first, web1/thing/a: run"),
        "{}",
        occurrence.why
    );

    // A server that is gone by then, beside one where it can be done.
    let probe =
        EditSchedule { target: Some(work("probe", servers(&["web1", "web3"]))), ..EditSchedule::default() };
    house.edit(probe).await.unwrap();
    house.gone("web3").await;
    house.go(MINUTE).await;
    let occurrence = house.history(id).await.pop().unwrap();
    assert_eq!((occurrence.fate, occurrence.runs.len()), (Fate::Fired, 1));
    assert_eq!(occurrence.why, "1 accepted, 1 refused, the first, web3: there is no server `web3`");
}

pub(crate) async fn an_install_makes_resources_where_there_are_none(house: House) {
    house.server("web1", &[("tier", "web")]).await;
    house.server("web2", &[("tier", "web")]).await;
    let id = house.add("look", on("install", tier("web"))).await.unwrap();
    house.go(MINUTE).await;
    let history = house.history(id).await;
    assert_eq!(history[0].runs.len(), 2);
    for run in &history[0].runs {
        house.cancel(*run).await;
    }
    house.go(MINUTE).await;
    let again = house.history(id).await.pop().unwrap();
    assert_eq!(again.fate, Fate::Refused);
    assert!(again.refused[0].1.contains("web1/thing/thing is there already"), "{:?}", again.refused);
}
