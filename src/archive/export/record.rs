//! The pages of a person's record: `index.html` to read and `index.csv` to sort, beside the messages themselves.
//!
//! What they show comes from mail, so that nothing of it may act: the pages have no scripts and a policy that allows
//! none, every text is escaped and has its writing direction to itself, and a cell that a spreadsheet would take for a
//! formula begins with an apostrophe.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::super::error::{ArchiveError, ErrorKind, Result};
use super::super::read::Reader;
use super::super::record::Folder;
use super::look::Known;
use super::manifest::{About, Document, ExportFailure, ManifestEntry, SUMS, file_name};
use super::names::is_known_year;
use super::output::{Exported, Summed};
use super::state::State;

/// With more messages than this there is a page for each year.
const ONE_PAGE_MAX: u64 = 3000;

const CSV: &str = "index.csv";

/// What the pages say of a message beside what the manifest does.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Detail {
    pub from: String,
    pub to: Vec<String>,
    pub cc: Vec<String>,
    pub subject: String,
    pub archived: Option<Timestamp>,
    pub gateway: Option<String>,
}

#[derive(Default)]
struct Counts {
    inbox: u64,
    sent: u64,
    bytes: u64,
    redacted: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    /// By year: received, sent.
    years: BTreeMap<String, (u64, u64)>,
}

pub(super) fn write(
    reader: &Reader,
    dir: &Path,
    work: &Path,
    about: &About,
    state: &State,
    failed: &[ExportFailure],
) -> Result<Vec<Document>> {
    let person = about.filter["person"].as_str().unwrap_or_default().to_owned();
    let known = reader.known_person(&person)?;
    let mut counts = Counts::default();
    state.each_done_by_date(&mut |entry, _| {
        counts.add(&entry);
        Ok(())
    })?;
    let by_year = counts.inbox + counts.sent > ONE_PAGE_MAX;
    let mut pages = Pages { dir, work, documents: Vec::new() };
    let mut index = pages.begin("index.html")?;
    let title = format!("Mail record of {person}");
    begin(&mut index, &title)?;
    summary(&mut index, about, &person, &known, &counts, failed)?;
    let mut table = pages.begin(CSV)?;
    csv_row(&mut table, &COLUMNS.map(str::to_owned), true)?;
    let mut current: Option<(String, Page)> = None;
    if by_year {
        list_of_years(&mut index, &counts)?;
    } else {
        begin_rows(&mut index)?;
    }
    let mut number = 0;
    state.each_done_by_date(&mut |entry, detail| {
        number += 1;
        let detail: Detail = serde_json::from_str(detail).unwrap_or_default();
        csv_row(&mut table, &cells(number, &entry, &detail), false)?;
        if !by_year {
            return row(&mut index, number, &entry, &detail);
        }
        let year = year(entry.date);
        if current.as_ref().is_none_or(|(open, _)| *open != year) {
            if let Some((_, mut page)) = current.take() {
                end_rows(&mut page)?;
                pages.end(page)?;
            }
            let mut page = pages.begin(&page_of(&year))?;
            begin(&mut page, &format!("{title}, {year}"))?;
            page.put("<p><a href=\"index.html\">The whole record</a></p>\n")?;
            begin_rows(&mut page)?;
            current = Some((year, page));
        }
        match &mut current {
            Some((_, page)) => row(page, number, &entry, &detail),
            None => Ok(()),
        }
    })?;
    if let Some((_, mut page)) = current.take() {
        end_rows(&mut page)?;
        pages.end(page)?;
    }
    if by_year {
        index.put("</body>\n</html>\n")?;
    } else {
        end_rows(&mut index)?;
    }
    pages.end(table)?;
    pages.end(index)?;
    Ok(pages.documents)
}

