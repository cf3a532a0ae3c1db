//! One mail as it is written (RFC 5322): headers in ASCII, the text in base64, so that no byte of it can be taken for anything else.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Bytes of text in one encoded word of a subject, so that its line stays below 78 characters.
const WORD_BYTES_MAX: usize = 42;
/// Longest subject, in characters.
const SUBJECT_CHARS_MAX: usize = 200;
/// Characters of base64 on one line.
const LINE_CHARS: usize = 76;

/// A mail.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The address that it comes from.
    pub from: String,
    /// The addresses that it goes to.
    pub to: Vec<String>,
    /// Names it among all: the left side of its `Message-ID`.
    pub id: String,
    /// When, as mail has it: `Thu, 26 Nov 2026 18:30:02 +0000`.
    pub date: String,
    /// What filters go by: the header `Settled-Event`.
    pub event: &'static str,
    /// One line.
    pub subject: String,
    /// Plain text.
    pub body: String,
}

impl Mail {
    /// As it is sent, without the end of its last line.
    pub(super) fn text(&self) -> String {
        let domain = self.from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
        let mut text = String::new();
        let mut header = |name: &str, value: &str| {
            // Writing to a String cannot fail.
            let _infallible = write!(text, "{name}: {value}\r\n");
        };
        header("Date", &self.date);
        header("From", &format!("settled <{}>", self.from));
        header("To", &self.to.join(",\r\n "));
        header("Subject", &subject(&self.subject));
        header("Message-ID", &format!("<{}@{domain}>", self.id));
        header("Auto-Submitted", "auto-generated");
        header("Settled-Event", self.event);
        header("MIME-Version", "1.0");
        header("Content-Type", "text/plain; charset=utf-8");
        header("Content-Transfer-Encoding", "base64");
        text.push_str("\r\n");
        text + &lines(&STANDARD.encode(self.body.replace("\r\n", "\n").replace('\n', "\r\n")))
    }
}

/// A subject on one line, as it is where that can be, else in encoded words (RFC 2047).
fn subject(text: &str) -> String {
    let text: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SUBJECT_CHARS_MAX).collect();
    if text.is_ascii() && !text.contains("=?") {
        return text;
    }
    let mut words = vec![String::new()];
    for c in text.chars() {
        match words.last_mut() {
            Some(word) if word.len() + c.len_utf8() <= WORD_BYTES_MAX => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    let encoded = words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
    encoded.collect::<Vec<_>>().join("\r\n ")
}

/// Base64 on lines that mail can bear.
fn lines(base64: &str) -> String {
    let mut rest = base64;
    let mut lines = Vec::new();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(LINE_CHARS));
        lines.push(line);
        rest = more;
    }
    lines.join("\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(subject: &str, body: &str) -> String {
        let mail = Mail {
            from: "settled@example.org".into(),
            to: vec!["a@example.org".into(), "b@example.org".into()],
            id: "01A.7.5".into(),
            date: "Thu, 26 Nov 2026 18:30:02 +0000".into(),
            event: "run_failed",
            subject: subject.into(),
            body: body.into(),
        };
        mail.text()
    }

    #[test]
    fn a_mail_has_its_headers_and_a_text_in_base64() {
        let text = mail("install of web1 has failed", "Gr\u{fc}\u{df}e\n.\n");
        let (headers, body) = text.split_once("\r\n\r\n").unwrap();
        let expected = [
            "Date: Thu, 26 Nov 2026 18:30:02 +0000",
            "From: settled <settled@example.org>",
            "To: a@example.org,",
            " b@example.org",
            "Subject: install of web1 has failed",
            "Message-ID: <01A.7.5@example.org>",
            "Auto-Submitted: auto-generated",
            "Settled-Event: run_failed",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: base64",
        ];
        assert_eq!(headers.split("\r\n").collect::<Vec<_>>(), expected);
        assert_eq!(STANDARD.decode(body).unwrap(), "Gr\u{fc}\u{df}e\r\n.\r\n".as_bytes());
    }

    #[test]
    fn nothing_that_is_told_can_become_a_header_or_end_a_mail() {
        let text = mail("a\r\nBcc: x@example.org\u{0}", "\r\n.\r\nRCPT TO:<x@example.org>\r\n");
        assert!(text.contains("Subject: a  Bcc: x@example.org \r\n"), "{text}");
        assert!(!text.contains("\r\nBcc") && !text.contains("\r\n.\r\n"), "{text}");
    }

    #[test]
    fn a_subject_that_is_not_ascii_is_encoded_in_short_words() {
        assert_eq!(subject("K\u{f6}ln"), "=?utf-8?B?S8O2bG4=?=");
        assert_eq!(subject("=?x"), "=?utf-8?B?PT94?=");
        let long = "\u{20ac}".repeat(300);
        let encoded = subject(&long);
        assert!(encoded.split("\r\n ").all(|word| word.len() <= 75), "{encoded}");
        let word = |word: &str| {
            let inner = word.strip_prefix("=?utf-8?B?").unwrap().strip_suffix("?=").unwrap();
            String::from_utf8(STANDARD.decode(inner).unwrap()).unwrap()
        };
        let decoded: String = encoded.split("\r\n ").map(word).collect();
        assert_eq!(decoded, "\u{20ac}".repeat(SUBJECT_CHARS_MAX));
    }

    #[test]
    fn a_long_text_has_short_lines() {
        let text = mail("a", &"x".repeat(5_000));
        assert!(text.split("\r\n").all(|line| line.len() <= LINE_CHARS));
    }
}
