//! The writer's state and the one path by which anything enters the archive.
//!
//! Must:
//! - a receipt is made in [`Core::close`] and [`Core::receipts`] only: after the pack's sync, after the item
//!   was put together from what was stored and compared, and after the catalogue's durable commit;
//! - after any error the writer is over: what it did not acknowledge counts as not written, and nothing
//!   more is acknowledged.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;

use super::catalogue::{Acknowledged, Catalogue, Place};
use super::encode::{KnownChunks, PreparedChunk, PreparedItem};
use super::error::{ArchiveError, ErrorKind, Result, Tried as _};
use super::frame::{self, Encoder, Framed, HEAD_LEN, IndexEntry, Kind};
use super::layout::{FORMAT, Identity, Layout, Lock};
use super::pack::Packs;
use super::record::*;
use crate::base::clock::Clock;
use crate::base::digest::{Digest, Hasher};
use crate::base::fsio::{Fs, FsFile};
use crate::mail::envelope::Envelope;
use crate::mail::regenerated::Regenerated;

/// When a batch is closed.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A pack longer than this is sealed after the batch.
    pub pack_bytes_max: u64,
    pub batch_bytes_max: u64,
    pub batch_items_max: usize,
    pub batch_age_max: std::time::Duration,
    /// Nothing came in for this long.
    pub idle: std::time::Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            pack_bytes_max: 1024 * 1024 * 1024,
            batch_bytes_max: 32 * 1024 * 1024,
            batch_items_max: 1000,
            batch_age_max: std::time::Duration::from_secs(1),
            idle: std::time::Duration::from_millis(20),
        }
    }
}

/// A sighting, as the gateway lists it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    pub epoch: u64,
    pub native_id: String,
    pub order: Option<u64>,
    pub size: u64,
    pub date: String,
}

/// An item to be archived.
pub struct Submission {
    pub seen: Seen,
    pub peer: String,
    pub fetched: Timestamp,
    pub item: PreparedItem,
    /// The gateway put it together anew.
    pub regenerated: Option<Regenerated>,
    pub outcome: Outcome,
    /// Where the answer goes once the batch is durable. Dropped unanswered when the writer ended.
    pub reply: UnboundedSender<Committed>,
    /// Dropped when the item's bytes are written: its share of the window.
    pub hold: Option<Box<dyn Send>>,
}

/// Where an item came from, as its record says it.
struct Origin {
    peer: String,
    fetched: Timestamp,
    regenerated: Option<Regenerated>,
}

/// What decoding and routing made of it.
pub enum Outcome {
    Message {
        message: Box<StoredMessage>,
        filings: Vec<Filing>,
        people: Vec<PersonRecord>,
        rules: u32,
    },
    Quarantine {
        because: String,
    },
    /// A policy leaves it with no filing: its identity is recorded, not its bytes.
    Exclude {
        rule: String,
        /// Of the policies; under others it is looked at again.
        mark: u32,
        envelope: Envelope,
    },
}

/// The answer: what became of a sighting, durably.
#[derive(Debug)]
pub struct Committed {
    pub disposition: Disposition,
    pub bytes: u64,
    pub receipt: Receipt,
}

/// Proof that a sighting's item and filings (or its exclusion) are durable. Only the archive makes one.
#[derive(Clone, Debug)]
pub struct Receipt {
    seen: Seen,
    disposition: Disposition,
}

impl Receipt {
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    pub fn disposition(&self) -> Disposition {
        self.disposition
    }
}

/// The newest pack, open for appending.
pub(super) struct OpenPack {
    pub no: u64,
    pub file: FsFile,
    /// Length up to the last commit.
    pub committed: u64,
    /// Length with what is still in `buffer`.
    pub len: u64,
    pub buffer: Vec<u8>,
    /// Its name is not durable yet.
    pub is_new: bool,
}

const BUFFER_BYTES: usize = 1024 * 1024;

