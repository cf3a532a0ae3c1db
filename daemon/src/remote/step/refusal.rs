//! What a server says when it does not let us speak: sudo, restricted shells, closed accounts. Pure.

use crate::remote::RemoteError;

/// What sudo and shells print, in lower case, and what to do about it. The first that fits counts.
const KNOWN: &[(&[&str], &str)] = &[
    (
        &["must have a tty", "no tty present"],
        "sudo on the server wants a terminal: remove `requiretty` for the login user (`Defaults:USER !requiretty` in /etc/sudoers.d/settled)",
    ),
    (
        &["password is required", "interactive authentication is required"],
        "sudo on the server asks the login user for a password: allow it without (`USER ALL=(ALL) NOPASSWD: ALL` in /etc/sudoers.d/settled), or log in as root",
    ),
    (
        &["not in the sudoers file", "may not run sudo", "is not allowed to", "i'm afraid i can't do that"],
        "the login user may not use sudo on the server: allow it (`USER ALL=(ALL) NOPASSWD: ALL` in /etc/sudoers.d/settled), or log in as root",
    ),
    (
        &["sudo: command not found", "sudo: not found", "unknown command: sudo", "command not found: sudo"],
        "the server has no sudo: install the package sudo, or log in as root",
    ),
    (
        &["restricted: cannot specify", "/bin/sh: restricted", "rbash: "],
        "the login user's shell is restricted: give it an ordinary one (`chsh -s /bin/bash USER`), or use another login user",
    ),
    (
        &["account is currently not available", "account is not available", "nologin"],
        "the login user may not log in (its shell is nologin): give it a shell, or use another login user",
    ),
    (
        &["this service allows sftp connections only", "only allows sftp"],
        "the server allows the login user file transfer only: use another login user",
    ),
    (
        &["/bin/sh: no such file", "/bin/sh: not found"],
        "the server has no /bin/sh: install a POSIX shell, for instance the package dash",
    ),
];

/// Bytes of what the server said that an error repeats.
const EXCERPT_BYTES: usize = 300;

/// Makes an error of an exit status without an answer.
pub(super) fn read(status: u32, stderr: &[u8], stdout: &[u8]) -> RemoteError {
    let said = [String::from_utf8_lossy(stderr), String::from_utf8_lossy(stdout)].join("\n");
    let lower = said.to_lowercase();
    let known = KNOWN.iter().find(|(signs, _)| signs.iter().any(|sign| lower.contains(sign)));
    match known {
        Some((_, sentence)) => RemoteError::Refused(format!("{sentence} (it said: {})", excerpt(&said))),
        None if status == 0 => {
            RemoteError::Protocol(format!("the answer has no end; it said: {}", excerpt(&said)))
        }
        None => RemoteError::Protocol(format!(
            "the shell on the server ended with exit status {status} before it answered; it said: {}",
            excerpt(&said)
        )),
    }
}

/// The first lines, on one.
fn excerpt(said: &str) -> String {
    let words: Vec<&str> = said.split_whitespace().collect();
    let line = words.join(" ");
    if line.is_empty() {
        return "nothing".to_owned();
    }
    let end = (0..=EXCERPT_BYTES.min(line.len())).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
    if end < line.len() { format!("{}...", &line[..end]) } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(stderr: &str) -> Option<String> {
        match read(1, stderr.as_bytes(), b"") {
            RemoteError::Refused(sentence) => Some(sentence),
            _ => None,
        }
    }

    #[test]
    fn failures_of_sudo_are_named_with_what_to_do() {
        let says = [
            ("sudo: a password is required\n", "NOPASSWD"),
            ("sudo: interactive authentication is required\n", "NOPASSWD"),
            ("sudo: sorry, you must have a tty to run sudo\n", "requiretty"),
            ("guest is not in the sudoers file.\n", "may not use sudo"),
            ("Sorry, user guest is not allowed to execute '/bin/sh -s' as root on h1.\n", "may not use sudo"),
            ("bash: line 1: sudo: command not found\n", "has no sudo"),
            ("sh: 1: sudo: not found\n", "has no sudo"),
            ("rbash: /bin/sh: restricted: cannot specify `/' in command names\n", "restricted"),
            ("This account is currently not available.\n", "nologin"),
        ];
        for (said, expected) in says {
            let sentence = refused(said).unwrap_or_else(|| panic!("not recognised: {said}"));
            assert!(sentence.contains(expected), "{said} gave {sentence}");
        }
    }

    #[test]
    fn anything_else_is_repeated_in_part() {
        let RemoteError::Protocol(sentence) = read(2, "ö".repeat(1000).as_bytes(), b"") else {
            panic!("a stranger's words are no refusal")
        };
        assert!(sentence.contains("exit status 2") && sentence.len() < 500, "{sentence}");
    }
}
