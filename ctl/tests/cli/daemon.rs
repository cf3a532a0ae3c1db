//! A daemon that says what the test wants. It has a runtime of its own, so that dropping it is a death: connections
//! break, the socket stays behind.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};

use settled_proto::v1::follow_run_response::{Event, Output};
use settled_proto::v1::resources_server::{Resources, ResourcesServer};
use settled_proto::v1::runs_server::{Runs, RunsServer};
use settled_proto::v1::transitions_server::{Transitions, TransitionsServer};
use settled_proto::v1::watch_request::Start;
use settled_proto::v1::watch_response;
use settled_proto::v1::{
    AdoptRequest, CancelRunRequest, CommandResponse, DoRequest, Evidence, Failure, FollowRunRequest,
    FollowRunResponse, GetResourceRequest, GetRunRequest, InstallRequest, ListResourcesRequest,
    ListResourcesResponse, ListRunsRequest, ListRunsResponse, Outcome, PauseResourceRequest, Position,
    ProbeResourceRequest, Reason, RemoveResourceRequest, Resource, ResourceStatus, ResumeResourceRequest,
    RetryResourceRequest, Run, RunState, Step, StepState, Transition, UpdateResourceRequest, WatchRequest,
    WatchResponse,
};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio_stream::Stream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// A part of a run's story.
#[derive(Clone)]
pub(crate) enum Piece {
    /// The first step runs.
    Step,
    /// Output, and the offset after it.
    Output(&'static str, u64),
    /// The run as it stands.
    Run(Box<Run>),
    /// Nothing more, and no end.
    Hang,
}

/// What the daemon will say.
#[derive(Clone, Default)]
pub(crate) struct Script {
    /// Answers to Install, in order.
    pub(crate) installs: VecDeque<Result<CommandResponse, Status>>,
    /// The run that failed last on the resource.
    pub(crate) failed_last: &'static str,
    /// Streams of Watch, in order: sequence numbers, then no end.
    pub(crate) watches: VecDeque<Vec<u64>>,
    /// Streams of Follow, in order.
    pub(crate) follows: VecDeque<Vec<Piece>>,
}

impl Script {
    pub(crate) fn answers<const N: usize>(installs: [Result<CommandResponse, Status>; N]) -> Self {
        Self { installs: installs.into(), ..Self::default() }
    }
}

/// What the daemon was asked.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) request_ids: Vec<String>,
    pub(crate) offsets: Vec<u64>,
    pub(crate) secrets: Vec<BTreeMap<String, Vec<u8>>>,
    pub(crate) starts: Vec<Option<Start>>,
    pub(crate) retries: Vec<RetryResourceRequest>,
}

#[derive(Clone, Default)]
struct Service {
    script: Arc<Mutex<Script>>,
    seen: Arc<Mutex<Seen>>,
}

/// A running daemon; dropped, it dies.
pub(crate) struct Daemon {
    runtime: Option<Runtime>,
    service: Service,
}

