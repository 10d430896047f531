//! Bringing the index up to date: what is new in the archive becomes documents.
//!
//! ```text
//! catalogue  items after the mark, and items that were decoded anew ─► messages
//! workers    message ─► record (envelope), original ─► text::content ─► document       one reader each
//! index      batch of documents ─► commit, with the mark in it
//! ```
//!
//! Failure of every step: an error of the catalogue or of the index ends it, and the last commit stands; a message that
//! cannot be read is indexed by what its record says of it (subject, names), or counted when even that is damaged. A
//! mail that ends the whole process (in a parser, or by its memory) is met singly by the next one, which notes what it
//! is at, until it is left at its record: see [`Careful`].
//!
//! Only reads the archive, and never takes its lock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tantivy::indexer::IndexWriterOptions;
use tantivy::{Index, IndexWriter, TantivyDocument, Term};

use super::schema::{self, Fields};
use super::state::{self, Lock, Mark, Opened, failed};
use crate::archive::error::{ArchiveError, ErrorKind, Result};
use crate::archive::read::Reader;
use crate::archive::record::StoredMessage;
use crate::archive::{Layout, error};
use crate::base::address::Address;
use crate::base::fsio;
use crate::text;

#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// What of a mail is read; see there.
    pub text: text::Options,
    /// Throw away what is there.
    pub rebuild: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BuildReport {
    /// Messages that were indexed, anew too.
    pub indexed: u64,
    /// Of these: only by what their record says, because the mail could not be read.
    pub by_record: u64,
    /// Messages that are not in the index: their record is damaged.
    pub unread: u64,
    pub text_bytes: u64,
    /// The index was made anew, and why.
    pub rebuilt: Option<String>,
    pub seconds: f64,
}

/// How far it is: messages done, items left at the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub done: u64,
    pub items: u64,
}

/// A commit after this many items; what was done since is lost with the process.
const BATCH_ITEMS: u64 = 50_000;
/// What the index holds in memory before it writes a segment.
const MEMORY: usize = 48 * 1024 * 1024;
/// Messages in one piece of work.
const PIECE: usize = 32;
/// Only one mail longer than this is read at a time: its attachments may be held as a whole.
const LARGE: u64 = 8 * 1024 * 1024;
/// More readers than this would wait for the one thread that writes.
const WORKERS_MAX: usize = 4;

/// Brings the index up to date. `None`: another process is at it.
pub fn catch_up(
    layout: &Layout,
    options: &BuildOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<BuildReport>> {
    let began = Instant::now();
    let reader = Reader::open(layout)?;
    let Some(lock) = Lock::take(layout)? else { return Ok(None) };
    let mut report = BuildReport::default();
    let opened = if options.rebuild { Opened::Unfit("it was asked for".into()) } else { state::open(layout, &reader)? };
    let target = Mark::now(&reader)?;
    let (index, mark) = match opened {
        // The head alone may be another one: commits that brought no mail.
        Opened::Whole(_, mark) if (mark.item, mark.decoded) == (target.item, target.decoded) => {
            return Ok(Some(report));
        }
        Opened::Whole(index, mark) => (*index, mark),
        Opened::Missing => (state::create(layout)?, Mark { item: 0, decoded: (0, 0), ..target.clone() }),
        Opened::Unfit(why) => {
            report.rebuilt = Some(why);
            (state::create(layout)?, Mark { item: 0, decoded: (0, 0), ..target.clone() })
        }
    };
    let mut careful = Careful::begin(layout)?;
    let mut builder =
        Builder { layout, options, reader, report, fields: schema::schema().1, replaced: BTreeSet::new() };
    let done = builder.run(&index, mark, &target, &mut careful, progress);
    // An error is told, and is no mail's doing.
    careful.end();
    drop(lock);
    done?;
    builder.report.seconds = began.elapsed().as_secs_f64();
    Ok(Some(builder.report))
}

struct Builder<'a> {
    layout: &'a Layout,
    options: &'a BuildOptions,
    reader: Reader,
    report: BuildReport,
    fields: Fields,
    /// Messages that were in the index before and were put in anew.
    replaced: BTreeSet<u64>,
}

