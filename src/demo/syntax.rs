//! The arguments of IMAP commands: tokens, sets, fetch items. Pure.

use std::ops::RangeInclusive;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// An atom, with the brackets of a section (`BODY[HEADER.FIELDS (A B)]<0.9>`) belonging to it.
    Atom(String),
    /// A quoted string or a literal.
    Text(Vec<u8>),
    Open,
    Close,
}

impl Token {
    pub fn text(&self) -> Option<String> {
        match self {
            Token::Atom(atom) => Some(atom.clone()),
            Token::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Token::Open | Token::Close => None,
        }
    }
}

/// Cuts one run of text (without literals) into tokens; `None` when quotes or brackets are not closed.
pub(super) fn tokens(text: &[u8], out: &mut Vec<Token>) -> Option<()> {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b' ' => at += 1,
            b'(' => {
                out.push(Token::Open);
                at += 1;
            }
            b')' => {
                out.push(Token::Close);
                at += 1;
            }
            b'"' => {
                let mut value = Vec::new();
                at += 1;
                loop {
                    match text.get(at)? {
                        b'"' => break,
                        b'\\' => {
                            at += 1;
                            value.push(*text.get(at)?);
                        }
                        other => value.push(*other),
                    }
                    at += 1;
                }
                at += 1;
                out.push(Token::Text(value));
            }
            _ => {
                let start = at;
                let mut in_section = false;
                while let Some(&byte) = text.get(at) {
                    match byte {
                        b'[' => in_section = true,
                        b']' => in_section = false,
                        b' ' | b'(' | b')' if !in_section => break,
                        _ => {}
                    }
                    at += 1;
                }
                if in_section {
                    return None;
                }
                out.push(Token::Atom(String::from_utf8_lossy(&text[start..at]).into_owned()));
            }
        }
    }
    Some(())
}

/// A sequence or UID set; `None` in a range stands for `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Set(Vec<(Option<u32>, Option<u32>)>);

impl Set {
    pub fn parse(text: &str) -> Option<Set> {
        fn number(text: &str) -> Option<Option<u32>> {
            if text == "*" {
                return Some(None);
            }
            if !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            text.parse().ok().filter(|n| *n > 0).map(Some)
        }
        text.split(',')
            .map(|part| match part.split_once(':') {
                Some((from, to)) => Some((number(from)?, number(to)?)),
                None => number(part).map(|n| (n, n)),
            })
            .collect::<Option<Vec<_>>>()
            .map(Set)
    }

    /// Rising, disjoint ranges when the largest number in use is `largest`. `7:*` over a folder that
    /// ends at 5 is `5:7` (RFC 3501 §6.4.8), so it names the last mail.
    fn ranges(&self, largest: u32) -> Vec<RangeInclusive<u32>> {
        let mut ranges: Vec<(u32, u32)> = self
            .0
            .iter()
            .map(|(from, to)| (from.unwrap_or(largest), to.unwrap_or(largest)))
            .map(|(from, to)| (from.min(to), from.max(to)))
            .collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            match merged.last_mut() {
                Some((_, end)) if from <= *end => *end = to.max(*end),
                _ => merged.push((from, to)),
            }
        }
        merged.into_iter().map(|(from, to)| from..=to).collect()
    }

    /// The UIDs of `view` (rising) that the set names as UIDs.
    pub fn by_uid(&self, view: &[u32]) -> Vec<u32> {
        let Some(&largest) = view.last() else { return Vec::new() };
        let mut out = Vec::new();
        for range in self.ranges(largest) {
            let from = view.partition_point(|uid| uid < range.start());
            let to = view.partition_point(|uid| uid <= range.end());
            out.extend_from_slice(&view[from..to]);
        }
        out
    }

    /// The UIDs of `view` that the set names by sequence number; `None` when a number is not in use.
    pub fn by_sequence(&self, view: &[u32]) -> Option<Vec<u32>> {
        let mut out = Vec::new();
        for range in self.ranges(view.len() as u32) {
            out.extend_from_slice(view.get((*range.start() as usize).checked_sub(1)?..*range.end() as usize)?);
        }
        Some(out)
    }
}

