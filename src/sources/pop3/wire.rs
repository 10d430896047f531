//! Commands and answers of POP3 (RFC 1939, 2449): status lines, lines up to a dot, and mails.
//!
//! Once an answer was not read to its end, what is left of it would be taken for the next one, so the connection
//! is never used again.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::net::{BoxTransport, clean};
use crate::sources::sink::Sink;
use crate::sources::{Retry, Scope, SourceError};

/// RFC 2449 §4 allows 512 bytes; some servers say more.
const LINE_BYTES_MAX: usize = 8 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// `-ERR`: the response code in upper case (RFC 2449 §8), and the text.
    #[error("{}", .text)]
    Refused { code: Option<String>, text: String },
    #[error("the server closed the connection")]
    Eof,
    #[error("{0}")]
    Io(String),
    #[error("the server was silent for {}", humantime::format_duration(*.0))]
    Silent(Duration),
    #[error("the server's answer was not understood: {0}")]
    Protocol(String),
    #[error("{0}")]
    Local(String),
    #[error("{0}")]
    NoSpace(String),
    #[error("the connection was given up after an earlier error")]
    GivenUp,
    /// On this side nobody takes items any more.
    #[error("the download was stopped")]
    Stopped,
}

impl Failure {
    /// A refusal that passes by itself, by its response code (RFC 3206 §4, RFC 2449 §8.1).
    pub fn is_passing(&self) -> bool {
        let Failure::Refused { code: Some(code), .. } = self else { return false };
        code == "IN-USE" || code.starts_with("SYS/TEMP")
    }

    /// `what` says what was tried; `refused` is who can mend a refusal without a response code that says so.
    pub fn into_error(self, what: impl Into<String>, refused: Retry) -> SourceError {
        let answer = self.to_string();
        let (retry, hint) = match &self {
            Failure::Refused { code, .. } => match code.as_deref() {
                Some("IN-USE") => {
                    (Retry::Later, Some("another session is open; a gateway mailbox should have one client only"))
                }
                Some("LOGIN-DELAY") => {
                    (Retry::Later, Some("the server wants more time between two logins: raise `every`"))
                }
                Some(code) if code.starts_with("SYS/TEMP") => (Retry::Later, None),
                Some(code) if code.starts_with("SYS") || code.starts_with("AUTH") => (Retry::Operator, None),
                _ => (refused, None),
            },
            Failure::Eof | Failure::Io(_) | Failure::GivenUp | Failure::Stopped => (
                Retry::Later,
                Some("the next run goes on where this one stopped; if it happens again, see the server's log"),
            ),
            Failure::Silent(_) => {
                (Retry::Later, Some("`timeout` is the longest silence of the server that is waited for"))
            }
            Failure::Protocol(_) => (
                Retry::Later,
                Some("check that a POP3 server listens at `host` and `port`, and that `tls` is what it expects there"),
            ),
            Failure::Local(_) => (Retry::Operator, Some("check the rights of the folder for temporary files")),
            Failure::NoSpace(_) => (
                Retry::Later,
                Some("make room on the archive's volume; nothing was lost, what was not archived is fetched again"),
            ),
        };
        let no_space = matches!(self, Failure::NoSpace(_));
        let hint = hint.map(str::to_owned);
        SourceError { retry, hint, no_space, ..SourceError::new(Scope::Profile, what, answer) }
    }

    /// What goes wrong while a mail is put in its place on this machine.
    pub fn local(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Failure::NoSpace(format!("cannot write a downloaded mail: {error}"))
            }
            _ => Failure::Local(format!("cannot write a downloaded mail: {error}")),
        }
    }
}

/// A server's word within a login.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    More(String),
    Done,
}

pub(super) struct Wire {
    stream: BufReader<BoxTransport>,
    timeout: Duration,
    /// In the middle of an answer, or after an error.
    unusable: bool,
}

impl Wire {
    pub fn new(stream: BoxTransport, timeout: Duration) -> Wire {
        Wire { stream: BufReader::with_capacity(BUFFER_BYTES, stream), timeout, unusable: false }
    }

    /// What is left of the connection, and whether the server had sent more than was read.
    pub fn into_inner(self) -> (BoxTransport, bool) {
        let more = !self.stream.buffer().is_empty();
        (self.stream.into_inner(), more)
    }

