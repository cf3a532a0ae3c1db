//! Serving: puts the services together behind what every request passes: the door, who asks, its deadline, its form.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::OptionFuture;
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
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::server::NamedService as _;
use tonic::service::Routes;
use tonic::transport::Endpoint;
use tonic_health::ServingStatus as Serving;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;

use super::counted::counted;
use super::deadline::limited;
use super::door::{Door, Manners, Network, Socket, Tcp, fitting};
use super::guard::guarded;
use super::refusals::on_record;
use super::shares::shared;
use super::traced::traced;
use super::web::for_browsers;
use super::wire::wired;
use super::{Api, GrpcParts, Leaving, Places};
use crate::clock::Clock;

/// Why serving ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
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

/// How long the daemon's own Health may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Largest request to health and to reflection: the name of a service, of a file, or of something in it.
const NAME_BYTES_MAX: usize = 4 << 10;
/// How long the stop waits for what goes on when nobody waits for it any more.
const ERRANDS_WITHIN: Duration = Duration::from_secs(1);
/// Pause before it is asked again.
const ANSWER_PAUSE: Duration = Duration::from_millis(100);

/// Asks Health through the socket, as any client would, and returns once it has said SERVING. After a restart callers may come back all at
/// once and take every place, so it tries again when it is turned away.
pub async fn answers(socket: &Path, clock: &dyn Clock) -> Result<(), NotServing> {
    let until = clock.monotonic() + ANSWER_LIMIT;
    loop {
        match ask_health(socket).await {
            Err(error) if clock.monotonic() < until => {
                tracing::debug!(%error, "the daemon's own Health does not answer yet");
                clock.sleep_until(clock.monotonic() + ANSWER_PAUSE).await;
            }
            answered => return answered,
        }
    }
}

async fn ask_health(socket: &Path) -> Result<(), NotServing> {
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

/// Serves until `parts.stop` is cancelled: then nobody comes in, streams end with UNAVAILABLE, and what is in flight has a second.
pub async fn serve(
    listener: UnixListener,
    network: Option<Network>,
    parts: GrpcParts,
) -> Result<(), ServeError> {
    let parts = Arc::new(parts);
    let errands = TaskTracker::new();
    let api = Api { parts: Arc::clone(&parts), errands: errands.clone() };
    let (health, health_service) = tonic_health::server::health_reporter();
    // The older version, for clients that know no other: Python's is one.
    let (reflection, reflection_of_before) = (described().build_v1()?, described().build_v1alpha()?);
    let health_service = health_service.max_decoding_message_size(NAME_BYTES_MAX);
    let reflection = reflection.max_decoding_message_size(NAME_BYTES_MAX);
    let reflection_of_before = reflection_of_before.max_decoding_message_size(NAME_BYTES_MAX);
    let routes = Routes::new(health_service)
        .add_service(reflection)
        .add_service(reflection_of_before)
        .add_service(service!(ServersServer, api))
        .add_service(service!(PackagesServer, api))
        .add_service(service!(ResourcesServer, api))
        .add_service(service!(RunsServer, api))
        .add_service(service!(TransitionsServer, api))
        .add_service(service!(LifecyclesServer, api))
        .add_service(service!(AdminServer, api))
        .add_service(service!(SchedulesServer, api))
        .prepare();
    let open_health = network.as_ref().is_some_and(|network| network.open_health);
    let clock = parts.engine.shared_clock();
    let limits = parts.limits;
    // From the inside out: what stands last here comes first.
    let service = wired(routes, limits.body, Arc::clone(&clock))?;
    let service = shared(service, limits.portions, Arc::clone(&clock));
    let service = limited(service, Arc::clone(&clock));
    let service = guarded(service, parts.gate.clone(), open_health, Arc::clone(&clock));
    let service = on_record(service, api);
    let service = traced(service, parts.traces.clone(), Arc::clone(&clock));
    let service = counted(service, Arc::clone(&parts.calls), Arc::clone(&clock));
    let manners = Arc::new(Manners {
        clock,
        patience: limits.patience,
        unread: limits.body,
        stop: parts.stop.clone(),
        leaving: parts.leaving.clone(),
    });
    let (places, network_places) = match &network {
        Some(_) => fitting(limits.places, limits.network_places),
        None => fitting(limits.places, Places { all: 0, per_one: 0 }),
    };
    let from_network = network.map(|Network { listener, tls, origins, .. }| {
        let entry = Tcp { listener, tls };
        let service = for_browsers(service.clone(), origins, Arc::clone(&manners.clock));
        Door::new(entry, parts.gate.clone(), service, network_places, Arc::clone(&manners)).serve()
    });
    let socket = Socket { listener, gate: parts.gate.clone() };
    let door = Door::new(socket, parts.gate.clone(), service, places, manners);
    let told = tell_health(health, parts.leaving.clone(), parts.stop.clone());
    tokio::join!(door.serve(), OptionFuture::from(from_network), told);
    errands.close();
    let clock = parts.engine.clock();
    tokio::select! {
        () = errands.wait() => {}
        () = clock.sleep_until(clock.monotonic() + ERRANDS_WITHIN) => {
            tracing::warn!("the store did not take everything in before the daemon ended: tasks that did not reach their workers come again after their lease");
        }
    }
    Ok(())
}

/// What reflection tells: the contract, health, and the details that errors carry.
fn described() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(settled_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}

/// The services that health tells of, and the whole of them.
const SERVICES: [&str; 9] = [
    "",
    ServersServer::<Api>::NAME,
    PackagesServer::<Api>::NAME,
    ResourcesServer::<Api>::NAME,
    RunsServer::<Api>::NAME,
    TransitionsServer::<Api>::NAME,
    LifecyclesServer::<Api>::NAME,
    AdminServer::<Api>::NAME,
    SchedulesServer::<Api>::NAME,
];

/// Health says SERVING until the daemon leaves: whoever spreads callers over daemons sends no more of them here.
async fn tell_health(health: HealthReporter, mut leaving: watch::Receiver<Leaving>, stop: CancellationToken) {
    loop {
        let is_over = stop.is_cancelled();
        let serves = !is_over && *leaving.borrow_and_update() == Leaving::No;
        let status = if serves { Serving::Serving } else { Serving::NotServing };
        for service in SERVICES {
            health.set_service_status(service, status).await;
        }
        if is_over {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            Ok(()) = leaving.changed() => {}
        }
    }
}
