//! Watches the parts that must not stand still, names the one that does, and feeds systemd's watchdog only while all of them live: a
//! daemon that hangs is to be started anew.

use std::sync::Arc;

use super::hearts::{Part, Still};
use super::{PATIENCE, Process};
use crate::clock::Clock;

/// Looks four times per interval. Never ends.
pub async fn watch(clock: Arc<dyn Clock>, process: Process) {
    let Process { hearts, systemd, watchdog, .. } = &process;
    let every = watchdog.unwrap_or(PATIENCE * 2) / 4;
    let mut before = Vec::new();
    loop {
        clock.sleep_until(clock.monotonic() + every).await;
        let still = hearts.still(clock.monotonic(), process.patience());
        tell(&process, &before, &still);
        if watchdog.is_some() && still.is_empty() && hearts.all_began() {
            systemd.watchdog();
        }
        before = still.iter().map(|still| still.part).collect();
    }
}

/// Tells what is new: who stands still now, and who goes on again.
fn tell(process: &Process, before: &[Part], still: &[Still]) {
    for new in still.iter().filter(|still| !before.contains(&still.part)) {
        tracing::error!(part = %new.part, late_s = new.late.as_secs(), why = %new, "a part of the daemon stands still");
        process.systemd.trouble(&format!("not well: {new}"));
    }
    for over in before.iter().filter(|part| still.iter().all(|still| still.part != **part)) {
        tracing::info!(part = %over, "a part of the daemon goes on again");
    }
    if still.is_empty() && !before.is_empty() {
        process.systemd.trouble("");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;
    use tokio::sync::{Mutex, mpsc};
    use ulid::Ulid;

    use super::*;
    use crate::domain::time::Timestamp;
    use crate::process::Systemd;

    /// A clock that goes on only when the test lets a sleep end.
    struct HandClock {
        now_s: AtomicU64,
        asked: mpsc::UnboundedSender<Duration>,
        wakes: Mutex<mpsc::UnboundedReceiver<()>>,
    }

    #[async_trait]
    impl Clock for HandClock {
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }
        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.now_s.load(Ordering::SeqCst))
        }
        async fn sleep_until(&self, t: Duration) {
            self.asked.send(t).unwrap();
            self.wakes.lock().await.recv().await.unwrap();
            self.now_s.store(t.as_secs(), Ordering::SeqCst);
        }
        fn ulid(&self) -> Ulid {
            Ulid::nil()
        }
        fn random(&self) -> u64 {
            0
        }
    }

    /// A daemon whose watchdog wants a sign of life every 20 s, so that a part may be 10 s late.
    struct Watched {
        _dir: tempfile::TempDir,
        socket: UnixDatagram,
        process: Process,
        sleeps: mpsc::UnboundedReceiver<Duration>,
        alarm: mpsc::UnboundedSender<()>,
        now: Duration,
    }

    impl Watched {
        async fn begin() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
            socket.set_nonblocking(true).unwrap();
            let (asked, mut sleeps) = mpsc::unbounded_channel();
            let (alarm, wakes) = mpsc::unbounded_channel();
            let clock = HandClock { now_s: AtomicU64::new(100), asked, wakes: Mutex::new(wakes) };
            let process = Process {
                systemd: Systemd::at(dir.path().join("notify")),
                watchdog: Some(Duration::from_secs(20)),
                ..Process::default()
            };
            tokio::spawn(process.clone().watch(Arc::new(clock)));
            let now = sleeps.recv().await.unwrap();
            assert_eq!(now, Duration::from_secs(105), "it looks four times per interval");
            Self { _dir: dir, socket, process, sleeps, alarm, now }
        }

        fn live(&self, parts: &[Part]) {
            for part in parts {
                self.process.hearts.alive(*part, self.now);
            }
        }

        /// The next look; answers what systemd hears of it.
        async fn look(&mut self) -> String {
            self.alarm.send(()).unwrap();
            self.now = self.sleeps.recv().await.unwrap();
            let (mut heard, mut buffer) = (String::new(), [0; 4096]);
            while let Ok(length) = self.socket.recv(&mut buffer) {
                heard += std::str::from_utf8(&buffer[..length]).unwrap();
            }
            heard
        }
    }

    #[tokio::test]
    async fn p6_a_part_that_stands_still_is_named_and_the_watchdog_starves_until_it_goes_on() {
        for part in Part::ALL {
            let others: Vec<_> = Part::ALL.into_iter().filter(|other| *other != part).collect();
            let mut watched = Watched::begin().await;
            watched.process.systemd.status("serving");
            watched.live(&others);
            assert_eq!(watched.look().await, "STATUS=serving\n", "one part has not begun");
            watched.live(&[part]);
            // Heard of at the look before the last, it is late by 5 s, then by 10 s, which it may be.
            for _ in 0..3 {
                watched.live(&others);
                assert_eq!(watched.look().await, "WATCHDOG=1\n");
            }
            watched.live(&others);
            let named = watched.look().await;
            assert!(named.starts_with(&format!("STATUS=not well: {part} stands still")), "{named}");
            watched.live(&others);
            assert_eq!(watched.look().await, "", "it is told once");
            watched.live(&Part::ALL);
            assert_eq!(watched.look().await, "STATUS=serving\nWATCHDOG=1\n");
        }
    }

    #[tokio::test]
    async fn p6_a_part_that_has_said_so_may_be_silent_for_long() {
        let mut watched = Watched::begin().await;
        watched.live(&Part::ALL);
        watched.process.hearts.alive(Part::Dispatcher, watched.now + Duration::from_secs(60));
        for _ in 0..12 {
            watched.live(&[Part::Reconciler, Part::Lease, Part::Lifecycles, Part::Webhooks]);
            assert_eq!(watched.look().await, "WATCHDOG=1\n");
        }
    }
}
