//! The canonical digest, version 1: under which several items of one message are shown as one.
//!
//! Copies of one message differ in trace headers, boundaries and transfer encodings, because the gateways on
//! their ways wrote those. They agree in the rest, and only the rest is hashed:
//!
//! - the raw fields of [`FIELDS`], all occurrences in their order, each run of white space as one space;
//! - the tree of parts: depth, kind, type, parameters without `boundary` in the order of their names, disposition and
//!   file name;
//! - the SHA-256 of each decoded leaf body. In text/* and message/* CRLF counts as LF and line breaks at the end do not
//!   count: gateways change both (bare LF in base64 text, a line break added at the end), and neither can be
//!   seen by a reader. All other leaves count byte for byte.
//!
//! A message inside the message (forwarded as an attachment) counts with its own [`FIELDS`] and parts.
//! Preambles and epilogues do not count: no reader sees them and gateways rewrite them. A multipart in which no
//! delimiter is found counts as a leaf, so that there is no place for bytes that are shown and not hashed.
//!
//! The digest is for display. It must never decide that something is not stored, or is deleted: whoever
//! writes a mail can copy all of this. Without Message-ID or Date, beyond the scanner's limits, or where a part
//! says twice what it is (readers differ in which they believe), it is derived from the original's SHA-256 alone
//! and unites equal bytes only.

use std::ops::Range;

use memchr::memchr;

use super::header::{fields, one_line};
use super::mime::{Kind, Structure};
use super::transfer::{Decoder, Encoding};
use crate::base::digest::{Digest, Hasher};

pub const VERSION: u8 = 1;

/// The fields of a message that count.
pub const FIELDS: [&str; 8] = ["message-id", "date", "from", "sender", "reply-to", "subject", "to", "cc"];

/// Decoding goes through a buffer of this size.
const PIECE: usize = 64 * 1024;

/// Collects what counts of a message while its bytes pass by once more, after they were scanned.
pub struct Collector<'a> {
    structure: &'a Structure,
    root: usize,
    jobs: Vec<Job>,
    next: usize,
    at: u64,
    running: Option<Running>,
    digests: Vec<Digest>,
    buffer: Vec<u8>,
    /// Message-ID and Date of the root are there and not empty.
    identified: bool,
}

/// A range whose digest is wanted.
struct Job {
    range: Range<u64>,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Header,
    Leaf { encoding: Encoding, text: bool },
}

enum Running {
    Header(Vec<u8>),
    Leaf { decoder: Decoder, plain: bool, lines: Option<Lines>, hasher: Hasher },
}

impl<'a> Collector<'a> {
    /// For the message whose root part is `root`; `start` is the offset of the first byte that will be fed.
    pub fn new(structure: &'a Structure, root: usize, start: u64) -> Collector<'a> {
        let mut jobs = Vec::new();
        if !structure.limited {
            for index in structure.subtree(root) {
                let part = &structure.parts[index];
                if is_message_root(structure, root, index) {
                    jobs.push(Job { range: part.header.clone(), what: What::Header });
                }
                if structure.is_leaf(index) {
                    let what = What::Leaf { encoding: part.content.encoding, text: part.content.is_text() };
                    jobs.push(Job { range: part.body.clone(), what });
                }
            }
        }
        Collector {
            structure,
            root,
            jobs,
            next: 0,
            at: start,
            running: None,
            digests: Vec::new(),
            buffer: Vec::new(),
            identified: false,
        }
    }

    pub fn feed(&mut self, mut window: &[u8]) {
        while self.next < self.jobs.len() {
            let job = &self.jobs[self.next];
            let (range, what) = (job.range.clone(), job.what);
            if self.at < range.start {
                let skip = (range.start - self.at).min(window.len() as u64) as usize;
                window = &window[skip..];
                self.at += skip as u64;
                if self.at < range.start {
                    return;
                }
            }
            let mut running = self.running.take().unwrap_or_else(|| Running::new(what));
            let wanted = range.end.saturating_sub(self.at).min(window.len() as u64) as usize;
            running.push(&window[..wanted], &mut self.buffer);
            window = &window[wanted..];
            self.at += wanted as u64;
            if self.at < range.end {
                self.running = Some(running);
                return;
            }
            self.finish_job(running);
        }
    }

    fn finish_job(&mut self, running: Running) {
        if let (Running::Header(block), true) = (&running, self.next == 0) {
            self.identified = ["message-id", "date"].iter().all(|wanted| {
                fields(block).find(|field| field.is(wanted)).is_some_and(|field| !field.one_line().is_empty())
            });
        }
        self.digests.push(running.finish(&mut self.buffer));
        self.next += 1;
    }

    /// The digest; `original` is the SHA-256 of the message.
    pub fn finish(mut self, original: Digest) -> Digest {
        // Ranges that end with the mail, and the empty ones there.
        while self.next < self.jobs.len() {
            let what = self.jobs[self.next].what;
            let running = self.running.take().unwrap_or_else(|| Running::new(what));
            self.finish_job(running);
        }
        let mut out = Framed::new();
        let repeated = |index: usize| self.structure.parts[index].content.repeated;
        if self.structure.limited || !self.identified || self.structure.subtree(self.root).any(repeated) {
            out.bytes(b"bytes only");
            out.bytes(original.as_bytes());
            return out.finish();
        }
        out.bytes(b"message");
        let mut digests = self.digests.iter();
        let base = self.structure.parts[self.root].depth;
        for index in self.structure.subtree(self.root) {
            let part = &self.structure.parts[index];
            out.number(part.depth - base);
            out.bytes(match part.kind {
                Kind::Leaf => b"leaf",
                Kind::Multipart => b"multipart",
                Kind::Message => b"message",
            });
            out.bytes(part.content.kind.as_bytes());
            let mut parameters: Vec<_> =
                part.content.parameters.iter().filter(|(name, _)| name != "boundary").collect();
            parameters.sort();
            out.number(parameters.len());
            for (name, value) in parameters {
                out.bytes(name.as_bytes());
                out.bytes(value);
            }
            for said in [part.content.disposition.as_deref().map(str::as_bytes), part.content.filename.as_deref()] {
                out.number(usize::from(said.is_some()));
                out.bytes(said.unwrap_or_default());
            }
            let wanted = usize::from(is_message_root(self.structure, self.root, index))
                + usize::from(self.structure.is_leaf(index));
            out.number(wanted);
            for digest in digests.by_ref().take(wanted) {
                out.bytes(digest.as_bytes());
            }
        }
        out.finish()
    }
}

fn is_message_root(structure: &Structure, root: usize, index: usize) -> bool {
    index == root || structure.parts[index].parent.is_some_and(|parent| structure.parts[parent].kind == Kind::Message)
}

impl Running {
    fn new(what: What) -> Running {
        match what {
            What::Header => Running::Header(Vec::new()),
            What::Leaf { encoding, text } => Running::Leaf {
                decoder: Decoder::new(encoding),
                plain: encoding == Encoding::Identity,
                lines: text.then(Lines::default),
                hasher: Hasher::new(),
            },
        }
    }

