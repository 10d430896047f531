//! Transfer encodings (RFC 2045) and charsets, decoded in a stream.
//!
//! Tolerant: junk in base64 is passed over, broken escapes of quoted-printable stay as they are, padding may
//! be missing. The result depends on the bytes only, never on how they are cut into pieces.

use memchr::memchr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// 7bit, 8bit, binary, and every name that is not known.
    Identity,
    Base64,
    QuotedPrintable,
}

impl Encoding {
    pub fn named(value: &[u8]) -> Encoding {
        let value = value.trim_ascii();
        let word = value.split(|&b| b == b';' || b == b' ' || b == b'(').next().unwrap_or(value);
        if word.eq_ignore_ascii_case(b"base64") {
            Encoding::Base64
        } else if word.eq_ignore_ascii_case(b"quoted-printable") {
            Encoding::QuotedPrintable
        } else {
            Encoding::Identity
        }
    }
}

/// Decodes a stream of pieces. A clone goes on from where it was taken.
#[derive(Clone)]
pub enum Decoder {
    Identity,
    Base64(Base64),
    QuotedPrintable(QuotedPrintable),
}

impl Decoder {
    pub fn new(encoding: Encoding) -> Decoder {
        match encoding {
            Encoding::Identity => Decoder::Identity,
            Encoding::Base64 => Decoder::Base64(Base64::default()),
            Encoding::QuotedPrintable => Decoder::QuotedPrintable(QuotedPrintable::default()),
        }
    }

    /// Appends what `input` decodes to.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) {
        match self {
            Decoder::Identity => out.extend_from_slice(input),
            Decoder::Base64(state) => state.push(input, out),
            Decoder::QuotedPrintable(state) => state.push(input, out),
        }
    }

    /// Appends what was held back.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self {
            Decoder::Identity => {}
            Decoder::Base64(mut state) => state.flush(out),
            Decoder::QuotedPrintable(state) => state.finish(out),
        }
    }
}

/// All of `input` at once; the caller has bounded its length.
pub fn decode(encoding: Encoding, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len());
    let mut decoder = Decoder::new(encoding);
    decoder.push(input, &mut out);
    decoder.finish(&mut out);
    out
}

/// In [`DIGITS`]: not a digit. Above the 24 bits of a group.
const NO_DIGIT: u32 = 1 << 24;

/// The bits of each digit at its place in a group of four.
static DIGITS: [[u32; 256]; 4] = {
    let mut table = [[NO_DIGIT; 256]; 4];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value = 0;
    while value < 64 {
        let mut place = 0;
        while place < 4 {
            table[place][alphabet[value] as usize] = (value as u32) << (18 - 6 * place);
            place += 1;
        }
        value += 1;
    }
    table
};

#[derive(Clone, Default)]
pub struct Base64 {
    /// Up to three digits that wait for the fourth.
    bits: u32,
    digits: u8,
}

impl Base64 {
    fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while let Some((&byte, rest)) = input.split_first() {
            if self.digits == 0 {
                // Most of an attachment is lines of unbroken groups.
                let taken = groups(input, out);
                if taken > 0 {
                    input = &input[taken..];
                    continue;
                }
            }
            input = rest;
            let value = DIGITS[3][byte as usize];
            if byte == b'=' {
                self.flush(out);
            } else if value != NO_DIGIT {
                self.bits = self.bits << 6 | value;
                self.digits += 1;
                if self.digits == 4 {
                    out.extend_from_slice(&self.bits.to_be_bytes()[1..]);
                    (self.bits, self.digits) = (0, 0);
                }
            }
        }
    }

    /// Ends a group: at padding (after which another stream may follow) and at the end.
    fn flush(&mut self, out: &mut Vec<u8>) {
        if self.digits == 2 {
            out.push((self.bits >> 4) as u8);
        } else if self.digits == 3 {
            out.extend_from_slice(&[(self.bits >> 10) as u8, (self.bits >> 2) as u8]);
        }
        (self.bits, self.digits) = (0, 0);
    }
}

