//! Header values: text without control characters, whatever was encoded.
#![no_main]

use gatepost::mail::header::{Headers, without_bcc};
use gatepost::mail::summary::Summary;
use gatepost::mail::words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    assert!(!words::text(value).contains(|c: char| c.is_control()));
    for mailbox in words::mailboxes(value) {
        assert!(!mailbox.shown().contains(|c: char| c.is_control()));
    }
    let _ = words::date(value);
    let _ = Summary::of(&Headers::of(value));
    if let Some(block) = without_bcc(value) {
        assert!(without_bcc(&block).is_none());
    }
});
