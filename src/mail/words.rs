//! Header values as people read them: encoded words (RFC 2047), address lists, dates.
//!
//! mail-parser does the reading, and it only ever sees one field value of bounded length: given a whole
//! mail it decodes every part eagerly, and nesting can overflow its stack. The results are for display and for
//! step-down envelopes; nothing here decides what a message is.

use jiff::Timestamp;
use mail_parser::parsers::MessageStream;
use mail_parser::{Address as ParsedAddress, HeaderValue};
use memchr::memmem;

use super::encoded_words::{self, WORD_MAX};

/// Longer unstructured values are cut before they are decoded.
const TEXT_INPUT_MAX: usize = 16 * 1024;
/// Longer address lists are read in pieces of this size; a single entry is cut there.
const LIST_INPUT_MAX: usize = 1024 * 1024;
/// No further piece is read when a list has so many entries.
const MAILBOXES_MAX: usize = 100_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mailbox {
    pub name: Option<String>,
    /// As written, without angle brackets.
    pub address: Option<String>,
}

/// An unstructured value (`Subject`), decoded and on one line.
pub fn text(value: &[u8]) -> String {
    clean(&text_with_breaks(value))
}

/// The same with the control characters that were *encoded* in it, for those who look for injected lines.
pub fn text_with_breaks(value: &[u8]) -> String {
    let input = prepared(&value[..value.len().min(TEXT_INPUT_MAX)]);
    match MessageStream::new(&input).parse_unstructured() {
        HeaderValue::Text(text) => text.trim().to_owned(),
        _ => String::new(),
    }
}

/// The mailboxes of an address list, groups flattened, in their order.
pub fn mailboxes(value: &[u8]) -> Vec<Mailbox> {
    let mut mailboxes = Vec::new();
    let mut rest = value;
    while !rest.is_empty() && mailboxes.len() < MAILBOXES_MAX {
        let (piece, after) = rest.split_at(piece_of_list(rest));
        mailboxes_of_piece(piece, &mut mailboxes);
        rest = after;
    }
    mailboxes
}

/// How much of a long list is read at once: up to the end of an entry. A comma can stand in a quoted name, but hardly
/// behind an address or at the end of a line.
fn piece_of_list(list: &[u8]) -> usize {
    let Some(window) = list.get(..LIST_INPUT_MAX) else { return list.len() };
    let ends = [&b">,"[..], b",\r\n", b",\n", b","];
    ends.iter().find_map(|end| Some(memmem::rfind(window, end)? + end.len())).unwrap_or(list.len())
}

fn mailboxes_of_piece(piece: &[u8], mailboxes: &mut Vec<Mailbox>) {
    let input = prepared(&piece[..piece.len().min(LIST_INPUT_MAX)]);
    let HeaderValue::Address(list) = MessageStream::new(&input).parse_address() else { return };
    let parsed = match list {
        ParsedAddress::List(list) => list,
        ParsedAddress::Group(groups) => groups.into_iter().flat_map(|group| group.addresses).collect(),
    };
    let kept = |text: Option<std::borrow::Cow<'_, str>>| text.map(|t| clean(&t)).filter(|t| !t.is_empty());
    let all = parsed.into_iter().map(|one| Mailbox { name: kept(one.name), address: kept(one.address) }.mended());
    mailboxes.extend(all.filter(|one| one.name.is_some() || one.address.is_some()));
}

/// A `Date`; `None` for what is none.
pub fn date(value: &[u8]) -> Option<Timestamp> {
    let input = prepared(&value[..value.len().min(256)]);
    match MessageStream::new(&input).parse_date() {
        HeaderValue::DateTime(date) if date.is_valid() => Timestamp::from_second(date.to_timestamp()).ok(),
        _ => None,
    }
}

impl Mailbox {
    /// mail-parser takes a quoted local part for a name (`"a b"@x`), and leaves a route where it is (`@relay:a@x`).
    fn mended(self) -> Mailbox {
        match (self.name, self.address) {
            (name, Some(address)) if address.starts_with('@') => match (name, address.rsplit_once(':')) {
                (name, Some((_, address))) => Mailbox { name, address: Some(address.to_owned()) },
                (Some(local), None) => Mailbox { name: None, address: Some(format!("\"{local}\"{address}")) },
                (None, None) => Mailbox { name: None, address: Some(address) },
            },
            (name, address) => Mailbox { name, address },
        }
    }

    /// `Name <address>`, or what there is of it.
    pub fn shown(&self) -> String {
        match (&self.name, &self.address) {
            (Some(name), Some(address)) => format!("{name} <{address}>"),
            (Some(text), None) | (None, Some(text)) => text.clone(),
            (None, None) => String::new(),
        }
    }
}

