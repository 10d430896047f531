//! Going through a pack record by record, over damage, with the chain of commits checked on the way.
//!
//! What `verify` and `rebuild` share. Reading only: what follows from what is found, they decide. Nothing
//! that is found behind damage is believed to be whole because it can be read.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::catalogue::{Catalogue, Place};
use super::error::{ArchiveError, Result, Tried as _};
use super::frame::{self, HEAD_LEN, Kind};
use super::pack::{Found, Scan, read_head};
use super::record::{CommitRecord, Head, Record, SealRecord};
use crate::base::digest::{Digest, Hasher};
use crate::base::fsio::FsFile;

pub(super) enum Step {
    Chunk {
        place: Place,
        head: frame::Head,
        payload: Option<Vec<u8>>,
    },
    /// Neither a commit nor a seal.
    Record {
        place: Place,
        head: frame::Head,
        record: Box<Record>,
    },
    /// Nothing readable here.
    Hole(Hole),
    Commit(Closed),
    Index {
        offset: u64,
        body: Vec<u8>,
    },
    Seal {
        place: Place,
        seal: SealRecord,
    },
}

/// A place where a record cannot be read, and what is known of it all the same.
pub(super) struct Hole {
    pub offset: u64,
    pub end: u64,
    pub why: String,
    /// `None`: no telling; there may be several.
    pub kind: Option<Kind>,
    /// Chunks that stood here.
    pub chunks: Vec<Digest>,
    /// Items whose records stood here.
    pub items: Vec<u64>,
}

/// A batch's end.
pub(super) struct Closed {
    pub start: u64,
    /// Of the commit record, and what its header says of it.
    pub offset: u64,
    pub payload: Digest,
    pub finish: u64,
    pub head: Head,
    pub at: Timestamp,
    /// Why it is not the commit that belongs here.
    pub misfit: Option<String>,
    /// Nothing was damaged between its batch's start and here.
    pub whole: bool,
}

pub(super) struct Walk<'a> {
    pub scan: Scan<'a>,
    pack: u64,
    file: &'a FsFile,
    /// An older catalogue: it knows what lay where, also when a header is gone.
    known: Option<&'a Catalogue>,
    /// The commit before; `None` when it was lost.
    pub chain: Option<Head>,
    /// Where the batch that is being read began.
    pub start: u64,
    digests: Hasher,
    records: u64,
    whole: bool,
    /// The digest of every record of the batch is known, also of those whose payload is damaged.
    countable: bool,
}

