//! The POP3 source: the protocol of a MailStore Gateway, and of old mailboxes everywhere.
//!
//! ```text
//! connect    host → TLS → greeting → STLS → CAPA → login
//! listing    UIDL and LIST: all of the mailbox, each time
//! fetch      TOP n 0 and RETR n, several under way where the server allows
//! delete     match → DELE → QUIT: only its +OK deletes → log in again and look
//! ```
//!
//! POP3 has no identity space and no dates. A mail is known by its UIDL; beside it stand its size and the SHA-256 of
//! its header as `TOP n 0` gives it, in the place of a date: these are matched again before a deletion in a later
//! session. Message numbers live for one session only and leave this module nowhere.
//!
//! A deletion counts when QUIT was answered. When that answer is lost, nobody knows: the mail may be gone (then the
//! next listing shows it) or still be there (then it is known by its UIDL, and is deleted again).

mod check;
mod connect;
pub mod options;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{HashMap, HashSet, VecDeque};

use tokio::sync::mpsc;

use self::options::Pop3Options;
use self::wire::{Failure, Wire};
use super::failure::operator;
use super::sink::Sink;
use super::{
    Abilities, Body, Deletion, EpochKey, Fetched, FolderState, Intake, Listed, Looked, Opened, Retry, Scope, Source,
    SourceError, Tell,
};
use crate::base::bytes::ByteSource as _;
use crate::base::digest::Hasher;
use crate::net::clean;

/// More than any server holds; bounds the memory that a hostile one can take.
const ITEMS_MAX: usize = 5_000_000;
/// Longer than the 70 bytes that RFC 1939 allows, for servers that write more.
const UIDL_BYTES_MAX: usize = 512;
/// Mails asked for while the first is read, where the server takes several commands at once.
const PIPELINE: usize = 8;
/// Sizes of small mails are announced too roughly by some servers to tell a stub by.
const STUB_LISTED_MIN: u64 = 8 * 1024;

/// A mail of the session.
#[derive(Clone, Debug)]
struct Entry {
    number: u32,
    size: u64,
    /// Of the header, as it is recorded in the place of a date; `None`: not asked for yet.
    date: Option<String>,
}

/// A session with a POP3 gateway, logged in.
pub struct Pop3Source {
    options: Pop3Options,
    session: Result<Session, SourceError>,
    peer: String,
    host: String,
    abilities: Abilities,
    read_only: bool,
    /// Rising, by message number.
    order: Vec<String>,
    entries: HashMap<String, Entry>,
}

struct Session {
    wire: Wire,
    pipelining: bool,
}

impl Pop3Source {
    /// Connects and logs in.
    pub async fn connect(options: &Pop3Options) -> Result<Pop3Source, SourceError> {
        let (greeted, _) = connect::session(options).await?;
        Ok(Pop3Source::new(greeted, options))
    }

    /// Deletes nothing (`check`, a dry run).
    pub fn read_only(mut self) -> Pop3Source {
        self.read_only = true;
        self.abilities.can_delete = false;
        self.abilities.cannot_delete_because = Some("the session is for reading only".into());
        self
    }

    /// What `check` says about a gateway, in the order of looking; it ends at what blocks the rest.
    pub async fn survey(options: &Pop3Options, tell: Tell<'_>) -> Looked {
        check::look(options, tell).await
    }

    fn new(greeted: connect::Greeted, options: &Pop3Options) -> Pop3Source {
        let connect::Greeted { wire, peer, greeting, capabilities, .. } = greeted;
        // The first port names the gateway, whichever of them answers today.
        let port = options.ports.first().map_or(0, |(port, _)| *port);
        let host = format!("{}:{port}", options.host);
        let greeting: String = greeting.trim().chars().take(100).collect();
        let pipelining = capabilities.has("PIPELINING");
        tracing::debug!(host, pipelining, "logged in to the gateway");
        Pop3Source {
            options: options.clone(),
            session: Ok(Session { wire, pipelining }),
            peer: format!("pop3 {host} ({peer}) {greeting}"),
            host,
            abilities: Abilities { can_delete: true, ..Abilities::default() },
            read_only: false,
            order: Vec::new(),
            entries: HashMap::new(),
        }
    }

