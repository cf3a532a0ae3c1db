//! Seals a secret for its place in the store, and opens it there.

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::{KEY_BYTES, MasterKey, NONCE_BYTES, SecretError};

/// Where a secret is kept: it opens nowhere else.
///
/// A row of `former_secret` is a copy of one of `secret`, and becomes it again when its update is taken back: it stays bound to the place that
/// it has left, and opens as what it was. That someone who writes the database puts a former value back is nothing that this could hinder: an
/// old backup does the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    table: &'a str,
    owner: &'a str,
    name: &'a str,
    column: &'a str,
}

impl<'a> Place<'a> {
    /// The secret of this name that this owner has.
    pub const fn of(owner: &'a str, name: &'a str) -> Self {
        Self { table: "secret", owner, name, column: "sealed" }
    }

    /// What its sealed bytes are bound to. Not to the master key: another one leaves them as they are.
    fn of_secret(self) -> Vec<u8> {
        bound(&["settled secret", self.table, self.owner, self.name, self.column])
    }

    /// What its sealed key is bound to.
    fn of_key(self, id: &str) -> Vec<u8> {
        bound(&["settled data key", id, self.table, self.owner, self.name, self.column])
    }
}

/// Each part behind its length, so that no two lists of parts look alike.
fn bound(parts: &[&str]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&part.len().to_be_bytes()[..], part.as_bytes()].concat()).collect()
}

/// A sealed secret: the row's own key, sealed with a master key, and the secret, sealed with that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The master key.
    pub key_id: String,
    /// The row's own key.
    pub data_key: Vec<u8>,
    /// The secret.
    pub sealed: Vec<u8>,
}

/// Randomness that nothing else is sealed with.
pub struct Fresh {
    /// The row's own key.
    pub data_key: Zeroizing<[u8; KEY_BYTES]>,
    /// For the sealed key.
    pub key_nonce: [u8; NONCE_BYTES],
    /// For the sealed secret.
    pub nonce: [u8; NONCE_BYTES],
}

/// The master keys that a daemon holds: one, or two while the store goes over from one to the other.
#[derive(Debug, Clone)]
pub struct Keys {
    main: MasterKey,
    next: Option<MasterKey>,
}

impl From<MasterKey> for Keys {
    fn from(main: MasterKey) -> Self {
        Self { main, next: None }
    }
}

impl Keys {
    /// The same with the one that is to take the place of the first.
    #[must_use]
    pub fn with_next(self, next: Option<MasterKey>) -> Self {
        Self { next, ..self }
    }

    /// Id of the first.
    pub fn main(&self) -> &str {
        self.main.id()
    }

    /// Id of the one that is to take its place.
    pub fn next(&self) -> Option<&str> {
        self.next.as_ref().map(MasterKey::id)
    }

    /// Ids of all.
    pub fn ids(&self) -> Vec<String> {
        [Some(self.main()), self.next()].into_iter().flatten().map(str::to_owned).collect()
    }

    /// Whether the key with this id is here.
    pub fn has(&self, id: &str) -> bool {
        self.find(id).is_ok()
    }

    /// Seals a secret for its place with the master key of this id.
    pub fn seal(
        &self,
        id: &str,
        place: Place<'_>,
        secret: &[u8],
        fresh: &Fresh,
    ) -> Result<Sealed, SecretError> {
        let cipher = XChaCha20Poly1305::new(&(*fresh.data_key).into());
        Ok(Sealed {
            key_id: id.to_owned(),
            data_key: encrypt(
                &self.find(id)?.cipher(),
                &place.of_key(id),
                &fresh.data_key[..],
                fresh.key_nonce,
            )?,
            sealed: encrypt(&cipher, &place.of_secret(), secret, fresh.nonce)?,
        })
    }

    /// Opens a sealed secret of this place.
    pub fn open(&self, place: Place<'_>, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let cipher = XChaCha20Poly1305::new(&(*self.data_key(place, sealed)?).into());
        decrypt(&cipher, &place.of_secret(), &sealed.sealed)
    }

