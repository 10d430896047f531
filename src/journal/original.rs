//! The original inside an item: where it lies, its header and structure, and its digests.
//!
//! Always a byte range of the item, never written anew. The one exception that the world makes, a
//! message/rfc822 with a transfer encoding (or within a bounced report that has one), is decoded in a stream and
//! never held.

use std::borrow::Cow;
use std::ops::Range;

use super::{Canonical, DecodeError, Item, Original, Transfer, flags, scan};
use crate::base::bytes::{ByteSource, Cut, for_each_window, read_range};
use crate::base::digest::{Digest, Hasher};
use crate::mail::canonical::{self, Collector};
use crate::mail::header::Headers;
use crate::mail::mime::{Kind, Limits, Part, Scanner, Structure};
use crate::mail::transfer::{Decoder, Encoding};

/// How much of an encoded body is looked at to see whether it is encoded.
const SAMPLE: u64 = 64 * 1024;
/// Encoded bodies are decoded in pieces of this size.
const PIECE: usize = 64 * 1024;

pub struct Located<'a> {
    range: Range<u64>,
    transfer: Transfer,
    /// Which bytes of what the range decodes to; `None`: all of them.
    inside: Option<Range<u64>>,
    header: Cow<'a, [u8]>,
    structure: Cow<'a, Structure>,
    /// The part of `structure` that is the message.
    root: usize,
    /// What `structure` counts its offsets from, as an offset of the item, or of what the range decodes to.
    base: u64,
}

impl<'a> Located<'a> {
    /// The item itself.
    pub fn whole(item: &Item<'a, '_>) -> Located<'a> {
        Located {
            range: 0..item.bytes.len(),
            transfer: Transfer::Identity,
            inside: None,
            header: Cow::Borrowed(&item.structure.root_header),
            structure: Cow::Borrowed(item.structure),
            root: 0,
            base: 0,
        }
    }

    /// The message in the message/rfc822 `part`, and a flag when there is something odd about it.
    pub fn attached(item: &Item<'a, '_>, part: usize) -> Result<(Located<'a>, Option<&'static str>), DecodeError> {
        let outer = &item.structure.parts[part];
        let range = outer.body.clone();
        if let Some(header) = header_of(item, part)? {
            let located = Located {
                header: Cow::Owned(header),
                range,
                transfer: Transfer::Identity,
                inside: None,
                structure: Cow::Borrowed(item.structure),
                root: part + 1,
                base: 0,
            };
            return Ok((located, None));
        }
        let transfer = match outer.content.encoding {
            Encoding::Identity => Transfer::Identity,
            Encoding::Base64 => Transfer::Base64,
            Encoding::QuotedPrintable => Transfer::QuotedPrintable,
        };
        let (transfer, flag) = match transfer {
            Transfer::Identity => (transfer, None),
            _ if !is_encoded_part(item, part)? => (Transfer::Identity, Some(flags::ENCODING_NOT_APPLIED)),
            Transfer::Base64 | Transfer::QuotedPrintable => (transfer, Some(flags::ENCODED_ORIGINAL)),
        };
        let base = if transfer == Transfer::Identity { range.start } else { 0 };
        let mut structure = if transfer == Transfer::Identity {
            scan(item.bytes, range.clone())?
        } else {
            let mut scanner = Scanner::new(Limits::default());
            decoded(item.bytes, range.clone(), transfer, |piece| scanner.feed(piece))?;
            scanner.finish()
        };
        let header = Cow::Owned(std::mem::take(&mut structure.root_header));
        let structure = Cow::Owned(structure);
        Ok((Located { range, transfer, inside: None, header, structure, root: 0, base }, flag))
    }

    fn owned(self) -> Located<'static> {
        let Located { range, transfer, inside, header, structure, root, base } = self;
        let (header, structure) = (Cow::Owned(header.into_owned()), Cow::Owned(structure.into_owned()));
        Located { range, transfer, inside, header, structure, root, base }
    }

    /// One that was found in a run of the item's own bytes, which begins at `start`.
    pub fn shifted(self, start: u64) -> Located<'static> {
        let mut located = self.owned();
        located.range = located.range.start + start..located.range.end + start;
        if located.transfer == Transfer::Identity {
            located.base += start;
        }
        located
    }

    /// One that was found in what the range decodes to; `None` when it is encoded itself.
    pub fn enclosed(self, range: Range<u64>, transfer: Transfer) -> Option<Located<'static>> {
        if self.transfer != Transfer::Identity {
            return None;
        }
        let mut located = self.owned();
        located.inside = Some(std::mem::replace(&mut located.range, range));
        located.transfer = transfer;
        Some(located)
    }

    pub fn header(&self) -> &[u8] {
        &self.header
    }

    pub fn structure(&self) -> &Structure {
        &self.structure
    }

    /// Rights-protected (IRM, Purview message encryption): its content cannot be read without a key.
    pub fn is_protected(&self) -> bool {
        let headers = Headers::of(&self.header);
        // `rpmsg.message`, and of voice mail `IPM.Note.rpmsg.Microsoft.Voicemail…`.
        let class = headers.get("content-class").map(|field| field.one_line().to_ascii_lowercase()).unwrap_or_default();
        if class == b"rpmsg.message" || class.starts_with(b"ipm.note.rpmsg.") {
            return true;
        }
        self.structure.subtree(self.root).any(|index| {
            let content = &self.structure.parts[index].content;
            let name = content.filename.as_deref().unwrap_or_default().to_ascii_lowercase();
            let version = name.strip_prefix(b"message").and_then(|rest| rest.strip_suffix(b".rpmsg"));
            content.kind == "application/x-microsoft-rpmsg-message"
                || version.is_some_and(|v| matches!(v, b"" | b"_v2" | b"_v3" | b"_v4"))
        })
    }

    /// The message.html attachment around the ciphertext of Office 365 message encryption; any mail may have one.
    pub fn is_html_wrapped(&self) -> bool {
        self.structure.subtree(self.root).any(|index| {
            let name = self.structure.parts[index].content.filename.as_deref().unwrap_or_default();
            name.eq_ignore_ascii_case(b"message.html")
        })
    }

    /// What is known without reading the original once more; of an encoded one the size is that of its digits.
    pub fn undigested(&self) -> (Original, Canonical) {
        let sha256 = Digest::ZERO;
        let lies = self.inside.as_ref().unwrap_or(&self.range);
        (self.original(sha256, lies.end - lies.start), Canonical { version: canonical::VERSION, digest: sha256 })
    }

    /// Reads the original once more, for its SHA-256 and its canonical digest at the same time.
    pub fn digest(&self, item: &dyn ByteSource) -> Result<(Original, Canonical), DecodeError> {
        let mut hasher = Hasher::new();
        let mut size = 0;
        let start = match (&self.inside, self.transfer) {
            (Some(inside), _) => inside.start - self.base,
            (None, Transfer::Identity) => self.range.start - self.base,
            (None, Transfer::Base64 | Transfer::QuotedPrintable) => 0,
        };
        let mut collector = Collector::new(&self.structure, self.root, start);
        let mut cut = Cut::new(self.inside.clone());
        decoded(item, self.range.clone(), self.transfer, |piece| {
            let piece = cut.of(piece);
            hasher.update(piece);
            size += piece.len() as u64;
            collector.feed(piece);
        })?;
        let sha256 = hasher.finish();
        let canonical = Canonical { version: canonical::VERSION, digest: collector.finish(sha256) };
        Ok((self.original(sha256, size), canonical))
    }

    fn original(&self, sha256: Digest, size: u64) -> Original {
        let (range, inside) = (self.range.clone(), self.inside.clone());
        Original { range, transfer: self.transfer, inside, sha256, size }
    }
}

