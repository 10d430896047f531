//! Plain copies: header blocks with traces of gateways. What is below the first hop from outside is never believed.
#![no_main]

use gatepost::base::address::Address;
use gatepost::journal::{DecodeOptions, Format, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &[u8]| {
    let body = b"\r\n\r\nText\r\n";
    let options = DecodeOptions {
        gateway_hosts: vec!["mx.gw.example".into(), "store.gw.example".into()],
        journal_addresses: Address::parse("journal@gw.example").into_iter().collect(),
        ..DecodeOptions::default()
    };
    let item = [header, &body[..]].concat();
    for options in [&options, &DecodeOptions::default()] {
        let Ok(decoded) = decode(&item, options) else { continue };
        assert!(decoded.envelope.recipients.iter().all(|recipient| !recipient.address.contains(char::is_control)));
        assert!(decoded.trail.len() <= 32);
    }
    // A hop from outside above it: no field of the rest counts. (What continues the hop's own field is the gateway's.)
    if header.starts_with(b" ") || header.starts_with(b"\t") {
        return;
    }
    let hop = b"Received: from h (mx.partner.example [192.0.2.8])\r\n\tby mx.gw.example with ESMTP\r\n";
    if let Ok(below) = decode(&[&hop[..], header, body].concat(), &options)
        && below.format == Format::Plain
    {
        assert!(below.degraded);
    }
});
