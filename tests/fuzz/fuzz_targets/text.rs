//! What people read in a mail: bounded, and the same attachments whoever asks. The first byte chooses what the rest is:
//! a whole mail, or an attachment of a kind.
#![no_main]

use gatepost::text::{Limits, Options, Reading, content, safe_file_name, write_attachment};
use libfuzzer_sys::fuzz_target;

const KINDS: [&str; 7] = [
    "application/ms-tnef",
    "text/html",
    "application/rtf",
    "application/zip",
    "text/calendar",
    "text/plain; format=flowed; delsp=yes",
    "message/rfc822",
];

fuzz_target!(|input: &[u8]| {
    let Some((choice, rest)) = input.split_first() else { return };
    let mail = match KINDS.get(usize::from(choice % 8).wrapping_sub(1)) {
        None => rest.to_vec(),
        // The same as an attachment.
        Some(kind) if choice & 8 != 0 => {
            let head = format!("Content-Type: {kind}\r\nContent-Disposition: attachment; filename=a\r\n\r\n");
            [head.as_bytes(), rest].concat()
        }
        Some(kind) => [format!("Content-Type: {kind}\r\n\r\n").as_bytes(), rest].concat(),
    };
    let limits = Limits { text_bytes: 64 * 1024, work_bytes: 4 * 1024 * 1024, ..Limits::default() };
    let text_bytes = limits.text_bytes;
    // Memory never fails to be read.
    let Ok(content) = content(&mail, &Options { limits, attachments: true, pdf: None }) else { return };
    let words = content.attachments.iter().map(|one| match &one.text {
        Reading::Text(text) => text.len(),
        Reading::None | Reading::Failed(_) => 0,
    });
    // A line break between two texts is nobody's.
    assert!(content.body.len() + words.sum::<usize>() <= text_bytes + 4 * mail.len() + 1024);
    for (at, one) in content.attachments.iter().enumerate() {
        assert_eq!(one.number as usize, at + 1);
        let name = safe_file_name(&one.name, one.number, &one.kind);
        assert!(!name.is_empty() && name.len() <= 200 && !name.contains(['/', '\\', ':']));
        assert!(!name.chars().any(char::is_control) && !name.starts_with(['.', '-']) && !name.ends_with(['.', ' ']));
        let mut out = Vec::new();
        assert!(write_attachment(&mail, one.number, &mut out).is_ok_and(|found| found));
        assert_eq!(out.len() as u64, one.size);
    }
});
