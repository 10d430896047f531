//! Making the catalogue anew from the packs.
//!
//! The new one is made complete beside the old one and swapped in. Must never: change a pack's contents, go
//! over damage without being told to, replace a catalogue that knows of more than the packs hold, or leave
//! an old write-ahead log where SQLite would play it into the new file.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::catalogue::{Acknowledged, Catalogue, Place};
use super::error::{ArchiveError, ErrorKind, Result, Tried as _};
use super::frame::{self, Kind};
use super::layout::{Layout, Lock};
use super::record::{Head, Record};
use super::recover::{has_later_commit, renew};
use super::status::volume_of;
use super::verify::{Damage, VerifyOptions, verify};
use super::walk::{Closed, Step, TornTail, Walk, contradiction, pack_numbers};
use crate::base::fsio::{Fs, FsFile};

#[derive(Clone, Debug, Serialize)]
pub struct RebuildReport {
    pub packs: u64,
    pub commits: u64,
    pub items: u64,
    pub head: Head,
    /// Left for the next writer, which sets it aside.
    pub torn_tail: Option<TornTail>,
    /// With `accept_loss`: what the new catalogue does not have.
    pub lost: Vec<Damage>,
    /// An old catalogue that could not be read was moved here.
    pub moved_aside: Option<PathBuf>,
}

/// Makes the catalogue anew. Nothing is changed when it fails, but when the swap itself fails half-way there
/// is no catalogue, and the same call makes one.
pub fn rebuild(layout: &Layout, fs: &Fs, accept_loss: bool, holder: &str) -> Result<RebuildReport> {
    let identity = layout.identity()?;
    let _lock = Lock::take(layout, holder)?;
    let new = beside(&layout.catalogue, "new")?;
    for leftover in [new.clone(), with_suffix(&new, "-journal"), with_suffix(&new, "-wal"), with_suffix(&new, "-shm")] {
        remove_if_there(fs, &leftover)?;
    }
    let (old, readable) = old_catalogue(layout, identity.archive)?;
    // Before anything else, while the old catalogue can still tell what lay where.
    let lost =
        if accept_loss { verify(layout, &VerifyOptions::default(), &mut |_, _| {})?.damaged } else { Vec::new() };
    let known = old.as_ref().map_or_else(|| Ok(Vec::new()), Catalogue::packs)?;
    let ack = old.as_ref().map(Catalogue::acknowledged).transpose()?.flatten();
    let there = layout.list_packs()?;
    let fresh = Catalogue::create_unsynced(&new, identity.archive)?;
    let mut building = Building {
        layout,
        fs,
        accept_loss,
        old: old.as_ref(),
        ack,
        newest: there.last().copied().unwrap_or(0),
        fresh: &fresh,
        chain: Some(Head { seq: 0, hash: frame::genesis(identity.archive) }),
        ack_found: ack.is_none(),
        torn_tail: None,
    };
    for no in pack_numbers(&there, &known) {
        if there.contains(&no) {
            building.pack(no)?;
        } else if accept_loss {
            building.chain = None;
        } else {
            let path = layout.pack(no);
            return Err(ArchiveError::damaged(format!(
                "pack {no:06} is missing ({}); nothing was changed",
                path.display()
            )));
        }
    }
    building.not_behind(&known)?;
    let torn_tail = building.torn_tail.take();
    let head = fresh.acknowledged()?.map_or(Head { seq: 0, hash: frame::genesis(identity.archive) }, |ack| ack.head);
    let volume = volume_of(&fresh, head)?;
    fresh.db.close().map_err(|(_, error)| error)?;
    // Its files are removed below: SQLite must not hold them.
    drop(old);
    let moved_aside = swap(layout, fs, &new, readable)?;
    Ok(RebuildReport {
        packs: volume.packs,
        commits: volume.commits,
        items: volume.items,
        head,
        torn_tail,
        lost,
        moved_aside,
    })
}

/// The old catalogue, and whether what lies in its place is one that can be read. Another archive's, or one
/// of a newer version, is not ours to replace.
fn old_catalogue(layout: &Layout, archive: uuid::Uuid) -> Result<(Option<Catalogue>, bool)> {
    if !layout.catalogue.exists() {
        return Ok((None, true));
    }
    match Catalogue::archive_named(&layout.catalogue) {
        Ok(Some(_)) => {}
        Err(error) if error.kind == ErrorKind::Locked => return Err(error),
        Ok(None) | Err(_) => return Ok((None, false)),
    }
    let catalogue = Catalogue::open_to_replace(&layout.catalogue, archive)?;
    match catalogue.acknowledged().and_then(|_| catalogue.packs()) {
        Ok(_) => Ok((Some(catalogue), true)),
        Err(error) if error.kind == ErrorKind::Locked => Err(error),
        Err(_) => Ok((None, false)),
    }
}

struct Building<'a> {
    layout: &'a Layout,
    fs: &'a Fs,
    accept_loss: bool,
    old: Option<&'a Catalogue>,
    ack: Option<Acknowledged>,
    newest: u64,
    fresh: &'a Catalogue,
    chain: Option<Head>,
    ack_found: bool,
    torn_tail: Option<TornTail>,
}

