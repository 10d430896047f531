//! Proving an archive whole: every byte of every pack, the chain of commits, every item put together from
//! its chunks, and the catalogue against what the packs say.
//!
//! Must never: mend anything, call an archive whole that is not, or end before the last pack because of
//! damage in an earlier one. What was acknowledged and cannot be read is damage, also at the very end; what
//! follows the last acknowledged commit may be torn.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::rc::Rc;

use serde::Serialize;

use super::catalogue::{Acknowledged, Catalogue};
use super::error::{ArchiveError, ErrorKind, Result, Tried as _};
use super::frame;
use super::layout::{Identity, Layout};
use super::pack::Packs;
use super::record::Head;
use super::status::volume_of;
use super::verify_items::{self, Names};
use super::walk::{TornTail, pack_numbers};
use super::{compare, verify_pack};
use crate::base::digest::Digest;

#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// The chain must contain exactly this commit.
    pub expect_head: Option<Head>,
    /// N of M: decompress and put together only this share of the items; checksums and the chain are
    /// tested in full all the same.
    pub sample: Option<(u32, u32)>,
}

/// Keys as in `verify --json`.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// Nothing is damaged, and the catalogue says what the packs say.
    pub ok: bool,
    pub items: u64,
    pub messages: u64,
    pub filings: u64,
    pub chunks: u64,
    pub bytes_raw: u64,
    pub bytes_stored: u64,
    pub commits: u64,
    pub head: Head,
    pub damaged: Vec<Damage>,
    /// Complete batches that no catalogue acknowledges; the next writer takes them over.
    pub unacknowledged: u64,
    pub torn_tail: Option<TornTail>,
    /// What `rebuild` mends.
    pub catalogue_differences: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Damage {
    pub pack: u64,
    pub offset: u64,
    pub what: String,
    /// For people: `item 17 (uid 5 of INBOX)`.
    pub items: Vec<String>,
    /// The same, as numbers.
    pub item_ids: Vec<u64>,
}

/// A damage whose items are still being collected.
pub(super) struct Open {
    pub pack: u64,
    pub offset: u64,
    pub what: String,
    pub items: BTreeSet<u64>,
}

pub(super) struct Verifier<'a> {
    pub identity: &'a Identity,
    pub layout: &'a Layout,
    pub options: &'a VerifyOptions,
    /// The archive's catalogue, as it was when this began; its transaction is held open.
    pub old: Option<&'a Catalogue>,
    pub ack: Option<Acknowledged>,
    /// Number, length and sealed, as the catalogue says.
    pub known: Vec<(u64, u64, bool)>,
    pub newest: u64,
    /// What the packs say, collected anew.
    pub fresh: &'a Catalogue,
    pub packs: Packs,
    pub recent: Recent,
    pub chain: Option<Head>,
    pub damaged: Vec<Open>,
    /// Damages of records that may speak of any item.
    pub vague: Vec<usize>,
    /// Chunks that cannot be read, and the damage behind each.
    pub lost: HashMap<Digest, usize>,
    pub ack_found: bool,
    pub head_found: bool,
    pub head_instead: Option<Digest>,
    pub unacknowledged: u64,
    pub torn_tail: Option<TornTail>,
    pub done: u64,
    pub total: u64,
}

/// Payloads of the chunks that were read last: an item follows its chunks.
#[derive(Default)]
pub(super) struct Recent {
    order: VecDeque<Digest>,
    payloads: HashMap<Digest, Rc<[u8]>>,
    bytes: usize,
}

const RECENT_BYTES_MAX: usize = 16 * 1024 * 1024;

impl Recent {
    pub fn put(&mut self, sha256: Digest, payload: Vec<u8>) {
        if self.payloads.contains_key(&sha256) {
            return;
        }
        self.bytes += payload.len();
        self.payloads.insert(sha256, payload.into());
        self.order.push_back(sha256);
        while self.bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.payloads.remove(&oldest).map_or(0, |payload| payload.len());
        }
    }

    pub fn get(&self, sha256: &Digest) -> Option<Rc<[u8]>> {
        self.payloads.get(sha256).cloned()
    }
}

