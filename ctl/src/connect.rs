//! Where the daemon is and how to speak with it: finds the endpoint, opens the channel, repeats what broke.
//! It never prints and knows no command.

mod endpoint;
mod tls;

use std::io;
use std::time::Duration;

use settled_proto::MESSAGE_BYTES_MAX;
use settled_proto::v1::admin_client::AdminClient;
use settled_proto::v1::lifecycles_client::LifecyclesClient;
use settled_proto::v1::packages_client::PackagesClient;
use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::runs_client::RunsClient;
use settled_proto::v1::schedules_client::SchedulesClient;
use settled_proto::v1::servers_client::ServersClient;
use settled_proto::v1::transitions_client::TransitionsClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

pub(crate) use self::endpoint::{Credentials, Place, Way, find};
pub(crate) use self::tls::refused_by_daemon;
use crate::clock;
use crate::errors::{Error, Exit, causes, is_transient, timed_out};

/// How long to wait for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long the daemon may take to answer a command. Commands only store and queue, so this is long.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// HTTP/2 pings: without them a silent death of the daemon would leave a follower waiting for ever.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
/// How long a ping may stay unanswered.
const KEEPALIVE_LIMIT: Duration = Duration::from_secs(10);
/// The pauses before a broken command is sent again with the same `request_id`.
const REPEATS: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(1)];

/// A daemon that was reached.
#[derive(Clone)]
pub(crate) struct Client {
    wire: Wire,
    /// The group of commands that was typed, for the names of flags in errors.
    command: &'static str,
}

/// The connection, and who we say that we are.
type Wire = InterceptedService<Channel, Bearer>;

/// The token that goes with every request, if one does. It is marked as sensitive, so that no layer logs it.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