    /// Sends a line without waiting for its answer.
    pub async fn send(&mut self, line: &str) -> Result<(), Failure> {
        if self.unusable {
            return Err(Failure::GivenUp);
        }
        let text = zeroize::Zeroizing::new(format!("{line}\r\n"));
        let writing = async {
            let stream = self.stream.get_mut();
            stream.write_all(text.as_bytes()).await?;
            stream.flush().await
        };
        match tokio::time::timeout(self.timeout, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.give_up(Failure::Io(clean(&error.to_string())))),
            Err(_) => Err(self.give_up(Failure::Silent(self.timeout))),
        }
    }

    pub async fn run(&mut self, line: &str) -> Result<String, Failure> {
        self.send(line).await?;
        self.status().await
    }

    /// The text of `+OK`; a refusal leaves the connection usable.
    pub async fn status(&mut self) -> Result<String, Failure> {
        let line = self.line(LINE_BYTES_MAX).await?;
        self.status_of(&line)
    }

    fn status_of(&mut self, line: &str) -> Result<String, Failure> {
        if let Some(text) = line.strip_prefix("+OK") {
            return Ok(clean(text));
        }
        let Some(text) = line.strip_prefix("-ERR") else {
            return Err(self.give_up(Failure::Protocol(format!("neither +OK nor -ERR: {}", clean(line)))));
        };
        let text = text.trim();
        let code = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(code, _)| code.to_uppercase());
        let text = if text.is_empty() { "the server refused it".to_owned() } else { clean(text) };
        Err(Failure::Refused { code, text })
    }

    /// `+ …`: the server asks for the rest of a login, and may say something in base64; or the login's end.
    pub async fn challenge(&mut self) -> Result<Challenge, Failure> {
        let line = self.line(LINE_BYTES_MAX).await?;
        match line.strip_prefix('+') {
            Some(rest) if !rest.starts_with("OK") => Ok(Challenge::More(rest.trim().to_owned())),
            _ => self.status_of(&line).map(|_| Challenge::Done),
        }
    }

    /// The lines of an answer after its status, up to the one that is a dot.
    pub async fn lines(&mut self, mut each: impl FnMut(&str) -> Result<(), Failure>) -> Result<(), Failure> {
        loop {
            let line = self.line(LINE_BYTES_MAX).await?;
            match line.strip_prefix('.') {
                Some("") => return Ok(()),
                Some(rest) => each(rest).map_err(|failure| self.give_up(failure))?,
                None => each(&line).map_err(|failure| self.give_up(failure))?,
            }
        }
    }

    /// The lines of a mail after its status, with their line breaks, up to the one that is a dot. A long line comes in
    /// pieces.
    pub async fn raw_lines(&mut self, mut each: impl FnMut(&[u8])) -> Result<(), Failure> {
        let mut unstuff = Unstuff::default();
        let mut line = Vec::new();
        loop {
            let timeout = self.timeout;
            let chunk = match tokio::time::timeout(timeout, self.stream.fill_buf()).await {
                Ok(Ok([])) => return Err(self.give_up(Failure::Eof)),
                Ok(Ok(chunk)) => chunk,
                Ok(Err(error)) => {
                    let failure = Failure::Io(clean(&error.to_string()));
                    return Err(self.give_up(failure));
                }
                Err(_) => return Err(self.give_up(Failure::Silent(timeout))),
            };
            let (used, done) = unstuff.take(chunk, |bytes| {
                line.extend_from_slice(bytes);
                if bytes.ends_with(b"\n") || line.len() > BUFFER_BYTES {
                    each(&line);
                    line.clear();
                }
            });
            self.stream.consume(used);
            if done {
                return Ok(());
            }
        }
    }

    /// A mail after its status: the dots that protect lines are taken off, the last line is a dot.
    pub async fn mail(&mut self, sink: &mut Sink) -> Result<(), Failure> {
        let mut unstuff = Unstuff::default();
        loop {
            let timeout = self.timeout;
            let filled = tokio::time::timeout(timeout, self.stream.fill_buf()).await;
            let chunk = match filled {
                Ok(Ok([])) => return Err(self.give_up(Failure::Eof)),
                Ok(Ok(chunk)) => chunk,
                Ok(Err(error)) => {
                    let failure = Failure::Io(clean(&error.to_string()));
                    return Err(self.give_up(failure));
                }
                Err(_) => return Err(self.give_up(Failure::Silent(timeout))),
            };
            let (used, done) = unstuff.take(chunk, |bytes| sink.put(bytes));
            self.stream.consume(used);
            sink.settle().await.map_err(|error| self.give_up(Failure::local(&error)))?;
            if done {
                return Ok(());
            }
        }
    }

    async fn line(&mut self, max: usize) -> Result<String, Failure> {
        if self.unusable {
            return Err(Failure::GivenUp);
        }
        let mut line = Vec::new();
        loop {
            let filled = match tokio::time::timeout(self.timeout, self.stream.fill_buf()).await {
                Ok(Ok([])) => Err(Failure::Eof),
                Ok(Ok(chunk)) => Ok(chunk),
                Ok(Err(error)) => Err(Failure::Io(clean(&error.to_string()))),
                Err(_) => Err(Failure::Silent(self.timeout)),
            };
            let chunk = match filled {
                Ok(chunk) => chunk,
                Err(failure) => return Err(self.give_up(failure)),
            };
            let end = memchr::memchr(b'\n', chunk);
            let used = end.map_or(chunk.len(), |end| end + 1);
            line.extend_from_slice(&chunk[..used]);
            self.stream.consume(used);
            if line.len() > max {
                return Err(self.give_up(Failure::Protocol("a line is longer than any answer".into())));
            }
            if end.is_some() {
                while line.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
                    line.pop();
                }
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
        }
    }

    pub fn give_up(&mut self, failure: Failure) -> Failure {
        self.unusable = true;
        failure
    }
}

