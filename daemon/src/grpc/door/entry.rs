//! The ways in: the unix socket, where the kernel vouches for the user, and TCP with TLS, where a caller is known by its address until it
//! shows who it is.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::server::TlsStream;

use super::crowd::Who;
use super::tls::Tls;
use super::{KEEPALIVE_EVERY, KEEPALIVE_LIMIT};
use crate::auth::{CERTIFICATE, Gate};

/// Probes of a connection that stay unanswered before it ends.
const KEEPALIVE_PROBES: u32 = 3;

/// Who is at the other end of a connection, as far as is known before anything is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::grpc) enum Peer {
    /// A process of this user, through the unix socket: the kernel vouches for it.
    Unix {
        /// The user.
        uid: u32,
    },
    /// Somebody from the network, through TLS.
    Network {
        /// From where.
        address: IpAddr,
        /// Whose certificate was shown, if one was that an authority vouches for.
        certificate: Option<Arc<str>>,
    },
}

impl Peer {
    /// Who it is, as far as the system or an authority vouches for it.
    pub(in crate::grpc) fn principal(&self) -> String {
        match self {
            Self::Unix { uid } => format!("unix:{uid}"),
            Self::Network { certificate: Some(name), .. } => format!("{CERTIFICATE}{name}"),
            // One name for all of them: whoever comes from many addresses is no more than one.
            Self::Network { certificate: None, .. } => "stranger".to_owned(),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { .. } => f.write_str("unix socket"),
            Self::Network { address, .. } => write!(f, "TLS from {address}"),
        }
    }
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::grpc) enum Speaks {
    /// HTTP/2, as every client of gRPC does.
    Http2,
    /// HTTP/1.1, as browsers do, and what stands between.
    Http1,
}

/// Somebody who has been greeted: what is spoken over, what is spoken, and who it is.
pub(in crate::grpc) type Greeted<IO> = (IO, Speaks, Peer);

/// A way in. Callers do not hold it: when it is dropped nobody can come any more, whoever is inside.
pub(in crate::grpc) trait Entry: Send + Sync + 'static {
    /// Who comes in here.
    type Caller: Caller;

    /// The next caller, and whose place it takes. None when nobody could know who asks.
    fn accept(&self) -> impl Future<Output = io::Result<Option<(Self::Caller, Who)>>> + Send;

    /// The keys of the configuration that say how many may be inside.
    fn limits(&self) -> &'static str;
}

/// Somebody who has not said anything.
pub(in crate::grpc) trait Caller: Send + 'static {
    /// What is spoken over.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Greets it. Nothing if it does not speak as it should.
    fn greet(self) -> impl Future<Output = Option<Greeted<Self::Io>>> + Send;
}

/// The unix socket.
pub(in crate::grpc) struct Socket {
    pub(in crate::grpc) listener: UnixListener,
    pub(in crate::grpc) gate: Gate,
}

/// A process of this machine.
pub(in crate::grpc) struct Local {
    stream: UnixStream,
    uid: u32,
}

impl Entry for Socket {
    type Caller = Local;

    async fn accept(&self) -> io::Result<Option<(Local, Who)>> {
        let (stream, _) = self.listener.accept().await?;
        let Ok(peer) = stream.peer_cred() else { return Ok(None) };
        let uid = peer.uid();
        // As far as that is known at once: nobody is looked up at the door.
        let who = if self.gate.is_house(uid) {
            Who::House
        } else if self.gate.seems_strange(uid) {
            Who::Stranger
        } else {
            Who::User(uid)
        };
        Ok(Some((Local { stream, uid }, who)))
    }

    fn limits(&self) -> &'static str {
        "limits.connections_max, limits.connections_per_user_max"
    }
}

impl Caller for Local {
    type Io = UnixStream;

    async fn greet(self) -> Option<Greeted<UnixStream>> {
        Some((self.stream, Speaks::Http2, Peer::Unix { uid: self.uid }))
    }
}

/// TCP, with TLS.
pub(in crate::grpc) struct Tcp {
    pub(in crate::grpc) listener: TcpListener,
    pub(in crate::grpc) tls: Arc<Tls>,
}

/// Somebody from the network.
pub(in crate::grpc) struct Remote {
    stream: TcpStream,
    address: IpAddr,
    tls: Arc<Tls>,
}

impl Entry for Tcp {
    type Caller = Remote;

    async fn accept(&self) -> io::Result<Option<(Remote, Who)>> {
        let (stream, from) = self.listener.accept().await?;
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "a connection from the network ended before it began");
            return Ok(None);
        }
        let address = from.ip().to_canonical();
        let caller = Remote { stream, address, tls: Arc::clone(&self.tls) };
        Ok(Some((caller, Who::Address(house_of(address)))))
    }

    fn limits(&self) -> &'static str {
        "limits.network_connections_max, limits.connections_per_address_max"
    }
}

impl Caller for Remote {
    type Io = TlsStream<TcpStream>;

    async fn greet(self) -> Option<Greeted<TlsStream<TcpStream>>> {
        let (stream, speaks, certificate) = self.tls.greet(self.stream).await?;
        Some((stream, speaks, Peer::Network { address: self.address, certificate }))
    }
}

/// Answers are small, and are waited for. Who has died without a word is noticed: HTTP/1.1 has no ping for that.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_LIMIT)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}

/// Whoever has one IPv6 address has 2^64 of them: they share their places.
pub(in crate::grpc) fn house_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_house_share_their_places() {
        let table = [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::9", "2001:db8:1:2::"),
            ("2001:db8:1:3::9", "2001:db8:1:3::"),
        ];
        for (address, house) in table {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(house_of(address.to_canonical()).to_string(), house);
        }
    }
}
