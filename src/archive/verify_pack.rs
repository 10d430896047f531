//! What `verify` does with one pack: from its first byte to its last.

use std::collections::BTreeSet;

use super::catalogue::Place;
use super::error::{ErrorKind, Result, Tried as _};
use super::frame::{self, Kind};
use super::record::{Record, SealRecord};
use super::recover::has_later_commit;
use super::verify::Verifier;
use super::verify_items;
use super::walk::{Closed, Hole, Step, TornTail, Walk, contradiction};
use crate::base::digest::{Digest, Hasher};
use crate::base::fsio::{Fs, FsFile};

/// What was seen of the pack so far.
struct PackCheck<'v, 'a> {
    all: &'v mut Verifier<'a>,
    no: u64,
    len: u64,
    /// What begins before this byte was acknowledged; `None`: there is no catalogue to ask.
    acknowledged_to: Option<u64>,
    /// Of every record: type, offset, SHA-256; what the index must say.
    found: Vec<(u8, u64, Digest)>,
    holes: bool,
    index: Option<u64>,
    sealed: bool,
    /// Items that the open batch speaks of, and those whose record was read.
    mentioned: BTreeSet<u64>,
    read: BTreeSet<u64>,
    /// Damages that touch all items of the open batch, and those that touch the ones without a record.
    touch_all: Vec<usize>,
    touch_unread: Vec<usize>,
}

pub(super) fn pack(all: &mut Verifier<'_>, no: u64, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let path = all.layout.pack(no);
    let file = Fs::real().open_read_only(&path).tried("open", &path)?;
    let mut walk = Walk::new(&file, no, all.chain, all.old)?;
    walk.scan.prove_chunks = all.options.sample.is_none();
    walk.scan.whole = Some(Hasher::new());
    let done = all.done;
    let mut check = PackCheck {
        no,
        len: walk.scan.end,
        acknowledged_to: acknowledged_to(all, no),
        found: Vec::new(),
        holes: false,
        index: None,
        sealed: false,
        mentioned: BTreeSet::new(),
        read: BTreeSet::new(),
        touch_all: Vec::new(),
        touch_unread: Vec::new(),
        all,
    };
    check.all.fresh.begin()?;
    let mut told = 0;
    loop {
        let offset = walk.scan.at;
        match walk.next() {
            Ok(Some(step)) => {
                if let Some(torn) = check.step(&file, &mut walk, step)? {
                    check.all.torn_tail = Some(torn);
                    check.all.fresh.rollback();
                    break;
                }
                check.all.chain = walk.chain;
            }
            Ok(None) => {
                check.end(&walk)?;
                check.all.fresh.commit()?;
                break;
            }
            // A sector that cannot be read ends this pack, not the verification; the catalogue knows what
            // else lies in it.
            Err(error) if error.kind == ErrorKind::Failed => {
                check.all.chain = None;
                check.damage(offset, error.what, BTreeSet::new());
                check.settle();
                check.all.fresh.commit()?;
                break;
            }
            Err(error) => return Err(error),
        }
        if walk.scan.at - told > 4 * 1024 * 1024 {
            told = walk.scan.at;
            progress(done + told, check.all.total);
        }
    }
    check.all.done = done + check.len;
    Ok(())
}

fn acknowledged_to(all: &Verifier<'_>, no: u64) -> Option<u64> {
    all.old?;
    let sealed = all.known.iter().find(|(known, _, sealed)| *known == no && *sealed).map_or(0, |(_, bytes, _)| *bytes);
    Some(match all.ack {
        Some(ack) if no < ack.pack => u64::MAX,
        Some(ack) if no == ack.pack => ack.finish.max(sealed),
        _ => sealed,
    })
}

impl PackCheck<'_, '_> {
    /// Gives the torn tail that the step began.
    fn step(&mut self, file: &FsFile, walk: &mut Walk<'_>, step: Step) -> Result<Option<TornTail>> {
        match step {
            Step::Chunk { place, head, payload } => {
                self.found.push((Kind::Chunk as u8, place.offset, head.payload));
                if !self.is_unacknowledged(walk.start) {
                    self.all.fresh.apply_chunk(&head.payload, head.raw_len, place)?;
                }
                if let Some(payload) = payload {
                    self.all.recent.put(head.payload, payload);
                }
            }
            Step::Record { place, head, record } => {
                self.found.push((head.kind as u8, place.offset, head.payload));
                self.record(&record, place, walk.start)?;
            }
            Step::Hole(hole) => {
                if self.is_torn(file, walk.start)? {
                    return Ok(Some(self.torn(walk.start, hole.why)));
                }
                self.hole(hole);
            }
            Step::Commit(closed) => {
                if let Some(why) = &closed.misfit
                    && self.is_torn(file, closed.start)?
                {
                    return Ok(Some(self.torn(closed.start, why.clone())));
                }
                self.found.push((Kind::Commit as u8, closed.offset, closed.payload));
                self.commit(&closed)?;
            }
            Step::Index { offset, body } => self.index(offset, &body, walk.is_open()),
            Step::Seal { place, seal } => {
                let whole = walk.scan.whole.clone().unwrap_or_default().finish();
                self.seal(place, seal, whole)?;
            }
        }
        Ok(None)
    }