    fn session(&mut self) -> Result<&mut Session, SourceError> {
        self.session.as_mut().map_err(|error| error.clone())
    }

    /// Asks for everything that the mailbox holds.
    async fn look(&mut self) -> Result<(), SourceError> {
        let session = self.session()?;
        let (order, entries) = session.look().await.map_err(|failure| match failure {
            // A server without UIDL cannot say which mail is which.
            Failure::Refused { text, .. } => operator(
                Scope::Profile,
                "listing the mailbox",
                text,
                Some("the server must know UIDL and LIST; else reach the mailbox over IMAP"),
            ),
            failure => failure.into_error("listing the mailbox", Retry::Later),
        })?;
        (self.order, self.entries) = (order, entries);
        Ok(())
    }

    /// The header's digest of a mail, asked for when it is not known.
    async fn date_of(&mut self, native: &str) -> Result<Option<String>, SourceError> {
        let Some(entry) = self.entries.get(native) else { return Ok(None) };
        if entry.date.is_some() {
            return Ok(entry.date.clone());
        }
        let number = entry.number;
        let what = "matching an item";
        let date = self.session()?.header(number).await.map_err(|failure| failure.into_error(what, Retry::Later))?;
        if let Some(entry) = self.entries.get_mut(native) {
            entry.date = Some(date.clone());
        }
        Ok(Some(date))
    }

    /// Ends the session with QUIT, which deletes what was marked; then logs in again to look.
    async fn quit_and_return(&mut self) -> Result<bool, SourceError> {
        let confirmed = match self.session()?.wire.run("QUIT").await {
            Ok(_) => true,
            // "some deleted messages not removed" (RFC 1939 §6): what is left is seen by looking.
            Err(Failure::Refused { .. }) => false,
            Err(failure) => {
                let error = failure.into_error("deleting (QUIT)", Retry::Later);
                self.session = Err(error.clone());
                return Err(error);
            }
        };
        let again = async || {
            let (greeted, _) = connect::session(&self.options).await?;
            Ok(Session { pipelining: greeted.capabilities.has("PIPELINING"), wire: greeted.wire })
        };
        self.session = again().await;
        Ok(confirmed)
    }
}

/// In the place of a date. Header lines are compared without what stands at their end: some servers differ in it
/// between TOP and RETR, or from one day to the next.
fn header_date(lines: &[Vec<u8>]) -> String {
    let mut hasher = Hasher::new();
    for line in lines {
        hasher.update(line.trim_ascii_end());
        hasher.update(b"\n");
    }
    let digest = hasher.finish().to_string();
    format!("header {}", &digest[..32])
}

impl Session {
    async fn look(&mut self) -> Result<(Vec<String>, HashMap<String, Entry>), Failure> {
        let mut sizes: HashMap<u32, u64> = HashMap::new();
        self.wire.run("LIST").await?;
        self.wire
            .lines(|line| {
                let mut words = line.split_ascii_whitespace();
                let number = words.next().and_then(|word| word.parse().ok());
                let size = words.next().and_then(|word| word.parse().ok());
                let (Some(number), Some(size)) = (number, size) else { return Err(odd("LIST", line)) };
                sizes.insert(number, size);
                if sizes.len() > ITEMS_MAX { Err(odd("LIST", "more items than can be")) } else { Ok(()) }
            })
            .await?;
        self.wire.run("UIDL").await?;
        let mut numbered: Vec<(u32, String)> = Vec::with_capacity(sizes.len());
        self.wire
            .lines(|line| {
                let (number, id) = line.split_once(' ').ok_or_else(|| odd("UIDL", line))?;
                let number = number.parse().map_err(|_| odd("UIDL", line))?;
                let id = id.trim();
                if id.is_empty() || id.len() > UIDL_BYTES_MAX || id.contains(char::is_control) {
                    return Err(odd("UIDL", line));
                }
                numbered.push((number, id.to_owned()));
                if numbered.len() > ITEMS_MAX { Err(odd("UIDL", "more items than can be")) } else { Ok(()) }
            })
            .await?;
        if numbered.len() != sizes.len() {
            return Err(odd("UIDL", "it names other items than LIST"));
        }
        numbered.sort_unstable();
        let counts = numbered.iter().fold(HashMap::new(), |mut counts: HashMap<String, u32>, (_, id)| {
            *counts.entry(id.clone()).or_default() += 1;
            counts
        });
        let (mut order, mut entries) = (Vec::with_capacity(numbered.len()), HashMap::with_capacity(numbered.len()));
        for (number, id) in numbered {
            let size = *sizes.get(&number).ok_or_else(|| odd("UIDL", "it names other items than LIST"))?;
            let mut entry = Entry { number, size, date: None };
            let mut native = id;
            if counts.get(&native).is_some_and(|&count| count > 1) {
                // Against RFC 1939 §7, two mails have one id: told apart by what they are, or by their place.
                let date = self.header(number).await?;
                native = format!("{native} {size} {date}");
                entry.date = Some(date);
                let plain = native.clone();
                for copy in 2u32.. {
                    if !entries.contains_key(&native) {
                        break;
                    }
                    native = format!("{plain} {copy}");
                }
            }
            order.push(native.clone());
            entries.insert(native, entry);
        }
        Ok((order, entries))
    }

