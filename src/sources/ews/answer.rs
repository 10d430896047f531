//! Answers, read as they arrive: a mail's text goes straight from the connection through the decoder into its place,
//! and nothing else is ever long.
//!
//! Must:
//! - an answer that ends before its Envelope does, or whose base64 is short, is a broken connection, never a mail;
//! - answers carry no id when they are errors, so they are given back in the order in which they stand.
//!
//! Element names count without their prefix, which varies. References to characters that XML 1.0 forbids are passed
//! over, because servers write them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, ReadBuf};

use super::base64::Decoder;
use super::failure::Failure;
use crate::net::clean;
use crate::sources::sink::Sink;

/// Transport headers of a mail through many hands are the longest text beside mails.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;
const DEPTH_MAX: usize = 64;
/// More changes or items than any page holds.
const ENTRIES_MAX: usize = 100_000;

/// One `…ResponseMessage`.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub code: String,
    pub text: String,
    pub wait: Option<Duration>,
    pub sync_state: String,
    /// `IncludesLastItemInRange`.
    pub is_last: bool,
    pub next_offset: Option<u64>,
    pub changes: Vec<Change>,
    pub items: Vec<Item>,
    pub folders: Vec<Folder>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    There(String),
    Gone(String),
}

#[derive(Debug, Default)]
pub(super) struct Item {
    pub id: String,
    pub size: Option<u64>,
    pub date: String,
    pub has_mime: bool,
    /// PidTagTransportMessageHeaders.
    pub transport_headers: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Folder {
    pub id: String,
    pub name: String,
    pub class: String,
    pub items: Option<u64>,
    /// Whether the login may delete what lies there, where that was asked for and answered.
    pub may_delete: Option<bool>,
}

impl Message {
    pub fn is_success(&self) -> bool {
        self.code == "NoError"
    }

    pub fn failure(&self) -> Failure {
        Failure::Refused { code: self.code.clone(), text: self.text.clone(), wait: self.wait }
    }
}

pub(super) struct Answer<R> {
    reader: Reader<Bounded<R>>,
    buffer: Vec<u8>,
    open: Vec<String>,
    is_whole: bool,
    /// What the server says it is.
    pub server: Option<String>,
}

enum Node {
    Start(String, Vec<(String, String)>),
    Text(String),
    End,
    Eof,
}

impl<R: AsyncBufRead + Unpin> Answer<R> {
    pub fn new(stream: R) -> Answer<R> {
        let mut reader = Reader::from_reader(Bounded { inner: stream, left: EVENT_BYTES_MAX });
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.allow_dangling_amp = true;
        Answer { reader, buffer: Vec::new(), open: Vec::new(), is_whole: false, server: None }
    }

    /// The next answer; a mail in it goes to `sink`. `None`: the Envelope is complete.
    pub async fn message(&mut self, mut sink: Option<&mut Sink>) -> Result<Option<Message>, Failure> {
        loop {
            let (name, attributes) = match self.next().await? {
                Node::Start(name, attributes) => (name, attributes),
                Node::Text(_) | Node::End => continue,
                Node::Eof => return Ok(None),
            };
            if name == "Fault" {
                return Err(self.fault().await?);
            }
            if name == "ServerVersionInfo" {
                let part = |key: &str| attribute(&attributes, key).unwrap_or("?").to_owned();
                let parts = ["MajorVersion", "MinorVersion", "MajorBuildNumber", "MinorBuildNumber"].map(part);
                self.server = Some(clean(&parts.join(".")));
            }
            if name.ends_with("ResponseMessage") {
                let mut message = Message::default();
                self.read_message(&mut message, &mut sink).await?;
                return Ok(Some(message));
            }
        }
    }

