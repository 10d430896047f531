//! Opening an archive for writing: what the catalogue acknowledges is checked against the packs, complete
//! batches after it are taken over, a torn tail is set aside. `FORMAT.md` §6.
//!
//! Must never: cut anything that was acknowledged, or go on over damage.

use std::sync::Arc;

use super::catalogue::{Acknowledged, Catalogue, Place};
use super::core::{Core, Limits, OpenPack};
use super::encode::KnownChunks;
use super::error::{ArchiveError, ErrorKind, Result, Tried as _};
use super::frame::{self, Encoder};
use super::layout::{Layout, Lock};
use super::pack::{Found, Packs, Scan};
use super::record::{Head, Record};
use crate::base::clock::Clock;
use crate::base::digest::Hasher;
use crate::base::fsio::{Fs, FsFile};

/// How an archive is opened for writing.
pub struct OpenOptions {
    pub layout: Layout,
    /// Make a new archive where nothing is; without it a missing one is an error.
    pub create_missing: bool,
    /// Also in an existing empty folder (`--create-archive`).
    pub create_in_empty: bool,
    pub limits: Limits,
    pub fs: Fs,
    pub clock: Arc<dyn Clock>,
    /// Told to whoever finds the archive locked.
    pub holder: String,
}

/// One record of a batch that was read, with where it lies.
pub(super) enum Entry {
    Chunk { place: Place, head: frame::Head },
    Record { place: Place, record: Box<Record> },
}

/// A batch that was read completely and whose commit fits to it.
pub(super) struct ReadBatch {
    pub start: u64,
    pub finish: u64,
    pub head: Head,
    pub at: jiff::Timestamp,
    pub entries: Vec<Entry>,
}

/// What stands at a place where a batch may begin.
pub(super) enum Next {
    Batch(ReadBatch),
    Seal {
        place: Place,
        record: Box<Record>,
    },
    End,
    /// No complete batch, and why.
    Torn(String),
}

impl ReadBatch {
    /// Takes it over into the catalogue; the caller holds the transaction.
    pub fn apply(&self, catalogue: &Catalogue, pack: u64) -> Result<()> {
        for entry in &self.entries {
            match entry {
                Entry::Chunk { place, head } => catalogue.apply_chunk(&head.payload, head.raw_len, *place)?,
                Entry::Record { place, record } => catalogue.apply(record, *place)?,
            }
        }
        catalogue.apply_commit(&Acknowledged { head: self.head, pack, start: self.start, finish: self.finish }, self.at)
    }
}

/// Reads the batch that begins at `scan.at`, and proves it against its commit and the chain so far.
pub(super) fn next_batch(scan: &mut Scan<'_>, chain: Head) -> Result<Next> {
    let start = scan.at;
    let mut digests = Hasher::new();
    let mut entries = Vec::new();
    let mut index = false;
    loop {
        let offset = scan.at;
        let found = match scan.next()? {
            Some(found) => found,
            // Sealing was interrupted. Gone on behind the index, or over it, the pack would never be whole.
            None if index => return Ok(Next::Torn(format!("the index at byte {start} has no seal"))),
            None if entries.is_empty() => return Ok(Next::End),
            None => return Ok(Next::Torn(format!("the batch at byte {start} has no commit"))),
        };
        match found {
            Found::Damage { offset, error, .. } => return Ok(Next::Torn(format!("{error} (byte {offset})"))),
            Found::Index { .. } if entries.is_empty() && !index => index = true,
            Found::Index { .. } => return Ok(Next::Torn(format!("an index in the middle of a batch (byte {offset})"))),
            Found::Chunk { .. } if index => return Ok(Next::Torn(format!("the index at byte {start} has no seal"))),
            Found::Chunk { place, head, .. } => {
                digests.update(head.record_digest().as_bytes());
                entries.push(Entry::Chunk { place, head });
            }
            Found::Record { place, head, record } => match *record {
                Record::Commit(commit) => {
                    let batch = digests.finish();
                    let records = entries.len() as u64;
                    let hash = frame::commit_hash(commit.commit, commit.previous, records, batch, &commit.time);
                    let fits = commit.records == records
                        && commit.batch == batch
                        && commit.hash == hash
                        && commit.previous == chain.hash
                        && commit.commit == chain.seq + 1;
                    let at = match commit.time.parse() {
                        Ok(at) if fits => at,
                        _ => return Ok(Next::Torn(format!("commit {} does not fit (byte {offset})", commit.commit))),
                    };
                    let head = Head { seq: commit.commit, hash };
                    return Ok(Next::Batch(ReadBatch { start, finish: scan.at, head, at, entries }));
                }
                Record::Seal(_) if entries.is_empty() => return Ok(Next::Seal { place, record }),
                _ if index => return Ok(Next::Torn(format!("the index at byte {start} has no seal"))),
                Record::Seal(_) => {
                    return Ok(Next::Torn(format!("a seal in the middle of a batch (byte {offset})")));
                }
                _ => {
                    digests.update(head.record_digest().as_bytes());
                    entries.push(Entry::Record { place, record });
                }
            },
        }
    }
}

