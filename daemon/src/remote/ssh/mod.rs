//! Carries bytes to servers: one shell command over SSH, stdin in, stdout out.
//!
//! It exists so that nobody else has to know what a connection, a channel or a host key is. It must never know the step
//! protocol: it neither reads nor makes the bytes that it carries, and it never runs anything but a shell.
//!
//! `pool` keeps one warm connection per server, `connect` makes one (`host_key` decides whom to trust, `login` gets in, `tunnel` goes
//! through a jump host), `session` is one that stands, `channel` runs one command on it.

mod channel;
mod connect;
mod host_key;
mod login;
mod pool;
mod session;
mod tunnel;
mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

use self::channel::{Failure, Job};
use self::connect::Connector;
use self::pool::Pool;
use self::words::Deadline;
use super::exec::{Exec, ExecOutput};
use super::{Lines, RemoteError, Target};
use crate::clock::Clock;
use crate::domain::id::ServerId;
use crate::domain::time::Timestamp;

/// How connections are made and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshSettings {
    /// Limit for connecting up to the checked host key, again for logging in, and later for opening a channel.
    pub connect_timeout: Duration,
    /// Silence after which the server is asked whether it is still there.
    pub keepalive: Duration,
    /// Unanswered questions after which the connection counts as broken.
    pub keepalive_max: usize,
    /// Socket of the ssh-agent; `None` takes the one that `SSH_AUTH_SOCK` names.
    pub agent: Option<PathBuf>,
    /// Connections that may be in the making at once, over all servers.
    pub connects_max: usize,
}

impl Default for SshSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            keepalive: Duration::from_secs(15),
            keepalive_max: 3,
            agent: None,
            connects_max: 32,
        }
    }
}

/// Runs shells on servers over SSH, with one warm connection per server.
///
/// Dropping a future of [`Exec::exec`] closes its channel and harms nobody else on the connection; what it started on the
/// server may go on. A command that writes more than it may is cut off and answered as [`RemoteError::Protocol`].
pub struct SshExec {
    pool: Pool,
}

impl SshExec {
    /// Connects to nothing yet. The clock spreads connects that come in a burst.
    pub fn new(settings: SshSettings, clock: Arc<dyn Clock>) -> Self {
        Self { pool: Pool::new(Connector::new(settings, clock)) }
    }

    async fn run(
        &self,
        target: &Target,
        job: &Arc<Job>,
        urgent: bool,
        deadline: Deadline,
    ) -> Result<ExecOutput, Failure> {
        let session = deadline
            .bound(self.pool.session(target), || format!("{} is not connected", words::address(target)))
            .await
            .and_then(|session| session)
            .map_err(Failure::Final)?;
        channel::exec(session, job.clone(), urgent, deadline).await
    }
}

/// The only command lines that ever reach a server; neither carries data.
fn command_for(user: &str) -> &'static str {
    if user == "root" { "/bin/sh -s" } else { "sudo -n /bin/sh -s" }
}

#[async_trait]
impl Exec for SshExec {
    async fn exec(
        &self,
        target: &Target,
        stdin: &[u8],
        stdout_bytes_max: usize,
        deadline: Duration,
    ) -> Result<ExecOutput, RemoteError> {
        self.exec_in_order(target, stdin, stdout_bytes_max, deadline, false).await
    }

    async fn exec_urgent(
        &self,
        target: &Target,
        stdin: &[u8],
        stdout_bytes_max: usize,
        deadline: Duration,
    ) -> Result<ExecOutput, RemoteError> {
        self.exec_in_order(target, stdin, stdout_bytes_max, deadline, true).await
    }

    async fn forget(&self, server: ServerId) {
        self.pool.forget(server);
    }

    fn lines(&self) -> Lines {
        self.pool.lines()
    }

    fn connects(&self, server: ServerId) -> Vec<(Timestamp, Timestamp)> {
        self.pool.connects(server)
    }
}

impl SshExec {
    async fn exec_in_order(
        &self,
        target: &Target,
        stdin: &[u8],
        stdout_bytes_max: usize,
        deadline: Duration,
        urgent: bool,
    ) -> Result<ExecOutput, RemoteError> {
        let deadline = Deadline::after(deadline);
        let job = Arc::new(Job {
            command: command_for(&target.user),
            stdin: Zeroizing::new(stdin.to_vec()),
            stdout_bytes_max,
        });
        match self.run(target, &job, urgent, deadline).await {
            // The warm connection had died unnoticed and the server has seen nothing of this command: a fresh one serves it.
            Err(Failure::NotOpened(_)) => self.run(target, &job, urgent, deadline).await,
            other => other,
        }
        .map_err(Failure::into_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p11_the_command_line_is_constant() {
        assert_eq!(command_for("root"), "/bin/sh -s");
        assert_eq!(command_for("deploy"), "sudo -n /bin/sh -s");
        assert_eq!(command_for("root; reboot"), "sudo -n /bin/sh -s");
    }
}
