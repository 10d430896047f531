//! The lines of an HTML text, for an envelope part of which a mail system left nothing else.
//!
//! A line ends where a reader sees it end: at `<br>`, at the edges of blocks, and at line breaks in `<pre>`. No character
//! reference makes one, so what was escaped stays within its line. Never fails, and time is linear in the text.

use memchr::{memchr, memchr3, memmem};

/// Elements whose edges are line breaks.
const BLOCKS: [&str; 18] = [
    "p",
    "div",
    "tr",
    "li",
    "ul",
    "ol",
    "table",
    "tbody",
    "pre",
    "body",
    "html",
    "head",
    "blockquote",
    "h1",
    "h2",
    "h3",
    "h4",
    "hr",
];
/// Elements whose content is not text.
const SILENT: [&str; 3] = ["style", "script", "title"];
const REFERENCE_BYTES_MAX: usize = 10;

pub fn to_text(html: &str) -> String {
    let mut text = Text::default();
    let mut rest = html;
    while !rest.is_empty() {
        let plain = memchr3(b'<', b'&', b'\n', rest.as_bytes()).unwrap_or(rest.len());
        text.push(&rest[..plain]);
        rest = &rest[plain..];
        if let Some(after) = rest.strip_prefix('\n') {
            if text.pre > 0 {
                text.end_line()
            } else {
                text.push(" ")
            }
            rest = after;
        } else if rest.starts_with('&') {
            let (character, len) = reference(rest);
            text.push(character.encode_utf8(&mut [0; 4]));
            rest = &rest[len..];
        } else if rest.starts_with('<') {
            rest = markup(rest, &mut text);
        }
    }
    text.out
}

/// Acts on the tag or comment at the start of `rest` and gives what follows it.
fn markup<'a>(rest: &'a str, text: &mut Text) -> &'a str {
    if let Some(comment) = rest.strip_prefix("<!--") {
        return memmem::find(comment.as_bytes(), b"-->").map_or("", |end| &comment[end + 3..]);
    }
    let inside = &rest[1..];
    if !inside.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?')) {
        text.push("<");
        return inside;
    }
    let Some(end) = memchr(b'>', inside.as_bytes()) else { return "" };
    let after = &inside[end + 1..];
    let (closes, name) = match inside[..end].strip_prefix('/') {
        Some(name) => (true, name),
        None => (false, &inside[..end]),
    };
    let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let is = |wanted: &&str| name.eq_ignore_ascii_case(wanted);
    if !closes && SILENT.iter().any(is) {
        return memmem::find(after.as_bytes(), b"</").map_or("", |end| &after[end..]);
    }
    if is(&"br") {
        text.end_line();
    } else if BLOCKS.iter().any(is) {
        text.end_block();
        if is(&"pre") {
            text.pre = if closes { text.pre.saturating_sub(1) } else { text.pre + 1 };
        }
    }
    after
}

#[derive(Default)]
struct Text {
    out: String,
    /// How many `<pre>` are open: white space is content there.
    pre: usize,
}

impl Text {
    fn push(&mut self, piece: &str) {
        if self.pre > 0 {
            self.out.push_str(piece);
            return;
        }
        for c in piece.chars() {
            if !c.is_ascii_whitespace() {
                self.out.push(c);
            } else if !self.out.is_empty() && !self.out.ends_with([' ', '\n']) {
                self.out.push(' ');
            }
        }
    }

    fn end_line(&mut self) {
        self.out.push('\n');
    }

    fn end_block(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.end_line();
        }
    }
}

/// The character that a reference stands for and the reference's length; `&` itself where there is none.
fn reference(text: &str) -> (char, usize) {
    let head = &text.as_bytes()[1..text.len().min(1 + REFERENCE_BYTES_MAX)];
    let named = memchr(b';', head).and_then(|end| {
        let name = text.get(1..1 + end)?;
        let character = match name {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            "nbsp" => ' ',
            _ => {
                let number = name.strip_prefix('#')?;
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(digits) => u32::from_str_radix(digits, 16),
                    None => number.parse(),
                };
                char::from_u32(code.ok()?)?
            }
        };
        Some((if character.is_control() || character == '\u{a0}' { ' ' } else { character }, end + 2))
    });
    named.unwrap_or(('&', 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_that_a_reader_sees() {
        let html = "<html><head><title>To: x@corp.example</title><style>p { }</style></head>\r\n<body><div>Sender:\r\n a@corp.example<br>\
                    Message-Id: &lt;1@x&gt;</div><p>To: <a\r\nhref=\"mailto:b@corp.example\">b&#64;corp.example</a></p><!-- To: c@corp.example\n -->\
                    <pre>Recipients:\r\n\tc&#x40;corp.example\n</pre>1 < 2 &amp; &unknown; &nbsp;&#0;&#10;To: d@corp.example";
        let lines = "Sender: a@corp.example\nMessage-Id: <1@x>\nTo: b@corp.example\nRecipients:\r\n\tc@corp.example\n1 < 2 & &unknown; To: d@corp.example";
        assert_eq!(to_text(html), lines);
    }

    #[test]
    fn markup_may_end_anywhere() {
        for html in
            ["<", "<a", "</", "<!--", "<style>", "&", "&#", "&#x;", "&#99999999;", "a<b", "<pre>\n</pre></pre>\n"]
        {
            let _ = to_text(html);
        }
        for piece in ["<", "<style>", "<!--", "&#1", "<a ", "<pre>", "&lt"] {
            let _ = to_text(&piece.repeat(1 << 20));
        }
    }
}
