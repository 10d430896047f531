//! One run of an export.
//!
//! In this order, so that it may end at any moment: what is to be done is noted, messages are written and noted, whole
//! files get their names, all of it goes to the disk, then the sums, and last the manifest; from that moment on the run
//! is done, and its work folder goes.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::super::error::{ArchiveError, ErrorKind, Result};
use super::super::read::Reader;
use super::super::record::{Head, ItemRecord};
use super::manifest::{
    About, Container, Document, ExportFailure, Kind, MANIFEST_VERSION, ManifestEntry, Part, Previous, Rest, SUMS,
    Withdrawn, Writer, file_name, json, key, read, read_about,
};
use super::mbox::{Mboxes, from_line, paths};
use super::names::Named;
use super::output::{Exported, Folders, Summed, failed, inside, is_same, make_dir, sum, sync_all_of};
use super::render::{Failure, Rendered, Wanted, render};
use super::state::{Noted, Planned, State, WORK};
use super::zip::Volumes;
use super::{Entries, ExportOptions, ExportReport, Format, Phase, Selection, Watch, files, mbox, record};
use crate::base::digest::Digest;
use crate::base::fsio;
use crate::mail::summary::Summary;

/// Tells whose work folder it is.
const MARK: &str = "export.json";

pub(super) fn run(
    reader: &Reader,
    selection: &Selection,
    entries: &mut Entries<'_>,
    dir: &Path,
    options: ExportOptions,
    watch: &dyn Watch,
) -> Result<ExportReport> {
    let mut about = About {
        gatepost_export: MANIFEST_VERSION,
        kind: options.kind,
        archive: reader.archive_id(),
        head: reader.head()?,
        time: options.now,
        gatepost: env!("CARGO_PKG_VERSION").to_owned(),
        run: 1,
        previous: None,
        format: options.format,
        envelope: options.envelope,
        selection: selection.text(),
        filter: serde_json::to_value(&selection.filter).unwrap_or_default(),
        search: selection.search.clone(),
    };
    let runs = look(dir, &about)?;
    about.run = runs + 1;
    if runs > 0 && options.kind == Kind::Record {
        let what = format!("{} holds a whole record already", dir.display());
        return Err(ArchiveError::new(ErrorKind::Unusable, what)
            .hint("a record is one moment's: name another folder for a newer one"));
    }
    let work = dir.join(WORK);
    make_dir(&work)?;
    let state = State::open(&work)?;
    mark(&work, &about)?;
    let (previous, manifests) = know(dir, runs, &state)?;
    about.previous = previous;
    let (head, earlier) = plan(reader, entries, &state, options.since_last)?;
    about.head = head;
    state.note()?;
    let report = ExportReport {
        exported: 0,
        kept: 0,
        redacted: 0,
        bytes: 0,
        earlier,
        withdrawn: Vec::new(),
        failed: Vec::new(),
        interrupted: None,
        manifest: None,
        head: about.head,
    };
    let mut run = Run {
        reader,
        dir,
        work: work.clone(),
        options,
        about,
        state,
        watch,
        folders: Folders::default(),
        mboxes: Mboxes::new(dir),
        volumes: Volumes::new(dir, &work, options.volume),
        report,
    };
    match run.go(manifests) {
        Ok(()) => {}
        Err(Failure::Stopped) => {
            run.mboxes.flush()?;
            run.cut_back()?;
            let (planned, _) = run.state.planned()?;
            let looked_at = run.report.exported + run.report.failed.len() as u64;
            run.report.interrupted = Some(planned.saturating_sub(looked_at));
        }
        Err(Failure::Message(error) | Failure::Output(error)) => {
            // What was done up to here is good; if not even this can be noted, the next run looks for itself.
            let _ = run.mboxes.flush().and_then(|()| run.cut_back()).and_then(|()| run.state.note());
            return Err(error);
        }
    }
    let Run { report, state, .. } = run;
    state.close()?;
    if report.interrupted.is_none() {
        fsio::remove_dir_all(&work).exported("remove", &work)?;
    }
    Ok(report)
}

