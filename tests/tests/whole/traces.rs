//! Traces, as a collector gets them: one for a run, over a kill -9 and a restart, with every span in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use settled::domain::id::RunId;
use settled::engine::Engine;
use settled::outside::Caller;
use settled::traces::{Call, Exporter, Traces, Way};
use settled_proto::v1::{GetServerRequest, GetStatusRequest, Outcome, RekeyServerRequest};
use settled_tests::daemon::Options;
use settled_tests::engine::{self, Served};
use settled_tests::http::{Endpoint, answer};
use settled_tests::patience::until;
use settled_tests::server::{Server, appears, fresh_id, install, package_dir, settled};
use sqlx::Executor as _;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Request;
use ulid::Ulid;

use crate::crash::PATIENT;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What a collector says that has taken what it was sent.
fn well() -> String {
    answer("200 OK", "content-type: application/json\r\n", "{}")
}

/// Daemons that send their traces there.
fn sending(collector: &Endpoint) -> Options {
    Options::default().set("TRACES__ENDPOINT", &collector.url("/v1/traces"))
}

/// A span as it came.
#[derive(Debug, Clone)]
struct Span(Value);

impl Span {
    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    fn attribute(&self, key: &str) -> String {
        let attributes = self.0["attributes"].as_array().unwrap();
        let found = attributes.iter().find(|attribute| attribute["key"] == key);
        let value = found.map(|attribute| &attribute["value"]);
        let value = value.map(|value| value.get("stringValue").or(value.get("intValue")).unwrap());
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn period(&self) -> (u64, u64) {
        let at = |key| self.text(key).parse().unwrap();
        (at("startTimeUnixNano"), at("endTimeUnixNano"))
    }
}

fn spans_in(request: &Value) -> Vec<Span> {
    let spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    spans.iter().cloned().map(Span).collect()
}

/// The spans of a run that the collector was sent, each as it came last, and who sent them.
fn spans_of(collector: &Endpoint, run: &str) -> (Vec<Span>, BTreeSet<String>) {
    let (mut spans, mut daemons) = (BTreeMap::new(), BTreeSet::new());
    for got in collector.got() {
        assert_eq!(got.line, "POST /v1/traces HTTP/1.1");
        assert_eq!(got.header("content-type"), "application/json");
        let of_resource = &got.json()["resourceSpans"][0];
        let resource = Span(of_resource["resource"].clone());
        assert_eq!(resource.attribute("service.name"), "settled");
        for span in spans_in(&got.json()) {
            if span.attribute("settled.run") == run {
                daemons.insert(resource.attribute("service.instance.id"));
                spans.insert(span.text("spanId").to_owned(), span);
            }
        }
    }
    (spans.into_values().collect(), daemons)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_one_trace_from_its_call_to_its_last_step_over_a_kill_and_a_restart() {
    // The first request is put off: it comes again.
    let collector = Endpoint::answering(&[&answer("503 Service Unavailable", "", ""), &well()]).await;
    let packages = package_dir("patient", PATIENT);
    let options = || sending(&collector).set("PACKAGES__DIR", &packages.path().display().to_string());
    let server = Server::start();
    let dir = server.path("work");
    std::fs::create_dir(&dir).unwrap();
    let daemon = options().start().await;
    server.register(&daemon, "web").await;
    let mut request = Request::new(install("web", "patient", "one", &[("dir", &dir.display().to_string())]));
    request.metadata_mut().insert("traceparent", CALLER.parse().unwrap());
    let run = daemon.resources().install(request).await.unwrap().into_inner().run.unwrap().id;
    appears(&dir.join("started")).await;
    until("the call is told", async || (!spans_of(&collector, &run).0.is_empty()).then_some(())).await;

    let home = daemon.kill().await;
    let daemon = options().start_in(home).await;
    std::fs::write(dir.join("go"), "").unwrap();
    assert_eq!(settled(&daemon, &run).await.outcome(), Outcome::Succeeded);
    let (spans, daemons) = until("the run is told", async || {
        let (spans, daemons) = spans_of(&collector, &run);
        (spans.len() > 1).then_some((spans, daemons))
    })
    .await;

    assert_eq!(daemons.len(), 2, "both daemons tell of it");
    let id: Ulid = run.parse().unwrap();
    let trace = format!("{:032x}", id.0);
    assert!(
        spans.iter().all(|span| span.text("traceId") == trace),
        "one trace, and its id is the run's: {spans:#?}"
    );
    let named = |name: &str| {
        let found: Vec<_> = spans.iter().filter(|span| span.text("name") == name).collect();
        assert_eq!(found.len(), 1, "one `{name}`: {spans:#?}");
        found[0].clone()
    };
    let (whole, call, wait) =
        (named("install patient"), named("Resources.Install"), named("wait for the lane"));
    // The new daemon had to connect.
    let (connect, attempt, step) = (named("connect"), named("attempt 1"), named("Wait"));
    let root = whole.text("spanId");
    assert_eq!(whole.text("parentSpanId"), "", "the run is the root");
    for child in [&call, &wait, &connect, &attempt] {
        assert_eq!(child.text("parentSpanId"), root, "{child:#?}");
    }
    assert_eq!(step.text("parentSpanId"), attempt.text("spanId"));
    for (inner, outer) in [(&wait, &whole), (&connect, &whole), (&attempt, &whole), (&step, &attempt)] {
        let (inner, outer) = (inner.period(), outer.period());
        assert!(outer.0 <= inner.0 && inner.0 <= inner.1 && inner.1 <= outer.1, "{inner:?} within {outer:?}");
    }
    assert!(call.period().0 <= whole.period().0, "it is asked for before it is accepted");
    let said =
        ["rpc.system", "rpc.service", "rpc.method", "rpc.grpc.status_code"].map(|key| call.attribute(key));
    assert_eq!(said, ["grpc", "settled.v1.Resources", "Install", "0"]);
    assert!(spans.iter().all(|span| span.0["status"]["code"] != 2), "nothing failed: {spans:#?}");
    let link = &call.0["links"][0];
    assert_eq!(
        (link["traceId"].as_str().unwrap(), link["spanId"].as_str().unwrap()),
        (&CALLER[3..35], &CALLER[36..52])
    );
    let said = ["settled.server", "settled.resource", "settled.outcome"].map(|key| whole.attribute(key));
    assert_eq!(said, ["web", "one", "succeeded"]);
    assert_eq!(
        ["settled.step", "settled.try", "settled.exit_code"].map(|key| step.attribute(key)),
        ["1", "1", "0"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_an_error_in_its_trace_and_tells_none_of_its_words() {
    let collector = Endpoint::answering(&[&well()]).await;
    let packages = package_dir("loud", LOUD);
    let daemon =
        sending(&collector).set("PACKAGES__DIR", &packages.path().display().to_string()).start().await;
    let server = Server::start();
    server.register(&daemon, "web").await;
    let request = install("web", "loud", "one", &[("word", "abracadabra")]);
    let run = daemon.resources().install(request).await.unwrap().into_inner().run.unwrap().id;
    let run = settled(&daemon, &run).await;
    assert_eq!(run.outcome(), Outcome::Failed);
    let spans = until("the run is told", async || {
        let spans = spans_of(&collector, &run.id).0;
        spans.iter().any(|span| span.text("name") == "install loud").then_some(spans)
    })
    .await;
    let failed: BTreeSet<_> =
        spans.iter().filter(|span| span.0["status"]["code"] == 2).map(|span| span.text("name")).collect();
    assert_eq!(failed, BTreeSet::from(["Speak", "attempt 1", "install loud"]));
    assert!(
        !spans.iter().any(|span| span.text("name") == "connect"),
        "it was connected to before: {spans:#?}"
    );
    let whole = spans.iter().find(|span| span.text("name") == "install loud").unwrap();
    let reason = whole.attribute("settled.reason");
    assert_eq!(format!("REASON_{}", reason.to_uppercase()), run.reason().as_str_name(), "{whole:#?}");
    let all = collector.got().into_iter().map(|got| got.body).collect::<String>();
    assert!(!all.contains("abracadabra"), "{all}");
}

const LOUD: &str = r#"
name = "loud"
summary = "Says a word and fails"

[parameters.word]
type = "text"
summary = "The word"

[operations.install]
attempts = 1
[[operations.install.steps]]
title = "Speak"
script = 'echo "$P_WORD" >&2; exit 7'

[operations.remove]
[[operations.remove.steps]]
title = "Nothing"
script = "true"
"#;

/// What tells a collector of what an engine has, without a daemon.
fn exporter(engine: &Engine, collector: &Endpoint) -> (Traces, Exporter) {
    let clock = engine.shared_clock();
    Traces::to(Way {
        endpoint: collector.url("/v1/traces"),
        caller: Caller::new(engine.shared_clock(), None),
        store: engine.store().clone(),
        daemon: engine.me().to_string(),
        connects: Box::new(|_| Vec::new()),
        clock,
    })
}

fn call(engine: &Engine, run: RunId) -> Call {
    let now = engine.clock().now();
    Call { method: "Resources.Install", runs: vec![run], began: now, ended: now, code: 0, caller: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_collector_that_hangs_and_counts_what_it_has_not_taken() {
    let (collector, dir) = (Endpoint::answering(&[""]).await, tempfile::tempdir().unwrap());
    let engine = engine::engine(dir.path(), 10).await;
    let ((traces, exporter), stop) = (exporter(&engine, &collector), CancellationToken::new());
    let exporting = tokio::spawn(exporter.run(stop.clone()));
    traces.asked(call(&engine, RunId(Ulid(1))));
    until("it hangs", async || (collector.got().len() == 1).then_some(())).await;
    for n in 2..5 {
        traces.asked(call(&engine, RunId(Ulid(n))));
    }
    stop.cancel();
    // Less than the collector may take otherwise.
    timeout(Duration::from_secs(5), exporting).await.expect("it is cut off").unwrap();
    assert_eq!(traces.counts(), (0, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_be_read_is_dropped_alone_and_counted() {
    let (collector, dir) = (Endpoint::answering(&[&well()]).await, tempfile::tempdir().unwrap());
    let database = dir.path().join("settled.db");
    let api = Served::at(&format!("sqlite://{}", database.display()), dir).await;
    api.server("web").await;
    let run =
        api.resources().install(engine::install("r1", "web", "one")).await.unwrap().into_inner().run.unwrap();
    let mut store = engine::behind(&database).await;
    store.execute("UPDATE run SET parameters = '{' WHERE resource_id IS NOT NULL").await.unwrap();
    let (traces, exporter) = exporter(&api.engine, &collector);
    // They wait before anything is sent, so that they go together.
    let run: RunId = run.id.parse().unwrap();
    traces.ended(run);
    traces.asked(call(&api.engine, run));
    let stop = CancellationToken::new();
    let exporting = tokio::spawn(exporter.run(stop.clone()));
    until("both are counted", async || (traces.counts() == (1, 1)).then_some(())).await;
    assert_eq!(spans_of(&collector, &run.to_string()).0.len(), 1, "the call");
    stop.cancel();
    exporting.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_met_anew_has_the_call_in_its_trace_that_made_it_so() {
    let collector = Endpoint::answering(&[&well()]).await;
    let daemon = sending(&collector).start().await;
    let server = Server::start();
    server.register(&daemon, "web").await;
    let known =
        daemon.servers().get(GetServerRequest { server: "web".to_owned() }).await.unwrap().into_inner();
    let request =
        RekeyServerRequest { request_id: fresh_id(), server: "web".to_owned(), host_key: known.host_key };
    daemon.servers().rekey(request).await.unwrap();
    let run = until("the call is told", async || {
        let all: Vec<_> = collector.got().iter().flat_map(|got| spans_in(&got.json())).collect();
        all.iter().find(|span| span.text("name") == "Servers.Rekey").map(|span| span.attribute("settled.run"))
    })
    .await;
    assert_eq!(settled(&daemon, &run).await.operation, "register");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_delays_nothing_and_status_tells_of_it() {
    let daemon = sending(&Endpoint::gone()).start().await;
    let server = Server::start();
    assert_eq!(server.register(&daemon, "web").await.outcome(), Outcome::Succeeded);
    let warning = until("status tells of it", async || {
        let status = daemon.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner();
        status.warnings.into_iter().find(|warning| warning.starts_with("Traces cannot be sent"))
    })
    .await;
    assert!(warning.contains("cannot be reached") && warning.contains("traces.endpoint"), "{warning}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_no_pause_and_sends_what_is_left() {
    let later = answer("503 Service Unavailable", "", "");
    let collector = Endpoint::answering(&[&later, &later, &well()]).await;
    let daemon = sending(&collector).start().await;
    let server = Server::start();
    let run = server.register(&daemon, "web").await.id;
    // After this one there is a pause that is longer than the stop may take.
    collector.has(2).await;
    daemon.stop().await.0.unwrap();
    let (spans, _) = spans_of(&collector, &run);
    let names: BTreeSet<_> = spans.iter().map(|span| span.text("name")).collect();
    assert!(names.contains("Servers.Create") && names.contains("register"), "{names:?}");
}