/// Goes through the whole archive. `progress` is told bytes done and bytes in all.
pub fn verify(layout: &Layout, options: &VerifyOptions, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport> {
    let identity = layout.identity()?;
    if options.sample.is_some_and(|(n, of)| n == 0 || n > of) {
        return Err(ArchiveError::new(ErrorKind::Unusable, "a sample is N/M, with N from 1 to M"));
    }
    let (old, mut differences) = snapshot(layout, &identity)?;
    let ack = old.as_ref().map(Catalogue::acknowledged).transpose()?.flatten();
    let known = old.as_ref().map_or_else(|| Ok(Vec::new()), Catalogue::packs)?;
    let there = layout.list_packs()?;
    let mut total = 0;
    for no in &there {
        let path = layout.pack(*no);
        total += std::fs::metadata(&path).tried("read", &path)?.len();
    }
    let folder = tempfile::tempdir().tried("create a temporary folder for", &layout.root)?;
    let fresh = Catalogue::create_unsynced(&folder.path().join("catalogue.sqlite3"), identity.archive)?;
    let numbers = pack_numbers(&there, &known);
    let mut verifier = Verifier {
        identity: &identity,
        layout,
        options,
        old: old.as_ref(),
        ack,
        known,
        newest: numbers.last().copied().unwrap_or(0),
        fresh: &fresh,
        packs: Packs::new(layout.clone()),
        recent: Recent::default(),
        chain: Some(Head { seq: 0, hash: frame::genesis(identity.archive) }),
        damaged: Vec::new(),
        vague: Vec::new(),
        lost: HashMap::new(),
        ack_found: ack.is_none(),
        head_found: options.expect_head.is_none(),
        head_instead: None,
        unacknowledged: 0,
        torn_tail: None,
        done: 0,
        total,
    };
    verifier.saw_commit(Head { seq: 0, hash: frame::genesis(identity.archive) });
    for no in &numbers {
        verifier.missing_or_short(*no, there.contains(no))?;
    }
    for no in numbers {
        if there.contains(&no) {
            verify_pack::pack(&mut verifier, no, progress)?;
        } else {
            verifier.chain = None;
        }
    }
    progress(total, total);
    verifier.heads()?;
    verify_items::prove_decoded_anew(&mut verifier)?;
    verifier.items_without_records()?;
    verifier.items_with_less_said()?;
    if verifier.damaged.is_empty()
        && let Some(old) = &old
    {
        differences.extend(compare::differences(old, &fresh)?);
    }
    verifier.report(differences)
}

/// The catalogue in one state, held for as long as the verification takes. A catalogue that is missing or
/// cannot be read does not keep the packs from being verified.
fn snapshot(layout: &Layout, identity: &Identity) -> Result<(Option<Catalogue>, Vec<String>)> {
    if !layout.catalogue.exists() {
        return Ok((None, vec![format!("the catalogue is missing ({})", layout.catalogue.display())]));
    }
    let opened = Catalogue::open_to_read(&layout.catalogue, identity.archive).and_then(|catalogue| {
        catalogue.db.execute_batch("BEGIN")?;
        catalogue.acknowledged()?;
        catalogue.packs()?;
        Ok(catalogue)
    });
    match opened {
        Ok(catalogue) => Ok((Some(catalogue), Vec::new())),
        Err(error) if error.kind == ErrorKind::Locked => Err(error),
        Err(error) => Ok((None, vec![error.what])),
    }
}

impl Verifier<'_> {
    pub(super) fn damage(&mut self, pack: u64, offset: u64, what: String, items: BTreeSet<u64>) -> usize {
        self.damaged.push(Open { pack, offset, what, items });
        self.damaged.len() - 1
    }

    /// A commit was found in the chain.
    pub(super) fn saw_commit(&mut self, head: Head) {
        if let Some(expected) = self.options.expect_head
            && expected.seq == head.seq
        {
            self.head_found = expected == head;
            self.head_instead = Some(head.hash);
        }
    }

    /// Before the packs are read: what lies in those that are not there, or not all there.
    fn missing_or_short(&mut self, no: u64, there: bool) -> Result<()> {
        let path = self.layout.pack(no);
        let said = self.known.iter().find(|(known, _, _)| *known == no).map(|(_, bytes, sealed)| (*bytes, *sealed));
        let len = if there { std::fs::metadata(&path).tried("read", &path)?.len() } else { 0 };
        let what = match said {
            _ if !there => format!("pack {no:06} is missing"),
            Some((bytes, _)) if len < bytes => format!("pack {no:06} has {len} bytes where the catalogue says {bytes}"),
            _ => return Ok(()),
        };
        let mut items = BTreeSet::new();
        let mut chunks = Vec::new();
        if let Some(old) = self.old {
            let mut statement = old.db.prepare(
                "SELECT id FROM items WHERE (pack = ?1 AND offset + 76 > ?2)
                 OR (decode_pack = ?1 AND decode_offset + 76 > ?2)",
            )?;
            let mut rows = statement.query([no as i64, len as i64])?;
            while let Some(row) = rows.next()? {
                items.insert(row.get::<_, i64>(0)? as u64);
            }
            let sql = "SELECT sha256 FROM chunks WHERE pack = ?1 AND offset + 76 + stored > ?2";
            let mut statement = old.db.prepare(sql)?;
            let mut rows = statement.query([no as i64, len as i64])?;
            while let Some(row) = rows.next()? {
                chunks.push(super::catalogue::digest(row.get(0)?)?);
            }
        }
        let at = self.damage(no, len, what, items);
        self.lost.extend(chunks.into_iter().map(|chunk| (chunk, at)));
        Ok(())
    }

    /// After the packs were read: the heads that must be in the chain.
    fn heads(&mut self) -> Result<()> {
        if let (false, Some(ack)) = (self.ack_found, self.ack) {
            let what = format!(
                "commit {} is not in the packs as the catalogue acknowledges it: they are older, or another archive's",
                ack.head.seq
            );
            self.damage(ack.pack, ack.start, what, BTreeSet::new());
        }
        if let (false, Some(expected)) = (self.head_found, self.options.expect_head) {
            let instead = match self.head_instead {
                Some(hash) => format!("commit {} has the hash {hash}", expected.seq),
                None => format!("there is no commit {}", expected.seq),
            };
            self.damage(
                self.newest,
                0,
                format!("the expected head {expected} is not in the chain: {instead}"),
                BTreeSet::new(),
            );
        }
        Ok(())
    }

    /// Items that the catalogue acknowledges and no pack holds, unless a damage names them already.
    fn items_without_records(&mut self) -> Result<()> {
        let Some(old) = self.old else { return Ok(()) };
        let mut of_pack: std::collections::BTreeMap<u64, (u64, BTreeSet<u64>)> = Default::default();
        let named: BTreeSet<u64> = self.damaged.iter().flat_map(|damage| damage.items.iter().copied()).collect();
        {
            let mut found = self.fresh.db.prepare("SELECT 1 FROM items WHERE id = ?1 AND sha256 = ?2")?;
            let mut statement = old.db.prepare("SELECT id, sha256, pack, offset FROM items ORDER BY id")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (id, sha256): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
                if !found.exists(rusqlite::params![id, sha256])? && !named.contains(&(id as u64)) {
                    let offset = row.get::<_, i64>(3)? as u64;
                    let entry = of_pack.entry(row.get::<_, i64>(2)? as u64).or_insert((offset, BTreeSet::new()));
                    entry.0 = entry.0.min(offset);
                    entry.1.insert(id as u64);
                }
            }
        }
        for (pack, (offset, items)) in of_pack {
            let what = format!("pack {pack:06} does not hold the records of items that the catalogue acknowledges");
            self.damage(pack, offset, what, items);
        }
        Ok(())
    }

    /// Items of which the catalogue knows a decoding, a sighting or a filing that was not read: they are touched by the
    /// records that are damaged.
    fn items_with_less_said(&mut self) -> Result<()> {
        let (Some(old), false) = (self.old, self.vague.is_empty()) else { return Ok(()) };
        let mut items = BTreeSet::new();
        let all = [
            (
                "SELECT id, decode_pack, decode_offset, quarantine, sha256 FROM items WHERE decode_pack NOT NULL",
                "SELECT 1 FROM items
                 WHERE id = ?1 AND decode_pack IS ?2 AND decode_offset IS ?3 AND quarantine IS ?4 AND sha256 = ?5",
            ),
            (
                "SELECT item, epoch, native, disposition, gone FROM sightings WHERE item IS NOT NULL",
                "SELECT 1 FROM sightings WHERE item = ?1 AND epoch = ?2 AND native = ?3 AND disposition = ?4 AND gone IS ?5",
            ),
            (
                "SELECT f.item, p.person, f.folder, f.because, f.message FROM filings f JOIN people p ON p.id = f.person",
                "SELECT 1 FROM filings f JOIN people p ON p.id = f.person
                 WHERE f.item = ?1 AND p.person = ?2 AND f.folder = ?3 AND f.because = ?4 AND f.message = ?5",
            ),
        ];
        for (all, one) in all {
            let (mut statement, mut found) = (old.db.prepare(all)?, self.fresh.db.prepare(one)?);
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let mut values: [rusqlite::types::Value; 5] = std::array::from_fn(|_| rusqlite::types::Value::Null);
                for (column, value) in values.iter_mut().enumerate() {
                    *value = row.get(column)?;
                }
                if !found.exists(rusqlite::params_from_iter(values.iter()))? {
                    items.insert(row.get::<_, i64>(0)? as u64);
                }
            }
        }
        let named: BTreeSet<u64> = self.damaged.iter().flat_map(|damage| damage.items.iter().copied()).collect();
        let items: Vec<u64> = items.difference(&named).copied().collect();
        for at in &self.vague {
            self.damaged[*at].items.extend(&items);
        }
        Ok(())
    }

    fn report(self, catalogue_differences: Vec<String>) -> Result<VerifyReport> {
        let head = match (self.chain, self.ack) {
            // Batches after it count only once a writer took them over.
            (_, Some(ack)) if self.ack_found => ack.head,
            (Some(head), _) => head,
            (None, Some(ack)) => ack.head,
            (None, None) => Head { seq: 0, hash: frame::genesis(self.identity.archive) },
        };
        let volume = volume_of(self.fresh, head)?;
        let named: BTreeSet<u64> = self.damaged.iter().flat_map(|damage| damage.items.iter().copied()).collect();
        let names = Names::of(&named, [Some(self.fresh), self.old])?;
        let damaged: Vec<Damage> = self
            .damaged
            .into_iter()
            .map(|damage| Damage {
                pack: damage.pack,
                offset: damage.offset,
                what: damage.what,
                items: damage.items.iter().map(|item| names.name(*item)).collect(),
                item_ids: damage.items.into_iter().collect(),
            })
            .collect();
        Ok(VerifyReport {
            ok: damaged.is_empty() && catalogue_differences.is_empty(),
            items: volume.items,
            messages: volume.messages,
            filings: volume.filings,
            chunks: volume.chunks,
            bytes_raw: volume.bytes_raw,
            bytes_stored: volume.bytes_stored,
            commits: volume.commits,
            head,
            damaged,
            unacknowledged: self.unacknowledged,
            torn_tail: self.torn_tail,
            catalogue_differences,
        })
    }
}
