//! TNEF (`winmail.dat`, MS-OXTNEF): the text and the attachments that Outlook wraps up.
//!
//! Nothing is copied but texts: attachments are ranges of the bytes that were given, also those of messages within.
//! Lengths are believed as far as there are bytes; what comes after the first that lie is not read.

use std::ops::Range;

use encoding_rs::Encoding;

use super::{html, plain, rtf};
use crate::mail::words;

const SIGNATURE: u32 = 0x223e_9f78;
/// Messages within messages.
const DEPTH_MAX: usize = 4;
/// Attachments, those of messages within included.
const ATTACHMENTS_MAX: usize = 500;
/// Values of all properties that are looked at.
const VALUES_MAX: usize = 100_000;

/// What was found in it.
#[derive(Debug, Default)]
pub struct Tnef {
    pub subject: String,
    /// Its text, in which of its forms says most.
    pub text: String,
    pub attachments: Vec<Inside>,
    pub is_cut: bool,
}

#[derive(Debug)]
pub struct Inside {
    pub name: String,
    /// `None`: it does not say.
    pub kind: Option<String>,
    /// Of the bytes that were given to [`read`].
    pub range: Range<usize>,
    pub id: Option<String>,
    /// A message within: TNEF again. Its attachments follow it.
    pub is_message: bool,
    /// Of a message within.
    pub text: String,
}

/// `None`: it is no TNEF.
pub fn read(bytes: &[u8], text_max: usize) -> Option<Tnef> {
    let mut left = Left { attachments: ATTACHMENTS_MAX, values: VALUES_MAX };
    stream(bytes, 0..bytes.len(), text_max, 0, &mut left)
}

struct Left {
    attachments: usize,
    values: usize,
}

/// A cursor that never passes the end.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<Range<usize>> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.end)?;
        let range = self.at..end;
        self.at = end;
        Some(range)
    }

    fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        self.take(len).map(|range| &self.bytes[range])
    }

    fn u16(&mut self) -> Option<u16> {
        self.slice(2).map(|two| u16::from_le_bytes([two[0], two[1]]))
    }

    fn u32(&mut self) -> Option<u32> {
        self.slice(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
    }

    /// A length, and so many bytes, filled up to four.
    fn counted(&mut self) -> Option<Range<usize>> {
        let len = self.u32()? as usize;
        let range = self.take(len)?;
        // The last one may lack what fills it up.
        self.at = (range.start + len.next_multiple_of(4)).min(self.end);
        Some(range)
    }
}

/// The properties of a message or an attachment that are of interest here.
#[derive(Default)]
struct Properties {
    subject: Option<String>,
    body: Option<String>,
    html: Option<Range<usize>>,
    html_text: Option<String>,
    rtf: Option<Range<usize>>,
    code_page: Option<i32>,
    long_name: Option<String>,
    name: Option<String>,
    display_name: Option<String>,
    mime: Option<String>,
    id: Option<String>,
    data: Option<Range<usize>>,
    message: Option<Range<usize>>,
}

#[derive(Default)]
struct OneAttachment {
    title: Option<String>,
    data: Option<Range<usize>>,
    properties: Properties,
}

