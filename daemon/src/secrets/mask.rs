//! Masking secrets in a stream of output (P12), as they are and in the encodings in which programs like to print them.
//!
//! Every masked byte becomes one asterisk, so that offsets stay true. What may be the beginning of a secret is held back until more is known,
//! so that it does not matter where the stream is cut into pieces. It knows bytes only, not whose they are.

use std::fmt::Write as _;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use memchr::memmem;
use zeroize::Zeroizing;

/// Shorter secrets are not masked: they would blank ordinary output and protect nothing.
const MASKED_BYTES_MIN: usize = 4;

/// Replaces secrets in a stream of output.
pub struct Mask {
    /// What is masked, the longest first.
    forms: Vec<Zeroizing<Vec<u8>>>,
    /// The end of what came in, as far as it may be the beginning of a form.
    context: Zeroizing<Vec<u8>>,
    /// How many bytes of it have been given out: they were masked already.
    given: usize,
}

impl Mask {
    /// A mask for these secrets: whole, line by line (a file's secret ends with a line end that `$(cat ..)` leaves out), and encoded.
    /// Without any secret it lets everything through at once.
    pub fn new(secrets: impl IntoIterator<Item = Zeroizing<Vec<u8>>>) -> Self {
        let mut forms: Vec<_> = secrets.into_iter().flat_map(forms_of).collect();
        forms.retain(|form| form.len() >= MASKED_BYTES_MIN);
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self { forms, context: Zeroizing::new(Vec::new()), given: 0 }
    }

    /// Bytes taken in and not given out yet.
    pub fn held(&self) -> usize {
        self.context.len() - self.given
    }

    /// Takes a piece, gives what is certain. With `last` everything: an end that could have become a secret, had it not been cut off, is
    /// masked like one.
    pub fn pass(&mut self, piece: &[u8], last: bool) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.context);
        bytes.extend_from_slice(piece);
        let given = std::mem::take(&mut self.given);

        let secret = self.found(&bytes);
        let mut shown = bytes.to_vec();
        for range in &secret {
            shown[range.clone()].fill(b'*');
        }
        let tail = bytes.len() - self.tail(&bytes);
        if last {
            if bytes.len() - tail >= MASKED_BYTES_MIN {
                shown[tail..].fill(b'*');
            }
            return shown.split_off(given);
        }
        // What is masked already is certain, whatever follows; and whoever goes on from there knows nothing of what was before.
        let certain =
            secret.iter().fold(tail, |to, range| if range.start <= to { to.max(range.end) } else { to });
        let certain = certain.max(given);
        self.given = certain - tail;
        self.context = Zeroizing::new(bytes[tail..].to_vec());
        shown[given..certain].to_vec()
    }

    /// Where there is a secret, in order of the beginnings. They may overlap.
    fn found(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for form in &self.forms {
            let mut from = 0;
            while let Some(at) = memmem::find(&bytes[from..], form) {
                found.push(from + at..from + at + form.len());
                from += at + 1;
            }
        }
        found.sort_by_key(|range| range.start);
        found
    }

    /// Length of the longest end of `bytes` that may be the beginning of a secret.
    fn tail(&self, bytes: &[u8]) -> usize {
        let longest = self.forms.first().map_or(0, |form| form.len() - 1).min(bytes.len());
        (1..=longest)
            .rev()
            .find(|&n| {
                self.forms.iter().any(|form| form.len() > n && form.starts_with(&bytes[bytes.len() - n..]))
            })
            .unwrap_or(0)
    }
}

/// What is masked of one secret.
fn forms_of(secret: Zeroizing<Vec<u8>>) -> Vec<Zeroizing<Vec<u8>>> {
    let mut forms = Vec::new();
    let lines = secret.split(|byte| matches!(byte, b'\n' | b'\r'));
    forms.extend(lines.map(|line| Zeroizing::new(line.to_vec())));
    let bare = secret.trim_ascii_end();
    for value in [&secret[..], bare] {
        if value.len() >= MASKED_BYTES_MIN {
            encodings(value, &mut |text| forms.push(Zeroizing::new(text.into_bytes())));
        }
    }
    forms.push(secret);
    forms
}

/// A secret in base64 (both alphabets, wherever it stands in what is encoded), in hexadecimal digits, percent-encoded, and escaped for JSON
/// and for a shell.
fn encodings(secret: &[u8], tell: &mut dyn FnMut(String)) {
    for before in 0..3 {
        let framed = Zeroizing::new([&[0; 2][..before.min(2)], secret].concat());
        // Characters that hold bits of what stands before or behind.
        let (first, last) = ((before * 8).div_ceil(6), usize::from(framed.len() % 3 != 0));
        for alphabet in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let text = Zeroizing::new(alphabet.encode(&framed));
            tell(text[first..text.len() - last].to_owned());
        }
    }
    tell(hex::encode(secret));
    tell(hex::encode_upper(secret));
    for space in ["%20", "+"] {
        tell(percent(secret, space, |text, byte| write!(text, "%{byte:02X}")));
        tell(percent(secret, space, |text, byte| write!(text, "%{byte:02x}")));
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        if let Ok(json) = serde_json::to_string(text) {
            tell(json[1..json.len() - 1].to_owned());
        }
        tell(text.replace('\'', "'\\''"));
        tell(text.replace('\'', "'\"'\"'"));
    }
}

