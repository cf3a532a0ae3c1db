//! The service `Transitions`.

use std::sync::Arc;

use futures::{Stream, stream};
use settled_proto::v1;
use settled_proto::v1::watch_request::Start as WireStart;
use settled_proto::v1::watch_response::Event;
use tonic::{Request, Response, Status, async_trait};

use super::sight::Sight;
use super::stream::{Answers, told, until_stopped};
use super::{Api, check, convert, status};
use crate::auth::Verb;
use crate::domain::id::{ResourceId, RunId, ServerId};
use crate::engine::{Refusal, targets};
use crate::hub::watching::{FILTERS_MAX, Filter, Seen, Start, Wanted, Watcher};
use crate::store::StoreError;
use crate::store::rows::Kind;

/// Most kinds in a filter: there are only so many, and repeating them says nothing.
const KINDS_MAX: usize = 16;

/// Most labels of one filter.
const LABELS_MAX: usize = 16;

impl Api {
    async fn wanted(
        &self,
        filters: &[v1::WatchFilter],
        start: &Start,
        sight: &Sight,
    ) -> Result<Wanted, Refusal> {
        if filters.len() > FILTERS_MAX {
            return Err(Refusal::field("filters", format!("must be at most {FILTERS_MAX}")));
        }
        let mut wanted = Vec::with_capacity(filters.len());
        for filter in filters {
            wanted.push(self.filter(filter, start, sight).await?);
        }
        let wanted = Wanted::new(wanted);
        if sight.is_whole() {
            return Ok(wanted);
        }
        let sight = sight.clone();
        Ok(wanted.within(Arc::new(move |name, labels| sight.covers(name, labels))))
    }

    async fn filter(&self, m: &v1::WatchFilter, start: &Start, sight: &Sight) -> Result<Filter, Refusal> {
        if m.labels.len() > LABELS_MAX {
            return Err(Refusal::field("filters.labels", format!("must be at most {LABELS_MAX}")));
        }
        let run: Option<RunId> = check::optional_id("filters.run_id", &m.run_id)?;
        Ok(Filter {
            server: self.server_filter(&m.server, start, sight).await?,
            labels: m.labels.clone(),
            resource: self.resource_filter(&m.resource, start, sight).await?,
            package: package(&m.package)?,
            run: run.map(|id| id.to_string()),
            kinds: kinds(&m.kinds)?,
        })
    }

    /// The id of the server that a filter names. Whoever resumes by id may do so after the server is gone: its last transitions are
    /// what it waits for.
    async fn server_filter(
        &self,
        named: &str,
        start: &Start,
        sight: &Sight,
    ) -> Result<Option<String>, Refusal> {
        if named.is_empty() {
            return Ok(None);
        }
        check::name("filters.server", named)?;
        sight.sees_named(named).await?;
        let found = targets::find_server(&mut self.engine().store().read().await?.db(), named).await;
        match (found, start, named.parse::<ServerId>()) {
            (Ok(server), ..) => Ok(Some(server.id.to_string())),
            (Err(Refusal::NotFound { .. }), Start::Since { .. }, Ok(id)) => Ok(Some(id.to_string())),
            (Err(refusal), ..) => Err(refusal),
        }
    }

    /// The same of a resource.
    async fn resource_filter(
        &self,
        named: &str,
        start: &Start,
        sight: &Sight,
    ) -> Result<Option<String>, Refusal> {
        if named.is_empty() {
            return Ok(None);
        }
        check::path("filters.resource", named)?;
        sight.sees_resource(named).await?;
        let found = targets::find_resource(&mut self.engine().store().read().await?.db(), named).await;
        match (found, start, named.parse::<ResourceId>()) {
            (Ok(resource), ..) => Ok(Some(resource.id.to_string())),
            (Err(Refusal::NotFound { .. }), Start::Since { .. }, Ok(id)) => Ok(Some(id.to_string())),
            (Err(refusal), ..) => Err(refusal),
        }
    }