impl Counts {
    fn add(&mut self, entry: &ManifestEntry) {
        let of_year = self.years.entry(year(entry.date)).or_default();
        match entry.folder {
            Folder::Inbox => (self.inbox, of_year.0) = (self.inbox + 1, of_year.0 + 1),
            Folder::Sent => (self.sent, of_year.1) = (self.sent + 1, of_year.1 + 1),
        }
        self.bytes += entry.size;
        self.redacted += u64::from(entry.redacted);
        if let Some(date) = entry.date {
            self.first = Some(self.first.map_or(date, |first| first.min(date)));
            self.last = Some(self.last.map_or(date, |last| last.max(date)));
        }
    }
}

fn year(date: Option<Timestamp>) -> String {
    let date = date.filter(|date| is_known_year(*date));
    date.map_or_else(|| "undated".into(), |date| date.to_zoned(TimeZone::UTC).year().to_string())
}

fn page_of(year: &str) -> String {
    format!("index-{year}.html")
}

struct Pages<'a> {
    dir: &'a Path,
    work: &'a Path,
    documents: Vec<Document>,
}

struct Page {
    file: String,
    path: PathBuf,
    out: Summed,
}

impl Page {
    fn put(&mut self, text: &str) -> Result<()> {
        self.out.write_all(text.as_bytes()).exported("write", &self.path)
    }
}

impl Pages<'_> {
    fn begin(&mut self, file: &str) -> Result<Page> {
        let path = self.work.join(format!("{file}.part"));
        Ok(Page { file: file.to_owned(), out: Summed::create(&path)?, path })
    }

    fn end(&mut self, page: Page) -> Result<()> {
        let Page { file, out, .. } = page;
        let (size, sha256) = out.finish(&self.dir.join(&file))?;
        self.documents.push(Document { file, size, sha256 });
        Ok(())
    }
}

/// A text as HTML, in which nothing can act, hide or turn what stands beside it.
fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            c if c.is_control() => out.push('\u{fffd}'),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn own(text: &str) -> String {
    format!("<bdi>{}</bdi>", html(text))
}

/// A path as the target of a link.
fn link(file: &str) -> String {
    let mut out = String::with_capacity(file.len());
    for byte in file.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'@' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    // A first part with a colon would be a scheme; there is none left.
    format!("./{out}")
}

fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "(no date)".into(), |at| at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M UTC").to_string())
}

