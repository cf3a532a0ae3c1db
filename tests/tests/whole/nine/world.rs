//! A daemon, its scripted server, and somebody who asks it for one package and watches what becomes of it.

use std::sync::Arc;

use settled::clock::SystemClock;
use settled_proto::v1::watch_request::Start;
use settled_proto::v1::watch_response::Event;
use settled_proto::v1::{
    Change, CommandResponse, CreateServerRequest, GetRunRequest, Kind, Outcome, PauseResourceRequest,
    PauseServerRequest, Position, Presence, RemoveResourceRequest, Resource, ResourceStatus,
    ResumeServerRequest, Run, RunState, StepState, Transition, UpdateResourceRequest, WatchRequest,
    WatchResponse, transition::Object,
};
use settled_tests::daemon::{self, TestDaemon};
use settled_tests::patience::until;
use settled_tests::scripted::{End, Patience, Play, Scripted};
use settled_tests::server::{WITHIN, fresh_id, install, resource, settled};
use tokio::time::timeout;
use tonic::Streaming;

/// A package of the pattern, with parameters that it accepts.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: &'static str,
    pub(super) parameters: &'static [(&'static str, &'static str)],
    /// One parameter with another value.
    pub(super) change: (&'static str, &'static str),
    pub(super) first_step: &'static str,
    pub(super) remove_step: &'static str,
    pub(super) can_pause: bool,
}

pub(super) const PACKAGES: [Package; 2] = [
    Package {
        name: "firewall_rule",
        parameters: &[("port", "443"), ("protocol", "tcp"), ("action", "allow"), ("source", "192.0.2.0/24")],
        change: ("port", "8443"),
        first_step: "Add the rule",
        remove_step: "Delete the rule",
        can_pause: false,
    },
    Package {
        name: "scheduled_task",
        parameters: &[("user", "root"), ("expression", "30 4 * * *"), ("command", "/usr/bin/true")],
        change: ("expression", "@daily"),
        first_step: "Write the cron file",
        remove_step: "Remove the cron file",
        can_pause: true,
    },
];

/// The server's name and its address.
pub(super) const SERVER: (&str, &str) = ("web", "192.0.2.1");
/// The resource's name.
pub(super) const NAME: &str = "mine";

/// A daemon that has met a server, and somebody who asks it for one package.
pub(super) struct World {
    pub(super) package: &'static Package,
    pub(super) remote: Arc<Scripted>,
    pub(super) daemon: TestDaemon,
}

pub(super) fn options(remote: &Arc<Scripted>) -> daemon::Options {
    daemon::Options::default().set("RUN__ATTEMPTS", "1").remote(Arc::clone(remote) as _)
}

impl World {
    /// Payloads of the resource go as the plays say, one after the other.
    pub(super) async fn start(package: &'static Package, plays: impl IntoIterator<Item = Play>) -> Self {
        let remote = Arc::new(Scripted::new(Arc::new(SystemClock::new()), Patience::Waits));
        remote.script(NAME, plays);
        let daemon = options(&remote).start().await;
        let request = CreateServerRequest {
            request_id: fresh_id(),
            name: SERVER.0.to_owned(),
            host: SERVER.1.to_owned(),
            host_key: format!("SHA256:{}", "A".repeat(43)),
            ..CreateServerRequest::default()
        };
        let run = daemon.servers().create(request).await.unwrap().into_inner().run.unwrap();
        let met = settled(&daemon, &run.id).await;
        assert_eq!(met.outcome(), Outcome::Succeeded, "{met:?}");
        Self { package, remote, daemon }
    }

    /// Nothing new starts on the server from now on.
    pub(super) async fn pause_server(&self) {
        let request = PauseServerRequest { request_id: fresh_id(), server: SERVER.0.to_owned() };
        self.daemon.servers().pause(request).await.unwrap();
    }

    pub(super) async fn resume_server(&self) {
        let request = ResumeServerRequest { request_id: fresh_id(), server: SERVER.0.to_owned() };
        self.daemon.servers().resume(request).await.unwrap();
    }

    pub(super) fn path(&self) -> String {
        format!("{}/{}/{NAME}", SERVER.0, self.package.name)
    }

    /// The record, if there is one.
    pub(super) async fn record(&self) -> Option<Resource> {
        resource(&self.daemon, &self.path()).await
    }

    /// The record's status, if there is one.
    pub(super) async fn status(&self) -> Option<ResourceStatus> {
        self.record().await.map(|r| r.status())
    }

    pub(super) async fn install(&self) -> (Resource, Run) {
        let request = install(SERVER.0, self.package.name, NAME, self.package.parameters);
        both(self.daemon.resources().install(request).await.unwrap().into_inner())
    }

    pub(super) async fn update(&self) -> (Resource, Run) {
        let (key, value) = self.package.change;
        let request = UpdateResourceRequest {
            request_id: fresh_id(),
            resource: self.path(),
            parameters: [(key.to_owned(), value.to_owned())].into(),
            ..UpdateResourceRequest::default()
        };
        both(self.daemon.resources().update(request).await.unwrap().into_inner())
    }