impl Builder<'_> {
    fn run(
        &mut self,
        index: &Index,
        mut mark: Mark,
        target: &Mark,
        careful: &mut Careful,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let writing = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .memory_budget_per_thread(MEMORY)
            .num_merge_threads(1)
            .build();
        let mut writer: IndexWriter = index.writer_with_options(writing).map_err(failed)?;
        let items = target.item - mark.item;
        let again = self.decoded_again(index, &mark)?;
        if !again.is_empty() {
            self.write(&writer, &mut again.into_iter(), careful, &mut |_| {})?;
        }
        mark.decoded = target.decoded;
        let old = mark.item;
        loop {
            let upto = target.item.min(mark.item.saturating_add(BATCH_ITEMS));
            let before = self.report.indexed;
            let messages = self.messages(old, mark.item, upto)?;
            self.write(&writer, &mut messages.into_iter(), careful, &mut |n| {
                progress(Progress { done: before + n, items });
            })?;
            mark = Mark { item: upto, ..target.clone() };
            let mut commit = writer.prepare_commit().map_err(failed)?;
            commit.set_payload(&serde_json::to_string(&mark).unwrap_or_default());
            commit.commit().map_err(failed)?;
            if upto == target.item {
                break;
            }
        }
        writer.wait_merging_threads().map_err(failed)?;
        // The next search finds the files known.
        let _ = state::open(self.layout, &self.reader)?;
        Ok(())
    }

    /// The messages of which something is new among these items, each once; those that the index has are taken out of
    /// `self.replaced`'s way by the caller of [`Builder::write`].
    fn messages(&mut self, old: u64, after: u64, upto: u64) -> Result<Vec<Work>> {
        let mut messages = Vec::new();
        for (item, message) in self.reader.catalogue.messages_between(after, upto)? {
            let first = if message == item { item } else { self.first_item(message)? };
            if first > old {
                // With all of its items, when it is the first one's turn.
                if first == item {
                    messages.push(Work { message, is_known: false });
                }
            } else if self.replaced.insert(message) {
                messages.push(Work { message, is_known: true });
            }
        }
        Ok(messages)
    }

    fn first_item(&self, message: u64) -> Result<u64> {
        Ok(self.reader.catalogue.items_of_message(message)?.first().copied().unwrap_or(message))
    }

    /// Messages that are not what they were: an item of theirs was decoded anew, and may belong to another now.
    fn decoded_again(&mut self, index: &Index, mark: &Mark) -> Result<Vec<Work>> {
        let items = self.reader.catalogue.decoded_after(mark.item, mark.decoded)?;
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let searcher = index.reader().map_err(failed)?.searcher();
        for item in items {
            let query = tantivy::query::TermQuery::new(
                Term::from_field_u64(self.fields.item, item),
                tantivy::schema::IndexRecordOption::Basic,
            );
            let had = searcher.search(&query, &super::find::Numbers).map_err(failed)?;
            self.replaced.extend(had);
            self.replaced.extend(self.reader.catalogue.message_of_item(item)?);
        }
        Ok(self.replaced.iter().map(|&message| Work { message, is_known: true }).collect())
    }

    /// Turns messages into documents.
    fn write(
        &mut self,
        writer: &IndexWriter,
        messages: &mut dyn Iterator<Item = Work>,
        careful: &mut Careful,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let workers = match careful.is_on {
            true => 1,
            false => std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX),
        };
        let (send, receive) = sync_channel::<Vec<Work>>(2 * workers);
        let receive = Mutex::new(receive);
        let totals = Totals::default();
        let first_error: Mutex<Option<ArchiveError>> = Mutex::new(None);
        let careful = Mutex::new(careful);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    let worker = Worker { writer, fields: &self.fields, options: self.options, totals: &totals };
                    let done = Reader::open(self.layout).and_then(|reader| worker.run(&reader, &receive, &careful));
                    if let Err(error) = done {
                        totals.stop.store(true, Ordering::Relaxed);
                        let mut first = first_error.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                        first.get_or_insert(error);
                    }
                });
            }
            feed(send, messages, &totals, progress);
        });
        self.report.indexed += totals.indexed.into_inner();
        self.report.by_record += totals.by_record.into_inner();
        self.report.unread += totals.unread.into_inner();
        self.report.text_bytes += totals.text_bytes.into_inner();
        match first_error.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Hands the work out, until all is done or a worker failed.
