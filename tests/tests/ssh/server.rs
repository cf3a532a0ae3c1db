//! The shared OpenSSH fixture with a third kind of key and room for further ones, and a real ssh-agent.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use settled_tests::sshd::{Kind, Options, Sshd};
use tempfile::TempDir;

use crate::until;

/// A server that has an ECDSA host key too, and lets an ECDSA client in.
pub(crate) struct Server {
    sshd: Sshd,
    folder: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// With a further line for its `sshd_config`.
    pub(crate) fn start_with(line: &str) -> Self {
        let folder = TempDir::new().unwrap();
        keygen(&folder.path().join("host_ecdsa"), "ecdsa", &[]);
        keygen(&folder.path().join("client_ecdsa"), "ecdsa", &[]);
        let keys = folder.path().join("authorized_keys");
        fs::write(&keys, "").unwrap();
        let sshd = Options::default()
            .line(line)
            // As OpenSSH has it by default.
            .line("MaxSessions 10")
            .line(&format!("HostKey {}", folder.path().join("host_ecdsa").display()))
            .line(&format!("AuthorizedKeysFile {}", keys.display()))
            .start();
        let server = Self { sshd, folder };
        for kind in ["ed25519", "ecdsa", "rsa"] {
            server.allow(&server.client_key(kind));
        }
        server
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `SHA256:...` of one of its host keys.
    pub(crate) fn host_key(&self, kind: &str) -> String {
        match kind {
            "ed25519" => self.sshd.fingerprint(Kind::Ed25519),
            "rsa" => self.sshd.fingerprint(Kind::Rsa),
            _ => fingerprint(&self.folder().join("host_ecdsa.pub")),
        }
    }

    /// The private key of a client that may log in.
    pub(crate) fn client_key(&self, kind: &str) -> PathBuf {
        match kind {
            "ed25519" => self.sshd.client_key(Kind::Ed25519),
            "rsa" => self.sshd.client_key(Kind::Rsa),
            _ => self.folder().join("client_ecdsa"),
        }
    }

    /// Lets a further key in.
    pub(crate) fn allow(&self, key: &Path) {
        let list = self.folder().join("authorized_keys");
        let known = fs::read_to_string(&list).unwrap();
        let new = fs::read_to_string(key.with_extension("pub")).unwrap();
        fs::write(list, known + &new).unwrap();
    }
}

impl Deref for Server {
    type Target = Sshd;

    fn deref(&self) -> &Sshd {
        &self.sshd
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Sshd {
        &mut self.sshd
    }
}

/// Lets a process stand still, as a machine that hangs does.
pub(crate) fn freeze(pid: &str) {
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
}

/// A real ssh-agent, gone when it is dropped.
pub(crate) struct Agent {
    folder: TempDir,
    process: Child,
}

impl Agent {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let process = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(folder.path().join("socket"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let agent = Self { folder, process };
        until("the ssh-agent listens", || UnixStream::connect(agent.socket()).is_ok()).await;
        agent
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub(crate) fn add(&self, key: &Path) {
        let done = Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", self.socket()).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Makes a key without a passphrase, unless `more` says otherwise.
pub(crate) fn keygen(path: &Path, kind: &str, more: &[&str]) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", kind, "-f"]).arg(path);
    if !more.contains(&"-N") {
        command.args(["-N", ""]);
    }
    assert!(command.args(more).status().unwrap().success());
}

/// `SHA256:...` as ssh-keygen says it.
pub(crate) fn fingerprint(public: &Path) -> String {
    let output = Command::new("ssh-keygen").arg("-lf").arg(public).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().nth(1).unwrap().to_owned()
}
