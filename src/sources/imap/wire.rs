//! The command helper: sends commands, reads responses, and checks every tagged status.
//!
//! async-imap parses; its command methods are not used, because they take a tagged NO, a BAD and a
//! closed connection for a normal end, write passwords to the trace log, and know no literals. What is
//! sent is written here, and every answer passes [`Wire::next`].
//!
//! Once a command was not read to its end (an error, or a caller that stopped waiting) its answers may
//! still be under way, so the connection is never used again: [`Health`].

use std::collections::VecDeque;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_imap::imap_proto::rfc4315::UidSetMember;
use async_imap::imap_proto::{Response, ResponseCode, Status};
use futures_util::FutureExt as _;
use tokio::io::AsyncWriteExt as _;

use super::capabilities::Capabilities;
use super::diverter::{Diverter, Fault};
use crate::net::{BoxTransport, clean};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{}", .0.words())]
    No(StatusText),
    #[error("{}", .0.words())]
    Bad(StatusText),
    /// The server ended the session, with its reason.
    #[error("the server closed the session: {0}")]
    Bye(String),
    #[error("the server closed the connection")]
    Eof,
    #[error("{0}")]
    Io(String),
    #[error("{0}")]
    Silent(String),
    #[error("the server's answer was not understood: {0}")]
    Protocol(String),
    #[error("{0}")]
    Local(String),
    /// This machine's disk is full.
    #[error("{0}")]
    NoSpace(String),
    #[error("the connection was given up after an earlier error")]
    GivenUp,
    /// On this side nobody takes items any more.
    #[error("the download was stopped")]
    Stopped,
    /// `sole_client` is not true.
    #[error("other mails than those to be deleted are flagged \\Deleted; our flags were taken off again")]
    NotAlone,
}

/// A status line: its response code, in upper case and without arguments, and its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StatusText {
    pub code: Option<String>,
    pub text: String,
}

impl StatusText {
    fn words(&self) -> String {
        match (&self.code, self.text.is_empty()) {
            (Some(code), true) => format!("[{code}]"),
            (Some(code), false) => format!("[{code}] {}", self.text),
            (None, true) => "no reason was given".into(),
            (None, false) => self.text.clone(),
        }
    }

    fn of(code: Option<&ResponseCode<'_>>, text: Option<&str>) -> StatusText {
        let text = text.unwrap_or_default().trim();
        // The parser leaves the codes that it does not know (all of RFC 5530) in the text.
        if code.is_none()
            && let Some((inside, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']'))
        {
            let code = inside.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            return StatusText { code: Some(clean(&code)), text: clean(rest) };
        }
        StatusText { code: None, text: clean(text) }
    }
}

/// A command's tagged OK.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub status: StatusText,
    pub capabilities: Option<Capabilities>,
    pub read_only: bool,
    /// The new numbers of mails that were copied or moved (COPYUID).
    pub copied: Vec<u32>,
}

/// What COPYUID says, of so many mails at most; the ranges are the server's.
pub(super) fn copied(code: Option<&ResponseCode<'_>>, most: usize) -> Vec<u32> {
    let Some(ResponseCode::CopyUid(_, _, new)) = code else { return Vec::new() };
    let numbers = new.iter().flat_map(|member| match member {
        UidSetMember::Uid(uid) => *uid..=*uid,
        UidSetMember::UidRange(range) => range.clone(),
    });
    numbers.take(most).collect()
}

/// One step of reading. async-imap's type for a response has no public name, so what is wanted of untagged
/// data is taken out of it by a function of the caller's.
pub(super) enum Answer<T> {
    Data(T),
    /// `+`: the server waits for more of the command, and may say something to it.
    Continue(String),
    /// The oldest command is done.
    Done(Result<Done, Failure>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    /// Nothing is under way.
    Ready,
    /// Commands are under way.
    Busy,
    GivenUp,
}

pub(super) struct Wire {
    client: async_imap::Client<Diverter>,
    received: Arc<AtomicU64>,
    tag: u64,
    /// Tags of the commands under way, oldest first.
    under_way: VecDeque<String>,
    health: Health,
    limit: Duration,
}

impl Wire {
    pub fn new(stream: BoxTransport, limit: Duration) -> Wire {
        let diverter = Diverter::new(stream, limit);
        let received = diverter.received();
        let client = async_imap::Client::new(diverter);
        Wire { client, received, tag: 0, under_way: VecDeque::new(), health: Health::Ready, limit }
    }

