//! Installs a package, and waits until its run has ended.

use settled_proto::v1::follow_run_response::Event;
use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::runs_client::RunsClient;
use settled_proto::v1::{FollowRunRequest, InstallRequest, Run};
use tonic::Status;
use tonic::transport::Channel;

/// The run as it ended. The same id with the same content is done once, however often it is asked for.
pub(super) async fn install(
    channel: Channel,
    request_id: &str,
    server: &str,
    name: &str,
) -> Result<Option<Run>, Status> {
    let request = InstallRequest {
        request_id: request_id.to_owned(),
        server: server.to_owned(),
        package: "greeting".to_owned(),
        name: name.to_owned(),
        parameters: [("whom".to_owned(), name.to_owned())].into(),
        ..InstallRequest::default()
    };
    let mut run = ResourcesClient::new(channel.clone()).install(request).await?.into_inner().run;
    let run_id = run.as_ref().map(|run| run.id.clone()).unwrap_or_default();
    let request = FollowRunRequest { run_id, output_offset: 0 };
    let mut story = RunsClient::new(channel).follow(request).await?.into_inner();
    while let Some(told) = story.message().await? {
        if let Some(Event::Run(newer)) = told.event {
            run = Some(newer);
        }
    }
    Ok(run)
}
