//! PDFs read by the program in a process of its own: what they say is found, and whatever they are, nothing hangs,
//! nothing is left behind, and the mail around them is read.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use gatepost::text::{Content, Limits, Options, Reading, content};

/// A file of these objects, from number 1; the first is the catalogue.
fn pdf(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut out = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let mut offsets = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        offsets.push(out.len());
        out.extend_from_slice(format!("{} 0 obj\n", at + 1).as_bytes());
        out.extend_from_slice(object);
        out.extend_from_slice(b"\nendobj\n");
    }
    let xref = out.len();
    out.extend_from_slice(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).as_bytes());
    for offset in offsets {
        out.extend_from_slice(format!("{offset:010} 00000 n \n").as_bytes());
    }
    let size = objects.len() + 1;
    out.extend_from_slice(format!("trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{xref}\n%%EOF\n").as_bytes());
    out
}

fn stream(dictionary: &str, bytes: &[u8]) -> Vec<u8> {
    [format!("<< {dictionary} /Length {} >>\nstream\n", bytes.len()).as_bytes(), bytes, b"\nendstream"].concat()
}

const FONT: &str = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>";

fn page(contents: usize) -> Vec<u8> {
    format!(
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {contents} 0 R \
         /Resources << /Font << /F1 3 0 R >> >> >>"
    )
    .into_bytes()
}

/// One page for each text.
fn pages(texts: &[String]) -> Vec<u8> {
    let kids: String = (0..texts.len()).map(|n| format!("{} 0 R ", 4 + 2 * n)).collect();
    let mut objects = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        format!("<< /Type /Pages /Kids [{kids}] /Count {} >>", texts.len()).into_bytes(),
        FONT.into(),
    ];
    for (n, text) in texts.iter().enumerate() {
        objects.push(page(5 + 2 * n));
        objects.push(stream("", format!("BT /F1 12 Tf 72 700 Td ({text}) Tj ET").as_bytes()));
    }
    pdf(&objects)
}

/// Zlib around what the zip writer deflates: `megabytes` of one line.
fn deflated(megabytes: usize, line: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_level(Some(1)).large_file(false);
    zip.start_file("x", options).unwrap();
    let block = line.repeat((1 << 20) / line.len());
    let (mut a, mut b) = (1u32, 0u32);
    for _ in 0..megabytes {
        zip.write_all(&block).unwrap();
        for piece in block.chunks(5000) {
            for byte in piece {
                a += u32::from(*byte);
                b += a;
            }
            (a, b) = (a % 65521, b % 65521);
        }
    }
    let bytes = zip.finish().unwrap().into_inner();
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(&bytes)).unwrap();
    let (start, len) = {
        let entry = archive.by_index(0).unwrap();
        (entry.data_start().unwrap() as usize, entry.compressed_size() as usize)
    };
    [&[0x78, 0x01], &bytes[start..start + len], &(b << 16 | a).to_be_bytes()[..]].concat()
}

fn mail(pdfs: &[&[u8]]) -> Vec<u8> {
    let mut text = "Subject: found all the same\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n".to_owned();
    for pdf in pdfs {
        text.push_str("--m\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n");
        text.push_str(&BASE64_STANDARD.encode(pdf));
        text.push_str("\r\n");
    }
    (text + "--m--\r\n").into_bytes()
}

fn read_by(program: &Path, limits: Limits, pdfs: &[&[u8]]) -> Content {
    let options = Options { limits, attachments: true, pdf: Some(program.to_owned()) };
    let content = content(&mail(pdfs), &options).unwrap();
    assert_eq!(content.subject, "found all the same");
    content
}

fn gatepost() -> PathBuf {
    env!("CARGO_BIN_EXE_gatepost").into()
}

fn read(pdf: &[u8]) -> (Reading, bool) {
    let content = read_by(&gatepost(), Limits::default(), &[pdf]);
    (content.attachments[0].text.clone(), content.is_cut)
}

fn words(pdf: &[u8]) -> String {
    match read(pdf) {
        (Reading::Text(text), _) => text,
        (other, _) => panic!("{other:?}"),
    }
}

