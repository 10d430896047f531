//! Writes ordinary mails: header, text, HTML and attachments, byte for byte the same every time.
//!
//! Only domains reserved for examples and tests may appear in what this room writes.

use base64::Engine as _;
use jiff::Timestamp;

/// A mail to be written. Header values are written as they are given.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Trace fields and others above `From`, as `(name, value)`.
    pub trace: Vec<(String, String)>,
    pub from: String,
    pub to: String,
    pub cc: String,
    /// An inner `Bcc:` header, as some senders leave it in.
    pub bcc: String,
    pub subject: String,
    pub date: Timestamp,
    /// With angle brackets; empty: the header is left out.
    pub message_id: String,
    pub text: String,
    pub html: Option<String>,
    pub attachments: Vec<Attachment>,
}

#[derive(Clone, Debug)]
pub struct Attachment {
    pub name: String,
    pub media_type: String,
    pub bytes: Vec<u8>,
}

impl Message {
    /// The bytes, with CRLF line ends; UTF-8 text goes out as 8bit.
    pub fn write(&self) -> Vec<u8> {
        let mut out = String::new();
        let mut field = |name: &str, value: &str| {
            if !value.is_empty() {
                out.push_str(&format!("{name}: {value}\r\n"));
            }
        };
        for (name, value) in &self.trace {
            field(name, value);
        }
        field("From", &self.from);
        field("To", &self.to);
        field("Cc", &self.cc);
        field("Bcc", &self.bcc);
        field("Subject", &self.subject);
        field("Date", &rfc5322_date(self.date));
        field("Message-ID", &self.message_id);
        field("MIME-Version", "1.0");
        let body = match &self.html {
            None => leaf("text/plain; charset=utf-8", &self.text),
            Some(html) => multipart(
                "alternative",
                &self.boundary("alt"),
                &[leaf("text/plain; charset=utf-8", &self.text), leaf("text/html; charset=utf-8", html)],
            ),
        };
        if self.attachments.is_empty() {
            out.push_str(&body);
        } else {
            let mut parts = vec![body];
            parts.extend(self.attachments.iter().map(attachment));
            out.push_str(&multipart("mixed", &self.boundary("mix"), &parts));
        }
        out.into_bytes()
    }

    /// A boundary that belongs to this mail: it must not depend on anything but the mail.
    fn boundary(&self, kind: &str) -> String {
        let digest = crate::base::digest::Digest::of(self.message_id.as_bytes()).to_string();
        format!("----=_{kind}_{}", &digest[..24])
    }
}

/// Header and body of a text part.
fn leaf(media_type: &str, text: &str) -> String {
    let transfer = if text.is_ascii() { "7bit" } else { "8bit" };
    format!("Content-Type: {media_type}\r\nContent-Transfer-Encoding: {transfer}\r\n\r\n{}\r\n", crlf(text))
}

fn attachment(attachment: &Attachment) -> String {
    format!(
        "Content-Type: {}; name=\"{name}\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\r\n{}",
        attachment.media_type,
        base64_lines(&attachment.bytes),
        name = attachment.name,
    )
}

/// Header and body of a multipart whose parts each end in CRLF.
fn multipart(subtype: &str, boundary: &str, parts: &[String]) -> String {
    let mut out = format!("Content-Type: multipart/{subtype};\r\n\tboundary=\"{boundary}\"\r\n\r\n");
    for part in parts {
        out.push_str(&format!("--{boundary}\r\n{part}"));
    }
    out.push_str(&format!("--{boundary}--\r\n"));
    out
}

fn crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}

/// Base64 in lines of 76, the last one with its CRLF.
pub fn base64_lines(bytes: &[u8]) -> String {
    let engine = base64::engine::general_purpose::STANDARD;
    let mut out = String::with_capacity(bytes.len() / 57 * 78 + 80);
    for line in bytes.chunks(57) {
        engine.encode_string(line, &mut out);
        out.push_str("\r\n");
    }
    out
}

pub fn rfc5322_date(date: Timestamp) -> String {
    date.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}
