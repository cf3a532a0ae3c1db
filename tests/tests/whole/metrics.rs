//! The page of metrics after real work: it shows everything that docs/metrics.md lists, as it is listed there, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use settled_proto::v1::{GetResourceRequest, Outcome, WatchRequest};
use settled_tests::address::free_address;
use settled_tests::daemon;
use settled_tests::http;
use settled_tests::patience::until;
use settled_tests::server::{Server, install, package_dir, settled};

const DOCUMENT: &str = include_str!("../../../docs/metrics.md");

const PACKAGE: &str = r#"
name = "willing"
summary = "Does as it is told"

[parameters.code]
type = "integer"
min = 0
max = 255
summary = "What it exits with"

[operations.install]
attempts = 1
[[operations.install.steps]]
title = "Exit"
script = 'exit "$P_CODE"'

[operations.remove]
[[operations.remove.steps]]
title = "Nothing"
script = "true"
"#;

/// A family: its type, its meaning, the labels of its samples beside `le`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    meaning: String,
    labels: BTreeSet<String>,
}

/// What the document lists.
fn listed() -> BTreeMap<String, Family> {
    let rows =
        DOCUMENT.lines().filter(|line| line.starts_with("| `settled_") && line.matches('|').count() == 6);
    let family = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, _unit, meaning] = cells[..] else { panic!("{line}") };
        let labels = labels.split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.trim_matches('`').to_owned()).collect();
        (
            name.trim_matches('`').to_owned(),
            Family { kind: kind.to_owned(), meaning: meaning.to_owned(), labels },
        )
    };
    rows.map(family).collect()
}

/// Samples of a page with their values.
fn samples(page: &str) -> BTreeMap<&str, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.rsplit_once(' ').unwrap()).map(|(name, n)| (name, n.parse().unwrap())).collect()
}

/// What a page shows. Each family has a sample.
fn shown(page: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    for line in page.lines() {
        if let Some((name, meaning)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            meaning.clone_into(&mut families.entry(name.to_owned()).or_default().meaning);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
        }
    }
    let mut sampled = BTreeSet::new();
    for sample in samples(page).into_keys() {
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            name.strip_suffix(suffix)
                .filter(|base| families.get(*base).is_some_and(|f| f.kind == "histogram"))
        });
        let name = base.unwrap_or(name);
        let family = families.get_mut(name).unwrap_or_else(|| panic!("{name} has neither help nor type"));
        let names = labels.trim_end_matches('}').split("\",").filter_map(|pair| pair.split_once('='));
        family.labels.extend(names.map(|(label, _)| label.to_owned()).filter(|label| label != "le"));
        sampled.insert(name.to_owned());
    }
    assert_eq!(sampled, families.keys().cloned().collect(), "a family has no sample");
    families
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_is_listed_is_shown_after_real_work_and_none_is_unlisted() {
    let packages = package_dir("willing", PACKAGE);
    let [address, other_address] = [free_address(), free_address()].map(|address| address.to_string());
    let page = async |address: &str| http::page(address, "/metrics").await;
    let daemon = daemon::Options::default()
        .set("PACKAGES__DIR", &packages.path().display().to_string())
        .set("LISTEN__METRICS", &address)
        .start()
        .await;
    // Another one in this process, that does nothing: the two do not mix.
    let idle = daemon::Options::default().set("LISTEN__METRICS", &other_address).start().await;
    let server = Server::start();
    server.register(&daemon, "web").await;
    for (code, outcome) in [("0", Outcome::Succeeded), ("3", Outcome::Failed)] {
        let request = install("web", "willing", &format!("exits-{code}"), &[("code", code)]);
        let run = daemon.resources().install(request).await.unwrap().into_inner().run.unwrap().id;
        assert_eq!(settled(&daemon, &run).await.outcome(), outcome);
    }
    // A key that is not the server's.
    let mut other = server.record("stranger");
    other.host_key = format!("SHA256:{}", "A".repeat(43));
    let run = daemon.servers().create(other).await.unwrap().into_inner().run.unwrap();
    assert_eq!(settled(&daemon, &run.id).await.outcome(), Outcome::Failed);
    let nothing = GetResourceRequest { resource: "web/willing/nothing".to_owned() };
    daemon.resources().get(nothing).await.unwrap_err();
    let refused = install("nowhere", "willing", "one", &[("code", "0")]);
    daemon.resources().install(refused).await.unwrap_err();
    let watch = daemon.transitions().watch(WatchRequest::default()).await.unwrap();

    let page_now = until("the reconciler has looked and every refusal is on record", async || {
        let page = page(&address).await;
        let done = page.contains("\nsettled_reconciler_last_look_seconds ")
            && page.contains("\nsettled_refusals_recorded_total 1\n")
            && page.contains("\nsettled_followers 0\n");
        done.then_some(page)
    })
    .await;
    assert_eq!(shown(&page_now), listed(), "{page_now}");

    let samples = samples(&page_now);
    let value = |sample: &str| samples.get(sample).copied().unwrap_or_else(|| panic!("{sample}: {page_now}"));
    let is = |sample: &str, expected: f64| {
        let seen = value(sample);
        assert!((seen - expected).abs() < 1e-9, "{sample} is {seen}, not {expected}: {page_now}");
    };
    let ended = "settled_runs_ended_total{package=\"willing\",operation=\"install\",outcome=";
    is(&format!("{ended}\"succeeded\"}}"), 1.0);
    is(&format!("{ended}\"failed\"}}"), 1.0);
    is("settled_runs_ended_total{package=\"\",operation=\"register\",outcome=\"succeeded\"}", 1.0);
    is("settled_runs_ended_total{package=\"\",operation=\"register\",outcome=\"failed\"}", 1.0);
    is("settled_run_seconds_count{outcome=\"succeeded\"}", 2.0);
    is("settled_run_lane_wait_seconds_count", 4.0);
    is("settled_watchers", 1.0);
    is("settled_servers{reach=\"ok\"}", 1.0);
    is("settled_servers{reach=\"refused\"}", 1.0);
    is("settled_ssh_connections", 1.0);
    is("settled_ssh_connections_failed_total{reason=\"host_key\"}", 1.0);
    is("settled_api_calls_total{method=\"Resources.Install\",code=\"OK\"}", 2.0);
    is("settled_api_calls_total{method=\"Resources.Install\",code=\"NOT_FOUND\"}", 1.0);
    is("settled_api_calls_total{method=\"Resources.Get\",code=\"NOT_FOUND\"}", 1.0);
    is("settled_api_calls_total{method=\"Runs.Follow\",code=\"OK\"}", 4.0);
    is("settled_api_call_seconds_count{method=\"Transitions.Watch\"}", 1.0);
    assert!(value("settled_ssh_connections_opened_total") >= 1.0, "{page_now}");
    assert!(value("settled_store_commit_seconds_count") >= 10.0, "{page_now}");
    assert!(
        !page_now.contains("web") && !page_now.contains("exits-"),
        "it names no server and no resource: {page_now}"
    );
    let others = page(&other_address).await;
    assert!(!others.contains("willing") && others.contains("\nsettled_watchers 0\n"), "{others}");

    drop(watch);
    until("a watch that ended is not counted among those that are open", async || {
        let page = page(&address).await;
        let ended =
            page.contains("settled_api_calls_total{method=\"Transitions.Watch\",code=\"CANCELLED\"} 1\n");
        (ended && page.contains("\nsettled_watchers 0\n")).then_some(())
    })
    .await;
    drop(idle);
}
