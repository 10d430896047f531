//! Later records about what is archived: decoded anew, filed anew, archives joined. `FORMAT.md` §8.
//!
//! Must:
//! - never change what is written, nor leave an item that had a filing without one: the records of one item's
//!   change are put within one call, and thus into one batch;
//! - put a person's record before the first filing that names them.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};
use serde::Serialize;

use super::catalogue::{Catalogue, folder_from};
use super::core::Core;
use super::error::{ArchiveError, ErrorKind, Result};
use super::read::Reader;
use super::record::*;
use super::status::Gateway;

/// Which archived items are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    All,
    /// Filed for this person.
    Person(String),
    /// Filed for this person, or decoded or filed by older versions than these.
    Outdated {
        person: String,
        parser: u32,
        rules: u32,
    },
    /// This item, and all that are shown as the message of that number.
    Item(u64),
}

/// How an item is filed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filed {
    pub filings: Vec<Filing>,
    /// Version of the rules by which it was filed.
    pub rules: u32,
}

/// Where and when an item was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Provenance {
    pub kind: String,
    pub host: String,
    pub login: String,
    pub folder: String,
    pub epoch: u64,
    pub native_id: String,
    pub order: Option<u64>,
    pub size: u64,
    /// As the gateway says it.
    pub date: String,
    pub disposition: Disposition,
    /// Since when it is that.
    pub at: Timestamp,
    /// `deleted`, `inferred`, `vanished`; `None`: it is on the gateway, as far as we know.
    pub gone: Option<String>,
}

impl Core {
    /// Records what a later decoding made of an item. `None` is for items that are quarantined: tried again, and
    /// `because` is why it could not be decoded now.
    pub fn decode_again(&mut self, item: u64, message: Option<StoredMessage>, because: &str) -> Result<()> {
        if message.is_none() && self.catalogue.quarantine(item)?.is_none() {
            let what = format!("item {item} was decoded before; it is not quarantined for what came after");
            return Err(ArchiveError::new(ErrorKind::Failed, what));
        }
        let shown = self.catalogue.message_of_item(item)?.unwrap_or(item);
        let digest = message.as_ref().map(|message| (message.canonical_version, message.canonical));
        let at = self.clock.now();
        self.put(&Record::Decode(DecodeRecord { decode: item, message, because: because.into(), at }))?;
        let Some((canonical_version, canonical)) = digest else { return Ok(()) };
        let other = self.catalogue.message_of(canonical_version, &canonical, item)?;
        let mut shown_as = Vec::new();
        match other {
            // Two messages turn out to be one: the lower number stays, and takes all that is shown as the other.
            Some(other) if shown == item => {
                let (stays, goes) = (item.min(other), item.max(other));
                shown_as.extend(self.catalogue.items_of_message(goes)?.into_iter().map(|one| (stays, one)));
            }
            Some(other) if shown != other => shown_as.push((other, item)),
            Some(_) => {}
            None if shown != item => shown_as.push((item, item)),
            None => {}
        }
        for (union, item) in shown_as {
            self.put(&Record::Union(UnionRecord { union, item, canonical_version, canonical }))?;
        }
        Ok(())
    }

    /// Adds filings to an item. Without any it only records by which rules the item was looked at.
    pub fn file(&mut self, item: u64, filings: Vec<Filing>, people: Vec<PersonRecord>, rules: u32) -> Result<()> {
        for person in people {
            if !self.catalogue.person_is_known(&person.person)? {
                self.put(&Record::Person(person))?;
            }
        }
        self.put(&Record::Filing(FilingRecord { filing: item, filings, rules }))
    }

    /// Takes a filing back. The caller files the item elsewhere within the same call.
    pub fn withdraw(&mut self, item: u64, person: &str, folder: Folder, because: &str) -> Result<()> {
        self.put(&Record::Withdraw(WithdrawRecord {
            withdraw: item,
            person: person.into(),
            folder,
            because: because.into(),
        }))
    }

    /// Records people as they are now; those whom the archive knows as they are cost nothing. An archive that was
    /// joined to another stays as it was then. Gives how many were recorded.
    pub fn put_people(&mut self, records: Vec<PersonRecord>) -> Result<u64> {
        let mut put = 0;
        for mut record in records {
            record.addresses.sort();
            record.addresses.dedup();
            record.tenures.sort();
            match self.catalogue.person_record(&record.person)? {
                Some(known) if known.merged_into.is_some() && record.merged_into.is_none() => continue,
                Some(known) if known == record => continue,
                _ => {}
            }
            self.put(&Record::Person(record))?;
            put += 1;
        }
        Ok(put)
    }

