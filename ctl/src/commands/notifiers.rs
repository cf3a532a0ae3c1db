//! Notifiers: make, list, show, try out, take away; and what they were told.

use std::time::Duration;

use settled_proto::v1::{
    CreateNotifierRequest, DeleteNotifierRequest, Delivery, DeliveryState, GetNotifierRequest,
    ListDeliveriesRequest, ListNotifiersRequest, NoticeEvent, TestNotifierRequest,
};

use super::{Context, pages};
use crate::args::{CreateNotifierArgs, DeliveriesArgs, NotifierArgs, NotifierCommand, values};
use crate::clock;
use crate::errors::{Error, Exit};
use crate::render::out::remark;
use crate::render::{json, notifiers};

/// How long a test waits for what comes of it.
const TEST_FOR: Duration = Duration::from_secs(20);
/// How often it looks.
const TEST_EVERY: Duration = Duration::from_millis(200);
/// Deliveries that `show` shows.
const SHOWN: u32 = 10;

/// `notifier`.
pub(crate) async fn run(ctx: &Context, command: NotifierCommand) -> Result<Exit, Error> {
    match command {
        NotifierCommand::Create(args) => create(ctx, args).await,
        NotifierCommand::List => list(ctx).await,
        NotifierCommand::Show { notifier } => show(ctx, notifier).await,
        NotifierCommand::Test(args) => test(ctx, args).await,
        NotifierCommand::Delete(args) => delete(ctx, args).await,
        NotifierCommand::Deliveries(args) => deliveries(ctx, &args).await,
    }
}

async fn create(ctx: &Context, args: CreateNotifierArgs) -> Result<Exit, Error> {
    let secret = args.secret_file.as_deref().map(values::one_secret).transpose()?;
    let request = CreateNotifierRequest {
        request_id: args.change.id(),
        name: args.name,
        url: args.url.unwrap_or_default(),
        plain: args.plain,
        secret: secret.unwrap_or_default(),
        recipients: args.mail,
        events: args.events.into_iter().map(|event| NoticeEvent::from(event).into()).collect(),
        labels: values::map(&args.labels, "--label")?.into_iter().collect(),
        packages: args.packages,
    };
    let call = async |q| ctx.client.admin().create_notifier(q).await;
    let answer = ctx.client.command(&request, &request.request_id, call).await?;
    let notifier = answer.notifier.as_ref().ok_or_else(|| Error::contract("the notifier"))?;
    ctx.out.show(&json::notifier(notifier), || notifiers::created(notifier))?;
    Ok(Exit::Done)
}

async fn list(ctx: &Context) -> Result<Exit, Error> {
    let request = ListNotifiersRequest {};
    let answer = ctx.client.ask(&request, async |q| ctx.client.admin().list_notifiers(q).await).await?;
    let rows = answer.notifiers;
    if rows.is_empty() && !ctx.out.for_programs() {
        remark("There are no notifiers. Make one: settlectl notifier create NAME --mail ADDRESS");
        return Ok(Exit::Done);
    }
    ctx.out.show(&json::page("notifiers", &rows, json::notifier, ""), || {
        notifiers::list(&rows, ctx.out.wide(), ctx.out.style, clock::now())
    })?;
    Ok(Exit::Done)
}

async fn show(ctx: &Context, notifier: String) -> Result<Exit, Error> {
    let request = GetNotifierRequest { notifier };
    let answer = ctx.client.ask(&request, async |q| ctx.client.admin().get_notifier(q).await).await?;
    let notifier = answer.notifier.ok_or_else(|| Error::contract("the notifier"))?;
    let told = told_lately(ctx, &notifier.name, SHOWN).await?;
    ctx.out.show(&json::notifier_story(&notifier, &told), || {
        notifiers::story(&notifier, &told, ctx.out.style, clock::now())
    })?;
    Ok(Exit::Done)
}

async fn told_lately(ctx: &Context, notifier: &str, page_size: u32) -> Result<Vec<Delivery>, Error> {
    let request = ListDeliveriesRequest {
        notifier: notifier.to_owned(),
        page_size,
        ..ListDeliveriesRequest::default()
    };
    let page = ctx.client.ask(&request, async |q| ctx.client.admin().list_deliveries(q).await).await?;
    Ok(page.deliveries)
}

/// `notifier test`: waits until it was taken, or was not at its first try.
async fn test(ctx: &Context, args: NotifierArgs) -> Result<Exit, Error> {
    let request = TestNotifierRequest { request_id: args.change.id(), notifier: args.notifier };
    let call = async |q| ctx.client.admin().test_notifier(q).await;
    let answer = ctx.client.command(&request, &request.request_id, call).await?;
    let mut delivery = answer.delivery.ok_or_else(|| Error::contract("the delivery"))?;
    let until = clock::instant() + TEST_FOR;
    while delivery.last_error.is_empty()
        && delivery.state() == DeliveryState::Waiting
        && clock::instant() < until
    {
        clock::pause(TEST_EVERY).await;
        let told = told_lately(ctx, &delivery.notifier, SHOWN).await?;
        delivery = told.into_iter().find(|told| told.id == delivery.id).unwrap_or(delivery);
    }
    ctx.out.show(&json::delivery(&delivery), || notifiers::tried(&delivery))?;
    Ok(if delivery.state() == DeliveryState::Sent { Exit::Done } else { Exit::Failed })
}

async fn delete(ctx: &Context, args: NotifierArgs) -> Result<Exit, Error> {
    let request = DeleteNotifierRequest { request_id: args.change.id(), notifier: args.notifier };
    let call = async |q| ctx.client.admin().delete_notifier(q).await;
    let answer = ctx.client.command(&request, &request.request_id, call).await?;
    let notifier = answer.notifier.as_ref().ok_or_else(|| Error::contract("the notifier"))?;
    ctx.out.show(&json::notifier(notifier), || notifiers::deleted(notifier))?;
    Ok(Exit::Done)
}

async fn deliveries(ctx: &Context, args: &DeliveriesArgs) -> Result<Exit, Error> {
    let state = args.state.map_or(DeliveryState::Unspecified, DeliveryState::from).into();
    let (rows, next) = pages::collect(&args.page, async |page_size, page_token| {
        let notifier = args.notifier.clone();
        let request = ListDeliveriesRequest { page_size, page_token, notifier, state };
        let page = ctx.client.ask(&request, async |q| ctx.client.admin().list_deliveries(q).await).await?;
        Ok((page.deliveries, page.next_page_token))
    })
    .await?;
    ctx.out.show(&json::page("deliveries", &rows, json::delivery, &next), || {
        notifiers::deliveries(&rows, ctx.out.wide(), ctx.out.style, clock::now())
    })?;
    if !ctx.out.for_programs() {
        pages::more(&next);
    }
    Ok(Exit::Done)
}
