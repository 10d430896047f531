//! The decoding guard: no mail can keep the agent in a crash loop (invariant 4; `FORMAT.md` §7).
//!
//! A panic in a parser is caught where it happens; a stack overflow or an abort ends the process. So each
//! item is noted on disk while it is decoded. What stood there after an unclean exit is suspect: it is
//! decoded alone, and if the process ends again, it is archived undecoded and quarantined.
//!
//! The notes are not synced: they guard against the end of the process, not of the host.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, RwLock};

use crate::archive::Seen;
use crate::base::fsio::{self, Fs};

/// Room for one note; native ids of all protocols fit, a longer one is cut and matched by its beginning.
const SLOT: usize = 1024;

pub struct Guard {
    notes: File,
    suspects: Mutex<BTreeMap<String, u32>>,
    file: PathBuf,
    fs: Fs,
    /// Ordinary items are decoded side by side; a suspect alone.
    alone: RwLock<()>,
}

/// How an item is to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    Ordinary,
    Alone,
    /// Twice the process ended while it was decoded.
    Undecoded,
}

impl Guard {
    /// Reads what the last process left; the caller holds the archive's lock.
    pub fn open(archive: &Path, fs: &Fs) -> io::Result<Guard> {
        let file = archive.join("suspects.json");
        let mut suspects: BTreeMap<String, u32> = match fsio::read(&file) {
            // A damaged list costs one more crash at worst.
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let path = archive.join("decoding");
        let left = match fsio::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut found = false;
        for slot in left.chunks(SLOT) {
            let note = String::from_utf8_lossy(slot);
            let note = note.trim_end_matches(['\0', ' ']);
            if !note.is_empty() {
                *suspects.entry(note.to_owned()).or_default() += 1;
                found = true;
            }
        }
        if found {
            fs.write_durably(&file, &serde_json::to_vec(&suspects)?)?;
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let notes = fsio::patiently(|| options.open(&path))?;
        Ok(Guard { notes, suspects: Mutex::new(suspects), file, fs: fs.clone(), alone: RwLock::new(()) })
    }

    pub fn care(&self, seen: &Seen) -> Care {
        match lock(&self.suspects).get(&note(seen)) {
            None => Care::Ordinary,
            Some(1) => Care::Alone,
            Some(_) => Care::Undecoded,
        }
    }

    /// Runs `decode` with the item noted; `slot` is the calling thread's own.
    pub fn watch<T>(&self, slot: usize, seen: &Seen, care: Care, decode: impl FnOnce() -> T) -> io::Result<T> {
        let at = (slot * SLOT) as u64;
        let mut text = note(seen).into_bytes();
        text.resize(SLOT, 0);
        let noted = || {
            write_at(&self.notes, at, &text)?;
            let decoded = decode();
            write_at(&self.notes, at, &[0u8; SLOT])?;
            Ok(decoded)
        };
        // The note goes before the lock does: the next item, decoded alone, must not find an innocent's.
        if care == Care::Alone {
            let _alone = self.alone.write().unwrap_or_else(|poisoned| poisoned.into_inner());
            noted()
        } else {
            let _shared = self.alone.read().unwrap_or_else(|poisoned| poisoned.into_inner());
            noted()
        }
    }

    /// The item is durable; a suspect that was decoded, or quarantined, is suspect no more.
    pub fn settled(&self, seen: &Seen) -> io::Result<()> {
        let mut suspects = lock(&self.suspects);
        if suspects.is_empty() || suspects.remove(&note(seen)).is_none() {
            return Ok(());
        }
        self.fs.write_durably(&self.file, &serde_json::to_vec(&*suspects)?)
    }
}

/// The note of an item of the archive that is decoded anew; no epoch has the number 0.
pub fn of_item(item: u64) -> Seen {
    Seen { epoch: 0, native_id: format!("item-{item}"), order: None, size: 0, date: String::new() }
}

fn note(seen: &Seen) -> String {
    let mut text = format!("{}/{}", seen.epoch, seen.native_id);
    if text.len() > SLOT {
        let mut end = SLOT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(unix)]
fn write_at(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(windows)]
fn write_at(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, at).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(native: &str) -> Seen {
        Seen { epoch: 1, native_id: native.into(), order: None, size: 1, date: String::new() }
    }

    /// A process that ended while it decoded `native`.
    fn crash(archive: &Path, native: &str) {
        let guard = Guard::open(archive, &Fs::real()).unwrap();
        let mut text = note(&seen(native)).into_bytes();
        text.resize(SLOT, 0);
        write_at(&guard.notes, SLOT as u64, &text).unwrap();
    }

    #[test]
    fn the_second_crash_leaves_an_item_undecoded() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Guard::open(folder.path(), &Fs::real()).unwrap();
        assert_eq!(open().care(&seen("7")), Care::Ordinary);
        crash(folder.path(), "7");
        let guard = open();
        assert_eq!(guard.care(&seen("7")), Care::Alone);
        assert_eq!(guard.care(&seen("8")), Care::Ordinary);
        drop(guard);
        crash(folder.path(), "7");
        let guard = open();
        assert_eq!(guard.care(&seen("7")), Care::Undecoded);
        guard.settled(&seen("7")).unwrap();
        drop(guard);
        assert_eq!(open().care(&seen("7")), Care::Ordinary);
    }

    #[test]
    fn an_item_that_was_decoded_leaves_no_note() {
        let folder = tempfile::tempdir().unwrap();
        let guard = Guard::open(folder.path(), &Fs::real()).unwrap();
        assert_eq!(guard.watch(0, &seen("7"), Care::Ordinary, || 5).unwrap(), 5);
        drop(guard);
        assert_eq!(Guard::open(folder.path(), &Fs::real()).unwrap().care(&seen("7")), Care::Ordinary);
    }
}
