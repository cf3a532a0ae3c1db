//! The API over a served socket and a real SQLite store. Nobody works here, so runs stay where a test puts them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod backup;
mod bad_input;
mod breaking;
mod commands;
mod contract;
mod door;
mod errors;
mod following;
mod full_disk;
mod leaving;
mod lifecycles;
mod limits;
mod log_messages;
mod notifiers;
mod permissions;
mod reading;
mod reasons;
mod schedules;
mod scopes;
mod secrets;
mod servers;
mod socket;
mod tokens;
mod watching;
mod watching_filters;
mod watching_scope;
mod workers;

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A guard against hangs; nothing is expected to take this long.
const HANG: Duration = Duration::from_secs(20);

/// Awaits something that must come.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.unwrap_or_else(|_| panic!("{what} did not come within {HANG:?}"))
}

/// The fields that an `INVALID_ARGUMENT` names.
fn fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    let bad = details.bad_request().unwrap_or_else(|| panic!("no violations in {status:?}"));
    bad.field_violations.iter().map(|v| v.field.clone()).collect()
}
