//! Reading an archive: lists, people, messages and their bytes.
//!
//! Must never: change anything, wait for the writer, or hand out bytes that are not what was archived.

use std::cell::RefCell;
use std::io::Write;

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};
use serde::Serialize;

use super::catalogue::{Catalogue, digest, folder_from, folder_number};
use super::content;
use super::error::{ArchiveError, Result, Tried as _};
use super::frame;
use super::layout::{Identity, Layout};
use super::pack::Packs;
use super::record::{Folder, Head, ItemRecord, StoredMessage};
use super::recover::missing_catalogue;
use crate::base::bytes::{ByteSource, SpoolFile};
use crate::base::digest::Digest;
use crate::mail::regenerated::Regenerated;

/// An archive, open for reading. One per thread.
pub struct Reader {
    pub(super) identity: Identity,
    pub(super) catalogue: Catalogue,
    pub(super) packs: RefCell<Packs>,
    spool: std::path::PathBuf,
}

/// What of an archive is listed; everything that is set must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Filter {
    pub person: Option<String>,
    pub folder: Option<Folder>,
    /// The message's own date: this moment and later.
    pub after: Option<Timestamp>,
    /// Earlier than this moment.
    pub before: Option<Timestamp>,
    /// Parts of the text, in any case, as for the two below.
    pub from: Option<String>,
    /// In any of the `To` header's addresses.
    pub to: Option<String>,
    pub subject: Option<String>,
    pub limit: Option<u64>,
}

/// A message in a folder of a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The message's number.
    pub id: u64,
    pub person: String,
    pub folder: Folder,
    pub message_id: Option<String>,
    pub date: Option<Timestamp>,
    pub from: String,
    pub to: Vec<String>,
    pub subject: String,
    /// Of the message, without the report around it.
    pub size: u64,
    pub sha256: Digest,
    /// The item whose variant of the message this is.
    #[serde(skip)]
    pub item: u64,
}

/// An archive owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PersonInfo {
    pub person: String,
    pub name: Option<String>,
    pub origin: String,
    pub addresses: Vec<String>,
    /// Messages in each folder.
    pub inbox: u64,
    pub sent: u64,
}

/// A message with what is known of it.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    pub id: u64,
    pub item: u64,
    pub item_sha256: Digest,
    pub item_size: u64,
    /// The gateway put the item together anew; what it keeps beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regenerated: Option<Regenerated>,
    /// With the envelope.
    pub message: StoredMessage,
    pub filings: Vec<ShownFiling>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownFiling {
    pub person: String,
    pub folder: Folder,
    pub item: u64,
    pub because: String,
}

/// What a search term is compared in.
fn folded(text: &str) -> String {
    text.to_lowercase()
}

/// The parts of a filter that SQL cannot compare: its own case folding knows ASCII only.
pub(super) struct Texts {
    from: Option<String>,
    to: Option<String>,
    subject: Option<String>,
}

impl Texts {
    pub(super) fn of(filter: &Filter) -> Texts {
        let fold = |text: &Option<String>| text.as_deref().map(folded);
        Texts { from: fold(&filter.from), to: fold(&filter.to), subject: fold(&filter.subject) }
    }

    pub(super) fn fit(&self, entry: &Entry) -> bool {
        let has = |term: &Option<String>, text: &str| term.as_ref().is_none_or(|term| folded(text).contains(term));
        has(&self.from, &entry.from)
            && has(&self.subject, &entry.subject)
            && (self.to.is_none() || entry.to.iter().any(|to| has(&self.to, to)))
    }
}

impl Reader {
    pub fn open(layout: &Layout) -> Result<Reader> {
        let identity = layout.identity()?;
        if !layout.catalogue.exists() {
            return Err(missing_catalogue(layout));
        }
        let catalogue = Catalogue::open_to_read(&layout.catalogue, identity.archive)?;
        let packs = RefCell::new(Packs::new(layout.clone()));
        Ok(Reader { identity, catalogue, packs, spool: layout.spool() })
    }

    pub fn archive_id(&self) -> uuid::Uuid {
        self.identity.archive
    }

