//! Journal reports of Exchange 2007 … SE and Exchange Online ([MS-XJRNL]).
//!
//! Only direct children of the report count, whatever the original contains. A report is recognised by its
//! marker field (its presence; the value is empty), or, where a MAPI round trip lost that, by everything else
//! agreeing. Never by "text and a message/rfc822" alone: that is an ordinary forward as attachment.

use super::original::Located;
use super::{DecodeError, Finding, Format, Item, flags, grammar, plain};
use crate::base::bytes::read_range;
use crate::mail::header::Headers;
use crate::mail::mime::Kind;
use crate::mail::summary::message_id;
use crate::mail::transfer;
use crate::mail::words;

/// An envelope part longer than this is not read: twice what 100,000 recipients of a list need.
const ENVELOPE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// More originals than this are not looked at; a report has one, or two with a clear copy.
const ORIGINALS_MAX: usize = 4;
/// The local part of the sender of all reports; the same in every organisation.
const SYSTEM_LOCAL_PART: &str = "microsoftexchange329e71ec88ae4615bbc36ab6ce41109e@";

// Built once per item and taken apart at once.
#[allow(clippy::large_enum_variant)]
pub enum Reading<'a> {
    Report(Finding<'a>),
    /// Not a report, or (with a flag) one that must not be treated as one.
    Other(Option<&'static str>),
}

pub fn read<'a>(item: &Item<'a>) -> Result<Reading<'a>, DecodeError> {
    let marked =
        ["x-ms-journal-report", "x-ms-exchange-organization-journal-report"].iter().any(|name| item.headers.has(name));
    if !marked && !is_generated(item.headers) {
        return Ok(Reading::Other(None));
    }
    let originals: Vec<usize> = if item.structure.parts[0].kind == Kind::Multipart {
        item.structure.children(0).filter(|&part| item.structure.parts[part].content.is_message()).collect()
    } else {
        Vec::new()
    };
    if originals.is_empty() {
        return Ok(Reading::Other(marked.then_some(flags::REPORT_WITHOUT_ORIGINAL)));
    }
    if !marked && originals.len() > 2 {
        return Ok(Reading::Other(None));
    }
    let text = envelope_text(item)?;
    let parent_id = message_id(item.headers, "x-ms-exchange-parent-message-id");
    let mut candidates = Vec::new();
    for &part in originals.iter().take(ORIGINALS_MAX) {
        candidates.push(Candidate::examine(item, part, text.as_deref(), parent_id.as_deref())?);
    }
    let several = candidates.len() > 1;
    let clear = candidates.iter().filter(|candidate| !candidate.protected).count();
    let any_protected = clear < candidates.len();
    let Some(chosen) = choose(candidates) else { return Ok(Reading::Other(None)) };

    let proven = chosen.trusted && chosen.named;
    if !marked && !proven {
        return Ok(Reading::Other(None));
    }
    if !chosen.trusted {
        return Ok(Reading::Other(Some(flags::UNTRUSTED_REPORT)));
    }
    let mut flags: Vec<&'static str> = Vec::new();
    if !marked {
        flags.push(flags::MARKER_LOST);
    }
    if chosen.protected {
        flags.push(flags::RIGHTS_PROTECTED);
    } else if any_protected {
        flags.push(flags::CLEAR_COPY);
    }
    if clear > 1 {
        flags.push(flags::SEVERAL_ORIGINALS);
    }
    flags.extend(chosen.flag);
    let Some(parsed) = chosen.parsed else {
        if several {
            return Ok(Reading::Other(Some(flags::UNREADABLE_ENVELOPE)));
        }
        flags.push(flags::UNREADABLE_ENVELOPE);
        let envelope = plain::envelope_of(&Headers::of(chosen.located.header()));
        let original = chosen.located;
        return Ok(Reading::Report(Finding { format: Format::Exchange, degraded: true, flags, envelope, original }));
    };
    if parsed.injected {
        flags.push(flags::LINE_INJECTION);
    }
    if parsed.envelope.recipients.is_empty() {
        flags.push(flags::NO_RECIPIENTS);
    }
    Ok(Reading::Report(Finding {
        format: Format::Exchange,
        degraded: false,
        flags,
        envelope: parsed.envelope,
        original: chosen.located,
    }))
}

