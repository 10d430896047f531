//! Framing of records in a pack; see `FORMAT.md` §1. Pure: bytes in, bytes out.
//!
//! Nothing that is read here is believed before its checksum was: lengths are bounded before anything is
//! allocated.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, ParamSwitch};

use crate::base::digest::{Digest, Hasher};

/// Magic of the skippable frame that carries a record header.
pub const HEAD_MAGIC: u32 = 0x184D_2A57;
/// Magic of the skippable frame that carries a sealed pack's index.
pub const INDEX_MAGIC: u32 = 0x184D_2A58;

const BODY_LEN: usize = 68;
/// A record header with its skippable frame's own eight bytes.
pub const HEAD_LEN: usize = 8 + BODY_LEN;

/// Longest content of one chunk.
pub const CHUNK_BYTES_MAX: u64 = 1024 * 1024;
/// Longest metadata payload: an envelope of 10^6 recipients fits.
pub const META_BYTES_MAX: u64 = 256 * 1024 * 1024;

const ZSTD_LEVEL: i32 = 3;
/// For content in which nothing recurs, which is most of what people attach: the search for repetitions gives up at once,
/// and what is left is the coding of the digits of base64.
const ZSTD_LEVEL_CODING_ONLY: i32 = -20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    Pack = 1,
    Chunk = 2,
    Item = 3,
    Epoch = 4,
    Sighting = 5,
    Filing = 6,
    Union = 7,
    Withdraw = 8,
    Disposition = 9,
    Deleted = 10,
    Person = 11,
    Event = 12,
    Commit = 13,
    Seal = 14,
    Decode = 15,
}

impl Kind {
    pub fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Pack,
            2 => Kind::Chunk,
            3 => Kind::Item,
            4 => Kind::Epoch,
            5 => Kind::Sighting,
            6 => Kind::Filing,
            7 => Kind::Union,
            8 => Kind::Withdraw,
            9 => Kind::Disposition,
            10 => Kind::Deleted,
            11 => Kind::Person,
            12 => Kind::Event,
            13 => Kind::Commit,
            14 => Kind::Seal,
            15 => Kind::Decode,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Pack => "pack",
            Kind::Chunk => "chunk",
            Kind::Item => "item",
            Kind::Epoch => "epoch",
            Kind::Sighting => "sighting",
            Kind::Filing => "filing",
            Kind::Union => "union",
            Kind::Withdraw => "withdraw",
            Kind::Disposition => "disposition",
            Kind::Deleted => "deleted",
            Kind::Person => "person",
            Kind::Event => "event",
            Kind::Commit => "commit",
            Kind::Seal => "seal",
            Kind::Decode => "decode",
        }
    }

    fn payload_bytes_max(self) -> u64 {
        if self == Kind::Chunk { CHUNK_BYTES_MAX } else { META_BYTES_MAX }
    }
}

/// A record header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub kind: Kind,
    pub raw_len: u64,
    pub stored_len: u64,
    pub payload: Digest,
    pub stored_crc: u32,
}

