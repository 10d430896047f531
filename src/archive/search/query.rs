//! The language of searches.
//!
//! ```text
//! query   = join+                      all of them must fit
//! join    = part ("OR" part)*          OR joins its two neighbours: `a b OR c` is `a (b OR c)`
//! part    = ("-" | "NOT")? (value | field ":" value | "(" query ")" | field ":(" words ")")
//! value   = word | word "*" | "\"" words "\"" | "\"" words "*\""
//! ```
//!
//! | field | finds |
//! |---|---|
//! | `from:` `to:` `cc:` `bcc:` | words of a name or address in that header; `to:` and `bcc:` also recipients that only the envelope names, where they may be seen |
//! | `subject:` `body:` | words there |
//! | `attachment:` (`filename:`) | words of an attachment's name |
//! | `has:attachment` | mails with attachments |
//! | `after:` `before:` `on:` | the mail's own date: `2025`, `2025-01`, `2025-01-31` (local days), or so long ago: `7d`, `2w`, `3m`, `1y`; `after:` from its beginning on, `before:` earlier than its beginning |
//! | `larger:` `smaller:` | size of the whole mail: `500k`, `1M` (10⁶ bytes), `2GiB` |
//! | `message-id:` | the whole identifier, with or without its brackets |
//! | `in:` | `inbox` or `sent` |
//! | `person:` | a person's archive: id, or a part of id, name or address |
//!
//! Words are compared as `words` beside this file says; several words in one value (`anna@corp.example`, `e-mail`) are a phrase. `in:`
//! and `person:` ask about where a mail is filed and not about the mail; they can be joined by OR with each other only.
//!
//! Must never: panic, take a query for another one (what is not understood is an error with its place), or cost more than
//! [`TERMS_MAX`] allows.

use std::ops::Range;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::words::words;
use crate::archive::record::Folder;

pub const BYTES_MAX: usize = 8 * 1024;
pub const TERMS_MAX: usize = 256;
const DEPTH_MAX: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In any of the others, and in the text of attachments.
    Anywhere,
    From,
    To,
    Cc,
    Bcc,
    Subject,
    Body,
    Attachment,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Leaf(Leaf),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Leaf {
    /// These words in this order.
    Words {
        place: Place,
        words: Vec<String>,
        /// The last of them may go on.
        prefix: bool,
    },
    MessageId(String),
    HasAttachment,
    /// Seconds.
    Date(Range<i64>),
    /// Bytes.
    Size(Range<u64>),
    /// Of a filing.
    In(Folder),
    /// Of a filing; as it was written.
    Person(String),
}

impl Leaf {
    fn is_of_filing(&self) -> bool {
        matches!(self, Leaf::In(_) | Leaf::Person(_))
    }
}

impl Node {
    /// Whether it asks about a mail, and whether about a filing.
    fn asks(&self) -> (bool, bool) {
        match self {
            Node::All(nodes) | Node::Any(nodes) => {
                let both = |(mail, filing): (bool, bool), node: &Node| (mail | node.asks().0, filing | node.asks().1);
                nodes.iter().fold((false, false), both)
            }
            Node::Not(node) => node.asks(),
            Node::Leaf(leaf) => (!leaf.is_of_filing(), leaf.is_of_filing()),
        }
    }

    pub fn leaves<'n>(&'n self, visit: &mut dyn FnMut(&'n Leaf)) {
        match self {
            Node::All(nodes) | Node::Any(nodes) => nodes.iter().for_each(|node| node.leaves(visit)),
            Node::Not(node) => node.leaves(visit),
            Node::Leaf(leaf) => visit(leaf),
        }
    }
}

/// All of both must fit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// Questions about the mail; no leaf of a filing is in here.
    pub mail: Vec<Node>,
    /// Questions about where it is filed, and nothing else.
    pub filing: Vec<Node>,
}

/// Why a query is not one, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct QueryError {
    /// In bytes of the query.
    pub at: Range<usize>,
    pub what: String,
    pub hint: Option<String>,
}

impl QueryError {
    fn hint(mut self, hint: impl Into<String>) -> QueryError {
        self.hint = Some(hint.into());
        self
    }
}

fn error(at: Range<usize>, what: impl Into<String>) -> QueryError {
    QueryError { at, what: what.into(), hint: None }
}