    fn damage(&mut self, offset: u64, what: String, items: BTreeSet<u64>) -> usize {
        self.holes = true;
        self.all.damage(self.no, offset, what, items)
    }

    fn torn(&self, offset: u64, why: String) -> TornTail {
        TornTail { pack: self.no, offset, bytes: self.len - offset, why }
    }

    fn is_unacknowledged(&self, start: u64) -> bool {
        self.acknowledged_to.is_some_and(|to| start >= to)
    }

    /// Whether the batch at `start`, which is not whole, is the torn end of the newest pack.
    fn is_torn(&self, file: &FsFile, start: u64) -> Result<bool> {
        if self.no != self.all.newest || self.acknowledged_to.is_some_and(|to| start < to) {
            return Ok(false);
        }
        let next = self.all.chain.map_or(0, |chain| chain.seq.saturating_add(1));
        Ok(!has_later_commit(file, self.no, start, next)?)
    }

    fn record(&mut self, record: &Record, place: Place, start: u64) -> Result<()> {
        match record {
            Record::Pack(pack) => {
                let mine = pack.pack == self.no
                    && pack.archive == self.all.identity.archive
                    && self.all.chain.is_none_or(|chain| chain == pack.previous);
                if !mine || place.offset != 0 {
                    let what = format!("this is pack {:06} of archive {}", pack.pack, pack.archive);
                    self.damage(place.offset, what, BTreeSet::new());
                }
            }
            Record::Item(item) => {
                self.mentioned.insert(item.item);
                self.read.insert(item.item);
            }
            Record::Filing(filing) => _ = self.mentioned.insert(filing.filing),
            Record::Sighting(sighting) => _ = self.mentioned.insert(sighting.item),
            Record::Union(union) => _ = self.mentioned.insert(union.item),
            Record::Withdraw(withdraw) => _ = self.mentioned.insert(withdraw.withdraw),
            Record::Decode(decode) => _ = self.mentioned.insert(decode.decode),
            Record::Epoch(_)
            | Record::Disposition(_)
            | Record::Deleted(_)
            | Record::Person(_)
            | Record::Event(_)
            | Record::Commit(_)
            | Record::Seal(_) => {}
        }
        if self.is_unacknowledged(start) {
            // Only complete batches are taken over, and those by the next writer.
            return Ok(());
        }
        if let Err(error) = self.all.fresh.apply(record, place) {
            let what = contradiction(error)?;
            // Behind damage, records speak of things that were lost.
            if self.all.damaged.is_empty() {
                let what = format!("this record contradicts the ones before it: {what}");
                let at = self.damage(place.offset, what, BTreeSet::new());
                self.touch_all.push(at);
            }
        }
        match record {
            Record::Item(item) => verify_items::prove(self.all, item, place),
            _ => Ok(()),
        }
    }

    fn hole(&mut self, hole: Hole) {
        let what = match hole.kind {
            Some(_) => hole.why,
            None => format!("{} ({} bytes cannot be read)", hole.why, hole.end - hole.offset),
        };
        let exact = match hole.kind {
            Some(Kind::Chunk) => hole.items.is_empty() && hole.chunks.len() == 1,
            Some(Kind::Item) => hole.items.len() == 1 && hole.chunks.is_empty(),
            _ => false,
        };
        let unread = hole.kind == Some(Kind::Item) && hole.items.is_empty();
        // After a seal or before it there is no batch: no mail is touched by a damaged index.
        let outside = self.sealed || self.index.is_some();
        let at = self.damage(hole.offset, what, hole.items.into_iter().collect());
        self.all.lost.extend(hole.chunks.into_iter().map(|chunk| (chunk, at)));
        if unread {
            self.touch_unread.push(at);
        } else if !exact && !outside {
            self.touch_all.push(at);
            self.all.vague.push(at);
        }
        if hole.kind == Some(Kind::Commit) {
            self.settle();
        }
    }

