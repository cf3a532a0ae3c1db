//! The service `Lifecycles`: fields that are wrong are named, lists come in pages and by their filters. Nobody works here, so an enrollment
//! stays where a test puts it.

use settled_proto::v1::{
    AdvanceEnrollmentRequest, ApplyLifecycleRequest, CompleteTaskRequest, DecideEnrollmentRequest,
    DeferTaskRequest, DeleteEnrollmentRequest, DeleteLifecycleRequest, EnrollRequest, EnrollmentStatus,
    ExecutionOutcome, FailTaskRequest, GetEnrollmentRequest, GetLifecycleRequest, HeartbeatRequest,
    ListEnrollmentsRequest, ListExecutionsRequest, ListLifecyclesRequest, ResetEnrollmentRequest,
    RetryEnrollmentRequest, RunLifecycleRequest, WorkRequest,
};
use settled_tests::engine::Served;
use tonic::{Code, Status};

use crate::fields;

fn source(code: &str) -> String {
    let stages = ["one", "two", "three"]
        .map(|stage| format!("[[stages]]\nname = \"{stage}\"\naction = {{ approval = \"Well?\" }}\n"));
    format!("code = \"{code}\"\nname = \"C\"\n{}", stages.concat())
}

fn apply(code: &str) -> ApplyLifecycleRequest {
    ApplyLifecycleRequest {
        request_id: format!("apply-{code}"),
        source: source(code),
        ..ApplyLifecycleRequest::default()
    }
}

fn enroll(code: &str, subject: &str) -> EnrollRequest {
    EnrollRequest {
        request_id: format!("enroll-{code}-{subject}"),
        lifecycle: code.to_owned(),
        subject: subject.to_owned(),
        ..EnrollRequest::default()
    }
}

fn id() -> String {
    "fresh".to_owned()
}

fn text(len: usize) -> String {
    "x".repeat(len)
}

