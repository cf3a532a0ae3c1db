//! A daemon that leaves: streams end and say why and when to come back, and health says that others are to be asked.

use settled::grpc::Leaving;
use settled_proto::v1::WatchRequest;
use settled_tests::engine::Served;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::soon;

/// The reason that programs read, if they are told when to try again.
fn reason(status: &Status) -> String {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let details = status.get_error_details();
    assert!(details.retry_info().is_some_and(|retry| retry.retry_delay.is_some()), "{status:?}");
    details.error_info().unwrap_or_else(|| panic!("no reason in {status:?}")).reason.clone()
}

/// Reads what health says of the whole and of a service until both say this.
async fn says(api: &Served, expected: ServingStatus) {
    let asked = async {
        for service in ["", "settled.v1.Transitions"] {
            let mut said = None;
            while said != Some(expected) {
                let request = HealthCheckRequest { service: service.to_owned() };
                let answer = HealthClient::new(api.channel()).check(request).await;
                // A connection that was told to end is made anew.
                said = answer.ok().map(|answer| answer.into_inner().status());
                tokio::task::yield_now().await;
            }
        }
    };
    soon(expected.as_str_name(), asked).await;
}

#[tokio::test]
async fn health_says_not_serving_while_the_daemon_leaves_and_streams_go_elsewhere() {
    let api = Served::start().await;
    says(&api, ServingStatus::Serving).await;
    let mut watch = api.transitions().watch(WatchRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap().expect("a bookmark comes at once");

    // Alone there is nowhere to go.
    api.leaving.send_replace(Leaving::Alone);
    says(&api, ServingStatus::NotServing).await;
    api.server("one").await;
    soon("the news", watch.message()).await.unwrap().unwrap();

    api.leaving.send_replace(Leaving::ToOthers);
    let ended = async {
        loop {
            if let Err(status) = watch.message().await {
                break status;
            }
        }
    };
    assert_eq!(reason(&soon("the end of the stream", ended).await), "DRAINING");
    says(&api, ServingStatus::NotServing).await;

    // Whoever comes all the same has nowhere else to go.
    let again = async {
        // The connection may just be ending.
        loop {
            if let Ok(watch) = api.transitions().watch(WatchRequest::default()).await {
                break watch.into_inner();
            }
        }
    };
    let mut watch = soon("a stream", again).await;
    soon("a bookmark", watch.message()).await.unwrap().expect("a stream has no end");
    api.leaving.send_replace(Leaving::No);
    says(&api, ServingStatus::Serving).await;
    api.stop.cancel();
    let ended = async {
        loop {
            if let Err(status) = watch.message().await {
                break status;
            }
        }
    };
    assert_eq!(reason(&soon("the end of the stream", ended).await), "STOPPING");
}
