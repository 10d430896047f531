//! One cycle of one profile: what is new is archived, what stands in the archive may be deleted.
//!
//! Must:
//! - a listed item gets exactly one disposition, or stays pending; the counts add up to what was listed;
//! - everything that is believed of earlier sessions is matched by size and date; where it does not match,
//!   a new epoch begins, with an alarm, and everything is looked at anew: found again by its SHA-256;
//! - the mark below which nothing is listed again is moved only over items that have a disposition.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::decoders::Work;
use super::delete::delete;
use super::report::{ProfileReport, ReportedError};
use super::{Agent, CycleError, Profile};
use crate::archive::{
    ArchiveError, Committed, DeletePolicy, DeletedHow, Disposition, Epoch, EpochName, ErrorKind, Receipt, Row, Seen,
};
use crate::people::People;
use crate::sources::{Body, EpochKey, Fetched, Listed, Opened, Source};

/// So many receipts are collected before they are used.
const DELETE_BATCH: usize = 1000;
/// So many known items are looked at again when a folder changed.
const SAMPLE: u32 = 20;
/// New identity spaces in one cycle; a folder that keeps changing under our hands is left for the next one.
const EPOCHS_MAX: u32 = 3;

/// Runs a cycle on a source that is connected and logged in. Always gives a report; an error in it means
/// that the cycle ended early.
pub async fn run<S: Source>(
    agent: &Agent,
    profile: &Profile,
    people: &std::sync::Arc<People>,
    source: &mut S,
) -> (ProfileReport, Option<CycleError>) {
    let mut report = ProfileReport { name: profile.name.clone(), ..ProfileReport::default() };
    let mut failure = None;
    if profile.delete && !source.abilities().can_delete {
        let why = source.abilities().cannot_delete_because.clone().unwrap_or_default();
        report.alarms.push(format!("nothing is deleted on this gateway: {why}"));
    }
    for folder in &profile.folders {
        let mut cycle =
            Cycle { agent, profile, people, source, report: &mut report, waiting: HashSet::new(), removed: 0 };
        if let Err(error) = cycle.folder(folder).await {
            failure = Some(error);
            break;
        }
    }
    if let Some(error) = &failure {
        report.error = Some(ReportedError { what: error.to_string(), hint: error.hint().map(str::to_owned) });
    }
    report.finish();
    (report, failure)
}

struct Cycle<'a, S: Source> {
    agent: &'a Agent,
    profile: &'a Profile,
    people: &'a std::sync::Arc<People>,
    source: &'a mut S,
    report: &'a mut ProfileReport,
    /// What failed before and is not due again, counted once however often it is listed.
    waiting: HashSet<(u64, String)>,
    /// Removed from the folder since it was opened.
    removed: u64,
}

/// How a pass over a folder ended.
enum Pass {
    Done,
    /// The folder is not the one that was recorded; begin anew in a new epoch.
    OtherFolder(String),
    /// The listing from the mark on does not explain how many items there are: list everything.
    ListAll,
}

/// The items of one pass that wait for the archive's answer.
struct Waiting {
    answers: mpsc::UnboundedReceiver<Committed>,
    failures: mpsc::UnboundedReceiver<ArchiveError>,
    capped: mpsc::UnboundedReceiver<()>,
    reply: mpsc::UnboundedSender<Committed>,
    failed: mpsc::UnboundedSender<ArchiveError>,
    cap: mpsc::UnboundedSender<()>,
    outstanding: u64,
    receipts: Vec<Receipt>,
    mismatch: bool,
}

impl Waiting {
    fn new() -> Waiting {
        let (reply, answers) = mpsc::unbounded_channel();
        let (failed, failures) = mpsc::unbounded_channel();
        let (cap, capped) = mpsc::unbounded_channel();
        Waiting { answers, failures, capped, reply, failed, cap, outstanding: 0, receipts: Vec::new(), mismatch: false }
    }
}

