//! What a page in a browser sends and reads, as bytes: gRPC-web over HTTP/1.1 and TLS, in its binary form or as text.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::Status;

use super::world::Caller;

/// The origin of the pages that may call here.
pub(crate) const PANEL: &str = "https://panel.example";
/// A guard against hangs.
const WITHIN: Duration = Duration::from_secs(30);

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they are.
    Binary,
    /// As base64.
    Text,
}

impl Form {
    fn content_type(self) -> &'static str {
        match self {
            Self::Binary => "application/grpc-web+proto",
            Self::Text => "application/grpc-web-text",
        }
    }
}

/// A page, on a connection of its own.
pub(crate) struct Page {
    stream: TlsStream<TcpStream>,
    form: Form,
    origin: Option<String>,
    token: Option<String>,
    /// What has arrived and was not read yet.
    arrived: Vec<u8>,
}

/// An answer's head.
pub(crate) struct Head {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
}

impl Head {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What a stream holds: messages, and at last a status.
pub(crate) enum Frame {
    Message(Vec<u8>),
    End(Status),
}

impl Page {
    /// A page of the panel.
    pub(crate) async fn open(caller: &Caller, address: SocketAddr, form: Form, token: &str) -> Self {
        let stream = caller.clone().speaking(&["http/1.1"]).connect(address).await.unwrap();
        let (origin, token) = (Some(PANEL.to_owned()), Some(token.to_owned()));
        Self { stream, form, origin, token, arrived: Vec::new() }
    }

    pub(crate) fn of(self, origin: Option<&str>) -> Self {
        Self { origin: origin.map(str::to_owned), ..self }
    }

    pub(crate) fn without_token(self) -> Self {
        Self { token: None, ..self }
    }

    /// Sends these bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Asks whether the page may ask, as browsers do before they send what it wants to send.
    pub(crate) async fn question(&mut self, path: &str) -> Head {
        let origin = self.origin.clone().unwrap();
        let head = format!(
            "OPTIONS {path} HTTP/1.1\r\nHost: settled.test\r\nAccept: */*\r\nAccess-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: authorization,content-type,x-grpc-web,x-user-agent\r\nOrigin: {origin}\r\n\
             User-Agent: Mozilla/5.0\r\nSec-Fetch-Mode: cors\r\nConnection: keep-alive\r\n\r\n"
        );
        self.write(head.as_bytes()).await;
        self.head().await
    }

    /// The head of a request with a body of this length.
    pub(crate) fn request(&self, path: &str, length: usize) -> String {
        let kind = self.form.content_type();
        let origin = self.origin.as_ref().map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        let token = token.unwrap_or_default();
        format!(
            "POST {path} HTTP/1.1\r\nHost: settled.test\r\nContent-Length: {length}\r\nAccept: {kind}\r\nContent-Type: {kind}\r\nX-Grpc-Web: 1\r\n\
             X-User-Agent: grpc-web-javascript/0.1\r\nUser-Agent: Mozilla/5.0\r\nAccept-Encoding: gzip, deflate, br\r\n{origin}{token}\
             Connection: keep-alive\r\n\r\n"
        )
    }

    /// A message as it travels.
    pub(crate) fn framed(&self, message: &impl Message) -> Vec<u8> {
        let message = message.encode_to_vec();
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend(message);
        match self.form {
            Form::Binary => bytes,
            Form::Text => BASE64_STANDARD.encode(bytes).into_bytes(),
        }
    }

    /// Asks, and reads the head of the answer.
    pub(crate) async fn ask(&mut self, path: &str, message: &impl Message) -> Head {
        let body = self.framed(message);
        let head = self.request(path, body.len());
        self.write(head.as_bytes()).await;
        self.write(&body).await;
        self.head().await
    }

    /// Asks for one answer.
    pub(crate) async fn call<A: Message + Default>(
        &mut self,
        path: &str,
        message: &impl Message,
    ) -> Result<A, Status> {
        let head = self.ask(path, message).await;
        self.answer(&head).await
    }

