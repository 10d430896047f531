//! The archive: packs are the truth, the catalogue is derived from them.
//!
//! **Must** (a break is data loss): bytes are on stable storage, were put together again from what was
//! stored and compared by SHA-256, and stand with their filings in one durable commit before a [`Receipt`]
//! exists; archived bytes are never rewritten; unknown or damaged state stops, it is never replaced by an
//! empty one; a failed write or sync ends the writer.
//!
//! **Should** (a break is reported by `verify`, mended by `rebuild`): the catalogue agrees with the packs;
//! every chunk is referenced; no stray temporary file.
//!
//! The format is described in `FORMAT.md`, beside this file:
#![doc = include_str!("FORMAT.md")]

mod catalogue;
mod compare;
mod content;
mod core;
#[cfg(test)]
mod damage_tests;
mod encode;
mod error;
mod export;
mod frame;
mod history;
mod imports;
mod layout;
mod ledger;
mod pack;
mod read;
mod rebuild;
mod record;
mod recover;
mod redact;
mod refile;
pub mod search;
mod status;
#[cfg(test)]
mod test_support;
mod verify;
mod verify_items;
mod verify_pack;
mod walk;
mod writer;

pub use self::catalogue::Catalogue;
pub use self::core::{Committed, Core, Limits, Outcome, Receipt, Seen, Submission};
pub use self::encode::{KnownChunks, PreparedChunk, PreparedItem, prepare, sha256};
pub use self::error::{ArchiveError, ErrorKind, Result};
pub use self::export::{
    Difference, Entries, ExportCheck, ExportFailure, ExportOptions, ExportReport, ManifestEntry, Phase, Selection,
    Unwatched, VolumeLimits, Watch, export, verify_export,
};
pub use self::export::{Format as ExportFormat, Found as ExportFound, Kind as ExportKind};
pub use self::frame::Encoder;
pub use self::history::{AtGateway, Happened, Happening, History};
pub use self::imports::IMPORT;
pub use self::layout::Layout;
pub use self::ledger::{DeletePolicy, Epoch, EpochName, LastRun, Row};
pub use self::read::{Entry, Filter, PersonInfo, Reader, Shown, ShownFiling};
pub use self::rebuild::{RebuildReport, rebuild};
pub use self::record::{
    ChunkRef, DeletedHow, Disposition, Filing, Folder, Head, ItemRecord, PersonRecord, StoredMessage, Tenure, Twin,
};
pub use self::recover::OpenOptions;
pub use self::redact::{write_twin_without_bcc, write_without_bcc};
pub use self::refile::{Choice, Filed, Provenance, Reporter};
pub use self::status::{Attention, Decoding, Event, Gateway, Totals, Unsettled, Volume};
pub use self::verify::{Damage, VerifyOptions, VerifyReport, verify};
pub use self::walk::TornTail;
pub use self::writer::{Handle, Writer};

/// Any bytes as each of the things that a pack is made of, for fuzzing: nothing may panic, and what is taken for a record is
/// what its header says.
#[doc(hidden)]
pub fn read_any(bytes: &[u8]) {
    let Some((kind, payload)) = bytes.split_first() else { return };
    if let Some(kind) = frame::Kind::from_byte(*kind) {
        let _ = record::Record::from_payload(kind, payload);
    }
    if let Some(entries) = frame::decode_index(bytes) {
        assert_eq!(frame::decode_index(&bytes[..bytes.len() - 1]), None);
        assert!(entries.len() <= bytes.len() / 41);
    }
    let Some((head, rest)) = bytes.split_at_checked(frame::HEAD_LEN) else { return };
    let Ok(head) = frame::Head::decode(head) else { return };
    // What a header promises is allocated, and a fuzzer has little memory.
    let Some(stored) = rest.get(..head.stored_len as usize).filter(|_| head.raw_len < 1 << 24) else { return };
    if let Ok(payload) = head.open(stored) {
        assert_eq!((payload.len() as u64, crate::base::digest::Digest::of(&payload)), (head.raw_len, head.payload));
        let _ = record::Record::from_payload(head.kind, &payload);
    }
}
