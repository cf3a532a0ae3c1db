//! Tasks on their way to workers: what does not get there goes back at once, and uses no attempt.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use settled::auth::{Grants, Role};
use settled::engine::Lease;
use settled::grpc::Leaving;
use settled::lifecycles::Keeper;
use settled::store::{Command, StoreError, Unit};
use settled_proto::v1::lifecycles_client::LifecyclesClient;
use settled_proto::v1::{
    ApplyLifecycleRequest, DeferTaskRequest, EnrollRequest, Enrollment, EnrollmentStatus,
    GetEnrollmentRequest, GetStatusRequest, ListAuditRequest, WorkRequest,
};
use settled_tests::engine::Served;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::door::open_to_all;
use crate::scopes::channel_of;
use crate::soon;

/// Keeps the writer busy until it is let go: nothing is stored meanwhile.
#[derive(Clone, Default)]
struct Busy {
    began: Arc<Notify>,
    go: CancellationToken,
}

#[async_trait]
impl Command for Busy {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, _: &mut Unit<'_>) -> Result<(), StoreError> {
        self.began.notify_one();
        self.go.cancelled().await;
        Ok(())
    }
}

/// One subject waits for a worker of the queue `q`.
async fn offered() -> Served {
    let api = Served::start().await;
    let stage = "[[stages]]\nname = \"one\"\naction = { work = \"q\", lease = \"1h\" }\n";
    let source = format!("code = \"c\"\nname = \"C\"\n{stage}");
    let apply = ApplyLifecycleRequest { request_id: "apply".to_owned(), source, ..Default::default() };
    api.lifecycles().apply(apply).await.unwrap();
    let (lifecycle, subject) = ("c".to_owned(), "user/1".to_owned());
    let enroll = EnrollRequest { request_id: "enroll".to_owned(), lifecycle, subject, ..Default::default() };
    api.lifecycles().enroll(enroll).await.unwrap();
    offer(&api).await;
    api
}

/// The keeper looks until it has nothing to do for now.
async fn offer(api: &Served) {
    let lease = Lease::new(Duration::from_secs(3_600), api.engine.shared_clock());
    api.engine.renew_lease(&lease, true).await.unwrap();
    let mut keeper = Keeper::new(api.engine.clone(), lease, false, || false);
    while keeper.step().await <= api.engine.clock().monotonic() {}
}

async fn enrollment(api: &Served) -> Enrollment {
    let name = GetEnrollmentRequest { enrollment: "c/user/1".to_owned() };
    api.lifecycles().get_enrollment(name).await.unwrap().into_inner()
}

/// How often a task was taken.
async fn taken(api: &Served) -> usize {
    let audit = api.admin().list_audit(ListAuditRequest::default()).await.unwrap().into_inner();
    audit.entries.iter().filter(|entry| entry.detail.contains("taken by the worker")).count()
}

/// A worker asks for tasks, and the daemon leaves while the store takes note of one.
async fn leave_while_it_is_taken(api: &Served, looks: usize) {
    let busy = Busy::default();
    let held = {
        let (writer, busy) = (api.writer.clone(), busy.clone());
        tokio::spawn(async move { writer.commit(busy).await })
    };
    soon("its turn", busy.began.notified()).await;
    let work = WorkRequest { queue: "q".to_owned(), worker: "w".to_owned() };
    let mut tasks = api.lifecycles().work(work).await.unwrap().into_inner();
    for _ in 0..looks {
        api.admin().get_status(GetStatusRequest::default()).await.unwrap();
    }
    api.leaving.send_replace(Leaving::ToOthers);
    let ended = soon("the end of the stream", tasks.message()).await;
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable, "the worker got nothing");
    api.leaving.send_replace(Leaving::No);
    busy.go.cancel();
    held.await.unwrap().unwrap();
}

#[tokio::test]
async fn p4_a_task_that_did_not_reach_its_worker_is_offered_again_at_once_and_uses_no_attempt() {
    let api = offered().await;
    let mut looks = 1;
    let trial = async {
        // A note that the store was asked for may come when this try is over.
        while taken(&api).await == 0 {
            leave_while_it_is_taken(&api, looks).await;
            looks += 1;
        }
    };
    soon("a task that is taken too late", trial).await;
    let back = async {
        loop {
            offer(&api).await;
            let now = enrollment(&api).await;
            if now.worker.is_empty() {
                break now;
            }
        }
    };
    let back = soon("the task", back).await;
    assert_eq!((back.status(), back.attempt), (EnrollmentStatus::Pending, 0), "{back:?}");
    let work = WorkRequest { queue: "q".to_owned(), worker: "another".to_owned() };
    let mut tasks = api.lifecycles().work(work).await.unwrap().into_inner();
    let task = soon("the task", tasks.message()).await.unwrap().unwrap();
    assert!(!task.is_retry && task.enrollment.unwrap().attempt == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_a_worker_that_lost_its_role_gets_no_task_any_more_and_is_told() {
    const ANN: u32 = 50_001;
    let give = |api: &Served, role| {
        let mut grants = Grants::default();
        grants.user(ANN, role);
        api.gate.replace(grants);
    };
    let api = offered().await;
    open_to_all(&api);
    give(&api, Role::Operator);
    let mut client = LifecyclesClient::new(channel_of(&api, ANN).await);
    let work = WorkRequest { queue: "q".to_owned(), worker: "w".to_owned() };
    let mut tasks = client.work(work).await.unwrap().into_inner();
    let task = soon("the task", tasks.message()).await.unwrap().unwrap();
    let request_id = "again".to_owned();
    let until = Some(prost_types::Timestamp::default());
    let defer = DeferTaskRequest { request_id, task_id: task.id, until, why: "later".to_owned() };
    give(&api, Role::Viewer);
    let refused = client.defer(defer.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    // Whoever may gives it back for it: it is offered again, and the stream, which is open still, does not get it.
    give(&api, Role::Operator);
    client.defer(defer).await.unwrap();
    give(&api, Role::Viewer);
    offer(&api).await;
    let ended = soon("the end of the stream", tasks.message()).await.unwrap_err();
    assert_eq!(ended.code(), Code::PermissionDenied, "{ended:?}");
    assert!(ended.message().contains("unix:50001"), "{ended:?}");
    let now = enrollment(&api).await;
    assert_eq!((now.attempt, now.worker.as_str()), (0, ""), "{now:?}");
}
