//! Who holds a lock on a server, in words.

use std::fmt;
use std::time::Duration;

/// A program on a server that holds what somebody waits for. Displayed as `apt-get (pid 4242, for 3 min)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its name, as the kernel knows it: at most 15 characters.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// How long it has been running, by the server's time since boot; zero when that cannot be told.
    pub age: Duration,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}", self.name, self.pid)?;
        if !self.age.is_zero() {
            write!(f, ", for {}", Span(self.age))?;
        }
        f.write_str(")")
    }
}

/// A span for people: its largest unit, rounded down.
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0..60 => write!(f, "{seconds} s"),
            60..3_600 => write!(f, "{} min", seconds / 60),
            3_600..172_800 => write!(f, "{} h", seconds / 3_600),
            _ => write!(f, "{} days", seconds / 86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_named_with_pid_and_age() {
        let said = |seconds| {
            let holder = Holder { name: "apt-get".to_owned(), pid: 4242, age: Duration::from_secs(seconds) };
            holder.to_string()
        };
        assert_eq!(said(0), "apt-get (pid 4242)");
        assert_eq!(said(59), "apt-get (pid 4242, for 59 s)");
        assert_eq!(said(239), "apt-get (pid 4242, for 3 min)");
        assert_eq!(said(172_799), "apt-get (pid 4242, for 47 h)");
        assert_eq!(said(172_800), "apt-get (pid 4242, for 2 days)");
    }
}
