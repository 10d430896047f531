//! What a list shows of a message: decoded for people, never used for identity.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::header::Headers;
use super::words;

/// Texts are decoded (RFC 2047), unfolded, without control characters, and each at most
/// [`TEXT_BYTES_MAX`] bytes long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// With its angle brackets, as in the header (RFC 5322 §3.6.4); `None` when missing or empty.
    pub message_id: Option<String>,
    /// `None` when the `Date` field is missing or not a date.
    pub date: Option<Timestamp>,
    pub from: String,
    /// The `To` field; at most [`NAMES_MAX`] of them.
    pub to: Vec<String>,
    pub cc: Vec<String>,
    pub subject: String,
}

pub const TEXT_BYTES_MAX: usize = 998;
pub const NAMES_MAX: usize = 50;

/// An address list beyond this is not needed for [`NAMES_MAX`] names.
const LIST_BYTES_MAX: usize = 64 * 1024;

impl Summary {
    pub fn of(headers: &Headers<'_>) -> Summary {
        let short = |text: String| words::truncated(text, TEXT_BYTES_MAX);
        let names = |name: &str| -> Vec<String> {
            let mut names = Vec::new();
            for field in headers.all(name) {
                let value = &field.value[..field.value.len().min(LIST_BYTES_MAX)];
                names.extend(words::mailboxes(value).iter().take(NAMES_MAX).map(|mailbox| short(mailbox.shown())));
                if names.len() >= NAMES_MAX {
                    names.truncate(NAMES_MAX);
                    break;
                }
            }
            names
        };
        Summary {
            message_id: message_id(headers, "message-id").map(short),
            date: headers.get("date").and_then(|field| words::date(field.value)),
            from: names("from").into_iter().next().unwrap_or_default(),
            to: names("to"),
            cc: names("cc"),
            subject: headers.get("subject").map(|field| short(words::text(field.value))).unwrap_or_default(),
        }
    }
}

/// The first field of that name that is not empty, as an identifier in angle brackets. White space inside (from
/// folding) is no part of an identifier.
pub fn message_id(headers: &Headers<'_>, name: &str) -> Option<String> {
    message_ids(headers, name).next()
}

/// The identifiers of all fields of that name: broken mailers write more than one.
pub fn message_ids<'a>(headers: &'a Headers<'_>, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let values = headers.all(name).map(|field| &field.value[..field.value.len().min(8192)]);
    values.filter_map(|value| normal_message_id(&String::from_utf8_lossy(value)))
}

/// Whether two identifiers, in angle brackets, are one. Servers change the case of the domain, so case is no
/// difference; and they write question marks or the like for bytes beyond ASCII, which no identifier should have.
pub fn is_same_message_id(one: &str, other: &str) -> bool {
    if one.is_ascii() && other.is_ascii() {
        return one.eq_ignore_ascii_case(other);
    }
    let is_foreign = |c: char| c == '?' || !c.is_ascii();
    let words = |id: &str| -> Vec<String> {
        id.split(is_foreign).filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect()
    };
    words(one) == words(other)
}

/// The same for a text from elsewhere.
pub fn normal_message_id(text: &str) -> Option<String> {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    let bare = if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Cow::Borrowed(text)
    } else {
        text.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect()
    };
    let bare = match bare.split_once('<') {
        // Some servers put a comment behind it: `<id> (added by postmaster@mx.example)`.
        Some((_, rest)) if !bare.ends_with('>') => rest.trim_start_matches('<').split('>').next().unwrap_or(rest),
        _ => bare.trim_start_matches('<').trim_end_matches('>'),
    };
    if bare.is_empty() { None } else { Some(format!("<{bare}>")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_ordinary_header() {
        let block = b"Message-ID:\r\n <one@corp.example>\r\nDate: Tue, 3 Mar 2026 09:15:00 +0100\r\nFrom: Alice A <alice@corp.example>\r\nTo: bob@corp.example\r\nTo: carol@corp.example\r\nSubject: =?utf-8?q?Z=C3=A4hler?=\r\n\r\n";
        let summary = Summary::of(&Headers::of(block));
        assert_eq!(summary.message_id.as_deref(), Some("<one@corp.example>"));
        assert_eq!(summary.from, "Alice A <alice@corp.example>");
        assert_eq!(summary.to, ["bob@corp.example", "carol@corp.example"]);
        assert_eq!(summary.subject, "Zähler");
    }

    #[test]
    fn identifiers_in_all_spellings() {
        for text in
            ["<1@x>", "1@x", " < 1@x\r\n >", "<<1@x>>", "<1@x> (added by postmaster@mx.example)", "<1@x", "1@x>"]
        {
            assert_eq!(normal_message_id(text).as_deref(), Some("<1@x>"), "{text}");
        }
        for text in ["", " ", "<>", "< >"] {
            assert_eq!(normal_message_id(text), None, "{text}");
        }
        assert!(is_same_message_id("<1@Corp.Example>", "<1@corp.example>"));
        assert!(is_same_message_id("<z\u{fffd}hler.1@x>", "<z??hler.1@x>"));
        for (one, other) in [("<z\u{e4}hler.1@x>", "<z?hler.2@x>"), ("<z\u{e4}1@x>", "<z1@x>"), ("<a?b@x>", "<ab@x>")] {
            assert!(!is_same_message_id(one, other), "{one} {other}");
        }
    }

    #[test]
    fn an_empty_field_is_no_identifier() {
        let headers = Headers::of(b"Message-ID:\r\nMessage-Id: <one@x>\r\nMESSAGE-ID: <two@x>\r\n\r\n");
        assert_eq!(message_id(&headers, "message-id").as_deref(), Some("<one@x>"));
        assert_eq!(message_ids(&headers, "message-id").collect::<Vec<_>>(), ["<one@x>", "<two@x>"]);
    }

    #[test]
    fn limits_hold() {
        let block =
            format!("Message-ID: <>\nSubject: {}\nTo: {}\n", "ä".repeat(5000), "someone@corp.example, ".repeat(5000));
        let summary = Summary::of(&Headers::of(block.as_bytes()));
        assert_eq!(summary.message_id, None);
        assert!(summary.subject.len() <= TEXT_BYTES_MAX && summary.subject.len() > TEXT_BYTES_MAX - 2);
        assert_eq!(summary.to.len(), NAMES_MAX);
    }
}