    /// One answer, or the status that stands in its place.
    pub(crate) async fn answer<A: Message + Default>(&mut self, head: &Head) -> Result<A, Status> {
        assert_eq!(head.code, 200);
        let mut frames = Frames::default();
        let mut answer = None;
        loop {
            match frames.next(self, head).await {
                Some(Frame::Message(bytes)) => answer = Some(A::decode(&bytes[..]).unwrap()),
                Some(Frame::End(status)) if status.code() == tonic::Code::Ok => {
                    // What ends the body.
                    assert!(frames.next(self, head).await.is_none());
                    return Ok(answer.expect("a message comes before the end"));
                }
                Some(Frame::End(status)) => return Err(status),
                None => return Err(Status::from_header_map(&head.headers).expect("a status in the head")),
            }
        }
    }

    /// The head of an answer.
    pub(crate) async fn head(&mut self) -> Head {
        let text = String::from_utf8(self.until(b"\r\n\r\n").await).unwrap();
        let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
        let code = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
        Head { code, headers: headers(lines) }
    }

    /// The next piece of a body; nothing at its end.
    async fn piece(&mut self, head: &Head) -> Option<Vec<u8>> {
        if head.get("transfer-encoding") != Some("chunked") {
            return None;
        }
        let line = self.until(b"\r\n").await;
        let length = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
        let mut piece = self.bytes(length + 2).await;
        piece.truncate(length);
        (length > 0).then_some(piece)
    }

    /// Everything up to these bytes, and with them.
    async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            let found = self.arrived.windows(end.len()).position(|window| window == end);
            if let Some(at) = found {
                return self.bytes(at + end.len()).await;
            }
            self.more().await;
        }
    }

    async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.arrived.len() < count {
            self.more().await;
        }
        self.arrived.drain(..count).collect()
    }

    async fn more(&mut self) {
        let read = tokio::time::timeout(WITHIN, self.stream.read_buf(&mut self.arrived));
        let read = read.await.expect("something comes").unwrap();
        assert!(read > 0, "the connection ended: {}", String::from_utf8_lossy(&self.arrived));
    }

    /// What is said until the connection ends.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        // How it ends does not matter.
        let ends = tokio::time::timeout(WITHIN, self.stream.read_to_end(&mut self.arrived));
        ends.await.expect("the connection ends").ok();
        self.arrived
    }
}

fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> HeaderMap {
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        let name: HeaderName = name.trim().parse().unwrap();
        (name, HeaderValue::from_str(value.trim()).unwrap())
    };
    lines.map(header).collect()
}

/// The frames of an answer, as far as they have come.
#[derive(Default)]
pub(crate) struct Frames {
    /// Of the text that has come, what is no whole group of four yet.
    text: Vec<u8>,
    bytes: Vec<u8>,
}

impl Frames {
    /// The next frame; nothing at the end of the body.
    pub(crate) async fn next(&mut self, page: &mut Page, head: &Head) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            let piece = page.piece(head).await?;
            match page.form {
                Form::Binary => self.bytes.extend(piece),
                Form::Text => {
                    self.text.extend(piece);
                    let whole = self.text.len() / 4 * 4;
                    // Each group by itself: there may be padding in the middle.
                    for group in self.text.drain(..whole).collect::<Vec<_>>().chunks(4) {
                        self.bytes.extend(BASE64_STANDARD.decode(group).unwrap());
                    }
                }
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let length = self.bytes.get(1..5)?;
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if self.bytes.len() < 5 + length {
            return None;
        }
        let frame: Vec<u8> = self.bytes.drain(..5 + length).collect();
        Some(match frame[0] {
            0x80 => {
                let text = std::str::from_utf8(&frame[5..]).unwrap();
                let headers = headers(text.split("\r\n").filter(|line| !line.is_empty()));
                Frame::End(Status::from_header_map(&headers).expect("a stream ends with its status"))
            }
            _ => Frame::Message(frame[5..].to_vec()),
        })
    }
}
