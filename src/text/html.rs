//! HTML reduced to its words.
//!
//! One pass over the text, without a tree: nesting costs nothing, what is not closed ends with the text, and markup is
//! taken apart as browsers do it (HTML 5 §13.2), so that what a reader sees is what is found. Words that are hidden by
//! style are kept, and so are titles and the texts that stand for pictures; comments, scripts and styles say nothing to
//! a reader. Where links lead to is left out.

use memchr::{memchr, memchr_iter, memmem};

use super::entities;

/// Elements whose edges end a line, and those that also leave a line empty.
const LINES: [&str; 24] = [
    "address", "article", "aside", "body", "caption", "center", "dd", "div", "dt", "fieldset", "figure", "footer",
    "form", "header", "html", "legend", "li", "main", "nav", "option", "section", "tbody", "title", "tr",
];
const PARAGRAPHS: [&str; 14] =
    ["blockquote", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "ol", "p", "pre", "table", "ul"];
/// Elements whose content is no text, up to their end tag.
const SILENT: [&str; 2] = ["script", "style"];
/// What Word writes into mails as an island of settings; a browser shows what is in it, but only when it is not closed.
const ISLAND: &str = "xml";

/// At most about `bytes_max` bytes of text; whether there was more.
pub fn reduce(html: &str, bytes_max: usize) -> (String, bool) {
    let mut text = Text { out: String::with_capacity((html.len() / 4).min(bytes_max)), ..Text::default() };
    let mut rest = html;
    let mut island_never_closed = false;
    while !rest.is_empty() {
        if text.out.len() >= bytes_max {
            return (text.finished(bytes_max), true);
        }
        // No longer than what there is room for, so that a text without markup is cut too.
        let window = rest.floor_char_boundary(bytes_max - text.out.len() + 1024);
        let plain = memchr::memchr2(b'<', b'&', &rest.as_bytes()[..window]).unwrap_or(window);
        text.push(&rest[..plain]);
        rest = &rest[plain..];
        if rest.starts_with('&') {
            let (character, len) = reference(rest);
            text.push_character(character);
            rest = &rest[len..];
        } else if rest.starts_with('<') {
            rest = markup(rest, &mut text, &mut island_never_closed);
        }
    }
    (text.finished(bytes_max), false)
}

/// The references of an XML text resolved, its markup left out: as [`reduce`], without what names mean in HTML.
pub fn references_resolved(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(at) = memchr(b'&', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let (character, len) = reference(&rest[at..]);
        out.push(character);
        rest = &rest[at + len..];
    }
    out.push_str(rest);
}

/// Acts on what begins with the `<` at the start of `rest` and gives what follows it.
fn markup<'a>(rest: &'a str, text: &mut Text, island_never_closed: &mut bool) -> &'a str {
    let inside = &rest[1..];
    if let Some(comment) = inside.strip_prefix("!--") {
        return after_comment(comment);
    }
    if inside.starts_with(['!', '?']) || inside.starts_with('/') && !inside[1..].starts_with(is_letter) {
        return memchr(b'>', inside.as_bytes()).map_or("", |end| &inside[end + 1..]);
    }
    if !inside.starts_with(is_letter) && !inside.starts_with('/') {
        text.push("<");
        return inside;
    }
    let Some(tag) = Tag::of(inside) else { return "" };
    let is = |wanted: &&str| tag.name.eq_ignore_ascii_case(wanted);
    if !tag.closes && SILENT.iter().any(is) {
        return after_end_tag(tag.after, tag.name).unwrap_or("");
    }
    if !tag.closes && is(&ISLAND) && !*island_never_closed {
        match after_end_tag(tag.after, tag.name) {
            Some(after) => return after,
            None => *island_never_closed = true,
        }
    }
    if is(&"br") {
        text.end_line(true);
    } else if PARAGRAPHS.iter().any(is) {
        text.end_paragraph();
        if is(&"pre") {
            text.pre = if tag.closes { text.pre.saturating_sub(1) } else { text.pre + 1 };
        }
    } else if LINES.iter().any(is) {
        text.end_line(false);
    } else if is(&"td") || is(&"th") {
        text.push(" ");
    } else if !tag.closes
        && (is(&"img") || is(&"area") || is(&"input"))
        && let Some(alternative) = tag.attribute("alt")
    {
        let mut shown = String::new();
        references_resolved(alternative, &mut shown);
        text.push(&shown);
    }
    tag.after
}

fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic()
}

fn after_comment(comment: &str) -> &str {
    if let Some(after) = comment.strip_prefix('>').or_else(|| comment.strip_prefix("->")) {
        return after;
    }
    let mut rest = comment;
    while let Some(end) = memmem::find(rest.as_bytes(), b"--") {
        // Two dashes or more, and an exclamation mark, may stand before the end.
        rest = rest[end..].trim_start_matches('-');
        if let Some(after) = rest.strip_prefix('>').or_else(|| rest.strip_prefix("!>")) {
            return after;
        }
    }
    ""
}

/// What follows `</name … >`.
fn after_end_tag<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    for at in memmem::find_iter(text.as_bytes(), b"</") {
        let Some(found) = text.get(at + 2..at + 2 + name.len()) else { continue };
        let after = &text[at + 2 + name.len()..];
        if found.eq_ignore_ascii_case(name) && after.starts_with(['>', '/', ' ', '\t', '\n', '\r', '\x0c']) {
            return memchr(b'>', after.as_bytes()).map(|end| &after[end + 1..]);
        }
    }
    None
}

struct Tag<'a> {
    closes: bool,
    name: &'a str,
    attributes: &'a str,
    after: &'a str,
}

impl<'a> Tag<'a> {
    /// Behind its `<`; `None` when it never ends.
    fn of(inside: &'a str) -> Option<Tag<'a>> {
        let (closes, inside) = match inside.strip_prefix('/') {
            Some(inside) => (true, inside),
            None => (false, inside),
        };
        let bytes = inside.as_bytes();
        let named = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>');
        let name_end = bytes.iter().position(named)?;
        let mut at = name_end;
        loop {
            at += bytes[at..].iter().position(|byte| matches!(byte, b'>' | b'='))?;
            if bytes[at] == b'>' {
                break;
            }
            at += 1;
            at += bytes[at..].iter().position(|byte| !byte.is_ascii_whitespace())?;
            if let quote @ (b'"' | b'\'') = bytes[at] {
                at += 1 + memchr(quote, &bytes[at + 1..])? + 1;
            } else {
                // A value without quotes may hold a `=`, but no white space.
                at += bytes[at..].iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'>')?;
            }
        }
        let tag =
            Tag { closes, name: &inside[..name_end], attributes: &inside[name_end..at], after: &inside[at + 1..] };
        Some(tag)
    }

    /// The value as it is written.
    fn attribute(&self, wanted: &str) -> Option<&'a str> {
        let mut rest = self.attributes;
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
            if rest.is_empty() {
                return None;
            }
            let name_end =
                rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '=' | '/')).unwrap_or(rest.len()).max(1);
            // A `=` at the start belongs to the name.
            let name_end = rest.ceil_char_boundary(name_end);
            let name = &rest[..name_end];
            rest = rest[name_end..].trim_ascii_start();
            let Some(value) = rest.strip_prefix('=') else {
                if name.eq_ignore_ascii_case(wanted) {
                    return None;
                }
                continue;
            };
            let value = value.trim_ascii_start();
            let (value, after) = match value.chars().next() {
                Some(quote @ ('"' | '\'')) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
                _ => value.split_at(value.find(|c: char| c.is_ascii_whitespace()).unwrap_or(value.len())),
            };
            if name.eq_ignore_ascii_case(wanted) {
                return Some(value);
            }
            rest = after;
        }
    }
}

#[derive(Default)]
struct Text {
    out: String,
    /// How many `<pre>` are open: white space is content there.
    pre: usize,
    /// White space that counts only when a word follows on the line.
    space: bool,
    /// Line breaks that end the text so far.
    breaks: usize,
}

