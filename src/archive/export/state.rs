//! What is known of an export while it is written: what earlier runs exported, what is to be exported, and what of that
//! is done. Kept in `.gatepost-export/` within the export's folder, which is there only while a run is at work or was
//! interrupted.
//!
//! The work folder is a help, never the truth: what it says is done is looked at again by SHA-256 when a run is
//! continued, and one that cannot be read is thrown away. A run holds its database for itself, so that two runs in one
//! folder cannot meet.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::catalogue::{digest, folder_from, folder_number};
use super::super::error::{ArchiveError, ErrorKind, Result};
use super::super::read::Entry;
use super::super::record::Folder;
use super::manifest::{Container, ManifestEntry, key};
use super::names::is_known_year;
use super::output::failed;
use crate::base::digest::Digest;
use crate::base::fsio;

pub(super) const WORK: &str = ".gatepost-export";

const SCHEMA: &str = "
DROP TABLE IF EXISTS known;
DROP TABLE IF EXISTS plan;
DROP TABLE IF EXISTS sums;
DROP TABLE IF EXISTS before;
CREATE TABLE known (key BLOB PRIMARY KEY, path TEXT, seen INTEGER NOT NULL DEFAULT 0, gone INTEGER NOT NULL DEFAULT 0,
    entry TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE plan (person TEXT NOT NULL, folder INTEGER NOT NULL, at INTEGER NOT NULL, message INTEGER NOT NULL,
    item INTEGER NOT NULL, message_id TEXT, date INTEGER, size INTEGER NOT NULL,
    PRIMARY KEY (person, folder, at, message)) STRICT, WITHOUT ROWID;
CREATE TABLE sums (file TEXT PRIMARY KEY, sha256 BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE before (file TEXT PRIMARY KEY, size INTEGER NOT NULL, sha256 BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS done (n INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, file TEXT NOT NULL, path TEXT,
    start INTEGER NOT NULL, size INTEGER NOT NULL, at INTEGER NOT NULL, redacted INTEGER NOT NULL, entry TEXT NOT NULL,
    detail TEXT) STRICT;
CREATE INDEX IF NOT EXISTS done_file ON done (file, start);
CREATE INDEX IF NOT EXISTS done_path ON done (path);
CREATE TABLE IF NOT EXISTS containers (file TEXT PRIMARY KEY, start INTEGER NOT NULL, is_new INTEGER NOT NULL,
    size INTEGER, sha256 BLOB) STRICT, WITHOUT ROWID;
";

/// So many messages are noted at once.
const NOTED_AT_ONCE: u32 = 100;

pub(super) struct State {
    db: Connection,
    unnoted: std::cell::Cell<u32>,
}

/// An error of the database, in words that do not make somebody look for it in the archive.
trait Words<T> {
    fn noted(self) -> Result<T>;
}

impl<T> Words<T> for rusqlite::Result<T> {
    fn noted(self) -> Result<T> {
        self.map_err(|error| {
            use rusqlite::ErrorCode;
            let what = format!("cannot keep notes in {WORK} within the export's folder: {error}");
            match error.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => ArchiveError::new(ErrorKind::NoSpace, what)
                    .hint("make room there; the same command goes on where this one stopped"),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                    ArchiveError::new(ErrorKind::Locked, "another export is at work in this folder")
                        .hint("wait for it, or export to another folder")
                }
                Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
                    ArchiveError::new(ErrorKind::Unusable, what).hint("name a folder that you may read and write")
                }
                _ => ArchiveError::new(ErrorKind::Failed, what)
                    .hint("remove that folder; the same command looks at what stands there and goes on"),
            }
        })
    }
}

/// A message that is to be exported.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub person: String,
    pub folder: Folder,
    pub at: i64,
    pub message: u64,
    pub item: u64,
    pub message_id: Option<String>,
    pub date: Option<Timestamp>,
    pub size: u64,
}

/// Something that is done, or was by an earlier run.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    pub n: i64,
    pub entry: ManifestEntry,
}

/// How a file with many messages was found by this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its length then.
    pub start: u64,
    pub is_new: bool,
}

/// A file that a run opened, how it found it, and what is in it once it is whole.
pub type Opened = (String, Found, Option<(u64, Digest)>);

