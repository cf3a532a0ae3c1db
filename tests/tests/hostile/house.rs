//! The daemon as a process with few files to open, a socket that everybody reaches, a port with TLS, and the people who come: foes, who may look
//! and do nothing else, and friends, who ask something small again and again.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustix::process::Uid;
use settled_proto::v1::admin_client::AdminClient;
use settled_proto::v1::{CreateTokenRequest, Role, WhoAmIRequest};
use settled_tests::address::free_address;
use settled_tests::patience::until;
use settled_tests::process::{Daemon, Home};
use settled_tests::server::fresh_id;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::frames::Io;

/// The name that the daemon's certificate is for.
const NAME: &str = "settled.test";
/// Users who are viewers.
const FOE: u32 = 41_010;
const FRIEND: u32 = 41_011;
/// Where they come from over the network.
const FOES_ADDRESS: [u8; 4] = [127, 0, 0, 2];
const FRIENDS_ADDRESS: [u8; 4] = [127, 0, 0, 1];

/// Where a daemon lives, and how it is come to.
pub(crate) struct House {
    pub(crate) daemon: Daemon,
    pub(crate) foe: Person,
    pub(crate) friend: Person,
    /// The connections that friends have had since before anything happened.
    kept: Mutex<[Asker; 2]>,
    home: Home,
    _open: TempDir,
}

/// Somebody who comes by the socket, as a user, and over the network, with a token.
#[derive(Clone)]
pub(crate) struct Person {
    user: User,
    from: [u8; 4],
    to: SocketAddr,
    tls: Arc<ClientConfig>,
    pub(crate) token: String,
}

/// A thread that is another user, for whom it connects: it could not come back from being one.
#[derive(Clone)]
struct User(mpsc::Sender<oneshot::Sender<io::Result<UnixStream>>>);

impl User {
    fn of(uid: u32, socket: &Path) -> Self {
        let (send, asked) = mpsc::channel::<oneshot::Sender<io::Result<UnixStream>>>();
        let socket = socket.to_owned();
        std::thread::spawn(move || {
            let uid = Uid::from_raw(uid);
            rustix::thread::set_thread_res_uid(uid, uid, uid).expect("the test is root");
            for answer in asked {
                // Whoever asked may be gone.
                drop(answer.send(UnixStream::connect(&socket)));
            }
        });
        Self(send)
    }

    async fn connect(&self) -> io::Result<tokio::net::UnixStream> {
        let (answer, comes) = oneshot::channel();
        self.0.send(answer).expect("the thread is there");
        let stream = comes.await.expect("the thread answers")?;
        stream.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(stream)
    }
}

/// By which way somebody comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Socket,
    /// TLS is spoken.
    Network,
    /// Not a word of TLS is spoken.
    Plain,
}

impl Person {
    /// A connection on which nothing of HTTP/2 was said.
    pub(crate) async fn connect(&self, way: Way) -> io::Result<Io> {
        if way == Way::Socket {
            return Ok(Box::new(self.user.connect().await?));
        }
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.from, 0).into())?;
        let stream = socket.connect(self.to).await?;
        stream.set_nodelay(true)?;
        if way == Way::Plain {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(NAME).unwrap();
        Ok(Box::new(TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?))
    }

    /// What is shown to be let in by this way.
    pub(crate) fn shows(&self, way: Way) -> Option<&str> {
        (way != Way::Socket).then_some(&self.token)
    }
}

/// Who asks who it is, over a connection of its own.
#[derive(Clone)]
pub(crate) struct Asker {
    channel: Channel,
    token: Option<String>,
}

impl Asker {
    async fn new(person: &Person, way: Way) -> Result<Self, Status> {
        let io = person.connect(way).await?;
        let mut io = Some(TokioIo::new(io));
        let connector = tower::service_fn(move |_| {
            let io = io.take();
            async move { io.ok_or_else(|| io::Error::other("there is only one connection")) }
        });
        let endpoint = Endpoint::from_static("http://settled");
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Self { channel, token: person.shows(way).map(str::to_owned) })
    }

    async fn ask(&self) -> Result<String, Status> {
        let mut request = Request::new(WhoAmIRequest {});
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        Ok(AdminClient::new(self.channel.clone()).who_am_i(request).await?.into_inner().principal)
    }
}