    /// Joins the archive `from` to that of `into`: from here on what is for the one is filed for the other. What is
    /// filed already is moved by [`Core::move_filings`]. Joining what is joined already does nothing.
    pub fn merge(&mut self, from: &str, into: PersonRecord, who: &str) -> Result<()> {
        let refused = |what: String| Err(ArchiveError::new(ErrorKind::Unusable, what));
        let Some(mut gone) = self.catalogue.person_record(from)? else {
            return refused(format!("nobody called {from} has an archive"));
        };
        let mut stays = self.catalogue.person_record(&into.person)?.unwrap_or(into);
        if gone.person == stays.person {
            return refused(format!("{from} cannot be merged into itself"));
        }
        if let Some(other) = &stays.merged_into {
            return refused(format!("{} was merged into {other} itself", stays.person));
        }
        match &gone.merged_into {
            Some(other) if *other == stays.person => return Ok(()),
            Some(other) => return refused(format!("{from} was merged into {other} already")),
            None => {}
        }
        stays.key = stays.key.or_else(|| gone.key.clone());
        stays.addresses.extend(gone.addresses.iter().cloned());
        stays.tenures.extend(gone.tenures.iter().cloned());
        gone.merged_into = Some(stays.person.clone());
        let what = serde_json::json!({ "from": from, "into": &stays.person });
        self.put_people(vec![stays, gone])?;
        self.event("people-merge", who, what)
    }

    /// Files up to `limit` of what is filed for `from` for `into` instead. Gives how many; 0: there is nothing left.
    pub fn move_filings(&mut self, from: &str, into: &str, limit: u32) -> Result<u64> {
        let found: Vec<(u64, Folder, String, u32)> = {
            let sql = "SELECT f.item, f.folder, f.because, m.rules FROM filings f JOIN messages m ON m.item = f.item
                       WHERE f.person = (SELECT id FROM people WHERE person = ?1)
                       ORDER BY f.folder, f.message, f.item LIMIT ?2";
            let mut statement = self.catalogue.db.prepare_cached(sql)?;
            let rows = statement.query_map(params![from, limit], |row| {
                Ok((row.get::<_, i64>(0)? as u64, folder_from(row.get(1)?), row.get(2)?, row.get(3)?))
            })?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        let moved = found.len() as u64;
        for (item, folder, because, rules) in found {
            let has = self.catalogue.filed(item)?.filings;
            if !has.iter().any(|filing| filing.person == into && filing.folder == folder) {
                let filing = Filing { person: into.into(), folder, because: format!("{because}, merged from {from}") };
                self.file(item, vec![filing], Vec::new(), rules)?;
            }
            self.withdraw(item, from, folder, &format!("merged into {into}"))?;
        }
        Ok(moved)
    }
}

impl Catalogue {
    /// A person, as the archive knows them.
    pub fn person_record(&self, person: &str) -> Result<Option<PersonRecord>> {
        let sql = "SELECT id, person, name, origin, key, merged_into FROM people WHERE person = ?1";
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, person_of(row)?));
        let found = self.db.prepare_cached(sql)?.query_row([person], row).optional()?;
        found.map(|(id, person)| self.with_addresses(id, person)).transpose()
    }

    /// Everybody who has an archive.
    pub fn persons(&self) -> Result<Vec<PersonRecord>> {
        let sql = "SELECT id, person, name, origin, key, merged_into FROM people ORDER BY person";
        let mut statement = self.db.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, person_of(row)?)))?;
        rows.map(|row| row.map_err(ArchiveError::from).and_then(|(id, person)| self.with_addresses(id, person)))
            .collect()
    }

    fn with_addresses(&self, id: i64, person: PersonRecord) -> Result<PersonRecord> {
        let sql = "SELECT address FROM addresses WHERE person = ?1 ORDER BY address";
        let mut statement = self.db.prepare_cached(sql)?;
        let addresses = statement.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let sql = "SELECT address, since, until FROM tenures WHERE person = ?1";
        let mut statement = self.db.prepare_cached(sql)?;
        // Written by `apply`, from what was a time.
        let time = |text: Option<String>| text.and_then(|text| text.parse().ok());
        let rows = statement.query_map([id], |row| {
            Ok(Tenure { address: row.get(0)?, from: time(row.get(1)?), until: time(row.get(2)?) })
        })?;
        let mut tenures: Vec<Tenure> = rows.collect::<rusqlite::Result<_>>()?;
        tenures.sort();
        Ok(PersonRecord { addresses, tenures, ..person })
    }

    /// How an item is filed.
    pub fn filed(&self, item: u64) -> Result<Filed> {
        let sql = "SELECT rules FROM messages WHERE item = ?1";
        let rules = self.db.prepare_cached(sql)?.query_row([item as i64], |row| row.get(0)).optional()?;
        let sql = "SELECT p.person, f.folder, f.because FROM filings f INDEXED BY filings_item
                   JOIN people p ON p.id = f.person WHERE f.item = ?1 ORDER BY p.person, f.folder";
        let mut statement = self.db.prepare_cached(sql)?;
        let rows = statement.query_map([item as i64], |row| {
            Ok(Filing { person: row.get(0)?, folder: folder_from(row.get(1)?), because: row.get(2)? })
        })?;
        Ok(Filed { filings: rows.collect::<rusqlite::Result<_>>()?, rules: rules.unwrap_or(0) })
    }
}