    /// Bytes that came over this connection so far.
    pub fn received(&self) -> Arc<AtomicU64> {
        self.received.clone()
    }

    pub fn diverter(&mut self) -> &mut Diverter {
        self.client.get_mut()
    }

    pub fn into_inner(self) -> BoxTransport {
        self.client.into_inner().into_inner()
    }

    /// How many commands wait for their tagged status.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Runs one command to its end; `on` sees its untagged data.
    pub async fn run(
        &mut self,
        command: &str,
        mut on: impl FnMut(&Response<'_>) -> Result<(), Failure> + Send,
    ) -> Result<Done, Failure> {
        self.start(command).await?;
        loop {
            match self.next(&mut on).await? {
                Answer::Data(Ok(())) => {}
                Answer::Data(Err(failure)) => return Err(self.give_up(failure)),
                Answer::Continue(_) => return Err(self.give_up(protocol("it asks for more of a complete command"))),
                Answer::Done(done) => return done,
            }
        }
    }

    /// Sends a command. Several may be under way; a connection with a command that was not read to its
    /// end when [`Wire::run`] or a pipeline begins is a connection that was given up.
    pub async fn start(&mut self, command: &str) -> Result<(), Failure> {
        if self.health == Health::Busy {
            // The caller of an earlier command stopped waiting for it.
            self.health = Health::GivenUp;
        }
        self.start_another(command).await
    }

    /// Sends a command while others are under way.
    pub async fn start_another(&mut self, command: &str) -> Result<(), Failure> {
        if self.health == Health::GivenUp {
            return Err(Failure::GivenUp);
        }
        self.tag += 1;
        let tag = format!("G{}", self.tag);
        let line = zeroize::Zeroizing::new(format!("{tag} {command}\r\n"));
        self.under_way.push_back(tag);
        self.write(line.as_bytes()).await
    }

    /// Sends a part of a command that the server asked for.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        // Busy before the first byte: a caller that stops waiting in here leaves half a command.
        self.health = Health::Busy;
        let stream = self.client.get_mut();
        let write = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        match tokio::time::timeout(self.limit, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.give_up(of_io(&error))),
            Err(_) => Err(self.give_up(of_io(&Fault::Silent(self.limit).into()))),
        }
    }

