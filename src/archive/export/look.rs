//! What an export asks the catalogue beside the lists of messages.

use rusqlite::{OptionalExtension as _, params};

use super::super::catalogue::folder_number;
use super::super::error::Result;
use super::super::read::Reader;
use super::super::record::Folder;

/// How an item came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sighted {
    /// In the gateway's words.
    pub date: String,
    pub gateway: String,
}

/// A person as the archive knows them.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub name: Option<String>,
    pub origin: String,
    pub merged_into: Option<String>,
    /// Whose archives were joined to this one.
    pub merged: Vec<String>,
    pub addresses: Vec<Address>,
}

#[derive(Clone, Debug)]
pub(super) struct Address {
    pub address: String,
    /// As the directory tells it; `None`: without end on that side.
    pub from: Option<String>,
    pub until: Option<String>,
}

impl Reader {
    /// The first sighting of an item on a gateway.
    pub(super) fn sighted(&self, item: u64) -> Result<Option<Sighted>> {
        let sql = "SELECT s.date, e.kind, e.login, e.host, e.folder FROM sightings s JOIN epochs e ON e.id = s.epoch
                   WHERE s.item = ?1 ORDER BY s.at, s.epoch, s.native LIMIT 1";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        let found = statement.query_row([item as i64], |row| {
            let text = |n: usize| row.get::<_, String>(n);
            let gateway = format!("{} ({} at {}, {})", text(2)?, text(1)?, text(3)?, text(4)?);
            Ok(Sighted { date: text(0)?, gateway })
        });
        Ok(found.optional()?)
    }

    /// Why an item is filed for a person.
    pub(super) fn because(&self, person: &str, folder: Folder, item: u64) -> Result<Option<String>> {
        let sql = "SELECT f.because FROM filings f JOIN people p ON p.id = f.person
                   WHERE f.item = ?3 AND p.person = ?1 AND f.folder = ?2";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        Ok(statement.query_row(params![person, folder_number(folder), item as i64], |row| row.get(0)).optional()?)
    }

    pub(super) fn is_filed(&self, message: u64, person: &str, folder: Folder) -> Result<bool> {
        let sql = "SELECT 1 FROM filings f JOIN people p ON p.id = f.person
                   WHERE p.person = ?1 AND f.folder = ?2 AND f.message = ?3";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        Ok(statement.exists(params![person, folder_number(folder), message as i64])?)
    }

    pub(super) fn known_person(&self, person: &str) -> Result<Known> {
        let db = &self.catalogue.db;
        let sql = "SELECT id, name, origin, merged_into FROM people WHERE person = ?1";
        let found = db.prepare_cached(sql)?.query_row([person], |row| {
            let known = Known { name: row.get(1)?, origin: row.get(2)?, merged_into: row.get(3)?, ..Known::default() };
            Ok((row.get::<_, i64>(0)?, known))
        });
        let Some((id, mut known)) = found.optional()? else { return Ok(Known::default()) };
        let mut merged = db.prepare_cached("SELECT person FROM people WHERE merged_into = ?1 ORDER BY person")?;
        known.merged = merged.query_map([person], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        // An address that was not always this person's has its times; one that is without them is.
        let sql = "SELECT address, since, until FROM tenures WHERE person = ?1
                   UNION ALL SELECT address, NULL, NULL FROM addresses a WHERE person = ?1
                       AND NOT EXISTS (SELECT 1 FROM tenures t WHERE t.person = ?1 AND t.address = a.address)
                   ORDER BY 1, 2";
        let mut addresses = db.prepare_cached(sql)?;
        let rows = addresses
            .query_map([id], |row| Ok(Address { address: row.get(0)?, from: row.get(1)?, until: row.get(2)? }))?;
        known.addresses = rows.collect::<rusqlite::Result<_>>()?;
        Ok(known)
    }

    /// The SHA-256 of an item's message, as the catalogue has it.
    pub(super) fn message_sum(&self, item: u64) -> Result<Option<crate::base::digest::Digest>> {
        let mut statement = self.catalogue.db.prepare_cached("SELECT sha256 FROM messages WHERE item = ?1")?;
        let found = statement.query_row([item as i64], |row| super::super::catalogue::digest(row.get(0)?));
        Ok(found.optional()?)
    }

    /// Whether a head is one that the archive had.
    pub(super) fn had_head(&self, head: super::super::record::Head) -> Result<bool> {
        if head.seq == 0 {
            return Ok(head.hash == super::super::frame::genesis(self.identity.archive));
        }
        let sql = "SELECT 1 FROM commits WHERE seq = ?1 AND hash = ?2";
        Ok(self.catalogue.db.prepare_cached(sql)?.exists(params![head.seq as i64, head.hash.as_bytes()])?)
    }
}
