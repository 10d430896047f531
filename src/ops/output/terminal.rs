//! What the terminal allows: how wide a text is, how wide the terminal is, and whether it shows colours.

use std::io::IsTerminal;
use std::sync::OnceLock;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Narrower than this nothing is fitted: it would be unreadable anyway.
const NARROWEST: usize = 40;

/// Columns that a text takes; a wide character (CJK, most emoji) takes two.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The beginning of a text that takes at most so many columns.
pub fn beginning(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += c.width().unwrap_or(0);
        if taken > columns {
            return &text[..at];
        }
    }
    text
}

/// Columns of the terminal that standard output is; `None`: it is none, and nothing is to be cut.
pub fn columns() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    terminal_size::terminal_size_of(stdout).map(|(width, _)| usize::from(width.0).max(NARROWEST))
}

/// Each column's width, so that all of them, with two blanks between, fit into `columns`: the widest give first.
pub fn fitted(mut widths: Vec<usize>, columns: Option<usize>) -> Vec<usize> {
    const LEAST: usize = 6;
    let Some(columns) = columns else { return widths };
    let room = columns.saturating_sub(2 * widths.len().saturating_sub(1));
    for width in &mut widths {
        *width = (*width).min(room);
    }
    while widths.iter().sum::<usize>() > room {
        match widths.iter_mut().max() {
            Some(widest) if *widest > LEAST => *widest -= 1,
            _ => break,
        }
    }
    widths
}

/// A word that tells a state, in its colour.
pub fn painted(word: &str, colours: bool) -> String {
    let colour = match word.trim() {
        "ok" => 32,
        "warning" | "warning:" | "paused" | "inactive" => 33,
        "failed" | "error" | "error:" | "DAMAGED" => 31,
        _ => return word.to_owned(),
    };
    if colours { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() }
}

pub fn stdout_has_colours() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| has_colours(std::io::stdout().is_terminal(), |name| std::env::var(name).ok()))
}

pub fn stderr_has_colours() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| has_colours(std::io::stderr().is_terminal(), |name| std::env::var(name).ok()))
}

/// `NO_COLOR` with anything in it says no (no-color.org). Of Windows only terminals that say who they are are known to
/// understand.
fn has_colours(is_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let understands = match variable("TERM") {
        Some(term) => !term.is_empty() && term != "dumb",
        None => is_set("WT_SESSION"),
    };
    is_terminal && !is_set("NO_COLOR") && understands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_only_where_they_are_seen_and_wanted() {
        let with = |is_terminal: bool, variables: &[(&str, &str)]| {
            let find =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            has_colours(is_terminal, find)
        };
        let term = ("TERM", "xterm-256color");
        assert!(with(true, &[term]) && with(true, &[("WT_SESSION", "1")]) && with(true, &[term, ("NO_COLOR", "")]));
        assert!(!with(false, &[term]) && !with(true, &[]) && !with(true, &[("TERM", "dumb")]));
        assert!(!with(true, &[term, ("NO_COLOR", "1")]) && !with(true, &[("TERM", "")]));
    }

    #[test]
    fn only_states_have_colours() {
        assert_eq!(painted("ok     ", true), "\x1b[32mok     \x1b[0m");
        assert_eq!(painted("failed ", true), "\x1b[31mfailed \x1b[0m");
        assert_eq!((painted("ok", false), painted("okay", true)), ("ok".into(), "okay".into()));
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!((width("abc"), width("日本語"), width("e\u{301}")), (3, 6, 1));
        assert_eq!(beginning("日本語", 5), "日本");
        assert_eq!(beginning("abc", 5), "abc");
    }

    #[test]
    fn the_widest_columns_give() {
        assert_eq!(fitted(vec![5, 100, 30], None), [5, 100, 30]);
        assert_eq!(fitted(vec![5, 100, 30], Some(200)), [5, 100, 30]);
        let narrow = fitted(vec![5, 100, 30], Some(59));
        assert_eq!((narrow.iter().sum::<usize>(), narrow[0]), (55, 5));
        assert!(narrow[1].abs_diff(narrow[2]) <= 1);
        // So many columns fit nowhere; what there is of each is kept in sight.
        assert!(fitted(vec![90; 20], Some(120)).iter().all(|width| *width == 6));
    }
}
