//! Drains: nothing new is begun, and what runs comes to its end. When an operator asks for it, it lasts until someone takes it back or the
//! daemon ends; at a stop it lasts until nothing is at work, for no longer than the grace.
//!
//! Commands are accepted all the same: they are durable before they are answered, and wait in their queues for whoever serves next. When
//! another daemon serves, callers are sent there.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::dispatch::{Drain, Mode};
use crate::engine::Engine;
use crate::grpc::{Draining, Leaving};
use crate::process::{Process, Stop, Systemd};

/// How much more time to stop is asked for, again and again.
const MORE_TIME: Duration = Duration::from_secs(60);
/// How often it is told how many servers are still at work.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How often a daemon that drains looks whether another one serves.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The drain of this daemon.
pub(super) struct Drains {
    engine: Engine,
    drain: Drain,
    stop: Stop,
    systemd: Systemd,
    draining: RwLock<Option<Draining>>,
    leaving: watch::Sender<Leaving>,
}

impl Drains {
    pub(super) fn new(engine: Engine, drain: Drain, process: &Process) -> Self {
        let (stop, systemd) = (process.stop.clone(), process.systemd.clone());
        Self { engine, drain, stop, systemd, draining: RwLock::default(), leaving: watch::Sender::default() }
    }

    /// Whether callers do better elsewhere.
    pub(super) fn leaving(&self) -> watch::Receiver<Leaving> {
        self.leaving.subscribe()
    }

    /// Since when it drains, and for whom.
    pub(super) fn draining(&self) -> Option<Draining> {
        self.draining.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the daemon is, in a line.
    pub(super) fn status(&self) -> String {
        match (self.draining(), self.engine.hub().at_work()) {
            (None, _) => "serving".to_owned(),
            (Some(draining), 0) => {
                format!("drained for {}: nothing is at work, and nothing new is begun", draining.who)
            }
            (Some(draining), n) => format!("draining for {}: {} at work", draining.who, servers(n)),
        }
    }

    /// Someone has ordered this.
    pub(super) fn order(&self, mode: Mode, who: &str) {
        let until = None;
        self.set(mode, Draining { since: self.engine.clock().now(), who: who.to_owned(), until });
        tracing::info!(principal = who, ?mode, status = self.status(), "a drain was ordered");
        self.systemd.status(&self.status());
    }

    fn set(&self, mode: Mode, new: Draining) {
        let mut draining = self.draining.write().unwrap_or_else(PoisonError::into_inner);
        *draining = (mode != Mode::Serve).then(|| match draining.take() {
            Some(before) => Draining { since: before.since, ..new },
            None => new,
        });
        drop(draining);
        self.drain.set(mode);
    }

    /// Tells when an ordered drain has come to its end, until `stop`.
    pub(super) async fn tell(self: Arc<Self>, stop: CancellationToken) {
        let mut changes = self.drain.changes();
        let telling = async {
            while changes.wait_for(|mode| *mode != Mode::Serve).await.is_ok() {
                tokio::select! {
                    () = self.engine.hub().idle() => {
                        self.tell_end();
                        if changes.changed().await.is_err() { break }
                    }
                    Ok(()) = changes.changed() => {}
                }
            }
        };
        stop.run_until_cancelled(telling).await;
    }

    /// Sends callers to another daemon for as long as this one drains and another serves, until `stop`.
    pub(super) async fn send_callers_away(self: Arc<Self>, stop: CancellationToken) {
        let mut changes = self.drain.changes();
        let clock = self.engine.clock();
        let sending = async {
            loop {
                let leaving = self.leaving_now().await;
                self.leaving.send_if_modified(|before| std::mem::replace(before, leaving) != leaving);
                let look_again = clock.sleep_until(clock.monotonic() + LOOK_EVERY);
                tokio::select! {
                    said = changes.changed() => if said.is_err() { break },
                    () = look_again, if self.drain.is_on() => {}
                }
            }
        };
        stop.run_until_cancelled(sending).await;
    }

    async fn leaving_now(&self) -> Leaving {
        if !self.drain.is_on() {
            return Leaving::No;
        }
        let others_serve = self.engine.others_serve().await;
        if let Err(error) = &others_serve {
            tracing::debug!(%error, "it is not known whether another daemon serves");
        }
        let said = *self.leaving.borrow();
        leaving(said, others_serve.ok(), self.draining().is_some_and(|draining| draining.until.is_some()))
    }

    /// Nothing is at work any more. A stop tells that itself.
    fn tell_end(&self) {
        if self.draining().is_some_and(|draining| draining.until.is_none()) {
            tracing::info!(status = self.status(), "a drain is complete");
            self.systemd.status(&self.status());
        }
    }

    /// At a stop: waits until nothing is at work, for no longer than `grace`, and not after another signal.
    pub(super) async fn finish(&self, grace: Duration) {
        let clock = self.engine.clock();
        let (now, until) = (clock.now(), clock.monotonic() + grace);
        self.stop.waits();
        self.set(Mode::Finish, Draining { since: now, who: "a stop".to_owned(), until: Some(now + grace) });
        tracing::info!(
            grace_s = grace.as_secs(),
            status = self.status(),
            "a stop waits for what is at work; another signal leaves it running"
        );
        self.systemd.stopping(&self.status());
        while self.engine.hub().at_work() > 0 {
            if clock.monotonic() >= until {
                tracing::warn!(
                    servers = self.engine.hub().at_work(),
                    "run.drain_grace_s is over; what still runs goes on there"
                );
                return;
            }
            self.systemd.extend_timeout(MORE_TIME);
            self.systemd.status(&self.status());
            tokio::select! {
                () = self.engine.hub().idle() => {}
                () = self.stop.hurried() => {
                    tracing::warn!(servers = self.engine.hub().at_work(), "the drain was cut short; what still runs goes on there");
                    return;
                }
                () = clock.sleep_until(until.min(clock.monotonic() + TELL_EVERY)) => {}
            }
        }
        tracing::info!("nothing is at work any more");
    }
}

fn servers(n: usize) -> String {
    if n == 1 { "1 server is".to_owned() } else { format!("{n} servers are") }
}

/// What callers of a daemon that drains are told, after what they were told before: as long as it is not known whether others serve, nothing
/// else. `stops`: the drain ends in a stop.
fn leaving(said: Leaving, others_serve: Option<bool>, stops: bool) -> Leaving {
    match (others_serve, stops) {
        (None, _) => said,
        (Some(true), _) => Leaving::ToOthers,
        (Some(false), true) => Leaving::Alone,
        (Some(false), false) => Leaving::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_nobody_knows_whether_others_serve_callers_are_told_what_they_were_told() {
        for said in [Leaving::No, Leaving::Alone, Leaving::ToOthers] {
            assert_eq!(leaving(said, None, true), said);
            assert_eq!(leaving(said, None, false), said);
        }
        assert_eq!(leaving(Leaving::No, Some(true), false), Leaving::ToOthers);
        assert_eq!(leaving(Leaving::ToOthers, Some(false), true), Leaving::Alone);
        assert_eq!(leaving(Leaving::ToOthers, Some(false), false), Leaving::No);
    }
}