    /// The digest of a header, by TOP, or by RETR where the server has no TOP.
    async fn header(&mut self, number: u32) -> Result<String, Failure> {
        match self.wire.run(&format!("TOP {number} 0")).await {
            Ok(_) => {}
            Err(Failure::Refused { .. }) => {
                self.wire.run(&format!("RETR {number}")).await?;
            }
            Err(failure) => return Err(failure),
        }
        self.read_header().await
    }

    /// Reads an answer to its end and digests the lines before the first empty one.
    async fn read_header(&mut self) -> Result<String, Failure> {
        let mut header = HeaderSink::default();
        self.wire.raw_lines(|line| header.take(line)).await?;
        Ok(header_date(&header.lines))
    }
}

/// The lines of a header; bounded, because a mail may be nothing else.
#[derive(Default)]
struct HeaderSink {
    lines: Vec<Vec<u8>>,
    bytes: usize,
    ended: bool,
}

impl HeaderSink {
    const BYTES_MAX: usize = 256 * 1024;

    fn take(&mut self, line: &[u8]) {
        self.ended |= line.trim_ascii_end().is_empty();
        if !self.ended && self.bytes < HeaderSink::BYTES_MAX {
            self.bytes += line.len();
            self.lines.push(line.to_vec());
        }
    }
}

fn odd(command: &str, line: &str) -> Failure {
    Failure::Protocol(format!("{command}: {}", clean(line)))
}

impl Source for Pop3Source {
    fn peer(&self) -> String {
        self.peer.clone()
    }

    fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// POP3 has one folder, whatever it is called.
    async fn open(&mut self, _folder: &str) -> Result<Opened, SourceError> {
        self.look().await?;
        let epoch = EpochKey {
            kind: "pop3".into(),
            host: self.host.clone(),
            login: self.options.username.clone(),
            folder: "INBOX".into(),
            validity: "uidl".into(),
        };
        let state = FolderState { next: 1, exists: self.order.len() as u64 };
        Ok(Opened { epoch, state, numbered: false })
    }

    async fn list(&mut self, _from: u64) -> Result<(Vec<Listed>, Option<u64>), SourceError> {
        let listed = |native: &String| {
            let entry = self.entries.get(native)?;
            let date = entry.date.clone().unwrap_or_default();
            Some(Listed { native_id: native.clone(), order: Some(0), size: entry.size, date })
        };
        Ok((self.order.iter().filter_map(listed).collect(), None))
    }

    async fn list_only(&mut self, ids: &[Listed]) -> Result<Vec<Listed>, SourceError> {
        let mut found = Vec::new();
        for id in ids {
            let Some(size) = self.entries.get(&id.native_id).map(|entry| entry.size) else { continue };
            let date = match id.date.is_empty() {
                true => String::new(),
                false => self.date_of(&id.native_id).await?.unwrap_or_default(),
            };
            found.push(Listed { native_id: id.native_id.clone(), order: Some(0), size, date });
        }
        Ok(found)
    }