/// Decodes whole groups up to the first byte that is no digit; says how many bytes of input those were.
fn groups(input: &[u8], out: &mut Vec<u8>) -> usize {
    let start = out.len();
    // A line at a time: what is reserved for the groups behind a line break would be cleared in vain.
    let line = &input[..input.len().min(128)];
    out.resize(start + line.len() / 4 * 3, 0);
    let mut done = 0;
    for (four, three) in line.chunks_exact(4).zip(out[start..].chunks_exact_mut(3)) {
        let [a, b, c, d] = [four[0], four[1], four[2], four[3]].map(usize::from);
        let bits = DIGITS[0][a] | DIGITS[1][b] | DIGITS[2][c] | DIGITS[3][d];
        if bits & NO_DIGIT != 0 {
            break;
        }
        three.copy_from_slice(&bits.to_be_bytes()[1..]);
        done += 1;
    }
    out.truncate(start + done * 3);
    done * 4
}

/// White space at the end of a line is not content (RFC 2045 §6.7 rule 3); a run longer than this is no
/// padding that a mail server added, and is let through rather than held.
const BLANKS_MAX: usize = 1024;

#[derive(Clone, Default)]
pub struct QuotedPrintable {
    state: Escape,
    /// White space that is content only when something follows on the line.
    blanks: Vec<u8>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Escape {
    #[default]
    None,
    /// After `=`, and after `=` with white space.
    Equals,
    /// After `=` and one hexadecimal digit.
    Digit(u8),
    /// After `=` and CR: the LF belongs to the soft line break.
    SoftCr,
}

impl QuotedPrintable {
    fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        out.reserve(input.len());
        while let Some((&byte, rest)) = input.split_first() {
            match self.state {
                Escape::None => {
                    let run = input.iter().position(|b| matches!(b, b'=' | b' ' | b'\t' | b'\r' | b'\n'));
                    let run = run.unwrap_or(input.len());
                    if run > 0 {
                        out.append(&mut self.blanks);
                        out.extend_from_slice(&input[..run]);
                        input = &input[run..];
                        continue;
                    }
                    match byte {
                        b'=' => {
                            out.append(&mut self.blanks);
                            self.state = Escape::Equals;
                        }
                        b' ' | b'\t' => self.hold(byte, out),
                        _ => {
                            self.blanks.clear();
                            out.push(byte);
                        }
                    }
                }
                Escape::Equals => match byte {
                    b'\n' => {
                        self.blanks.clear();
                        self.state = Escape::None;
                    }
                    b'\r' => {
                        self.blanks.clear();
                        self.state = Escape::SoftCr;
                    }
                    b' ' | b'\t' if self.blanks.len() < BLANKS_MAX => self.blanks.push(byte),
                    _ if byte.is_ascii_hexdigit() && self.blanks.is_empty() => self.state = Escape::Digit(byte),
                    _ => {
                        out.push(b'=');
                        self.state = Escape::None;
                        continue;
                    }
                },
                Escape::Digit(first) => {
                    self.state = Escape::None;
                    match (hex(first), hex(byte)) {
                        (Some(high), Some(low)) => out.push(high << 4 | low),
                        _ => {
                            out.extend_from_slice(&[b'=', first]);
                            continue;
                        }
                    }
                }
                Escape::SoftCr => {
                    self.state = Escape::None;
                    if byte != b'\n' {
                        continue;
                    }
                }
            }
            input = rest;
        }
    }

    fn hold(&mut self, blank: u8, out: &mut Vec<u8>) {
        if self.blanks.len() >= BLANKS_MAX {
            out.append(&mut self.blanks);
        }
        self.blanks.push(blank);
    }

    fn finish(self, out: &mut Vec<u8>) {
        // White space at the very end is the end of a line too; a lone `=` there is a soft line break.
        if let Escape::Digit(first) = self.state {
            out.extend_from_slice(&[b'=', first]);
        }
    }
}

fn hex(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|value| value as u8)
}

/// Text of any charset as UTF-8. A byte order mark wins over the label, valid UTF-8 over a missing, unknown
/// or ASCII label, and windows-1252 is what is left. Never fails: undecodable bytes become U+FFFD.
pub fn to_utf8(bytes: &[u8], charset: Option<&str>) -> String {
    if let Some((encoding, mark)) = encoding_rs::Encoding::for_bom(bytes) {
        return encoding.decode_without_bom_handling(&bytes[mark..]).0.into_owned();
    }
    if charset.is_some_and(|label| label.trim().eq_ignore_ascii_case("utf-7")) {
        return utf7(bytes);
    }
    let named = charset.and_then(|label| encoding_rs::Encoding::for_label(label.trim().as_bytes()));
    match named {
        Some(encoding) if encoding != encoding_rs::WINDOWS_1252 => {
            encoding.decode_without_bom_handling(bytes).0.into_owned()
        }
        // ISO-8859-1 and US-ASCII are labels of windows-1252 (WHATWG), and the label is often a lie.
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned(),
        },
    }
}

