//! The step protocol: how a command on a server survives the death of the daemon, of the connection and of the network, runs at
//! most once, and tells what really happened.
//!
//! Nothing is installed on a server. Each verb is one text for `/bin/sh` (`sh/*.sh`, joined by `request`), sent on stdin together
//! with its data; its answer comes back in frames (`answer`). What a step leaves in its directory on the server, among it the text
//! that finishes it, is enough to end it truly without this daemon. How it does that is told at the top of `sh/run.sh`.
//!
//! This module knows neither how bytes travel ([`Exec`] does) nor what a step is for.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::exec::{Exec, ExecOutput};
use super::{
    Claimed, Hello, Lines, News, ProbeAnswer, ProbeSpec, Remote, RemoteError, Report, StepSpec, StepStatus,
    Target,
};
use crate::clock::Clock;
use crate::domain::id::{InstallationId, ServerId};
use crate::domain::step::StepId;
use crate::domain::time::Timestamp;

mod answer;
mod refusal;
mod request;

use answer::{Answer, frames, unexpected};
use request::{Request, Requests};

/// The longest answer: for `list` some 10 000 tries, for `attach` its output with room for what a login says first.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A verb that takes longer than this, beside the waiting that it was asked for, is not answered any more.
const VERB_DEADLINE: Duration = Duration::from_secs(30);

/// The longest that one `attach` waits on the server.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// Where the protocol finds things on a server. The default is right for every server; tests move it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The state directory, absolute. `None`: `/var/lib/settled-host` for root, else `.local/state/settled-host` in the home.
    pub state_dir: Option<String>,
    /// The shell that runs steps and probes.
    pub shell: String,
    /// Lock files of dpkg and apt, without blanks in their names.
    pub dpkg_locks: Vec<String>,
    /// Where dpkg keeps its database.
    pub dpkg_dir: String,
    /// Files that say which distribution it is, the first that is there counts; without blanks in their names.
    pub os_release: Vec<String>,
}

impl Default for Layout {
    fn default() -> Self {
        let locks = [
            "/var/lib/dpkg/lock-frontend",
            "/var/lib/dpkg/lock",
            "/var/lib/apt/lists/lock",
            "/var/cache/apt/archives/lock",
        ];
        Self {
            state_dir: None,
            shell: "/bin/sh".to_owned(),
            dpkg_locks: locks.map(str::to_owned).to_vec(),
            dpkg_dir: "/var/lib/dpkg".to_owned(),
            os_release: ["/etc/os-release", "/usr/lib/os-release"].map(str::to_owned).to_vec(),
        }
    }
}

/// Speaks the step protocol over `E`.
pub struct Steps<E> {
    exec: E,
    clock: Arc<dyn Clock>,
    /// Whom a server sees in an epoch: this process and no other, whatever store they share or have copied.
    claimant: String,
    layout: Layout,
}

impl<E: Exec> Steps<E> {
    /// For servers as they are.
    pub fn new(exec: E, clock: Arc<dyn Clock>) -> Self {
        Self::with_layout(exec, clock, Layout::default())
    }

    /// For servers whose things are elsewhere.
    pub fn with_layout(exec: E, clock: Arc<dyn Clock>, layout: Layout) -> Self {
        let claimant = format!("{:016x}", clock.random());
        Self { exec, clock, claimant, layout }
    }

    fn request(&self) -> Requests<'_> {
        let nonce = format!("{:016x}", self.clock.random());
        Requests { nonce, claimant: &self.claimant, layout: &self.layout }
    }

    /// Sends a verb that is about `id`, if about one, and that may wait on the server; reads its answer.
    async fn ask(
        &self,
        target: &Target,
        id: Option<StepId>,
        request: Request,
        wait: Duration,
    ) -> Result<Answer, RemoteError> {
        let output = self.exec.exec(target, &request.text, ANSWER_BYTES_MAX, VERB_DEADLINE + wait).await?;
        heard(&output, &request.nonce, id)
    }

    /// Like `ask`, for what takes power from someone: it does not queue behind those who only listen.
    async fn ask_now(
        &self,
        target: &Target,
        id: Option<StepId>,
        request: Request,
    ) -> Result<Answer, RemoteError> {
        let output = self.exec.exec_urgent(target, &request.text, ANSWER_BYTES_MAX, VERB_DEADLINE).await?;
        heard(&output, &request.nonce, id)
    }
}

