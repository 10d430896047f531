//! Numbers and events of an archive, for `status`, `runs` and the lists of what needs a person.
//!
//! Reading only; every number is counted from what was committed, none is kept beside it.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};
use serde::Serialize;

use super::catalogue::Catalogue;
use super::content;
use super::core::Core;
use super::error::Result;
use super::read::Reader;
use super::record::{Disposition, Head};

/// Which gateway's numbers: all folders and epochs of a login.
#[derive(Clone, Copy, Debug)]
pub struct Gateway<'a> {
    pub host: &'a str,
    pub login: &'a str,
}

/// Sightings by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub archived: u64,
    pub already_archived: u64,
    pub quarantined: u64,
    pub unfetchable: u64,
    pub excluded: u64,
    pub vanished: u64,
    pub failed: u64,
    /// Of all of these: gone from the gateway, by our deletion or as a complete listing showed.
    pub deleted: u64,
    /// Archived and still on the gateway, as far as we know.
    pub present: u64,
    /// When the oldest that was not fetched yet, and still is there, was tried last.
    pub oldest_open: Option<Timestamp>,
}

/// The archive's size and head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Volume {
    pub head: Head,
    pub commits: u64,
    pub packs: u64,
    pub items: u64,
    pub messages: u64,
    pub filings: u64,
    pub chunks: u64,
    /// Bytes of all items, as they came in.
    pub bytes_raw: u64,
    /// Bytes of all packs, up to the last commit.
    pub bytes_stored: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Its number in the archive.
    pub id: u64,
    pub event: String,
    pub at: Timestamp,
    pub who: String,
    pub what: serde_json::Value,
}

/// Something that needs a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attention {
    /// `quarantined` or `unfetchable`.
    pub disposition: Disposition,
    /// `None`: the gateway never gave its bytes.
    pub item: Option<u64>,
    pub reason: String,
    pub at: Timestamp,
    pub size: u64,
    pub native_id: String,
    /// Of its epoch: `imap` …, or `import`.
    pub kind: String,
    pub folder: String,
    pub host: String,
    pub login: String,
    /// `deleted`, `inferred`, `vanished`; `None`: it still is on the gateway, as far as we know.
    pub gone: Option<String>,
}

/// How an archived item was decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoding {
    /// Its envelope is the message's own header.
    pub degraded: bool,
    pub flags: Vec<String>,
}

/// Items of other gateways that are passed over at most when the newest of one are looked for.
const PASSED_OVER_MAX: u64 = 10_000;

