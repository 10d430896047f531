//! Encoded words (RFC 2047) before a parser of headers sees them.
//!
//! Mailers cut characters in two between words, and charsets with a state (ISO-2022-JP) go on in the next one; so a
//! run of words is decoded as one, in the charsets that are known for texts. What comes out is encoded words again, in
//! UTF-8 and cut between characters: a decoded comma or quote would mean something to a parser of addresses. Time is
//! linear in the value, and what is no encoded word stays as it is.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::{memchr, memmem};

use super::transfer::{self, Encoding};

/// RFC 2047 allows 75 bytes; mailers do not all care.
pub const WORD_MAX: usize = 1024;
/// Of text in one word that is written here: less than [`WORD_MAX`] with everything around it.
const TEXT_MAX: usize = 600;

pub fn in_utf8(value: &[u8]) -> Cow<'_, [u8]> {
    if memmem::find(value, b"=?").is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len() * 2);
    let mut rest = value;
    while let Some(at) = memmem::find(rest, b"=?") {
        let Some((mut run, after)) = Word::at(&rest[at..]) else {
            out.extend_from_slice(&rest[..at + 2]);
            rest = &rest[at + 2..];
            continue;
        };
        out.extend_from_slice(&rest[..at]);
        rest = after;
        let mut text = String::new();
        // White space between two words is none of the text.
        while let Some((word, after)) = Word::at(rest.trim_ascii_start()) {
            rest = after;
            if word.charset.eq_ignore_ascii_case(run.charset) {
                run.bytes.extend_from_slice(&word.bytes);
            } else {
                text.push_str(&run.text());
                run = word;
            }
        }
        text.push_str(&run.text());
        write(&text, &mut out);
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

struct Word<'a> {
    charset: &'a str,
    bytes: Vec<u8>,
}

impl<'a> Word<'a> {
    /// The word at the start of the value, and what follows it.
    fn at(value: &'a [u8]) -> Option<(Word<'a>, &'a [u8])> {
        let window = &value[..value.len().min(WORD_MAX)];
        let inside = window.strip_prefix(b"=?")?;
        let (charset, inside) = inside.split_at_checked(memchr(b'?', inside)?)?;
        // RFC 2231 §5: a language may follow.
        let charset = charset.split(|&byte| byte == b'*').next()?;
        let charset = std::str::from_utf8(charset).ok()?;
        let is_label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'+');
        let [b'?', how, b'?', text @ ..] = inside else { return None };
        let (text, end) = text.split_at_checked(memchr(b'?', text)?)?;
        if charset.is_empty() || !charset.bytes().all(is_label) || !end.starts_with(b"?=") {
            return None;
        }
        let len = window.len() - end.len() + 2;
        let bytes = match how {
            b'B' | b'b' => transfer::decode(Encoding::Base64, text),
            b'Q' | b'q' => q(text),
            _ => return None,
        };
        Some((Word { charset, bytes }, &value[len..]))
    }

    fn text(&self) -> String {
        transfer::to_utf8(&self.bytes, Some(self.charset))
    }
}

fn q(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (byte, escaped) {
            (b'=', Some(value)) => {
                bytes.push(value);
                rest = &after[2..];
                continue;
            }
            (b'_', _) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
        rest = after;
    }
    bytes
}

fn write(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(TEXT_MAX));
        if rest.len() < text.len() {
            out.push(b' ');
        }
        out.extend_from_slice(b"=?utf-8?B?");
        out.extend_from_slice(STANDARD.encode(piece).as_bytes());
        out.extend_from_slice(b"?=");
        rest = after;
    }
}