fn stream(bytes: &[u8], range: Range<usize>, text_max: usize, depth: usize, left: &mut Left) -> Option<Tnef> {
    let mut at = Cursor { bytes, at: range.start, end: range.end };
    if at.u32()? != SIGNATURE {
        return None;
    }
    at.u16()?;
    let mut message = Properties::default();
    let mut body = None;
    let mut encoding = encoding_rs::WINDOWS_1252;
    let mut open: Option<OneAttachment> = None;
    let mut attachments = Vec::new();
    let mut is_cut = false;
    while at.at < at.end {
        let Some((level, id, data)) = attribute(&mut at) else {
            is_cut = true;
            break;
        };
        match (level, id & 0xffff) {
            // attOemCodepage: of the texts that are not Unicode.
            (1, 0x9007) => {
                let page = bytes[data].first_chunk().map(|four| i32::from_le_bytes(*four));
                encoding = page.and_then(rtf::code_page).unwrap_or(encoding);
            }
            // attSubject, attBody
            (1, 0x8004) => message.subject = message.subject.or(Some(text8(&bytes[data], encoding))),
            (1, 0x800c) => body = Some(text8(&bytes[data], encoding)),
            // attMAPIProps
            (1, 0x9003) => properties(bytes, data, encoding, &mut message, &mut left.values),
            // attAttachRendData begins an attachment.
            (2, 0x9002) => {
                attachments.extend(open.replace(OneAttachment::default()));
            }
            // attAttachData, attAttachTitle, attAttachTransportFilename, attAttachment
            (2, 0x800f) => open.get_or_insert_default().data = Some(data),
            (2, 0x8010 | 0x9001) => {
                let name = text8(&bytes[data], encoding);
                open.get_or_insert_default().title.get_or_insert(name);
            }
            (2, 0x9005) => {
                properties(bytes, data, encoding, &mut open.get_or_insert_default().properties, &mut left.values);
            }
            _ => {}
        }
        if attachments.len() >= left.attachments {
            is_cut = true;
            break;
        }
    }
    attachments.extend(open);
    let mut tnef = Tnef { is_cut, ..Tnef::default() };
    tnef.text = message_text(bytes, &mut message, body, text_max, &mut tnef.is_cut);
    tnef.subject = words::clean(&message.subject.unwrap_or_default());
    for one in attachments {
        attach(bytes, one, text_max, depth, left, &mut tnef);
    }
    Some(tnef)
}

/// Level, identifier and data; checksums are not compared: a mail is shown as far as it can be read.
fn attribute(at: &mut Cursor<'_>) -> Option<(u8, u32, Range<usize>)> {
    let level = at.slice(1)?[0];
    let id = at.u32()?;
    let len = at.u32()? as usize;
    let data = at.take(len)?;
    at.u16();
    matches!(level, 1 | 2).then_some((level, id, data))
}

fn message_text(
    bytes: &[u8],
    message: &mut Properties,
    body: Option<String>,
    text_max: usize,
    is_cut: &mut bool,
) -> String {
    let mut reduced = message.html_text.take().map(|text| html::reduce(&text, text_max));
    if let Some(range) = message.html.take().filter(|_| reduced.is_none()) {
        let data = &bytes[range.start..range.end.min(range.start.saturating_add(text_max.saturating_mul(4)))];
        let page = message.code_page.and_then(rtf::code_page).map(|encoding| encoding.name().to_owned());
        let charset = page.or_else(|| html::declared_charset(data));
        reduced = Some(html::reduce(&crate::mail::transfer::to_utf8(data, charset.as_deref()), text_max));
    }
    if let Some(range) = message.rtf.take().filter(|_| reduced.is_none()) {
        // A text is an eighth of the rich text around it, or less; more than this is not looked through.
        let raw = rtf::decompress(&bytes[range], text_max.saturating_mul(8));
        reduced = raw.map(|raw| rtf::reduce(&raw, text_max));
    }
    let (reduced, cut) = reduced.unwrap_or_default();
    *is_cut |= cut;
    let mut text = message.body.take().or(body).unwrap_or_default();
    if text.len() > text_max {
        text.truncate(text.floor_char_boundary(text_max));
        *is_cut = true;
    }
    plain::alternatives(text, reduced)
}

fn attach(bytes: &[u8], one: OneAttachment, text_max: usize, depth: usize, left: &mut Left, tnef: &mut Tnef) {
    if left.attachments == 0 {
        tnef.is_cut = true;
        return;
    }
    left.attachments -= 1;
    let given = one.properties;
    let named = [given.long_name, one.title, given.name, given.display_name];
    let mut name = named.into_iter().flatten().map(|name| words::clean(&name)).find(|name| !name.is_empty());
    let kind = given.mime.map(|kind| kind.trim().to_ascii_lowercase()).filter(|kind| kind.contains('/'));
    let within = given.message.filter(|_| depth < DEPTH_MAX);
    if let Some(range) = within {
        let found = stream(bytes, range.clone(), text_max, depth + 1, left);
        let found = found.unwrap_or_else(|| Tnef { is_cut: true, ..Tnef::default() });
        name = name.or(Some(found.subject.clone()).filter(|subject| !subject.is_empty()));
        tnef.is_cut |= found.is_cut;
        let text = if found.subject.is_empty() { found.text } else { format!("{}\n\n{}", found.subject, found.text) };
        let name = name.unwrap_or_default();
        tnef.attachments.push(Inside { name, kind: None, range, id: None, is_message: true, text });
        tnef.attachments.extend(found.attachments);
        return;
    }
    let range = given.data.or(one.data).unwrap_or(0..0);
    let name = name.unwrap_or_default();
    tnef.attachments.push(Inside { name, kind, range, id: given.id, is_message: false, text: String::new() });
}

