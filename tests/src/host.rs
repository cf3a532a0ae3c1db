//! A host of the tests' own: a Debian or Ubuntu with systemd, OpenSSH, apt and ufw, that has its own disk, network and boot id, so that
//! its cable can be pulled and its power be cut. Made of namespaces, so it needs root and nothing else; `tests/hosts` has its scripts.
//!
//! The root that all stand on is made once, by mmdebstrap, and kept in `SETTLED_HOSTS_CACHE` (default `/var/cache/settled-tests`). It has
//! a repository of what the built-in packages install, so that apt works there although a host has no way to a mirror.

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use settled_proto::v1;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::guarded::{Guarded, Running, output_of};
use crate::patience::until;
use crate::server::fresh_id;

/// How many hosts one machine may have: networks of four addresses in 10.213.0.0/16.
const HOSTS_MAX: u32 = 1 << 14;
/// Hosts that this process has started.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// A running host. Dropped, it is gone without a trace.
pub struct Host {
    holder: Option<Running>,
    directory: TempDir,
    number: u32,
}

impl Host {
    /// Starts one, with these files beside those of a fresh system: path from the root, and content. Waits until it can be logged in to.
    pub async fn start(files: &[(&str, &[u8])]) -> Self {
        let base = base();
        let directory = tempfile::Builder::new().prefix("settled-host-").tempdir().expect("a directory");
        // Of the tests that run at once each is a process.
        let number = (std::process::id() * 4 + STARTED.fetch_add(1, Ordering::Relaxed)) % HOSTS_MAX;
        let mut host = Self { holder: None, directory, number };
        host.seed(files);
        let (machine, address) = (std::process::id().to_string(), format!("{}/30", host.address()));
        let (script, link) = (scripts().join("host.sh"), host.link());
        let namespaces = ["--mount", "--net", "--pid", "--fork", "--kill-child"].map(OsStr::new);
        let hold = [OsStr::new("hold"), host.directory.path().as_os_str(), base.as_os_str()];
        let cable = [&link, &machine, &address].map(OsStr::new);
        let guarded = Guarded {
            program: Path::new("/usr/bin/unshare"),
            arguments: namespaces.into_iter().chain([script.as_os_str()]).chain(hold).chain(cable).collect(),
            signal: "KILL",
            identity: None,
            remove: None,
        };
        let started = guarded.start("the host is there");
        host.holder = Some(started.unwrap_or_else(|why| panic!("a host did not start: {why}")));
        let machine = format!("{}/30", Ipv4Addr::from(u32::from(host.address()) - 1));
        output_of(Command::new("ip").args(["address", "add", &machine, "dev", &link]));
        output_of(Command::new("ip").args(["link", "set", &link, "up"]));
        host.answers().await;
        host
    }