/// Why bytes are no record, in words that `verify` can print.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the record header is damaged")]
    Header,
    #[error("a record of type {0} or with features that this version does not know")]
    Unknown(u8),
    #[error("the {0} record ends beyond the end of the pack")]
    Short(&'static str),
    #[error("the stored bytes of the {0} record do not match their checksum")]
    Checksum(&'static str),
    #[error("the payload of the {0} record does not match its SHA-256")]
    Payload(&'static str),
    #[error("the payload of the {0} record cannot be decompressed")]
    Compression(&'static str),
    #[error("the {0} record cannot be understood: {1}")]
    Content(&'static str, String),
}

impl Head {
    pub fn encode(&self) -> [u8; HEAD_LEN] {
        let mut out = [0u8; HEAD_LEN];
        out[0..4].copy_from_slice(&HEAD_MAGIC.to_le_bytes());
        out[4..8].copy_from_slice(&(BODY_LEN as u32).to_le_bytes());
        let body = &mut out[8..];
        body[0..4].copy_from_slice(b"GPr1");
        body[4] = self.kind as u8;
        // 5: reserved; 6..8: features; 8..12: key id; all 0 in format 1.
        body[12..20].copy_from_slice(&self.raw_len.to_le_bytes());
        body[20..28].copy_from_slice(&self.stored_len.to_le_bytes());
        body[28..60].copy_from_slice(self.payload.as_bytes());
        body[60..64].copy_from_slice(&self.stored_crc.to_le_bytes());
        let crc = crc32fast::hash(&body[..64]);
        body[64..68].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header; `bytes` are the [`HEAD_LEN`] bytes at a record's start.
    pub fn decode(bytes: &[u8]) -> Result<Head, FrameError> {
        let bytes: &[u8; HEAD_LEN] = bytes.try_into().map_err(|_| FrameError::Header)?;
        let body = &bytes[8..];
        let right_frame = bytes[0..4] == HEAD_MAGIC.to_le_bytes()
            && bytes[4..8] == (BODY_LEN as u32).to_le_bytes()
            && &body[0..4] == b"GPr1"
            && body[64..68] == crc32fast::hash(&body[..64]).to_le_bytes();
        if !right_frame {
            return Err(FrameError::Header);
        }
        let kind = Kind::from_byte(body[4]).ok_or(FrameError::Unknown(body[4]))?;
        if body[5..12] != [0; 7] {
            return Err(FrameError::Unknown(body[4]));
        }
        let number = |at: usize| {
            let mut eight = [0u8; 8];
            eight.copy_from_slice(&body[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        let mut payload = [0u8; 32];
        payload.copy_from_slice(&body[28..60]);
        let head = Head {
            kind,
            raw_len: number(12),
            stored_len: number(20),
            payload: Digest(payload),
            stored_crc: u32::from_le_bytes([body[60], body[61], body[62], body[63]]),
        };
        // A frame is never much longer than its content; anything else is no header of ours.
        if head.raw_len > kind.payload_bytes_max() || head.stored_len > head.raw_len + head.raw_len / 64 + 4096 {
            return Err(FrameError::Header);
        }
        Ok(head)
    }

    /// The whole record's length in the pack.
    pub fn record_len(&self) -> u64 {
        HEAD_LEN as u64 + self.stored_len
    }

    /// What the commit chain holds of this record; independent of its stored form.
    pub fn record_digest(&self) -> Digest {
        record_digest(self.kind, self.raw_len, self.payload)
    }

    /// Tests the stored bytes and gives the payload, tested by its SHA-256.
    pub fn open(&self, stored: &[u8]) -> Result<Vec<u8>, FrameError> {
        let payload = self.unpack(stored)?;
        if Digest::of(&payload) != self.payload {
            return Err(FrameError::Payload(self.kind.name()));
        }
        Ok(payload)
    }

    fn unpack(&self, stored: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut payload = Vec::new();
        self.unpack_into(stored, &mut payload)?;
        Ok(payload)
    }

    /// Tests the stored bytes by their checksum and puts the payload in the place of what `payload` held, for a caller
    /// that hashes it anyway.
    pub fn unpack_into(&self, stored: &[u8], payload: &mut Vec<u8>) -> Result<(), FrameError> {
        let name = self.kind.name();
        if stored.len() as u64 != self.stored_len || crc32fast::hash(stored) != self.stored_crc {
            return Err(FrameError::Checksum(name));
        }
        payload.clear();
        payload.reserve(self.raw_len as usize);
        let done = DECOMPRESSOR.with_borrow_mut(|kept| {
            let decompressor = match kept {
                Some(decompressor) => decompressor,
                None => kept.insert(Decompressor::new()?),
            };
            decompressor.decompress_to_buffer(stored, payload)
        });
        done.map_err(|_| FrameError::Compression(name))?;
        if payload.len() as u64 != self.raw_len {
            return Err(FrameError::Payload(name));
        }
        Ok(())
    }
}

thread_local! {
    /// Its tables take longer to be set up than a small record takes to be unpacked.
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// A record ready to be written: compressed and summed up, away from the writer's thread.
pub struct Framed {
    pub head: Head,
    pub stored: Vec<u8>,
}

/// Compresses records; keeps zstd's working memory between them.
pub struct Encoder {
    usual: Compressor<'static>,
    coding_only: Compressor<'static>,
}

impl Encoder {
    pub fn new() -> std::io::Result<Encoder> {
        let compressor = |level| -> std::io::Result<Compressor<'static>> {
            let mut compressor = Compressor::new(level)?;
            compressor.include_checksum(false)?;
            compressor.include_contentsize(true)?;
            Ok(compressor)
        };
        let (usual, mut coding_only) = (compressor(ZSTD_LEVEL)?, compressor(ZSTD_LEVEL_CODING_ONLY)?);
        coding_only.set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Enable))?;
        Ok(Encoder { usual, coding_only })
    }

    pub fn frame(&mut self, kind: Kind, payload: &[u8]) -> std::io::Result<Framed> {
        let digest = Digest::of(payload);
        self.frame_of(kind, payload, digest)
    }

    /// The same, when the digest is known already.
    pub fn frame_of(&mut self, kind: Kind, payload: &[u8], digest: Digest) -> std::io::Result<Framed> {
        let compressor = if recurs(payload) { &mut self.usual } else { &mut self.coding_only };
        let stored = compressor.compress(payload)?;
        let head = Head {
            kind,
            raw_len: payload.len() as u64,
            stored_len: stored.len() as u64,
            payload: digest,
            stored_crc: crc32fast::hash(&stored),
        };
        Ok(Framed { head, stored })
    }
}

/// Whether anything is likely to recur in it, judged by samples: sequences of five bytes that a small table has seen
/// already. A wrong guess costs time or room, nothing else.
fn recurs(payload: &[u8]) -> bool {
    const SAMPLES: usize = 4;
    const SAMPLE: usize = 2048;
    const SLOTS: usize = 1 << 12;
    /// In base64 of random bytes it is one in about 10^5.
    const SEEN_MIN: u32 = 24;
    if payload.len() < 2 * SAMPLES * SAMPLE {
        return true;
    }
    let mut slots = [0u64; SLOTS];
    let mut seen = 0;
    let step = (payload.len() - SAMPLE) / (SAMPLES - 1);
    for sample in 0..SAMPLES {
        let from = sample * step;
        for window in payload[from..from + SAMPLE].windows(8) {
            let mut eight = [0u8; 8];
            eight.copy_from_slice(window);
            let five = u64::from_le_bytes(eight) << 24;
            let slot = (five.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - 12)) as usize;
            seen += u32::from(slots[slot] == five);
            slots[slot] = five;
        }
    }
    seen >= SEEN_MIN
}

/// `FORMAT.md` §3.
pub fn record_digest(kind: Kind, raw_len: u64, payload: Digest) -> Digest {
    Digest::of(format!("gatepost-record-1\n{}\n{raw_len}\n{payload}\n", kind as u8).as_bytes())
}

/// The hash of the commit before the first one.
pub fn genesis(archive: uuid::Uuid) -> Digest {
    Digest::of(format!("gatepost-archive-1\n{archive}\n").as_bytes())
}

/// The hash that a commit record carries; `FORMAT.md` §3.
pub fn commit_hash(seq: u64, previous: Digest, records: u64, batch: Digest, time: &str) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(format!("gatepost-commit-1\n{seq}\n{previous}\n{records}\n{batch}\n{time}\n").as_bytes());
    hasher.finish()
}

/// A record of a sealed pack: its type, its offset, the SHA-256 of its payload.
pub type IndexEntry = (Kind, u64, Digest);

/// The index of a sealed pack, as a skippable frame.
pub fn encode_index(entries: &[IndexEntry]) -> Vec<u8> {
    let mut body = Vec::with_capacity(12 + entries.len() * 41);
    body.extend_from_slice(b"GPix");
    body.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    for (kind, offset, digest) in entries {
        body.push(*kind as u8);
        body.extend_from_slice(&offset.to_le_bytes());
        body.extend_from_slice(digest.as_bytes());
    }
    let crc = crc32fast::hash(&body);
    body.extend_from_slice(&crc.to_le_bytes());
    let mut out = Vec::with_capacity(8 + body.len());
    out.extend_from_slice(&INDEX_MAGIC.to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&body);
    out
}

/// Tests an index frame's body (without the frame's own eight bytes).
pub fn decode_index(body: &[u8]) -> Option<Vec<(u8, u64, Digest)>> {
    let (content, crc) = body.split_at_checked(body.len().checked_sub(4)?)?;
    if crc != crc32fast::hash(content).to_le_bytes() || content.get(..4)? != b"GPix" {
        return None;
    }
    let entries = content.get(8..)?;
    let count = u32::from_le_bytes(content.get(4..8)?.try_into().ok()?) as usize;
    if entries.len() != count * 41 {
        return None;
    }
    entries
        .chunks_exact(41)
        .map(|entry| {
            let offset = u64::from_le_bytes(entry[1..9].try_into().ok()?);
            Some((entry[0], offset, Digest::from_slice(&entry[9..])?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_of_a_record_is_noticed() {
        let framed = Encoder::new().unwrap().frame(Kind::Chunk, b"From: anna@corp.example\r\n\r\nhello\r\n").unwrap();
        let mut record = framed.head.encode().to_vec();
        record.extend_from_slice(&framed.stored);
        let check = |record: &[u8]| {
            Head::decode(&record[..HEAD_LEN])
                .and_then(|head| record.get(HEAD_LEN..).ok_or(FrameError::Header).and_then(|stored| head.open(stored)))
        };
        assert!(check(&record).is_ok());
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_does_not_recur_is_still_coded_and_what_recurs_is_found() {
        use base64::Engine as _;
        let mut random = crate::demo::random::Random::new(5);
        let lines = |bytes: &[u8]| -> Vec<u8> {
            let text = base64::engine::general_purpose::STANDARD.encode(bytes);
            text.as_bytes().chunks(76).flat_map(|line| [line, b"\r\n"].concat()).collect()
        };
        let packed = lines(&random.bytes(60_000));
        let text: Vec<u8> = (0..2000).flat_map(|n| format!("{n} invoices of the company\r\n").into_bytes()).collect();
        assert!(!recurs(&packed) && recurs(&text) && recurs(&lines(&text)) && recurs(&packed[..1000]));
        let mut encoder = Encoder::new().unwrap();
        for payload in [packed, text.clone(), lines(&text), random.bytes(50_000), vec![0; 100_000]] {
            let framed = encoder.frame(Kind::Chunk, &payload).unwrap();
            assert_eq!(framed.head.open(&framed.stored).unwrap(), payload);
        }
        let share = |payload: &[u8], encoder: &mut Encoder| {
            encoder.frame(Kind::Chunk, payload).unwrap().stored.len() as f64 / payload.len() as f64
        };
        // Six of eight bits, and the line breaks.
        assert!(share(&lines(&random.bytes(60_000)), &mut encoder) < 0.79);
    }

    #[test]
    fn zstd_reads_a_record_and_passes_over_its_header() {
        let framed = Encoder::new().unwrap().frame(Kind::Event, b"\n{\"event\":\"test\"}\n").unwrap();
        let mut record = framed.head.encode().to_vec();
        record.extend_from_slice(&framed.stored);
        assert_eq!(zstd::decode_all(record.as_slice()).unwrap(), b"\n{\"event\":\"test\"}\n");
    }

    #[test]
    fn the_index_comes_back() {
        let entries = [(Kind::Chunk, 76, Digest::of(b"a")), (Kind::Commit, 1 << 40, Digest::of(b"b"))];
        let frame = encode_index(&entries);
        let back = decode_index(&frame[8..]).unwrap();
        assert_eq!(back[1], (13, 1 << 40, Digest::of(b"b")));
        assert_eq!(decode_index(&frame[8..frame.len() - 1]), None);
    }
}