fn person_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<PersonRecord> {
    Ok(PersonRecord {
        person: row.get(1)?,
        name: row.get(2)?,
        addresses: Vec::new(),
        origin: row.get(3)?,
        key: row.get(4)?,
        tenures: Vec::new(),
        merged_into: row.get(5)?,
    })
}

impl Reader {
    /// Up to `limit` chosen items that were decoded, of those with a higher number than `after`, rising.
    pub fn chosen(&self, choice: &Choice, after: u64, limit: u32) -> Result<Vec<u64>> {
        // One pass over the messages for all pages together, each with a look at its own filings: neither holds the
        // list nor keeps a snapshot of the catalogue open for as long as the work takes.
        let filed_for = "EXISTS (SELECT 1 FROM filings f INDEXED BY filings_item WHERE f.item = m.item
                                 AND f.person = (SELECT id FROM people WHERE person = ?3))";
        let (condition, person, parser, rules) = match choice {
            Choice::All => ("?3 ISNULL AND ?4 = 0 AND ?5 = 0".to_owned(), None, 0, 0),
            Choice::Person(person) => (format!("{filed_for} AND ?4 = 0 AND ?5 = 0"), Some(person.as_str()), 0, 0),
            Choice::Outdated { person, parser, rules } => {
                let condition = format!("(m.parser < ?4 OR m.rules < ?5 OR {filed_for})");
                (condition, Some(person.as_str()), *parser, *rules)
            }
            Choice::Item(item) => {
                let mut items = self.catalogue.items_of_message(*item)?;
                if self.catalogue.message_of_item(*item)?.is_some() && !items.contains(item) {
                    items.push(*item);
                }
                items.retain(|item| *item > after);
                items.sort_unstable();
                items.truncate(limit as usize);
                return Ok(items);
            }
        };
        let sql = format!("SELECT m.item FROM messages m WHERE m.item > ?1 AND {condition} ORDER BY m.item LIMIT ?2");
        let mut statement = self.catalogue.db.prepare_cached(&sql)?;
        let rows = statement
            .query_map(params![after as i64, limit, person, parser, rules], |row| Ok(row.get::<_, i64>(0)? as u64))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// How an item is filed.
    pub fn filed(&self, item: u64) -> Result<Filed> {
        self.catalogue.filed(item)
    }

    /// Everywhere an item was seen, first sight first.
    pub fn provenance(&self, item: u64) -> Result<Vec<Provenance>> {
        let sql = "SELECT e.kind, e.host, e.login, e.folder, s.epoch, s.native, s.ord, s.size, s.date, s.disposition,
                          s.at, s.gone
                   FROM sightings s INDEXED BY sightings_item JOIN epochs e ON e.id = s.epoch
                   WHERE s.item = ?1 ORDER BY s.epoch, s.ord, s.native";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        let rows = statement.query_map([item as i64], |row| {
            let disposition: String = row.get(9)?;
            Ok(Provenance {
                kind: row.get(0)?,
                host: row.get(1)?,
                login: row.get(2)?,
                folder: row.get(3)?,
                epoch: row.get::<_, i64>(4)? as u64,
                native_id: row.get(5)?,
                order: row.get::<_, Option<i64>>(6)?.map(|order| order as u64),
                size: row.get::<_, i64>(7)? as u64,
                date: row.get(8)?,
                // Rows come from records only; a name that no version wrote is treated as what blocks nothing.
                disposition: Disposition::from_name(&disposition).unwrap_or(Disposition::Failed),
                at: Timestamp::from_second(row.get(10)?).unwrap_or(Timestamp::UNIX_EPOCH),
                gone: row.get(11)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Quarantined items, rising.
    pub fn quarantined(&self) -> Result<Vec<u64>> {
        let mut statement =
            self.catalogue.db.prepare_cached("SELECT id FROM items WHERE quarantine NOT NULL ORDER BY id")?;
        let rows = statement.query_map([], |row| Ok(row.get::<_, i64>(0)? as u64))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Who wrote the reports among the newest `limit` items of a gateway, the most frequent first.
    pub fn reporters(&self, of: Gateway<'_>, limit: u32) -> Result<Vec<Reporter>> {
        let sql = "SELECT r.domain, count(*) FROM (
                       SELECT m.reporter AS reporter FROM messages m
                       JOIN sightings s INDEXED BY sightings_item ON s.item = m.item
                       JOIN epochs e ON e.id = s.epoch
                       WHERE e.host = ?1 AND e.login = ?2 ORDER BY m.item DESC LIMIT ?3) seen
                   JOIN reporters r ON r.id = seen.reporter GROUP BY r.domain ORDER BY count(*) DESC, r.domain";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        let rows = statement.query_map(params![of.host, of.login, limit], |row| {
            Ok(Reporter { domain: row.get(0)?, count: row.get::<_, i64>(1)? as u64 })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

/// The domain of who wrote reports, and of how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reporter {
    pub domain: String,
    pub count: u64,
}

#[cfg(test)]
#[path = "refile_tests.rs"]
mod tests;
