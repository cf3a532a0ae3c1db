//! What clients make of a refusal: the reason, and how long to wait.

use std::time::Duration;

use settled_proto::v1::WatchRequest;
use settled_proto::v1::transitions_client::TransitionsClient;
use settled_tests::daemon::Options;
use settled_tests::server::fresh_id;

use super::{EXAMPLES, Examples, PYTHON, Site, generated, install, refusal};
use crate::tls::world::Caller;

/// So many streams are allowed, and open.
const STREAMS: usize = 8;

async fn site() -> Site {
    Site::open_with(Options::default().set("LIMITS__STREAMS_PER_PRINCIPAL_MAX", &STREAMS.to_string())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_in_rust_tell_the_reason_of_a_refusal() {
    let site = site().await;
    let refused = async |server: &str| {
        let id = fresh_id();
        let status = install::install(site.daemon.channel(), &id, server, "refused").await.unwrap_err();
        (refusal::reason(&status).unwrap(), refusal::wait(&status))
    };
    assert_eq!(refused("nowhere").await, ("NOT_FOUND".to_owned(), None));
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        open.push(site.daemon.transitions().watch(WatchRequest::default()).await.unwrap());
    }
    assert_eq!(refused("web").await, ("TOO_MANY_OPEN".to_owned(), Some(Duration::from_secs(1))));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_in_python_and_in_pages_tell_the_reason_of_a_refusal() {
    let site = site().await;
    let generated = generated().await;
    tells_reasons(&site, PYTHON, generated.path(), "py").await;
    let site = site.to(|site| format!("https://{}", site.endpoint()));
    tells_reasons(&site, "node", EXAMPLES.as_ref(), "mjs").await;
}

async fn tells_reasons(site: &Site, program: &str, dir: &std::path::Path, ending: &'static str) {
    let examples = Examples { site, program, dir: dir.to_owned(), ending };
    let refused = async |server: &str| {
        let (text, is_well) = examples.ends("install", &[&fresh_id(), server, "refused"]).await;
        assert!(!is_well, "{text}");
        text.trim().to_owned()
    };
    assert_eq!(refused("nowhere").await, "refused: NOT_FOUND");
    let caller = Caller::trusting(&site.authority).with_token(site.told("SETTLED_TOKEN"));
    let mut transitions = TransitionsClient::new(caller.channel(site.address).await.unwrap());
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        open.push(transitions.watch(WatchRequest::default()).await.unwrap());
    }
    assert_eq!(refused("web").await, "refused: TOO_MANY_OPEN wait 1 s");
}
