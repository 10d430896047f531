//! Journal reports of Exchange 2007 … SE and Exchange Online ([MS-XJRNL]), and of Oracle's `capture :journal`, which
//! writes the same layout.
//!
//! A report is recognised by its marker field (its presence; the value is empty), or, where a MAPI round trip
//! lost that, by everything else agreeing. Never by "text and a message/rfc822" alone: that is an ordinary forward
//! as attachment.

use super::report::{self, Layout, Reading};
use super::{DecodeError, Format, Item, grammar};
use crate::mail::header::Headers;
use crate::mail::words;

const MARKERS: [&str; 2] = ["x-ms-journal-report", "x-ms-exchange-organization-journal-report"];
/// The local part of the sender of all reports; the same in every organisation.
const SYSTEM_LOCAL_PART: &str = "microsoftexchange329e71ec88ae4615bbc36ab6ce41109e@";

pub fn read<'a>(item: &Item<'a, '_>) -> Result<Reading<'a>, DecodeError> {
    let marked = is_marked(item.headers);
    if !marked && !is_generated(item.headers) {
        if !report::originals(item).is_empty() {
            item.trail.note("exchange", "an attached message, but no sign of a report: a forward as attachment");
        }
        return Ok(Reading::Other);
    }
    report::read(
        item,
        &Layout {
            format: Format::Exchange,
            marked,
            fits: grammar::is_envelope,
            parse: grammar::parse,
            short_ids: false,
        },
    )
}

pub fn is_marked(headers: &Headers<'_>) -> bool {
    MARKERS.iter().any(|name| headers.has(name))
}

/// Whether an unmarked mail shows one of the signs that Exchange generated it as a report. The same address also
/// sends bounces, so none of them is enough.
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
