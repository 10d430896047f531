//! `verify-export`: whether an export is what its manifests say, without the archive that it came from.
//!
//! The folder may be anybody's: no path of a manifest is followed out of it, no link at all, and nothing is read into
//! memory whole. Notes are kept in a temporary database of SQLite's, for an export may hold any number of messages and
//! lie on a disk that cannot be written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;

use super::super::catalogue::digest;
use super::super::error::{ArchiveError, ErrorKind, Result};
use super::super::read::Reader;
use super::super::record::Head;
use super::manifest::{About, Kind, ManifestEntry, Part, Previous, SUMS, Sums, Unread, file_name, read};
use super::mbox::{PART, Unquoter};
use super::output::{each, failed, inside, strange_path, sum};
use super::render::CrlfHasher;
use super::state::WORK;
use super::{Format, Phase, Watch, files};
use crate::base::digest::{Digest, Hasher};
use crate::base::fsio;

/// More differences than these are counted only.
const TOLD_MAX: usize = 10_000;
/// Longer lines than this stand neither in `SHA256SUMS` nor before a message in an mbox.
const LINE_BYTES_MAX: u64 = 8 * 1024;

#[derive(Clone, Debug, Serialize)]
pub struct ExportCheck {
    pub kind: Option<Kind>,
    pub format: Option<Format>,
    pub selection: String,
    pub archive: Option<uuid::Uuid>,
    /// Of the last run.
    pub head: Option<Head>,
    pub runs: u32,
    pub messages: u64,
    pub files: u64,
    pub bytes: u64,
    /// Messages that could not be exported, as the manifests say; no difference.
    pub not_exported: u64,
    pub against_archive: bool,
    pub differences: Vec<Difference>,
    /// Beside the ones that are told.
    pub further_differences: u64,
}

