//! Telling Citadel's journal reports from those of Exchange 2003, whose marker it writes.
//!
//! Citadel names itself in the boundary (which ends in dashes), writes no multipart/alternative, and leaves out
//! the `smtp:` in front of addresses. It names the original without the domain that it adds to a Message-ID.

use super::{DecodeError, Item, recipient_list, report};
use crate::mail::mime::Kind;

/// The mail has the marker that both write.
pub fn wrote(item: &Item<'_, '_>) -> Result<bool, DecodeError> {
    let root = &item.structure.parts[item.root];
    let boundary = root.content.parameter("boundary").unwrap_or_default().to_ascii_lowercase();
    if boundary.windows(7).any(|seven| seven == b"citadel") {
        return Ok(true);
    }
    let nested = item.structure.children(item.root).any(|part| item.structure.parts[part].kind == Kind::Multipart);
    if nested {
        return Ok(false);
    }
    let texts = report::envelope_texts(item, &recipient_list::is_envelope)?;
    let Some(envelope) = texts.into_iter().next() else { return Ok(false) };
    let text = envelope.text.to_ascii_lowercase();
    Ok(!["<smtp:", "<ex:", "<x400:"].iter().any(|prefix| text.contains(prefix)))
}
