//! Sealing and opening what must stay secret (P12); masking it in output is next door.
//!
//! Each secret is sealed with a random key of its own, and that one with a master key. Both are bound to the place of the row, so that one
//! moved elsewhere does not open, and another master key takes no more than sealing the keys of the rows anew. Nothing here knows where the
//! keys or the rows are kept.

mod key;
mod login;
mod mask;
mod own;
mod seal;

use aws_lc_rs::hmac;

pub use key::MasterKey;
pub use login::LoginKey;
pub use mask::Mask;
pub use own::OwnKey;
pub use seal::{Fresh, Keys, Place, Sealed};

const NONCE_BYTES: usize = 24;
const KEY_BYTES: usize = 32;

/// Why a secret cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The key cannot be read or made.
    #[error("the key file {path}: {message}")]
    KeyFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// It was sealed with a key that is not here.
    #[error(
        "a secret was sealed with the key {0}, which this daemon does not have: bring back the key file that belongs to this store"
    )]
    OtherKey(String),
    /// It does not open: damaged, or moved from another place.
    #[error("a secret does not open: it is damaged, or belongs elsewhere")]
    Damaged,
}

/// What shows that a text comes from whoever holds a secret, and when: HMAC-SHA-256 over the time in seconds, a dot and the text.
pub fn signature(secret: &[u8], seconds: i64, text: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signed = hmac::sign(&key, &[format!("{seconds}.").as_bytes(), text].concat());
    format!("v1={}", hex::encode(signed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_time_and_text() {
        // As `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef` tells.
        let of = |seconds, text: &[u8]| signature(b"0123456789abcdef", seconds, text);
        assert_eq!(
            of(1_700_000_000, b"{\"a\":1}"),
            "v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23"
        );
        assert_ne!(of(1_700_000_001, b"{\"a\":1}"), of(1_700_000_000, b"{\"a\":1}"));
    }
}