impl ExportCheck {
    pub fn is_good(&self) -> bool {
        self.differences.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub found: Found,
    /// Within the folder.
    pub file: String,
    pub what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// An export was interrupted here.
    Interrupted,
    /// A manifest is not one, does not fit the others, or contradicts itself.
    Manifest,
    /// A manifest names what lies outside of the folder, or a link.
    Path,
    Missing,
    Changed,
    /// No manifest knows of it.
    Extra,
    /// `SHA256SUMS` does not say what the manifests say.
    Sums,
    /// The archive has another message, or never had that head.
    Archive,
}

/// Compares an export's folder with its manifests, and with the archive when there is one.
pub fn verify_export(dir: &Path, archive: Option<&Reader>, watch: &dyn Watch) -> Result<ExportCheck> {
    let is_none = |why: &str| {
        ArchiveError::new(ErrorKind::Unusable, format!("{} is no export of gatepost: {why}", dir.display()))
            .hint("name the folder that has manifest.json in it")
    };
    match std::fs::metadata(dir) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(is_none("it is no folder")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(is_none("there is no such folder")),
        Err(error) => return Err(failed("read", dir, &error)),
    }
    let is_there = |name: &str| std::fs::symlink_metadata(dir.join(name)).is_ok();
    if !is_there(&file_name(1)) && !is_there(WORK) {
        return Err(is_none("there is no manifest.json in it"));
    }
    let mut check = Check {
        dir,
        db: notes()?,
        report: ExportCheck {
            kind: None,
            format: None,
            selection: String::new(),
            archive: None,
            head: None,
            runs: 0,
            messages: 0,
            files: 0,
            bytes: 0,
            not_exported: 0,
            against_archive: archive.is_some(),
            differences: Vec::new(),
            further_differences: 0,
        },
    };
    if is_there(WORK) {
        let what = "an export was interrupted here, or is at work: the same command finishes it";
        check.differ(Found::Interrupted, WORK, what);
        if !is_there(&file_name(1)) {
            return Ok(check.report);
        }
    }
    check.manifests(archive)?;
    let (files, bytes): (i64, i64) =
        check.db.query_row("SELECT count(*), coalesce(sum(size), 0) FROM files", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    watch.begin(Phase::Checking, files as u64, bytes as u64);
    check.files(watch)?;
    check.sums()?;
    check.extras()?;
    check.report.not_exported =
        check.db.query_row("SELECT count(*) FROM missing", [], |row| row.get::<_, i64>(0))? as u64;
    Ok(check.report)
}

fn notes() -> Result<Connection> {
    // An empty name: a private file that is gone with the connection.
    let db = Connection::open("")?;
    db.pragma_update(None, "journal_mode", "OFF")?;
    db.pragma_update(None, "synchronous", "OFF")?;
    db.pragma_update(None, "cache_size", -16384)?;
    db.set_prepared_statement_cache_capacity(32);
    db.execute_batch(
        "CREATE TABLE files (file TEXT PRIMARY KEY, size INTEGER NOT NULL, sha256 BLOB NOT NULL, crlf BLOB,
             kind TEXT NOT NULL, summed INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
         CREATE TABLE slices (file TEXT NOT NULL, start INTEGER NOT NULL, size INTEGER NOT NULL, sha256 BLOB NOT NULL,
             unquoted BLOB, original BLOB, added INTEGER NOT NULL, PRIMARY KEY (file, start)) STRICT, WITHOUT ROWID;
         CREATE TABLE members (file TEXT NOT NULL, member TEXT NOT NULL, size INTEGER NOT NULL, sha256 BLOB NOT NULL,
             seen INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (file, member)) STRICT, WITHOUT ROWID;
         CREATE TABLE missing (person TEXT NOT NULL, folder TEXT NOT NULL, id INTEGER NOT NULL,
             PRIMARY KEY (person, folder, id)) STRICT, WITHOUT ROWID;
         BEGIN",
    )?;
    Ok(db)
}

struct Check<'a> {
    dir: &'a Path,
    db: Connection,
    report: ExportCheck,
}

/// A file that should be there.
struct Wanted {
    file: String,
    size: u64,
    sha256: Digest,
    crlf: Option<Digest>,
    kind: String,
}

impl Check<'_> {
    fn differ(&mut self, found: Found, file: &str, what: impl Into<String>) {
        if self.report.differences.len() < TOLD_MAX {
            self.report.differences.push(Difference { found, file: file.to_owned(), what: what.into() });
        } else {
            self.report.further_differences += 1;
        }
    }

    /// Reads all of them and notes what should be there.
    fn manifests(&mut self, archive: Option<&Reader>) -> Result<()> {
        let mut first: Option<About> = None;
        let mut previous: Option<Previous> = None;
        for run in 1.. {
            let file = file_name(run);
            let path = self.dir.join(&file);
            let mut counted = Sums::default();
            let read = read(&path, &mut |about, part| self.part(&file, about, part, &mut counted, archive));
            let manifest = match read {
                Ok(manifest) => manifest,
                Err(Unread::Missing) if run == 1 => {
                    self.differ(Found::Missing, &file, "no manifest: the export is not complete");
                    break;
                }
                Err(Unread::Missing) => break,
                Err(Unread::No(why)) => {
                    self.differ(Found::Manifest, &file, format!("cannot be read: {why}"));
                    // It is expected there, whatever is in it.
                    self.know_manifest(&file, None)?;
                    continue;
                }
                Err(Unread::Error(error)) => return Err(error),
            };
            self.know_manifest(&file, Some(manifest.sha256))?;
            self.report.runs += 1;
            let about = manifest.about;
            let mut wrong = Vec::new();
            if about.run != run {
                wrong.push(format!("says that it is of run {}", about.run));
            }
            if about.previous != previous {
                wrong.push("does not go on with the manifest before it: one was changed or taken away".to_owned());
            }
            if let Some(why) = first.as_ref().and_then(|first| first.differs_from(&about)) {
                wrong.push(format!("is another export's: {why}"));
            }
            if !manifest.complete {
                wrong.push("says that it is not complete".to_owned());
            }
            if manifest.totals != Some(counted) {
                wrong.push("has other entries than its totals say".to_owned());
            }
            wrong.into_iter().for_each(|what| self.differ(Found::Manifest, &file, what));
            if let Some(archive) = archive {
                self.head(&file, &about, archive)?;
            }
            previous = Some(Previous { file, sha256: manifest.sha256 });
            self.report.head = Some(about.head);
            self.report.kind = Some(about.kind);
            self.report.format = Some(about.format);
            self.report.archive = Some(about.archive);
            self.report.selection = about.selection.clone();
            first.get_or_insert(about);
        }
        Ok(())
    }

