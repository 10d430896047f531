//! Office files: Office Open XML (docx, xlsx, pptx) and OpenDocument (odt, ods, odp), and other zips, of which the names
//! of the entries are read.
//!
//! What a file is, its entries say, not its name. An entry is inflated as a stream and never held; what may be inflated
//! is bounded per entry and per file, whatever the directory says of sizes, and so are the number of entries and the
//! depth of elements. A zip within a zip is not opened. Entities are not expanded, nothing outside of the file is
//! looked at.

use std::io::{BufRead, BufReader, Cursor, Read};

use memchr::memmem;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;
use zip::result::ZipError;

use super::html;

const ENTRIES_MAX: usize = 10_000;
const ENTRY_BYTES_MAX: u64 = 32 * 1024 * 1024;
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const DEPTH_MAX: usize = 256;
/// Of the strings that the cells of a workbook share.
const STRINGS_MAX: usize = 1_000_000;

pub type Outcome = Result<(String, bool), &'static str>;

/// The words in a file, at most `text_max` bytes of them; whether there were more. What is inflated is taken from
/// `work_left`.
pub fn read(bytes: &[u8], text_max: usize, work_left: &mut u64) -> Outcome {
    if bytes.starts_with(b"\xd0\xcf\x11\xe0") {
        return Err("it is encrypted, or of an old format");
    }
    // The directory is read as a whole: not one of millions of entries. Each begins with these bytes.
    if memmem::find_iter(bytes, b"PK\x01\x02").nth(ENTRIES_MAX).is_some() {
        return Err("it has too many entries");
    }
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|_| "it is damaged")?;
    let names: Vec<String> = zip.file_names().map(|name| name.unwrap_or_default().into_owned()).collect();
    let has = |name: &str| names.iter().any(|found| found == name);
    let mut file =
        File { text: String::new(), text_max, left: FILE_BYTES_MAX.min(*work_left), spent: 0, is_cut: false };
    let done = if has("word/document.xml") {
        let others = ["word/header", "word/footer", "word/footnotes", "word/endnotes", "word/comments"];
        file.entries(&mut zip, &names, &["word/document.xml"], &mut Document::default())
            .and_then(|()| file.entries(&mut zip, &names, &others, &mut Document::default()))
    } else if has("ppt/presentation.xml") {
        let parts = ["ppt/slides/slide", "ppt/notesSlides/notesSlide", "ppt/comments/"];
        file.entries(&mut zip, &names, &parts, &mut Document::default())
    } else if has("xl/workbook.xml") {
        workbook(&mut file, &mut zip, &names)
    } else if has("content.xml") && has("mimetype") {
        open_document(&mut file, &mut zip, &names)
    } else {
        file.text = names.join("\n");
        file.is_cut = file.text.len() > text_max;
        file.text.truncate(file.text.floor_char_boundary(text_max));
        Ok(())
    };
    *work_left -= file.spent.min(*work_left);
    match done {
        // What was read before the damage, or the limit, is there.
        Err(_) if !file.text.trim().is_empty() => Ok((file.text, true)),
        Err(why) => Err(why),
        Ok(()) => Ok((file.text, file.is_cut)),
    }
}

