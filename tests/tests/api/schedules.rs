//! The service `Schedules`: fields that are wrong are named, lists come in pages, changes are watched.

use settled_proto::v1::schedule_target::Target;
use settled_proto::v1::transition::Object;
use settled_proto::v1::watch_request::Start;
use settled_proto::v1::watch_response::Event;
use settled_proto::v1::{
    Change, CreateScheduleRequest, DeleteScheduleRequest, EnrollmentTarget, Fate, FireScheduleRequest,
    GetScheduleRequest, Kind, ListOccurrencesRequest, ListSchedulesRequest, MissedPolicy, NextTimesRequest,
    OperationTarget, Overlap, PauseScheduleRequest, ScheduleTarget, UpdateScheduleRequest, WatchFilter,
    WatchRequest,
};
use settled_tests::engine::{Served, install};
use tonic::{Code, Status};

use crate::fields;

fn probes(servers: &[&str]) -> ScheduleTarget {
    let operation = OperationTarget {
        package: "scheduled_task".to_owned(),
        operation: "probe".to_owned(),
        servers: servers.iter().map(|name| (*name).to_owned()).collect(),
        ..OperationTarget::default()
    };
    ScheduleTarget { target: Some(Target::Operation(operation)) }
}

fn new(name: &str) -> CreateScheduleRequest {
    CreateScheduleRequest {
        request_id: format!("create-{name}"),
        name: name.to_owned(),
        cron: "30 2 * * *".to_owned(),
        target: Some(probes(&["web1"])),
        ..CreateScheduleRequest::default()
    }
}

