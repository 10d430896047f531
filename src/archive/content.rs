//! Putting items and messages together from their chunks, one chunk at a time.
//!
//! Must never: hand bytes over as whole that are not; every way through here ends with a comparison by
//! SHA-256, and an error means that what was written so far is to be thrown away.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use super::catalogue::{Catalogue, Place};
use super::error::{ArchiveError, ErrorKind, Result, Tried as _};
use super::frame::Kind;
use super::pack::Packs;
use super::record::{ChunkRef, ItemRecord, Record, Twin};
use crate::base::bytes::Cut;
use crate::base::digest::{Digest, Hasher};
use crate::mail::transfer::{Decoder, Encoding};

/// An item's record as the latest decoding of it says.
pub(super) fn item_record(catalogue: &Catalogue, packs: &mut Packs, id: u64) -> Result<ItemRecord> {
    let place = catalogue
        .item_place(id)?
        .ok_or_else(|| ArchiveError::new(ErrorKind::Unusable, format!("there is no item {id} in the archive")))?;
    let item = match packs.record(place)? {
        Record::Item(item) if item.item == id => item,
        _ => return Err(another_record(place, &format!("item {id}"))),
    };
    let Some(place) = catalogue.decode_place(id)? else { return Ok(item) };
    match packs.record(place)? {
        Record::Decode(decode) if decode.decode == id => Ok(item.decoded_anew(decode)),
        _ => Err(another_record(place, &format!("the decoding of item {id}"))),
    }
}

fn another_record(place: Place, what: &str) -> ArchiveError {
    ArchiveError::damaged(format!("pack {:06} holds another record than {what} at byte {}", place.pack, place.offset))
}

/// The bytes of a chunk, tested.
pub(super) fn chunk(catalogue: &Catalogue, packs: &mut Packs, chunk: &ChunkRef) -> Result<Vec<u8>> {
    let place = catalogue
        .chunk(&chunk.sha256)?
        .ok_or_else(|| ArchiveError::damaged(format!("chunk {} is not in the catalogue", chunk.sha256)))?;
    let (head, payload) = packs.payload(place)?;
    // The payload fits to its header; that it is the one that was asked for is another question.
    if head.kind != Kind::Chunk || head.payload != chunk.sha256 || head.raw_len != chunk.bytes {
        return Err(ArchiveError::damaged(format!(
            "pack {:06} holds something else than chunk {} at byte {}",
            place.pack, chunk.sha256, place.offset
        )));
    }
    Ok(payload)
}

/// Calls `sink` with the bytes of `range` of an item, chunk by chunk. The chunks come from `fetch`, which
/// has tested them.
pub(super) fn for_range<B: AsRef<[u8]>>(
    item: &ItemRecord,
    range: Range<u64>,
    fetch: &mut dyn FnMut(&ChunkRef) -> Result<B>,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    if range.start > range.end || range.end > item.size {
        return Err(ArchiveError::damaged(format!(
            "the message of item {} is said to end at byte {} of {}",
            item.item, range.end, item.size
        )));
    }
    let mut at = 0u64;
    for part in &item.chunks {
        let (start, end) = (at, at.saturating_add(part.bytes));
        at = end;
        let (from, to) = (range.start.max(start), range.end.min(end));
        if from < to {
            let bytes = fetch(part)?;
            let wanted = bytes.as_ref().get((from - start) as usize..(to - start) as usize);
            sink(wanted.ok_or_else(|| ArchiveError::damaged(format!("chunk {} is too short", part.sha256)))?)?;
        }
    }
    if at != item.size {
        return Err(ArchiveError::damaged(format!(
            "the chunks of item {} are {at} bytes long, the item {}",
            item.item, item.size
        )));
    }
    Ok(())
}

/// Writes the whole item, and proves it.
pub(super) fn write_item<B: AsRef<[u8]>>(
    item: &ItemRecord,
    fetch: &mut dyn FnMut(&ChunkRef) -> Result<B>,
    out: &mut dyn Write,
) -> Result<()> {
    let mut hasher = Hasher::new();
    for_range(item, 0..item.size, fetch, &mut |bytes| {
        hasher.update(bytes);
        put(out, bytes)
    })?;
    proved(item.item, "item", hasher.finish(), item.sha256)
}

/// Writes the original message out of its item, without the gateway's transfer encoding, and proves it.
pub(super) fn write_original<B: AsRef<[u8]>>(
    item: &ItemRecord,
    fetch: &mut dyn FnMut(&ChunkRef) -> Result<B>,
    out: &mut dyn Write,
) -> Result<()> {
    let Some(message) = &item.message else {
        return Err(ArchiveError::new(
            ErrorKind::Unusable,
            format!("item {} was not decoded; it can be written as it is only", item.item),
        ));
    };
    write_part(item, "message", &message.range, &message.transfer, message.sha256, fetch, out)
}

