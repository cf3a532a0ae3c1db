//! Drives the keeper in production: looks when it is due, when something was committed, and never more often than is needed.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Keeper;

/// The shortest time between two looks that a commit has asked for: a busy daemon commits hundreds of times a second.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs until `stop`. `alive` is told, before, during and after each look, by when the next sign of life comes, on the monotonic clock.
pub async fn run(
    mut keeper: Keeper,
    alive: impl Fn(Duration) + Send + Sync + 'static,
    stop: CancellationToken,
) {
    keeper.alive = Box::new(alive);
    let engine = keeper.engine.clone();
    let clock = engine.clock();
    let mut committed = engine.hub().committed();
    while !stop.is_cancelled() {
        committed.mark_unchanged();
        let began = clock.monotonic();
        (keeper.alive)(began);
        let Some(until) = stop.run_until_cancelled(keeper.step()).await else { return };
        if until <= clock.monotonic() {
            continue;
        }
        (keeper.alive)(until);
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep_until(until) => {}
            changed = committed.changed() => {
                let pause = if changed.is_ok() { began + PAUSE } else { until };
                clock.sleep_until(pause.min(until)).await;
            }
        }
    }
}