/// What `after:` and the like mean by a day, and by so long ago.
#[derive(Clone, Debug)]
pub struct Calendar {
    pub zone: TimeZone,
    pub now: Timestamp,
}

pub fn parse(text: &str, calendar: &Calendar) -> Result<Query, QueryError> {
    if text.len() > BYTES_MAX {
        return Err(error(0..0, format!("the query is longer than {BYTES_MAX} bytes")));
    }
    let mut parser = Parser { text, at: 0, depth: 0, terms: 0, calendar };
    let parts = parser.parts(None)?;
    if parser.at < text.len() {
        return Err(error(parser.at..parser.at + 1, "this parenthesis closes none").hint("leave it out, or quote it"));
    }
    if parts.is_empty() {
        return Err(error(0..text.len(), "there is nothing to search for")
            .hint("name a word, a \"phrase\" or a field such as from:anna; `gatepost list` shows everything"));
    }
    let mut query = Query::default();
    for (part, at) in parts {
        match part.asks() {
            (true, true) => {
                return Err(error(at, "`in:` and `person:` cannot be joined by OR with questions about the mail")
                    .hint("let them stand for the whole search: `in:sent (invoice OR offer)`"));
            }
            (_, true) => query.filing.push(part),
            _ => query.mail.push(part),
        }
    }
    Ok(query)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    terms: usize,
    calendar: &'a Calendar,
}

/// A part of the query with the place where it stands.
type Part = (Node, Range<usize>);

/// What stands behind a field or alone.
struct Value<'a> {
    text: &'a str,
    at: Range<usize>,
    is_quoted: bool,
}