/// Control characters become spaces; runs of white space become one space.
pub fn clean(text: &str) -> String {
    // Most texts are clean: printable ASCII with single spaces inside.
    let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if printable && !text.starts_with(' ') && !text.ends_with(' ') && !text.contains("  ") {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        // Direction overrides let a display name lie about what follows it.
        out.extend(
            word.chars().filter(|c| !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')),
        );
    }
    out
}

/// At most `bytes` bytes of `text`, cut between characters.
pub fn truncated(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let mut end = bytes;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

/// What mail-parser is given: UTF-8 (8-bit headers are windows-1252 in the field when they are not UTF-8), a
/// line break at the end, and no encoded word that begins without ending nearby: each of those would be
/// read to the end of the field, which makes a field full of them quadratic.
fn prepared(value: &[u8]) -> Vec<u8> {
    let value = &*encoded_words::in_utf8(value);
    let mut input = match std::str::from_utf8(value) {
        Ok(_) => value.to_vec(),
        // The cut above may have gone through a character.
        Err(error) if error.error_len().is_none() => value[..error.valid_up_to()].to_vec(),
        Err(_) => encoding_rs::WINDOWS_1252.decode_without_bom_handling(value).0.into_owned().into_bytes(),
    };
    if input.len() > WORD_MAX {
        let mut word_end = usize::MAX;
        for at in (0..input.len() - 1).rev() {
            if input[at] == b'?' && input[at + 1] == b'=' {
                word_end = at;
            } else if input[at] == b'=' && input[at + 1] == b'?' && word_end.saturating_sub(at) > WORD_MAX {
                input[at] = b' ';
            }
        }
    }
    input.push(b'\n');
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_decoded_on_one_line() {
        assert_eq!(text(b" =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n =?utf-8?q?_aus?=\r\n\tKiel"), "Grüße aus Kiel");
        assert_eq!(text(b" =?utf-8?q?a=0D=0ARecipient:_x?="), "a Recipient: x");
        assert_eq!(text(b" Gr\xfc\xdfe"), "Grüße");
        assert_eq!(text("Grüße".as_bytes()), "Grüße");
        // A character cut in two, and another charset behind it.
        assert_eq!(text(b"=?utf-8?B?WsM=?=\r\n =?UTF-8?Q?=A4hler_?= =?iso-8859-1?q?f=FCr?= x"), "Zähler für x");
        assert_eq!(text(b"=?iso-2022-jp?B?GyRCO01IPjR8GyhC?="), "四半期");
        assert_eq!(text(b"=?gb2312?B?vL62yMr919Y=?="), "季度数字");
        assert_eq!(text(b"=?utf-8*de?Q?Z=C3=A4hler?= =?utf-8?Q?broken"), "Zähler =?utf-8?Q?broken");
        assert_eq!(text("=?utf-8?q?Z=C3=A4hler_?= ".repeat(400).as_bytes()), "Zähler ".repeat(400).trim());
        assert_eq!(text(b""), "");
    }

    #[test]
    fn lists_and_groups() {
        let list = b" =?utf-8?q?B=C3=B6rge?= <boerge@corp.example>, \"Doe, Jane\" <jane@corp.example>,\r\n plain@corp.example, Team: a@corp.example, b@corp.example;";
        let shown: Vec<_> = mailboxes(list).iter().map(Mailbox::shown).collect();
        assert_eq!(
            shown,
            [
                "Börge <boerge@corp.example>",
                "Doe, Jane <jane@corp.example>",
                "plain@corp.example",
                "a@corp.example",
                "b@corp.example"
            ]
        );
        assert_eq!(mailboxes(b"undisclosed-recipients:;"), []);
        let addresses = |list: &[u8]| mailboxes(list).into_iter().filter_map(|one| one.address).collect::<Vec<_>>();
        let odd = b"\"a b\"@corp.example, <@relay.example,@other.example:c@corp.example>, \"d\"@corp.example";
        assert_eq!(addresses(odd), ["\"a b\"@corp.example", "c@corp.example", "\"d\"@corp.example"]);
        let list = b"=?utf-8?q?Doe=2C?= =?utf-8?q?_\x22Jane\x22?= <jane@corp.example>, b@corp.example";
        assert_eq!(addresses(list), ["jane@corp.example", "b@corp.example"]);
        assert_eq!(mailboxes(b""), []);
    }

    #[test]
    fn a_list_beyond_one_piece_is_whole() {
        for list in [
            (0..100_000).map(|n| format!("\"Doe, {n}\" <user{n}@corp.example>, ")).collect::<String>(),
            (0..100_000).map(|n| format!("user{n}@corp.example,\r\n ")).collect::<String>(),
        ] {
            let mailboxes = mailboxes(list.as_bytes());
            assert_eq!(mailboxes.len(), 100_000);
            assert!(mailboxes.iter().enumerate().all(|(n, m)| m.address == Some(format!("user{n}@corp.example"))));
        }
    }

    #[test]
    fn dates() {
        assert_eq!(date(b" Tue, 3 Mar 2026 09:15:00 +0100").unwrap().to_string(), "2026-03-03T08:15:00Z");
        for bad in ["", "yesterday", "99 99 9999 99:99:99", "Tue, 0 Foo 2026 00:00:00 +0000"] {
            assert_eq!(date(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn hostile_values_take_no_time() {
        for pattern in [
            "=?",
            "=?utf-8?q?",
            "=?utf-8?q?=",
            "=?utf-8?b?A",
            "=?aa?q?=?=",
            "(",
            "\"",
            "<",
            "\\",
            ",",
            ":",
            ";",
            "a@b ",
            "=?a ?= ",
            "\r\n ",
        ] {
            let value = pattern.repeat(LIST_INPUT_MAX / pattern.len() + 9);
            let _ = mailboxes(value.as_bytes());
            let _ = text(value.as_bytes());
            let _ = date(value.as_bytes());
        }
    }

    #[test]
    fn truncation_keeps_characters_whole() {
        assert_eq!(truncated("aä".into(), 2), "a");
        assert_eq!(truncated("aä".into(), 3), "aä");
    }
}
