//! What people read in a mail: its words, and what hangs on it.
//!
//! For the index, for `show` and for exports; nothing here decides where a mail is filed. Every mail is taken for
//! hostile: time, memory and depth are bounded by [`Limits`], nothing panics, and a part that cannot be read says why
//! and takes nothing from the others. Costs are counted in bytes, so that the same mail gives the same text on any
//! host; only PDF has a clock as well.
//!
//! What is read:
//!
//! | | |
//! |---|---|
//! | header | `Subject`; `From`, `Sender`, `To`, `Cc`, `Bcc`, their `Resent-` sisters, and `Reply-To`, with display names |
//! | text | plain and HTML parts without a file name, in their order, quoted replies included; of alternatives the one that says more, and the lines of the other that hold words of their own; what delivery reports and receipts say; `format=flowed` joined |
//! | messages attached | header words (never `Bcc`) and text with the mail's text; an attachment each, and their attachments follow |
//! | TNEF (`winmail.dat`) | text (plain, HTML, rich text, HTML within rich text) with the mail's text; its attachments follow it; messages within it |
//! | attachments | text and the like (csv, json, xml …), HTML, rich text, calendars and cards, mails (`.eml`), docx, xlsx, pptx, odt, ods, odp, PDF; of other zips the names in it |
//!
//! What is not: the old binary Office formats, encrypted files and S/MIME or PGP that is not clear text, text in pictures,
//! files within archives, what links lead to, uuencoded files within a text.
//!
//! | file | holds |
//! |---|---|
//! | `parts` | which parts are text and which attachments |
//! | `attachments` | their numbers, bytes and words |
//! | `names` | file names as mails give them, safe ones, and what a name says about the content |
//! | `html`, `entities`, `rtf`, `plain` | markup reduced to words |
//! | `office`, `tnef`, `pdf` | containers |

mod attachments;
mod entities;
pub mod html;
mod names;
mod office;
mod parts;
pub mod pdf;
mod plain;
mod rtf;
#[cfg(test)]
mod tests;
mod tnef;

use std::collections::HashSet;
use std::io::{self, Write};
use std::time::Duration;

use memchr::memmem;

pub use self::names::safe_file_name;

use self::attachments::{Budget, Listing};
use self::parts::Piece;
use crate::base::bytes::{ByteSource, for_each_window};
use crate::mail::header::Headers;
use crate::mail::mime::{self, Part, Scanner, Structure};
use crate::mail::{transfer, words};

/// What one mail may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of text, all of the mail together; the rest is cut and [`Content::is_cut`] tells.
    pub text_bytes: usize,
    /// More attachments are counted among [`Content::attachments`], but not opened.
    pub opened: usize,
    /// A larger attachment is not opened.
    pub attachment_bytes: u64,
    /// Of attachments decoded and inflated, all of the mail together.
    pub work_bytes: u64,
    /// For the PDFs of the mail together.
    pub pdf_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            text_bytes: 4 * 1024 * 1024,
            opened: 200,
            attachment_bytes: 64 * 1024 * 1024,
            work_bytes: 256 * 1024 * 1024,
            pdf_time: Duration::from_secs(40),
        }
    }
}

/// Names in one list of the header; beyond it [`Content::is_cut`] tells.
const NAMES_MAX: usize = 10_000;

/// Texts are decoded (RFC 2047, charsets) and may hold anything else that a mail can hold, escape sequences too.
#[derive(Clone, Debug, Default)]
pub struct Content {
    pub subject: String,
    /// `Name <address>` of each mailbox, as for the lists below. `Sender` and `Resent-From` too.
    pub from: Vec<String>,
    pub reply_to: Vec<String>,
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
    /// From 1, in the order of the mail; those inside of a `winmail.dat` or of a message follow it.
    pub number: u32,
    /// As the mail gives it; no file name to be trusted ([`safe_file_name`] makes one). Of a message without a name its
    /// subject with `.eml`; empty when there is none at all.
    pub name: String,
    /// `type/subtype`.
    pub kind: String,
    /// Decoded. Estimated where the encoded part is longer than 256 MiB.
    pub size: u64,
    /// A picture that the HTML shows, a signature, a `winmail.dat` whose content is listed itself; no attachment for
    /// `has:attachment`.
    pub is_inline: bool,
    pub text: Reading,
}

/// The words in an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    Text(String),
    /// Not of a kind that has words, or nobody asked; or they stand in [`Content::body`]: of messages and of TNEF.
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
    read(mail, options, &mut Budget::of(&options.limits), 0)
}

/// Writes the bytes of an attachment, decoded. `false`: there is none of that number.
pub fn write_attachment(mail: &dyn ByteSource, number: u32, out: &mut dyn Write) -> io::Result<bool> {
    let structure = scan(mail)?;
    let listing = Listing::of(mail, &structure, &parts::pieces(&structure))?;
    listing.write(mail, &structure, number, out)
}