fn workbook(file: &mut File, zip: &mut Zip<'_>, names: &[String]) -> Result<(), &'static str> {
    file.entries(zip, names, &["xl/workbook.xml"], &mut SheetNames)?;
    let mut strings = Strings { left: file.text_max, ..Strings::default() };
    // The strings are no text of the file before a cell shows them.
    file.entries(zip, names, &["xl/sharedStrings.xml"], &mut strings)?;
    file.is_cut |= strings.left == 0;
    let mut sheet = Sheet { strings: strings.all, ..Sheet::default() };
    file.entries(zip, names, &["xl/worksheets/sheet"], &mut sheet)?;
    file.entries(zip, names, &["xl/comments", "xl/threadedComments/", "xl/drawings/drawing"], &mut Document::default())
}

fn open_document(file: &mut File, zip: &mut Zip<'_>, names: &[String]) -> Result<(), &'static str> {
    if names.iter().any(|name| name == "META-INF/manifest.xml") {
        let mut manifest = Manifest::default();
        file.entries(zip, names, &["META-INF/manifest.xml"], &mut manifest)?;
        if manifest.is_encrypted {
            return Err("it is encrypted");
        }
    }
    // The styles hold what stands above and below every page.
    file.entries(zip, names, &["content.xml", "styles.xml"], &mut OpenText::default())
}

type Zip<'a> = ZipArchive<Cursor<&'a [u8]>>;

struct File {
    text: String,
    text_max: usize,
    /// What may be inflated yet, and what was.
    left: u64,
    spent: u64,
    is_cut: bool,
}

impl File {
    /// Reads the entries whose names begin with one of these and end in `.xml`, in the order in which people count.
    fn entries(
        &mut self,
        zip: &mut Zip<'_>,
        names: &[String],
        beginnings: &[&str],
        reader: &mut dyn Elements,
    ) -> Result<(), &'static str> {
        for beginning in beginnings {
            let mut found: Vec<(usize, &String)> = names
                .iter()
                .enumerate()
                .filter(|(_, name)| name.strip_prefix(beginning).is_some_and(|rest| !rest.contains('/')))
                .filter(|(_, name)| name.ends_with(".xml"))
                .collect();
            found.sort_by_key(|(_, name)| (number_in(name), *name));
            for (at, _) in found {
                if self.text.len() >= self.text_max {
                    self.is_cut = true;
                    return Ok(());
                }
                self.entry(zip, at, reader)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, zip: &mut Zip<'_>, at: usize, reader: &mut dyn Elements) -> Result<(), &'static str> {
        let entry = zip.by_index(at).map_err(|error| match error {
            ZipError::UnsupportedArchive(why) if why == ZipError::PASSWORD_REQUIRED => "it is encrypted",
            ZipError::UnsupportedArchive(_) => "it is compressed in a way that is not read",
            _ => "it is damaged",
        })?;
        let bytes_max = ENTRY_BYTES_MAX.min(self.left);
        let mut counted = Counted { inner: entry, left: bytes_max, is_over: false };
        let read =
            elements(&mut BufReader::with_capacity(16 * 1024, &mut counted), reader, &mut self.text, self.text_max);
        let used = bytes_max - counted.left;
        (self.left, self.spent) = (self.left - used, self.spent + used);
        if !self.text.is_empty() && !self.text.ends_with('\n') && self.text.len() < self.text_max {
            self.text.push('\n');
        }
        if counted.is_over {
            return Err("it inflates beyond the limit");
        }
        self.is_cut |= read?;
        Ok(())
    }
}

/// Numbers sort as numbers: slide 10 stands behind slide 9.
fn number_in(name: &str) -> u64 {
    let digits: String = name.chars().filter(char::is_ascii_digit).take(18).collect();
    digits.parse().unwrap_or(0)
}

/// Ends the stream at a limit, and says so.
struct Counted<R> {
    inner: R,
    left: u64,
    is_over: bool,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            // An entry that ends exactly here is no more than it may be.
            self.is_over = self.inner.read(&mut [0])? > 0;
            return Ok(0);
        }
        let len = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buffer[..len])?;
        self.left -= read as u64;
        Ok(read)
    }
}

/// What takes the words out of one kind of XML.
trait Elements {
    fn start(&mut self, name: &[u8], element: &BytesStart<'_>, out: &mut String);
    fn end(&mut self, name: &[u8], out: &mut String);
    fn text(&mut self, text: &str, out: &mut String);
}

/// Whether there was more than `text_max` of text.
fn elements(
    input: &mut dyn BufRead,
    reader: &mut dyn Elements,
    out: &mut String,
    text_max: usize,
) -> Result<bool, &'static str> {
    let mut xml = quick_xml::Reader::from_reader(input);
    let config = xml.config_mut();
    (config.check_end_names, config.allow_unmatched_ends, config.allow_dangling_amp) = (false, true, true);
    let mut buffer = Vec::new();
    let mut depth = 0usize;
    // Below an element that only repeats another for older programs.
    let mut silent_from = None;
    loop {
        if out.len() > text_max {
            out.truncate(out.floor_char_boundary(text_max));
            return Ok(true);
        }
        buffer.clear();
        let event = xml.read_event_into(&mut buffer).map_err(|_| "it is damaged")?;
        match event {
            Event::Start(element) => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err("its elements are nested too deep");
                }
                let name = element.local_name();
                if silent_from.is_none() && name.as_ref() == "Fallback" {
                    silent_from = Some(depth);
                }
                if silent_from.is_none() {
                    reader.start(name.as_ref().as_bytes(), &element, out);
                }
            }
            Event::Empty(element) if silent_from.is_none() => {
                let name = element.local_name();
                reader.start(name.as_ref().as_bytes(), &element, out);
                reader.end(name.as_ref().as_bytes(), out);
            }
            Event::End(element) => {
                if silent_from.is_none() {
                    reader.end(element.local_name().as_ref().as_bytes(), out);
                } else if silent_from == Some(depth) {
                    silent_from = None;
                }
                depth = depth.saturating_sub(1);
            }
            Event::Text(text) if silent_from.is_none() => reader.text(&text.xml10_content(), out),
            Event::CData(text) if silent_from.is_none() => reader.text(&text.xml10_content(), out),
            Event::GeneralRef(reference) if silent_from.is_none() => {
                let mut resolved = String::new();
                html::references_resolved(&format!("&{};", &*reference.into_inner()), &mut resolved);
                reader.text(&resolved, out);
            }
            Event::Eof => return Ok(false),
            _ => {}
        }
    }
}

