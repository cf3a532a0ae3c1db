//! Every request type, through everything that a request passes: TLS apart, the door, the guard, deadlines, shares, form, conversion, the engine and a real store.

use std::collections::BTreeMap;
use std::time::Duration;

use settled_proto::v1::{
    ApplyLifecycleRequest, CreateNotifierRequest, CreateScheduleRequest, CreateTokenRequest, EnrollRequest,
    ListAuditRequest, ListEnrollmentsRequest, ListExecutionsRequest, ListLifecyclesRequest,
    ListResourcesRequest, ListRunsRequest, ListSchedulesRequest, ListServersRequest, ListTokensRequest,
    OperationTarget, Role, ScheduleTarget, WatchRequest, schedule_target, watch_request::Start,
};
use settled_tests::engine::{Served, connect, install};
use settled_tests::raw::send;
use tokio::sync::Mutex;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::driver::{Outcome, Session};
use crate::messages::{Contract, Supply, Words};

/// How long a stream may leave its caller without a first message: some have nothing to say at first.
const FIRST_WORD: Duration = Duration::from_millis(100);
/// Questions on one connection. The library of a caller gives its connection up when it has left 1 024 streams before their end.
const ON_ONE_CONNECTION: usize = 500;
/// A guard against hangs.
const HANG: Duration = Duration::from_secs(20);

const LIFECYCLE: &str =
    "code = \"once\"\nname = \"Once\"\n[[stages]]\nname = \"one\"\naction = { approval = \"Well?\" }\n";
const WORK: &str =
    "code = \"work\"\nname = \"Work\"\n[[stages]]\nname = \"one\"\naction = { work = \"queue\" }\n";
const PACKAGE: &str = "name = \"own\"\nsummary = \"One\"\n[operations.install]\n[[operations.install.steps]]\ntitle = \"It\"\nscript = \"true\"\n\
     [operations.remove]\n[[operations.remove.steps]]\ntitle = \"Not\"\nscript = \"true\"\n";

/// An API with one of everything, and what it is called.
struct World {
    api: Served,
    words: Words,
    /// The connection on which is asked, and how often it was.
    caller: Mutex<(Channel, usize)>,
}

impl World {
    async fn new() -> Self {
        let api = Served::start().await;
        api.server("web1").await;
        let run = api
            .resources()
            .install(install("i", "web1", "there"))
            .await
            .unwrap()
            .into_inner()
            .run
            .unwrap()
            .id;
        for source in [LIFECYCLE, WORK] {
            let request = ApplyLifecycleRequest {
                request_id: source.to_owned().replace('\n', " "),
                source: source.to_owned(),
                ..Default::default()
            };
            api.lifecycles().apply(request).await.unwrap();
        }
        let enroll = EnrollRequest {
            request_id: "e".to_owned(),
            lifecycle: "once".to_owned(),
            subject: "user/1".to_owned(),
            ..Default::default()
        };
        let enrollment = api.lifecycles().enroll(enroll).await.unwrap().into_inner().enrollment.unwrap().id;
        let target = OperationTarget {
            operation: "probe".to_owned(),
            resources: vec!["web1/scheduled_task/there".to_owned()],
            ..Default::default()
        };
        let schedule = CreateScheduleRequest {
            request_id: "s".to_owned(),
            name: "nightly".to_owned(),
            cron: "0 3 * * *".to_owned(),
            target: Some(ScheduleTarget { target: Some(schedule_target::Target::Operation(target)) }),
            ..Default::default()
        };
        api.schedules().create(schedule).await.unwrap();
        let token = CreateTokenRequest {
            request_id: "t".to_owned(),
            name: "ci".to_owned(),
            role: Role::Viewer.into(),
            days: 1,
            ..Default::default()
        };
        api.admin().create_token(token).await.unwrap();
        let notifier = CreateNotifierRequest {
            request_id: "n".to_owned(),
            name: "bell".to_owned(),
            url: "https://hooks.example/settled".to_owned(),
            secret: b"what a webhook is signed with".to_vec(),
            ..Default::default()
        };
        api.admin().create_notifier(notifier).await.unwrap();
        let caller = Mutex::new((api.channel(), 0));
        Self { api, words: words(run, enrollment), caller }
    }

    async fn caller(&self) -> Channel {
        let mut caller = self.caller.lock().await;
        caller.1 += 1;
        if caller.1 > ON_ONE_CONNECTION {
            *caller = (connect(self.api.socket()).await, 1);
        }
        caller.0.clone()
    }