/// Whether a commit later than `next` stands anywhere after `from`, or a seal that counts what lies there as
/// committed: then it is damage and not the torn end of the last batch. (The commit of the torn batch itself
/// may well have reached the disk before the rest of it, and a torn seal before its index.)
pub(super) fn has_later_commit(file: &FsFile, pack: u64, from: u64, next: u64) -> Result<bool> {
    let mut scan = Scan::new(file, pack, from).tried("read", file.path())?;
    while let Some(found) = scan.next()? {
        if let Found::Record { record, .. } = found {
            match *record {
                Record::Commit(commit) if commit.commit > next => return Ok(true),
                Record::Seal(seal) if seal.bytes > from => return Ok(true),
                _ => {}
            }
        }
    }
    Ok(false)
}

/// Whether index and seal after the last batch, which ends at `end`, are what they should be.
fn is_whole_seal(file: &FsFile, pack: u64, end: u64, place: Place, record: &Record) -> Result<bool> {
    let (index, sha256) = super::core::index_of(file, pack, end)?;
    let expected = frame::encode_index(&index);
    let mut found = vec![0u8; expected.len()];
    if place.offset != end + expected.len() as u64 {
        return Ok(false);
    }
    file.read_exact_at(end, &mut found).tried("read", file.path())?;
    Ok(found == expected && matches!(record, Record::Seal(seal) if seal.bytes == end && seal.sha256 == sha256))
}

impl Core {
    /// Opens an archive, alone, and brings catalogue and packs together. The strings say what was mended.
    pub(super) fn open(options: OpenOptions) -> Result<(Core, Vec<String>)> {
        let OpenOptions { layout, create_missing, create_in_empty, limits, fs, clock, holder } = options;
        let missing = !layout.identity_file().exists();
        let may_create =
            if layout.root.exists() { create_in_empty && layout.is_as_good_as_empty() } else { create_missing };
        let identity = if missing && may_create {
            layout.create(&fs, layout.root.exists(), clock.now())?
        } else {
            layout.identity()?
        };
        let lock = Lock::take(&layout, &holder)?;
        let catalogue = open_catalogue(&layout, identity.archive)?;
        let known = KnownChunks::new(Catalogue::open_to_read(&layout.catalogue, identity.archive)?);
        let ack = catalogue.acknowledged()?;
        if ack.is_none() {
            layout.make_name_durable(&fs)?;
        }
        let next_item = catalogue.last_item()? + 1;
        let encoder = Encoder::new().tried("compress for", &layout.root)?;
        let head = ack.map_or(Head { seq: 0, hash: frame::genesis(identity.archive) }, |ack| ack.head);
        let mut core = Core {
            packs: Packs::new(layout.clone()),
            fs,
            clock,
            layout,
            identity,
            catalogue,
            head,
            pack: None,
            last_pack: 0,
            batch: None,
            encoder,
            limits,
            known,
            in_doubt: false,
            next_item,
            _lock: lock,
        };
        let mended = core.recover(ack)?;
        core.next_item = core.catalogue.last_item()? + 1;
        Ok((core, mended))
    }

