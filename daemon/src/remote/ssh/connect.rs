//! Makes a connection: address, TCP or a jump host's channel, handshake with a checked host key, login. Every wait in here has a limit.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use russh::client::{self, Config, Handle};
use russh::{AlgorithmKind, Preferred, cipher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::SshSettings;
use super::host_key::{self, Broken, Family, Farewell, Gatekeeper};
use super::login::{self, Credentials};
use super::session::{Cut, Session};
use super::{tunnel, words};
use crate::clock::Clock;
use crate::domain::id::ServerId;
use crate::domain::time::Timestamp;
use crate::figures::{Count, Counts, Spread};
use crate::remote::{Lines, RemoteError, Target};

/// Connects that come in a burst are spread over this span, so that a server's `MaxStartups` does not drop them.
const JITTER_MAX_MS: u64 = 100;

/// AES-GCM first: processors help with it.
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

/// Why there is no connection: nobody answers, or not in time.
const UNREACHABLE: &str = "unreachable";
/// It was refused before the login: the key is another one, or there is no common way to speak.
const HOST_KEY: &str = "host_key";
/// The login was refused.
const LOGIN: &str = "login";
/// Connections to one server of which is remembered when they were made.
const MADE_MAX: usize = 8;
/// Borders of how long it takes to connect, in seconds.
const BORDERS_S: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

pub(super) struct Connector {
    settings: SshSettings,
    clock: Arc<dyn Clock>,
    connects: Semaphore,
    opened: Count,
    failed: Counts<&'static str>,
    took: Spread,
    /// When the last ones to each server were made. Never larger than the number of servers.
    made: Mutex<HashMap<ServerId, VecDeque<(Timestamp, Timestamp)>>>,
}

/// A connection after its host key was found to be the pinned one.
struct Trusted {
    handle: Handle<Gatekeeper>,
    farewell: Arc<OnceLock<Farewell>>,
    cut: Cut,
}

impl Connector {
    pub(super) fn new(settings: SshSettings, clock: Arc<dyn Clock>) -> Self {
        let connects = Semaphore::new(settings.connects_max.max(1));
        let took = Spread::new(&BORDERS_S);
        let (opened, failed, made) = (Count::default(), Counts::default(), Mutex::default());
        Self { settings, clock, connects, opened, failed, took, made }
    }

    /// What it has made, since the start.
    pub(super) fn made(&self) -> Lines {
        let failed = self.failed.all().into_iter().map(|(why, count)| (why, count.get())).collect();
        Lines { open: 0, opened: self.opened.get(), failed, took: Some(self.took.read()) }
    }

    /// When the last connections to a server were made.
    pub(super) fn connects(&self, server: ServerId) -> Vec<(Timestamp, Timestamp)> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.get(&server).map(|made| made.iter().copied().collect()).unwrap_or_default()
    }

    /// The server is gone, or another one.
    pub(super) fn forget(&self, server: ServerId) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).remove(&server);
    }

    fn note(&self, server: ServerId, from: Timestamp) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let made = made.entry(server).or_default();
        if made.len() >= MADE_MAX {
            made.pop_front();
        }
        made.push_back((from, self.clock.now()));
    }

    /// Connects and logs in, through the connection to the last jump host if there is one: whoever waits for that one must not be in
    /// here, because the turns are few. Dropping the future leaves nothing behind.
    pub(super) async fn connect(
        &self,
        target: &Target,
        via: Option<Arc<Session>>,
    ) -> Result<Arc<Session>, RemoteError> {
        let credentials = login::credentials(target, self.settings.agent.as_deref())
            .inspect_err(|_| self.failed.add(LOGIN))?;
        let busy = self.connects.available_permits() < self.settings.connects_max;
        let turn = self.connects.acquire().await;
        let _turn = turn.map_err(|_| RemoteError::Unreachable("settled is stopping".to_owned()))?;
        if busy {
            let pause = Duration::from_millis(self.clock.random() % JITTER_MAX_MS);
            self.clock.sleep_until(self.clock.monotonic() + pause).await;
        }
        let (began, from) = (self.clock.monotonic(), self.clock.now());
        let made = self.make(target, &credentials, via).await;
        self.took.took(self.clock.monotonic().saturating_sub(began));
        match made {
            Ok(session) => {
                self.opened.add();
                self.note(target.server, from);
                Ok(session)
            }
            Err((stage, error)) => {
                let refused = matches!(error, RemoteError::Refused(_));
                self.failed.add(if refused { stage } else { UNREACHABLE });
                Err(error)
            }
        }
    }

    /// Finds the pinned key and logs in. A failure comes with the word for where it was.
    async fn make(
        &self,
        target: &Target,
        credentials: &Credentials,
        via: Option<Arc<Session>>,
    ) -> Result<Arc<Session>, (&'static str, RemoteError)> {
        let trusted = self.find_pinned(target, via.as_deref()).await;
        let trusted = trusted.map_err(|error| (HOST_KEY, error))?;
        self.log_in(target, credentials, trusted, via).await.map_err(|error| (LOGIN, error))
    }

    /// Asks for one family of host keys after the other, until the pinned key is shown.
    async fn find_pinned(&self, target: &Target, via: Option<&Session>) -> Result<Trusted, RemoteError> {
        let address = words::address(target);
        let mut families = Family::ALL.to_vec();
        let mut shown = Vec::new();
        loop {
            match self.shake_hands(target, via, &families).await? {
                Ok(trusted) => return Ok(trusted),
                Err(Broken::HostKey(key)) => {
                    families.retain(|family| *family != key.family);
                    shown.push(key);
                    if target.host_key.is_empty() || families.is_empty() {
                        return Err(host_key::refusal(&target.name, &address, &target.host_key, &shown));
                    }
                }
                Err(error @ Broken::OddHostKey) => {
                    return Err(RemoteError::Refused(format!("{address}: {error}")));
                }
                Err(Broken::Ssh(russh::Error::NoCommonAlgo { kind: AlgorithmKind::Key, .. }))
                    if !shown.is_empty() =>
                {
                    return Err(host_key::refusal(&target.name, &address, &target.host_key, &shown));
                }
                Err(Broken::Ssh(error @ russh::Error::NoCommonAlgo { .. })) => {
                    return Err(RemoteError::Refused(format!(
                        "cannot speak with {address}: {}; allow newer ones in its sshd_config",
                        words::ssh_cause(&error)
                    )));
                }
                Err(Broken::Ssh(error)) => {
                    return Err(unreachable(&address, &words::ssh_cause(&error)));
                }
            }
        }
    }

    /// One connection and one key exchange, within the connect timeout.
    async fn shake_hands(
        &self,
        target: &Target,
        via: Option<&Session>,
        families: &[Family],
    ) -> Result<Result<Trusted, Broken>, RemoteError> {
        let address = words::address(target);
        let config = self.config(families);
        // Opening a tunnel has a limit of its own, and says more when that has passed.
        let tunnel = match via {
            Some(via) => Some(tunnel::open(via, target).await?),
            None => None,
        };
        let handshake = async {
            if let Some((stream, cut)) = tunnel {
                return Ok(greet(target, config, stream, cut).await);
            }
            let (stream, cut) =
                dial(target).await.map_err(|error| unreachable(&address, &words::io_cause(&error)))?;
            Ok(greet(target, config, stream, cut).await)
        };
        match tokio::time::timeout(self.settings.connect_timeout, handshake).await {
            Ok(answer) => answer,
            Err(_) => Err(unreachable(
                &address,
                &format!("no SSH handshake within {:?}", self.settings.connect_timeout),
            )),
        }
    }

    async fn log_in(
        &self,
        target: &Target,
        credentials: &Credentials,
        trusted: Trusted,
        via: Option<Arc<Session>>,
    ) -> Result<Arc<Session>, RemoteError> {
        let Trusted { mut handle, farewell, cut } = trusted;
        let address = words::address(target);
        let limit = self.settings.connect_timeout;
        match tokio::time::timeout(limit, login::log_in(&mut handle, target, credentials, &farewell)).await {
            Ok(Ok(())) => Ok(Arc::new(Session::new(handle, address, limit, farewell, cut, via))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(unreachable(&address, &format!("no answer to the login within {limit:?}"))),
        }
    }

    fn config(&self, families: &[Family]) -> Config {
        let keys = families.iter().copied().flat_map(Family::algorithms).collect();
        let keepalives = u32::try_from(self.settings.keepalive_max).unwrap_or(u32::MAX);
        Config {
            preferred: Preferred {
                key: Cow::Owned(keys),
                cipher: Cow::Borrowed(CIPHERS),
                ..Preferred::DEFAULT
            },
            keepalive_interval: Some(self.settings.keepalive),
            keepalive_max: self.settings.keepalive_max,
            // Keepalives begin after the login and their answers count as activity; this covers the time before.
            inactivity_timeout: Some(self.settings.keepalive.saturating_mul(keepalives.saturating_add(2))),
            ..Config::default()
        }
    }
}

/// The key exchange, up to the checked host key.
async fn greet(
    target: &Target,
    config: Config,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    cut: Cut,
) -> Result<Trusted, Broken> {
    let farewell = Arc::new(OnceLock::new());
    let gatekeeper = Gatekeeper { pinned: target.host_key.clone(), farewell: farewell.clone() };
    let handle = client::connect_stream(Arc::new(config), stream, gatekeeper).await?;
    Ok(Trusted { handle, farewell, cut })
}

async fn dial(target: &Target) -> std::io::Result<(TcpStream, Cut)> {
    let addresses: Vec<_> = tokio::net::lookup_host((target.host.as_str(), target.port)).await?.collect();
    let stream = TcpStream::connect(&*addresses).await?;
    stream.set_nodelay(true)?;
    let cut = Cut::of(&stream)?;
    Ok((stream, cut))
}

fn unreachable(address: &str, why: &str) -> RemoteError {
    RemoteError::Unreachable(format!("cannot reach {address}: {why}"))
}