    /// What it is about is its sum in `SHA256SUMS`; it was read already.
    fn know_manifest(&mut self, file: &str, sha256: Option<Digest>) -> Result<()> {
        let sha256 = sha256.unwrap_or(Digest::ZERO);
        self.db
            .prepare_cached("INSERT OR REPLACE INTO files (file, size, sha256, kind) VALUES (?1, 0, ?2, 'manifest')")?
            .execute(params![file, sha256.as_bytes()])?;
        Ok(())
    }

    fn head(&mut self, file: &str, about: &About, archive: &Reader) -> Result<()> {
        if about.archive != archive.archive_id() {
            let what = format!("is of the archive {}, this one is {}", about.archive, archive.archive_id());
            self.differ(Found::Archive, file, what);
        } else if !archive.had_head(about.head)? {
            self.differ(Found::Archive, file, format!("the archive never had the head {}", about.head));
        }
        Ok(())
    }

    fn part(
        &mut self,
        manifest: &str,
        about: &About,
        part: Part,
        counted: &mut Sums,
        archive: Option<&Reader>,
    ) -> Result<()> {
        match part {
            Part::About => {}
            Part::Entry(entry) => {
                counted.entries += 1;
                counted.bytes = counted.bytes.saturating_add(entry.size);
                counted.redacted += u64::from(entry.redacted);
                self.entry(manifest, about, &entry)?;
                if let Some(archive) = archive.filter(|archive| archive.archive_id() == about.archive) {
                    self.original(&entry, archive)?;
                }
            }
            Part::Container(container) => {
                self.know(manifest, &container.file, container.size, container.sha256, None, about.format.as_str())?;
            }
            Part::Document(page) => self.know(manifest, &page.file, page.size, page.sha256, None, "page")?,
            Part::Withdrawn(_) => counted.withdrawn += 1,
            Part::Failed(failure) => {
                counted.failed += 1;
                self.db.prepare_cached("INSERT OR IGNORE INTO missing VALUES (?1, ?2, ?3)")?.execute(params![
                    failure.person,
                    failure.folder.as_str(),
                    failure.id as i64
                ])?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, manifest: &str, about: &About, entry: &ManifestEntry) -> Result<()> {
        self.report.messages += 1;
        self.report.bytes = self.report.bytes.saturating_add(entry.size);
        self.db
            .prepare_cached("DELETE FROM missing WHERE person = ?1 AND folder = ?2 AND id = ?3")?
            .execute(params![entry.person, entry.folder.as_str(), entry.id as i64])?;
        let said = match about.format {
            Format::Eml | Format::Maildir => entry.offset.is_none() && entry.member.is_none(),
            Format::Mbox => entry.offset.is_some() && entry.member.is_none(),
            Format::Zip => entry.offset.is_none() && entry.member.is_some(),
        };
        if !said {
            let what = format!("does not say where message {} lies", entry.id);
            self.differ(Found::Manifest, manifest, what);
            return Ok(());
        }
        if entry.offset.is_none() && !entry.redacted && entry.sha256_exported != entry.sha256_original {
            let what = format!("says that message {} was not changed, and gives it another SHA-256", entry.id);
            self.differ(Found::Manifest, manifest, what);
        }
        match (entry.offset, &entry.member) {
            (Some(offset), _) => self.slice(manifest, entry, offset),
            (None, Some(member)) => self.member(manifest, entry, member),
            (None, None) => {
                self.know(manifest, &entry.file, entry.size, entry.sha256_exported, entry.sha256_crlf, "message")
            }
        }
    }

    /// A path of a manifest is believed only when it cannot lead elsewhere.
    fn is_inside(&mut self, manifest: &str, file: &str) -> bool {
        let why = match strange_path(file) {
            Some(why) => why,
            None if file == SUMS || file.starts_with(WORK) => "is one of the export's own",
            None => return true,
        };
        self.differ(Found::Path, manifest, format!("the path {file:?} {why}"));
        false
    }

    fn know(
        &mut self,
        manifest: &str,
        file: &str,
        size: u64,
        sha256: Digest,
        crlf: Option<Digest>,
        kind: &str,
    ) -> Result<()> {
        if !self.is_inside(manifest, file) {
            return Ok(());
        }
        let before: Option<(i64, Vec<u8>, String)> = self
            .db
            .prepare_cached("SELECT size, sha256, kind FROM files WHERE file = ?1")?
            .query_row([file], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        // An mbox grows from run to run; every other file is what it was.
        let grown =
            |size_before: i64, kind_before: &str| kind == "mbox" && kind_before == "mbox" && size_before as u64 <= size;
        if let Some((size_before, sha256_before, kind_before)) = &before
            && !grown(*size_before, kind_before)
            && (*size_before as u64, sha256_before.as_slice(), kind_before.as_str())
                != (size, sha256.as_bytes().as_slice(), kind)
        {
            self.differ(Found::Manifest, manifest, format!("{file} is said to be two different files"));
        }
        self.db
            .prepare_cached(
                "INSERT OR REPLACE INTO files (file, size, sha256, crlf, kind) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                file,
                i64::try_from(size).unwrap_or(i64::MAX),
                sha256.as_bytes(),
                crlf.map(|crlf| crlf.0.to_vec()),
                kind
            ])?;
        Ok(())
    }

    fn slice(&mut self, manifest: &str, entry: &ManifestEntry, offset: u64) -> Result<()> {
        let end = offset.checked_add(entry.size).and_then(|end| i64::try_from(end).ok());
        if !self.is_inside(manifest, &entry.file) {
            return Ok(());
        }
        if end.is_none() {
            self.differ(Found::Manifest, manifest, format!("message {} lies nowhere", entry.id));
            return Ok(());
        }
        let original = (!entry.redacted).then(|| entry.sha256_original.0.to_vec());
        let unquoted = entry.sha256_unquoted.map(|sum| sum.0.to_vec());
        // One that is told again lies where it lay.
        let put = "INSERT OR IGNORE INTO slices VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        self.db.prepare_cached(put)?.execute(params![
            entry.file,
            offset as i64,
            entry.size as i64,
            entry.sha256_exported.as_bytes(),
            unquoted,
            original,
            entry.newline_added
        ])?;
        let is = "SELECT 1 FROM slices WHERE file = ?1 AND start = ?2 AND size = ?3 AND sha256 = ?4";
        let is = self.db.prepare_cached(is)?.exists(params![
            entry.file,
            offset as i64,
            entry.size as i64,
            entry.sha256_exported.as_bytes()
        ])?;
        if !is {
            let what = format!("two messages are said to lie at byte {offset} of {}", entry.file);
            self.differ(Found::Manifest, manifest, what);
        }
        Ok(())
    }

