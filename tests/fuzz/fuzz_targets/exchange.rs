//! The envelope part of Exchange (marked in both ways, and with the marker lost), Oracle and WorkMail. The first byte
//! chooses, the rest is the text. What a line break is made of is no difference, and no address has one.
#![no_main]

use gatepost::journal::{DecodeOptions, Format, decode};
use libfuzzer_sys::fuzz_target;

const HEADS: [(&str, Format); 4] = [
    ("X-MS-Journal-Report:", Format::Exchange),
    ("X-MS-Exchange-Organization-Journal-Report:", Format::Exchange),
    ("Message-ID: <2@journal.report.generator>", Format::Exchange),
    ("X-WM-Journal-Report: journal", Format::Workmail),
];

fuzz_target!(|input: &[u8]| {
    let Some((choice, text)) = input.split_first() else { return };
    let (head, format) = HEADS[usize::from(*choice) % HEADS.len()];
    let kind = if choice & 0x40 == 0 { "plain" } else { "html" };
    let item = |text: &[u8]| {
        let head = format!(
            "{head}\r\nContent-Type: multipart/mixed; boundary=\"=_b--\"\r\n\r\n--=_b--\r\nContent-Type: text/{kind}\r\n\r\n"
        );
        let original = b"\r\n--=_b--\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <1@x>\r\nFrom: a@corp.example\r\nSubject: =?utf-8?q?a=0Ab?=\r\n\r\nText\r\n--=_b----\r\n";
        [head.as_bytes(), text, original].concat()
    };
    let Ok(decoded) = decode(&item(text), &DecodeOptions::default()) else { return };
    assert!(decoded.format == format || decoded.degraded || decoded.format == Format::Plain);
    let envelope = &decoded.envelope;
    let via = envelope.recipients.iter().filter_map(|recipient| recipient.via_address.as_ref());
    let addresses = envelope.recipients.iter().map(|recipient| &recipient.address);
    for address in addresses.chain(via).chain(&envelope.sender).chain(&envelope.on_behalf_of) {
        assert!(!address.is_empty() && !address.contains(char::is_control));
    }
    // A delimiter in the text or a NUL (UTF-16?) makes another item of it.
    if !text.contains(&b'\r') && !text.contains(&0) && std::str::from_utf8(text).is_ok() {
        let crlf = String::from_utf8_lossy(text).replace('\n', "\r\n");
        let again = decode(&item(crlf.as_bytes()), &DecodeOptions::default()).expect("as with LF");
        assert_eq!(again.envelope, decoded.envelope);
        assert_eq!(again.format, decoded.format);
    }
});
