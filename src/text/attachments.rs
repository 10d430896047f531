//! The attachments of a mail: numbered the same way whoever asks, written out, and their words read.

use std::io::{self, Write};
use std::ops::Range;
use std::time::Duration;

use super::names::{self, Words};
use super::parts::{self, Piece};
use super::tnef;
use super::{Attachment, Limits, Options, Reading, html, office, pdf, plain, rtf};
use crate::base::bytes::ByteSource;
use crate::mail::header::Headers;
use crate::mail::mime::{Part, Structure};
use crate::mail::transfer::{self, Decoder, Encoding};
use crate::mail::words;

/// Of all `winmail.dat` of a mail together. Not among the [`Limits`]: numbers of attachments must not depend on them.
const TNEF_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longer encoded parts are not decoded to know their size.
const COUNTED_BYTES_MAX: u64 = 256 * 1024 * 1024;
const HEADER_BYTES_MAX: u64 = 256 * 1024;
/// Mails within mails within attachments.
const DEPTH_MAX: usize = 3;
const PIECE: usize = 64 * 1024;

/// What a mail may cost yet.
pub struct Budget {
    pub text: usize,
    work: u64,
    opened: usize,
    attachment_bytes: u64,
    pdf_time: Duration,
}

impl Budget {
    pub fn of(limits: &Limits) -> Budget {
        Budget {
            text: limits.text_bytes,
            work: limits.work_bytes,
            opened: limits.opened,
            attachment_bytes: limits.attachment_bytes,
            pdf_time: limits.pdf_time,
        }
    }
}

pub struct Found {
    pub attachment: Attachment,
    pub source: Source,
    /// `Content-ID`.
    pub id: Option<String>,
    charset: Option<String>,
    words: Words,
    /// In a `multipart/related`, or hidden there in a TNEF: no attachment if the text shows it.
    is_related: bool,
    /// Of a message within TNEF.
    text: String,
}

/// Where its bytes are.
pub enum Source {
    /// The body of this part, decoded.
    Part(usize),
    /// The body of this part as it is: a message.
    Message(usize),
    /// A range of this one of [`Listing::opened`].
    Inside(usize, Range<usize>),
}

/// All attachments of a mail.
#[derive(Default)]
pub struct Listing {
    pub found: Vec<Found>,
    /// Decoded TNEF.
    pub opened: Vec<Vec<u8>>,
    /// The texts of the mail that stood in TNEF.
    pub texts: Vec<String>,
    pub is_cut: bool,
}

impl Listing {
    pub fn of(mail: &dyn ByteSource, structure: &Structure, pieces: &[Piece]) -> io::Result<Listing> {
        let mut listing = Listing::default();
        let mut tnef_left = TNEF_BYTES_MAX;
        for piece in pieces {
            match piece {
                Piece::Body(_) | Piece::Alternative { .. } => {}
                Piece::Message(index) => {
                    let part = &structure.parts[*index];
                    let name = match names::of_part(&part.content) {
                        Some(name) => name,
                        None => subject_of(mail, structure, *index)?,
                    };
                    listing.add(name, &part.content.kind, Source::Message(*index), Words::None);
                }
                Piece::Attachment(index) => listing.leaf(mail, structure, *index, &mut tnef_left)?,
            }
        }
        Ok(listing)
    }

    fn add(&mut self, name: String, kind: &str, source: Source, words: Words) -> &mut Found {
        let number = u32::try_from(self.found.len()).unwrap_or(u32::MAX).saturating_add(1);
        let at = self.found.len();
        self.found.push(Found {
            attachment: Attachment {
                number,
                name,
                kind: kind.to_owned(),
                size: 0,
                is_inline: false,
                text: Reading::None,
            },
            source,
            id: None,
            charset: None,
            words,
            is_related: false,
            text: String::new(),
        });
        &mut self.found[at]
    }

