//! From the bytes of an item to chunks that are ready to be written: cut, hashed, compressed.
//!
//! Runs on the decoders' threads, away from the writer. Nothing here touches a file but the item's own
//! bytes; whether a chunk is already in the archive is asked of [`KnownChunks`].

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::catalogue::Catalogue;
use super::error::{ArchiveError, ErrorKind, Result};
use super::frame::{CHUNK_BYTES_MAX, Encoder, Framed, Kind};
use super::record::ChunkRef;
use crate::base::bytes::{ByteSource, for_each_window};
use crate::base::digest::{Digest, Hasher};

/// Leaves shorter than this are not cut out: their bookkeeping would cost more than it saves.
pub const LEAF_BYTES_MIN: u64 = 16 * 1024;

/// A chunk on its way to the writer; `framed` is `None` when the archive has it.
pub struct PreparedChunk {
    pub chunk: ChunkRef,
    pub framed: Option<Framed>,
}

/// An item on its way to the writer.
pub struct PreparedItem {
    pub sha256: Digest,
    pub size: u64,
    pub chunks: Vec<PreparedChunk>,
}

/// Which chunks the archive has, for the encoders: a hint that saves compressing, the writer decides.
#[derive(Clone)]
pub struct KnownChunks(Arc<Inner>);

struct Inner {
    /// Written in the open batch, not yet visible to `reader`.
    batch: Mutex<HashSet<Digest>>,
    reader: Mutex<Catalogue>,
}

impl KnownChunks {
    pub(super) fn new(reader: Catalogue) -> KnownChunks {
        KnownChunks(Arc::new(Inner { batch: Mutex::default(), reader: Mutex::new(reader) }))
    }

    pub(super) fn written(&self, chunk: Digest) {
        lock(&self.0.batch).insert(chunk);
    }

    /// The batch is committed: the catalogue shows its chunks from now on.
    pub(super) fn committed(&self) {
        lock(&self.0.batch).clear();
    }

    pub(super) fn release_memory(&self) -> Result<()> {
        lock(&self.0.reader).release_memory()
    }

    fn has(&self, chunk: &Digest) -> bool {
        // The batch first: a commit between the two questions moves a chunk from there to the catalogue.
        lock(&self.0.batch).contains(chunk) || matches!(lock(&self.0.reader).chunk(chunk), Ok(Some(_)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Where an item is cut: rising, gapless, each range at most [`CHUNK_BYTES_MAX`] long.
pub fn cut(size: u64, leaves: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    let push = |from: u64, to: u64, ranges: &mut Vec<Range<u64>>| {
        let mut at = from;
        while at < to {
            let end = to.min(at + CHUNK_BYTES_MAX);
            ranges.push(at..end);
            at = end;
        }
    };
    for leaf in leaves {
        let usable = leaf.start >= at && leaf.end <= size && leaf.start < leaf.end;
        if usable && leaf.end - leaf.start >= LEAF_BYTES_MIN {
            push(at, leaf.start, &mut ranges);
            push(leaf.start, leaf.end, &mut ranges);
            at = leaf.end;
        }
    }
    push(at, size, &mut ranges);
    ranges
}

/// SHA-256 of a whole item.
pub fn sha256(item: &dyn ByteSource) -> std::io::Result<Digest> {
    let mut hasher = Hasher::new();
    for_each_window::<std::io::Error>(item, 0..item.len(), |window| {
        hasher.update(window);
        Ok(())
    })?;
    Ok(hasher.finish())
}

/// Cuts, hashes and compresses. With `stream`, each new chunk is handed over at once instead of being
/// kept (for items that are larger than memory should hold).
pub fn prepare(
    item: &dyn ByteSource,
    sha256: Digest,
    leaves: &[Range<u64>],
    known: &KnownChunks,
    encoder: &mut Encoder,
    mut stream: Option<&mut dyn FnMut(PreparedChunk) -> Result<()>>,
) -> Result<PreparedItem> {
    let failed = |error: std::io::Error| {
        ArchiveError::new(ErrorKind::Failed, format!("cannot read an item that was downloaded: {error}"))
    };
    let size = item.len();
    let ranges = cut(size, leaves);
    let mut chunks = Vec::with_capacity(ranges.len());
    let mut buffer = Vec::new();
    for range in ranges {
        let bytes: &[u8] = match item.as_slice() {
            Some(all) => &all[range.start as usize..range.end as usize],
            None => {
                buffer.resize((range.end - range.start) as usize, 0);
                item.read_exact_at(range.start, &mut buffer).map_err(failed)?;
                &buffer
            }
        };
        let digest = if bytes.len() as u64 == size { sha256 } else { Digest::of(bytes) };
        let chunk = ChunkRef { sha256: digest, bytes: bytes.len() as u64 };
        let framed =
            if known.has(&digest) { None } else { Some(encoder.frame_of(Kind::Chunk, bytes, digest).map_err(failed)?) };
        let prepared = PreparedChunk { chunk, framed };
        match &mut stream {
            Some(hand_over) if prepared.framed.is_some() => {
                hand_over(prepared)?;
                chunks.push(PreparedChunk { chunk, framed: None });
            }
            _ => chunks.push(prepared),
        }
    }
    Ok(PreparedItem { sha256, size, chunks })
}

#[cfg(test)]
// A single range is what is meant: one leaf.
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    fn check(size: u64, leaves: &[Range<u64>]) -> Vec<Range<u64>> {
        let ranges = cut(size, leaves);
        let mut at = 0;
        for range in &ranges {
            assert_eq!(range.start, at);
            assert!(range.end > range.start && range.end - range.start <= CHUNK_BYTES_MAX);
            at = range.end;
        }
        assert_eq!(at, size);
        ranges
    }

    #[test]
    fn cuts_are_gapless_whatever_the_leaves_say() {
        assert_eq!(check(0, &[]), []);
        assert_eq!(check(100, &[]), [0..100]);
        assert_eq!(check(100_000, &[1000..50_000, 50_100..50_200]), [0..1000, 1000..50_000, 50_000..100_000]);
        check(5_000_000, &[10..4_000_000]);
        // Overlapping, reversed and too long ranges come from no scanner of ours, and do no harm.
        let reversed = std::ops::Range { start: 90_000, end: 20_000 };
        check(100_000, &[reversed, 0..70_000, 30_000..90_000, 80_000..200_000]);
    }

    #[test]
    fn a_recurring_attachment_is_cut_alike_in_different_items() {
        let a = cut(100_000, &[500..90_500]);
        let b = cut(120_000, &[9_000..99_000]);
        assert!(a.contains(&(500..90_500)) && b.contains(&(9_000..99_000)));
    }
}
