//! What the daemon tells systemd (the `sd_notify` protocol). Without systemd nobody listens, and nothing is said.
//!
//! The words come from the crate `sd-notify`; the socket is ours, since that crate looks it up in the environment at
//! each message, where no test can put another without `unsafe`.

use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;

/// A handle to the service manager's socket; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Systemd {
    socket: Option<PathBuf>,
    /// The last line that told how the daemon is.
    told: Arc<Mutex<String>>,
}

/// How often systemd wants a sign of life from this process, if it does.
pub(super) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

impl Systemd {
    /// The socket that the service manager named in `NOTIFY_SOCKET`, or nobody.
    pub fn from_env() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty());
        Self { socket: socket.map(PathBuf::from), told: Arc::default() }
    }

    /// A socket at `path`; a leading `@` means the abstract namespace.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { socket: Some(path.into()), told: Arc::default() }
    }

    /// The daemon serves: say it only when Health answers.
    pub fn ready(&self, status: &str) {
        self.say(&[NotifyState::Ready, NotifyState::Status(&self.keep(status))]);
    }

    /// A reload begins. [`Systemd::ready`] ends it, also when the reload failed and the old settings go on.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.say(&[NotifyState::Reloading, now]),
            Err(error) => {
                tracing::warn!(%error, "cannot read the monotonic clock, systemd is not told about the reload");
            }
        }
    }

    /// The daemon stops.
    pub fn stopping(&self, status: &str) {
        self.say(&[NotifyState::Stopping, NotifyState::Status(&self.keep(status))]);
    }

    /// How the daemon is, in one line, as `systemctl status` shows it.
    pub fn status(&self, status: &str) {
        self.say(&[NotifyState::Status(&self.keep(status))]);
    }

    /// What is not well, in place of how the daemon is; nothing: it is well again.
    pub(super) fn trouble(&self, trouble: &str) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.say(&[NotifyState::Status(&if trouble.is_empty() { told } else { one_line(trouble) })]);
    }

    fn keep(&self, status: &str) -> String {
        let status = one_line(status);
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&status);
        status
    }

    /// Asks for so much more time, counted from now, while starting, reloading or stopping. At most 71 minutes.
    pub fn extend_timeout(&self, more: Duration) {
        let usec = u32::try_from(more.as_micros()).unwrap_or(u32::MAX);
        self.say(&[NotifyState::ExtendTimeoutUsec(usec)]);
    }

    /// A sign of life.
    pub(super) fn watchdog(&self) {
        self.say(&[NotifyState::Watchdog]);
    }

    /// A message that does not arrive is no reason to end: it is logged, and systemd draws its own conclusion.
    fn say(&self, states: &[NotifyState]) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = send(socket, states) {
            tracing::warn!(%error, socket = %socket.display(), "systemd was not reached");
        }
    }
}

fn send(socket: &Path, states: &[NotifyState]) -> io::Result<()> {
    let mut message = String::new();
    for state in states {
        writeln!(message, "{state}").map_err(io::Error::other)?;
    }
    let address = match socket.as_os_str().as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop)
}

/// A line break would begin another field of the message.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn systemd_hears_each_word_in_its_own_form() {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        let systemd = Systemd::at(dir.path().join("notify"));

        systemd.ready("serving 3 servers\nMAINPID=1");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=serving 3 servers MAINPID=1\n");
        systemd.status("idle");
        assert_eq!(heard(&socket), "STATUS=idle\n");
        systemd.extend_timeout(Duration::from_secs(2));
        assert_eq!(heard(&socket), "EXTEND_TIMEOUT_USEC=2000000\n");
        systemd.watchdog();
        assert_eq!(heard(&socket), "WATCHDOG=1\n");
        systemd.stopping("going");
        assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=going\n");

        systemd.reloading();
        let reloading = heard(&socket);
        let usec = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!(usec.parse::<u64>().unwrap() > 0, "{reloading}");
    }

    #[test]
    fn an_abstract_socket_is_reached_too() {
        let name = format!("settled-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Systemd::at(format!("@{name}")).status("idle");
        assert_eq!(heard(&socket), "STATUS=idle\n");
    }

    #[test]
    fn without_systemd_or_with_a_dead_one_nothing_breaks() {
        Systemd::default().ready("serving");
        Systemd::at("/nowhere/notify").ready("serving");
    }
}
