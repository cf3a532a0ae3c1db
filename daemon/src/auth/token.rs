//! Bearer tokens: what a caller over TCP shows. 256 random bits, and a checksum, so that a typo is told from a token that nobody knows
//! before anything is looked up. What is stored is only a digest: whoever reads the store cannot show what was shown.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// What the principal of a token begins with.
pub const TOKEN: &str = "token:";
/// What every token begins with, so that one is known by sight wherever it should not be.
const PREFIX: &str = "st_";
/// The random part, in characters.
const RANDOM_CHARS: usize = 43;
/// The checksum, in characters.
const CHECK_CHARS: usize = 6;

/// A text that is no token of any settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what was sent is not a token: one begins with {PREFIX} and has {} characters; was it cut, or mistyped?", PREFIX.len() + RANDOM_CHARS + CHECK_CHARS)]
pub struct NotAToken;

/// A token's secret. Gone from memory with it.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// The token of these random bits.
    pub fn new(random: &Zeroizing<[u8; 32]>) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + RANDOM_CHARS + CHECK_CHARS));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(random.as_slice(), &mut text);
        let check = checksum(&text);
        text.push_str(&check);
        Self(text)
    }

    /// The token that this text is, by its form.
    pub fn read(text: &str) -> Result<Self, NotAToken> {
        let (body, check) = text.split_at_checked(PREFIX.len() + RANDOM_CHARS).ok_or(NotAToken)?;
        if !body.starts_with(PREFIX) || check != checksum(body) {
            return Err(NotAToken);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// What is stored of it. Its bits are random: no salt and no slow digest would make them harder to guess.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.0.as_bytes()))
    }

    /// The secret, to be told once.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

fn checksum(body: &str) -> String {
    let mut check = URL_SAFE_NO_PAD.encode(Sha256::digest([b"checksum ", body.as_bytes()].concat()));
    check.truncate(CHECK_CHARS);
    check
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn p14_a_token_is_read_as_it_was_told_and_with_one_wrong_character_not_at_all(
            random: [u8; 32], at in 0_usize..52, other in "[A-Za-z0-9_-]",
        ) {
            let token = Token::new(&Zeroizing::new(random));
            let text = token.expose().to_owned();
            prop_assert_eq!(text.len(), 52);
            prop_assert_eq!(Token::read(&text).unwrap().digest(), token.digest());
            let shown = format!("{:?} {}", token, token.digest());
            prop_assert!(!shown.contains(&text));
            let mut wrong = text.clone();
            wrong.replace_range(at..=at, &other);
            if wrong != text {
                prop_assert_eq!(Token::read(&wrong).unwrap_err(), NotAToken);
            }
            for cut in [&text[..at], &format!("{text}x"), &text[1..]] {
                prop_assert_eq!(Token::read(cut).unwrap_err(), NotAToken);
            }
        }

        #[test]
        fn p14_whatever_is_sent_as_a_token_is_refused_in_peace(text: String) {
            prop_assert!(Token::read(&text).is_err());
        }
    }
}
