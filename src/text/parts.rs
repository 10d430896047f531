//! Which parts of a mail are its text, and which are attachments. No byte of a body is looked at here.

use crate::mail::mime::{Kind, Structure};

use super::names;

/// What a part is to a reader; in the order of the mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A leaf whose text is read with the mail.
    Body(usize),
    /// One text in two spellings, of which a reader is shown one.
    Alternative { plain: Option<usize>, html: Option<usize> },
    /// A whole message: an attachment whose header is read here, and whose parts follow.
    Message(usize),
    /// A leaf that hangs on the mail.
    Attachment(usize),
}

/// Every leaf is in one piece exactly, and every message.
pub fn pieces(structure: &Structure) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(structure.parts.len());
    let mut taken = vec![false; structure.parts.len()];
    for (index, part) in structure.parts.iter().enumerate() {
        if taken[index] {
            continue;
        }
        if !structure.is_leaf(index) {
            if part.kind == Kind::Message {
                pieces.push(Piece::Message(index));
            } else if part.content.kind == "multipart/alternative" {
                let (plain, html) = spellings(structure, index, &taken);
                for one in [plain, html].into_iter().flatten() {
                    taken[one] = true;
                }
                if plain.is_some() || html.is_some() {
                    pieces.push(Piece::Alternative { plain, html });
                }
            }
        } else if is_body(structure, index) {
            pieces.push(Piece::Body(index));
        } else {
            pieces.push(Piece::Attachment(index));
        }
    }
    pieces
}

/// The plain text and the HTML of an alternative. The HTML may stand within a `multipart/related`, or a
/// `multipart/mixed` as some mailers write it.
fn spellings(structure: &Structure, alternative: usize, taken: &[bool]) -> (Option<usize>, Option<usize>) {
    let (mut plain, mut html) = (None, None);
    let is = |index: usize, kind: &str| {
        let found = structure.parts[index].content.kind.as_str();
        !taken[index] && structure.is_leaf(index) && is_body(structure, index) && found == kind
    };
    for child in structure.children(alternative) {
        if is(child, "text/plain") {
            plain = plain.or(Some(child));
        } else if is(child, "text/html") {
            html = html.or(Some(child));
        } else if matches!(structure.parts[child].content.kind.as_str(), "multipart/related" | "multipart/mixed") {
            html = html.or_else(|| structure.children(child).find(|&inner| is(inner, "text/html")));
        }
    }
    (plain, html)
}

/// A text without a name that nobody calls an attachment; and what reports say in lines.
fn is_body(structure: &Structure, index: usize) -> bool {
    let content = &structure.parts[index].content;
    match content.kind.as_str() {
        "message/delivery-status"
        | "message/global-delivery-status"
        | "message/disposition-notification"
        | "message/global-disposition-notification"
        | "message/feedback-report"
        | "text/rfc822-headers"
        | "message/global-headers" => true,
        "text/plain" | "text/html" | "text/enriched" | "application/xhtml+xml" => {
            content.disposition.as_deref() != Some("attachment") && !names::has_name(content)
        }
        // No delimiter was found in it: a reader is shown what there is.
        kind => kind.starts_with("multipart/"),
    }
}

/// Within a `multipart/related`, beside the text that shows it.
pub fn is_related(structure: &Structure, index: usize) -> bool {
    let parent = structure.parts[index].parent;
    parent.is_some_and(|parent| structure.parts[parent].content.kind == "multipart/related" && index > parent + 1)
}

/// The signature of a `multipart/signed`: part of how the mail was sent, not of what was.
pub fn is_signature(structure: &Structure, index: usize) -> bool {
    let part = &structure.parts[index];
    part.content.kind.ends_with("-signature")
        && part.parent.is_some_and(|parent| structure.parts[parent].content.kind == "multipart/signed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::mime::scan;

    fn of(text: &str) -> Vec<Piece> {
        pieces(&scan(text.replace('\n', "\r\n").as_bytes()))
    }

    fn multipart(kind: &str, boundary: &str, parts: &[&str]) -> String {
        let parts: String = parts.iter().map(|part| format!("--{boundary}\n{part}\n")).collect();
        format!("Content-Type: multipart/{kind}; boundary={boundary}\n\n{parts}--{boundary}--\n")
    }

    const PLAIN: &str = "Content-Type: text/plain\n\nplain";
    const HTML: &str = "Content-Type: text/html\n\n<p>html";
    const IMAGE: &str = "Content-Type: image/png\nContent-ID: <a>\n\nx";
    const NAMED: &str = "Content-Type: text/plain; name*0=a; name*1=.txt\n\nx";

    #[test]
    fn text_and_attachments() {
        assert_eq!(of("Subject: x\n\ntext"), [Piece::Body(0)]);
        assert_eq!(of(""), [Piece::Body(0)]);
        assert_eq!(of(NAMED), [Piece::Attachment(0)]);
        let related = multipart("related", "r", &[HTML, IMAGE]);
        let calendar = "Content-Type: text/calendar\n\nBEGIN:VCALENDAR";
        let alternative = multipart("alternative", "a", &[PLAIN, &related, calendar]);
        let mixed = multipart("mixed", "m", &[&alternative, NAMED, PLAIN, "Content-Disposition: attachment\n\nx"]);
        // mixed, alternative, plain, related, html, image, calendar, named, plain, attachment
        assert_eq!(
            of(&mixed),
            [
                Piece::Alternative { plain: Some(2), html: Some(4) },
                Piece::Attachment(5),
                Piece::Attachment(6),
                Piece::Attachment(7),
                Piece::Body(8),
                Piece::Attachment(9),
            ]
        );
        assert!(is_related(&scan(related.as_bytes()), 2) && !is_related(&scan(related.as_bytes()), 1));
    }

    #[test]
    fn messages_and_reports() {
        let inner = format!("Content-Type: message/rfc822\n\nSubject: inner\n{PLAIN}");
        let status = "Content-Type: message/delivery-status; name=details.txt\n\nStatus: 5.1.1";
        let report = multipart("report", "r", &[PLAIN, status, &inner]);
        let expected = [Piece::Body(1), Piece::Body(2), Piece::Message(3), Piece::Body(4)];
        assert_eq!(of(&report), expected);
        let encoded = "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogeA==";
        assert_eq!(of(encoded), [Piece::Attachment(0)]);
        assert_eq!(of("Content-Type: multipart/mixed; boundary=never\n\ntext"), [Piece::Body(0)]);
        let signature = "Content-Type: application/pgp-signature\n\nx";
        let signed = multipart("signed", "s", &[PLAIN, signature]);
        assert!(is_signature(&scan(signed.as_bytes()), 2));
    }
}