pub(super) struct Batch {
    start: u64,
    records: u64,
    digests: Hasher,
    pub opened: Instant,
    pub bytes: u64,
    pending: Vec<Pending>,
}

/// An item of the open batch that waits for its proof.
struct Pending {
    item: Option<u64>,
    sha256: Digest,
    chunks: Vec<ChunkRef>,
    answer: Committed,
    reply: UnboundedSender<Committed>,
}

pub struct Core {
    pub(super) fs: Fs,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) layout: Layout,
    pub(super) identity: Identity,
    pub catalogue: Catalogue,
    pub(super) packs: Packs,
    pub(super) head: Head,
    pub(super) pack: Option<OpenPack>,
    pub(super) last_pack: u64,
    pub(super) batch: Option<Batch>,
    pub(super) encoder: Encoder,
    pub(super) limits: Limits,
    pub(super) known: KnownChunks,
    /// COMMIT was tried and not confirmed: the pack must not be cut back.
    pub(super) in_doubt: bool,
    pub(super) next_item: u64,
    pub(super) _lock: Lock,
}

impl Core {
    pub fn head(&self) -> Head {
        self.head
    }

    pub(super) fn batch_is_full(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| {
            batch.bytes >= self.limits.batch_bytes_max || batch.pending.len() >= self.limits.batch_items_max
        })
    }

    /// Opens a batch, and a pack when there is none to go on with.
    fn begin(&mut self) -> Result<()> {
        if self.batch.is_some() {
            return Ok(());
        }
        if self.pack.as_ref().is_some_and(|pack| pack.committed > self.limits.pack_bytes_max) {
            self.seal()?;
        }
        self.catalogue.begin()?;
        let fresh = self.pack.is_none();
        if fresh {
            let no = self.last_pack + 1;
            let path = self.layout.pack(no);
            let file = self.fs.create(&path).tried("create", &path)?;
            self.last_pack = no;
            self.pack = Some(OpenPack { no, file, committed: 0, len: 0, buffer: Vec::new(), is_new: true });
        }
        let start = self.pack.as_ref().map_or(0, |pack| pack.len);
        self.batch = Some(Batch {
            start,
            records: 0,
            digests: Hasher::new(),
            opened: Instant::now(),
            bytes: 0,
            pending: Vec::new(),
        });
        if fresh {
            self.put(&Record::Pack(PackRecord {
                pack: self.last_pack,
                archive: self.identity.archive,
                format: FORMAT,
                previous: self.head,
                about: "mail archive written by gatepost; this stream alternates between mail and lines of JSON \
                        that describe it, see FORMAT.md"
                    .into(),
            }))?;
        }
        Ok(())
    }

    /// Appends one metadata record to the open batch and takes it over into the catalogue.
    pub(super) fn put(&mut self, record: &Record) -> Result<()> {
        self.begin()?;
        let framed =
            self.encoder.frame(record.kind(), &record.to_payload()).tried("compress for", &self.layout.root)?;
        let place = self.append(&framed)?;
        self.catalogue.apply(record, place)
    }

    fn append(&mut self, framed: &Framed) -> Result<Place> {
        let (Some(pack), Some(batch)) = (&mut self.pack, &mut self.batch) else {
            return Err(ArchiveError::new(ErrorKind::Failed, "a record outside of a batch"));
        };
        let place = Place { pack: pack.no, offset: pack.len, stored_len: framed.head.stored_len };
        pack.buffer.extend_from_slice(&framed.head.encode());
        pack.buffer.extend_from_slice(&framed.stored);
        pack.len += framed.head.record_len();
        batch.records += 1;
        batch.bytes += framed.head.record_len();
        batch.digests.update(framed.head.record_digest().as_bytes());
        if pack.buffer.len() >= BUFFER_BYTES {
            pack.flush()?;
        }
        Ok(place)
    }

    /// Writes a chunk, unless the archive has it.
    pub fn chunk(&mut self, prepared: &PreparedChunk) -> Result<()> {
        if self.catalogue.chunk(&prepared.chunk.sha256)?.is_some() {
            return Ok(());
        }
        let Some(framed) = &prepared.framed else {
            return Err(ArchiveError::new(ErrorKind::Failed, "a chunk was taken for known and is not"));
        };
        self.begin()?;
        let place = self.append(framed)?;
        self.catalogue.apply_chunk(&prepared.chunk.sha256, prepared.chunk.bytes, place)?;
        self.known.written(prepared.chunk.sha256);
        Ok(())
    }

    /// Takes an item into the open batch.
    pub fn submit(&mut self, submission: Submission) -> Result<()> {
        self.begin()?;
        let Submission { seen, peer, fetched, item, regenerated, outcome, reply, hold } = submission;
        let from = Origin { peer, fetched, regenerated };
        let at = self.clock.now();
        let sha256 = item.sha256;
        let size = item.size;
        let (disposition, id, chunks) = if let Some(id) = self.catalogue.item_by_sha256(&sha256)? {
            if let Outcome::Message { filings, people, rules, .. } = outcome {
                self.file_as_well(&seen, id, filings, people, rules)?;
            }
            self.seen_again(&seen, id, at)?
        } else {
            match outcome {
                Outcome::Exclude { rule, mark, envelope } => {
                    self.put(&Record::Disposition(DispositionRecord {
                        disposition: Disposition::Excluded,
                        epoch: seen.epoch,
                        sighting: seen.native_id.clone(),
                        order: seen.order,
                        size: seen.size,
                        date: seen.date.clone(),
                        because: format!("{rule} {}", super::ledger::marked(mark)),
                        at,
                        sha256: Some(sha256),
                        envelope: Some(envelope),
                    }))?;
                    (Disposition::Excluded, None, Vec::new())
                }
                Outcome::Message { message, filings, people, rules } => {
                    let id = self.store(item, from, Some(*message), None)?;
                    for person in people {
                        if !self.catalogue.person_is_known(&person.person)? {
                            self.put(&Record::Person(person))?;
                        }
                    }
                    self.put(&Record::Filing(FilingRecord { filing: id.0, filings, rules }))?;
                    self.put_sighting(&seen, id.0, Disposition::Archived, at)?;
                    (Disposition::Archived, Some(id.0), id.1)
                }
                Outcome::Quarantine { because } => {
                    let id = self.store(item, from, None, Some(because))?;
                    self.put_sighting(&seen, id.0, Disposition::Quarantined, at)?;
                    (Disposition::Quarantined, Some(id.0), id.1)
                }
            }
        };
        drop(hold);
        let answer = Committed { disposition, bytes: size, receipt: Receipt { seen, disposition } };
        if let Some(batch) = &mut self.batch {
            batch.pending.push(Pending { item: id, sha256, chunks, answer, reply });
        }
        Ok(())
    }

    /// The same bytes stand in the archive: the sighting points to them. What is quarantined stays so.
    fn seen_again(&mut self, seen: &Seen, id: u64, at: Timestamp) -> Result<(Disposition, Option<u64>, Vec<ChunkRef>)> {
        let stored = self.item(id)?;
        let disposition = match stored.quarantine {
            Some(_) => Disposition::Quarantined,
            None => Disposition::AlreadyArchived,
        };
        // Twice the same mail in one file is one sighting.
        if !self.is_recorded(seen, id)? {
            self.put_sighting(seen, id, disposition, at)?;
        }
        Ok((disposition, Some(id), stored.chunks))
    }

    fn put_sighting(&mut self, seen: &Seen, item: u64, disposition: Disposition, at: Timestamp) -> Result<()> {
        self.put(&Record::Sighting(SightingRecord {
            sighting: seen.native_id.clone(),
            epoch: seen.epoch,
            order: seen.order,
            size: seen.size,
            date: seen.date.clone(),
            item,
            disposition,
            at,
        }))
    }

    fn store(
        &mut self,
        item: PreparedItem,
        from: Origin,
        message: Option<StoredMessage>,
        quarantine: Option<String>,
    ) -> Result<(u64, Vec<ChunkRef>)> {
        for chunk in &item.chunks {
            self.chunk(chunk)?;
        }
        let chunks: Vec<ChunkRef> = item.chunks.iter().map(|prepared| prepared.chunk).collect();
        let id = self.next_item;
        self.next_item += 1;
        let union = match &message {
            Some(message) => {
                self.catalogue.message_of(message.canonical_version, &message.canonical, id)?.map(|first| UnionRecord {
                    union: first,
                    item: id,
                    canonical_version: message.canonical_version,
                    canonical: message.canonical,
                })
            }
            None => None,
        };
        self.put(&Record::Item(ItemRecord {
            item: id,
            sha256: item.sha256,
            size: item.size,
            chunks: chunks.clone(),
            peer: from.peer,
            fetched: from.fetched,
            regenerated: from.regenerated,
            program: concat!("gatepost ", env!("CARGO_PKG_VERSION")).into(),
            message,
            quarantine,
        }))?;
        if let Some(union) = union {
            self.put(&Record::Union(union))?;
        }
        Ok((id, chunks))
    }

    pub(super) fn item(&mut self, id: u64) -> Result<ItemRecord> {
        for place in [self.catalogue.item_place(id)?, self.catalogue.decode_place(id)?].into_iter().flatten() {
            self.flush_for(place)?;
        }
        super::content::item_record(&self.catalogue, &mut self.packs, id)
    }

    /// A record of the open batch may still lie in the buffer.
    fn flush_for(&mut self, place: Place) -> Result<()> {
        match &mut self.pack {
            Some(pack) if pack.no == place.pack => pack.flush(),
            _ => Ok(()),
        }
    }

    /// Puts an item together from what was stored and compares it: the proof behind every receipt.
    fn prove(&mut self, item: u64, sha256: Digest, chunks: &[ChunkRef]) -> Result<()> {
        let mut hasher = Hasher::new();
        for chunk in chunks {
            let place = self
                .catalogue
                .chunk(&chunk.sha256)?
                .ok_or_else(|| ArchiveError::damaged(format!("a chunk of item {item} is not in the catalogue")))?;
            // Hashed as part of the item: equal content of the whole proves each chunk's.
            hasher.update(self.packs.chunk_to_hash(place)?);
        }
        if hasher.finish() != sha256 {
            return Err(ArchiveError::damaged(format!(
                "item {item} read back from the archive is not what was downloaded"
            )));
        }
        Ok(())
    }

    /// Closes the open batch: commit record, sync, proof, catalogue; then the answers go out.
    pub fn close(&mut self) -> Result<()> {
        let Some(batch) = self.batch.take() else { return Ok(()) };
        let at = self.clock.now();
        let time = at.to_string();
        let digest = batch.digests.finish();
        let seq = self.head.seq + 1;
        let hash = frame::commit_hash(seq, self.head.hash, batch.records, digest, &time);
        let commit = Record::Commit(CommitRecord {
            commit: seq,
            hash,
            previous: self.head.hash,
            records: batch.records,
            batch: digest,
            time,
        });
        let framed = self.encoder.frame(Kind::Commit, &commit.to_payload()).tried("compress for", &self.layout.root)?;
        let Some(pack) = &mut self.pack else {
            return Err(ArchiveError::new(ErrorKind::Failed, "a batch without a pack"));
        };
        pack.buffer.extend_from_slice(&framed.head.encode());
        pack.buffer.extend_from_slice(&framed.stored);
        pack.len += framed.head.record_len();
        pack.flush()?;
        pack.file.sync().tried("sync", pack.file.path())?;
        if pack.is_new {
            let folder = self.layout.packs();
            self.fs.sync_dir(&folder).tried("sync", &folder)?;
            pack.is_new = false;
        }
        let ack = Acknowledged { head: Head { seq, hash }, pack: pack.no, start: batch.start, finish: pack.len };
        for pending in &batch.pending {
            if let Some(item) = pending.item {
                self.prove(item, pending.sha256, &pending.chunks)?;
            }
        }
        self.catalogue.apply_commit(&ack, at)?;
        self.fs.step("catalogue commits").tried("commit the catalogue of", &self.layout.root)?;
        self.in_doubt = true;
        self.catalogue.commit()?;
        self.in_doubt = false;
        if let Some(pack) = &mut self.pack {
            pack.committed = ack.finish;
        }
        self.head = ack.head;
        self.known.committed();
        self.fs.step("catalogue committed").tried("go on in", &self.layout.root)?;
        for pending in batch.pending {
            // Nobody listens any more when the cycle was cut short; the sighting is found again.
            let _ = pending.reply.send(pending.answer);
        }
        Ok(())
    }

    /// Receipts for sightings of earlier sessions: each item is read back and compared anew. A sighting
    /// that has no item, is quarantined, or is gone gets none.
    pub fn receipts(&mut self, seen: &[Seen]) -> Result<Vec<Option<Receipt>>> {
        self.receipts_for(seen, &[Disposition::Archived, Disposition::AlreadyArchived, Disposition::Excluded])
    }

    /// The same for sightings that are quarantined, and for no other: their bytes are as durable, but nobody
    /// can read the mail yet. For those whom a policy or an operator names.
    pub fn receipts_of_quarantined(&mut self, seen: &[Seen]) -> Result<Vec<Option<Receipt>>> {
        self.receipts_for(seen, &[Disposition::Quarantined])
    }

    /// The same for sightings that a source began to delete and may not have finished. They may be recorded as deleted
    /// already: a listing of the folder that they left concludes so.
    pub fn receipts_of_unfinished(&mut self, seen: &[Seen]) -> Result<Vec<Option<Receipt>>> {
        let stored =
            [Disposition::Archived, Disposition::AlreadyArchived, Disposition::Excluded, Disposition::Quarantined];
        self.receipts_with(seen, &stored, |gone| gone != Some("vanished"))
    }

    fn receipts_for(&mut self, seen: &[Seen], wanted: &[Disposition]) -> Result<Vec<Option<Receipt>>> {
        self.receipts_with(seen, wanted, |gone| gone.is_none())
    }

    fn receipts_with(
        &mut self,
        seen: &[Seen],
        wanted: &[Disposition],
        is_there: impl Fn(Option<&str>) -> bool,
    ) -> Result<Vec<Option<Receipt>>> {
        self.close()?;
        let mut receipts = Vec::with_capacity(seen.len());
        for one in seen {
            let receipt = match self.catalogue.sighting(one.epoch, &one.native_id)? {
                Some(row) if !wanted.contains(&row.disposition) => None,
                Some(row) if is_there(row.gone.as_deref()) && row.matches(one) => match (row.disposition, row.item) {
                    (Disposition::Archived | Disposition::AlreadyArchived | Disposition::Quarantined, Some(id)) => {
                        let item = self.item(id)?;
                        self.prove(id, item.sha256, &item.chunks)?;
                        Some(Receipt { seen: one.clone(), disposition: row.disposition })
                    }
                    (Disposition::Excluded, _) => {
                        Some(Receipt { seen: one.clone(), disposition: Disposition::Excluded })
                    }
                    _ => None,
                },
                _ => None,
            };
            receipts.push(receipt);
        }
        Ok(receipts)
    }

    /// Closes the open batch and gives back what memory a busy time took.
    pub fn rest(&mut self) -> Result<Head> {
        self.close()?;
        self.catalogue.release_memory()?;
        self.known.release_memory()?;
        self.packs.release_memory();
        self.encoder = Encoder::new().tried("prepare to compress for", &self.layout.root)?;
        Ok(self.head)
    }

    /// Records an event in the chain.
    pub fn event(&mut self, event: &str, who: &str, what: serde_json::Value) -> Result<()> {
        let at = self.clock.now();
        self.put(&Record::Event(EventRecord { event: event.into(), at, who: who.into(), what }))
    }

    /// After an error: the catalogue forgets the batch, and the pack is cut back to its last commit, so that
    /// a full disk gets its space back. What cannot be cut back is a torn tail for the next writer.
    pub(super) fn abandon(&mut self) {
        self.batch = None;
        if self.in_doubt {
            return;
        }
        self.catalogue.rollback();
        if let Some(pack) = &mut self.pack {
            if pack.committed == 0 {
                let _ = self.fs.remove(pack.file.path());
            } else if pack.file.len().is_ok_and(|len| len > pack.committed) {
                let _ = pack.file.set_len(pack.committed).and_then(|()| pack.file.sync());
            }
        }
        self.pack = None;
    }

    /// Seals the newest pack: index, whole-file SHA-256, read-only. The batch before is durable already.
    pub(super) fn seal(&mut self) -> Result<()> {
        let Some(pack) = &mut self.pack else { return Ok(()) };
        let path = self.layout.pack(pack.no);
        let (index, sha256) = index_of(&pack.file, pack.no, pack.committed)?;
        let record = Record::Seal(SealRecord { seal: pack.no, bytes: pack.committed, sha256, head: self.head });
        let framed = self.encoder.frame(Kind::Seal, &record.to_payload()).tried("compress for", &path)?;
        let mut bytes = frame::encode_index(&index);
        let offset = pack.committed + bytes.len() as u64;
        bytes.extend_from_slice(&framed.head.encode());
        bytes.extend_from_slice(&framed.stored);
        pack.file.write_at(pack.committed, &bytes).tried("write", &path)?;
        pack.file.sync().tried("sync", &path)?;
        let place = Place { pack: pack.no, offset, stored_len: framed.head.stored_len };
        self.catalogue.begin()?;
        self.catalogue.apply(&record, place)?;
        self.fs.step("seal committed").tried("seal", &path)?;
        self.in_doubt = true;
        self.catalogue.commit()?;
        self.in_doubt = false;
        // Acknowledged: from here on no failure may cut it. And read-only not before, for one whose seal
        // failed is written by the next run.
        let Some(mut pack) = self.pack.take() else { return Ok(()) };
        pack.file.set_read_only().tried("make read-only", &path)
    }
}

