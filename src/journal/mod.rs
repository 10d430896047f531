//! Bytes of an item → envelope and original. One file per format.
//!
//! Decoding is pure: no I/O beyond reading the bytes it is given, no clock, no people. It is total:
//! every byte sequence gives either a [`Decoded`] or a [`DecodeError`] (which means quarantine), in time
//! linear in its length and with bounded memory, and a panic in a parser of foreign bytes becomes a
//! `DecodeError` too.
//!
//! A report is believed only as far as it agrees with itself: the Message-ID that its envelope names must
//! be the original's; and when reporters are configured, one of them must have written it. What fails is kept
//! and filed as what it then is, a plain mail with an attachment: format `plain`, degraded, flag
//! [`flags::UNTRUSTED_REPORT`], the original is the whole item.
//!
//! Plain copies: see `copies.rs` for when their envelope is proven and when it is degraded.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use crate::base::bytes::{ByteSource, for_each_window};
use crate::base::digest::Digest;
use crate::mail::envelope::{Envelope, Recipient};
use crate::mail::header::Headers;
use crate::mail::mime::{Limits, Scanner, Structure};
use crate::mail::regenerated::Regenerated;
use crate::mail::summary::Summary;
use original::Located;
use report::Reading;
use trail::Trail;

mod citadel;
mod copies;
mod embedded;
mod exchange;
mod exchange2003;
pub mod flags;
mod gateway;
mod google_chat;
mod grammar;
mod ndr;
mod options;
mod original;
mod plain;
mod recipient_list;
mod report;
mod trail;
mod trust;
mod view;
mod workmail;
mod zimbra;

pub use options::{ClearText, DecodeOptions, ENVELOPE_HEADERS, Reporter};
pub use view::{MessageView, View};

/// What an item is, as the gateway's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Exchange 2007 … SE and Exchange Online envelope journaling.
    Exchange,
    /// Exchange 2000 and 2003.
    Exchange2003,
    Citadel,
    /// Amazon WorkMail.
    Workmail,
    /// Zimbra legal intercept.
    Zimbra,
    /// Google Chat archiving.
    GoogleChat,
    /// A copy of the message itself, without a report around it.
    Plain,
}

impl Format {
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Exchange => "exchange",
            Format::Exchange2003 => "exchange2003",
            Format::Citadel => "citadel",
            Format::Workmail => "workmail",
            Format::Zimbra => "zimbra",
            Format::GoogleChat => "google-chat",
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
    /// Within an encoded bounce: which bytes of what the range decodes to. `None`: all of them.
    pub inside: Option<Range<u64>>,
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
    /// With [`ClearText::Both`]: the rights-protected message beside its clear copy, which is `original`.
    pub twin: Option<Original>,
    pub summary: Summary,
    pub canonical: Canonical,
    /// Byte ranges in the *item* of the bodies of MIME leaf parts, rising and disjoint; the archive cuts
    /// there so that a recurring attachment is stored once.
    pub leaves: Vec<Range<u64>>,
    /// Exchange noted that the original came in without authentication, whatever its `From` says.
    pub anonymous: bool,
    /// Of a plain copy whose envelope the gateway noted: whom its own header names. When nobody of the envelope is
    /// ours (it was the gateway's mailbox, or the one outside recipient), these are who else can have received it.
    pub own_recipients: Vec<Recipient>,
    /// The domain of who wrote the report; what an operator would list under `trusted_reporters`.
    pub reporter: Option<String>,
    /// Which rule matched, and which almost did and why not; for people.
    pub trail: Vec<String>,
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
pub fn decode(item: &dyn ByteSource, options: &DecodeOptions) -> Result<Decoded, DecodeError> {
    guarded(item, None, options, true)
}

/// Decodes an item that its gateway put together anew, by what the gateway keeps beside it.
pub fn decode_regenerated(
    item: &dyn ByteSource,
    beside: &Regenerated,
    options: &DecodeOptions,
) -> Result<Decoded, DecodeError> {
    guarded(item, Some(beside), options, true)
}

/// The same without reading the original once more to hash it: its digests are all zero. For measurements, which ask
/// what recognising costs and what hashing costs.
pub fn decode_undigested(item: &dyn ByteSource, options: &DecodeOptions) -> Result<Decoded, DecodeError> {
    guarded(item, None, options, false)
}

fn guarded(
    item: &dyn ByteSource,
    beside: Option<&Regenerated>,
    options: &DecodeOptions,
    digests: bool,
) -> Result<Decoded, DecodeError> {
    // Nothing that is unwound through is used again: all state of a decode is local to it.
    catch_unwind(AssertUnwindSafe(|| decode_unguarded(item, beside, options, digests)))
        .unwrap_or_else(|_| Err(DecodeError("the decoder panicked on it, which is a bug in gatepost".into())))
}

/// An item with its structure, as the formats see it: the mail that was fetched, or a mail inside a bounce.
#[derive(Clone, Copy)]
struct Item<'a, 'h> {
    bytes: &'a dyn ByteSource,
    structure: &'a Structure,
    /// The part that is the mail looked at.
    root: usize,
    headers: &'h Headers<'h>,
    /// Of the mail that was fetched, whatever is looked at.
    outer: &'h Headers<'h>,
    options: &'h DecodeOptions,
    trail: &'h Trail,
    /// `bytes` are not the item's own, but what a part of it decodes to.
    embedded: bool,
}

impl<'a> Item<'a, '_> {
    /// All formats that are reports, in the order in which they are asked.
    fn read_report(&self) -> Result<Reading<'a>, DecodeError> {
        for read in [exchange::read, workmail::read, exchange2003::read] {
            match read(self)? {
                Reading::Other => {}
                found => return Ok(found),
            }
        }
        Ok(Reading::Other)
    }

    /// Reports first: one *of* a bounce carries the bounce's marks too.
    fn read(&self) -> Result<Finding<'a>, DecodeError> {
        let mut reading = self.read_report()?;
        if let Reading::Other = reading {
            reading = ndr::read(self, 0)?;
        }
        if let Reading::Other = reading {
            reading = zimbra::read(self)?;
        }
        if let Reading::Other = reading {
            reading = google_chat::read(self);
        }
        Ok(match reading {
            Reading::Report(finding) => finding,
            Reading::Other => plain::read(self, None),
            Reading::Refused(flag) => plain::read(self, Some(flag)),
        })
    }
}

