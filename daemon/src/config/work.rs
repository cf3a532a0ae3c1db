//! How work is done on servers: `[run]`, `[lane]`, and when what is open or at rest is looked at, `[stale]` and `[probe]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[run]`
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// How long a run may stay queued before it is `failed`, reason `never_started`. Seconds.
    pub queue_limit_s: u64,
    /// How many attempts may fail before the run has.
    pub attempts: u32,
    /// Pause after the first failed attempt, in seconds; each further one is twice as long, up to [`super::BACKOFF_MAX_S`].
    pub backoff_s: u64,
    /// Time between TERM and KILL for a step that is to end. Seconds.
    pub kill_grace_s: u64,
    /// What is added to a try's deadline before the run is settled without its server's answer. Seconds.
    pub settle_margin_s: u64,
    /// How much output of one step is kept, in bytes; the rest is read and dropped.
    pub output_bytes_max: u64,
    /// What becomes of the runs at work when the daemon is told to stop.
    pub drain: Drain,
    /// How long a stop waits for the runs at work when they are to be finished; the rest is left running. Seconds.
    pub drain_grace_s: u64,
}

/// `run.drain`
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Drain {
    /// The daemon ends at once; what runs on servers goes on there, and the next start takes it up.
    Detach,
    /// The daemon begins nothing new, and ends when the runs at work have ended, or after `run.drain_grace_s`.
    Finish,
}

/// `[lane]`
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Lane {
    /// How many servers are worked on at once; those that wait do not count.
    pub at_work_max: u32,
    /// How many connections are opened at once.
    pub connects_max: u32,
    /// How many runs may be queued for one server; one more is refused.
    pub queue_max: u32,
    /// How long a daemon owns its lanes after its last renewal. Seconds.
    pub lease_s: u64,
    /// How often the lease is renewed. Seconds.
    pub renew_s: u64,
    /// How often the store is asked even if nobody woke the daemon. Seconds.
    pub poll_s: u64,
    /// When a server on which another program holds a lock is looked at again. Seconds.
    pub busy_retry_s: u64,
    /// When a server that cannot be reached is tried again; the longer it is away, the more rarely, up to every 5 minutes. Seconds.
    pub unreachable_retry_s: u64,
    /// How long a step without a proven end may hold a lane before `status` and the server's record tell of it. Seconds.
    pub orphan_alarm_s: u64,
}

/// `[stale]`: from when on an open run to which nothing happens is shown as likely stale. It decides nothing: runs end by `settles_by`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Stale {
    /// While it is queued, and half of the time that it may stay so at most. Seconds.
    pub queued_s: u64,
    /// Once it has started, unless its operation says how long it usually takes. Seconds.
    pub running_s: u64,
}

/// `[probe]`
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// How often each resource at rest is looked at, to see whether its server still agrees; 0 is never. Seconds.
    pub every_s: u64,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            queue_limit_s: 86_400,
            attempts: 3,
            backoff_s: 30,
            kill_grace_s: 30,
            settle_margin_s: 120,
            output_bytes_max: 4 << 20,
            drain: Drain::Detach,
            drain_grace_s: 900,
        }
    }
}

impl Run {
    /// See [`Run::queue_limit_s`].
    pub fn queue_limit(&self) -> Duration {
        Duration::from_secs(self.queue_limit_s)
    }

    /// See [`Run::backoff_s`].
    pub fn backoff_first(&self) -> Duration {
        Duration::from_secs(self.backoff_s)
    }

    /// See [`Run::kill_grace_s`].
    pub fn kill_grace(&self) -> Duration {
        Duration::from_secs(self.kill_grace_s)
    }

    /// See [`Run::settle_margin_s`].
    pub fn settle_margin(&self) -> Duration {
        Duration::from_secs(self.settle_margin_s)
    }

    /// See [`Run::drain_grace_s`].
    pub fn drain_grace(&self) -> Duration {
        Duration::from_secs(self.drain_grace_s)
    }
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            at_work_max: 64,
            connects_max: 32,
            queue_max: 1000,
            lease_s: 30,
            renew_s: 10,
            poll_s: 1,
            busy_retry_s: 10,
            unreachable_retry_s: 15,
            orphan_alarm_s: 900,
        }
    }
}

impl Lane {
    /// See [`Lane::lease_s`].
    pub fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_s)
    }

    /// See [`Lane::renew_s`].
    pub fn renew(&self) -> Duration {
        Duration::from_secs(self.renew_s)
    }

    /// See [`Lane::poll_s`].
    pub fn poll(&self) -> Duration {
        Duration::from_secs(self.poll_s)
    }

    /// See [`Lane::busy_retry_s`].
    pub fn busy_retry(&self) -> Duration {
        Duration::from_secs(self.busy_retry_s)
    }

    /// See [`Lane::unreachable_retry_s`].
    pub fn unreachable_retry(&self) -> Duration {
        Duration::from_secs(self.unreachable_retry_s)
    }

    /// See [`Lane::orphan_alarm_s`].
    pub fn orphan_alarm(&self) -> Duration {
        Duration::from_secs(self.orphan_alarm_s)
    }
}

impl Default for Stale {
    fn default() -> Self {
        Self { queued_s: 3_600, running_s: 300 }
    }
}

impl Stale {
    /// See [`Stale::queued_s`].
    pub fn queued(&self) -> Duration {
        Duration::from_secs(self.queued_s)
    }

    /// See [`Stale::running_s`].
    pub fn running(&self) -> Duration {
        Duration::from_secs(self.running_s)
    }
}

impl Probe {
    /// See [`Probe::every_s`]; `None` is never.
    pub fn every(&self) -> Option<Duration> {
        (self.every_s > 0).then(|| Duration::from_secs(self.every_s))
    }
}