impl Building<'_> {
    fn pack(&mut self, no: u64) -> Result<()> {
        let path = self.layout.pack(no);
        let file = self.fs.open_read_only(&path).tried("open", &path)?;
        let mut walk = Walk::new(&file, no, self.chain, self.old)?;
        let mut committed = 0;
        let mut index = None;
        // Where a batch began whose commit is lost; the next commit closes it too.
        let mut dangling = None;
        self.fresh.begin()?;
        loop {
            let start = walk.start;
            let Some(step) = walk.next()? else { break };
            let bad = match step {
                Step::Chunk { place, head, .. } => {
                    self.fresh.apply_chunk(&head.payload, head.raw_len, place)?;
                    None
                }
                Step::Record { place, record, .. } => self.record(&record, place, no)?.map(|why| (place.offset, why)),
                Step::Hole(hole) => {
                    if hole.kind == Some(Kind::Commit) {
                        dangling.get_or_insert(start);
                    }
                    Some((hole.offset, hole.why))
                }
                Step::Commit(closed) => match &closed.misfit {
                    Some(why) if !self.accept_loss || self.is_torn(&file, no, start)? => {
                        Some((closed.offset, why.clone()))
                    }
                    _ => {
                        committed = closed.finish;
                        dangling = None;
                        self.commit(no, &closed)?;
                        None
                    }
                },
                Step::Index { offset, body } => {
                    index = Some(offset);
                    let broken = frame::decode_index(&body).is_none() || walk.is_open();
                    broken.then(|| (offset, "the index of the pack is damaged".to_owned()))
                }
                Step::Seal { place, seal } => {
                    index = None;
                    self.fresh.apply(&Record::Seal(seal), place)?;
                    None
                }
            };
            if let Some((offset, why)) = bad {
                if self.is_torn(&file, no, start)? {
                    return self.torn(&file, no, start, committed, why);
                }
                if !self.accept_loss {
                    return Err(damaged(no, offset, &why));
                }
            }
            self.chain = walk.chain;
        }
        let unfinished = if walk.is_open() { Some(walk.start) } else { index };
        if let Some(start) = dangling.or(unfinished) {
            let why = "the batch at its end is not complete";
            let newest = no == self.newest;
            if newest && (self.accept_loss || self.is_unacknowledged(no, start)) {
                return self.torn(&file, no, start, committed, why.into());
            }
            if !self.accept_loss {
                return Err(damaged(no, start, why));
            }
            // In an earlier pack: commits of later ones follow, what could be read is kept.
        }
        self.fresh.commit()?;
        self.make_durable(&file, no, committed)
    }

    /// Behind what the old catalogue acknowledges (or without one), nothing complete after it, in the newest
    /// pack.
    fn is_torn(&self, file: &FsFile, no: u64, start: u64) -> Result<bool> {
        let next = self.chain.map_or(0, |chain| chain.seq.saturating_add(1));
        Ok(no == self.newest && self.is_unacknowledged(no, start) && !has_later_commit(file, no, start, next)?)
    }

    fn is_unacknowledged(&self, no: u64, start: u64) -> bool {
        self.ack.is_none_or(|ack| (no, start) >= (ack.pack, ack.finish))
    }

    fn torn(&mut self, file: &FsFile, no: u64, offset: u64, committed: u64, why: String) -> Result<()> {
        self.fresh.rollback();
        let len = file.len().tried("read", file.path())?;
        self.torn_tail = Some(TornTail { pack: no, offset, bytes: len.saturating_sub(offset), why });
        self.make_durable(file, no, committed)
    }

    /// Gives why the record cannot be taken over.
    fn record(&mut self, record: &Record, place: Place, no: u64) -> Result<Option<String>> {
        if self.accept_loss {
            // The record that opens the pack may be lost.
            self.fresh.db.execute("INSERT OR IGNORE INTO packs (no, bytes) VALUES (?1, 0)", [no as i64])?;
            let whole = match record {
                Record::Pack(_) => return Ok(None),
                Record::Item(item) => self.has_chunks(item)?,
                // Of an item that is lost nothing is claimed: on the gateway it is still to be fetched. So is
                // what was seen in an epoch that is lost: its number will be given out again.
                Record::Sighting(sighting) => {
                    self.fresh.item_place(sighting.item)?.is_some() && self.has_epoch(sighting.epoch)?
                }
                Record::Decode(decode) => self.fresh.item_place(decode.decode)?.is_some(),
                Record::Disposition(disposition) => self.has_epoch(disposition.epoch)?,
                Record::Filing(filing) => {
                    for one in &filing.filings {
                        let sql = "INSERT OR IGNORE INTO people (person, origin) VALUES (?1, 'lost')";
                        self.fresh.db.prepare_cached(sql)?.execute([&one.person])?;
                    }
                    true
                }
                _ => true,
            };
            if !whole {
                return Ok(None);
            }
        }
        match self.fresh.apply(record, place) {
            Ok(()) => Ok(None),
            Err(error) => {
                let why = contradiction(error)?;
                Ok((!self.accept_loss).then(|| format!("a record contradicts the ones before it: {why}")))
            }
        }
    }

    fn has_epoch(&self, epoch: u64) -> Result<bool> {
        Ok(self.fresh.db.prepare_cached("SELECT 1 FROM epochs WHERE id = ?1")?.exists([epoch as i64])?)
    }

    fn has_chunks(&self, item: &super::record::ItemRecord) -> Result<bool> {
        for part in &item.chunks {
            if self.fresh.chunk(&part.sha256)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn commit(&mut self, no: u64, closed: &Closed) -> Result<()> {
        // The writer reads the last acknowledged batch when it opens; of a damaged one, the commit only.
        let start = if closed.whole { closed.start } else { closed.offset };
        let ack = Acknowledged { head: closed.head, pack: no, start, finish: closed.finish };
        if self.ack.is_some_and(|old| (old.head, old.pack, old.finish) == (ack.head, ack.pack, ack.finish)) {
            self.ack_found = true;
        }
        match self.fresh.apply_commit(&ack, closed.at) {
            Err(error) if self.accept_loss => _ = contradiction(error)?,
            result => result?,
        }
        self.fresh.commit()?;
        self.fresh.begin()
    }

    /// The new catalogue acknowledges all complete batches: they must be on the disk, also those that the
    /// old one did not acknowledge.
    fn make_durable(&self, file: &FsFile, no: u64, committed: u64) -> Result<()> {
        let from = match self.ack {
            Some(ack) if no < ack.pack => return Ok(()),
            Some(ack) if no == ack.pack => ack.finish,
            _ => 0,
        };
        if from < committed { renew(self.fs, self.layout, file, from..committed) } else { Ok(()) }
    }

    /// What the old catalogue acknowledges must be there.
    fn not_behind(&self, known: &[(u64, u64, bool)]) -> Result<()> {
        if self.accept_loss {
            return Ok(());
        }
        let refused = |what: String| {
            Err(ArchiveError::new(ErrorKind::Damaged, format!("{what}; nothing was changed")).hint(
                "the old catalogue is ahead of the packs: restore the newest packs from a backup, or, if they are \
                 lost for good, run `gatepost rebuild --accept-loss`",
            ))
        };
        if let (false, Some(ack)) = (self.ack_found, self.ack) {
            return refused(format!("the old catalogue acknowledges commit {}, which the packs do not hold", ack.head));
        }
        let fresh = self.fresh.packs()?;
        for (no, bytes, sealed) in known {
            let found = fresh.iter().find(|(pack, _, _)| pack == no);
            if found.is_none_or(|(_, now, is_sealed)| now < bytes || (*sealed && !*is_sealed)) {
                return refused(format!("pack {no:06} holds less than the old catalogue says ({bytes} bytes)"));
            }
        }
        Ok(())
    }
}

fn damaged(no: u64, offset: u64, why: &str) -> ArchiveError {
    ArchiveError::new(
        ErrorKind::Damaged,
        format!("pack {no:06} is damaged at byte {offset}: {why}; nothing was changed"),
    )
    .hint(
        "`gatepost verify` names everything that is touched; restore the pack from a backup, or, if it is lost for \
         good, run `gatepost rebuild --accept-loss`",
    )
}

/// Puts the new file in the old one's place. SQLite plays a `-wal` file into whatever database stands beside
/// it under that name, so that the order is: the old database goes, then its log, then the new one comes,
/// each durable before the next. In between there is no catalogue, which stops everybody with the hint to
/// rebuild.
fn swap(layout: &Layout, fs: &Fs, new: &Path, readable: bool) -> Result<Option<PathBuf>> {
    let catalogue = &layout.catalogue;
    let folder = match catalogue.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs.open(new).and_then(|mut file| file.sync()).tried("sync", new)?;
    let mut moved_aside = None;
    if readable {
        remove_if_there(fs, catalogue)?;
    } else {
        let aside = beside(catalogue, "unreadable")?;
        fs.rename(catalogue, &aside).tried("move aside", catalogue)?;
        moved_aside = Some(aside);
    }
    fs.sync_dir(folder).tried("sync", folder)?;
    for suffix in ["-wal", "-shm", "-journal"] {
        remove_if_there(fs, &with_suffix(catalogue, suffix))?;
    }
    fs.sync_dir(folder).tried("sync", folder)?;
    fs.rename(new, catalogue).tried("put in place", catalogue)?;
    fs.sync_dir(folder).tried("sync", folder)?;
    Ok(moved_aside)
}

fn remove_if_there(fs: &Fs, path: &Path) -> Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ArchiveError::io("remove", path, &error)),
        _ => Ok(()),
    }
}

/// `.catalogue.sqlite3.new` beside `catalogue.sqlite3`.
fn beside(path: &Path, what: &str) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(ArchiveError::new(ErrorKind::Unusable, format!("{} names no file", path.display())));
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    hidden.push(what);
    Ok(path.with_file_name(hidden))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
