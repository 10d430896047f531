//! A message as this export shows it: proved, without a `Bcc` that is not the reader's to see, summed up; in memory when
//! it is small, else in the export's work folder.
//!
//! Nothing of a message goes into a file of the export before all of it was had and proved.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::super::error::{ArchiveError, ErrorKind, Result};
use super::super::read::Reader;
use super::super::redact::WithoutBcc;
use super::output::{Exported, create, each, failed};
use crate::base::bytes::WINDOW;
use crate::base::digest::{Digest, Hasher};
use crate::base::fsio;

/// Up to this size a message is held.
const IN_MEMORY: usize = 4 * 1024 * 1024;

pub(super) enum Failure {
    /// This message cannot be exported.
    Message(ArchiveError),
    /// Nothing can be written.
    Output(ArchiveError),
    /// Nothing more is wanted.
    Stopped,
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Failure {
        Failure::Output(error)
    }
}

#[derive(Debug)]
pub(super) struct Rendered {
    body: Body,
    pub size: u64,
    pub sha256: Digest,
    /// Of the message with a CR before each LF that has none, as a mail server hands it out; when it was asked for.
    pub sha256_crlf: Option<Digest>,
    pub ends_with_lf: bool,
    pub redacted: bool,
}

#[derive(Debug)]
enum Body {
    Memory(Vec<u8>),
    File(PathBuf),
}

impl Rendered {
    pub fn each(&self, with: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let path = match &self.body {
            Body::Memory(bytes) => return bytes.chunks(WINDOW).try_for_each(with),
            Body::File(path) => path,
        };
        let mut file = fsio::open(path).exported("read", path)?;
        let mut error = None;
        let size = each(&mut file, u64::MAX, &mut |bytes| {
            with(bytes).map_err(|failed| {
                error = Some(failed);
                io::Error::other("stopped")
            })
        });
        match (error, size) {
            (Some(error), _) => Err(error),
            (None, Ok(size)) if size == self.size => Ok(()),
            (None, Ok(_)) => Err(ArchiveError::new(ErrorKind::Failed, format!("{} was changed", path.display()))),
            (None, Err(error)) => Err(failed("read", path, &error)),
        }
    }

    /// The message as a file of its own, which the caller gives its name.
    pub fn into_file(self, temporary: &Path) -> Result<PathBuf> {
        match self.body {
            Body::File(path) => Ok(path),
            Body::Memory(bytes) => {
                create(temporary)?.write_all(&bytes).exported("write", temporary)?;
                Ok(temporary.to_owned())
            }
        }
    }
}

/// Which message, and how it is shown.
pub(super) struct Wanted<'a> {
    pub item: u64,
    /// The rights-protected message beside the clear copy.
    pub protected: bool,
    pub redact: bool,
    pub with_crlf: bool,
    /// In the work folder.
    pub spool: &'a Path,
    pub stop: &'a dyn Fn() -> bool,
}

pub(super) fn render(reader: &Reader, wanted: &Wanted<'_>) -> std::result::Result<Rendered, Failure> {
    let spool = RefCell::new(Spool::new(wanted.spool, wanted.with_crlf, wanted.stop));
    let mut out = Shared(&spool);
    let bytes = |out: &mut dyn Write| match wanted.protected {
        true => reader.twin_bytes(wanted.item, out),
        false => reader.original_bytes(wanted.item, out),
    };
    let done = if wanted.redact {
        let mut filter = WithoutBcc::new(&mut out);
        bytes(&mut filter).and_then(|()| match filter.finish() {
            Ok((_, redacted)) => Ok(redacted),
            Err(error) => Err(ArchiveError::new(ErrorKind::Failed, error.to_string())),
        })
    } else {
        bytes(&mut out).map(|()| false)
    };
    let spool = spool.into_inner();
    // The output's own error is kept; without one, the message is at fault.
    if let Some(failure) = spool.failure {
        return Err(failure);
    }
    match done {
        Ok(redacted) => Ok(spool.finish(redacted)?),
        Err(error) => Err(match error.kind {
            ErrorKind::Locked => Failure::Output(error),
            ErrorKind::NoSpace | ErrorKind::Unusable | ErrorKind::Damaged | ErrorKind::Failed => {
                Failure::Message(error)
            }
        }),
    }
}

/// What the message is written to, which is asked afterwards how it went.
struct Shared<'a, 's>(&'a RefCell<Spool<'s>>);