fn percent(secret: &[u8], space: &str, escape: impl Fn(&mut String, u8) -> std::fmt::Result) -> String {
    let mut text = String::new();
    for &byte in secret {
        match byte {
            b' ' => text.push_str(space),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            // Writing to a text never fails.
            _ => drop(escape(&mut text, byte)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn mask(secrets: &[&[u8]]) -> Mask {
        Mask::new(secrets.iter().map(|secret| Zeroizing::new(secret.to_vec())))
    }

    /// What comes out when the text comes in pieces that end at these places.
    fn in_pieces(mask: &mut Mask, text: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        ends.sort_unstable();
        let (mut out, mut from) = (Vec::new(), 0);
        for to in ends {
            out.extend(mask.pass(&text[from..to], false));
            from = to;
        }
        out.extend(mask.pass(&text[from..], true));
        out
    }

    #[test]
    fn p12_a_secret_from_a_file_is_masked_without_its_line_end_and_line_by_line() {
        let mut mask = mask(&[b"hunter22\n", b"first line\r\nsecond"]);
        let out = mask.pass(b"got hunter22, first line; then second\n", true);
        assert_eq!(out, b"got ********, **********; then ******\n");
    }

    #[test]
    fn p12_output_is_masked_wherever_it_is_cut() {
        let text = b"start hunter22 middle hunthunter22 end hunt2";
        for cut in 0..=text.len() {
            let out = in_pieces(&mut mask(&[b"hunter22"]), text, &[cut]);
            assert_eq!(out, b"start ******** middle hunt******** end hunt2", "cut at {cut}");
        }
    }

    #[test]
    fn p12_the_end_of_a_secret_that_is_the_beginning_of_one_is_not_shown_by_the_next_piece() {
        let mut twice = mask(&[b"hunterhunter"]);
        assert_eq!(
            twice.pass(b"pw=hunterhunter", false),
            b"pw=************",
            "what is masked is not held back"
        );
        assert_eq!(twice.pass(b"\n", true), b"\n");
        let mut chained = mask(&[b"abcd", b"cdxyz"]);
        assert_eq!(chained.pass(b"abcd", false), b"****");
        assert_eq!(chained.pass(b"zz", true), b"zz");
        let mut chained = mask(&[b"abcd", b"cdxyz"]);
        assert_eq!([chained.pass(b"abcd", false), chained.pass(b"xyz", true)].concat(), b"*******");
    }

    #[test]
    fn p12_output_that_is_cut_within_a_secret_shows_none_of_it() {
        for shown in 0..8 {
            let text = [b"the key is ", &b"hunter22"[..shown]].concat();
            let out = mask(&[b"hunter22"]).pass(&text, true);
            let expected = if shown < MASKED_BYTES_MIN {
                text
            } else {
                [b"the key is ", &b"********"[..shown]].concat()
            };
            assert_eq!(out, expected, "{shown} bytes came");
        }
    }

    #[test]
    fn p12_a_secret_is_masked_in_every_encoding_across_borders() {
        let secret = "it's a \"s\u{e9}cret\"/?>~";
        let base64 = |before: &str, behind: &str| STANDARD_NO_PAD.encode([before, secret, behind].concat());
        // (what is printed, how many of its characters stay: those that tell of what stands around the secret, too)
        let printed = [
            (secret.to_owned(), 0),
            (base64("", ""), 1),
            (base64("x", "yz"), 5),
            (base64("user:", "\n"), 9),
            (URL_SAFE_NO_PAD.encode(secret), 1),
            (hex::encode(secret), 0),
            (hex::encode_upper(secret), 0),
            ("it%27s%20a%20%22s%C3%A9cret%22%2F%3F%3E~".to_owned(), 0),
            ("it%27s+a+%22s%c3%a9cret%22%2f%3f%3e~".to_owned(), 0),
            ("it's a \\\"s\u{e9}cret\\\"/?>~".to_owned(), 0),
            ("it'\\''s a \"s\u{e9}cret\"/?>~".to_owned(), 0),
            ("it'\"'\"'s a \"s\u{e9}cret\"/?>~".to_owned(), 0),
        ];
        for (text, around) in printed {
            for cut in 0..=text.len() {
                let out = in_pieces(&mut mask(&[secret.as_bytes()]), text.as_bytes(), &[cut]);
                let stays = out.iter().filter(|byte| **byte != b'*').count();
                assert!(stays <= around, "{text}, cut at {cut}: {}", String::from_utf8_lossy(&out));
            }
        }
    }

    /// What should be shown, found in the plainest way.
    fn expected(forms: &[Zeroizing<Vec<u8>>], text: &[u8]) -> Vec<u8> {
        let mut shown = text.to_vec();
        for form in forms {
            for at in 0..text.len() {
                if text[at..].starts_with(form) {
                    shown[at..at + form.len()].fill(b'*');
                }
            }
        }
        let begins = |from: usize| {
            forms.iter().any(|form| form.len() > text.len() - from && form.starts_with(&text[from..]))
        };
        let cut_off =
            (0..text.len()).find(|from| begins(*from)).filter(|from| text.len() - from >= MASKED_BYTES_MIN);
        shown[cut_off.unwrap_or(text.len())..].fill(b'*');
        shown
    }

    proptest! {
        #[test]
        fn p12_output_is_masked_the_same_wherever_it_is_cut(
            secrets in vec("[ab]{4,7}", 1..4),
            text in "[ab ]{0,40}",
            cuts in vec(0usize..50, 0..6),
        ) {
            let secrets: Vec<_> = secrets.iter().map(String::as_bytes).collect();
            let mut mask = mask(&secrets);
            let expected = expected(&mask.forms, text.as_bytes());
            prop_assert_eq!(in_pieces(&mut mask, text.as_bytes(), &cuts), expected);
        }
    }
}
