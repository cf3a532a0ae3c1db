//! The only code that touches a server.
//!
//! [`Remote`] is what the rest of the house sees: start a step, ask how it is, cancel it. `step` speaks the step protocol
//! (one POSIX-sh text over stdin of `/bin/sh -s`), `ssh` carries bytes. Nothing here knows of runs, records or the store.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

pub use self::holder::Holder;
pub use self::lines::Lines;
use crate::domain::id::{InstallationId, ServerId};
pub use crate::domain::server::JUMPS_MAX;
use crate::domain::step::{Ended, StepId};
use crate::domain::time::Timestamp;

pub mod exec;
mod holder;
mod lines;
pub mod ssh;
pub mod step;

/// Where a server is and how to get in.
#[derive(Clone)]
pub struct Target {
    /// The server; connections are shared by it.
    pub server: ServerId,
    /// Its name, for what people are told to type.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Login user. When it is not root, everything runs by `sudo -n`.
    pub user: String,
    /// Pinned host key, `SHA256:...`; empty refuses every key, and tells which one was shown.
    pub host_key: String,
    /// How to log in.
    pub login: Login,
    /// The jump host that reaches it, with host key and login of its own; `None`: it is reached directly. At most
    /// [`JUMPS_MAX`] of them in a row.
    pub via: Option<Box<Target>>,
}

/// How to log in.
#[derive(Clone)]
pub enum Login {
    /// With this private key (OpenSSH or PEM text, no passphrase).
    Key(Zeroizing<Vec<u8>>),
    /// With the daemon's ssh-agent.
    Agent,
}

/// One try of a step, ready to be sent.
#[derive(Clone)]
pub struct StepSpec {
    /// Its name; stored before it is sent.
    pub id: StepId,
    /// The lane's epoch; a server refuses a lower one than it has seen.
    pub epoch: u64,
    /// Fixed text for `/bin/sh`, from the package definition.
    pub script: String,
    /// Parameters, as environment (`P_*`, `OLD_*`). Data, never text of the script (P11).
    pub env: Vec<(String, String)>,
    /// Secrets by file name, put into the tmpfs folder that the script finds by `SETTLED_SECRETS` (P12).
    pub secrets: Vec<(String, Zeroizing<Vec<u8>>)>,
    /// What the step has to do with dpkg.
    pub dpkg: Dpkg,
    /// Limits that the server enforces.
    pub limits: Limits,
}

/// What a step has to do with dpkg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dpkg {
    /// Nothing.
    Unused,
    /// It needs it: a foreign lock is looked for first and answered as [`StepStatus::Busy`], an interruption as
    /// [`StepStatus::Interrupted`].
    Needed,
    /// It mends an interruption: only a foreign lock is looked for.
    Repaired,
}

/// Limits that a server enforces, also while the daemon is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the start of the payload to TERM.
    pub timeout: Duration,
    /// From TERM to KILL.
    pub grace: Duration,
    /// Output kept, in whole KiB and at least one; the rest is drained and forgotten.
    pub output_bytes_max: u64,
}

/// How a try stands on its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepStatus {
    /// The server has no record of it, and no process that carries its mark: it has never come, or has ended and its record was lost.
    Absent,
    /// It is stored there, and its payload has not started. Starting it again is safe.
    Accepted,
    /// Its payload runs, or is about to.
    Running,
    /// It has ended.
    Ended(Ended),
    /// Its supervisor is dead, or its record was lost, and processes of it live: [`Report::processes`].
    Orphaned,
    /// It has ended and was cleared away.
    Reaped,
    /// Only from `start`: another program holds a lock that the step needs; nothing was stored.
    Busy {
        /// Who holds it.
        holder: Holder,
    },
    /// Only from `start`: the step needs dpkg, whose last work on the server was interrupted; nothing was stored.
    Interrupted {
        /// The packages that it left half done, with their states.
        packages: String,
    },
}

/// How a try stands, and how much it has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How it stands.
    pub status: StepStatus,
    /// Bytes of output on the server.
    pub output_bytes: u64,
    /// Output was longer than the limit.
    pub truncated: bool,
    /// Processes of it that should not be there any more, as `pid name`, at most 20: it is orphaned; or it runs although it was killed;
    /// or it has ended, and they had left its process group. `list` does not look for the last kind.
    pub processes: Vec<String>,
    /// What else is there of a try that left no exit record; `None` for any other.
    pub scene: Option<Scene>,
    /// What the payload has written to `SETTLED_OUTPUT`, once it has ended with an exit record, at most [`RESULT_BYTES_MAX`] and one
    /// more; empty when it has written nothing. `list` does not look for it.
    pub result: Vec<u8>,
}

/// Most that a payload may write to `SETTLED_OUTPUT`, in bytes. One more is read, so that too much can be told.
pub const RESULT_BYTES_MAX: usize = 16 * 1024;

/// What is there of a try that left no exit record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scene {
    /// Boot in which it began; empty when it did not.
    pub boot_before: String,
    /// Boot of the server now.
    pub boot_now: String,
    /// Nobody holds the lock of the lane.
    pub lane_free: bool,
}

/// News of a try: how it stands, and output from the offset that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// How it stands. `Ended` is reported only together with, or after, the last byte of output.
    pub report: Report,
    /// Output from the asked offset on; may be empty.
    pub output: Vec<u8>,
}