    async fn fetch(
        &mut self,
        wanted: &[Listed],
        intake: &Intake,
        out: &mpsc::Sender<Fetched>,
    ) -> Result<(), SourceError> {
        let result = self.fetch_all(wanted, intake, out).await;
        result.map_err(|failure| {
            let error = failure.into_error("downloading", Retry::Later);
            if self.session.is_ok() {
                self.session = Err(error.clone());
            }
            error
        })
    }

    async fn delete(&mut self, items: &[Listed]) -> Result<Vec<Deletion>, SourceError> {
        const WHAT: &str = "deleting";
        if self.read_only {
            return Err(operator(Scope::Profile, WHAT, "the session is for reading only", None));
        }
        let mut answers: Vec<Option<Deletion>> = vec![None; items.len()];
        let mut marked: Vec<(usize, u32)> = Vec::new();
        let mut taken = HashSet::new();
        for (at, item) in items.iter().enumerate() {
            let Some(entry) = self.entries.get(&item.native_id) else {
                answers[at] = Some(Deletion::Gone);
                continue;
            };
            let (number, size) = (entry.number, entry.size);
            // What nobody recorded cannot be matched.
            let matches = size == item.size
                && !item.date.is_empty()
                && self.date_of(&item.native_id).await?.as_deref() == Some(item.date.as_str());
            if matches && taken.insert(number) {
                marked.push((at, number));
            } else {
                answers[at] = Some(Deletion::Mismatch);
            }
        }
        let session = self.session()?;
        let depth = if session.pipelining { 100 } else { 1 };
        for batch in marked.chunks(depth) {
            let failed = |failure: Failure| failure.into_error(WHAT, Retry::Later);
            for (_, number) in batch {
                session.wire.send(&format!("DELE {number}")).await.map_err(failed)?;
            }
            for (at, _) in batch {
                match session.wire.status().await {
                    Ok(_) => {}
                    Err(Failure::Refused { .. }) => answers[*at] = Some(Deletion::StillThere),
                    Err(failure) => return Err(failed(failure)),
                }
            }
        }
        if marked.is_empty() {
            return Ok(answers.into_iter().map(|answer| answer.unwrap_or(Deletion::Mismatch)).collect());
        }
        let confirmed = self.quit_and_return().await?;
        // QUIT was answered, so it is done, also when the server wants no new session just now (LOGIN-DELAY).
        let looked = match &self.session {
            Ok(_) => match self.look().await {
                Ok(()) => true,
                // The numbers at hand are the last session's: in this one they are other mails'.
                Err(error) => {
                    self.session = Err(error);
                    false
                }
            },
            Err(_) => false,
        };
        if !confirmed && !looked {
            let answer = "the server could not remove all mails and does not say which";
            return Err(operator(Scope::Profile, WHAT, answer, Some("the next run looks which are left")));
        }
        let gone: HashSet<&str> = items.iter().map(|item| item.native_id.as_str()).collect();
        if !looked {
            self.order.retain(|native| !gone.contains(native.as_str()));
            self.entries.retain(|native, _| !gone.contains(native.as_str()));
        }
        for (at, _) in &marked {
            let there = self.entries.contains_key(&items[*at].native_id);
            let answer = if there { Deletion::StillThere } else { Deletion::Deleted };
            answers[*at].get_or_insert(answer);
        }
        Ok(answers.into_iter().map(|answer| answer.unwrap_or(Deletion::Mismatch)).collect())
    }

    async fn close(self) {
        if let Ok(mut session) = self.session {
            // Nothing is marked: QUIT changes nothing, and whether it is answered is of no interest.
            let _ = session.wire.run("QUIT").await;
        }
    }
}