    /// The batch is over: what is known of its items now goes to the damages that touch them.
    fn settle(&mut self) {
        let unread: BTreeSet<u64> = self.mentioned.difference(&self.read).copied().collect();
        for at in self.touch_unread.drain(..) {
            let touched = if unread.is_empty() { &self.mentioned } else { &unread };
            self.all.damaged[at].items.extend(touched);
        }
        for at in self.touch_all.drain(..) {
            self.all.damaged[at].items.extend(&self.mentioned);
        }
        self.mentioned.clear();
        self.read.clear();
    }

    fn commit(&mut self, closed: &Closed) -> Result<()> {
        if let Some(why) = &closed.misfit {
            let at = self.damage(closed.offset, why.clone(), BTreeSet::new());
            self.touch_all.push(at);
        }
        self.settle();
        self.all.saw_commit(closed.head);
        let all = &mut *self.all;
        if self.acknowledged_to.is_some_and(|to| closed.start >= to) {
            all.unacknowledged += 1;
            return Ok(());
        }
        let ack = super::catalogue::Acknowledged {
            head: closed.head,
            pack: self.no,
            start: closed.start,
            finish: closed.finish,
        };
        if all.ack == Some(ack) {
            all.ack_found = true;
        }
        match all.fresh.apply_commit(&ack, closed.at) {
            Ok(()) => {}
            Err(error) => {
                let what = contradiction(error)?;
                if all.damaged.is_empty() {
                    all.damage(self.no, closed.offset, what, BTreeSet::new());
                }
            }
        }
        all.fresh.commit()?;
        all.fresh.begin()
    }

    fn index(&mut self, offset: u64, body: &[u8], in_batch: bool) {
        if in_batch && !self.holes {
            self.damage(offset, "an index in the middle of a batch".into(), BTreeSet::new());
        }
        match frame::decode_index(body) {
            None => {
                _ = self.damage(offset, "the index of the pack is damaged; no mail is touched".into(), BTreeSet::new())
            }
            // What a hole hides cannot be compared, and is reported already.
            Some(entries) if !self.holes && entries != self.found => {
                self.damage(offset, "the index does not say what is in the pack".into(), BTreeSet::new());
            }
            Some(_) => {}
        }
        self.index = Some(offset);
    }

    fn seal(&mut self, place: Place, seal: SealRecord, whole: Digest) -> Result<()> {
        let right = seal.seal == self.no
            && self.index == Some(seal.bytes)
            && seal.sha256 == whole
            && self.all.chain == Some(seal.head);
        if !right && !self.holes {
            self.damage(place.offset, "the seal does not fit to the pack".into(), BTreeSet::new());
        }
        self.settle();
        self.sealed = true;
        let known = self.all.known.iter().any(|(no, _, sealed)| *no == self.no && *sealed);
        // A pack may have been sealed since the catalogue was looked at.
        if known || self.all.old.is_none() {
            self.all.fresh.apply(&Record::Seal(seal), place)?;
        }
        Ok(())
    }

    fn end(&mut self, walk: &Walk<'_>) -> Result<()> {
        if walk.is_open() || (self.index.is_some() && !self.sealed) {
            let start = if walk.is_open() { walk.start } else { self.index.unwrap_or(walk.start) };
            let why = if walk.is_open() { "the batch has no commit" } else { "the index has no seal" };
            let strict = self.acknowledged_to.is_some_and(|to| start < to) || self.no != self.all.newest;
            if !strict && self.touch_all.is_empty() && self.touch_unread.is_empty() {
                self.all.fresh.rollback();
                self.all.fresh.begin()?;
                self.all.torn_tail = Some(self.torn(start, why.into()));
                self.mentioned.clear();
                return Ok(());
            }
            if !self.holes {
                let at = self.damage(start, why.into(), BTreeSet::new());
                self.touch_all.push(at);
            }
        }
        self.settle();
        let known = self.all.known.iter().find(|(no, _, _)| *no == self.no).copied();
        let must_be_sealed = match known {
            Some((_, _, sealed)) => sealed,
            None => self.no != self.all.newest && self.all.old.is_none(),
        };
        if must_be_sealed && !self.sealed && !self.holes {
            self.damage(self.len, "the pack's seal is missing".into(), BTreeSet::new());
        }
        if let Some((_, bytes, true)) = known
            && bytes < self.len
            && !self.holes
        {
            self.damage(bytes, "something was added to a sealed pack".into(), BTreeSet::new());
        }
        Ok(())
    }
}
