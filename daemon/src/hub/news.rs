//! Waiting for news: a commit of this daemon wakes at once; commits of other daemons on the same database are found by looking.

use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::store::Committed;

/// How often one looks without having been woken.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// News of commits, for whoever waits for them again and again.
pub struct News(watch::Receiver<Committed>);

impl News {
    pub(super) fn new(committed: watch::Receiver<Committed>) -> Self {
        Self(committed)
    }

    /// Waits until this daemon has committed something since the last wait, or it is time to look anyway.
    pub async fn wait(&mut self, clock: &dyn Clock) {
        wait(&mut self.0, clock).await;
    }
}

/// Waits until this daemon has committed something since the last wait, or it is time to look anyway.
pub(super) async fn wait(committed: &mut watch::Receiver<Committed>, clock: &dyn Clock) {
    wait_until(committed, clock, clock.monotonic() + LOOK_EVERY).await;
}

/// Waits until a commit was heard of since the last wait, or until a time.
pub(super) async fn wait_until(
    committed: &mut watch::Receiver<Committed>,
    clock: &dyn Clock,
    until: Duration,
) {
    let mut time = clock.sleep_until(until);
    tokio::select! {
        changed = committed.changed() => {
            if changed.is_err() {
                // The writer is gone, so it never wakes anyone again; only time does.
                time.await;
            }
        }
        () = &mut time => {}
    }
}