/// RFC 2152: no charset of the web, so encoding_rs leaves it out, but a mail server can be set to it.
fn utf7(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(plus) = memchr(b'+', rest) {
        out.push_str(&String::from_utf8_lossy(&rest[..plus]));
        rest = &rest[plus + 1..];
        let is_digit = |byte: &u8| DIGITS[3][usize::from(*byte)] != NO_DIGIT;
        let end = rest.iter().position(|byte| !is_digit(byte)).unwrap_or(rest.len());
        if end == 0 {
            out.push('+');
        }
        let units = decode(Encoding::Base64, &rest[..end]);
        let units = units.chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]]));
        out.extend(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
        rest = rest[end..].strip_prefix(b"-").unwrap_or(&rest[end..]);
    }
    out.push_str(&String::from_utf8_lossy(rest));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base64_with_junk_breaks_and_no_padding() {
        for text in ["aGVsbG8gd29ybGQ=", "aGVs\r\nbG8gd2\n9ybGQ", "aG*Vs bG8gd29y!bGQ=", "aGVsbG8=IHdvcmxk"] {
            assert_eq!(decode(Encoding::Base64, text.as_bytes()), b"hello world", "{text}");
        }
        assert_eq!(decode(Encoding::Base64, b"=a===b"), b"");
    }

    #[test]
    fn quoted_printable_with_all_its_corners() {
        let cases: [(&str, &str); 9] = [
            ("a=3Db", "a=b"),
            ("a=3db", "a=b"),
            ("soft=\r\n break=  \r\n=\nend", "soft breakend"),
            ("trailing  \t\r\nx \n", "trailing\r\nx\n"),
            ("broken =zz =4 =", "broken =zz =4 "),
            ("=", ""),
            ("=4", "=4"),
            ("= x", "= x"),
            ("=\rx", "x"),
        ];
        for (input, output) in cases {
            assert_eq!(
                String::from_utf8(decode(Encoding::QuotedPrintable, input.as_bytes())).unwrap(),
                output,
                "{input:?}"
            );
        }
    }

    #[test]
    fn endless_blanks_are_not_held() {
        let input = vec![b' '; 1 << 20];
        let mut state = QuotedPrintable::default();
        let mut out = Vec::new();
        state.push(&input, &mut out);
        assert!(state.blanks.len() <= BLANKS_MAX);
    }

    #[test]
    fn charsets() {
        assert_eq!(to_utf8(b"\xef\xbb\xbfSender", Some("us-ascii")), "Sender");
        assert_eq!(to_utf8(b"\xff\xfeS\0\xe4\0", None), "Sä");
        assert_eq!(to_utf8(b"\xfe\xff\0S\0\xe4", Some("utf-8")), "Sä");
        assert_eq!(to_utf8(b"S\0\xe4\0", Some("utf-16le")), "Sä");
        assert_eq!(to_utf8(b"S\xe4", Some("iso-8859-1")), "Sä");
        assert_eq!(to_utf8("Sä".as_bytes(), Some("us-ascii")), "Sä");
        assert_eq!(to_utf8(b"S\xe4", Some("no-such-charset")), "Sä");
        assert_eq!(to_utf8(b"\x93\xfa\x96{", Some("shift_jis")), "日本");
        assert_eq!(to_utf8(b"a+AEA-x 1+-1 Z+AOQ-hler +AOQ.+2D3cAA-+", Some("UTF-7")), "a@x 1+1 Zähler ä.\u{1f400}+");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            input in proptest::collection::vec(prop_oneof![Just(b'='), Just(b' '), Just(b'\r'), Just(b'\n'), Just(b'4'), Just(b'A'), any::<u8>()], 0..200),
            cut in 1usize..7,
        ) {
            for encoding in [Encoding::Base64, Encoding::QuotedPrintable] {
                let whole = decode(encoding, &input);
                let mut out = Vec::new();
                let mut decoder = Decoder::new(encoding);
                for piece in input.chunks(cut) {
                    decoder.push(piece, &mut out);
                }
                decoder.finish(&mut out);
                prop_assert_eq!(&whole, &out);
            }
        }
    }
}