fn attribute(element: &BytesStart<'_>, wanted: &str) -> Option<String> {
    let found = element.attributes().flatten().find(|one| one.key.local_name().as_ref() == wanted)?;
    let mut value = String::new();
    html::references_resolved(&found.value, &mut value);
    Some(value)
}

/// WordprocessingML and DrawingML: text stands in `t`, paragraphs are `p`.
#[derive(Default)]
struct Document {
    in_text: usize,
}

impl Elements for Document {
    fn start(&mut self, name: &[u8], element: &BytesStart<'_>, out: &mut String) {
        match name {
            // Deleted text that is still there is found, too.
            b"t" | b"delText" | b"text" => self.in_text += 1,
            b"tab" => out.push('\t'),
            b"br" | b"cr" => out.push('\n'),
            b"docPr" | b"cNvPr" => {
                if let Some(description) = attribute(element, "descr").filter(|text| !text.is_empty()) {
                    out.push_str(&description);
                    out.push('\n');
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, name: &[u8], out: &mut String) {
        match name {
            b"t" | b"delText" | b"text" => self.in_text = self.in_text.saturating_sub(1),
            b"p" | b"comment" | b"threadedComment" if !out.is_empty() && !out.ends_with('\n') => out.push('\n'),
            _ => {}
        }
    }

    fn text(&mut self, text: &str, out: &mut String) {
        if self.in_text > 0 {
            out.push_str(text);
        }
    }
}

struct SheetNames;

impl Elements for SheetNames {
    fn start(&mut self, name: &[u8], element: &BytesStart<'_>, out: &mut String) {
        if name == b"sheet"
            && let Some(name) = attribute(element, "name")
        {
            out.push_str(&name);
            out.push('\n');
        }
    }

    fn end(&mut self, _: &[u8], _: &mut String) {}

    fn text(&mut self, _: &str, _: &mut String) {}
}

#[derive(Default)]
struct Strings {
    all: Vec<String>,
    /// Of their bytes.
    left: usize,
    in_text: bool,
    /// How East Asian words are spoken, beside the words.
    in_phonetic: bool,
}

impl Elements for Strings {
    fn start(&mut self, name: &[u8], _: &BytesStart<'_>, _: &mut String) {
        match name {
            b"si" if self.all.len() < STRINGS_MAX => self.all.push(String::new()),
            b"si" => self.left = 0,
            b"t" => self.in_text = true,
            b"rPh" => self.in_phonetic = true,
            _ => {}
        }
    }

    fn end(&mut self, name: &[u8], _: &mut String) {
        match name {
            b"t" => self.in_text = false,
            b"rPh" => self.in_phonetic = false,
            _ => {}
        }
    }

    fn text(&mut self, text: &str, _: &mut String) {
        if let (true, false, Some(last)) = (self.in_text, self.in_phonetic, self.all.last_mut()) {
            let text = &text[..text.floor_char_boundary(self.left)];
            self.left -= text.len();
            last.push_str(text);
        }
    }
}

#[derive(Default)]
struct Sheet {
    strings: Vec<String>,
    is_shared: bool,
    in_value: bool,
    value: String,
}

impl Elements for Sheet {
    fn start(&mut self, name: &[u8], element: &BytesStart<'_>, _: &mut String) {
        match name {
            b"c" => {
                self.is_shared = attribute(element, "t").as_deref() == Some("s");
                self.value.clear();
            }
            b"v" | b"t" => self.in_value = true,
            _ => {}
        }
    }

    fn end(&mut self, name: &[u8], out: &mut String) {
        match name {
            b"v" | b"t" => self.in_value = false,
            b"c" => {
                let shared = self.is_shared.then(|| self.value.trim().parse::<usize>().ok()).flatten();
                let value = match shared {
                    Some(at) => self.strings.get(at).map_or("", String::as_str),
                    None => &self.value,
                };
                if !value.is_empty() {
                    out.push_str(value);
                    out.push('\t');
                }
            }
            b"row" if out.ends_with('\t') => {
                out.pop();
                out.push('\n');
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str, _: &mut String) {
        // The longest that a cell holds is 32,767 characters; several are in no cell.
        if self.in_value && self.value.len() < 256 * 1024 {
            self.value.push_str(text);
        }
    }
}

#[derive(Default)]
struct Manifest {
    is_encrypted: bool,
}

impl Elements for Manifest {
    fn start(&mut self, name: &[u8], _: &BytesStart<'_>, _: &mut String) {
        self.is_encrypted |= name == b"encryption-data";
    }

    fn end(&mut self, _: &[u8], _: &mut String) {}

    fn text(&mut self, _: &str, _: &mut String) {}
}

/// OpenDocument: text stands in paragraphs and headings, and what describes a picture.
#[derive(Default)]
struct OpenText {
    in_text: usize,
}

impl Elements for OpenText {
    fn start(&mut self, name: &[u8], element: &BytesStart<'_>, out: &mut String) {
        match name {
            b"p" | b"h" | b"desc" | b"title" => self.in_text += 1,
            b"s" | b"tab" if self.in_text > 0 => out.push(' '),
            b"line-break" => out.push('\n'),
            b"table" => {
                if let Some(name) = attribute(element, "name") {
                    out.push_str(&name);
                    out.push('\n');
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, name: &[u8], out: &mut String) {
        if matches!(name, b"p" | b"h" | b"desc" | b"title") {
            self.in_text = self.in_text.saturating_sub(1);
            if !out.is_empty() && !out.ends_with('\n') {
                out.push('\n');
            }
        }
    }

    fn text(&mut self, text: &str, out: &mut String) {
        if self.in_text > 0 {
            out.push_str(text);
        }
    }
}

#[cfg(test)]
#[path = "office_tests.rs"]
pub mod tests;