#[test]
fn the_words_of_a_pdf_are_found() {
    let file = pages(&["Quarterly figures and an o\\336er".into(), "page \\(two\\)".into(), "\\304rger".into()]);
    let (reading, is_cut) = read(&file);
    let Reading::Text(text) = reading else { panic!("{reading:?}") };
    assert!(text.contains("Quarterly figures") && text.contains("page (two)") && text.contains("Ärger"), "{text}");
    assert!(!is_cut);
    let compressed = deflated(1, b"BT /F1 12 Tf 72 700 Td (squeezed) Tj ET\n");
    let catalogue = b"<< /Type /Catalog /Pages 2 0 R >>".to_vec();
    let tree = b"<< /Type /Pages /Kids [4 0 R] /Count 1 >>".to_vec();
    let file = pdf(&[catalogue, tree, FONT.into(), page(5), stream("/Filter /FlateDecode", &compressed)]);
    assert!(words(&file).contains("squeezed"));
    let without = Options { attachments: true, ..Options::default() };
    assert_eq!(content(&mail(&[&file]), &without).unwrap().attachments[0].text, Reading::None);
}

#[test]
fn ten_thousand_pages_are_read_as_far_as_it_goes() {
    let texts: Vec<String> = (1..=10_000).map(|n| format!("page number {n} of many")).collect();
    let file = pages(&texts);
    let text = words(&file);
    assert!(text.starts_with("page number 1 of many") && text.contains("page number 500 of many"));
    let limits = Limits { text_bytes: 10_000, ..Limits::default() };
    let content = read_by(&gatepost(), limits, &[&file]);
    let Reading::Text(text) = &content.attachments[0].text else { panic!() };
    assert!(content.is_cut && text.len() <= 10_000 && text.contains("page number 100 "), "{}", text.len());
}

#[test]
fn a_page_that_cannot_be_read_is_passed_over() {
    let mut objects = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [4 0 R 6 0 R 8 0 R 10 0 R] /Count 4 >>".to_vec(),
        FONT.into(),
    ];
    for content in ["(first) Tj", "42 Tj", "/Nowhere 12 Tf (third) Tj", "(fourth) Tj"] {
        objects.push(page(objects.len() + 2));
        objects.push(stream("", format!("BT /F1 12 Tf 72 700 Td {content} ET").as_bytes()));
    }
    // A page without a size.
    objects[5] = b"<< /Type /Page /Parent 2 0 R /Contents 7 0 R >>".to_vec();
    let (reading, is_cut) = read(&pdf(&objects));
    let Reading::Text(text) = reading else { panic!("{reading:?}") };
    assert!(text.contains("first") && text.contains("fourth") && is_cut, "{text}");
}

#[test]
fn hostile_pdfs_harm_nothing() {
    let catalogue = || b"<< /Type /Catalog /Pages 2 0 R >>".to_vec();
    let tree = |kids: &str| format!("<< /Type /Pages /Kids [{kids}] /Count 1 >>").into_bytes();
    let one_page = |last: Vec<u8>| pdf(&[catalogue(), tree("4 0 R"), FONT.into(), page(5), last]);
    let bomb = deflated(300, b"0 0 0 0 re\n");
    let nested = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let no_end = "BT /F1 12 Tf (x) Tj ".repeat(200_000);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("no pdf", b"%PDF-1.7\nthis is none".to_vec()),
        ("recursive tree", pdf(&[catalogue(), tree("2 0 R 2 0 R 2 0 R")])),
        ("two trees", pdf(&[catalogue(), tree("3 0 R 3 0 R"), tree("2 0 R 2 0 R")])),
        ("a length that lies", one_page(b"<< /Length 999999999 >>\nstream\nx\nendstream".to_vec())),
        ("contents of itself", one_page(b"5 0 R".to_vec())),
        ("bomb", one_page(stream("/Filter /FlateDecode", &bomb))),
        ("nested arrays", one_page(nested.clone().into_bytes())),
        ("nested operands", one_page(stream("", nested.as_bytes()))),
        ("many operations", one_page(stream("", no_end.as_bytes()))),
        ("form within itself", {
            let form = "/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 6 0 R >> >>";
            let page = page(5).to_vec();
            let page = String::from_utf8(page).unwrap().replace("/Font <<", "/XObject << /X 6 0 R >> /Font <<");
            pdf(&[catalogue(), tree("4 0 R"), FONT.into(), page.into(), stream("", b"/X Do"), stream(form, b"/X Do")])
        }),
        ("encrypted", {
            let file = pages(&["secret".into()]);
            let text = String::from_utf8_lossy(&file)
                .replace("/Root 1 0 R", "/Root 1 0 R /Encrypt << /Filter /Standard /V 9 >>");
            text.into_bytes()
        }),
    ];
    for (name, file) in &cases {
        let start = Instant::now();
        let (reading, _) = read(file);
        // Its own limit on processor time is 10 s; other tests run beside this one.
        assert!(start.elapsed() < Duration::from_secs(40), "{name}");
        match *name {
            "many operations" | "form within itself" => {}
            _ => assert!(!matches!(&reading, Reading::Text(text) if text.contains("secret")), "{name}: {reading:?}"),
        }
        if matches!(*name, "nothing" | "no pdf" | "bomb" | "encrypted") {
            assert!(matches!(reading, Reading::Failed(_)), "{name}: {reading:?}");
        }
    }
    // One that fails takes nothing from the next one.
    let good = pages(&["good one".into()]);
    let content = read_by(&gatepost(), Limits::default(), &[b"no pdf", &good]);
    assert!(matches!(&content.attachments[1].text, Reading::Text(text) if text.contains("good one")));
}

