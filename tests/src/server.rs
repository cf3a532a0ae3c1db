//! A real server for a daemon: an OpenSSH server of its own that keeps settled's state in its own directory, and helpers that speak to
//! the daemon about it as a client would.

use std::path::{Path, PathBuf};

use settled_proto::v1::{self, follow_run_response::Event};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

use crate::daemon::TestDaemon;
pub use crate::patience::WITHIN;
use crate::patience::until;
use crate::sshd::{self, Kind, Sshd};

/// A server that a daemon can work on.
pub struct Server {
    /// The OpenSSH server.
    pub sshd: Sshd,
    state: TempDir,
}

impl Server {
    /// Starts one.
    pub fn start() -> Self {
        Self::start_with(sshd::Options::default())
    }

    /// Starts several, each a machine of its own; only one where that cannot be done.
    pub fn several(count: usize) -> Vec<Self> {
        if !sshd::namespaces() {
            return vec![Self::start()];
        }
        (0..count).map(|_| Self::start_with(sshd::Options::default().own_machine())).collect()
    }

    /// Starts one that is like this.
    pub fn start_with(options: sshd::Options) -> Self {
        let state =
            tempfile::Builder::new().prefix("settled-host-").tempdir().expect("a temporary directory");
        let at = state.path().join("state").display().to_string();
        let sshd = options.env("SETTLED_HOST_STATE", &at).start();
        Self { sshd, state }
    }

    /// Ends every step, and leaves no trace of any: neither records nor that there ever were some.
    pub fn lose_steps(&self) {
        let steps = self.path("state/steps");
        sshd::end_processes_in(&steps);
        for entry in std::fs::read_dir(&steps).expect("there were steps") {
            std::fs::remove_dir_all(entry.expect("there were steps").path()).expect("a step can be removed");
        }
    }

    /// A directory on the server for what a test makes there.
    pub fn path(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }

    /// Registers it as `name`, and waits until the daemon has met it.
    pub async fn register(&self, daemon: &TestDaemon, name: &str) -> v1::Run {
        registered(daemon, self.record(name)).await
    }

    /// What registers it as `name`.
    pub fn record(&self, name: &str) -> v1::CreateServerRequest {
        v1::CreateServerRequest {
            request_id: fresh_id(),
            name: name.to_owned(),
            host: "127.0.0.1".to_owned(),
            port: u32::from(self.sshd.port()),
            user: self.sshd.user(),
            host_key: self.sshd.host_key_fingerprint(),
            identity_key: std::fs::read(self.sshd.client_key(Kind::Ed25519)).expect("the client's key"),
            ..v1::CreateServerRequest::default()
        }
    }
}

impl Drop for Server {
    /// Steps live on without their connection, and without a trace of it in their environment.
    fn drop(&mut self) {
        self.sshd.stop();
        sshd::end_processes_in(self.state.path());
    }
}

/// Registers a server, and waits until the daemon has met it.
pub async fn registered(daemon: &TestDaemon, request: v1::CreateServerRequest) -> v1::Run {
    let answer = daemon.servers().create(request).await.expect("a new server is accepted").into_inner();
    settled(daemon, &answer.run.expect("a run").id).await
}

/// A request id that nobody has used.
#[expect(clippy::disallowed_methods, reason = "a client makes its own ids")]
pub fn fresh_id() -> String {
    ulid::Ulid::generate().to_string()
}

/// A directory with one package definition, for `packages.dir`.
pub fn package_dir(name: &str, text: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join(format!("{name}.toml")), text).expect("a definition");
    dir
}

/// An install request of `package` on `server`.
pub fn install(server: &str, package: &str, name: &str, parameters: &[(&str, &str)]) -> v1::InstallRequest {
    v1::InstallRequest {
        request_id: fresh_id(),
        server: server.to_owned(),
        package: package.to_owned(),
        name: name.to_owned(),
        parameters: parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..v1::InstallRequest::default()
    }
}

/// Follows a run to its end and answers it as it is then.
pub async fn settled(daemon: &TestDaemon, run: &str) -> v1::Run {
    follow(daemon, run).await.0
}

/// Follows a run to its end: the run as it is then, and everything that its steps wrote.
pub async fn follow(daemon: &TestDaemon, run: &str) -> (v1::Run, Vec<u8>) {
    let request = v1::FollowRunRequest { run_id: run.to_owned(), output_offset: 0 };
    let story = async {
        let mut stream = daemon.runs().follow(request).await.expect("the run can be followed").into_inner();
        let (mut last, mut output) = (None, Vec::new());
        while let Some(piece) = stream.next().await {
            match piece.expect("the story goes on").event {
                Some(Event::Run(run)) => last = Some(run),
                Some(Event::Output(piece)) => output.extend(piece.data),
                _ => {}
            }
        }
        (last.expect("the run itself"), output)
    };
    timeout(WITHIN, story).await.expect("the run settles")
}

/// Waits until a file is there.
pub async fn appears(path: &Path) {
    until(&format!("{} appears", path.display()), async || path.exists().then_some(())).await;
}

/// The resource as it stands; `None` when there is none.
pub async fn resource(daemon: &TestDaemon, path: &str) -> Option<v1::Resource> {
    let request = v1::GetResourceRequest { resource: path.to_owned() };
    match daemon.resources().get(request).await {
        Ok(resource) => Some(resource.into_inner()),
        Err(status) if status.code() == tonic::Code::NotFound => None,
        Err(status) => panic!("the resource cannot be read: {status}"),
    }
}

/// Waits until a probe has looked at the resource, and answers what it saw.
pub async fn observed(daemon: &TestDaemon, path: &str) -> v1::Observed {
    until("a probe looks at the resource", async || resource(daemon, path).await.and_then(|r| r.observed))
        .await
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn nothing_of_a_step_outlives_its_server() {
        let server = Server::start();
        let mut works_there =
            Command::new("sleep").arg("600").current_dir(server.state.path()).spawn().unwrap();
        let script = server.path("step/script").display().to_string();
        let mut is_named =
            Command::new("sh").args(["-c", "read line; :", &script]).stdin(Stdio::piped()).spawn().unwrap();
        drop(server);
        for child in [&mut works_there, &mut is_named] {
            assert_eq!(child.wait().unwrap().signal(), Some(9));
        }
    }
}
