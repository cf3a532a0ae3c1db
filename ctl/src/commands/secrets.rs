//! Sealed secrets: another master key, and the public half of the installation's own key to servers.

use settled_proto::v1::{GetIdentityRequest, RotateSecretsRequest};

use super::Context;
use crate::args::SecretsCommand;
use crate::errors::{Error, Exit};
use crate::render::out::remark;
use crate::render::{json, secrets, text};

/// `secrets`.
pub(crate) async fn run(ctx: &Context, command: SecretsCommand) -> Result<Exit, Error> {
    let SecretsCommand::Rotate(change) = command;
    let request = RotateSecretsRequest { request_id: change.id() };
    let call = async |q| ctx.client.admin().rotate_secrets(q).await;
    let answer = ctx.client.command(&request, &request.request_id, call).await?;
    ctx.out.show(&json::rotated(&answer), || secrets::rotated(&answer))?;
    Ok(if answer.left == 0 { Exit::Done } else { Exit::Failed })
}

/// `identity show`: the line alone on standard output.
pub(crate) async fn identity(ctx: &Context) -> Result<Exit, Error> {
    let call = async |q| ctx.client.admin().get_identity(q).await;
    let answer = ctx.client.ask(&GetIdentityRequest {}, call).await?;
    ctx.out.show(&json::identity(&answer), || text::clean(&answer.authorized_key))?;
    if !ctx.out.for_programs() {
        remark(&text::clean(&answer.fingerprint));
    }
    Ok(Exit::Done)
}