    fn leaf(
        &mut self,
        mail: &dyn ByteSource,
        structure: &Structure,
        index: usize,
        tnef_left: &mut usize,
    ) -> io::Result<()> {
        let part = &structure.parts[index];
        let content = &part.content;
        let name = names::of_part(content).unwrap_or_default();
        let words = Words::of(&content.kind, &name);
        let found = self.add(name, &content.kind, Source::Part(index), words);
        found.id = content.id.as_ref().map(|id| String::from_utf8_lossy(id).into_owned());
        found.charset = content.charset().map(str::to_owned);
        found.is_related = parts::is_related(structure, index);
        found.attachment.is_inline = parts::is_signature(structure, index)
            // Spellings of the text that nobody reads as an attachment, such as for watches.
            || found.attachment.name.is_empty() && content.disposition.is_none() && is_spelling(structure, index);
        if words != Words::Tnef {
            return Ok(());
        }
        let (bytes, more) = decoded(mail, part, *tnef_left)?;
        if more {
            found.attachment.text = Reading::Failed("it is larger than the limit");
            return Ok(());
        }
        *tnef_left -= bytes.len();
        match tnef::read(&bytes, Limits::default().text_bytes) {
            Some(read) => self.inside(read, bytes),
            None => found.attachment.text = Reading::Failed("it is damaged"),
        }
        Ok(())
    }

    /// What a TNEF holds stands in its place; it is shown itself, for it can be saved.
    fn inside(&mut self, read: tnef::Tnef, bytes: Vec<u8>) {
        let opened = self.opened.len();
        self.is_cut |= read.is_cut;
        if let Some(wrapper) = self.found.last_mut() {
            wrapper.attachment.is_inline = true;
            wrapper.attachment.size = bytes.len() as u64;
        }
        for one in read.attachments {
            let kind = match (&one.kind, one.is_message) {
                (Some(kind), _) => kind.as_str(),
                (None, true) => "application/ms-tnef",
                (None, false) => "application/octet-stream",
            };
            let words = if one.is_message { Words::None } else { Words::of(kind, &one.name) };
            let size = one.range.len() as u64;
            let found = self.add(one.name, kind, Source::Inside(opened, one.range), words);
            (found.attachment.size, found.id, found.text) = (size, one.id, one.text);
            found.is_related = found.id.is_some();
        }
        self.opened.push(bytes);
        self.texts.push(read.text);
    }

    /// Pictures that a text shows (`cid:`), or that stand beside a text as such, are inline.
    pub fn mark_inline(&mut self, shown: &std::collections::HashSet<String>, structure: &Structure) {
        for found in &mut self.found {
            let is_shown = found.id.as_ref().is_some_and(|id| shown.contains(id));
            let is_called_attachment = match &found.source {
                Source::Part(index) => structure.parts[*index].content.disposition.as_deref() == Some("attachment"),
                Source::Message(_) | Source::Inside(..) => false,
            };
            let is_picture = found.attachment.kind.starts_with("image/") && found.id.is_some();
            found.attachment.is_inline |= is_shown || found.is_related && is_picture && !is_called_attachment;
        }
    }

    /// The bytes as they are saved.
    pub fn write(
        &self,
        mail: &dyn ByteSource,
        structure: &Structure,
        number: u32,
        out: &mut dyn Write,
    ) -> io::Result<bool> {
        let at = (number as usize).wrapping_sub(1);
        let Some(found) = self.found.get(at) else { return Ok(false) };
        match &found.source {
            Source::Part(index) => {
                let part = &structure.parts[*index];
                let mut decoder = Decoder::new(part.content.encoding);
                let mut buffer = Vec::new();
                each_piece(mail, part.body.clone(), &mut |piece| {
                    buffer.clear();
                    decoder.push(piece, &mut buffer);
                    out.write_all(&buffer)?;
                    Ok(true)
                })?;
                buffer.clear();
                decoder.finish(&mut buffer);
                out.write_all(&buffer)?;
            }
            Source::Message(index) => {
                each_piece(mail, structure.parts[*index].body.clone(), &mut |piece| {
                    out.write_all(piece).map(|()| true)
                })?;
            }
            Source::Inside(opened, range) => out.write_all(&self.opened[*opened][range.clone()])?,
        }
        Ok(true)
    }
}

fn is_spelling(structure: &Structure, index: usize) -> bool {
    let part = &structure.parts[index];
    let is_alternative =
        part.parent.is_some_and(|parent| structure.parts[parent].content.kind == "multipart/alternative");
    is_alternative && part.content.kind.starts_with("text/") && part.content.kind != "text/calendar"
}

/// The header of the message within a part.
pub fn header_within(mail: &dyn ByteSource, structure: &Structure, index: usize) -> io::Result<Vec<u8>> {
    let Some(inner) = structure.parts.get(index + 1) else { return Ok(Vec::new()) };
    let end = inner.header.end.min(inner.header.start + HEADER_BYTES_MAX).min(mail.len());
    crate::base::bytes::read_range(mail, inner.header.start.min(end)..end)
}