/// One item of a FETCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Uid,
    Flags,
    Size,
    Date,
    GmailId,
    Body { section: Section, peek: bool, partial: Option<(u64, u64)>, name: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Section {
    All,
    Header,
    Text,
    Fields {
        names: Vec<String>,
        not: bool,
    },
    /// Parts by number: this gateway does not look into the structure and answers NIL.
    Part,
}

/// The items of a FETCH, with or without parentheses.
pub(super) fn items(tokens: &[Token]) -> Option<Vec<Item>> {
    let mut out = Vec::new();
    for token in tokens {
        match token {
            Token::Atom(atom) => item(atom, &mut out)?,
            Token::Open | Token::Close => {}
            Token::Text(_) => return None,
        }
    }
    if out.is_empty() { None } else { Some(out) }
}

fn item(atom: &str, out: &mut Vec<Item>) -> Option<()> {
    let upper = atom.to_ascii_uppercase();
    let whole = |section, peek| Item::Body { section, peek, partial: None, name: upper.clone() };
    match upper.as_str() {
        "UID" => out.push(Item::Uid),
        "FLAGS" => out.push(Item::Flags),
        "RFC822.SIZE" => out.push(Item::Size),
        "INTERNALDATE" => out.push(Item::Date),
        "X-GM-MSGID" => out.push(Item::GmailId),
        "FAST" => out.extend([Item::Flags, Item::Date, Item::Size]),
        "RFC822" => out.push(whole(Section::All, false)),
        "RFC822.HEADER" => out.push(whole(Section::Header, true)),
        "RFC822.TEXT" => out.push(whole(Section::Text, false)),
        _ => out.push(body(&upper)?),
    }
    Some(())
}

fn body(upper: &str) -> Option<Item> {
    let (peek, rest) = match upper.strip_prefix("BODY.PEEK[") {
        Some(rest) => (true, rest),
        None => (false, upper.strip_prefix("BODY[")?),
    };
    let (inside, after) = rest.split_once(']')?;
    let partial = match after {
        "" => None,
        _ => {
            let (offset, length) = after.strip_prefix('<')?.strip_suffix('>')?.split_once('.')?;
            Some((offset.parse().ok()?, length.parse().ok().filter(|n| *n > 0)?))
        }
    };
    let fields = |list: &str, not| {
        let names = list.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(Section::Fields { names: names.split(' ').map(|name| name.trim_matches('"').to_owned()).collect(), not })
    };
    let section = match inside {
        "" => Section::All,
        "HEADER" => Section::Header,
        "TEXT" => Section::Text,
        _ => match (inside.strip_prefix("HEADER.FIELDS.NOT "), inside.strip_prefix("HEADER.FIELDS ")) {
            (Some(list), _) => fields(list, true)?,
            (None, Some(list)) => fields(list, false)?,
            (None, None) if inside.starts_with(|c: char| c.is_ascii_digit()) => Section::Part,
            (None, None) => return None,
        },
    };
    let origin = partial.map(|(offset, _): (u64, u64)| format!("<{offset}>")).unwrap_or_default();
    Some(Item::Body { section, peek, partial, name: format!("BODY[{inside}]{origin}") })
}

/// A string argument or response part, quoted.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_name_what_the_rfc_says() {
        let view = [2, 3, 5, 8, 13];
        let by_uid = |text: &str| Set::parse(text).unwrap().by_uid(&view);
        assert_eq!(by_uid("1:*"), view);
        assert_eq!(by_uid("*"), [13]);
        assert_eq!(by_uid("20:*"), [13], "n:* names the last mail even when n is larger");
        assert_eq!(by_uid("8:3,4,5,13"), [3, 5, 8, 13]);
        assert_eq!(by_uid("6:7"), [0u32; 0]);
        let by_sequence = |text: &str| Set::parse(text).unwrap().by_sequence(&view);
        assert_eq!(by_sequence("2:3,*").unwrap(), [3, 5, 13]);
        assert_eq!(by_sequence("6"), None);
        assert_eq!(Set::parse("1:*").unwrap().by_uid(&[]), [0u32; 0]);
        for bad in ["", "0", "a", "1:", "1,,2", "+1", "4294967296"] {
            assert_eq!(Set::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn items_with_sections_and_partials() {
        let mut out = Vec::new();
        tokens(b"(UID BODY.PEEK[]<5.10> BODY[HEADER.FIELDS (Date \"X-A\")])", &mut out).unwrap();
        let parsed = items(&out).unwrap();
        assert_eq!(parsed.len(), 3);
        assert!(
            matches!(&parsed[1], Item::Body { peek: true, partial: Some((5, 10)), name, .. } if name == "BODY[]<5>")
        );
        assert!(matches!(&parsed[2], Item::Body { section: Section::Fields { names, not: false }, .. }
            if names == &["DATE", "X-A"]));
        assert!(tokens(b"\"open", &mut Vec::new()).is_none());
        assert!(tokens(b"BODY[", &mut Vec::new()).is_none());
    }
}
