//! Any bytes as an item: an answer, never a panic, and an original that lies within the item.
#![no_main]

use gatepost::journal::{ClearText, DecodeOptions, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|item: &[u8]| {
    let item = item.to_vec();
    let strict = DecodeOptions {
        clear_text: ClearText::Both,
        trusted_reporters: "corp.example".parse().into_iter().collect(),
        ..DecodeOptions::default()
    };
    for options in [DecodeOptions::default(), strict] {
        match decode(&item, &options) {
            Ok(decoded) => {
                assert!(decoded.original.range.end <= item.len() as u64);
                let mut end = 0;
                for leaf in decoded.leaves {
                    assert!(end <= leaf.start && leaf.start < leaf.end && leaf.end <= item.len() as u64);
                    end = leaf.end;
                }
            }
            Err(error) => assert!(!error.0.contains("panicked")),
        }
    }
});
