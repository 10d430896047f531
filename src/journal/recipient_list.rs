//! The text of an envelope part of Exchange 2000/2003 and Citadel: three fields, the last of them a list.
//!
//! ```text
//! Sender: "Alice A" <smtp:alice@corp.example>
//! Message-ID: <…>
//! Recipients:
//!     "Bob" <smtp:bob@corp.example>,
//!     "Legacy" <EX:/o=Org/ou=…/cn=legacy>
//! ```
//!
//! Entries are separated by commas (Exchange) or only by line breaks (Citadel), and may be wrapped over
//! several lines; a blank line ends the list. Roles are not told, so every recipient is just that. Names are the
//! sender's to choose: a second list means that a name holds line breaks, and then no list is believed. Time is
//! linear in the text.

use std::collections::HashSet;

use super::grammar::{Inner, Parsed};
use super::plain::normal;
use crate::mail::envelope::{Recipient, Role};
use crate::mail::summary::normal_message_id;

/// An entry that is not complete after so many lines never will be.
const ENTRY_LINES_MAX: usize = 8;

/// `None` when the text is no such envelope, or has more than one list.
pub fn parse(text: &str, _inner: Inner<'_>) -> Option<Parsed> {
    let mut parsed = Parsed::default();
    let mut lists = 0;
    let mut list = List::default();
    let mut sender = None;
    let mut message_id = None;
    let mut place = Place::Between;
    for line in text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)) {
        let blank = line.trim().is_empty();
        if let Some(value) = after_label(line, "recipients") {
            lists += 1;
            place = Place::List;
            list.line(value);
        } else if place == Place::List {
            // Blank lines before the first entry are the mail system's.
            if !blank {
                list.line(line);
            } else if !list.is_empty() {
                place = Place::Between;
            }
        } else if let Some(value) = after_label(line, "sender") {
            place = if sender.is_none() { Place::Sender } else { Place::Between };
            sender.get_or_insert_with(Wrapped::default).line(value);
        } else if let Some(value) = after_label(line, "message-id") {
            place = if message_id.is_none() { Place::MessageId } else { Place::Between };
            message_id.get_or_insert_with(Wrapped::default).line(value);
        } else if blank {
            place = Place::Between;
        } else {
            match (place, &mut sender, &mut message_id) {
                (Place::Sender, Some(value), _) | (Place::MessageId, _, Some(value)) => value.line(line),
                _ => {}
            }
        }
    }
    let sender_seen = sender.is_some();
    parsed.envelope.sender = sender.and_then(|sender| address_of(&sender.value));
    parsed.message_id = message_id.and_then(|id| normal_message_id(&id.value));
    list.end_entry();
    if lists > 1 || (lists == 0 && !sender_seen) {
        return None;
    }
    let mut seen = HashSet::new();
    for entry in list.entries {
        let Some(address) = address_of(&entry) else { continue };
        if seen.insert(address.clone()) {
            let recipient = Recipient { role: Role::Recipient, address, via: None, via_address: None };
            parsed.envelope.recipients.push(recipient);
        }
    }
    Some(parsed)
}

pub fn is_envelope(text: &str) -> bool {
    parse(text, Inner::default()).is_some()
}

/// Where in the text the next line belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Between,
    Sender,
    MessageId,
    List,
}

/// A value that may be wrapped over several lines, up to its closing bracket.
#[derive(Default)]
struct Wrapped {
    value: String,
    lines: usize,
}

impl Wrapped {
    fn line(&mut self, line: &str) {
        if self.lines < ENTRY_LINES_MAX && !self.value.ends_with('>') {
            if !self.value.is_empty() {
                self.value.push(' ');
            }
            self.value.push_str(line.trim());
            self.lines += 1;
        }
    }
}

/// The value of a line that begins with the label. List entries are indented, so a label is not.
fn after_label<'a>(line: &'a str, label: &str) -> Option<&'a str> {
    let (found, value) = line.split_once(':')?;
    found.trim_end().eq_ignore_ascii_case(label).then_some(value)
}

/// Splits the lines of the list into entries.
#[derive(Default)]
struct List {
    entries: Vec<String>,
    entry: String,
    lines: usize,
    quoted: bool,
    bracketed: bool,
}

