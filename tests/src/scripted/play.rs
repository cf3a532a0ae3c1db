//! How a payload goes: what a test says of it in advance.

use std::time::Duration;

/// Longer than any test, and than any step may take.
const HELD: Duration = Duration::from_secs(86_400);

/// How one payload goes, once it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Play {
    /// From its start to its own end.
    pub takes: Duration,
    /// How it ends by itself.
    pub end: End,
    /// What it writes, and when after its start.
    pub output: Vec<(Duration, Vec<u8>)>,
    /// How long it goes on after TERM. Longer than the grace: it is killed.
    pub after_term: Duration,
    /// What it writes to `SETTLED_OUTPUT`.
    pub result: Vec<u8>,
    /// The first start is only stored; the payload starts with the second.
    pub slow: bool,
}

/// How a payload ends when nobody ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Exit(i32),
    /// Somebody on the server kills it.
    Killed,
    /// Without a record, before or after it had its effect.
    NoRecord {
        /// It had its effect.
        done: bool,
    },
    /// Its supervisor dies, its processes live on for this long. It has its effect.
    Orphan(Duration),
}

impl Play {
    /// Ends with this exit code at once.
    pub fn exit(code: i32) -> Self {
        Self {
            takes: Duration::ZERO,
            end: End::Exit(code),
            output: Vec::new(),
            after_term: Duration::from_secs(1),
            result: Vec::new(),
            slow: false,
        }
    }

    /// Ends well after this time.
    pub fn takes(takes: Duration) -> Self {
        Self { takes, ..Self::exit(0) }
    }

    /// Goes on until it is released ([`super::Scripted::release`]).
    pub fn held() -> Self {
        Self::takes(HELD)
    }

    /// Ends so instead.
    #[must_use]
    pub fn ending(self, end: End) -> Self {
        Self { end, ..self }
    }

    /// Writes this to `SETTLED_OUTPUT`.
    #[must_use]
    pub fn tells(self, result: &str) -> Self {
        Self { result: result.as_bytes().to_vec(), ..self }
    }

    /// Writes this, `after` its start.
    #[must_use]
    pub fn writes(mut self, after: Duration, text: &str) -> Self {
        self.output.push((after, text.as_bytes().to_vec()));
        self
    }
}
