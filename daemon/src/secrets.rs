//! Sealing and opening what must stay secret (P12); masking it in output is next door.
//!
//! A sealed secret is bound to its place (owner and name), so that a row moved elsewhere does not open. Nothing here knows where
//! the key or the rows come from.

mod mask;

use std::fmt;
use std::path::Path;

use aws_lc_rs::hmac;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

pub use mask::Mask;

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
        "a secret was sealed with key {0}, which is not the one in use: bring back the key file that belongs to this store"
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

/// The master key.
#[derive(Clone)]
pub struct Sealer {
    key: Zeroizing<[u8; KEY_BYTES]>,
    id: String,
}

impl Sealer {
    /// A sealer with this key.
    pub fn new(key: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let id = hex::encode(&Sha256::digest([b"settled key id".as_slice(), &key[..]].concat())[..8]);
        Self { key, id }
    }

    /// Reads settled's own key file, which is made from `fresh` when it does not exist: with mode 0600, and wholly or not at all, whenever
    /// the power goes.
    pub fn from_own_file(path: &Path, fresh: impl FnOnce() -> [u8; KEY_BYTES]) -> Result<Self, SecretError> {
        if !path.exists() {
            write_private(path, &Zeroizing::new(fresh())[..])
                .map_err(|e| bad(path, format!("cannot be made: {e}")))?;
        }
        Self::from_file(path, None)
    }

    /// Reads a key file that the operator has named: 32 bytes, which nobody else may read.
    ///
    /// Below `credentials`, systemd's directory of this service, its group may read: systemd 254 and later gives the service's user
    /// access by a list, and the mask of that list shows as the group's right (0440).
    pub fn from_file(path: &Path, credentials: Option<&Path>) -> Result<Self, SecretError> {
        let bad = |message: String| bad(path, message);
        let mode =
            std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path).map_err(|e| bad(e.to_string()))?);
        let handed_over = credentials.is_some_and(|dir| path.starts_with(dir));
        if mode & (if handed_over { 0o037 } else { 0o077 }) != 0 {
            return Err(bad(format!("others may read it (mode {:o}): chmod 600 it", mode & 0o777)));
        }
        let bytes = Zeroizing::new(std::fs::read(path).map_err(|e| bad(e.to_string()))?);
        let key: [u8; KEY_BYTES] =
            bytes[..].try_into().map_err(|_| bad(format!("holds {} bytes, not {KEY_BYTES}", bytes.len())))?;
        Ok(Self::new(Zeroizing::new(key)))
    }

    /// Names the key, without telling it.
    pub fn key_id(&self) -> &str {
        &self.id
    }

    /// Seals a secret for its place. `nonce` must be fresh randomness.
    pub fn seal(
        &self,
        owner: &str,
        name: &str,
        secret: &[u8],
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, SecretError> {
        let place = place(owner, name);
        let payload = Payload { msg: secret, aad: &place };
        let sealed =
            self.cipher().encrypt(&XNonce::from(nonce), payload).map_err(|_| SecretError::Damaged)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Opens a sealed secret of this place.
    pub fn open(
        &self,
        owner: &str,
        name: &str,
        key_id: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        if key_id != self.id {
            return Err(SecretError::OtherKey(key_id.to_owned()));
        }
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(SecretError::Damaged)?;
        let place = place(owner, name);
        let payload = Payload { msg: rest, aad: &place };
        let secret =
            self.cipher().decrypt(&XNonce::from(*nonce), payload).map_err(|_| SecretError::Damaged)?;
        Ok(Zeroizing::new(secret))
    }

    /// A digest of something that may hold secrets: only the holder of the key can test guesses against it.
    pub fn fingerprint(&self, content: &[u8]) -> String {
        let inner = Sha256::digest([&self.key[..], b"fingerprint", content].concat());
        hex::encode(Sha256::digest([&self.key[..], &inner[..]].concat()))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.key).into())
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("key_id", &self.id).finish_non_exhaustive()
    }
}

fn place(owner: &str, name: &str) -> Vec<u8> {
    format!("{owner}\n{name}").into_bytes()
}

fn bad(path: &Path, message: String) -> SecretError {
    SecretError::KeyFile { path: path.display().to_string(), message }
}

/// What is sealed with a key is lost with it: the file is on the disk, under its name, before anything can be.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let beside = path.with_extension("new");
    if beside.exists() {
        std::fs::remove_file(&beside)?;
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    match path.parent() {
        Some(directory) => std::fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(byte: u8) -> Sealer {
        Sealer::new(Zeroizing::new([byte; KEY_BYTES]))
    }

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

    #[test]
    fn p12_a_sealed_secret_opens_only_in_its_place_and_with_its_key() {
        let sealed = sealer(1).seal("owner", "password", b"hunter22", [7; NONCE_BYTES]).unwrap();
        assert!(!sealed.windows(8).any(|w| w == b"hunter22"));
        let id = sealer(1).key_id().to_owned();
        assert_eq!(*sealer(1).open("owner", "password", &id, &sealed).unwrap(), b"hunter22");
        assert!(matches!(sealer(1).open("owner", "other", &id, &sealed), Err(SecretError::Damaged)));
        assert!(matches!(sealer(1).open("other", "password", &id, &sealed), Err(SecretError::Damaged)));
        assert!(matches!(sealer(2).open("owner", "password", &id, &sealed), Err(SecretError::OtherKey(_))));
        assert!(matches!(sealer(1).open("owner", "password", &id, &sealed[..9]), Err(SecretError::Damaged)));
    }

    #[test]
    fn p12_a_key_that_others_may_read_is_refused_but_for_the_group_of_a_credential() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settled.key");
        std::fs::write(&path, [7; KEY_BYTES]).unwrap();
        let elsewhere = Path::new("/run/credentials/other.service");
        // (mode, as an ordinary file, as a credential)
        for (mode, ordinary, credential) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o440, false, true),
            (0o460, false, false),
            (0o444, false, false),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = |credentials| Sealer::from_file(&path, credentials);
            assert_eq!(read(None).is_ok(), ordinary, "{mode:o}");
            assert_eq!(read(Some(elsewhere)).is_ok(), ordinary, "{mode:o} outside the directory");
            assert_eq!(read(Some(dir.path())).is_ok(), credential, "{mode:o} as a credential");
        }
        let message = Sealer::from_file(&path, None).unwrap_err().to_string();
        assert!(message.contains("mode 444") && message.contains("chmod 600"), "{message}");
    }

    #[test]
    fn p12_a_key_is_made_once_and_only_where_settled_keeps_its_own() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let named = Sealer::from_file(&path, None).unwrap_err().to_string();
        assert!(named.contains("No such file") && !path.exists(), "{named}");
        // What a crash has left of an earlier attempt.
        std::fs::write(dir.path().join("key.new"), [1; 3]).unwrap();
        let made = Sealer::from_own_file(&path, || [7; KEY_BYTES]).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let again = Sealer::from_own_file(&path, || panic!("there is one")).unwrap();
        assert_eq!(again.key_id(), made.key_id());
        assert_eq!(Sealer::from_file(&path, None).unwrap().key_id(), made.key_id());
    }
}
