//! The service `Runs`.

use futures::{Stream, stream};
use settled_proto::v1;
use settled_proto::v1::follow_run_response::{Event, Output};
use tonic::{Request, Response, Status, async_trait};

use super::pages::Page;
use super::places::Places;
use super::sight::{Seen, Sight};
use super::stream::{Answers, driven, told, until_stopped};
use super::{Api, check, convert};
use crate::auth::Verb;
use crate::domain::id::{ResourceId, RunId, ServerId};
use crate::domain::run::Run;
use crate::domain::time::Timestamp;
use crate::engine::Refusal;
use crate::hub::follow::{Follower, Told};
use crate::store::queries::RunFilter;
use crate::store::rows::RunRow;
use crate::store::{Db, StoreError};

impl Api {
    async fn run_row(&self, id: RunId) -> Result<RunRow, Refusal> {
        let row = self.engine().store().read().await?.db().run_row(id).await?;
        row.ok_or_else(|| Refusal::NotFound { what: "run", name: id.to_string() })
    }

    fn places(&self) -> Places {
        Places::new(self.parts.steward.draining())
    }

    pub(super) async fn get_run(&self, id: RunId) -> Result<v1::Run, Refusal> {
        let row = self.run_row(id).await?;
        let run: Run = row.clone().try_into()?;
        let now = self.engine().clock().now();
        let (place, steps, diagnostics) = {
            let mut reader = self.engine().store().read().await?;
            let mut db = reader.db();
            let place = self.places().of(&mut db, &row).await?;
            (place, db.steps(id).await?, diagnostics(&mut db, &row, run.server, now).await?)
        };
        let step_titles = self.engine().step_titles(&run).await.unwrap_or_else(|refusal| {
            // The run itself is worth more than the titles of steps that nobody can plan any more.
            tracing::warn!(run = %id, server = %run.server_name, error = %refusal, "the steps of a run cannot be planned");
            Vec::new()
        });
        let steps = steps.iter().map(convert::step).collect();
        let run = convert::run(&row, place.as_ref(), now)?;
        Ok(v1::Run { step_titles, steps, diagnostics: Some(diagnostics), ..run })
    }

    async fn list_runs(
        &self,
        sight: &Sight,
        m: v1::ListRunsRequest,
    ) -> Result<v1::ListRunsResponse, Refusal> {
        let state: v1::RunState = check::word("state", m.state)?;
        let outcome: v1::Outcome = check::word("outcome", m.outcome)?;
        let freshness: v1::Freshness = check::word("freshness", m.freshness)?;
        let resource: Option<ResourceId> = check::optional_id("resource_id", &m.resource_id)?;
        let list = v1::ListRunsRequest { page_size: 0, page_token: String::new(), ..m.clone() };
        let page = Page::seen_by(sight, self.engine(), ("Runs.List", &list), m.page_size, &m.page_token)?;
        let now = self.engine().clock().now();
        let mut reader = self.engine().store().read().await?;
        let mut db = reader.db();
        let server = if m.server.is_empty() {
            None
        } else {
            check::name("server", &m.server)?;
            Some(sight.found(&mut db, &m.server).await?.id)
        };
        let filter = RunFilter {
            server,
            resource: resource.map(|id| id.to_string()),
            state: convert::run_state_word(state),
            outcome: convert::outcome_word(outcome),
            freshness: convert::freshness_of(freshness).map(|word| (word, now)),
        };
        let (mut scan, mut servers) = (page.scan(sight), Seen::new(sight));
        let (mut places, mut runs) = (self.places(), Vec::new());
        while scan.goes_on(runs.len()) {
            let rows = db.runs(&filter, &scan.after, scan.limit).await?;
            scan.has_read(&rows, |row| row.id.clone());
            for row in &rows {
                if servers.sees(&mut db, &row.server_id).await? {
                    let place = places.of(&mut db, row).await?;
                    runs.push(convert::run(row, place.as_ref(), now)?);
                }
            }
        }
        let (runs, next) = page.cut(runs, |r: &v1::Run| &r.id);
        Ok(v1::ListRunsResponse { runs, next_page_token: page.after_scan(next, &scan) })
    }

