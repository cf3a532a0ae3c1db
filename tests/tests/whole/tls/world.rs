//! A daemon that listens on TCP, the authority that vouches for it, and callers who speak TLS with it as they please.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType, date_time_ymd};
use settled_proto::v1::admin_client::AdminClient;
use settled_proto::v1::{CreateTokenRequest, Role, WhoAmIRequest};
use settled_tests::address::free_address;
use settled_tests::daemon::{Options, TestDaemon};
use settled_tests::server::fresh_id;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// The name that the daemon's certificate is for.
pub(crate) const NAME: &str = "settled.test";

/// An authority of our own.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub(crate) struct Leaf {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Each has a name of its own, as authorities do.
        params.distinguished_name.push(rcgen::DnType::CommonName, fresh_id());
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Vouches for whoever has these names, until that year.
    pub(crate) fn vouch(&self, names: Vec<SanType>, until: i32) -> Leaf {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names;
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Leaf { cert: cert.pem(), key: key.serialize_pem() }
    }

    /// Vouches for a daemon.
    pub(crate) fn daemon(&self) -> Leaf {
        self.vouch(vec![dns(NAME)], 2100)
    }
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

pub(crate) fn ip(address: IpAddr) -> SanType {
    SanType::IpAddress(address)
}

pub(crate) fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

impl Leaf {
    /// Puts both where a daemon reads them, as `cert.pem` and `key.pem`.
    pub(crate) fn put(&self, dir: &Path) {
        std::fs::write(dir.join("cert.pem"), &self.cert).unwrap();
        std::fs::write(dir.join("key.pem"), &self.key).unwrap();
    }
}

/// What makes a daemon listen there, with the certificate that lies in this directory.
pub(crate) fn listening(options: Options, address: SocketAddr, dir: &Path) -> Options {
    let file = |name: &str| dir.join(name).display().to_string();
    options
        .set("LISTEN__TCP", &address.to_string())
        .set("LISTEN__TLS__CERT", &file("cert.pem"))
        .set("LISTEN__TLS__KEY", &file("key.pem"))
}

/// TLS as settled speaks it, and as it was before.
static NOW: [&SupportedProtocolVersion; 1] = [&TLS13];
static YESTERDAY: [&SupportedProtocolVersion; 1] = [&TLS12];

/// A caller: whom it trusts, what it shows, what it speaks.
#[derive(Clone)]
pub(crate) struct Caller {
    roots: String,
    shows: Option<Arc<Leaf>>,
    versions: &'static [&'static SupportedProtocolVersion],
    protocols: Vec<Vec<u8>>,
    token: Option<String>,
}

impl Caller {
    /// One who trusts this authority, and shows nothing.
    pub(crate) fn trusting(authority: &Authority) -> Self {
        let protocols = vec![b"h2".to_vec()];
        Self { roots: authority.pem(), shows: None, versions: &NOW, protocols, token: None }
    }

    pub(crate) fn with_token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    pub(crate) fn showing(self, leaf: Leaf) -> Self {
        Self { shows: Some(Arc::new(leaf)), ..self }
    }

    pub(crate) fn of_yesterday(self) -> Self {
        Self { versions: &YESTERDAY, ..self }
    }

    pub(crate) fn speaking(self, protocols: &[&str]) -> Self {
        Self { protocols: protocols.iter().map(|p| p.as_bytes().to_vec()).collect(), ..self }
    }

    fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.roots.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.shows {
            None => builder.with_no_client_auth(),
            Some(leaf) => {
                let cert = CertificateDer::from_pem_slice(leaf.cert.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
        };
        config.alpn_protocols.clone_from(&self.protocols);
        config
    }

    /// A connection, and nothing said on it.
    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from(NAME).unwrap();
        TlsConnector::from(Arc::new(self.config())).connect(name, tcp).await
    }

    /// A channel that is connected now.
    pub(crate) async fn channel(&self, address: SocketAddr) -> Result<Wire, tonic::transport::Error> {
        let caller = self.clone();
        let connector = tower::service_fn(move |_| {
            let caller = caller.clone();
            async move { caller.connect(address).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_shared(format!("https://{NAME}")).unwrap();
        let channel = endpoint.connect_with_connector(connector).await?;
        let token = self.token.as_ref().map(|token| format!("Bearer {token}").parse().unwrap());
        Ok(InterceptedService::new(channel, Bearer(token)))
    }

    /// Who the daemon says that it is: `PRINCIPAL ROLE`, or why it is not let in.
    pub(crate) async fn who(&self, address: SocketAddr) -> Result<String, Status> {
        let channel = self.channel(address).await.map_err(|error| Status::unavailable(error.to_string()))?;
        who(channel).await
    }
}

pub(crate) type Wire = InterceptedService<Channel, Bearer>;

#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Who the daemon says that the caller is.
pub(crate) async fn who(wire: Wire) -> Result<String, Status> {
    let answer = AdminClient::new(wire).who_am_i(WhoAmIRequest {}).await?.into_inner();
    Ok(format!("{} {:?}", answer.principal, answer.role()))
}

/// A daemon on TCP with a certificate of the authority's, and where its files are.
pub(crate) struct House {
    pub(crate) daemon: TestDaemon,
    pub(crate) authority: Authority,
    pub(crate) address: SocketAddr,
    pub(crate) files: tempfile::TempDir,
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::open_with(Options::default()).await
    }

    pub(crate) async fn open_with(options: Options) -> Self {
        let (authority, address, files) = (Authority::new(), free_address(), tempfile::tempdir().unwrap());
        authority.daemon().put(files.path());
        let daemon = listening(options, address, files.path()).start().await;
        Self { daemon, authority, address, files }
    }

    pub(crate) fn caller(&self) -> Caller {
        Caller::trusting(&self.authority)
    }
}

/// Makes a token, and answers its secret.
pub(crate) async fn token(daemon: &TestDaemon, name: &str, role: Role, days: u32) -> String {
    let request = CreateTokenRequest {
        request_id: fresh_id(),
        name: name.to_owned(),
        role: role.into(),
        days,
        ..Default::default()
    };
    daemon.admin().create_token(request).await.unwrap().into_inner().secret
}