/// What a format makes of an item.
struct Finding<'a> {
    format: Format,
    wrapped_in: Option<&'static str>,
    degraded: bool,
    flags: Vec<&'static str>,
    envelope: Envelope,
    original: Located<'a>,
    twin: Option<Located<'a>>,
    reporter: Option<String>,
    own_recipients: Vec<Recipient>,
}

impl<'a> Finding<'a> {
    /// Proven, without flags and with an empty envelope; the formats say what is different.
    fn new(format: Format, original: Located<'a>) -> Finding<'a> {
        Finding {
            format,
            wrapped_in: None,
            degraded: false,
            flags: Vec::new(),
            envelope: Envelope::default(),
            original,
            twin: None,
            reporter: None,
            own_recipients: Vec::new(),
        }
    }
}

fn decode_unguarded(
    bytes: &dyn ByteSource,
    beside: Option<&Regenerated>,
    options: &DecodeOptions,
    digests: bool,
) -> Result<Decoded, DecodeError> {
    let structure = scan(bytes, 0..bytes.len())?;
    let trail = Trail::default();
    let told = beside.and_then(|beside| beside.header_block(&structure.root_header));
    let headers = match (&told, beside) {
        (Some(block), _) => {
            trail.note("regenerated", "the header that it came in with is read in the place of its own");
            Headers::of(block)
        }
        (None, Some(_)) => Headers::unplaced(&structure.root_header),
        (None, None) => Headers::of(&structure.root_header),
    };
    if headers.is_empty() {
        return Err(DecodeError("no header fields: this is not a mail".into()));
    }
    let item = Item {
        bytes,
        structure: &structure,
        root: 0,
        headers: &headers,
        outer: &headers,
        options,
        trail: &trail,
        embedded: false,
    };
    let mut finding = item.read()?;
    if structure.limited || finding.original.structure().limited {
        finding.flags.push(flags::LIMITS_MET);
    }
    let digest = |located: &Located<'_>| if digests { located.digest(bytes) } else { Ok(located.undigested()) };
    let (original, canonical) = digest(&finding.original)?;
    let twin = finding.twin.map(|twin| digest(&twin)).transpose()?;
    let inner = Headers::of(finding.original.header());
    let anonymous =
        inner.all("x-ms-exchange-organization-authas").any(|field| field.one_line().eq_ignore_ascii_case(b"anonymous"));
    Ok(Decoded {
        format: finding.format,
        wrapped_in: finding.wrapped_in.map(str::to_owned),
        degraded: finding.degraded,
        flags: finding.flags.into_iter().map(str::to_owned).collect(),
        envelope: finding.envelope,
        original,
        twin: twin.map(|(twin, _)| twin),
        summary: Summary::of(&inner),
        canonical,
        leaves: leaves(&structure),
        anonymous,
        reporter: finding.reporter,
        own_recipients: finding.own_recipients,
        trail: trail.into_notes(),
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
#[cfg(test)]
mod union_tests;
