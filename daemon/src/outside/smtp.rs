//! Hands one mail to a mail server (RFC 5321): with TLS from the first byte, or begun on the way (STARTTLS), or, on this host, without.
//!
//! It knows what is said and what is answered, and never why. Every line that it says is made of what it was given by the configuration, of
//! addresses that need no quoting, and of base64: nobody can put a command into it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
use zeroize::Zeroizing;

use super::mail::Mail;
use super::{AUTHORITIES, connector};
use crate::clock::Clock;

/// How long one mail may take, from the first name look-up to the last answer.
const MAIL_WITHIN: Duration = Duration::from_secs(30);
/// Longest answer that is read, in bytes, all its lines together.
const REPLY_BYTES_MAX: u64 = 16_384;
/// Of an answer that is a refusal, so many characters are told.
const TOLD_CHARS: usize = 200;
/// Longest password, in bytes, that is read from its file.
const PASSWORD_BYTES_MAX: usize = 4_096;

/// How the connection is kept from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// By TLS from the first byte on.
    Tls,
    /// By TLS that is begun before anything is told.
    StartTls,
    /// Not at all: it does not leave this host.
    None,
}

/// Where mail goes.
#[derive(Debug, Clone)]
pub struct MailServer {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept from others.
    pub privacy: Privacy,
    /// Who one is to it, and the file with the password.
    pub login: Option<(String, PathBuf)>,
    /// The authorities that it is checked by, instead of the host's.
    pub ca_file: Option<PathBuf>,
}

/// Hands over mails. Cheap to clone.
#[derive(Clone)]
pub struct Mailer {
    server: Arc<MailServer>,
    clock: Arc<dyn Clock>,
}

/// A connection, of whatever kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A talk with a mail server.
struct Talk {
    stream: BufReader<Box<dyn Stream>>,
    /// What it is told that we are.
    me: String,
    /// What it has said that it can.
    can: Vec<String>,
}

/// What a mail server has answered.
struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl Mailer {
    /// For this server.
    pub fn new(clock: Arc<dyn Clock>, server: MailServer) -> Self {
        Self { server: Arc::new(server), clock }
    }

    /// Hands a mail over. What is answered is a remark, of recipients that were refused for good while others were not; usually empty.
    ///
    /// # Errors
    /// The mail server has not taken it, and why, as the end of a sentence that begins with it.
    pub async fn send(&self, mail: &Mail) -> Result<String, String> {
        let late = self.clock.sleep_until(self.clock.monotonic() + MAIL_WITHIN);
        tokio::select! {
            sent = self.hand_over(mail) => sent,
            () = late => Err(format!("did not take it within {} s", MAIL_WITHIN.as_secs())),
        }
    }

    async fn hand_over(&self, mail: &Mail) -> Result<String, String> {
        let mut talk = self.begin().await?;
        if let Some((user, file)) = &self.server.login {
            talk.log_in(user, &password(file)?).await?;
        }
        talk.ask(&format!("MAIL FROM:<{}>", mail.from)).await?;
        let remark = talk.name_all(&mail.to).await?;
        talk.ask("DATA").await?;
        talk.ask(&format!("{}\r\n.", mail.text())).await?;
        // It is taken: what is answered to a farewell changes nothing.
        let _farewell = talk.say("QUIT").await;
        Ok(remark)
    }

    /// Connects, and says who we are.
    async fn begin(&self) -> Result<Talk, String> {
        let MailServer { host, port, privacy, .. } = &*self.server;
        let unreachable = |error: std::io::Error| format!("cannot be reached: {error}");
        let tcp = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
        let me = match tcp.local_addr().map_err(unreachable)?.ip() {
            std::net::IpAddr::V4(ip) => format!("[{ip}]"),
            std::net::IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
        };
        let mut stream: Box<dyn Stream> = Box::new(tcp);
        if *privacy == Privacy::Tls {
            stream = self.secured(stream).await?;
        }
        let mut talk = Talk::over(stream, me);
        let greeting = talk.hear().await?;
        if greeting.code != 220 {
            return Err(format!("answered {}", greeting.told()));
        }
        talk.greet().await?;
        if *privacy == Privacy::StartTls {
            talk.begin_tls().await?;
            let Talk { stream, me, .. } = talk;
            talk = Talk::over(self.secured(stream.into_inner()).await?, me);
            talk.greet().await?;
        }
        Ok(talk)
    }

    async fn secured(&self, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, String> {
        let authorities = self.server.ca_file.clone().unwrap_or_else(|| PathBuf::from(AUTHORITIES));
        let name = ServerName::try_from(self.server.host.clone()).map_err(|error| error.to_string())?;
        let secured = connector(&authorities)?.connect(name, stream).await;
        Ok(Box::new(secured.map_err(|error| format!("cannot be reached: TLS: {error}"))?))
    }
}

impl Talk {
    fn over(stream: Box<dyn Stream>, me: String) -> Self {
        Self { stream: BufReader::new(stream), me, can: Vec::new() }
    }

    /// Says who we are, and hears what it can.
    async fn greet(&mut self) -> Result<(), String> {
        let reply = self.ask(&format!("EHLO {}", self.me)).await?;
        self.can = reply.lines.iter().skip(1).map(|line| line.to_ascii_uppercase()).collect();
        Ok(())
    }

    async fn begin_tls(&mut self) -> Result<(), String> {
        if !self.can.iter().any(|word| word == "STARTTLS") {
            let why = "does not offer STARTTLS: if it speaks TLS on another port, usually 465, set smtp.tls = \"tls\" and smtp.port";
            return Err(why.to_owned());
        }
        self.ask("STARTTLS").await?;
        // What came before TLS is nobody's word.
        if self.stream.buffer().is_empty() { Ok(()) } else { Err("spoke before TLS had begun".to_owned()) }
    }

    async fn log_in(&mut self, user: &str, password: &str) -> Result<(), String> {
        let secret = |text: &str| Zeroizing::new(STANDARD.encode(text));
        if self.offers("LOGIN") && !self.offers("PLAIN") {
            self.ask("AUTH LOGIN").await?;
            self.ask(&secret(user)).await?;
            return self.ask(&secret(password)).await.map(drop);
        }
        let both = Zeroizing::new(format!("\0{user}\0{password}"));
        let line = Zeroizing::new(format!("AUTH PLAIN {}", *secret(&both)));
        self.ask(&line).await.map(drop)
    }

    /// Whether it lets callers log in this way.
    fn offers(&self, way: &str) -> bool {
        let mut ways = self.can.iter().filter_map(|line| line.strip_prefix("AUTH "));
        ways.any(|ways| ways.split_ascii_whitespace().any(|offered| offered == way))
    }

    /// Names the recipients. When one may be taken later, all wait for that; when some are refused for good, the others get it.
    async fn name_all(&mut self, recipients: &[String]) -> Result<String, String> {
        let (mut refused, mut taken) = (Vec::new(), 0);
        for recipient in recipients {
            let reply = self.say(&format!("RCPT TO:<{recipient}>")).await?;
            match reply.code {
                200..=299 => taken += 1,
                500.. => refused.push(format!("refused {recipient}: {}", reply.told())),
                _ => return Err(format!("does not take {recipient} yet: {}", reply.told())),
            }
        }
        let refused = refused.join("; ");
        if taken == 0 { Err(refused) } else { Ok(refused) }
    }

    /// Says a line that has to be taken.
    async fn ask(&mut self, line: &str) -> Result<Reply, String> {
        let reply = self.say(line).await?;
        if matches!(reply.code, 200..=399) { Ok(reply) } else { Err(format!("answered {}", reply.told())) }
    }

    async fn say(&mut self, line: &str) -> Result<Reply, String> {
        let broke = |error: std::io::Error| format!("went away: {error}");
        self.stream.write_all(Zeroizing::new(format!("{line}\r\n")).as_bytes()).await.map_err(broke)?;
        self.stream.flush().await.map_err(broke)?;
        self.hear().await
    }

    /// What it answers: lines of a code, a dash where another follows, and a text.
    async fn hear(&mut self) -> Result<Reply, String> {
        let mut limited = (&mut self.stream).take(REPLY_BYTES_MAX);
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            limited.read_until(b'\n', &mut line).await.map_err(|error| format!("went away: {error}"))?;
            let line = String::from_utf8_lossy(&line);
            let Some(whole) = line.strip_suffix('\n') else {
                return Err("went away in the midst of an answer".to_owned());
            };
            let (code, rest) = whole.trim_end().split_at_checked(3).ok_or(NO_ANSWER)?;
            let code = code.parse().map_err(|_| NO_ANSWER)?;
            lines.push(rest.get(1..).unwrap_or_default().to_owned());
            if !rest.starts_with('-') {
                return Ok(Reply { code, lines });
            }
        }
    }
}

