//! What `verify` does with items: putting them together from their chunks, and naming them.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use rusqlite::OptionalExtension as _;

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

/// What the latest decodings say of the items' messages, once all packs were read: an item's own record was
/// proved where it stands, and a later decoding may speak of bytes of an earlier pack.
pub(super) fn prove_decoded_anew(verifier: &mut Verifier<'_>) -> Result<()> {
    let mut after = 0;
    loop {
        let next = {
            let sql = "SELECT id, decode_pack, decode_offset FROM items WHERE decode_pack NOT NULL AND id > ?1
                       ORDER BY id LIMIT 1";
            let mut statement = verifier.fresh.db.prepare_cached(sql)?;
            let place = |row: &rusqlite::Row<'_>| {
                let (pack, offset) = (row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64);
                Ok((row.get::<_, i64>(0)? as u64, Place { pack, offset, stored_len: 0 }))
            };
            statement.query_row([after as i64], place).optional()?
        };
        let Some((id, place)) = next else { return Ok(()) };
        after = id;
        let chosen = verifier.options.sample.is_none_or(|(n, of)| id % u64::from(of) == u64::from(n - 1));
        if !chosen || verifier.damaged.iter().any(|damage| damage.items.contains(&id)) {
            continue;
        }
        match hash_decoded_anew(verifier, id) {
            Ok(()) => {}
            Err(error) if matches!(error.kind, ErrorKind::NoSpace | ErrorKind::Locked) => return Err(error),
            Err(error) => _ = verifier.damage(place.pack, place.offset, error.what, BTreeSet::from([id])),
        }
    }
}

fn hash_decoded_anew(verifier: &mut Verifier<'_>, id: u64) -> Result<()> {
    let Verifier { fresh, packs, .. } = verifier;
    let item = content::item_record(fresh, packs, id)?;
    let mut fetch = |part: &ChunkRef| content::chunk(fresh, packs, part);
    if let Some(twin) = item.message.as_ref().and_then(|message| message.twin.as_ref()) {
        content::write_twin(&item, twin, &mut fetch, &mut std::io::sink())?;
    }
    match item.message {
        Some(_) => content::write_original(&item, &mut fetch, &mut std::io::sink()),
        None => Ok(()),
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
    if let Some(twin) = item.message.as_ref().and_then(|message| message.twin.as_ref()) {
        content::write_twin(item, twin, &mut fetch, &mut std::io::sink())?;
    }
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
    let Some(mut unpacked) = content::Unpacked::named(&message.transfer) else {
        return content::write_original(item, &mut fetch, &mut std::io::sink());
    };
    let (mut whole, mut original) = (Hasher::new(), Hasher::new());
    let mut at = 0u64;
    content::for_range(item, 0..item.size, &mut fetch, &mut |bytes| {
        whole.update(bytes);
        let (start, end) = (at, at + bytes.len() as u64);
        at = end;
        let (from, to) = (message.range.start.max(start), message.range.end.min(end));
        if from < to {
            original.update(unpacked.push(&bytes[(from - start) as usize..(to - start) as usize]));
        }
        Ok(())
    })?;
    content::proved(item.item, "item", whole.finish(), item.sha256)?;
    if message.range.start > message.range.end || message.range.end > item.size {
        return content::write_original(item, &mut fetch, &mut std::io::sink());
    }
    original.update(unpacked.finish());
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