/// What a server says of itself at first contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// Changes with every boot.
    pub boot_id: String,
    /// Highest epoch that it ever accepted.
    pub epoch: u64,
    /// The installation that it belongs to, if any.
    pub installation: Option<String>,
    /// Everything else, for people: `os`, `os_version`, `arch`, `kernel`, `init`, `sudo`, `shell`, `memory_bytes`, `disk_bytes`, `free_bytes`,
    /// `clock_skew_ms`, `time_zone`, `dpkg` (`ok`, `interrupted`, `locked`, `absent`), `dpkg_lock` (its holder), `dpkg_interrupted`
    /// (the packages), `lane` (the step that has it, its processes), ...
    pub facts: BTreeMap<String, String>,
}

/// What a server has of ours, told when its lane is claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// As by [`Remote::list`].
    pub steps: Vec<(StepId, Report)>,
    /// The oldest tombstones, at most 1 000.
    pub tombstones: Vec<StepId>,
}

/// A read-only script, run in the foreground.
#[derive(Clone)]
pub struct ProbeSpec {
    /// Fixed text for `/bin/sh`.
    pub script: String,
    /// Parameters, as environment.
    pub env: Vec<(String, String)>,
    /// Ends it on the server.
    pub timeout: Duration,
}

/// What a probe printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// Its exit code; 124 when its timeout ended it.
    pub exit_code: i32,
    /// What it wrote to stdout and stderr, at most 64 KiB.
    pub output: Vec<u8>,
    /// What it wrote to the file that `SETTLED_OUTPUT` names, at most [`RESULT_BYTES_MAX`] and one byte.
    pub told: Vec<u8>,
}

/// Why a server did not answer as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// It cannot be reached, or the connection broke: wait and ask again. Whether the verb took effect is unknown.
    #[error("{0}")]
    Unreachable(String),
    /// It refuses, until someone changes something: host key, login, sudo, shell, foreign installation.
    #[error("{0}")]
    Refused(String),
    /// It has accepted a higher epoch: the lane has another owner.
    #[error("the server has accepted epoch {highest}: another daemon owns its lane")]
    Fenced {
        /// The highest epoch that it has accepted.
        highest: u64,
    },
    /// The same step id is there with other content.
    #[error("the server has step {0} with other content")]
    Conflict(StepId),
    /// What was asked can never be sent; nothing ran, and asking again does not help.
    #[error("it cannot be sent: {0}")]
    Unsendable(String),
    /// It answered something that the protocol does not know.
    #[error("unexpected answer: {0}")]
    Protocol(String),
}

/// What settled asks of a server. Every verb is idempotent; sending one again is always safe.
#[async_trait]
pub trait Remote: Send + Sync {
    /// First contact: who are you, and can you be worked on?
    async fn hello(&self, target: &Target) -> Result<Hello, RemoteError>;

    /// Raises the epoch on the server; from then on no lower one can start, cancel or reap. Clears away there what kills have left half
    /// built, and answers what the server has. A higher epoch there is `Fenced`, and so is an equal one in which another process has acted, for instance the daemon of a copied
    /// store; another installation is `Refused`.
    async fn claim(
        &self,
        target: &Target,
        installation: InstallationId,
        epoch: u64,
    ) -> Result<Claimed, RemoteError>;

    /// An operator's decision: like `claim`, also when the server belongs to another installation. The epoch has to be higher than any
    /// that the other has used there, or the answer is `Fenced`; from then on the other can do nothing, and what it has started is
    /// listed like our own.
    async fn take_over(
        &self,
        target: &Target,
        installation: InstallationId,
        epoch: u64,
    ) -> Result<Claimed, RemoteError>;

    /// The tries that the server knows: all that live, and at most 1 000 that have ended.
    async fn list(&self, target: &Target) -> Result<Vec<(StepId, Report)>, RemoteError>;

    /// Starts a try, or tells how it stands when the server has it already.
    async fn start(&self, target: &Target, spec: &StepSpec) -> Result<Report, RemoteError>;

    /// Waits up to `wait` for output beyond `offset` or for the end, and answers both.
    /// Dropping the future is safe and changes nothing on the server.
    async fn attach(
        &self,
        target: &Target,
        id: StepId,
        offset: u64,
        wait: Duration,
    ) -> Result<News, RemoteError>;

    /// Ends the process group: TERM, grace, KILL; for an absent id it leaves a tombstone. The end itself is reported by `attach`.
    async fn cancel(&self, target: &Target, id: StepId, epoch: u64) -> Result<Report, RemoteError>;

    /// An operator's force-unlock: gives up a try that is orphaned or that a KILL did not end. It is then `Lost` with the why `forced`,
    /// and its lane is free, whatever still lives of it; nothing is signalled. One whose record was lost is then `Reaped`. Any other try
    /// stays as it is and is reported so.
    async fn abandon(&self, target: &Target, id: StepId, epoch: u64) -> Result<Report, RemoteError>;

    /// Clears a try away, after the store holds its verdict and all its output.
    async fn reap(&self, target: &Target, id: StepId, epoch: u64) -> Result<(), RemoteError>;

    /// Forgets the tombstones of `forget`. The server decides nothing by its own clock: the caller looks up in its store whose run is
    /// terminal, and so old that no backup of the store could still be put back from before it ended.
    async fn gc(&self, target: &Target, epoch: u64, forget: &[StepId]) -> Result<(), RemoteError>;

    /// Runs a read-only script.
    async fn probe(&self, target: &Target, spec: &ProbeSpec) -> Result<ProbeAnswer, RemoteError>;

    /// Lets go of the connection, for instance after the server was edited or removed.
    async fn forget(&self, server: ServerId);

    /// How its connections are. Nothing to tell where there are none.
    fn lines(&self) -> Lines {
        Lines::default()
    }

    /// When the last connections to a server were made: from when to when.
    fn connects(&self, _: ServerId) -> Vec<(Timestamp, Timestamp)> {
        Vec::new()
    }
}
