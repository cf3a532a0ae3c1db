//! A throwaway OpenSSH server: the machine's own `sshd` as the current user on a loopback port, with keys of its own.
//!
//! Nothing of the machine's SSH set-up is read or changed; whoever logs in gets a home directory of its own, and a `sudo` that
//! leaves everyone who they are.

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::net::{AddressFamily, SocketAddrV4, SocketType};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::guarded::{Guarded, Running, find, output_of};

/// A kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ed25519.
    Ed25519,
    /// RSA, 2048 bits.
    Rsa,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Ed25519, Self::Rsa];

    fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Rsa => "rsa",
        }
    }
}

/// What a server is to be like beside the defaults.
#[derive(Clone, Debug, Default)]
pub struct Options {
    env: Vec<(String, String)>,
    lines: Vec<String>,
    own_machine: bool,
}

impl Options {
    /// Gives every session a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts a line of `sshd_config` before all others: the first of two equal keywords wins there.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Gives the server a machine-id of its own, so that it is not the same machine as the next one here. Where
    /// [`namespaces`] cannot be made this cannot be done.
    #[must_use]
    pub fn own_machine(mut self) -> Self {
        self.own_machine = true;
        self
    }

    /// Starts the server. Panics, naming what is missing, if that cannot be done.
    pub fn start(self) -> Sshd {
        Sshd::start_with(self)
    }
}

/// A running server. Dropping it ends it, its sessions, and everything that they left behind.
pub struct Sshd {
    program: PathBuf,
    directory: TempDir,
    options: Options,
    port: u16,
    /// Keeps the port ours while the server is stopped: bound, but not listening.
    _reservation: OwnedFd,
    running: Option<Running>,
}

impl Sshd {
    /// Starts a server with the defaults. Panics, naming what is missing, if that cannot be done.
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    fn start_with(options: Options) -> Self {
        let program = find("sshd", &["/usr/sbin".into(), "/usr/local/sbin".into()]).unwrap_or_else(|| {
            panic!("there is no sshd on this machine: install openssh-server, or run `make test`")
        });
        make_privilege_separation_directory();
        let directory =
            tempfile::Builder::new().prefix("settled-sshd-").tempdir().expect("a temporary directory");
        let (port, reservation) = reserve_port();
        let mut sshd = Self { program, directory, options, port, _reservation: reservation, running: None };
        fs::create_dir(sshd.home()).expect("a home directory");
        sshd.make_sudo();
        sshd.make_keys("host");
        sshd.make_keys("client");
        sshd.authorize_clients();
        sshd.write_config();
        sshd.restart();
        sshd
    }

    /// The port on 127.0.0.1. It stays the same for ever.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The user who can log in: the one who runs the test.
    pub fn user(&self) -> String {
        output_of(Command::new("id").arg("-un")).trim().to_owned()
    }

    /// Lets in whoever has the key of this line, too.
    pub fn let_in(&self, line: &str) {
        let list = self.directory.path().join("authorized_keys");
        let keys = fs::read_to_string(&list).expect("authorized_keys");
        fs::write(&list, format!("{keys}{line}\n")).expect("authorized_keys");
    }

    /// The home directory of every session.
    pub fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// The Ed25519 host key's fingerprint, `SHA256:...`.
    pub fn host_key_fingerprint(&self) -> String {
        self.fingerprint(Kind::Ed25519)
    }

    /// A host key's fingerprint, `SHA256:...`.
    pub fn fingerprint(&self, kind: Kind) -> String {
        let line = output_of(Command::new("ssh-keygen").arg("-lf").arg(public(&self.key("host", kind))));
        line.split(' ').nth(1).expect("ssh-keygen prints the fingerprint second").to_owned()
    }

    /// A host key as it stands in `known_hosts`: type and base64.
    pub fn host_key(&self, kind: Kind) -> String {
        fs::read_to_string(public(&self.key("host", kind))).expect("a public host key").trim().to_owned()
    }

    /// The private key of a user who can log in, in OpenSSH's format; its public half stands beside it as `.pub`.
    pub fn client_key(&self, kind: Kind) -> PathBuf {
        self.key("client", kind)
    }

