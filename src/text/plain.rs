//! Plain texts as they are meant to be read: format=flowed, and the folded properties of calendars and cards; and what
//! of two alternatives is kept.

use crate::mail::transfer::{self, Encoding};

/// RFC 3676: lines that end in a blank go on in the next one of the same quoting; quotes stay quotes.
pub fn unflowed(text: &str, delete_space: bool) -> String {
    let mut out = String::with_capacity(text.len());
    // The quoting of the line that goes on.
    let mut open: Option<usize> = None;
    for line in text.lines() {
        let depth = line.bytes().take_while(|byte| *byte == b'>').count();
        let content = &line[depth..];
        let content = content.strip_prefix(' ').unwrap_or(content);
        let is_signature = content == "-- ";
        if open != Some(depth) || is_signature {
            if open.is_some() {
                out.push('\n');
            }
            if depth > 0 {
                out.extend(std::iter::repeat_n('>', depth));
                out.push(' ');
            }
        }
        let flows = content.ends_with(' ') && !is_signature;
        out.push_str(if flows && delete_space { &content[..content.len() - 1] } else { content });
        open = flows.then_some(depth);
        if !flows {
            out.push('\n');
        }
    }
    out
}

/// iCalendar (RFC 5545) and vCard (RFC 6350, and 2.1): folded lines in one, escapes resolved, values that are no text
/// left out.
pub fn properties(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut line = String::new();
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).peekable();
    while let Some(first) = lines.next() {
        line.clear();
        line.push_str(first);
        let is_quoted = parameters(first).contains("QUOTED-PRINTABLE");
        loop {
            match lines.peek() {
                // vCard 2.1: a soft line break.
                Some(_) if is_quoted && line.ends_with('=') => {
                    line.pop();
                    line.push_str(lines.next().unwrap_or_default());
                }
                Some(next) if next.starts_with([' ', '\t']) => {
                    line.push_str(&next[1..]);
                    lines.next();
                }
                _ => break,
            }
        }
        property(&line, &mut out);
    }
    out
}

/// What stands before the value, in upper case.
fn parameters(line: &str) -> String {
    let head = line.split(':').next().unwrap_or_default();
    head[..head.floor_char_boundary(1000)].to_ascii_uppercase()
}

fn property(line: &str, out: &mut String) {
    let Some((_, value)) = line.split_once(':') else {
        out.push_str(line);
        out.push('\n');
        return;
    };
    let head = parameters(line);
    let is_binary = head.contains("ENCODING=B") || head.contains(";BASE64") || head.contains("VALUE=BINARY");
    if is_binary || value.starts_with("data:") {
        return;
    }
    if head.contains("QUOTED-PRINTABLE") {
        out.push_str(&line[..line.len() - value.len()]);
        let charset = head.split("CHARSET=").nth(1).and_then(|rest| rest.split(';').next());
        out.push_str(&transfer::to_utf8(&transfer::decode(Encoding::QuotedPrintable, value.as_bytes()), charset));
        out.push('\n');
        return;
    }
    let mut rest = line;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escaped = rest[at + 1..].chars().next();
        match escaped {
            Some('n' | 'N') => out.push('\n'),
            Some(c) => out.push(c),
            None => {}
        }
        rest = &rest[at + 1 + escaped.map_or(0, char::len_utf8)..];
    }
    out.push_str(rest);
    out.push('\n');
}

/// Two spellings of one text, of which a reader is shown one. The one that says more stands first, and lines of the other
/// follow only where they hold a word that is in none of it: what anybody may have read is found, and nothing is there
/// twice. Of two that say the same the plain one is taken: its lines are the sender's.
pub fn alternatives(plain: String, html: String) -> String {
    if html.trim().is_empty() || plain == html {
        return plain;
    }
    if plain.trim().is_empty() {
        return html;
    }
    let (of_plain, of_html) = (word_set(&plain), word_set(&html));
    let beyond = |some: &[u64], other: &[u64]| some.iter().filter(|word| other.binary_search(word).is_err()).count();
    let (in_html, in_plain) = (beyond(&of_html, &of_plain), beyond(&of_plain, &of_html));
    let (mut first, other, known, more) =
        if in_html > in_plain { (html, plain, of_html, in_plain) } else { (plain, html, of_plain, in_html) };
    if more > 0 {
        append_beyond(&mut first, &other, known);
    }
    first
}

/// Appends the lines of `other` that hold a word which is not in `text`.
pub fn append_new_lines(text: &mut String, other: &str) {
    if text.trim().is_empty() {
        text.clear();
        text.push_str(other);
        return;
    }
    let known = word_set(text);
    append_beyond(text, other, known);
}