    pub(super) async fn remove(&self) -> (Resource, Run) {
        let request =
            RemoveResourceRequest { request_id: fresh_id(), resource: self.path(), ..Default::default() };
        both(self.daemon.resources().remove(request).await.unwrap().into_inner())
    }

    pub(super) async fn pause(&self) -> (Resource, Run) {
        let request =
            PauseResourceRequest { request_id: fresh_id(), resource: self.path(), ..Default::default() };
        both(self.daemon.resources().pause(request).await.unwrap().into_inner())
    }

    /// The run once it has settled, with this outcome.
    pub(super) async fn ends(&self, run: &Run, outcome: Outcome) -> Run {
        let run = settled(&self.daemon, &run.id).await;
        assert_eq!(run.outcome(), outcome, "{run:?}");
        run
    }

    /// Installs the package and waits until it is there.
    pub(super) async fn installed(&self) -> Resource {
        let (_, run) = self.install().await;
        self.ends(&run, Outcome::Succeeded).await;
        self.remote.put(SERVER.1, NAME, "1");
        self.record().await.unwrap()
    }

    pub(super) async fn run(&self, id: &str) -> Run {
        self.daemon.runs().get(GetRunRequest { run_id: id.to_owned() }).await.unwrap().into_inner()
    }

    pub(super) async fn watch(&self, start: Start) -> Watcher {
        let request = WatchRequest { start: Some(start), ..WatchRequest::default() };
        let mut stream = self.daemon.transitions().watch(request).await.unwrap().into_inner();
        let first = stream.message().await.unwrap().unwrap();
        Watcher { stream, since: first.position.unwrap() }
    }
}

/// The record and the run of an answer.
fn both(answer: CommandResponse) -> (Resource, Run) {
    (answer.resource.unwrap(), answer.run.unwrap())
}

/// Somebody who watches all changes.
pub(super) struct Watcher {
    pub(super) stream: Streaming<WatchResponse>,
    /// Where it began.
    pub(super) since: Position,
}

impl Watcher {
    /// Everything up to and with the first change that is wanted.
    pub(super) async fn until(&mut self, wanted: impl Fn(&Transition) -> bool) -> Vec<Transition> {
        let mut seen = Vec::new();
        let watching = async {
            while let Some(news) = self.stream.message().await.unwrap() {
                if let Some(Event::Transition(t)) = news.event {
                    seen.push(t);
                    if seen.last().is_some_and(&wanted) {
                        return;
                    }
                }
            }
            panic!("the stream has no end of its own");
        };
        timeout(WITHIN, watching).await.expect("the change comes");
        seen
    }
}

/// What the transitions of the record say, in order.
pub(super) fn story(seen: &[Transition]) -> Vec<(Change, ResourceStatus)> {
    seen.iter().filter_map(what).map(|(change, record)| (change, record.status())).collect()
}

/// What a transition says of the record, without its time and number.
pub(super) fn what(t: &Transition) -> Option<(Change, Resource)> {
    match &t.object {
        Some(Object::Resource(r)) => Some((t.change(), Resource { updated_at: None, seq: 0, ..r.clone() })),
        _ => None,
    }
}

/// The server has a step and works on it.
pub(super) fn step_runs(t: &Transition) -> bool {
    matches!(&t.object, Some(Object::Step(step)) if step.state() == StepState::Running)
}

pub(super) fn is_gone(t: &Transition) -> bool {
    t.kind() == Kind::Resource && t.change() == Change::Gone
}

/// A step that fails with something to say.
pub(super) fn fails(code: i32, says: &str) -> Play {
    Play::exit(0).ending(End::Exit(code)).writes(std::time::Duration::ZERO, says)
}

pub(super) fn completed(t: &Transition) -> bool {
    matches!(&t.object, Some(Object::Run(run)) if run.state() == RunState::Completed)
}

/// Brings the record to this status, with the thing there on the server.
pub(super) async fn before_removal(world: &World, status: ResourceStatus) {
    if status == ResourceStatus::Failed {
        world.remote.script(NAME, [fails(3, "half of it is there\n")]);
        let (_, run) = world.install().await;
        world.ends(&run, Outcome::Failed).await;
        world.remote.put(SERVER.1, NAME, "1");
    } else {
        world.installed().await;
    }
    if status == ResourceStatus::Paused {
        let (_, run) = world.pause().await;
        world.ends(&run, Outcome::Succeeded).await;
    }
    assert_eq!(world.status().await, Some(status));
}

/// What a probe saw after this error.
pub(super) async fn observed_since(world: &World, error: &settled_proto::v1::Failure) -> Presence {
    let at = |t: &Option<prost_types::Timestamp>| t.map(|t| (t.seconds, t.nanos));
    until("a probe follows the failed removal", async || {
        let seen = world.record().await?.observed?;
        (at(&seen.at) >= at(&error.at)).then(|| seen.presence())
    })
    .await
}