    fn story(&self, follower: Follower) -> impl Stream<Item = Result<v1::FollowRunResponse, Status>> + use<> {
        let state = Some((self.clone(), Box::new(follower)));
        stream::unfold(state, |state| async {
            let (api, follower) = state?;
            match api.next_piece(follower).await {
                Ok((follower, piece)) => Some((Ok(piece?), Some((api, follower)))),
                Err(refusal) => Some((Err(api.refuse(refusal)), None)),
            }
        })
    }

    async fn next_piece(
        &self,
        follower: Box<Follower>,
    ) -> Result<(Box<Follower>, Option<v1::FollowRunResponse>), Refusal> {
        let (follower, told) = told(follower, &self.engine().shared_clock()).await?;
        let Some(told) = told? else { return Ok((follower, None)) };
        let api = self.clone();
        let piece = driven(async move { api.piece(told).await }).await??;
        Ok((follower, Some(piece)))
    }

    async fn piece(&self, told: Told) -> Result<v1::FollowRunResponse, Refusal> {
        let event = match told {
            Told::Run(row) => {
                let place = self.places().of(&mut self.engine().store().read().await?.db(), &row).await?;
                Event::Run(convert::run(&row, place.as_ref(), self.engine().clock().now())?)
            }
            Told::Step(step) => Event::Step(convert::step(&step)),
            // Its time was up (retention.runs_days). What was not told cannot be told any more, so this is no end like any other.
            Told::Gone(run) => return Err(Refusal::NotFound { what: "run", name: run.to_string() }),
            Told::Output { step_id, offset, data, next_offset, truncated } => {
                let stream = v1::OutputStream::Combined.into();
                Event::Output(Output { step_id, data, next_offset, truncated, offset, stream })
            }
        };
        Ok(v1::FollowRunResponse { event: Some(event) })
    }

    fn checked_run(&self, id: &str) -> Result<RunId, Status> {
        check::id("run_id", id).map_err(|r| self.refuse(r))
    }
}

/// Who looks after a run. An open one only: what is over is nobody's.
async fn diagnostics(
    db: &mut Db<'_>,
    row: &RunRow,
    server: ServerId,
    now: Timestamp,
) -> Result<v1::RunDiagnostics, StoreError> {
    if row.settles_by.is_none() {
        return Ok(convert::diagnostics(row, None, None, &[]));
    }
    let lane = db.lane(server).await?;
    let lease = match lane.as_ref().and_then(|lane| lane.owner.as_ref()) {
        Some(owner) => db.lease(owner, now).await?,
        None => None,
    };
    let unresolved = db.unresolved(server).await?;
    Ok(convert::diagnostics(row, lane.as_ref(), lease.as_ref(), &unresolved))
}

#[async_trait]
impl v1::runs_server::Runs for Api {
    async fn get(&self, request: Request<v1::GetRunRequest>) -> Result<Response<v1::Run>, Status> {
        let sight = self.sight(&request)?;
        let id = self.checked_run(&request.into_inner().run_id)?;
        sight.run(id).await?;
        self.get_run(id).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn list(
        &self,
        request: Request<v1::ListRunsRequest>,
    ) -> Result<Response<v1::ListRunsResponse>, Status> {
        let sight = self.sight(&request)?;
        self.list_runs(&sight, request.into_inner()).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn cancel(&self, request: Request<v1::CancelRunRequest>) -> Result<Response<v1::Run>, Status> {
        let sight = self.sight(&request)?;
        let (asked, m) = self.asked("Runs.Cancel", request)?;
        let id = self.checked_run(&m.run_id)?;
        sight.run(id).await?;
        let answer = self.engine().cancel(asked, id).await.map_err(|r| self.refuse(r))?;
        self.run_of(&answer).map(Response::new)
    }

    type FollowStream = Answers<v1::FollowRunResponse>;

    async fn follow(
        &self,
        request: Request<v1::FollowRunRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let sight = self.sight(&request)?;
        let m = request.into_inner();
        let id = self.checked_run(&m.run_id)?;
        sight.run(id).await?;
        self.run_row(id).await.map_err(|r| self.refuse(r))?;
        let engine = self.engine();
        let follower = Follower::new(engine.hub(), engine.store(), id, m.output_offset, engine.clock());
        Ok(Response::new(until_stopped(self.story(follower), &self.parts, sight.ends(Verb::View, Some(id)))))
    }
}
