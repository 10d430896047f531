//! Items made to do harm, and the edges of a decode. The formats themselves are in tests/it/journal_corpus.rs.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

/// Bytes that are never there at once, as a spool file's are.
struct Windowed(Vec<u8>);

impl ByteSource for Windowed {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(offset, buffer)
    }
}

pub fn report(envelope: &str, original_header: &str, original: &str) -> String {
    format!(
        "X-MS-Journal-Report:\r\nContent-Type: multipart/mixed; boundary=\"r--\"\r\n\r\n--r--\r\n\r\nSender: a@corp.example\r\nSubject: x\r\nMessage-Id: <1@x>\r\n{envelope}\r\n--r--\r\nContent-Type: message/rfc822\r\n{original_header}\r\n{original}\r\n--r----\r\n"
    )
}

fn run(item: &dyn ByteSource) -> Result<Decoded, DecodeError> {
    decode(item, &DecodeOptions::default())
}

pub const ORIGINAL: &str = "Message-ID: <1@x>\r\nDate: Tue, 3 Mar 2026 09:15:00 +0100\r\nSubject: x\r\n\r\nText\r\n";

#[test]
fn what_is_no_mail_is_refused_with_a_reason() {
    for junk in [&b""[..], b"\r\n", b"\0\xff\0\xff", b"\x89PNG\r\n\x1a\n\0\0\0", b"no header here\n\nSubject: body\n"] {
        let error = run(&junk.to_vec()).unwrap_err();
        assert!(error.to_string().starts_with("no header fields"), "{error}");
    }
}

#[test]
fn a_hundred_thousand_recipients() {
    let lines: String = (0..100_000).map(|n| format!("Bcc: user{n}@corp.example\r\n")).collect();
    let item = report(&lines, "", ORIGINAL).into_bytes();
    let decoded = run(&item).unwrap();
    assert_eq!(decoded.envelope.recipients.len(), 100_000);
    let header: String = (0..30_000).map(|n| format!("\r\n user{n}@corp.example,")).collect();
    let decoded = run(&format!("To:{header}\r\n\r\n").into_bytes()).unwrap();
    assert_eq!(decoded.envelope.recipients.len(), 30_000);
}

#[test]
fn a_two_megabyte_header() {
    let filler = format!("X-Filler: {}\r\n", "x".repeat(80)).repeat(22_000);
    let item = report("To: b@corp.example\r\n", "", &format!("{filler}{ORIGINAL}")).into_bytes();
    let decoded = run(&item).unwrap();
    assert_eq!((decoded.format, decoded.summary.subject.as_str()), (Format::Exchange, "x"));
    assert!(decoded.flags.is_empty());
    let folded = format!("Subject:{}\r\n\r\n", "\r\n =?utf-8?q?x".repeat(200_000));
    run(&folded.into_bytes()).unwrap();
}

#[test]
fn fifty_thousand_nested_messages_in_a_report() {
    let nest = "Content-Type: message/rfc822\r\n\r\n".repeat(50_000);
    let item = report("To: b@corp.example\r\n", "", &format!("Message-ID: <1@x>\r\n{nest}")).into_bytes();
    let decoded = run(&item).unwrap();
    assert_eq!(decoded.format, Format::Exchange);
    assert_eq!(decoded.flags, [flags::LIMITS_MET]);
    assert_eq!(decoded.original.size as usize, nest.len() + "Message-ID: <1@x>\r\n".len());
}

/// Bytes that are never there at once, and that count how many of them were read.
struct Counted(Vec<u8>, AtomicU64);

impl ByteSource for Counted {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.1.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.0.read_exact_at(offset, buffer)
    }
}

fn bytes_read(item: String) -> u64 {
    let item = Counted(item.into_bytes(), AtomicU64::new(0));
    let _ = run(&item);
    item.1.into_inner()
}

