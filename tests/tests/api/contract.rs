//! The contract as a whole: shapes of methods, declared rights, health, reflection.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use settled::domain::freshness::Freshness;
use settled::domain::schedule::{Chore, Fate, Missed, Overlap};
use settled::domain::verdict::{Evidence, Reason};
use settled_tests::engine::Served;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

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
    let expected = [
        "/settled.v1.Admin/Backup",
        "/settled.v1.Lifecycles/Work",
        "/settled.v1.Runs/Follow",
        "/settled.v1.Transitions/Watch",
    ];
    assert_eq!(streams.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn every_service_is_healthy() {
    let api = Served::start().await;
    let mut health = HealthClient::new(api.channel());
    let services =
        ["Servers", "Packages", "Resources", "Runs", "Transitions", "Lifecycles", "Admin", "Schedules"];
    let named = services.map(|service| format!("settled.v1.{service}"));
    for service in [String::new()].into_iter().chain(named) {
        let answer =
            health.check(HealthCheckRequest { service: service.clone() }).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "`{service}`");
    }
}

#[tokio::test]
async fn reflection_lists_every_service_and_tells_every_method() {
    let api = Served::start().await;
    let ask = async |request: MessageRequest| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        let mut client = ServerReflectionClient::new(api.channel());
        let mut answers =
            client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
        answers.message().await.unwrap().unwrap().message_response.unwrap()
    };
    let MessageResponse::ListServicesResponse(list) = ask(MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list of services");
    };
    let listed: BTreeSet<String> = list.service.into_iter().map(|s| s.name).collect();
    let declared: BTreeSet<&str> = settled_proto::ACCESS
        .iter()
        .filter_map(|(path, ..)| path.trim_start_matches('/').split('/').next())
        .collect();
    for service in declared {
        assert!(listed.contains(service), "{service}: {listed:?}");
        let MessageResponse::FileDescriptorResponse(files) =
            ask(MessageRequest::FileContainingSymbol(service.to_owned())).await
        else {
            panic!("{service} is not described");
        };
        let described: BTreeSet<String> = files
            .file_descriptor_proto
            .iter()
            .map(|bytes| FileDescriptorProto::decode(&bytes[..]).unwrap())
            .flat_map(|file| {
                let package = file.package().to_owned();
                file.service.into_iter().flat_map(move |service| {
                    let path = format!("/{package}.{}", service.name());
                    service
                        .method
                        .into_iter()
                        .map(move |method| format!("{path}/{}", method.name()))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let of_service = settled_proto::ACCESS.iter().map(|(path, ..)| *path);
        for path in of_service.filter(|path| path.starts_with(&format!("/{service}/"))) {
            assert!(described.contains(path), "{path}: {described:?}");
        }
    }
}

#[tokio::test]
async fn reflection_answers_in_both_versions_and_tells_the_details_of_errors() {
    use tonic_reflection::pb::v1alpha;
    use v1alpha::server_reflection_client::ServerReflectionClient as OldClient;
    use v1alpha::server_reflection_request::MessageRequest as Old;
    use v1alpha::server_reflection_response::MessageResponse as OldResponse;

    let api = Served::start().await;
    let mut client = OldClient::new(api.channel());
    let ask = Old::FileContainingSymbol("google.rpc.BadRequest".to_owned());
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let answers = client.server_reflection_info(tokio_stream::iter([request])).await;
    let answer = answers.unwrap().into_inner().message().await.unwrap().unwrap();
    let Some(OldResponse::FileDescriptorResponse(files)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let file = FileDescriptorProto::decode(&files.file_descriptor_proto[0][..]).unwrap();
    assert!(file.message_type.iter().any(|message| message.name() == "BadRequest"), "{}", file.name());
}

/// The vocabularies of a run's end are closed, and each word is told of where operators look.
#[test]
fn every_reason_evidence_and_freshness_is_documented() {
    let text = include_str!("../../../docs/runs.md");
    let reasons = Reason::ALL.iter().map(|word| format!("| `{word}` | "));
    let freshness = Freshness::ALL.iter().map(|word| format!("| `{word}` | "));
    let evidence = Evidence::ALL.iter().map(|word| format!("`{word}`"));
    for word in reasons.chain(freshness).chain(evidence) {
        assert!(text.contains(&word), "docs/runs.md does not tell of {word}");
    }
}

/// So are those of schedules, and the built-in ones are told of by name.
#[test]
fn every_fate_policy_and_chore_is_documented() {
    let text = include_str!("../../../docs/schedules.md");
    let fates = Fate::ALL.iter().map(|word| format!("| `{word}` | "));
    let chores = Chore::ALL.iter().map(|word| format!("| `settled.{word}` | "));
    let overlaps = Overlap::ALL.iter().map(|word| format!("`{word}`"));
    let missed = Missed::ALL.iter().map(|word| format!("`{word}`"));
    for word in fates.chain(chores).chain(overlaps).chain(missed) {
        assert!(text.contains(&word), "docs/schedules.md does not tell of {word}");
    }
}