impl<S: Source> Cycle<'_, S> {
    async fn folder(&mut self, folder: &str) -> Result<(), CycleError> {
        let opened = self.source.open(folder).await?;
        let name = epoch_name(&opened.epoch);
        let mut epoch = {
            let name = name.clone();
            self.agent.archive.call(move |core| core.epoch(&name)).await?
        };
        if let Some(why) = &epoch.alarm {
            self.report
                .alarms
                .push(format!("{folder}: {why}; its items are looked at anew, those that are archived are recognised"));
        }
        let fell = epoch.state.is_some_and(|(next, _)| opened.state.next < next) || epoch.highest >= opened.state.next;
        if fell {
            let why = format!("UIDNEXT fell to {}", opened.state.next);
            epoch = self.begin_anew(folder, &name, why).await?;
        }
        let mut list_all = false;
        for _ in 0..EPOCHS_MAX {
            match self.pass(&opened, &epoch, list_all).await? {
                Pass::Done => return Ok(()),
                Pass::ListAll => list_all = true,
                Pass::OtherFolder(why) => {
                    epoch = self.begin_anew(folder, &name, why).await?;
                    list_all = true;
                }
            }
        }
        self.report.alarms.push(format!("{folder}: it keeps changing; what is left waits for the next run"));
        Ok(())
    }

    async fn begin_anew(&mut self, folder: &str, name: &EpochName, why: String) -> Result<Epoch, CycleError> {
        self.report.alarms.push(format!(
            "{folder}: {why}: this is not the folder that was recorded (a restored server?); \
             its items are looked at anew, those that are archived are recognised"
        ));
        let name = name.clone();
        Ok(self.agent.archive.call(move |core| core.next_epoch(&name, why)).await?)
    }

    /// One pass over an opened folder.
    async fn pass(&mut self, opened: &Opened, epoch: &Epoch, list_all: bool) -> Result<Pass, CycleError> {
        let id = epoch.id;
        let now = self.agent.clock.now();
        let can_delete = self.profile.delete && self.source.abilities().can_delete;
        let policy = DeletePolicy {
            delete: can_delete,
            delete_excluded: self.profile.delete_excluded,
            archived_before: before(now, self.profile.delete_after),
        };
        let state = (opened.state.next, opened.state.exists);
        let unchanged = epoch.state == Some(state) && !list_all;
        let (due, sample) = self
            .agent
            .archive
            .call(move |core| {
                let due = core.catalogue.lowest_due(id, policy, now)?;
                if unchanged && due.is_none() {
                    return Ok((None, Vec::new()));
                }
                Ok((due, core.catalogue.newest_present(id, SAMPLE)?))
            })
            .await?;
        if unchanged && due.is_none() {
            return Ok(Pass::Done);
        }
        let mut from = if list_all { 0 } else { due.map_or(epoch.listed_to, |due| due.min(epoch.listed_to)) };
        if from > 0 && !sample.is_empty() {
            match self.sample(&sample).await? {
                Sample::AsRecorded => {}
                Sample::SomeGone => from = 0,
                Sample::Other(why) => return Ok(Pass::OtherFolder(why)),
            }
        }

        let exists = opened.state.exists.saturating_sub(self.removed);
        let mut waiting = Waiting::new();
        let mut at = from;
        let mut counted = 0u64;
        let mut old_receipts: Vec<Seen> = Vec::new();
        loop {
            let (listed, next) = self.source.list(at).await?;
            let window = self.classify(id, at, next, &listed, policy, now).await?;
            if let Some(why) = window.other {
                // What was fetched in this session is what it is; only the memory of earlier ones is wrong.
                self.collect(&mut waiting, policy, true).await?;
                return Ok(Pass::OtherFolder(why));
            }
            counted += listed.len() as u64;
            let not_yet_due = window.waiting.into_iter().filter(|native| self.waiting.insert((id, native.clone())));
            self.report.listed += (window.wanted.len() + window.due_for_deletion.len() + not_yet_due.count()) as u64;
            self.report.already_archived += window.due_for_deletion.len() as u64;
            if window.lost > 0 {
                self.report.listed += window.lost;
                self.report.vanished += window.lost;
                self.report.alarms.push(format!(
                    "{} items vanished before they were archived; gatepost did not delete them, another client did",
                    window.lost
                ));
            }
            old_receipts.extend(window.due_for_deletion);
            self.fetch(id, &window.wanted, &mut waiting).await?;
            self.collect(&mut waiting, policy, false).await?;
            match next {
                Some(next) => at = next,
                None => break,
            }
        }
        self.collect(&mut waiting, policy, true).await?;
        self.delete_old(&old_receipts, &mut waiting).await?;
        if waiting.mismatch {
            return Ok(Pass::OtherFolder("an item that was to be deleted has another size or date".into()));
        }
        // Does what was listed, with what is known below the mark, explain how many items there are?
        if from > 0 {
            let below = self.agent.archive.call(move |core| core.catalogue.present_below(id, from)).await?;
            if below + counted != exists {
                return Ok(Pass::ListAll);
            }
        }
        // What was not listed has no disposition, so the mark stays below it.
        let unlisted = if from > 0 { 0 } else { exists.saturating_sub(counted) };
        if unlisted > 0 {
            self.report.listed += unlisted;
            self.report.alarms.push(format!(
                "the gateway said that the folder holds {exists} items and listed {counted}: another client \
                 deleted some just now, or it left them out; they are looked for again"
            ));
        }
        self.finish_pass(opened, id, unlisted == 0).await?;
        Ok(Pass::Done)
    }

    /// Every listed item has a disposition now. When these are all that there are: move the mark, and
    /// remember the counters.
    async fn finish_pass(&mut self, opened: &Opened, epoch: u64, complete: bool) -> Result<(), CycleError> {
        let next = opened.state.next;
        let exists = opened.state.exists.saturating_sub(self.removed);
        self.agent
            .archive
            .call(move |core| {
                match complete {
                    true => core.listed(epoch, next, Some((next, exists)))?,
                    false => core.listed(epoch, 0, None)?,
                }
                core.close()
            })
            .await?;
        Ok(())
    }

    /// Looks at a few known items again: a folder restored under the same UIDVALIDITY shows others there.
    async fn sample(&mut self, rows: &[Row]) -> Result<Sample, CycleError> {
        let wanted: Vec<Listed> = rows.iter().map(|row| listed_of(&row.seen)).collect();
        let found: HashMap<String, Listed> = self
            .source
            .list_only(&wanted)
            .await?
            .into_iter()
            .map(|listed| (listed.native_id.clone(), listed))
            .collect();
        for item in &wanted {
            if let Some(there) = found.get(&item.native_id)
                && (there.size != item.size || there.date != item.date)
            {
                return Ok(Sample::Other(format!("item {} has another size or date", item.native_id)));
            }
        }
        Ok(if found.len() < wanted.len() { Sample::SomeGone } else { Sample::AsRecorded })
    }

    /// Sorts one window of the listing by what is known.
    async fn classify(
        &mut self,
        epoch: u64,
        from: u64,
        next: Option<u64>,
        listed: &[Listed],
        policy: DeletePolicy,
        now: Timestamp,
    ) -> Result<Window, CycleError> {
        let seen: Vec<Seen> = listed.iter().map(|listed| seen_of(epoch, listed)).collect();
        let window = self
            .agent
            .archive
            .call(move |core| {
                let mut window = Window::default();
                let there: HashSet<&str> = seen.iter().map(|seen| seen.native_id.as_str()).collect();
                let mut stored_and_absent = Vec::new();
                for row in core.catalogue.present_between(epoch, from, next)? {
                    if there.contains(row.seen.native_id.as_str()) {
                        continue;
                    }
                    if row.disposition.is_stored() || row.disposition == Disposition::Excluded {
                        stored_and_absent.push(row.seen.native_id);
                    } else {
                        core.dispose(&row.seen, Disposition::Vanished, "absent from a complete listing")?;
                        window.lost += 1;
                    }
                }
                core.deleted(epoch, stored_and_absent, DeletedHow::Inferred)?;
                for seen in seen {
                    let row = core.catalogue.sighting(epoch, &seen.native_id)?;
                    window.sort(seen, row, policy, now);
                }
                Ok(window)
            })
            .await?;
        Ok(window)
    }

    /// Downloads the wanted items and hands them to the decoders as they come.
    async fn fetch(&mut self, epoch: u64, wanted: &[Listed], waiting: &mut Waiting) -> Result<(), CycleError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let agent = self.agent;
        let peer = self.source.peer();
        let (out, mut fetched) = mpsc::channel::<Fetched>(64);
        let fetch = self.source.fetch(wanted, &agent.intake, &out);
        tokio::pin!(fetch);
        let mut done: Option<Result<(), CycleError>> = None;
        let mut unanswered: HashSet<&str> = wanted.iter().map(|listed| listed.native_id.as_str()).collect();
        loop {
            let next = if done.is_some() {
                // The fetch has ended; what it sent before lies in the channel still.
                fetched.try_recv().ok()
            } else {
                tokio::select! {
                    biased;
                    item = fetched.recv() => item,
                    result = &mut fetch => {
                        done = Some(result.map_err(CycleError::from));
                        continue;
                    }
                }
            };
            if let Some(item) = next {
                unanswered.remove(item.listed.native_id.as_str());
                take(agent, self.people, self.report, waiting, &peer, epoch, item).await?;
            } else if done.is_some() {
                break;
            }
            if let Some(error) = agent.archive.ended() {
                return Err(error.into());
            }
        }
        done.unwrap_or(Ok(()))?;
        if let Some(item) = unanswered.iter().next() {
            // The contract of a source; without it the mark could pass an item that has no disposition.
            return Err(ArchiveError::new(
                ErrorKind::Failed,
                format!("the source gave no answer for {} items (one is {item})", unanswered.len()),
            )
            .hint("this is a defect of gatepost; the items stay on the gateway")
            .into());
        }
        Ok(())
    }

    /// Takes the archive's answers, and deletes what they allow; with `all`, waits for every answer.
    async fn collect(&mut self, waiting: &mut Waiting, policy: DeletePolicy, all: bool) -> Result<(), CycleError> {
        loop {
            let answer = match waiting.answers.try_recv() {
                Ok(answer) => Some(answer),
                Err(_) if all && waiting.outstanding > 0 => self.next_answer(waiting).await?,
                Err(_) => None,
            };
            match answer {
                Some(answer) => self.answered(answer, waiting, policy)?,
                None => break,
            }
            if waiting.receipts.len() >= DELETE_BATCH {
                self.use_receipts(waiting).await?;
            }
        }
        while waiting.capped.try_recv().is_ok() {
            self.report
                .alarms
                .push("an item named more unknown people than `create_max_per_item`; the rest is unassigned".into());
        }
        if all {
            self.use_receipts(waiting).await?;
        }
        Ok(())
    }

    async fn next_answer(&mut self, waiting: &mut Waiting) -> Result<Option<Committed>, CycleError> {
        let ended = || {
            self.agent.archive.ended().unwrap_or_else(|| ArchiveError::new(ErrorKind::Failed, "the archive has ended"))
        };
        let mut check = tokio::time::interval(std::time::Duration::from_millis(200));
        loop {
            tokio::select! {
                answer = waiting.answers.recv() => return Ok(answer),
                Some(error) = waiting.failures.recv() => return Err(error.into()),
                _ = check.tick() => {
                    // A writer that ended answers nobody any more.
                    if self.agent.archive.ended().is_some() {
                        return Err(ended().into());
                    }
                }
            }
        }
    }

    fn answered(&mut self, answer: Committed, waiting: &mut Waiting, policy: DeletePolicy) -> Result<(), CycleError> {
        waiting.outstanding -= 1;
        self.report.count(answer.disposition);
        let due = self.profile.delete_after.is_zero();
        match answer.disposition {
            Disposition::Archived | Disposition::AlreadyArchived if policy.delete && due => {
                waiting.receipts.push(answer.receipt);
            }
            Disposition::Excluded if policy.delete && policy.delete_excluded && due => {
                waiting.receipts.push(answer.receipt);
            }
            Disposition::Quarantined => {
                let settled = self.agent.guard.settled(answer.receipt.seen());
                settled.map_err(|error| CycleError::told("note a quarantined item as settled", &error))?;
            }
            Disposition::Archived
            | Disposition::AlreadyArchived
            | Disposition::Excluded
            | Disposition::Unfetchable
            | Disposition::Vanished
            | Disposition::Failed => {}
        }
        Ok(())
    }

    async fn use_receipts(&mut self, waiting: &mut Waiting) -> Result<(), CycleError> {
        let receipts = std::mem::take(&mut waiting.receipts);
        for batch in receipts.chunks(DELETE_BATCH) {
            let deleted = delete(self.source, &self.agent.archive, &self.agent.fs, batch, self.report).await?;
            self.removed += deleted.removed;
            waiting.mismatch |= deleted.mismatch;
        }
        Ok(())
    }

    /// Deletes what earlier sessions archived: each item is read back from the archive and compared first.
    async fn delete_old(&mut self, seen: &[Seen], waiting: &mut Waiting) -> Result<(), CycleError> {
        for batch in seen.chunks(DELETE_BATCH) {
            let batch = batch.to_vec();
            let receipts = self.agent.archive.call(move |core| core.receipts(&batch)).await?;
            waiting.receipts.extend(receipts.into_iter().flatten());
            self.use_receipts(waiting).await?;
        }
        Ok(())
    }
}

