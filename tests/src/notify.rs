//! The service manager's end of the notify socket: collects what a daemon tells systemd.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

/// A guard against hanging for ever; what is awaited comes within milliseconds.
const WITHIN: Duration = Duration::from_secs(30);

/// A socket like systemd's. Give [`FakeSystemd::path`] to the daemon as `NOTIFY_SOCKET`.
pub struct FakeSystemd {
    directory: TempDir,
    socket: UnixDatagram,
    messages: Vec<String>,
}

impl FakeSystemd {
    /// Listens. Call it inside a tokio runtime.
    pub fn start() -> Self {
        let directory =
            tempfile::Builder::new().prefix("settled-notify-").tempdir().expect("a temporary directory");
        let socket = UnixDatagram::bind(directory.path().join("socket")).expect("a notify socket");
        Self { directory, socket, messages: Vec::new() }
    }

    /// What `NOTIFY_SOCKET` is to be.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Every message so far, each a few lines `NAME=value`, in the order of arrival.
    pub fn messages(&self) -> &[String] {
        &self.messages
    }

    /// Waits for the next message and returns it. Panics when none comes.
    pub async fn next(&mut self) -> &str {
        let mut buffer = vec![0; 64 << 10];
        let received = timeout(WITHIN, self.socket.recv(&mut buffer)).await;
        let length = received.unwrap_or_else(|_| panic!("no message came; before: {:#?}", self.messages));
        buffer.truncate(length.expect("the notify socket can be read"));
        self.messages.push(String::from_utf8(buffer).expect("messages to systemd are UTF-8"));
        &self.messages[self.messages.len() - 1]
    }

    /// Whether no further message has arrived until now; one that has is among [`FakeSystemd::messages`].
    pub fn is_silent(&mut self) -> bool {
        let mut buffer = vec![0; 64 << 10];
        let Ok(length) = self.socket.try_recv(&mut buffer) else { return true };
        self.messages.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        false
    }

    /// Waits for a message with the given line, such as `READY=1`, and returns the whole message; what came before is
    /// in [`FakeSystemd::messages`]. Panics when none comes.
    pub async fn wait_for(&mut self, line: &str) -> String {
        loop {
            let message = self.next().await;
            if message.lines().any(|found| found == line) {
                return message.to_owned();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use settled::process::Systemd;

    use super::*;

    #[tokio::test]
    async fn messages_are_collected_in_order_and_awaited() {
        let mut systemd = FakeSystemd::start();
        let daemon = Systemd::at(systemd.path());
        daemon.status("migrating");
        daemon.ready("serving");
        assert_eq!(systemd.wait_for("READY=1").await, "READY=1\nSTATUS=serving\n");
        assert_eq!(systemd.messages().len(), 2);
        daemon.stopping("bye");
        assert!(systemd.next().await.starts_with("STOPPING=1\n"));
    }
}
