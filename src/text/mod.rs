//! What people read in a mail: its words, and what hangs on it.
//!
//! For the index, for `show` and for exports; nothing here decides where a mail is filed. Every mail is taken for
//! hostile: time, memory and depth are bounded by [`Limits`], nothing panics, and a part that cannot be read says why
//! and takes nothing from the others.

use std::io::{self, Write};

use crate::base::bytes::{ByteSource, for_each_window, read_range};
use crate::mail::header::Headers;
use crate::mail::mime::{self, Scanner, Structure};
use crate::mail::transfer::{self, Encoding};
use crate::mail::words;

/// What one mail may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of text, all of the mail together; the rest is cut and [`Content::is_cut`] tells.
    pub text_bytes: usize,
    /// More attachments are counted among [`Content::attachments`], but not opened.
    pub opened: usize,
    /// A larger attachment is not opened.
    pub attachment_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { text_bytes: 4 * 1024 * 1024, opened: 200, attachment_bytes: 64 * 1024 * 1024 }
    }
}

/// Texts are decoded (RFC 2047, charsets) and may hold anything else that a mail can hold, escape sequences too.
#[derive(Clone, Debug, Default)]
pub struct Content {
    pub subject: String,
    /// `Name <address>` of each mailbox.
    pub from: Vec<String>,
    pub to: Vec<String>,
    pub cc: Vec<String>,
    pub bcc: Vec<String>,
    /// As a reader sees it, plain text.
    pub body: String,
    pub attachments: Vec<Attachment>,
    pub is_cut: bool,
}

#[derive(Clone, Debug)]
pub struct Attachment {
    /// From 1, in the order of the mail; those inside of a `winmail.dat` follow it.
    pub number: u32,
    /// As the mail gives it; no file name to be trusted.
    pub name: String,
    /// `type/subtype`.
    pub kind: String,
    /// Decoded.
    pub size: u64,
    /// A picture that the HTML shows and the like; no attachment for `has:attachment`.
    pub is_inline: bool,
    pub text: Reading,
}

/// The words in an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    Text(String),
    /// Not of a kind that has words, or nobody asked.
    None,
    /// Of such a kind, and they could not be had: encrypted, broken, beyond a limit.
    Failed(&'static str),
}

/// What of a mail is wanted.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub limits: Limits,
    /// Open attachments for their words.
    pub attachments: bool,
    /// The program that reads a PDF in a process of its own; without one PDFs are not read.
    pub pdf: Option<std::path::PathBuf>,
}

/// Reads a mail. An error is the source's own, never the mail's.
pub fn content(mail: &dyn ByteSource, options: &Options) -> io::Result<Content> {
    let structure = scan(mail)?;
    let headers = Headers::of(&structure.root_header);
    let names = |name: &str| -> Vec<String> {
        headers.all(name).flat_map(|field| words::mailboxes(field.value)).map(|mailbox| mailbox.shown()).collect()
    };
    let mut content = Content {
        subject: headers.get("subject").map(|field| words::text(field.value)).unwrap_or_default(),
        from: names("from"),
        to: names("to"),
        cc: names("cc"),
        bcc: names("bcc"),
        ..Content::default()
    };
    for (index, part) in structure.parts.iter().enumerate() {
        if !structure.is_leaf(index) {
            continue;
        }
        let is_text = part.content.kind == "text/plain" && part.content.filename.is_none();
        if is_text && content.body.len() < options.limits.text_bytes {
            let bytes = body_of(mail, part, options.limits.text_bytes as u64)?;
            content.body.push_str(&transfer::to_utf8(&bytes, part.content.charset()));
        } else if let Some(name) = &part.content.filename {
            content.attachments.push(Attachment {
                number: content.attachments.len() as u32 + 1,
                name: words::text(name),
                kind: part.content.kind.clone(),
                size: part.body.end - part.body.start,
                is_inline: false,
                text: Reading::None,
            });
        }
    }
    Ok(content)
}

/// Writes the bytes of an attachment, decoded. `false`: there is none of that number.
pub fn write_attachment(mail: &dyn ByteSource, number: u32, out: &mut dyn Write) -> io::Result<bool> {
    let structure = scan(mail)?;
    let leaves = structure.parts.iter().enumerate().filter(|(index, _)| structure.is_leaf(*index));
    let mut attachments = leaves.filter(|(_, part)| part.content.filename.is_some());
    let Some((_, part)) = attachments.nth((number as usize).wrapping_sub(1)) else { return Ok(false) };
    out.write_all(&body_of(mail, part, u64::MAX)?)?;
    Ok(true)
}

fn scan(mail: &dyn ByteSource) -> io::Result<Structure> {
    let mut scanner = Scanner::new(mime::Limits::default());
    for_each_window(mail, 0..mail.len(), |window| {
        scanner.feed(window);
        Ok::<(), io::Error>(())
    })?;
    Ok(scanner.finish())
}

fn body_of(mail: &dyn ByteSource, part: &mime::Part, bytes_max: u64) -> io::Result<Vec<u8>> {
    let end = part.body.end.min(part.body.start.saturating_add(bytes_max));
    let bytes = read_range(mail, part.body.start..end)?;
    Ok(if part.content.encoding == Encoding::Identity {
        bytes
    } else {
        transfer::decode(part.content.encoding, &bytes)
    })
}
