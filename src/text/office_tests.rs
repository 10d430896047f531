use std::io::Write as _;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

pub fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn read_all(bytes: &[u8]) -> Outcome {
    read(bytes, 1 << 20, &mut (1 << 30))
}

fn text(entries: &[(&str, &[u8])]) -> String {
    let (text, is_cut) = read_all(&zipped(entries)).unwrap();
    assert!(!is_cut);
    text
}

pub fn docx() -> Vec<u8> {
    let document = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><w:document xmlns:w=\"x\" xmlns:mc=\"y\"><w:body><w:p><w:r><w:t>Ange</w:t></w:r>\
                    <w:r><w:t xml:space=\"preserve\">bot &amp; Prei</w:t></w:r><w:r><w:t>se &#8364;5</w:t></w:r></w:p><w:p><w:r><w:tab/><w:t>two</w:t><w:br/>\
                    <w:delText>gone</w:delText></w:r></w:p><wp:docPr descr=\"a &quot;logo&quot;\"/><mc:AlternateContent><mc:Choice><w:t>box</w:t></mc:Choice>\
                    <mc:Fallback><w:p><w:t>box again</w:t></w:p></mc:Fallback></mc:AlternateContent><w:instrText>PAGE</w:instrText></w:body></w:document>";
    zipped(&[
        ("[Content_Types].xml", b"<Types/>"),
        ("word/header1.xml", "<w:hdr><w:p><w:t>Köpf</w:t></w:p></w:hdr>".as_bytes()),
        ("word/document.xml", document.as_bytes()),
        ("word/comments.xml", b"<w:comments><w:p><w:t>remark</w:t></w:p></w:comments>"),
        ("word/media/image1.png", b"<w:t>no</w:t>"),
    ])
}

#[test]
fn documents() {
    let (text, is_cut) = read_all(&docx()).unwrap();
    assert_eq!(text, "Angebot & Preise €5\n\ttwo\ngone\na \"logo\"\nbox\nKöpf\nremark\n");
    assert!(!is_cut);
}

#[test]
fn presentations_in_the_order_of_their_slides() {
    let slide = |text: &str| format!("<p:sld><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:sld>").into_bytes();
    let seen = text(&[
        ("ppt/presentation.xml", b"<x/>"),
        ("ppt/slides/slide10.xml", &slide("ten")),
        ("ppt/slides/slide2.xml", &slide("two")),
        ("ppt/slides/_rels/slide2.xml.rels", b"<x/>"),
        ("ppt/notesSlides/notesSlide1.xml", &slide("note")),
    ]);
    assert_eq!(seen, "two\nten\nnote\n");
}

#[test]
fn workbooks() {
    let seen = text(&[
        ("xl/workbook.xml", "<workbook><sheets><sheet name=\"Übersicht\" r:id=\"1\"/></sheets></workbook>".as_bytes()),
        (
            "xl/sharedStrings.xml",
            "<sst><si><t>Name</t></si><si><r><t>Zäh</t></r><r><t>ler</t></r><rPh><t>spoken</t></rPh></si></sst>".as_bytes(),
        ),
        (
            "xl/worksheets/sheet1.xml",
            b"<worksheet><sheetData><row><c t=\"s\"><v>0</v></c><c t=\"s\"><v>1</v></c></row><row><c><f>SUM(A)</f><v>42.5</v></c>\
              <c t=\"inlineStr\"><is><t>in</t><t>line</t></is></c><c t=\"str\"><v>formula</v></c><c t=\"s\"><v>99</v></c></row></sheetData></worksheet>",
        ),
        ("xl/comments1.xml", b"<comments><comment><text><r><t>noted</t></r></text></comment></comments>"),
    ]);
    assert_eq!(seen, "Übersicht\nName\tZähler\n42.5\tinline\tformula\nnoted\n");
}