fn heard(output: &ExecOutput, nonce: &str, id: Option<StepId>) -> Result<Answer, RemoteError> {
    match frames(&output.stdout, nonce) {
        Some(frames) => Answer::read(frames, id),
        None => Err(silence(output)),
    }
}

/// The server did not speak the protocol, or not to the end.
fn silence(output: &ExecOutput) -> RemoteError {
    match output.status {
        None => RemoteError::Unreachable("the connection closed before the server had answered".to_owned()),
        Some(status) => refusal::read(status, &output.stderr, &output.stdout),
    }
}

#[async_trait]
impl<E: Exec> Remote for Steps<E> {
    async fn hello(&self, target: &Target) -> Result<Hello, RemoteError> {
        let asked = self.clock.now();
        let mut hello = self.ask(target, None, self.request().hello(), Duration::ZERO).await?.hello()?;
        let between = i64::midpoint(asked.0, self.clock.now().0);
        if let Some(clock) = hello.facts.remove("clock").and_then(|clock| clock.parse::<i64>().ok()) {
            // The server tells whole seconds: half of one is the best guess of the rest.
            let skew_ms =
                (clock.saturating_mul(1_000_000).saturating_add(500_000).saturating_sub(between)) / 1_000;
            hello.facts.insert("clock_skew_ms".to_owned(), skew_ms.to_string());
        }
        Ok(hello)
    }

    async fn claim(
        &self,
        target: &Target,
        installation: InstallationId,
        epoch: u64,
    ) -> Result<Claimed, RemoteError> {
        let request = self.request().claim(&target.name, installation, epoch);
        self.ask_now(target, None, request).await?.claimed()
    }

    async fn take_over(
        &self,
        target: &Target,
        installation: InstallationId,
        epoch: u64,
    ) -> Result<Claimed, RemoteError> {
        let request = self.request().take_over(installation, epoch);
        self.ask_now(target, None, request).await?.claimed()
    }

    async fn list(&self, target: &Target) -> Result<Vec<(StepId, Report)>, RemoteError> {
        self.ask(target, None, self.request().list(), Duration::ZERO).await?.reports()
    }

    async fn start(&self, target: &Target, spec: &StepSpec) -> Result<Report, RemoteError> {
        match self.request().start(spec) {
            Ok(request) => self.ask(target, Some(spec.id), request, Duration::ZERO).await?.report(spec.id),
            Err(error) => Err(RemoteError::Unsendable(error.to_string())),
        }
    }

    async fn attach(
        &self,
        target: &Target,
        id: StepId,
        offset: u64,
        wait: Duration,
    ) -> Result<News, RemoteError> {
        let wait = wait.min(WAIT_MAX);
        self.ask(target, Some(id), self.request().attach(id, offset, wait), wait).await?.news(id)
    }

    async fn cancel(&self, target: &Target, id: StepId, epoch: u64) -> Result<Report, RemoteError> {
        self.ask_now(target, Some(id), self.request().cancel(id, epoch)).await?.report(id)
    }

    async fn abandon(&self, target: &Target, id: StepId, epoch: u64) -> Result<Report, RemoteError> {
        self.ask_now(target, Some(id), self.request().abandon(id, epoch)).await?.report(id)
    }

    async fn reap(&self, target: &Target, id: StepId, epoch: u64) -> Result<(), RemoteError> {
        let request = self.request().reap(id, epoch);
        match self.ask(target, Some(id), request, Duration::ZERO).await?.report(id)?.status {
            StepStatus::Reaped => Ok(()),
            _ => Err(unexpected(&format!("step {id} has not ended and cannot be cleared away"))),
        }
    }

    async fn gc(&self, target: &Target, epoch: u64, forget: &[StepId]) -> Result<(), RemoteError> {
        let request = self.request().gc(epoch, forget);
        self.ask(target, None, request, Duration::ZERO).await?.forgotten()
    }

    async fn probe(&self, target: &Target, spec: &ProbeSpec) -> Result<ProbeAnswer, RemoteError> {
        let request =
            self.request().probe(spec).map_err(|error| RemoteError::Unsendable(error.to_string()))?;
        self.ask(target, None, request, spec.timeout).await?.probed()
    }

    async fn forget(&self, server: ServerId) {
        self.exec.forget(server).await;
    }

    fn lines(&self) -> Lines {
        self.exec.lines()
    }

    fn connects(&self, server: ServerId) -> Vec<(Timestamp, Timestamp)> {
        self.exec.connects(server)
    }
}
