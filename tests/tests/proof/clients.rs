//! Clients that want something done whatever happens to the daemon: they ask again with the same request until they have an answer, and
//! write down what was acknowledged.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use settled_proto::v1::follow_run_response::Event;
use settled_proto::v1::resources_client::ResourcesClient;
use settled_proto::v1::runs_client::RunsClient;
use settled_proto::v1::{
    CommandResponse, FollowRunRequest, Outcome, RemoveResourceRequest, Run, UpdateResourceRequest,
};
use settled_tests::patience::until_within;
use settled_tests::server::{fresh_id, install};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::witness::PACKAGE;
use crate::world::{World, name};

/// A guard against hanging for ever: a run may have its turn only after many daemons, each of whom lives for a moment.
const PATIENCE: Duration = Duration::from_secs(300);

/// What was acknowledged: ids of runs, in the order of the answers.
#[derive(Default)]
pub(crate) struct Journal(Mutex<Vec<String>>);

impl Journal {
    fn note(&self, run: &str) {
        self.0.lock().unwrap().push(run.to_owned());
    }

    pub(crate) fn runs(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// `each` clients per server at work until `stop`; then each finishes what it waits for. The channels are shared out among them.
pub(crate) async fn work(
    world: &World,
    channels: &[Channel],
    each: usize,
    stop: &CancellationToken,
) -> Journal {
    let journal = Journal::default();
    let mut clients = Vec::new();
    for (n, dir) in world.witnesses().into_iter().enumerate() {
        for m in 0..each {
            let client = Client {
                channel: channels[(n + m) % channels.len()].clone(),
                server: name(n),
                name: format!("thing-{m}"),
                dir: dir.display().to_string(),
                journal: &journal,
            };
            clients.push(client.work(stop));
        }
    }
    futures::future::join_all(clients).await;
    journal
}

/// Somebody who installs, changes and removes one resource again and again.
struct Client<'j> {
    channel: Channel,
    server: String,
    name: String,
    dir: String,
    journal: &'j Journal,
}

impl Client<'_> {
    async fn work(self, stop: &CancellationToken) {
        for round in 0_u32.. {
            for operation in ["install", "update", "remove"] {
                if stop.is_cancelled() {
                    return;
                }
                let answer = self.ask(operation, round).await;
                let run = answer.run.unwrap().id;
                self.journal.note(&run);
                let (run, _) = completed(&self.channel, &run).await;
                assert_eq!(run.outcome(), Outcome::Succeeded, "{run:#?}");
            }
        }
    }

    /// Asks with one request until there is an answer.
    async fn ask(&self, operation: &str, round: u32) -> CommandResponse {
        let resource = format!("{}/{PACKAGE}/{}", self.server, self.name);
        let (bytes, pause) = ((round * 1700 % 9000).to_string(), (round % 4).to_string());
        let parameters = [("dir", self.dir.as_str()), ("bytes", &bytes), ("pause", &pause)];
        let installing = install(&self.server, PACKAGE, &self.name, &parameters);
        let updating = UpdateResourceRequest {
            request_id: fresh_id(),
            resource: resource.clone(),
            parameters: [("bytes".to_owned(), "3000".to_owned())].into(),
            ..UpdateResourceRequest::default()
        };
        let removing = RemoveResourceRequest { request_id: fresh_id(), resource, ..Default::default() };
        let mut resources = ResourcesClient::new(self.channel.clone());
        until_within(PATIENCE, &format!("{operation} is answered"), async || {
            answered(match operation {
                "install" => resources.install(installing.clone()).await,
                "update" => resources.update(updating.clone()).await,
                _ => resources.remove(removing.clone()).await,
            })
        })
        .await
    }
}

/// The answer; `None` when the daemon was away, so that nobody knows what became of the request.
fn answered<T>(answer: Result<Response<T>, Status>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer.into_inner()),
        Err(status) if is_away(&status) => None,
        Err(status) => panic!("a request is refused: {status:?}"),
    }
}

/// A broken connection, a daemon that is not there, one that stops: not a word about the request itself.
fn is_away(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal)
}

/// What each step of a run wrote, by the step's id.
pub(crate) type Outputs = BTreeMap<String, Vec<u8>>;

/// Follows a run until it has completed, over as many daemons as that takes: the run as it is then, and what its steps wrote.
pub(crate) async fn completed(channel: &Channel, run: &str) -> (Run, Outputs) {
    until_within(PATIENCE, &format!("run {run} completes"), async || follow(channel, run).await).await
}

/// The story of a run; `None` when it broke off.
async fn follow(channel: &Channel, run: &str) -> Option<(Run, Outputs)> {
    let request = FollowRunRequest { run_id: run.to_owned(), output_offset: 0 };
    let mut stream = answered(RunsClient::new(channel.clone()).follow(request).await)?;
    let (mut last, mut outputs) = (None, Outputs::new());
    loop {
        match stream.message().await {
            Ok(Some(piece)) => match piece.event {
                Some(Event::Run(run)) => last = Some(run),
                Some(Event::Output(piece)) => outputs.entry(piece.step_id).or_default().extend(piece.data),
                _ => {}
            },
            Ok(None) => return last.map(|run| (run, outputs)),
            Err(status) => return answered(Err::<Response<()>, _>(status)).map(|()| unreachable!()),
        }
    }
}
