//! HTTP as far as tests need it: a server that keeps what it is sent, and a page that is read.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::address::free_address;
use crate::patience::{WITHIN, until};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Got {
    /// Its first line.
    pub line: String,
    headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Got {
    /// What a header says; nothing when there is none of this name.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Its body, read as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

/// A server that keeps what it is sent.
pub struct Endpoint {
    port: u16,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Endpoint {
    /// One that gives these answers, one after the other, and the last one again and again. An empty one is none: it hangs.
    pub async fn answering(answers: &[&str]) -> Self {
        Self::over(None, answers).await
    }

    /// The same over TLS, when there is somebody to be.
    pub async fn over(tls: Option<TlsAcceptor>, answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it listens").port();
        let got = Arc::new(Mutex::new(Vec::new()));
        let (answers, seen) = (answers.iter().map(|&a| a.to_owned()).collect::<Vec<_>>(), Arc::clone(&got));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, answers, seen) = (tls.clone(), answers.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, answers, seen).await,
                        // Who does not trust it goes away.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, answers, seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, got }
    }

    /// One that is not there: nobody listens at its address.
    pub fn gone() -> Self {
        Self { port: free_address().port(), got: Arc::default() }
    }

    /// Where a path of it is.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What has come so far.
    pub fn got(&self) -> Vec<Got> {
        self.got.lock().expect("nobody panics with it").clone()
    }

    /// Waits until this many requests have come.
    pub async fn has(&self, many: usize) -> Vec<Got> {
        let enough = async || Some(self.got()).filter(|got| got.len() >= many);
        until(&format!("{many} have come"), enough).await
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answers: Vec<String>,
    seen: Arc<Mutex<Vec<Got>>>,
) {
    let mut bytes = Vec::new();
    let got = loop {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        if let Some(got) = whole(&String::from_utf8_lossy(&bytes)) {
            break got;
        }
    };
    let answer = {
        let mut seen = seen.lock().expect("nobody panics with it");
        seen.push(got);
        answers[(seen.len() - 1).min(answers.len() - 1)].clone()
    };
    if answer.is_empty() {
        std::future::pending::<()>().await;
    }
    stream.write_all(answer.as_bytes()).await.ok();
}

/// A request, once all of it is there.
fn whole(text: &str) -> Option<Got> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let line = lines.next()?.to_owned();
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers: Vec<_> = lines.filter_map(header).collect();
    let got = Got { line, headers, body: body.to_owned() };
    (got.header("content-length").parse() == Ok(body.len())).then_some(got)
}

/// An answer, for [`Endpoint::answering`]. Each of `headers` has its end of line.
pub fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// The page at this address and path.
pub async fn page(address: &str, path: &str) -> String {
    let reading = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(WITHIN, reading).await.expect("there is an answer").expect("it can be read");
    answer.split_once("\r\n\r\n").expect("an answer has a head").1.to_owned()
}
