//! The verbs of enrollments.

use settled_proto::v1::{
    AdvanceEnrollmentRequest, DecideEnrollmentRequest, DeleteEnrollmentRequest, EnrollRequest, Enrollment,
    EnrollmentStatus, ExecutionOutcome, GetEnrollmentRequest, ListEnrollmentsRequest, ListExecutionsRequest,
    ResetEnrollmentRequest, RetryEnrollmentRequest,
};

use super::{Context, pages};
use crate::args::values;
use crate::args::{DecideArgs, EnrollArgs, EnrollmentCommand, EnrollmentListArgs, EnrollmentShowArgs};
use crate::clock;
use crate::errors::{Error, Exit};
use crate::render::out::remark;
use crate::render::{enrollments, json, text};

/// `enroll`.
pub(crate) async fn enroll(ctx: &Context, args: EnrollArgs, payload: String) -> Result<Exit, Error> {
    let request = EnrollRequest {
        request_id: args.change.id(),
        lifecycle: args.lifecycle,
        subject: args.subject,
        payload,
        executes_at: args.at,
        again: args.again,
        cancel: args.cancel,
    };
    let call = async |q| ctx.client.lifecycles().enroll(q).await;
    let answer = ctx.client.command(&request, &request.request_id, call).await?;
    ctx.out.show(&json::enrolled(&answer), || enrollments::enrolled(&answer, clock::now()))?;
    Ok(Exit::Done)
}

/// `enrollment ...`. `open` connects; files are read before.
pub(crate) async fn run(
    open: impl AsyncFnOnce() -> Result<Context, Error>,
    command: EnrollmentCommand,
) -> Result<Exit, Error> {
    match command {
        EnrollmentCommand::List(args) => list(&open().await?, args).await,
        EnrollmentCommand::Show(args) if args.log => log(&open().await?, args).await,
        EnrollmentCommand::Show(args) => {
            let ctx = open().await?;
            let request = GetEnrollmentRequest { enrollment: args.enrollment };
            let call = async |q| ctx.client.lifecycles().get_enrollment(q).await;
            show(&ctx, &ctx.client.ask(&request, call).await?)
        }
        EnrollmentCommand::Advance(target) => {
            let ctx = open().await?;
            let request =
                AdvanceEnrollmentRequest { request_id: target.change.id(), enrollment: target.enrollment };
            let call = async |q| ctx.client.lifecycles().advance_enrollment(q).await;
            show(&ctx, &ctx.client.command(&request, &request.request_id, call).await?)
        }
        EnrollmentCommand::Retry(target) => {
            let ctx = open().await?;
            let request =
                RetryEnrollmentRequest { request_id: target.change.id(), enrollment: target.enrollment };
            let call = async |q| ctx.client.lifecycles().retry_enrollment(q).await;
            show(&ctx, &ctx.client.command(&request, &request.request_id, call).await?)
        }
        EnrollmentCommand::Reset { target, payload, cancel } => {
            let payload = values::payload(&payload)?;
            let ctx = open().await?;
            let (request_id, enrollment) = (target.change.id(), target.enrollment);
            let request = ResetEnrollmentRequest { request_id, enrollment, payload, cancel };
            let call = async |q| ctx.client.lifecycles().reset_enrollment(q).await;
            show(&ctx, &ctx.client.command(&request, &request.request_id, call).await?)
        }
        EnrollmentCommand::Remove { target, cancel } => {
            let ctx = open().await?;
            let (request_id, enrollment) = (target.change.id(), target.enrollment);
            let request = DeleteEnrollmentRequest { request_id, enrollment, cancel };
            let call = async |q| ctx.client.lifecycles().delete_enrollment(q).await;
            ctx.client.command(&request, &request.request_id, call).await?;
            let told =
                || format!("The enrollment {} is gone. Its log stays.", text::clean(&request.enrollment));
            ctx.out.show(&serde_json::json!({}), told)?;
            Ok(Exit::Done)
        }
        EnrollmentCommand::Approve(args) => decide(&open().await?, args, true).await,
        EnrollmentCommand::Reject(args) => decide(&open().await?, args, false).await,
    }
}

fn show(ctx: &Context, enrollment: &Enrollment) -> Result<Exit, Error> {
    ctx.out
        .show(&json::enrollment(enrollment), || enrollments::show(enrollment, ctx.out.style, clock::now()))?;
    Ok(Exit::Done)
}

async fn decide(ctx: &Context, args: DecideArgs, approve: bool) -> Result<Exit, Error> {
    let (request_id, enrollment) = (args.target.change.id(), args.target.enrollment);
    let request = DecideEnrollmentRequest { request_id, enrollment, approve, note: args.note };
    let call = async |q| ctx.client.lifecycles().decide_enrollment(q).await;
    show(ctx, &ctx.client.command(&request, &request.request_id, call).await?)
}

async fn list(ctx: &Context, args: EnrollmentListArgs) -> Result<Exit, Error> {
    let status = args.status.map_or(0, |word| EnrollmentStatus::from(word) as i32);
    let (rows, next) = pages::collect(&args.page, async |page_size, page_token| {
        let request = ListEnrollmentsRequest {
            page_size,
            page_token,
            lifecycle: args.lifecycle.clone(),
            subject: args.subject.clone(),
            status,
            due_before: args.due_before,
        };
        let call = async |q| ctx.client.lifecycles().list_enrollments(q).await;
        let page = ctx.client.ask(&request, call).await?;
        Ok((page.enrollments, page.next_page_token))
    })
    .await?;
    if rows.is_empty() && !ctx.out.for_programs() {
        remark("No enrollments.");
        return Ok(Exit::Done);
    }
    ctx.out.show(&json::page("enrollments", &rows, json::enrollment, &next), || {
        enrollments::list(&rows, ctx.out.style, clock::now())
    })?;
    if !ctx.out.for_programs() {
        pages::more(&next);
    }
    Ok(Exit::Done)
}

async fn log(ctx: &Context, args: EnrollmentShowArgs) -> Result<Exit, Error> {
    let outcome = args.outcome.map_or(0, |word| ExecutionOutcome::from(word) as i32);
    let (rows, next) = pages::collect(&args.page, async |page_size, page_token| {
        let request = ListExecutionsRequest {
            page_size,
            page_token,
            enrollment: args.enrollment.clone(),
            stage: args.stage.clone(),
            outcome,
            since: args.since,
            until: args.until,
            ..ListExecutionsRequest::default()
        };
        let call = async |q| ctx.client.lifecycles().list_executions(q).await;
        let page = ctx.client.ask(&request, call).await?;
        Ok((page.executions, page.next_page_token))
    })
    .await?;
    if rows.is_empty() && !ctx.out.for_programs() {
        remark("Nothing was executed yet.");
        return Ok(Exit::Done);
    }
    ctx.out.show(&json::page("executions", &rows, json::execution, &next), || {
        enrollments::log(&rows, ctx.out.style)
    })?;
    if !ctx.out.for_programs() {
        pages::more(&next);
    }
    Ok(Exit::Done)
}
