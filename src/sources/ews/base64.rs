//! Base64 as it arrives, in pieces of any length.
//!
//! Must: strict. A character that is none of the alphabet, a missing or misplaced padding, or bits that stand for
//! nothing are an error, because each of them may be a mail that was cut; only white space between is passed over.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

#[derive(Default)]
pub(super) struct Decoder {
    /// Characters of an unfinished group of four, and after [`Decoder::take`] only those.
    held: Vec<u8>,
    out: Vec<u8>,
    ended: bool,
}

impl Decoder {
    /// Decodes what is complete; `Err`: it is no base64.
    pub fn take(&mut self, text: &[u8]) -> Result<&[u8], ()> {
        self.out.clear();
        self.held.extend(text.iter().copied().filter(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n')));
        let whole = self.held.len() - self.held.len() % 4;
        if whole > 0 {
            // Padding ends it; what follows would be another text.
            if self.ended {
                return Err(());
            }
            STANDARD.decode_vec(&self.held[..whole], &mut self.out).map_err(|_| ())?;
            self.ended = self.held[whole - 1] == b'=';
            self.held.drain(..whole);
        }
        Ok(&self.out)
    }

    /// Whether all that came was complete.
    pub fn is_whole(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str, piece: usize) -> Result<Vec<u8>, ()> {
        let (mut decoder, mut out) = (Decoder::default(), Vec::new());
        for piece in text.as_bytes().chunks(piece) {
            out.extend_from_slice(decoder.take(piece)?);
        }
        if decoder.is_whole() { Ok(out) } else { Err(()) }
    }

    #[test]
    fn a_text_decodes_alike_whatever_the_pieces() {
        let bytes: Vec<u8> = (0..=255).chain(0..=99).collect();
        let text = STANDARD.encode(&bytes);
        let lines = text.as_bytes().chunks(76).map(|line| String::from_utf8(line.to_vec()).unwrap() + "\r\n");
        let broken: String = lines.collect();
        for piece in 1..200 {
            assert_eq!(decoded(&text, piece).as_deref(), Ok(bytes.as_slice()), "{piece}");
            assert_eq!(decoded(&broken, piece).as_deref(), Ok(bytes.as_slice()), "{piece}");
        }
        assert_eq!(decoded("", 1).as_deref(), Ok(b"".as_slice()));
    }

    #[test]
    fn what_is_cut_or_no_base64_is_an_error() {
        for text in ["QUJ", "QUJDR", "QUJD!UJD", "QUI=QUJD", "Q===", "QUJ=", "QU=I", "QUJD====", "Q-_D"] {
            for piece in 1..9 {
                assert_eq!(decoded(text, piece), Err(()), "{text} {piece}");
            }
        }
    }
}
