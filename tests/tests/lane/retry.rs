//! What a retry repeats: the change that left the resource failed.

use settled::domain::operation::Operation;
use settled_tests::scripted::Play;

use super::{seconds, succeeded, world};

#[tokio::test]
async fn a_retry_repeats_what_failed_and_not_what_never_began() {
    let mut w = world(&["alpha"]).await;
    w.remote.decide(|_, _| Play::exit(78));
    let install = w.install("alpha", "thing", "one").await.unwrap();
    w.end(install, seconds(900)).await.unwrap();
    assert_eq!(w.status("alpha/thing/one").await.unwrap(), "failed");
    let update = w.operate("alpha/thing/one", "update").await.unwrap();
    w.cancel(update).await.unwrap();
    assert_eq!(w.run(update).await.unwrap().operation, Operation::Update);

    w.remote.decide(|_, _| Play::exit(0));
    let retry = w.retry("alpha/thing/one").await.unwrap();
    let run = w.end(retry, seconds(60)).await.unwrap();
    succeeded(&run);
    assert_eq!((run.operation.clone(), run.retry_of), (Operation::Install, Some(install)), "{run:#?}");
    assert_eq!(w.status("alpha/thing/one").await.unwrap(), "active");
}
