//! `settled` as systemd runs it: a directory, a notify socket, signals.

use std::io::Read as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A guard against hanging for ever; what is awaited comes within moments.
const WITHIN: Duration = Duration::from_secs(60);

/// A directory to start in, with a notify socket and room for packages.
pub(crate) struct Home {
    directory: tempfile::TempDir,
    notify: UnixDatagram,
}

impl Home {
    /// Named so that nobody may decode its path.
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("settled 50%3F? ").tempdir().unwrap();
        std::fs::create_dir(directory.path().join("packages")).unwrap();
        let notify = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        notify.set_read_timeout(Some(WITHIN)).unwrap();
        let home = Self { directory, notify };
        home.configure("");
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the configuration: its folder of packages, and these lines.
    pub(crate) fn configure(&self, lines: &str) {
        let packages = self.path("packages");
        std::fs::write(
            self.path("settled.toml"),
            format!("{lines}\n[packages]\ndir = '{}'\n", packages.display()),
        )
        .unwrap();
    }

    pub(crate) fn package(&self, name: &str, text: &str) {
        std::fs::write(self.path("packages").join(format!("{name}.toml")), text).unwrap();
    }

    /// The command, with nothing of this machine in its environment.
    pub(crate) fn settled(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_settled"));
        command.args(["--config", "settled.toml"]).args(line.split_whitespace());
        command.current_dir(self.directory.path()).env_clear().stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, line: &str) -> Output {
        self.settled(line).output().unwrap()
    }

    /// Starts it, and waits for READY.
    pub(crate) fn start(&self) -> Daemon<'_> {
        let mut command = self.settled("");
        command.env("NOTIFY_SOCKET", self.path("notify")).env("WATCHDOG_USEC", "4000000");
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        let daemon = Daemon { home: self, child };
        daemon.hears("READY=1");
        daemon
    }
}

/// A running daemon. Dropped, it is killed.
pub(crate) struct Daemon<'h> {
    home: &'h Home,
    child: Child,
}

impl Daemon<'_> {
    /// Waits for a message to systemd with this line, and answers all messages up to it.
    pub(crate) fn hears(&self, line: &str) -> Vec<String> {
        let mut messages: Vec<String> = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let length = self.home.notify.recv(&mut buffer);
            let length = length.unwrap_or_else(|e| panic!("no {line}, {e}; before: {messages:#?}"));
            messages.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            if messages.last().is_some_and(|m| m.lines().any(|found| found == line)) {
                return messages;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).unwrap();
    }

    pub(crate) fn process(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.home.path(".settled/settled.sock")
    }

    /// How it ended, and what it logged.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap(), log)
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // It has ended already, as a rule.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was written to one of the outputs.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A package with one parameter.
pub(crate) fn definition(name: &str, parameter: &str) -> String {
    format!(
        "name = '{name}'\nsummary = 'For a test'\n[parameters.{parameter}]\nsummary = 'A parameter'\ntype = 'text'\n\
         [operations.install]\n[[operations.install.steps]]\ntitle = 'Do nothing'\nscript = 'true'\n\
         [operations.remove]\n[[operations.remove.steps]]\ntitle = 'Do nothing'\nscript = 'true'\n"
    )
}
