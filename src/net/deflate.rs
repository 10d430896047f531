//! A connection on which both sides compress from now on (RFC 4978 and its like).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_compression::tokio::bufread::DeflateDecoder;
use async_compression::tokio::write::DeflateEncoder;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};

use super::BoxTransport;

/// What is read is unpacked piece by piece into the reader's buffer, so that a reader that bounds what it takes bounds what
/// a hostile server can make of a few bytes. What is written goes out at each flush.
pub fn deflated(stream: BoxTransport) -> BoxTransport {
    Box::new(Deflated(DeflateDecoder::new(BufReader::new(DeflateEncoder::new(stream)))))
}

struct Deflated(DeflateDecoder<BufReader<DeflateEncoder<BoxTransport>>>);

impl Deflated {
    fn writer(self: Pin<&mut Self>) -> Pin<&mut DeflateEncoder<BoxTransport>> {
        Pin::new(self.get_mut().0.get_mut().get_mut())
    }
}

impl AsyncRead for Deflated {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Deflated {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writer().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_shutdown(cx)
    }
}
