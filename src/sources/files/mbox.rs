//! An mbox file, cut into its mails. The kinds differ in how a line of a mail is told from a separator:
//!
//! | kind | a line that begins with `From ` | the mail |
//! |---|---|---|
//! | mboxrd | gets a `>` in front, and so does one that begins with `>From `, `>>From ` … | one `>` is taken off each |
//! | mboxo | gets a `>` in front; what had one already looks the same | as it stands: taking off would be guessing |
//! | mboxcl | `Content-Length` says how long the mail is | as it stands |
//!
//! A separator counts at the beginning of the file and after an empty line, when it has the form of one
//! ([`super::from_line`]). The empty line before it is the mbox's own. Line ends stay as they are.

use std::fs::File;
use std::io::{self, Read};

use jiff::Timestamp;

use super::copy::{Copied, Copy};
use super::from_line::{self, FromLine};
use super::{Options, Stop};
use crate::base::bytes::read_file_exact_at;
use crate::mail::header::fields;

/// How the separators are told from the mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quoting {
    Rd,
    O,
    Cl,
}

impl Quoting {
    pub fn name(self) -> &'static str {
        match self {
            Quoting::Rd => "mboxrd",
            Quoting::O => "mboxo",
            Quoting::Cl => "mboxcl",
        }
    }
}

/// So much of a file is looked at to see which kind it is.
const SAMPLE_BYTES: u64 = 16 * 1024 * 1024;
/// So many mails of it are asked for their lengths.
const SAMPLE_MAILS: usize = 100;
/// At the beginning of a line so much of it, and of what follows, is to be seen at once.
const SIGHT: usize = 8 * 1024;
const BUFFER: usize = 256 * 1024;

/// What the file shows of the program that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub quoting: Quoting,
    /// Separators may be bare.
    bare: bool,
}

/// Whether a file begins like an mbox; `head` is its beginning.
pub fn is_mbox(head: &[u8]) -> bool {
    let line = head.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    match from_line::parse(line) {
        Some(FromLine::Dated(_)) => true,
        Some(FromLine::Bare) => begins_a_field(&head[line.len()..]),
        None => false,
    }
}

/// A name, then a colon.
pub fn begins_a_field(text: &[u8]) -> bool {
    let name = text.iter().take(80).position(|byte| !(byte.is_ascii_graphic() && *byte != b':'));
    name.is_some_and(|end| end > 0 && text[end] == b':')
}

impl Kind {
    /// By the first bytes of the file.
    pub fn of(file: &File, len: u64, told: Option<Quoting>) -> io::Result<Kind> {
        let mut head = vec![0; len.min(SIGHT as u64) as usize];
        read_file_exact_at(file, 0, &mut head)?;
        let line = head.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        // Thunderbird: a dash for the sender, and for some time now neither sender nor date.
        let bare = line.starts_with(b"From - ") || from_line::parse(line) == Some(FromLine::Bare);
        let quoting = match told {
            Some(quoting) => quoting,
            None if tells_lengths(file, len)? => Quoting::Cl,
            None if has_unquoted(file, len, bare)? => Quoting::O,
            None => Quoting::Rd,
        };
        Ok(Kind { quoting, bare })
    }

    fn separates(self, line: &Line<'_>) -> Option<Option<Timestamp>> {
        match from_line::parse(line.bytes)? {
            FromLine::Dated(at) => Some(at),
            FromLine::Bare => (self.bare && begins_a_field(line.after)).then_some(None),
        }
    }
}

