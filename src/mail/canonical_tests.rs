//! Which copies unite, and which do not.

use super::*;
use crate::mail::mime::scan;

fn digest(mail: &str) -> Digest {
    let structure = scan(mail.as_bytes());
    let whole = {
        let mut collector = Collector::new(&structure, 0, 0);
        collector.feed(mail.as_bytes());
        collector.finish(Digest::of(mail.as_bytes()))
    };
    let mut collector = Collector::new(&structure, 0, 0);
    for byte in mail.as_bytes().chunks(1) {
        collector.feed(byte);
    }
    assert_eq!(whole, collector.finish(Digest::of(mail.as_bytes())), "windows do not matter");
    whole
}

const MAIL: &str = "Received: one\nMessage-ID: <a@corp.example>\nDate: Tue, 3 Mar 2026 09:15:00 +0100\nFrom: a@corp.example\nTo: b@corp.example,\n c@corp.example\nSubject: Figures\nContent-Type: multipart/mixed; boundary=one\n\n--one\nContent-Type: text/plain; charset=utf-8\n\nZ\u{e4}hler\n--one\nContent-Type: application/pdf; name=x.pdf\nContent-Transfer-Encoding: base64\n\nSGVsbG8=\n--one\nContent-Type: message/rfc822\n\nSubject: inner\nReceived: x\n\ninner text\n--one--\n";

#[test]
fn what_gateways_change_does_not_count() {
    let same = [
        MAIL.replace('\n', "\r\n"),
        MAIL.replace("Received: one", "Received: two\nX-MS-Exchange-Organization-SCL: -1"),
        MAIL.replace("--one", "--two").replace("=one", "=\"two\""),
        MAIL.replace(",\n c@", ", c@"),
        MAIL.replace("SGVsbG8=", "SGVs\nbG8="),
        MAIL.replace(
            "charset=utf-8\n\nZ\u{e4}hler",
            "charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nZ=C3=A4h=\nler",
        ),
        MAIL.replace("hler\n", "hler\n\n"),
        MAIL.replace("\n\n--one", "\n\nThis is a multi-part message.\n--one"),
        MAIL.replace("Received: x\n", ""),
    ];
    for (number, copy) in same.iter().enumerate() {
        assert_eq!(digest(copy), digest(MAIL), "{number}");
    }
}

#[test]
fn hostile_copies_stay_apart() {
    let others = [
        MAIL.replace("hler", "hle"),
        MAIL.replace("SGVsbG8=", "SGVsbGE="),
        MAIL.replace("utf-8", "utf-7"),
        MAIL.replace("application/pdf", "application/zip"),
        MAIL.replace("text/plain", "text/html"),
        MAIL.replace("x.pdf", "x.exe"),
        MAIL.replace("Figures", "Figure s"),
        MAIL.replace("Subject: Figures", "Subject: Figures\nSubject: Other"),
        MAIL.replace("To: b", "Cc: b"),
        MAIL.replace("From: a", "Sender: a"),
        MAIL.replace("Subject: inner", "Subject: other"),
        MAIL.replace("inner text", "other text"),
        MAIL.replace("--one--", "--one\n\nmore\n--one--"),
        MAIL.replace("=one", "=none"),
        MAIL.replace("=one", "=none").replace("hler", "hle"),
        MAIL.replace("<a@", "<b@"),
        MAIL.replace("09:15", "09:16"),
        MAIL.replace("=x.pdf\n", "=x.pdf\nContent-Type: text/html\n"),
        MAIL.replace("=x.pdf\n", "=x.pdf\nContent-Disposition: attachment; filename=x.pdf\n"),
        MAIL.replace("=x.pdf\n", "=x.pdf\nContent-Disposition: attachment; filename=x.exe\n"),
        MAIL.replace("=x.pdf\n", "=x.pdf\nContent-Disposition: inline; filename=x.pdf\n"),
    ];
    let mut seen = std::collections::HashSet::from([digest(MAIL)]);
    for (number, copy) in others.iter().enumerate() {
        assert!(seen.insert(digest(copy)), "{number}");
    }
}

#[test]
fn without_identity_only_equal_bytes_unite() {
    for (from, to) in [
        ("Message-ID: <a@corp.example>\n", ""),
        ("<a@corp.example>", " "),
        ("Date: Tue, 3 Mar 2026 09:15:00 +0100", "Date:"),
    ] {
        let copy = MAIL.replace(from, to);
        assert_eq!(digest(&copy), digest(&copy));
        assert_ne!(digest(&copy), digest(&copy.replace("Received: one", "Received: two")));
    }
}

#[test]
fn a_message_beyond_the_limits_is_its_bytes() {
    let deep = MAIL
        .replace("inner text", &"Content-Type: message/rfc822\n\n".repeat(99))
        .replace("Received: x", "Content-Type: message/rfc822");
    assert_ne!(digest(&deep), digest(&deep.replace("Received: one", "Received: two")));
}