    fn member(&mut self, manifest: &str, entry: &ManifestEntry, member: &str) -> Result<()> {
        if !self.is_inside(manifest, &entry.file) || !self.is_inside(manifest, member) {
            return Ok(());
        }
        let size = i64::try_from(entry.size).unwrap_or(i64::MAX);
        let put = "INSERT OR IGNORE INTO members (file, member, size, sha256) VALUES (?1, ?2, ?3, ?4)";
        self.db.prepare_cached(put)?.execute(params![entry.file, member, size, entry.sha256_exported.as_bytes()])?;
        let is = "SELECT 1 FROM members WHERE file = ?1 AND member = ?2 AND sha256 = ?3";
        let is = self.db.prepare_cached(is)?.exists(params![entry.file, member, entry.sha256_exported.as_bytes()])?;
        if !is {
            self.differ(Found::Manifest, manifest, format!("{member} is said to be two different messages"));
        }
        Ok(())
    }

    /// Whether the archive has the message, as this entry says it was.
    fn original(&mut self, entry: &ManifestEntry, archive: &Reader) -> Result<()> {
        let found = match entry.protected {
            false => archive.message_sum(entry.item)?,
            true => match archive.item(entry.item) {
                Ok(record) => record.message.and_then(|message| message.twin).map(|twin| twin.sha256),
                Err(error) if error.kind == ErrorKind::Unusable => None,
                Err(error) => return Err(error),
            },
        };
        let what = match found {
            Some(found) if found == entry.sha256_original => return Ok(()),
            Some(_) => format!("message {} is another one in the archive, or was decoded anew since", entry.id),
            None => format!("message {} is not in the archive", entry.id),
        };
        self.differ(Found::Archive, &entry.file, what);
        Ok(())
    }

