//! `watch`: every change as it is committed, across breaks of the stream.

use settled_proto::v1::watch_request::Start;
use settled_proto::v1::watch_response::Event;
use settled_proto::v1::{Kind, Position, WatchFilter, WatchRequest, WatchResponse};
use tonic::{Code, Status};

use super::{Context, resources};
use crate::args::{WatchArgs, values};
use crate::clock;
use crate::errors::{Error, Exit, is_transient};
use crate::patience::Patience;
use crate::render::out::remark;
use crate::render::{json, transitions};

/// Where a watch stands.
struct Cursor {
    /// The last position seen, once it is safe to resume from it.
    position: Option<Position>,
    /// A snapshot was asked for and is not complete: a resumed watch must begin it anew.
    in_snapshot: bool,
}

impl Cursor {
    fn start(&self) -> Start {
        match (&self.position, self.in_snapshot) {
            (_, true) => Start::Snapshot(true),
            (Some(position), false) => Start::Since(position.clone()),
            (None, false) => Start::FromNow(true),
        }
    }

    fn pass(&mut self, event: &WatchResponse) {
        if let Some(Event::Bookmark(bookmark)) = &event.event
            && bookmark.snapshot_complete
        {
            self.in_snapshot = false;
        }
        if event.position.is_some() {
            self.position.clone_from(&event.position);
        }
    }

    /// How to go on later.
    fn resume(&self) -> String {
        match (&self.position, self.in_snapshot) {
            (Some(p), false) => format!("Go on with: settlectl watch --since {}:{}", p.generation, p.seq),
            (_, true) => "The snapshot was not complete: begin again with --snapshot.".to_owned(),
            (None, false) => "Nothing was seen yet: begin again.".to_owned(),
        }
    }
}

/// `watch`.
pub(crate) async fn watch(ctx: &Context, args: WatchArgs) -> Result<Exit, Error> {
    let request = WatchRequest { start: None, filters: filters(ctx, &args).await? };
    let mut cursor = Cursor { position: args.since, in_snapshot: args.snapshot };
    let mut patience = Patience::new(args.patience.patience, clock::instant());
    let ended = tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(|e| Error::output(&e)),
        ended = forever(ctx, &request, &mut cursor, &mut patience) => ended,
    };
    ended?;
    Err(Error { exit: Exit::Interrupted, lines: vec!["No longer watching.".to_owned(), cursor.resume()] })
}

/// One filter for each server, resource and run, and one for all labels. Resources by their ids, so that a watch that breaks goes on
/// when they are gone.
async fn filters(ctx: &Context, args: &WatchArgs) -> Result<Vec<WatchFilter>, Error> {
    let mut filters = Vec::new();
    for server in &args.servers {
        filters.push(WatchFilter { server: server.clone(), ..WatchFilter::default() });
    }
    for address in &args.resources {
        let resource = resources::id_of(ctx, Some(address.clone())).await?;
        filters.push(WatchFilter { resource, ..WatchFilter::default() });
    }
    for run in &args.runs {
        filters.push(WatchFilter { run_id: run.clone(), ..WatchFilter::default() });
    }
    let labels = values::map(&args.labels, "--label")?;
    if filters.is_empty() || !labels.is_empty() {
        filters.push(WatchFilter { labels: labels.into_iter().collect(), ..WatchFilter::default() });
    }
    for filter in &mut filters {
        filter.package.clone_from(&args.package);
        filter.kinds = args.kinds.iter().map(|word| Kind::from(*word) as i32).collect();
    }
    Ok(filters)
}

/// Streams until patience ends or the daemon refuses.
async fn forever(
    ctx: &Context,
    request: &WatchRequest,
    cursor: &mut Cursor,
    patience: &mut Patience,
) -> Result<(), Error> {
    let mut told = false;
    loop {
        let status = stream(ctx, request, cursor, patience, &mut told).await?;
        if !is_transient(&status) {
            let refusal = ctx.client.refusal(&status);
            return Err(match status.code() {
                Code::OutOfRange => refusal.hint("Begin anew with: settlectl watch --snapshot"),
                _ => refusal,
            });
        }
        let Some(pause) = patience.pause(clock::instant()) else {
            return Err(Error::unreachable(
                "settled went away and did not come back in time.",
                cursor.resume(),
            ));
        };
        if !told {
            told = true;
            remark("The connection to settled broke. Looking for it again ...");
        }
        clock::pause(pause).await;
    }
}

/// One stream; the status with which it ended.
async fn stream(
    ctx: &Context,
    request: &WatchRequest,
    cursor: &mut Cursor,
    patience: &mut Patience,
    told: &mut bool,
) -> Result<Status, Error> {
    let gap = cursor.position.is_none() && !cursor.in_snapshot;
    let request = WatchRequest { start: Some(cursor.start()), ..request.clone() };
    let mut events = match ctx.client.transitions().watch(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return Ok(status),
    };
    if std::mem::take(told) {
        remark(if cursor.in_snapshot {
            "Connected again; the snapshot begins anew."
        } else if gap {
            "Connected again; what happened in between was not seen."
        } else {
            "Connected again; nothing was missed."
        });
    }
    let status = loop {
        match events.message().await {
            Ok(Some(event)) => {
                cursor.pass(&event);
                show(ctx, &event)?;
            }
            Ok(None) => break Status::unavailable("the stream ended"),
            Err(status) => break status,
        }
    };
    // A fleet may be quiet for long, so patience counts from the break and not from the last change.
    patience.heard(clock::instant());
    Ok(status)
}

fn show(ctx: &Context, event: &WatchResponse) -> Result<(), Error> {
    if ctx.out.for_programs() {
        return ctx.out.show(&json::watch(event), String::new);
    }
    match &event.event {
        Some(Event::Transition(transition)) => ctx.out.line(&transitions::line(transition)),
        Some(Event::Bookmark(bookmark)) if bookmark.snapshot_complete => {
            remark("That is how everything stands; now each change:");
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use settled_proto::v1::Bookmark;

    use super::*;

    fn event(seq: u64, snapshot_complete: Option<bool>) -> WatchResponse {
        WatchResponse {
            position: Some(Position { generation: "G".into(), seq }),
            event: snapshot_complete.map(|snapshot_complete| Event::Bookmark(Bookmark { snapshot_complete })),
            commit_complete: true,
        }
    }

    #[test]
    fn p10_a_broken_watch_resumes_without_a_gap() {
        let mut cursor = Cursor { position: None, in_snapshot: true };
        cursor.pass(&event(7, None));
        assert_eq!(cursor.start(), Start::Snapshot(true), "half a snapshot is none");
        cursor.pass(&event(7, Some(false)));
        assert_eq!(cursor.start(), Start::Snapshot(true), "an ordinary bookmark does not complete it");
        cursor.pass(&event(7, Some(true)));
        cursor.pass(&event(9, None));
        assert_eq!(cursor.start(), Start::Since(Position { generation: "G".into(), seq: 9 }));
        assert!(cursor.resume().ends_with("--since G:9"));
    }
}