    /// The newest acknowledged commit; of an archive without one, the hash that the first will build on.
    pub fn head(&self) -> Result<Head> {
        let none = Head { seq: 0, hash: frame::genesis(self.identity.archive) };
        Ok(self.catalogue.acknowledged()?.map_or(none, |ack| ack.head))
    }

    /// Calls `visit` with each entry that fits, newest first. All of one list is one state of the archive.
    pub fn list(&self, filter: &Filter, visit: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        if filter.limit == Some(0) {
            return Ok(());
        }
        // Of several items of one message in the same folder, the first is shown.
        let sql = "SELECT f.message, p.person, f.folder, m.message_id, m.date, m.sender, m.recipients, m.subject,
                          m.size, m.sha256, f.item
                   FROM filings f JOIN people p ON p.id = f.person JOIN messages m ON m.item = f.item
                   WHERE (?1 IS NULL OR p.person = ?1) AND (?2 IS NULL OR f.folder = ?2)
                     AND (?3 IS NULL OR m.date >= ?3) AND (?4 IS NULL OR m.date < ?4)
                     AND NOT EXISTS (SELECT 1 FROM filings e WHERE e.person = f.person AND e.folder = f.folder
                                     AND e.message = f.message AND e.item < f.item)
                   ORDER BY m.date DESC, f.message DESC, p.person, f.folder LIMIT ?5";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        let has_texts = filter.from.is_some() || filter.to.is_some() || filter.subject.is_some();
        let mut rows = statement.query(params![
            filter.person,
            filter.folder.map(folder_number),
            // Dates are kept in whole seconds.
            filter.after.map(Timestamp::as_second),
            filter.before.map(Timestamp::as_second),
            // What is known here need not be sorted. -1: all.
            filter.limit.filter(|_| !has_texts).map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX)),
        ])?;
        let texts = Texts::of(filter);
        let mut left = filter.limit;
        while let Some(row) = rows.next()? {
            let entry = entry(row)?;
            if !texts.fit(&entry) {
                continue;
            }
            visit(entry)?;
            if let Some(left) = &mut left {
                *left -= 1;
                if *left == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Each filing of a message, by person and folder; of several items in the same folder the first, as in a list.
    pub(super) fn entries_of(&self, message: u64) -> Result<Vec<Entry>> {
        let sql = "SELECT f.message, p.person, f.folder, m.message_id, m.date, m.sender, m.recipients, m.subject,
                          m.size, m.sha256, min(f.item)
                   FROM messages m JOIN filings f ON f.item = m.item JOIN people p ON p.id = f.person
                   WHERE m.message = ?1 GROUP BY p.person, f.folder ORDER BY p.person, f.folder";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        let rows = statement.query_map([message as i64], entry)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The numbers of all messages that are filed for a person, as bits.
    pub(super) fn messages_of(&self, person: &str) -> Result<Vec<u64>> {
        let sql = "SELECT f.message FROM filings f JOIN people p ON p.id = f.person WHERE p.person = ?1";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        let mut rows = statement.query([person])?;
        let mut bits = Vec::new();
        while let Some(row) = rows.next()? {
            let message = row.get::<_, i64>(0)? as u64;
            let at = (message / 64) as usize;
            if bits.len() <= at {
                bits.resize(at + 1, 0u64);
            }
            bits[at] |= 1 << (message % 64);
        }
        Ok(bits)
    }

    pub fn people(&self) -> Result<Vec<PersonInfo>> {
        let sql = "SELECT p.person, p.name, p.origin,
                          (SELECT count(DISTINCT message) FROM filings WHERE person = p.id AND folder = 0),
                          (SELECT count(DISTINCT message) FROM filings WHERE person = p.id AND folder = 1), p.id
                   FROM people p ORDER BY p.person";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| {
            let person = PersonInfo {
                person: row.get(0)?,
                name: row.get(1)?,
                origin: row.get(2)?,
                addresses: Vec::new(),
                inbox: row.get::<_, i64>(3)? as u64,
                sent: row.get::<_, i64>(4)? as u64,
            };
            Ok((row.get::<_, i64>(5)?, person))
        })?;
        let mut people: Vec<(i64, PersonInfo)> = rows.collect::<rusqlite::Result<_>>()?;
        let at: std::collections::HashMap<i64, usize> =
            people.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
        let mut statement =
            self.catalogue.db.prepare_cached("SELECT person, address FROM addresses ORDER BY address")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(&at) = at.get(&row.get(0)?) {
                people[at].1.addresses.push(row.get(1)?);
            }
        }
        Ok(people.into_iter().map(|(_, person)| person).collect())
    }

    /// A message: in the variant that is filed for `person`, or without one its first. `None`: there is no
    /// such message, or not for this person.
    pub fn message(&self, id: u64, person: Option<&str>) -> Result<Option<Shown>> {
        let found: Option<i64> = match person {
            Some(person) => {
                let sql = "SELECT min(f.item) FROM filings f JOIN people p ON p.id = f.person
                           WHERE p.person = ?1 AND f.folder IN (0, 1) AND f.message = ?2";
                let mut statement = self.catalogue.db.prepare_cached(sql)?;
                statement.query_row(params![person, id as i64], |row| row.get(0))?
            }
            // A message has the number of its first item.
            None => {
                let sql = "SELECT item FROM messages WHERE item = ?1 AND message = ?1";
                self.catalogue.db.prepare_cached(sql)?.query_row([id as i64], |row| row.get(0)).optional()?
            }
        };
        let Some(item) = found else { return Ok(None) };
        let record = self.item(item as u64)?;
        let Some(message) = record.message else {
            return Err(ArchiveError::damaged(format!(
                "item {item} has a message in the catalogue and none in its pack"
            )));
        };
        Ok(Some(Shown {
            id,
            item: item as u64,
            item_sha256: record.sha256,
            item_size: record.size,
            regenerated: record.regenerated,
            message,
            filings: self.filings(id)?,
        }))
    }

    /// Every filing of a message, in all its variants.
    fn filings(&self, message: u64) -> Result<Vec<ShownFiling>> {
        let sql = "SELECT p.person, f.folder, f.item, f.because
                   FROM messages m JOIN filings f ON f.item = m.item JOIN people p ON p.id = f.person
                   WHERE m.message = ?1
                   ORDER BY f.item, p.person, f.folder";
        let mut statement = self.catalogue.db.prepare_cached(sql)?;
        let rows = statement.query_map([message as i64], |row| {
            Ok(ShownFiling {
                person: row.get(0)?,
                folder: folder_from(row.get(1)?),
                item: row.get::<_, i64>(2)? as u64,
                because: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether this person sent the message: only then its `Bcc` is theirs to see.
    pub fn is_sender(&self, message: u64, person: &str) -> Result<bool> {
        let sql = "SELECT 1 FROM filings f JOIN people p ON p.id = f.person
                   WHERE p.person = ?1 AND f.folder = 1 AND f.message = ?2";
        Ok(self.catalogue.db.prepare_cached(sql)?.exists(params![person, message as i64])?)
    }

    /// An item's record, as the latest decoding says.
    pub fn item(&self, id: u64) -> Result<ItemRecord> {
        content::item_record(&self.catalogue, &mut self.packs.borrow_mut(), id)
    }

    /// Writes the original message of an item exactly. After an error what was written is worthless.
    pub fn original_bytes(&self, item: u64, out: &mut dyn Write) -> Result<()> {
        let record = self.item(item)?;
        content::write_original(&record, &mut |part| self.chunk(part), out)
    }

    /// The original message of an item, proved, to be read by offset: in memory when it is small, else in a file of the
    /// archive's file system that is gone when the value is.
    pub fn original(&self, item: u64) -> Result<Box<dyn ByteSource>> {
        const IN_MEMORY: u64 = 4 * 1024 * 1024;
        let record = self.item(item)?;
        let size = record.message.as_ref().map_or(0, |message| message.size);
        if size <= IN_MEMORY {
            let mut bytes = Vec::with_capacity(size as usize);
            content::write_original(&record, &mut |part| self.chunk(part), &mut bytes)?;
            return Ok(Box::new(bytes));
        }
        // Mail does not go where everybody's temporary files are, unless there is no other place.
        let file = tempfile::tempfile_in(&self.spool).or_else(|_| tempfile::tempfile());
        let mut file = file.tried("create a file in", &self.spool)?;
        content::write_original(&record, &mut |part| self.chunk(part), &mut file)?;
        Ok(Box::new(SpoolFile::new(file, size)))
    }

    /// Writes the rights-protected message beside the item's message exactly. After an error what was written is
    /// worthless.
    pub fn twin_bytes(&self, item: u64, out: &mut dyn Write) -> Result<()> {
        let record = self.item(item)?;
        let Some(twin) = record.message.as_ref().and_then(|message| message.twin.as_ref()) else {
            let what = format!("item {item} holds no protected message beside the one that is shown");
            return Err(ArchiveError::new(super::error::ErrorKind::Unusable, what));
        };
        content::write_twin(&record, twin, &mut |part| self.chunk(part), out)
    }

    /// Writes an item as the gateway held it. After an error what was written is worthless.
    pub fn item_bytes(&self, item: u64, out: &mut dyn Write) -> Result<()> {
        let record = self.item(item)?;
        content::write_item(&record, &mut |part| self.chunk(part), out)
    }

    fn chunk(&self, part: &super::record::ChunkRef) -> Result<Vec<u8>> {
        content::chunk(&self.catalogue, &mut self.packs.borrow_mut(), part)
    }
}

fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    let recipients: String = row.get(6)?;
    Ok(Entry {
        id: row.get::<_, i64>(0)? as u64,
        person: row.get(1)?,
        folder: folder_from(row.get(2)?),
        message_id: row.get(3)?,
        date: row.get::<_, Option<i64>>(4)?.and_then(|date| Timestamp::from_second(date).ok()),
        from: row.get(5)?,
        // Written by `Catalogue::apply` as a list of texts.
        to: serde_json::from_str(&recipients).unwrap_or_default(),
        subject: row.get(7)?,
        size: row.get::<_, i64>(8)? as u64,
        sha256: digest(row.get(9)?)?,
        item: row.get::<_, i64>(10)? as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::super::test_support::*;
    use super::super::{Disposition, Gateway};
    use super::*;

    fn list(reader: &Reader, filter: &Filter) -> Vec<Entry> {
        let mut entries = Vec::new();
        reader
            .list(filter, &mut |entry| {
                entries.push(entry);
                Ok(())
            })
            .unwrap();
        entries
    }

    #[test]
    fn lists_are_newest_first_and_show_each_message_once() {
        let fixture = Fixture::new(SMALL);
        let reader = Reader::open(&fixture.layout).unwrap();
        let all = list(&reader, &Filter::default());
        let messages = fixture.mails.iter().filter(|mail| !mail.quarantined).count();
        let copies = (0..SMALL.items).filter(|n| n % 7 == 6 && n % 9 != 8 && n % 9 != 0).count();
        assert_eq!(all.len(), 2 * (messages - copies));
        let dates: Vec<_> = all.iter().filter_map(|entry| entry.date).collect();
        assert!(dates.is_sorted_by(|a, b| a >= b) && all.last().unwrap().date.is_none());

        let by = |filter: Filter| list(&reader, &filter);
        let bob = by(Filter { person: Some(BOB.into()), ..Filter::default() });
        assert_eq!(bob.len(), all.len() / 2);
        assert!(bob.iter().all(|entry| entry.folder == Folder::Inbox));
        assert!(by(Filter { person: Some(BOB.into()), folder: Some(Folder::Sent), ..Filter::default() }).is_empty());
        let grüsse = by(Filter { subject: Some("GRÜSSE 3".into()), ..Filter::default() });
        assert!(grüsse.is_empty(), "ß is not SS in lower case");
        assert_eq!(by(Filter { subject: Some("GRÜßE 3".into()), ..Filter::default() }).len(), 2);
        assert_eq!(by(Filter { limit: Some(3), from: Some("ANNA".into()), ..Filter::default() }), all[..3]);
        assert!(by(Filter { to: Some("nobody".into()), ..Filter::default() }).is_empty());
        let at = all[4].date.unwrap();
        let after = by(Filter { after: Some(at), ..Filter::default() });
        let before = by(Filter { before: Some(at), ..Filter::default() });
        let dateless = all.iter().filter(|entry| entry.date.is_none()).count();
        assert_eq!(after.len() + before.len() + dateless, all.len());
        let keys = serde_json::to_value(&all[0]).unwrap();
        let keys: Vec<&String> = keys.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["date", "folder", "from", "id", "message_id", "person", "sha256", "size", "subject", "to"]);
    }

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let fixture = Fixture::new(SMALL);
        let reader = Reader::open(&fixture.layout).unwrap();
        for (n, mail) in fixture.mails.iter().enumerate() {
            let item = n as u64 + 1;
            let mut out = Vec::new();
            reader.item_bytes(item, &mut out).unwrap();
            assert!(out == mail.item, "item {item}");
            out.clear();
            match reader.original_bytes(item, &mut out) {
                Ok(()) => assert!(out == mail.original && !mail.quarantined, "message {item}"),
                Err(error) => assert!(mail.quarantined, "{error}"),
            }
        }
        assert!(reader.item(4711).is_err());
    }

    #[test]
    fn a_message_is_shown_in_the_persons_own_variant() {
        let fixture = Fixture::new(SMALL);
        let reader = Reader::open(&fixture.layout).unwrap();
        // Item 7 is another copy of message 6, filed for the same two.
        let shown = reader.message(6, Some(BOB)).unwrap().unwrap();
        assert_eq!((shown.item, shown.filings.len()), (6, 4));
        assert_eq!(shown.message.envelope.sender.as_deref(), Some(ANNA));
        assert!(reader.message(7, None).unwrap().is_none(), "an item, but no message of its own");
        assert!(reader.message(6, Some("eve@corp.example")).unwrap().is_none());
        assert!(reader.is_sender(6, ANNA).unwrap() && !reader.is_sender(6, BOB).unwrap());
    }

    #[test]
    fn the_numbers_add_up() {
        let fixture = Fixture::new(SMALL);
        let reader = Reader::open(&fixture.layout).unwrap();
        let quarantined = fixture.mails.iter().filter(|mail| mail.quarantined).count() as u64;
        let totals = reader.totals(None).unwrap();
        assert_eq!(totals.archived, SMALL.items as u64 - quarantined);
        assert_eq!((totals.quarantined, totals.already_archived), (quarantined, 1));
        assert_eq!((totals.unfetchable, totals.vanished, totals.failed, totals.deleted), (1, 1, 1, 3));
        assert_eq!(totals.oldest_open, Some(now()));
        let gateway = Gateway { host: "imap.example.com", login: "journal@corp.example" };
        assert_eq!(reader.totals(Some(gateway)).unwrap(), totals);
        let other = Gateway { host: "imap.example.com", login: "other" };
        assert_eq!(reader.totals(Some(other)).unwrap(), Default::default());

        let volume = reader.volume().unwrap();
        assert_eq!((volume.items, volume.head), (SMALL.items as u64, reader.head().unwrap()));
        assert!(volume.packs > 2 && volume.bytes_raw > 0 && volume.bytes_stored > 0);
        let attention = reader.attention().unwrap();
        assert_eq!(attention.len() as u64, quarantined + 1);
        assert!(attention.iter().any(|one| one.disposition == Disposition::Unfetchable && one.reason == "NIL body"));
        assert_eq!(reader.events("run", 5).unwrap()[0].what["archived"], 7);

        let people = reader.people().unwrap();
        assert_eq!(people.len(), 2);
        assert_eq!((people[0].inbox, people[0].addresses.len()), (0, 2));
        assert_eq!(people[0].sent, people[1].inbox);
    }

    #[test]
    fn what_is_missing_is_told_apart() {
        let fixture = Fixture::new(SMALL);
        std::fs::remove_file(&fixture.layout.catalogue).unwrap();
        let error = Reader::open(&fixture.layout).err().unwrap();
        assert!(error.hint.unwrap().contains("rebuild"));
        let error = Reader::open(&Layout::new(&fixture.folder.path().join("nothing"), None)).err().unwrap();
        assert!(error.what.starts_with("there is no archive"), "{error}");
    }
}
