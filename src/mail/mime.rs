//! Where the parts of a mail lie: a linear, streaming scanner of MIME boundaries and offsets.
//!
//! Bytes are pushed in windows of any size; the result does not depend on how they were cut. Memory is
//! bounded by [`Limits`] and not by the mail, time is linear in the mail, and nothing recurses on it.
//! The scanner never decodes a body and never fails: what is broken becomes an opaque leaf.

use std::ops::Range;

use memchr::{memchr, memmem, memrchr};

use super::content::Content;
use super::transfer::Encoding;

/// What a hostile mail may cost. Beyond a limit the rest is opaque and [`Structure::limited`] tells.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub parts: usize,
    /// Levels below the mail itself.
    pub depth: usize,
    /// More of one header is not read.
    pub header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { parts: 10_000, depth: 64, header_bytes: 4 * 1024 * 1024 }
    }
}

/// RFC 2046 allows 70 bytes; a longer boundary than this makes its part opaque.
const BOUNDARY_BYTES_MAX: usize = 1000;
/// A longer line is no delimiter: boundary, three pairs of dashes and CR, and some transport padding.
const LINE_KEPT_MAX: usize = BOUNDARY_BYTES_MAX + 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Leaf,
    /// Its parts follow it in the list; preamble and epilogue belong to no part.
    Multipart,
    /// A message/rfc822 whose one child is the message in it.
    Message,
}

/// One part. Offsets count from the start of the mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// `None` for the mail itself, which is part 0.
    pub parent: Option<usize>,
    pub depth: usize,
    /// With its empty line.
    pub header: Range<u64>,
    /// Without the line break before the closing delimiter.
    pub body: Range<u64>,
    pub kind: Kind,
    pub content: Content,
}

/// The parts in the order in which they begin: a part's descendants follow it directly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Structure {
    pub parts: Vec<Part>,
    /// The header of the mail itself, up to [`Limits::header_bytes`].
    pub root_header: Vec<u8>,
    /// A limit was met: the tree is right as far as it goes, and not complete.
    pub limited: bool,
}

impl Structure {
    /// The part and all of its descendants.
    pub fn subtree(&self, part: usize) -> Range<usize> {
        let depth = self.parts[part].depth;
        let below = self.parts[part + 1..].iter().take_while(|other| other.depth > depth).count();
        part..part + 1 + below
    }

    pub fn children(&self, part: usize) -> impl Iterator<Item = usize> + '_ {
        let depth = self.parts[part].depth + 1;
        self.subtree(part).filter(move |&other| self.parts[other].depth == depth)
    }

    /// A part whose body is content rather than structure. A multipart in which no delimiter was found is
    /// one too: otherwise its bytes would belong to nobody.
    pub fn is_leaf(&self, part: usize) -> bool {
        let next_is_child = self.parts.get(part + 1).is_some_and(|next| next.parent == Some(part));
        !next_is_child
    }
}

/// Scans bytes that are in memory.
pub fn scan(bytes: &[u8]) -> Structure {
    let mut scanner = Scanner::new(Limits::default());
    scanner.feed(bytes);
    scanner.finish()
}

/// An open part; the innermost is the last.
struct Frame {
    part: usize,
    /// Of a multipart that was not closed yet.
    boundary: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    /// Body of a leaf, preamble, epilogue, or what a limit made opaque.
    Body,
}

pub struct Scanner {
    limits: Limits,
    structure: Structure,
    open: Vec<Frame>,
    /// How many of them still have a boundary.
    armed: usize,
    state: State,
    /// The header being read, and where its current line begins in it.
    header: Vec<u8>,
    header_line: usize,
    /// Offset of the next byte, and of the current line.
    at: u64,
    line_start: u64,
    /// Start of a line that began in an earlier window.
    line: Vec<u8>,
    line_ends_in_cr: bool,
    /// Length of the line break before the current line.
    last_break: u64,
}

