//! Putting items and messages together from their chunks, one chunk at a time.
//!
//! Must never: hand bytes over as whole that are not; every way through here ends with a comparison by
//! SHA-256, and an error means that what was written so far is to be thrown away.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::catalogue::Catalogue;
use super::error::{ArchiveError, Result, Tried as _};
use super::frame::Kind;
use super::pack::Packs;
use super::record::{ChunkRef, ItemRecord};
use crate::base::digest::{Digest, Hasher};

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
            super::error::ErrorKind::Unusable,
            format!("item {} was not decoded; it can be written as it is only", item.item),
        ));
    };
    let mut decoder = Transfer::new(&message.transfer).ok_or_else(|| {
        ArchiveError::new(
            super::error::ErrorKind::Unusable,
            format!(
                "item {} has the transfer encoding {:?}, which this version does not know",
                item.item, message.transfer
            ),
        )
    })?;
    let mut hasher = Hasher::new();
    let mut decoded = Vec::new();
    for_range(item, message.range.clone(), fetch, &mut |bytes| {
        if let Transfer::Identity = decoder {
            hasher.update(bytes);
            return put(out, bytes);
        }
        decoded.clear();
        decoder.push(bytes, &mut decoded);
        hasher.update(&decoded);
        put(out, &decoded)
    })?;
    decoded.clear();
    decoder.finish(&mut decoded);
    hasher.update(&decoded);
    put(out, &decoded)?;
    proved(item.item, "message in item", hasher.finish(), message.sha256)
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

/// Takes a transfer encoding off, tolerantly and in pieces. The SHA-256 behind it says whether it came
/// out as it did when the item was archived.
pub(super) enum Transfer {
    Identity,
    /// Digits that do not make a group of four yet.
    Base64(Vec<u8>),
    /// A `=` and what followed it, when it may be an escape that goes on in the next piece.
    QuotedPrintable(Vec<u8>),
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Transfer {
    pub(super) fn new(name: &str) -> Option<Transfer> {
        match name {
            "identity" => Some(Transfer::Identity),
            "base64" => Some(Transfer::Base64(Vec::new())),
            "quoted-printable" => Some(Transfer::QuotedPrintable(Vec::new())),
            _ => None,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Transfer::Identity => out.extend_from_slice(bytes),
            Transfer::Base64(digits) => {
                let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
                digits.extend(bytes.iter().copied().filter(is_digit));
                let whole = digits.len() / 4 * 4;
                decode_groups(&digits[..whole], out);
                digits.drain(..whole);
            }
            Transfer::QuotedPrintable(open) => {
                for &byte in bytes {
                    quoted_printable(open, byte, out);
                }
            }
        }
    }

    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Transfer::Identity => {}
            Transfer::Base64(digits) => {
                decode_groups(digits, out);
                digits.clear();
            }
            Transfer::QuotedPrintable(open) => {
                // A lone `=` at the end is a soft line break whose line end was cut off.
                if open.as_slice() != b"=" && open.as_slice() != b"=\r" {
                    out.extend_from_slice(open);
                }
                open.clear();
            }
        }
    }
}

fn decode_groups(digits: &[u8], out: &mut Vec<u8>) {
    // Only digits get here; what can be wrong is a single one left over, which carries no byte.
    let usable = if digits.len() % 4 == 1 { digits.len() - 1 } else { digits.len() };
    if let Ok(bytes) = BASE64.decode(&digits[..usable]) {
        out.extend_from_slice(&bytes);
    }
}

fn quoted_printable(open: &mut Vec<u8>, byte: u8, out: &mut Vec<u8>) {
    match (open.as_slice(), byte) {
        ([], b'=') => open.push(byte),
        ([], _) => out.push(byte),
        ([_], b'\n') | ([_, b'\r'], b'\n') => open.clear(),
        ([_], b'\r') => open.push(byte),
        ([_], _) if byte.is_ascii_hexdigit() => open.push(byte),
        ([_, high], _) if high.is_ascii_hexdigit() && byte.is_ascii_hexdigit() => {
            let value = |digit: u8| (digit as char).to_digit(16).unwrap_or(0) as u8;
            out.push(value(*high) * 16 + value(byte));
            open.clear();
        }
        _ => {
            // No escape after all: it stays as it is written.
            out.append(open);
            quoted_printable(open, byte, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(name: &str, text: &[u8], piece: usize) -> Vec<u8> {
        let mut decoder = Transfer::new(name).unwrap();
        let mut out = Vec::new();
        for part in text.chunks(piece) {
            decoder.push(part, &mut out);
        }
        decoder.finish(&mut out);
        out
    }

    #[test]
    fn a_transfer_encoding_comes_off_however_it_is_cut_into_pieces() {
        for piece in 1..9 {
            assert_eq!(decode("base64", b"aGVs\r\nbG8g\r\nd29y bGQ=\r\n", piece), b"hello world");
            assert_eq!(decode("base64", b"aGVsbG8gd29ybGQ", piece), b"hello world");
            let text = b"a=20b=\r\nc=3d=3D=zz =\ngr=C3=BC=C3=9f =";
            assert_eq!(decode("quoted-printable", text, piece), "a bc===zz grüß ".as_bytes());
            assert_eq!(decode("identity", b"as it is", piece), b"as it is");
        }
    }
}