#[test]
fn open_documents() {
    let content = "<office:document-content><text:h>Titel</text:h><text:p>ein<text:s text:c=\"2\"/><text:span>wort</text:span><text:line-break/>x</text:p>\
                   <table:table table:name=\"Blatt\"><text:p>12,5</text:p></table:table><svg:desc>picture</svg:desc><office:binary-data>AAAA</office:binary-data>\
                   </office:document-content>";
    let seen = text(&[
        ("mimetype", b"application/vnd.oasis.opendocument.text"),
        ("content.xml", content.as_bytes()),
        ("styles.xml", b"<style:footer><text:p>page</text:p></style:footer>"),
        ("META-INF/manifest.xml", b"<manifest:manifest/>"),
    ]);
    assert_eq!(seen, "Titel\nein wort\nx\nBlatt\n12,5\npicture\npage\n");
    let locked = zipped(&[
        ("mimetype", b"x"),
        ("content.xml", b"\x93\x12garbage"),
        ("META-INF/manifest.xml", b"<m:manifest><m:file-entry><m:encryption-data/></m:file-entry></m:manifest>"),
    ]);
    assert_eq!(read_all(&locked), Err("it is encrypted"));
}

#[test]
fn other_zips_give_the_names_of_their_entries() {
    assert_eq!(text(&[("plans/secret plan.pdf", b"x"), ("../../evil", b"y")]), "plans/secret plan.pdf\n../../evil");
    // A zip within is not opened, were it a document.
    assert_eq!(text(&[("a.docx", &docx())]), "a.docx");
}

#[test]
fn what_is_no_zip_is_told() {
    assert_eq!(read_all(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), Err("it is encrypted, or of an old format"));
    for bytes in [&b""[..], b"PK", b"PK\x05\x06", b"no zip"] {
        assert_eq!(read_all(bytes), Err("it is damaged"));
    }
    let whole = docx();
    for len in 0..whole.len() {
        let _ = read_all(&whole[..len]);
    }
}

fn options(level: i64) -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).compression_level(Some(level))
}

/// An entry of `count` times `piece` between a start and an end.
fn bomb(name: &str, start: &str, piece: &str, count: usize, end: &str) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(name, options(1)).unwrap();
    zip.write_all(start.as_bytes()).unwrap();
    let block = piece.repeat(4096);
    for _ in 0..count / 4096 {
        zip.write_all(block.as_bytes()).unwrap();
    }
    zip.write_all(end.as_bytes()).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn bombs_are_stopped_at_the_limits() {
    let blanks = bomb(
        "word/document.xml",
        "<w:document>",
        "<w:p/>                                                                  ",
        1 << 19,
        "</w:document>",
    );
    assert!(blanks.len() < 1 << 20);
    let mut work = 1 << 30;
    assert_eq!(read(&blanks, 1 << 20, &mut work), Err("it inflates beyond the limit"));
    assert!((1 << 30) - work <= ENTRY_BYTES_MAX);
    // Little work is left for the mail: less is done.
    let mut work = 100_000;
    assert_eq!(read(&blanks, 1 << 20, &mut work), Err("it inflates beyond the limit"));
    assert_eq!(work, 0);

    let words = bomb(
        "word/document.xml",
        "<w:document><w:t>found ",
        "word word word word word word word word word word word word word word ",
        1 << 19,
        "</w:t></w:document>",
    );
    let (text, is_cut) = read(&words, 1 << 20, &mut (1 << 30)).unwrap();
    assert!(text.starts_with("found word ") && text.len() <= 1 << 20 && is_cut);

    let deep = bomb("word/document.xml", "", "<a>", 1 << 20, "");
    assert_eq!(read_all(&deep), Err("its elements are nested too deep"));
    // Entities are not expanded.
    let laughs = "<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]><w:document><w:t>x&b;</w:t></w:document>";
    let (text, _) = read_all(&zipped(&[("word/document.xml", laughs.as_bytes())])).unwrap();
    assert_eq!(text, "x&b;\n");
    let one_string = "<sst><si><t>".to_owned() + &"long ".repeat(1000) + "</t></si></sst>";
    let cells = format!("<sheetData>{}</sheetData>", "<c t=\"s\"><v>0</v></c>".repeat(100_000));
    let multiplied = zipped(&[
        ("xl/workbook.xml", b"<x/>"),
        ("xl/sharedStrings.xml", one_string.as_bytes()),
        ("xl/worksheets/sheet1.xml", cells.as_bytes()),
    ]);
    let (text, is_cut) = read_all(&multiplied).unwrap();
    assert!(text.len() <= 1 << 20 && is_cut);
}

