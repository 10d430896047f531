//! Keeps mail bodies out of async-imap's buffer.
//!
//! It sits between the transport and async-imap and hands on one whole response at a time. In the
//! answer to a fetch, the literal of `BODY[]` is not handed on: the diverter waits until the window has
//! room for it, streams its bytes into memory or a spool file, and puts a short token in its place. The
//! parsed response then leads back to the body by the token, whatever the order of its attributes.
//!
//! What it must never do: look for lines inside a literal; hand out a body of which a byte is missing;
//! hand on a byte beyond the current response (so that what came before a TLS handshake can be seen).
//!
//! The time-out lies here, at the one place that waits for the server: neither a full window nor a slow
//! disk counts as the server's silence.

mod body;
mod line;
#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

pub(super) use body::{Content, Diverted};
use body::{Opening, Sink};
use line::LineEnd;

use crate::net::BoxTransport;
use crate::sources::Intake;

/// A response without its diverted bodies is this long at most, other literals included.
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes that are read ahead of the response being put together.
const READ_BYTES: usize = 64 * 1024;
/// The longest literal that is read and thrown away; a longer one ends the connection.
const DRAIN_BYTES_MAX: u64 = u32::MAX as u64;

/// What went wrong on this side of the parser. It travels inside an `io::Error`, because that is what
/// the parser passes on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the server was silent for {}", humantime::format_duration(*.0))]
    Silent(Duration),
    #[error("the connection ended in the middle of an answer")]
    CutOff,
    #[error("{0}")]
    Protocol(&'static str),
    /// This machine's trouble, not the server's.
    #[error("the spool file cannot be written: {0}")]
    Spool(io::Error),
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        io::Error::other(fault)
    }
}

pub(super) struct Diverter {
    inner: BoxTransport,
    /// Read and not yet looked at: `input[start..end]`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// The response being put together, and where its current line began.
    response: Vec<u8>,
    line_start: usize,
    state: State,
    /// The finished response, handed on from `ready_at`.
    ready: Vec<u8>,
    ready_at: usize,
    ended: bool,
    /// Set while a fetch runs: only then is a body expected.
    intake: Option<Intake>,
    diverted: Option<Diverted>,
    nonce: String,
    curious: bool,
    bodies: u64,
    silence: Silence,
    /// Bytes that came so far.
    received: Arc<AtomicU64>,
}

enum State {
    /// In a line of the response.
    Line,
    /// In a literal that is handed on.
    Literal { left: usize },
    /// Waiting for room in the window.
    Opening(Opening),
    /// In a body.
    Body(Sink),
}

impl Diverter {
    /// Lets answers about rights and quotas through, which are of no use to a run.
    pub fn be_curious(&mut self) {
        self.curious = true;
    }

    pub fn new(inner: BoxTransport, silence_max: Duration) -> Diverter {
        Diverter {
            inner,
            input: vec![0; READ_BYTES],
            start: 0,
            end: 0,
            response: Vec::new(),
            line_start: 0,
            state: State::Line,
            ready: Vec::new(),
            ready_at: 0,
            ended: false,
            intake: None,
            diverted: None,
            // A token that neither a mail nor an earlier connection can guess.
            nonce: uuid::Uuid::new_v4().simple().to_string(),
            bodies: 0,
            curious: false,
            silence: Silence { limit: silence_max, sleep: None, armed: false },
            received: Arc::default(),
        }
    }

    /// Counts the bytes that come, for whoever has no access to the connection.
    pub fn received(&self) -> Arc<AtomicU64> {
        self.received.clone()
    }

    /// From now on bodies are diverted into `intake`'s window; `None`: no more bodies are expected.
    pub fn divert_to(&mut self, intake: Option<Intake>) {
        self.intake = intake;
        self.diverted = None;
    }

    /// The body that `token` stands for. Anything else that was diverted is dropped.
    pub fn take_body(&mut self, token: &[u8]) -> Option<Diverted> {
        self.diverted.take().filter(|diverted| diverted.token.as_bytes() == token)
    }

    /// Whether the server sent more than the responses that were handed on.
    pub fn has_more(&self) -> bool {
        self.start < self.end || !self.response.is_empty() || self.ready_at < self.ready.len()
    }

    pub fn into_inner(self) -> BoxTransport {
        self.inner
    }

