//! Listing: windows of UIDs, each one command, each of bounded memory.
//!
//! Never `n:*`, which names the last message even below `n`; never `SEARCH ALL`, whose one long answer
//! takes the parser a time that grows with its square. A window is a span of UIDs that follows the
//! mailbox: 2,000 where UIDs are dense, doubling up to a million where they are rare.

use std::collections::BTreeMap;

use async_imap::imap_proto::{AttributeValue, Response};

use super::sets::uid_sets;
use super::wire::{Failure, Wire};
use crate::sources::Listed;

/// Items that a window should hold, about.
const WINDOW_ITEMS: u64 = 2_000;
/// UIDs that a window spans, at most.
const SPAN_MAX: u64 = 1 << 20;
/// Items kept of one window; the rest is listed again by the next, so that a window that grew over
/// empty space and then meets a full stretch does not hold a million items.
const KEPT_MAX: usize = 20_000;

/// What is asked for, and matched again before a deletion.
const ATTRIBUTES: &str = "(UID RFC822.SIZE INTERNALDATE)";

/// How the windows of one listing go on.
#[derive(Debug)]
pub(super) struct Windows {
    /// UIDNEXT when the folder was opened.
    next: u64,
    span: u64,
    /// The messages that can lie from here on, at most.
    left: u64,
    expected: u64,
}

impl Windows {
    pub fn new(next: u64, exists: u64) -> Windows {
        Windows { next, span: WINDOW_ITEMS, left: exists, expected: 1 }
    }

    /// The window that begins at `from`; `None`: nothing can be there.
    fn window(&mut self, from: u64, exists: u64) -> Option<(u64, u64)> {
        let from = from.max(1);
        if from != self.expected {
            // A listing that does not go on where the last window ended: all may still come.
            *self = Windows::new(self.next, exists);
        }
        if from >= self.next || exists == 0 {
            return None;
        }
        let last = self.next - 1;
        if self.left <= WINDOW_ITEMS {
            return Some((from, last));
        }
        Some((from, last.min(from.saturating_add(self.span - 1))))
    }

    /// Takes note of what the window ending at `last` held.
    fn held(&mut self, last: u64, items: usize) {
        let items = items as u64;
        // Only a guess that makes windows longer: mails may come and go, and then one window more is
        // read, but the range up to UIDNEXT is always covered.
        self.left = self.left.saturating_sub(items).max(1);
        self.expected = last + 1;
        self.span = match items {
            n if n * 4 >= WINDOW_ITEMS => (self.span / 2).max(WINDOW_ITEMS),
            n if n * 8 < WINDOW_ITEMS => (self.span * 2).min(SPAN_MAX),
            _ => self.span,
        };
        if items == KEPT_MAX as u64 {
            self.span = WINDOW_ITEMS;
        }
    }
}

/// The next window with anything in it, from `from` on.
pub(super) async fn list(
    wire: &mut Wire,
    windows: &mut Windows,
    exists: u64,
    from: u64,
) -> Result<(Vec<Listed>, Option<u64>), Failure> {
    let mut from = from;
    loop {
        let Some((first, last)) = windows.window(from, exists) else { return Ok((Vec::new(), None)) };
        let command = format!("UID FETCH {first}:{last} {ATTRIBUTES}");
        let range = u32::try_from(first).unwrap_or(u32::MAX)..=u32::try_from(last).unwrap_or(u32::MAX);
        let mut found = Found::default();
        wire.run(&command, |response| {
            found.take(response, |uid| range.contains(&uid));
            Ok(())
        })
        .await?;
        let last = match found.cut_at {
            Some(cut) => u64::from(cut) - 1,
            None => last,
        };
        let items = found.into_listed();
        windows.held(last, items.len());
        let next = (last + 1 < windows.next).then_some(last + 1);
        match next {
            Some(next) if items.is_empty() => from = next,
            _ => return Ok((items, next)),
        }
    }
}

/// Makes the server look at the folder anew. Until a command that allows for it, a server may speak of
/// mails that another client expunged as if they were there (Dovecot does, with size 0 and NIL bodies).
pub(super) async fn synchronise(wire: &mut Wire) -> Result<(), Failure> {
    wire.run("NOOP", |_| Ok(())).await.map(drop)
}

/// Lists exactly these UIDs; those that are gone are missing.
pub(super) async fn list_only(wire: &mut Wire, uids: &[u32]) -> Result<Vec<Listed>, Failure> {
    let mut all = Vec::new();
    if !uids.is_empty() {
        synchronise(wire).await?;
    }
    for set in uid_sets(uids, KEPT_MAX) {
        let mut found = Found::default();
        wire.run(&format!("UID FETCH {} {ATTRIBUTES}", set.text), |response| {
            found.take(response, |uid| set.uids.binary_search(&uid).is_ok());
            Ok(())
        })
        .await?;
        all.append(&mut found.into_listed());
    }
    Ok(all)
}