    /// What makes it this host and no other.
    fn seed(&self, files: &[(&str, &[u8])]) {
        let key = |path: &Path| {
            output_of(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path));
        };
        let machine_id = Sha256::digest(format!("{} {}", self.number, self.directory.path().display()));
        self.put("etc/machine-id", format!("{}\n", &hex::encode(machine_id)[..32]).as_bytes());
        self.put("etc/hostname", format!("{}\n", self.link()).as_bytes());
        self.put("etc/ssh/made", b"");
        key(&self.host_key());
        key(&self.login_key());
        let public = fs::read(self.login_key().with_extension("pub")).expect("a public key");
        self.put("root/.ssh/authorized_keys", &public);
        for private in ["root", "root/.ssh"] {
            let only_root = fs::Permissions::from_mode(0o700);
            fs::set_permissions(self.seeds().join(private), only_root).expect("a private directory");
        }
        for (path, content) in files {
            self.put(path, content);
        }
    }

    fn put(&self, path: &str, content: &[u8]) {
        let path = self.seeds().join(path);
        fs::create_dir_all(path.parent().expect("a file in a directory")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    fn seeds(&self) -> PathBuf {
        self.directory.path().join("seed")
    }

    fn host_key(&self) -> PathBuf {
        self.seeds().join("etc/ssh/ssh_host_ed25519_key")
    }

    fn login_key(&self) -> PathBuf {
        self.directory.path().join("login")
    }

    fn link(&self) -> String {
        format!("settled-{}", self.number)
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        let network = Ipv4Addr::new(10, 213, 0, 0);
        Ipv4Addr::from(u32::from(network) + self.number * 4 + 2)
    }

    /// What registers it as `name`.
    pub fn record(&self, name: &str) -> v1::CreateServerRequest {
        let public = self.host_key().with_extension("pub");
        let line = output_of(Command::new("ssh-keygen").arg("-lf").arg(public));
        v1::CreateServerRequest {
            request_id: fresh_id(),
            name: name.to_owned(),
            host: self.address().to_string(),
            port: 22,
            user: "root".to_owned(),
            host_key: line.split(' ').nth(1).expect("ssh-keygen prints the fingerprint second").to_owned(),
            identity_key: fs::read(self.login_key()).expect("the client's key"),
            ..v1::CreateServerRequest::default()
        }
    }

    /// Waits until it says who it is on port 22.
    pub async fn answers(&self) {
        until("the host answers", async || {
            let mut stream = TcpStream::connect((self.address(), 22)).await.ok()?;
            let mut greeting = [0; 4];
            stream.read_exact(&mut greeting).await.ok().filter(|_| greeting == *b"SSH-").map(drop)
        })
        .await;
    }

    /// Pulls its cable: from now on what is sent is lost, and nobody is told.
    pub fn cut(&self) {
        self.cable("down");
    }

    /// Puts its cable back.
    pub fn mend(&self) {
        self.cable("up");
    }

    fn cable(&self, to: &str) {
        let holder = self.holder().to_string();
        output_of(Command::new("nsenter").args(["-t", &holder, "-n", "ip", "link", "set", "eth0"]).arg(to));
    }

    /// Cuts its power, and gives it back: it boots from what its disk has.
    pub async fn cut_power(&self) {
        let before = self.init();
        let pid = i32::try_from(before).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, Signal::KILL).expect("the host can be ended");
        self.boots_after(before).await;
    }

    /// It reboots by itself, in an orderly way: everything that runs is asked to end first.
    pub async fn reboot(&self) {
        let before = self.init();
        self.run("systemctl reboot");
        self.boots_after(before).await;
    }

    async fn boots_after(&self, before: u32) {
        until("the host boots anew", async || self.find_init().filter(|init| *init != before)).await;
        self.answers().await;
    }

    /// A file of the running host. It has another path after each boot.
    pub fn file(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.init())).join(path.trim_start_matches('/'))
    }

    /// What a file of the host holds; nothing, when there is none.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.file(path)).unwrap_or_default()
    }

    /// Waits until a file of the host holds this.
    pub async fn says(&self, path: &str, what: &str) {
        until(&format!("{path} says {what}"), async || self.read(path).contains(what).then_some(())).await;
    }

    /// Runs a script on the host, not through its network; answers what it prints.
    pub fn run(&self, script: &str) -> String {
        self.run_with(&[], script)
    }

    /// Runs a script on the host with these variables.
    pub fn run_with(&self, env: &[(String, String)], script: &str) -> String {
        output_of(&mut self.shell(env, script))
    }

    /// Runs a script on the host with these variables, however it ends.
    pub fn attempt(&self, env: &[(String, String)], script: &str) -> Output {
        self.shell(env, script).output().expect("nsenter can be started")
    }

    /// Waits until a script ends well on the host. What it says while it does not is printed.
    pub async fn comes_to(&self, script: &str) {
        let mut said = Vec::new();
        until(&format!("the host comes to\n{script}"), async || {
            let done = self.shell(&[], script).output().ok()?;
            let says = [done.stdout, done.stderr].concat();
            if says != said {
                eprintln!("{}", String::from_utf8_lossy(&says));
                said = says;
            }
            done.status.success().then_some(())
        })
        .await;
    }

    fn shell(&self, env: &[(String, String)], script: &str) -> Command {
        let init = self.init().to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &init, "-m", "-p", "-u", "-i", "-n", "-C", "env", "-i"]);
        command.arg("PATH=/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(env.iter().map(|(name, value)| format!("{name}={value}")));
        command.args(["/bin/sh", "-ec", script]);
        command
    }

    fn holder(&self) -> u32 {
        self.holder.as_ref().expect("the host runs until it is dropped").pid()
    }

    fn init(&self) -> u32 {
        self.find_init().expect("the host runs")
    }

    /// The host's init as the machine knows it: below `unshare`, the script that holds the host, and the `unshare` of this boot.
    fn find_init(&self) -> Option<u32> {
        let only_child = |pid: u32| {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
            children.split(' ').next()?.parse().ok()
        };
        let init = (0..3).try_fold(self.holder(), |pid, _| only_child(pid))?;
        let name = fs::read_to_string(format!("/proc/{init}/comm")).ok()?;
        (name.trim() == "systemd").then_some(init)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.holder.take());
        // The control group outlives its processes.
        let sweep = "mount -t cgroup2 none /mnt; for look in $(seq 50); do \
                     find \"/mnt/$0\" -depth -type d -exec rmdir {} + 2>/dev/null && exit; sleep 0.1; done; exit 1";
        let swept = Command::new("unshare").args(["--mount", "sh", "-c", sweep]).arg(self.link()).status();
        if !swept.is_ok_and(|status| status.success()) {
            eprintln!("the control group {} is left", self.link());
        }
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hosts")
}

/// The root that all hosts stand on, made if there is none: of the machine's own release, or of the one that `SETTLED_HOSTS_RELEASE` names.
fn base() -> PathBuf {
    let release = std::env::var_os("SETTLED_HOSTS_RELEASE");
    PathBuf::from(output_of(Command::new(scripts().join("base.sh")).args(release)).trim())
}
