//! What is printed. Text that came from mail can never drive a terminal.

use std::io::{self, Write as _};

use serde::Serialize;

use super::exit::{Exit, Failure};

mod terminal;

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
    let label = ["error:", "warning:"].into_iter().find(|label| text.starts_with(label));
    let (label, rest) = text.split_at(label.map_or(0, str::len));
    let label = terminal::painted(label, terminal::stderr_has_colours());
    // Nothing is left to tell it to when standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{label}{rest}");
}

/// A word that tells a state (`ok`, `warning`, `failed`, `error` …), in its colour where there are colours.
pub fn state(word: &str) -> String {
    terminal::painted(word, terminal::stdout_has_colours())
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

/// The same without seconds, for lists.
pub fn minute(at: jiff::Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M %:z").to_string()
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

/// `text` in at most `width` columns.
pub fn fit(text: &str, width: usize) -> String {
    let text = safe(text);
    if terminal::width(&text) <= width {
        return text;
    }
    format!("{}…", terminal::beginning(&text, width.saturating_sub(1)))
}

/// `text` in exactly `width` columns.
pub fn cell(text: &str, width: usize) -> String {
    let mut text = fit(text, width);
    let missing = width.saturating_sub(terminal::width(&text));
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

/// Columns that are left beside `taken`; without a terminal as many as are `usual`.
pub fn rest(taken: usize, usual: usize) -> usize {
    terminal::columns().map_or(usual, |columns| columns.saturating_sub(taken).max(10))
}

/// `1.2 MiB`.
pub fn bytes(count: u64) -> String {
    bytesize::ByteSize(count).display().iec().to_string()
}

/// 1 item, 2 items.
pub fn plural(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// Columns as wide as what is in them, and no wider together than the terminal; the last one is not padded.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    table_in(head, rows, terminal::columns())
}

fn table_in(head: &[&str], rows: &[Vec<String>], columns: Option<usize>) -> String {
    let mut widths: Vec<usize> = head.iter().map(|title| terminal::width(title)).collect();
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(terminal::width(text));
        }
    }
    let widths = terminal::fitted(widths, columns);
    let render = |cells: Vec<&str>| {
        let cells: Vec<String> = cells.iter().zip(&widths).map(|(text, width)| cell(text, *width)).collect();
        cells.join("  ").trim_end().to_owned()
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

    #[test]
    fn texts_fit_by_columns() {
        assert_eq!((fit("日本語", 6), fit("日本語", 5)), ("日本語".into(), "日本…".into()));
        assert_eq!((cell("日本", 6), cell("日本語語", 6)), ("日本  ".into(), "日本… ".into()));
    }

    #[test]
    fn a_table_is_no_wider_than_the_terminal() {
        let rows = [vec!["日本".to_owned(), "x".repeat(100)], vec!["anna".to_owned(), "short".to_owned()]];
        let wide = table_in(&["WHO", "WHAT"], &rows, None);
        assert_eq!(wide, format!("WHO   WHAT\n日本  {}\nanna  short", "x".repeat(100)));
        let narrow = table_in(&["WHO", "WHAT"], &rows, Some(40));
        assert!(narrow.lines().all(|line| terminal::width(line) <= 40), "{narrow}");
        assert!(narrow.contains("xxx…"), "{narrow}");
    }
}