enum Sample {
    AsRecorded,
    SomeGone,
    Other(String),
}

/// What is to be done about one window of a listing.
#[derive(Default)]
struct Window {
    wanted: Vec<Listed>,
    due_for_deletion: Vec<Seen>,
    /// Failed before, and not yet due again.
    waiting: Vec<String>,
    /// Gone without ever having been archived.
    lost: u64,
    /// The folder is not the one that was recorded, and why.
    other: Option<String>,
}

impl Window {
    fn sort(&mut self, seen: Seen, row: Option<Row>, policy: DeletePolicy, now: Timestamp) {
        let Some(row) = row else {
            self.wanted.push(listed_of(&seen));
            return;
        };
        if !row.matches(&seen) {
            self.other = Some(format!("item {} has another size or date", seen.native_id));
            return;
        }
        match (row.gone.as_deref(), row.disposition) {
            // It was away and is there again, the very same: a listing that missed it, or mail put back.
            (Some("vanished"), _) => self.wanted.push(listed_of(&seen)),
            (Some(_), _) => self.other = Some(format!("item {} was deleted and is there again", seen.native_id)),
            (None, Disposition::Failed | Disposition::Unfetchable | Disposition::Vanished) => {
                if row.due() <= now {
                    self.wanted.push(listed_of(&seen));
                } else {
                    self.waiting.push(seen.native_id);
                }
            }
            (None, Disposition::Archived | Disposition::AlreadyArchived) => {
                if policy.delete && row.at <= policy.archived_before {
                    self.due_for_deletion.push(seen);
                }
            }
            (None, Disposition::Excluded) => {
                if policy.delete && policy.delete_excluded && row.at <= policy.archived_before {
                    self.due_for_deletion.push(seen);
                }
            }
            (None, Disposition::Quarantined) => {}
        }
    }
}

