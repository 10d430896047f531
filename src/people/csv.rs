//! A CSV file of people: `person,name,address,address…`, one person per row.
//!
//! Such files are exported from directories and edited in spreadsheets, so: rows of any length, an
//! optional header, a byte order mark, empty trailing fields, lines commented out with `#`. All mistakes
//! are reported at once, each with its line; a file with a mistake is refused as a whole, because half
//! a list of people would file the other half's mail as unassigned.

use std::io::Read as _;
use std::path::Path;

use crate::base::address::Address;
use crate::base::fsio;
use crate::people::PersonId;
use crate::people::error::{PeopleErrors, Problem};

/// 20,000 people with five addresses each are 4 MB; whatever is far beyond that is the wrong file.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// More mistakes than this say nothing new.
const PROBLEMS_MAX: usize = 50;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub line: u64,
    pub person: PersonId,
    pub name: Option<String>,
    /// As listed; the id is not repeated here.
    pub addresses: Vec<Address>,
}

pub fn read(path: &Path) -> Result<Vec<Row>, PeopleErrors> {
    let whole = |what: String, hint: &str| PeopleErrors::one(Problem::in_file(path, None, what, hint));
    let unreadable = |error: std::io::Error| {
        whole(format!("cannot be read: {error}"), "`[people] csv` names it, counted from the configuration's folder")
    };
    let mut bytes = Vec::new();
    let file = fsio::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(whole(format!("is longer than {} MiB", FILE_BYTES_MAX >> 20), "is it the right file?"));
    }
    parse(path, &bytes)
}

/// `path` is for the messages only.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Row>, PeopleErrors> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        let what = "is written in UTF-16".to_owned();
        return Err(PeopleErrors::one(Problem::in_file(path, None, what, "save it as \"CSV UTF-8\"")));
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let mut rows = Vec::new();
    let mut problems = Vec::new();
    let mut record = csv::ByteRecord::new();
    let mut lines = Lines { bytes, at: 0, line: 1 };
    let mut first = true;
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {}
            Err(error) => {
                let line = error.position().map(csv::Position::line);
                problems.push(Problem::in_file(path, line, format!("is no CSV: {error}"), ""));
                break;
            }
        }
        let line = lines.of(record.position().map_or(0, csv::Position::byte) as usize);
        match row(line, &record, first) {
            Ok(Some(row)) => rows.push(row),
            Ok(None) => {}
            Err((what, hint)) => problems.push(Problem::in_file(path, Some(line), what, &hint)),
        }
        first = false;
        if problems.len() >= PROBLEMS_MAX {
            let what = format!("has {PROBLEMS_MAX} mistakes up to here; the rest was not looked at");
            problems.push(Problem::in_file(path, Some(line), what, ""));
            break;
        }
    }
    if problems.is_empty() { Ok(rows) } else { Err(PeopleErrors(problems)) }
}

/// Line numbers of records, counted here because the reader's own are one short after CRLF and name the
/// comment above a record instead of the record.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// `start` is where the reader began to look for the record; it never goes back.
    fn of(&mut self, start: usize) -> u64 {
        let rest = |at: usize| self.bytes.get(at..).unwrap_or_default();
        let mut begin = start;
        while let Some(&byte) = rest(begin).first() {
            match byte {
                b'\r' | b'\n' => begin += 1,
                b'#' => begin += rest(begin).iter().position(|&byte| byte == b'\n').unwrap_or(rest(begin).len()),
                _ => break,
            }
        }
        let passed = self.bytes.get(self.at..begin).unwrap_or_default();
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.at = begin.max(self.at);
        self.line
    }
}

