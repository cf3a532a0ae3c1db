//! Where the daemon is and how to speak with it: finds the endpoint, opens the channel, repeats what broke.
//! It never prints and knows no command.

mod endpoint;

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
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

pub(crate) use self::endpoint::{Place, find};
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
    channel: Channel,
    /// The group of commands that was typed, for the names of flags in errors.
    command: &'static str,
}

macro_rules! service {
    ($name:ident, $client:ident) => {
        /// The service, with the limits of the contract.
        pub(crate) fn $name(&self) -> $client<Channel> {
            $client::new(self.channel.clone())
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
    pub(crate) async fn connect(place: &Place, command: &'static str) -> Result<Self, Error> {
        let endpoint = tonic::transport::Endpoint::from_shared(place.uri())
            .map_err(|e| Error::usage(format!("'{place}' is not an endpoint: {e}.")))?
            .connect_timeout(CONNECT_LIMIT)
            .http2_keep_alive_interval(KEEPALIVE_EVERY)
            .keep_alive_timeout(KEEPALIVE_LIMIT)
            .keep_alive_while_idle(true);
        match endpoint.connect().await {
            Ok(channel) => Ok(Self { channel, command }),
            Err(error) => Err(no_connection(place, &error)),
        }
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
        (Place::Loopback(_), Some(io::ErrorKind::ConnectionRefused)) => {
            Error::unreachable(format!("settled does not run: nobody listens at {place}."), start)
        }
        _ => Error::unreachable(format!("settled cannot be reached at {place}: {words}."), start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_not_getting_through_has_its_sentence() {
        let socket = Place::Socket("/run/s.sock".into());
        let port = Place::Loopback("http://127.0.0.1:7".into());
        let table = [
            (&socket, Some(io::ErrorKind::NotFound), "there is no socket /run/s.sock", "systemctl start"),
            (
                &socket,
                Some(io::ErrorKind::ConnectionRefused),
                "nobody answers at its socket",
                "systemctl start",
            ),
            (&socket, Some(io::ErrorKind::PermissionDenied), "You may not open", "Use sudo"),
            (
                &port,
                Some(io::ErrorKind::ConnectionRefused),
                "nobody listens at http://127.0.0.1:7",
                "--endpoint",
            ),
            (&port, None, "cannot be reached at http://127.0.0.1:7: odd", "--endpoint"),
        ];
        for (place, kind, sentence, next) in table {
            let error = explain(place, kind, "odd");
            assert_eq!(error.exit, Exit::Unreachable);
            assert!(error.lines[0].contains(sentence) && error.lines[1].contains(next), "{:?}", error.lines);
        }
    }
}
