//! The catalogue: an SQLite database derived from the packs, record by record.
//!
//! [`Catalogue::apply`] is the only way in which a record changes it; writing, recovery and `rebuild` all go
//! through there, so that a rebuilt catalogue says what the lost one said. What is *not* derived from
//! records is a cache that may be lost: the folder states of `epochs`, and `profiles` (the last run of each).

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::error::{ArchiveError, ErrorKind, Result};
use super::frame::HEAD_LEN;
use super::record::{DecodeRecord, DeletedHow, Disposition, Folder, Head, Record, StoredMessage};
use crate::base::digest::Digest;
use crate::base::fsio;

pub const SCHEMA_VERSION: i64 = 2;

const SCHEMA: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE packs (no INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, sealed INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE commits (seq INTEGER PRIMARY KEY, hash BLOB NOT NULL, pack INTEGER NOT NULL, start INTEGER NOT NULL,
    finish INTEGER NOT NULL, at INTEGER NOT NULL) STRICT;
CREATE TABLE chunks (sha256 BLOB PRIMARY KEY, pack INTEGER NOT NULL, offset INTEGER NOT NULL,
    stored INTEGER NOT NULL, raw INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE items (id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,
    pack INTEGER NOT NULL, offset INTEGER NOT NULL, quarantine TEXT, decode_pack INTEGER,
    decode_offset INTEGER) STRICT;
CREATE INDEX items_decoded ON items (decode_pack, decode_offset) WHERE decode_pack NOT NULL;
CREATE TABLE messages (item INTEGER PRIMARY KEY, message INTEGER NOT NULL, canonical BLOB NOT NULL,
    canonical_version INTEGER NOT NULL, sha256 BLOB NOT NULL, size INTEGER NOT NULL,
    message_id TEXT, date INTEGER, sender TEXT NOT NULL, recipients TEXT NOT NULL, subject TEXT NOT NULL,
    parser INTEGER NOT NULL, rules INTEGER NOT NULL DEFAULT 0, reporter INTEGER) STRICT;
CREATE INDEX messages_canonical ON messages (canonical);
CREATE INDEX messages_message ON messages (message);
CREATE TABLE reporters (id INTEGER PRIMARY KEY, domain TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE people (id INTEGER PRIMARY KEY, person TEXT NOT NULL UNIQUE, name TEXT, origin TEXT NOT NULL,
    key TEXT, merged_into TEXT) STRICT;
CREATE TABLE addresses (address TEXT NOT NULL, person INTEGER NOT NULL, PRIMARY KEY (address, person))
    STRICT, WITHOUT ROWID;
CREATE TABLE tenures (person INTEGER NOT NULL, address TEXT NOT NULL, since TEXT, until TEXT) STRICT;
CREATE INDEX tenures_person ON tenures (person);
CREATE TABLE filings (person INTEGER NOT NULL, folder INTEGER NOT NULL, message INTEGER NOT NULL,
    item INTEGER NOT NULL, because TEXT NOT NULL, PRIMARY KEY (person, folder, message, item))
    STRICT, WITHOUT ROWID;
CREATE INDEX filings_item ON filings (item);
CREATE TABLE epochs (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, host TEXT NOT NULL, login TEXT NOT NULL,
    folder TEXT NOT NULL, validity TEXT NOT NULL, generation INTEGER NOT NULL, since INTEGER NOT NULL,
    because TEXT NOT NULL, next INTEGER, present INTEGER, listed_to INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE INDEX epochs_name ON epochs (kind, host, login, folder);
CREATE TABLE sightings (epoch INTEGER NOT NULL, native TEXT NOT NULL, ord INTEGER, size INTEGER NOT NULL,
    date TEXT NOT NULL, disposition TEXT NOT NULL, item INTEGER, at INTEGER NOT NULL, tries INTEGER NOT NULL,
    because TEXT, gone TEXT, PRIMARY KEY (epoch, native)) STRICT, WITHOUT ROWID;
CREATE INDEX sightings_open ON sightings (epoch, disposition, ord) WHERE gone IS NULL;
CREATE INDEX sightings_item ON sightings (item) WHERE item IS NOT NULL;
CREATE INDEX sightings_order ON sightings (epoch, ord) WHERE gone IS NULL;
CREATE TABLE profiles (name TEXT PRIMARY KEY, last_run INTEGER, last_success INTEGER, report TEXT NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE TABLE events (id INTEGER PRIMARY KEY, event TEXT NOT NULL, at INTEGER NOT NULL, who TEXT NOT NULL,
    what TEXT NOT NULL) STRICT;
CREATE INDEX events_name ON events (event, id);
";

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub pack: u64,
    pub offset: u64,
    pub stored_len: u64,
}

/// The last commit that the catalogue acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub head: Head,
    /// 0: no pack yet.
    pub pack: u64,
    /// First byte of the commit's batch, and the byte after the commit record.
    pub start: u64,
    pub finish: u64,
}

pub struct Catalogue {
    pub(super) db: Connection,
}

impl Catalogue {
    /// A new catalogue; the file must not be there.
    pub fn create(path: &Path, archive: uuid::Uuid) -> Result<Catalogue> {
        private_file(path)?;
        let db = Connection::open(fsio::long(path))?;
        tune(&db)?;
        Catalogue::with_schema(db, archive)
    }

    /// The same, for a file that counts only once it was filled, closed and synced by the caller: one file
    /// without a journal beside it, and nothing of it survives a crash.
    pub fn create_unsynced(path: &Path, archive: uuid::Uuid) -> Result<Catalogue> {
        private_file(path)?;
        let db = Connection::open(fsio::long(path))?;
        db.pragma_update(None, "journal_mode", "MEMORY")?;
        db.pragma_update(None, "synchronous", "OFF")?;
        db.pragma_update(None, "cache_size", -16384)?;
        db.set_prepared_statement_cache_capacity(64);
        Catalogue::with_schema(db, archive)
    }

    fn with_schema(db: Connection, archive: uuid::Uuid) -> Result<Catalogue> {
        // In one transaction: what is interrupted leaves a file with nothing in it.
        db.execute_batch("BEGIN IMMEDIATE")?;
        db.execute_batch(SCHEMA)?;
        let mut meta = db.prepare("INSERT INTO meta VALUES (?1, ?2)")?;
        meta.execute(params!["schema", SCHEMA_VERSION.to_string()])?;
        meta.execute(params!["archive", archive.to_string()])?;
        drop(meta);
        db.execute_batch("COMMIT")?;
        Ok(Catalogue { db })
    }

    /// Whether it holds nothing at all, or is this archive's and has never acknowledged a commit.
    pub fn was_never_used(path: &Path, archive: uuid::Uuid) -> Result<bool> {
        let db = Connection::open_with_flags(fsio::long(path), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        match db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            // No database: some other file.
            Err(_) => return Ok(false),
        }
        match (Catalogue { db }).checked(archive) {
            Ok(catalogue) => Ok(catalogue.acknowledged()?.is_none()),
            Err(_) => Ok(false),
        }
    }

    pub fn open(path: &Path, archive: uuid::Uuid) -> Result<Catalogue> {
        let db = Connection::open_with_flags(fsio::long(path), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        tune(&db)?;
        Catalogue { db }.checked(archive)
    }

    /// The catalogue of an archive, for readers.
    pub fn of(layout: &super::Layout) -> Result<Catalogue> {
        let identity = layout.identity()?;
        if !layout.catalogue.exists() {
            return Err(super::recover::missing_catalogue(layout));
        }
        Catalogue::open_to_read(&layout.catalogue, identity.archive)
    }

    /// For readers; never changes anything and never waits for the writer.
    pub fn open_to_read(path: &Path, archive: uuid::Uuid) -> Result<Catalogue> {
        let db = Connection::open_with_flags(fsio::long(path), OpenFlags::SQLITE_OPEN_READ_WRITE)
            .or_else(|_| Connection::open_with_flags(fsio::long(path), OpenFlags::SQLITE_OPEN_READ_ONLY))?;
        db.busy_timeout(std::time::Duration::from_secs(10))?;
        db.pragma_update(None, "query_only", true)?;
        db.pragma_update(None, "cache_size", -4096)?;
        Catalogue { db }.checked(archive)
    }

    fn checked(self, archive: uuid::Uuid) -> Result<Catalogue> {
        match self.schema()? {
            Some(SCHEMA_VERSION) => {}
            Some(older) if older < SCHEMA_VERSION => {
                return Err(ArchiveError::new(
                    ErrorKind::Unusable,
                    format!(
                        "the catalogue is an older gatepost's (schema {older}, this version needs {SCHEMA_VERSION})"
                    ),
                )
                .hint("run `gatepost rebuild`: it makes the catalogue anew from the packs; no mail is touched"));
            }
            schema => {
                return Err(ArchiveError::new(
                    ErrorKind::Unusable,
                    format!(
                        "the catalogue has schema {}, this version knows {SCHEMA_VERSION}",
                        schema.map_or_else(|| "(none)".to_owned(), |schema| schema.to_string())
                    ),
                )
                .hint(
                    "use the gatepost version that wrote it, or move the catalogue away and run `gatepost rebuild`",
                ));
            }
        }
        self.of_archive(archive)
    }

    fn of_archive(self, archive: uuid::Uuid) -> Result<Catalogue> {
        if self.meta("archive")? != Some(archive.to_string()) {
            return Err(ArchiveError::new(ErrorKind::Damaged, "the catalogue belongs to another archive")
                .hint("check `[archive] catalogue`, or move the file away and run `gatepost rebuild`"));
        }
        Ok(self)
    }

    /// For `rebuild`, which replaces it: one of an older version is good enough to tell what it acknowledged.
    pub(super) fn open_to_replace(path: &Path, archive: uuid::Uuid) -> Result<Catalogue> {
        let db = Connection::open_with_flags(fsio::long(path), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.busy_timeout(std::time::Duration::from_secs(10))?;
        db.pragma_update(None, "query_only", true)?;
        let catalogue = Catalogue { db };
        match catalogue.schema()? {
            Some(older) if older < SCHEMA_VERSION => catalogue.of_archive(archive),
            _ => catalogue.checked(archive),
        }
    }

    pub(super) fn schema(&self) -> Result<Option<i64>> {
        Ok(self.meta("schema")?.and_then(|schema| schema.parse().ok()))
    }

    /// The archive that this catalogue says it belongs to, before anything else of it is believed.
    pub fn archive_named(path: &Path) -> Result<Option<String>> {
        let db = Connection::open_with_flags(fsio::long(path), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(std::time::Duration::from_secs(10))?;
        Catalogue { db }.meta("archive")
    }

    fn meta(&self, key: &str) -> Result<Option<String>> {
        let mut statement = self.db.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
        Ok(statement.query_row([key], |row| row.get(0)).optional()?)
    }

    pub fn begin(&self) -> Result<()> {
        Ok(self.db.execute_batch("BEGIN IMMEDIATE")?)
    }

    pub fn commit(&self) -> Result<()> {
        Ok(self.db.execute_batch("COMMIT")?)
    }

    /// Drops the open transaction, if there is one.
    pub fn rollback(&self) {
        if !self.db.is_autocommit() {
            // An error here leaves the transaction to the connection's end, which drops it too.
            let _ = self.db.execute_batch("ROLLBACK");
        }
    }

    /// Drops cached pages that nobody uses.
    pub fn release_memory(&self) -> Result<()> {
        Ok(self.db.release_memory()?)
    }

    /// `None`: nothing was committed yet.
    pub fn acknowledged(&self) -> Result<Option<Acknowledged>> {
        let mut statement =
            self.db.prepare_cached("SELECT seq, hash, pack, start, finish FROM commits ORDER BY seq DESC LIMIT 1")?;
        Ok(statement
            .query_row([], |row| {
                Ok(Acknowledged {
                    head: Head { seq: row.get::<_, i64>(0)? as u64, hash: digest(row.get(1)?)? },
                    pack: row.get::<_, i64>(2)? as u64,
                    start: row.get::<_, i64>(3)? as u64,
                    finish: row.get::<_, i64>(4)? as u64,
                })
            })
            .optional()?)
    }

    /// Number, acknowledged length and whether it is sealed, of each pack.
    pub fn packs(&self) -> Result<Vec<(u64, u64, bool)>> {
        let mut statement = self.db.prepare_cached("SELECT no, bytes, sealed FROM packs ORDER BY no")?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? != 0))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub fn chunk(&self, sha256: &Digest) -> Result<Option<Place>> {
        let mut statement = self.db.prepare_cached("SELECT pack, offset, stored FROM chunks WHERE sha256 = ?1")?;
        Ok(statement.query_row([sha256.as_bytes()], place).optional()?)
    }

    pub fn item_place(&self, item: u64) -> Result<Option<Place>> {
        let mut statement = self.db.prepare_cached("SELECT pack, offset, 0 FROM items WHERE id = ?1")?;
        Ok(statement.query_row([item as i64], place).optional()?)
    }

    /// Where the latest decoding of an item stands, when it is not the item's record.
    pub fn decode_place(&self, item: u64) -> Result<Option<Place>> {
        let mut statement = self
            .db
            .prepare_cached("SELECT decode_pack, decode_offset, 0 FROM items WHERE id = ?1 AND decode_pack NOT NULL")?;
        Ok(statement.query_row([item as i64], place).optional()?)
    }

    /// Why an item is quarantined.
    pub fn quarantine(&self, item: u64) -> Result<Option<String>> {
        let mut statement = self.db.prepare_cached("SELECT quarantine FROM items WHERE id = ?1")?;
        Ok(statement.query_row([item as i64], |row| row.get(0)).optional()?.flatten())
    }

    pub fn item_by_sha256(&self, sha256: &Digest) -> Result<Option<u64>> {
        let mut statement = self.db.prepare_cached("SELECT id FROM items WHERE sha256 = ?1")?;
        Ok(statement.query_row([sha256.as_bytes()], |row| row.get::<_, i64>(0)).optional()?.map(|id| id as u64))
    }

    pub fn last_item(&self) -> Result<u64> {
        let mut statement = self.db.prepare_cached("SELECT coalesce(max(id), 0) FROM items")?;
        Ok(statement.query_row([], |row| row.get::<_, i64>(0))? as u64)
    }

    /// The message that is shown for this canonical digest, but for `except`. One whose first item was decoded
    /// anew and has another digest now is none.
    pub fn message_of(&self, version: u8, canonical: &Digest, except: u64) -> Result<Option<u64>> {
        let mut statement = self.db.prepare_cached(
            "SELECT min(item) FROM messages INDEXED BY messages_canonical
             WHERE canonical = ?1 AND canonical_version = ?2 AND message = item AND item <> ?3 HAVING count(*) > 0",
        )?;
        let found = statement
            .query_row(params![canonical.as_bytes(), version, except as i64], |row| row.get::<_, i64>(0))
            .optional()?;
        Ok(found.map(|id| id as u64))
    }

    /// As which message an item is shown; `None`: it was not decoded.
    pub fn message_of_item(&self, item: u64) -> Result<Option<u64>> {
        let mut statement = self.db.prepare_cached("SELECT message FROM messages WHERE item = ?1")?;
        Ok(statement.query_row([item as i64], |row| row.get::<_, i64>(0)).optional()?.map(|id| id as u64))
    }

    /// The hash of a commit.
    pub fn commit_hash(&self, seq: u64) -> Result<Option<Digest>> {
        let mut statement = self.db.prepare_cached("SELECT hash FROM commits WHERE seq = ?1")?;
        Ok(statement.query_row([seq as i64], |row| digest(row.get(0)?)).optional()?)
    }

    /// Where the last decoding stands that was not made with its item: pack and offset.
    pub fn last_decoded(&self) -> Result<(u64, u64)> {
        let mut statement = self.db.prepare_cached(
            "SELECT decode_pack, decode_offset FROM items WHERE decode_pack NOT NULL
             ORDER BY decode_pack DESC, decode_offset DESC LIMIT 1",
        )?;
        let place = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64));
        Ok(statement.query_row([], place).optional()?.unwrap_or_default())
    }

    /// Items up to `item` that were decoded anew after that place.
    pub fn decoded_after(&self, item: u64, (pack, offset): (u64, u64)) -> Result<Vec<u64>> {
        let mut statement = self.db.prepare_cached(
            "SELECT id FROM items WHERE decode_pack NOT NULL AND (decode_pack, decode_offset) > (?2, ?3) AND id <= ?1
             ORDER BY id",
        )?;
        let rows =
            statement.query_map([item as i64, pack as i64, offset as i64], |row| Ok(row.get::<_, i64>(0)? as u64))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Item and message of all items after one and up to another that are decoded.
    pub fn messages_between(&self, after: u64, upto: u64) -> Result<Vec<(u64, u64)>> {
        let mut statement = self
            .db
            .prepare_cached("SELECT item, message FROM messages WHERE item > ?1 AND item <= ?2 ORDER BY item")?;
        let pair = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64));
        let rows = statement.query_map([after as i64, upto as i64], pair)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The items that are shown as a message.
    pub fn items_of_message(&self, message: u64) -> Result<Vec<u64>> {
        let mut statement = self.db.prepare_cached("SELECT item FROM messages WHERE message = ?1 ORDER BY item")?;
        let rows = statement.query_map([message as i64], |row| Ok(row.get::<_, i64>(0)? as u64))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub fn person_is_known(&self, person: &str) -> Result<bool> {
        let mut statement = self.db.prepare_cached("SELECT 1 FROM people WHERE person = ?1")?;
        Ok(statement.exists([person])?)
    }

    /// Takes a record of the packs over.
    pub fn apply(&self, record: &Record, place: Place) -> Result<()> {
        match record {
            Record::Pack(pack) => {
                let mut statement = self.db.prepare_cached("INSERT INTO packs (no, bytes) VALUES (?1, 0)")?;
                statement.execute([pack.pack as i64])?;
            }
            Record::Item(item) => {
                let mut statement =
                    self.db.prepare_cached("INSERT INTO items VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, NULL)")?;
                statement.execute(params![
                    item.item as i64,
                    item.sha256.as_bytes(),
                    item.size as i64,
                    place.pack as i64,
                    place.offset as i64,
                    item.quarantine,
                ])?;
                if let Some(message) = &item.message {
                    self.put_message(item.item, message)?;
                }
            }
            Record::Decode(decode) => self.decoded(decode, place)?,
            Record::Union(union) => {
                for sql in [
                    "UPDATE messages SET message = ?1 WHERE item = ?2",
                    "UPDATE filings SET message = ?1 WHERE item = ?2",
                ] {
                    self.db.prepare_cached(sql)?.execute([union.union as i64, union.item as i64])?;
                }
            }
            Record::Filing(filing) => {
                let mut find = self.db.prepare_cached("SELECT message FROM messages WHERE item = ?1")?;
                let message: i64 = find.query_row([filing.filing as i64], |row| row.get(0))?;
                let mut statement = self.db.prepare_cached("UPDATE messages SET rules = ?2 WHERE item = ?1")?;
                statement.execute(params![filing.filing as i64, filing.rules])?;
                for one in &filing.filings {
                    let person = self.person(&one.person)?;
                    let mut statement =
                        self.db.prepare_cached("INSERT OR IGNORE INTO filings VALUES (?1, ?2, ?3, ?4, ?5)")?;
                    statement.execute(params![
                        person,
                        folder_number(one.folder),
                        message,
                        filing.filing as i64,
                        one.because
                    ])?;
                }
            }
            Record::Withdraw(withdraw) => {
                let mut statement = self.db.prepare_cached(
                    "DELETE FROM filings WHERE item = ?1 AND folder = ?2
                     AND person = (SELECT id FROM people WHERE person = ?3)",
                )?;
                statement.execute(params![
                    withdraw.withdraw as i64,
                    folder_number(withdraw.folder),
                    withdraw.person
                ])?;
            }
            Record::Epoch(epoch) => {
                let mut statement = self.db.prepare_cached(
                    "INSERT INTO epochs (id, kind, host, login, folder, validity, generation, since, because)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?;
                statement.execute(params![
                    epoch.epoch as i64,
                    epoch.kind,
                    epoch.host,
                    epoch.login,
                    epoch.folder,
                    epoch.validity,
                    epoch.generation,
                    epoch.since.as_second(),
                    epoch.because,
                ])?;
            }
            Record::Sighting(sighting) => {
                self.put_sighting(
                    (sighting.epoch, &sighting.sighting, sighting.order, sighting.size, &sighting.date),
                    sighting.disposition,
                    Some(sighting.item),
                    sighting.at,
                    None,
                )?;
            }
            Record::Disposition(record) => {
                self.put_sighting(
                    (record.epoch, &record.sighting, record.order, record.size, &record.date),
                    record.disposition,
                    None,
                    record.at,
                    Some(&record.because),
                )?;
            }
            Record::Deleted(deleted) => {
                let how = match deleted.how {
                    DeletedHow::Confirmed => "deleted",
                    DeletedHow::Inferred => "inferred",
                };
                let mut statement =
                    self.db.prepare_cached("UPDATE sightings SET gone = ?1 WHERE epoch = ?2 AND native = ?3")?;
                for native in &deleted.deleted {
                    statement.execute(params![how, deleted.epoch as i64, native])?;
                }
            }
            Record::Person(person) => {
                let mut statement = self.db.prepare_cached(
                    "INSERT INTO people (person, name, origin, key, merged_into) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (person) DO UPDATE SET name = excluded.name, origin = excluded.origin,
                        key = excluded.key, merged_into = excluded.merged_into",
                )?;
                statement.execute(params![
                    person.person,
                    person.name,
                    person.origin,
                    person.key,
                    person.merged_into
                ])?;
                let id = self.person(&person.person)?;
                self.db.prepare_cached("DELETE FROM addresses WHERE person = ?1")?.execute([id])?;
                self.db.prepare_cached("DELETE FROM tenures WHERE person = ?1")?.execute([id])?;
                let mut statement = self.db.prepare_cached("INSERT INTO tenures VALUES (?1, ?2, ?3, ?4)")?;
                for tenure in &person.tenures {
                    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
                    statement.execute(params![id, tenure.address, text(tenure.from), text(tenure.until)])?;
                }
                let mut statement = self.db.prepare_cached("INSERT OR IGNORE INTO addresses VALUES (?1, ?2)")?;
                for address in &person.addresses {
                    statement.execute(params![address, id])?;
                }
            }
            Record::Event(event) => {
                let mut statement =
                    self.db.prepare_cached("INSERT INTO events (event, at, who, what) VALUES (?1, ?2, ?3, ?4)")?;
                statement.execute(params![event.event, event.at.as_second(), event.who, event.what.to_string()])?;
                // Runs that did something are in the chain, so that `status` knows them after a rebuild too.
                if let ("run", Some(name)) = (event.event.as_str(), event.what["name"].as_str()) {
                    let at = event.at.as_second();
                    self.put_run(name, at, event.what["error"].is_null().then_some(at), &event.what.to_string())?;
                }
            }
            Record::Seal(seal) => {
                let mut statement = self.db.prepare_cached("UPDATE packs SET sealed = 1, bytes = ?2 WHERE no = ?1")?;
                statement.execute([seal.seal as i64, (place.offset + HEAD_LEN as u64 + place.stored_len) as i64])?;
            }
            Record::Commit(_) => {
                return Err(ArchiveError::new(ErrorKind::Failed, "a commit is taken over by apply_commit"));
            }
        }
        Ok(())
    }

    /// Puts what a message is in the place of what it was, if it was; as which message it is shown, and by which
    /// rules it was filed, stays.
    fn put_message(&self, item: u64, message: &StoredMessage) -> Result<()> {
        let reporter = match &message.reporter {
            Some(domain) => {
                self.db.prepare_cached("INSERT OR IGNORE INTO reporters (domain) VALUES (?1)")?.execute([domain])?;
                let mut find = self.db.prepare_cached("SELECT id FROM reporters WHERE domain = ?1")?;
                Some(find.query_row([domain], |row| row.get::<_, i64>(0))?)
            }
            None => None,
        };
        let mut statement = self.db.prepare_cached(
            "INSERT INTO messages (item, message, canonical, canonical_version, sha256, size, message_id, date, sender,
                recipients, subject, parser, reporter)
             VALUES (?1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (item) DO UPDATE SET canonical = excluded.canonical,
                canonical_version = excluded.canonical_version, sha256 = excluded.sha256, size = excluded.size,
                message_id = excluded.message_id, date = excluded.date, sender = excluded.sender,
                recipients = excluded.recipients, subject = excluded.subject, parser = excluded.parser,
                reporter = excluded.reporter",
        )?;
        statement.execute(params![
            item as i64,
            message.canonical.as_bytes(),
            message.canonical_version,
            message.sha256.as_bytes(),
            message.size as i64,
            message.summary.message_id,
            message.summary.date.map(Timestamp::as_second),
            message.summary.from,
            serde_json::to_string(&message.summary.to).unwrap_or_default(),
            message.summary.subject,
            message.parser,
            reporter,
        ])?;
        Ok(())
    }

    fn decoded(&self, decode: &DecodeRecord, place: Place) -> Result<()> {
        let item = decode.decode as i64;
        let was_quarantined = self.quarantine(decode.decode)?.is_some();
        let quarantine = match decode.message {
            Some(_) => None,
            None => Some(&decode.because),
        };
        let mut statement = self
            .db
            .prepare_cached("UPDATE items SET quarantine = ?2, decode_pack = ?3, decode_offset = ?4 WHERE id = ?1")?;
        let there = statement.execute(params![item, quarantine, place.pack as i64, place.offset as i64])?;
        if there == 0 {
            return Err(ArchiveError::damaged(format!("item {item} was decoded anew, and there is no such item")));
        }
        let Some(message) = &decode.message else { return Ok(()) };
        self.put_message(decode.decode, message)?;
        if was_quarantined {
            let mut statement = self.db.prepare_cached(
                "UPDATE sightings SET disposition = 'archived', at = ?2 WHERE item = ?1 AND disposition = 'quarantined'",
            )?;
            statement.execute(params![item, decode.at.as_second()])?;
        }
        Ok(())
    }

    /// The last run of a profile.
    pub(super) fn put_run(&self, name: &str, at: i64, success: Option<i64>, report: &str) -> Result<()> {
        let mut statement = self.db.prepare_cached(
            "INSERT INTO profiles VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO UPDATE SET last_run = ?2,
                last_success = coalesce(?3, last_success), report = ?4",
        )?;
        statement.execute(params![name, at, success, report])?;
        Ok(())
    }

    pub fn apply_chunk(&self, sha256: &Digest, raw_len: u64, place: Place) -> Result<()> {
        // The first copy counts: a torn batch's chunk may stand in the packs twice after a crash.
        let mut statement = self.db.prepare_cached("INSERT OR IGNORE INTO chunks VALUES (?1, ?2, ?3, ?4, ?5)")?;
        statement.execute(params![
            sha256.as_bytes(),
            place.pack as i64,
            place.offset as i64,
            place.stored_len as i64,
            raw_len as i64
        ])?;
        Ok(())
    }

    /// Closes a batch: the catalogue acknowledges it from the moment that this transaction is durable.
    pub fn apply_commit(&self, ack: &Acknowledged, at: Timestamp) -> Result<()> {
        let mut statement = self.db.prepare_cached("INSERT INTO commits VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        statement.execute(params![
            ack.head.seq as i64,
            ack.head.hash.as_bytes(),
            ack.pack as i64,
            ack.start as i64,
            ack.finish as i64,
            at.as_second(),
        ])?;
        let mut statement = self.db.prepare_cached("UPDATE packs SET bytes = ?2 WHERE no = ?1")?;
        statement.execute([ack.pack as i64, ack.finish as i64])?;
        Ok(())
    }

    fn person(&self, person: &str) -> Result<i64> {
        let mut find = self.db.prepare_cached("SELECT id FROM people WHERE person = ?1")?;
        Ok(find.query_row([person], |row| row.get(0))?)
    }

    fn put_sighting(
        &self,
        (epoch, native, order, size, date): (u64, &str, Option<u64>, u64, &str),
        disposition: Disposition,
        item: Option<u64>,
        at: Timestamp,
        because: Option<&str>,
    ) -> Result<()> {
        let gone = (disposition == Disposition::Vanished).then_some("vanished");
        let mut statement = self.db.prepare_cached(
            "INSERT INTO sightings VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, ?9, ?10)
             ON CONFLICT (epoch, native) DO UPDATE SET size = excluded.size, date = excluded.date,
                disposition = excluded.disposition, item = excluded.item, at = excluded.at,
                tries = tries + 1, because = excluded.because, gone = excluded.gone",
        )?;
        statement.execute(params![
            epoch as i64,
            native,
            order.map(|order| order as i64),
            size as i64,
            date,
            disposition.as_str(),
            item.map(|item| item as i64),
            at.as_second(),
            because,
            gone,
        ])?;
        Ok(())
    }
}

pub(super) fn folder_number(folder: Folder) -> i64 {
    match folder {
        Folder::Inbox => 0,
        Folder::Sent => 1,
    }
}

pub(super) fn folder_from(number: i64) -> Folder {
    if number == 1 { Folder::Sent } else { Folder::Inbox }
}

fn place(row: &rusqlite::Row<'_>) -> rusqlite::Result<Place> {
    Ok(Place {
        pack: row.get::<_, i64>(0)? as u64,
        offset: row.get::<_, i64>(1)? as u64,
        stored_len: row.get::<_, i64>(2)? as u64,
    })
}

pub(super) fn digest(bytes: Vec<u8>) -> rusqlite::Result<Digest> {
    Digest::from_slice(&bytes).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, bytes.len() as i64))
}

/// SQLite creates files with the process's mask; ours are private from the first byte. The WAL and the
/// shared-memory file take the database's mode.
fn private_file(path: &Path) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| ArchiveError::io("create", path, &error))?;
    Ok(())
}

fn tune(db: &Connection) -> Result<()> {
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    // FULL: a commit is on the disk when COMMIT returns. NORMAL may roll it back after a power cut, and
    // receipts are given out on its word.
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    // Digests come in no order, so that a batch of small items changes thousands of pages: those that do not fit are
    // written twice.
    db.pragma_update(None, "cache_size", -32768)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(())
}