#[cfg(target_os = "linux")]
mod programs {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    fn open_files() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    fn children() -> String {
        let id = std::process::id();
        let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
        tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default()).collect()
    }

    #[test]
    fn whatever_the_program_does_it_is_ended_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let soon = || Limits { pdf_time: Duration::from_secs(1), ..Limits::default() };
        // More than a pipe holds.
        let big = vec![b'x'; 1 << 20];
        let before = open_files();
        let failed = |content: &Content| match &content.attachments[0].text {
            Reading::Failed(why) => *why,
            other => panic!("{other:?}"),
        };
        let hangs = script(folder.path(), "hangs", "sleep 1000 & exec sleep 1000");
        let content = read_by(&hangs, soon(), &[&big, &big]);
        assert_eq!(failed(&content), "it took too long");
        assert_eq!(content.attachments[1].text, Reading::Failed("the PDFs of this mail took too long"));
        let closes = script(folder.path(), "closes", "exec >&- 2>&-; exec sleep 1000");
        assert_eq!(failed(&read_by(&closes, soon(), &[&big])), "it took too long");
        let dies = script(folder.path(), "dies", "kill -9 $$");
        assert_eq!(failed(&read_by(&dies, soon(), &[&big])), "it used up memory or time, or was not understood");
        let nowhere = folder.path().join("nowhere");
        assert_eq!(failed(&read_by(&nowhere, soon(), &[&big])), "it could not be read here");
        let kept = script(folder.path(), "kept", "echo 'first page'; kill -9 $$");
        let content = read_by(&kept, Limits::default(), &[&big]);
        assert!(content.is_cut && content.attachments[0].text == Reading::Text("first page".into()));
        let endless = script(folder.path(), "endless", "exec yes word");
        let content = read_by(&endless, Limits { text_bytes: 100_000, ..Limits::default() }, &[&big]);
        assert!(matches!(&content.attachments[0].text, Reading::Text(text) if text.len() > 99_000) && content.is_cut);
        let told = script(folder.path(), "told", "env; echo \"$1\"; cat >/dev/null");
        let Reading::Text(text) = &read_by(&told, Limits::default(), &[&big]).attachments[0].text else { panic!() };
        assert!(text.ends_with("extract-pdf") && !text.contains("CARGO") && !text.contains("HOME="), "{text}");
        assert_eq!(children(), "", "a process is left");
        assert_eq!(open_files(), before, "a file is left open");
    }

    /// The limits that it sets itself, seen from within.
    #[test]
    fn the_program_gives_up_what_it_does_not_need() {
        let mut child = std::process::Command::new(gatepost())
            .arg("extract-pdf")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let path = format!("/proc/{}/limits", child.id());
        let start = Instant::now();
        let limits = loop {
            let limits = std::fs::read_to_string(&path).unwrap();
            let address_space = limits.lines().find(|line| line.starts_with("Max address space")).unwrap_or_default();
            let processes = limits.lines().find(|line| line.starts_with("Max processes")).unwrap_or_default();
            if address_space.contains("536870912") && processes.split_whitespace().nth(2) == Some("0") {
                break limits;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{limits}");
            std::thread::yield_now();
        };
        for (name, most) in [("Max cpu time", "10"), ("Max core file size", "0"), ("Max open files", "3")] {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            assert_eq!(line[name.len()..].split_whitespace().next(), Some(most), "{line}");
        }
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(22), "nothing is no PDF");
    }
}