/// The list of properties (MS-OXTNEF §2.1.3.4).
fn properties(
    bytes: &[u8],
    range: Range<usize>,
    encoding: &'static Encoding,
    into: &mut Properties,
    values_left: &mut usize,
) {
    let mut at = Cursor { bytes, at: range.start, end: range.end };
    let Some(count) = at.u32() else { return };
    for _ in 0..count {
        if property(&mut at, encoding, into, values_left).is_none() {
            return;
        }
    }
}

fn property(
    at: &mut Cursor<'_>,
    encoding: &'static Encoding,
    into: &mut Properties,
    values_left: &mut usize,
) -> Option<()> {
    let kind = at.u16()?;
    let id = at.u16()?;
    if id >= 0x8000 {
        // A named property: its set, and a number or a name.
        at.take(16)?;
        match at.u32()? {
            0 => _ = at.u32()?,
            _ => _ = at.counted()?,
        }
    }
    let is_multiple = kind & 0x1000 != 0;
    let kind = kind & !0x1000;
    let fixed = match kind {
        // Short, Boolean, Long, Float, Error: filled up to four.
        0x0002 | 0x000b | 0x0003 | 0x0004 | 0x000a => Some(4),
        // Double, Currency, ApplicationTime, SystemTime, Integer64
        0x0005 | 0x0006 | 0x0007 | 0x0040 | 0x0014 => Some(8),
        0x0048 => Some(16),
        // Object, String8, Unicode, Binary
        0x000d | 0x001e | 0x001f | 0x0102 => None,
        // Of no known length, so that nothing after it can be found. (Null has no value.)
        0x0001 => Some(0),
        _ => return None,
    };
    let values = if is_multiple || fixed.is_none() { at.u32()? } else { 1 };
    for n in 0..values {
        *values_left = values_left.checked_sub(1)?;
        let value = match fixed {
            Some(len) => at.take(len)?,
            None => at.counted()?,
        };
        if n == 0 && !is_multiple && id < 0x8000 {
            keep(at.bytes, kind, id, value, encoding, into);
        }
    }
    Some(())
}

fn keep(bytes: &[u8], kind: u16, id: u16, value: Range<usize>, encoding: &'static Encoding, into: &mut Properties) {
    let text = |into: &mut Option<String>| {
        match kind {
            0x001f => *into = Some(text16(&bytes[value.clone()])),
            0x001e => *into = Some(text8(&bytes[value.clone()], encoding)),
            _ => {}
        };
    };
    match (id, kind) {
        (0x0037, _) => text(&mut into.subject),
        (0x1000, _) => text(&mut into.body),
        (0x1013, 0x0102) => into.html = Some(value),
        (0x1013, _) => text(&mut into.html_text),
        (0x1009, 0x0102) => into.rtf = Some(value),
        (0x3fde, 0x0003) => into.code_page = bytes[value].first_chunk().map(|four| i32::from_le_bytes(*four)),
        (0x3001, _) => text(&mut into.display_name),
        (0x3704, _) => text(&mut into.name),
        (0x3707, _) => text(&mut into.long_name),
        (0x370e, _) => text(&mut into.mime),
        (0x3712, _) => text(&mut into.id),
        (0x3701, 0x0102) => into.data = Some(value),
        // An object: which interface it has, and its bytes. IID_IMessage is a message within.
        (0x3701, 0x000d) => {
            const MESSAGE: &[u8] = &[0x07, 0x03, 0x02, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0x46];
            let inside = (value.start + 16).min(value.end)..value.end;
            if bytes[value].starts_with(MESSAGE) {
                into.message = Some(inside);
            } else {
                into.data = Some(inside);
            }
        }
        _ => {}
    }
}