    /// Compares every file with what was noted.
    fn files(&mut self, watch: &dyn Watch) -> Result<()> {
        let mut last = String::new();
        loop {
            let some: Vec<Wanted> = {
                let sql = "SELECT file, size, sha256, crlf, kind FROM files WHERE file > ?1 AND kind <> 'manifest'
                           ORDER BY file LIMIT 256";
                let mut get = self.db.prepare_cached(sql)?;
                let rows = get.query_map([&last], |row| {
                    let crlf: Option<Vec<u8>> = row.get(3)?;
                    Ok(Wanted {
                        file: row.get(0)?,
                        size: row.get::<_, i64>(1)? as u64,
                        sha256: digest(row.get(2)?)?,
                        crlf: crlf.map(digest).transpose()?,
                        kind: row.get(4)?,
                    })
                })?;
                rows.collect::<rusqlite::Result<_>>()?
            };
            let Some(end) = some.last() else { break };
            last = end.file.clone();
            for wanted in some {
                self.report.files += 1;
                self.file(&wanted)?;
                watch.done(1, wanted.size);
            }
        }
        // What lies in a file that no manifest names as one.
        let sql = "SELECT DISTINCT file FROM (SELECT file FROM slices UNION SELECT file FROM members)
                   WHERE file NOT IN (SELECT file FROM files) LIMIT 100";
        let nameless: Vec<String> =
            self.db.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        for file in nameless {
            self.differ(Found::Manifest, &file, "messages are said to lie in it, and no manifest gives its sum");
        }
        Ok(())
    }

    fn file(&mut self, wanted: &Wanted) -> Result<()> {
        let Wanted { file, .. } = wanted;
        let mut open = match self.open(file)? {
            Some(open) => open,
            None => return Ok(()),
        };
        let (mut whole, mut crlf) = (Hasher::new(), wanted.crlf.map(|_| CrlfHasher::default()));
        // A byte more than there should be is enough to know.
        let read = each(&mut open, wanted.size.saturating_add(1), &mut |bytes| {
            whole.update(bytes);
            if let Some(crlf) = &mut crlf {
                crlf.update(bytes);
            }
            Ok(())
        });
        let size = match read {
            Ok(size) => size,
            Err(error) => {
                self.differ(Found::Changed, file, format!("cannot be read: {error}"));
                return Ok(());
            }
        };
        if size > wanted.size {
            let len = open.metadata().map_or(size, |found| found.len());
            let what = format!("has {len} bytes, the manifest says {}", wanted.size);
            self.differ(Found::Changed, file, what);
        } else if size < wanted.size {
            self.differ(Found::Changed, file, format!("has {size} bytes, the manifest says {}", wanted.size));
        } else if whole.finish() != wanted.sha256 {
            self.differ(Found::Changed, file, "has another SHA-256 than the manifest says");
        } else if crlf.map(CrlfHasher::finish) != wanted.crlf {
            self.differ(Found::Manifest, file, "would be sent by a mail server with another SHA-256 than is said");
        }
        match wanted.kind.as_str() {
            "mbox" => self.mbox(file, &mut open),
            "zip" => self.zip(file, open),
            _ => Ok(()),
        }
    }

