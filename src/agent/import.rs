//! Mail from files into the archive: read, decoded, filed and committed as mail from a gateway is.
//!
//! Each path, for each person, is an identity space of kind `import`; a sighting in it is a place in the path and the
//! SHA-256 of what lies there. So a mail that was moved, or changed, is another sighting, and one that lies as it lay is
//! known before anything is decoded. Nothing is deleted at the source, and so nothing here asks for a receipt.
//!
//! Must:
//! - every mail that is found gets exactly one disposition, from the archive; the counts add up to what was found;
//! - what cannot be read is no sighting, for nothing of it was seen: it is counted as failed, told, and not recorded,
//!   and the next import tries it again;
//! - however it ends, the same import goes on where it ended: what is committed is known.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc;

use super::decoders::{Note, Work};
use super::place::{Into, Owner, Placed};
use super::rules::Rules;
use super::waiting::Waiting;
use super::{Agent, CycleError};
use crate::archive::{
    ArchiveError, Catalogue, Disposition, EpochName, ErrorKind, Folder, Head, IMPORT, PersonRecord, Seen,
};
use crate::sources::Intake;
use crate::sources::files::{self, Found, Options, Pattern, Quoting, Skip, Stop, Taker};

/// So many reasons for failures are told one by one.
const PROBLEMS_MAX: usize = 100;

/// What the operator wants.
#[derive(Clone, Debug)]
pub struct Order {
    /// Absolute.
    pub paths: Vec<PathBuf>,
    pub quoting: Option<Quoting>,
    pub into: Into,
    pub owners: Owners,
    /// This machine, for the archive's records.
    pub host: String,
}

/// Whose mail it is, by the folder that it lies in.
#[derive(Clone, Debug)]
pub struct Owners {
    /// Asked first, in this order.
    pub patterns: Vec<(Pattern, Arc<PersonRecord>)>,
    /// The first level of a tree's folders → whose it is.
    pub first_level: Option<HashMap<String, Arc<PersonRecord>>>,
    /// Of all other folders; `None`: their mail is left out.
    pub rest: Option<Owner>,
}

impl Owners {
    pub fn of(&self, folder: &str) -> Option<Owner> {
        if let Some((_, person)) = self.patterns.iter().find(|(pattern, _)| pattern.fits(folder)) {
            return Some(Owner::Person(person.clone()));
        }
        let first = folder.split('/').next().unwrap_or_default();
        match self.first_level.as_ref().and_then(|people| people.get(first)) {
            Some(person) => Some(Owner::Person(person.clone())),
            None => self.rest.clone(),
        }
    }
}

/// What came of it. The first keys are what other programs rely on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ImportReport {
    /// Files that hold mail and were read.
    pub files: u64,
    /// Mails, and files that should hold some and could not be read: the sum of the next six.
    pub listed: u64,
    pub archived: u64,
    pub already_archived: u64,
    pub quarantined: u64,
    pub excluded: u64,
    pub failed: u64,
    /// Found, and not decided about when the import ended.
    pub pending: u64,
    /// Of the mails that were read.
    pub bytes: u64,
    pub seconds: f64,
    pub head: Option<Head>,
    pub skipped: Skipped,
    /// Of what was decoded: journal reports, filed by their envelopes.
    pub reports: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub excluded_by: BTreeMap<String, u64>,
    /// The first hundred.
    pub problems: Vec<Problem>,
    /// Which kinds of mbox were read, and how many files of each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mbox: BTreeMap<&'static str, u64>,
    /// Of a rehearsal: where mail would be filed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub would_file: BTreeMap<String, Filed>,
    pub dry_run: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Filed {
    pub inbox: u64,
    pub sent: u64,
}

/// What was found and is no mail to be imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Mails marked as deleted.
    pub deleted: u64,
    /// Files and mails without a byte.
    pub empty: u64,
    pub links: u64,
    /// Pipes, sockets, devices.
    pub special: u64,
    /// Files in Outlook's formats.
    pub outlook: u64,
    pub packed: u64,
    /// Mails in folders that nobody was named for.
    pub nobodys: u64,
    pub other: u64,
}

