use std::fs::File;
use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::base::bytes::SpoolFile;

fn read_all(mail: &[u8]) -> Content {
    content(&mail.to_vec(), &Options { attachments: true, ..Options::default() }).unwrap()
}

fn of(text: &str) -> Content {
    read_all(text.replace('\n', "\r\n").as_bytes())
}

fn multipart(kind: &str, boundary: &str, parts: &[&str]) -> String {
    let parts: String = parts.iter().map(|part| format!("--{boundary}\n{part}\n")).collect();
    format!("Content-Type: multipart/{kind}; boundary={boundary}\n\n{parts}--{boundary}--\n")
}

fn attached(kind: &str, name: &str, bytes: &[u8]) -> String {
    let data: Vec<String> =
        BASE64_STANDARD.encode(bytes).as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line).into()).collect();
    format!(
        "Content-Type: {kind}\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"{name}\"\n\n{}",
        data.join("\n")
    )
}

fn saved(mail: &dyn ByteSource, number: u32) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    write_attachment(mail, number, &mut out).unwrap().then_some(out)
}

const HEADER: &str = "From: =?utf-8?q?J=C3=B6rg?= <joerg@corp.example>\nSender: desk@corp.example\nTo: b@corp.example\nCc: c@corp.example\n\
                      Resent-To: d@corp.example\nBcc: e@corp.example\nReply-To: f@corp.example\nSubject: =?utf-8?q?Z=C3=A4hler?=\n";

#[test]
fn the_words_of_the_header() {
    let content = of(&format!("{HEADER}\ntext\n"));
    assert_eq!(content.subject, "Zähler");
    assert_eq!(content.from, ["Jörg <joerg@corp.example>", "desk@corp.example"]);
    assert_eq!(content.to, ["b@corp.example", "d@corp.example"]);
    assert_eq!((content.cc[0].as_str(), content.bcc[0].as_str()), ("c@corp.example", "e@corp.example"));
    assert_eq!(content.reply_to, ["f@corp.example"]);
    assert_eq!(content.body, "text\n");
    let many: String = (0..20_000).map(|n| format!("a{n}@corp.example, ")).collect();
    let many = format!("To: {many}\n\n");
    let content = of(&many);
    assert!(content.to.len() == NAMES_MAX && content.is_cut);
}

#[test]
fn charsets_encodings_and_flowed_text() {
    for (header, body, text) in [
        ("text/plain; charset=iso-8859-1", &b"Gr\xfc\xdfe"[..], "Grüße\n"),
        ("text/plain; charset=shift_jis", b"\x93\xfa\x96{", "日本\n"),
        ("text/plain; charset=no-such", "Grüße".as_bytes(), "Grüße\n"),
        ("text/plain; charset=utf-8", b"broken \xff\xfe end", "broken \u{fffd}\u{fffd} end\n"),
        ("text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable", b"soft=\r\n=C3=A4", "softä\n"),
        ("text/plain; format=flowed; delsp=yes", b"one \r\nword\r\n", "oneword\n"),
        ("text/html", b"<meta charset=koi8-r><p>\xf0\xd2\xc9", "При\n"),
        ("text/html; charset=utf-8", b"<p>a<p>b", "a\n\nb\n"),
    ] {
        let mail = [b"Content-Type: ", header.as_bytes(), b"\r\n\r\n", body].concat();
        assert_eq!(read_all(&mail).body, text, "{header}");
    }
    assert_eq!(read_all(b"").body, "");
    assert_eq!(read_all(b"just text").body, "");
}

