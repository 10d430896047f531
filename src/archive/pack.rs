//! Reading records of packs by place, and scanning packs from end to end.
//!
//! Reading only: nothing here changes a file.

use std::collections::VecDeque;

use super::catalogue::Place;
use super::error::{ArchiveError, Result, Tried as _};
use super::frame::{CHUNK_BYTES_MAX, FrameError, HEAD_LEN, HEAD_MAGIC, Head, INDEX_MAGIC, Kind};
use super::layout::Layout;
use super::record::Record;
use crate::base::digest::Hasher;
use crate::base::fsio::{Fs, FsFile};

/// Read handles of packs; a few are kept open.
pub struct Packs {
    layout: Layout,
    open: VecDeque<(u64, FsFile)>,
    /// Used again and again while items are proved.
    stored: Vec<u8>,
    payload: Vec<u8>,
}

const OPEN_MAX: usize = 16;

impl Packs {
    pub fn new(layout: Layout) -> Packs {
        Packs { layout, open: VecDeque::new(), stored: Vec::new(), payload: Vec::new() }
    }

    pub fn file(&mut self, pack: u64) -> Result<&FsFile> {
        if let Some(at) = self.open.iter().position(|(no, _)| *no == pack) {
            if at != 0
                && let Some(entry) = self.open.remove(at)
            {
                self.open.push_front(entry);
            }
        } else {
            let path = self.layout.pack(pack);
            let file = match Fs::real().open_read_only(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(ArchiveError::damaged(format!("pack {pack:06} is missing ({})", path.display())));
                }
                Err(error) => return Err(ArchiveError::io("open", &path, &error)),
            };
            self.open.truncate(OPEN_MAX - 1);
            self.open.push_front((pack, file));
        }
        Ok(&self.open[0].1)
    }

    /// Forgets a handle, of a file that is replaced or removed.
    pub fn close(&mut self, pack: u64) {
        self.open.retain(|(no, _)| *no != pack);
    }

    /// The payload of the record at `place`, tested by its SHA-256.
    pub fn payload(&mut self, place: Place) -> Result<(Head, Vec<u8>)> {
        let (head, stored) = self.stored(place)?;
        let payload = head.open(&stored).map_err(|error| damaged_at(place.pack, place.offset, &error))?;
        Ok((head, payload))
    }

    /// The payload of a chunk, tested by the checksum of its stored bytes only: for a caller that hashes what it gets.
    pub fn chunk_to_hash(&mut self, place: Place) -> Result<&[u8]> {
        let damaged = |error: FrameError| damaged_at(place.pack, place.offset, &error);
        // What the catalogue says of its length is not believed beyond what a chunk can have.
        if place.stored_len > 2 * CHUNK_BYTES_MAX {
            return Err(damaged(FrameError::Header));
        }
        let mut stored = std::mem::take(&mut self.stored);
        stored.resize(HEAD_LEN + place.stored_len as usize, 0);
        let path = self.layout.pack(place.pack);
        let read = self.file(place.pack)?.read_exact_at(place.offset, &mut stored);
        read.map_err(|error| match short("chunk")(error) {
            ScanError::Io(error) => ArchiveError::io("read", &path, &error),
            ScanError::Frame(error) => damaged(error),
        })?;
        let (head, body) = stored.split_at(HEAD_LEN);
        let head = Head::decode(head).map_err(damaged)?;
        head.unpack_into(body, &mut self.payload).map_err(damaged)?;
        self.stored = stored;
        Ok(&self.payload)
    }

    /// Gives back what memory a busy time took.
    pub fn release_memory(&mut self) {
        (self.stored, self.payload) = (Vec::new(), Vec::new());
    }

    fn stored(&mut self, place: Place) -> Result<(Head, Vec<u8>)> {
        let path = self.layout.pack(place.pack);
        let file = self.file(place.pack)?;
        let head = match read_head(file, place.offset) {
            Ok(head) => head,
            Err(ScanError::Io(error)) => return Err(ArchiveError::io("read", &path, &error)),
            Err(ScanError::Frame(error)) => return Err(damaged_at(place.pack, place.offset, &error)),
        };
        let stored = read_stored(file, place.offset, &head).tried("read", &path)?;
        Ok((head, stored))
    }

    pub fn record(&mut self, place: Place) -> Result<Record> {
        let (head, payload) = self.payload(place)?;
        Record::from_payload(head.kind, &payload).map_err(|error| damaged_at(place.pack, place.offset, &error))
    }
}

pub fn damaged_at(pack: u64, offset: u64, error: &FrameError) -> ArchiveError {
    ArchiveError::damaged(format!("pack {pack:06} is damaged at byte {offset}: {error}"))
}

#[derive(Debug)]
pub enum ScanError {
    Io(std::io::Error),
    Frame(FrameError),
}

impl From<FrameError> for ScanError {
    fn from(error: FrameError) -> ScanError {
        ScanError::Frame(error)
    }
}

/// The end of the file is damage here (a record was expected), any other error is the disk's.
fn short(kind: &'static str) -> impl Fn(std::io::Error) -> ScanError {
    move |error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => ScanError::Frame(FrameError::Short(kind)),
        _ => ScanError::Io(error),
    }
}

pub fn read_head(file: &FsFile, offset: u64) -> std::result::Result<Head, ScanError> {
    let mut bytes = [0u8; HEAD_LEN];
    file.read_exact_at(offset, &mut bytes).map_err(short("next"))?;
    Ok(Head::decode(&bytes)?)
}