    /// Cuts every connection, as a network that breaks would; new ones are accepted. Commands lose their connection,
    /// but are not signalled.
    pub fn kill_sessions(&self) {
        if let Some(running) = &self.running {
            cut_sessions(running);
        }
    }

    /// Ends the server and cuts every connection: from now on connects are refused.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            // Standing still, it cannot accept one more between the look and its end.
            signal(running.pid(), Signal::STOP);
            cut_sessions(&running);
        }
    }

    /// Starts the server again on the same port with the same keys, after stopping it if it runs.
    pub fn restart(&mut self) {
        self.stop();
        let config = self.config();
        let machine = self.directory.path().join("machine-id");
        let mut arguments = Vec::new();
        if self.options.own_machine {
            arguments.extend(["-m", "/bin/sh", "-c", OWN_MACHINE].map(OsStr::new));
            arguments.extend([machine.as_os_str(), self.program.as_os_str()]);
        }
        arguments.extend([OsStr::new("-D"), OsStr::new("-e"), OsStr::new("-f"), config.as_os_str()]);
        let guarded = Guarded {
            program: if self.options.own_machine { Path::new("/usr/bin/unshare") } else { &self.program },
            arguments,
            signal: "KILL",
            identity: None,
            remove: None,
        };
        self.running = Some(
            guarded.start("Server listening on").unwrap_or_else(|why| panic!("sshd did not start: {why}")),
        );
    }

    /// Gives the server other host keys, as a reinstalled machine has, and restarts it.
    pub fn rekey(&mut self) {
        self.stop();
        for kind in Kind::ALL {
            fs::remove_file(self.key("host", kind)).expect("the old host key can be removed");
        }
        self.make_keys("host");
        self.restart();
    }

    /// A `sudo` that goes on as the same user. settled asks for one when the login is not root's, and a test that a person
    /// runs must never become root on that person's machine.
    fn make_sudo(&self) {
        let sudo = self.programs().join("sudo");
        fs::create_dir(self.programs()).expect("a directory of programs");
        fs::write(&sudo, "#!/bin/sh\n[ \"$1\" != -n ] || shift\nexec \"$@\"\n").expect("a sudo");
        fs::set_permissions(&sudo, fs::Permissions::from_mode(0o755)).expect("a sudo that can be executed");
    }

    /// What every session finds before the machine's programs.
    fn programs(&self) -> PathBuf {
        self.directory.path().join("bin")
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("sshd_config")
    }

    fn key(&self, of: &str, kind: Kind) -> PathBuf {
        self.directory.path().join(format!("{of}_{}", kind.name()))
    }

    fn make_keys(&self, of: &str) {
        for kind in Kind::ALL {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-N", "", "-C", of, "-t", kind.name(), "-f"]).arg(self.key(of, kind));
            if kind == Kind::Rsa {
                command.args(["-b", "2048"]);
            }
            output_of(&mut command);
        }
    }

    fn authorize_clients(&self) {
        let keys =
            Kind::ALL.map(|kind| fs::read_to_string(public(&self.client_key(kind))).expect("a public key"));
        fs::write(self.directory.path().join("authorized_keys"), keys.concat()).expect("authorized_keys");
    }

    fn write_config(&self) {
        let directory = self.directory.path().display();
        let env: Vec<_> =
            self.options.env.iter().map(|(name, value)| format!(" \"{name}={value}\"")).collect();
        let text = format!(
            "{lines}\n\
             Port {port}\nListenAddress 127.0.0.1\nPidFile none\n\
             HostKey {directory}/host_ed25519\nHostKey {directory}/host_rsa\n\
             AuthorizedKeysFile {directory}/authorized_keys\n\
             StrictModes no\nUsePAM no\nUseDNS no\nPrintMotd no\nPrintLastLog no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             MaxStartups 500\nMaxSessions 200\nLogLevel INFO\n\
             SetEnv \"HOME={home}\" \"PATH={programs}:{PATH}\" \"{COOKIE}={directory}\"{env}\n",
            lines = self.options.lines.join("\n"),
            env = env.concat(),
            port = self.port,
            home = self.home().display(),
            programs = self.programs().display(),
        );
        fs::write(self.config(), &text).expect("sshd_config");
        // Since 9.8 it locks out addresses that fail to log in, and all tests come from one address.
        let penalties = Command::new(&self.program)
            .args(["-t", "-o", "PerSourcePenalties=no", "-f"])
            .arg(self.config())
            .output();
        if penalties.is_ok_and(|output| output.status.success()) {
            fs::write(self.config(), text + "PerSourcePenalties no\n").expect("sshd_config");
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
        let cookie = format!("{COOKIE}={}", self.directory.path().display());
        // A killed process takes its time to go, and may have begun another one before. One that just becomes another program shows nothing
        // of itself, however long the machine takes over that: it may be one of ours.
        let mut clean = 0;
        for _ in 0..LOOKS_MAX {
            let unclear = processes().any(becomes_another);
            let left: Vec<_> = processes().filter(|&pid| has_variable(pid, &cookie)).collect();
            clean = if left.is_empty() && !unclear { clean + 1 } else { 0 };
            if clean == 2 {
                return;
            }
            for pid in left {
                signal(pid, Signal::KILL);
            }
            std::thread::yield_now();
        }
    }
}

