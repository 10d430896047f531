//! A mail in a part of the item that does not lie there as it is: in a transfer encoding, or in a text.
//!
//! It is read at any offset without being held: while it is scanned for the first time, marks are set from which
//! decoding can go on later. What is found in it is told as bytes of the item again ([`Embedded::outwards`]), because the
//! archive holds nothing but the item.

use std::io;
use std::ops::Range;

use super::original::Located;
use super::{DecodeError, Transfer};
use crate::base::bytes::{ByteSource, for_each_window};
use crate::mail::mime::{Limits, Scanner, Structure};
use crate::mail::transfer::{Decoder, Encoding};

/// Encoded bytes between two marks: what reading at any offset costs at most, beside what is read.
const MARK_BYTES: u64 = 512 * 1024;
/// Decoded at once.
const PIECE: usize = 64 * 1024;

pub struct Embedded<'a> {
    item: &'a dyn ByteSource,
    /// In the item.
    range: Range<u64>,
    encoding: Encoding,
    marks: Vec<Mark>,
    len: u64,
}

struct Mark {
    /// Offset in the item, and of what it decodes to.
    at: u64,
    decoded: u64,
    decoder: Decoder,
}

impl<'a> Embedded<'a> {
    /// Reads the range once, and gives its structure as that of a mail.
    pub fn scan(
        item: &'a dyn ByteSource,
        range: Range<u64>,
        encoding: Encoding,
    ) -> Result<(Embedded<'a>, Structure), DecodeError> {
        let mut embedded = Embedded { item, range: range.clone(), encoding, marks: Vec::new(), len: 0 };
        let mut scanner = Scanner::new(Limits::default());
        let mut decoder = Decoder::new(encoding);
        let mut at = range.start;
        let mut buffer = Vec::new();
        for_each_window(item, range, |window| {
            for piece in window.chunks(PIECE) {
                if embedded.marks.last().is_none_or(|mark| at - mark.at >= MARK_BYTES) {
                    embedded.marks.push(Mark { at, decoded: embedded.len, decoder: decoder.clone() });
                }
                buffer.clear();
                decoder.push(piece, &mut buffer);
                scanner.feed(&buffer);
                embedded.len += buffer.len() as u64;
                at += piece.len() as u64;
            }
            Ok::<(), DecodeError>(())
        })?;
        buffer.clear();
        decoder.finish(&mut buffer);
        scanner.feed(&buffer);
        embedded.len += buffer.len() as u64;
        Ok((embedded, scanner.finish()))
    }

    /// A message that was found in here, as bytes of the item. `None` when it has an encoding of its own: the archive
    /// cannot say that.
    pub fn outwards(&self, located: Located<'_>) -> Option<Located<'static>> {
        match self.encoding {
            Encoding::Identity => Some(located.shifted(self.range.start)),
            Encoding::Base64 => located.enclosed(self.range.clone(), Transfer::Base64),
            Encoding::QuotedPrintable => located.enclosed(self.range.clone(), Transfer::QuotedPrintable),
        }
    }
}

impl ByteSource for Embedded<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.encoding == Encoding::Identity {
            return self.item.read_exact_at(self.range.start + offset, buffer);
        }
        let from = self.marks.partition_point(|mark| mark.decoded <= offset).saturating_sub(1);
        let Some(mark) = self.marks.get(from) else { return Ok(()) };
        let (mut at, mut decoded, mut decoder) = (mark.at, mark.decoded, mark.decoder.clone());
        let (mut piece, mut out) = (vec![0; PIECE], Vec::new());
        let mut filled = 0;
        while filled < buffer.len() {
            out.clear();
            let coded = &mut piece[..(self.range.end - at).min(PIECE as u64) as usize];
            if coded.is_empty() {
                std::mem::replace(&mut decoder, Decoder::Identity).finish(&mut out);
            } else {
                self.item.read_exact_at(at, coded)?;
                decoder.push(coded, &mut out);
                at += coded.len() as u64;
            }
            let skipped = (offset + filled as u64).saturating_sub(decoded).min(out.len() as u64) as usize;
            let taken = (out.len() - skipped).min(buffer.len() - filled);
            buffer[filled..filled + taken].copy_from_slice(&out[skipped..skipped + taken]);
            filled += taken;
            decoded += out.len() as u64;
            if coded.is_empty() && filled < buffer.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::transfer;

    #[test]
    fn any_range_is_what_the_whole_decodes_to() {
        let text: String = (0..90_000).map(|n| format!("line {n} = with =3D and blanks \t\r\n")).collect();
        let coded = {
            use base64::Engine as _;
            let digits = base64::engine::general_purpose::STANDARD.encode(&text);
            digits.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line) + "\r\n").collect::<String>()
        };
        for (encoding, body) in [
            (Encoding::Base64, coded.as_str()),
            (Encoding::QuotedPrintable, text.as_str()),
            (Encoding::QuotedPrintable, "ends in an escape =4"),
            (Encoding::Identity, text.as_str()),
            (Encoding::Base64, ""),
        ] {
            let item = format!("before{body}after").into_bytes();
            let (embedded, _) = Embedded::scan(&item, 6..6 + body.len() as u64, encoding).unwrap();
            let whole = transfer::decode(encoding, body.as_bytes());
            assert_eq!(embedded.len(), whole.len() as u64);
            let len = whole.len();
            for (start, end) in [(0, len), (0, len / 2), (len / 3, len), (len / 2, len / 2 + len.min(9)), (len, len)] {
                let end = end.min(len);
                let mut found = vec![0; end - start];
                embedded.read_exact_at(start as u64, &mut found).unwrap();
                assert!(found == whole[start..end], "{encoding:?} {start}..{end}");
            }
            assert!(embedded.read_exact_at(len as u64, &mut [0]).is_err());
        }
    }
}
