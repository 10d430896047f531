//! mboxrd: one file per person and folder, messages one after the other.
//!
//! ```text
//! From anna@corp.example Sat Nov 21 10:00:00 2026\n      a line that begins with "From ", LF at its end
//! …the message, `>` before each line that is "From " after any number of `>`…
//! \n                                                     exactly one empty line
//! ```
//!
//! Line ends of a message stay as they are, CRLF as a rule: RFC 4155 would have them LF, but an archive's message
//! comes out as it went in, and then a message without quoted lines has the very SHA-256 in the file that it has in
//! the archive. The readers that matter take it: Python's `mailbox` splits by "From " at the beginning of a line and
//! takes one LF off before it; Thunderbird's reader and Dovecot's take both kinds of line ends, line by line.
//!
//! A message that does not end with an LF gets one. Quoting and that LF are the only changes, both are in the
//! manifest, and both can be undone without a doubt: [`Unquoter`].

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::error::{ArchiveError, ErrorKind, Result};
use super::output::{Exported, Folders, create, failed, inside};
use super::render::Rendered;
use super::state::State;
use crate::base::bytes::WINDOW;
use crate::base::digest::{Digest, Hasher};
use crate::base::fsio;

/// What a new file is called until its export is whole.
pub(super) const PART: &str = ".part";

const FROM: &[u8] = b"From ";

/// The line before a message. Its sender is one word of ASCII: Python's reader decodes it as such.
pub(super) fn from_line(sender: Option<&str>, received: Timestamp) -> String {
    let fits = |sender: &&str| sender.len() <= 254 && sender.bytes().all(|byte| byte.is_ascii_graphic());
    let sender = sender.filter(|sender| !sender.is_empty()).filter(fits).unwrap_or("MAILER-DAEMON");
    let known = received.max(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC);
    format!("From {sender} {}\n", known.strftime("%a %b %e %H:%M:%S %Y"))
}

/// Changes the `>` before "From " at the beginning of lines, whatever pieces the text comes in. A line may begin with
/// any number of them: they are counted, not held.
struct Lines {
    /// `true`: one more of them; `false`: one fewer, where there is one.
    quote: bool,
    marks: u64,
    /// So much of "From " was seen after them; `None`: the line is known to be another one.
    matched: Option<usize>,
    changed: u64,
}

type Out<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

impl Lines {
    fn new(quote: bool) -> Lines {
        Lines { quote, marks: 0, matched: Some(0), changed: 0 }
    }

    /// Passes on what was held back at the beginning of a line.
    fn decide(&mut self, out: Out<'_>) -> io::Result<()> {
        let Some(matched) = self.matched.take() else { return Ok(()) };
        let mut marks = std::mem::take(&mut self.marks);
        if matched == FROM.len() && (self.quote || marks > 0) {
            marks = if self.quote { marks + 1 } else { marks - 1 };
            self.changed += 1;
        }
        const MARKS: [u8; 256] = [b'>'; 256];
        while marks > 0 {
            let some = MARKS.len().min(usize::try_from(marks).unwrap_or(MARKS.len()));
            out(&MARKS[..some])?;
            marks -= some as u64;
        }
        if matched == 0 { Ok(()) } else { out(&FROM[..matched]) }
    }

    fn push(&mut self, mut bytes: &[u8], out: Out<'_>) -> io::Result<()> {
        while let Some(&byte) = bytes.first() {
            match self.matched {
                Some(0) if byte == b'>' => {
                    self.marks += 1;
                    bytes = &bytes[1..];
                }
                Some(matched) if matched < FROM.len() && byte == FROM[matched] => {
                    self.matched = Some(matched + 1);
                    bytes = &bytes[1..];
                }
                Some(_) => self.decide(out)?,
                None => {
                    let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
                    out(&bytes[..end])?;
                    if bytes[end - 1] == b'\n' {
                        self.matched = Some(0);
                    }
                    bytes = &bytes[end..];
                }
            }
        }
        Ok(())
    }
}

/// SHA-256 of a text, and of the same without its last byte.
#[derive(Default)]
struct TwoSums {
    whole: Hasher,
    without_last: Hasher,
    last: Option<u8>,
}

impl TwoSums {
    fn update(&mut self, bytes: &[u8]) {
        let Some((&end, before)) = bytes.split_last() else { return };
        if let Some(last) = self.last.replace(end) {
            self.without_last.update(&[last]);
        }
        self.without_last.update(before);
        self.whole.update(bytes);
    }
}