/// `Ok(None)` for the header and for rows of empty fields, which spreadsheets leave behind.
fn row(line: u64, record: &csv::ByteRecord, first: bool) -> Result<Option<Row>, (String, String)> {
    let mut fields = Vec::with_capacity(record.len());
    for field in record {
        let text = std::str::from_utf8(field)
            .map_err(|_| ("is not UTF-8".to_owned(), "save the file as \"CSV UTF-8\"".to_owned()))?;
        fields.push(text);
    }
    // An open quote would swallow all the people after it, and nobody would miss them in time.
    if fields.iter().any(|text| text.contains('\n')) {
        let what = "has a line break within quotes, so that what follows is part of one field".to_owned();
        return Err((what, "close the quote in this line".to_owned()));
    }
    let field = |at: usize| fields.get(at).copied().unwrap_or_default();
    if fields.iter().all(|text| text.is_empty()) {
        return Ok(None);
    }
    if first && field(0).eq_ignore_ascii_case("person") && (fields.len() < 2 || field(1).eq_ignore_ascii_case("name")) {
        return Ok(None);
    }
    if fields.len() == 1 && field(0).contains(';') {
        let what = "separates its fields by semicolons".to_owned();
        return Err((what, "separate them by commas: person,name,address,address".to_owned()));
    }
    let person = PersonId::checked(field(0)).map_err(|bad| (format!("person: {}", bad.what), bad.hint))?;
    let mut addresses = Vec::new();
    for text in fields.iter().skip(2).filter(|text| !text.is_empty()) {
        let address = Address::parse(text).ok_or_else(|| {
            let what = format!("person {person}: {text:?} is not a mail address");
            (what, "the columns are person,name,address,address…; an empty name still needs its comma".to_owned())
        })?;
        addresses.push(address);
    }
    if addresses.is_empty() && Address::parse(person.as_str()).is_none() {
        let what = format!("person {person}: owns no address, so that no mail could ever be filed");
        return Err((what, "add an address in the third column, or use one as the person".to_owned()));
    }
    let name = Some(field(1)).filter(|name| !name.is_empty()).map(str::to_owned);
    Ok(Some(Row { line, person, name, addresses }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<String>, String> {
        let rows = parse(Path::new("people.csv"), text.as_bytes()).map_err(|errors| errors.to_string())?;
        let show = |row: &Row| format!("{}|{}|{:?}|{:?}", row.line, row.person, row.name, row.addresses);
        Ok(rows.iter().map(show).collect())
    }

    #[test]
    fn rows_as_spreadsheets_and_people_write_them() {
        let text = "\u{feff}Person,Name,Address\r\n\
                    anna@corp.example,\"Example, Anna\",a.example@corp.example,ANNA@old.example,\r\n\
                    # bob left\r\n\
                    ,,,\r\n\
                    carl,,carl@corp.example\r\n\
                    dora@corp.example\r\n";
        insta::assert_debug_snapshot!(parsed(text).unwrap(), @r#"
        [
            "2|anna@corp.example|Some(\"Example, Anna\")|[a.example@corp.example, anna@old.example]",
            "5|carl|None|[carl@corp.example]",
            "6|dora@corp.example|None|[]",
        ]
        "#);
        assert_eq!(parsed("").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn all_mistakes_at_once_each_with_its_line() {
        let text = "person,name,address\n\
                    anna,Anna\n\
                    bob,bob@corp.example,Bob\n\
                    ok@corp.example,Fine\n\
                    a/b,Slash,x@corp.example\n\
                    carl;Carl;carl@corp.example\n";
        insta::assert_snapshot!(parsed(text).unwrap_err(), @r#"
        the list of people has 4 mistakes:
        people.csv:2: person anna: owns no address, so that no mail could ever be filed
          hint: add an address in the third column, or use one as the person
        people.csv:3: person bob: "Bob" is not a mail address
          hint: the columns are person,name,address,address…; an empty name still needs its comma
        people.csv:5: person: "a/b" holds '/', which a folder name cannot hold
          hint: use the person's main address, or a short name such as `anna`
        people.csv:6: separates its fields by semicolons
          hint: separate them by commas: person,name,address,address
        "#);
    }

    #[test]
    fn encodings_that_spreadsheets_choose_are_named() {
        let latin = parse(Path::new("p.csv"), b"anna,J\xfcrgen,a@corp.example\n").unwrap_err().to_string();
        assert!(latin.contains("p.csv:1: is not UTF-8"), "{latin}");
        let wide = parse(Path::new("p.csv"), b"\xff\xfea\0").unwrap_err().to_string();
        assert!(wide.contains("UTF-16"), "{wide}");
    }

    #[test]
    fn an_open_quote_is_named_where_it_opens() {
        let text = parsed("a@c.example,A\nb@c.example,\"B\nc@c.example,C\n").unwrap_err();
        assert!(text.starts_with("people.csv:2: has a line break within quotes"), "{text}");
    }

    #[test]
    fn mistakes_are_bounded() {
        let errors = parse(Path::new("p.csv"), "x\n".repeat(100_000).as_bytes()).unwrap_err();
        assert_eq!(errors.0.len(), PROBLEMS_MAX + 1);
    }
}
