//! Feeds systemd's watchdog, but only while the tick does its work: a daemon that hangs is to be started anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Systemd;
use crate::clock::Clock;

/// Proof of life of the tick. Cloning gives another handle to the same heart.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// Called at the end of each tick, after its work is done.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// So many looks without a beat, half an interval, are worth a line in the log.
const STILL_LOOKS: u32 = 2;

/// Looks four times per interval and feeds the watchdog whenever the heart has beaten since it was last fed. Never ends.
pub async fn feed_watchdog(
    clock: Arc<dyn Clock>,
    systemd: Systemd,
    heartbeat: Heartbeat,
    interval: Duration,
) {
    let mut fed_at = 0;
    let mut looks_in_vain = 0;
    loop {
        clock.sleep_until(clock.monotonic() + interval / 4).await;
        let beats = heartbeat.count();
        if beats == fed_at {
            looks_in_vain += 1;
            if looks_in_vain == STILL_LOOKS {
                tracing::warn!(
                    interval_s = interval.as_secs(),
                    "the tick stands still, the watchdog is not fed"
                );
            }
        } else {
            systemd.watchdog();
            (fed_at, looks_in_vain) = (beats, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use async_trait::async_trait;
    use tokio::sync::{Mutex, mpsc};
    use ulid::Ulid;

    use super::*;
    use crate::domain::time::Timestamp;

    /// A clock that stands until the test lets one sleep end, and tells the test what was slept for.
    struct HandClock {
        asked: mpsc::UnboundedSender<Duration>,
        wakes: Mutex<mpsc::UnboundedReceiver<()>>,
    }

    #[async_trait]
    impl Clock for HandClock {
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }
        fn monotonic(&self) -> Duration {
            Duration::from_secs(100)
        }
        async fn sleep_until(&self, t: Duration) {
            self.asked.send(t).unwrap();
            self.wakes.lock().await.recv().await.unwrap();
        }
        fn ulid(&self) -> Ulid {
            Ulid::nil()
        }
        fn random(&self) -> u64 {
            0
        }
    }

    #[tokio::test]
    async fn p6_the_watchdog_falls_silent_when_the_tick_stalls_and_speaks_again_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        let (sleeping, mut sleeps) = mpsc::unbounded_channel();
        let (alarm, wakes) = mpsc::unbounded_channel();
        let clock = Arc::new(HandClock { asked: sleeping, wakes: Mutex::new(wakes) });
        let heartbeat = Heartbeat::default();
        let systemd = Systemd::at(dir.path().join("notify"));
        let feeding = tokio::spawn(feed_watchdog(clock, systemd, heartbeat.clone(), Duration::from_secs(20)));
        assert_eq!(sleeps.recv().await, Some(Duration::from_secs(105)), "looks four times per interval");

        let mut buffer = [0; 64];
        for (beats, fed) in [(1, true), (3, true), (0, false), (0, false), (0, false), (1, true), (0, false)]
        {
            for _ in 0..beats {
                heartbeat.beat();
            }
            alarm.send(()).unwrap();
            sleeps.recv().await.unwrap();
            let fed_now = socket.recv(&mut buffer).is_ok();
            assert_eq!(fed_now, fed, "after {beats} beats");
            assert!(socket.recv(&mut buffer).is_err(), "one sign of life per look");
        }
        feeding.abort();
    }
}