#[test]
fn four_times_the_item_is_four_times_the_reading() {
    let recipients = |n: usize| {
        let lines: String = (0..n).map(|n| format!("Bcc: user{n}@corp.example\r\n")).collect();
        report(&lines, "", ORIGINAL)
    };
    let header = |n: usize| {
        let filler = format!("X-Filler: {}\r\n", "x".repeat(80)).repeat(n);
        report("To: b@corp.example\r\n", "", &format!("{filler}{ORIGINAL}"))
    };
    let nested = |n: usize| {
        let nest = "Content-Type: message/rfc822\r\n\r\n".repeat(n);
        report("To: b@corp.example\r\n", "", &format!("Message-ID: <1@x>\r\n{nest}"))
    };
    let originals = |n: usize| {
        let more = format!("{ORIGINAL}\r\n--r--\r\nContent-Type: message/rfc822\r\n\r\n").repeat(n);
        report("To: b@corp.example\r\n", "", &format!("{more}{ORIGINAL}"))
    };
    let bounces = |n: usize| {
        let head = "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n";
        let child = "Content-Type: message/rfc822\r\n\r\n";
        (0..n).map(|n| format!("Subject: {n}\r\n{head}{child}")).collect()
    };
    let unclosed = |n: usize| report("To: b@corp.example\r\n", "", ORIGINAL).replace("--r----", &"--r-\r\n".repeat(n));
    type Case<'a> = (&'a str, &'a dyn Fn(usize) -> String, usize);
    let cases: [Case<'_>; 6] = [
        ("recipients", &recipients, 25_000),
        ("header", &header, 6_000),
        ("nested", &nested, 12_500),
        ("originals", &originals, 5_000),
        ("bounces", &bounces, 2_000),
        ("no closing delimiter", &unclosed, 50_000),
    ];
    for (name, item, size) in cases {
        let (one, four) = (item(size), item(4 * size));
        let (len, len_four) = (one.len() as f64, four.len() as f64);
        let (read, read_four) = (bytes_read(one) as f64 / len, bytes_read(four) as f64 / len_four);
        // Once to scan, once to digest, and what the envelope and headers take again.
        assert!(read < 6.0 && read_four < read * 1.2 + 0.1, "{name}: {read:.2} and {read_four:.2} times its bytes");
    }
}

#[test]
fn trusted_reporters_are_the_only_ones_believed() {
    let item = report("To: b@corp.example\r\n", "", ORIGINAL);
    let received = "X-Checked: yes\r\nReceived: from mx.partner.example (mx.partner.example [192.0.2.8]) by gw.example with ESMTPS\r\n";
    let sender = "Sender: <microsoftexchange329e71ec88ae4615bbc36ab6ce41109e@corp.onmicrosoft.example>\r\n";
    let org = "X-OriginatorOrg: corp.example\r\n";
    let format = |head: &str, reporter: &str| {
        let options = DecodeOptions { trusted_reporters: vec![reporter.parse().unwrap()], ..DecodeOptions::default() };
        let decoded = decode(&format!("{head}{item}").into_bytes(), &options).unwrap();
        assert_eq!(decoded.flags.contains(&flags::UNTRUSTED_REPORT.to_owned()), decoded.format == Format::Plain);
        assert_eq!(decoded.degraded, decoded.format == Format::Plain);
        decoded.format
    };
    for (head, reporter, expected) in [
        (sender, "corp.onmicrosoft.example", Format::Exchange),
        (sender, ".onmicrosoft.example", Format::Exchange),
        (sender, "onmicrosoft.example", Format::Plain),
        ("", "corp.onmicrosoft.example", Format::Plain),
        (org, "X-OriginatorOrg=corp.example", Format::Exchange),
        (org, "X-OriginatorOrg=other.example", Format::Plain),
        (received, "X-Checked=yes", Format::Exchange),
        (received, "X-Checked=no", Format::Plain),
        // Below the gateway's Received anybody can write it.
        (&received.replace("X-Checked: yes\r\n", ""), "X-Checked=yes", Format::Plain),
        (&format!("{}X-Checked: yes\r\n", &received[16..]), "X-Checked=yes", Format::Plain),
    ] {
        assert_eq!(format(head, reporter), expected, "{head} {reporter}");
    }
}

