//! Why runs wait as docs/runs.md tells it: each reason that there is, and none that there is not.

use settled::domain::waiting::WaitReason;

const DOCUMENT: &str = include_str!("../../../docs/runs.md");

/// The words in the first column of the table under this heading, in their order.
fn listed(heading: &str) -> Vec<&'static str> {
    let (_, section) = DOCUMENT.split_once(&format!("\n## {heading}\n")).expect("the section is there");
    let section = section.split("\n## ").next().unwrap_or_default();
    section.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once("` |")?.0)).collect()
}

#[test]
fn the_document_of_runs_tells_of_each_reason_to_wait() {
    assert_eq!(
        listed("Why a run waits"),
        WaitReason::ALL.iter().map(|reason| reason.as_str()).collect::<Vec<_>>()
    );
}
