//! Sentences for people: where, what happened, why. No Debug dump and no secret ever passes here.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::time::Instant;

use crate::remote::{RemoteError, Target};

/// Text from a server is cut to this many characters before people see it.
const FOREIGN_TEXT_MAX: usize = 200;

/// Where a server is, and by whom it is reached: `db1:22 via gate:22`.
pub(super) fn address(target: &Target) -> String {
    match &target.via {
        Some(jump) => format!("{} via {}", place(target), address(jump)),
        None => place(target),
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn place(target: &Target) -> String {
    if target.host.contains(':') {
        format!("[{}]:{}", target.host, target.port)
    } else {
        format!("{}:{}", target.host, target.port)
    }
}

/// The cause of an I/O error without the number of the errno.
pub(super) fn io_cause(error: &io::Error) -> String {
    let whole = error.to_string();
    match whole.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => whole,
    }
}

/// The cause of an SSH error.
pub(super) fn ssh_cause(error: &russh::Error) -> String {
    use russh::Error;
    match error {
        Error::HUP | Error::Disconnect | Error::SendError | Error::RecvError => {
            "the server closed the connection".to_owned()
        }
        Error::KeepaliveTimeout | Error::InactivityTimeout | Error::ConnectionTimeout => {
            "the server fell silent".to_owned()
        }
        Error::Version => "what listens there does not speak SSH 2".to_owned(),
        Error::NoCommonAlgo { theirs, .. } => {
            format!("it offers only algorithms that settled does not use: {}", foreign(&theirs.join(", ")))
        }
        Error::IO(error) => io_cause(error),
        other => other.to_string(),
    }
}

/// Text that a server sent, made harmless for terminals and logs.
pub(super) fn foreign(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(FOREIGN_TEXT_MAX).collect()
}

/// When an answer is due; all waiting for one answer shares it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    span: Duration,
}

impl Deadline {
    /// Begins now. A span that the clock cannot hold ends in about thirty years.
    pub(super) fn after(span: Duration) -> Self {
        let now = Instant::now();
        let far = Duration::from_hours(30 * 365 * 24);
        Self { at: now.checked_add(span).unwrap_or(now + far), span }
    }

    /// Waits for `future`; past the deadline it is dropped and `what` begins the sentence: "<what> after 30s".
    pub(super) async fn bound<T>(
        &self,
        future: impl Future<Output = T>,
        what: impl FnOnce() -> String,
    ) -> Result<T, RemoteError> {
        tokio::time::timeout_at(self.at, future)
            .await
            .map_err(|_| RemoteError::Unreachable(format!("{} after {:?}", what(), self.span)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_words_without_numbers() {
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(io_cause(&refused), "connection refused");
        assert_eq!(ssh_cause(&russh::Error::HUP), "the server closed the connection");
    }

    #[test]
    fn text_from_a_server_cannot_move_the_cursor() {
        assert_eq!(foreign("bye\x1b[2J\r\n"), "bye [2J  ");
        assert_eq!(foreign(&"x".repeat(5_000)).len(), FOREIGN_TEXT_MAX);
    }
}
