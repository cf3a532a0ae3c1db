//! Does the work of stages that name a queue.

use settled_proto::v1::lifecycles_client::LifecyclesClient;
use settled_proto::v1::{CompleteTaskRequest, FailTaskRequest, Task, WorkRequest};
use tonic::Status;
use tonic::transport::Channel;

use super::refusal::pause;

/// Takes tasks and has them done, one after the other: `act` answers the payload, or why it could not.
pub(super) async fn work(
    channel: Channel,
    queue: &str,
    mut act: impl FnMut(&Task) -> Result<String, String>,
) -> Status {
    loop {
        if let Err(status) = work_until_broken(channel.clone(), queue, &mut act).await
            && let Err(status) = pause(status).await
        {
            return status;
        }
    }
}

async fn work_until_broken(
    channel: Channel,
    queue: &str,
    act: &mut impl FnMut(&Task) -> Result<String, String>,
) -> Result<(), Status> {
    let mut lifecycles = LifecyclesClient::new(channel);
    let request = WorkRequest { queue: queue.to_owned(), worker: "example".to_owned() };
    let mut tasks = lifecycles.work(request).await?.into_inner();
    while let Some(task) = tasks.message().await? {
        // A task's own id makes its answer repeatable: one that got lost is done once.
        let (request_id, task_id) = (task.id.clone(), task.id.clone());
        match act(&task) {
            Ok(payload) => {
                lifecycles.complete(CompleteTaskRequest { request_id, task_id, payload }).await?;
            }
            Err(error) => {
                lifecycles.fail(FailTaskRequest { request_id, task_id, error }).await?;
            }
        }
    }
    Ok(())
}