const FIELDS: [&str; 19] = [
    "from",
    "to",
    "cc",
    "bcc",
    "subject",
    "body",
    "attachment",
    "filename",
    "has",
    "after",
    "since",
    "before",
    "until",
    "on",
    "larger",
    "smaller",
    "message-id",
    "in",
    "person",
];

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// The word OR, AND or NOT, standing alone.
    fn takes(&mut self, keyword: &str) -> bool {
        self.skip_space();
        let Some(after) = self.rest().strip_prefix(keyword) else { return false };
        let ends = after.chars().next().is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ')'));
        if ends {
            self.at += keyword.len();
        }
        ends
    }

    /// Up to a closing parenthesis or the end. `place`: within `field:( … )`.
    fn parts(&mut self, place: Option<Place>) -> Result<Vec<Part>, QueryError> {
        let mut parts: Vec<Part> = Vec::new();
        loop {
            self.skip_space();
            if self.rest().is_empty() || self.rest().starts_with(')') {
                return Ok(parts);
            }
            let start = self.at;
            if self.takes("AND") {
                continue;
            }
            if self.takes("OR") {
                return Err(
                    error(start..self.at, "OR stands between two terms").hint("quote it to search for the word")
                );
            }
            let Some(first) = self.part(place)? else { continue };
            let mut joined = vec![first];
            loop {
                let before = self.at;
                if !self.takes("OR") {
                    self.at = before;
                    break;
                }
                let or = self.at - 2..self.at;
                self.skip_space();
                let next =
                    if self.rest().is_empty() || self.rest().starts_with(')') { None } else { self.part(place)? };
                joined.push(
                    next.ok_or_else(|| {
                        error(or, "OR stands between two terms").hint("quote it to search for the word")
                    })?,
                );
            }
            let at = joined[0].1.start..joined[joined.len() - 1].1.end;
            let mut nodes: Vec<Node> = joined.into_iter().map(|(node, _)| node).collect();
            parts.push((if nodes.len() == 1 { nodes.remove(0) } else { Node::Any(nodes) }, at));
        }
    }

    /// `None`: punctuation, in which there is no word to search for.
    fn part(&mut self, place: Option<Place>) -> Result<Option<Part>, QueryError> {
        let start = self.at;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(error(start..start + 1, format!("more than {DEPTH_MAX} levels of parentheses and `-`")));
        }
        let part = self.part_within(place, start);
        self.depth -= 1;
        part
    }

    fn part_within(&mut self, place: Option<Place>, start: usize) -> Result<Option<Part>, QueryError> {
        let is_minus =
            self.rest().strip_prefix('-').is_some_and(|after| after.starts_with(|c: char| !c.is_whitespace()));
        if is_minus || self.takes("NOT") {
            self.at += usize::from(is_minus);
            self.skip_space();
            if self.rest().is_empty() {
                return Err(error(start..self.at, "nothing follows that could be left out"));
            }
            let part = self.part(place)?;
            return Ok(part.map(|(node, at)| (Node::Not(Box::new(node)), start..at.end)));
        }
        if self.rest().starts_with('(') {
            return self.group(place).map(Some);
        }
        if let Some(name) = self.field_name() {
            return self.field(name, place).map(Some);
        }
        let value = self.value()?;
        let node = self.words_of(place.unwrap_or(Place::Anywhere), &value)?;
        Ok(node.map(|node| (node, value.at)))
    }

    /// `( … )`
    fn group(&mut self, place: Option<Place>) -> Result<Part, QueryError> {
        let start = self.at;
        self.at += 1;
        let parts = self.parts(place)?;
        if !self.rest().starts_with(')') {
            return Err(error(start..start + 1, "this parenthesis is not closed"));
        }
        self.at += 1;
        let mut nodes: Vec<Node> = parts.into_iter().map(|(node, _)| node).collect();
        let node = match nodes.len() {
            0 => return Err(error(start..self.at, "there is nothing between these parentheses")),
            1 => nodes.remove(0),
            _ => Node::All(nodes),
        };
        Ok((node, start..self.at))
    }

    /// The letters before a colon; not those of `http://…` and not the digits of `12:30`.
    fn field_name(&self) -> Option<&'a str> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphabetic() && c != '-')?;
        let after = rest[end..].strip_prefix(':')?;
        (end > 0 && !after.starts_with("//")).then(|| &rest[..end])
    }

    fn field(&mut self, name: &'a str, within: Option<Place>) -> Result<Part, QueryError> {
        let start = self.at;
        let named = start..start + name.len() + 1;
        let folded = name.to_ascii_lowercase();
        if within.is_some() {
            return Err(error(named, "a field within another field").hint("quote it to search for the text"));
        }
        if !FIELDS.contains(&folded.as_str()) {
            let near = FIELDS.iter().map(|field| (strsim::damerau_levenshtein(field, &folded), field)).min();
            let failure = error(named, format!("there is no field `{name}:`"));
            return Err(match near {
                Some((distance, field)) if distance <= 2 => {
                    failure.hint(format!("did you mean `{field}:`? To search for the text, quote it"))
                }
                _ => failure.hint(format!("there are {}:. To search for the text, quote it", FIELDS.join(": "))),
            });
        }
        self.at = named.end;
        let place = match folded.as_str() {
            "from" => Some(Place::From),
            "to" => Some(Place::To),
            "cc" => Some(Place::Cc),
            "bcc" => Some(Place::Bcc),
            "subject" => Some(Place::Subject),
            "body" => Some(Place::Body),
            "attachment" | "filename" => Some(Place::Attachment),
            _ => None,
        };
        if let (Some(place), true) = (place, self.rest().starts_with('(')) {
            let (node, at) = self.group(Some(place))?;
            return Ok((node, start..at.end));
        }
        if self.rest().chars().next().is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ')')) {
            return Err(error(named, format!("nothing follows `{name}:`")).hint(example(&folded)));
        }
        let value = self.value()?;
        let node = match place {
            Some(place) => self.words_of(place, &value)?.ok_or_else(|| {
                error(value.at.clone(), format!("there is no word in `{}` to search for", value.text))
            })?,
            None => Node::Leaf(self.leaf(&folded, &value)?),
        };
        Ok((node, start..value.at.end))
    }

    fn leaf(&mut self, field: &str, value: &Value<'_>) -> Result<Leaf, QueryError> {
        self.count(&value.at)?;
        let wrong = |what: String| error(value.at.clone(), what).hint(example(field));
        let text = value.text;
        Ok(match field {
            "has" => match text.to_lowercase().as_str() {
                "attachment" | "attachments" => Leaf::HasAttachment,
                _ => return Err(wrong(format!("`{text}` is nothing that a mail can be asked to have"))),
            },
            "in" => match text.to_lowercase().as_str() {
                "inbox" => Leaf::In(Folder::Inbox),
                "sent" => Leaf::In(Folder::Sent),
                _ => return Err(wrong(format!("there is no folder `{text}`"))),
            },
            "person" => Leaf::Person(text.to_owned()),
            "message-id" => match crate::mail::summary::normal_message_id(text) {
                Some(id) => Leaf::MessageId(id),
                None => return Err(wrong(format!("`{text}` is no message identifier"))),
            },
            "larger" | "smaller" => {
                let bytes: bytesize::ByteSize = text.parse().map_err(|_| wrong(format!("`{text}` is not a size")))?;
                Leaf::Size(if field == "larger" { bytes.0.saturating_add(1)..u64::MAX } else { 0..bytes.0 })
            }
            _ => {
                let day = self.period(text).ok_or_else(|| wrong(format!("`{text}` is not a date")))?;
                Leaf::Date(match field {
                    "after" | "since" => day.start..i64::MAX,
                    "on" => day,
                    _ => i64::MIN..day.start,
                })
            }
        })
    }

    /// Seconds of a year, month or day in the calendar's zone, or of the day that was so long ago.
    fn period(&self, text: &str) -> Option<Range<i64>> {
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Some(moment.as_second()..moment.as_second() + 1);
        }
        if let Some(count) = text.strip_suffix(['d', 'w', 'm', 'y', 'D', 'W', 'M', 'Y']) {
            let count: i32 = count.parse().ok().filter(|count| (0..=10_000).contains(count))?;
            let span = jiff::Span::new();
            let span = match text.as_bytes()[text.len() - 1].to_ascii_lowercase() {
                b'd' => span.try_days(count),
                b'w' => span.try_weeks(count),
                b'm' => span.try_months(count),
                _ => span.try_years(count),
            };
            let span = span.ok()?;
            let today = self.calendar.now.to_zoned(self.calendar.zone.clone()).date();
            let day = today.checked_sub(span).ok()?;
            return self.days(day, day.tomorrow().ok()?);
        }
        let mut numbers = text.split('-');
        let year: i16 = numbers.next().filter(|year| year.len() == 4)?.parse().ok()?;
        let number = |text: &str| -> Option<i8> { if text.len() <= 2 { text.parse().ok() } else { None } };
        match (numbers.next(), numbers.next(), numbers.next()) {
            (None, ..) => {
                let first = Date::new(year, 1, 1).ok()?;
                self.days(first, first.checked_add(1.year()).ok()?)
            }
            (Some(month), None, _) => {
                let first = Date::new(year, number(month)?, 1).ok()?;
                self.days(first, first.checked_add(1.month()).ok()?)
            }
            (Some(month), Some(day), None) => {
                let first = Date::new(year, number(month)?, number(day)?).ok()?;
                self.days(first, first.tomorrow().ok()?)
            }
            _ => None,
        }
    }

    fn days(&self, from: Date, to: Date) -> Option<Range<i64>> {
        let second = |date: Date| Some(date.to_zoned(self.calendar.zone.clone()).ok()?.timestamp().as_second());
        Some(second(from)?..second(to)?)
    }

    fn value(&mut self) -> Result<Value<'a>, QueryError> {
        let start = self.at;
        // Word processors turn quotes into these.
        let is_quote = |c: char| matches!(c, '"' | '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{ab}' | '\u{bb}');
        if let Some(quote) = self.rest().chars().next().filter(|&c| is_quote(c)) {
            let inside = &self.rest()[quote.len_utf8()..];
            let Some(end) = inside.find(is_quote) else {
                return Err(error(start..self.text.len(), "this quote is not closed"));
            };
            let closing = inside[end..].chars().next().map_or(1, char::len_utf8);
            self.at += quote.len_utf8() + end + closing;
            return Ok(Value { text: &inside[..end], at: start..self.at, is_quoted: true });
        }
        let rest = self.rest();
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '(' | ')') || is_quote(c)).unwrap_or(rest.len());
        self.at += end;
        Ok(Value { text: &rest[..end], at: start..self.at, is_quoted: false })
    }

    fn count(&mut self, at: &Range<usize>) -> Result<(), QueryError> {
        self.terms += 1;
        if self.terms > TERMS_MAX {
            return Err(error(at.clone(), format!("more than {TERMS_MAX} terms")));
        }
        Ok(())
    }

    /// `None`: there is no word in it.
    fn words_of(&mut self, place: Place, value: &Value<'_>) -> Result<Option<Node>, QueryError> {
        let (text, prefix) = match value.text.strip_suffix('*') {
            Some(text) => (text, true),
            None => (value.text, false),
        };
        if !value.is_quoted
            && let Some(star) = text.find('*')
        {
            let at = value.at.start + star;
            return Err(error(at..at + 1, "`*` stands for the rest of a word, at its end only")
                .hint("search for the beginning: invoi*"));
        }
        let words = words(text);
        self.count(&value.at)?;
        if words.is_empty() {
            if value.is_quoted || prefix {
                return Err(error(value.at.clone(), format!("there is no word in `{}` to search for", value.text)));
            }
            return Ok(None);
        }
        if words.len() > TERMS_MAX {
            return Err(error(value.at.clone(), format!("a phrase of more than {TERMS_MAX} words")));
        }
        Ok(Some(Node::Leaf(Leaf::Words { place, words, prefix })))
    }
}

