//! A real OpenSSH server on a free port of the loopback, with its own keys, gone when it is dropped.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a process may take to do what it was asked.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Sshd {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Sshd {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// With further lines for its sshd_config.
    pub(crate) fn start_with(config: &str) -> Self {
        let folder = TempDir::new().unwrap();
        for kind in ["ed25519", "ecdsa", "rsa"] {
            keygen(&folder.path().join(format!("host_{kind}")), kind, &[]);
            keygen(&folder.path().join(format!("client_{kind}")), kind, &[]);
        }
        let allowed = ["ed25519", "ecdsa", "rsa"]
            .map(|kind| fs::read_to_string(folder.path().join(format!("client_{kind}.pub"))).unwrap());
        fs::write(folder.path().join("authorized_keys"), allowed.concat()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let home = folder.path().display();
        // SHLVL keeps bash as a login shell from reading start-up files, which may take longer than everything else here.
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/host_ed25519\nHostKey {home}/host_ecdsa\nHostKey {home}/host_rsa\n\
             AuthorizedKeysFile {home}/authorized_keys\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
             LogLevel VERBOSE\nMaxStartups 200\nSetEnv SHLVL=2\n{config}\n"
        );
        fs::write(folder.path().join("config"), text).unwrap();
        let mut sshd = Self { folder, port, process: None };
        sshd.restart();
        sshd
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `SHA256:...` of one of its host keys.
    pub(crate) fn host_key_fingerprint(&self, kind: &str) -> String {
        fingerprint(&self.folder().join(format!("host_{kind}.pub")))
    }

    /// The private key of a client that may log in.
    pub(crate) fn client_key(&self, kind: &str) -> PathBuf {
        self.folder().join(format!("client_{kind}"))
    }

    /// Lets a further key in.
    pub(crate) fn allow(&self, key: &Path) {
        let list = self.folder().join("authorized_keys");
        let known = fs::read_to_string(&list).unwrap();
        let new = fs::read_to_string(key.with_extension("pub")).unwrap();
        fs::write(list, known + &new).unwrap();
    }

    /// Logins that it has accepted since it was first started.
    pub(crate) fn logins(&self) -> usize {
        fs::read_to_string(self.folder().join("log")).unwrap().matches("Accepted publickey").count()
    }

    /// Sends a signal to the processes that serve connections, and not to the listener.
    pub(crate) fn signal_sessions(&self, signal: rustix::process::Signal) {
        let listener = self.process.as_ref().unwrap().id();
        for pid in children(listener) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            // A session that ends by itself at this moment is as dead as asked.
            rustix::process::kill_process(pid, signal).ok();
        }
    }

    pub(crate) fn kill_sessions(&self) {
        self.signal_sessions(rustix::process::Signal::KILL);
    }

    /// Ends the listener and all sessions.
    pub(crate) fn stop(&mut self) {
        self.kill_sessions();
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts the listener on the same port, with the same keys.
    pub(crate) fn restart(&mut self) {
        assert!(self.process.is_none());
        fs::create_dir_all("/run/sshd").unwrap();
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-E"])
            .arg(self.folder().join("log"))
            .arg("-f")
            .arg(self.folder().join("config"))
            .stdin(Stdio::null())
            .spawn()
            .expect("these tests need OpenSSH's server: apt-get install openssh-server");
        self.process = Some(process);
        let since = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(since.elapsed() < PATIENCE, "sshd does not listen");
            std::thread::yield_now();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.stop();
        }
    }
}

/// A real ssh-agent, gone when it is dropped.
pub(crate) struct Agent {
    folder: TempDir,
    process: Child,
}

impl Agent {
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let process = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(folder.path().join("socket"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let agent = Self { folder, process };
        let since = Instant::now();
        while std::os::unix::net::UnixStream::connect(agent.socket()).is_err() {
            assert!(since.elapsed() < PATIENCE, "ssh-agent does not listen");
            std::thread::yield_now();
        }
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

/// Children of a process, from /proc.
fn children(parent: u32) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // A process that has ended meanwhile is nobody's child.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let after_name = stat.rsplit_once(')').unwrap().1;
        if after_name.split_whitespace().nth(1) == Some(&parent.to_string()) {
            found.push(pid);
        }
    }
    found
}
