//! Bytes that are read by offset, whether they are held in memory or lie in a spool file.
//!
//! A small item is a `Vec<u8>`; a large one is streamed to an unnamed temporary file and read through
//! windows, so that memory is bounded by configuration and never by the mail.

use std::fs::File;
use std::io;
use std::ops::Range;

/// Read windows are this long at most.
pub const WINDOW: usize = 256 * 1024;

/// Random access to a fixed run of bytes.
pub trait ByteSource: Send + Sync {
    fn len(&self) -> u64;

    /// Fills `buffer` from `offset`; an error when fewer bytes are there.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// All of it, when it is in memory anyway.
    fn as_slice(&self) -> Option<&[u8]> {
        None
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ByteSource for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        let found = self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl ByteSource for Vec<u8> {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_exact_at(offset, buffer)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(self)
    }
}

/// A temporary file that is gone when the program is, however it ends.
pub struct SpoolFile {
    file: File,
    len: u64,
}

impl SpoolFile {
    /// Takes a file written by the caller; `len` is what was written.
    pub fn new(file: File, len: u64) -> SpoolFile {
        SpoolFile { file, len }
    }
}

impl ByteSource for SpoolFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read_file_exact_at(&self.file, offset, buffer)
    }
}

/// Positioned read, the same on all systems.
#[cfg(unix)]
pub fn read_file_exact_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Positioned read, the same on all systems.
#[cfg(windows)]
pub fn read_file_exact_at(file: &File, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    use std::os::windows::fs::FileExt as _;
    while !buffer.is_empty() {
        match file.seek_read(buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                offset += n as u64;
                buffer = &mut buffer[n..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Calls `visit` with consecutive windows of `range`; memory that is there already is passed whole.
pub fn for_each_window<E: From<io::Error>>(
    source: &(impl ByteSource + ?Sized),
    range: Range<u64>,
    mut visit: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    if range.start > range.end || range.end > source.len() {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    if let Some(all) = source.as_slice() {
        return visit(&all[range.start as usize..range.end as usize]);
    }
    let mut buffer = vec![0u8; WINDOW.min((range.end - range.start) as usize)];
    let mut at = range.start;
    while at < range.end {
        let n = (buffer.len() as u64).min(range.end - at) as usize;
        source.read_exact_at(at, &mut buffer[..n])?;
        visit(&buffer[..n])?;
        at += n as u64;
    }
    Ok(())
}

/// Takes a range out of a stream that passes in pieces.
pub struct Cut {
    range: Range<u64>,
    at: u64,
}

impl Cut {
    /// `None`: everything.
    pub fn new(range: Option<Range<u64>>) -> Cut {
        Cut { range: range.unwrap_or(0..u64::MAX), at: 0 }
    }

    /// What of the next piece lies in the range.
    pub fn of<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        let start = self.at;
        self.at += piece.len() as u64;
        let within = |offset: u64| offset.saturating_sub(start).min(piece.len() as u64) as usize;
        let (from, to) = (within(self.range.start), within(self.range.end));
        piece.get(from..to).unwrap_or_default()
    }
}

/// A copy of `range`; the caller has bounded its length.
pub fn read_range(source: &(impl ByteSource + ?Sized), range: Range<u64>) -> io::Result<Vec<u8>> {
    if range.start > range.end || range.end > source.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut out = vec![0u8; (range.end - range.start) as usize];
    source.read_exact_at(range.start, &mut out)?;
    Ok(out)
}
