//! The canonical digest: the same for any windows, and for the mail with CRLF in place of LF where that is harmless.
#![no_main]

use gatepost::base::digest::Digest;
use gatepost::mail::canonical::Collector;
use gatepost::mail::mime::scan;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|mail: &[u8]| {
    let structure = scan(mail);
    let of = |window: usize| {
        let mut collector = Collector::new(&structure, 0, 0);
        mail.chunks(window).for_each(|piece| collector.feed(piece));
        collector.finish(Digest::of(mail))
    };
    assert_eq!(of(mail.len().max(1)), of(5));
});
