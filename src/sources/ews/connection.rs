//! One HTTP/1.1 connection, which an NTLM login belongs to.
//!
//! Made by hand and not by an HTTP client's pool: a login that is bound to a connection must know its connection and
//! the certificate that it was made with, behind a proxy too, and a pin must be looked at on every one.
//!
//! Must: nothing goes out before the certificate was verified, and is the pinned one where one is pinned; nothing
//! readable goes to another machine unless the profile allows it; no redirection is followed.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};
use tokio::time::timeout;

use super::failure::Failure;
use super::options::EwsOptions;
use crate::net::tls::{self, NetError};
use crate::net::{BoxTransport, TlsMode, clean};
use crate::sources::failure::exposes;

/// Of an error page, which is read for its reason only.
const PAGE_BYTES_MAX: usize = 64 * 1024;

/// Where the requests go.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub host: String,
    pub port: u16,
    pub tls: TlsMode,
}

pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: tokio::task::JoinHandle<()>,
    /// Of the server, in DER; `None` without TLS.
    pub certificate: Option<Vec<u8>>,
    /// The server's address, or the proxy's.
    pub peer: SocketAddr,
    /// A login was made on it, and holds for whatever follows.
    pub is_bound: bool,
    limit: Duration,
    is_used: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Why a request has no answer.
pub(super) struct Unanswered {
    pub failure: Failure,
    /// It never went out, or went into a connection that the server had given up meanwhile: the same on a new
    /// connection may go through, and none of our requests does harm when it comes twice.
    pub was_stale: bool,
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Unanswered {
        Unanswered { failure, was_stale: false }
    }
}

impl Connection {
    pub async fn open(place: &Place, options: &EwsOptions) -> Result<Connection, Failure> {
        let Place { host, port, tls: mode } = place;
        let (trust, limit) = (&options.trust, options.timeout);
        let (stream, peer, certificate): (BoxTransport, _, _) = match &options.proxy {
            Some(_) if *mode == TlsMode::None => {
                return Err(Failure::Connect {
                    text: "through a proxy, http:// would send the password and all mail readable".into(),
                    hint: Some("use https://, or leave `proxy` out".into()),
                    is_passing: false,
                });
            }
            Some(proxy) => {
                let (stream, peer) = proxy.tunnel(host, *port, limit).await.map_err(|error| failed(&error))?;
                let secured = tls::handshake(Box::new(stream), host, trust, limit).await;
                let secured = secured.map_err(|error| failed(&error))?;
                (secured.stream, peer, secured.certificate)
            }
            None => {
                let connected = tls::connect(host, *port, *mode, trust, limit).await.map_err(|error| failed(&error))?;
                (connected.stream, connected.peer, connected.certificate)
            }
        };
        if exposes(*mode, options.allow_plaintext, peer) {
            return Err(Failure::Connect {
                text: format!("{peer} is another machine, and http:// would send the password and all mail readable"),
                hint: Some("use https://; only if it must be: `allow_plaintext = true`".into()),
                is_passing: false,
            });
        }
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| Failure::Io(chain(&error)))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = chain(&error), "the connection ended");
            }
        });
        Ok(Connection { sender, driver, certificate, peer, is_bound: false, limit, is_used: false })
    }

    /// Whether the next request can go out on it: it was not closed, and the last answer was read to its end.
    pub async fn is_ready(&mut self) -> bool {
        matches!(timeout(self.limit, self.sender.ready()).await, Ok(Ok(())))
    }

    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, Unanswered> {
        let was_used = std::mem::replace(&mut self.is_used, true);
        match timeout(self.limit, self.sender.try_send_request(request)).await {
            Ok(Ok(response)) => Ok(Reply { response, limit: self.limit }),
            Err(_) => Err(Unanswered { failure: Failure::Silent(self.limit), was_stale: false }),
            Ok(Err(error)) => {
                let never_sent = error.message().is_some();
                let error = error.into_error();
                let was_stale = was_used
                    && (never_sent || error.is_incomplete_message() || error.is_canceled() || error.is_closed());
                Err(Unanswered { failure: Failure::Io(chain(&error)), was_stale })
            }
        }
    }
}

/// The head of an answer; its body is read piece by piece.
pub(super) struct Reply {
    response: hyper::Response<Incoming>,
    limit: Duration,
}

impl Reply {
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    pub fn header(&self, name: hyper::header::HeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// The next piece of the body; `None`: it ended.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match timeout(self.limit, self.response.frame()).await {
                Err(_) => return Err(Failure::Silent(self.limit)),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(Failure::Io(chain(&error))),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body, where it is not longer than `max`.
    pub async fn body(mut self, max: usize) -> Result<Vec<u8>, Failure> {
        let mut page = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            page.extend_from_slice(&chunk);
            if page.len() > max {
                return Err(Failure::protocol("the answer has no end"));
            }
        }
        Ok(page)
    }

    /// Reads the answer to its end, so that its connection can be used again; the beginning of it. What is longer than
    /// an error page costs the connection.
    pub async fn settle(mut self) -> Result<Vec<u8>, Failure> {
        let mut page = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            page.extend_from_slice(&chunk);
            if page.len() > PAGE_BYTES_MAX {
                break;
            }
        }
        Ok(page)
    }
}

fn failed(error: &NetError) -> Failure {
    // The other sources have a key for each part of it.
    let hint = error
        .hint()
        .map(|hint| ["`host`, `port`", "`host`", "`port`"].iter().fold(hint, |hint, key| hint.replace(key, "`url`")));
    Failure::Connect { text: error.to_string(), hint, is_passing: error.is_passing() }
}

/// An error with its causes.
fn chain(error: &hyper::Error) -> String {
    let mut text = vec![error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push(error.to_string());
        cause = error.source();
    }
    clean(&text.join(": "))
}

type Chunks = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The body of an answer, as it arrives.
pub(super) struct Stretch {
    chunks: Chunks,
    chunk: Bytes,
    at: usize,
}

impl Stretch {
    pub fn new(reply: Reply) -> Stretch {
        let chunks = futures_util::stream::unfold(Some(reply), move |reply| async move {
            let mut reply = reply?;
            match reply.chunk().await {
                Ok(Some(chunk)) => Some((Ok(chunk), Some(reply))),
                Ok(None) => None,
                Err(failure) => Some((Err(io::Error::other(failure)), None)),
            }
        });
        Stretch { chunks: Box::pin(chunks), chunk: Bytes::new(), at: 0 }
    }
}

impl AsyncBufRead for Stretch {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.at >= this.chunk.len() {
            match std::task::ready!(this.chunks.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) => (this.chunk, this.at) = (chunk, 0),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(&[])),
            }
        }
        Poll::Ready(Ok(&this.chunk[this.at..]))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.at += amount;
    }
}

impl AsyncRead for Stretch {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let chunk = std::task::ready!(self.as_mut().poll_fill_buf(cx))?;
        let count = chunk.len().min(out.remaining());
        out.put_slice(&chunk[..count]);
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}
