//! The recipient list of Exchange 2000/2003 and of Citadel (by the first byte): at most one recipient per `@`, `:` or `/`
//! of the text, each of them once.
#![no_main]

use std::collections::HashSet;

use gatepost::journal::{DecodeOptions, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((choice, text)) = input.split_first() else { return };
    let boundary = if choice & 1 == 0 { "----_=_NextPart_1" } else { "--Citadel-Journal-1-1--" };
    let kind = if choice & 0x40 == 0 { "plain" } else { "html" };
    let item = [
        format!(
            "Content-Identifer: ExJournalReport\r\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n\
             --{boundary}\r\nContent-Type: text/{kind}\r\n\r\n"
        )
        .as_bytes(),
        text,
        format!("\r\n--{boundary}\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <1@x>\r\n\r\nText\r\n--{boundary}--\r\n")
            .as_bytes(),
    ]
    .concat();
    let Ok(decoded) = decode(&item, &DecodeOptions::default()) else { return };
    if decoded.degraded {
        return;
    }
    let mut seen = HashSet::new();
    for recipient in &decoded.envelope.recipients {
        assert!(!recipient.address.is_empty() && !recipient.address.contains(char::is_control));
        assert!(seen.insert(&recipient.address), "twice: {}", recipient.address);
    }
});