/// Whether each of the first mails says how long it is, and is.
fn tells_lengths(file: &File, len: u64) -> io::Result<bool> {
    let mut at = 0;
    for _ in 0..SAMPLE_MAILS {
        let mut head = vec![0; (len - at).min(8 * SIGHT as u64) as usize];
        read_file_exact_at(file, at, &mut head)?;
        let line = head.split_inclusive(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len);
        let header = header_len(&head[line..]);
        let Some(end) = header.and_then(|header| {
            let length = content_length(&head[line..line + header])?;
            (at + (line + header) as u64).checked_add(length)
        }) else {
            return Ok(false);
        };
        match lands(file, len, end)? {
            Some(next) if next >= len => return Ok(true),
            Some(next) => at = next,
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// The header with its empty line.
fn header_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if is_empty_line(line) {
            return Some(at);
        }
    }
    None
}

fn content_length(header: &[u8]) -> Option<u64> {
    let field = fields(header).find(|field| field.is("content-length"))?;
    String::from_utf8_lossy(&field.one_line()).parse().ok()
}

/// Where the next separator stands when a mail ends at `end`; the file's length when it was the last.
fn lands(file: &File, len: u64, end: u64) -> io::Result<Option<u64>> {
    if end > len {
        return Ok(None);
    }
    let mut next = vec![0; (len - end).min(from_line::LENGTH_MAX as u64 + 8) as usize];
    read_file_exact_at(file, end, &mut next)?;
    let breaks = next.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let rest = &next[breaks..];
    if rest.is_empty() {
        // Only line breaks follow to the end.
        return Ok((breaks <= 4).then_some(len));
    }
    // A mail without a line break at its end leaves none to be looked for before the separator.
    let dated = rest
        .split_inclusive(|byte| *byte == b'\n')
        .next()
        .is_some_and(|line| matches!(from_line::parse(line), Some(FromLine::Dated(_))));
    Ok((dated && breaks <= 4).then_some(end + breaks as u64))
}

/// Whether a line of a mail begins with `From ` as it is: mboxrd would have quoted it.
fn has_unquoted(file: &File, len: u64, bare: bool) -> io::Result<bool> {
    let kind = Kind { quoting: Quoting::Rd, bare };
    let mut lines = Lines::new(At { file, at: 0, end: len.min(SAMPLE_BYTES) });
    let mut after_empty = true;
    while let Some(line) = lines.next()? {
        let separates = line.starts && after_empty && kind.separates(&line).is_some();
        // The last line of the sample may be cut.
        if line.starts && line.bytes.ends_with(b"\n") && !separates && line.bytes.starts_with(b"From ") {
            return Ok(true);
        }
        after_empty = line.is_empty();
    }
    Ok(false)
}

/// Cuts `file` up to `len` into mails. `take` gets each of them; `Err` in it: so many bytes are too many for one.
///
/// Says whether the file began with a separator.
pub fn read(
    file: &File,
    len: u64,
    kind: Kind,
    options: &Options,
    take: &mut dyn FnMut(Option<Timestamp>, Result<Copied, u64>) -> Result<(), Stop>,
) -> Result<io::Result<bool>, Stop> {
    let mut lines = Lines::new(At { file, at: 0, end: len });
    let mut open: Option<Open<'_>> = None;
    let mut after_empty = true;
    loop {
        let line = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => return Ok(Err(error)),
        };
        if let (true, true, Some(date)) = (line.starts, after_empty, kind.separates(&line)) {
            if let Some(open) = open.take() {
                open.close(take)?;
            }
            open = Some(Open::new(date, options));
            after_empty = false;
            continue;
        }
        let Some(mail) = &mut open else {
            if line.is_empty() {
                continue;
            }
            return Ok(Ok(false));
        };
        after_empty = line.is_empty();
        mail.put(&line, kind)?;
        if kind.quoting == Quoting::Cl && mail.header_ended {
            mail.header_ended = false;
            let begin = lines.position();
            let length = content_length(mail.copy.head());
            let end = length.and_then(|length| begin.checked_add(length)).filter(|end| *end <= len);
            let landed = match end.map(|end| lands(file, len, end)).transpose() {
                Ok(landed) => landed.flatten().is_some(),
                Err(error) => return Ok(Err(error)),
            };
            if let (true, Some(end)) = (landed, end) {
                if let Err(error) = lines.copy_to(end, &mut mail.copy)? {
                    return Ok(Err(error));
                }
                // Only line breaks are left of it, and they are the mbox's.
                mail.is_whole = true;
                after_empty = true;
            }
        }
    }
    if let Some(open) = open {
        open.close(take)?;
    }
    Ok(Ok(true))
}

/// The mail that is being read.
struct Open<'o> {
    date: Option<Timestamp>,
    copy: Copy<'o>,
    in_header: bool,
    /// Just now.
    header_ended: bool,
    /// An empty line that may be the mbox's own.
    held: Option<&'static [u8]>,
    is_whole: bool,
}