const fn at(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

/// Two lifecycles, and someone in the first.
async fn served() -> Served {
    let api = Served::start().await;
    for code in ["a", "b"] {
        api.lifecycles().apply(apply(code)).await.unwrap();
    }
    api.lifecycles().enroll(enroll("a", "user/1")).await.unwrap();
    api
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> Vec<String> {
    fields(&answer.unwrap_err())
}

#[tokio::test]
async fn definitions_name_the_field() {
    let api = served().await;
    let wrong = [
        (ApplyLifecycleRequest { request_id: String::new(), ..apply("a") }, "request_id"),
        (ApplyLifecycleRequest { source: text(256 * 1024 + 1), ..apply("a") }, "source"),
        (ApplyLifecycleRequest { source: "code = 7".into(), ..apply("a") }, "source"),
        (
            ApplyLifecycleRequest {
                request_id: id(),
                source: source("a") + "# another text\n",
                mapping: [("gone".to_owned(), "nowhere".to_owned())].into(),
                ..apply("a")
            },
            "mapping",
        ),
    ];
    for (request, field) in wrong {
        let found = refused(api.lifecycles().apply(request).await);
        assert!(!found.is_empty() && found.iter().all(|found| found == field), "{found:?}");
    }
    let mut client = api.lifecycles();
    assert_eq!(refused(client.get(GetLifecycleRequest { code: String::new() }).await), ["code"]);
    let run = RunLifecycleRequest { request_id: id(), code: text(64) };
    assert_eq!(refused(client.run(run).await), ["code"]);
    let run = RunLifecycleRequest { request_id: String::new(), code: "a".into() };
    assert_eq!(refused(client.run(run).await), ["request_id"]);
    let gone = DeleteLifecycleRequest { request_id: id(), code: "a\u{7}".into() };
    assert_eq!(refused(client.delete(gone).await), ["code"]);
    let page = ListLifecyclesRequest { page_size: 501, ..ListLifecyclesRequest::default() };
    assert_eq!(refused(client.list(page).await), ["page_size"]);
    let missing = client.get(GetLifecycleRequest { code: "nobody".into() }).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound, "{missing}");
}

#[tokio::test]
async fn enrolling_names_the_field() {
    let api = served().await;
    let new = || EnrollRequest { request_id: id(), ..enroll("a", "user/2") };
    let beyond = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
    let wrong = [
        (EnrollRequest { request_id: String::new(), ..new() }, "request_id"),
        (EnrollRequest { lifecycle: String::new(), ..new() }, "lifecycle"),
        (EnrollRequest { subject: String::new(), ..new() }, "subject"),
        (EnrollRequest { subject: "user".into(), ..new() }, "subject"),
        (EnrollRequest { subject: "User/1".into(), ..new() }, "subject"),
        (EnrollRequest { subject: text(301), ..new() }, "subject"),
        (EnrollRequest { payload: "[1]".into(), ..new() }, "payload"),
        (EnrollRequest { payload: "{".into(), ..new() }, "payload"),
        (EnrollRequest { payload: "{\"id\": 18446744073709551616}".into(), ..new() }, "payload"),
        (EnrollRequest { payload: format!("{{\"a\": \"{}\"}}", text(70_000)), ..new() }, "payload"),
        (EnrollRequest { executes_at: Some(beyond), ..new() }, "executes_at"),
        (
            EnrollRequest { executes_at: Some(prost_types::Timestamp { seconds: 1, nanos: -1 }), ..new() },
            "executes_at",
        ),
    ];
    for (request, field) in wrong {
        let shown = format!("{:.200}", format!("{request:?}"));
        assert_eq!(refused(api.lifecycles().enroll(request).await), [field], "{shown}");
    }
}

#[tokio::test]
async fn changes_of_an_enrollment_name_the_field() {
    let api = served().await;
    let mut client = api.lifecycles();
    let (request_id, enrollment) = (id(), String::new());
    let advance = AdvanceEnrollmentRequest { request_id: request_id.clone(), enrollment: enrollment.clone() };
    assert_eq!(refused(client.advance_enrollment(advance).await), ["enrollment"]);
    let retry = RetryEnrollmentRequest { request_id: String::new(), enrollment: "a/user/1".into() };
    assert_eq!(refused(client.retry_enrollment(retry).await), ["request_id"]);
    let reset = ResetEnrollmentRequest {
        request_id: request_id.clone(),
        enrollment: "a/user/1".into(),
        payload: "7".into(),
        cancel: false,
    };
    assert_eq!(refused(client.reset_enrollment(reset).await), ["payload"]);
    let decide = DecideEnrollmentRequest {
        request_id: request_id.clone(),
        enrollment: "a/user/1".into(),
        approve: true,
        note: text(501),
    };
    assert_eq!(refused(client.decide_enrollment(decide).await), ["note"]);
    let remove = DeleteEnrollmentRequest { request_id, enrollment, cancel: true };
    assert_eq!(refused(client.delete_enrollment(remove).await), ["enrollment"]);
    let get = GetEnrollmentRequest { enrollment: "neither".into() };
    assert_eq!(refused(client.get_enrollment(get).await), ["enrollment"]);
    let missing = client.get_enrollment(GetEnrollmentRequest { enrollment: "a/user/9".into() }).await;
    assert_eq!(missing.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn workers_are_told_the_field() {
    let api = served().await;
    let mut client = api.lifecycles();
    for (queue, worker, field) in [("", "w", "queue"), ("q", "", "worker"), ("q", "w\n", "worker")] {
        let work = WorkRequest { queue: queue.to_owned(), worker: worker.to_owned() };
        assert_eq!(fields(&client.work(work).await.map(drop).unwrap_err()), [field]);
    }
    let task_id = "01ARZ3NDEKTSV4RRFFQ69G5FAV.1".to_owned();
    let beat = HeartbeatRequest { task_id: "nobody".into() };
    assert_eq!(refused(client.heartbeat(beat).await), ["task_id"]);
    let complete = |request_id: &str, task_id: &str| CompleteTaskRequest {
        request_id: request_id.to_owned(),
        task_id: task_id.to_owned(),
        payload: String::new(),
    };
    assert_eq!(refused(client.complete(complete("x", "1")).await), ["task_id"]);
    assert_eq!(refused(client.complete(complete("", &task_id)).await), ["request_id"]);
    for error in [String::new(), text(2_001)] {
        let fail = FailTaskRequest { request_id: id(), task_id: task_id.clone(), error };
        assert_eq!(refused(client.fail(fail).await), ["error"]);
    }
    let defer = |until, why: &str| DeferTaskRequest {
        request_id: id(),
        task_id: task_id.clone(),
        until,
        why: why.to_owned(),
    };
    assert_eq!(refused(client.defer(defer(None, "later")).await), ["until"]);
    assert_eq!(refused(client.defer(defer(Some(at(9)), &text(501))).await), ["why"]);
    let gone = client.complete(complete("x", &task_id)).await.unwrap_err();
    assert_eq!(gone.code(), Code::FailedPrecondition, "{gone}");
}

#[tokio::test]
async fn enrollments_are_listed_by_page_and_filter() {
    let api = served().await;
    let mut client = api.lifecycles();
    for n in 2..=5 {
        let due = EnrollRequest { executes_at: Some(at(n)), ..enroll("b", &format!("user/{n}")) };
        client.enroll(due).await.unwrap();
    }
    let all = || ListEnrollmentsRequest { page_size: 2, ..ListEnrollmentsRequest::default() };
    let by_code = ListEnrollmentsRequest { lifecycle: "b".into(), ..all() };
    let by_due = ListEnrollmentsRequest { due_before: Some(at(5)), ..by_code.clone() };
    let by_subject = ListEnrollmentsRequest { subject: "user/3".into(), ..all() };
    let failed = ListEnrollmentsRequest { status: EnrollmentStatus::Failed.into(), ..all() };
    for (list, wanted) in [
        (all(), vec!["1", "2", "3", "4", "5"]),
        (by_code.clone(), vec!["2", "3", "4", "5"]),
        (by_due.clone(), vec!["2", "3", "4"]),
        (by_subject, vec!["3"]),
        (failed, vec![]),
    ] {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let page = ListEnrollmentsRequest { page_token: token, ..list.clone() };
            let page = client.list_enrollments(page).await.unwrap().into_inner();
            assert!(page.enrollments.len() <= 2);
            found.extend(page.enrollments.into_iter().map(|enrollment| enrollment.subject_id));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(found, wanted, "{list:?}");
    }
    let token = client.list_enrollments(by_code).await.unwrap().into_inner().next_page_token;
    let other = ListEnrollmentsRequest { page_token: token, ..all() };
    assert_eq!(refused(client.list_enrollments(other).await), ["page_token"], "of another list");
    for (list, field) in [
        (ListEnrollmentsRequest { page_size: 501, ..all() }, "page_size"),
        (ListEnrollmentsRequest { status: 9, ..all() }, "status"),
        (ListEnrollmentsRequest { subject: "user".into(), ..all() }, "subject"),
        (ListEnrollmentsRequest { subject: "user/1".into(), ..by_due }, "due_before"),
    ] {
        assert_eq!(refused(client.list_enrollments(list).await), [field]);
    }
}

#[tokio::test]
async fn the_log_is_listed_by_page_stage_outcome_and_time() {
    let api = served().await;
    let mut client = api.lifecycles();
    for n in 0..2 {
        let request_id = format!("advance-{n}");
        let advance = AdvanceEnrollmentRequest { request_id, enrollment: "a/user/1".into() };
        client.advance_enrollment(advance).await.unwrap();
    }
    let reset = ResetEnrollmentRequest {
        request_id: id(),
        enrollment: "a/user/1".into(),
        ..ResetEnrollmentRequest::default()
    };
    client.reset_enrollment(reset).await.unwrap();
    let all = || ListExecutionsRequest { page_size: 2, ..ListExecutionsRequest::default() };
    let whole = client.list_executions(ListExecutionsRequest { page_size: 9, ..all() }).await.unwrap();
    let times: Vec<_> = whole.into_inner().executions.into_iter().map(|line| line.at).collect();
    let order: Vec<_> = times.iter().flatten().map(|at| (at.seconds, at.nanos)).collect();
    assert!(order[0] > order[1] && order[1] > order[2], "newest first: {times:?}");
    let outcome = ExecutionOutcome::Advanced.into();
    for (list, wanted) in [
        (all(), vec!["three", "two", "one"]),
        (ListExecutionsRequest { stage: "two".into(), ..all() }, vec!["two"]),
        (ListExecutionsRequest { outcome, ..all() }, vec!["two", "one"]),
        (ListExecutionsRequest { lifecycle: "b".into(), ..all() }, vec![]),
        (ListExecutionsRequest { enrollment: "a/user/1".into(), ..all() }, vec!["three", "two", "one"]),
        (ListExecutionsRequest { since: times[1], ..all() }, vec!["three", "two"]),
        (ListExecutionsRequest { until: times[1], ..all() }, vec!["one"]),
        (ListExecutionsRequest { since: times[1], until: times[0], ..all() }, vec!["two"]),
    ] {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let page = ListExecutionsRequest { page_token: token, ..list.clone() };
            let page = client.list_executions(page).await.unwrap().into_inner();
            assert!(page.executions.len() <= 2);
            found.extend(page.executions.into_iter().map(|line| line.stage));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(found, wanted, "{list:?}");
    }
    let beyond = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 });
    for (list, field) in [
        (ListExecutionsRequest { page_size: 501, ..all() }, "page_size"),
        (ListExecutionsRequest { page_token: "made up".into(), ..all() }, "page_token"),
        (ListExecutionsRequest { outcome: 99, ..all() }, "outcome"),
        (ListExecutionsRequest { stage: text(64), ..all() }, "stage"),
        (ListExecutionsRequest { enrollment: "x".into(), ..all() }, "enrollment"),
        (ListExecutionsRequest { since: beyond, ..all() }, "since"),
        (ListExecutionsRequest { until: beyond, ..all() }, "until"),
    ] {
        assert_eq!(refused(client.list_executions(list).await), [field]);
    }
}
