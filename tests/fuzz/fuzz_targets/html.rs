//! Lines of HTML: never longer than the HTML, and no line from a character reference.
#![no_main]

use gatepost::mail::html::to_text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|html: &str| {
    let text = to_text(html);
    // Each tag makes one line break at most, and the shortest reference is longer than its character.
    assert!(text.len() <= html.len());
    assert!(html.contains(['<', '\n']) || !text.contains('\n'));
});
