//! One warm connection per server. Who comes while it is being made waits for the same one, and shares its failure.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::connect::Connector;
use super::session::Session;
use super::words;
use crate::domain::id::ServerId;
use crate::domain::time::Timestamp;
use crate::remote::{JUMPS_MAX, Lines, Login, RemoteError, Target};

/// Filled once: by a connection, or by the reason why there is none.
type Cell = Arc<OnceCell<Result<Arc<Session>, RemoteError>>>;

pub(super) struct Pool {
    connector: Connector,
    doors: Mutex<HashMap<ServerId, Door>>,
}

/// The way into one server.
struct Door {
    /// Digest of everything that the connection was made from; another one means a new connection.
    route: [u8; 32],
    cell: Cell,
}

impl Door {
    /// Its connection works, or is being made.
    fn is_open(&self) -> bool {
        match self.cell.get() {
            None => true,
            Some(Ok(session)) => session.is_usable(),
            Some(Err(_)) => false,
        }
    }
}

impl Pool {
    pub(super) fn new(connector: Connector) -> Self {
        Self { connector, doors: Mutex::default() }
    }

    /// The connection to a server, made if there is none that works. Dropping the future is safe: another waiter takes over.
    pub(super) async fn session(&self, target: &Target) -> Result<Arc<Session>, RemoteError> {
        let cell = self.cell(target);
        cell.get_or_init(|| self.connect(target)).await.clone()
    }

    /// Connects, by way of the warm connection to the jump host if there is one. When that has died unnoticed, a fresh one serves.
    async fn connect(&self, target: &Target) -> Result<Arc<Session>, RemoteError> {
        let Some(jump) = &target.via else { return self.connector.connect(target, None).await };
        check_way(target)?;
        let via = self.reach(target, jump).await?;
        match self.connector.connect(target, Some(Arc::clone(&via))).await {
            Err(_) if !via.is_usable() => {
                let via = self.reach(target, jump).await?;
                self.connector.connect(target, Some(via)).await
            }
            answer => answer,
        }
    }

    /// The connection to the jump host before `target`. Its error tells which hop of the way has failed.
    async fn reach(&self, target: &Target, jump: &Target) -> Result<Arc<Session>, RemoteError> {
        let lead = format!("no way to {}", words::place(target));
        Box::pin(self.session(jump)).await.map_err(|error| match error {
            RemoteError::Unreachable(why) => RemoteError::Unreachable(format!("{lead}: {why}")),
            RemoteError::Refused(why) => RemoteError::Refused(format!("{lead}: {why}")),
            other => other,
        })
    }

    /// How its connections are.
    pub(super) fn lines(&self) -> Lines {
        let stands = |door: &&Door| matches!(door.cell.get(), Some(Ok(session)) if session.is_usable());
        Lines { open: self.doors().values().filter(stands).count(), ..self.connector.made() }
    }

    /// When the last connections to a server were made.
    pub(super) fn connects(&self, server: ServerId) -> Vec<(Timestamp, Timestamp)> {
        self.connector.connects(server)
    }

    /// Commands that run finish on the old connection; the next one gets a new connection.
    pub(super) fn forget(&self, server: ServerId) {
        self.doors().remove(&server);
        self.connector.forget(server);
    }

    fn cell(&self, target: &Target) -> Cell {
        let route = route(target);
        let mut doors = self.doors();
        if let Some(door) = doors.get(&target.server)
            && door.route == route
            && door.is_open()
        {
            return door.cell.clone();
        }
        let cell = Cell::default();
        doors.insert(target.server, Door { route, cell: cell.clone() });
        cell
    }

    /// A panic elsewhere leaves the map whole: every change of it is one insert or remove.
    fn doors(&self) -> MutexGuard<'_, HashMap<ServerId, Door>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A way that is too long or leads through one server twice is refused, before anybody waits for himself.
fn check_way(target: &Target) -> Result<(), RemoteError> {
    let jumps: Vec<_> = std::iter::successors(target.via.as_deref(), |jump| jump.via.as_deref())
        .take(JUMPS_MAX + 1)
        .collect();
    if jumps.len() > JUMPS_MAX {
        let why = format!("{} is behind more than {JUMPS_MAX} jump hosts", words::place(target));
        return Err(RemoteError::Refused(why));
    }
    let twice = |(place, jump): (usize, &&Target)| {
        jump.server == target.server || jumps[..place].iter().any(|before| before.server == jump.server)
    };
    match jumps.iter().enumerate().find(|jump| twice(*jump)) {
        Some((_, jump)) => Err(RemoteError::Refused(format!(
            "the way to {} leads through {} twice: give one of them another jump host",
            words::place(target),
            words::place(jump)
        ))),
        None => Ok(()),
    }
}

/// The whole way counts, the jump hosts too. Login keys enter as a digest only, so that the map holds no secret.
fn route(target: &Target) -> [u8; 32] {
    let mut digest = Sha256::new();
    let (kind, key): (&[u8], &[u8]) = match &target.login {
        Login::Key(key) => (b"key", key.as_slice()),
        Login::Agent => (b"agent", b""),
    };
    let port = target.port.to_be_bytes();
    let way = target.via.as_deref().map(route);
    let way = way.as_ref().map_or(&[][..], |way| &way[..]);
    let parts =
        [target.host.as_bytes(), &port, target.user.as_bytes(), target.host_key.as_bytes(), kind, key, way];
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn every_part_of_the_way_in_counts() {
        let base = Target {
            server: ServerId(Ulid::from_parts(1, 1)),
            name: "web1".to_owned(),
            host: "web1".to_owned(),
            port: 22,
            user: "root".to_owned(),
            host_key: "SHA256:a".to_owned(),
            login: Login::Agent,
            via: None,
        };
        let key = |text: &str| Login::Key(Zeroizing::new(text.as_bytes().to_vec()));
        let others = [
            Target { host: "web2".to_owned(), ..base.clone() },
            Target { port: 2222, ..base.clone() },
            Target { user: "deploy".to_owned(), ..base.clone() },
            Target { host_key: "SHA256:b".to_owned(), ..base.clone() },
            Target { login: key("one"), ..base.clone() },
            Target { login: key("two"), ..base.clone() },
            Target { via: Some(Box::new(base.clone())), ..base.clone() },
            Target { via: Some(Box::new(Target { port: 2222, ..base.clone() })), ..base.clone() },
        ];
        let mut routes = others.iter().map(route).collect::<Vec<_>>();
        routes.push(route(&base));
        routes.sort_unstable();
        routes.dedup();
        assert_eq!(routes.len(), others.len() + 1);
        assert_eq!(route(&base), route(&base.clone()));
    }
}
