//! What has an end, what uses an attempt, and what begins nothing: stages that cannot begin, workers who put off, lifecycles at rest.

use settled_tests::scripted::Play;

use super::*;

#[tokio::test]
async fn an_install_that_failed_is_done_again_with_the_values_of_now() {
    let mut h = house(&["alpha"]).await;
    let put = "action = { operation = \"install\", package = \"thing\", name = \"one\", set = { version = { from = \"payload.release\" } } }";
    h.apply(&lifecycle("", &[("put", put)])).await;
    h.w.remote.script("one", [Play::exit(1), Play::exit(0), Play::exit(0)]);
    let with = |release: &str| format!("{{\"release\":\"{release}\"}}");
    h.enroll_as(Enroll { payload: with("7"), ..enroll("server/alpha") }).await.unwrap();
    h.works().await;
    assert_eq!(h.enrollment("server/alpha").await.attempt, 1);
    h.enroll_as(Enroll { payload: with("8"), again: true, ..enroll("server/alpha") }).await.unwrap();
    h.works().await;
    assert_eq!(h.status("server/alpha").await, Status::Completed);
    let resource = h.w.resource("alpha/thing/one").await.unwrap().unwrap();
    assert_eq!(resource.applied.unwrap().params["version"], "8");
}
