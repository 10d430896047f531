//! The text of an Exchange envelope part: one `Label: value` per line.
//!
//! The subject in it is the sender's, and when its decoded form has line breaks the sender has written
//! whole lines into the report. So what stands where the subject's text can be is not believed:
//!
//! - `Subject` before `Message-Id` (the usual order): nothing between the subject and the **last** Message-Id
//!   line that names the original. The sender can write that line too, but the real one follows it.
//! - `Message-Id` before `Subject`: not the lines after the subject that are, in their order, the further lines
//!   of the original's decoded subject.
//!
//! Lines end in CRLF or LF; U+2028, VT, FF and a lone CR are text. Time is linear in the text.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use super::plain::normal;
use crate::base::address::Address;
use crate::mail::envelope::{Envelope, Recipient, Role, Via};
use crate::mail::summary::{is_same_message_id, normal_message_id};

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    pub envelope: Envelope,
    /// In angle brackets.
    pub message_id: Option<String>,
    /// Fields were left out because the sender could have written them.
    pub injected: bool,
}

/// What the original says about itself.
#[derive(Clone, Copy, Default)]
pub struct Inner<'a> {
    pub message_id: Option<&'a str>,
    /// Decoded, with the line breaks that were encoded in it.
    pub subject: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    Sender,
    OnBehalfOf,
    Subject,
    MessageId,
    Recipient(Role),
}

impl Label {
    fn named(label: &str) -> Option<Label> {
        let labels = [
            ("sender", Label::Sender),
            ("on-behalf-of", Label::OnBehalfOf),
            ("subject", Label::Subject),
            ("message-id", Label::MessageId),
            ("to", Label::Recipient(Role::To)),
            ("cc", Label::Recipient(Role::Cc)),
            ("bcc", Label::Recipient(Role::Bcc)),
            ("recipient", Label::Recipient(Role::Recipient)),
        ];
        labels.iter().find(|(name, _)| name.eq_ignore_ascii_case(label)).map(|(_, label)| *label)
    }
}

struct Line<'a> {
    label: Label,
    value: Cow<'a, str>,
    /// Number of the line in the text.
    number: usize,
}

/// What Exchange writes in the place of an identifier that the original does not have.
const NO_MESSAGE_ID: &str = "Unknown Message-ID";
const VIAS: [(&str, Via); 2] = [("expanded:", Via::Expanded), ("forwarded:", Via::Forwarded)];
const BLANKS: [char; 2] = [' ', '\t'];
/// Before the recipient, before the word for how, and before what that names.
const WRAPS_MAX: usize = 3;

/// `None` when the text has neither a sender nor a recipient and so is no envelope.
pub fn parse(text: &str, inner: Inner<'_>) -> Option<Parsed> {
    if !is_envelope(text) {
        return None;
    }
    let distrusted = distrusted(text, inner);
    let mut parsed = Parsed::default();
    let mut seen = HashSet::new();
    let mut sender_seen = false;
    for line in fields(text) {
        if distrusted.contains(&line.number) {
            parsed.injected = true;
            continue;
        }
        match line.label {
            Label::Subject => {}
            Label::Sender => {
                if !std::mem::replace(&mut sender_seen, true) {
                    parsed.envelope.sender = owner(&line.value);
                }
            }
            Label::OnBehalfOf => {
                if parsed.envelope.on_behalf_of.is_none() {
                    parsed.envelope.on_behalf_of = owner(&line.value);
                }
            }
            Label::MessageId => {
                if parsed.message_id.is_none() && !line.value.eq_ignore_ascii_case(NO_MESSAGE_ID) {
                    parsed.message_id = normal_message_id(&line.value);
                }
            }
            Label::Recipient(role) => {
                if let Some(recipient) = recipient(role, &line.value)
                    && seen.insert(recipient.clone())
                {
                    parsed.envelope.recipients.push(recipient);
                }
            }
        }
    }
    Some(parsed)
}

/// Whether the text has a sender or a recipient.
pub fn is_envelope(text: &str) -> bool {
    fields(text).any(|line| matches!(line.label, Label::Sender | Label::Recipient(_)))
}

/// The lines of the text; the text is gone through several times rather than held a second time.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line))
}

/// The lines with a known label; all others are skipped.
fn fields(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut lines = lines(text).enumerate().peekable();
    std::iter::from_fn(move || {
        loop {
            let (number, line) = lines.next()?;
            let Some((label, value)) = line.split_once(':') else { continue };
            let Some(label) = Label::named(label.trim_matches(BLANKS)) else { continue };
            let mut value = Cow::Borrowed(value.trim_matches(BLANKS));
            for _ in 0..WRAPS_MAX {
                // A subject is the sender's, and nothing of it is wanted.
                if label == Label::Subject || !is_open(&value) {
                    break;
                }
                let Some((_, next)) = lines.next_if(|(_, next)| continues(next)) else { break };
                value = format!("{value} {}", next.trim_matches(BLANKS)).trim_start_matches(BLANKS).to_owned().into();
            }
            return Some(Line { label, value, number });
        }
    })
}