#[test]
fn either_of_a_protected_pair_by_policy() {
    let protected = format!("Content-Class: rpmsg.message\r\n{ORIGINAL}");
    let pair = format!("{protected}\r\n--r--\r\nContent-Type: message/rfc822\r\n\r\n{ORIGINAL}");
    let item = report("To: b@corp.example\r\n", "", &pair).into_bytes();
    let of = |clear_text| decode(&item, &DecodeOptions { clear_text, ..DecodeOptions::default() }).unwrap();
    let (protected, clear) = (Digest::of(protected.as_bytes()), Digest::of(ORIGINAL.as_bytes()));
    let prefer = of(ClearText::Prefer);
    assert_eq!((prefer.original.sha256, &prefer.flags[..]), (clear, &[flags::CLEAR_COPY.to_owned()][..]));
    let other = of(ClearText::Protected);
    assert_eq!((other.original.sha256, &other.flags[..]), (protected, &[flags::PROTECTED_COPY.to_owned()][..]));
    let both = of(ClearText::Both);
    assert_eq!((both.original.sha256, both.twin.map(|twin| twin.sha256)), (clear, Some(protected)));
    assert!(prefer.twin.is_none() && other.twin.is_none());
}

#[test]
fn a_report_in_rich_text_says_what_to_set() {
    let item = "X-MS-Journal-Report:\r\nContent-Type: multipart/mixed; boundary=t\r\n\r\n--t\r\n\r\nSender: a@corp.example\r\n\
                --t\r\nContent-Type: application/ms-tnef; name=winmail.dat\r\n\r\nx\r\n--t--\r\n";
    for item in [item.to_owned(), item.replace("\r\n", "\n")] {
        let error = run(&item.into_bytes()).unwrap_err().to_string();
        assert!(error.contains("TNEF") && error.contains("hint: set") && error.contains("remote domain"), "{error}");
    }
}

#[test]
fn the_journal_address_in_an_envelope_field_says_nothing() {
    let item = b"X-Original-To: journal@gw.example\r\nDelivered-To: journal@gw.example\r\nFrom: a@corp.example\r\nTo: b@corp.example\r\n\r\n".to_vec();
    let journal = crate::base::address::Address::parse("journal@gw.example").unwrap();
    let options = DecodeOptions { journal_addresses: vec![journal], ..DecodeOptions::default() };
    let decoded = decode(&item, &options).unwrap();
    assert!(decoded.degraded);
    assert_eq!(decoded.envelope.recipients[0].address, "b@corp.example");
    assert!(decoded.trail[0].contains("only the gateway's own address"), "{:?}", decoded.trail);
    let options = DecodeOptions { envelope_headers: Vec::new(), ..DecodeOptions::default() };
    assert!(decode(&item, &options).unwrap().degraded, "none is believed");
}

#[test]
fn the_trail_is_bounded_and_on_one_line() {
    let bounce = "Content-Type: multipart/report; boundary=b\r\n\r\n";
    let many: String = (0..500)
        .map(|_| "--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nx\r\n")
        .collect();
    let decoded = run(&format!("Subject: x\r\n{bounce}{many}").into_bytes()).unwrap();
    assert!(!decoded.trail.is_empty() && decoded.trail.len() <= 32, "{}", decoded.trail.len());
    assert!(decoded.trail.iter().all(|note| note.len() <= 300 && !note.contains('\n')));
}

