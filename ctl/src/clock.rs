//! The only "now", the only waiting and the only fresh ids of `settlectl`, so that everything else stays a
//! function of its input. It knows nothing of the daemon: its own time stands in the messages.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use ulid::Ulid;

/// The wall clock, to tell people how long ago something was.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// The monotonic clock, to measure patience.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// A fresh request id: one per command, kept while the command is repeated.
#[expect(clippy::disallowed_methods, reason = "this is where ids come from")]
pub(crate) fn request_id() -> String {
    Ulid::generate().to_string()
}