/// Writes the rights-protected message beside the item's message, and proves it.
pub(super) fn write_twin<B: AsRef<[u8]>>(
    item: &ItemRecord,
    twin: &Twin,
    fetch: &mut dyn FnMut(&ChunkRef) -> Result<B>,
    out: &mut dyn Write,
) -> Result<()> {
    write_part(item, "protected message", &twin.range, &twin.transfer, twin.sha256, fetch, out)
}

fn write_part<B: AsRef<[u8]>>(
    item: &ItemRecord,
    what: &str,
    range: &Range<u64>,
    transfer: &str,
    sha256: Digest,
    fetch: &mut dyn FnMut(&ChunkRef) -> Result<B>,
    out: &mut dyn Write,
) -> Result<()> {
    let mut unpacked = Unpacked::named(transfer).ok_or_else(|| {
        ArchiveError::new(
            ErrorKind::Unusable,
            format!("item {} has the transfer encoding {transfer:?}, which this version does not know", item.item),
        )
    })?;
    let mut hasher = Hasher::new();
    for_range(item, range.clone(), fetch, &mut |bytes| {
        let bytes = unpacked.push(bytes);
        hasher.update(bytes);
        put(out, bytes)
    })?;
    let bytes = unpacked.finish();
    hasher.update(bytes);
    put(out, bytes)?;
    proved(item.item, &format!("{what} in item"), hasher.finish(), sha256)
}

fn put(out: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes).tried("write", Path::new("the output"))
}

pub(super) fn proved(item: u64, what: &str, found: Digest, recorded: Digest) -> Result<()> {
    if found == recorded {
        return Ok(());
    }
    Err(ArchiveError::damaged(format!("the {what} {item} has the SHA-256 {found}, recorded is {recorded}")))
}

/// A range of an item on its way to the message that it holds.
pub(super) struct Unpacked {
    decoder: Decoder,
    decoded: Vec<u8>,
    cut: Cut,
}

impl Unpacked {
    /// For the names in [`super::record::StoredMessage`]: those only, another one is not guessed at.
    pub fn named(transfer: &str) -> Option<Unpacked> {
        let (name, inside) = match transfer.split_once(' ') {
            Some((name, inside)) => {
                let (start, end) = inside.split_once("..")?;
                (name, Some(start.parse().ok()?..end.parse().ok()?))
            }
            None => (transfer, None),
        };
        let encoding = match (name, &inside) {
            ("identity", None) => Encoding::Identity,
            ("base64", _) => Encoding::Base64,
            ("quoted-printable", _) => Encoding::QuotedPrintable,
            _ => return None,
        };
        Some(Unpacked { decoder: Decoder::new(encoding), decoded: Vec::new(), cut: Cut::new(inside) })
    }

    /// What the next bytes of the range add to the message.
    pub fn push<'s>(&'s mut self, bytes: &'s [u8]) -> &'s [u8] {
        if let Decoder::Identity = self.decoder {
            return bytes;
        }
        self.decoded.clear();
        self.decoder.push(bytes, &mut self.decoded);
        self.cut.of(&self.decoded)
    }

    /// What was held back.
    pub fn finish(&mut self) -> &[u8] {
        self.decoded.clear();
        std::mem::replace(&mut self.decoder, Decoder::Identity).finish(&mut self.decoded);
        self.cut.of(&self.decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(transfer: &str, pieces: &[&str]) -> Option<String> {
        let mut unpacked = Unpacked::named(transfer)?;
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(unpacked.push(piece.as_bytes()));
        }
        out.extend_from_slice(unpacked.finish());
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_message_is_all_of_its_range_or_some_of_what_it_decodes_to() {
        let coded = ["aGVs", "bG8gd", "29ybGQ="];
        assert_eq!(unpacked("identity", &coded).unwrap(), coded.concat());
        assert_eq!(unpacked("base64", &coded).unwrap(), "hello world");
        for (transfer, message) in
            [("base64 0..5", "hello"), ("base64 4..8", "o wo"), ("base64 6..99", "world"), ("base64 3..3", "")]
        {
            assert_eq!(unpacked(transfer, &coded).unwrap(), message, "{transfer}");
        }
        assert_eq!(unpacked("quoted-printable 1..3", &["a=3", "Db", "c"]).unwrap(), "=b");
        for unknown in
            ["", "rot13", "base64 ", "base64 3", "base64 a..b", "base64 1..2 3", "identity 1..2", "base64  1..2"]
        {
            assert_eq!(unpacked(unknown, &coded), None, "{unknown}");
        }
    }
}
