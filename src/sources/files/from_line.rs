//! The lines that separate the mails of an mbox: `From `, a sender, a date as `asctime` writes it.
//!
//! ```text
//! From anna@corp.example Sat Jan  3 01:05:34 1996
//! From - Tue Nov 21 10:00:00 2023                      Thunderbird, until 2023
//! From 1790842@xxx Tue Sep 06 10:03:51 +0000 2016      Google Takeout
//! From                                                 Thunderbird since
//! ```
//!
//! A sentence in a mail that begins with "From" is none of these.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, civil};

/// Longer than any that a program writes.
pub const LENGTH_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromLine {
    /// With sender and date; the date is `None` where it is none that ever was (31 February).
    Dated(Option<Timestamp>),
    /// `From ` and nothing else: a separator only where the file shows that its program writes such ones.
    Bare,
}

/// `line` with or without its line break.
pub fn parse(line: &[u8]) -> Option<FromLine> {
    let rest = line.strip_prefix(b"From ")?;
    if rest.len() > LENGTH_MAX {
        return None;
    }
    let words: Vec<&[u8]> = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return Some(FromLine::Bare);
    }
    // A sender may hold blanks (`"a b"@x`), and a few old programs leave it out.
    let start = words.iter().position(|word| is_weekday(word))?;
    let rest = &words[start + 1..];
    let [month, day, time, rest @ ..] = rest else { return None };
    let month = month_of(month)?;
    let day: i8 = number(day).filter(|day| (1..=31).contains(day))?;
    let (hour, minute, second) = time_of(time)?;
    let mut offset = Offset::UTC;
    let mut year = None;
    for word in rest.iter().take(3) {
        match (year, zone(word), word.len()) {
            (_, Some(found), _) => offset = found,
            (None, None, 4) => year = number::<i16>(word),
            // What other programs add ("remote from …").
            _ => break,
        }
    }
    let date = civil::Date::new(year?, month, day).ok();
    let at = date.and_then(|date| {
        let time = civil::Time::new(hour, minute, second.min(59), 0).ok()?;
        let zoned = DateTime::from_parts(date, time).to_zoned(TimeZone::fixed(offset)).ok()?;
        Some(zoned.timestamp())
    });
    Some(FromLine::Dated(at))
}

fn number<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    if word.is_empty() || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(word).ok()?.parse().ok()
}

fn is_weekday(word: &[u8]) -> bool {
    let word = word.strip_suffix(b",").unwrap_or(word);
    [&b"Mon"[..], b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"].iter().any(|day| word.eq_ignore_ascii_case(day))
}

fn month_of(word: &[u8]) -> Option<i8> {
    const MONTHS: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    MONTHS.iter().position(|month| word.eq_ignore_ascii_case(month)).map(|at| at as i8 + 1)
}

/// `1:05` or `01:05:34`.
fn time_of(word: &[u8]) -> Option<(i8, i8, i8)> {
    let mut parts = word.split(|byte| *byte == b':').map(number::<i8>);
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    let fits = parts.next().is_none() && hour < 24 && minute < 60 && second <= 60;
    fits.then_some((hour, minute, second))
}

/// `+0200`, or letters, of which only those that are UTC's are understood.
fn zone(word: &[u8]) -> Option<Offset> {
    let (sign, digits) = match word {
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        word if (1..=5).contains(&word.len()) && word.iter().all(u8::is_ascii_uppercase) => return Some(Offset::UTC),
        _ => return None,
    };
    let value: i32 = number(digits).filter(|_| digits.len() == 4)?;
    Offset::from_seconds(sign * (value / 100 * 3600 + value % 100 * 60)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: &str) -> Option<String> {
        match parse(line.as_bytes())? {
            FromLine::Dated(at) => Some(at.map_or("never".to_owned(), |at| at.to_string())),
            FromLine::Bare => Some("bare".into()),
        }
    }

    #[test]
    fn separators_as_programs_write_them() {
        for (line, date) in [
            ("From anna@corp.example Sat Jan  3 01:05:34 1996\n", "1996-01-03T01:05:34Z"),
            ("From - Tue Nov 21 10:00:00 2023\r\n", "2023-11-21T10:00:00Z"),
            ("From 1790842@xxx Tue Sep 06 10:03:51 +0000 2016\n", "2016-09-06T10:03:51Z"),
            ("From a@b.example Sat Jan  3 01:05:34 1996 +0200\n", "1996-01-02T23:05:34Z"),
            ("From a@b.example Sat Jan  3 01:05 MET DST 1996\n", "1996-01-03T01:05:00Z"),
            ("From a Sat Jan  3 01:05:34 1996 remote from mars\n", "1996-01-03T01:05:34Z"),
            ("From \"a b\"@c.example Sat Jan  3 01:05:34 1996\n", "1996-01-03T01:05:34Z"),
            ("From a@b.example Fri Feb 31 01:05:34 1996\n", "never"),
            ("From a@b.example Sat Jan  3 23:59:60 1996\n", "1996-01-03T23:59:59Z"),
            ("From \n", "bare"),
            ("From \r\n", "bare"),
        ] {
            assert_eq!(at(line).as_deref(), Some(date), "{line}");
        }
    }

    #[test]
    fn sentences_are_none() {
        for line in [
            "From the beginning it was clear\n",
            "From Monday on we are closed\n",
            "From Mon Jan 3 on\n",
            "From a@b.example Sat Jan 3 25:05:34 1996\n",
            "From a@b.example Sat Jan 42 01:05:34 1996\n",
            "From a@b.example Sat Jan 3 01:05:34\n",
            "From a@b.example Sat Jan 3 01:05:34 96\n",
            ">From a@b.example Sat Jan  3 01:05:34 1996\n",
            "from a@b.example Sat Jan  3 01:05:34 1996\n",
            "From: anna@corp.example\n",
        ] {
            assert_eq!(at(line), None, "{line}");
        }
    }
}