/// A mail system that wraps text puts a long address or identifier on a line of its own.
fn is_open(value: &str) -> bool {
    value.is_empty() || value.ends_with(',') || VIAS.iter().any(|(label, _)| ends_with(value, label))
}

/// Whether the line can only be what such a break left: one address or identifier, with or without the word before it.
fn continues(line: &str) -> bool {
    let line = line.trim_matches(BLANKS);
    let after_via = VIAS.iter().find_map(|(label, _)| after(line, label));
    let word = after_via.unwrap_or(line).trim_matches(BLANKS);
    if after_via.is_some() && word.is_empty() {
        return true;
    }
    let labelled = line.split_once(':').is_some_and(|(label, _)| Label::named(label.trim_matches(BLANKS)).is_some());
    !labelled && word.contains('@') && !word.contains(BLANKS)
}

/// What follows the label at the start of the text.
fn after<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let start = text.get(..label.len())?;
    start.eq_ignore_ascii_case(label).then(|| &text[label.len()..])
}

fn ends_with(text: &str, label: &str) -> bool {
    text.len().checked_sub(label.len()).and_then(|at| text.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(label))
}

/// The range of line numbers that the subject's text may have written.
fn distrusted(text: &str, inner: Inner<'_>) -> Range<usize> {
    let mut after_subject = None;
    let mut id_before = false;
    let mut last_id = None;
    for line in fields(text) {
        match (line.label, after_subject) {
            (Label::Subject, None) => after_subject = Some(line.number + 1),
            (Label::MessageId, None) => id_before = true,
            (Label::MessageId, Some(_)) => {
                let is_original = inner.message_id.is_none()
                    || normal_message_id(&line.value)
                        .zip(inner.message_id)
                        .is_some_and(|(id, inner)| is_same_message_id(&id, inner));
                last_id = if is_original { Some(line.number) } else { last_id };
            }
            (Label::Subject | Label::Sender | Label::OnBehalfOf | Label::Recipient(_), _) => {}
        }
    }
    let Some(after_subject) = after_subject else { return 0..0 };
    if let (Some(last_id), false) = (last_id, id_before) {
        return after_subject..last_id;
    }
    let tail = inner.subject.split(['\n', '\r']).skip(1).filter(|line| !line.trim().is_empty());
    let same =
        lines(text).skip(after_subject).zip(tail).take_while(|(found, expected)| found.trim() == expected.trim());
    after_subject..after_subject + same.count()
}

/// A sender; placeholders without an address are nobody.
fn owner(value: &str) -> Option<String> {
    let address = bare(value);
    let addressed = address.contains(['@', '=']) || address.starts_with('/');
    if addressed { normal(address) } else { None }
}

/// `member, Expanded: list` or `mailbox, Forwarded: mailbox that forwarded`. The address itself may have
/// commas (X.400), so the cut is made at the label only.
fn recipient(role: Role, value: &str) -> Option<Recipient> {
    let (address, via) = match first_via(value) {
        Some((at, via, after)) => {
            let target = &value[after..];
            let target = &target[..first_via(target).map_or(target.len(), |(at, _, _)| at)];
            (&value[..at], Some((via, normal(bare(target)))))
        }
        None => (value, None),
    };
    let address = normal(bare(address.trim_end_matches([',', ' ', '\t'])))?;
    let (via, via_address) = match via {
        Some((via, address)) => (Some(via), address),
        None => (None, None),
    };
    Some(Recipient { role, address, via, via_address })
}

/// The first `, Expanded:` or `, Forwarded:`: where it begins, which it is, where it ends.
fn first_via(value: &str) -> Option<(usize, Via, usize)> {
    for (at, _) in value.match_indices(',') {
        let rest = value[at + 1..].trim_start_matches(BLANKS);
        for (label, via) in VIAS {
            if let Some(target) = after(rest, label) {
                return Some((at, via, value.len() - target.len()));
            }
        }
    }
    None
}

/// The address in `Name <address>`, and without the link that an HTML twin leaves (`a@b<mailto:a@b>`).
fn bare(value: &str) -> &str {
    let value = value.trim();
    let Some(open) = value.rfind('<') else { return value };
    let before = value[..open].trim();
    let inside = value[open + 1..].trim_end_matches('>').trim();
    if Address::parse(inside).is_some() && !inside.get(..7).is_some_and(|p| p.eq_ignore_ascii_case("mailto:")) {
        return inside;
    }
    if before.is_empty() { inside } else { before }
}

#[cfg(test)]
#[path = "grammar_tests.rs"]
mod tests;
