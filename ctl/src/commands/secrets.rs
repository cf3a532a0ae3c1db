//! Sealed secrets: another master key.

use settled_proto::v1::RotateSecretsRequest;

use super::Context;
use crate::args::SecretsCommand;
use crate::errors::{Error, Exit};
use crate::render::{json, secrets};

/// `secrets`.
pub(crate) async fn run(ctx: &Context, command: SecretsCommand) -> Result<Exit, Error> {
    let SecretsCommand::Rotate(change) = command;
    let request = RotateSecretsRequest { request_id: change.id() };
    let call = async |q| ctx.client.admin().rotate_secrets(q).await;
    let answer = ctx.client.command(&request, &request.request_id, call).await?;
    ctx.out.show(&json::rotated(&answer), || secrets::rotated(&answer))?;
    Ok(if answer.left == 0 { Exit::Done } else { Exit::Failed })
}