impl State {
    /// Opens or makes the database of a work folder.
    pub fn open(work: &Path) -> Result<State> {
        let path = work.join("state.sqlite3");
        match State::try_open(&path) {
            Err(error) if error.kind == ErrorKind::Failed => {
                // Notes that cannot be read are no loss.
                remove(&path)?;
                State::try_open(&path)
            }
            opened => opened,
        }
    }

    fn try_open(path: &Path) -> Result<State> {
        let mut options = std::fs::OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path).map_err(|error| failed("create", path, &error))?;
        let db = Connection::open(path).noted()?;
        // No waiting: a run holds it from the beginning to the end.
        db.pragma_update(None, "locking_mode", "EXCLUSIVE").noted()?;
        db.pragma_update(None, "journal_mode", "WAL").noted()?;
        db.pragma_update(None, "synchronous", "NORMAL").noted()?;
        db.pragma_update(None, "cache_size", -16384).noted()?;
        db.pragma_update(None, "temp_store", "MEMORY").noted()?;
        db.set_prepared_statement_cache_capacity(64);
        db.execute_batch("BEGIN IMMEDIATE").noted()?;
        db.execute_batch(SCHEMA).noted()?;
        Ok(State { db, unnoted: std::cell::Cell::new(0) })
    }

    /// Notes what was done so far.
    pub fn note(&self) -> Result<()> {
        self.unnoted.set(0);
        self.db.execute_batch("COMMIT; BEGIN IMMEDIATE").noted()
    }

    pub fn close(self) -> Result<()> {
        self.db.execute_batch("COMMIT").noted()?;
        self.db.close().map_err(|(_, error)| error).noted()
    }

    /// Takes over what an earlier run exported. `path` is what no other message may be called.
    pub fn know(&self, entry: &ManifestEntry) -> Result<()> {
        let text = serde_json::to_string(entry).unwrap_or_default();
        let mut put =
            self.db.prepare_cached("INSERT OR REPLACE INTO known (key, path, entry) VALUES (?1, ?2, ?3)").noted()?;
        put.execute(params![entry.key().as_bytes(), path_of(entry), text]).noted()?;
        if entry.member.is_none() && entry.offset.is_none() {
            self.sum(&entry.file, entry.sha256_exported)?;
        }
        Ok(())
    }

    pub fn know_withdrawn(&self, key: Digest) -> Result<()> {
        self.db
            .prepare_cached("UPDATE known SET gone = 1 WHERE key = ?1")
            .noted()?
            .execute([key.as_bytes()])
            .noted()?;
        Ok(())
    }

    pub fn know_container(&self, container: &Container) -> Result<()> {
        self.sum(&container.file, container.sha256)?;
        let mut put = self.db.prepare_cached("INSERT OR REPLACE INTO before VALUES (?1, ?2, ?3)").noted()?;
        put.execute(params![container.file, container.size as i64, container.sha256.as_bytes()]).noted()?;
        Ok(())
    }

    /// Every container of earlier runs, as they left it.
    pub fn containers_before(&self) -> Result<Vec<Container>> {
        let mut get = self.db.prepare_cached("SELECT file, size, sha256 FROM before ORDER BY file").noted()?;
        let rows = get
            .query_map([], |row| {
                let size = row.get::<_, i64>(1)? as u64;
                Ok(Container { file: row.get(0)?, size, sha256: digest(row.get(2)?)?, messages: 0 })
            })
            .noted()?;
        rows.collect::<rusqlite::Result<_>>().noted()
    }

    /// A line of `SHA256SUMS`.
    pub fn sum(&self, file: &str, sha256: Digest) -> Result<()> {
        let mut put = self.db.prepare_cached("INSERT OR REPLACE INTO sums VALUES (?1, ?2)").noted()?;
        put.execute(params![file, sha256.as_bytes()]).noted()?;
        Ok(())
    }

    pub fn each_sum(&self, with: &mut dyn FnMut(&str, Digest) -> Result<()>) -> Result<()> {
        let mut get = self.db.prepare("SELECT file, sha256 FROM sums ORDER BY file").noted()?;
        let mut rows = get.query([]).noted()?;
        while let Some(row) = rows.next().noted()? {
            let file: String = row.get(0).noted()?;
            with(&file, digest(row.get(1).noted()?).noted()?)?;
        }
        Ok(())
    }

    pub fn plan(&self, entry: &Entry) -> Result<()> {
        let sql = "INSERT OR IGNORE INTO plan VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let date = entry.date.map(Timestamp::as_second);
        // A date that cannot be is none: the order is one in which people read.
        let at = entry.date.filter(|date| is_known_year(*date)).map_or(i64::MIN, Timestamp::as_second);
        let mut put = self.db.prepare_cached(sql).noted()?;
        put.execute(params![
            entry.person,
            folder_number(entry.folder),
            at,
            entry.id as i64,
            entry.item as i64,
            entry.message_id,
            date,
            entry.size as i64,
        ])
        .noted()?;
        Ok(())
    }

    /// Whether an earlier run exported it, and it was not withdrawn since; then, whether it is seen for the first time
    /// in this run.
    pub fn see(&self, entry: &Entry) -> Result<Option<bool>> {
        let key = key(&entry.person, entry.folder, entry.id, entry.sha256, false);
        let mut get = self.db.prepare_cached("SELECT seen, gone FROM known WHERE key = ?1").noted()?;
        let found = get.query_row([key.as_bytes()], |row| Ok((row.get::<_, bool>(0)?, row.get::<_, bool>(1)?)));
        let Some((seen, gone)) = found.optional().noted()? else { return Ok(None) };
        if !seen {
            let mut see = self.db.prepare_cached("UPDATE known SET seen = 1 WHERE key = ?1").noted()?;
            see.execute([key.as_bytes()]).noted()?;
        }
        Ok((!gone).then_some(!seen))
    }

    /// How many messages are planned, and their bytes.
    pub fn planned(&self) -> Result<(u64, u64)> {
        let sql = "SELECT count(*), coalesce(sum(size), 0) FROM plan";
        let counted =
            self.db.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64)));
        counted.noted()
    }

    /// The next of them, by person, folder and date; a few at a time, so that others may write meanwhile.
    pub fn planned_after(&self, last: Option<&Planned>) -> Result<Vec<Planned>> {
        let sql = "SELECT person, folder, at, message, item, message_id, date, size FROM plan
                   WHERE (person, folder, at, message) > (?1, ?2, ?3, ?4)
                   ORDER BY person, folder, at, message LIMIT 256";
        let mut get = self.db.prepare_cached(sql).noted()?;
        let after = last.map_or((String::new(), -1, i64::MIN, -1), |last| {
            (last.person.clone(), folder_number(last.folder), last.at, last.message as i64)
        });
        let rows = get
            .query_map(params![after.0, after.1, after.2, after.3], |row| {
                Ok(Planned {
                    person: row.get(0)?,
                    folder: folder_from(row.get(1)?),
                    at: row.get(2)?,
                    message: row.get::<_, i64>(3)? as u64,
                    item: row.get::<_, i64>(4)? as u64,
                    message_id: row.get(5)?,
                    date: row.get::<_, Option<i64>>(6)?.and_then(|date| Timestamp::from_second(date).ok()),
                    size: row.get::<_, i64>(7)? as u64,
                })
            })
            .noted()?;
        rows.collect::<rusqlite::Result<_>>().noted()
    }

    /// What an earlier run exported under this key, and whether it was withdrawn since.
    pub fn known(&self, key: Digest) -> Result<Option<(ManifestEntry, bool)>> {
        let mut get = self.db.prepare_cached("SELECT entry, gone FROM known WHERE key = ?1").noted()?;
        let found: Option<(String, bool)> =
            get.query_row([key.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional().noted()?;
        found.map(|(text, gone)| Ok((entry(&text)?, gone))).transpose()
    }

    /// What earlier runs exported and nobody asked for this time.
    pub fn each_unseen(&self, with: &mut dyn FnMut(ManifestEntry) -> Result<()>) -> Result<()> {
        let mut get = self.db.prepare("SELECT entry FROM known WHERE seen = 0 AND gone = 0 ORDER BY key").noted()?;
        let mut rows = get.query([]).noted()?;
        while let Some(row) = rows.next().noted()? {
            let text: String = row.get(0).noted()?;
            with(entry(&text)?)?;
        }
        Ok(())
    }

    /// Whether a name belongs to a message already.
    pub fn is_taken(&self, path: &str, by_other_than: Digest) -> Result<bool> {
        let sql = "SELECT 1 FROM known WHERE path = ?1 AND key <> ?2
                   UNION ALL SELECT 1 FROM done WHERE path = ?1 AND key <> ?2";
        self.db.prepare_cached(sql).noted()?.exists(params![path, by_other_than.as_bytes()]).noted()
    }

    /// Notes a message as exported; what it says is on the disk, or as good as.
    pub fn done(&self, entry: &ManifestEntry, at: i64, detail: Option<&str>) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO done (key, file, path, start, size, at, redacted, entry, detail)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let mut put = self.db.prepare_cached(sql).noted()?;
        put.execute(params![
            entry.key().as_bytes(),
            entry.file,
            path_of(entry),
            entry.offset.unwrap_or(0) as i64,
            entry.size as i64,
            at,
            entry.redacted,
            serde_json::to_string(entry).unwrap_or_default(),
            detail,
        ])
        .noted()?;
        self.unnoted.set(self.unnoted.get() + 1);
        Ok(())
    }

    /// It is time to note what was done.
    pub fn is_due(&self) -> bool {
        self.unnoted.get() >= NOTED_AT_ONCE
    }

    pub fn is_done(&self, key: Digest) -> Result<Option<ManifestEntry>> {
        let mut get = self.db.prepare_cached("SELECT entry FROM done WHERE key = ?1").noted()?;
        let found: Option<String> = get.query_row([key.as_bytes()], |row| row.get(0)).optional().noted()?;
        found.map(|text| entry(&text)).transpose()
    }

    pub fn count_done(&self) -> Result<u64> {
        Ok(self.db.query_row("SELECT count(*) FROM done", [], |row| row.get::<_, i64>(0)).noted()? as u64)
    }

    pub fn bytes_done(&self) -> Result<u64> {
        let sql = "SELECT coalesce(sum(size), 0) FROM done";
        Ok(self.db.query_row(sql, [], |row| row.get::<_, i64>(0)).noted()? as u64)
    }

    /// What is done, file by file and in the order in which it lies there; a few at a time.
    pub fn done_after(&self, last: Option<(&str, u64, i64)>) -> Result<Vec<Noted>> {
        let sql = "SELECT n, entry FROM done WHERE (file, start, n) > (?1, ?2, ?3) ORDER BY file, start, n LIMIT 256";
        let (file, start, n) = last.unwrap_or(("", 0, -1));
        let mut get = self.db.prepare_cached(sql).noted()?;
        let rows = get.query_map(params![file, start as i64, n], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)));
        let rows = rows.noted()?.collect::<rusqlite::Result<Vec<(i64, String)>>>().noted()?;
        rows.into_iter().map(|(n, text)| Ok(Noted { n, entry: entry(&text)? })).collect()
    }

    pub fn undo(&self, n: i64) -> Result<()> {
        self.db.prepare_cached("DELETE FROM done WHERE n = ?1").noted()?.execute([n]).noted()?;
        Ok(())
    }

    /// Forgets what was put into a file from an offset on.
    pub fn undo_from(&self, file: &str, start: u64) -> Result<()> {
        let mut delete = self.db.prepare_cached("DELETE FROM done WHERE file = ?1 AND start >= ?2").noted()?;
        delete.execute(params![file, start as i64]).noted()?;
        Ok(())
    }

    /// Forgets what was put into any other file than these.
    pub fn undo_all_but(&self, files: &[String]) -> Result<()> {
        let files = serde_json::to_string(files).unwrap_or_default();
        let sql = "DELETE FROM done WHERE file NOT IN (SELECT value FROM json_each(?1))";
        self.db.prepare_cached(sql).noted()?.execute([files]).noted()?;
        Ok(())
    }

    /// What was exported by this run, as lines of JSON in the order in which it was done: text, size, redacted.
    pub fn each_done(&self, file: Option<&str>, with: &mut dyn FnMut(&str, u64, bool) -> Result<()>) -> Result<()> {
        let sql = "SELECT entry, size, redacted FROM done WHERE ?1 IS NULL OR file = ?1 ORDER BY n";
        let mut get = self.db.prepare(sql).noted()?;
        let mut rows = get.query([file]).noted()?;
        while let Some(row) = rows.next().noted()? {
            let text: String = row.get(0).noted()?;
            with(&text, row.get::<_, i64>(1).noted()? as u64, row.get(2).noted()?)?;
        }
        Ok(())
    }

    /// The same by date, with what was noted beside it.
    pub fn each_done_by_date(&self, with: &mut dyn FnMut(ManifestEntry, &str) -> Result<()>) -> Result<()> {
        let sql = "SELECT entry, coalesce(detail, '') FROM done ORDER BY at, n";
        let mut get = self.db.prepare(sql).noted()?;
        let mut rows = get.query([]).noted()?;
        while let Some(row) = rows.next().noted()? {
            let (text, detail): (String, String) = (row.get(0).noted()?, row.get(1).noted()?);
            with(entry(&text)?, &detail)?;
        }
        Ok(())
    }

    /// Notes a file that messages will be appended to, before the first of them; one that no run knows is new.
    pub fn begin_container(&self, file: &str) -> Result<Found> {
        let before = self.size_before(file)?;
        let found = Found { start: before.unwrap_or(0), is_new: before.is_none() };
        let sql = "INSERT INTO containers (file, start, is_new) VALUES (?1, ?2, ?3)";
        let mut put = self.db.prepare_cached(sql).noted()?;
        put.execute(params![file, found.start as i64, found.is_new]).noted()?;
        self.note()?;
        Ok(found)
    }

    /// How long earlier runs left such a file.
    pub fn size_before(&self, file: &str) -> Result<Option<u64>> {
        let mut get = self.db.prepare_cached("SELECT size FROM before WHERE file = ?1").noted()?;
        get.query_row([file], |row| Ok(row.get::<_, i64>(0)? as u64)).optional().noted()
    }

    /// Where such a file ends by now.
    pub fn end_of(&self, file: &str, found: Found) -> Result<u64> {
        let sql = "SELECT max(start + size + 1) FROM done WHERE file = ?1";
        let end: Option<i64> = self.db.prepare_cached(sql).noted()?.query_row([file], |row| row.get(0)).noted()?;
        // A message of an earlier run that is told again lies before the end that this run found.
        Ok(end.map_or(found.start, |end| found.start.max(end as u64)))
    }

    /// How this run found a file that it appends to; `None`: it did not, so far.
    pub fn container(&self, file: &str) -> Result<Option<Found>> {
        let mut get = self.db.prepare_cached("SELECT start, is_new FROM containers WHERE file = ?1").noted()?;
        let found = get.query_row([file], |row| Ok(Found { start: row.get::<_, i64>(0)? as u64, is_new: row.get(1)? }));
        found.optional().noted()
    }

    /// The files that this run opened: with what is in them when they are whole.
    pub fn containers(&self) -> Result<Vec<Opened>> {
        let sql = "SELECT file, start, is_new, size, sha256 FROM containers ORDER BY file";
        let mut get = self.db.prepare_cached(sql).noted()?;
        let rows = get.query_map([], |row| {
            let size: Option<i64> = row.get(3)?;
            let whole = match size {
                Some(size) => Some((size as u64, digest(row.get(4)?)?)),
                None => None,
            };
            Ok((row.get(0)?, Found { start: row.get::<_, i64>(1)? as u64, is_new: row.get(2)? }, whole))
        });
        rows.noted()?.collect::<rusqlite::Result<_>>().noted()
    }

    /// A file is whole, under its final name.
    pub fn container_is_whole(&self, file: &str, size: u64, sha256: Digest) -> Result<()> {
        let sql = "INSERT INTO containers VALUES (?1, 0, 1, ?2, ?3)
                   ON CONFLICT (file) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256";
        let mut put = self.db.prepare_cached(sql).noted()?;
        put.execute(params![file, size as i64, sha256.as_bytes()]).noted()?;
        Ok(())
    }

    pub fn forget_container(&self, file: &str) -> Result<()> {
        self.db.prepare_cached("DELETE FROM containers WHERE file = ?1").noted()?.execute([file]).noted()?;
        self.undo_from(file, 0)
    }

    /// How many messages this run put into a file.
    pub fn count_in(&self, file: &str) -> Result<u64> {
        let mut get = self.db.prepare_cached("SELECT count(*) FROM done WHERE file = ?1").noted()?;
        Ok(get.query_row([file], |row| row.get::<_, i64>(0)).noted()? as u64)
    }
}

fn entry(text: &str) -> Result<ManifestEntry> {
    serde_json::from_str(text)
        .map_err(|error| ArchiveError::new(ErrorKind::Failed, format!("the notes in {WORK} cannot be read: {error}")))
}

/// The name that a message has for itself.
fn path_of(entry: &ManifestEntry) -> Option<&str> {
    match (&entry.member, entry.offset) {
        (Some(member), _) => Some(member),
        (None, Some(_)) => None,
        (None, None) => Some(&entry.file),
    }
}

fn remove(path: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let path = PathBuf::from(name);
        match fsio::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &path, &error)),
            _ => {}
        }
    }
    Ok(())
}
