//! The alarm clock: one tokio-cron-scheduler job that ticks, and the duties that come due with it.
//!
//! The job carries nothing but the tick. When a duty is due stands here, by the monotonic clock; what it does stands elsewhere. Duties
//! follow one another, so one that takes long delays the others. What must not be delayed by anything has a loop of its own: [`keep`].

mod firing;

pub use firing::{Chores, Firing};

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// Every second.
const TICK: &str = "* * * * * *";
const TICK_EVERY: Duration = Duration::from_secs(1);

/// Something that is done again and again.
pub struct Duty {
    every: Duration,
    due: Duration,
    act: Box<dyn FnMut() -> BoxFuture<'static, ()> + Send>,
}

impl Duty {
    /// A duty that is due at the first tick, and then after each `every`. It handles its own errors.
    pub fn new(every: Duration, act: impl FnMut() -> BoxFuture<'static, ()> + Send + 'static) -> Self {
        Self { every, due: Duration::ZERO, act: Box::new(act) }
    }
}

/// Ticks until `stop`, in the order of the duties. `alive` is told, before and after each tick, by when the next sign of life comes, on
/// the monotonic clock: it is late when a duty hangs.
pub async fn run(
    mut duties: Vec<Duty>,
    clock: Arc<dyn Clock>,
    alive: impl Fn(Duration) + Send,
    stop: CancellationToken,
) -> Result<(), JobSchedulerError> {
    let (tick, mut ticks) = mpsc::channel(1);
    let mut alarm = JobScheduler::new().await?;
    let job = Job::new(TICK, move |_, _| {
        if tick.try_send(()).is_err() {
            tracing::debug!("the tick before this one is still being served");
        }
    })?;
    alarm.add(job).await?;
    alarm.start().await?;
    alive(clock.monotonic() + TICK_EVERY);
    while let Some(Some(())) = stop.run_until_cancelled(ticks.recv()).await {
        alive(clock.monotonic());
        for duty in &mut duties {
            let now = clock.monotonic();
            if now >= duty.due {
                duty.due = now + duty.every;
                (duty.act)().await;
            }
        }
        alive(clock.monotonic() + TICK_EVERY);
    }
    alarm.shutdown().await
}

/// Does something at once and then after each `every`, until `stop`. Nothing else is done in between, so nothing else delays it; the
/// pause counts from the beginning of one act to the beginning of the next.
pub async fn keep(
    every: Duration,
    clock: Arc<dyn Clock>,
    mut act: impl FnMut() -> BoxFuture<'static, ()> + Send,
    stop: CancellationToken,
) {
    let mut due = clock.monotonic();
    while stop.run_until_cancelled(clock.sleep_until(due)).await.is_some() {
        due = clock.monotonic() + every;
        if stop.run_until_cancelled(act()).await.is_none() {
            return;
        }
    }
}