/// Something that could not be read.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    pub path: String,
    pub why: String,
}

impl ImportReport {
    fn count(&mut self, disposition: Disposition) {
        match disposition {
            Disposition::Archived => self.archived += 1,
            Disposition::AlreadyArchived => self.already_archived += 1,
            Disposition::Quarantined => self.quarantined += 1,
            Disposition::Excluded => self.excluded += 1,
            // None of these comes of an import.
            Disposition::Unfetchable | Disposition::Vanished | Disposition::Failed => self.failed += 1,
        }
    }

    fn note(&mut self, note: Note) {
        self.reports += u64::from(note.is_report);
        if let Some(rule) = note.excluded {
            *self.excluded_by.entry(rule).or_default() += 1;
        }
    }

    fn decided(&self) -> u64 {
        self.archived + self.already_archived + self.quarantined + self.excluded + self.failed
    }

    /// Something was left out that may be mail, or needs a person.
    pub fn needs_attention(&self) -> bool {
        let Skipped { outlook, packed, nobodys, .. } = self.skipped;
        self.quarantined + self.failed + self.pending + outlook + packed + nobodys > 0
    }

    fn problem(&mut self, path: &Path, why: String) {
        self.listed += 1;
        self.failed += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { path: path.display().to_string(), why });
        }
    }

    fn skip(&mut self, why: Skip) {
        let Skipped { deleted, empty, links, special, outlook, packed, nobodys: _, other } = &mut self.skipped;
        *match why {
            Skip::Deleted => deleted,
            Skip::Empty => empty,
            Skip::Link => links,
            Skip::Special => special,
            Skip::Outlook => outlook,
            Skip::Packed => packed,
            Skip::Other => other,
        } += 1;
    }
}

/// What the reading thread tells.
enum Told {
    Mail(Box<Found>),
    File,
    Skipped(Skip),
    Failed(PathBuf, String),
}

/// Hands over, and waits until there is room: what was read ahead is two mails at most.
struct Sender(mpsc::Sender<Told>);

impl Taker for Sender {
    fn mail(&mut self, found: Found) -> Result<(), Stop> {
        self.0.blocking_send(Told::Mail(Box::new(found))).map_err(|_| Stop::Taken)
    }

    fn file(&mut self) {
        // Who does not listen any more is noticed at the next mail.
        let _ = self.0.blocking_send(Told::File);
    }

    fn skipped(&mut self, why: Skip, _: &Path) {
        let _ = self.0.blocking_send(Told::Skipped(why));
    }

    fn failed(&mut self, path: &Path, why: String) {
        let _ = self.0.blocking_send(Told::Failed(path.to_owned(), why));
    }

    fn is_gone(&self) -> bool {
        self.0.is_closed()
    }
}

/// Where mails go.
pub enum Target<'a> {
    Archive(&'a Agent),
    /// Nowhere: it is only told what would be done.
    Rehearsal(&'a Intake),
}

/// Imports what the order names. `catalogue` is the archive's, read beside its writer; `None`: there is no archive yet.
/// `watch` is told how far it is.
pub async fn import(
    target: &Target<'_>,
    order: &Order,
    rules: &Arc<Rules>,
    catalogue: Option<&Catalogue>,
    watch: &mut (dyn FnMut(&ImportReport) + Send),
) -> (ImportReport, Option<CycleError>) {
    let mut import = Import {
        target,
        order,
        rules,
        catalogue,
        report: ImportReport { dry_run: matches!(target, Target::Rehearsal(_)), ..ImportReport::default() },
        waiting: Waiting::new(),
        epochs: HashMap::new(),
        mbox_seen: String::new(),
    };
    let mut failure = None;
    for path in &order.paths {
        if let Err(error) = import.path(path, watch).await {
            failure = Some(error);
            break;
        }
    }
    // What is on its way into the archive gets there, and is counted.
    if let Err(error) = import.collect(true).await {
        failure.get_or_insert(error);
    }
    let mut report = import.report;
    report.pending = report.listed.saturating_sub(report.decided());
    (report, failure)
}

struct Import<'a> {
    target: &'a Target<'a>,
    order: &'a Order,
    rules: &'a Arc<Rules>,
    catalogue: Option<&'a Catalogue>,
    report: ImportReport,
    waiting: Waiting,
    /// Of the path that is being read.
    epochs: HashMap<String, Option<u64>>,
    mbox_seen: String,
}