#[test]
fn alternatives_related_and_mixed() {
    let html = "Content-Type: text/html\n\n<p>hello <img src=\"cid:pic@x\" alt=logo> there";
    let picture = "Content-Type: image/png; name=pic.png\nContent-ID: <pic@x>\nContent-Disposition: attachment; filename=pic.png\n\nPNG";
    let related = multipart("related", "r", &[html, picture]);
    let alternative = multipart("alternative", "a", &["Content-Type: text/plain\n\nhello there", &related]);
    let mail = multipart("mixed", "m", &[&alternative, &attached("text/csv", "t.csv", b"eins;zwei"), "\nfooter"]);
    let content = of(&format!("{HEADER}{mail}"));
    assert_eq!(content.body, "hello logo there\n\nfooter\n");
    let [pic, csv] = &content.attachments[..] else { panic!("{:?}", content.attachments) };
    assert!(pic.is_inline && pic.number == 1 && pic.name == "pic.png" && pic.size == 3 && pic.text == Reading::None);
    assert!(!csv.is_inline && csv.number == 2 && csv.size == 9 && csv.text == Reading::Text("eins;zwei".into()));
    let plain_only =
        multipart("alternative", "a", &["\nthe same words", "Content-Type: text/html\n\n<b>the</b> same words"]);
    assert_eq!(of(&plain_only).body, "the same words\n");
}

#[test]
fn attached_messages() {
    let inner = format!(
        "{HEADER}{}",
        multipart("mixed", "i", &["\ninner text", &attached("text/plain", "i.txt", b"inner file")])
    );
    let mail = multipart("mixed", "m", &["\nouter text", &format!("Content-Type: message/rfc822\n\n{inner}")]);
    let mail = mail.replace('\n', "\r\n").into_bytes();
    let content = read_all(&mail);
    assert_eq!(
        content.body,
        "outer text\n\nSubject: Zähler\nFrom: Jörg <joerg@corp.example>, desk@corp.example\nTo: b@corp.example, d@corp.example\nCc: c@corp.example\n\ninner text\n"
    );
    assert!(!content.body.contains("e@corp.example"), "Bcc");
    let [message, file] = &content.attachments[..] else { panic!("{:?}", content.attachments) };
    assert_eq!((message.name.as_str(), message.kind.as_str()), ("Zähler.eml", "message/rfc822"));
    assert_eq!(file.text, Reading::Text("inner file".into()));
    let eml = saved(&mail, 1).unwrap();
    assert_eq!(eml, inner.replace('\n', "\r\n").into_bytes());
    assert_eq!(eml.len() as u64, message.size);
    assert_eq!(saved(&mail, 2).unwrap(), b"inner file");
    assert!(saved(&mail, 3).is_none() && saved(&mail, 0).is_none());

    // The same as a file.
    let content = of(&attached("application/octet-stream", "forwarded.eml", &eml));
    let Reading::Text(text) = &content.attachments[0].text else { panic!("{content:?}") };
    assert!(text.contains("Subject: Zähler") && text.contains("inner text") && text.ends_with("i.txt\ninner file"));
    assert!(!text.contains("e@corp.example"));
}

#[test]
fn mails_in_mails_end_at_a_depth() {
    let mut mail = b"Subject: innermost\r\n\r\nx".to_vec();
    for _ in 0..10 {
        mail = attached("message/rfc822", "a.eml", &mail).replace('\n', "\r\n").into_bytes();
    }
    let Reading::Text(text) = &read_all(&mail).attachments[0].text else { panic!() };
    assert!(!text.contains("innermost"));
    let deep = "Content-Type: message/rfc822\n\n".repeat(5000) + "Subject: x\n\ninnermost";
    let content = of(&deep);
    assert!(content.is_cut && content.attachments.len() <= 65);
}