fn feed(
    send: SyncSender<Vec<Work>>,
    messages: &mut dyn Iterator<Item = Work>,
    totals: &Totals,
    progress: &mut dyn FnMut(u64),
) {
    loop {
        let mut piece: Vec<Work> = messages.take(PIECE).collect();
        if piece.is_empty() || totals.stop.load(Ordering::Relaxed) {
            return;
        }
        loop {
            match send.try_send(piece) {
                Ok(()) => break,
                Err(std::sync::mpsc::TrySendError::Full(back)) => piece = back,
                // All workers have ended, with an error.
                Err(std::sync::mpsc::TrySendError::Disconnected(_)) => return,
            }
            if totals.stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        progress(totals.indexed.load(Ordering::Relaxed));
    }
}

/// A message to be put into the index.
#[derive(Clone, Copy)]
struct Work {
    message: u64,
    /// The index has a document of it, which goes.
    is_known: bool,
}

#[derive(Default)]
struct Totals {
    indexed: AtomicU64,
    by_record: AtomicU64,
    unread: AtomicU64,
    text_bytes: AtomicU64,
    stop: AtomicBool,
    large: Mutex<()>,
}

struct Worker<'a> {
    writer: &'a IndexWriter,
    fields: &'a Fields,
    options: &'a BuildOptions,
    totals: &'a Totals,
}

