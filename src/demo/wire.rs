//! One connection's bytes: bounded command lines with literals in, buffered responses out.
//!
//! Output passes one place that counts it and ends the connection where the plan says so, to the byte.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::server::Shared;
use super::syntax::{self, Token};

/// Bytes that are collected before they are sent.
const FLUSH_BYTES: usize = 64 * 1024;
/// Longer ones are sent from where they lie, together with what was collected.
const DIRECT_BYTES: usize = 8 * 1024;
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Literals in ordinary arguments; APPEND may be larger.
const ARGUMENT_BYTES_MAX: usize = 64 * 1024;
const APPEND_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The connection is over, for whatever reason.
#[derive(Debug)]
pub(super) struct Gone;

impl From<std::io::Error> for Gone {
    fn from(_: std::io::Error) -> Gone {
        Gone
    }
}

pub(super) type Flow<T = ()> = Result<T, Gone>;

pub(super) struct Wire {
    input: BufReader<OwnedReadHalf>,
    output: OwnedWriteHalf,
    pending: Vec<u8>,
    shared: Arc<Shared>,
}

/// A command as it came in.
pub(super) struct Command {
    pub tag: String,
    /// Upper case; with `UID ` before it where that is part of it.
    pub name: String,
    pub arguments: Vec<Token>,
}

/// What reading a command came to.
pub(super) enum Read {
    Command(Command),
    /// Not a command; answered with this tag and BAD.
    Malformed(String),
}

impl Wire {
    pub fn new(stream: TcpStream, shared: Arc<Shared>) -> Wire {
        // Responses are flushed deliberately; waiting for more would only slow down short ones.
        let _ = stream.set_nodelay(true);
        let (input, output) = stream.into_split();
        Wire { input: BufReader::with_capacity(16 * 1024, input), output, pending: Vec::new(), shared }
    }

    /// Collects a line.
    pub async fn line(&mut self, line: impl AsRef<[u8]>) -> Flow {
        self.bytes(line.as_ref()).await?;
        self.bytes(b"\r\n").await
    }

    /// Collects bytes; long ones are sent at once, without a copy.
    pub async fn bytes(&mut self, bytes: &[u8]) -> Flow {
        if bytes.len() >= DIRECT_BYTES {
            return self.send(bytes).await;
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= FLUSH_BYTES { self.send(b"").await } else { Ok(()) }
    }

    pub async fn flush(&mut self) -> Flow {
        if self.pending.is_empty() { Ok(()) } else { self.send(b"").await }
    }

    async fn send(&mut self, more: &[u8]) -> Flow {
        let total = self.pending.len() + more.len();
        let (allowed, ends) = self.shared.allow(total as u64);
        let allowed = allowed as usize;
        let mut first = &self.pending[..allowed.min(self.pending.len())];
        let mut second = &more[..allowed - first.len()];
        while !first.is_empty() || !second.is_empty() {
            let n = self.output.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]).await?;
            if n == 0 {
                return Err(Gone);
            }
            let of_first = n.min(first.len());
            first = &first[of_first..];
            second = &second[n - of_first..];
        }
        self.pending.clear();
        if ends { Err(Gone) } else { Ok(()) }
    }

    /// Ends the connection in an orderly way: what was sent arrives, then the end of the stream.
    ///
    /// Closing a socket with unread input would reset the connection and could take back bytes that were
    /// already sent, so the input is drained first, for a bounded time.
    pub async fn end(mut self) {
        let _ = self.output.shutdown().await;
        let mut sink = [0u8; 4096];
        let drain = async { while matches!(self.input.read(&mut sink).await, Ok(n) if n > 0) {} };
        let _ = tokio::time::timeout(Duration::from_secs(5), drain).await;
    }

    /// Says nothing any more until the client goes.
    pub async fn hang(&mut self) -> Gone {
        if self.flush().await.is_ok() {
            let mut sink = [0u8; 4096];
            while matches!(self.input.read(&mut sink).await, Ok(n) if n > 0) {}
        }
        Gone
    }

    /// One line without its line break. What was collected is sent before waiting for the client.
    pub async fn read_line(&mut self) -> Flow<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            if !self.input.buffer().contains(&b'\n') {
                self.flush().await?;
            }
            let buffer = self.input.fill_buf().await?;
            if buffer.is_empty() {
                return Err(Gone);
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(buffer.len(), |at| at + 1);
            line.extend_from_slice(&buffer[..taken]);
            self.input.consume(taken);
            if line.len() > LINE_BYTES_MAX {
                self.line("* BYE Line too long").await?;
                self.flush().await?;
                return Err(Gone);
            }
            if end.is_some() {
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
        }
    }

    /// One command with all its literals.
    pub async fn read_command(&mut self) -> Flow<Read> {
        let mut tokens = Vec::new();
        let mut malformed = false;
        let mut total = 0;
        loop {
            let line = self.read_line().await?;
            let (text, literal) = split_literal(&line);
            malformed |= syntax::tokens(text, &mut tokens).is_none();
            let Some((length, waits)) = literal else { break };
            total += length;
            let is_append = matches!(tokens.get(1), Some(Token::Atom(name)) if name.eq_ignore_ascii_case("append"));
            if total > if is_append { APPEND_BYTES_MAX } else { ARGUMENT_BYTES_MAX } {
                self.line("* BYE Literal too long").await?;
                self.flush().await?;
                return Err(Gone);
            }
            if waits {
                self.line("+ Go ahead").await?;
                self.flush().await?;
            }
            let mut value = vec![0; length];
            self.input.read_exact(&mut value).await?;
            tokens.push(Token::Text(value));
        }
        let mut tokens = tokens.into_iter();
        let tag = tokens.next().and_then(|token| token.text()).unwrap_or_else(|| "*".into());
        let Some(Token::Atom(name)) = tokens.next() else { return Ok(Read::Malformed(tag)) };
        let mut name = name.to_ascii_uppercase();
        if name == "UID" {
            let Some(Token::Atom(which)) = tokens.next() else { return Ok(Read::Malformed(tag)) };
            name = format!("UID {}", which.to_ascii_uppercase());
        }
        if malformed {
            return Ok(Read::Malformed(tag));
        }
        Ok(Read::Command(Command { tag, name, arguments: tokens.collect() }))
    }
}

/// Splits `{n}` or `{n+}` off the end of a line: its length, and whether the client waits to be asked.
fn split_literal(line: &[u8]) -> (&[u8], Option<(usize, bool)>) {
    let found = line.strip_suffix(b"}").and_then(|rest| {
        let at = rest.iter().rposition(|byte| *byte == b'{')?;
        let number = std::str::from_utf8(&rest[at + 1..]).ok()?;
        let (number, waits) = match number.strip_suffix('+') {
            Some(number) => (number, false),
            None => (number, true),
        };
        Some((at, number.parse().ok()?, waits))
    });
    match found {
        Some((at, length, waits)) => (&line[..at], Some((length, waits))),
        None => (line, None),
    }
}