/// Reads a message back: what lies in the file, without the quoting.
pub(super) struct Unquoter {
    lines: Lines,
    sums: TwoSums,
}

impl Unquoter {
    pub fn new() -> Unquoter {
        Unquoter { lines: Lines::new(false), sums: TwoSums::default() }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        let Unquoter { lines, sums } = self;
        // Summing up cannot fail.
        let _ = lines.push(bytes, &mut |piece| {
            sums.update(piece);
            Ok(())
        });
    }

    /// SHA-256 of all of it, and of all but the last byte.
    pub fn finish(mut self) -> (Digest, Digest) {
        let Unquoter { lines, sums } = &mut self;
        let _ = lines.decide(&mut |piece| {
            sums.update(piece);
            Ok(())
        });
        (self.sums.whole.finish(), self.sums.without_last.finish())
    }
}

/// Where a message was put.
#[derive(Debug)]
pub(super) struct Placed {
    pub offset: u64,
    pub size: u64,
    pub sha256: Digest,
    pub sha256_unquoted: Digest,
    pub quoted: u64,
    pub newline_added: bool,
}

/// The files that are being written: one is open at a time, for messages come in the order of people and folders.
pub(super) struct Mboxes {
    dir: PathBuf,
    open: Option<Open>,
}

struct Open {
    file: String,
    path: PathBuf,
    out: BufWriter<File>,
    at: u64,
}

impl Mboxes {
    pub fn new(dir: &Path) -> Mboxes {
        Mboxes { dir: dir.to_owned(), open: None }
    }

    /// Appends a message; an error leaves the file to be cut back by the next run.
    pub fn put(
        &mut self,
        state: &State,
        folders: &mut Folders,
        file: &str,
        from_line: &str,
        message: &Rendered,
    ) -> Result<Placed> {
        if self.open.as_ref().is_none_or(|open| open.file != file) {
            self.flush()?;
            self.open = Some(open(&self.dir, state, folders, file)?);
        }
        let Some(open) = &mut self.open else {
            return Err(ArchiveError::new(ErrorKind::Failed, format!("{file} is not open")));
        };
        let Open { path, out, at, .. } = open;
        out.write_all(from_line.as_bytes()).exported("write", path)?;
        let offset = *at + from_line.len() as u64;
        let (mut lines, mut size) = (Lines::new(true), 0u64);
        let (mut sum, mut unquoted) = (Hasher::new(), Hasher::new());
        let mut put = |bytes: &[u8]| {
            sum.update(bytes);
            size += bytes.len() as u64;
            out.write_all(bytes)
        };
        message.each(&mut |bytes| {
            unquoted.update(bytes);
            lines.push(bytes, &mut put).exported("write", path)
        })?;
        lines.decide(&mut put).exported("write", path)?;
        let newline_added = !message.ends_with_lf;
        if newline_added {
            unquoted.update(b"\n");
            put(b"\n").exported("write", path)?;
        }
        out.write_all(b"\n").exported("write", path)?;
        *at = offset + size + 1;
        Ok(Placed {
            offset,
            size,
            sha256: sum.finish(),
            sha256_unquoted: unquoted.finish(),
            quoted: lines.changed,
            newline_added,
        })
    }

    /// Has the system know what was written.
    pub fn flush(&mut self) -> Result<()> {
        match &mut self.open {
            Some(open) => open.out.flush().exported("write", &open.path),
            None => Ok(()),
        }
    }
}

/// Where a file is now, and where it will be.
pub(super) fn paths(dir: &Path, file: &str, is_new: bool) -> (PathBuf, PathBuf) {
    let whole = inside(dir, file);
    let now = if is_new { inside(dir, &format!("{file}{PART}")) } else { whole.clone() };
    (now, whole)
}