/// The ways on which friends ask: over connections that they keep, and over new ones.
pub(crate) const ASKED: [&str; 4] = ["socket, kept", "TLS, kept", "socket, new", "TLS, new"];

impl House {
    /// Starts the daemon with so many files to open at most, and these settings beside its own.
    pub(crate) async fn open(files: u32, settings: &[(&str, &str, &str)]) -> Self {
        let open = tempfile::Builder::new().prefix("settled").tempdir().unwrap();
        fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let authority = certificate(open.path());
        let to = free_address();
        let file = |name: &str| format!("'{}'", open.path().join(name).display());
        let socket = open.path().join("settled.sock");
        let (viewers, tcp) = (format!("['unix:{FOE}', 'unix:{FRIEND}']"), format!("'{to}'"));
        let own = [
            ("listen", "unix", file("settled.sock")),
            ("listen", "tcp", tcp),
            ("listen.tls", "cert", file("cert.pem")),
            ("listen.tls", "key", file("key.pem")),
            ("access", "viewers", viewers),
        ];
        let own = own.iter().map(|(section, key, value)| (*section, *key, value.as_str()));
        let home = Home::new(&own.chain(settings.iter().copied()).collect::<Vec<_>>());
        let daemon = home.start_with_files(files);
        let tls = trusting(&authority);
        let admin = at(&socket).await;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
        let person = async |name: &str, uid, from| Person {
            user: User::of(uid, &socket),
            from,
            to,
            tls: Arc::clone(&tls),
            token: token(&admin, name).await,
        };
        let (foe, friend) =
            (person("foe", FOE, FOES_ADDRESS).await, person("friend", FRIEND, FRIENDS_ADDRESS).await);
        let kept = [
            Asker::new(&friend, Way::Socket).await.unwrap(),
            Asker::new(&friend, Way::Network).await.unwrap(),
        ];
        Self { daemon, foe, friend, kept: Mutex::new(kept), home, _open: open }
    }

    /// A friend asks by the way of this number, and is told who it is.
    pub(crate) async fn ask(&self, way: usize) -> Result<(), Status> {
        let asker = match way {
            0 | 1 => self.kept.lock().unwrap()[way].clone(),
            2 => Asker::new(&self.friend, Way::Socket).await?,
            _ => Asker::new(&self.friend, Way::Network).await?,
        };
        let who = asker.ask().await?;
        assert_eq!(who, ["unix:41011", "token:friend"][way % 2]);
        Ok(())
    }

    /// A friend comes again, by the way of this number, when its connection was ended: as client libraries do.
    pub(crate) async fn come_again(&self, way: usize) {
        let Some(way_in) = [Way::Socket, Way::Network].get(way) else { return };
        if let Ok(asker) = Asker::new(&self.friend, *way_in).await {
            self.kept.lock().unwrap()[way] = asker;
        }
    }

    /// What the daemon has to say.
    pub(crate) fn log(&self) -> String {
        self.home.last_log()
    }
}

/// A channel to a daemon that starts.
async fn at(socket: &Path) -> Channel {
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).unwrap();
    let channel = endpoint.connect_lazy();
    let mut admin = AdminClient::new(channel.clone());
    until("the daemon serves", async || admin.who_am_i(WhoAmIRequest {}).await.ok()).await;
    channel
}

/// A token of a viewer.
async fn token(admin: &Channel, name: &str) -> String {
    let request = CreateTokenRequest {
        request_id: fresh_id(),
        name: name.to_owned(),
        role: Role::Viewer.into(),
        days: 1,
        ..CreateTokenRequest::default()
    };
    AdminClient::new(admin.clone()).create_token(request).await.unwrap().into_inner().secret
}

/// Makes a certificate for a daemon, as `cert.pem` and `key.pem`; answers the authority's.
fn certificate(dir: &Path) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = vec![SanType::DnsName(NAME.try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &authority).unwrap();
    fs::write(dir.join("cert.pem"), cert.pem()).unwrap();
    fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    authority.pem()
}

/// TLS that trusts this authority.
fn trusting(authority: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}
