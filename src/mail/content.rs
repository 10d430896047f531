//! What the header of a MIME part says about its body: type, parameters, transfer encoding, name.
//!
//! Tolerant, because every mail program writes these fields a little differently, and bounded, because
//! anybody can write them: a field is read up to [`FIELD_BYTES_MAX`]. Never fails; what cannot be
//! read is text/plain, as RFC 2045 §5.2 wants it.

use super::transfer::Encoding;

/// More of a `Content-*` field is not read; [`Content::truncated`] tells.
pub const FIELD_BYTES_MAX: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// `type/subtype` in lower case.
    pub kind: String,
    /// Names in lower case, values unquoted, in the order of the header.
    pub parameters: Vec<(String, Vec<u8>)>,
    pub encoding: Encoding,
    /// `inline`, `attachment` …, in lower case.
    pub disposition: Option<String>,
    /// From the disposition, else from the type; as written, not decoded.
    pub filename: Option<Vec<u8>>,
    /// Of the disposition, as those of the type: a name in pieces or with a charset (RFC 2231) is put together by who
    /// shows it.
    pub disposition_parameters: Vec<(String, Vec<u8>)>,
    /// `Content-ID`, without its angle brackets.
    pub id: Option<Vec<u8>>,
    /// A field was longer than [`FIELD_BYTES_MAX`].
    pub truncated: bool,
    /// A field occurred more than once; other readers may go by the last.
    pub repeated: bool,
}

impl Content {
    /// The content of a part without fields about it.
    pub fn plain(kind: &str) -> Content {
        Content {
            kind: kind.to_owned(),
            parameters: Vec::new(),
            encoding: Encoding::Identity,
            disposition: None,
            filename: None,
            disposition_parameters: Vec::new(),
            id: None,
            truncated: false,
            repeated: false,
        }
    }

    /// Reads the header of a part. `default_kind` is `message/rfc822` inside of a multipart/digest and
    /// `text/plain` elsewhere. Of a repeated field the first counts.
    pub fn of(header: &[u8], default_kind: &str) -> Content {
        let mut content = Content::plain(default_kind);
        let (mut typed, mut encoded) = (false, false);
        for field in super::header::fields(header) {
            // All fields of interest begin with these letters; most fields are done with here.
            if field.name.len() < 10 || !field.name[..8].eq_ignore_ascii_case(b"content-") {
                continue;
            }
            let value = &field.value[..field.value.len().min(FIELD_BYTES_MAX)];
            let long = field.value.len() > FIELD_BYTES_MAX;
            if field.is("content-type") && !typed {
                typed = true;
                content.truncated |= long;
                let (kind, parameters) = parameterised(value);
                if kind.contains('/') {
                    content.kind = kind;
                }
                content.parameters = parameters;
            } else if field.is("content-transfer-encoding") && !encoded {
                encoded = true;
                content.encoding = Encoding::named(value);
            } else if field.is("content-type") || field.is("content-transfer-encoding") {
                content.repeated = true;
            } else if field.is("content-disposition") && content.disposition.is_none() {
                let (kind, parameters) = parameterised(value);
                content.disposition = Some(kind);
                content.filename = parameters.iter().find(|(name, _)| name == "filename").map(|(_, v)| v.clone());
                content.disposition_parameters = parameters;
            } else if field.is("content-disposition") {
                content.repeated = true;
            } else if field.is("content-id") && content.id.is_none() {
                let id = value.trim_ascii();
                content.id = Some(id.strip_prefix(b"<").and_then(|id| id.strip_suffix(b">")).unwrap_or(id).to_vec());
            }
        }
        if content.filename.is_none() {
            content.filename = content.parameter("name").map(<[u8]>::to_vec);
        }
        content
    }

    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        self.parameters.iter().find(|(found, _)| found == name).map(|(_, value)| &value[..])
    }

    pub fn charset(&self) -> Option<&str> {
        self.parameter("charset").and_then(|value| std::str::from_utf8(value).ok())
    }

    pub fn is_multipart(&self) -> bool {
        self.kind.starts_with("multipart/")
    }

    /// A whole message as a part: RFC 2046 §5.2.1, and RFC 6532 §3.7 for its UTF-8 sister.
    pub fn is_message(&self) -> bool {
        self.kind == "message/rfc822" || self.kind == "message/global"
    }

    /// Lines rather than bytes: text, and the reports among message/* (delivery-status …).
    pub fn is_text(&self) -> bool {
        self.kind.starts_with("text/") || self.kind.starts_with("message/")
    }
}

