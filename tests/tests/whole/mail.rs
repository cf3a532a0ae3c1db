//! Notices by e-mail: handed to a real mail server on this machine, over TLS and with a login, or not at all.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use settled_proto::v1::{
    CreateNotifierRequest, Delivery, DeliveryState, ListDeliveriesRequest, TestNotifierRequest,
};
use settled_tests::daemon::{self, Options, TestDaemon};
use settled_tests::patience::until;
use settled_tests::server::fresh_id;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::Code;

use crate::webhooks::Signed;

/// One mail as it arrived.
#[derive(Debug, Clone, Default)]
struct Got {
    /// Whether TLS was there when it was told.
    secured: bool,
    /// What the login said, as it is: NUL, user, NUL, password.
    login: String,
    from: String,
    to: Vec<String>,
    text: String,
}

impl Got {
    /// Its headers, unfolded, and its text.
    fn parts(&self) -> (Vec<String>, String) {
        let (headers, body) = self.text.split_once("\r\n\r\n").unwrap();
        let headers = headers.replace("\r\n ", " ");
        let body = STANDARD.decode(body.replace("\r\n", "")).unwrap();
        (headers.split("\r\n").map(str::to_owned).collect(), String::from_utf8(body).unwrap())
    }
}

/// How a mail server is.
#[derive(Clone, Default)]
struct Manner {
    /// TLS from the first byte on.
    tls: Option<TlsAcceptor>,
    /// It offers STARTTLS.
    starttls: Option<TlsAcceptor>,
    /// Who is not taken, and how that is answered.
    refuses: Vec<(&'static str, &'static str)>,
}

/// A mail server for tests.
struct Post {
    port: u16,
    got: Arc<Mutex<Vec<Got>>>,
    /// Every line that it was told before TLS.
    open: Arc<Mutex<Vec<String>>>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Post {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, got: Arc::default(), open: Arc::default() };
        let (got, open) = (Arc::clone(&server.got), Arc::clone(&server.open));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (manner, got, open) = (manner.clone(), Arc::clone(&got), Arc::clone(&open));
                tokio::spawn(async move {
                    let stream: Option<Box<dyn Stream>> = match &manner.tls {
                        Some(tls) => tls.accept(stream).await.ok().map(|stream| Box::new(stream) as _),
                        None => Some(Box::new(stream)),
                    };
                    if let Some(stream) = stream {
                        serve(stream, manner, &got, &open).await;
                    }
                });
            }
        });
        server
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    async fn has_one(&self) -> Got {
        until("a mail has come", async || self.got().pop()).await
    }

    /// A daemon that writes through it.
    fn options(&self, tls: &str) -> Options {
        let port = self.port.to_string();
        let settings =
            [("HOST", "localhost"), ("PORT", &port), ("TLS", tls), ("FROM", "settled@example.org")];
        settings
            .iter()
            .fold(Options::default(), |options, (key, value)| options.set(&format!("SMTP__{key}"), value))
    }
}

/// The argument of a command between its angle brackets.
fn address(line: &str) -> String {
    line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).unwrap().0.to_owned()
}

async fn serve(
    stream: Box<dyn Stream>,
    mut manner: Manner,
    got: &Mutex<Vec<Got>>,
    open: &Mutex<Vec<String>>,
) {
    let mut mail = Got { secured: manner.tls.is_some(), ..Got::default() };
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220-mail.example.org\r\n220 welcome\r\n").await.unwrap();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        if !mail.secured {
            open.lock().unwrap().push(line.trim_end().to_owned());
        }
        let word = line.trim_end().to_ascii_uppercase();
        let answer = match word.split(' ').next().unwrap_or_default() {
            "EHLO" if manner.starttls.is_some() => "250-here\r\n250 STARTTLS".to_owned(),
            "EHLO" => "250-here\r\n250-8BITMIME\r\n250 AUTH LOGIN PLAIN".to_owned(),
            "STARTTLS" => {
                stream.write_all(b"220 go\r\n").await.unwrap();
                let tls = manner.starttls.take().unwrap();
                let Ok(secured) = tls.accept(stream.into_inner()).await else { return };
                let secured: Box<dyn Stream> = Box::new(secured);
                (stream, mail.secured) = (BufReader::new(secured), true);
                continue;
            }
            "AUTH" => {
                let word = line.trim_end().rsplit(' ').next().unwrap();
                mail.login = String::from_utf8(STANDARD.decode(word).unwrap()).unwrap();
                "235 hello".to_owned()
            }
            "MAIL" => {
                mail.from = address(&line);
                "250 ok".to_owned()
            }
            "RCPT" => {
                let to = address(&line);
                let refusal = manner.refuses.iter().find(|(address, _)| *address == to);
                if refusal.is_none() {
                    mail.to.push(to);
                }
                refusal.map_or("250 ok", |(_, refusal)| refusal).to_owned()
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await.unwrap();
                let mut text = Vec::new();
                while !text.ends_with(b"\r\n.\r\n") {
                    text.push(stream.read_u8().await.unwrap());
                }
                text.truncate(text.len() - 5);
                mail.text = String::from_utf8(text).unwrap();
                got.lock().unwrap().push(mail.clone());
                "250 queued".to_owned()
            }
            "QUIT" => "221 bye".to_owned(),
            _ => "502 what".to_owned(),
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
    }
}

async fn notifier(daemon: &TestDaemon, recipients: &[&str]) -> Result<(), tonic::Status> {
    let request = CreateNotifierRequest {
        request_id: fresh_id(),
        name: "mails".to_owned(),
        recipients: recipients.iter().map(|&to| to.to_owned()).collect(),
        ..CreateNotifierRequest::default()
    };
    daemon.admin().create_notifier(request).await.map(drop)
}