#[test]
fn tnef_in_its_place() {
    let tnef = tnef::tests::sample();
    let mail = multipart(
        "mixed",
        "m",
        &[
            "\nThe plän of the\nquarter",
            &attached("application/ms-tnef", "winmail.dat", &tnef),
            &attached("text/plain", "after.txt", b"after"),
        ],
    );
    let mail = mail.replace('\n', "\r\n").into_bytes();
    let content = read_all(&mail);
    assert_eq!(content.body, "The plän of the\nquarter\n", "what is there already is not doubled");
    let names: Vec<_> = content.attachments.iter().map(|one| (one.number, one.name.as_str(), one.size)).collect();
    assert_eq!(names[0], (1, "winmail.dat", tnef.len() as u64));
    assert_eq!(names[1], (2, "Report €.txt", 11));
    assert_eq!((names[3].1, names[5]), ("deep.txt", (6, "after.txt", 5)));
    assert_eq!(content.attachments[1].text, Reading::Text("report data".into()));
    assert_eq!(content.attachments[2].text, Reading::Text("Inner\n\ninner words".into()));
    assert!(content.attachments[0].is_inline && !content.attachments[1].is_inline);
    for one in &content.attachments {
        assert_eq!(saved(&mail, one.number).unwrap().len() as u64, one.size, "{}", one.name);
    }
    assert_eq!(saved(&mail, 2).unwrap(), b"report data");
    let without = content_without_attachments(&mail);
    assert_eq!(without.attachments.len(), content.attachments.len());
    assert!(without.attachments.iter().all(|one| one.text == Reading::None));
    let alone = of(&attached("application/octet-stream", "WINMAIL.DAT", &tnef));
    assert_eq!(alone.body.trim_end(), "The plän of the quarter");
    let broken = of(&attached("application/ms-tnef", "winmail.dat", b"no tnef"));
    assert_eq!(broken.attachments[0].text, Reading::Failed("it is damaged"));
}

fn content_without_attachments(mail: &[u8]) -> Content {
    content(&mail.to_vec(), &Options::default()).unwrap()
}

#[test]
fn office_files_and_texts() {
    for (kind, name, bytes, found) in [
        ("application/octet-stream", "a.docx", office::tests::docx(), "Angebot & Preise"),
        ("application/zip", "a.zip", office::tests::zipped(&[("inside.pdf", b"x")]), "inside.pdf"),
        ("text/html", "a.html", b"<p>words &euro;".to_vec(), "words €"),
        ("text/calendar", "a.ics", b"SUMMARY:Tag\r\n ung".to_vec(), "SUMMARY:Tagung"),
        ("application/json", "a.json", b"{\"a\": \"b\"}".to_vec(), "\"a\""),
        ("application/rtf", "a.rtf", b"{\\rtf1 rich}".to_vec(), "rich"),
        ("text/plain; charset=utf-16le", "a.txt", b"a\0b\0".to_vec(), "ab"),
    ] {
        let content = of(&attached(kind, name, &bytes));
        let Reading::Text(text) = &content.attachments[0].text else { panic!("{name}: {content:?}") };
        assert!(text.contains(found), "{name}: {text}");
        assert_eq!(content.attachments[0].size, bytes.len() as u64);
    }
    for (kind, name, reading) in [
        ("text/plain", "a.txt", Reading::Failed("it is no text")),
        ("application/octet-stream", "a.xlsx", Reading::Failed("it is damaged")),
        ("application/pdf", "a.pdf", Reading::None),
        ("image/jpeg", "a.jpg", Reading::None),
    ] {
        assert_eq!(of(&attached(kind, name, &[0, 1, 2, 3, 4, 5])).attachments[0].text, reading, "{name}");
    }
}

#[test]
fn budgets_hold_for_the_whole_mail() {
    let one = attached("text/plain", "a.txt", &b"words ".repeat(1000));
    let parts: Vec<&str> = std::iter::repeat_n(one.as_str(), 20).collect();
    let mail = multipart("mixed", "m", &parts).replace('\n', "\r\n").into_bytes();
    let read = |limits: Limits| content(&mail, &Options { limits, attachments: true, pdf: None }).unwrap();
    let texts = |content: &Content| -> Vec<usize> {
        let len = |one: &Attachment| if let Reading::Text(text) = &one.text { text.len() } else { 0 };
        content.attachments.iter().map(len).collect()
    };
    let content = read(Limits { text_bytes: 50_000, ..Limits::default() });
    assert!(texts(&content).iter().sum::<usize>() <= 50_000 && content.is_cut);
    assert!(texts(&content).iter().all(|len| *len > 0 || content.is_cut));
    let content = read(Limits { opened: 3, ..Limits::default() });
    assert_eq!(texts(&content).iter().filter(|len| **len > 0).count(), 3);
    assert_eq!(content.attachments[19].text, Reading::Failed("the mail has too many attachments"));
    assert_eq!(content.attachments[19].size, 6000);
    let content = read(Limits { attachment_bytes: 5999, ..Limits::default() });
    assert_eq!(content.attachments[0].text, Reading::Failed("it is larger than the limit"));
    let content = read(Limits { work_bytes: 20_000, ..Limits::default() });
    assert_eq!(texts(&content).iter().filter(|len| **len > 0).count(), 3);
    let body = content_cut(&format!("\n{}", "body ".repeat(1000)), 99);
    assert!(body.body.len() <= 100 && body.is_cut);
}