    /// Opens a file without following a link, in its folder or above; `None`: the difference is told.
    fn open(&mut self, file: &str) -> Result<Option<File>> {
        let mut path = self.dir.to_owned();
        let parts: Vec<&str> = file.split('/').collect();
        for (at, part) in parts.iter().enumerate() {
            path.push(part);
            let is_last = at + 1 == parts.len();
            match std::fs::symlink_metadata(&path) {
                Ok(found) if found.is_symlink() => {
                    self.differ(Found::Path, file, "is behind a link, which is not followed");
                    return Ok(None);
                }
                Ok(found) if (is_last && !found.is_file()) || (!is_last && !found.is_dir()) => {
                    self.differ(Found::Changed, file, "is something else than a file");
                    return Ok(None);
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    self.differ(Found::Missing, file, "is not there");
                    return Ok(None);
                }
                Err(error) => {
                    self.differ(Found::Missing, file, format!("cannot be read: {error}"));
                    return Ok(None);
                }
            }
        }
        match fsio::open(&path) {
            Ok(open) => Ok(Some(open)),
            Err(error) => {
                self.differ(Found::Missing, file, format!("cannot be read: {error}"));
                Ok(None)
            }
        }
    }

    /// Cuts the messages out one by one; between them there is a "From " line and an empty one, and nothing else.
    fn mbox(&mut self, file: &str, open: &mut File) -> Result<()> {
        let path = inside(self.dir, file);
        let len = open.metadata().map_err(|error| failed("read", &path, &error))?.len();
        let mut at = 0u64;
        let mut after = -1i64;
        loop {
            let sql = "SELECT start, size, sha256, unquoted, original, added FROM slices
                       WHERE file = ?1 AND start > ?2 ORDER BY start LIMIT 1";
            let next = {
                let mut get = self.db.prepare_cached(sql)?;
                get.query_row(params![file, after], |row| {
                    let unquoted: Option<Vec<u8>> = row.get(3)?;
                    let original: Option<Vec<u8>> = row.get(4)?;
                    Ok(Slice {
                        start: row.get::<_, i64>(0)? as u64,
                        size: row.get::<_, i64>(1)? as u64,
                        sha256: digest(row.get(2)?)?,
                        unquoted: unquoted.map(digest).transpose()?,
                        original: original.map(digest).transpose()?,
                        added: row.get(5)?,
                    })
                })
                .optional()?
            };
            let Some(slice) = next else { break };
            after = slice.start as i64;
            match look_at_slice(open, at, &slice) {
                Ok(None) => {}
                Ok(Some(what)) => self.differ(Found::Changed, file, format!("at byte {}: {what}", slice.start)),
                Err(error) => {
                    self.differ(Found::Changed, file, format!("at byte {}: cannot be read: {error}", slice.start));
                }
            }
            at = slice.start.saturating_add(slice.size).saturating_add(1);
        }
        if len > at {
            let what = format!("has {} bytes behind its last message", len - at);
            self.differ(Found::Changed, file, what);
        }
        Ok(())
    }

