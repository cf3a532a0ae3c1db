//! A server made to misbehave, for what a healthy sshd cannot be made to show: it speaks SSH, lets everyone in, and answers a command
//! as told.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use russh::keys::{Algorithm, HashAlg, PrivateKey};
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use tokio::net::TcpListener;

/// How it answers a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// The exit status follows the end of the data.
    StatusAfterEof,
    /// It closes the channel and never says how the command ended.
    NoStatus,
    /// It refuses to run commands.
    NoExec,
}

pub(crate) struct OddServer {
    pub(crate) port: u16,
    pub(crate) fingerprint: String,
    /// `user: command` of each command that was asked for.
    pub(crate) commands: Arc<Mutex<Vec<String>>>,
    /// A private key that anyone may use with it.
    pub(crate) client_key: Vec<u8>,
    task: tokio::task::JoinHandle<()>,
}

impl OddServer {
    pub(crate) async fn start(manner: Manner) -> Self {
        let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
        let fingerprint = key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let client_key = key.to_openssh(russh::keys::ssh_key::LineEnding::LF).unwrap().as_bytes().to_vec();
        let config = Arc::new(Config { keys: vec![key], ..Config::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let commands = Arc::new(Mutex::default());
        let visitor = Visitor { manner, user: String::new(), commands: Arc::clone(&commands) };
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let session = russh::server::run_stream(config.clone(), stream, visitor.clone());
                tokio::spawn(async move { session.await.unwrap().await });
            }
        });
        Self { port, fingerprint, commands, client_key, task }
    }
}

impl Drop for OddServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Visitor {
    manner: Manner,
    user: String,
    commands: Arc<Mutex<Vec<String>>>,
}

impl Handler for Visitor {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        user.clone_into(&mut self.user);
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let command = String::from_utf8_lossy(command);
        self.commands.lock().unwrap().push(format!("{}: {command}", self.user));
        if self.manner == Manner::NoExec {
            return session.channel_failure(channel);
        }
        session.channel_success(channel)?;
        session.data(channel, Bytes::from_static(b"hello"))?;
        session.eof(channel)?;
        if self.manner == Manner::StatusAfterEof {
            session.exit_status_request(channel, 3)?;
        }
        session.close(channel)
    }
}
