//! Journal items of every variant against golden JSON, once with CRLF and once with LF line breaks.
//!
//! The files lie with LF in the repository. SHA-256 and size of the golden file are those of the CRLF form, which
//! is what gateways deliver; in both forms they are also computed anew from the byte range.
//! `GATEPOST_UPDATE_GOLDEN=1 cargo test --test it journal_corpus` writes the golden files; read the difference.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use gatepost::base::bytes::ByteSource;
use gatepost::base::digest::Digest;
use gatepost::journal::{self, DecodeOptions, Decoded, Transfer};
use serde_json::{Value, json};

fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/journal");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .collect();
    files.sort();
    assert!(files.len() > 70, "the corpus is there");
    files
}

/// Line breaks of one kind, whatever git made of the file.
fn with_breaks(bytes: &[u8], line_break: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 20);
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) => {
                out.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
                out.extend_from_slice(line_break);
            }
            None => out.extend_from_slice(line),
        }
    }
    out
}

/// As `explain --json` tells it; what cannot be decoded is quarantined.
fn decoded(item: &dyn ByteSource) -> (Option<Decoded>, Value) {
    match journal::decode(item, &DecodeOptions::default()) {
        Ok(decoded) => {
            let view = serde_json::to_value(decoded.view()).unwrap();
            (Some(decoded), view)
        }
        Err(error) => (None, json!({ "quarantine": error.to_string() })),
    }
}

#[test]
fn crlf_is_as_the_golden_files_say() {
    let update = std::env::var_os("GATEPOST_UPDATE_GOLDEN").is_some();
    for path in corpus() {
        let item = with_breaks(&fs::read(&path).unwrap(), b"\r\n");
        let (_, view) = decoded(&item);
        let golden = path.with_extension("json");
        if update {
            fs::write(&golden, serde_json::to_string_pretty(&view).unwrap() + "\n").unwrap();
        }
        let expected: Value = serde_json::from_slice(&fs::read(&golden).unwrap()).unwrap();
        assert_eq!(view, expected, "{}", path.display());
    }
}

#[test]
fn lf_differs_in_bytes_only() {
    for path in corpus() {
        let file = fs::read(&path).unwrap();
        let (crlf, mut crlf_view) = decoded(&with_breaks(&file, b"\r\n"));
        let (lf, mut lf_view) = decoded(&with_breaks(&file, b"\n"));
        for view in [&mut crlf_view, &mut lf_view] {
            for key in ["sha256", "size"] {
                view.get_mut("message").map(|message| message.as_object_mut().unwrap().remove(key));
            }
        }
        assert_eq!(crlf_view, lf_view, "{}", path.display());
        let (Some(crlf), Some(lf)) = (crlf, lf) else { continue };
        let identified = crlf.summary.message_id.is_some() && crlf.summary.date.is_some();
        let united = identified || crlf.original.sha256 == lf.original.sha256;
        assert_eq!(crlf.canonical == lf.canonical, united, "{}", path.display());
        assert_eq!(crlf.leaves.len(), lf.leaves.len(), "{}", path.display());
    }
}

#[test]
fn the_original_is_a_slice_of_the_item() {
    for path in corpus() {
        for line_break in [&b"\r\n"[..], b"\n"] {
            let item = with_breaks(&fs::read(&path).unwrap(), line_break);
            let (Some(decoded), _) = decoded(&item) else { continue };
            let original = decoded.original;
            let all = original.inside.clone().map(|inside| inside.start as usize..inside.end as usize);
            let slice = &item[original.range.start as usize..original.range.end as usize];
            let bytes = match original.transfer {
                Transfer::Identity => slice.to_vec(),
                Transfer::Base64 => {
                    let digits: Vec<u8> = slice.iter().copied().filter(u8::is_ascii_graphic).collect();
                    let bytes = base64::engine::general_purpose::STANDARD.decode(digits).unwrap();
                    bytes[all.unwrap_or(0..bytes.len())].to_vec()
                }
                Transfer::QuotedPrintable => continue,
            };
            assert_eq!(original.size, bytes.len() as u64, "{}", path.display());
            assert_eq!(original.sha256, Digest::of(&bytes), "{}", path.display());
            if original.range.start > 0 {
                let after = &item[original.range.end as usize..];
                assert!(after.is_empty() || after.starts_with(&[line_break, b"--"].concat()), "{}", path.display());
            }
            let mut end = 0;
            for leaf in decoded.leaves {
                assert!(end <= leaf.start && leaf.start < leaf.end, "{}", path.display());
                end = leaf.end;
            }
            assert!(end <= item.len() as u64);
        }
    }
}
