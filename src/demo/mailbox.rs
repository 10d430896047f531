//! Folders and mails of the embedded gateway, in memory only.
//!
//! A mail's bytes never change; mails stand in rising order of their UID.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

/// 2026-01-05 08:00 UTC: mails appended without a date get one that is a minute later per UID, so that
/// two runs of a test see the same listing.
const DEFAULT_DATE_S: i64 = 1_767_600_000;

#[derive(Clone, Debug)]
pub struct Mail {
    pub uid: u32,
    /// As written, with the backslash of system flags.
    pub flags: BTreeSet<String>,
    pub internaldate: Timestamp,
    pub bytes: Arc<[u8]>,
    /// The same in every folder that shows this mail (X-GM-MSGID).
    pub id: u64,
}

impl Mail {
    pub fn new(uid: u32, bytes: impl Into<Arc<[u8]>>, internaldate: Option<Timestamp>) -> Mail {
        let default = || Timestamp::from_second(DEFAULT_DATE_S + i64::from(uid) * 61).unwrap_or(Timestamp::UNIX_EPOCH);
        Mail {
            uid,
            flags: BTreeSet::new(),
            internaldate: internaldate.unwrap_or_else(default),
            bytes: bytes.into(),
            id: uid.into(),
        }
    }

    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|set| set.eq_ignore_ascii_case(flag))
    }

    pub(super) fn add_flag(&mut self, flag: &str) {
        if !self.has_flag(flag) {
            self.flags.insert(flag.to_owned());
        }
    }

    pub(super) fn remove_flag(&mut self, flag: &str) {
        self.flags.retain(|set| !set.eq_ignore_ascii_case(flag));
    }

    pub(super) fn flag_list(&self) -> String {
        self.flags.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// `date-time` of RFC 3501, always in UTC.
    pub fn date_text(&self) -> String {
        self.internaldate.strftime("%d-%b-%Y %H:%M:%S +0000").to_string()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Folder {
    pub validity: u32,
    pub next: u32,
    /// Rises with every change of which mails there are.
    pub revision: u64,
    mails: Vec<Mail>,
}

impl Folder {
    pub fn new(validity: u32) -> Folder {
        Folder { validity, next: 1, revision: 0, mails: Vec::new() }
    }

    pub fn append(&mut self, bytes: Arc<[u8]>, date: Option<Timestamp>) -> u32 {
        let uid = self.next;
        self.next += 1;
        self.revision += 1;
        self.mails.push(Mail::new(uid, bytes, date));
        uid
    }

    /// The same mail under a number of this folder.
    pub fn adopt(&mut self, mail: &Mail) -> u32 {
        let uid = self.next;
        self.next += 1;
        self.revision += 1;
        self.mails.push(Mail { uid, flags: BTreeSet::new(), ..mail.clone() });
        uid
    }

    pub fn mails(&self) -> &[Mail] {
        &self.mails
    }

    pub fn uids(&self) -> Vec<u32> {
        self.mails.iter().map(|mail| mail.uid).collect()
    }

    pub fn get(&self, uid: u32) -> Option<&Mail> {
        let at = self.mails.binary_search_by_key(&uid, |mail| mail.uid).ok()?;
        self.mails.get(at)
    }

    pub fn get_mut(&mut self, uid: u32) -> Option<&mut Mail> {
        let at = self.mails.binary_search_by_key(&uid, |mail| mail.uid).ok()?;
        self.mails.get_mut(at)
    }

    pub fn remove(&mut self, goes: impl Fn(&Mail) -> bool) {
        self.revision += 1;
        self.mails.retain(|mail| !goes(mail));
    }

    /// Other mails under the same UIDVALIDITY, as after a restore from an old backup: UIDNEXT may fall.
    pub fn restore(&mut self, mut mails: Vec<Mail>) {
        self.revision += 1;
        mails.sort_by_key(|mail| mail.uid);
        mails.dedup_by_key(|mail| mail.uid);
        self.next = mails.last().map_or(1, |mail| mail.uid + 1);
        self.mails = mails;
    }
}

pub(super) type Folders = BTreeMap<String, Folder>;

/// INBOX is the one name without case (RFC 3501 §5.1).
pub(super) fn folder_name(name: &str) -> &str {
    if name.eq_ignore_ascii_case("inbox") { "INBOX" } else { name }
}

/// A LIST pattern: `*` stands for anything, `%` for anything without the delimiter.
pub(super) fn pattern_matches(pattern: &[u8], name: &[u8]) -> bool {
    // Greedy with one remembered star: linear enough, and no recursion over what a client sends.
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*' | b'%') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if c.eq_ignore_ascii_case(&name[n]) => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) if pattern[at] == b'*' || name[from] != b'/' => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                _ => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| matches!(c, b'*' | b'%'))
}