impl Scanner {
    pub fn new(limits: Limits) -> Scanner {
        let mut scanner = Scanner {
            limits,
            structure: Structure::default(),
            open: Vec::new(),
            armed: 0,
            state: State::Header,
            header: Vec::new(),
            header_line: 0,
            at: 0,
            line_start: 0,
            line: Vec::new(),
            line_ends_in_cr: false,
            last_break: 0,
        };
        scanner.open_part(None);
        scanner
    }

    /// The next bytes of the mail.
    pub fn feed(&mut self, window: &[u8]) {
        let mut rest = window;
        while !rest.is_empty() {
            if self.state == State::Body {
                if self.armed == 0 {
                    // Nothing but the end of the mail can end this body.
                    self.at += rest.len() as u64;
                    return;
                }
                if self.at == self.line_start && rest[0] != b'-' {
                    let skipped = self.skip_lines(rest);
                    if skipped > 0 {
                        rest = &rest[skipped..];
                        continue;
                    }
                }
            }
            let end = memchr(b'\n', rest);
            let piece = &rest[..end.unwrap_or(rest.len())];
            rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
            if self.state == State::Header {
                self.capture(piece, end.is_some());
            }
            if end.is_some() && self.at == self.line_start {
                self.at += piece.len() as u64 + 1;
                self.end_line(piece, 1 + u64::from(piece.ends_with(b"\r")));
            } else {
                self.keep(piece);
                if end.is_some() {
                    self.at += 1;
                    let line = std::mem::take(&mut self.line);
                    self.end_line(&line, 1 + u64::from(self.line_ends_in_cr));
                    self.line = line;
                    self.line.clear();
                    self.line_ends_in_cr = false;
                }
            }
        }
    }

    /// The end of the mail.
    pub fn finish(mut self) -> Structure {
        if self.armed > 0 && self.at > self.line_start {
            let line = std::mem::take(&mut self.line);
            self.end_line(&line, 0);
        }
        if self.state == State::Header {
            self.read_header(self.at);
        }
        self.close_down_to(0, self.at);
        self.structure
    }

    /// Passes over whole lines of a body that cannot be delimiters; says how many bytes.
    fn skip_lines(&mut self, rest: &[u8]) -> usize {
        let Some(newline) = memmem::find(rest, b"\n--").or_else(|| memrchr(b'\n', rest)) else { return 0 };
        self.at += newline as u64 + 1;
        self.line_start = self.at;
        self.last_break = 1 + u64::from(rest[..newline].ends_with(b"\r"));
        newline + 1
    }

    /// Remembers the start of a line that is not whole yet.
    fn keep(&mut self, piece: &[u8]) {
        self.at += piece.len() as u64;
        // One byte more than a delimiter may have tells that the line is too long.
        let room = (LINE_KEPT_MAX + 1).saturating_sub(self.line.len());
        self.line.extend_from_slice(&piece[..piece.len().min(room)]);
        if let Some(&last) = piece.last() {
            self.line_ends_in_cr = last == b'\r';
        }
    }

    fn capture(&mut self, piece: &[u8], ended: bool) {
        let room = self.limits.header_bytes.saturating_sub(self.header.len());
        if room < piece.len() + 1 {
            self.structure.limited = true;
        }
        self.header.extend_from_slice(&piece[..piece.len().min(room)]);
        if ended && room > piece.len() {
            self.header.push(b'\n');
        }
    }

    /// A line is complete: `line` is it without LF (cut when it is too long to matter).
    fn end_line(&mut self, line: &[u8], break_len: u64) {
        let start = std::mem::replace(&mut self.line_start, self.at);
        let break_before = std::mem::replace(&mut self.last_break, break_len);
        if self.armed > 0
            && line.len() <= LINE_KEPT_MAX
            && line.starts_with(b"--")
            && let Some((frame, closing)) = self.delimiter(line)
        {
            let end = start.saturating_sub(break_before);
            if self.state == State::Header {
                self.header.truncate(self.header_line);
                self.read_header(end);
            }
            self.close_down_to(frame + 1, end);
            self.state = State::Body;
            if closing {
                self.open[frame].boundary = None;
                self.armed -= 1;
            } else {
                self.open_part(Some(self.open[frame].part));
            }
            return;
        }
        if self.state == State::Header {
            if line.is_empty() || line == b"\r" {
                let top = self.read_header(self.at);
                self.enter_body(top);
            } else {
                self.header_line = self.header.len();
            }
        }
    }

