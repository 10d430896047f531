//! Names of attachments: as the mail gives them, and made safe for a file; and what a name or a type says about how to
//! read the words in it.

use memchr::memmem;

use crate::mail::content::Content;
use crate::mail::transfer::{self, Encoding};
use crate::mail::{encoded_words, words};

/// The file name that the header of a part gives, decoded: RFC 2231 in its forms, else RFC 2047 (which RFC 2231
/// forbids and mailers write), of the disposition first.
pub fn of_part(content: &Content) -> Option<String> {
    let given =
        |parameters: &[(String, Vec<u8>)], wanted: &str| named(parameters, wanted).filter(|name| !name.is_empty());
    given(&content.disposition_parameters, "filename").or_else(|| given(&content.parameters, "name"))
}

pub fn has_name(content: &Content) -> bool {
    let is = |name: &str, wanted: &str| name.split('*').next() == Some(wanted);
    content.filename.is_some()
        || content.disposition_parameters.iter().any(|(name, _)| is(name, "filename"))
        || content.parameters.iter().any(|(name, _)| is(name, "name"))
}

fn named(parameters: &[(String, Vec<u8>)], wanted: &str) -> Option<String> {
    // `name*0*=`, `name*1=` … in any order; `name*=` is all of it.
    let mut pieces: Vec<(u32, bool, &[u8])> = Vec::new();
    let mut plain = None;
    for (name, value) in parameters {
        let Some(rest) = name.strip_prefix(wanted) else { continue };
        if rest.is_empty() {
            plain = plain.or(Some(value));
            continue;
        }
        let Some(rest) = rest.strip_prefix('*') else { continue };
        let (number, encoded) = match rest.strip_suffix('*') {
            Some(number) => (number, true),
            None => (rest, rest.is_empty()),
        };
        let number = if number.is_empty() { Some(0) } else { number.parse().ok() };
        pieces.extend(number.map(|number| (number, encoded, value.as_slice())));
    }
    pieces.sort_by_key(|(number, _, _)| *number);
    pieces.dedup_by_key(|(number, _, _)| *number);
    if pieces.first().is_none_or(|(number, _, _)| *number != 0) {
        return plain.map(|value| encoded_text(value));
    }
    let mut bytes = Vec::new();
    let mut charset = None;
    for (at, (number, encoded, value)) in pieces.into_iter().enumerate() {
        if number as usize != at {
            break;
        }
        let mut value = value;
        if at == 0 && encoded {
            let mut parts = value.splitn(3, |&byte| byte == b'\'');
            if let (Some(label), Some(_language), Some(rest)) = (parts.next(), parts.next(), parts.next()) {
                charset = Some(String::from_utf8_lossy(label).into_owned());
                value = rest;
            }
        }
        if encoded { unescape(value, &mut bytes) } else { bytes.extend_from_slice(value) }
    }
    if charset.is_none() && bytes.windows(2).any(|two| two == b"=?") {
        return Some(encoded_text(&bytes));
    }
    Some(words::clean(&transfer::to_utf8(&bytes, charset.as_deref().filter(|label| !label.is_empty()))))
}

/// Encoded words as they stand in names: mailers write an ending right behind them, and it is no word of its own.
fn encoded_text(value: &[u8]) -> String {
    const START: &[u8] = b"=?utf-8?B?";
    let value = encoded_words::in_utf8(value);
    let mut text = String::new();
    let mut rest = &*value;
    while let Some(at) = memmem::find(rest, START) {
        let word = &rest[at + START.len()..];
        let Some(end) = memmem::find(word, b"?=") else { break };
        // A blank parts the pieces of one long text.
        if at != 1 || text.is_empty() || rest[0] != b' ' {
            text.push_str(&transfer::to_utf8(&rest[..at], None));
        }
        text.push_str(&String::from_utf8_lossy(&transfer::decode(Encoding::Base64, &word[..end])));
        rest = &word[end + 2..];
    }
    text.push_str(&transfer::to_utf8(rest, None));
    words::clean(&text)
}