/// Tries the notifier out; answers what came of the first try.
async fn tried(daemon: &TestDaemon) -> Delivery {
    let request = TestNotifierRequest { request_id: fresh_id(), notifier: "mails".to_owned() };
    daemon.admin().test_notifier(request).await.unwrap();
    until("it was tried", async || {
        let request = ListDeliveriesRequest::default();
        let told = daemon.admin().list_deliveries(request).await.unwrap().into_inner().deliveries.remove(0);
        (told.ended_at.is_some() || !told.last_error.is_empty()).then_some(told)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_over_starttls_somebody_who_is_logged_in_writes_a_mail_and_nothing_is_told_before() {
    let signed = Signed::make();
    let post = Post::start(Manner { starttls: Some(signed.acceptor()), ..Manner::default() }).await;
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "hunter2 hunter2\n").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let options = post.options("starttls").set("SMTP__USER", "settled");
    let options = options.set("SMTP__PASSWORD_FILE", &password.display().to_string());
    let daemon = options.set("SMTP__CA_FILE", &signed.path("ca.pem")).start().await;
    notifier(&daemon, &["ops@example.org", "web@example.org"]).await.unwrap();
    let told = tried(&daemon).await;
    assert_eq!((told.state(), told.last_error.as_str()), (DeliveryState::Sent, ""), "{told:?}");
    let got = post.has_one().await;
    assert!(got.secured);
    assert_eq!(got.login, "\0settled\0hunter2 hunter2");
    assert_eq!(
        (got.from.as_str(), got.to.join(" ")),
        ("settled@example.org", "ops@example.org web@example.org".to_owned())
    );
    let open = post.open.lock().unwrap().clone();
    assert_eq!(open, ["EHLO [127.0.0.1]", "STARTTLS"], "nothing else is told before TLS");
    let (headers, body) = got.parts();
    let has = |header: &str| headers.iter().any(|found| found == header);
    assert!(
        has("From: settled <settled@example.org>") && has("To: ops@example.org, web@example.org"),
        "{headers:?}"
    );
    assert!(has(&format!("Message-ID: <{}@example.org>", told.id)), "{headers:?}");
    assert!(has("Settled-Event: test") && has("Auto-Submitted: auto-generated"), "{headers:?}");
    assert!(
        headers
            .iter()
            .any(|header| header.starts_with("Subject: [settled] This is a test of the notifier mails"))
    );
    assert!(
        headers.iter().any(|header| header.starts_with("Date: ") && header.ends_with(" +0000")),
        "{headers:?}"
    );
    assert!(body.contains(&told.text) && body.contains(&told.id), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_takes_starttls_away_is_told_nothing() {
    let post = Post::start(Manner::default()).await;
    let daemon = post.options("starttls").start().await;
    notifier(&daemon, &["ops@example.org"]).await.unwrap();
    let told = tried(&daemon).await;
    assert!(told.last_error.contains("does not offer STARTTLS"), "{told:?}");
    assert_eq!(told.state(), DeliveryState::Waiting);
    assert_eq!(
        (post.got().len(), post.open.lock().unwrap().clone()),
        (0, vec!["EHLO [127.0.0.1]".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_mail_goes_to_whom_the_authority_has_signed_and_to_nobody_else() {
    let (signed, others) = (Signed::make(), Signed::make());
    let post = Post::start(Manner { tls: Some(signed.acceptor()), ..Manner::default() }).await;
    let daemon = post.options("tls").set("SMTP__CA_FILE", &others.path("ca.pem")).start().await;
    notifier(&daemon, &["ops@example.org"]).await.unwrap();
    let told = tried(&daemon).await;
    assert!(told.last_error.contains("TLS: invalid peer certificate"), "{told:?}");
    assert_eq!(post.got().len(), 0);
    let (stopped, home) = daemon.stop().await;
    stopped.unwrap();
    let daemon = post.options("tls").set("SMTP__CA_FILE", &signed.path("ca.pem")).start_in(home).await;
    assert_eq!(tried(&daemon).await.state(), DeliveryState::Sent);
    assert!(post.has_one().await.secured);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_for_good_keeps_it_from_nobody_else_and_who_is_not_yet_taken_is_waited_for() {
    let later = ("later@example.org", "451 grey");
    let refuses = vec![("gone@example.org", "550 no\tsuch user"), later];
    let post = Post::start(Manner { refuses, ..Manner::default() }).await;
    let daemon = post.options("none").start().await;
    notifier(&daemon, &["ops@example.org", "gone@example.org"]).await.unwrap();
    let told = tried(&daemon).await;
    assert_eq!(told.state(), DeliveryState::Sent);
    assert!(told.last_error.contains("refused gone@example.org: 550 nosuch user"), "{told:?}");
    assert_eq!(post.has_one().await.to, ["ops@example.org"]);

    for (recipients, why) in [
        (vec!["gone@example.org"], "refused gone@example.org"),
        (vec!["ops@example.org", "later@example.org"], "does not take later@example.org yet: 451 grey"),
    ] {
        let delete =
            settled_proto::v1::DeleteNotifierRequest { request_id: fresh_id(), notifier: "mails".to_owned() };
        daemon.admin().delete_notifier(delete).await.unwrap();
        notifier(&daemon, &recipients).await.unwrap();
        let told = tried(&daemon).await;
        assert_eq!(told.state(), DeliveryState::Waiting, "{told:?}");
        assert!(told.last_error.contains(why), "{told:?}");
    }
    assert_eq!(post.got().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_mail_server_nobody_can_ask_for_mail() {
    let daemon = daemon::Options::default().start().await;
    let refused = notifier(&daemon, &["ops@example.org"]).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert!(refused.message().contains("smtp.host"), "{refused:?}");
}