impl OpenPack {
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let at = self.len - self.buffer.len() as u64;
        self.file.write_at(at, &self.buffer).tried("write", self.file.path())?;
        self.buffer.clear();
        Ok(())
    }
}

/// Index entries and the SHA-256 of a pack's first `len` bytes, read from the file itself.
pub(super) fn index_of(file: &FsFile, pack: u64, len: u64) -> Result<(Vec<IndexEntry>, Digest)> {
    let mut entries = Vec::new();
    let mut at = 0;
    while at < len {
        let head = super::pack::read_head(file, at).map_err(|error| match error {
            super::pack::ScanError::Io(error) => ArchiveError::io("read", file.path(), &error),
            super::pack::ScanError::Frame(error) => super::pack::damaged_at(pack, at, &error),
        })?;
        entries.push((head.kind, at, head.payload));
        at += HEAD_LEN as u64 + head.stored_len;
    }
    let mut hasher = Hasher::new();
    let mut buffer = vec![0u8; 1024 * 1024];
    let mut at = 0;
    while at < len {
        let n = (buffer.len() as u64).min(len - at) as usize;
        file.read_exact_at(at, &mut buffer[..n]).tried("read", file.path())?;
        hasher.update(&buffer[..n]);
        at += n as u64;
    }
    Ok((entries, hasher.finish()))
}