fn read_stored(file: &FsFile, offset: u64, head: &Head) -> std::io::Result<Vec<u8>> {
    let mut stored = vec![0u8; head.stored_len as usize];
    file.read_exact_at(offset + HEAD_LEN as u64, &mut stored)?;
    Ok(stored)
}

/// One thing found in a pack.
pub enum Found {
    Chunk {
        place: Place,
        head: Head,
        /// Of proved chunks.
        payload: Option<Vec<u8>>,
    },
    Record {
        place: Place,
        head: Head,
        record: Box<Record>,
    },
    /// The index of a sealed pack, its frame's body.
    Index {
        offset: u64,
        body: Vec<u8>,
    },
    /// Nothing readable from `offset` to `next` (or to the end).
    Damage {
        offset: u64,
        error: FrameError,
        next: Option<u64>,
    },
}

/// Goes through a pack record by record, and over damage to the next readable header.
pub struct Scan<'a> {
    file: &'a FsFile,
    pack: u64,
    pub at: u64,
    pub end: u64,
    /// Chunks are decompressed and hashed too, not only their stored bytes tested.
    pub prove_chunks: bool,
    /// Sums up the bytes of all records that were read; of a scan from byte 0 and without damage, this is
    /// the SHA-256 that the seal holds.
    pub whole: Option<Hasher>,
}

impl<'a> Scan<'a> {
    /// From `at` to the file's end.
    pub fn new(file: &'a FsFile, pack: u64, at: u64) -> std::io::Result<Scan<'a>> {
        Ok(Scan { file, pack, at, end: file.len()?, prove_chunks: false, whole: None })
    }

    pub fn next(&mut self) -> Result<Option<Found>> {
        if self.at >= self.end {
            return Ok(None);
        }
        let offset = self.at;
        match self.read(offset) {
            Ok((found, next)) => {
                self.at = next;
                Ok(Some(found))
            }
            Err(ScanError::Io(error)) => Err(ArchiveError::io("read", self.file.path(), &error)),
            Err(ScanError::Frame(error)) => {
                let next = self.resync(offset).tried("read", self.file.path())?;
                self.at = next.unwrap_or(self.end);
                Ok(Some(Found::Damage { offset, error, next }))
            }
        }
    }

    fn read(&mut self, offset: u64) -> std::result::Result<(Found, u64), ScanError> {
        let mut frame = [0u8; 8];
        self.file.read_exact_at(offset, &mut frame).map_err(short("next"))?;
        if frame[..4] == INDEX_MAGIC.to_le_bytes() {
            let len = u64::from(u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]]));
            let end = offset + 8 + len;
            if end > self.end {
                return Err(FrameError::Short("index").into());
            }
            let mut body = vec![0u8; len as usize];
            self.file.read_exact_at(offset + 8, &mut body).map_err(short("index"))?;
            return Ok((Found::Index { offset, body }, end));
        }
        let head = read_head(self.file, offset)?;
        let next = offset + head.record_len();
        if next > self.end {
            return Err(FrameError::Short(head.kind.name()).into());
        }
        let place = Place { pack: self.pack, offset, stored_len: head.stored_len };
        let stored = read_stored(self.file, offset, &head).map_err(short(head.kind.name()))?;
        let found = if head.kind == Kind::Chunk {
            let payload = if self.prove_chunks { Some(head.open(&stored)?) } else { None };
            if payload.is_none() && crc32fast::hash(&stored) != head.stored_crc {
                return Err(FrameError::Checksum("chunk").into());
            }
            Found::Chunk { place, head, payload }
        } else {
            let record = Box::new(Record::from_payload(head.kind, &head.open(&stored)?)?);
            Found::Record { place, head, record }
        };
        if let Some(whole) = &mut self.whole
            && head.kind != Kind::Seal
        {
            // A header has one form only: what was read is what it encodes to.
            whole.update(&head.encode());
            whole.update(&stored);
        }
        Ok((found, next))
    }

    /// Where the next record with a valid header starts. When only the payload of the record at `offset` is
    /// damaged, its header still tells; otherwise the bytes are searched.
    fn resync(&self, offset: u64) -> std::io::Result<Option<u64>> {
        let mut at = offset + 1;
        if let Ok(head) = read_head(self.file, offset) {
            let next = offset + head.record_len();
            if next == self.end || (next < self.end && self.starts_frame(next)) {
                return Ok(Some(next));
            }
            // The header has its own checksum: its record is not searched, it may hold a mail with a pack
            // as an attachment. (Of a record that was cut short, everything that is left is searched.)
            if next < self.end {
                at = next;
            }
        }
        let mut buffer = vec![0u8; 256 * 1024];
        while at + 8 <= self.end {
            let n = (buffer.len() as u64).min(self.end - at) as usize;
            self.file.read_exact_at(at, &mut buffer[..n])?;
            for i in 0..n.saturating_sub(3) {
                let magic = &buffer[i..i + 4];
                let looks = magic == HEAD_MAGIC.to_le_bytes() || magic == INDEX_MAGIC.to_le_bytes();
                if looks && self.starts_frame(at + i as u64) {
                    return Ok(Some(at + i as u64));
                }
            }
            // The last three bytes may begin a magic number that goes on in the next window.
            at += (n.max(4) - 3) as u64;
        }
        Ok(None)
    }

    fn starts_frame(&self, offset: u64) -> bool {
        let mut start = [0u8; 12];
        match self.file.read_exact_at(offset, &mut start) {
            Ok(()) if start[..4] == INDEX_MAGIC.to_le_bytes() => start[8..12] == *b"GPix",
            Ok(()) => read_head(self.file, offset).is_ok(),
            Err(_) => false,
        }
    }
}
