//! The daemon itself: status, reconcile, audit.

use settled_proto::v1::{GetStatusRequest, ListAuditRequest, ReconcileRequest};

use super::{Context, pages};
use crate::args::{AuditArgs, AuditCommand, ChangeArgs};
use crate::clock;
use crate::errors::{Error, Exit};
use crate::render::out::remark;
use crate::render::{admin, json};

/// `status`.
pub(crate) async fn status(ctx: &Context) -> Result<Exit, Error> {
    let answer =
        ctx.client.ask(&GetStatusRequest {}, async |q| ctx.client.admin().get_status(q).await).await?;
    ctx.out.show(&json::status(&answer), || admin::status(&answer, ctx.out.style, clock::now()))?;
    Ok(Exit::Done)
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

/// `audit`, `audit list`.
pub(crate) async fn audit(ctx: &Context, args: AuditArgs) -> Result<Exit, Error> {
    let page = match args.command {
        Some(AuditCommand::List(page)) => page,
        None => args.page,
    };
    let (rows, next) = pages::collect(&page, async |page_size, page_token| {
        let request = ListAuditRequest { page_size, page_token };
        let page = ctx.client.ask(&request, async |q| ctx.client.admin().list_audit(q).await).await?;
        Ok((page.entries, page.next_page_token))
    })
    .await?;
    if rows.is_empty() && !ctx.out.for_programs() {
        remark("Nobody has asked for anything yet.");
        return Ok(Exit::Done);
    }
    ctx.out.show(&json::page("entries", &rows, json::audit, &next), || {
        admin::audit(&rows, ctx.out.wide(), ctx.out.style, clock::now())
    })?;
    if !ctx.out.for_programs() {
        pages::more(&next);
    }
    Ok(Exit::Done)
}