impl List {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.entry.is_empty()
    }

    fn line(&mut self, line: &str) {
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        if !self.entry.is_empty() {
            self.entry.push(' ');
        }
        let mut escaped = false;
        for c in line.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' if self.quoted => escaped = true,
                '"' if !self.bracketed => self.quoted = !self.quoted,
                '<' if !self.quoted => self.bracketed = true,
                '>' => self.bracketed = self.bracketed && self.quoted,
                ',' if !self.quoted && !self.bracketed => {
                    self.end_entry();
                    continue;
                }
                _ => {}
            }
            self.entry.push(c);
        }
        self.lines += 1;
        let bare = !self.entry.contains(['<', '"']) && self.entry.contains('@');
        let whole = !self.quoted && !self.bracketed && (bare || self.entry.ends_with('>'));
        // A quote that is never closed must not swallow the list.
        let unclosed = self.quoted && self.entry.ends_with('>');
        if whole || unclosed || self.lines >= ENTRY_LINES_MAX {
            self.end_entry();
        }
    }

    fn end_entry(&mut self) {
        let entry = std::mem::take(&mut self.entry);
        if !entry.trim().is_empty() {
            self.entries.push(entry);
        }
        (self.lines, self.quoted, self.bracketed) = (0, false, false);
    }
}

/// `"Name" <smtp:address>`, `Name <address>` or a bare address; what is no SMTP address stays as it is written.
fn address_of(entry: &str) -> Option<String> {
    let entry = entry.trim().trim_end_matches(',').trim_end();
    let address = match entry.rfind('<') {
        Some(open) => entry[open + 1..].trim_end_matches('>'),
        None => entry,
    };
    let address = address.trim();
    // `EX:`, `X400:`, `NOTES:` … in brackets.
    let typed = entry.contains('<')
        && address.split_once(':').is_some_and(|(kind, value)| {
            !value.is_empty() && !kind.is_empty() && kind.len() <= 12 && kind.bytes().all(|b| b.is_ascii_alphanumeric())
        });
    let addressed = address.contains('@') || typed || address.starts_with('/');
    // Citadel writes users of other nodes as `user @ node`.
    if addressed { normal(&address.replace(" @ ", "@")) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipients(list: &str) -> Vec<String> {
        let text = format!("Sender: \"A\" <smtp:a@corp.example>\r\nMessage-ID: <1@x>\r\nRecipients:\r\n{list}");
        let parsed = parse(&text, Inner::default()).unwrap();
        assert_eq!(parsed.envelope.sender.as_deref(), Some("a@corp.example"));
        assert_eq!(parsed.message_id.as_deref(), Some("<1@x>"));
        parsed.envelope.recipients.into_iter().map(|recipient| recipient.address).collect()
    }

    #[test]
    fn the_spellings_of_an_entry() {
        let list = "\t\"Bob, the \\\"first\\\"\" <smtp:Bob@corp.example>,\r\n\t\"Legacy\" <EX:/o=Org/ou=First\r\n\t Group/cn=legacy>,\r\n\
                    \tcarol@corp.example\r\n\tDave D <dave@corp.example>, erin@corp.example,\r\n\t\"Wrapped\r\n\t name\"\r\n\t<SMTP:f@corp.example>,\r\n\
                    \t\"X\" <X400:c=DE;a= ;p=Org;s=Xaver;>,\r\n\tNobody\r\n\r\n\t<smtp:after@corp.example>\r\n";
        let expected = [
            "bob@corp.example",
            "EX:/o=Org/ou=First Group/cn=legacy",
            "carol@corp.example",
            "dave@corp.example",
            "erin@corp.example",
            "f@corp.example",
            "X400:c=DE;a= ;p=Org;s=Xaver;",
        ];
        assert_eq!(recipients(list), expected);
        assert_eq!(recipients(&list.replace("\r\n", "\n")), expected);
    }

    #[test]
    fn wrapped_fields() {
        let text = "Sender: \"Alice\r\n A\"\r\n\t<smtp:a@corp.example>\r\nMessage-ID:\r\n <1@\r\n x>\r\nRecipients:\r\n\t<NOTES:CN=Bob/O=Corp>\r\n";
        let parsed = parse(text, Inner::default()).unwrap();
        assert_eq!(parsed.envelope.sender.as_deref(), Some("a@corp.example"));
        assert_eq!(parsed.message_id.as_deref(), Some("<1@x>"));
        assert_eq!(parsed.envelope.recipients[0].address, "NOTES:CN=Bob/O=Corp");
    }

    #[test]
    fn a_second_list_is_not_believed() {
        let text = "Sender: \"A\nRecipients:\n\t<smtp:ceo@corp.example>\n\n\" <smtp:a@corp.example>\nMessage-ID: <1@x>\nRecipients:\n\tb@corp.example\n";
        assert_eq!(parse(text, Inner::default()), None);
        assert_eq!(parse("Good morning\n", Inner::default()), None);
    }

    #[test]
    fn an_open_quote_costs_one_entry_at_most() {
        let list = "\t\"Open <smtp:a@corp.example>,\r\n\t\"B\" <smtp:b@corp.example>\r\n";
        assert!(recipients(list).contains(&"b@corp.example".to_owned()));
    }
}
