//! The scanner: its result does not depend on how the bytes are cut, and parts lie within their parents.
#![no_main]

use gatepost::mail::mime::{Limits, Scanner, scan};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|mail: &[u8]| {
    let whole = scan(mail);
    let mut scanner = Scanner::new(Limits::default());
    for piece in mail.chunks(7) {
        scanner.feed(piece);
    }
    assert_eq!(whole, scanner.finish());
    for part in &whole.parts {
        assert!(part.header.start <= part.header.end && part.header.end <= part.body.start);
        assert!(part.body.start <= part.body.end && part.body.end <= mail.len() as u64);
        if let Some(parent) = part.parent {
            let parent = &whole.parts[parent];
            // The line break before a delimiter belongs to no part, even where it is the empty line that ends a header:
            // that header reaches beyond its parent by so much.
            assert!(parent.body.start <= part.header.start && part.header.end <= parent.body.end + 2);
            assert!(part.body.is_empty() || part.body.end <= parent.body.end);
        }
    }
});
