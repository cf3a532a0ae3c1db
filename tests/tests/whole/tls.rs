//! Callers from the network: TLS 1.3 or nothing, certificates that are renewed under open connections, and silence that keeps nobody waiting.

mod cli;
pub(crate) mod page;
mod web;
mod who;
pub(crate) mod world;

use std::time::Duration;

use settled::process::Process;
use settled_proto::v1::GetStatusRequest;
use settled_tests::daemon::Options;
use settled_tests::patience::until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;

use self::world::{Authority, Caller, House, NAME, dns};

/// A guard against hangs.
const WITHIN: Duration = Duration::from_secs(30);

/// Everything that the other side says until it ends the connection.
async fn heard(mut stream: impl tokio::io::AsyncRead + Unpin) -> Vec<u8> {
    let mut heard = Vec::new();
    // Reset or closed: it is over.
    let _ended = timeout(WITHIN, stream.read_to_end(&mut heard)).await.expect("the connection ends");
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_tcp_speaks_tls_1_3_and_nothing_else() {
    let house = House::open().await;
    let mut plain = TcpStream::connect(house.address).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let said = heard(plain).await;
    // An alert of TLS at most: seven bytes, of type 21.
    assert!(said.len() <= 7 && said.first().is_none_or(|kind| *kind == 21), "{said:?}");

    let yesterday = house.caller().of_yesterday().connect(house.address).await.unwrap_err();
    assert!(yesterday.to_string().contains("ProtocolVersion"), "{yesterday}");
    for protocols in [&["http/1.1"][..], &[]] {
        // Without ALPN the handshake itself can succeed; nothing is said after it.
        if let Ok(stream) = house.caller().speaking(protocols).connect(house.address).await {
            assert_eq!(heard(stream).await, b"", "{protocols:?}");
        }
    }
    let stranger = Caller::trusting(&Authority::new()).connect(house.address).await.unwrap_err();
    assert!(stranger.to_string().contains("UnknownIssuer"), "{stranger}");

    let status = house.caller().who(house.address).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "it speaks, and does not know who asks: {status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_are_silent_on_tcp_keep_nobody_waiting_and_take_no_place_of_the_socket() {
    let options = Options::default()
        .set("LIMITS__NETWORK_CONNECTIONS_MAX", "32")
        .set("LIMITS__CONNECTIONS_PER_ADDRESS_MAX", "16")
        .set("LIMITS__HANDSHAKE_S", "60")
        .set("LIMITS__FIRST_REQUEST_S", "60");
    let house = House::open_with(options).await;
    let mut silent = Vec::new();
    for n in 0..200 {
        let mut caller = TcpStream::connect(house.address).await.unwrap();
        if n % 2 == 0 {
            // The beginning of a greeting, and no end of it.
            caller.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
        }
        silent.push(caller);
    }
    let mut socket = house.daemon.admin();
    let status = socket.get_status(GetStatusRequest {});
    timeout(WITHIN, status).await.expect("the socket answers").unwrap();
    let who = timeout(WITHIN, house.caller().who(house.address)).await.expect("TCP answers");
    assert_eq!(who.unwrap_err().code(), Code::Unauthenticated);
    // Those who had to go are gone, long before a minute is over.
    let gone = silent.remove(0);
    assert_eq!(heard(gone).await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_that_does_not_end_in_time_ends_the_connection() {
    let options = Options::default().set("LIMITS__HANDSHAKE_S", "1");
    let house = House::open_with(options).await;
    let caller = TcpStream::connect(house.address).await.unwrap();
    assert_eq!(heard(caller).await, b"");
}

/// A certificate as the daemon shows it now, by its bytes.
async fn shown(caller: &Caller, house: &House) -> Option<Vec<u8>> {
    let stream = caller.connect(house.address).await.ok()?;
    let (_, session) = stream.get_ref();
    session.peer_certificates().and_then(|chain| chain.first()).map(|cert| cert.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_by_itself_and_a_broken_one_is_told_of_and_not_shown() {
    let house = House::open().await;
    let (caller, other) = (house.caller(), Authority::new());
    let first = shown(&caller, &house).await.unwrap();
    house.authority.daemon().put(house.files.path());
    let second = until("the certificate is renewed", async || {
        shown(&caller, &house).await.filter(|cert| *cert != first)
    })
    .await;

    // A key that is another's: what was there is shown on, and status says so.
    std::fs::write(house.files.path().join("key.pem"), other.daemon().key).unwrap();
    let warnings = async || {
        let status = house.daemon.admin().get_status(GetStatusRequest {}).await.unwrap();
        status.into_inner().warnings.join("\n")
    };
    until("status tells of it", async || warnings().await.contains("does not belong to").then_some(())).await;
    assert_eq!(shown(&caller, &house).await, Some(second));
    house.authority.vouch(vec![dns(NAME)], 2050).put(house.files.path());
    until("all is well again", async || warnings().await.is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p13_tcp_without_a_certificate_that_works_does_not_start() {
    let (authority, files) = (Authority::new(), tempfile::tempdir().unwrap());
    let leaf = authority.daemon();
    let load = |settings: &[(&str, &str)]| {
        let env =
            settings.iter().map(|(key, value)| (format!("SETTLED_{key}"), (*value).to_owned())).collect();
        let sources = settled::config::Sources { env, ..Default::default() };
        settled::config::Config::load(&sources, &settled::config::Surroundings::bare(files.path()))
    };
    let cert = files.path().join("cert.pem").display().to_string();
    let key = files.path().join("key.pem").display().to_string();
    let whole = [("LISTEN__TCP", "127.0.0.1:7443"), ("LISTEN__TLS__CERT", &cert), ("LISTEN__TLS__KEY", &key)];
    let config = load(&whole).unwrap();
    let check = || settled::app::check(&config, &Process::default()).map_err(|error| format!("{error:#}"));
    assert!(check().unwrap_err().contains("listen.tls.cert"), "there is no file yet");
    leaf.put(files.path());
    check().unwrap();
    std::fs::write(&key, "no key at all").unwrap();
    assert!(check().unwrap_err().contains("holds no private key"), "{:?}", check());
    std::fs::write(&key, authority.daemon().key).unwrap();
    assert!(check().unwrap_err().contains("does not belong to"), "{:?}", check());
    for (settings, words) in [
        (&whole[..1], "needs listen.tls.cert"),
        (&whole[..2], "needs listen.tls.key"),
        (&whole[1..], "listen.tcp is not"),
        (&[("LISTEN__TCP_HEALTH", "true")][..], "listen.tcp is not"),
        (&[("LISTEN__TCP", "127.0.0.1:0"), whole[1], whole[2]][..], "names no port"),
    ] {
        let fault = load(settings).unwrap_err().to_string();
        assert!(fault.contains(words), "{words}: {fault}");
    }
}