    fn push(&mut self, bytes: &[u8], buffer: &mut Vec<u8>) {
        match self {
            // Bounded: a header beyond the scanner's limit makes the structure limited.
            Running::Header(block) => block.extend_from_slice(bytes),
            Running::Leaf { plain: true, lines, hasher, .. } => hash(bytes, lines, hasher),
            Running::Leaf { decoder, lines, hasher, .. } => {
                for piece in bytes.chunks(PIECE) {
                    buffer.clear();
                    decoder.push(piece, buffer);
                    hash(buffer, lines, hasher);
                }
            }
        }
    }

    fn finish(self, buffer: &mut Vec<u8>) -> Digest {
        match self {
            Running::Header(block) => header_digest(&block),
            Running::Leaf { decoder, mut lines, mut hasher, .. } => {
                buffer.clear();
                decoder.finish(buffer);
                hash(buffer, &mut lines, &mut hasher);
                if lines.is_some_and(|lines| lines.held_cr) {
                    hasher.update(b"\r");
                }
                hasher.finish()
            }
        }
    }
}

fn hash(bytes: &[u8], lines: &mut Option<Lines>, hasher: &mut Hasher) {
    match lines {
        Some(lines) => lines.push(bytes, hasher),
        None => hasher.update(bytes),
    }
}

/// CRLF as LF, and line breaks only when something follows.
#[derive(Default)]
struct Lines {
    held_cr: bool,
    held_breaks: u64,
}

impl Lines {
    fn push(&mut self, mut bytes: &[u8], hasher: &mut Hasher) {
        while let Some(&first) = bytes.first() {
            if first == b'\n' {
                self.held_cr = false;
                self.held_breaks += 1;
                bytes = &bytes[1..];
                continue;
            }
            if first == b'\r' && !self.held_cr {
                self.held_cr = true;
                bytes = &bytes[1..];
                continue;
            }
            for _ in 0..std::mem::take(&mut self.held_breaks) {
                hasher.update(b"\n");
            }
            if std::mem::take(&mut self.held_cr) {
                hasher.update(b"\r");
                continue;
            }
            // A line goes to the hasher whole; its break is held by the turns above.
            let end = memchr(b'\n', bytes).unwrap_or(bytes.len());
            let line = &bytes[..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            hasher.update(line);
            bytes = &bytes[line.len()..];
        }
    }
}

/// The fields that count of one message header.
fn header_digest(block: &[u8]) -> Digest {
    let mut values: [Vec<Vec<u8>>; FIELDS.len()] = Default::default();
    for field in fields(block) {
        if let Some(at) = FIELDS.iter().position(|name| field.is(name)) {
            values[at].push(one_line(field.value));
        }
    }
    let mut out = Framed::new();
    for (name, values) in FIELDS.iter().zip(values) {
        out.bytes(name.as_bytes());
        out.number(values.len());
        for value in values {
            out.bytes(&value);
        }
    }
    out.finish()
}

/// Hashes with lengths before all values, so that no two inputs look alike.
struct Framed(Hasher);

impl Framed {
    fn new() -> Framed {
        let mut framed = Framed(Hasher::new());
        framed.bytes(b"gatepost canonical 1");
        framed
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.update(bytes);
    }

    fn number(&mut self, number: usize) {
        self.0.update(&(number as u64).to_be_bytes());
    }

    fn finish(self) -> Digest {
        self.0.finish()
    }
}

#[cfg(test)]
#[path = "canonical_tests.rs"]
mod tests;
