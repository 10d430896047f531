//! An archived item, read back to be decoded anew.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use crate::archive::{ArchiveError, ItemRecord, Provenance, Reader};
use crate::base::bytes::{ByteSource, SpoolFile};
use jiff::Timestamp;

/// A longer item is read through a temporary file.
const MEMORY_BYTES_MAX: u64 = 4 * 1024 * 1024;

pub enum Bytes {
    Memory(Vec<u8>),
    Spooled(SpoolFile),
}

impl ByteSource for Bytes {
    fn len(&self) -> u64 {
        match self {
            Bytes::Memory(bytes) => ByteSource::len(bytes),
            Bytes::Spooled(file) => file.len(),
        }
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Bytes::Memory(bytes) => bytes.read_exact_at(offset, buffer),
            Bytes::Spooled(file) => file.read_exact_at(offset, buffer),
        }
    }

    fn as_slice(&self) -> Option<&[u8]> {
        match self {
            Bytes::Memory(bytes) => Some(bytes),
            Bytes::Spooled(_) => None,
        }
    }
}

/// What is needed to decide about an item anew.
pub struct Archived {
    pub record: ItemRecord,
    pub bytes: Bytes,
    /// Where it was first seen.
    pub first: Option<Provenance>,
}

impl Archived {
    /// `spool` takes what is large.
    pub fn read(reader: &Reader, item: u64, spool: &Path) -> Result<Archived, ArchiveError> {
        let record = reader.item(item)?;
        let first = reader.provenance(item)?.into_iter().next();
        let bytes = if record.size <= MEMORY_BYTES_MAX {
            let mut bytes = Vec::with_capacity(record.size as usize);
            reader.item_bytes(item, &mut bytes)?;
            Bytes::Memory(bytes)
        } else {
            let io = |error: io::Error| ArchiveError::io("write a temporary file in", spool, &error);
            let file = tempfile::tempfile_in(spool).map_err(io)?;
            let mut out = BufWriter::new(file);
            reader.item_bytes(item, &mut out)?;
            out.flush().map_err(io)?;
            let file: File = out.into_inner().map_err(|error| io(error.into_error()))?;
            Bytes::Spooled(SpoolFile::new(file, record.size))
        };
        Ok(Archived { record, bytes, first })
    }

    /// When it came in: by then the owners of addresses count.
    pub fn came_in(&self) -> Timestamp {
        let dated = self.first.as_ref().and_then(|first| super::rules::dated(&first.date));
        dated.unwrap_or(self.record.fetched)
    }
}
