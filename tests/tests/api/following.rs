//! Following a run from its queue to its end, and again from any byte.

use std::time::Duration;

use settled::domain::failure::Failure;
use settled::domain::grounds::Seen;
use settled::domain::id::{RunId, ServerId};
use settled::domain::run::{Event as RunEvent, Repair, Retry, StepFacts};
use settled::domain::step::{Cause, Ended, StepId, StepState as DomainState};
use settled::domain::time::Timestamp;
use settled::engine::{Advance, LaneHold, Outline, StepEnd};
use settled::store::retention::Horizon;
use settled_proto::v1::follow_run_response::Event;
use settled_proto::v1::{
    CancelRunRequest, FollowRunRequest, FollowRunResponse, Outcome, OutputStream, RunState, StepState,
};
use settled_tests::engine::{Served, install};
use tonic::{Code, Streaming};

use crate::soon;

async fn follow(api: &Served, run: &str, output_offset: u64) -> Streaming<FollowRunResponse> {
    let ask = FollowRunRequest { run_id: run.to_owned(), output_offset };
    api.runs().follow(ask).await.unwrap().into_inner()
}

async fn next(stream: &mut Streaming<FollowRunResponse>) -> Option<Event> {
    let piece = soon("a piece of the story", stream.message()).await.expect("the stream does not fail")?;
    Some(piece.event.expect("a piece is something"))
}

async fn rest(stream: &mut Streaming<FollowRunResponse>) -> Vec<Event> {
    let mut all = Vec::new();
    while let Some(event) = next(stream).await {
        all.push(event);
    }
    all
}

/// Plays the lane's part for one run of one step.
struct Work<'a> {
    api: &'a Served,
    hold: LaneHold,
    run: RunId,
    step: StepId,
}

impl<'a> Work<'a> {
    async fn begin(api: &'a Served, server: &str, run: &str) -> Self {
        let server: ServerId = server.parse().unwrap();
        let run: RunId = run.parse().unwrap();
        let hold = api.engine.take_lane(server).await.unwrap();
        let work = Self { api, hold, run, step: StepId { run, step: 0, attempt: 1, try_no: 1 } };
        work.advance(RunEvent::Started { timeout: Duration::from_secs(60) }, None).await;
        work
    }

    async fn advance(&self, event: RunEvent, end: Option<StepEnd>) {
        let outlines = [Outline::titled("Write the cron file")].into();
        let advance = Advance { run: self.run, event, end, outlines };
        self.api.engine.advance(self.hold, advance).await.unwrap();
    }

    async fn write(&self, pos: u64, data: &[u8]) {
        self.api.engine.output(self.hold, self.step, pos, data.to_vec()).await.unwrap();
    }

    async fn end(&self, truncated: bool) {
        let failure = Failure {
            step: String::new(),
            exit_code: Some(0),
            message: String::new(),
            last_lines: String::new(),
            run: self.run,
            at: self.api.engine.clock().now(),
        };
        let facts = StepFacts {
            next: None,
            retry: Retry::May,
            retry_on_timeout: false,
            repair: Repair::No,
            outputs: Some(std::collections::BTreeMap::new()),
            failure,
            seen: Seen::default(),
        };
        let why = String::new();
        let end = StepEnd {
            id: self.step,
            state: DomainState::Exited,
            exit_code: Some(0),
            why,
            truncated,
            proven: true,
        };
        self.advance(RunEvent::StepEnded(Ended::Exited { code: 0, cause: Cause::Itself }, facts), Some(end))
            .await;
    }
}

async fn one_run(api: &Served) -> (String, String) {
    let server = api.server("web1").await;
    let run = api.resources().install(install("i", "web1", "a")).await.unwrap().into_inner().run.unwrap();
    (server.id, run.id)
}

/// The story in a few words.
fn told(events: &[Event]) -> Vec<String> {
    let word = |event: &Event| match event {
        Event::Run(run) => format!("run {}", run.state().as_str_name()),
        Event::Step(step) => format!("step {}", step.state().as_str_name()),
        Event::Output(o) => {
            format!("output {} to {}{}", o.data.len(), o.next_offset, if o.truncated { " cut" } else { "" })
        }
    };
    events.iter().map(word).collect()
}

#[tokio::test]
async fn following_a_queued_run_ends_when_it_is_cancelled() {
    let api = Served::start().await;
    let (_, run) = one_run(&api).await;
    let mut stream = follow(&api, &run, 0).await;
    let Some(Event::Run(first)) = next(&mut stream).await else { panic!("the run comes first") };
    assert_eq!((first.state(), first.position), (RunState::Queued, 1));
    api.runs().cancel(CancelRunRequest { request_id: "c".to_owned(), run_id: run.clone() }).await.unwrap();
    let story = rest(&mut stream).await;
    let [Event::Run(last)] = &story[..] else { panic!("{:?}", told(&story)) };
    assert_eq!((last.state(), last.outcome()), (RunState::Completed, Outcome::Cancelled));

    let again = rest(&mut follow(&api, &run, 0).await).await;
    assert_eq!(told(&again), ["run RUN_STATE_COMPLETED"]);
}