impl<'a> Walk<'a> {
    pub fn new(file: &'a FsFile, pack: u64, chain: Option<Head>, known: Option<&'a Catalogue>) -> Result<Walk<'a>> {
        let scan = Scan::new(file, pack, 0).tried("read", file.path())?;
        Ok(Walk {
            scan,
            pack,
            file,
            known,
            chain,
            start: 0,
            digests: Hasher::new(),
            records: 0,
            whole: true,
            countable: true,
        })
    }

    /// Whether anything of a batch was read that no commit closed yet.
    pub fn is_open(&self) -> bool {
        self.records > 0 || !self.whole
    }

    pub fn next(&mut self) -> Result<Option<Step>> {
        let offset = self.scan.at;
        let Some(found) = self.scan.next()? else { return Ok(None) };
        Ok(Some(match found {
            Found::Chunk { place, head, payload } => {
                self.count(&head);
                Step::Chunk { place, head, payload }
            }
            // What follows it begins with it: without a seal, both are torn.
            Found::Index { offset, body } => Step::Index { offset, body },
            Found::Record { place, head, record } => match *record {
                Record::Commit(commit) => Step::Commit(self.close(offset, head.payload, &commit)),
                Record::Seal(seal) => {
                    self.begin();
                    Step::Seal { place, seal }
                }
                _ => {
                    self.count(&head);
                    Step::Record { place, head, record }
                }
            },
            Found::Damage { offset, error, next } => {
                let hole = self.hole(offset, next, error.to_string())?;
                if hole.kind == Some(Kind::Commit) {
                    self.chain = None;
                    self.begin();
                } else {
                    self.whole = false;
                }
                Step::Hole(hole)
            }
        }))
    }

    fn count(&mut self, head: &frame::Head) {
        self.digests.update(head.record_digest().as_bytes());
        self.records += 1;
    }

    fn begin(&mut self) {
        self.start = self.scan.at;
        self.digests = Hasher::new();
        self.records = 0;
        self.whole = true;
        self.countable = true;
    }

    fn close(&mut self, offset: u64, payload: Digest, commit: &CommitRecord) -> Closed {
        let batch = std::mem::take(&mut self.digests).finish();
        let own = frame::commit_hash(commit.commit, commit.previous, commit.records, commit.batch, &commit.time);
        let at: std::result::Result<Timestamp, _> = commit.time.parse();
        let no = commit.commit;
        let misfit = if own != commit.hash || at.is_err() {
            Some(format!("commit {no} has not the hash of its contents"))
        } else if self.countable && (commit.batch != batch || commit.records != self.records) {
            Some(format!("commit {no} belongs to another batch than the one before it"))
        } else {
            match self.chain {
                Some(chain) if chain.seq.checked_add(1) != Some(no) || chain.hash != commit.previous => {
                    Some(format!("commit {no} does not follow commit {}: the chain is broken", chain.seq))
                }
                _ => None,
            }
        };
        let head = Head { seq: no, hash: commit.hash };
        let closed = Closed {
            start: self.start,
            offset,
            payload,
            finish: self.scan.at,
            head,
            at: at.unwrap_or(Timestamp::UNIX_EPOCH),
            misfit,
            whole: self.whole,
        };
        self.chain = Some(head);
        self.begin();
        closed
    }

    /// Finds out what lay there: the header tells, when only the payload is damaged; else the old catalogue.
    fn hole(&mut self, offset: u64, next: Option<u64>, why: String) -> Result<Hole> {
        let mut hole =
            Hole { offset, end: next.unwrap_or(self.scan.end), why, kind: None, chunks: Vec::new(), items: Vec::new() };
        if let Ok(head) = read_head(self.file, offset) {
            hole.kind = Some(head.kind);
            if head.kind == Kind::Chunk {
                hole.chunks.push(head.payload);
            }
            self.count(&head);
        } else if let Some((sha256, stored, raw)) = self.known_chunk(offset)? {
            hole.kind = Some(Kind::Chunk);
            hole.chunks.push(sha256);
            let end = offset.saturating_add(HEAD_LEN as u64).saturating_add(stored);
            if end <= self.scan.end {
                // Better than any search: the payload may look like records of its own.
                self.scan.at = end;
                hole.end = end;
            }
            self.digests.update(frame::record_digest(Kind::Chunk, raw, sha256).as_bytes());
            self.records += 1;
        } else {
            self.countable = false;
            if self.known_commit_ends(hole.end)? {
                hole.kind = Some(Kind::Commit);
            }
        }
        let Some(known) = self.known else { return Ok(hole) };
        let range = params![self.pack as i64, offset as i64, hole.end as i64];
        let sql = "SELECT sha256 FROM chunks WHERE pack = ?1 AND offset >= ?2 AND offset < ?3";
        let mut statement = known.db.prepare_cached(sql)?;
        let mut rows = statement.query(range)?;
        while let Some(row) = rows.next()? {
            hole.chunks.push(super::catalogue::digest(row.get(0)?)?);
        }
        let sql = "SELECT id, offset FROM items WHERE pack = ?1 AND offset >= ?2 AND offset < ?3";
        let mut statement = known.db.prepare_cached(sql)?;
        let mut rows = statement.query(range)?;
        while let Some(row) = rows.next()? {
            hole.items.push(row.get::<_, i64>(0)? as u64);
            if row.get::<_, i64>(1)? as u64 == offset && hole.kind.is_none() {
                hole.kind = Some(Kind::Item);
            }
        }
        // A catalogue of an older version knows of none.
        if known.schema()? == Some(super::catalogue::SCHEMA_VERSION) {
            let sql = "SELECT id FROM items WHERE decode_pack = ?1 AND decode_offset >= ?2 AND decode_offset < ?3";
            let mut statement = known.db.prepare_cached(sql)?;
            let mut rows = statement.query(range)?;
            while let Some(row) = rows.next()? {
                hole.items.push(row.get::<_, i64>(0)? as u64);
            }
        }
        hole.chunks.sort_unstable();
        hole.chunks.dedup();
        Ok(hole)
    }

    fn known_chunk(&self, offset: u64) -> Result<Option<(Digest, u64, u64)>> {
        let Some(known) = self.known else { return Ok(None) };
        let sql = "SELECT sha256, stored, raw FROM chunks WHERE pack = ?1 AND offset = ?2";
        let found = known.db.prepare_cached(sql)?.query_row(params![self.pack as i64, offset as i64], |row| {
            Ok((super::catalogue::digest(row.get(0)?)?, row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64))
        });
        Ok(found.optional()?)
    }

    /// The record that ends where a batch ended is its commit.
    fn known_commit_ends(&self, finish: u64) -> Result<bool> {
        let Some(known) = self.known else { return Ok(false) };
        let sql = "SELECT 1 FROM commits WHERE pack = ?1 AND finish = ?2";
        Ok(known.db.prepare_cached(sql)?.exists(params![self.pack as i64, finish as i64])?)
    }
}

/// What is at the end of the newest pack and belongs to no complete batch; the next writer sets it aside.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TornTail {
    pub pack: u64,
    pub offset: u64,
    pub bytes: u64,
    pub why: String,
}

/// The packs that should be there: those that are, and every number below the highest.
pub(super) fn pack_numbers(there: &[u64], known: &[(u64, u64, bool)]) -> Vec<u64> {
    let last = there.iter().copied().chain(known.iter().map(|(no, _, _)| *no)).max().unwrap_or(0);
    // A file whose name has a wild number must not make a million missing packs.
    let dense = (1..=last.min(there.len() as u64 + known.len() as u64 + 1000)).collect::<Vec<u64>>();
    let mut all: Vec<u64> = dense.into_iter().chain(there.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A catalogue error while a record is taken over means that the records contradict each other, unless
/// the disk is to blame.
pub(super) fn contradiction(error: ArchiveError) -> Result<String> {
    match error.kind {
        super::error::ErrorKind::NoSpace | super::error::ErrorKind::Locked => Err(error),
        _ => Ok(error.what),
    }
}
