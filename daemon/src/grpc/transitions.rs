//! The service `Transitions`.

use futures::{Stream, stream};
use settled_proto::v1;
use settled_proto::v1::watch_request::Start as WireStart;
use settled_proto::v1::watch_response::Event;
use tonic::{Request, Response, Status, async_trait};

use super::stream::{Answers, until_stopped};
use super::{Api, check, convert, status};
use crate::domain::id::{ResourceId, RunId, ServerId};
use crate::engine::{Refusal, targets};
use crate::hub::watching::{Seen, Start, WatchError, Watcher};
use crate::store::StoreError;
use crate::store::queries::TransitionFilter;

/// Most kinds in a filter: there are only so many, and repeating them says nothing.
const KINDS_MAX: usize = 16;

impl Api {
    async fn filter(&self, m: &v1::WatchRequest, start: &Start) -> Result<TransitionFilter, Refusal> {
        let resource: Option<ResourceId> = check::optional_id("resource_id", &m.resource_id)?;
        let run: Option<RunId> = check::optional_id("run_id", &m.run_id)?;
        Ok(TransitionFilter {
            server: self.server_filter(&m.server, start).await?,
            resource: resource.map(|id| id.to_string()),
            run: run.map(|id| id.to_string()),
            kinds: kinds(&m.kinds)?,
        })
    }

    /// The id of the server that a filter names. Whoever resumes by id may do so after the server is gone: its last transitions are
    /// what it waits for.
    async fn server_filter(&self, named: &str, start: &Start) -> Result<Option<String>, Refusal> {
        if named.is_empty() {
            return Ok(None);
        }
        check::name("server", named)?;
        let found = targets::find_server(&mut self.engine().store().read().await?.db(), named).await;
        match (found, start, named.parse::<ServerId>()) {
            (Ok(server), ..) => Ok(Some(server.id.to_string())),
            (Err(Refusal::NotFound { .. }), Start::Since { .. }, Ok(id)) => Ok(Some(id.to_string())),
            (Err(refusal), ..) => Err(refusal),
        }
    }

    fn changes(&self, watcher: Watcher) -> impl Stream<Item = Result<v1::WatchResponse, Status>> + use<> {
        let state = Some((self.clone(), watcher));
        stream::unfold(state, |state| async {
            let (api, mut watcher) = state?;
            let seen = watcher.next(api.engine().clock()).await;
            match seen.and_then(|seen| Ok(api.response(&seen)?)) {
                Ok(response) => Some((Ok(response), Some((api, watcher)))),
                Err(error) => Some((Err(api.watch_ended(error)), None)),
            }
        })
    }

    fn response(&self, seen: &Seen) -> Result<v1::WatchResponse, StoreError> {
        let (seq, event) = match seen {
            Seen::Held(object) => (None, Event::Transition(convert::held(object)?)),
            Seen::Changed(row) => (Some(row.seq), Event::Transition(convert::transition(row)?)),
            Seen::Bookmark { seq, snapshot_complete } => {
                (Some(*seq), Event::Bookmark(v1::Bookmark { snapshot_complete: *snapshot_complete }))
            }
        };
        let generation = || self.engine().store().about().generation.clone();
        let position = seq.map(|seq| v1::Position { generation: generation(), seq: convert::count(seq) });
        Ok(v1::WatchResponse { position, event: Some(event) })
    }

    fn watch_ended(&self, error: WatchError) -> Status {
        status::watch_ended(error, self.engine())
    }
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

fn kinds(numbers: &[i32]) -> Result<Vec<String>, Refusal> {
    if numbers.len() > KINDS_MAX {
        return Err(Refusal::field("kinds", format!("must be at most {KINDS_MAX}")));
    }
    let mut kinds = Vec::with_capacity(numbers.len());
    for &number in numbers {
        match convert::kind_of(check::word("kinds", number)?) {
            Some(kind) => kinds.push(kind.to_string()),
            None => return Ok(Vec::new()),
        }
    }
    Ok(kinds)
}

#[async_trait]
impl v1::transitions_server::Transitions for Api {
    type WatchStream = Answers<v1::WatchResponse>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let m = request.into_inner();
        let start = start(m.start.clone()).map_err(|r| self.refuse(r))?;
        let filter = self.filter(&m, &start).await.map_err(|r| self.refuse(r))?;
        let engine = self.engine();
        let watcher = Watcher::begin(engine.hub(), engine.store(), filter, start, engine.clock())
            .await
            .map_err(|e| self.watch_ended(e))?;
        Ok(Response::new(until_stopped(self.changes(watcher), &self.parts)))
    }
}