    async fn read_message(&mut self, message: &mut Message, sink: &mut Option<&mut Sink>) -> Result<(), Failure> {
        while let Some((name, attributes)) = self.child().await? {
            match name.as_str() {
                "MessageText" => message.text = clean(&self.text().await?),
                "ResponseCode" => message.code = clean(&self.text().await?),
                "MessageXml" => message.wait = self.details().await?.wait,
                "SyncState" => message.sync_state = self.text().await?.trim().to_owned(),
                "IncludesLastItemInRange" => message.is_last = is_true(&self.text().await?),
                "Changes" => self.changes(message).await?,
                "Items" => {
                    while self.child().await?.is_some() {
                        let item = self.item(sink).await?;
                        message.items.push(item);
                        bounded(message.items.len())?;
                    }
                }
                "RootFolder" => {
                    message.is_last = attribute(&attributes, "IncludesLastItemInRange").is_none_or(is_true);
                    message.next_offset =
                        attribute(&attributes, "IndexedPagingOffset").and_then(|offset| offset.parse().ok());
                    while let Some((name, _)) = self.child().await? {
                        match name.as_str() {
                            "Folders" => self.folders(message).await?,
                            _ => self.skip().await?,
                        }
                    }
                }
                "Folders" => self.folders(message).await?,
                _ => self.skip().await?,
            }
        }
        if message.code.is_empty() {
            return Err(Failure::protocol("an answer without its code"));
        }
        Ok(())
    }

    async fn changes(&mut self, message: &mut Message) -> Result<(), Failure> {
        while let Some((kind, _)) = self.child().await? {
            let mut id = None;
            // The item's element has the name of its kind; a Delete has the id alone.
            while let Some((name, attributes)) = self.child().await? {
                if name == "ItemId" {
                    id = id.or(attribute(&attributes, "Id").map(str::to_owned));
                    self.skip().await?;
                    continue;
                }
                while let Some((name, attributes)) = self.child().await? {
                    if name == "ItemId" {
                        id = id.or(attribute(&attributes, "Id").map(str::to_owned));
                    }
                    self.skip().await?;
                }
            }
            let id = id.filter(|id| !id.is_empty()).ok_or_else(|| Failure::protocol("a change without its ItemId"))?;
            message.changes.push(if kind == "Delete" { Change::Gone(id) } else { Change::There(id) });
            bounded(message.changes.len())?;
        }
        Ok(())
    }

    async fn item(&mut self, sink: &mut Option<&mut Sink>) -> Result<Item, Failure> {
        let mut item = Item::default();
        while let Some((name, attributes)) = self.child().await? {
            match name.as_str() {
                "ItemId" => {
                    item.id = attribute(&attributes, "Id").unwrap_or_default().to_owned();
                    self.skip().await?;
                }
                "Size" => item.size = self.text().await?.trim().parse().ok(),
                "DateTimeReceived" => item.date = clean(&self.text().await?),
                "MimeContent" => match sink {
                    Some(sink) if !item.has_mime => {
                        item.has_mime = true;
                        self.base64(sink).await?;
                    }
                    Some(_) => return Err(Failure::protocol("an item with two mails in it")),
                    None => self.skip().await?,
                },
                "ExtendedProperty" => {
                    let (mut tag, mut value) = (None, None);
                    while let Some((name, attributes)) = self.child().await? {
                        match name.as_str() {
                            "ExtendedFieldURI" => {
                                tag = attribute(&attributes, "PropertyTag").and_then(number);
                                self.skip().await?;
                            }
                            "Value" => value = Some(self.text().await?),
                            _ => self.skip().await?,
                        }
                    }
                    if tag == Some(0x7d) {
                        item.transport_headers = value.filter(|value| !value.trim().is_empty());
                    }
                }
                _ => self.skip().await?,
            }
        }
        Ok(item)
    }

    async fn folders(&mut self, message: &mut Message) -> Result<(), Failure> {
        while self.child().await?.is_some() {
            let mut folder = Folder::default();
            while let Some((name, attributes)) = self.child().await? {
                match name.as_str() {
                    "FolderId" => {
                        folder.id = attribute(&attributes, "Id").unwrap_or_default().to_owned();
                        self.skip().await?;
                    }
                    "DisplayName" => folder.name = self.text().await?,
                    "FolderClass" => folder.class = self.text().await?,
                    "TotalCount" => folder.items = self.text().await?.trim().parse().ok(),
                    "EffectiveRights" => {
                        while let Some((name, _)) = self.child().await? {
                            match name.as_str() {
                                "Delete" => folder.may_delete = Some(is_true(&self.text().await?)),
                                _ => self.skip().await?,
                            }
                        }
                    }
                    _ => self.skip().await?,
                }
            }
            message.folders.push(folder);
            bounded(message.folders.len())?;
        }
        Ok(())
    }

