//! Gets in: with the server's own key, or with the keys of an ssh-agent. Passwords are never asked for and never sent.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, decode_secret_key};
use russh::{AgentAuthError, MethodKind};

use super::host_key::{Farewell, Gatekeeper};
use super::words;
use crate::remote::{Login, RemoteError, Target};

/// What to log in with, checked as far as it can be without the server.
pub(super) enum Credentials {
    Key(Arc<PrivateKey>),
    Agent(PathBuf),
}

/// What a server answered to the offer of one key.
enum Answer {
    Accepted,
    Declined,
    /// The key was right, and the server wants another proof beside it.
    MoreWanted,
    /// Keys are no way in.
    NoKeys,
    /// The server hung up, or the connection broke.
    Gone,
    /// The agent did not sign.
    NotSigned(String),
}

/// Reads the private key, or finds the agent's socket.
pub(super) fn credentials(target: &Target, agent: Option<&Path>) -> Result<Credentials, RemoteError> {
    match &target.login {
        Login::Key(text) => private_key(&target.name, text)
            .map(|key| Credentials::Key(Arc::new(key)))
            .map_err(|why| RemoteError::Refused(format!("cannot log in to {}: {why}", words::address(target)))),
        Login::Agent => agent
            .map(Path::to_path_buf)
            .or_else(|| std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from))
            .map(Credentials::Agent)
            .ok_or_else(|| {
                RemoteError::Refused(format!(
                    "{} is to be entered with an ssh-agent, but settled knows none: set `ssh.agent` or SSH_AUTH_SOCK, \
                     or give the server a key by `settlectl server edit {name} --identity FILE`, or let in the one that settled has made for itself \
                     (`settlectl identity show`) and use that: `settlectl server edit {name} --installation-identity`",
                    words::address(target),
                    name = target.name
                ))
            }),
    }
}

/// The reason is a sentence that ends with what to do; it never holds a part of the key.
fn private_key(server: &str, text: &[u8]) -> Result<PrivateKey, String> {
    let advice = format!("give one by `settlectl server edit {server} --identity FILE`");
    let text = std::str::from_utf8(text)
        .map_err(|_| format!("the stored identity is not a private key in text form; {advice}"))?;
    let sealed = text.contains("ENCRYPTED") || text.contains("Encryption: aes");
    match decode_secret_key(text, None) {
        Ok(key) => Ok(key),
        Err(russh::keys::Error::KeyIsEncrypted) => Err(sealed_key()),
        Err(_) if sealed => Err(sealed_key()),
        Err(_) => Err(format!(
            "the stored identity is not a private key in OpenSSH or PEM form (ed25519, ecdsa or RSA); {advice}"
        )),
    }
}

fn sealed_key() -> String {
    "the stored identity is protected by a passphrase, and a daemon has nobody to ask for it; remove it from a copy of the key \
     by `ssh-keygen -p -N '' -f COPY`, or load the key into the daemon's ssh-agent"
        .to_owned()
}

/// Logs in, or tells why the server will not have us. The caller limits the time.
pub(super) async fn log_in(
    handle: &mut Handle<Gatekeeper>,
    target: &Target,
    credentials: &Credentials,
    farewell: &OnceLock<Farewell>,
) -> Result<(), RemoteError> {
    let mut visit = Visit { handle, target, farewell, offered: Vec::new() };
    match credentials {
        Credentials::Key(key) => visit.with_key(key).await,
        Credentials::Agent(path) => visit.with_agent(path).await,
    }
}

/// One login, and what it has offered so far.
struct Visit<'a> {
    handle: &'a mut Handle<Gatekeeper>,
    target: &'a Target,
    farewell: &'a OnceLock<Farewell>,
    /// `type fingerprint` of each key offered.
    offered: Vec<String>,
}