impl Worker<'_> {
    fn run(&self, reader: &Reader, work: &Mutex<Receiver<Vec<Work>>>, careful: &Mutex<&mut Careful>) -> Result<()> {
        loop {
            let next = work.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).recv();
            let Ok(piece) = next else { return Ok(()) };
            for one in piece {
                if self.totals.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let is_readable = careful.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).at(one.message)?;
                if one.is_known {
                    self.writer.delete_term(Term::from_field_u64(self.fields.message, one.message));
                }
                if let Some(document) = self.document(reader, one.message, is_readable)? {
                    self.writer.add_document(document).map_err(failed)?;
                    self.totals.indexed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// `None`: there is no such message any more, or its record is damaged.
    fn document(&self, reader: &Reader, message: u64, is_readable: bool) -> Result<Option<TantivyDocument>> {
        let items = reader.catalogue.items_of_message(message)?;
        let mut records = Vec::new();
        for &item in &items {
            match reader.item(item) {
                Ok(record) => records.push((item, record)),
                Err(error) if error.kind == ErrorKind::Damaged => tracing::warn!(item, %error, "not indexed"),
                Err(error) => return Err(error),
            }
        }
        let Some((first, stored)) = records.iter().find_map(|(item, record)| Some((*item, record.message.as_ref()?)))
        else {
            if !items.is_empty() {
                self.totals.unread.fetch_add(1, Ordering::Relaxed);
            }
            return Ok(None);
        };
        let content = if is_readable { self.content(reader, first)? } else { None };
        let content = content.unwrap_or_else(|| {
            self.totals.by_record.fetch_add(1, Ordering::Relaxed);
            by_record(stored)
        });
        let mut document = TantivyDocument::default();
        document.add_u64(self.fields.message, message);
        for item in &items {
            document.add_u64(self.fields.item, *item);
        }
        if let Some(date) = stored.summary.date {
            document.add_i64(self.fields.date, date.as_second());
        }
        document.add_u64(self.fields.size, stored.size);
        if let Some(id) = &stored.summary.message_id {
            document.add_text(self.fields.message_id, id.to_lowercase());
        }
        self.add_people(&mut document, &content, records.iter().filter_map(|(_, record)| record.message.as_ref()));
        let mut bytes = content.subject.len() + content.body.len();
        document.add_text(self.fields.subject, content.subject);
        document.add_text(self.fields.body, content.body);
        let mut is_attached = false;
        for attachment in content.attachments {
            is_attached |= !attachment.is_inline;
            bytes += attachment.name.len();
            if !attachment.name.is_empty() {
                document.add_text(self.fields.attachment, attachment.name);
            }
            if let text::Reading::Text(text) = attachment.text {
                bytes += text.len();
                document.add_text(self.fields.body, text);
            }
        }
        document.add_u64(self.fields.attached, u64::from(is_attached));
        self.totals.text_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(Some(document))
    }

    /// `None`: the mail cannot be read.
    fn content(&self, reader: &Reader, item: u64) -> Result<Option<text::Content>> {
        let source = match reader.original(item) {
            Ok(source) => source,
            Err(error) if error.kind == ErrorKind::Damaged => {
                tracing::warn!(item, %error, "indexed by its record only");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let _alone =
            (source.len() > LARGE).then(|| self.totals.large.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        let read = std::panic::AssertUnwindSafe(|| text::content(source.as_ref(), &self.options.text));
        match std::panic::catch_unwind(read) {
            Ok(content) => {
                let spool = std::path::Path::new("a mail in the spool");
                Ok(Some(error::Tried::tried(content, "read", spool)?))
            }
            Err(_) => Ok(None),
        }
    }

    fn add_people<'m>(
        &self,
        document: &mut TantivyDocument,
        content: &text::Content,
        variants: impl Iterator<Item = &'m StoredMessage>,
    ) {
        let mut shown = BTreeSet::new();
        for (field, names) in
            [(self.fields.from, &content.from), (self.fields.to, &content.to), (self.fields.cc, &content.cc)]
        {
            for name in names {
                shown.extend(address_in(name));
                document.add_text(field, name);
            }
        }
        let mut hidden = BTreeMap::new();
        for name in &content.bcc {
            hidden.insert(address_in(name).map_or_else(|| name.clone(), |address| address.to_string()), name.as_str());
        }
        let mut senders = BTreeSet::new();
        let is_shown = |address: &str| Address::parse(address).is_some_and(|address| shown.contains(&address));
        for variant in variants {
            let envelope = &variant.envelope;
            for sender in envelope.sender.iter().chain(&envelope.on_behalf_of) {
                if !is_shown(sender) {
                    senders.insert(sender.as_str());
                }
            }
            for recipient in &envelope.recipients {
                for address in std::iter::once(&recipient.address).chain(&recipient.via_address) {
                    if !is_shown(address) {
                        hidden.entry(address.clone()).or_insert(address);
                    }
                }
            }
        }
        for sender in senders {
            document.add_text(self.fields.from, sender);
        }
        for name in hidden.values() {
            document.add_text(self.fields.hidden, name);
        }
    }
}

/// The address of `Name <address>`.
fn address_in(shown: &str) -> Option<Address> {
    Address::parse(shown.rsplit_once('<').map_or(shown, |(_, address)| address))
}

/// What the record says of a message that cannot be read.
fn by_record(stored: &StoredMessage) -> text::Content {
    let summary = &stored.summary;
    text::Content {
        subject: summary.subject.clone(),
        from: vec![summary.from.clone()],
        to: summary.to.clone(),
        cc: summary.cc.clone(),
        ..text::Content::default()
    }
}

/// The note on disk against a mail that ends the process: without it every run would end at the same mail.
///
/// A run leaves the note until it has ended well. Who finds one works singly and writes down what it is at. A mail at
/// which two such runs ended is left at its record (two, because a process may be killed for other reasons).
pub(super) struct Careful {
    path: PathBuf,
    pub(super) is_on: bool,
    note: Note,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Note {
    /// What a single run is at.
    at: Option<u64>,
    /// Where the run before ended.
    suspect: Option<u64>,
    /// Messages that are indexed by their record only.
    left: BTreeSet<u64>,
}

impl Careful {
    pub(super) fn begin(layout: &Layout) -> Result<Careful> {
        let path = state::folder(layout).join("unfinished.json");
        let found: Option<Note> = fsio::read(&path).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let is_on = found.is_some();
        let mut note = found.unwrap_or_default();
        if let Some(at) = note.at.take() {
            if note.suspect == Some(at) {
                tracing::warn!(message = at, "indexing ended at this message again: it is indexed by its record only");
                note.left.insert(at);
                note.suspect = None;
            } else {
                note.suspect = Some(at);
            }
        }
        let careful = Careful { path, is_on, note };
        careful.write()?;
        Ok(careful)
    }

    /// Before a message is read; false when it is not to be.
    fn at(&mut self, message: u64) -> Result<bool> {
        if !self.is_on {
            return Ok(true);
        }
        if self.note.left.contains(&message) {
            return Ok(false);
        }
        self.note.at = Some(message);
        self.write()?;
        Ok(true)
    }

    fn write(&self) -> Result<()> {
        let json = serde_json::to_vec(&self.note).unwrap_or_default();
        error::Tried::tried(state::write_privately(&self.path, &json), "write", &self.path)
    }

    fn end(&self) {
        // What is left of it is read as a run that did not end well: slower, not wrong.
        let _ = fsio::remove_file(&self.path);
    }
}
