//! Signals become orders: the first TERM or INT asks to stop, the next one ends the wait for what runs, if there is one, and then insists;
//! HUP asks to reload.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The order to stop, in degrees. Cloning gives another handle to the same order.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    soft: CancellationToken,
    waits: Arc<AtomicBool>,
    hurry: CancellationToken,
    hard: CancellationToken,
}

impl Stop {
    /// Asks to stop: nothing new begins, what is in flight comes to its next safe place.
    pub fn request(&self) {
        self.soft.cancel();
    }

    /// Insists: everything is dropped where it stands. The store is crash-safe, remote steps go on by themselves.
    pub fn insist(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// The first request asks. While the stop waits for what runs, the next one ends that wait. Each further one insists.
    pub fn escalate(&self) {
        if !self.soft.is_cancelled() {
            self.request();
        } else if self.waits.load(Ordering::Acquire) && !self.hurry.is_cancelled() {
            self.hurry.cancel();
        } else {
            self.insist();
        }
    }

    /// From here on the stop waits for what runs.
    pub fn waits(&self) {
        self.waits.store(true, Ordering::Release);
    }

    /// Waits until someone asked not to wait any longer.
    pub async fn hurried(&self) {
        self.hurry.cancelled().await;
    }

    /// Waits until someone asked to stop.
    pub async fn soft(&self) {
        self.soft.cancelled().await;
    }

    /// Waits until someone insisted.
    pub async fn hard(&self) {
        self.hard.cancelled().await;
    }

    /// Whether someone asked to stop.
    pub fn is_requested(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// The token behind [`Stop::soft`], for what takes tokens.
    pub fn soft_token(&self) -> &CancellationToken {
        &self.soft
    }

    /// The token behind [`Stop::hard`], for what takes tokens.
    pub fn hard_token(&self) -> &CancellationToken {
        &self.hard
    }
}

/// The wish to reload. Several wishes before the next look are one. There is one listener.
#[derive(Clone, Debug, Default)]
pub struct Reload(Arc<Notify>);

impl Reload {
    /// Asks to reload.
    pub fn request(&self) {
        self.0.notify_one();
    }

    /// Waits until someone asked to reload; a request before the call counts.
    pub async fn requested(&self) {
        self.0.notified().await;
    }
}

/// The signals that the daemon listens to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes the signals over; from here on they no longer end the process by themselves.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Turns signals into orders, for ever. Dropping the future leaves the process deaf, so keep it until the end.
    pub async fn forward(mut self, stop: Stop, reload: Reload) {
        loop {
            tokio::select! {
                Some(()) = self.terminate.recv() => stop_by("TERM", &stop),
                Some(()) = self.interrupt.recv() => stop_by("INT", &stop),
                Some(()) = self.hangup.recv() => {
                    tracing::info!(signal = "HUP", "told to reload");
                    reload.request();
                }
                else => return,
            }
        }
    }
}

fn stop_by(name: &str, stop: &Stop) {
    if stop.is_requested() {
        tracing::warn!(signal = name, "told to stop again: stopping at once");
    } else {
        tracing::info!(signal = name, "told to stop; once more stops at once");
    }
    stop.escalate();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal as Sent, getpid, kill_process};

    use super::*;

    async fn soon(what: impl Future<Output = ()>) {
        tokio::time::timeout(Duration::from_secs(10), what).await.unwrap();
    }

    #[tokio::test]
    async fn a_hangup_reloads_one_signal_asks_and_a_second_one_insists() {
        let (stop, reload) = (Stop::default(), Reload::default());
        let forward = tokio::spawn(Signals::install().unwrap().forward(stop.clone(), reload.clone()));

        kill_process(getpid(), Sent::HUP).unwrap();
        soon(reload.requested()).await;
        assert!(!stop.is_requested());

        kill_process(getpid(), Sent::TERM).unwrap();
        soon(stop.soft()).await;
        assert!(!stop.hard_token().is_cancelled());

        kill_process(getpid(), Sent::INT).unwrap();
        soon(stop.hard()).await;
        forward.abort();
    }

    #[test]
    fn while_a_stop_waits_the_next_signal_ends_the_wait_and_only_the_one_after_drops_everything() {
        let stop = Stop::default();
        stop.escalate();
        stop.waits();
        stop.escalate();
        assert!(stop.hurry.is_cancelled() && !stop.hard.is_cancelled());
        stop.escalate();
        assert!(stop.hard.is_cancelled());
    }

    #[tokio::test]
    async fn reload_requests_before_the_look_are_one_and_are_not_lost() {
        let reload = Reload::default();
        reload.request();
        reload.request();
        soon(reload.requested()).await;
        let again = tokio::time::timeout(Duration::from_millis(1), reload.requested()).await;
        assert!(again.is_err(), "two requests before the look are one");
    }
}