    /// A start at a position that was told under this generation is one of the store; any other is one of nothing.
    fn of_the_store(&self, start: Start, told: &str) -> Start {
        match start {
            Start::Since { generation, seq } if generation == told => {
                Start::Since { generation: self.engine().store().about().generation.clone(), seq }
            }
            Start::Since { seq, .. } => Start::Since { generation: String::new(), seq },
            other => other,
        }
    }

    fn changes(
        &self,
        watcher: Watcher,
        generation: String,
    ) -> impl Stream<Item = Result<v1::WatchResponse, Status>> + use<> {
        let state = Some((self.clone(), Box::new(watcher), generation));
        stream::unfold(state, |state| async {
            let (api, watcher, generation) = state?;
            let (watcher, seen) = match told(watcher, &api.engine().shared_clock()).await {
                Ok(told) => told,
                Err(refusal) => return Some((Err(api.refuse(refusal)), None)),
            };
            match seen.and_then(|seen| Ok(response(&seen, &generation)?)) {
                Ok(response) => Some((Ok(response), Some((api, watcher, generation)))),
                Err(error) => Some((Err(status::watch_ended(error, generation, api.engine())), None)),
            }
        })
    }
}

fn response(seen: &Seen, generation: &str) -> Result<v1::WatchResponse, StoreError> {
    let (seq, commit_complete, event) = match seen {
        Seen::Held(object) => (None, false, Event::Transition(convert::held(object)?)),
        Seen::Left(left) => (None, false, Event::Transition(convert::left(left))),
        Seen::Changed { row, position, commit_complete } => {
            (*position, *commit_complete, Event::Transition(convert::transition(row)?))
        }
        Seen::Bookmark { seq, snapshot_complete } => {
            (Some(*seq), true, Event::Bookmark(v1::Bookmark { snapshot_complete: *snapshot_complete }))
        }
    };
    let position =
        seq.map(|seq| v1::Position { generation: generation.to_owned(), seq: convert::count(seq) });
    Ok(v1::WatchResponse { position, event: Some(event), commit_complete })
}

fn start(start: Option<WireStart>) -> Result<Start, Refusal> {
    match start {
        None | Some(WireStart::FromNow(true)) => Ok(Start::Now),
        Some(WireStart::Snapshot(true)) => Ok(Start::Snapshot),
        Some(WireStart::Snapshot(false)) => Err(Refusal::field("snapshot", "must be true when it is given")),
        Some(WireStart::FromNow(false)) => Err(Refusal::field("from_now", "must be true when it is given")),
        Some(WireStart::Since(position)) => {
            let seq = i64::try_from(position.seq).unwrap_or(i64::MAX);
            Ok(Start::Since { generation: position.generation, seq })
        }
    }
}

fn package(named: &str) -> Result<Option<String>, Refusal> {
    if named.is_empty() {
        return Ok(None);
    }
    check::name("filters.package", named)?;
    Ok(Some(named.to_owned()))
}

fn kinds(numbers: &[i32]) -> Result<Vec<Kind>, Refusal> {
    if numbers.len() > KINDS_MAX {
        return Err(Refusal::field("filters.kinds", format!("must be at most {KINDS_MAX}")));
    }
    let mut kinds = Vec::with_capacity(numbers.len());
    for &number in numbers {
        match convert::kind_of(check::word("filters.kinds", number)?) {
            Some(kind) => kinds.push(kind),
            None => return Ok(Vec::new()),
        }
    }
    Ok(kinds)
}

#[async_trait]
impl v1::transitions_server::Transitions for Api {
    type WatchStream = Answers<v1::WatchResponse>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let sight = self.sight(&request)?;
        let (m, generation) = (request.into_inner(), sight.generation());
        let start = start(m.start.clone()).map_err(|r| self.refuse(r))?;
        let wanted = self.wanted(&m.filters, &start, &sight).await.map_err(|r| self.refuse(r))?;
        let engine = self.engine();
        let start = self.of_the_store(start, &generation);
        let watcher = Watcher::begin(engine.hub(), engine.store(), wanted, start, engine.clock())
            .await
            .map_err(|error| status::watch_ended(error, generation.clone(), engine))?;
        let over = sight.ends(Verb::View, None);
        Ok(Response::new(until_stopped(self.changes(watcher, generation), &self.parts, over)))
    }
}
