//! The daemon itself: status, drain, reconcile.

use std::time::Duration;

use settled_proto::v1::{Drain, DrainMode, DrainRequest, GetStatusRequest, ReconcileRequest, WhoAmIRequest};

use super::Context;
use crate::args::{ChangeArgs, DrainArgs};
use crate::clock;
use crate::errors::{Error, Exit};
use crate::render::out::remark;
use crate::render::{admin, json};

/// `status`.
pub(crate) async fn status(ctx: &Context, check: bool) -> Result<Exit, Error> {
    let answer =
        ctx.client.ask(&GetStatusRequest {}, async |q| ctx.client.admin().get_status(q).await).await?;
    ctx.out.show(&json::status(&answer), || admin::status(&answer, ctx.out.style, clock::now()))?;
    Ok(if check && !answer.warnings.is_empty() { Exit::Failed } else { Exit::Done })
}

/// `whoami`.
pub(crate) async fn whoami(ctx: &Context) -> Result<Exit, Error> {
    let answer = ctx.client.ask(&WhoAmIRequest {}, async |q| ctx.client.admin().who_am_i(q).await).await?;
    ctx.out.show(&json::whoami(&answer), || admin::whoami(&answer))?;
    Ok(Exit::Done)
}

/// How often a drain is looked at while it is waited for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// `drain`.
pub(crate) async fn drain(ctx: &Context, args: &DrainArgs) -> Result<Exit, Error> {
    let mode = match (args.cancel, args.detach) {
        (true, _) => DrainMode::Cancel,
        (_, true) => DrainMode::Detach,
        _ => DrainMode::Finish,
    };
    let request = DrainRequest { request_id: args.change.id(), mode: mode as i32 };
    let call = async |q| ctx.client.admin().drain(q).await;
    let answer = ctx.client.command(&request, &request.request_id, call).await?.drain;
    let drain = if args.wait { drained(ctx, answer).await? } else { answer };
    ctx.out.show(&json::drained(drain.as_ref()), || admin::drain(drain.as_ref(), clock::now()))?;
    let as_asked = args.cancel == drain.is_none();
    Ok(if as_asked { Exit::Done } else { Exit::Failed })
}

/// Looks again and again until nothing is left to wait for, or the drain is over.
async fn drained(ctx: &Context, mut drain: Option<Drain>) -> Result<Option<Drain>, Error> {
    let mut told = usize::MAX;
    while let Some(now) = drain.as_ref().filter(|drain| !drain.runs.is_empty()) {
        if now.runs.len() != told {
            told = now.runs.len();
            remark(&admin::waits_for(now, clock::now()));
        }
        clock::pause(LOOK_EVERY).await;
        let call = async |q| ctx.client.admin().get_status(q).await;
        drain = ctx.client.ask(&GetStatusRequest {}, call).await?.drain;
    }
    Ok(drain)
}

/// `reconcile`.
pub(crate) async fn reconcile(ctx: &Context, change: &ChangeArgs) -> Result<Exit, Error> {
    let request = ReconcileRequest { request_id: change.id() };
    let answer = ctx
        .client
        .command(&request, &request.request_id, async |q| ctx.client.admin().reconcile(q).await)
        .await?;
    ctx.out.show(&json::reconciled(&answer), || admin::reconciled(&answer, clock::now()))?;
    Ok(Exit::Done)
}