    fn recover(&mut self, ack: Option<Acknowledged>) -> Result<Vec<String>> {
        self.check_packs()?;
        let there = self.layout.list_packs()?;
        let mut mended = Vec::new();
        let (mut no, mut at) = match ack {
            Some(ack) => {
                self.check_acknowledged(&ack)?;
                (ack.pack, ack.finish)
            }
            None => (1, 0),
        };
        self.last_pack = no.saturating_sub(1).max(ack.map_or(0, |ack| ack.pack));
        let mut taken = 0u64;
        let last = there.last().copied().unwrap_or(0);
        if let Some(missing) = (no..=last).find(|no| !there.contains(no)) {
            return Err(ArchiveError::damaged(format!("pack {missing:06} is missing and later ones are there")));
        }
        while there.contains(&no) {
            let newest = there.last() == Some(&no);
            let path = self.layout.pack(no);
            let reader = self.fs.open_read_only(&path).tried("open", &path)?;
            let mut scan = Scan::new(&reader, no, at).tried("read", &path)?;
            let mut sealed = false;
            let mut torn = None;
            let mut end = at;
            loop {
                match next_batch(&mut scan, self.head)? {
                    Next::End => break,
                    Next::Seal { place, record } => {
                        if !self.is_sealed(no)? {
                            // On its word the pack's length is acknowledged. A part of it may not have
                            // reached the disk, and all of it may be in the page cache only.
                            if !is_whole_seal(&reader, no, end, place, &record)? {
                                torn = Some("its index and its seal are not whole".to_owned());
                                break;
                            }
                            renew(&self.fs, &self.layout, &reader, end..scan.at)?;
                        }
                        sealed = true;
                        end = scan.at;
                        if !self.is_sealed(no)? {
                            self.catalogue.begin()?;
                            self.catalogue.apply(&record, place)?;
                            self.catalogue.commit()?;
                        }
                    }
                    Next::Batch(batch) => {
                        self.take_over(no, &reader, &batch)?;
                        taken += 1;
                        end = batch.finish;
                    }
                    Next::Torn(why) => {
                        torn = Some(why);
                        break;
                    }
                }
            }
            if end == 0 && torn.is_none() {
                // The writer ended between creating the file and its first write.
                torn = Some("it holds no batch".into());
            }
            if let Some(why) = torn {
                if !newest || sealed || has_later_commit(&reader, no, end, self.head.seq + 1)? {
                    return Err(ArchiveError::damaged(format!(
                        "pack {no:06} is damaged after byte {end}: {why}; nothing was cut"
                    )));
                }
                mended.extend(self.set_aside(no, end, &why)?);
            }
            self.last_pack = self.last_pack.max(no);
            if end == 0 {
                // Nothing of it was ever committed: it is gone, and its number is free again.
                self.last_pack = no - 1;
                break;
            }
            if sealed {
                // The process may have ended between the seal and this.
                if !std::fs::metadata(&path).tried("read", &path)?.permissions().readonly() {
                    self.fs.open(&path).and_then(|mut file| file.set_read_only()).tried("seal", &path)?;
                }
            } else {
                // A seal that failed half-way may have left it read-only.
                self.fs.make_writable(&path).tried("make writable", &path)?;
                let file = self.fs.open(&path).tried("open", &path)?;
                self.pack = Some(OpenPack { no, file, committed: end, len: end, buffer: Vec::new(), is_new: false });
                if !newest || end > self.limits.pack_bytes_max {
                    self.seal()?;
                }
            }
            no += 1;
            at = 0;
        }
        if taken > 0 {
            mended.push(format!("{taken} complete batches were found in the packs and taken over into the catalogue"));
        }
        for line in &mended {
            self.event("recovered", "agent", serde_json::json!({ "did": line }))?;
        }
        self.close()?;
        Ok(mended)
    }