/// `%41`.
fn unescape(value: &[u8], out: &mut Vec<u8>) {
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (byte, escaped) {
            (b'%', Some(value)) => {
                out.push(value);
                rest = &after[2..];
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
}

const FILE_NAME_BYTES_MAX: usize = 150;
const EXTENSION_BYTES_MAX: usize = 20;

/// A name for a file of an attachment, whatever the mail calls it: one that every file system takes, Windows' too, that
/// leads nowhere, hides nothing, and is no option of a command. Not empty; unique it is made by who writes the file.
pub fn safe_file_name(name: &str, number: u32, kind: &str) -> String {
    // What stands before a separator is a path of another machine.
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut safe: String = last
        .chars()
        .map(|c| match c {
            '<' | '>' | ':' | '"' | '|' | '?' | '*' | '%' | '`' | '$' => '_',
            c if c.is_control() || is_deceptive(c) => '_',
            c if c.is_whitespace() => ' ',
            c => c,
        })
        .collect();
    safe = safe.trim_matches([' ', '.']).to_owned();
    if safe.chars().all(|c| matches!(c, '_' | ' ' | '.' | '-')) {
        safe = format!("attachment-{number}{}", extension_of_kind(kind));
    }
    if safe.starts_with(['-', '~']) {
        safe.insert(0, '_');
    }
    let stem = safe.split('.').next().unwrap_or_default().trim_end();
    if is_reserved(stem) {
        safe.insert(0, '_');
    }
    if safe.len() > FILE_NAME_BYTES_MAX {
        let extension = match safe.rsplit_once('.') {
            Some((_, extension)) if extension.len() <= EXTENSION_BYTES_MAX => format!(".{extension}"),
            _ => String::new(),
        };
        safe.truncate(safe.floor_char_boundary(FILE_NAME_BYTES_MAX - extension.len()));
        safe.truncate(safe.trim_end_matches([' ', '.']).len());
        safe.push_str(&extension);
    }
    safe
}

/// Characters that make a name look like another: directions of writing, and what has no width.
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Names that Windows keeps for devices, with any ending.
fn is_reserved(stem: &str) -> bool {
    let stem = stem.to_ascii_uppercase();
    if matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$") {
        return true;
    }
    let device = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    device.is_some_and(|number| {
        let mut chars = number.chars();
        matches!((chars.next(), chars.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    })
}

fn extension_of_kind(kind: &str) -> &'static str {
    match kind {
        "message/rfc822" | "message/global" => ".eml",
        "text/plain" => ".txt",
        "text/html" => ".html",
        "text/calendar" => ".ics",
        "text/vcard" | "text/x-vcard" => ".vcf",
        "text/csv" => ".csv",
        "application/pdf" => ".pdf",
        "application/zip" => ".zip",
        "application/ms-tnef" => ".dat",
        "application/pkcs7-signature" | "application/x-pkcs7-signature" => ".p7s",
        "application/pkcs7-mime" | "application/x-pkcs7-mime" => ".p7m",
        "application/pgp-signature" => ".asc",
        "image/jpeg" => ".jpg",
        "image/png" => ".png",
        "image/gif" => ".gif",
        "image/svg+xml" => ".svg",
        _ => ".bin",
    }
}

/// How the words in an attachment are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    Plain,
    Html,
    /// iCalendar and vCard: folded lines of properties.
    Properties,
    Rich,
    /// Office XML, OpenDocument, and other zips, of which the names of the entries are words.
    Zip,
    Pdf,
    Mail,
    Tnef,
    None,
}

impl Words {
    /// By the type; where that is general, or says nothing, by the ending of the name.
    pub fn of(kind: &str, name: &str) -> Words {
        let by_kind = match kind {
            "text/html" | "application/xhtml+xml" => Some(Words::Html),
            "text/calendar" | "application/ics" | "text/vcard" | "text/x-vcard" | "text/directory" => {
                Some(Words::Properties)
            }
            "text/rtf" | "text/richtext" | "application/rtf" | "application/x-rtf" => Some(Words::Rich),
            "application/pdf" | "application/x-pdf" => Some(Words::Pdf),
            "message/rfc822" | "message/global" => Some(Words::Mail),
            "application/ms-tnef" | "application/vnd.ms-tnef" => Some(Words::Tnef),
            "application/json"
            | "application/xml"
            | "application/csv"
            | "application/x-yaml"
            | "application/yaml"
            | "application/javascript"
            | "application/x-javascript"
            | "application/sql"
            | "application/x-sh" => Some(Words::Plain),
            "text/plain" | "application/octet-stream" | "application/zip" | "application/x-zip-compressed" => None,
            kind if kind.starts_with("application/vnd.openxmlformats-officedocument.")
                || kind.starts_with("application/vnd.oasis.opendocument.")
                || kind.starts_with("application/vnd.ms-") && kind.contains(".macroenabled.") =>
            {
                Some(Words::Zip)
            }
            kind if kind.ends_with("+xml") && kind != "image/svg+xml" || kind.ends_with("+json") => Some(Words::Plain),
            kind if kind.starts_with("text/") || kind.starts_with("message/") => Some(Words::Plain),
            _ => None,
        };
        by_kind.or_else(|| Words::of_ending(name)).unwrap_or(match kind {
            "text/plain" => Words::Plain,
            "application/zip" | "application/x-zip-compressed" => Words::Zip,
            _ => Words::None,
        })
    }

    fn of_ending(name: &str) -> Option<Words> {
        if name.eq_ignore_ascii_case("winmail.dat") {
            return Some(Words::Tnef);
        }
        let (_, ending) = name.rsplit_once('.')?;
        Some(match ending.trim_end().to_ascii_lowercase().as_str() {
            "txt" | "text" | "log" | "md" | "csv" | "tsv" | "json" | "xml" | "yaml" | "yml" | "toml" | "ini"
            | "cfg" | "conf" | "sql" | "asc" | "tex" | "srt" | "diff" | "patch" | "properties" => Words::Plain,
            "html" | "htm" | "xhtml" => Words::Html,
            "ics" | "vcs" | "vcf" => Words::Properties,
            "rtf" => Words::Rich,
            "docx" | "docm" | "dotx" | "xlsx" | "xlsm" | "xltx" | "pptx" | "pptm" | "ppsx" | "potx" | "odt" | "ott"
            | "ods" | "ots" | "odp" | "otp" | "odg" | "zip" => Words::Zip,
            "pdf" => Words::Pdf,
            "eml" => Words::Mail,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(header: &str) -> Option<String> {
        let content = Content::of(header.as_bytes(), "text/plain");
        assert_eq!(has_name(&content), of_part(&content).is_some() || header.contains("=\"\""), "{header}");
        of_part(&content)
    }

    #[test]
    fn the_spellings_of_a_name() {
        for (header, expected) in [
            ("Content-Disposition: attachment; filename=\"a b.pdf\"", "a b.pdf"),
            ("Content-Type: application/pdf; name=a.pdf", "a.pdf"),
            ("Content-Disposition: attachment; filename==?utf-8?q?Z=C3=A4hler.pdf?=", "Zähler.pdf"),
            ("Content-Disposition: attachment; filename=\"a =?utf-8?q?=C3=A4?=.pdf\"", "a ä.pdf"),
            (
                "Content-Disposition: attachment; filename=\"=?utf-8?B?WsM=?=\r\n =?utf-8?Q?=A4hler=2Epdf?=\"",
                "Zähler.pdf",
            ),
            ("Content-Disposition: attachment; filename*=UTF-8''Z%C3%A4hler%20%25.pdf", "Zähler %.pdf"),
            ("Content-Disposition: attachment; filename*=iso-8859-1'de'Z%E4hler.pdf; filename=x.pdf", "Zähler.pdf"),
            (
                "Content-Disposition: attachment;\r\n filename*1=\"ler \";\r\n filename*0*=utf-8''Z%C3%A4h;\r\n filename*2*=%E2%82%AC.pdf",
                "Zähler €.pdf",
            ),
            // A piece is missing: what there is before it.
            ("Content-Disposition: attachment; filename*0=\"one\"; filename*2=\"three\"", "one"),
            ("Content-Disposition: attachment; filename*1=\"two\"; filename=whole", "whole"),
            ("Content-Disposition: attachment; filename*0==?utf-8?q?=C3=A4?=; filename*1=.pdf", "ä.pdf"),
            ("Content-Type: text/plain; name*=utf-8''%C3%A4.txt", "ä.txt"),
            ("Content-Disposition: attachment; filename*=''a%4.txt", "a%4.txt"),
            ("Content-Disposition: attachment; filename=\"Z\u{e4}hler.pdf\"", "Zähler.pdf"),
            ("Content-Disposition: inline; filename=\"\"; x=y\r\nContent-Type: image/png; name=b.png", "b.png"),
        ] {
            assert_eq!(name(header).as_deref(), Some(expected), "{header}");
        }
        for header in ["", "Content-Disposition: attachment", "Content-Disposition: attachment; filename=\"\""] {
            assert_eq!(name(header), None, "{header}");
        }
        let raw = Content::of(b"Content-Disposition: attachment; filename=\"Z\xe4hler.pdf\"", "text/plain");
        assert_eq!(of_part(&raw).as_deref(), Some("Zähler.pdf"));
    }

    #[test]
    fn file_names_are_safe() {
        let safe = |name: &str| safe_file_name(name, 3, "image/png");
        for (name, expected) in [
            ("report.pdf", "report.pdf"),
            ("Zähler 日本.pdf", "Zähler 日本.pdf"),
            ("../../etc/passwd", "passwd"),
            ("..\\..\\evil.exe", "evil.exe"),
            ("/etc/cron.d/x", "x"),
            ("C:\\x\\y.txt", "y.txt"),
            ("C:evil.txt", "C_evil.txt"),
            ("file.txt:stream", "file.txt_stream"),
            ("a\x1b[2J\r\nb\0.txt", "a_[2J__b_.txt"),
            ("invoice\u{202e}fdp.exe", "invoice_fdp.exe"),
            ("a\u{200b}b\u{2028}c", "a_b_c"),
            (" ..hidden. . ", "hidden"),
            (".bashrc", "bashrc"),
            ("-rf", "_-rf"),
            ("~root", "_~root"),
            ("CON", "_CON"),
            ("nul.txt", "_nul.txt"),
            ("Com1.tar.gz", "_Com1.tar.gz"),
            ("lpt¹", "_lpt¹"),
            ("COM10", "COM10"),
            ("aux .txt", "_aux .txt"),
            ("console.log", "console.log"),
            ("a?b*c|d<e>f\"g$(h)`i`%j%", "a_b_c_d_e_f_g_(h)_i__j_"),
            ("", "attachment-3.png"),
            ("..", "attachment-3.png"),
            ("x/", "attachment-3.png"),
            ("***", "attachment-3.png"),
            ("\u{202e}", "attachment-3.png"),
        ] {
            assert_eq!(safe(name), expected, "{name:?}");
        }
        let long = safe(&format!("{}.docx", "ä".repeat(5000)));
        assert!(long.len() <= 150 && long.ends_with("ä.docx"));
        assert!(safe(&format!("a.{}", "b".repeat(5000))).len() <= 150);
        assert_eq!(safe_file_name("", 1, "x/y"), "attachment-1.bin");
    }

    #[test]
    fn what_is_read_how() {
        for (kind, name, words) in [
            ("application/pdf", "x", Words::Pdf),
            ("application/octet-stream", "Invoice.PDF", Words::Pdf),
            ("application/octet-stream", "x.bin", Words::None),
            ("application/msword", "x.docx", Words::Zip),
            ("application/msword", "x.doc", Words::None),
            ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "x", Words::Zip),
            ("application/vnd.ms-excel.sheet.macroenabled.12", "x", Words::Zip),
            ("application/vnd.ms-excel", "x.xls", Words::None),
            ("application/zip", "x", Words::Zip),
            ("text/plain", "notes", Words::Plain),
            ("text/plain", "mail.eml", Words::Mail),
            ("text/x-unknown", "x", Words::Plain),
            ("application/octet-stream", "winmail.dat", Words::Tnef),
            ("application/soap+xml", "", Words::Plain),
            ("image/svg+xml", "x.svg", Words::None),
            ("image/png", "", Words::None),
            ("text/calendar", "", Words::Properties),
        ] {
            assert_eq!(Words::of(kind, name), words, "{kind} {name}");
        }
    }
}