fn begin(page: &mut Page, title: &str) -> Result<()> {
    page.put(&format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         form-action 'none'; base-uri 'none'\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n<style>\n\
         body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }}\n\
         table {{ border-collapse: collapse; width: 100% }}\n\
         th, td {{ text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #ddd; \
         overflow-wrap: anywhere }}\n\
         th {{ background: #f4f4f4 }}\n.what th {{ width: 14rem }}\n.n {{ white-space: nowrap }}\n\
         small {{ color: #555 }}\n@media print {{ body {{ margin: 0; font-size: 10px }} }}\n</style>\n</head>\n<body>\n\
         <h1>{title}</h1>\n",
        title = own(title).replace("<bdi>", "").replace("</bdi>", ""),
    ))
}

fn fact(page: &mut Page, name: &str, text: &str) -> Result<()> {
    page.put(&format!("<tr><th>{name}</th><td>{text}</td></tr>\n"))
}

fn summary(
    page: &mut Page,
    about: &About,
    person: &str,
    known: &Known,
    counts: &Counts,
    failed: &[ExportFailure],
) -> Result<()> {
    page.put("<h2>Who</h2>\n<table class=\"what\">\n")?;
    fact(page, "Person", &own(person))?;
    if let Some(name) = &known.name {
        fact(page, "Name", &own(name))?;
    }
    let origin = match known.origin.as_str() {
        "config" => "named in the configuration",
        "csv" => "named in the list of people (CSV)",
        "ldap" => "from the directory (LDAP)",
        "rule" => "made by a rule: mail came for an address of this organisation that nobody had",
        "" => "the archive knows nothing of this person beside the mail",
        other => other,
    };
    fact(page, "Known from", &own(origin))?;
    for address in &known.addresses {
        let since = address.from.as_deref().map(|from| format!(" from {}", html(from))).unwrap_or_default();
        let until = address.until.as_deref().map(|until| format!(" until {}", html(until))).unwrap_or_default();
        let always = if since.is_empty() && until.is_empty() { " <small>without limit of time</small>" } else { "" };
        fact(page, "Address", &format!("{}{since}{until}{always}", own(&address.address)))?;
    }
    for merged in &known.merged {
        fact(page, "Joined archive", &format!("{} <small>its mail is in this record</small>", own(merged)))?;
    }
    if let Some(into) = &known.merged_into {
        fact(page, "Joined to", &format!("{} <small>newer mail is there</small>", own(into)))?;
    }
    page.put("</table>\n<h2>What</h2>\n<table class=\"what\">\n")?;
    fact(page, "Received messages", &counts.inbox.to_string())?;
    fact(page, "Sent messages", &counts.sent.to_string())?;
    fact(page, "Size", &html(&bytesize::ByteSize(counts.bytes).display().iec().to_string()))?;
    if counts.first.is_some() {
        fact(page, "From", &html(&time(counts.first)))?;
        fact(page, "To", &html(&time(counts.last)))?;
    }
    if counts.redacted > 0 {
        let text = format!(
            "{} messages were received with lines that name blind-copy recipients (Bcc). Those lines belong to the \
             sender and are left out here; everything else is as it was.",
            counts.redacted
        );
        fact(page, "Left out", &text)?;
    }
    if about.envelope {
        fact(page, "Blind copies", "Bcc lines are shown, as the operator asked for.")?;
    }
    if !failed.is_empty() {
        let text = format!(
            "{} messages of this person could not be read from the archive and are <b>not</b> part of this record; \
             manifest.json lists them under \u{201c}failed\u{201d}.",
            failed.len()
        );
        fact(page, "Missing", &text)?;
    }
    page.put("</table>\n<h2>Proof</h2>\n<table class=\"what\">\n")?;
    fact(page, "Made", &html(&format!("{}, by gatepost {}", time(Some(about.time)), about.gatepost)))?;
    fact(page, "Archive", &html(&about.archive.to_string()))?;
    fact(page, "Head of the archive", &html(&about.head.to_string()))?;
    let manifest = file_name(about.run);
    fact(
        page,
        "Files",
        &format!(
            "<a href=\"{}\">{CSV}</a> (this list as a table), <a href=\"{}\">{manifest}</a> (SHA-256 of every message, \
             in the archive and here), <a href=\"{}\">{SUMS}</a> (for <code>sha256sum -c</code>)",
            link(CSV),
            link(&manifest),
            link(SUMS)
        ),
    )?;
    page.put("</table>\n<h2>Messages</h2>\n")
}

fn list_of_years(page: &mut Page, counts: &Counts) -> Result<()> {
    page.put("<table>\n<thead><tr><th>Year</th><th>Received</th><th>Sent</th></tr></thead>\n<tbody>\n")?;
    for (year, (inbox, sent)) in &counts.years {
        let to = link(&page_of(year));
        page.put(&format!("<tr><td><a href=\"{to}\">{year}</a></td><td>{inbox}</td><td>{sent}</td></tr>\n"))?;
    }
    page.put("</tbody>\n</table>\n")
}

fn begin_rows(page: &mut Page) -> Result<()> {
    page.put(
        "<table>\n<thead><tr><th>No.</th><th>Date</th><th></th><th>From</th><th>To</th><th>Subject</th><th>Size</th>\
         <th>How it came here</th></tr></thead>\n<tbody>\n",
    )
}

fn end_rows(page: &mut Page) -> Result<()> {
    page.put("</tbody>\n</table>\n</body>\n</html>\n")
}

fn direction(folder: Folder) -> &'static str {
    match folder {
        Folder::Inbox => "received",
        Folder::Sent => "sent",
    }
}