#[test]
fn windows_give_what_the_whole_gives() {
    let body = "0123456789abcdef\r\n".repeat(40_000);
    let encoded = ORIGINAL.replace("Text\r\n", &body);
    let encoded_base64 = {
        use base64::Engine as _;
        let digits = base64::engine::general_purpose::STANDARD.encode(&encoded);
        digits.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line) + "\r\n").collect::<String>()
    };
    for item in [
        report("To: b@corp.example\r\n", "", &encoded),
        report("To: b@corp.example\r\n", "Content-Transfer-Encoding: base64\r\n", &encoded_base64),
        report("To: b@corp.example\r\n", "Content-Transfer-Encoding: base64\r\n", &encoded),
    ] {
        let whole = run(&item.clone().into_bytes()).unwrap();
        let windowed = run(&Windowed(item.into_bytes())).unwrap();
        assert_eq!(whole.original, windowed.original);
        assert_eq!(whole.original.sha256, Digest::of(encoded.as_bytes()));
        assert_eq!(whole.canonical, windowed.canonical);
        assert_eq!(whole.leaves, windowed.leaves);
        assert_eq!(whole.flags, windowed.flags);
        assert_eq!(whole.canonical, run(&encoded.clone().into_bytes()).unwrap().canonical, "a plain copy unites");
    }
}

#[test]
fn only_direct_children_count() {
    let inner = report("To: b@corp.example\r\n", "", ORIGINAL).replace("r--", "inner");
    let item = format!(
        "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\r\nSee below\r\n--o\r\nContent-Type: message/rfc822\r\n\r\n{inner}\r\n--o--\r\n"
    );
    let decoded = run(&item.into_bytes()).unwrap();
    assert_eq!((decoded.format, decoded.original.range.start), (Format::Plain, 0));
}

#[test]
fn a_failing_read_is_an_error() {
    struct Broken;
    impl ByteSource for Broken {
        fn len(&self) -> u64 {
            100
        }
        fn read_exact_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Err(io::ErrorKind::Other.into())
        }
    }
    assert!(run(&Broken).unwrap_err().to_string().starts_with("reading the item failed"));
}

#[test]
fn a_panic_is_an_error() {
    struct Panics;
    impl ByteSource for Panics {
        fn len(&self) -> u64 {
            100
        }
        fn read_exact_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            panic!("as a parser's bug would")
        }
    }
    assert!(run(&Panics).unwrap_err().to_string().contains("panicked"));
}

/// What the fuzz targets do, as far as the ordinary tests can: every fixture, cut and changed in many ways.
#[test]
fn mutated_fixtures_never_panic() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/journal");
    // A fixed sequence (xorshift): a failure can be repeated.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    const PIECES: [&[u8]; 12] = [
        b"\r\n",
        b"\n",
        b"--",
        b"\r\n\r\n",
        b"\"",
        b"<",
        b"=?",
        b"\0",
        b"\xff\xfe",
        b"boundary=",
        b"Recipients:\n",
        b",",
    ];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "eml") {
            continue;
        }
        let whole = std::fs::read(&path).unwrap();
        for _ in 0..60 {
            let mut item = whole.clone();
            for _ in 0..1 + random(6) {
                let at = random(item.len() + 1);
                let end = (at + random(60)).min(item.len());
                match random(4) {
                    0 => item.truncate(at),
                    1 => drop(item.drain(at..end)),
                    2 => drop(item.splice(at..at, PIECES[random(PIECES.len())].iter().copied())),
                    _ => {
                        let again = item[at..end].to_vec();
                        let to = random(item.len() + 1);
                        drop(item.splice(to..to, again));
                    }
                }
            }
            match run(&item) {
                Ok(decoded) => assert!(decoded.original.range.end <= item.len() as u64, "{}", path.display()),
                Err(error) => assert!(!error.to_string().contains("panicked"), "{}", path.display()),
            }
        }
    }
}

proptest! {
    #[test]
    fn mutations_never_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0usize..40), 0..12)) {
        let mut item = report("To: b@corp.example, Expanded: t@corp.example\r\n", "", ORIGINAL).into_bytes();
        for (index, byte, removed) in changes {
            let at = index.index(item.len().max(1)).min(item.len());
            let end = (at + removed).min(item.len());
            item.splice(at..end, [byte]);
        }
        if let Err(error) = run(&item) {
            prop_assert!(!error.to_string().contains("panicked"));
        }
    }
}
