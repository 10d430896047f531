//! Items made to do harm, and the edges of a decode. The formats themselves are in tests/it/journal_corpus.rs.

use std::io;
use std::time::Instant;

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

fn report(envelope: &str, original_header: &str, original: &str) -> String {
    format!(
        "X-MS-Journal-Report:\r\nContent-Type: multipart/mixed; boundary=\"r--\"\r\n\r\n--r--\r\n\r\nSender: a@corp.example\r\nSubject: x\r\nMessage-Id: <1@x>\r\n{envelope}\r\n--r--\r\nContent-Type: message/rfc822\r\n{original_header}\r\n{original}\r\n--r----\r\n"
    )
}

fn run(item: &dyn ByteSource) -> Result<Decoded, DecodeError> {
    decode(item, &DecodeOptions::default())
}

const ORIGINAL: &str = "Message-ID: <1@x>\r\nDate: Tue, 3 Mar 2026 09:15:00 +0100\r\nSubject: x\r\n\r\nText\r\n";

fn quick<T>(work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = work();
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    result
}

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
    let decoded = quick(|| run(&item).unwrap());
    assert_eq!(decoded.envelope.recipients.len(), 100_000);
    let header: String = (0..30_000).map(|n| format!("\r\n user{n}@corp.example,")).collect();
    let decoded = quick(|| run(&format!("To:{header}\r\n\r\n").into_bytes()).unwrap());
    assert_eq!(decoded.envelope.recipients.len(), 30_000);
}

#[test]
fn a_two_megabyte_header() {
    let filler = format!("X-Filler: {}\r\n", "x".repeat(80)).repeat(22_000);
    let item = report("To: b@corp.example\r\n", "", &format!("{filler}{ORIGINAL}")).into_bytes();
    let decoded = quick(|| run(&item).unwrap());
    assert_eq!((decoded.format, decoded.summary.subject.as_str()), (Format::Exchange, "x"));
    assert!(decoded.flags.is_empty());
    let folded = format!("Subject:{}\r\n\r\n", "\r\n =?utf-8?q?x".repeat(200_000));
    quick(|| run(&folded.into_bytes()).unwrap());
}

#[test]
fn fifty_thousand_nested_messages_in_a_report() {
    let nest = "Content-Type: message/rfc822\r\n\r\n".repeat(50_000);
    let item = report("To: b@corp.example\r\n", "", &format!("Message-ID: <1@x>\r\n{nest}")).into_bytes();
    let decoded = quick(|| run(&item).unwrap());
    assert_eq!(decoded.format, Format::Exchange);
    assert_eq!(decoded.flags, [flags::LIMITS_MET]);
    assert_eq!(decoded.original.size as usize, nest.len() + "Message-ID: <1@x>\r\n".len());
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