fn append_beyond(text: &mut String, other: &str, known: Vec<u64>) {
    let mut is_first = true;
    for line in other.lines() {
        let mut is_new = false;
        words(line, &mut |word| is_new |= known.binary_search(&word).is_err());
        if is_new {
            if is_first {
                text.truncate(text.trim_end().len());
                text.push_str("\n\n");
                is_first = false;
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
}

fn word_set(text: &str) -> Vec<u64> {
    let mut set = Vec::with_capacity(text.len() / 6);
    words(text, &mut |word| set.push(word));
    set.sort_unstable();
    set.dedup();
    set
}

/// A hash of each word, in lower case. Links are none: plain alternatives spell out where those of the HTML lead to.
fn words(text: &str, visit: &mut dyn FnMut(u64)) {
    const START: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    for token in text.split_ascii_whitespace() {
        let is_link = memchr::memchr(b':', token.as_bytes()).is_some_and(|at| token[at..].starts_with("://"));
        if is_link {
            continue;
        }
        let mut hash = START;
        let mut end = |hash: &mut u64| {
            if *hash != START {
                visit(*hash);
                *hash = START;
            }
        };
        if token.is_ascii() {
            for byte in token.bytes() {
                if byte.is_ascii_alphanumeric() {
                    hash = (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(PRIME);
                } else {
                    end(&mut hash);
                }
            }
        } else {
            for c in token.chars() {
                if c.is_alphanumeric() {
                    let lower = c.to_lowercase().next().unwrap_or(c);
                    hash = (hash ^ u64::from(u32::from(lower))).wrapping_mul(PRIME);
                } else {
                    end(&mut hash);
                }
            }
        }
        end(&mut hash);
    }
}

/// Whether bytes that are said to be text are none: control characters beyond what texts hold. UTF-16 is told by its
/// mark, or by what its label says.
pub fn is_binary(bytes: &[u8], charset: Option<&str>) -> bool {
    let is_wide = charset.is_some_and(|label| label.to_ascii_lowercase().contains("utf-16"));
    if is_wide || encoding_rs::Encoding::for_bom(bytes).is_some() {
        return false;
    }
    let head = &bytes[..bytes.len().min(4096)];
    let odd = head.iter().filter(|byte| matches!(byte, 0..=6 | 14..=26 | 28..=31)).count();
    odd * 20 > head.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flowed_lines_are_joined() {
        let text = "A paragraph \nthat flows \non.\n\n> quoted \n> too.\n>> deeper \n> not joined\n-- \nsignature\n  stuffed\n >no quote\n";
        let joined = "A paragraph that flows on.\n\n> quoted too.\n>> deeper \n> not joined\n-- \nsignature\n stuffed\n>no quote\n";
        assert_eq!(unflowed(text, false), joined);
        assert_eq!(unflowed("日本 \n語\n", true), "日本語\n");
        assert_eq!(unflowed("ends in \n", false), "ends in ");
    }

    #[test]
    fn properties_are_unfolded() {
        let text = "BEGIN:VCALENDAR\r\nSUMMARY:Quartals\r\n zahlen\\, die\\nzweite\r\nATTACH;ENCODING=BASE64;VALUE=BINARY:AAAA\r\n BBBB\r\n\
                    N;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:M=FC=\r\nller\r\nPHOTO:data:image/png;base64,AAAA\r\nX\r\nEND:x\\";
        assert_eq!(
            properties(text),
            "BEGIN:VCALENDAR\nSUMMARY:Quartalszahlen, die\nzweite\nN;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:Müller\nX\nEND:x\n"
        );
    }

    #[test]
    fn of_two_alternatives_nothing_is_lost_and_nothing_doubled() {
        let of = |plain: &str, html: &str| alternatives(plain.into(), html.into());
        assert_eq!(of("Hello,\nthe offer\n", "Hello, the offer"), "Hello,\nthe offer\n");
        assert_eq!(of("see https://example.com/x-y now", "see now"), "see https://example.com/x-y now");
        assert_eq!(
            of("Your mail program cannot show this.", "a\nlong text of\nmany good words"),
            "a\nlong text of\nmany good words\n\nYour mail program cannot show this.\n"
        );
        assert_eq!(of("the long text of many words", "The long\nlogo\ntext"), "the long text of many words\n\nlogo\n");
        assert_eq!(of("", "html"), "html");
        assert_eq!(of("plain", " \n"), "plain");
    }

    #[test]
    fn text_and_no_text() {
        assert!(is_binary(&[0, 1, 2, 3, 0x80], None));
        assert!(!is_binary(b"\xff\xfea\0b\0", None) && !is_binary(b"a\0b\0", Some("UTF-16LE")));
        assert!(!is_binary(b"\x1b$B;MH>4|\x1b(B", None) && !is_binary(b"", None) && !is_binary(b"tab\tff\x0c", None));
    }
}
