//! What happened to a message, from its first sight to its deletion on the gateway.
//!
//! The catalogue says how things are; how they came to be, the packs say. What the packs hold of later batches (filings
//! taken back, deletions) is found by going through the heads of the records from the message's own batch on: nothing
//! is kept for it beside the packs. Reading only; a batch that cannot be read is named and passed over.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use rusqlite::params;
use serde::Serialize;

use super::catalogue::Place;
use super::error::{ArchiveError, ErrorKind, Result};
use super::frame::{HEAD_LEN, Kind};
use super::pack::{ScanError, read_head};
use super::read::Reader;
use super::record::{DeletedHow, Disposition, Filing, Folder, Record};
use super::refile::Provenance;

/// All items of a message, and what happened in order.
#[derive(Clone, Debug, Serialize)]
pub struct History {
    pub items: Vec<u64>,
    pub events: Vec<Happening>,
    /// Batches that could not be read, so that something may be missing.
    pub unread: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Happening {
    pub at: Timestamp,
    pub item: u64,
    /// The commit by which it is proved; `None` of what the catalogue alone still knows.
    pub commit: Option<u64>,
    #[serde(flatten)]
    pub what: Happened,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happened {
    /// The item's bytes came from the gateway.
    Fetched {
        peer: String,
        program: String,
        size: u64,
    },
    Seen {
        #[serde(flatten)]
        at_gateway: AtGateway,
        size: u64,
        /// As the gateway says it.
        date: String,
        disposition: Disposition,
    },
    Quarantined {
        because: String,
    },
    /// By the version of the decoder `parser`; `because` is why it was decoded anew.
    Decoded {
        format: String,
        parser: u32,
        because: Option<String>,
    },
    /// Shown as one with another message from here on, or alone again.
    ShownAs {
        message: u64,
    },
    Filed {
        person: String,
        folder: Folder,
        because: String,
        rules: u32,
    },
    Withdrawn {
        person: String,
        folder: Folder,
        because: String,
    },
    /// On the gateway; the archive keeps it.
    Deleted {
        #[serde(flatten)]
        at_gateway: AtGateway,
        how: DeletedHow,
    },
}

#[derive(Clone, Debug, Serialize)]
pub struct AtGateway {
    pub kind: String,
    pub host: String,
    pub login: String,
    /// The mailbox, or its like.
    pub mailbox: String,
    pub native_id: String,
}

impl AtGateway {
    fn of(one: &Provenance) -> AtGateway {
        AtGateway {
            kind: one.kind.clone(),
            host: one.host.clone(),
            login: one.login.clone(),
            mailbox: one.folder.clone(),
            native_id: one.native_id.clone(),
        }
    }
}

/// A batch of records that the catalogue acknowledges.
struct Batch {
    seq: u64,
    pack: u64,
    start: u64,
    finish: u64,
    at: Timestamp,
}

impl Reader {
    pub fn history(&self, message: u64) -> Result<History> {
        let items = self.items_of(message)?;
        let mut events = Vec::new();
        let mut own = Vec::new();
        let mut sightings = HashMap::new();
        let mut filed = false;
        for &item in &items {
            let place = self.place_of(item)?;
            let Record::Item(record) = self.packs.borrow_mut().record(place)? else {
                let what = format!("pack {:06} holds another record than item {item}", place.pack);
                return Err(ArchiveError::damaged(what));
            };
            let batch = self.batch_at(place)?;
            let commit = Some(batch.seq);
            let mut put = |at, what| events.push(Happening { at, item, commit, what });
            put(record.fetched, Happened::Fetched { peer: record.peer, program: record.program, size: record.size });
            if let Some(because) = record.quarantine {
                put(batch.at, Happened::Quarantined { because });
            }
            if let Some(message) = record.message {
                let (format, parser) = (message.format, message.parser);
                put(batch.at, Happened::Decoded { format, parser, because: None });
            }
            for one in self.provenance(item)? {
                sightings.insert((one.epoch, one.native_id.clone()), (item, one));
            }
            own.push(batch);
        }
        let wanted: HashSet<u64> = items.iter().copied().collect();
        let mut unread = Vec::new();
        // Each item's own batch, which says how it was seen and filed first.
        let own_kinds = [Kind::Sighting, Kind::Filing, Kind::Union];
        let mut first_filings: HashSet<(u64, Filing)> = HashSet::new();
        let mut seen = HashSet::new();
        own.sort_by_key(|batch| batch.seq);
        own.dedup_by_key(|batch| batch.seq);
        for batch in &own {
            let done = self.records(batch, &own_kinds, &mut |record| match record {
                Record::Sighting(one) if wanted.contains(&one.item) => {
                    let key = (one.epoch, one.sighting);
                    let Some((item, known)) = sightings.get(&key) else { return };
                    let (item, at_gateway) = (*item, AtGateway::of(known));
                    let (size, date, disposition) = (one.size, one.date, one.disposition);
                    let what = Happened::Seen { at_gateway, size, date, disposition };
                    events.push(Happening { at: one.at, item, commit: Some(batch.seq), what });
                    seen.insert(key);
                }
                Record::Filing(one) if wanted.contains(&one.filing) => {
                    first_filings.extend(one.filings.iter().map(|filing| (one.filing, filing.clone())));
                    events.extend(filings(batch, one.filing, one.filings, one.rules));
                }
                Record::Union(one) if wanted.contains(&one.item) => events.push(shown_as(batch, one.item, one.union)),
                _ => {}
            });
            unread.extend(done.err().map(|error| unreadable(batch, &error)));
        }
        // Sightings of later batches, as the catalogue has them.
        for (key, (item, one)) in &sightings {
            if !seen.contains(key) {
                let (size, date) = (one.size, one.date.clone());
                let what = Happened::Seen { at_gateway: AtGateway::of(one), size, date, disposition: one.disposition };
                events.push(Happening { at: one.at, item: *item, commit: None, what });
            }
        }
        let Some(first) = own.first().map(|batch| batch.seq) else {
            return Ok(History { items, events, unread });
        };
        let own: HashSet<u64> = own.iter().map(|batch| batch.seq).collect();
        let later = self.batches_from(first)?;
        for batch in &later {
            let kinds = [Kind::Withdraw, Kind::Decode, Kind::Deleted, Kind::Union];
            let done = self.records(batch, &kinds, &mut |record| match record {
                Record::Withdraw(one) if wanted.contains(&one.withdraw) => {
                    filed = true;
                    let what = Happened::Withdrawn { person: one.person, folder: one.folder, because: one.because };
                    events.push(Happening { at: batch.at, item: one.withdraw, commit: Some(batch.seq), what });
                }
                Record::Decode(one) if wanted.contains(&one.decode) => {
                    let what = match one.message {
                        Some(message) => {
                            let because = Some(one.because);
                            Happened::Decoded { format: message.format, parser: message.parser, because }
                        }
                        None => Happened::Quarantined { because: one.because },
                    };
                    events.push(Happening { at: one.at, item: one.decode, commit: Some(batch.seq), what });
                }
                Record::Union(one) if wanted.contains(&one.item) && !own.contains(&batch.seq) => {
                    events.push(shown_as(batch, one.item, one.union));
                }
                Record::Deleted(one) => {
                    for native in one.deleted {
                        let Some((item, known)) = sightings.get(&(one.epoch, native)) else { continue };
                        let what = Happened::Deleted { at_gateway: AtGateway::of(known), how: one.how };
                        events.push(Happening { at: one.at, item: *item, commit: Some(batch.seq), what });
                    }
                }
                _ => {}
            });
            unread.extend(done.err().map(|error| unreadable(batch, &error)));
        }
        // Every mail has a record of its filings; they are looked through only for one that was filed anew.
        for &item in &items {
            let now = self.filed(item)?.filings;
            filed |= now.iter().any(|filing| !first_filings.contains(&(item, filing.clone())));
        }
        if filed {
            for batch in later.iter().filter(|batch| !own.contains(&batch.seq)) {
                // What cannot be read was told above.
                let _ = self.records(batch, &[Kind::Filing], &mut |record| {
                    if let Record::Filing(one) = record
                        && wanted.contains(&one.filing)
                    {
                        events.extend(filings(batch, one.filing, one.filings, one.rules));
                    }
                });
            }
        }
        events.sort_by_key(|event| (event.commit.unwrap_or(u64::MAX), rank(&event.what), event.at, event.item));
        events.sort_by_key(|event| event.at.as_second());
        Ok(History { items, events, unread })
    }

    fn items_of(&self, message: u64) -> Result<Vec<u64>> {
        let sql = "SELECT item FROM messages WHERE message = ?1 ORDER BY item";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        let rows = statement.query_map([message as i64], |row| Ok(row.get::<_, i64>(0)? as u64))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn place_of(&self, item: u64) -> Result<Place> {
        let place = self.catalogue.item_place(item)?;
        place.ok_or_else(|| ArchiveError::new(ErrorKind::Unusable, format!("there is no item {item} in the archive")))
    }

    fn batch_at(&self, place: Place) -> Result<Batch> {
        let sql = "SELECT seq, pack, start, finish, at FROM commits WHERE pack = ?1 AND start <= ?2 AND finish > ?2";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        Ok(statement.query_row(params![place.pack as i64, place.offset as i64], batch)?)
    }

    fn batches_from(&self, seq: u64) -> Result<Vec<Batch>> {
        let sql = "SELECT seq, pack, start, finish, at FROM commits WHERE seq >= ?1 ORDER BY seq";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        let rows = statement.query_map([seq as i64], batch)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Calls `visit` with the records of these kinds in a batch.
    fn records(&self, batch: &Batch, kinds: &[Kind], visit: &mut dyn FnMut(Record)) -> Result<()> {
        let mut packs = self.packs.borrow_mut();
        let mut offset = batch.start;
        while offset < batch.finish {
            let head = match read_head(packs.file(batch.pack)?, offset) {
                Ok(head) => head,
                Err(ScanError::Frame(error)) => return Err(super::pack::damaged_at(batch.pack, offset, &error)),
                Err(ScanError::Io(error)) => {
                    let what = format!("cannot read pack {:06}: {error}", batch.pack);
                    return Err(ArchiveError::of_io(what, &error));
                }
            };
            if kinds.contains(&head.kind) {
                visit(packs.record(Place { pack: batch.pack, offset, stored_len: head.stored_len })?);
            }
            offset = offset.saturating_add(HEAD_LEN as u64).saturating_add(head.stored_len);
        }
        Ok(())
    }
}

fn batch(row: &rusqlite::Row<'_>) -> rusqlite::Result<Batch> {
    let number = |at: usize| row.get::<_, i64>(at).map(|number| number as u64);
    Ok(Batch {
        seq: number(0)?,
        pack: number(1)?,
        start: number(2)?,
        finish: number(3)?,
        at: Timestamp::from_second(row.get(4)?).unwrap_or(Timestamp::UNIX_EPOCH),
    })
}

fn filings(batch: &Batch, item: u64, filings: Vec<Filing>, rules: u32) -> impl Iterator<Item = Happening> {
    let (at, commit) = (batch.at, Some(batch.seq));
    filings.into_iter().map(move |Filing { person, folder, because }| {
        let what = Happened::Filed { person, folder, because, rules };
        Happening { at, item, commit, what }
    })
}

fn shown_as(batch: &Batch, item: u64, message: u64) -> Happening {
    Happening { at: batch.at, item, commit: Some(batch.seq), what: Happened::ShownAs { message } }
}

fn unreadable(batch: &Batch, error: &ArchiveError) -> String {
    format!("commit {} in pack {:06}: {error}", batch.seq, batch.pack)
}

/// The order of what happens at one time.
fn rank(what: &Happened) -> u8 {
    match what {
        Happened::Fetched { .. } => 0,
        Happened::Seen { .. } => 1,
        Happened::Quarantined { .. } => 2,
        Happened::Decoded { .. } => 3,
        Happened::ShownAs { .. } => 4,
        Happened::Withdrawn { .. } => 5,
        Happened::Filed { .. } => 6,
        Happened::Deleted { .. } => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{ANNA, BOB, Fixture, SMALL, put};
    use super::*;

    #[test]
    fn from_the_first_sight_to_the_deletion() {
        let fixture = Fixture::new(SMALL);
        let reader = Reader::open(&fixture.layout).unwrap();
        let history = reader.history(1).unwrap();
        assert_eq!((history.items.as_slice(), history.unread.len()), (&[1][..], 0));
        let of = |event: &str| -> Vec<serde_json::Value> {
            let all = history.events.iter().map(|event| serde_json::to_value(event).unwrap());
            all.filter(|one| one["event"] == event).collect()
        };
        assert_eq!(of("fetched")[0]["peer"], "imap.example.com");
        // The same bytes were seen again under another number.
        let seen = of("seen");
        assert_eq!((seen.len(), &seen[0]["native_id"], &seen[0]["disposition"]), (2, &"1".into(), &"archived".into()));
        assert_eq!((&seen[1]["native_id"], &seen[1]["disposition"]), (&"900".into(), &"already_archived".into()));
        assert_eq!((&seen[0]["mailbox"], &seen[0]["kind"]), (&"INBOX".into(), &"imap".into()));
        let filed = of("filed");
        assert_eq!((&filed[0]["person"], &filed[1]["person"]), (&ANNA.into(), &BOB.into()));
        let deleted = of("deleted");
        assert_eq!(
            (deleted.len(), &deleted[0]["how"], &deleted[0]["native_id"]),
            (1, &"confirmed".into(), &"1".into())
        );
        assert!(deleted[0]["commit"].as_u64() > filed[0]["commit"].as_u64());
        assert!(history.events.is_sorted_by_key(|event| event.at));

        let inferred = reader.history(3).unwrap();
        let how = inferred.events.iter().find_map(|event| match &event.what {
            Happened::Deleted { how, .. } => Some(*how),
            _ => None,
        });
        assert_eq!(how, Some(DeletedHow::Inferred));
        // Item 7 is another copy of message 6.
        let united = reader.history(6).unwrap();
        assert_eq!(united.items, [6, 7]);
        assert!(united.events.iter().any(|one| one.item == 7 && matches!(one.what, Happened::ShownAs { message: 6 })));
        assert!(reader.history(4711).unwrap().events.is_empty());
    }

    #[test]
    fn a_damaged_batch_is_named_and_passed_over() {
        let fixture = Fixture::new(SMALL);
        let newest = fixture.newest_pack();
        let mut bytes = fixture.pack(newest);
        let head = memchr::memmem::find(&bytes, b"GPr1").unwrap();
        bytes[head..head + 60].fill(0xff);
        put(&fixture.layout.pack(newest), &bytes);
        let reader = Reader::open(&fixture.layout).unwrap();
        let history = reader.history(1).unwrap();
        assert!(history.unread.iter().any(|why| why.contains("is damaged")), "{:?}", history.unread);
        assert!(history.events.iter().any(|event| matches!(event.what, Happened::Filed { .. })));
    }
}
