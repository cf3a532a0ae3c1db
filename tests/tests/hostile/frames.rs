//! HTTP/2 as nobody should speak it: frames written by hand, because no client library lets a caller behave so badly.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// What every connection begins with.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Of PING and SETTINGS: this answers one.
const ACK: u8 = 1;
/// Of DATA and HEADERS: nothing comes after it.
pub(crate) const END_STREAM: u8 = 1;
/// Of HEADERS: the headers are whole.
pub(crate) const END_HEADERS: u8 = 4;

/// The setting that says how much may arrive for a request before its caller asks for more.
const INITIAL_WINDOW: u16 = 4;

/// Any stream of bytes.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Bytes for T {}
/// A connection on which nothing was said.
pub(crate) type Io = Box<dyn Bytes>;

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The settings of a caller who lets so many bytes of each answer come.
pub(crate) fn settings(window: u32) -> Vec<u8> {
    let payload = [&INITIAL_WINDOW.to_be_bytes()[..], &window.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

/// One header, spelled out: neither tables nor Huffman.
pub(crate) fn header(name: &str, value: &str) -> Vec<u8> {
    let mut header = vec![0];
    for text in [name, value] {
        length(text.len(), &mut header);
        header.extend(text.as_bytes());
    }
    header
}

/// A length with a prefix of seven bits (RFC 7541, 5.1).
fn length(length: usize, into: &mut Vec<u8>) {
    let Some(mut rest) = length.checked_sub(127) else {
        into.push(u8::try_from(length).unwrap());
        return;
    };
    into.push(127);
    while rest >= 128 {
        into.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    into.push(u8::try_from(rest).unwrap());
}

/// The headers of a request, as their frame carries them.
pub(crate) fn headers(path: &str, token: Option<&str>) -> Vec<u8> {
    let mut headers = Vec::new();
    let plain = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "settled"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ];
    for (name, value) in plain {
        headers.extend(header(name, value));
    }
    if let Some(token) = token {
        headers.extend(header("authorization", &format!("Bearer {token}")));
    }
    headers
}

/// A whole request with this message, in two frames.
pub(crate) fn request(stream: u32, path: &str, token: Option<&str>, message: &[u8]) -> Vec<u8> {
    let mut request = frame(HEADERS, END_HEADERS, stream, &headers(path, token));
    request.extend(frame(DATA, END_STREAM, stream, &[&announced(message.len())[..], message].concat()));
    request
}

/// The head of a message of so many bytes.
pub(crate) fn announced(length: usize) -> [u8; 5] {
    let [a, b, c, d] = u32::try_from(length).unwrap().to_be_bytes();
    [0, a, b, c, d]
}

/// The ids of the streams that a caller may begin.
pub(crate) fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

/// A connection that has begun to speak.
pub(crate) struct Talk {
    write: Arc<Mutex<WriteHalf<Io>>>,
    /// There while nobody reads.
    unread: Option<ReadHalf<Io>>,
    reading: Option<JoinHandle<()>>,
}

impl Talk {
    /// Says the preface, and how much of each answer may come; reads nothing.
    pub(crate) async fn deaf(io: Io, window: u32) -> io::Result<Self> {
        let (read, mut write) = tokio::io::split(io);
        write.write_all(PREFACE).await?;
        write.write_all(&settings(window)).await?;
        write.flush().await?;
        Ok(Self { write: Arc::new(Mutex::new(write)), unread: Some(read), reading: None })
    }

    /// The same, and reads whatever comes, answers pings and settings, and lets nothing more come than the windows that it has told.
    pub(crate) async fn polite(io: Io, window: u32) -> io::Result<Self> {
        let mut talk = Self::deaf(io, window).await?;
        if let Some(read) = talk.unread.take() {
            talk.reading = Some(tokio::spawn(answer(read, Arc::clone(&talk.write))));
        }
        Ok(talk)
    }

    /// Says this.
    pub(crate) async fn say(&self, bytes: &[u8]) -> io::Result<()> {
        if self.is_over() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let mut write = self.write.lock().await;
        write.write_all(bytes).await?;
        write.flush().await
    }

    /// Whether the other side has ended it. Nobody knows who does not read.
    pub(crate) fn is_over(&self) -> bool {
        self.reading.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Returns when the other side ends it.
    pub(crate) async fn end(&mut self) {
        if let Some(reading) = &mut self.reading {
            reading.await.unwrap();
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.abort();
        }
    }
}

/// Reads frames until there are no more.
async fn answer(mut read: ReadHalf<Io>, write: Arc<Mutex<WriteHalf<Io>>>) {
    let mut payload = Vec::new();
    loop {
        let mut head = [0; 9];
        if read.read_exact(&mut head).await.is_err() {
            return;
        }
        let [a, b, c, kind, flags, ..] = head;
        payload.resize(u32::from_be_bytes([0, a, b, c]) as usize, 0);
        if read.read_exact(&mut payload).await.is_err() {
            return;
        }
        let ack = match kind {
            PING if flags & ACK == 0 => frame(PING, ACK, 0, &payload),
            SETTINGS if flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[]),
            _ => continue,
        };
        let mut write = write.lock().await;
        if write.write_all(&ack).await.is_err() || write.flush().await.is_err() {
            return;
        }
    }
}
