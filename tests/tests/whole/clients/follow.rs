//! Writes what the steps of a run write, live or afterwards.

use std::io::Write;

use settled_proto::v1::FollowRunRequest;
use settled_proto::v1::follow_run_response::Event;
use settled_proto::v1::runs_client::RunsClient;
use tonic::Status;
use tonic::transport::Channel;

use super::refusal::pause;

/// Returns when the run has ended. Where the connection breaks, or the daemon is replaced, it goes on where the output stopped.
pub(super) async fn follow(channel: Channel, run_id: &str, out: &mut impl Write) -> Result<(), Status> {
    let mut offset = 0;
    while let Err(status) = follow_from(channel.clone(), run_id, &mut offset, out).await {
        pause(status).await?;
    }
    Ok(())
}

async fn follow_from(
    channel: Channel,
    run_id: &str,
    offset: &mut u64,
    out: &mut impl Write,
) -> Result<(), Status> {
    let request = FollowRunRequest { run_id: run_id.to_owned(), output_offset: *offset };
    let mut story = RunsClient::new(channel).follow(request).await?.into_inner();
    while let Some(told) = story.message().await? {
        if let Some(Event::Output(output)) = told.event {
            out.write_all(&output.data)?;
            *offset = output.next_offset;
        }
    }
    Ok(())
}