    fn zip(&mut self, file: &str, open: File) -> Result<()> {
        let mut zip = match zip::ZipArchive::new(BufReader::new(open)) {
            Ok(zip) => zip,
            Err(error) => {
                self.differ(Found::Changed, file, format!("is no zip file that can be read: {error}"));
                return Ok(());
            }
        };
        let mut own: BTreeMap<String, bool> = [file_name(1), SUMS.to_owned()].map(|name| (name, false)).into();
        for n in 0..zip.len() {
            let mut member = match zip.by_index(n) {
                Ok(member) => member,
                Err(error) => {
                    self.differ(Found::Changed, file, format!("its file no. {} cannot be read: {error}", n + 1));
                    continue;
                }
            };
            let Ok(name) = String::from_utf8(member.name_raw().to_vec()) else {
                self.differ(Found::Extra, file, "has a file whose name is no text");
                continue;
            };
            if let Some(seen) = own.get_mut(&name) {
                *seen = true;
                continue;
            }
            let wanted = {
                let sql = "SELECT size, sha256, seen FROM members WHERE file = ?1 AND member = ?2";
                let mut get = self.db.prepare_cached(sql)?;
                get.query_row(params![file, name], |row| {
                    Ok((row.get::<_, i64>(0)? as u64, digest(row.get(1)?)?, row.get::<_, bool>(2)?))
                })
                .optional()?
            };
            let Some((size, sha256, seen)) = wanted else {
                self.differ(Found::Extra, file, format!("has {name:?}, which no manifest knows"));
                continue;
            };
            if seen {
                self.differ(Found::Extra, file, format!("has {name:?} twice"));
            }
            match sum(&mut member, size.saturating_add(1)) {
                Ok(found) if found == (size, sha256) => {}
                Ok(_) => self.differ(Found::Changed, file, format!("{name:?} is not what the manifest says")),
                Err(error) => self.differ(Found::Changed, file, format!("{name:?} cannot be read: {error}")),
            }
            let mut see = self.db.prepare_cached("UPDATE members SET seen = 1 WHERE file = ?1 AND member = ?2")?;
            see.execute(params![file, name])?;
        }
        let sql = "SELECT member FROM members WHERE file = ?1 AND seen = 0 ORDER BY member LIMIT 10000";
        let missing: Vec<String> =
            self.db.prepare(sql)?.query_map([file], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let own = own.into_iter().filter(|(_, seen)| !seen).map(|(name, _)| name);
        for name in missing.into_iter().chain(own) {
            self.differ(Found::Missing, file, format!("{name:?} is not in it"));
        }
        Ok(())
    }

    /// Compares `SHA256SUMS` with what was noted, line by line.
    fn sums(&mut self) -> Result<()> {
        let Some(open) = self.open(SUMS)? else { return Ok(()) };
        let mut lines = BufReader::new(open);
        let mut number = 0u64;
        loop {
            number += 1;
            let mut line = Vec::new();
            let read = (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    self.differ(Found::Sums, SUMS, format!("cannot be read: {error}"));
                    break;
                }
            }
            let text = String::from_utf8(line).ok().and_then(|text| text.strip_suffix('\n').map(str::to_owned));
            let parsed = text.as_deref().and_then(|text| text.split_once("  "));
            let parsed = parsed.and_then(|(sum, file)| Some((sum.parse::<Digest>().ok()?, file)));
            let Some((sha256, file)) = parsed else {
                self.differ(Found::Sums, SUMS, format!("line {number} is none of `sha256sum`"));
                // What follows need not be lines.
                break;
            };
            let found: Option<(Vec<u8>, bool)> = {
                let mut get = self.db.prepare_cached("SELECT sha256, summed FROM files WHERE file = ?1")?;
                get.query_row([file], |row| Ok((row.get(0)?, row.get(1)?))).optional()?
            };
            match found {
                None => self.differ(Found::Sums, SUMS, format!("line {number}: no manifest knows {file:?}")),
                Some((_, true)) => self.differ(Found::Sums, SUMS, format!("line {number}: {file:?} a second time")),
                Some((known, false)) => {
                    if known != sha256.as_bytes() {
                        self.differ(Found::Sums, SUMS, format!("line {number}: another SHA-256 than the manifest's"));
                    }
                    self.db.prepare_cached("UPDATE files SET summed = 1 WHERE file = ?1")?.execute([file])?;
                }
            }
        }
        let sql = "SELECT file FROM files WHERE summed = 0 ORDER BY file LIMIT 10001";
        let missing: Vec<String> =
            self.db.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        for file in missing {
            self.differ(Found::Sums, SUMS, format!("has no line for {file:?}"));
        }
        Ok(())
    }