fn row(page: &mut Page, number: u64, entry: &ManifestEntry, detail: &Detail) -> Result<()> {
    let subject = if detail.subject.trim().is_empty() { "(no subject)" } else { &detail.subject };
    let mut to: Vec<String> = detail.to.iter().map(|name| own(name)).collect();
    to.extend(detail.cc.iter().map(|name| format!("Cc: {}", own(name))));
    let mut how = vec![format!("{}, filed as {}", own(&entry.because), direction(entry.folder))];
    if let Some(gateway) = &detail.gateway {
        how.push(format!("through {}", own(gateway)));
    }
    how.push(html(&format!("at the gateway {}", time(Some(entry.received)))));
    if let Some(archived) = detail.archived {
        how.push(html(&format!("archived {}", time(Some(archived)))));
    }
    if entry.redacted {
        how.push("without its Bcc lines".into());
    }
    if entry.protected {
        how.push("the rights-protected message, as it was sent".into());
    }
    page.put(&format!(
        "<tr><td>{number}</td><td class=\"n\">{}</td><td>{}</td><td>{}</td><td>{}</td><td><a href=\"{}\">{}</a></td>\
         <td class=\"n\">{}</td><td><small>{}</small></td></tr>\n",
        html(&time(entry.date)),
        direction(entry.folder),
        own(&detail.from),
        to.join("<br>"),
        link(&entry.file),
        own(subject),
        html(&bytesize::ByteSize(entry.size).display().iec().to_string()),
        how.join("<br>"),
    ))
}

const COLUMNS: [&str; 17] = [
    "no",
    "date",
    "direction",
    "from",
    "to",
    "cc",
    "subject",
    "message_id",
    "size",
    "file",
    "sha256_exported",
    "sha256_original",
    "bcc_lines_left_out",
    "filed_because",
    "received_by_gateway",
    "archived",
    "gateway",
];

fn cells(number: u64, entry: &ManifestEntry, detail: &Detail) -> [String; 17] {
    let moment = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    [
        number.to_string(),
        moment(entry.date),
        direction(entry.folder).to_owned(),
        detail.from.clone(),
        detail.to.join("; "),
        detail.cc.join("; "),
        detail.subject.clone(),
        entry.message_id.clone().unwrap_or_default(),
        entry.size.to_string(),
        entry.file.clone(),
        entry.sha256_exported.to_string(),
        entry.sha256_original.to_string(),
        if entry.redacted { "yes" } else { "no" }.to_owned(),
        entry.because.clone(),
        entry.received.to_string(),
        moment(detail.archived),
        detail.gateway.clone().unwrap_or_default(),
    ]
}

/// A cell that no spreadsheet takes for a formula.
fn cell(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.trim_start().starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text }
}

/// With a mark that tells spreadsheets that it is UTF-8 at its beginning.
fn csv_row(page: &mut Page, cells: &[String], is_first: bool) -> Result<()> {
    if is_first {
        page.put("\u{feff}")?;
    }
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let failed = |error: io::Error| ArchiveError::new(ErrorKind::Failed, error.to_string());
    writer.write_record(cells.iter().map(|text| cell(text))).map_err(|error| failed(io::Error::other(error)))?;
    let line = writer.into_inner().map_err(|error| failed(io::Error::other(error.to_string())))?;
    page.out.write_all(&line).exported("write", &page.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_mail_is_text_and_nothing_else() {
        assert_eq!(
            html("<script>\"&'\u{202e}\x1b\n\u{200f}</td>"),
            "&lt;script&gt;&quot;&amp;&#39;\u{fffd}\u{fffd} \u{fffd}&lt;/td&gt;"
        );
        assert_eq!(link("%41nna/inbox/a b\"<ü>.eml"), "./%2541nna/inbox/a%20b%22%3C%C3%BC%3E.eml");
        assert_eq!(link("javascript:x"), "./javascript%3Ax");
        for (text, safe) in [
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            (" +1", "' +1"),
            ("\t@SUM(A1)", "' @SUM(A1)"),
            ("-1", "'-1"),
            ("a=b", "a=b"),
            ("a\r\nb", "a  b"),
        ] {
            assert_eq!(cell(text), safe);
        }
    }

    #[test]
    fn years_are_those_that_people_know() {
        assert_eq!(year(Some("2026-01-01T00:00:00Z".parse().unwrap())), "2026");
        assert_eq!(year(Some("9999-01-01T00:00:00Z".parse().unwrap())), "undated");
        assert_eq!(year(None), "undated");
    }
}