/// One message/rfc822 of the report, and how the report agrees with it.
struct Candidate<'a> {
    located: Located<'a>,
    flag: Option<&'static str>,
    protected: bool,
    parsed: Option<grammar::Parsed>,
    /// No two of the Message-IDs (of the envelope, the original, the parent field) differ.
    trusted: bool,
    /// The envelope names the Message-ID that the original has.
    named: bool,
}

impl<'a> Candidate<'a> {
    fn examine(
        item: &Item<'a>,
        part: usize,
        text: Option<&str>,
        parent_id: Option<&str>,
    ) -> Result<Candidate<'a>, DecodeError> {
        let (located, flag) = Located::attached(item, part)?;
        let headers = Headers::of(located.header());
        let inner_id = message_id(&headers, "message-id");
        let subject = headers.get("subject").map(|field| words::text_with_breaks(field.value)).unwrap_or_default();
        let inner = grammar::Inner { message_id: inner_id.as_deref(), subject: &subject };
        let parsed = text.and_then(|text| grammar::parse(text, inner));
        let envelope_id = parsed.as_ref().and_then(|parsed| parsed.message_id.as_deref());
        let agree = |one: Option<&str>, other: Option<&str>| one.is_none() || other.is_none() || one == other;
        let inner_id = inner_id.as_deref();
        let trusted = agree(envelope_id, inner_id) && agree(envelope_id, parent_id) && agree(inner_id, parent_id);
        let named = envelope_id.is_some() && envelope_id == inner_id;
        Ok(Candidate { protected: located.is_protected(), located, flag, parsed, trusted, named })
    }
}

/// The first that is clear and agrees with the envelope; else the first clear one; else the first.
fn choose(candidates: Vec<Candidate<'_>>) -> Option<Candidate<'_>> {
    let rank = |candidate: &Candidate<'_>| (candidate.protected, !candidate.trusted, !candidate.named);
    candidates.into_iter().min_by_key(rank)
}

/// Whether an unmarked mail shows one of the signs that Exchange generated it as a report.
fn is_generated(headers: &Headers<'_>) -> bool {
    let lower = |name: &str| headers.get(name).map(|field| field.one_line().to_ascii_lowercase()).unwrap_or_default();
    let from_system = ["sender", "from"].iter().any(|name| {
        let mut mailboxes =
            headers.get(name).map(|field| words::mailboxes(field.value)).unwrap_or_default().into_iter();
        mailboxes.any(|m| m.address.is_some_and(|a| a.to_ascii_lowercase().starts_with(SYSTEM_LOCAL_PART)))
    });
    from_system
        || lower("message-id").trim_ascii_end().ends_with(b"@journal.report.generator>")
        || lower("x-ms-exchange-generated-message-source") == b"journal agent"
}

/// The text of the envelope part: the first text/plain among the report's children, or in a multipart/alternative
/// there that a MAPI round trip added.
fn envelope_text(item: &Item<'_>) -> Result<Option<String>, DecodeError> {
    let parts = &item.structure.parts;
    let mut found = None;
    for child in item.structure.children(0) {
        if parts[child].content.kind == "text/plain" {
            found = Some(child);
        } else if parts[child].content.kind == "multipart/alternative" {
            found = item.structure.children(child).find(|&part| parts[part].content.kind == "text/plain");
        }
        if found.is_some() {
            break;
        }
    }
    let Some(part) = found.map(|part| &parts[part]) else { return Ok(None) };
    if part.body.end - part.body.start > ENVELOPE_BYTES_MAX {
        return Ok(None);
    }
    let raw = read_range(item.bytes, part.body.clone())?;
    let decoded = transfer::decode(part.content.encoding, &raw);
    Ok(Some(transfer::to_utf8(&decoded, part.content.charset())))
}