#[tokio::test]
async fn p5_the_story_is_told_live_in_order_and_again_from_any_byte() {
    let api = Served::start().await;
    let (server, run) = one_run(&api).await;
    let mut live = follow(&api, &run, 0).await;
    assert!(matches!(next(&mut live).await, Some(Event::Run(_))));
    let work = Work::begin(&api, &server, &run).await;
    let Some(Event::Run(started)) = next(&mut live).await else { panic!("the run has started") };
    assert_eq!(started.state(), RunState::Running);
    let Some(Event::Step(step)) = next(&mut live).await else { panic!("a step has begun") };
    assert_eq!((step.state(), step.title.as_str()), (StepState::Starting, "Write the cron file"));
    work.write(0, b"one\n").await;
    let Some(Event::Output(output)) = next(&mut live).await else { panic!("it wrote something") };
    assert_eq!((output.offset, output.stream()), (0, OutputStream::Combined));
    assert_eq!((output.data.as_slice(), output.next_offset), (b"one\n".as_slice(), 4));

    // More than one message holds, and more pieces than are kept ready.
    let big: Vec<u8> = (0..2_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    work.write(4, &big).await;
    work.write(4 + big.len() as u64, b"end").await;
    work.end(true).await;
    let story = rest(&mut live).await;
    let mut whole = b"one\n".to_vec();
    for event in &story {
        if let Event::Output(o) = event {
            assert!(o.data.len() <= 64 * 1024);
            assert_eq!(o.offset, whole.len() as u64);
            whole.extend_from_slice(&o.data);
            assert_eq!(o.next_offset, whole.len() as u64);
        }
    }
    let expected = [b"one\n".as_slice(), &big, b"end"].concat();
    assert!(whole == expected, "every byte once, in order");
    let words = told(&story);
    assert_eq!(words[words.len() - 2..], ["step STEP_STATE_EXITED", "run RUN_STATE_COMPLETED"]);
    assert_eq!(words.iter().filter(|w| w.ends_with("cut")).count(), 1, "{words:?}");

    let total = expected.len();
    for from in [0, 1, 4, 5, 65_540, 1_000_000, total - 1] {
        let story = rest(&mut follow(&api, &run, from as u64).await).await;
        let output: Vec<u8> = story
            .iter()
            .flat_map(|e| if let Event::Output(o) = e { o.data.clone() } else { Vec::new() })
            .collect();
        assert!(output == expected[from..], "from {from}");
        let words = told(&story);
        assert_eq!(words[..2], ["run RUN_STATE_COMPLETED", "step STEP_STATE_RUNNING"]);
        assert_eq!(words.last().unwrap(), "step STEP_STATE_EXITED");
    }
    let beyond = rest(&mut follow(&api, &run, total as u64 + 1).await).await;
    assert_eq!(told(&beyond), ["run RUN_STATE_COMPLETED", "step STEP_STATE_EXITED"]);
}

#[tokio::test]
async fn whoever_waits_in_line_is_told_when_its_place_changes() {
    let api = Served::start().await;
    let (_, ahead) = one_run(&api).await;
    let second =
        api.resources().install(install("i2", "web1", "b")).await.unwrap().into_inner().run.unwrap().id;
    let mut stream = follow(&api, &second, 0).await;
    let Some(Event::Run(run)) = next(&mut stream).await else { panic!("the run comes first") };
    assert_eq!(run.position, 2);
    api.runs().cancel(CancelRunRequest { request_id: "c".to_owned(), run_id: ahead }).await.unwrap();
    let Some(Event::Run(run)) = next(&mut stream).await else { panic!("its place has changed") };
    assert_eq!(run.position, 1);
}

#[tokio::test]
async fn a_run_that_is_not_there_cannot_be_followed_and_a_stop_ends_the_story() {
    let mut api = Served::start().await;
    let missing = FollowRunRequest { run_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(), output_offset: 0 };
    assert_eq!(api.runs().follow(missing).await.unwrap_err().code(), Code::NotFound);
    let (_, run) = one_run(&api).await;
    let mut stream = follow(&api, &run, 0).await;
    next(&mut stream).await.unwrap();
    soon("the end of serving", api.ended()).await.unwrap();
    let status = soon("the end of the story", stream.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_run_that_is_removed_while_it_is_followed_is_not_told_as_a_whole_one() {
    let api = Served::start().await;
    let (server, run) = one_run(&api).await;
    let work = Work::begin(&api, &server, &run).await;
    // More than what is kept ready and what the connection holds.
    let piece = vec![b'x'; 1024 * 1024];
    for n in 0..8 {
        work.write(n * piece.len() as u64, &piece).await;
    }
    work.end(false).await;
    let mut stream = follow(&api, &run, 0).await;
    next(&mut stream).await.unwrap();
    let all = Timestamp(i64::MAX);
    let horizon = Horizon { runs: all, transitions: all, requests: all, audit: all };
    while api.engine.expire(horizon, 1_000).await.unwrap() > 0 {}
    let end = soon("the end of the story", async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        }
    });
    assert_eq!(end.await.unwrap_err().code(), Code::NotFound);
}
