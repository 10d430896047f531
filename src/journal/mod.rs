//! Bytes of an item → envelope and original. One file per format.
//!
//! Decoding is pure: no I/O beyond reading the bytes it is given, no clock, no people. It is total:
//! every byte sequence gives either a [`Decoded`] or a [`DecodeError`] (which means quarantine), in time
//! linear in its length and with bounded memory, and a panic in a parser of foreign bytes becomes a
//! `DecodeError` too.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::base::bytes::ByteSource;
use crate::base::digest::Digest;
use crate::mail::envelope::Envelope;
use crate::mail::summary::Summary;

/// What an item is, as the gateway's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Exchange 2007 … SE and Exchange Online envelope journaling.
    Exchange,
    /// A copy of the message itself, without a report around it.
    Plain,
}

impl Format {
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Exchange => "exchange",
            Format::Plain => "plain",
        }
    }
}

/// How the original lies in its range of the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transfer {
    Identity,
    Base64,
    QuotedPrintable,
}

/// The original message inside the item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// Byte range in the item, without the line break before the closing delimiter.
    pub range: Range<u64>,
    pub transfer: Transfer,
    /// SHA-256 of the decoded bytes.
    pub sha256: Digest,
    /// Length of the decoded bytes.
    pub size: u64,
}

/// The digest under which several items of one message are shown as one
/// (`mail::canonical`); display only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canonical {
    pub version: u8,
    pub digest: Digest,
}

#[derive(Clone, Debug)]
pub struct Decoded {
    pub format: Format,
    /// `ndr` when a bounce carried the report.
    pub wrapped_in: Option<String>,
    /// The envelope is the message's own headers: no report, or an unreadable one.
    pub degraded: bool,
    /// Short constant words: what a person should know about this item.
    pub flags: Vec<String>,
    pub envelope: Envelope,
    pub original: Original,
    pub summary: Summary,
    pub canonical: Canonical,
    /// Byte ranges in the *item* of the bodies of MIME leaf parts, rising and disjoint; the archive cuts
    /// there so that a recurring attachment is stored once. Empty when the structure is broken.
    pub leaves: Vec<Range<u64>>,
}

/// Why an item could not be decoded; it is quarantined, its bytes are kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// Decodes an item. See the module's page for what it promises.
pub fn decode(item: &dyn ByteSource) -> Result<Decoded, DecodeError> {
    let _ = item;
    Err(DecodeError("not written yet".into()))
}
