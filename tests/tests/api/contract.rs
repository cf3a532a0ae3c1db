//! The contract as a whole: shapes of methods, declared rights, health, reflection.

use std::collections::BTreeSet;

use prost_types::FileDescriptorSet;
use settled_tests::engine::Served;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

fn descriptors() -> FileDescriptorSet {
    prost::Message::decode(settled_proto::DESCRIPTORS).expect("the descriptors are sound")
}

#[test]
fn commands_are_unary_streams_flow_to_the_caller_and_every_method_declares_a_right() {
    let set = descriptors();
    let declared: BTreeSet<&str> = settled_proto::ACCESS.iter().map(|(path, ..)| *path).collect();
    let (mut streams, mut methods) = (BTreeSet::new(), 0);
    for file in set.file.iter().filter(|f| f.package() == "settled.v1") {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/settled.v1.{}/{}", service.name(), method.name());
                assert!(!method.client_streaming(), "{path} takes a stream");
                assert!(declared.contains(path.as_str()), "{path} declares no right");
                if method.server_streaming() {
                    streams.insert(path);
                }
                methods += 1;
            }
        }
    }
    assert_eq!(methods, declared.len());
    let expected = ["/settled.v1.Runs/Follow", "/settled.v1.Transitions/Watch"];
    assert_eq!(streams.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn every_service_is_healthy() {
    let api = Served::start().await;
    let mut health = HealthClient::new(api.channel());
    let services = ["Servers", "Packages", "Resources", "Runs", "Transitions", "Admin"];
    let named = services.map(|service| format!("settled.v1.{service}"));
    for service in [String::new()].into_iter().chain(named) {
        let answer =
            health.check(HealthCheckRequest { service: service.clone() }).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "`{service}`");
    }
}
