//! The verbs of schedules.

use settled_proto::v1::schedule_target::Target;
use settled_proto::v1::{
    CreateScheduleRequest, DeleteScheduleRequest, EnrollmentTarget, FireScheduleRequest, GetScheduleRequest,
    ListOccurrencesRequest, ListSchedulesRequest, MissedPolicy, NextTimesRequest, OperationTarget, Overlap,
    PauseScheduleRequest, ResumeScheduleRequest, Schedule, ScheduleTarget, UpdateScheduleRequest,
};

use super::{Context, pages};
use crate::args::{
    AddScheduleArgs, EditScheduleArgs, PlaceArgs, ScheduleCommand, ScheduleListArgs, ScheduleShowArgs,
    ScheduleTargetArgs, TermArgs, values,
};
use crate::clock;
use crate::errors::{Error, Exit};
use crate::render::{json, schedules, text};

/// Due times that are shown.
const TIMES: u32 = 10;

/// `schedule ...`. `open` connects; what can be seen to be wrong is told before.
pub(crate) async fn run(
    open: impl AsyncFnOnce() -> Result<Context, Error>,
    command: ScheduleCommand,
) -> Result<Exit, Error> {
    match command {
        ScheduleCommand::Add(args) => {
            let request = create_request(args)?;
            let ctx = open().await?;
            let call = async |q| ctx.client.schedules().create(q).await;
            let schedule = ctx.client.command(&request, &request.request_id, call).await?;
            story(&ctx, schedule, TIMES).await
        }
        ScheduleCommand::Edit(args) => {
            let request = update_request(args)?;
            let ctx = open().await?;
            let call = async |q| ctx.client.schedules().update(q).await;
            let schedule = ctx.client.command(&request, &request.request_id, call).await?;
            story(&ctx, schedule, TIMES).await
        }
        ScheduleCommand::List(args) => list(&open().await?, args).await,
        ScheduleCommand::Show(args) => show(&open().await?, args).await,
        ScheduleCommand::Pause(args) => pause(&open().await?, args).await,
        ScheduleCommand::Resume(args) => resume(&open().await?, args).await,
        ScheduleCommand::Fire(args) => fire(&open().await?, args).await,
        ScheduleCommand::Remove(args) => remove(&open().await?, args).await,
    }
}