fn example(field: &str) -> &'static str {
    match field {
        "from" | "to" | "cc" | "bcc" => "write a name or an address: from:anna, to:bob@corp.example",
        "after" | "since" | "before" | "until" | "on" => {
            "write a day, a month or a year (2026-01-31, 2026-01, 2026), or so long ago: 7d, 2w, 3m, 1y"
        }
        "larger" | "smaller" => "write 500k, 1M or 2GiB",
        "has" => "write has:attachment",
        "in" => "write in:inbox or in:sent",
        "message-id" => "write it as the header has it: message-id:<1@corp.example>",
        "person" => "write the person's id, or a part of it: person:anna",
        _ => "write a word or a \"phrase\"",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar() -> Calendar {
        Calendar { zone: TimeZone::UTC, now: "2026-03-31T12:00:00Z".parse().unwrap() }
    }

    fn parsed(text: &str) -> Query {
        parse(text, &calendar()).unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    fn leaf(place: Place, text: &str) -> Node {
        let (text, prefix) = text.strip_suffix('*').map_or((text, false), |text| (text, true));
        Node::Leaf(Leaf::Words { place, words: words(text), prefix })
    }

    fn seconds(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn what_the_manual_shows() {
        let query = parsed("from:anna invoice \"final offer\" after:2025-01-01 has:attachment larger:1M in:sent");
        let expected = [
            leaf(Place::From, "anna"),
            leaf(Place::Anywhere, "invoice"),
            leaf(Place::Anywhere, "final offer"),
            Node::Leaf(Leaf::Date(seconds("2025-01-01T00:00:00Z")..i64::MAX)),
            Node::Leaf(Leaf::HasAttachment),
            Node::Leaf(Leaf::Size(1_000_001..u64::MAX)),
        ];
        assert_eq!(query.mail, expected);
        assert_eq!(query.filing, [Node::Leaf(Leaf::In(Folder::Sent))]);
    }

    #[test]
    fn joined_grouped_and_left_out() {
        let (a, b, c) = (leaf(Place::Anywhere, "a"), leaf(Place::Anywhere, "b"), leaf(Place::Anywhere, "c"));
        assert_eq!(parsed("a b OR c").mail, [a.clone(), Node::Any(vec![b.clone(), c.clone()])]);
        assert_eq!(parsed("a AND (b c)").mail, [a.clone(), Node::All(vec![b.clone(), c.clone()])]);
        assert_eq!(
            parsed("-a NOT (b OR c)").mail,
            [Node::Not(Box::new(a.clone())), Node::Not(Box::new(Node::Any(vec![b.clone(), c])))]
        );
        assert_eq!(parsed("or and not").mail.len(), 3);
        assert_eq!(parsed("ORDER").mail, [leaf(Place::Anywhere, "order")]);
        assert_eq!(parsed("a - b & …").mail, [a, b]);
        let both = Node::Any(vec![leaf(Place::From, "anna"), leaf(Place::From, "bob b")]);
        assert_eq!(parsed("FROM:(anna OR \"Bob B\")").mail, [both]);
        assert_eq!(parsed("from:anna@corp.example").mail, [leaf(Place::From, "anna corp example")]);
        assert_eq!(
            parsed("invoi* \"final off*\" subject:x*").mail,
            [leaf(Place::Anywhere, "invoi*"), leaf(Place::Anywhere, "final off*"), leaf(Place::Subject, "x*")]
        );
        assert_eq!(
            parsed("http://corp.example/x 12:30").mail,
            [leaf(Place::Anywhere, "http corp example x"), leaf(Place::Anywhere, "12 30")]
        );
        assert_eq!(parsed("\u{201e}final offer\u{201c}").mail, [leaf(Place::Anywhere, "final offer")]);
        assert_eq!(parsed("-in:sent (person:anna OR person:bob)").filing.len(), 2);
        assert_eq!(parsed("message-id:1@x").mail, [Node::Leaf(Leaf::MessageId("<1@x>".into()))]);
    }

    #[test]
    fn dates_and_sizes() {
        let date = |text: &str| match &parsed(text).mail[..] {
            [Node::Leaf(Leaf::Date(range))] => range.clone(),
            other => panic!("{other:?}"),
        };
        let day = seconds("2026-01-31T00:00:00Z");
        assert_eq!(date("before:2026-01-31"), i64::MIN..day);
        assert_eq!(date("on:2026-01-31"), day..day + 86_400);
        assert_eq!(date("on:2026-1"), seconds("2026-01-01T00:00:00Z")..seconds("2026-02-01T00:00:00Z"));
        assert_eq!(date("on:2026"), seconds("2026-01-01T00:00:00Z")..seconds("2027-01-01T00:00:00Z"));
        assert_eq!(date("after:7d").start, seconds("2026-03-24T00:00:00Z"));
        assert_eq!(date("after:1m").start, seconds("2026-02-28T00:00:00Z"));
        assert_eq!(date("after:2026-01-31T08:00:00+01:00").start, seconds("2026-01-31T07:00:00Z"));
        assert_eq!(parsed("smaller:2KiB").mail, [Node::Leaf(Leaf::Size(0..2048))]);
    }

    #[test]
    fn what_is_not_understood_is_told_with_its_place() {
        for (text, at, what) in [
            ("", 0..0, "nothing to search"),
            ("  ", 0..2, "nothing to search"),
            ("a form:anna", 2..7, "no field `form:`"),
            ("a (b", 2..3, "not closed"),
            ("a b)", 3..4, "closes none"),
            ("a ()", 2..4, "nothing between"),
            ("a \"b", 2..4, "quote is not closed"),
            ("OR a", 0..2, "OR stands between"),
            ("a OR", 2..4, "OR stands between"),
            ("(a OR )", 3..5, "OR stands between"),
            ("from:", 0..5, "nothing follows"),
            ("from: anna", 0..5, "nothing follows"),
            ("from:!!", 5..7, "no word"),
            ("\"!!\"", 0..4, "no word"),
            ("in*voice", 2..3, "at its end only"),
            ("*", 0..1, "no word"),
            ("after:yesterday", 6..15, "not a date"),
            ("after:2026-13-01", 6..16, "not a date"),
            ("after:99999999999y", 6..18, "not a date"),
            ("larger:much", 7..11, "not a size"),
            ("has:fun", 4..7, "nothing that a mail"),
            ("in:trash", 3..8, "no folder"),
            ("in:sent OR invoice", 0..18, "cannot be joined by OR"),
            ("-(in:sent invoice)", 0..18, "cannot be joined by OR"),
            ("from:(to:anna)", 6..9, "field within another"),
            ("-", 0..1, "nothing"),
            ("a NOT ", 2..6, "nothing follows that"),
        ] {
            let error = parse(text, &calendar()).expect_err(text);
            assert!(error.what.contains(what), "{text}: {error:?}");
            assert_eq!(error.at, at, "{text}: {error:?}");
        }
        assert_eq!(parse("form:x", &calendar()).unwrap_err().hint.unwrap().split('`').nth(1), Some("from:"));
    }

    #[test]
    fn limits_hold() {
        for text in ["(".repeat(4000), "-".repeat(4000), "-a ".repeat(2000), "a OR ".repeat(1600), "x".repeat(1 << 20)]
        {
            let _ = parse(&text, &calendar());
        }
        assert!(parse(&"a ".repeat(TERMS_MAX + 1), &calendar()).unwrap_err().what.contains("terms"));
        assert!(parse(&"-".repeat(100), &calendar()).unwrap_err().what.contains("levels"));
    }
}