    /// Looks for files that no manifest knows.
    fn extras(&mut self) -> Result<()> {
        let mut folders: Vec<(PathBuf, String)> = vec![(self.dir.to_owned(), String::new())];
        while let Some((path, at)) = folders.pop() {
            let entries = match std::fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) => {
                    self.differ(Found::Extra, &at, format!("cannot be read: {error}"));
                    continue;
                }
            };
            for entry in entries {
                let entry = entry.map_err(|error| failed("read", &path, &error))?;
                let Ok(name) = entry.file_name().into_string() else {
                    let shown = format!("{at}{}", entry.file_name().to_string_lossy());
                    self.differ(Found::Extra, &shown, "has a name that is no text");
                    continue;
                };
                let file = format!("{at}{name}");
                let kind = entry.file_type().map_err(|error| failed("read", &entry.path(), &error))?;
                if file == WORK || file == SUMS {
                    continue;
                }
                if kind.is_dir() {
                    folders.push((entry.path(), format!("{file}/")));
                    continue;
                }
                let is_known = self.db.prepare_cached("SELECT 1 FROM files WHERE file = ?1")?.exists([&file])?;
                let is_mark = name == files::MAILDIR_FOLDER
                    && at.ends_with("/.Sent/")
                    && self.report.format == Some(Format::Maildir)
                    && entry.metadata().is_ok_and(|found| found.is_file() && found.len() == 0);
                if is_known || is_mark {
                    continue;
                }
                let what = if kind.is_symlink() {
                    "is a link that no manifest knows"
                } else if name.ends_with(PART) {
                    "was left behind by an export that did not come to its end"
                } else if name.starts_with("dovecot") && self.report.format == Some(Format::Maildir) {
                    "was put there by a mail server: give the server a copy of the export"
                } else {
                    "is known to no manifest"
                };
                self.differ(Found::Extra, &file, what);
            }
        }
        Ok(())
    }
}

struct Slice {
    start: u64,
    size: u64,
    sha256: Digest,
    unquoted: Option<Digest>,
    /// `None`: something was left out of it.
    original: Option<Digest>,
    added: bool,
}

/// What is wrong with a message that should lie there; `at` is where the one before it ended.
fn look_at_slice(open: &mut File, at: u64, slice: &Slice) -> io::Result<Option<String>> {
    let Some(before) = slice.start.checked_sub(at).filter(|before| *before <= LINE_BYTES_MAX) else {
        return Ok(Some("does not follow the message before it".into()));
    };
    open.seek(io::SeekFrom::Start(at))?;
    let mut line = Vec::new();
    open.by_ref().take(before).read_to_end(&mut line)?;
    if !line.starts_with(b"From ") || line.iter().position(|byte| *byte == b'\n') != Some(line.len() - 1) {
        return Ok(Some("there is no \"From \" line before it".into()));
    }
    let (mut whole, mut unquoter) = (Hasher::new(), Unquoter::new());
    let size = each(open, slice.size, &mut |bytes| {
        whole.update(bytes);
        unquoter.push(bytes);
        Ok(())
    })?;
    if size != slice.size || whole.finish() != slice.sha256 {
        return Ok(Some("the message is not what the manifest says".into()));
    }
    let (unquoted, without_last) = unquoter.finish();
    if slice.unquoted.is_some_and(|said| said != unquoted) {
        return Ok(Some("without its quoting the message has another SHA-256 than the manifest says".into()));
    }
    let message = if slice.added { without_last } else { unquoted };
    if slice.original.is_some_and(|said| said != message) {
        return Ok(Some("the message is said to be the archive's, and is another one".into()));
    }
    let mut end = [0u8; 1];
    match open.read(&mut end)? {
        1 if end == *b"\n" => Ok(None),
        _ => Ok(Some("there is no empty line behind it".into())),
    }
}