    /// Works until a whole response is ready, or the connection has ended between two.
    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.ready_at < self.ready.len() || self.ended {
                return Poll::Ready(Ok(()));
            }
            match &mut self.state {
                State::Line => {
                    if self.response.is_empty() {
                        // Whoever wanted the last response's body has taken it; else it must not hold
                        // a part of the window that the next one waits for.
                        self.diverted = None;
                    }
                    let seen = &self.input[self.start..self.end];
                    let newline = memchr(b'\n', seen);
                    let n = newline.map_or(seen.len(), |at| at + 1);
                    if self.response.len() + n > RESPONSE_BYTES_MAX {
                        return fault(Fault::Protocol("an answer of the server is too long"));
                    }
                    self.response.extend_from_slice(&seen[..n]);
                    self.start += n;
                    match newline {
                        Some(_) => self.end_of_line()?,
                        None => ready!(self.poll_fill(cx))?,
                    }
                }
                State::Literal { left } => {
                    let n = (*left).min(self.end - self.start);
                    self.response.extend_from_slice(&self.input[self.start..self.start + n]);
                    self.start += n;
                    *left -= n;
                    if *left == 0 {
                        self.state = State::Line;
                        self.line_start = self.response.len();
                    } else {
                        ready!(self.poll_fill(cx))?;
                    }
                }
                State::Opening(opening) => {
                    let sink = ready!(opening.as_mut().poll(cx)).map_err(Fault::Spool)?;
                    self.state = State::Body(sink);
                }
                State::Body(sink) => {
                    if ready!(sink.poll_settled(cx)).map_err(Fault::Spool)? {
                        self.end_of_body();
                        continue;
                    }
                    // What was read ahead first; then straight from the transport into its place.
                    let space = sink.space();
                    let n = if self.start < self.end {
                        let n = space.len().min(self.end - self.start);
                        space[..n].copy_from_slice(&self.input[self.start..self.start + n]);
                        self.start += n;
                        n
                    } else {
                        ready!(poll_read(&mut self.inner, &mut self.silence, cx, space))?
                    };
                    self.received.fetch_add(n as u64, Ordering::Relaxed);
                    if n == 0 {
                        return fault(Fault::CutOff);
                    }
                    sink.advance(n);
                }
            }
        }
    }

    fn end_of_line(&mut self) -> Result<(), Fault> {
        match line::end_of(&self.response, self.line_start) {
            LineEnd::Response => self.end_of_response(),
            LineEnd::Literal { header_at, bytes, is_body } => {
                if is_body && let Some(intake) = self.intake.clone() {
                    if self.diverted.is_some() {
                        return Err(Fault::Protocol("one answer of the server holds two bodies"));
                    }
                    if bytes > intake.item_bytes_max && bytes > DRAIN_BYTES_MAX {
                        return Err(Fault::Protocol("the server announces a body too long even to be skipped"));
                    }
                    self.response.truncate(header_at);
                    self.state = State::Opening(Box::pin(body::open(intake, bytes)));
                } else {
                    let room = RESPONSE_BYTES_MAX - self.response.len();
                    let left = usize::try_from(bytes).ok().filter(|&n| n <= room);
                    let left = left.ok_or(Fault::Protocol("a literal of the server is too long"))?;
                    // The parser knows the plain spelling only: not `~{n}`, not `{n+}`.
                    self.response.truncate(header_at);
                    self.response.extend_from_slice(format!("{{{left}}}\r\n").as_bytes());
                    self.line_start = self.response.len();
                    self.state = State::Literal { left };
                }
            }
        }
        Ok(())
    }

    fn end_of_body(&mut self) {
        let State::Body(sink) = std::mem::replace(&mut self.state, State::Line) else { return };
        self.bodies += 1;
        let token = format!("gatepost-{}-{}", self.nonce, self.bodies);
        self.response.extend_from_slice(format!("{{{}}}\r\n{token}", token.len()).as_bytes());
        self.line_start = self.response.len();
        self.diverted = Some(sink.finish(token));
    }

    fn end_of_response(&mut self) {
        let mut response = std::mem::take(&mut self.response);
        self.line_start = 0;
        if line::is_for_us(&response, self.curious) {
            line::mend(&mut response);
            self.ready = response;
            self.ready_at = 0;
        } else {
            tracing::trace!(bytes = response.len(), "an answer that nobody asked for was skipped");
            self.diverted = None;
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        debug_assert_eq!(self.start, self.end);
        let n = ready!(poll_read(&mut self.inner, &mut self.silence, cx, &mut self.input))?;
        self.received.fetch_add(n as u64, Ordering::Relaxed);
        (self.start, self.end) = (0, n);
        if n == 0 {
            if !self.response.is_empty() {
                return fault(Fault::CutOff);
            }
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

fn fault<T>(fault: Fault) -> Poll<io::Result<T>> {
    Poll::Ready(Err(fault.into()))
}

fn memchr(byte: u8, bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&b| b == byte)
}

/// The time-out of reads: armed when there is nothing to read, disarmed by the next byte.
struct Silence {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

fn poll_read(
    inner: &mut BoxTransport,
    silence: &mut Silence,
    cx: &mut Context<'_>,
    space: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(space);
    match Pin::new(inner).poll_read(cx, &mut buffer) {
        Poll::Ready(result) => {
            silence.armed = false;
            Poll::Ready(result.map(|()| buffer.filled().len()))
        }
        Poll::Pending => {
            let deadline = Instant::now() + silence.limit;
            let sleep = silence.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if !silence.armed {
                sleep.as_mut().reset(deadline);
                silence.armed = true;
            }
            ready!(sleep.as_mut().poll(cx));
            silence.armed = false;
            fault(Fault::Silent(silence.limit))
        }
    }
}

impl AsyncRead for Diverter {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_response(cx))?;
        let n = out.remaining().min(this.ready.len() - this.ready_at);
        out.put_slice(&this.ready[this.ready_at..this.ready_at + n]);
        this.ready_at += n;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Diverter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Says nothing of what it carries: async-imap wants this for its own `Debug`.
impl std::fmt::Debug for Diverter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Diverter")
    }
}