    /// Reads one response of the commands under way.
    pub async fn next<T: Send>(
        &mut self,
        extract: impl FnOnce(&Response<'_>) -> T + Send,
    ) -> Result<Answer<T>, Failure> {
        let (tag, status, done) = match self.read(|response| sort(response, extract)).await? {
            Sorted::Data(data) => return Ok(Answer::Data(data)),
            Sorted::Continue(text) => return Ok(Answer::Continue(text)),
            Sorted::Bye(text) => return Err(self.give_up(Failure::Bye(text))),
            Sorted::Done { tag, status, done } => (tag, status, done),
        };
        if self.under_way.front() != Some(&tag) {
            return Err(self.give_up(protocol("it answers a command that was not sent")));
        }
        self.under_way.pop_front();
        if self.under_way.is_empty() {
            self.health = Health::Ready;
        }
        match status {
            Status::Ok => Ok(Answer::Done(Ok(done))),
            Status::No => Ok(Answer::Done(Err(Failure::No(done.status)))),
            Status::Bad => Ok(Answer::Done(Err(Failure::Bad(done.status)))),
            Status::PreAuth | Status::Bye => Err(self.give_up(protocol("a command ends with a status that ends none"))),
        }
    }

    /// Reads one response, whatever it is.
    pub async fn read<T: Send>(&mut self, extract: impl FnOnce(&Response<'_>) -> T + Send) -> Result<T, Failure> {
        if self.health == Health::GivenUp {
            return Err(Failure::GivenUp);
        }
        // The parser takes foreign bytes, and panics at some (`INTERNALDATE NIL`, a status text that
        // begins with a character of several bytes): that ends the connection, not the agent.
        let read = AssertUnwindSafe(self.client.read_response()).catch_unwind().await;
        match read {
            Ok(Ok(Some(data))) => Ok(extract(data.parsed())),
            Ok(Ok(None)) => Err(self.give_up(Failure::Eof)),
            Ok(Err(error)) => Err(self.give_up(of_io(&error))),
            Err(_) => Err(self.give_up(protocol("the parser gave up on it"))),
        }
    }

    /// Marks the connection as not to be used again.
    pub fn give_up(&mut self, failure: Failure) -> Failure {
        self.health = Health::GivenUp;
        failure
    }
}

enum Sorted<T> {
    Data(T),
    Continue(String),
    Bye(String),
    Done { tag: String, status: Status, done: Done },
}

fn sort<T>(response: &Response<'_>, extract: impl FnOnce(&Response<'_>) -> T) -> Sorted<T> {
    match response {
        Response::Continue(more) => Sorted::Continue(more.information.as_deref().unwrap_or_default().trim().to_owned()),
        Response::Data { status: Status::Bye, outcome } => {
            Sorted::Bye(StatusText::of(outcome.code.as_ref(), outcome.information.as_deref()).words())
        }
        Response::Done { tag, status, outcome } => {
            let done = Done {
                status: StatusText::of(outcome.code.as_ref(), outcome.information.as_deref()),
                capabilities: match &outcome.code {
                    Some(ResponseCode::Capabilities(list)) => Some(Capabilities::of(list)),
                    _ => None,
                },
                read_only: matches!(outcome.code, Some(ResponseCode::ReadOnly)),
                copied: copied(outcome.code.as_ref(), super::delete::BATCH_ITEMS_MAX),
            };
            let status = match status {
                Status::Ok => Status::Ok,
                Status::No => Status::No,
                Status::Bad => Status::Bad,
                Status::PreAuth => Status::PreAuth,
                Status::Bye => Status::Bye,
            };
            Sorted::Done { tag: tag.0.clone(), status, done }
        }
        other => Sorted::Data(extract(other)),
    }
}

pub(super) fn protocol(what: &str) -> Failure {
    Failure::Protocol(what.to_owned())
}

fn of_io(error: &io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Fault>()) {
        Some(fault @ Fault::Silent(_)) => Failure::Silent(fault.to_string()),
        Some(fault @ Fault::CutOff) => Failure::Io(fault.to_string()),
        Some(fault @ Fault::Protocol(_)) => Failure::Protocol(fault.to_string()),
        Some(fault @ Fault::Spool(error)) => match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::NoSpace(fault.to_string()),
            _ => Failure::Local(fault.to_string()),
        },
        // The parser's own errors have no type either; their text holds the server's whole answer.
        None if error.kind() == io::ErrorKind::Other => Failure::Protocol(clean(&error.to_string())),
        None => Failure::Io(format!("the connection broke: {}", clean(&error.to_string()))),
    }
}

#[cfg(test)]
mod no_space_tests {
    use super::*;
    use crate::sources::{Retry, Scope};

    #[test]
    fn a_full_disk_under_the_spool_is_not_the_gateways_fault() {
        for (kind, no_space) in [(io::ErrorKind::StorageFull, true), (io::ErrorKind::PermissionDenied, false)] {
            let failure = of_io(&Fault::Spool(kind.into()).into());
            let error = failure.into_error("downloading", Scope::Mailbox, Retry::Later);
            assert_eq!(error.no_space, no_space, "{error}");
            assert!(error.hint.is_some());
        }
    }
}