fn text8(bytes: &[u8], encoding: &'static Encoding) -> String {
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    encoding.decode_without_bom_handling(&bytes[..end]).0.into_owned()
}

fn text16(bytes: &[u8]) -> String {
    let text = encoding_rs::UTF_16LE.decode_without_bom_handling(bytes).0;
    text.split('\0').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Writes TNEF as MS-OXTNEF says.
    #[derive(Clone)]
    pub struct Encoder(Vec<u8>);

    impl Encoder {
        pub fn new() -> Encoder {
            let encoder = Encoder([SIGNATURE.to_le_bytes().as_slice(), &[1, 0]].concat());
            encoder.attribute(1, 0x0008_9006, &[0, 0, 1, 0]).attribute(1, 0x0006_9007, &[0xe4, 4, 0, 0, 0, 0, 0, 0])
        }

        pub fn attribute(mut self, level: u8, id: u32, data: &[u8]) -> Encoder {
            self.0.push(level);
            self.0.extend_from_slice(&id.to_le_bytes());
            self.0.extend_from_slice(&(data.len() as u32).to_le_bytes());
            self.0.extend_from_slice(data);
            let sum = data.iter().fold(0u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
            self.0.extend_from_slice(&sum.to_le_bytes());
            self
        }

        pub fn properties(self, list: &[Vec<u8>]) -> Encoder {
            self.attribute(1, 0x0006_9003, &listed(list))
        }

        pub fn attachment(self, title: &str, data: Option<&[u8]>, list: &[Vec<u8>]) -> Encoder {
            let mut encoder = self.attribute(2, 0x0006_9002, &[0; 14]);
            encoder = encoder.attribute(2, 0x0001_8010, &[title.as_bytes(), b"\0"].concat());
            if let Some(data) = data {
                encoder = encoder.attribute(2, 0x0006_800f, data);
            }
            encoder.attribute(2, 0x0006_9005, &listed(list))
        }

        pub fn finish(self) -> Vec<u8> {
            self.0
        }
    }

    fn listed(list: &[Vec<u8>]) -> Vec<u8> {
        [(list.len() as u32).to_le_bytes().to_vec(), list.concat()].concat()
    }

    pub fn variable(id: u16, kind: u16, value: &[u8]) -> Vec<u8> {
        let mut out = [kind.to_le_bytes(), id.to_le_bytes()].concat();
        out.extend_from_slice(&1u32.to_le_bytes());
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    pub fn unicode(id: u16, text: &str) -> Vec<u8> {
        let wide: Vec<u8> = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        variable(id, 0x001f, &wide)
    }

    fn named(text: &str) -> Vec<u8> {
        let wide: Vec<u8> = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        let mut out = [0x001fu16.to_le_bytes(), 0x8001u16.to_le_bytes()].concat();
        out.extend_from_slice(&[7; 16]);
        out.extend_from_slice(&1u32.to_le_bytes());
        out.extend_from_slice(&(wide.len() as u32).to_le_bytes());
        out.extend_from_slice(&wide);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(&variable(0, 0x001f, &wide)[4..]);
        out
    }

    const MESSAGE: [u8; 16] = [0x07, 0x03, 0x02, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0x46];

    pub fn sample() -> Vec<u8> {
        let rtf = rtf::tests::compressed(b"{\\rtf1\\ansi\\ansicpg1252 The pl\\'e4n of the quarter\\par}");
        let inner = Encoder::new()
            .properties(&[unicode(0x0037, "Inner"), unicode(0x1000, "inner words")])
            .attachment("deep.txt", Some(b"deep data"), &[])
            .finish();
        Encoder::new()
            .attribute(1, 0x0001_8004, b"Subj\xe4ct\0")
            .properties(&[named("x"), vec![3, 0, 0xde, 0x3f, 0xe4, 4, 0, 0], variable(0x1009, 0x0102, &rtf)])
            .attachment("REPORT~1.TXT", Some(b"report data"), &[unicode(0x3707, "Report \u{20ac}.txt")])
            .attachment("x", None, &[variable(0x3701, 0x000d, &[&MESSAGE[..], &inner].concat())])
            .attachment("pic.png", None, &[variable(0x3701, 0x0102, b"png"), unicode(0x370e, "image/png")])
            .finish()
    }

    #[test]
    fn text_and_attachments() {
        let bytes = sample();
        let tnef = read(&bytes, 1 << 20).unwrap();
        assert_eq!(
            (tnef.subject.as_str(), tnef.text.as_str(), tnef.is_cut),
            ("Subjäct", "The plän of the quarter", false)
        );
        let found: Vec<_> = tnef.attachments.iter().map(|one| (one.name.as_str(), &bytes[one.range.clone()])).collect();
        assert_eq!(found.len(), 4);
        assert_eq!(found[0], ("Report €.txt", &b"report data"[..]));
        assert!(found[1].0 == "x" && found[1].1.starts_with(&SIGNATURE.to_le_bytes()));
        assert!(tnef.attachments[1].is_message && tnef.attachments[1].text == "Inner\n\ninner words");
        assert_eq!(found[2], ("deep.txt", &b"deep data"[..]));
        assert_eq!(found[3], ("pic.png", &b"png"[..]));
        assert_eq!(tnef.attachments[3].kind.as_deref(), Some("image/png"));
    }

    #[test]
    fn the_text_in_all_its_forms() {
        let html = variable(0x1013, 0x0102, b"<p>K\xc3\xbcche &amp; more</p>");
        let utf8 = vec![3, 0, 0xde, 0x3f, 0xe9, 0xfd, 0, 0];
        let text = |encoder: Encoder| read(&encoder.finish(), 1 << 20).unwrap().text;
        assert_eq!(text(Encoder::new().properties(&[html, utf8])), "Küche & more");
        assert_eq!(text(Encoder::new().attribute(1, 0x0002_800c, b"Gr\xfc\xdfe\0")), "Grüße");
        assert_eq!(text(Encoder::new().properties(&[variable(0x1000, 0x001e, b"eight bits\0")])), "eight bits");
        let wrapped = b"{\\rtf1\\ansi\\fromhtml1 {\\*\\htmltag64 <b>}bold{\\*\\htmltag64 </b>}}";
        let wrapped = variable(0x1009, 0x0102, &rtf::tests::compressed(wrapped));
        assert_eq!(text(Encoder::new().properties(&[unicode(0x1000, "bold"), wrapped])), "bold");
    }

    #[test]
    fn lying_lengths_harm_nothing() {
        assert!(read(b"", 10).is_none() && read(b"x\x9f\x3e", 10).is_none());
        let whole = sample();
        for len in 0..whole.len() {
            let _ = read(&whole[..len], 1000);
        }
        // Every four bytes as a huge number, and as nothing.
        for at in 6..whole.len() - 4 {
            for lie in [[0xff; 4], [0; 4], [0xff, 0xff, 0xff, 0x7f]] {
                let mut bytes = whole.clone();
                bytes[at..at + 4].copy_from_slice(&lie);
                if let Some(tnef) = read(&bytes, 1000) {
                    assert!(tnef.attachments.iter().all(|one| one.range.end <= bytes.len()), "{at}");
                }
            }
        }
        // A list that says it has four thousand million properties of no length.
        let nulls = [u32::MAX.to_le_bytes().as_slice(), &[1, 0x10, 1, 0, 0xff, 0xff, 0xff, 0xff]].concat();
        assert!(read(&Encoder::new().attribute(1, 0x0006_9003, &nulls).finish(), 10).is_some());
    }

    #[test]
    fn nesting_and_numbers_are_bounded() {
        let mut inner = Encoder::new().properties(&[unicode(0x1000, "innermost")]).finish();
        for _ in 0..100 {
            let object = variable(0x3701, 0x000d, &[&MESSAGE[..], &inner].concat());
            inner = Encoder::new().attachment("m", None, &[object]).finish();
        }
        let tnef = read(&inner, 1000).unwrap();
        assert_eq!(tnef.attachments.len(), DEPTH_MAX + 1);
        let many = (0..5000).fold(Encoder::new(), |encoder, _| encoder.attachment("a", Some(b"b"), &[]));
        let tnef = read(&many.finish(), 1000).unwrap();
        assert!(tnef.attachments.len() == ATTACHMENTS_MAX && tnef.is_cut);
    }
}