    /// What a request comes to. Whatever is asked, a code says that the caller is at fault, or nobody.
    async fn ask(&self, path: &'static str, message: Vec<u8>) -> Outcome {
        let asked = send(self.caller().await, path, vec![message]);
        let Ok(answer) = tokio::time::timeout(HANG, asked).await else { return Err("no answer".to_owned()) };
        let status = match answer {
            Ok(mut stream) => {
                let first = tokio::time::timeout(FIRST_WORD, stream.message()).await;
                first.ok().and_then(Result::err)
            }
            Err(status) => Some(status),
        };
        match status.as_ref().map(Status::code) {
            None | Some(Code::Ok) => Ok("answered"),
            Some(Code::InvalidArgument) => Ok("malformed"),
            Some(
                Code::NotFound
                | Code::AlreadyExists
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::Aborted
                | Code::ResourceExhausted
                | Code::PermissionDenied,
            ) => Ok("refused"),
            Some(_) => Err(format!("{status:?}")),
        }
    }

    /// Everything that there is can be read.
    async fn is_sound(&self) {
        let api = &self.api;
        api.servers().list(ListServersRequest::default()).await.unwrap();
        api.resources().list(ListResourcesRequest::default()).await.unwrap();
        api.runs().list(ListRunsRequest::default()).await.unwrap();
        api.schedules().list(ListSchedulesRequest::default()).await.unwrap();
        api.lifecycles().list(ListLifecyclesRequest::default()).await.unwrap();
        api.lifecycles().list_enrollments(ListEnrollmentsRequest::default()).await.unwrap();
        api.lifecycles().list_executions(ListExecutionsRequest::default()).await.unwrap();
        api.admin().list_audit(ListAuditRequest::default()).await.unwrap();
        api.admin().list_tokens(ListTokensRequest::default()).await.unwrap();
        let all = WatchRequest { start: Some(Start::Snapshot(true)), ..Default::default() };
        let mut watch = api.transitions().watch(all).await.unwrap().into_inner();
        tokio::time::timeout(HANG, watch.message()).await.expect("a snapshot begins").unwrap();
    }
}

/// What good values there are. `%` stands for what is new each time.
fn words(run: String, enrollment: String) -> Words {
    let one = |text: &str| vec![text.to_owned()];
    Words(vec![
        ("request_id", one("r-%-%")),
        ("server", one("web1")),
        ("name", one("n%")),
        ("resource", one("web1/scheduled_task/there")),
        ("package", one("scheduled_task")),
        ("parameters", Vec::new()),
        ("run_id", vec![run]),
        ("host", one("192.0.2.7")),
        ("host_key", vec![format!("SHA256:{}", "A".repeat(43))]),
        ("time_zone", one("Europe/Berlin")),
        ("cron", one("5 4 * * *")),
        ("schedule", one("nightly")),
        ("target", Vec::new()),
        ("lifecycle", one("once")),
        ("code", one("once")),
        ("source", vec![LIFECYCLE.to_owned(), PACKAGE.to_owned()]),
        ("subject", vec!["user/1".to_owned(), "user/%".to_owned()]),
        ("enrollment", vec![enrollment.clone()]),
        ("task_id", vec![format!("{enrollment}.1"), enrollment]),
        ("payload", one("{}")),
        ("error", one("it broke")),
        ("why", one("later")),
        ("until", Vec::new()),
        ("queue", one("queue")),
        ("worker", one("w1")),
        ("operation", one("run_now")),
        ("OperationTarget.operation", one("install")),
        ("servers", one("web1")),
        ("reason", one("it hangs")),
        ("role", Vec::new()),
        ("days", Vec::new()),
        ("seq", Vec::new()),
        ("seconds", Vec::new()),
        ("token", one("ci")),
        ("count", Vec::new()),
        ("page_token", one("AAAA")),
        ("notifier", one("bell")),
        ("url", one("https://hooks.example/settled")),
        ("secret", one("what a webhook is signed with")),
    ])
}

/// The name of a target: of the method without its package.
fn name(path: &str) -> String {
    path.trim_start_matches("/settled.v1.").replace('/', ".")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_type_is_taken_or_refused_and_breaks_nothing() {
    let (contract, world) = (Contract::read(), World::new().await);
    let mut shallow = BTreeMap::new();
    for &(path, ..) in settled_proto::ACCESS {
        // Sound ones first, of which each is another.
        let sound = (1..=4).map(|n| [vec![0], vec![n; 60]].concat()).collect();
        let mut session = Session::new(&name(path), &[], sound).one_of_many();
        let deep = std::cell::Cell::new(false);
        session
            .feed(async |input| {
                let message = contract.request(path, &mut Supply(input), &world.words);
                let outcome = world.ask(path, message).await;
                deep.set(deep.get() || matches!(outcome, Ok("answered" | "refused")));
                outcome
            })
            .await;
        if !deep.get() {
            shallow.insert(name(path), contract.request_of(path).to_owned());
        }
    }
    world.is_sound().await;
    assert_eq!(
        shallow,
        BTreeMap::new(),
        "nothing that was made for these passes as a request: give them good values in `words`"
    );
}
