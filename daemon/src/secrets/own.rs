//! The installation's own key: what only this installation may recognise is made with it, whichever master key it has.

use aws_lc_rs::hmac;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use zeroize::Zeroizing;

use super::seal::{decrypt, encrypt};
use super::{KEY_BYTES, NONCE_BYTES, SecretError};

/// A secret of the installation, made at its first start and never changed.
pub struct OwnKey {
    digests: hmac::Key,
    texts: XChaCha20Poly1305,
}

impl OwnKey {
    /// The key of these bytes.
    pub fn new(secret: &[u8]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let part = |name: &str| {
            let mut key = Zeroizing::new([0; KEY_BYTES]);
            key.copy_from_slice(hmac::sign(&root, name.as_bytes()).as_ref());
            key
        };
        Self {
            digests: hmac::Key::new(hmac::HMAC_SHA256, &part("settled digests")[..]),
            texts: XChaCha20Poly1305::new(&(*part("settled texts")).into()),
        }
    }

    /// A digest of something that may hold secrets: only the holder of the key can test guesses against it.
    pub fn fingerprint(&self, content: &[u8]) -> String {
        hex::encode(hmac::sign(&self.digests, content))
    }

    /// Hides a text that leaves the installation and comes back to this place. `nonce` must be fresh randomness.
    pub fn hide(&self, place: &str, text: &str, nonce: [u8; NONCE_BYTES]) -> Result<Vec<u8>, SecretError> {
        encrypt(&self.texts, place.as_bytes(), text.as_bytes(), nonce)
    }

    /// What was hidden for this place; `None` when it was not.
    pub fn reveal(&self, place: &str, hidden: &[u8]) -> Option<String> {
        let text = decrypt(&self.texts, place.as_bytes(), hidden).ok()?;
        String::from_utf8(text.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_revealed_in_its_place_by_its_key_alone() {
        let (own, other) = (OwnKey::new(&[7; 32]), OwnKey::new(&[8; 32]));
        let hidden = own.hide("list", "web1", [9; NONCE_BYTES]).unwrap();
        assert!(!hidden.windows(4).any(|w| w == b"web1"));
        assert_eq!(own.reveal("list", &hidden).as_deref(), Some("web1"));
        assert_eq!(own.reveal("other", &hidden), None);
        assert_eq!(other.reveal("list", &hidden), None);
        assert_eq!(own.fingerprint(b"a"), OwnKey::new(&[7; 32]).fingerprint(b"a"));
        assert_ne!(own.fingerprint(b"a"), other.fingerprint(b"a"));
    }
}