    async fn fault(&mut self) -> Result<Failure, Failure> {
        let found = self.details().await?;
        // `a:ErrorServerBusy` in one server's fault is `ErrorServerBusy` in another's.
        let fault_code = found.fault_code.rsplit(':').next().unwrap_or_default().to_owned();
        let code = if found.response_code.is_empty() { fault_code } else { found.response_code };
        let text = if found.text.is_empty() { "the server gave no reason".to_owned() } else { found.text };
        Ok(Failure::Refused { code, text, wait: found.wait })
    }

    /// What a fault or a `MessageXml` says, wherever in it.
    async fn details(&mut self) -> Result<Details, Failure> {
        let depth = self.open.len();
        let mut found = Details::default();
        let mut at: Option<(String, bool)> = None;
        loop {
            match self.next().await? {
                Node::Start(name, attributes) => {
                    let back_off = attribute(&attributes, "Name") == Some("BackOffMilliseconds");
                    at = Some((name, back_off));
                }
                Node::Text(text) => {
                    let text = clean(&text);
                    match &at {
                        Some((_, true)) => found.wait = text.parse().ok().map(Duration::from_millis).or(found.wait),
                        Some((name, _)) if name == "faultcode" => found.fault_code.push_str(&text),
                        Some((name, _)) if name == "faultstring" => found.text.push_str(&text),
                        Some((name, _)) if name == "ResponseCode" => found.response_code.push_str(&text),
                        Some(_) | None => {}
                    }
                }
                Node::End if self.open.len() < depth => return Ok(found),
                Node::End => at = None,
                Node::Eof => return Err(Failure::Eof),
            }
        }
    }

    /// The next element within the one that is open; `None`: it ends.
    async fn child(&mut self) -> Result<Option<(String, Vec<(String, String)>)>, Failure> {
        loop {
            match self.next().await? {
                Node::Start(name, attributes) => return Ok(Some((name, attributes))),
                Node::Text(_) => {}
                Node::End => return Ok(None),
                Node::Eof => return Err(Failure::Eof),
            }
        }
    }

    /// The text of the element that is open, to its end.
    async fn text(&mut self) -> Result<String, Failure> {
        let depth = self.open.len();
        let mut text = String::new();
        loop {
            match self.next().await? {
                Node::Text(part) => {
                    text.push_str(&part);
                    if text.len() > EVENT_BYTES_MAX {
                        return Err(Failure::protocol("a text longer than any"));
                    }
                }
                Node::Start(..) => {}
                Node::End if self.open.len() < depth => return Ok(text),
                Node::End => {}
                Node::Eof => return Err(Failure::Eof),
            }
        }
    }

    async fn skip(&mut self) -> Result<(), Failure> {
        let depth = self.open.len();
        loop {
            match self.next().await? {
                Node::End if self.open.len() < depth => return Ok(()),
                Node::Start(..) | Node::Text(_) | Node::End => {}
                Node::Eof => return Err(Failure::Eof),
            }
        }
    }

    /// The mail in the element that is open, to its end; it may be longer than memory.
    async fn base64(&mut self, sink: &mut Sink) -> Result<(), Failure> {
        let mut decoder = Decoder::default();
        let depth = self.open.len();
        let broken = |()| Failure::Io("the mail's base64 is broken; the connection may have been cut".into());
        loop {
            // The reader would put the whole text into memory, so it is taken from underneath.
            let stream = self.reader.get_mut();
            stream.left = EVENT_BYTES_MAX;
            let chunk = stream.fill_buf().await.map_err(|error| read_failure(&error))?;
            if chunk.is_empty() {
                return Err(Failure::Eof);
            }
            let end = memchr::memchr2(b'<', b'&', chunk);
            let used = end.unwrap_or(chunk.len());
            sink.put(decoder.take(&chunk[..used]).map_err(broken)?);
            stream.consume(used);
            sink.settle().await.map_err(|error| Failure::local(&error))?;
            if end.is_none() {
                continue;
            }
            match self.next().await? {
                // `&#xD;` and the like.
                Node::Text(text) => sink.put(decoder.take(text.as_bytes()).map_err(broken)?),
                Node::End if self.open.len() < depth => break,
                Node::Start(..) | Node::End | Node::Eof => return Err(Failure::protocol("something else in a mail")),
            }
        }
        if decoder.is_whole() { Ok(()) } else { Err(broken(())) }
    }