impl Visit<'_> {
    async fn with_key(&mut self, key: &Arc<PrivateKey>) -> Result<(), RemoteError> {
        let hash = self.hash_for(key.public_key()).await?;
        self.note(key.public_key());
        let with_hash = PrivateKeyWithHashAlg::new(key.clone(), hash);
        let answer = match self.handle.authenticate_publickey(&self.target.user, with_hash).await {
            Ok(result) => self.judge(&result),
            Err(_) => Answer::Gone,
        };
        match answer {
            Answer::Accepted => Ok(()),
            other => Err(self.refusal(other).await),
        }
    }

    async fn with_agent(&mut self, path: &Path) -> Result<(), RemoteError> {
        let mut agent =
            AgentClient::connect_uds(path).await.map_err(|error| self.agent_trouble(path, &error))?;
        let identities =
            agent.request_identities().await.map_err(|error| self.agent_trouble(path, &error))?;
        let mut last = Answer::Declined;
        for identity in &identities {
            last = self.offer(identity, &mut agent).await?;
            match last {
                Answer::Accepted => return Ok(()),
                Answer::Declined | Answer::NotSigned(_) => {}
                Answer::MoreWanted | Answer::NoKeys | Answer::Gone => break,
            }
        }
        if identities.is_empty() {
            return Err(RemoteError::Refused(format!(
                "cannot log in to {}: the ssh-agent at {} holds no key; add one with ssh-add",
                words::address(self.target),
                path.display()
            )));
        }
        Err(self.refusal(last).await)
    }

    async fn offer(
        &mut self,
        identity: &AgentIdentity,
        agent: &mut AgentClient<tokio::net::UnixStream>,
    ) -> Result<Answer, RemoteError> {
        let user = self.target.user.as_str();
        let result = match identity {
            AgentIdentity::PublicKey { key, .. } => {
                let hash = self.hash_for(key).await?;
                self.note(key);
                self.handle.authenticate_publickey_with(user, key.clone(), hash, agent).await
            }
            AgentIdentity::Certificate { certificate, .. } => {
                let key = PublicKey::new(certificate.public_key().clone(), "");
                let hash = self.hash_for(&key).await?;
                self.note(&key);
                self.handle.authenticate_certificate_with(user, certificate.clone(), hash, agent).await
            }
        };
        Ok(match result {
            Ok(result) => self.judge(&result),
            Err(AgentAuthError::Key(error)) => Answer::NotSigned(error.to_string()),
            Err(AgentAuthError::Send(_)) => Answer::Gone,
        })
    }

    /// The hash that an RSA key signs with; nothing for other keys. SHA-1 is never used.
    async fn hash_for(&mut self, key: &PublicKey) -> Result<Option<HashAlg>, RemoteError> {
        if !matches!(key.algorithm(), Algorithm::Rsa { .. }) {
            return Ok(None);
        }
        match self.handle.best_supported_rsa_hash().await {
            // A server that does not tell may well know the newer hash.
            Ok(None) => Ok(Some(HashAlg::Sha512)),
            Ok(Some(Some(hash))) => Ok(Some(hash)),
            Ok(Some(None)) => Err(RemoteError::Refused(format!(
                "{} takes RSA keys only with SHA-1, which settled does not use: log in with an ed25519 key",
                words::address(self.target)
            ))),
            Err(_) => Err(self.refusal(Answer::Gone).await),
        }
    }

    fn note(&mut self, key: &PublicKey) {
        self.offered.push(format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256)));
    }

    fn judge(&self, result: &AuthResult) -> Answer {
        match result {
            AuthResult::Success => Answer::Accepted,
            AuthResult::Failure { partial_success: true, .. } => Answer::MoreWanted,
            AuthResult::Failure { .. } if self.handle.is_closed() => Answer::Gone,
            AuthResult::Failure { remaining_methods, .. }
                if !remaining_methods.contains(&MethodKind::PublicKey) =>
            {
                Answer::NoKeys
            }
            AuthResult::Failure { .. } => Answer::Declined,
        }
    }

    /// Turns the last answer into a sentence, with everything that was offered.
    async fn refusal(&mut self, answer: Answer) -> RemoteError {
        let address = words::address(self.target);
        let user = &self.target.user;
        let offered = self.offered.join(", ");
        let why = match answer {
            Answer::Gone => match self.goodbye().await {
                Some(Farewell { by_server: true, why }) if !offered.is_empty() => {
                    format!("and {why}; when the agent holds many keys, leave only the right one in it")
                }
                farewell => {
                    let why = farewell.map_or("the connection broke", |farewell| farewell.why.as_str());
                    return RemoteError::Unreachable(format!(
                        "lost {address} during the login as {user}: {why}"
                    ));
                }
            },
            Answer::MoreWanted => {
                "and wants a second proof beside the key, which settled cannot give".to_owned()
            }
            Answer::NoKeys => "and allows no further try with a key".to_owned(),
            Answer::NotSigned(error) => format!("because the ssh-agent did not sign: {error}"),
            Answer::Accepted | Answer::Declined => String::new(),
        };
        let server = &self.target.name;
        let method = match self.target.login {
            Login::Key(_) => "the stored identity",
            Login::Agent => "the keys of the ssh-agent",
        };
        let spaced = if why.is_empty() { why } else { format!(" {why}") };
        RemoteError::Refused(format!(
            "{address} did not accept {method} for user {user} (offered: {offered}){spaced}: \
             add the public key to ~{user}/.ssh/authorized_keys there, or run `settlectl server edit {server} --identity FILE`"
        ))
    }

    /// Waits until the connection's task has ended, then tells how.
    async fn goodbye(&mut self) -> Option<&Farewell> {
        if let Err(error) = (&mut *self.handle).await {
            tracing::debug!(server = %self.target.name, %error, "the connection ended during the login");
        }
        self.farewell.get()
    }

    fn agent_trouble(&self, path: &Path, error: &russh::keys::Error) -> RemoteError {
        let why = match error {
            russh::keys::Error::IO(error) => words::io_cause(error),
            other => other.to_string(),
        };
        RemoteError::Refused(format!(
            "cannot log in to {}: the ssh-agent at {} does not work: {why}; start it, or set `ssh.agent` to the right socket",
            words::address(self.target),
            path.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever was stored as an identity, the answer is a sentence.
        #[test]
        fn no_text_breaks_the_reader_of_keys(kind in "OPENSSH |RSA |EC |ENCRYPTED |", head in "(DEK-Info: AES-128-CBC,[0-9A-F]{30,34}\n)?", body in "[A-Za-z0-9+/]{0,200}={0,2}") {
            let text = format!("-----BEGIN {kind}PRIVATE KEY-----\n{head}{body}\n-----END {kind}PRIVATE KEY-----\n");
            let answer = private_key("web1", text.as_bytes());
            prop_assert!(answer.is_err_and(|why| body.len() < 8 || !why.contains(&body)));
        }
    }
}
