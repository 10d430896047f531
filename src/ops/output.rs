//! What is printed. Text that came from mail can never drive a terminal.

use std::io::{self, Write as _};

use serde::Serialize;

use super::exit::{Exit, Failure};

/// Writes to standard output; a reader that went away (`| head`) is no error.
pub fn line(text: &str) {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n"));
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        // Half of an answer must not look like one.
        Err(error) => {
            note(&format!("error: cannot write the output: {error}"));
            let exit = if error.kind() == io::ErrorKind::StorageFull { Exit::NoSpace } else { Exit::Usage };
            std::process::exit(exit.code().into());
        }
    }
}

/// Writes to standard error.
pub fn note(text: &str) {
    // Nothing is left to tell it to when standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Replaces the terminal's last line; for long work that somebody watches.
pub fn progress(text: &str) {
    let mut out = io::stderr().lock();
    // Nothing is left to tell it to when standard error is gone.
    let _ = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
}

pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::usage(error.to_string()))?;
    line(&safe_json(&text));
    Ok(())
}

/// JSON with everything that a terminal might act on as `\u…`, which says the same: it stands within strings only.
pub fn safe_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

pub fn failure(failure: &Failure) {
    note(&format!("error: {}", multiline(&failure.what)));
    if let Some(hint) = &failure.hint {
        note(&format!("  hint: {}", multiline(hint)));
    }
}

fn multiline(text: &str) -> String {
    text.lines().map(safe).collect::<Vec<_>>().join("\n")
}

/// A moment, in the host's time zone.
pub fn time(at: jiff::Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// Neutralises control characters, escape sequences and bidirectional overrides.
pub fn safe(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if is_unsafe(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Control characters, and what turns text round or hides in it.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `text` in at most `width` characters.
pub fn fit(text: &str, width: usize) -> String {
    let text = safe(text);
    if text.chars().count() <= width {
        return text;
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// `1.2 MiB`.
pub fn bytes(count: u64) -> String {
    bytesize::ByteSize(count).display().iec().to_string()
}

/// 1 item, 2 items.
pub fn plural(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// Columns as wide as what is in them; the last one is not padded.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let render = |cells: Vec<&str>| {
        let mut out = String::new();
        for (at, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            out.push_str(cell);
            if at + 1 < cells.len() {
                let pad = width.saturating_sub(cell.chars().count()) + 2;
                out.extend(std::iter::repeat_n(' ', pad));
            }
        }
        out.trim_end().to_owned()
    };
    let mut lines = vec![render(head.to_vec())];
    lines.extend(rows.iter().map(|row| render(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_cannot_drive_the_terminal() {
        assert_eq!(safe("a\x1b[2Jb\u{202e}c\r\nd"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}\u{fffd}d");
        assert_eq!(fit("abcdef", 4), "abc…");
        let value = serde_json::json!({ "a": "\u{9b}2J\u{7f}\u{202e}\u{e0041}\u{1b}ä\n" });
        let text = safe_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(
            text.contains("\\u009b2J\\u007f\\u202e\\udb40\\udc41") && !text.contains(['\u{9b}', '\u{202e}']),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
