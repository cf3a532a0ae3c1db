//! The words of errors: a status says the same thing in its code, its reason and its details, and docs/errors.md tells of each.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use settled::grpc::{DOMAIN, Detail, Reason};
use settled_proto::v1::{GetRunRequest, Position, WatchRequest, watch_request};
use settled_tests::engine::{Served, install};
use tonic::Status;
use tonic_types::StatusExt as _;

/// The page that tells people.
fn page() -> String {
    let mut page = "# Errors: what a status tells, and what to do next\n\n\
                    Every status but OK carries `google.rpc.ErrorInfo` (in `grpc-status-details-bin`) with the domain `settled`. Its `reason` is one of the words below: it has one code,\n\
                    carries the same details each time, and keeps its meaning; more words may come. The sentence (`grpc-message`) is for people, and may change. This page is made from the\n\
                    code; a test holds it to that.\n\n\
                    Without a reason are the answers that Health and reflection give of themselves, and what a client's own library says, UNAVAILABLE most of all: the connection broke, and\n\
                    nobody knows whether the request arrived. Ask again with the same `request_id`: what was accepted is done once.\n\n\
                    | code | reason | carries | what happened | what to do next |\n|---|---|---|---|---|\n"
        .to_owned();
    let detail = |detail: &Detail| match detail {
        Detail::Metadata(key) => format!("`{key}`"),
        part => format!("{part:?}"),
    };
    for reason in Reason::ALL {
        let entry = reason.entry();
        let code = wire_name(entry.code);
        let carries: Vec<_> = entry.carries.iter().map(detail).collect();
        let (word, carries) = (entry.word, carries.join(", "));
        writeln!(page, "| {code} | `{word}` | {carries} | {} | {} |", entry.happened, entry.next).unwrap();
    }
    page
}

/// A code as the contract writes it.
fn wire_name(code: tonic::Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_uppercase());
    }
    name
}

#[test]
fn the_page_of_errors_says_what_the_code_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    let made = page();
    if std::env::var_os("SETTLED_WRITE_PAGES").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/errors.md is not what the code says: write it anew with SETTLED_WRITE_PAGES=1 and this test"
    );
}

#[test]
fn each_reason_is_one_word_that_no_other_has() {
    let words: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.entry().word).collect();
    assert_eq!(words.len(), Reason::ALL.len());
    let is_word = |word: &&str| word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    assert!(words.iter().all(is_word), "{words:?}");
}

/// The reason of a refusal, which has the code that the reason says.
fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no reason in {status:?}"));
    assert_eq!(info.domain, DOMAIN, "{status:?}");
    let entry = Reason::ALL.iter().map(|reason| reason.entry()).find(|entry| entry.word == info.reason);
    assert_eq!(entry.expect("a reason of the page").code, status.code(), "{status:?}");
    info.reason.clone()
}

#[tokio::test]
async fn refusals_come_with_their_reason_over_the_wire() {
    let api = Served::start().await;
    api.server("web").await;
    api.resources().install(install("one", "web", "a")).await.unwrap();
    let of_install = async |request| reason(&api.resources().install(request).await.unwrap_err());
    assert_eq!(of_install(install("two", "nowhere", "a")).await, "NOT_FOUND");
    assert_eq!(of_install(install("three", "web", "a")).await, "ALREADY_EXISTS");
    assert_eq!(of_install(install("four", "web", "no name at all")).await, "WRONG_FIELDS");

    let run = GetRunRequest { run_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned() };
    assert_eq!(reason(&api.runs().get(run).await.unwrap_err()), "NOT_FOUND");
    let start = watch_request::Start::Since(Position { generation: "of another".to_owned(), seq: 1 });
    let request = WatchRequest { start: Some(start), ..WatchRequest::default() };
    let refused = match api.transitions().watch(request).await {
        Err(status) => status,
        Ok(stream) => stream.into_inner().message().await.unwrap_err(),
    };
    assert_eq!(reason(&refused), "POSITION_OUT_OF_RANGE");
}
