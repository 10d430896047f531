//! What `verify` does with items: putting them together from their chunks, and naming them.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::catalogue::{Catalogue, Place};
use super::content;
use super::error::{ErrorKind, Result};
use super::record::{ChunkRef, ItemRecord};
use super::verify::Verifier;
use crate::base::digest::Hasher;

/// An item was read from its pack: are its chunks there, and are they it?
pub(super) fn prove(verifier: &mut Verifier<'_>, item: &ItemRecord, place: Place) -> Result<()> {
    let mut missing = None;
    let mut lost = false;
    for part in &item.chunks {
        if let Some(damage) = verifier.lost.get(&part.sha256) {
            verifier.damaged[*damage].items.insert(item.item);
            lost = true;
        } else if verifier.fresh.chunk(&part.sha256)?.is_none() {
            missing = Some(part.sha256);
        }
    }
    if let Some(chunk) = missing {
        let what = format!("item {} has a chunk that no pack holds ({chunk})", item.item);
        verifier.damage(place.pack, place.offset, what, BTreeSet::from([item.item]));
    }
    let chosen = verifier.options.sample.is_none_or(|(n, of)| item.item % u64::from(of) == u64::from(n - 1));
    if lost || missing.is_some() || !chosen {
        return Ok(());
    }
    match hash(verifier, item) {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind, ErrorKind::NoSpace | ErrorKind::Locked) => Err(error),
        Err(error) => {
            verifier.damage(place.pack, place.offset, error.what, BTreeSet::from([item.item]));
            Ok(())
        }
    }
}

/// Item and original message by SHA-256, in one pass over the chunks.
fn hash(verifier: &mut Verifier<'_>, item: &ItemRecord) -> Result<()> {
    let Verifier { fresh, packs, recent, .. } = verifier;
    let mut fetch = |part: &ChunkRef| -> Result<Rc<[u8]>> {
        match recent.get(&part.sha256) {
            Some(payload) if payload.len() as u64 == part.bytes => Ok(payload),
            _ => content::chunk(fresh, packs, part).map(Rc::from),
        }
    };
    // An item of one chunk has the chunk's own digest, which was tested when the chunk was read.
    let proved = matches!(item.chunks.as_slice(), [only] if only.sha256 == item.sha256 && only.bytes == item.size);
    if proved {
        if item.message.is_some() {
            content::write_original(item, &mut fetch, &mut std::io::sink())?;
        } else {
            content::for_range(item, 0..item.size, &mut fetch, &mut |_| Ok(()))?;
        }
        return Ok(());
    }
    let Some(message) = &item.message else {
        return content::write_item(item, &mut fetch, &mut std::io::sink());
    };
    let Some(mut transfer) = content::decoder(&message.transfer) else {
        return content::write_original(item, &mut fetch, &mut std::io::sink());
    };
    let (mut whole, mut original) = (Hasher::new(), Hasher::new());
    let (mut at, mut decoded) = (0u64, Vec::new());
    content::for_range(item, 0..item.size, &mut fetch, &mut |bytes| {
        whole.update(bytes);
        let (start, end) = (at, at + bytes.len() as u64);
        at = end;
        let (from, to) = (message.range.start.max(start), message.range.end.min(end));
        if from < to {
            decoded.clear();
            transfer.push(&bytes[(from - start) as usize..(to - start) as usize], &mut decoded);
            original.update(&decoded);
        }
        Ok(())
    })?;
    content::proved(item.item, "item", whole.finish(), item.sha256)?;
    if message.range.start > message.range.end || message.range.end > item.size {
        return content::write_original(item, &mut fetch, &mut std::io::sink());
    }
    decoded.clear();
    transfer.finish(&mut decoded);
    original.update(&decoded);
    content::proved(item.item, "message in item", original.finish(), message.sha256)
}

/// What people call an item: the gateway's own id and folder of its first sighting.
pub(super) struct Names(HashMap<u64, String>);

impl Names {
    /// One pass over the sightings, which have no index by item; nothing for an archive without damage.
    pub fn of(items: &BTreeSet<u64>, catalogues: [Option<&Catalogue>; 2]) -> Result<Names> {
        let mut names = HashMap::new();
        if items.is_empty() {
            return Ok(Names(names));
        }
        for catalogue in catalogues.into_iter().flatten() {
            let sql = "SELECT s.item, s.native, e.folder, e.kind FROM sightings s JOIN epochs e ON e.id = s.epoch
                       WHERE s.item IS NOT NULL";
            let mut statement = catalogue.db.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let item = row.get::<_, i64>(0)? as u64;
                if items.contains(&item) && !names.contains_key(&item) {
                    let (native, folder, kind): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
                    let word = if kind == "imap" { "uid" } else { "id" };
                    names.insert(item, format!("item {item} ({word} {native} of {folder})"));
                }
            }
        }
        Ok(Names(names))
    }

    pub fn name(&self, item: u64) -> String {
        self.0.get(&item).cloned().unwrap_or_else(|| format!("item {item}"))
    }
}
