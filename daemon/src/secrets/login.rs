//! The installation's own key to servers: an Ed25519 pair, of which servers are given the public half.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{KEY_BYTES, SecretError};

const KIND: &str = "ssh-ed25519";
/// What stands before the 32 bytes of a private key in PKCS#8 (RFC 8410, section 7).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The pair.
pub struct LoginKey {
    seed: Zeroizing<[u8; KEY_BYTES]>,
    pair: Ed25519KeyPair,
}

impl LoginKey {
    /// The pair that these 32 bytes make.
    pub fn new(seed: &[u8]) -> Result<Self, SecretError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| SecretError::Damaged)?;
        let seed = Zeroizing::new(seed.try_into().map_err(|_| SecretError::Damaged)?);
        Ok(Self { seed, pair })
    }

    /// The private half, PEM.
    pub fn private(&self) -> Zeroizing<Vec<u8>> {
        let der = Zeroizing::new([&PKCS8[..], &self.seed[..]].concat());
        let text = Zeroizing::new(STANDARD.encode(&der[..]));
        let pem = ["-----BEGIN PRIVATE KEY-----\n", &text, "\n-----END PRIVATE KEY-----\n"];
        Zeroizing::new(pem.concat().into_bytes())
    }

    /// The line for `authorized_keys`, with this comment.
    pub fn authorized_key(&self, comment: &str) -> String {
        format!("{KIND} {} {comment}", STANDARD.encode(self.public()))
    }

    /// As `ssh-keygen -lf` prints it.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(self.public())))
    }

    /// The public half, as SSH sends it (RFC 8709, section 4): each part behind its length.
    fn public(&self) -> Vec<u8> {
        let part = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes(), bytes].concat();
        [part(KIND.as_bytes()), part(self.pair.public_key().as_ref())].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_half_is_what_openssh_makes_of_the_private_one() {
        // The pair of RFC 8032, section 7.1, test 1.
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let key = LoginKey::new(&seed).unwrap();
        let public = hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap();
        assert!(key.public().ends_with(&public));
        let line = key.authorized_key("settled@here");
        assert!(
            line.starts_with("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI") && line.ends_with(" settled@here"),
            "{line}"
        );
        assert!(LoginKey::new(&seed[1..]).is_err());
    }
}