impl Import<'_> {
    fn intake(&self) -> &Intake {
        match self.target {
            Target::Archive(agent) => &agent.intake,
            Target::Rehearsal(intake) => intake,
        }
    }

    async fn path(&mut self, path: &Path, watch: &mut (dyn FnMut(&ImportReport) + Send)) -> Result<(), CycleError> {
        self.epochs.clear();
        self.mbox_seen.clear();
        let intake = self.intake();
        let options = Options {
            quoting: self.order.quoting,
            memory_bytes_max: intake.memory_item_bytes_max,
            mail_bytes_max: intake.item_bytes_max,
            spool_dir: intake.spool_dir.clone(),
        };
        let (sender, mut told) = mpsc::channel(1);
        let root = path.to_owned();
        let reading = tokio::task::spawn_blocking(move || files::walk(&root, &options, &mut Sender(sender)));
        let root: Arc<str> = path.to_string_lossy().into();
        while let Some(told) = told.recv().await {
            match told {
                Told::File => self.report.files += 1,
                Told::Skipped(why) => self.report.skip(why),
                Told::Failed(path, why) => self.report.problem(&path, why),
                Told::Mail(found) => self.mail(*found, &root).await?,
            }
            self.collect(false).await?;
            watch(&self.report);
        }
        match reading.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Stop::Spool(error))) => Err(CycleError::told("write a temporary file", &error)),
            // Whoever took the mails is here; a thread that ended by itself is a defect.
            Ok(Err(Stop::Taken)) | Err(_) => {
                Err(ArchiveError::new(ErrorKind::Failed, "reading the files ended unexpectedly")
                    .hint("this is a defect of gatepost; run it again, it goes on where it ended")
                    .into())
            }
        }
    }

    async fn mail(&mut self, found: Found, root: &Arc<str>) -> Result<(), CycleError> {
        if let files::Container::Mbox(quoting) = found.container
            && self.mbox_seen != found.place
        {
            *self.report.mbox.entry(quoting.name()).or_default() += 1;
            self.mbox_seen.clone_from(&found.place);
        }
        let Some(owner) = self.order.owners.of(&found.folder) else {
            self.report.skipped.nobodys += 1;
            return Ok(());
        };
        self.report.listed += 1;
        self.report.bytes += found.mail.len;
        let into = self.order.into;
        let epoch = self.epoch(root, owner.login(into)).await?;
        let seen = Seen {
            epoch: epoch.unwrap_or(0),
            native_id: format!("{}#{}", found.place, found.mail.sha256),
            order: None,
            size: found.mail.len,
            date: found.date.map(|date| date.to_string()).unwrap_or_default(),
        };
        if let Some(known) = self.known(&seen)? {
            self.report.count(known);
            return Ok(());
        }
        let placed = Placed { owner, into, root: root.clone(), folder: found.folder };
        let sha256 = found.mail.sha256;
        let permit = self.intake().room(found.mail.len).await;
        let bytes = found.mail.into_item(permit);
        match self.target {
            Target::Archive(agent) => {
                self.waiting.outstanding += 1;
                agent.decoders.submit(Work {
                    seen,
                    bytes,
                    sha256: Some(sha256),
                    placed: Some(placed),
                    peer: format!("{} {}", found.container, found.file.display()),
                    fetched: agent.clock.now(),
                    rules: self.rules.clone(),
                    reply: self.waiting.reply.clone(),
                    failed: self.waiting.failed.clone(),
                    notes: self.waiting.notes.clone(),
                })?;
            }
            Target::Rehearsal(_) => {
                let known = match self.catalogue {
                    Some(catalogue) => catalogue.item_by_sha256(&sha256)?.is_some(),
                    None => false,
                };
                self.rehearse(&bytes, &placed, found.date, known);
            }
        }
        Ok(())
    }

    fn rehearse(
        &mut self,
        bytes: &dyn crate::base::bytes::ByteSource,
        placed: &Placed,
        date: Option<Timestamp>,
        known: bool,
    ) {
        let decoded = match self.rules.decode(bytes) {
            Ok(decoded) => decoded,
            Err(_) => return self.report.count(Disposition::Quarantined),
        };
        let routing = placed.route(&decoded, self.rules, date.unwrap_or_else(Timestamp::now));
        self.report.note(Note::of(&decoded, &routing));
        let disposition = match (known, &routing.excluded) {
            (true, _) => Disposition::AlreadyArchived,
            (false, Some(_)) => Disposition::Excluded,
            (false, None) => Disposition::Archived,
        };
        self.report.count(disposition);
        for filing in routing.filings {
            let filed = self.report.would_file.entry(filing.person).or_default();
            match filing.folder {
                Folder::Inbox => filed.inbox += 1,
                Folder::Sent => filed.sent += 1,
            }
        }
    }

    /// The identity space of what is imported from this path for one person; `None` in a rehearsal of what never was.
    async fn epoch(&mut self, root: &str, login: String) -> Result<Option<u64>, CycleError> {
        if let Some(epoch) = self.epochs.get(&login) {
            return Ok(*epoch);
        }
        let name = EpochName {
            kind: IMPORT.into(),
            host: self.order.host.clone(),
            login: login.clone(),
            folder: root.to_owned(),
            validity: String::new(),
        };
        let epoch = match (self.target, self.catalogue) {
            (Target::Archive(agent), _) => Some(agent.archive.call(move |core| core.epoch(&name)).await?.id),
            (Target::Rehearsal(_), Some(catalogue)) => catalogue.find_epoch(&name)?.map(|epoch| epoch.id),
            (Target::Rehearsal(_), None) => None,
        };
        self.epochs.insert(login, epoch);
        Ok(epoch)
    }

    /// What became of the very same sighting in an earlier import, where that stands.
    fn known(&self, seen: &Seen) -> Result<Option<Disposition>, CycleError> {
        let Some(catalogue) = self.catalogue.filter(|_| seen.epoch > 0) else { return Ok(None) };
        let row = catalogue.sighting(seen.epoch, &seen.native_id)?;
        Ok(row.filter(|row| row.seen.size == seen.size).and_then(|row| match row.disposition {
            Disposition::Archived | Disposition::AlreadyArchived => Some(Disposition::AlreadyArchived),
            Disposition::Quarantined => Some(Disposition::Quarantined),
            Disposition::Excluded if row.excluded_under(Some(self.rules.mark())) => Some(Disposition::Excluded),
            Disposition::Excluded | Disposition::Unfetchable | Disposition::Vanished | Disposition::Failed => None,
        }))
    }

    /// Takes the archive's answers; with `all`, waits for every one.
    async fn collect(&mut self, all: bool) -> Result<(), CycleError> {
        let Target::Archive(agent) = self.target else { return Ok(()) };
        loop {
            while let Ok(note) = self.waiting.noted.try_recv() {
                self.report.note(note);
            }
            let answer = match self.waiting.answers.try_recv() {
                Ok(answer) => answer,
                Err(_) if all && self.waiting.outstanding > 0 => match self.waiting.next(&agent.archive).await? {
                    Some(answer) => answer,
                    None => return Ok(()),
                },
                Err(_) => break,
            };
            self.waiting.outstanding -= 1;
            self.report.count(answer.disposition);
            if answer.disposition == Disposition::Quarantined {
                let settled = agent.guard.settled(answer.receipt.seen());
                settled.map_err(|error| CycleError::told("note a quarantined mail as settled", &error))?;
            }
        }
        if let Ok(error) = self.waiting.failures.try_recv() {
            // It gets no other answer.
            self.waiting.outstanding -= 1;
            return Err(error.into());
        }
        agent.archive.ended().map_or(Ok(()), |error| Err(error.into()))
    }
}