#[test]
fn many_entries_overlapping_ones_and_lying_sizes() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for n in 0..=ENTRIES_MAX {
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        zip.start_file(n.to_string(), stored).unwrap();
    }
    assert_eq!(read_all(&zip.finish().unwrap().into_inner()), Err("it has too many entries"));

    // Many slides that are the same bytes of the file: each name of the directory points to the first.
    let block = bomb(
        "ppt/slides/slide1.xml",
        "<a:t>w</a:t>",
        "<a:p/>                                                  ",
        1 << 19,
        "",
    );
    let directory_at = memmem::find(&block, b"PK\x01\x02").unwrap();
    let end_at = memmem::rfind(&block, b"PK\x05\x06").unwrap();
    let entry = &block[directory_at..end_at];
    let mut overlapping = block[..directory_at].to_vec();
    let mut entries = 0u16;
    for name in (0..1000).map(|n| format!("ppt/slides/slid{n:04}.xml")).chain(["ppt/presentation.xml".to_owned()]) {
        let mut one = entry.to_vec();
        one.truncate(46);
        one[28..30].copy_from_slice(&(name.len() as u16).to_le_bytes());
        one[30..32].copy_from_slice(&[0, 0]);
        overlapping.extend_from_slice(&one);
        overlapping.extend_from_slice(name.as_bytes());
        entries += 1;
    }
    let mut end = block[end_at..].to_vec();
    let size = (overlapping.len() - directory_at) as u32;
    end[8..10].copy_from_slice(&entries.to_le_bytes());
    end[10..12].copy_from_slice(&entries.to_le_bytes());
    end[12..16].copy_from_slice(&size.to_le_bytes());
    overlapping.extend_from_slice(&end);
    let renamed = String::from_utf8_lossy(&overlapping).contains("ppt/slides/slid0999.xml");
    assert!(renamed);
    let mut work = 1 << 30;
    let _ = read(&overlapping, 1 << 20, &mut work);
    assert!((1 << 30) - work <= FILE_BYTES_MAX, "{work}");

    // Sizes in the directory that lie, in both directions.
    let whole = docx();
    let at = memmem::find_iter(&whole, b"PK\x01\x02").nth(2).unwrap();
    for lie in [0u32, 1, u32::MAX - 1] {
        for field in [20, 24] {
            let mut bytes = whole.clone();
            bytes[at + field..at + field + 4].copy_from_slice(&lie.to_le_bytes());
            let _ = read_all(&bytes);
        }
    }
    // A directory that says that it is longer, or elsewhere.
    let end_at = memmem::rfind(&whole, b"PK\x05\x06").unwrap();
    for at in end_at..whole.len() - 2 {
        for lie in [[0u8, 0], [0xff, 0xff]] {
            let mut bytes = whole.clone();
            bytes[at..at + 2].copy_from_slice(&lie);
            let _ = read_all(&bytes);
        }
    }
}

#[test]
fn a_zip_that_holds_itself_is_not_entered() {
    let mut zip = docx();
    for _ in 0..50 {
        zip = zipped(&[("word/document.xml", &zip), ("word/inner.docx", &zip)]);
        if zip.len() > 1 << 20 {
            break;
        }
    }
    let _ = read_all(&zip);
}

#[test]
fn encrypted_entries() {
    let mut bytes = docx();
    // The bit that says so, in all headers.
    for (signature, flags) in [(&b"PK\x03\x04"[..], 6), (b"PK\x01\x02", 8)] {
        let at: Vec<usize> = memmem::find_iter(&bytes, signature).collect();
        for at in at {
            bytes[at + flags] |= 1;
        }
    }
    assert_eq!(read_all(&bytes), Err("it is encrypted"));
}