impl<'o> Open<'o> {
    fn new(date: Option<Timestamp>, options: &'o Options) -> Open<'o> {
        let copy = Copy::new(options);
        Open { date, copy, in_header: true, header_ended: false, held: None, is_whole: false }
    }

    fn put(&mut self, line: &Line<'_>, kind: Kind) -> Result<(), Stop> {
        if self.is_whole {
            return Ok(());
        }
        if let Some(held) = self.held.take() {
            self.copy.put(held)?;
        }
        if line.is_empty() && !self.in_header {
            self.held = Some(if line.bytes.len() == 2 { b"\r\n" } else { b"\n" });
            return Ok(());
        }
        if line.is_empty() {
            (self.in_header, self.header_ended) = (false, true);
        }
        let quoted = line.starts && kind.quoting == Quoting::Rd && is_quoted(line.bytes);
        self.copy.put(&line.bytes[usize::from(quoted)..])
    }

    fn close(
        self,
        take: &mut dyn FnMut(Option<Timestamp>, Result<Copied, u64>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        if self.copy.is_too_long() {
            return take(self.date, Err(self.copy.len()));
        }
        let mail = self.copy.finish()?;
        take(self.date, Ok(mail))
    }
}

/// `>From `, `>>From ` …
fn is_quoted(line: &[u8]) -> bool {
    let marks = line.iter().take_while(|byte| **byte == b'>').count();
    marks > 0 && line[marks..].starts_with(b"From ")
}

fn is_empty_line(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

/// A file from an offset to an end.
struct At<'f> {
    file: &'f File,
    at: u64,
    end: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = (self.end - self.at).min(buffer.len() as u64) as usize;
        read_file_exact_at(self.file, self.at, &mut buffer[..n])?;
        self.at += n as u64;
        Ok(n)
    }
}

/// A line, or a piece of one that is longer than the buffer.
struct Line<'b> {
    bytes: &'b [u8],
    /// It is the beginning of a line.
    starts: bool,
    /// What follows, as far as it is at hand.
    after: &'b [u8],
}

impl Line<'_> {
    fn is_empty(&self) -> bool {
        self.starts && is_empty_line(self.bytes)
    }
}

struct Lines<'f> {
    input: At<'f>,
    buffer: Vec<u8>,
    at: usize,
    filled: usize,
    /// Of the file, at `buffer[0]`.
    offset: u64,
    in_line: bool,
}

impl<'f> Lines<'f> {
    fn new(input: At<'f>) -> Lines<'f> {
        let offset = input.at;
        Lines { input, buffer: vec![0; BUFFER], at: 0, filled: 0, offset, in_line: false }
    }

    /// Of what comes next.
    fn position(&self) -> u64 {
        self.offset + self.at as u64
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.at..self.filled, 0);
        self.offset += self.at as u64;
        self.filled -= self.at;
        self.at = 0;
        while self.filled < self.buffer.len() {
            match self.input.read(&mut self.buffer[self.filled..])? {
                0 => break,
                n => self.filled += n,
            }
        }
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        if self.filled - self.at < SIGHT && self.input.at < self.input.end {
            self.fill()?;
        }
        if self.at == self.filled {
            return Ok(None);
        }
        let here = &self.buffer[self.at..self.filled];
        let (len, ends) = match memchr::memchr(b'\n', here) {
            Some(end) => (end + 1, true),
            None => (here.len(), self.input.at == self.input.end),
        };
        let start = self.at;
        let starts = !self.in_line;
        self.at += len;
        self.in_line = !ends;
        Ok(Some(Line { bytes: &self.buffer[start..self.at], starts, after: &self.buffer[self.at..self.filled] }))
    }

    /// Copies what is left up to `end` of the file, whatever it is.
    fn copy_to(&mut self, end: u64, copy: &mut Copy<'_>) -> Result<io::Result<()>, Stop> {
        while self.position() < end {
            if self.at == self.filled
                && let Err(error) = self.fill()
            {
                return Ok(Err(error));
            }
            let n = (end - self.position()).min((self.filled - self.at) as u64) as usize;
            if n == 0 {
                return Ok(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            copy.put(&self.buffer[self.at..self.at + n])?;
            self.at += n;
        }
        self.in_line = false;
        Ok(Ok(()))
    }
}