fn subject_of(mail: &dyn ByteSource, structure: &Structure, index: usize) -> io::Result<String> {
    let header = header_within(mail, structure, index)?;
    let subject = Headers::of(&header).get("subject").map(|field| words::text(field.value)).unwrap_or_default();
    Ok(if subject.is_empty() { String::new() } else { format!("{subject}.eml") })
}

/// Calls `visit` with the bytes of a range, in pieces of bounded length, until it says that it has enough.
pub fn each_piece(
    mail: &dyn ByteSource,
    range: Range<u64>,
    visit: &mut dyn FnMut(&[u8]) -> io::Result<bool>,
) -> io::Result<()> {
    if let Some(all) = mail.as_slice() {
        let bytes = all.get(range.start as usize..range.end as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
        for piece in bytes.chunks(PIECE) {
            if !visit(piece)? {
                break;
            }
        }
        return Ok(());
    }
    let mut buffer = vec![0u8; PIECE.min(range.end.saturating_sub(range.start) as usize)];
    let mut at = range.start;
    while at < range.end {
        let len = (buffer.len() as u64).min(range.end - at) as usize;
        mail.read_exact_at(at, &mut buffer[..len])?;
        if !visit(&buffer[..len])? {
            break;
        }
        at += len as u64;
    }
    Ok(())
}

/// The body of a part, decoded; of a longer one the first `bytes_max` bytes, and that there were more.
pub fn decoded(mail: &dyn ByteSource, part: &Part, bytes_max: usize) -> io::Result<(Vec<u8>, bool)> {
    let encoded = usize::try_from(part.body.end - part.body.start).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(encoded.min(bytes_max.saturating_add(PIECE)));
    let mut decoder = Decoder::new(part.content.encoding);
    each_piece(mail, part.body.clone(), &mut |piece| {
        decoder.push(piece, &mut bytes);
        Ok(bytes.len() <= bytes_max)
    })?;
    if bytes.len() <= bytes_max {
        decoder.finish(&mut bytes);
    }
    let more = bytes.len() > bytes_max;
    bytes.truncate(bytes_max);
    Ok((bytes, more))
}

/// How long a body is when it is decoded. Of very long ones only the start is looked at, and the rest taken to be alike.
fn decoded_len(mail: &dyn ByteSource, part: &Part) -> io::Result<u64> {
    let encoded = part.body.end - part.body.start;
    if part.content.encoding == Encoding::Identity {
        return Ok(encoded);
    }
    let looked_at = if encoded > COUNTED_BYTES_MAX { 16 * PIECE as u64 } else { encoded };
    let mut decoder = Decoder::new(part.content.encoding);
    let (mut buffer, mut len) = (Vec::new(), 0u64);
    each_piece(mail, part.body.start..part.body.start + looked_at, &mut |piece| {
        buffer.clear();
        decoder.push(piece, &mut buffer);
        len += buffer.len() as u64;
        Ok(true)
    })?;
    buffer.clear();
    decoder.finish(&mut buffer);
    len += buffer.len() as u64;
    if looked_at == encoded || looked_at == 0 {
        return Ok(len);
    }
    Ok((u128::from(len) * u128::from(encoded) / u128::from(looked_at)) as u64)
}

/// Reads the words of all attachments, as far as it is wanted and the budget goes, and says how large they are.
pub fn read(
    mail: &dyn ByteSource,
    structure: &Structure,
    listing: &mut Listing,
    options: &Options,
    budget: &mut Budget,
    depth: usize,
) -> io::Result<()> {
    let Listing { found: all, opened, is_cut, .. } = listing;
    let mut readable = all.iter().filter(|found| found.words != Words::None).count();
    for found in all.iter_mut() {
        let mut bytes = None;
        let wants_words = options.attachments && !matches!(found.words, Words::None | Words::Tnef);
        let wants_words = wants_words && (found.words != Words::Pdf || options.pdf.is_some());
        if wants_words {
            readable = readable.saturating_sub(1);
            // What follows keeps a share, so that one attachment cannot silence the others.
            let text_max = budget.text - (budget.text / 2).min(readable * 64 * 1024);
            let reading = match bytes_of(mail, structure, found, opened, budget)? {
                Ok(data) => {
                    let reading = words_in(found, &data, text_max, options, budget, depth)?;
                    bytes = Some(data.len() as u64);
                    reading
                }
                Err(why) => Err(why),
            };
            found.attachment.text = match reading {
                Ok((text, cut)) => {
                    budget.text -= text.len().min(budget.text);
                    *is_cut |= cut;
                    Reading::Text(text)
                }
                Err(why) => Reading::Failed(why),
            };
        } else if options.attachments && !found.text.is_empty() {
            let mut text = std::mem::take(&mut found.text);
            *is_cut |= text.len() > budget.text;
            text.truncate(text.floor_char_boundary(budget.text));
            budget.text -= text.len();
            found.attachment.text = Reading::Text(text);
        }
        found.attachment.size = match (&found.source, bytes) {
            (_, Some(len)) => len,
            (Source::Part(index), None) => decoded_len(mail, &structure.parts[*index])?,
            (Source::Message(index), None) => {
                let body = &structure.parts[*index].body;
                body.end - body.start
            }
            (Source::Inside(_, range), None) => range.len() as u64,
        };
    }
    Ok(())
}

/// The bytes of an attachment that is to be read, or why they are not.
fn bytes_of<'o>(
    mail: &dyn ByteSource,
    structure: &Structure,
    found: &Found,
    opened: &'o [Vec<u8>],
    budget: &mut Budget,
) -> io::Result<Result<std::borrow::Cow<'o, [u8]>, &'static str>> {
    if budget.opened == 0 {
        return Ok(Err("the mail has too many attachments"));
    }
    budget.opened -= 1;
    let bytes_max = usize::try_from(budget.attachment_bytes.min(budget.work)).unwrap_or(usize::MAX);
    let too_long = if (bytes_max as u64) < budget.attachment_bytes {
        "the attachments before it used up what a mail may cost"
    } else {
        "it is larger than the limit"
    };
    let bytes = match &found.source {
        Source::Part(index) => {
            let part = &structure.parts[*index];
            // Base64 is at most so much longer, unless it is full of junk; and it would be decoded for nothing.
            let encoded = part.body.end - part.body.start;
            if encoded / 4 > bytes_max as u64 {
                return Ok(Err(too_long));
            }
            let (bytes, more) = decoded(mail, part, bytes_max)?;
            budget.work -= (bytes.len() as u64).min(budget.work);
            if more {
                return Ok(Err(too_long));
            }
            std::borrow::Cow::Owned(bytes)
        }
        Source::Inside(which, range) => {
            if range.len() > bytes_max {
                return Ok(Err(too_long));
            }
            budget.work -= range.len() as u64;
            std::borrow::Cow::Borrowed(&opened[*which][range.clone()])
        }
        // Its text is the body's.
        Source::Message(_) => return Ok(Err("it is read with the mail")),
    };
    Ok(Ok(bytes))
}

