//! Zimbra's intercepts: subject, NUL, body. Nobody but the account has it as a proven recipient, and a draft has no Sent.
#![no_main]

use gatepost::journal::{DecodeOptions, Format, decode, flags};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut halves = input.splitn(2, |&byte| byte == 0);
    let (subject, body) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
    let item = [
        b"Subject: ",
        subject,
        b"\r\nContent-Type: multipart/mixed; boundary=\"=_z\"\r\n\r\n--=_z\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
        body,
        b"\r\n--=_z\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <1@x>\r\nFrom: a@corp.example\r\nTo: b@corp.example\r\n\r\nText\r\n--=_z--\r\n",
    ]
    .concat();
    let Ok(decoded) = decode(&item, &DecodeOptions::default()) else { return };
    if decoded.format == Format::Zimbra && !decoded.degraded {
        assert_eq!(decoded.envelope.recipients.len(), 1);
        if decoded.flags.iter().any(|flag| flag == flags::DRAFT) {
            assert_eq!(decoded.envelope.sender.as_ref(), Some(&decoded.envelope.recipients[0].address));
        }
    }
});