/// Opens a file for appending: a new one under another name until the export is whole; one of an earlier run as it is,
/// without what an interrupted run may have left behind its end.
fn open(dir: &Path, state: &State, folders: &mut Folders, file: &str) -> Result<Open> {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    folders.make(dir, folder)?;
    let container = match state.container(file)? {
        Some(container) => container,
        None => {
            // Longer it may be by what an interrupted run of ours left behind its end, and by nobody else's doing: it
            // is looked at before it counts as opened by this run.
            if let Some(size) = state.size_before(file)? {
                let path = dir.join(file);
                if std::fs::metadata(&path).exported("read", &path)?.len() != size {
                    return Err(changed(&path));
                }
            }
            state.begin_container(file)?
        }
    };
    let end = state.end_of(file, container)?;
    let (path, whole) = paths(dir, file, container.is_new);
    if container.is_new && end == 0 {
        if std::fs::symlink_metadata(&whole).is_ok() {
            let what = format!("{} is in the way: no export knows of it", whole.display());
            return Err(ArchiveError::new(ErrorKind::Unusable, what).hint("move it away, or name another folder"));
        }
        let out = BufWriter::with_capacity(WINDOW, create(&path)?);
        return Ok(Open { file: file.to_owned(), path, out, at: 0 });
    }
    if container.is_new && !path.exists() && whole.exists() {
        // A run that ended while it gave files their names.
        fsio::rename(&whole, &path).exported("rename", &whole)?;
    }
    let mut options = std::fs::OpenOptions::new();
    let mut out = options.read(true).write(true).open(&path).exported("open", &path)?;
    let len = out.metadata().exported("read", &path)?.len();
    if len < end {
        return Err(changed(&path));
    }
    out.set_len(end).exported("cut", &path)?;
    out.seek(io::SeekFrom::Start(end)).map_err(|error| failed("read", &path, &error))?;
    Ok(Open { file: file.to_owned(), path, out: BufWriter::with_capacity(WINDOW, out), at: end })
}

pub(super) fn changed(path: &Path) -> ArchiveError {
    let what = format!("{} is not what was exported: nothing can be added to it", path.display());
    ArchiveError::new(ErrorKind::Unusable, what)
        .hint("`gatepost verify-export` says what was changed; export to another folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(quote: bool, text: &[u8], piece: usize) -> (Vec<u8>, u64) {
        let (mut lines, mut out) = (Lines::new(quote), Vec::new());
        for part in text.chunks(piece) {
            lines
                .push(part, &mut |bytes| {
                    out.extend_from_slice(bytes);
                    Ok(())
                })
                .unwrap();
        }
        lines
            .decide(&mut |bytes| {
                out.extend_from_slice(bytes);
                Ok(())
            })
            .unwrap();
        (out, lines.changed)
    }

    #[test]
    fn every_text_is_quoted_and_comes_back() {
        let long = [b">".repeat(1000), b"From x\r\n>".to_vec()].concat();
        for (text, quoted, changed) in [
            (&b""[..], &b""[..], 0),
            (b"From a\n", b">From a\n", 1),
            (b"a\r\nFrom b\r\n>From c\r\n>>From d", b"a\r\n>From b\r\n>>From c\r\n>>>From d", 3),
            (b"From: a\nFrom\n From x\nFroM x\n> From x\n>Fro", b"From: a\nFrom\n From x\nFroM x\n> From x\n>Fro", 0),
            (b"a From x\n\0From x\n\rFrom x\n", b"a From x\n\0From x\n\rFrom x\n", 0),
            (b">\n>>\n\n>", b">\n>>\n\n>", 0),
            (&long, &[b">".as_slice(), &long].concat(), 1),
        ] {
            for piece in [1, 2, 3, 7, 10_000] {
                let shown = String::from_utf8_lossy(text);
                assert_eq!(through(true, text, piece), (quoted.to_vec(), changed), "{shown:?} by {piece}");
                assert_eq!(through(false, quoted, piece), (text.to_vec(), changed), "{shown:?} by {piece}");
                let mut unquoter = Unquoter::new();
                quoted.chunks(piece).for_each(|part| unquoter.push(part));
                let (whole, without_last) = unquoter.finish();
                assert_eq!(whole, Digest::of(text), "{shown:?}");
                assert_eq!(without_last, Digest::of(&text[..text.len().saturating_sub(1)]), "{shown:?}");
            }
        }
    }

    #[test]
    fn the_line_before_a_message_is_one_that_every_reader_takes() {
        let at: Timestamp = "2026-11-01T09:05:07Z".parse().unwrap();
        for (sender, word) in [
            (Some("anna@corp.example"), "anna@corp.example"),
            (None, "MAILER-DAEMON"),
            (Some(""), "MAILER-DAEMON"),
            (Some("a b@corp.example"), "MAILER-DAEMON"),
            (Some("jörg@corp.example"), "MAILER-DAEMON"),
            (Some("a\n@corp.example"), "MAILER-DAEMON"),
        ] {
            assert_eq!(from_line(sender, at), format!("From {word} Sun Nov  1 09:05:07 2026\n"));
        }
        let before: Timestamp = "1955-11-01T09:05:07Z".parse().unwrap();
        assert_eq!(from_line(None, before), "From MAILER-DAEMON Thu Jan  1 00:00:00 1970\n");
    }
}