/// How often is looked for what sessions left behind, each time at all processes, before it is left where it is.
const LOOKS_MAX: usize = 10_000;

/// In a mount namespace: the file `$0` takes the place of the machine's id, then the program goes on.
const OWN_MACHINE: &str = r#"
[ -e "$0" ] || tr -d - </proc/sys/kernel/random/uuid >"$0"
mount --bind "$0" /etc/machine-id && exec "$@"
"#;

/// Whether this user may give a server a mount namespace.
pub fn namespaces() -> bool {
    let mut bind = Command::new("/usr/bin/unshare");
    bind.args(["-m", "mount", "--bind", "/etc/machine-id", "/etc/machine-id"]);
    bind.output().is_ok_and(|done| done.status.success())
}

/// Where sessions find the machine's programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// By this variable everything is found that a session left behind.
const COOKIE: &str = "SETTLED_TEST_SSHD";

fn public(private: &Path) -> PathBuf {
    private.with_extension("pub")
}

/// A port that nobody else gets. A second socket may bind it as long as neither listens and both allow reuse: sshd does.
fn reserve_port() -> (u16, OwnedFd) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true).expect("a reusable address");
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a free port on 127.0.0.1");
    let address = rustix::net::getsockname(&socket).expect("the address of the socket");
    let port = SocketAddrV4::try_from(address).expect("an IPv4 address").port();
    (port, socket)
}

/// As root, sshd insists on a directory that the system's start script makes.
fn make_privilege_separation_directory() {
    if rustix::process::geteuid().is_root() {
        fs::create_dir_all("/run/sshd").unwrap_or_else(|error| panic!("sshd needs /run/sshd: {error}"));
    }
}

fn cut_sessions(listener: &Running) {
    for pid in sessions_of(listener.pid()) {
        signal(pid, Signal::KILL);
    }
}

/// The processes of sshd itself that serve connections; what they started is not among them.
fn sessions_of(listener: u32) -> Vec<u32> {
    let all: Vec<_> = processes().filter_map(|pid| sshd_parent(pid).map(|parent| (pid, parent))).collect();
    let mut found = vec![listener];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// Ends every process that works in the directory, or whose command line names it.
pub(crate) fn end_processes_in(directory: &Path) {
    let text = directory.display().to_string();
    let names = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let at = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&text) || at.starts_with(directory)
    };
    for pid in processes().filter(|&pid| pid != std::process::id()).filter(names) {
        signal(pid, Signal::KILL);
    }
}

/// The parent of a process whose name begins with `sshd`.
fn sshd_parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
    rest.split(' ').nth(1).filter(|_| name.starts_with("sshd"))?.parse().ok()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn has_variable(pid: u32, variable: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|env| env.split(|&b| b == 0).any(|v| v == variable.as_bytes()))
}

