//! Bytes of an item → envelope and original. One file per format.
//!
//! Decoding is pure: no I/O beyond reading the bytes it is given, no clock, no people. It is total:
//! every byte sequence gives either a [`Decoded`] or a [`DecodeError`] (which means quarantine), in time
//! linear in its length and with bounded memory, and a panic in a parser of foreign bytes becomes a
//! `DecodeError` too.
//!
//! A report is believed only as far as it agrees with itself: the Message-ID that its envelope names must
//! be the original's. One that does not agree is kept and filed as what it then is, a plain mail with
//! an attachment: format `plain`, degraded, flag [`flags::UNTRUSTED_REPORT`], the original is the whole item.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use crate::base::bytes::{ByteSource, for_each_window};
use crate::base::digest::Digest;
use crate::mail::envelope::Envelope;
use crate::mail::header::Headers;
use crate::mail::mime::{Limits, Scanner, Structure};
use crate::mail::summary::Summary;

mod exchange;
pub mod flags;
mod grammar;
mod original;
mod plain;
mod view;

pub use view::{MessageView, View};

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
/// ([`crate::mail::canonical`]); display only.
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
    /// Short constant words of [`flags`]: what a person should know about this item.
    pub flags: Vec<String>,
    pub envelope: Envelope,
    pub original: Original,
    pub summary: Summary,
    pub canonical: Canonical,
    /// Byte ranges in the *item* of the bodies of MIME leaf parts, rising and disjoint; the archive cuts
    /// there so that a recurring attachment is stored once.
    pub leaves: Vec<Range<u64>>,
}

/// Why an item could not be decoded; it is quarantined, its bytes are kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

impl From<std::io::Error> for DecodeError {
    fn from(error: std::io::Error) -> DecodeError {
        DecodeError(format!("reading the item failed: {error}"))
    }
}

/// Decodes an item. See the module's page for what it promises.
pub fn decode(item: &dyn ByteSource) -> Result<Decoded, DecodeError> {
    // Nothing that is unwound through is used again: all state of a decode is local to it.
    catch_unwind(AssertUnwindSafe(|| decode_unguarded(item)))
        .unwrap_or_else(|_| Err(DecodeError("the decoder panicked on it, which is a bug in gatepost".into())))
}

/// An item with its structure, as the formats see it.
struct Item<'a> {
    bytes: &'a dyn ByteSource,
    structure: &'a Structure,
    headers: &'a Headers<'a>,
}

/// What a format makes of an item.
struct Finding<'a> {
    format: Format,
    degraded: bool,
    flags: Vec<&'static str>,
    envelope: Envelope,
    original: original::Located<'a>,
}

fn decode_unguarded(bytes: &dyn ByteSource) -> Result<Decoded, DecodeError> {
    let structure = scan(bytes, 0..bytes.len())?;
    let headers = Headers::of(&structure.root_header);
    if headers.is_empty() {
        return Err(DecodeError("no header fields: this is not a mail".into()));
    }
    let item = Item { bytes, structure: &structure, headers: &headers };
    let mut finding = match exchange::read(&item)? {
        exchange::Reading::Report(finding) => finding,
        exchange::Reading::Other(flag) => plain::read(&item, flag),
    };
    if structure.limited || finding.original.structure().limited {
        finding.flags.push(flags::LIMITS_MET);
    }
    let (original, canonical) = finding.original.digest(bytes)?;
    Ok(Decoded {
        format: finding.format,
        wrapped_in: None,
        degraded: finding.degraded,
        flags: finding.flags.into_iter().map(str::to_owned).collect(),
        envelope: finding.envelope,
        original,
        summary: Summary::of(&Headers::of(finding.original.header())),
        canonical,
        leaves: leaves(&structure),
    })
}

fn scan(bytes: &dyn ByteSource, range: Range<u64>) -> Result<Structure, DecodeError> {
    let mut scanner = Scanner::new(Limits::default());
    for_each_window(bytes, range, |window| {
        scanner.feed(window);
        Ok::<(), DecodeError>(())
    })?;
    Ok(scanner.finish())
}

fn leaves(structure: &Structure) -> Vec<Range<u64>> {
    let parts = structure.parts.iter().enumerate();
    parts
        .filter(|(index, part)| structure.is_leaf(*index) && !part.body.is_empty())
        .map(|(_, part)| part.body.clone())
        .collect()
}

#[cfg(test)]
mod tests;
