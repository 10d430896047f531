//! Journal reports of Amazon WorkMail: a marker of its own, and an envelope part like Exchange's.

use super::report::{self, Layout, Reading};
use super::{DecodeError, Format, Item, grammar};
use crate::mail::header::Headers;

pub fn read<'a>(item: &Item<'a, '_>) -> Result<Reading<'a>, DecodeError> {
    if !is_marked(item.headers) {
        return Ok(Reading::Other);
    }
    report::read(
        item,
        &Layout {
            format: Format::Workmail,
            marked: true,
            fits: grammar::is_envelope,
            parse: grammar::parse,
            short_ids: false,
        },
    )
}

pub fn is_marked(headers: &Headers<'_>) -> bool {
    headers.all("x-wm-journal-report").any(|field| {
        let value = field.one_line();
        value.is_empty() || value.eq_ignore_ascii_case(b"journal")
    })
}