impl Text {
    fn push(&mut self, piece: &str) {
        let bytes = piece.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if !byte.is_ascii_whitespace() {
                let rest = &bytes[at..];
                let len = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
                self.word(&piece[at..at + len]);
                at += len;
                continue;
            }
            match byte {
                _ if self.pre == 0 => self.space = true,
                b'\n' => self.end_line(true),
                b'\r' => {}
                blank => {
                    self.breaks = 0;
                    self.out.push(char::from(blank));
                }
            }
            at += 1;
        }
    }

    fn word(&mut self, word: &str) {
        if self.space {
            self.space = false;
            if self.breaks == 0 && !self.out.is_empty() {
                self.out.push(' ');
            }
        }
        self.breaks = 0;
        if word.is_ascii() && memchr(0, word.as_bytes()).is_none() {
            self.out.push_str(word);
        } else {
            self.out.extend(word.chars().filter(|c| !is_unseen(*c)).map(|c| if c == '\u{a0}' { ' ' } else { c }));
        }
    }

    fn push_character(&mut self, character: char) {
        match character {
            '\u{a0}' => {
                // Such blanks draw tables and fill previews; a run of them says no more than one.
                self.space = true;
            }
            c if c.is_control() => self.space = true,
            c => self.word(c.encode_utf8(&mut [0; 4])),
        }
    }

    fn end_line(&mut self, always: bool) {
        self.space = false;
        if self.out.is_empty() || self.breaks >= if always { 2 } else { 1 } {
            return;
        }
        self.breaks += 1;
        self.out.push('\n');
    }

    fn end_paragraph(&mut self) {
        self.end_line(false);
        self.end_line(true);
    }

    fn finished(mut self, bytes_max: usize) -> String {
        self.out.truncate(self.out.floor_char_boundary(bytes_max));
        self.out.truncate(self.out.trim_end().len());
        self.out
    }
}