impl Pop3Source {
    async fn fetch_all(
        &mut self,
        wanted: &[Listed],
        intake: &Intake,
        out: &mpsc::Sender<Fetched>,
    ) -> Result<(), Failure> {
        let Ok(session) = &mut self.session else { return Err(Failure::GivenUp) };
        let send =
            async |listed: Listed, body: Body| out.send(Fetched { listed, body }).await.map_err(|_| Failure::Stopped);
        let mut to_ask: VecDeque<(&Listed, u32)> = VecDeque::new();
        for listed in wanted {
            match self.entries.get(&listed.native_id) {
                None => send(listed.clone(), Body::Gone).await?,
                Some(entry) if entry.size > intake.item_bytes_max => {
                    send(listed.clone(), Body::Unfetchable(too_long(entry.size))).await?;
                }
                Some(entry) => to_ask.push_back((listed, entry.number)),
            }
        }
        let depth = if session.pipelining { PIPELINE } else { 1 };
        let mut asked: VecDeque<(&Listed, u32)> = VecDeque::new();
        loop {
            while asked.len() < depth
                && let Some((listed, number)) = to_ask.pop_front()
            {
                if depth > 1 {
                    session.wire.send(&format!("TOP {number} 0\r\nRETR {number}")).await?;
                }
                asked.push_back((listed, number));
            }
            let Some((listed, number)) = asked.pop_front() else { return Ok(()) };
            let (date, body) = session.one(listed, number, depth > 1, intake).await?;
            if let (Some(entry), Some(date)) = (self.entries.get_mut(&listed.native_id), &date) {
                entry.date = Some(date.clone());
            }
            let listed = Listed { date: date.unwrap_or_else(|| listed.date.clone()), ..listed.clone() };
            send(listed, body).await?;
        }
    }
}

impl Session {
    /// One mail, with its header's digest; `is_asked`: both commands are on their way.
    async fn one(
        &mut self,
        listed: &Listed,
        number: u32,
        is_asked: bool,
        intake: &Intake,
    ) -> Result<(Option<String>, Body), Failure> {
        if !is_asked {
            self.wire.send(&format!("TOP {number} 0")).await?;
        }
        let date = match self.wire.status().await {
            Ok(_) => Some(self.read_header().await?),
            Err(Failure::Refused { .. }) => None,
            Err(failure) => return Err(failure),
        };
        if !is_asked {
            self.wire.send(&format!("RETR {number}")).await?;
        }
        match self.wire.status().await {
            Ok(_) => {}
            // A trouble of the server's that passes says nothing about this mail.
            Err(failure @ Failure::Refused { .. }) if failure.is_passing() => return Err(self.wire.give_up(failure)),
            Err(Failure::Refused { text, .. }) => return Ok((date, Body::Unfetchable(text))),
            Err(failure) => return Err(failure),
        }
        let mut sink = Sink::new(intake, listed.size).await;
        self.wire.mail(&mut sink).await?;
        let bytes = match sink.finish().await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(bytes)) => return Ok((date, Body::Unfetchable(too_long(bytes)))),
            Err(error) => return Err(self.wire.give_up(Failure::local(&error))),
        };
        // A server writes the end of a line where there is none.
        let is_empty = match bytes.as_slice() {
            Some(bytes) => bytes.trim_ascii().is_empty(),
            None => false,
        };
        if is_empty {
            return Ok((date, Body::Unfetchable("the server sent an empty body".into())));
        }
        if listed.size >= STUB_LISTED_MIN && bytes.len() < listed.size / 2 {
            let said = format!("it lists {} bytes and gives {}: a stub in place of the mail", listed.size, bytes.len());
            return Ok((date, Body::Unfetchable(said)));
        }
        // Without TOP the header is the mail's own.
        let date = match date {
            Some(date) => date,
            None => own_header(&bytes).map_err(|error| self.wire.give_up(Failure::local(&error)))?,
        };
        Ok((Some(date), Body::Item(bytes)))
    }
}

fn own_header(bytes: &super::ItemBytes) -> std::io::Result<String> {
    let start = crate::base::bytes::read_range(bytes, 0..bytes.len().min(HeaderSink::BYTES_MAX as u64))?;
    let mut header = HeaderSink::default();
    for line in start.split_inclusive(|&byte| byte == b'\n') {
        header.take(line);
    }
    Ok(header_date(&header.lines))
}

fn too_long(bytes: u64) -> String {
    format!("{bytes} bytes are more than an item may have")
}