    /// Which open multipart the line delimits (the innermost one of that name), and whether it closes it.
    /// The whole line is compared, for one boundary may begin with another or end in dashes.
    fn delimiter(&self, line: &[u8]) -> Option<(usize, bool)> {
        let line = line[2..].trim_ascii_end();
        for (at, frame) in self.open.iter().enumerate().rev() {
            let Some(boundary) = &frame.boundary else { continue };
            if line == boundary {
                return Some((at, false));
            }
            if line.strip_suffix(b"--") == Some(boundary) {
                return Some((at, true));
            }
        }
        None
    }

    fn open_part(&mut self, parent: Option<usize>) -> bool {
        let parts = &mut self.structure.parts;
        if parts.len() >= self.limits.parts {
            self.structure.limited = true;
            return false;
        }
        let depth = parent.map_or(0, |parent| parts[parent].depth + 1);
        self.open.push(Frame { part: parts.len(), boundary: None });
        parts.push(Part {
            parent,
            depth,
            header: self.at..self.at,
            body: self.at..self.at,
            kind: Kind::Leaf,
            content: Content::plain("text/plain"),
        });
        self.state = State::Header;
        self.header.clear();
        self.header_line = 0;
        true
    }

    /// Ends the header of the innermost part at `end` and says which part that is.
    fn read_header(&mut self, end: u64) -> usize {
        self.state = State::Body;
        // In the state Header the innermost frame is the part whose header it is.
        let Some(frame) = self.open.last() else { return 0 };
        let parts = &mut self.structure.parts;
        let digest = parts[frame.part].parent.is_some_and(|parent| parts[parent].content.kind == "multipart/digest");
        let part = &mut parts[frame.part];
        part.content = Content::of(&self.header, if digest { "message/rfc822" } else { "text/plain" });
        self.structure.limited |= part.content.truncated;
        part.header.end = end.max(part.header.start);
        part.body = part.header.end..part.header.end;
        if frame.part == 0 {
            self.structure.root_header = std::mem::take(&mut self.header);
        }
        frame.part
    }

    /// Decides whether the body that begins here has a structure.
    fn enter_body(&mut self, index: usize) {
        let part = &self.structure.parts[index];
        let message = part.content.is_message() && part.content.encoding == Encoding::Identity;
        let boundary = part.content.parameter("boundary").filter(|b| part.content.is_multipart() && !b.is_empty());
        if !message && boundary.is_none() {
            return;
        }
        // Trailing white space of a line is not compared, so it must not be asked for.
        let boundary = boundary.map(|b| b.trim_ascii_end().to_vec());
        if part.depth >= self.limits.depth || boundary.as_ref().is_some_and(|b| b.len() > BOUNDARY_BYTES_MAX) {
            self.structure.limited = true;
            return;
        }
        if let Some(boundary) = boundary {
            self.structure.parts[index].kind = Kind::Multipart;
            if let Some(frame) = self.open.last_mut() {
                frame.boundary = Some(boundary);
                self.armed += 1;
            }
        } else if self.open_part(Some(index)) {
            self.structure.parts[index].kind = Kind::Message;
        }
    }

    /// Closes all frames from `keep` on; their bodies end at `end`.
    fn close_down_to(&mut self, keep: usize, end: u64) {
        while self.open.len() > keep {
            let Some(frame) = self.open.pop() else { break };
            self.armed -= usize::from(frame.boundary.is_some());
            let body = &mut self.structure.parts[frame.part].body;
            body.end = end.max(body.start);
        }
    }
}

#[cfg(test)]
#[path = "mime_tests.rs"]
mod tests;