/// One answer of the gateway: bytes go to the decoders, anything else is recorded.
async fn take(
    agent: &Agent,
    people: &std::sync::Arc<People>,
    report: &mut ProfileReport,
    waiting: &mut Waiting,
    peer: &str,
    epoch: u64,
    item: Fetched,
) -> Result<(), CycleError> {
    use crate::base::bytes::ByteSource as _;
    let seen = seen_of(epoch, &item.listed);
    let (disposition, because) = match item.body {
        Body::Item(bytes) => {
            report.bytes += bytes.len();
            waiting.outstanding += 1;
            agent.decoders.submit(Work {
                seen,
                bytes,
                peer: peer.to_owned(),
                fetched: agent.clock.now(),
                people: people.clone(),
                reply: waiting.reply.clone(),
                failed: waiting.failed.clone(),
                capped: waiting.cap.clone(),
            })?;
            return Ok(());
        }
        Body::Gone => {
            report.alarms.push("an item vanished between listing and download; another client deleted it".into());
            (Disposition::Vanished, "gone between listing and download".to_owned())
        }
        Body::Unfetchable(why) => (Disposition::Unfetchable, why),
    };
    report.count(disposition);
    agent.archive.call(move |core| core.dispose(&seen, disposition, &because)).await?;
    Ok(())
}

fn before(now: Timestamp, wait: std::time::Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    now.checked_sub(wait).unwrap_or(Timestamp::MIN)
}

pub fn epoch_name(key: &EpochKey) -> EpochName {
    EpochName {
        kind: key.kind.clone(),
        host: key.host.clone(),
        login: key.login.clone(),
        folder: key.folder.clone(),
        validity: key.validity.clone(),
    }
}

fn seen_of(epoch: u64, listed: &Listed) -> Seen {
    Seen {
        epoch,
        native_id: listed.native_id.clone(),
        order: listed.order,
        size: listed.size,
        date: listed.date.clone(),
    }
}

fn listed_of(seen: &Seen) -> Listed {
    Listed { native_id: seen.native_id.clone(), order: seen.order, size: seen.size, date: seen.date.clone() }
}