/// Sees to it that the folder is there, and is an export of this very kind or nothing; how many runs it has seen.
fn look(dir: &Path, about: &About) -> Result<u32> {
    let refused = |why: &str| {
        ArchiveError::new(ErrorKind::Unusable, format!("cannot export to {}: {why}", dir.display()))
            .hint("name a folder that does not exist yet")
    };
    let mut names = Vec::new();
    match std::fs::read_dir(dir) {
        // So few are enough to know: nothing, or only the work folder.
        Ok(entries) => {
            for entry in entries.take(2) {
                names.push(entry.exported("read", dir)?.file_name());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_dir(dir)?,
        Err(error) => return Err(failed("read", dir, &error)),
    }
    let mut runs = 0;
    loop {
        let path = dir.join(file_name(runs + 1));
        match read_about(&path) {
            Ok(found) => match about.differs_from(&found) {
                Some(why) => return Err(refused(&why)),
                None => runs += 1,
            },
            Err(super::manifest::Unread::Missing) => break,
            Err(unread) => return Err(unread.into_error(&path)),
        }
    }
    let work = dir.join(WORK);
    let mark = work.join(MARK);
    let marked: Option<About> = match File::open(&mark) {
        Ok(file) => Some(
            serde_json::from_reader(io::BufReader::new(file))
                .map_err(|error| refused(&format!("{} cannot be read ({error})", mark.display())))?,
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed("read", &mark, &error)),
    };
    if let Some(why) = marked.as_ref().and_then(|found| about.differs_from(found)) {
        return Err(refused(&format!("{why}, which was interrupted")));
    }
    let only_work = names.iter().all(|name| name == WORK);
    if runs == 0 && marked.is_none() && !only_work {
        return Err(refused("it holds files that are no export of gatepost"));
    }
    // What a run that was done left behind, or one that had not begun.
    let interrupted = marked.as_ref().is_some_and(|found| found.run == runs + 1);
    if !interrupted && std::fs::symlink_metadata(&work).is_ok() {
        if marked.is_none() && !is_ours(&work)? {
            return Err(refused(&format!("{} is not gatepost's", work.display())));
        }
        // Who holds it would be another run; the database is what says so.
        State::open(&work)?.close()?;
        fsio::remove_dir_all(&work).exported("remove", &work)?;
    }
    Ok(runs)
}

/// A work folder that a run made and did not come to mark.
fn is_ours(work: &Path) -> Result<bool> {
    for entry in std::fs::read_dir(work).exported("read", work)? {
        let name = entry.exported("read", work)?.file_name();
        if !name.to_str().is_some_and(|name| name.starts_with("state.sqlite3") || name == "mark.part") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn mark(work: &Path, about: &About) -> Result<()> {
    let mut out = Summed::create(&work.join("mark.part"))?;
    out.put(json(&serde_json::to_string_pretty(about))?.as_bytes())?;
    out.finish(&work.join(MARK))?;
    Ok(())
}

/// Files and their SHA-256.
type Sums = Vec<(String, Digest)>;

/// Takes over what the manifests say; the last of them, and the sums of all.
fn know(dir: &Path, runs: u32, state: &State) -> Result<(Option<Previous>, Sums)> {
    let mut manifests = Vec::new();
    for run in 1..=runs {
        let file = file_name(run);
        let path = dir.join(&file);
        let manifest = read(&path, &mut |_, part| match part {
            Part::Entry(entry) => state.know(&entry),
            Part::Container(container) => state.know_container(&container),
            Part::Withdrawn(one) => {
                state.know_withdrawn(key(&one.person, one.folder, one.id, one.sha256_original, one.protected))
            }
            Part::Document(page) => state.sum(&page.file, page.sha256),
            Part::About | Part::Failed(_) => Ok(()),
        });
        let manifest = manifest.map_err(|unread| unread.into_error(&path))?;
        manifests.push((file, manifest.sha256));
    }
    let previous = manifests.last().map(|(file, sha256)| Previous { file: file.clone(), sha256: *sha256 });
    Ok((previous, manifests))
}

/// Notes what is to be exported, and the head that it goes up to: one state of the archive. It is held no longer than
/// that, so that an export of hours does not keep the catalogue's log from being taken over.
///
/// Also says how many of them are passed over, because an earlier run exported them.
fn plan(reader: &Reader, entries: &mut Entries<'_>, state: &State, since_last: bool) -> Result<(Head, u64)> {
    let db = &reader.catalogue.db;
    db.execute_batch("BEGIN")?;
    let mut earlier = 0;
    let planned = reader.head().and_then(|head| {
        entries(&mut |entry| {
            match state.see(&entry)? {
                Some(is_first) if since_last => earlier += u64::from(is_first),
                Some(_) | None => state.plan(&entry)?,
            }
            Ok(())
        })?;
        Ok((head, earlier))
    });
    db.execute_batch("COMMIT")?;
    planned
}

type Done = std::result::Result<(), Failure>;

struct Run<'a> {
    reader: &'a Reader,
    dir: &'a Path,
    work: PathBuf,
    options: ExportOptions,
    about: About,
    state: State,
    watch: &'a dyn Watch,
    folders: Folders,
    mboxes: Mboxes,
    volumes: Volumes,
    report: ExportReport,
}

impl Run<'_> {
    fn go(&mut self, manifests: Vec<(String, Digest)>) -> Done {
        self.look_at_containers()?;
        self.look_at_done()?;
        self.cut_back()?;
        let (messages, bytes) = self.state.planned()?;
        self.watch.begin(Phase::Exporting, messages, bytes);
        let mut last = None;
        loop {
            let some = self.state.planned_after(last.as_ref())?;
            let Some(end) = some.last().cloned() else { break };
            for planned in some {
                self.may_go_on()?;
                let size = planned.size;
                match self.message(&planned) {
                    Ok(()) => {}
                    // One message that cannot be had does not keep the others back.
                    Err(Failure::Message(error)) => self.report.failed.push(ExportFailure {
                        id: planned.message,
                        person: planned.person,
                        folder: planned.folder,
                        damaged: error.kind == ErrorKind::Damaged,
                        why: error.what,
                    }),
                    Err(failure) => return Err(failure),
                }
                if self.state.is_due() {
                    self.mboxes.flush()?;
                    self.state.note()?;
                }
                self.watch.done(1, size);
            }
            last = Some(end);
        }
        self.mboxes.flush()?;
        self.volumes.close(&self.state, &self.about)?;
        self.state.note()?;
        Ok(self.finish(manifests)?)
    }

    fn may_go_on(&self) -> Done {
        if self.watch.is_told_to_stop() { Err(Failure::Stopped) } else { Ok(()) }
    }

    /// What earlier runs wrote into files of many messages is compared as a whole: nothing in there can be mended.
    fn look_at_containers(&mut self) -> Done {
        let before = self.state.containers_before()?;
        if self.options.since_last || before.is_empty() {
            return Ok(());
        }
        self.watch.begin(Phase::Checking, before.len() as u64, before.iter().map(|container| container.size).sum());
        for Container { file, size, sha256, .. } in before {
            let path = inside(self.dir, &file);
            self.may_go_on()?;
            let mut found = fsio::open(&path).exported("read", &path)?;
            // An interrupted run may have added to it.
            let is_longer = self.state.containers()?.iter().any(|(own, found, _)| *own == file && !found.is_new);
            let is = sum(&mut found, size).exported("read", &path)?;
            let len = found.metadata().exported("read", &path)?.len();
            if is != (size, sha256) || (len != size && !is_longer) {
                return Err(mbox::changed(&path).into());
            }
            self.watch.done(1, size);
        }
        Ok(())
    }

    /// What an interrupted run did is taken over where it stands there as it was noted.
    fn look_at_done(&mut self) -> Done {
        let count = self.state.count_done()?;
        if count == 0 {
            return Ok(());
        }
        self.watch.begin(Phase::Checking, count, self.state.bytes_done()?);
        if self.options.format == Format::Zip {
            return self.look_at_volumes();
        }
        let mut last: Option<(String, u64, i64)> = None;
        loop {
            let after = last.as_ref().map(|(file, start, n)| (file.as_str(), *start, *n));
            let some = self.state.done_after(after)?;
            let Some(end) = some.last() else { break };
            last = Some((end.entry.file.clone(), end.entry.offset.unwrap_or(0), end.n));
            for Noted { n, entry } in some {
                self.may_go_on()?;
                let path = inside(self.dir, &entry.file);
                match entry.offset {
                    Some(offset) if !self.slice_is_there(&entry, offset)? => {
                        self.state.undo_from(&entry.file, offset)?;
                    }
                    None if !is_same(&path, entry.size, entry.sha256_exported)? => self.state.undo(n)?,
                    _ => {}
                }
                self.watch.done(1, entry.size);
            }
        }
        Ok(self.state.note()?)
    }

    fn look_at_volumes(&mut self) -> Done {
        let containers = self.state.containers()?;
        let mut whole = Vec::new();
        for (file, _, sums) in &containers {
            let path = inside(self.dir, file);
            match sums {
                Some((size, sha256)) if is_same(&path, *size, *sha256)? => whole.push(file.clone()),
                // It has a name of this run's, and is begun again under the next one.
                _ => {
                    match fsio::remove_file(&path) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            return Err(failed("remove", &path, &error).into());
                        }
                        _ => {}
                    }
                    self.state.forget_container(file)?;
                }
            }
        }
        // The volume that was open has no line of its own.
        self.state.undo_all_but(&whole)?;
        Ok(self.state.note()?)
    }

    fn slice_is_there(&self, entry: &ManifestEntry, offset: u64) -> Result<bool> {
        use std::io::Seek as _;
        let (part, whole) = paths(self.dir, &entry.file, true);
        // One that is new, and was not given its name yet.
        let path = if part.exists() { part } else { whole };
        let mut file = match fsio::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("read", &path, &error)),
        };
        file.seek(io::SeekFrom::Start(offset)).exported("read", &path)?;
        let is = sum(&mut file, entry.size).exported("read", &path)?;
        let mut end = [0u8; 1];
        Ok(is == (entry.size, entry.sha256_exported)
            && io::Read::read_exact(&mut file, &mut end).is_ok()
            && end == *b"\n")
    }

    /// Takes what is not noted off the end of the files that messages are appended to.
    fn cut_back(&mut self) -> Result<()> {
        self.mboxes = Mboxes::new(self.dir);
        if self.options.format != Format::Mbox {
            return Ok(());
        }
        for (file, found, _) in self.state.containers()? {
            let end = self.state.end_of(&file, found)?;
            let (path, _) = paths(self.dir, &file, found.is_new);
            if let Ok(open) = std::fs::OpenOptions::new().write(true).open(&path)
                && open.metadata().exported("read", &path)?.len() > end
            {
                open.set_len(end).exported("cut", &path)?;
            }
        }
        Ok(())
    }

    /// A message of the plan, and the rights-protected one beside it when there is one.
    fn message(&mut self, planned: &Planned) -> Done {
        let record = self.reader.item(planned.item).map_err(Failure::Message)?;
        let Some(message) = &record.message else {
            let what = format!("item {} has a message in the catalogue and none in its pack", planned.item);
            return Err(Failure::Message(ArchiveError::damaged(what)));
        };
        let is_kept = self.one(planned, &record, message.sha256, false)?;
        if let Some(twin) = &message.twin {
            self.one(planned, &record, twin.sha256, true)?;
        }
        self.report.exported += 1;
        self.report.kept += u64::from(is_kept);
        Ok(())
    }

    /// True: it was there already.
    fn one(
        &mut self,
        planned: &Planned,
        record: &ItemRecord,
        original: Digest,
        protected: bool,
    ) -> std::result::Result<bool, Failure> {
        let key = key(&planned.person, planned.folder, planned.message, original, protected);
        if let Some(entry) = self.state.is_done(key)? {
            self.report.redacted += u64::from(entry.redacted);
            self.report.bytes += entry.size;
            return Ok(true);
        }
        let before = self.state.known(key)?;
        if let Some((entry, withdrawn)) = &before {
            let path = inside(self.dir, &entry.file);
            let one_file = entry.offset.is_none() && entry.member.is_none();
            if !one_file || is_same(&path, entry.size, entry.sha256_exported)? {
                if *withdrawn {
                    self.state.done(entry, planned.at, None)?;
                }
                self.report.redacted += u64::from(entry.redacted);
                self.report.bytes += entry.size;
                return Ok(true);
            }
        }
        let redact = !self.options.envelope && !self.reader.is_sender(planned.message, &planned.person)?;
        let watch = self.watch;
        let stop = || watch.is_told_to_stop();
        let spool = self.work.join("spool.tmp");
        let with_crlf = self.options.format == Format::Maildir;
        let wanted = Wanted { item: planned.item, protected, redact, with_crlf, spool: &spool, stop: &stop };
        let message = render(self.reader, &wanted)?;
        let seen = self.reader.sighted(planned.item)?;
        let received = received(seen.as_ref().map(|seen| seen.date.as_str()), planned.date, record.fetched);
        let (redacted, sha256, size, crlf) = (message.redacted, message.sha256, message.size, message.sha256_crlf);
        let named = Named {
            person: &planned.person,
            folder: planned.folder,
            id: planned.message,
            item: planned.item,
            date: planned.date,
            received,
            protected,
            size,
            sha256,
        };
        let mut entry = ManifestEntry {
            id: planned.message,
            item: planned.item,
            person: planned.person.clone(),
            folder: planned.folder,
            because: self.reader.because(&planned.person, planned.folder, planned.item)?.unwrap_or_default(),
            file: String::new(),
            member: None,
            offset: None,
            message_id: planned.message_id.clone(),
            date: planned.date,
            received,
            size,
            sha256_original: original,
            sha256_exported: sha256,
            sha256_unquoted: None,
            quoted_lines: 0,
            newline_added: false,
            sha256_crlf: crlf,
            redacted,
            protected,
        };
        if let Some((was, _)) = before {
            // A file of an earlier run that is missing or was changed: it is written again, as it was.
            if was.sha256_exported != sha256 {
                let what = format!("{} is missing or was changed, and would be another one now", was.file);
                return Err(Failure::Message(ArchiveError::new(ErrorKind::Unusable, what)));
            }
            files::put(self.dir, &self.work, &mut self.folders, &was.file, received, message)?;
            self.report.redacted += u64::from(redacted);
            self.report.bytes += size;
            return Ok(false);
        }
        let is_kept = self.put(&mut entry, &named, record, message)?;
        let detail = match self.options.kind {
            Kind::Export => None,
            Kind::Record => {
                let summary = record.message.as_ref().map(|message| message.summary.clone());
                let mut detail = record::Detail {
                    archived: Some(record.fetched),
                    gateway: seen.map(|seen| seen.gateway),
                    ..record::Detail::default()
                };
                if let Some(Summary { from, to, cc, subject, .. }) = summary {
                    detail = record::Detail { from, to, cc, subject, ..detail };
                }
                Some(json(&serde_json::to_string(&detail))?)
            }
        };
        self.state.done(&entry, planned.at, detail.as_deref())?;
        if self.volumes.is_full() {
            self.volumes.close(&self.state, &self.about)?;
        }
        self.report.redacted += u64::from(entry.redacted);
        self.report.bytes += entry.size;
        Ok(is_kept)
    }

    /// Writes a message where its format has it.
    fn put(
        &mut self,
        entry: &mut ManifestEntry,
        named: &Named<'_>,
        record: &ItemRecord,
        message: Rendered,
    ) -> Result<bool> {
        let key = entry.key();
        let free = |name: &dyn Fn(bool) -> String| -> Result<String> {
            let first = name(false);
            Ok(if self.state.is_taken(&first, key)? { name(true) } else { first })
        };
        match self.options.format {
            Format::Eml => {
                entry.file = free(&|again| named.eml(again))?;
                files::put(self.dir, &self.work, &mut self.folders, &entry.file, named.received, message)
            }
            Format::Maildir => {
                entry.file = free(&|again| named.maildir(again))?;
                files::make_maildir(self.dir, &mut self.folders, named.person, named.folder)?;
                files::put(self.dir, &self.work, &mut self.folders, &entry.file, named.received, message)
            }
            Format::Zip => {
                let member = free(&|again| named.eml(again))?;
                entry.file = self.volumes.put(&self.state, &member, named.received, &message)?;
                entry.member = Some(member);
                Ok(false)
            }
            Format::Mbox => {
                entry.file = Named::mbox(named.person, named.folder);
                let sender = record.message.as_ref().and_then(|message| message.envelope.sender.as_deref());
                let line = from_line(sender, named.received);
                let placed = self.mboxes.put(&self.state, &mut self.folders, &entry.file, &line, &message)?;
                entry.offset = Some(placed.offset);
                entry.size = placed.size;
                entry.sha256_exported = placed.sha256;
                entry.sha256_unquoted = Some(placed.sha256_unquoted);
                entry.quoted_lines = placed.quoted;
                entry.newline_added = placed.newline_added;
                Ok(false)
            }
        }
    }

    /// Everything is written: it gets its names, its sums and its manifest.
    fn finish(&mut self, manifests: Vec<(String, Digest)>) -> Result<()> {
        self.mboxes = Mboxes::new(self.dir);
        let mut withdrawn = Vec::new();
        self.state.each_unseen(&mut |entry| {
            if !self.reader.is_filed(entry.id, &entry.person, entry.folder)? {
                withdrawn.push(Withdrawn {
                    id: entry.id,
                    person: entry.person,
                    folder: entry.folder,
                    file: entry.member.unwrap_or(entry.file),
                    sha256_original: entry.sha256_original,
                    protected: entry.protected,
                });
            }
            Ok(())
        })?;
        self.report.withdrawn = withdrawn;
        if self.about.run > 1 && self.state.count_done()? == 0 && self.report.withdrawn.is_empty() {
            // Nothing new. What was written again is in its manifest already.
            return sync_all_of(self.dir);
        }
        let containers = self.finish_containers()?;
        let documents = match self.options.kind {
            Kind::Export => Vec::new(),
            Kind::Record => {
                record::write(self.reader, self.dir, &self.work, &self.about, &self.state, &self.report.failed)?
            }
        };
        sync_all_of(self.dir)?;
        let name = file_name(self.about.run);
        let mut manifest = Writer::begin(&self.work.join("manifest.part"), &self.about)?;
        self.state.each_done(None, &mut |text, size, redacted| manifest.entry(text, size, redacted))?;
        let rest = Rest {
            containers: &containers,
            documents: &documents,
            withdrawn: &self.report.withdrawn,
            failed: &self.report.failed,
        };
        let ready = self.work.join("manifest.ready");
        let (_, sha256) = manifest.finish(&ready, &rest)?;
        self.write_sums(manifests, &containers, &documents, (&name, sha256))?;
        // Last of all, so that a manifest never stands beside what it does not tell of.
        let path = self.dir.join(&name);
        fsio::rename(&ready, &path).exported("write", &path)?;
        sync_all_of(self.dir)?;
        self.report.manifest = Some(name);
        Ok(())
    }

    fn finish_containers(&mut self) -> Result<Vec<Container>> {
        let mut containers = Vec::new();
        for (file, found, whole) in self.state.containers()? {
            let messages = self.state.count_in(&file)?;
            if messages == 0 {
                // Begun by a run that was interrupted, for messages that are filed elsewhere now.
                let (part, _) = paths(self.dir, &file, found.is_new);
                if found.is_new && part.exists() {
                    fsio::remove_file(&part).exported("remove", &part)?;
                }
                continue;
            }
            let (size, sha256) = match whole {
                Some(whole) => whole,
                None => {
                    let (part, path) = paths(self.dir, &file, found.is_new);
                    if found.is_new && part.exists() {
                        fsio::rename(&part, &path).exported("write", &path)?;
                    }
                    let mut open = fsio::open(&path).exported("read", &path)?;
                    sum(&mut open, u64::MAX).exported("read", &path)?
                }
            };
            containers.push(Container { file, size, sha256, messages });
        }
        Ok(containers)
    }

    fn write_sums(
        &self,
        manifests: Vec<(String, Digest)>,
        containers: &[Container],
        documents: &[Document],
        manifest: (&str, Digest),
    ) -> Result<()> {
        self.state.each_done(None, &mut |text, _, _| {
            let entry: ManifestEntry =
                serde_json::from_str(text).map_err(|error| ArchiveError::new(ErrorKind::Failed, error.to_string()))?;
            match (entry.offset, entry.member) {
                (None, None) => self.state.sum(&entry.file, entry.sha256_exported),
                _ => Ok(()),
            }
        })?;
        for container in containers {
            self.state.sum(&container.file, container.sha256)?;
        }
        for page in documents {
            self.state.sum(&page.file, page.sha256)?;
        }
        for (file, sha256) in manifests.iter().map(|(file, sha256)| (file.as_str(), *sha256)).chain([manifest]) {
            self.state.sum(file, sha256)?;
        }
        let mut out = Summed::create(&self.work.join("sums.part"))?;
        // Our names have neither backslash nor line break, which `sha256sum` would want escaped.
        self.state.each_sum(&mut |file, sha256| out.put(format!("{sha256}  {file}\n").as_bytes()))?;
        out.finish(&self.dir.join(SUMS))?;
        Ok(())
    }
}

/// When a message came: the gateway knows best; without it the message's own date, unless it is one that cannot be.
pub(super) fn received(noted: Option<&str>, date: Option<Timestamp>, fetched: Timestamp) -> Timestamp {
    let noted = noted.and_then(|text| {
        let strict = text.parse::<Timestamp>().ok();
        strict
            .or_else(|| jiff::Zoned::strptime("%d-%b-%Y %H:%M:%S %z", text.trim()).ok().map(|zoned| zoned.timestamp()))
    });
    let possible = |at: &Timestamp| *at >= Timestamp::UNIX_EPOCH && *at <= fetched;
    noted.filter(possible).or(date.filter(possible)).unwrap_or(fetched)
}