impl Core {
    /// What of a gateway is not settled and still there. By the index of what is open, so that it costs nothing in an
    /// archive of millions.
    pub fn unsettled(&mut self, of: Gateway<'_>) -> Result<Unsettled> {
        let sql = "SELECT s.disposition, count(*), min(s.at) FROM epochs e JOIN sightings s
                       ON s.epoch = e.id AND s.gone IS NULL AND s.disposition IN ('quarantined', 'unfetchable', 'failed')
                   WHERE e.host = ?1 AND e.login = ?2 GROUP BY s.disposition";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        let mut rows = statement.query(params![of.host, of.login])?;
        let mut found = Unsettled::default();
        while let Some(row) = rows.next()? {
            let (name, count) = (row.get::<_, String>(0)?, row.get::<_, i64>(1)? as u64);
            match Disposition::from_name(&name) {
                Some(Disposition::Quarantined) => found.quarantined = count,
                Some(Disposition::Unfetchable) => found.unfetchable = count,
                Some(Disposition::Failed) => {
                    found.failed = count;
                    found.oldest = row.get::<_, Option<i64>>(2)?.map(moment);
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// The number of the newest event of a name.
    pub fn newest_event(&mut self, name: &str) -> Result<Option<u64>> {
        let sql = "SELECT max(id) FROM events WHERE event = ?1";
        let id: Option<i64> = self.catalogue.db.prepare_cached(sql)?.query_row([name], |row| row.get(0))?;
        Ok(id.map(|id| id as u64))
    }

    /// How the newest items of a gateway were decoded, newest first, without the first `skip` of them.
    pub fn newest_decodings(&mut self, of: Gateway<'_>, skip: u64, limit: u64) -> Result<Vec<Decoding>> {
        // By the items' own order: sightings have no index by time, and a gateway has millions of them.
        let sql = "SELECT i.id FROM items i WHERE i.id > ?3 AND i.quarantine IS NULL AND EXISTS
                       (SELECT 1 FROM sightings s JOIN epochs e ON e.id = s.epoch
                        WHERE s.item = i.id AND e.host = ?1 AND e.login = ?2)
                   ORDER BY i.id DESC LIMIT ?4 OFFSET ?5";
        let from = self.catalogue.last_item()?.saturating_sub(PASSED_OVER_MAX + skip);
        let items: Vec<i64> = {
            let mut statement = self.catalogue.db.prepare_cached(sql)?;
            let rows = statement
                .query_map(params![of.host, of.login, from as i64, limit as i64, skip as i64], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        let mut decodings = Vec::new();
        for item in items {
            let record = content::item_record(&self.catalogue, &mut self.packs, item as u64)?;
            let message = record.message.map(|message| Decoding { degraded: message.degraded, flags: message.flags });
            decodings.extend(message);
        }
        Ok(decodings)
    }
}

fn event(row: &rusqlite::Row<'_>) -> rusqlite::Result<Event> {
    let what: String = row.get(3)?;
    Ok(Event {
        event: row.get(0)?,
        at: moment(row.get(1)?),
        who: row.get(2)?,
        what: serde_json::from_str(&what).unwrap_or(serde_json::Value::Null),
        id: row.get::<_, i64>(4)? as u64,
    })
}

/// Items of a gateway that have no final disposition, or need a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    pub quarantined: u64,
    pub unfetchable: u64,
    pub failed: u64,
    /// When the oldest of the failed ones was tried last.
    pub oldest: Option<Timestamp>,
}

fn moment(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(super) fn volume_of(catalogue: &Catalogue, head: Head) -> Result<Volume> {
    let number = |sql: &str| -> Result<u64> {
        Ok(catalogue.db.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0))? as u64)
    };
    Ok(Volume {
        head,
        commits: number("SELECT count(*) FROM commits")?,
        packs: number("SELECT count(*) FROM packs")?,
        items: number("SELECT count(*) FROM items")?,
        messages: number("SELECT count(*) FROM messages WHERE message = item")?,
        filings: number("SELECT count(*) FROM (SELECT DISTINCT person, folder, message FROM filings)")?,
        chunks: number("SELECT count(*) FROM chunks")?,
        bytes_raw: number("SELECT coalesce(sum(size), 0) FROM items")?,
        bytes_stored: number("SELECT coalesce(sum(bytes), 0) FROM packs")?,
    })
}

impl Reader {
    pub fn totals(&self, of: Option<Gateway<'_>>) -> Result<Totals> {
        let (host, login) = (of.map(|of| of.host), of.map(|of| of.login));
        let sql = "SELECT s.disposition, count(*), sum(s.gone IN ('deleted', 'inferred')), sum(s.gone IS NULL),
                          min(CASE WHEN s.gone IS NULL THEN s.at END)
                   FROM sightings s JOIN epochs e ON e.id = s.epoch
                   WHERE (?1 IS NULL OR e.host = ?1) AND (?2 IS NULL OR e.login = ?2)
                   GROUP BY s.disposition";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        let mut rows = statement.query(params![host, login])?;
        let mut totals = Totals::default();
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            let count = row.get::<_, i64>(1)? as u64;
            totals.deleted += row.get::<_, Option<i64>>(2)?.unwrap_or(0) as u64;
            let present = row.get::<_, Option<i64>>(3)?.unwrap_or(0) as u64;
            let oldest: Option<i64> = row.get(4)?;
            let Some(disposition) = Disposition::from_name(&name) else { continue };
            let (slot, open) = match disposition {
                Disposition::Archived => (&mut totals.archived, false),
                Disposition::AlreadyArchived => (&mut totals.already_archived, false),
                Disposition::Quarantined => (&mut totals.quarantined, false),
                Disposition::Unfetchable => (&mut totals.unfetchable, true),
                Disposition::Excluded => (&mut totals.excluded, false),
                Disposition::Vanished => (&mut totals.vanished, false),
                Disposition::Failed => (&mut totals.failed, true),
            };
            *slot = count;
            if matches!(disposition, Disposition::Archived | Disposition::AlreadyArchived) {
                totals.present += present;
            }
            if let (true, Some(oldest)) = (open, oldest.map(moment)) {
                totals.oldest_open = Some(totals.oldest_open.map_or(oldest, |so_far| so_far.min(oldest)));
            }
        }
        Ok(totals)
    }

    /// The identity (UIDVALIDITY or its like) that a folder had when it was last read.
    pub fn validity(&self, kind: &str, of: Gateway<'_>, folder: &str) -> Result<Option<String>> {
        let sql = "SELECT validity FROM epochs WHERE kind = ?1 AND host = ?2 AND login = ?3 AND folder = ?4
                   ORDER BY id DESC LIMIT 1";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        let mut rows = statement.query(params![kind, of.host, of.login, folder])?;
        Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
    }

    pub fn volume(&self) -> Result<Volume> {
        volume_of(&self.catalogue, self.head()?)
    }

    /// The newest events of a name, newest first.
    pub fn events(&self, name: &str, limit: u32) -> Result<Vec<Event>> {
        let sql = "SELECT event, at, who, what, id FROM events WHERE event = ?1 ORDER BY id DESC LIMIT ?2";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        let rows = statement.query_map(params![name, limit], event)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// One event by its number.
    pub fn event(&self, id: u64) -> Result<Option<Event>> {
        let sql = "SELECT event, at, who, what, id FROM events WHERE id = ?1";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        Ok(statement.query_row([id as i64], event).optional()?)
    }

    /// Quarantined items (each once, by its first sighting) and unfetchable ones, oldest first.
    pub fn attention(&self) -> Result<Vec<Attention>> {
        let sql = "SELECT s.disposition, s.item, coalesce(i.quarantine, s.because, ''), s.at, coalesce(i.size, s.size),
                          s.native, e.folder, e.host, e.login, s.gone, e.kind
                   FROM sightings s JOIN epochs e ON e.id = s.epoch LEFT JOIN items i ON i.id = s.item
                   WHERE s.disposition IN ('quarantined', 'unfetchable') ORDER BY s.at, s.epoch, s.ord, s.native";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            let Some(disposition) = Disposition::from_name(&name) else { continue };
            let item = row.get::<_, Option<i64>>(1)?.map(|item| item as u64);
            if item.is_some_and(|item| !seen.insert(item)) {
                continue;
            }
            found.push(Attention {
                disposition,
                item,
                reason: row.get(2)?,
                at: moment(row.get(3)?),
                size: row.get::<_, i64>(4)? as u64,
                native_id: row.get(5)?,
                folder: row.get(6)?,
                host: row.get(7)?,
                login: row.get(8)?,
                gone: row.get(9)?,
                kind: row.get(10)?,
            });
        }
        Ok(found)
    }

    /// When anything was last committed.
    pub fn last_commit(&self) -> Result<Option<Timestamp>> {
        let sql = "SELECT at FROM commits ORDER BY seq DESC LIMIT 1";
        let at: Option<i64> = self.catalogue.db.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
        Ok(at.map(moment))
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{Fixture, SMALL, epoch_name, options, wait};
    use super::super::{Core, Writer};
    use super::*;

    #[test]
    fn the_newest_decodings_are_those_of_the_gateway() {
        let fixture = Fixture::new(SMALL);
        let (writer, _) = Writer::open(options(&fixture.layout, SMALL.pack_bytes_max)).unwrap();
        let archive = writer.handle();
        let newest = |host: &str, skip: u64, limit: u64| -> Vec<bool> {
            let (host, login) = (host.to_owned(), epoch_name().login);
            let job = move |core: &mut Core| core.newest_decodings(Gateway { host: &host, login: &login }, skip, limit);
            wait(archive.call(job)).unwrap().into_iter().map(|decoding| decoding.degraded).collect()
        };
        // As `mail` makes them: every 9th was not decoded, every 6th stepped down.
        let all: Vec<bool> = (0..SMALL.items).rev().filter(|n| n % 9 != 8).map(|n| n % 6 == 5).collect();
        let host = epoch_name().host;
        assert_eq!(newest(&host, 0, 100), all);
        assert_eq!(newest(&host, 3, 5), all[3..8]);
        assert_eq!(newest(&host, 100, 5), [false; 0]);
        assert_eq!(newest("other.example", 0, 100), [false; 0]);
        // The writer ends when nobody has a handle any more.
        drop(archive);
        writer.finish().unwrap();
    }
}