/// The header of the message in the message/rfc822 `part`, up to the scanner's limit; `None` when the scanner did not
/// look into it (it has a transfer encoding, or a limit was met).
pub fn header_of(item: &Item<'_, '_>, part: usize) -> Result<Option<Vec<u8>>, DecodeError> {
    if item.structure.parts[part].kind != Kind::Message || item.structure.parts.len() <= part + 1 {
        return Ok(None);
    }
    let bounds = &item.structure.parts[part + 1].header;
    let end = bounds.end.min(bounds.start + Limits::default().header_bytes as u64);
    Ok(Some(read_range(item.bytes, bounds.start..end)?))
}

/// Passes the decoded bytes of a range of the item to `visit`, piece by piece.
fn decoded(
    item: &dyn ByteSource,
    range: Range<u64>,
    transfer: Transfer,
    mut visit: impl FnMut(&[u8]),
) -> Result<(), DecodeError> {
    let mut decoder = Decoder::new(match transfer {
        Transfer::Identity => {
            return for_each_window(item, range, |window| {
                // Pieces that fit the processor's cache are hashed twice from there.
                window.chunks(PIECE).for_each(&mut visit);
                Ok(())
            });
        }
        Transfer::Base64 => Encoding::Base64,
        Transfer::QuotedPrintable => Encoding::QuotedPrintable,
    });
    let mut buffer = Vec::new();
    for_each_window(item, range, |window| {
        for piece in window.chunks(PIECE) {
            buffer.clear();
            decoder.push(piece, &mut buffer);
            visit(&buffer);
        }
        Ok::<(), DecodeError>(())
    })?;
    buffer.clear();
    decoder.finish(&mut buffer);
    visit(&buffer);
    Ok(())
}

/// Whether a part that is labelled as encoded is. A relay that puts the label on a message as it is would
/// otherwise cost the message.
pub fn is_encoded_part(item: &Item<'_, '_>, part: usize) -> Result<bool, DecodeError> {
    let Part { body, content, .. } = &item.structure.parts[part];
    let sample = read_range(item.bytes, body.start..body.end.min(body.start + SAMPLE))?;
    Ok(match content.encoding {
        Encoding::Identity => true,
        // A header field has a colon, which is no digit of base64.
        Encoding::Base64 => {
            let line = sample.trim_ascii_start().split(|&b| b == b'\n').next().unwrap_or_default();
            !line.contains(&b':')
        }
        // Headers as they are have `name="value"` or `boundary=----`, which is no escape.
        Encoding::QuotedPrintable => !sample.windows(3).any(|three| {
            let escape = three[1].is_ascii_hexdigit() && three[2].is_ascii_hexdigit();
            three[0] == b'=' && !escape && !three[1].is_ascii_whitespace()
        }),
    })
}
