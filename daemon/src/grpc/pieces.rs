//! Answers that go out piece by piece, each when there is room for it: what a connection has taken over it keeps until its caller reads, whole.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame};
use tonic::Status;
use tonic::body::Body;

/// Bytes of a piece.
const PIECE_BYTES: usize = 16 << 10;

/// The answer of this one message.
pub(super) fn pieces(message: Bytes, trailers: Option<HeaderMap>) -> Body {
    Body::new(Pieces { message, trailers })
}

/// It does not tell its length: for browsers its trailers become part of it.
struct Pieces {
    message: Bytes,
    trailers: Option<HeaderMap>,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.message.is_empty() {
            return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let piece = if self.message.len() <= PIECE_BYTES {
            std::mem::take(&mut self.message)
        } else {
            // A copy: as long as a part of it is there, the whole message is.
            Bytes::copy_from_slice(&self.message.split_to(PIECE_BYTES))
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_empty() && self.trailers.is_none()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_message_arrives_as_it_was_in_pieces_none_of_which_keeps_the_whole() {
        for length in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES - 1] {
            let message: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let trailers = HeaderMap::from_iter([(http::header::AGE, 7.into())]);
            let mut body = pieces(message.clone().into(), Some(trailers.clone()));
            let (mut read, mut end) = (Vec::new(), None);
            while let Some(frame) = body.frame().await {
                match frame.unwrap().into_data() {
                    Ok(piece) => {
                        assert!(!piece.is_empty() && piece.len() <= PIECE_BYTES && piece.is_unique());
                        read.extend(piece);
                    }
                    Err(frame) => end = frame.into_trailers().ok(),
                }
            }
            assert!(read == message && end == Some(trailers), "{length}");
        }
    }

    #[test]
    fn an_answer_of_nothing_but_its_head_is_over_at_once() {
        assert!(pieces(Bytes::new(), None).is_end_stream());
    }
}
