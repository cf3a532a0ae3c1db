//! Waits for what has no signal of its own: looks again and again, and gives up after a time that no healthy run needs.

use std::time::Duration;

use tokio::time::timeout;

/// A guard against hanging for ever.
pub const WITHIN: Duration = Duration::from_secs(60);

/// Looks until there is something to see. Panics, naming `what`, when nothing comes.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(WITHIN, what, look).await
}

/// Like [`until`], for what takes its time by its nature.
#[expect(
    clippy::disallowed_methods,
    reason = "the pause between two looks at what cannot be awaited; nothing depends on its length"
)]
pub async fn until_within<T>(within: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(within, looking).await.unwrap_or_else(|_| panic!("in vain for {} s: {what}", within.as_secs()))
}
