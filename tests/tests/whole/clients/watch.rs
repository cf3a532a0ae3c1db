//! Sees every change, each once, however often it begins anew.

use std::future::Future;
use std::time::Duration;

use settled_proto::v1::transitions_client::TransitionsClient;
use settled_proto::v1::watch_request::Start;
use settled_proto::v1::watch_response::Event;
use settled_proto::v1::{Position, Transition, WatchRequest};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::refusal::pause;

/// A bookmark comes every 3 seconds when nothing else does: the connection is dead where nothing comes for so long.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Calls `apply` with the changes of each commit and the position after it, which is to be kept with what was made of them. Begins after
/// `position`; without one, with all that there is. `connect` makes a channel of its own each time, since the last one may be dead.
pub(super) async fn watch(
    connect: impl Fn() -> Channel,
    mut position: Option<Position>,
    mut apply: impl FnMut(Vec<Transition>, &Position),
) -> Status {
    loop {
        match watch_from(connect(), &mut position, &mut apply).await {
            Ok(()) => {}
            Err(status) if status.code() == Code::OutOfRange => position = None,
            Err(status) => {
                if let Err(status) = pause(status).await {
                    return status;
                }
            }
        }
    }
}

async fn watch_from(
    channel: Channel,
    position: &mut Option<Position>,
    apply: &mut impl FnMut(Vec<Transition>, &Position),
) -> Result<(), Status> {
    let start = position.clone().map_or(Start::Snapshot(true), Start::Since);
    let request = WatchRequest { start: Some(start), ..WatchRequest::default() };
    let mut transitions = TransitionsClient::new(channel);
    let mut stream = in_time(transitions.watch(request)).await?.into_inner();
    let mut changes = Vec::new();
    while let Some(told) = in_time(stream.message()).await? {
        let is_bookmark = matches!(told.event, Some(Event::Bookmark(_)));
        if let Some(Event::Transition(change)) = told.event {
            changes.push(change);
        }
        // What was changed together is applied together, and then its position is kept.
        if let Some(at) = told.position.filter(|_| told.commit_complete || is_bookmark) {
            apply(std::mem::take(&mut changes), &at);
            *position = Some(at);
        }
    }
    Ok(())
}

async fn in_time<T>(coming: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    timeout(SILENCE_MAX, coming).await.unwrap_or_else(|_| Err(Status::unavailable("nothing comes any more")))
}