    /// The same secret, its key sealed with another master key, if it opens. `nonce` must be fresh randomness.
    pub fn reseal(
        &self,
        id: &str,
        place: Place<'_>,
        sealed: &Sealed,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Sealed, SecretError> {
        self.open(place, sealed)?;
        let key = self.data_key(place, sealed)?;
        let data_key = encrypt(&self.find(id)?.cipher(), &place.of_key(id), &key[..], nonce)?;
        Ok(Sealed { key_id: id.to_owned(), data_key, sealed: sealed.sealed.clone() })
    }

    fn data_key(&self, place: Place<'_>, sealed: &Sealed) -> Result<Zeroizing<[u8; KEY_BYTES]>, SecretError> {
        let id = &sealed.key_id;
        let key = decrypt(&self.find(id)?.cipher(), &place.of_key(id), &sealed.data_key)?;
        Ok(Zeroizing::new(key[..].try_into().map_err(|_| SecretError::Damaged)?))
    }

    fn find(&self, id: &str) -> Result<&MasterKey, SecretError> {
        let mut held = [Some(&self.main), self.next.as_ref()].into_iter().flatten();
        held.find(|key| key.id() == id).ok_or_else(|| SecretError::OtherKey(id.to_owned()))
    }
}

/// The nonce, and what was sealed with it.
pub(super) fn encrypt(
    cipher: &XChaCha20Poly1305,
    bound_to: &[u8],
    text: &[u8],
    nonce: [u8; NONCE_BYTES],
) -> Result<Vec<u8>, SecretError> {
    let payload = Payload { msg: text, aad: bound_to };
    let sealed = cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| SecretError::Damaged)?;
    Ok([&nonce[..], &sealed].concat())
}

pub(super) fn decrypt(
    cipher: &XChaCha20Poly1305,
    bound_to: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(SecretError::Damaged)?;
    let payload = Payload { msg: rest, aad: bound_to };
    let text = cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| SecretError::Damaged)?;
    Ok(Zeroizing::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> MasterKey {
        MasterKey::new(Zeroizing::new([byte; KEY_BYTES]))
    }

    fn fresh(byte: u8) -> Fresh {
        Fresh {
            data_key: Zeroizing::new([byte; KEY_BYTES]),
            key_nonce: [byte + 1; NONCE_BYTES],
            nonce: [byte + 2; NONCE_BYTES],
        }
    }

    fn sealed(keys: &Keys, place: Place<'_>) -> Sealed {
        keys.seal(keys.main(), place, b"hunter22", &fresh(7)).unwrap()
    }

    #[test]
    fn p12_a_sealed_secret_opens_only_in_its_place_and_with_its_key() {
        let (keys, place) = (Keys::from(key(1)), Place::of("owner", "password"));
        let row = sealed(&keys, place);
        assert!(!row.sealed.windows(8).any(|w| w == b"hunter22"));
        assert_eq!(*keys.open(place, &row).unwrap(), b"hunter22");
        let elsewhere = [
            Place::of("owner", "other"),
            Place::of("other", "password"),
            Place::of("ownerp", "assword"),
            Place { table: "token", ..place },
            Place { column: "name", ..place },
        ];
        for place in elsewhere {
            assert!(matches!(keys.open(place, &row), Err(SecretError::Damaged)), "{place:?}");
        }
        let other = Keys::from(key(2));
        assert!(matches!(other.open(place, &row), Err(SecretError::OtherKey(_))));
        let renamed = Sealed { key_id: other.main().to_owned(), ..row.clone() };
        assert!(matches!(other.open(place, &renamed), Err(SecretError::Damaged)), "another key by this name");
        let cut = Sealed { sealed: row.sealed[..9].to_vec(), ..row };
        assert!(matches!(keys.open(place, &cut), Err(SecretError::Damaged)));
    }

    #[test]
    fn p12_the_key_of_one_row_opens_no_other() {
        let (keys, place) = (Keys::from(key(1)), Place::of("owner", "password"));
        let first = sealed(&keys, place);
        let second = keys.seal(keys.main(), place, b"correct-horse", &fresh(40)).unwrap();
        let mixed = Sealed { data_key: first.data_key, ..second };
        assert!(matches!(keys.open(place, &mixed), Err(SecretError::Damaged)));
    }

    #[test]
    fn p12_another_master_key_changes_the_key_of_the_row_alone() {
        let place = Place::of("owner", "password");
        let both = Keys::from(key(1)).with_next(Some(key(2)));
        let before = sealed(&both, place);
        let after = both.reseal(key(2).id(), place, &before, [9; NONCE_BYTES]).unwrap();
        assert_eq!((after.key_id.as_str(), &after.sealed), (key(2).id(), &before.sealed));
        assert_ne!(after.data_key, before.data_key);
        assert_eq!(*Keys::from(key(2)).open(place, &after).unwrap(), b"hunter22");
        assert!(matches!(Keys::from(key(1)).open(place, &after), Err(SecretError::OtherKey(_))));
        let elsewhere = Place::of("owner", "other");
        assert!(matches!(
            both.reseal(key(2).id(), elsewhere, &before, [9; NONCE_BYTES]),
            Err(SecretError::Damaged)
        ));
        assert!(matches!(
            Keys::from(key(1)).reseal(key(2).id(), place, &before, [9; NONCE_BYTES]),
            Err(SecretError::OtherKey(_))
        ));
    }
}