impl Write for Shared<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut spool = self.0.borrow_mut();
        spool.put(bytes).map_err(|failure| {
            spool.failure = Some(failure);
            io::Error::other("the message cannot be passed on")
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sums a text up as if each LF without a CR had one.
#[derive(Default)]
pub(super) struct CrlfHasher {
    hasher: Hasher,
    last: Option<u8>,
}

impl CrlfHasher {
    pub fn update(&mut self, bytes: &[u8]) {
        let mut from = 0;
        for at in memchr::memchr_iter(b'\n', bytes) {
            let before = if at == 0 { self.last } else { Some(bytes[at - 1]) };
            if before != Some(b'\r') {
                self.hasher.update(&bytes[from..at]);
                self.hasher.update(b"\r");
                from = at;
            }
        }
        self.hasher.update(&bytes[from..]);
        self.last = bytes.last().copied().or(self.last);
    }

    pub fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

struct Spool<'a> {
    path: &'a Path,
    stop: &'a dyn Fn() -> bool,
    memory: Vec<u8>,
    file: Option<File>,
    size: u64,
    whole: Hasher,
    crlf: Option<CrlfHasher>,
    last: Option<u8>,
    failure: Option<Failure>,
}

impl<'a> Spool<'a> {
    fn new(path: &'a Path, with_crlf: bool, stop: &'a dyn Fn() -> bool) -> Spool<'a> {
        let (whole, crlf) = (Hasher::new(), with_crlf.then(CrlfHasher::default));
        Spool { path, stop, memory: Vec::new(), file: None, size: 0, whole, crlf, last: None, failure: None }
    }

    fn put(&mut self, bytes: &[u8]) -> std::result::Result<(), Failure> {
        if self.file.is_none() && self.memory.len() + bytes.len() > IN_MEMORY {
            let mut file = create(self.path)?;
            file.write_all(&self.memory).exported("write", self.path)?;
            self.memory = Vec::new();
            self.file = Some(file);
        }
        match &mut self.file {
            // Only here it may take long.
            Some(_) if (self.stop)() => return Err(Failure::Stopped),
            Some(file) => file.write_all(bytes).exported("write", self.path)?,
            None => self.memory.extend_from_slice(bytes),
        }
        self.size += bytes.len() as u64;
        self.whole.update(bytes);
        if let Some(crlf) = &mut self.crlf {
            crlf.update(bytes);
        }
        self.last = bytes.last().copied().or(self.last);
        Ok(())
    }

    fn finish(self, redacted: bool) -> Result<Rendered> {
        let body = match self.file {
            Some(_) => Body::File(self.path.to_owned()),
            None => Body::Memory(self.memory),
        };
        Ok(Rendered {
            body,
            size: self.size,
            sha256: self.whole.finish(),
            sha256_crlf: self.crlf.map(CrlfHasher::finish),
            ends_with_lf: self.last == Some(b'\n'),
            redacted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_same_held_or_spooled_in_any_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        let line = b"\n\nab\r\nc\rd\n\r\n".repeat(3);
        let big = line.repeat(IN_MEMORY / line.len() + 10);
        for text in [&b""[..], b"\n", b"a\r\n", b"no end", &line, &big] {
            let crlf = String::from_utf8(text.to_vec()).unwrap().replace("\r\n", "\n").replace('\n', "\r\n");
            for piece in [1, 2, 3, 5, 1 << 20] {
                if text.len() > IN_MEMORY && piece < 1 << 20 {
                    continue;
                }
                let mut spool = Spool::new(&path, true, &|| false);
                text.chunks(piece).for_each(|part| spool.put(part).ok().unwrap());
                let rendered = spool.finish(false).unwrap();
                assert_eq!((rendered.size, rendered.sha256), (text.len() as u64, Digest::of(text)));
                assert_eq!(rendered.sha256_crlf, Some(Digest::of(crlf.as_bytes())));
                assert_eq!(rendered.ends_with_lf, text.ends_with(b"\n"));
                let mut all = Vec::new();
                rendered
                    .each(&mut |bytes| {
                        all.extend_from_slice(bytes);
                        Ok(())
                    })
                    .unwrap();
                assert!(all == text);
                let file = rendered.into_file(&folder.path().join("file")).unwrap();
                assert!(std::fs::read(file).unwrap() == text);
            }
        }
    }

    #[test]
    fn a_large_message_is_given_up_when_told_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        let mut spool = Spool::new(&path, false, &|| true);
        spool.put(&vec![b'a'; IN_MEMORY]).ok().unwrap();
        assert!(matches!(spool.put(b"b"), Err(Failure::Stopped)));
    }
}
