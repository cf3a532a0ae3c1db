//! Drives whoever sends what waits in the store: looks when something was committed, and now and then; and ends politely.
//!
//! It never knows what is sent, or to whom.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// How often it looks without having been woken.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The shortest time between two looks that a commit has asked for: a busy daemon commits hundreds of times a second.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a stop waits for answers: less than parts get to leave, since what was not answered is given back then.
const ANSWERS_WITHIN: Duration = Duration::from_millis(400);

/// Something that sends what waits.
pub trait Sends {
    /// Takes what waits, as far as there is room beside what is under way, and begins to send it.
    fn look(&self, under_way: &mut JoinSet<()>) -> impl Future<Output = ()> + Send;

    /// What is under way is to be given back now.
    fn give_back(&self);
}

/// Runs until `stop`, and then for a moment more: what is not answered by then is given back, and sent again by whoever serves next.
/// `alive` is told, before and after each look, by when the next sign of life comes, on the monotonic clock; `committed` changes when
/// something may wait.
pub async fn drive<T>(
    sender: impl Sends,
    clock: &dyn Clock,
    mut committed: watch::Receiver<T>,
    alive: impl Fn(Duration) + Send + Sync + 'static,
    stop: CancellationToken,
) {
    let mut under_way = JoinSet::new();
    while !stop.is_cancelled() {
        committed.mark_unchanged();
        let began = clock.monotonic();
        alive(began);
        while under_way.try_join_next().is_some() {}
        sender.look(&mut under_way).await;
        let next = clock.monotonic() + LOOK_EVERY;
        alive(next);
        let rested = clock.sleep_until(next);
        tokio::select! {
            () = stop.cancelled() => {}
            () = rested => {}
            Ok(()) = committed.changed() => clock.sleep_until(began + PAUSE).await,
            Some(_) = under_way.join_next() => {}
        }
    }
    leave(&sender, clock, under_way).await;
}

async fn leave(sender: &impl Sends, clock: &dyn Clock, mut under_way: JoinSet<()>) {
    let late = clock.sleep_until(clock.monotonic() + ANSWERS_WITHIN);
    tokio::select! {
        () = async { while under_way.join_next().await.is_some() {} } => return,
        () = late => {}
    }
    sender.give_back();
    while under_way.join_next().await.is_some() {}
}