async fn served() -> Served {
    let api = Served::start().await;
    api.server("web1").await;
    api.resources().install(install("install", "web1", "task")).await.unwrap();
    api
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> Vec<String> {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    fields(&status)
}

#[tokio::test]
async fn schedules_name_the_field() {
    let api = served().await;
    let create = async |request| refused(api.schedules().create(request).await);
    let target = |target| Some(ScheduleTarget { target: Some(target) });
    let enrolls = |subjects: &[&str]| {
        target(Target::Enrollment(EnrollmentTarget {
            lifecycle: "a".into(),
            subjects: subjects.iter().map(|&subject| subject.into()).collect(),
            ..EnrollmentTarget::default()
        }))
    };
    let table = [
        (CreateScheduleRequest { request_id: String::new(), ..new("a") }, "request_id"),
        (CreateScheduleRequest { cron: "0 25 * * *".into(), ..new("a") }, "cron"),
        (CreateScheduleRequest { time_zone: "Nowhere".into(), ..new("a") }, "time_zone"),
        (CreateScheduleRequest { overlap: 9, ..new("a") }, "overlap"),
        (CreateScheduleRequest { missed: 9, ..new("a") }, "missed"),
        (CreateScheduleRequest { jitter_s: 100_000, ..new("a") }, "jitter_s"),
        (CreateScheduleRequest { target: None, ..new("a") }, "target"),
        (CreateScheduleRequest { target: enrolls(&[]), ..new("a") }, "target.enrollment"),
        (CreateScheduleRequest { target: enrolls(&["user/1"]), ..new("a") }, "target.enrollment.lifecycle"),
        (
            CreateScheduleRequest { target: target(Target::Chore("probes".into())), ..new("a") },
            "target.chore",
        ),
        (CreateScheduleRequest { target: Some(probes(&[])), ..new("a") }, "target.operation"),
        (CreateScheduleRequest { target: Some(probes(&["web9"])), ..new("a") }, "target.operation.servers"),
        (CreateScheduleRequest { name: "settled.mine".into(), ..new("a") }, "name"),
    ];
    for (request, field) in table {
        assert_eq!(create(request).await, [field]);
    }
    let edit = UpdateScheduleRequest {
        request_id: "edit".into(),
        schedule: "settled.retention".into(),
        overlap: Overlap::Queue.into(),
        ..UpdateScheduleRequest::default()
    };
    assert_eq!(refused(api.schedules().update(edit).await), ["overlap"]);
    let times = NextTimesRequest { schedule: "settled.retention".into(), count: 101 };
    assert_eq!(refused(api.schedules().next_times(times).await), ["count"]);
    let page = ListSchedulesRequest { page_size: 501, ..ListSchedulesRequest::default() };
    assert_eq!(refused(api.schedules().list(page).await), ["page_size"]);
    let nobody = api.schedules().get(GetScheduleRequest { schedule: "nobody".into() }).await;
    assert_eq!(nobody.unwrap_err().code(), Code::NotFound);
    let reconcile = PauseScheduleRequest { request_id: "p".into(), schedule: "settled.reconcile".into() };
    assert_eq!(api.schedules().pause(reconcile).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn schedules_come_in_pages_in_order_of_name_built_in_ones_among_them() {
    let api = served().await;
    for name in ["b", "a", "z"] {
        let made = api.schedules().create(new(name)).await.unwrap().into_inner();
        assert_eq!((made.overlap(), made.missed()), (Overlap::Skip, MissedPolicy::None));
        assert_eq!(made.principal, format!("unix:{}", rustix::process::geteuid().as_raw()));
    }
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListSchedulesRequest { page_size: 2, page_token, ..ListSchedulesRequest::default() };
        let page = api.schedules().list(request).await.unwrap().into_inner();
        names.extend(page.schedules.into_iter().map(|s| s.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(
        names,
        [
            "a",
            "b",
            "settled.clean_enrollments",
            "settled.clean_executions",
            "settled.compaction",
            "settled.enrollments",
            "settled.probes",
            "settled.reconcile",
            "settled.retention",
            "z"
        ]
    );
    let own = ListSchedulesRequest { built_in: Some(false), ..ListSchedulesRequest::default() };
    assert_eq!(api.schedules().list(own).await.unwrap().into_inner().schedules.len(), 3);
    let paused = ListSchedulesRequest { paused: Some(true), ..ListSchedulesRequest::default() };
    assert!(api.schedules().list(paused).await.unwrap().into_inner().schedules.is_empty());
    let times = NextTimesRequest { schedule: "a".into(), count: 0 };
    let times = api.schedules().next_times(times).await.unwrap().into_inner().times;
    assert_eq!(times.len(), 10);
    assert!(times.windows(2).all(|pair| pair[1].seconds - pair[0].seconds == 86_400), "{times:?}");
}

#[tokio::test]
async fn p2_firing_is_repeatable_and_its_history_comes_in_pages_also_when_the_schedule_is_gone() {
    let api = served().await;
    let schedule = CreateScheduleRequest { overlap: Overlap::Queue.into(), ..new("look") };
    let made = api.schedules().create(schedule).await.unwrap().into_inner();
    for n in 0..5 {
        let request = FireScheduleRequest { request_id: format!("fire-{n}"), schedule: "look".into() };
        let once = api.schedules().fire(request.clone()).await.unwrap().into_inner();
        assert_eq!(once, api.schedules().fire(request).await.unwrap().into_inner());
        let fate = if n == 0 { Fate::Fired } else { Fate::Waiting };
        assert_eq!(once.occurrence.unwrap().fate(), fate);
    }
    let gone = DeleteScheduleRequest { request_id: "delete".into(), schedule: "look".into() };
    assert_eq!(api.schedules().delete(gone).await.unwrap().into_inner().waiting, 0);
    let (mut fates, mut dues, mut page_token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let request = ListOccurrencesRequest { schedule: made.id.clone(), page_size: 2, page_token, fate: 0 };
        let page = api.schedules().list_occurrences(request).await.unwrap().into_inner();
        fates.extend(page.occurrences.iter().map(settled_proto::v1::Occurrence::fate));
        dues.extend(page.occurrences.iter().map(|o| o.due.map(|due| (due.seconds, due.nanos))));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(fates, [[Fate::Skipped; 4].as_slice(), &[Fate::Fired]].concat());
    assert!(dues.windows(2).all(|pair| pair[0] > pair[1]), "the newest first: {dues:?}");
    let fired = ListOccurrencesRequest {
        schedule: made.id,
        fate: Fate::Fired.into(),
        ..ListOccurrencesRequest::default()
    };
    let fired = api.schedules().list_occurrences(fired).await.unwrap().into_inner().occurrences;
    assert_eq!((fired.len(), fired[0].run_ids.len()), (1, 1));
}

#[tokio::test]
async fn p10_a_schedule_is_in_the_snapshot_and_its_changes_follow() {
    let api = served().await;
    let made = api.schedules().create(new("look")).await.unwrap().into_inner();
    let watch = WatchRequest {
        start: Some(Start::Snapshot(true)),
        filters: vec![WatchFilter { kinds: vec![Kind::Schedule.into()], ..WatchFilter::default() }],
    };
    let mut events = api.transitions().watch(watch).await.unwrap().into_inner();
    let mut next = async || loop {
        if let Some(Event::Transition(t)) = events.message().await.unwrap().unwrap().event {
            let Some(Object::Schedule(schedule)) = &t.object else { panic!("{t:?}") };
            assert_eq!(
                (t.kind(), schedule.id.as_str(), t.server_id.as_str()),
                (Kind::Schedule, made.id.as_str(), "")
            );
            return (t.change(), schedule.paused);
        }
    };
    // Built-in schedules that nobody has changed are not in it.
    assert_eq!(next().await, (Change::Snapshot, false));
    let pause = PauseScheduleRequest { request_id: "pause".into(), schedule: "look".into() };
    api.schedules().pause(pause).await.unwrap();
    assert_eq!(next().await, (Change::Updated, true));
}
