//! Sees every change, each once, however often it begins anew.

use std::time::Duration;

use settled_proto::v1::transitions_client::TransitionsClient;
use settled_proto::v1::watch_request::Start;
use settled_proto::v1::watch_response::Event;
use settled_proto::v1::{Position, Transition, WatchRequest};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Calls `apply` with the changes of each commit and the position after it, which is to be kept with what was made of them. Begins after
/// `position`; without one, with all that there is.
pub(super) async fn watch(
    channel: Channel,
    mut position: Option<Position>,
    mut apply: impl FnMut(Vec<Transition>, &Position),
) -> Status {
    let mut tries = tokio::time::interval(Duration::from_secs(1));
    loop {
        tries.tick().await;
        match watch_from(channel.clone(), &mut position, &mut apply).await {
            Err(status) if status.code() == Code::OutOfRange => position = None,
            Err(status) if status.code() != Code::Unavailable => return status,
            _ => {}
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
    let mut stream = TransitionsClient::new(channel).watch(request).await?.into_inner();
    let mut changes = Vec::new();
    while let Some(told) = stream.message().await? {
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