/// `value; name=value; name="quoted value"` with the value in lower case and without white space.
fn parameterised(field: &[u8]) -> (String, Vec<(String, Vec<u8>)>) {
    let head_end = field.iter().position(|&b| b == b';').unwrap_or(field.len());
    let head = &field[..head_end];
    // A comment is legal after the type, and old mailers do write one.
    let head = &head[..head.iter().position(|&b| b == b'(').unwrap_or(head.len())];
    let kind: String = head.iter().filter(|b| b.is_ascii_graphic()).map(|b| b.to_ascii_lowercase() as char).collect();
    let mut parameters = Vec::new();
    let mut rest = &field[head_end..];
    while let Some((&separator, after)) = rest.split_first() {
        if separator == b';' || separator.is_ascii_whitespace() {
            rest = after;
            continue;
        }
        let name_end = rest.iter().position(|&b| b == b'=' || b == b';').unwrap_or(rest.len());
        let name = String::from_utf8_lossy(rest[..name_end].trim_ascii()).to_ascii_lowercase();
        rest = &rest[name_end..];
        if rest.first() != Some(&b'=') {
            continue;
        }
        let (value, after) = parameter_value(rest[1..].trim_ascii_start());
        rest = after;
        parameters.push((name, value));
    }
    (kind, parameters)
}

/// The value at the start of `text` and what follows it (up to and without the next `;`).
fn parameter_value(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|&b| b == b';').unwrap_or(text.len());
        return (text[..end].trim_ascii().to_vec(), &text[end..]);
    };
    let mut value = Vec::new();
    let mut at = 0;
    while let Some(&byte) = quoted.get(at) {
        at += 1;
        match byte {
            b'"' => break,
            b'\\' if at < quoted.len() => {
                value.push(quoted[at]);
                at += 1;
            }
            // A quoted value may be folded: the line break is not a part of it.
            b'\r' | b'\n' => {}
            other => value.push(other),
        }
    }
    let rest = &quoted[at..];
    let end = rest.iter().position(|&b| b == b';').unwrap_or(rest.len());
    (value, &rest[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spellings_of_the_field() {
        let content = Content::of(
            b"Content-Type: Multipart/Mixed (generated);\r\n\tboundary=\"a \\\"b\\\" =_c--\"; Charset=UTF-8 ;x\r\n\
              content-transfer-encoding : Base64\r\nContent-Disposition: ATTACHMENT; filename=\"in\r\n voice.pdf\"\r\n\r\n",
            "text/plain",
        );
        assert_eq!(content.kind, "multipart/mixed");
        assert_eq!(content.parameter("boundary"), Some(&b"a \"b\" =_c--"[..]));
        assert_eq!(content.charset(), Some("UTF-8"));
        assert_eq!(content.encoding, Encoding::Base64);
        assert_eq!(content.disposition.as_deref(), Some("attachment"));
        assert_eq!(content.filename.as_deref(), Some(&b"in voice.pdf"[..]));
        assert_eq!(content.disposition_parameters, [("filename".to_owned(), b"in voice.pdf".to_vec())]);
        assert_eq!(Content::of(b"Content-Id:\r\n <a@b> \r\n", "text/plain").id.as_deref(), Some(&b"a@b"[..]));
    }

    #[test]
    fn nonsense_is_plain_text() {
        for header in ["", "Content-Type:\n", "Content-Type: text\n", "Content-Type: ;;;=\"\n", "Content-Type: (\n"] {
            assert_eq!(Content::of(header.as_bytes(), "text/plain").kind, "text/plain", "{header}");
        }
    }

    #[test]
    fn a_huge_field_is_cut() {
        let header = format!("Content-Type: text/plain; x=\"{}\"\n", "y".repeat(1 << 20));
        let content = Content::of(header.as_bytes(), "text/plain");
        assert!(content.truncated);
        assert!(content.parameters[0].1.len() <= FIELD_BYTES_MAX);
    }
}