/// What does not speak SMTP.
const NO_ANSWER: &str = "answers like no mail server";

impl Reply {
    /// On one line, cut.
    fn told(&self) -> String {
        let line: String =
            self.lines.join(" ").chars().filter(|c| !c.is_control()).take(TOLD_CHARS).collect();
        format!("{} {line}", self.code)
    }
}

/// The password in a file, without the end of its line. Read anew for each mail, so that it can be changed.
fn password(file: &Path) -> Result<Zeroizing<String>, String> {
    let bad = |why: String| format!("cannot be logged in to: smtp.password_file {} {why}", file.display());
    let about = std::fs::metadata(file).map_err(|error| bad(format!("cannot be read: {error}")))?;
    if about.mode() & 0o007 != 0 {
        return Err(bad(format!("may be read by others (mode {:o}): chmod 600 it", about.mode() & 0o777)));
    }
    let text = std::fs::read_to_string(file)
        .map(Zeroizing::new)
        .map_err(|error| bad(format!("cannot be read: {error}")))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX || password.chars().any(char::is_control) {
        return Err(bad(format!("must hold one line of at most {PASSWORD_BYTES_MAX} bytes: the password")));
    }
    Ok(Zeroizing::new(password.to_owned()))
}

/// Whether mail can be handed over as is said here, as far as that shows without a mail server. The error is a sentence.
pub fn check_mail(server: &MailServer) -> Result<(), String> {
    if let Some((_, file)) = &server.login {
        password(file).map_err(|why| format!("the mail server {why}"))?;
    }
    server
        .ca_file
        .as_deref()
        .map_or(Ok(()), |file| super::check_authorities(file).map_err(|why| format!("smtp.ca_file: {why}")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn p12_a_password_is_one_line_that_others_cannot_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        let read = |text: &str, mode: u32| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            password(&file).map(|password| (*password).clone())
        };
        assert_eq!(read("hunter2 \n", 0o600).unwrap(), "hunter2 ");
        assert_eq!(read("hunter2", 0o440).unwrap(), "hunter2", "as credentials are");
        for (text, mode, why) in
            [("hunter2", 0o644, "chmod 600"), ("", 0o600, "one line"), ("a\nb\n", 0o600, "one line")]
        {
            let told = read(text, mode).unwrap_err();
            assert!(told.contains(why) && !told.contains("hunter2"), "{told}");
        }
        assert!(password(&dir.path().join("none")).unwrap_err().contains("cannot be read"));
    }
}
