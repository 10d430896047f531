//! Why an item was recognised as what it is: the rule that matched, and those that almost did.
//!
//! For `explain` and for people; no code decides on it. Bounded, because senders can provoke notes.

use std::cell::RefCell;

use crate::mail::words;

const NOTES_MAX: usize = 32;
const NOTE_BYTES_MAX: usize = 300;

#[derive(Default)]
pub struct Trail(RefCell<Vec<String>>);

impl Trail {
    /// One line, `rule: what it found`. Values from the mail lose their control characters.
    pub fn note(&self, rule: &str, found: impl AsRef<str>) {
        let mut notes = self.0.borrow_mut();
        if notes.len() < NOTES_MAX {
            let found = words::clean(found.as_ref());
            notes.push(words::truncated(format!("{rule}: {found}"), NOTE_BYTES_MAX));
        }
    }

    pub fn into_notes(self) -> Vec<String> {
        self.0.into_inner()
    }
}