/// Characters without a width, which stand within words only to let them be broken, or fill previews.
fn is_unseen(c: char) -> bool {
    matches!(c, '\0' | '\u{ad}' | '\u{34f}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

/// The character that a reference stands for and the reference's length; `&` itself where there is none.
fn reference(text: &str) -> (char, usize) {
    let body = &text[1..];
    if let Some(number) = body.strip_prefix('#') {
        let (radix, digits) = match number.strip_prefix(['x', 'X']) {
            Some(digits) => (16, digits),
            None => (10, number),
        };
        let count = digits.bytes().take(16).take_while(|byte| char::from(*byte).is_digit(radix)).count();
        let Ok(code) = u32::from_str_radix(&digits[..count], radix) else { return ('&', 1) };
        let ends = usize::from(digits[count..].starts_with(';'));
        return (numbered(code), text.len() - digits.len() + count + ends);
    }
    let end = body.bytes().take(entities::NAME_MAX + 1).position(|byte| !byte.is_ascii_alphanumeric());
    if let Some(end) = end
        && body[end..].starts_with(';')
        && let Some(character) = entities::named(&body[..end])
    {
        return (character, end + 2);
    }
    entities::unended(body).map_or(('&', 1), |(character, len)| (character, len + 1))
}

fn numbered(code: u32) -> char {
    match code {
        // Numbers of windows-1252, which no standard meant.
        0x80..=0x9f => {
            encoding_rs::WINDOWS_1252.decode_without_bom_handling(&[code as u8]).0.chars().next().unwrap_or(' ')
        }
        code => char::from_u32(code).filter(|c| *c != '\0').unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

/// The charset that a `<meta>` near the start of the HTML names.
pub fn declared_charset(html: &[u8]) -> Option<String> {
    let head = &html[..html.len().min(4096)];
    let at =
        memchr_iter(b'=', head).find(|&at| head[..at].trim_ascii_end().to_ascii_lowercase().ends_with(b"charset"))?;
    let value = head[at + 1..].trim_ascii_start();
    let value = value.strip_prefix(b"\"").or_else(|| value.strip_prefix(b"'")).unwrap_or(value);
    let end = value.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"-_:.".contains(byte))?;
    // UTF-16 cannot be it, or this could not be read (HTML 5 §13.2.3.2).
    let name = String::from_utf8_lossy(&value[..end]).into_owned();
    (!name.is_empty() && !name.to_ascii_lowercase().starts_with("utf-16")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(html: &str) -> String {
        reduce(html, 1 << 20).0
    }

    #[test]
    fn what_a_reader_sees() {
        let html = "<!DOCTYPE html><html><head><title>Angebot</title><style>p > a { }</style></head><body>\r\n<p>Guten&nbsp;Tag,\r\n \
                    Frau <b>M&uuml;</b>ller</p><script>if (a < b) alert('</p>')</script><div>1 &lt; 2 &amp; 3 &euro;\
                    </div><!-- no --><ul><li>eins<li>zwei</ul><table><tr><td>a</td><td>b</td></tr><tr><th>c</table>\
                    <pre>x\n  y</pre>end<br>of<br><br><br><br>it";
        let seen =
            "Angebot\n\nGuten Tag, Frau Müller\n\n1 < 2 & 3 €\n\neins\nzwei\n\na b\nc\n\nx\n  y\n\nend\nof\n\nit";
        assert_eq!(text(html), seen);
    }

    #[test]
    fn words_are_whole_and_hidden_ones_are_kept() {
        assert_eq!(text("Donau&shy;dampf\u{ad}schiff<wbr>fahrt&zwnj; x\u{200b}y"), "Donaudampfschifffahrt xy");
        assert_eq!(text("<div style=\"display:none\">preheader</div><p hidden>more</p>"), "preheader\n\nmore");
        assert_eq!(text("<img src=x alt='a &quot;logo&quot; > b'><img alt=two><img alt>"), "a \"logo\" > btwo");
        assert_eq!(text("<a title=\"a>b\" href='c>d'>link</a>"), "link");
        assert_eq!(text("a<o:p>&nbsp;</o:p><xml><w:x>Normal 0 false</w:x></XML >b"), "a b");
        assert_eq!(text("<xml>shown, for it is not closed"), "shown, for it is not closed");
        assert_eq!(text("<textarea>a\nb</textarea>"), "a b");
    }

    #[test]
    fn references() {
        assert_eq!(
            text("&eacute &notit; &AMP;&#65;&#x42&#150;&#0;&unknown; &;&#;&#x; &copy2"),
            "é ¬it; &AB–\u{fffd}&unknown; &;&#;&#x; ©2"
        );
        assert_eq!(text("a&#10;b&#27;c&NewLine;"), "a b c&NewLine;");
        assert_eq!(text("&#99999999999999999999999; &#xd800;"), "&#99999999999999999999999; \u{fffd}");
    }

    #[test]
    fn comments_end_where_browsers_end_them() {
        assert_eq!(text("a<!-->b<!--->c<!-- x --!>d<!-- - -- y ---->e<!-- z"), "abcde");
        assert_eq!(text("a<![if !mso]>b<![endif]>c<?php x ?>d</ >e< f"), "abcde< f");
        assert_eq!(text("<style>a</styles> b </style >c<script>never closed"), "c");
    }

    #[test]
    fn markup_may_end_anywhere() {
        let whole = "a<b c=\"d\" e='f' g=h i>&euro;&#x20ac;<!-- j --><style>k</style><img alt=l/></b>";
        for end in 0..=whole.len() {
            if whole.is_char_boundary(end) {
                let _ = text(&whole[..end]);
            }
        }
    }

    /// No clock: what is quadratic would take hours.
    #[test]
    fn hostile_html_takes_no_time() {
        for piece in [
            "<",
            "<b",
            "</",
            "<!--",
            "<!",
            "<style>",
            "<xml>",
            "</style",
            "&",
            "&#1",
            "&lt",
            "<a b=\"",
            "<a b='x' ",
            "<a =",
            "<div>",
            "<pre>",
            "<!-- -- ",
            "--",
            "\0",
            "<img alt=",
            "<td>",
            "<br>",
            " ",
            "<a b=c",
            "&nbsp;",
            "<style></styl",
            "<xml></xm",
        ] {
            let html = piece.repeat((4 << 20) / piece.len());
            let (text, _) = reduce(&html, 1 << 20);
            assert!(text.len() <= 1 << 20, "{piece}");
        }
        assert_eq!(text(&format!("<!--{}", "-".repeat(4 << 20))), "");
        let deep = format!("{}deep{}", "<div><b>".repeat(100_000), "</b></div>".repeat(100_000));
        assert_eq!(text(&deep), "deep");
        let (cut, more) = reduce(&"wörd ".repeat(1000), 99);
        assert!(cut.len() <= 99 && more);
    }

    #[test]
    fn charsets_of_meta() {
        for (html, charset) in [
            ("<meta charset=\"koi8-r\">", Some("koi8-r")),
            ("<META http-equiv=Content-Type content='text/html; CHARSET = iso-8859-2'>", Some("iso-8859-2")),
            ("<meta charset=utf-16>", None),
            ("<p a=b>", None),
        ] {
            assert_eq!(declared_charset(html.as_bytes()).as_deref(), charset, "{html}");
        }
    }
}
