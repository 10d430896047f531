//! Journal reports of Exchange 2000 and 2003. Citadel writes the same marker; see [`super::citadel`].
//!
//! The marker is `Content-Identifer: ExJournalReport`: the misspelling is Microsoft's, the correct spelling
//! occurs too. The envelope is a list without roles ([`super::recipient_list`]).

use super::report::{self, Layout, Reading};
use super::{DecodeError, Format, Item, citadel, recipient_list};
use crate::mail::header::Headers;

pub fn read<'a>(item: &Item<'a, '_>) -> Result<Reading<'a>, DecodeError> {
    if !is_marked(item.headers) {
        return Ok(Reading::Other);
    }
    let format = if citadel::wrote(item)? { Format::Citadel } else { Format::Exchange2003 };
    let short_ids = format == Format::Citadel;
    report::read(
        item,
        &Layout { format, marked: true, fits: recipient_list::is_envelope, parse: recipient_list::parse, short_ids },
    )
}

pub fn is_marked(headers: &Headers<'_>) -> bool {
    ["content-identifer", "content-identifier"]
        .iter()
        .any(|name| headers.all(name).any(|field| field.one_line().eq_ignore_ascii_case(b"exjournalreport")))
}
