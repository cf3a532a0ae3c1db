//! The audit: who asked for what, and what came of it.

use settled_proto::v1::{AuditResult, GetAuditRequest, ListAuditRequest, Verb};

use super::{Context, pages};
use crate::args::{AuditArgs, AuditCommand, AuditFilterArgs, AuditListArgs};
use crate::clock;
use crate::errors::{Error, Exit};
use crate::render::out::remark;
use crate::render::{audit, json};

/// Entries of one page of an export: the largest that the daemon gives.
const EXPORT_PAGE: u32 = 500;

/// `audit`.
pub(crate) async fn run(ctx: &Context, args: AuditArgs) -> Result<Exit, Error> {
    match args.command {
        Some(AuditCommand::List(args)) => list(ctx, &args).await,
        Some(AuditCommand::Show { seq }) => show(ctx, seq).await,
        Some(AuditCommand::Export(filter)) => export(ctx, &filter).await,
        None => list(ctx, &args.list).await,
    }
}

fn request(filter: &AuditFilterArgs) -> ListAuditRequest {
    ListAuditRequest {
        principal: filter.principal.clone(),
        verb: filter.verb.map_or(Verb::Unspecified, Verb::from).into(),
        method: filter.method.clone(),
        server: filter.server.clone(),
        result: filter.result.map_or(AuditResult::Unspecified, AuditResult::from).into(),
        since: filter.since,
        until: filter.until,
        ..ListAuditRequest::default()
    }
}

async fn list(ctx: &Context, args: &AuditListArgs) -> Result<Exit, Error> {
    let (rows, next) = pages::collect(&args.page, async |page_size, page_token| {
        let request = ListAuditRequest { page_size, page_token, ..request(&args.filter) };
        let page = ctx.client.ask(&request, async |q| ctx.client.admin().list_audit(q).await).await?;
        Ok((page.entries, page.next_page_token))
    })
    .await?;
    if rows.is_empty() && !ctx.out.for_programs() {
        remark("Nobody has asked for anything like that.");
        return Ok(Exit::Done);
    }
    ctx.out.show(&json::page("entries", &rows, json::audit, &next), || {
        audit::list(&rows, ctx.out.wide(), ctx.out.style, clock::now())
    })?;
    if !ctx.out.for_programs() {
        pages::more(&next);
    }
    Ok(Exit::Done)
}

async fn show(ctx: &Context, seq: u64) -> Result<Exit, Error> {
    let request = GetAuditRequest { seq };
    let found = ctx.client.ask(&request, async |q| ctx.client.admin().get_audit(q).await).await?;
    ctx.out.show(&json::audited(&found), || audit::show(&found, ctx.out.style, clock::now()))?;
    Ok(Exit::Done)
}

async fn export(ctx: &Context, filter: &AuditFilterArgs) -> Result<Exit, Error> {
    let mut page_token = String::new();
    loop {
        let request =
            ListAuditRequest { page_size: EXPORT_PAGE, page_token, oldest_first: true, ..request(filter) };
        let page = ctx.client.ask(&request, async |q| ctx.client.admin().list_audit(q).await).await?;
        for entry in &page.entries {
            ctx.out.line(&json::audit(entry).to_string())?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(Exit::Done);
        }
    }
}
