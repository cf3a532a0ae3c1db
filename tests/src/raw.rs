//! Messages as the bytes that they are, for whoever sends what no client would.

use bytes::{Buf as _, BufMut as _};
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

/// Largest message that is sent, in bytes: more than anybody takes.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Bytes as they are.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, bytes: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&bytes);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

/// Sends these messages to a method, whichever it is; answers with what comes back, one message or many.
pub async fn send(
    channel: Channel,
    path: &'static str,
    messages: Vec<Vec<u8>>,
) -> Result<Streaming<Vec<u8>>, Status> {
    let mut client = Grpc::new(channel).max_encoding_message_size(MESSAGE_BYTES_MAX);
    client.ready().await.expect("the daemon serves");
    let request = Request::new(tokio_stream::iter(messages));
    let answer = client.streaming(request, PathAndQuery::from_static(path), Raw).await?;
    Ok(answer.into_inner())
}