/// Takes the dots off that protect lines, whatever the pieces are that a mail arrives in.
#[derive(Default)]
struct Unstuff {
    state: At,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum At {
    #[default]
    LineStart,
    /// A dot at the start of a line.
    Dot,
    /// A dot at the start of a line, and CR.
    DotCr,
    Inside,
}

impl Unstuff {
    /// How many bytes of `chunk` belong to the mail, and whether it ends there.
    fn take(&mut self, chunk: &[u8], mut put: impl FnMut(&[u8])) -> (usize, bool) {
        let mut at = 0;
        while let Some(&byte) = chunk.get(at) {
            match (self.state, byte) {
                (At::LineStart, b'.') => {
                    self.state = At::Dot;
                    at += 1;
                }
                (At::Dot, b'\r') => {
                    self.state = At::DotCr;
                    at += 1;
                }
                (At::Dot | At::DotCr, b'\n') => return (at + 1, true),
                (At::DotCr, _) => {
                    // The dot was a protecting one, and the CR belongs to the line.
                    put(b"\r");
                    self.state = At::Inside;
                }
                (At::LineStart | At::Dot | At::Inside, _) => {
                    let rest = &chunk[at..];
                    let end = memchr::memchr(b'\n', rest);
                    let used = end.map_or(rest.len(), |end| end + 1);
                    put(&rest[..used]);
                    self.state = if end.is_some() { At::LineStart } else { At::Inside };
                    at += used;
                }
            }
        }
        (at, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mail that is read when the answer arrives in two pieces, for every place of the cut.
    fn unstuffed(answer: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        for cut in 0..=answer.len() {
            let (mut out, mut unstuff, mut ended) = (Vec::new(), Unstuff::default(), 0);
            for piece in [&answer[..cut], &answer[cut..]] {
                if ended == 0 {
                    let (used, done) = unstuff.take(piece, |bytes| out.extend_from_slice(bytes));
                    if done {
                        ended = piece.len() - used + 1;
                    }
                }
            }
            assert!(ended > 0, "no end at {cut}");
            assert!(all.is_empty() || all == out, "another mail at {cut}");
            all = out;
        }
        all
    }

    #[test]
    fn protecting_dots_come_off_wherever_the_pieces_end() {
        assert_eq!(unstuffed(b"a\r\n..b\r\n...\r\n..\r\n.\r\n"), b"a\r\n.b\r\n..\r\n.\r\n");
        assert_eq!(unstuffed(b".\r\n"), b"");
        assert_eq!(unstuffed(b"a\n..\n.\n"), b"a\n.\n");
        assert_eq!(unstuffed(b"x.\r\n.\rz\r\n.\r\n"), b"x.\r\n\rz\r\n");
        assert_eq!(unstuffed(b"a\r\n.b\r\n.\r\n"), b"a\r\nb\r\n", "a server that does not protect loses the dot");
    }
}