impl Daemon {
    /// Listens at `dir/s.sock` when this returns.
    pub(crate) fn start(dir: &Path, script: Script) -> Self {
        let socket = dir.join("s.sock");
        if socket.exists() {
            std::fs::remove_file(&socket).unwrap();
        }
        let runtime = Runtime::new().unwrap();
        let service = Service { script: Arc::new(Mutex::new(script)), ..Service::default() };
        let listener = runtime.block_on(async { UnixListener::bind(&socket).unwrap() });
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(ResourcesServer::new(service.clone()))
                .add_service(RunsServer::new(service.clone()))
                .add_service(TransitionsServer::new(service.clone()))
                .serve_with_incoming(UnixListenerStream::new(listener)),
        );
        Self { runtime: Some(runtime), service }
    }

    /// What it was asked so far.
    pub(crate) fn seen(&self) -> Seen {
        self.service.seen.lock().unwrap().clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn resource() -> Resource {
    Resource {
        id: "01X".into(),
        server: "web1".into(),
        package: "site".into(),
        name: "a".into(),
        status: ResourceStatus::Pending as i32,
        ..Resource::default()
    }
}

fn a_run() -> Run {
    Run {
        id: "01R".into(),
        server: "web1".into(),
        package: "site".into(),
        resource_id: "01X".into(),
        resource: "a".into(),
        operation: "install".into(),
        state: RunState::Queued as i32,
        step_titles: vec!["Write it".into(), "Start it".into()],
        ..Run::default()
    }
}

/// The answer to an accepted install.
pub(crate) fn queued() -> CommandResponse {
    CommandResponse {
        resource: Some(resource()),
        run: Some(Run { position: 2, ..a_run() }),
        requirements: Vec::new(),
    }
}

fn completed(outcome: Outcome) -> Run {
    Run {
        state: RunState::Completed as i32,
        outcome: outcome as i32,
        evidence: Evidence::ExitRecord as i32,
        ..a_run()
    }
}

/// A run that succeeded.
pub(crate) fn succeeded() -> Box<Run> {
    Box::new(completed(Outcome::Succeeded))
}

/// A run whose step failed.
pub(crate) fn failed() -> Box<Run> {
    let failure = Failure {
        step: "Write it".into(),
        exit_code: Some(3),
        message: "The disk is full.".into(),
        last_lines: "no space\n".into(),
        ..Failure::default()
    };
    Box::new(Run { reason: Reason::StepFailed as i32, failure: Some(failure), ..completed(Outcome::Failed) })
}

fn event(piece: Piece) -> Option<Event> {
    let step = || Step {
        id: "01R.0.1.1".into(),
        title: "Write it".into(),
        attempt: 1,
        r#try: 1,
        state: StepState::Running as i32,
        ..Step::default()
    };
    Some(match piece {
        Piece::Step => Event::Step(step()),
        Piece::Run(run) => Event::Run(*run),
        Piece::Output(text, next_offset) => Event::Output(Output {
            step_id: "01R.0.1.1".into(),
            data: text.into(),
            next_offset,
            truncated: false,
            ..Output::default()
        }),
        Piece::Hang => return None,
    })
}

#[tonic::async_trait]
impl Runs for Service {
    type FollowStream = std::pin::Pin<Box<dyn Stream<Item = Result<FollowRunResponse, Status>> + Send>>;

    async fn get(&self, _: Request<GetRunRequest>) -> Result<Response<Run>, Status> {
        Ok(Response::new(a_run()))
    }

    async fn list(&self, _: Request<ListRunsRequest>) -> Result<Response<ListRunsResponse>, Status> {
        Ok(Response::new(ListRunsResponse { runs: vec![a_run()], next_page_token: String::new() }))
    }

    async fn cancel(&self, _: Request<CancelRunRequest>) -> Result<Response<Run>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn follow(
        &self,
        request: Request<FollowRunRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        self.seen.lock().unwrap().offsets.push(request.into_inner().output_offset);
        let Some(story) = self.script.lock().unwrap().follows.pop_front() else {
            return Err(Status::internal("the script is over"));
        };
        let hangs = matches!(story.last(), Some(Piece::Hang));
        let events =
            story.into_iter().filter_map(event).map(|event| Ok(FollowRunResponse { event: Some(event) }));
        let told = tokio_stream::iter(events);
        Ok(Response::new(if hangs { Box::pin(told.chain(tokio_stream::pending())) } else { Box::pin(told) }))
    }
}

#[tonic::async_trait]
impl Transitions for Service {
    type WatchStream = std::pin::Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.seen.lock().unwrap().starts.push(request.into_inner().start);
        let Some(seqs) = self.script.lock().unwrap().watches.pop_front() else {
            return Err(Status::out_of_range("The position is of another store."));
        };
        let changes = seqs.into_iter().map(|seq| {
            let event = Some(watch_response::Event::Transition(Transition { seq, ..Transition::default() }));
            Ok(WatchResponse {
                position: Some(Position { generation: "G".into(), seq }),
                event,
                commit_complete: true,
            })
        });
        Ok(Response::new(Box::pin(tokio_stream::iter(changes).chain(tokio_stream::pending()))))
    }
}

/// Methods that no test asks for.
macro_rules! absent {
    ($($name:ident($request:ty) -> $response:ty;)*) => {
        #[tonic::async_trait]
        impl Resources for Service {
            async fn install(&self, request: Request<InstallRequest>) -> Result<Response<CommandResponse>, Status> {
                let request = request.into_inner();
                self.seen.lock().unwrap().request_ids.push(request.request_id);
                self.seen.lock().unwrap().secrets.push(request.secrets);
                let answer = self.script.lock().unwrap().installs.pop_front();
                answer.unwrap_or_else(|| Err(Status::internal("the script is over"))).map(Response::new)
            }

            async fn retry(&self, request: Request<RetryResourceRequest>) -> Result<Response<CommandResponse>, Status> {
                self.seen.lock().unwrap().retries.push(request.into_inner());
                Ok(Response::new(queued()))
            }

            async fn get(&self, _: Request<GetResourceRequest>) -> Result<Response<Resource>, Status> {
                let run_id = self.script.lock().unwrap().failed_last.to_owned();
                let last_error = Some(Failure { run_id, ..Failure::default() });
                Ok(Response::new(Resource { last_error, ..resource() }))
            }

            $(async fn $name(&self, _: Request<$request>) -> Result<Response<$response>, Status> {
                Err(Status::unimplemented("not in this test"))
            })*
        }
    };
}

absent! {
    adopt(AdoptRequest) -> CommandResponse;
    update(UpdateResourceRequest) -> CommandResponse;
    remove(RemoveResourceRequest) -> CommandResponse;
    pause(PauseResourceRequest) -> CommandResponse;
    resume(ResumeResourceRequest) -> CommandResponse;
    probe(ProbeResourceRequest) -> CommandResponse;
    r#do(DoRequest) -> CommandResponse;
    list(ListResourcesRequest) -> ListResourcesResponse;
}