/// Whether a process is between two programs: it shows neither arguments nor variables, and is no thread of the kernel and not dead.
fn becomes_another(pid: u32) -> bool {
    let shows_nothing =
        |what: &str| fs::read(format!("/proc/{pid}/{what}")).is_ok_and(|shown| shown.is_empty());
    // After the name, which may have anything in it: the state and the parent.
    let is_alive = |stat: String| {
        let mut fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ')).into_iter().flatten();
        let (state, parent) = (fields.next(), fields.next());
        !matches!(state, Some("Z" | "X")) && parent != Some("2") && parent != Some("0")
    };
    shows_nothing("environ")
        && shows_nothing("cmdline")
        && fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(is_alive)
}

/// A process that is gone needs no signal.
fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("process {pid:?} cannot be signalled: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Output, Stdio};

    use super::*;

    fn ssh(sshd: &Sshd, kind: Kind, command: &str) -> Command {
        let known_hosts = sshd.directory.path().join("known_hosts");
        let line = format!("[127.0.0.1]:{} {}\n", sshd.port(), sshd.host_key(Kind::Ed25519));
        fs::write(&known_hosts, line).unwrap();
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o"]);
        ssh.arg(format!("UserKnownHostsFile={}", known_hosts.display()));
        ssh.arg("-i").arg(sshd.client_key(kind)).args(["-p", &sshd.port().to_string()]);
        ssh.arg(format!("{}@127.0.0.1", sshd.user())).arg(command).stdin(Stdio::null());
        ssh
    }

    fn said(output: &Output) -> String {
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    #[test]
    fn both_kinds_of_keys_log_in_and_find_a_home_of_their_own() {
        let sshd = Options::default().env("COLOUR", "blue").start();
        for kind in Kind::ALL {
            let output = ssh(&sshd, kind, "echo $HOME $COLOUR").output().unwrap();
            assert_eq!(said(&output).trim(), format!("{} blue", sshd.home().display()));
        }
    }

    #[test]
    fn sudo_leaves_everyone_who_they_are() {
        let sshd = Sshd::start();
        let output =
            ssh(&sshd, Kind::Ed25519, "sudo -n /bin/sh -c 'id -un; command -v sudo'").output().unwrap();
        assert_eq!(said(&output), format!("{}\n{}/sudo\n", sshd.user(), sshd.programs().display()));
    }

    #[test]
    fn a_stopped_server_refuses_a_restarted_one_serves_and_a_new_key_is_a_new_key() {
        let mut sshd = Sshd::start();
        let (port, before) = (sshd.port(), sshd.host_key_fingerprint());
        assert!(before.starts_with("SHA256:"), "{before}");

        sshd.stop();
        let output = ssh(&sshd, Kind::Ed25519, "echo up").output().unwrap();
        assert!(said(&output).contains("refused"), "{}", said(&output));

        sshd.restart();
        assert_eq!(said(&ssh(&sshd, Kind::Ed25519, "echo up").output().unwrap()), "up\n");
        assert_eq!(sshd.host_key_fingerprint(), before);

        sshd.rekey();
        assert_eq!(said(&ssh(&sshd, Kind::Rsa, "echo up").output().unwrap()), "up\n");
        assert_ne!(sshd.host_key_fingerprint(), before);
        assert_eq!(sshd.port(), port);
    }

    #[test]
    fn cutting_the_sessions_cuts_the_client_but_not_the_command() {
        let sshd = Sshd::start();
        let mut client =
            ssh(&sshd, Kind::Ed25519, "echo $$; exec sleep 600").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();

        sshd.kill_sessions();
        assert!(!client.wait().unwrap().success());
        let command: u32 = line.trim().parse().unwrap();
        let cookie = format!("{COOKIE}={}", sshd.directory.path().display());
        assert!(
            rustix::process::test_kill_process(Pid::from_raw(command.cast_signed()).unwrap()).is_ok(),
            "the command runs on"
        );

        drop(sshd);
        assert!(!has_variable(command, &cookie), "the end of the server is the end of everything");
    }
}