/// What is to be done; `None`: nothing is said of it.
fn target(
    operation: Option<String>,
    enroll: Option<String>,
    place: PlaceArgs,
) -> Result<Option<ScheduleTarget>, Error> {
    let target = match (operation, enroll) {
        (Some(operation), _) => Target::Operation(operated(operation, place)?),
        (None, Some(lifecycle)) => Target::Enrollment(enrolled(lifecycle, place)?),
        (None, None) if place.is_given() => {
            let line =
                "Another target is given as a whole: say with --do or --enroll what is to be done there.";
            return Err(Error::usage(line));
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(ScheduleTarget { target: Some(target) }))
}

fn operated(operation: String, place: PlaceArgs) -> Result<OperationTarget, Error> {
    if !place.subjects.is_empty() || !place.payload.is_empty() || place.again {
        return Err(Error::usage("--subject, --payload and --again go with --enroll."));
    }
    if place.package.is_none() && place.resources.is_empty() {
        return Err(Error::usage("With --server and --label, say with --package of which package."));
    }
    Ok(OperationTarget {
        package: place.package.unwrap_or_default(),
        operation,
        name: place.resource_name.unwrap_or_default(),
        servers: place.servers,
        labels: values::map(&place.labels, "--label")?,
        resources: place.resources,
        parameters: values::map(&place.set, "--set")?,
    })
}

fn enrolled(lifecycle: String, place: PlaceArgs) -> Result<EnrollmentTarget, Error> {
    if !place.set.is_empty() || place.resource_name.is_some() {
        return Err(Error::usage("--set and --name go with --do: who is enrolled begins with --payload."));
    }
    if place.package.is_some() && place.labels.is_empty() {
        return Err(Error::usage("With --enroll, --package goes with --label."));
    }
    let servers = place.servers.iter().map(|name| format!("server/{name}"));
    let resources = place.resources.iter().map(|path| format!("resource/{path}"));
    Ok(EnrollmentTarget {
        lifecycle,
        subjects: servers.chain(resources).chain(place.subjects).collect(),
        labels: values::map(&place.labels, "--label")?,
        package: place.package.unwrap_or_default(),
        payload: values::payload(&place.payload)?,
        again: place.again,
    })
}

fn seconds(span: std::time::Duration) -> u32 {
    u32::try_from(span.as_secs()).unwrap_or(u32::MAX)
}

fn wire(at: jiff::Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

fn overlap(terms: &TermArgs) -> i32 {
    terms.overlap.map_or(0, |word| Overlap::from(word) as i32)
}

fn missed(terms: &TermArgs) -> i32 {
    terms.missed.map_or(0, |word| MissedPolicy::from(word) as i32)
}

fn create_request(args: AddScheduleArgs) -> Result<CreateScheduleRequest, Error> {
    let terms = args.terms;
    Ok(CreateScheduleRequest {
        request_id: args.change.id(),
        name: args.name,
        cron: args.cron,
        overlap: overlap(&terms),
        missed: missed(&terms),
        time_zone: terms.time_zone.unwrap_or_default(),
        target: target(args.operation, args.enroll, args.place)?,
        missed_within_s: terms.missed_within.map_or(0, seconds),
        jitter_s: terms.jitter.map_or(0, seconds),
        starts_at: terms.starts.map(wire),
        ends_at: terms.ends.map(wire),
    })
}

fn update_request(args: EditScheduleArgs) -> Result<UpdateScheduleRequest, Error> {
    let terms = args.terms;
    let target = target(args.operation, args.enroll, args.place)?;
    Ok(UpdateScheduleRequest {
        request_id: args.change.id(),
        schedule: args.schedule,
        cron: args.cron,
        overlap: overlap(&terms),
        missed: missed(&terms),
        time_zone: terms.time_zone,
        target,
        missed_within_s: terms.missed_within.map(seconds),
        jitter_s: terms.jitter.map(seconds),
        starts_at: terms.starts.map(wire),
        clear_starts_at: args.no_start,
        ends_at: terms.ends.map(wire),
        clear_ends_at: args.no_end,
    })
}

async fn list(ctx: &Context, args: ScheduleListArgs) -> Result<Exit, Error> {
    let (rows, next) = pages::collect(&args.page, async |page_size, page_token| {
        let paused = args.paused.then_some(true);
        let request = ListSchedulesRequest { page_size, page_token, paused, built_in: None };
        let page = ctx.client.ask(&request, async |q| ctx.client.schedules().list(q).await).await?;
        Ok((page.schedules, page.next_page_token))
    })
    .await?;
    ctx.out.show(&json::page("schedules", &rows, json::schedule, &next), || {
        schedules::list(&rows, ctx.out.wide(), ctx.out.style, clock::now())
    })?;
    if !ctx.out.for_programs() {
        pages::more(&next);
    }
    Ok(Exit::Done)
}

async fn show(ctx: &Context, args: ScheduleShowArgs) -> Result<Exit, Error> {
    let request = GetScheduleRequest { schedule: args.schedule };
    let schedule = ctx.client.ask(&request, async |q| ctx.client.schedules().get(q).await).await?;
    story(ctx, schedule, args.history).await
}

/// A schedule with its next times and what became of those that have passed.
async fn story(ctx: &Context, schedule: Schedule, history: u32) -> Result<Exit, Error> {
    let request = NextTimesRequest { schedule: schedule.id.clone(), count: TIMES };
    let times = ctx.client.ask(&request, async |q| ctx.client.schedules().next_times(q).await).await?.times;
    let request = ListOccurrencesRequest {
        schedule: schedule.id.clone(),
        page_size: history,
        page_token: String::new(),
        fate: 0,
    };
    let call = async |q| ctx.client.schedules().list_occurrences(q).await;
    let occurrences = ctx.client.ask(&request, call).await?.occurrences;
    ctx.out.show(&json::schedule_story(&schedule, &times, &occurrences), || {
        schedules::show(&schedule, &times, &occurrences, ctx.out.style, clock::now())
    })?;
    Ok(Exit::Done)
}

async fn pause(ctx: &Context, args: ScheduleTargetArgs) -> Result<Exit, Error> {
    let request = PauseScheduleRequest { request_id: args.change.id(), schedule: args.schedule };
    let call = async |q| ctx.client.schedules().pause(q).await;
    let schedule = ctx.client.command(&request, &request.request_id, call).await?;
    let name = text::clean(&schedule.name);
    ctx.out.show(&json::schedule(&schedule), || {
        format!("{name} is paused: nothing is due until 'settlectl schedule resume {name}'.")
    })?;
    Ok(Exit::Done)
}

async fn resume(ctx: &Context, args: ScheduleTargetArgs) -> Result<Exit, Error> {
    let request = ResumeScheduleRequest { request_id: args.change.id(), schedule: args.schedule };
    let call = async |q| ctx.client.schedules().resume(q).await;
    let schedule = ctx.client.command(&request, &request.request_id, call).await?;
    ctx.out.show(&json::schedule(&schedule), || schedules::resumed(&schedule, clock::now()))?;
    Ok(Exit::Done)
}

async fn fire(ctx: &Context, args: ScheduleTargetArgs) -> Result<Exit, Error> {
    let request = FireScheduleRequest { request_id: args.change.id(), schedule: args.schedule };
    let call = async |q| ctx.client.schedules().fire(q).await;
    let answer = ctx.client.command(&request, &request.request_id, call).await?;
    let occurrence = answer.occurrence.as_ref().ok_or_else(|| Error::contract("the occurrence"))?;
    ctx.out.show(&json::fired(&answer), || schedules::fired(occurrence))?;
    Ok(if schedules::came_to_nothing(occurrence) { Exit::Failed } else { Exit::Done })
}

async fn remove(ctx: &Context, args: ScheduleTargetArgs) -> Result<Exit, Error> {
    let request = DeleteScheduleRequest { request_id: args.change.id(), schedule: args.schedule };
    let call = async |q| ctx.client.schedules().delete(q).await;
    let schedule = ctx.client.command(&request, &request.request_id, call).await?;
    ctx.out.show(&json::schedule(&schedule), || {
        format!("The schedule {} is gone. Runs that it has made go on.", text::clean(&schedule.name))
    })?;
    Ok(Exit::Done)
}
