//! Transfer decoders: the result does not depend on how the bytes are cut; charsets never fail.
#![no_main]

use gatepost::mail::transfer::{Decoder, Encoding, decode, to_utf8};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for encoding in [Encoding::Identity, Encoding::Base64, Encoding::QuotedPrintable] {
        let whole = decode(encoding, bytes);
        assert!(whole.len() <= bytes.len());
        let mut decoder = Decoder::new(encoding);
        let mut pieces = Vec::new();
        for piece in bytes.chunks(3) {
            decoder.push(piece, &mut pieces);
        }
        decoder.finish(&mut pieces);
        assert_eq!(whole, pieces);
    }
    for charset in [None, Some("utf-16"), Some("iso-2022-jp"), Some("utf-7"), Some("no such")] {
        let _ = to_utf8(bytes, charset);
    }
});