    async fn next(&mut self) -> Result<Node, Failure> {
        loop {
            self.buffer.clear();
            self.reader.get_mut().left = EVENT_BYTES_MAX;
            let event = match self.reader.read_event_into_async(&mut self.buffer).await {
                Ok(event) => event,
                Err(quick_xml::Error::Io(error)) => return Err(read_failure(&error)),
                Err(quick_xml::Error::Syntax(_)) if !self.open.is_empty() => return Err(Failure::Eof),
                Err(error) => return Err(Failure::Protocol(clean(&error.to_string()))),
            };
            return Ok(match event {
                Event::Start(start) => {
                    if self.is_whole || self.open.len() >= DEPTH_MAX {
                        return Err(Failure::protocol("more elements than an answer has"));
                    }
                    let (name, attributes) = started(&start);
                    if self.open.is_empty() && name != "Envelope" {
                        return Err(Failure::Protocol(format!("it begins with <{}>", clean(&name))));
                    }
                    self.open.push(name.clone());
                    Node::Start(name, attributes)
                }
                Event::End(_) => {
                    self.open.pop();
                    self.is_whole |= self.open.is_empty();
                    Node::End
                }
                Event::Text(text) => Node::Text(text.into_inner().into_owned()),
                Event::CData(text) => Node::Text(text.into_inner().into_owned()),
                Event::GeneralRef(reference) => Node::Text(referred(&reference.into_inner()).into()),
                Event::Eof if self.is_whole => Node::Eof,
                Event::Eof if self.open.is_empty() => return Err(Failure::protocol("it is empty, or no XML")),
                Event::Eof => return Err(Failure::Eof),
                Event::DocType(_) => return Err(Failure::protocol("a document type has no place in an answer")),
                // Empty elements come as a start and an end.
                Event::Empty(_) | Event::Decl(_) | Event::PI(_) | Event::Comment(_) => continue,
            });
        }
    }
}

#[derive(Default)]
struct Details {
    fault_code: String,
    response_code: String,
    text: String,
    wait: Option<Duration>,
}

fn started(start: &BytesStart<'_>) -> (String, Vec<(String, String)>) {
    let name = start.local_name().as_ref().to_owned();
    let mut all = start.attributes();
    let attributes = all.with_checks(false).filter_map(Result::ok);
    let attributes = attributes
        .map(|attribute| (attribute.key.local_name().as_ref().to_owned(), unescaped(&attribute.value)))
        .collect();
    (name, attributes)
}

/// Of the text of an attribute.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        match after.split_once(';') {
            Some((reference, after)) if reference.len() <= 10 => {
                out.push(referred(reference));
                rest = after;
            }
            _ => {
                out.push('&');
                rest = after;
            }
        }
    }
    out + rest
}

/// The character that a reference stands for; what stands for none is a replacement character.
fn referred(reference: &str) -> char {
    match reference {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let code = reference.strip_prefix('#').and_then(|code| match code.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok(),
                None => code.parse().ok(),
            });
            code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
    }
}

fn attribute<'a>(attributes: &'a [(String, String)], name: &str) -> Option<&'a str> {
    attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn is_true(text: &str) -> bool {
    matches!(text.trim(), "true" | "1")
}

fn bounded(count: usize) -> Result<(), Failure> {
    if count > ENTRIES_MAX { Err(Failure::protocol("more entries than a page has")) } else { Ok(()) }
}

/// The failure that a stream carries in its error.
fn read_failure(error: &io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>()) {
        Some(failure) => failure.clone(),
        None => Failure::Io(clean(&error.to_string())),
    }
}

/// Ends a single event that would fill the memory.
struct Bounded<R> {
    inner: R,
    left: usize,
}

impl<R: AsyncBufRead + Unpin> AsyncBufRead for Bounded<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(Err(io::Error::other(Failure::protocol("something in it has no end"))));
        }
        let left = this.left;
        Pin::new(&mut this.inner).poll_fill_buf(cx).map_ok(|chunk| &chunk[..chunk.len().min(left)])
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        let this = self.get_mut();
        this.left = this.left.saturating_sub(amount);
        Pin::new(&mut this.inner).consume(amount);
    }
}

impl<R: AsyncBufRead + Unpin> AsyncRead for Bounded<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let chunk = std::task::ready!(self.as_mut().poll_fill_buf(cx))?;
        let count = chunk.len().min(out.remaining());
        out.put_slice(&chunk[..count]);
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}