    /// A missing or shortened pack stops everything.
    fn check_packs(&self) -> Result<()> {
        for (no, bytes, sealed) in self.catalogue.packs()? {
            let path = self.layout.pack(no);
            let len = match std::fs::metadata(&path) {
                Ok(metadata) => metadata.len(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(ArchiveError::damaged(format!("pack {no:06} is missing ({})", path.display())));
                }
                Err(error) => return Err(ArchiveError::io("read", &path, &error)),
            };
            if len < bytes || (sealed && len != bytes) {
                return Err(ArchiveError::damaged(format!(
                    "pack {no:06} has {len} bytes where the catalogue says {bytes} ({})",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    fn is_sealed(&self, no: u64) -> Result<bool> {
        Ok(self.catalogue.packs()?.iter().any(|(pack, _, sealed)| *pack == no && *sealed))
    }

    /// The acknowledged commit must stand where the catalogue says, unchanged.
    fn check_acknowledged(&mut self, ack: &Acknowledged) -> Result<()> {
        let there = self.packs.file(ack.pack).and_then(|file| {
            let mut scan = Scan::new(file, ack.pack, ack.start).tried("read", file.path())?;
            scan.end = scan.end.min(ack.finish);
            let mut last = None;
            while let Some(found) = scan.next()? {
                last = match found {
                    Found::Record { record, .. } => match *record {
                        Record::Commit(commit) => Some(Head { seq: commit.commit, hash: commit.hash }),
                        _ => None,
                    },
                    Found::Damage { offset, error, .. } => {
                        return Err(super::pack::damaged_at(ack.pack, offset, &error));
                    }
                    Found::Chunk { .. } | Found::Index { .. } => None,
                };
            }
            Ok(last)
        })?;
        if there == Some(ack.head) {
            return Ok(());
        }
        Err(ArchiveError::damaged(format!(
            "commit {} of the catalogue is not in pack {:06} at byte {}: the packs are older than the catalogue, \
             or another archive's",
            ack.head.seq, ack.pack, ack.start
        )))
    }

    /// A complete batch after the acknowledged one.
    fn take_over(&mut self, no: u64, reader: &FsFile, batch: &ReadBatch) -> Result<()> {
        let path = self.layout.pack(no);
        if !self.is_sealed(no)? {
            renew(&self.fs, &self.layout, reader, batch.start..batch.finish)?;
        }
        self.catalogue.begin()?;
        let applied = batch.apply(&self.catalogue, no);
        if let Err(error) = applied {
            self.catalogue.rollback();
            return Err(error);
        }
        self.fs.step("taken over").tried("commit the catalogue of", &path)?;
        self.catalogue.commit()?;
        self.head = batch.head;
        Ok(())
    }

    /// Copies a torn tail away, durably, and only then cuts it off. `None`: the pack was empty, and there
    /// was nothing to keep.
    fn set_aside(&mut self, no: u64, end: u64, why: &str) -> Result<Option<String>> {
        let path = self.layout.pack(no);
        self.fs.make_writable(&path).tried("make writable", &path)?;
        let mut file = self.fs.open(&path).tried("open", &path)?;
        let len = file.len().tried("read", &path)?;
        if len == 0 {
            drop(file);
            self.remove_pack(no)?;
            return Ok(None);
        }
        let stamp = self.clock.now().as_millisecond();
        let mut aside = self.layout.torn().join(format!("{no:06}-from-{end}-{stamp}.tail"));
        // An attempt that was interrupted may have left a copy under the same name, or a clock was set back.
        for n in 2.. {
            if !aside.exists() {
                break;
            }
            aside.set_file_name(format!("{no:06}-from-{end}-{stamp}-{n}.tail"));
        }
        let mut copy = self.fs.create(&aside).tried("create", &aside)?;
        let mut buffer = vec![0u8; 1024 * 1024];
        let mut at = end;
        while at < len {
            let n = (buffer.len() as u64).min(len - at) as usize;
            file.read_exact_at(at, &mut buffer[..n]).tried("read", &path)?;
            copy.write_at(at - end, &buffer[..n]).tried("write", &aside)?;
            at += n as u64;
        }
        copy.sync().tried("sync", &aside)?;
        self.fs.sync_dir(&self.layout.torn()).tried("sync", &self.layout.torn())?;
        if end == 0 {
            drop(file);
            self.remove_pack(no)?;
        } else {
            file.set_len(end).tried("shorten", &path)?;
            file.sync().tried("sync", &path)?;
        }
        Ok(Some(format!(
            "the last {} bytes of pack {no:06} belong to no complete batch ({why}); they were moved to {}",
            len - end,
            aside.display()
        )))
    }

    /// Removes a pack of which nothing was ever committed, so that its number is free again.
    fn remove_pack(&mut self, no: u64) -> Result<()> {
        let path = self.layout.pack(no);
        self.packs.close(no);
        self.fs.remove(&path).tried("remove", &path)?;
        let folder = self.layout.packs();
        self.fs.sync_dir(&folder).tried("sync", &folder)
    }
}

/// Makes batches durable that no catalogue acknowledged. Their bytes are written anew before the sync: after
/// a failed sync the system may call pages clean that never reached the disk.
pub(super) fn renew(fs: &Fs, layout: &Layout, reader: &FsFile, range: std::ops::Range<u64>) -> Result<()> {
    let path = reader.path();
    // Sealed and read-only: it was synced when it was sealed.
    if !std::fs::metadata(path).tried("read", path)?.permissions().readonly() {
        let mut writer = fs.open(path).tried("open", path)?;
        let mut buffer = vec![0u8; 1024 * 1024];
        let mut at = range.start;
        while at < range.end {
            let n = (buffer.len() as u64).min(range.end - at) as usize;
            reader.read_exact_at(at, &mut buffer[..n]).tried("read", path)?;
            writer.write_at(at, &buffer[..n]).tried("write", path)?;
            at += n as u64;
        }
        writer.sync().tried("sync", path)?;
    }
    let folder = layout.packs();
    fs.sync_dir(&folder).tried("sync", &folder)
}

fn open_catalogue(layout: &Layout, archive: uuid::Uuid) -> Result<Catalogue> {
    if layout.catalogue.exists() {
        return Catalogue::open(&layout.catalogue, archive);
    }
    Err(missing_catalogue(layout))
}

pub(super) fn missing_catalogue(layout: &Layout) -> ArchiveError {
    ArchiveError::new(
        ErrorKind::Damaged,
        format!("the archive {} has no catalogue ({})", layout.root.display(), layout.catalogue.display()),
    )
    .hint("`gatepost rebuild` makes it anew from the packs; nothing is lost")
}

#[cfg(test)]
mod tests {
    use super::super::test_support::*;
    use super::*;

    /// Killed between creating a pack and writing to it: the very first one, or the one after others.
    #[test]
    fn an_empty_pack_of_a_killed_writer_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let blank = Layout::new(&folder.path().join("archive"), None);
        drop(Core::open(options(&blank, 1)).unwrap());
        let fixture = Fixture::new(Shape { pack_bytes_max: 1, ..SMALL });
        for layout in [&blank, &fixture.layout] {
            let newest = layout.list_packs().unwrap().last().copied().unwrap_or(0);
            let empty = layout.pack(newest + 1);
            std::fs::write(&empty, b"").unwrap();
            let (mut core, mended) = Core::open(options(layout, 1)).unwrap();
            assert!(mended.is_empty(), "{mended:?}");
            core.event("test", "nobody", serde_json::json!({})).unwrap();
            core.close().unwrap();
            assert!(std::fs::metadata(&empty).unwrap().len() > 0, "its number is used again");
        }
    }
}
