//! Whom to trust: the one pinned fingerprint, and nobody else. Nothing here asks, learns or remembers.
//!
//! A fingerprint does not tell the type of its key, and a server shows one key per connection. So when the first key shown is not the
//! pinned one, `connect` asks again for the other families of keys before it refuses.

use std::sync::{Arc, OnceLock};

use russh::client::{DisconnectReason, Handler};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey, PublicKeyOrCertificate};

use super::words;
use crate::remote::RemoteError;

/// Families of host keys, most wanted first. RSA never signs with SHA-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Ed25519,
    Ecdsa,
    Rsa,
}

impl Family {
    pub(super) const ALL: [Self; 3] = [Self::Ed25519, Self::Ecdsa, Self::Rsa];

    /// The signature algorithms to offer for it, most wanted first.
    pub(super) fn algorithms(self) -> Vec<Algorithm> {
        match self {
            Self::Ed25519 => vec![Algorithm::Ed25519],
            Self::Ecdsa => [EcdsaCurve::NistP256, EcdsaCurve::NistP384, EcdsaCurve::NistP521]
                .map(|curve| Algorithm::Ecdsa { curve })
                .to_vec(),
            Self::Rsa => {
                [HashAlg::Sha512, HashAlg::Sha256].map(|hash| Algorithm::Rsa { hash: Some(hash) }).to_vec()
            }
        }
    }

    fn of(key: &PublicKey) -> Option<Self> {
        match key.algorithm() {
            Algorithm::Ed25519 => Some(Self::Ed25519),
            Algorithm::Ecdsa { .. } => Some(Self::Ecdsa),
            Algorithm::Rsa { .. } => Some(Self::Rsa),
            _ => None,
        }
    }

    /// Its name in the file names of OpenSSH.
    fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Ecdsa => "ecdsa",
            Self::Rsa => "rsa",
        }
    }
}

/// A host key that is not the pinned one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) family: Family,
    fingerprint: String,
}

/// `SHA256:` and 43 characters. Over the key alone, so that comments play no part.
fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// The refusal of a server whose keys are not the pinned one, with what to do next.
pub(super) fn refusal(server: &str, address: &str, pinned: &str, shown: &[Shown]) -> RemoteError {
    let keys = shown.iter().map(|key| format!("{} {}", key.family.name(), key.fingerprint));
    let keys = keys.collect::<Vec<_>>().join(", ");
    let known = if pinned.is_empty() {
        "no host key is pinned for it".to_owned()
    } else {
        format!("the pinned host key is {pinned}")
    };
    let (family, fingerprint) =
        shown.first().map_or(("ed25519", "SHA256:..."), |key| (key.family.name(), &key.fingerprint));
    RemoteError::Refused(format!(
        "{address} shows {keys}, but {known}: compare with `ssh-keygen -lf /etc/ssh/ssh_host_{family}_key.pub` \
         on the server, and if they agree run `settlectl server rekey {server} --host-key {fingerprint}`"
    ))
}

/// Why a connection could not be made, or ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the host key is not the pinned one")]
    HostKey(Shown),
    #[error("the host key is of a type that settled does not use")]
    OddHostKey,
    #[error("{}", words::ssh_cause(.0))]
    Ssh(#[from] russh::Error),
}

/// How a connection ended.
#[derive(Debug)]
pub(super) struct Farewell {
    /// The server said goodbye, rather than falling silent.
    pub(super) by_server: bool,
    /// Why, for people.
    pub(super) why: String,
}

/// What the connection's own task asks and tells: is this the pinned key, and how did it end.
pub(super) struct Gatekeeper {
    pub(super) pinned: String,
    pub(super) farewell: Arc<OnceLock<Farewell>>,
}

impl Handler for Gatekeeper {
    type Error = Broken;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Broken> {
        let key = key.public_key();
        let fingerprint = fingerprint(&key);
        if fingerprint == self.pinned {
            return Ok(true);
        }
        let family = Family::of(&key).ok_or(Broken::OddHostKey)?;
        Err(Broken::HostKey(Shown { family, fingerprint }))
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Broken>) -> Result<(), Broken> {
        self.farewell.get_or_init(|| match reason {
            DisconnectReason::ReceivedDisconnect(said) => Farewell {
                by_server: true,
                why: format!("the server said \"{}\"", words::foreign(&said.message)),
            },
            DisconnectReason::Error(error) => Farewell { by_server: false, why: error.to_string() },
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_every_key_and_the_next_command() {
        let shown = [
            Shown { family: Family::Ed25519, fingerprint: "SHA256:aaa".to_owned() },
            Shown { family: Family::Rsa, fingerprint: "SHA256:bbb".to_owned() },
        ];
        let RemoteError::Refused(text) = refusal("web1", "192.0.2.7:22", "SHA256:ccc", &shown) else {
            panic!("refused")
        };
        let next = "`settlectl server rekey web1 --host-key SHA256:aaa`";
        for part in ["192.0.2.7:22", "ed25519 SHA256:aaa", "rsa SHA256:bbb", "SHA256:ccc", next] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
        let RemoteError::Refused(text) = refusal("web1", "192.0.2.7:22", "", &shown[1..]) else {
            panic!("refused")
        };
        assert!(text.contains("no host key is pinned"), "{text}");
        assert!(text.contains("ssh_host_rsa_key.pub"), "{text}");
    }

    #[test]
    fn sha_1_is_never_offered() {
        let offered = Family::ALL.into_iter().flat_map(Family::algorithms).collect::<Vec<_>>();
        assert!(!offered.contains(&Algorithm::Rsa { hash: None }));
        assert_eq!(offered.len(), 6);
    }
}