fn words_in(
    found: &Found,
    bytes: &[u8],
    text_max: usize,
    options: &Options,
    budget: &mut Budget,
    depth: usize,
) -> io::Result<office::Outcome> {
    let raw_max = text_max.saturating_mul(4).max(64 * 1024);
    let head = &bytes[..bytes.len().min(raw_max)];
    let is_headed = bytes.len() > head.len();
    let bounded = |mut text: String| {
        let cut = is_headed || text.len() > text_max;
        text.truncate(text.floor_char_boundary(text_max));
        (text, cut)
    };
    Ok(match found.words {
        Words::Plain if plain::is_binary(bytes, found.charset.as_deref()) => Err("it is no text"),
        Words::Plain => Ok(bounded(super::lines(transfer::to_utf8(head, found.charset.as_deref())))),
        Words::Properties => Ok(bounded(plain::properties(&transfer::to_utf8(head, found.charset.as_deref())))),
        Words::Html => {
            let charset = found.charset.clone().or_else(|| html::declared_charset(head));
            let (text, cut) = html::reduce(&transfer::to_utf8(head, charset.as_deref()), text_max);
            Ok((text, cut || is_headed))
        }
        Words::Rich => Ok(rtf::reduce(bytes, text_max)),
        Words::Zip => office::read(bytes, text_max, &mut budget.work),
        Words::Pdf => match &options.pdf {
            Some(program) => pdf::read(program, bytes, text_max, &mut budget.pdf_time),
            None => Err("PDFs are not read here"),
        },
        Words::Mail if depth >= DEPTH_MAX => Err("mails are nested too deep in it"),
        Words::Mail => {
            let before = std::mem::replace(&mut budget.text, text_max);
            let content = super::read(&bytes.to_vec(), options, budget, depth + 1);
            // What was read is counted by who asked.
            budget.text = before;
            let content = content?;
            let cut = content.is_cut;
            let (text, more) = bounded(super::flat(content));
            Ok((text, cut || more))
        }
        Words::Tnef | Words::None => Err("it has no words"),
    })
}
