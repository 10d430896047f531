//! Bounces: whatever is returned decodes as it does alone, or the bounce is a plain mail. The first byte says how deep.
#![no_main]

use gatepost::journal::{DecodeOptions, Format, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((choice, returned)) = input.split_first() else { return };
    let mut item = returned.to_vec();
    let kind = if choice & 0x40 == 0 { "message/rfc822" } else { "text/rfc822-headers" };
    for level in 0..=choice % 5 {
        let head = format!(
            "X-MS-Exchange-Message-Is-Ndr:\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=\"=_n{level}\"\r\n\r\n\
             --=_n{level}\r\n\r\nMessage-ID: <false@corp.example>\r\n--=_n{level}\r\nContent-Type: {kind}\r\n\r\n"
        );
        item = [head.as_bytes(), &item, format!("\r\n--=_n{level}--\r\n").as_bytes()].concat();
    }
    let Ok(decoded) = decode(&item, &DecodeOptions::default()) else { return };
    assert_eq!(decoded.wrapped_in.is_some(), !matches!(decoded.format, Format::Plain | Format::Zimbra | Format::GoogleChat));
    if decoded.wrapped_in.is_some() && choice % 5 == 0 && !returned.windows(4).any(|four| four == b"=_n0") {
        let alone = decode(&returned.to_vec(), &DecodeOptions::default()).expect("decodes in a bounce, so alone too");
        if alone.format == decoded.format && alone.wrapped_in.is_none() {
            assert_eq!(alone.envelope, decoded.envelope);
        }
    }
});