macro_rules! service {
    ($name:ident, $client:ident) => {
        /// The service, with the limits of the contract.
        pub(crate) fn $name(&self) -> $client<Wire> {
            $client::new(self.wire.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        }
    };
}

impl Client {
    service!(servers, ServersClient);
    service!(lifecycles, LifecyclesClient);
    service!(packages, PackagesClient);
    service!(resources, ResourcesClient);
    service!(runs, RunsClient);
    service!(schedules, SchedulesClient);
    service!(transitions, TransitionsClient);
    service!(admin, AdminClient);

    /// Connects now, so that an absent daemon is told before anything is asked of it.
    pub(crate) async fn connect(way: &Way, command: &'static str) -> Result<Self, Error> {
        let place = &way.place;
        let endpoint = Endpoint::from_shared(place.uri())
            .map_err(|e| Error::usage(format!("'{place}' is not an endpoint: {e}.")))?
            .connect_timeout(CONNECT_LIMIT)
            .http2_keep_alive_interval(KEEPALIVE_EVERY)
            .keep_alive_timeout(KEEPALIVE_LIMIT)
            .keep_alive_while_idle(true);
        // A token goes through TLS or nowhere.
        let (connected, token) = match place {
            Place::Network { host, port } => {
                let token = way.credentials.token_file.as_deref().map(tls::bearer).transpose()?;
                let connector = tls::connector(&way.credentials, host, *port)?;
                (endpoint.connect_with_connector(connector).await, token)
            }
            Place::Socket(_) => (endpoint.connect().await, None),
        };
        let channel = connected.map_err(|error| no_connection(place, &error))?;
        Ok(Self { wire: InterceptedService::new(channel, Bearer(token)), command })
    }

    /// One question, one answer. Sent again when the connection breaks: reading twice harms nothing, and a command
    /// carries the same `request_id` each time, so that it is done once.
    pub(crate) async fn ask<Q: Clone, A>(
        &self,
        question: &Q,
        call: impl AsyncFn(Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Error> {
        let mut pauses = REPEATS.into_iter();
        loop {
            let status = match call(limited(question.clone())).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            match pauses.next() {
                Some(time) if is_transient(&status) && !timed_out(&status) => clock::pause(time).await,
                _ => return Err(self.refusal(&status)),
            }
        }
    }

    /// A command: like [`Client::ask`], and when nobody knows whether it arrived, tells how to repeat it safely.
    pub(crate) async fn command<Q: Clone, A>(
        &self,
        request: &Q,
        request_id: &str,
        call: impl AsyncFn(Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Error> {
        self.ask(request, call).await.map_err(|error| match error.exit {
            Exit::Unreachable => error.hint(format!(
                "Nobody knows whether the command arrived. It is safe to repeat it with --request-id {request_id}"
            )),
            _ => error,
        })
    }

    /// An answer of the daemon as an error for people.
    pub(crate) fn refusal(&self, status: &Status) -> Error {
        Error::from_status(status, self.command)
    }
}

/// A request whose answer may take [`ANSWER_LIMIT`].
pub(crate) fn limited<Q>(question: Q) -> Request<Q> {
    let mut request = Request::new(question);
    request.set_timeout(ANSWER_LIMIT);
    request
}

/// Each way of not getting through, in one sentence with the next thing to do.
fn no_connection(place: &Place, error: &tonic::transport::Error) -> Error {
    if let Some(error) = causes(error).find_map(tls::tls_error) {
        return tls::explain(&place.to_string(), error);
    }
    let words = causes(error).last().map_or_else(|| error.to_string(), ToString::to_string);
    let kind =
        causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last().map(io::Error::kind);
    explain(place, kind, &words)
}

/// What it means that there is no connection to this place.
fn explain(place: &Place, kind: Option<io::ErrorKind>, words: &str) -> Error {
    let start =
        "Start it (systemctl start settled), or say where it listens: --endpoint unix:/path/to/settled.sock";
    match (place, kind) {
        (Place::Socket(path), Some(io::ErrorKind::NotFound)) => Error::unreachable(
            format!("settled does not run here: there is no socket {}.", path.display()),
            start,
        ),
        (Place::Socket(path), Some(io::ErrorKind::ConnectionRefused)) => Error::unreachable(
            format!("settled does not run: nobody answers at its socket {}.", path.display()),
            start,
        ),
        (Place::Socket(path), Some(io::ErrorKind::PermissionDenied)) => Error::unreachable(
            format!("You may not open settled's socket {}.", path.display()),
            "Use sudo, or have yourself added to the group that owns the socket.",
        ),
        (Place::Network { .. }, Some(io::ErrorKind::ConnectionRefused)) => Error::unreachable(
            format!("Nobody listens at {place}."),
            "Is it what listen.tcp says in the daemon's configuration, and does settled run there?",
        ),
        (Place::Network { .. }, _) => Error::unreachable(
            format!("settled cannot be reached at {place}: {words}."),
            "Is it what listen.tcp says in the daemon's configuration, and does every firewall in between let you through?",
        ),
        (Place::Socket(_), _) => {
            Error::unreachable(format!("settled cannot be reached at {place}: {words}."), start)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_not_getting_through_has_its_sentence() {
        let socket = Place::Socket("/run/s.sock".into());
        let table = [
            (&socket, Some(io::ErrorKind::NotFound), "there is no socket /run/s.sock", "systemctl start"),
            (
                &socket,
                Some(io::ErrorKind::ConnectionRefused),
                "nobody answers at its socket",
                "systemctl start",
            ),
            (&socket, Some(io::ErrorKind::PermissionDenied), "You may not open", "Use sudo"),
            (&socket, None, "cannot be reached at unix:/run/s.sock: odd", "--endpoint"),
        ];
        for (place, kind, sentence, next) in table {
            let error = explain(place, kind, "odd");
            assert_eq!(error.exit, Exit::Unreachable);
            assert!(error.lines[0].contains(sentence) && error.lines[1].contains(next), "{:?}", error.lines);
        }
    }
}
