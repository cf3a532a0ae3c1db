//! Tokens: make, list, revoke.

use settled_proto::v1::{CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, Role};

use super::{Context, pages};
use crate::args::{CreateTokenArgs, PageArgs, RevokeTokenArgs, TokenCommand};
use crate::clock;
use crate::errors::{Error, Exit};
use crate::render::out::remark;
use crate::render::{json, tokens};

/// `token`.
pub(crate) async fn run(ctx: &Context, command: TokenCommand) -> Result<Exit, Error> {
    match command {
        TokenCommand::Create(args) => create(ctx, args).await,
        TokenCommand::List(page) => list(ctx, &page).await,
        TokenCommand::Revoke(args) => revoke(ctx, args).await,
    }
}

/// `token create`: the secret on standard output, what is to be known of it beside it.
async fn create(ctx: &Context, args: CreateTokenArgs) -> Result<Exit, Error> {
    let request = CreateTokenRequest {
        request_id: args.change.id(),
        name: args.name,
        role: Role::from(args.role) as i32,
        scope: args.scope,
        days: args.days,
    };
    let call = async |q| ctx.client.admin().create_token(q).await;
    let answer = ctx.client.command(&request, &request.request_id, call).await?;
    let token = answer.token.as_ref().ok_or_else(|| Error::contract("the token"))?;
    if answer.secret.is_empty() {
        return Err(tokens::secret_is_lost(token));
    }
    ctx.out.show(&json::created_token(&answer), || answer.secret.clone())?;
    if !ctx.out.for_programs() {
        remark(&tokens::created(token, clock::now()));
    }
    Ok(Exit::Done)
}

/// `token list`.
async fn list(ctx: &Context, page: &PageArgs) -> Result<Exit, Error> {
    let (rows, next) = pages::collect(page, async |page_size, page_token| {
        let request = ListTokensRequest { page_size, page_token };
        let page = ctx.client.ask(&request, async |q| ctx.client.admin().list_tokens(q).await).await?;
        Ok((page.tokens, page.next_page_token))
    })
    .await?;
    if rows.is_empty() && !ctx.out.for_programs() {
        remark("There are no tokens. Make one: settlectl token create NAME --role viewer");
        return Ok(Exit::Done);
    }
    ctx.out.show(&json::page("tokens", &rows, json::token, &next), || {
        tokens::list(&rows, ctx.out.wide(), ctx.out.style, clock::now())
    })?;
    if !ctx.out.for_programs() {
        pages::more(&next);
    }
    Ok(Exit::Done)
}

/// `token revoke`.
async fn revoke(ctx: &Context, args: RevokeTokenArgs) -> Result<Exit, Error> {
    let request = RevokeTokenRequest { request_id: args.change.id(), token: args.token };
    let call = async |q| ctx.client.admin().revoke_token(q).await;
    let answer = ctx.client.command(&request, &request.request_id, call).await?;
    let token = answer.token.as_ref().ok_or_else(|| Error::contract("the token"))?;
    ctx.out.show(&json::token(token), || tokens::revoked(token))?;
    Ok(Exit::Done)
}