/// Which of these UIDs are there.
pub(super) async fn present(wire: &mut Wire, set: &super::sets::UidSet) -> Result<Vec<u32>, Failure> {
    let mut there = Vec::new();
    wire.run(&format!("UID FETCH {} (UID)", set.text), |response| {
        there.extend(uid_of(response).filter(|uid| set.uids.binary_search(uid).is_ok()));
        Ok(())
    })
    .await?;
    there.sort_unstable();
    there.dedup();
    Ok(there)
}

pub(super) fn uid_of(response: &Response<'_>) -> Option<u32> {
    let Response::Fetch(_, attributes) = response else { return None };
    attributes.iter().find_map(|attribute| match attribute {
        AttributeValue::Uid(uid) => Some(*uid),
        _ => None,
    })
}

/// The items of one window, in UID order, each once.
#[derive(Default)]
struct Found {
    items: BTreeMap<u32, (u64, String)>,
    /// Items from this UID on were left for the next window.
    cut_at: Option<u32>,
}

impl Found {
    /// Takes an answer of the listing; flag updates and what nobody asked for are left out.
    fn take(&mut self, response: &Response<'_>, wanted: impl Fn(u32) -> bool) {
        let Some(uid) = uid_of(response).filter(|&uid| wanted(uid)) else { return };
        if self.cut_at.is_some_and(|cut| uid >= cut) {
            return;
        }
        let Response::Fetch(_, attributes) = response else { return };
        let (mut size, mut date, mut unread) = (None, None, false);
        for attribute in attributes {
            match attribute {
                AttributeValue::Rfc822Size(n) => size = Some(u64::from(*n)),
                AttributeValue::InternalDate(text) => date = Some(text.to_string()),
                // A size beyond 32 bits, which the parser skips.
                AttributeValue::Unknown => unread = true,
                _ => {}
            }
        }
        let (size, date) = match (size, date) {
            (Some(size), date) => (size, date.unwrap_or_default()),
            (None, Some(date)) if unread => (u64::from(u32::MAX), date),
            (None, Some(date)) => (0, date),
            (None, None) => return,
        };
        self.items.insert(uid, (size, date));
        if self.items.len() > KEPT_MAX
            && let Some((uid, _)) = self.items.pop_last()
        {
            self.cut_at = Some(uid);
        }
    }

    fn into_listed(self) -> Vec<Listed> {
        let listed = |(uid, (size, date)): (u32, (u64, String))| Listed {
            native_id: uid.to_string(),
            order: Some(uid.into()),
            size,
            date,
        };
        self.items.into_iter().map(listed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks a mailbox that holds `uids`, and returns the windows.
    fn walk(uids: &[u64], next: u64) -> Vec<(u64, u64)> {
        let exists = uids.len() as u64;
        let mut windows = Windows::new(next, exists);
        let (mut from, mut walked, mut seen) = (0, Vec::new(), 0);
        while let Some((first, last)) = windows.window(from, exists) {
            assert!(first <= last && last < next);
            let items = uids.iter().filter(|uid| (first..=last).contains(uid)).count();
            seen += items;
            windows.held(last, items);
            walked.push((first, last));
            from = last + 1;
        }
        assert_eq!(seen, uids.len(), "every item once");
        walked
    }

    #[test]
    fn dense_mailboxes_are_cut_into_windows_of_two_thousand() {
        let uids: Vec<u64> = (1..=10_000).collect();
        let walked = walk(&uids, 10_001);
        assert_eq!(walked, [(1, 2000), (2001, 4000), (4001, 6000), (6001, 8000), (8001, 10_000)]);
    }

    #[test]
    fn few_messages_are_one_command_however_far_apart() {
        assert_eq!(walk(&[5, 4_000_000_000], 4_294_967_295), [(1, 4_294_967_294)]);
        assert_eq!(walk(&[], 4_294_967_295), []);
        assert_eq!(walk(&[7], 8), [(1, 7)]);
    }

    #[test]
    fn sparse_mailboxes_take_few_windows() {
        let uids: Vec<u64> = (0..4_000).map(|n| 1 + n * 1_000_000).collect();
        let walked = walk(&uids, 4_294_967_295);
        assert!(walked.len() < 2_300, "{}", walked.len());
        // A gap of four thousand million before everything: up to where the last ones can lie.
        let uids: Vec<u64> = (4_294_960_000..4_294_965_000).collect();
        assert!(walk(&uids, 4_294_967_295).len() < 4_200);
    }

    #[test]
    fn a_listing_may_begin_anywhere() {
        let mut windows = Windows::new(100_000, 50_000);
        assert_eq!(windows.window(90_000, 50_000), Some((90_000, 91_999)));
        assert_eq!(windows.window(100_000, 50_000), None);
        assert_eq!(windows.window(200_000, 50_000), None);
    }
}
