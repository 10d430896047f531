//! A mail while it is copied from its file: hashed as it passes, in memory until it outgrows that, then in a nameless
//! file. From then on the file that it came from may change as it likes.

use std::fs::File;
use std::io::{self, Write as _};

use tokio::sync::OwnedSemaphorePermit;

use super::{Options, Stop};
use crate::base::bytes::{SpoolFile, WINDOW};
use crate::base::digest::{Digest, Hasher};
use crate::mail::header::fields;
use crate::sources::ItemBytes;

/// So much of a mail is kept at hand: its header, as far as it is looked at here.
const HEAD_BYTES: usize = 64 * 1024;

pub(super) struct Copy<'o> {
    options: &'o Options,
    head: Vec<u8>,
    held: Vec<u8>,
    file: Option<File>,
    hasher: Hasher,
    len: u64,
}

impl<'o> Copy<'o> {
    pub fn new(options: &'o Options) -> Copy<'o> {
        Copy { options, head: Vec::new(), held: Vec::new(), file: None, hasher: Hasher::new(), len: 0 }
    }

    pub fn put(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.len += bytes.len() as u64;
        if self.is_too_long() {
            (self.held, self.file) = (Vec::new(), None);
            return Ok(());
        }
        self.hasher.update(bytes);
        let room = HEAD_BYTES.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        self.held.extend_from_slice(bytes);
        let most = if self.file.is_some() { WINDOW } else { self.options.memory_bytes_max };
        if self.held.len() > most { self.spill().map_err(Stop::Spool) } else { Ok(()) }
    }

    fn spill(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile_in(&self.options.spool_dir)?),
        };
        file.write_all(&self.held)?;
        // Small from now on.
        self.held = Vec::with_capacity(WINDOW * 2);
        Ok(())
    }

    /// The beginning of what was put.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_too_long(&self) -> bool {
        self.len > self.options.mail_bytes_max
    }

    pub fn finish(mut self) -> Result<Copied, Stop> {
        if self.file.is_some() && !self.held.is_empty() {
            self.spill().map_err(Stop::Spool)?;
        }
        let Copy { head, held, file, hasher, len, .. } = self;
        let bytes = match file {
            Some(file) => Bytes::Spool(SpoolFile::new(file, len)),
            None => Bytes::Memory(held),
        };
        Ok(Copied { bytes, sha256: hasher.finish(), len, head })
    }
}

/// A mail, whole.
pub struct Copied {
    bytes: Bytes,
    pub sha256: Digest,
    pub len: u64,
    head: Vec<u8>,
}

enum Bytes {
    Memory(Vec<u8>),
    Spool(SpoolFile),
}

impl Copied {
    pub fn into_item(self, permit: Option<OwnedSemaphorePermit>) -> ItemBytes {
        match self.bytes {
            Bytes::Memory(bytes) => ItemBytes::memory(bytes, permit),
            Bytes::Spool(file) => ItemBytes::spool(file, permit),
        }
    }

    /// Values of a header field, as far as the header was kept at hand.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        fields(&self.head).filter(move |field| field.is(name)).map(|field| field.value)
    }
}
