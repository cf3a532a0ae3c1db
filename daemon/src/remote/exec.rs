//! The seam between the step protocol and what carries it: one command, bytes in, bytes out.

use std::time::Duration;

use async_trait::async_trait;

use super::{Lines, RemoteError, Target};
use crate::domain::id::ServerId;
use crate::domain::time::Timestamp;

/// What one command on a server gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Everything it wrote to stdout, at most the asked limit.
    pub stdout: Vec<u8>,
    /// The beginning of what it wrote to stderr, at most 16 KiB, for diagnostics.
    pub stderr: Vec<u8>,
    /// Its exit status; `None` when the channel closed without one: then nobody knows how it ended.
    pub status: Option<u32>,
}

/// Runs a shell on a server.
#[async_trait]
pub trait Exec: Send + Sync {
    /// Runs the constant command `/bin/sh -s` (or `sudo -n /bin/sh -s` when the login is not root) with `stdin`, and reads at most
    /// `stdout_bytes_max` of its output; a command that writes more is cut off and answered as `Protocol`. The command line
    /// never carries data. Past `deadline` the answer is `Unreachable`. Dropping the future is safe; what it started may go on.
    async fn exec(
        &self,
        target: &Target,
        stdin: &[u8],
        stdout_bytes_max: usize,
        deadline: Duration,
    ) -> Result<ExecOutput, RemoteError>;

    /// Like `exec`, for what must not wait behind other commands, such as a cancel: it may use the channel that is kept free on
    /// each connection. Carriers without such a limit need not tell the two apart.
    async fn exec_urgent(
        &self,
        target: &Target,
        stdin: &[u8],
        stdout_bytes_max: usize,
        deadline: Duration,
    ) -> Result<ExecOutput, RemoteError> {
        self.exec(target, stdin, stdout_bytes_max, deadline).await
    }

    /// Lets go of the connection to a server.
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