fn content_cut(text: &str, text_bytes: usize) -> Content {
    let limits = Limits { text_bytes, ..Limits::default() };
    content(&text.as_bytes().to_vec(), &Options { limits, attachments: true, pdf: None }).unwrap()
}

#[test]
fn a_mail_in_a_file_is_read_in_windows() {
    let mut file: File = tempfile::tempfile().unwrap();
    let mut len = 0u64;
    let mut put = |bytes: &[u8]| {
        file.write_all(bytes).unwrap();
        len += bytes.len() as u64;
    };
    put(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: image/png; name=a.png\r\n\
          Content-Transfer-Encoding: base64\r\n\r\n");
    let line = [&[b'A'; 76][..], b"\r\n"].concat();
    let block = line.repeat(1000);
    for _ in 0..1000 {
        put(&block);
    }
    put(b"\r\n--b\r\nContent-Type: text/plain; name=z.txt\r\n\r\nlast\r\n--b--\r\n");
    /// Counts what is asked for at once.
    struct Watched(SpoolFile, std::sync::atomic::AtomicUsize);
    impl ByteSource for Watched {
        fn len(&self) -> u64 {
            self.0.len()
        }

        fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            self.1.fetch_max(buffer.len(), std::sync::atomic::Ordering::Relaxed);
            self.0.read_exact_at(offset, buffer)
        }
    }
    let mail = Watched(SpoolFile::new(file, len), Default::default());
    let content = content(&mail, &Options { attachments: true, ..Options::default() }).unwrap();
    assert_eq!(content.attachments[0].size, 57_000_000);
    assert_eq!((content.body.as_str(), &content.attachments[1].text), ("text\n", &Reading::Text("last".into())));
    assert!(mail.1.into_inner() <= 256 * 1024);
}

/// No clock: what is quadratic would take hours.
#[test]
fn hostile_mails_are_found_by_their_subject() {
    let subject = "Subject: found all the same\n";
    let empties = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\n".repeat(1_000_000));
    let nested: String =
        (0..2000).map(|n| format!("Content-Type: multipart/alternative; boundary=b{n}\n\n--b{n}\n")).collect();
    let alternatives = format!(
        "Content-Type: multipart/alternative; boundary=b\n\n{}",
        "--b\nContent-Type: text/html\n\n<p>x\n".repeat(9000)
    );
    let html = format!("Content-Type: text/html\n\n{}", "<div>".repeat(1_000_000));
    let no_end = format!("Content-Type: text/html\n\n<p title=\"{}", "x".repeat(4 << 20));
    let bad = "Content-Type: text/plain; charset=\"\x1b[2J\"; name*0*=''%zz; name*9999999999=x\n\n\x1b]0;title\x07\u{202e}text";
    let names = format!("Content-Disposition: attachment; {}\n\nx", "filename*1*=%41; ".repeat(10_000));
    for mail in [&empties, &nested, &alternatives, &html, &no_end, bad, &names] {
        let content = of(&format!("{subject}{mail}"));
        assert_eq!(content.subject, "found all the same");
        let bytes = format!("{subject}{mail}").replace('\n', "\r\n").into_bytes();
        if let Some(last) = content.attachments.last() {
            assert!(saved(&bytes, last.number).is_some());
        }
    }
}
