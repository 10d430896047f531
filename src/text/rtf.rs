//! Rich text as Outlook keeps it: decompressed (MS-OXRTFCP), and reduced to its words.
//!
//! HTML that is wrapped in rich text (MS-OXRTFEX) is taken out and reduced as HTML. No recursion: groups are kept on a
//! stack of bounded depth, and what lies deeper belongs to the deepest one.

use encoding_rs::Encoding;
use memchr::memmem;

use super::html;

/// The start of the dictionary, which every compressed text may refer to.
const DICTIONARY: &[u8] = b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \\fdecor MS Sans \
SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx";
const WINDOW: usize = 4096;

/// `None`: it is no compressed rich text. What is cut off gives what there is; no more than `bytes_max`.
pub fn decompress(data: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let (header, body) = data.split_at_checked(16)?;
    let raw_size = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    let bytes_max = bytes_max.min(raw_size);
    match &header[8..12] {
        b"MELA" => return Some(body[..body.len().min(bytes_max)].to_vec()),
        b"LZFu" => {}
        _ => return None,
    }
    let mut window = [0u8; WINDOW];
    window[..DICTIONARY.len()].copy_from_slice(DICTIONARY);
    let mut at = DICTIONARY.len();
    let mut out = Vec::new();
    let mut input = body.iter().copied();
    'runs: while let Some(control) = input.next() {
        for bit in 0..8 {
            if out.len() >= bytes_max {
                break 'runs;
            }
            let Some(first) = input.next() else { break 'runs };
            if control >> bit & 1 == 0 {
                window[at] = first;
                at = (at + 1) % WINDOW;
                out.push(first);
                continue;
            }
            let Some(second) = input.next() else { break 'runs };
            let reference = u16::from_be_bytes([first, second]);
            let (from, len) = (usize::from(reference >> 4), usize::from(reference & 15) + 2);
            if from == at {
                break 'runs;
            }
            for step in 0..len {
                let byte = window[(from + step) % WINDOW];
                window[at] = byte;
                at = (at + 1) % WINDOW;
                out.push(byte);
            }
        }
    }
    Some(out)
}

/// At most about `bytes_max` bytes of text; whether there was more.
pub fn reduce(rtf: &[u8], bytes_max: usize) -> (String, bool) {
    let head = &rtf[..rtf.len().min(4096)];
    let wraps_html = memmem::find(head, b"\\fromhtml").is_some();
    // Markup is longer than what it says.
    let raw_max = if wraps_html { bytes_max.saturating_mul(8) } else { bytes_max };
    let mut reader = Reader::new(wraps_html, raw_max);
    reader.read(rtf);
    if wraps_html {
        let (text, cut) = html::reduce(&reader.out, bytes_max);
        return (text, cut || reader.is_full());
    }
    let cut = reader.is_full();
    reader.out.truncate(reader.out.floor_char_boundary(bytes_max));
    reader.out.truncate(reader.out.trim_end().len());
    (reader.out, cut)
}

const DEPTH_MAX: usize = 1000;
const FONTS_MAX: usize = 4096;

/// Groups that hold no text of the document.
const SILENT: [&str; 20] = [
    "fonttbl",
    "colortbl",
    "stylesheet",
    "info",
    "pict",
    "object",
    "header",
    "footer",
    "headerl",
    "headerr",
    "footerl",
    "footerr",
    "listtable",
    "listoverridetable",
    "rsidtbl",
    "generator",
    "filetbl",
    "revtbl",
    "themedata",
    "datastore",
];

/// What a group changes ends with it.
#[derive(Clone, Copy)]
struct State {
    silent: bool,
    in_fonts: bool,
    /// Rich text that stands for a piece of HTML beside it.
    htmlrtf: bool,
    encoding: &'static Encoding,
    /// Bytes that follow a `\u` for readers that do not know it.
    fallback: usize,
}

struct Reader {
    wraps_html: bool,
    out: String,
    bytes_max: usize,
    stack: Vec<State>,
    /// Groups below the deepest that is kept.
    deeper: usize,
    state: State,
    default: &'static Encoding,
    fonts: std::collections::HashMap<i32, &'static Encoding>,
    font: i32,
    /// Bytes of the current charset that were not decoded yet.
    pending: Vec<u8>,
    /// A surrogate that waits for its other half.
    high: Option<u16>,
    to_skip: usize,
}

impl Reader {
    fn new(wraps_html: bool, bytes_max: usize) -> Reader {
        let encoding = encoding_rs::WINDOWS_1252;
        let state = State { silent: false, in_fonts: false, htmlrtf: false, encoding, fallback: 1 };
        Reader {
            wraps_html,
            out: String::new(),
            bytes_max,
            stack: Vec::new(),
            deeper: 0,
            state,
            default: encoding,
            fonts: Default::default(),
            font: 0,
            pending: Vec::new(),
            high: None,
            to_skip: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.out.len() >= self.bytes_max
    }

    fn read(&mut self, rtf: &[u8]) {
        let mut at = 0;
        while at < rtf.len() && !self.is_full() {
            match rtf[at] {
                b'{' => {
                    at += 1;
                    self.open();
                    at += self.destination(&rtf[at..]);
                }
                b'}' => {
                    at += 1;
                    self.close();
                }
                b'\\' => at += 1 + self.control(&rtf[at + 1..]),
                b'\r' | b'\n' | b'\0' => at += 1,
                byte => {
                    self.byte(byte);
                    at += 1;
                }
            }
        }
        self.flush();
    }

    fn open(&mut self) {
        self.flush();
        self.to_skip = 0;
        if self.stack.len() < DEPTH_MAX {
            self.stack.push(self.state);
        } else {
            self.deeper += 1;
        }
    }

    fn close(&mut self) {
        self.flush();
        self.to_skip = 0;
        if self.deeper > 0 {
            self.deeper -= 1;
        } else if let Some(state) = self.stack.pop() {
            self.state = state;
        }
    }

    /// What a group is for stands at its start; says how many bytes of that were taken.
    fn destination(&mut self, rest: &[u8]) -> usize {
        let Some(name) = rest.strip_prefix(b"\\*\\") else { return 0 };
        let word = word_at(name);
        if self.wraps_html && word.name == b"htmltag" {
            // The tag is part of the HTML also where the text beside it is not.
            self.state.htmlrtf = false;
        } else {
            self.state.silent = true;
        }
        3 + word.len
    }

    /// Behind a backslash; says how many bytes were taken.
    fn control(&mut self, rest: &[u8]) -> usize {
        let Some(&first) = rest.first() else { return 0 };
        if !first.is_ascii_alphabetic() {
            match first {
                b'\'' => {
                    let digits = rest.get(1..3).and_then(|two| std::str::from_utf8(two).ok());
                    let Some(byte) = digits.and_then(|two| u8::from_str_radix(two, 16).ok()) else { return 1 };
                    self.byte(byte);
                    return 3;
                }
                b'\\' | b'{' | b'}' => self.byte(first),
                b'~' => self.character(' '),
                b'_' => self.character('-'),
                b'\r' | b'\n' => self.character('\n'),
                _ => {}
            }
            return 1;
        }
        let word = word_at(rest);
        if word.name == b"bin" {
            let bytes = usize::try_from(word.value.unwrap_or(0)).unwrap_or(0);
            return word.len.saturating_add(bytes).min(rest.len());
        }
        self.word(&word);
        word.len
    }

    fn word(&mut self, word: &Word<'_>) {
        match (word.name, word.value) {
            (b"par" | b"line" | b"row" | b"sect" | b"page", _) => self.character('\n'),
            (b"tab" | b"cell", _) => self.character('\t'),
            (b"emdash", _) => self.character('—'),
            (b"endash", _) => self.character('–'),
            (b"lquote", _) => self.character('‘'),
            (b"rquote", _) => self.character('’'),
            (b"ldblquote", _) => self.character('“'),
            (b"rdblquote", _) => self.character('”'),
            (b"bullet", _) => self.character('•'),
            (b"emspace" | b"enspace" | b"qmspace", _) => self.character(' '),
            (b"u", Some(code)) => self.unicode(code),
            (b"uc", Some(count)) => self.state.fallback = usize::try_from(count).unwrap_or(1).min(16),
            (b"ansicpg", Some(page)) => {
                self.flush();
                self.default = code_page(page).unwrap_or(self.default);
                self.state.encoding = self.default;
            }
            (b"f", Some(font)) => {
                self.flush();
                self.font = font;
                if !self.state.in_fonts {
                    self.state.encoding = self.fonts.get(&font).copied().unwrap_or(self.default);
                }
            }
            (b"fcharset", Some(charset)) if self.state.in_fonts => {
                // 0 is ANSI and 1 the default: what the document says of itself.
                if let Some(encoding) = font_charset(charset)
                    && self.fonts.len() < FONTS_MAX
                {
                    self.fonts.insert(self.font, encoding);
                }
            }
            (b"plain", _) => {
                self.flush();
                self.state.encoding = self.default;
            }
            (b"htmlrtf", value) if self.wraps_html => {
                self.flush();
                self.state.htmlrtf = value != Some(0);
            }
            (b"fonttbl", _) => (self.state.silent, self.state.in_fonts) = (true, true),
            (name, _) if SILENT.iter().any(|silent| silent.as_bytes() == name) => self.state.silent = true,
            _ => {}
        }
    }

    fn byte(&mut self, byte: u8) {
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return;
        }
        if !self.state.silent && !self.state.htmlrtf {
            self.high = None;
            self.pending.push(byte);
            if self.pending.len() >= 4096 && byte.is_ascii() {
                self.flush();
            }
        }
    }

    fn character(&mut self, character: char) {
        if !self.state.silent && !self.state.htmlrtf {
            self.flush();
            self.out.push(character);
        }
    }

    fn unicode(&mut self, code: i32) {
        // Written as a signed number of 16 bits.
        let unit = code as u16;
        self.to_skip = self.state.fallback;
        if self.state.silent || self.state.htmlrtf {
            return;
        }
        self.flush();
        match (self.high.take(), unit) {
            (_, 0xd800..=0xdbff) => self.high = Some(unit),
            (Some(high), 0xdc00..=0xdfff) => {
                self.out.extend(char::decode_utf16([high, unit]).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
            }
            _ => self.out.push(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }

    fn flush(&mut self) {
        if !self.pending.is_empty() {
            let text = self.state.encoding.decode_without_bom_handling(&self.pending).0;
            self.out.push_str(&text);
            self.pending.clear();
        }
    }
}

struct Word<'a> {
    name: &'a [u8],
    value: Option<i32>,
    /// With its number and the blank that ends it.
    len: usize,
}

fn word_at(text: &[u8]) -> Word<'_> {
    let name_len = text.iter().take(32).take_while(|byte| byte.is_ascii_alphabetic()).count();
    let (name, rest) = text.split_at(name_len);
    let sign = usize::from(rest.first() == Some(&b'-'));
    let digits = rest[sign..].iter().take(10).take_while(|byte| byte.is_ascii_digit()).count();
    let number = if digits > 0 { &rest[..sign + digits] } else { &[] };
    let value = std::str::from_utf8(number).ok().and_then(|number| number.parse::<i64>().ok());
    let value = value.map(|value| value.clamp(i32::MIN.into(), i32::MAX.into()) as i32);
    let blank = usize::from(rest.get(number.len()) == Some(&b' '));
    Word { name, value, len: name_len + number.len() + blank }
}

/// The charsets of Windows fonts.
fn font_charset(charset: i32) -> Option<&'static Encoding> {
    code_page(match charset {
        77 => 10000,
        128 => 932,
        129 => 949,
        134 => 936,
        136 => 950,
        161 => 1253,
        162 => 1254,
        163 => 1258,
        177 => 1255,
        178 => 1256,
        186 => 1257,
        204 => 1251,
        222 => 874,
        238 => 1250,
        _ => return None,
    })
}

/// The numbers by which Windows knows charsets.
pub fn code_page(page: i32) -> Option<&'static Encoding> {
    Some(match page {
        437 | 850 | 1252 | 20127 | 28591 => encoding_rs::WINDOWS_1252,
        866 => encoding_rs::IBM866,
        874 => encoding_rs::WINDOWS_874,
        932 => encoding_rs::SHIFT_JIS,
        936 | 54936 | 52936 => encoding_rs::GB18030,
        949 | 51949 => encoding_rs::EUC_KR,
        950 => encoding_rs::BIG5,
        1250 => encoding_rs::WINDOWS_1250,
        1251 => encoding_rs::WINDOWS_1251,
        1253 => encoding_rs::WINDOWS_1253,
        1254 | 28599 => encoding_rs::WINDOWS_1254,
        1255 => encoding_rs::WINDOWS_1255,
        1256 => encoding_rs::WINDOWS_1256,
        1257 => encoding_rs::WINDOWS_1257,
        1258 => encoding_rs::WINDOWS_1258,
        10000 => encoding_rs::MACINTOSH,
        20866 => encoding_rs::KOI8_R,
        21866 => encoding_rs::KOI8_U,
        28592 => encoding_rs::ISO_8859_2,
        28595 => encoding_rs::ISO_8859_5,
        28597 => encoding_rs::ISO_8859_7,
        28605 => encoding_rs::ISO_8859_15,
        50220..=50222 => encoding_rs::ISO_2022_JP,
        51932 => encoding_rs::EUC_JP,
        65001 => encoding_rs::UTF_8,
        _ => return None,
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn text(rtf: &str) -> String {
        reduce(rtf.as_bytes(), 1 << 20).0
    }

    /// Compresses without references but the last, which is how a text of unknown words looks.
    pub fn compressed(rtf: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        let mut at = DICTIONARY.len();
        for run in rtf.chunks(8) {
            body.push(if run.len() < 8 { 1 << run.len() } else { 0 });
            body.extend_from_slice(run);
            at = (at + run.len()) % WINDOW;
        }
        if rtf.len().is_multiple_of(8) {
            body.push(1);
        }
        body.extend_from_slice(&((at as u16) << 4).to_be_bytes());
        let mut out = (body.len() as u32 + 12).to_le_bytes().to_vec();
        out.extend_from_slice(&(rtf.len() as u32).to_le_bytes());
        out.extend_from_slice(b"LZFu\0\0\0\0");
        out.extend_from_slice(&body);
        out
    }

    #[test]
    fn the_examples_of_the_specification() {
        // MS-OXRTFCP §4.1 and §4.2.
        let simple = b"\x2d\x00\x00\x00\x2b\x00\x00\x00\x4c\x5a\x46\x75\xf1\xc5\xc7\xa7\x03\x00\x0a\x00\x72\x63\x70\x67\x31\x32\x35\
                       \x42\x32\x0a\xf3\x20\x68\x65\x6c\x09\x00\x20\x62\x77\x05\xb0\x6c\x64\x7d\x0a\x80\x0f\xa0";
        assert_eq!(decompress(simple, 1000).unwrap(), b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n");
        let crossing = b"\x1a\x00\x00\x00\x1c\x00\x00\x00\x4c\x5a\x46\x75\xe2\xd4\x4b\x51\x41\x00\x04\x20\x57\x58\x59\x5a\x0d\x6e\x7d\
                         \x01\x0e\xb0";
        assert_eq!(decompress(crossing, 1000).unwrap(), b"{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}");
        let plain = [b"\x1a\0\0\0\x0e\0\0\0MELA\0\0\0\0".as_slice(), b"{\\rtf1 hello}\n"].concat();
        assert_eq!(decompress(&plain, 1000).unwrap(), b"{\\rtf1 hello}\n");
        let own = b"{\\rtf1 \\pard what the encoder of these tests makes}";
        assert_eq!(decompress(&compressed(own), 1000).unwrap(), own);
    }

    #[test]
    fn lying_lengths_harm_nothing() {
        assert_eq!(decompress(b"short", 10), None);
        assert_eq!(decompress(&[0; 16], 10), None);
        let lies = [b"\xff\xff\xff\xff\xff\xff\xff\xffLZFu\0\0\0\0".as_slice(), &[0xff; 5000]].concat();
        assert!(decompress(&lies, 1000).unwrap().len() < 1000 + 18);
        let mut cut = compressed(b"{\\rtf1 hello}");
        for len in (0..cut.len()).rev() {
            cut.truncate(len);
            let _ = decompress(&cut, 1000);
        }
    }

    #[test]
    fn words_of_rich_text() {
        let rtf = "{\\rtf1\\ansi\\ansicpg1252{\\fonttbl{\\f0\\fcharset0 Arial;}{\\f1\\fcharset204 Arial;}{\\f2\\fcharset128 MS;}}\
                   {\\colortbl;\\red0;}{\\*\\generator Msft;}{\\info{\\title secret}}\\pard Gr\\'fc\\'dfe, \\b W\\b0 elt\\par\r\n\
                   {\\f1 \\'ef\\'f0\\'e8}\\tab{\\f2 \\'93\\'fa\\'96\\'7b} \\u8364? \\u-10179?\\u-8704?{\\uc0 \\u228x}\\line a\\~b\\{\\}\\\\{\\pict ffd8\\bin3 }}}}end}";
        assert_eq!(text(rtf), "Grüße, Welt\nпри\t日本 € 😀äx\na b{}\\end");
    }

    #[test]
    fn html_in_rich_text() {
        let rtf = "{\\rtf1\\ansi\\ansicpg1252\\fromhtml1 \\deff0{\\fonttbl{\\f0 Arial;}}\n\
                   {\\*\\htmltag64 <p>}\\htmlrtf {\\htmlrtf0 Hello {\\*\\htmltag84 <b>}\\htmlrtf \\b\\htmlrtf0 W\\'f6rld{\\*\\htmltag92 </b>}\
                   \\htmlrtf }\\htmlrtf0 {\\*\\htmltag84 &nbsp;}\\htmlrtf \\'a0\\htmlrtf0 x{\\*\\mhtmltag84 <b>}{\\*\\htmltag84 <img alt=\"logo\">}\\htmlrtf\\par\\htmlrtf0}";
        assert_eq!(text(rtf), "Hello Wörld xlogo");
    }

    #[test]
    fn hostile_rich_text_takes_no_time() {
        for piece in [
            "{",
            "}",
            "\\",
            "\\'",
            "\\u1",
            "{\\*\\x ",
            "\\f1 ",
            "{\\fonttbl\\f1\\fcharset128 ",
            "\\bin99999 ",
            "\\uc9\\u9 ",
            "\\par",
            "x",
        ] {
            let rtf = format!("{{\\rtf1 {}", piece.repeat((4 << 20) / piece.len()));
            let (text, _) = reduce(rtf.as_bytes(), 1 << 20);
            assert!(text.len() <= 1 << 20, "{piece}");
            let _ = reduce(rtf.replacen("rtf1", "rtf1\\fromhtml1", 1).as_bytes(), 1 << 20);
        }
    }
}
