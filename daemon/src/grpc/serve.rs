//! Serving: puts the services together with the limits of the contract, and ends within its own deadline.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use settled_proto::MESSAGE_BYTES_MAX;
use settled_proto::v1::admin_server::AdminServer;
use settled_proto::v1::lifecycles_server::LifecyclesServer;
use settled_proto::v1::packages_server::PackagesServer;
use settled_proto::v1::resources_server::ResourcesServer;
use settled_proto::v1::runs_server::RunsServer;
use settled_proto::v1::schedules_server::SchedulesServer;
use settled_proto::v1::servers_server::ServersServer;
use settled_proto::v1::transitions_server::TransitionsServer;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::guard::GuardLayer;
use super::wire::WireLayer;
use super::{Api, GrpcParts, socket};
use crate::clock::Clock;

/// HTTP/2 pings: a caller that died silently is noticed within the sum of both.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
/// How long a ping may stay unanswered.
const KEEPALIVE_LIMIT: Duration = Duration::from_secs(10);
/// Requests at the same time on one connection.
const STREAMS_MAX: u32 = 256;
/// How long requests in flight may take after the stop. A silent caller would hold the server for ever (hyperium/hyper#4170).
const DRAIN: Duration = Duration::from_secs(1);

/// Why serving ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The transport failed.
    #[error("the API cannot be served: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The contract's descriptors cannot be served by reflection.
    #[error("the API's own description is not understood: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The contract's descriptors cannot be read.
    #[error("the API's own description cannot be read: {0}")]
    Descriptors(#[from] prost::DecodeError),
}

/// Why a daemon cannot say that it serves.
#[derive(Debug, thiserror::Error)]
pub enum NotServing {
    /// The socket cannot be connected to, or nobody speaks there.
    #[error("the daemon does not reach its own socket: {0}")]
    Unreachable(#[from] tonic::transport::Error),
    /// Health does not answer, or says something else than SERVING.
    #[error("the daemon's own Health does not answer: {0}")]
    Unhealthy(String),
}

/// Asks Health through the socket, as any client would, and returns once it has said SERVING.
pub async fn answers(socket: &Path) -> Result<(), NotServing> {
    let channel = Endpoint::from_shared(format!("unix:{}", socket.display()))?.connect().await?;
    let request = HealthCheckRequest { service: String::new() };
    let answer = HealthClient::new(channel).check(request).await;
    let answer = answer.map_err(|status| NotServing::Unhealthy(status.message().to_owned()))?.into_inner();
    match answer.status() {
        ServingStatus::Serving => Ok(()),
        other => Err(NotServing::Unhealthy(format!("it says {}", other.as_str_name()))),
    }
}

macro_rules! service {
    ($server:ident, $api:expr) => {
        $server::new($api.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    };
}

/// Serves until `parts.stop` is cancelled: then streams end with UNAVAILABLE, and what is in flight has a second.
pub async fn serve(listener: UnixListener, parts: GrpcParts) -> Result<(), ServeError> {
    let parts = Arc::new(parts);
    let api = Api { parts: Arc::clone(&parts) };
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ServersServer<Api>>().await;
    health.set_serving::<PackagesServer<Api>>().await;
    health.set_serving::<ResourcesServer<Api>>().await;
    health.set_serving::<RunsServer<Api>>().await;
    health.set_serving::<TransitionsServer<Api>>().await;
    health.set_serving::<AdminServer<Api>>().await;
    health.set_serving::<SchedulesServer<Api>>().await;
    health.set_serving::<LifecyclesServer<Api>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(settled_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let clock = parts.engine.clock();
    let stop = &parts.stop;
    let serving = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_LIMIT))
        .max_concurrent_streams(STREAMS_MAX)
        .layer(GuardLayer::new(parts.gate.clone()))
        .layer(WireLayer::new()?)
        .add_service(health_service)
        .add_service(reflection)
        .add_service(service!(ServersServer, api))
        .add_service(service!(PackagesServer, api))
        .add_service(service!(ResourcesServer, api))
        .add_service(service!(RunsServer, api))
        .add_service(service!(TransitionsServer, api))
        .add_service(service!(LifecyclesServer, api))
        .add_service(service!(AdminServer, api))
        .add_service(service!(SchedulesServer, api))
        .serve_with_incoming_shutdown(socket::callers(listener, clock), stop.cancelled());
    tokio::select! {
        served = serving => Ok(served?),
        () = deadline(clock, stop) => {
            tracing::info!("some callers did not let go in time; their connections end with the daemon");
            Ok(())
        }
    }
}

async fn deadline(clock: &dyn Clock, stop: &CancellationToken) {
    stop.cancelled().await;
    clock.sleep_until(clock.monotonic() + DRAIN).await;
}