fn read(mail: &dyn ByteSource, options: &Options, budget: &mut Budget, depth: usize) -> io::Result<Content> {
    let structure = scan(mail)?;
    let pieces = parts::pieces(&structure);
    let mut listing = Listing::of(mail, &structure, &pieces)?;
    let mut content = header_words(&structure.root_header);
    let mut body = Body { text: String::new(), shown: HashSet::new(), is_cut: structure.limited };
    for piece in &pieces {
        match piece {
            Piece::Body(index) => {
                let text = body.of_part(mail, &structure.parts[*index], budget)?;
                body.add(text, budget);
            }
            Piece::Alternative { plain, html } => {
                let mut of = |index: &Option<usize>| match index {
                    Some(index) => body.of_part(mail, &structure.parts[*index], budget),
                    None => Ok(String::new()),
                };
                let (plain, html) = (of(plain)?, of(html)?);
                body.add(plain::alternatives(plain, html), budget);
            }
            Piece::Message(index) => {
                let header = attachments::header_within(mail, &structure, *index)?;
                body.add(attached_header(&header_words(&header)), budget);
            }
            Piece::Attachment(_) => {}
        }
    }
    for text in std::mem::take(&mut listing.texts) {
        // The text of a mail with a winmail.dat is mostly there as plain text, too.
        let before = body.text.len();
        plain::append_new_lines(&mut body.text, &text);
        let added = body.text.len().saturating_sub(before);
        if added > budget.text {
            let end = body.text.floor_char_boundary(before.min(body.text.len()) + budget.text);
            body.text.truncate(end);
            body.is_cut = true;
        }
        budget.text -= added.min(budget.text);
    }
    attachments::read(mail, &structure, &mut listing, options, budget, depth)?;
    listing.mark_inline(&body.shown, &structure);
    content.body = body.text;
    content.is_cut |= body.is_cut || listing.is_cut;
    content.attachments = listing.found.into_iter().map(|found| found.attachment).collect();
    Ok(content)
}

fn scan(mail: &dyn ByteSource) -> io::Result<Structure> {
    let mut scanner = Scanner::new(mime::Limits::default());
    for_each_window(mail, 0..mail.len(), |window| {
        scanner.feed(window);
        Ok::<(), io::Error>(())
    })?;
    Ok(scanner.finish())
}

fn header_words(header: &[u8]) -> Content {
    let headers = Headers::of(header);
    let mut content = Content::default();
    let mut names = |fields: &[&str]| -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in fields {
            for mailbox in headers.all(name).flat_map(|field| words::mailboxes(field.value)) {
                if names.len() >= NAMES_MAX {
                    content.is_cut = true;
                    return names;
                }
                let shown = mailbox.shown();
                // `Sender` says mostly what `From` says.
                if names.len() > 10 || !names.contains(&shown) {
                    names.push(shown);
                }
            }
        }
        names
    };
    let from = names(&["from", "sender", "resent-from", "resent-sender"]);
    let to = names(&["to", "resent-to"]);
    let cc = names(&["cc", "resent-cc"]);
    let bcc = names(&["bcc", "resent-bcc"]);
    let reply_to = names(&["reply-to"]);
    let subject = headers.get("subject").map(|field| words::text(field.value)).unwrap_or_default();
    Content { subject, from, reply_to, to, cc, bcc, ..content }
}

/// What stands above the text of a message that is attached. Without `Bcc`, which is found by nobody but the sender.
fn attached_header(header: &Content) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(label);
            text.push_str(": ");
            text.push_str(value);
            text.push('\n');
        }
    };
    line("Subject", &header.subject);
    line("From", &header.from.join(", "));
    line("To", &header.to.join(", "));
    line("Cc", &header.cc.join(", "));
    text
}

/// A mail as one text.
fn flat(content: Content) -> String {
    let mut text = attached_header(&content);
    text.push('\n');
    text.push_str(&content.body);
    for one in content.attachments {
        text.push('\n');
        text.push_str(&one.name);
        if let Reading::Text(words) = one.text {
            text.push('\n');
            text.push_str(&words);
        }
    }
    text
}

/// The text of the mail while it is put together.
struct Body {
    text: String,
    /// The parts that HTML shows, by `Content-ID`.
    shown: HashSet<String>,
    is_cut: bool,
}

impl Body {
    fn add(&mut self, mut text: String, budget: &mut Budget) {
        if text.len() > budget.text {
            text.truncate(text.floor_char_boundary(budget.text));
            self.is_cut = true;
        }
        budget.text -= text.len();
        let text = text.trim_end();
        if text.is_empty() {
            return;
        }
        if !self.text.is_empty() {
            self.text.truncate(self.text.trim_end().len());
            self.text.push_str("\n\n");
        }
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn of_part(&mut self, mail: &dyn ByteSource, part: &Part, budget: &Budget) -> io::Result<String> {
        // Markup is longer than what it says; with less left than this, a short part is still read.
        let (bytes, more) = attachments::decoded(mail, part, budget.text.saturating_mul(4))?;
        self.is_cut |= more;
        let charset = part.content.charset();
        if !matches!(part.content.kind.as_str(), "text/html" | "application/xhtml+xml" | "text/enriched") {
            let text = lines(transfer::to_utf8(&bytes, charset));
            let parameter = |name: &str, wanted: &[u8]| {
                part.content.parameter(name).is_some_and(|value| value.eq_ignore_ascii_case(wanted))
            };
            let is_flowed = part.content.kind == "text/plain" && parameter("format", b"flowed");
            return Ok(if is_flowed { plain::unflowed(&text, parameter("delsp", b"yes")) } else { text });
        }
        let declared = if charset.is_none() { html::declared_charset(&bytes) } else { None };
        let source = transfer::to_utf8(&bytes, charset.or(declared.as_deref()));
        for at in memmem::find_iter(source.as_bytes(), b"cid:").take(1000) {
            let id = source[at + 4..].split(['"', '\'', ' ', '>', ')', '\r', '\n']).next().unwrap_or_default();
            if id.len() < 1000 {
                self.shown.insert(id.to_owned());
            }
        }
        let (text, cut) = html::reduce(&source, budget.text);
        self.is_cut |= cut;
        Ok(text)
    }
}

/// Lines end as they do on this side of the wire.
fn lines(text: String) -> String {
    if memchr::memchr(b'\r', text.as_bytes()).is_none() {
        return text;
    }
    text.replace("\r\n", "\n").replace('\r', "\n")
}
