//! What a refusal says to programs.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Its reason, which docs/errors.md lists.
pub(super) fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().filter(|info| info.domain == "settled").map(|info| info.reason)
}

/// After which time to ask again; `None` where asking again changes nothing.
pub(super) fn wait(status: &Status) -> Option<Duration> {
    let told = status.get_details_retry_info().and_then(|info| info.retry_delay);
    told.or_else(|| (status.code() == Code::Unavailable).then_some(Duration::from_secs(1)))
}

/// Waits until asking again makes sense; where it does not, answers the refusal.
#[expect(clippy::disallowed_methods, reason = "a client has no clock of the daemon's")]
pub(super) async fn pause(status: Status) -> Result<(), Status> {
    let Some(wait) = wait(&status) else { return Err(status) };
    tokio::time::sleep(wait).await;
    Ok(())
}
