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

use super::alarms::{Kind, Notice};
use super::budget::Budget;
use super::decoders::Work;
use super::delete::delete;
use super::disk::Room;
use super::findings::Findings;
use super::pace::{Held, Pace};
use super::report::{ProfileReport, ReportedError};
use super::rules::Rules;
use super::waiting::Waiting;
use super::window::{Other, Window, listed_of, seen_of};
use super::{Agent, CycleError, Profile};
use crate::archive::{
    ArchiveError, Committed, Core, Decoding, DeletePolicy, DeletedHow, Disposition, Epoch, EpochName, ErrorKind,
    Gateway, Row, Seen,
};
use crate::people::People;
use crate::sources::{Body, EpochKey, FULL_PERCENT, Fetched, Listed, Opened, Scope, Source};

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
    let mut findings = Findings::default();
    let rules = Rules::new(people.clone(), profile.policies.clone(), profile.decode.clone());
    let rules = std::sync::Arc::new(rules);
    if profile.delete && !source.abilities().can_delete {
        let why = source.abilities().cannot_delete_because.clone().unwrap_or_default();
        report.alarms.push(Notice::new(Kind::CannotDelete, format!("nothing is deleted on this gateway: {why}")));
    }
    source.keep_notes(&agent.root, &agent.fs);
    let mut budget = None;
    let mut pace = Pace::new(&profile.pacing);
    let mut held = None;
    for folder in &profile.folders {
        let waiting = HashSet::new();
        let (report, findings) = (&mut report, &mut findings);
        let (budget, pace) = (&mut budget, &mut pace);
        let mut cycle = Cycle {
            agent,
            profile,
            rules: &rules,
            source,
            report,
            waiting,
            findings,
            removed: 0,
            budget,
            pace,
            held: None,
        };
        let done = cycle.folder(folder).await;
        let settled = cycle.settle_budget();
        held = held.or(cycle.held);
        match done.and(settled) {
            Ok(()) => {}
            // A folder that is missing or cannot be read does not keep the mail of the others back.
            Err(CycleError::Source(error)) if error.scope == Scope::Mailbox => {
                failure.get_or_insert(CycleError::Source(error));
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    report.held_back = held;
    if let (Some(Held::Budget), Some(budget)) = (held, &budget) {
        report.tell(Kind::Budget, format!(
            "the daily budget of {} is used up (`daily_budget`): what is pending stays on the gateway and is archived from \
             midnight UTC on",
            bytesize::ByteSize(budget.limit()).display().si()
        ));
    }
    if report.vanished > 0 {
        let what = format!(
            "{} vanished before they were archived. gatepost did not delete them; another client did",
            plural(report.vanished)
        );
        report.tell(Kind::Vanished, what);
    }
    if failure.is_none()
        && let Some(usage) = agent.usage_of(&profile.name, source).await
        && usage.percent >= FULL_PERCENT
    {
        let what = format!(
            "the gateway's mailbox is nearly full: {} used ({} %). A full mailbox takes no journal mail",
            usage.said, usage.percent
        );
        report.tell(Kind::Quota, what);
    }
    let history = history(agent, profile, &findings, &report).await;
    report.alarms.extend(findings.alarms(profile, &report, &history));
    report.excluded_by = std::mem::take(&mut findings.excluded_by);
    if profile.delete && source.abilities().can_delete {
        report.alarms.extend(findings.quarantined(profile, &report, agent.clock.now()));
    }
    if let Some(CycleError::Stopped) = failure {
        (report.held_back, failure) = (Some(Held::Stopped), None);
    }
    if held == Some(Held::Disk) {
        report.finish();
        report
            .alarms
            .push(Notice::new(Kind::Disk, agent.room().unwrap_or(Room { free: 0, reserve: 0 }).told(report.pending)));
    }
    if let Some(error) = &failure {
        report.error = Some(ReportedError { what: error.to_string(), hint: error.hint().map(str::to_owned) });
    }
    report.finish();
    (report, failure)
}

/// How the items before this run's were decoded, as far as they are wanted and to be had: an alarm that cannot be judged
/// is no reason for a cycle to fail.
async fn history(agent: &Agent, profile: &Profile, findings: &Findings, report: &ProfileReport) -> Vec<Decoding> {
    let limit = findings.wants_history(profile);
    let Some((host, login)) = findings.gateway.clone().filter(|_| limit > 0) else { return Vec::new() };
    let new = report.archived;
    let job = move |core: &mut Core| core.newest_decodings(Gateway { host: &host, login: &login }, new, limit);
    agent.archive.call(job).await.unwrap_or_default()
}

mod unfinished;
mod within;

use within::HeldBack;

struct Cycle<'a, S: Source> {
    agent: &'a Agent,
    profile: &'a Profile,
    rules: &'a std::sync::Arc<Rules>,
    source: &'a mut S,
    report: &'a mut ProfileReport,
    /// What failed before and is not due again, counted once however often it is listed.
    waiting: HashSet<(u64, String)>,
    findings: &'a mut Findings,
    /// Removed from the folder since it was opened.
    removed: u64,
    budget: &'a mut Option<Budget>,
    pace: &'a mut Pace,
    /// Why not everything was downloaded.
    held: Option<Held>,
}

/// How a pass over a folder ended.
enum Pass {
    Done,
    /// The folder is not the one that was recorded; begin anew in a new epoch.
    OtherFolder(String),
    /// The listing from the mark on does not explain how many items there are: list everything.
    ListAll,
}

impl<S: Source> Cycle<'_, S> {
    async fn folder(&mut self, folder: &str) -> Result<(), CycleError> {
        let opened = self.source.open(folder).await?;
        self.open_budget(&opened)?;
        let name = epoch_name(&opened.epoch);
        self.findings.gateway = Some((name.host.clone(), name.login.clone()));
        let mut epoch = {
            let name = name.clone();
            self.agent.archive.call(move |core| core.epoch(&name)).await?
        };
        if let Some(why) = &epoch.alarm {
            let what = format!("{folder}: {why}; its items are looked at anew, those that are archived are recognised");
            self.report.tell(Kind::NewEpoch, what);
        }
        let fell = epoch.state.is_some_and(|(next, _)| opened.state.next < next) || epoch.highest >= opened.state.next;
        if fell && opened.numbered {
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
        self.report.tell(Kind::Listing, format!("{folder}: it keeps changing; what is left waits for the next run"));
        Ok(())
    }

    async fn begin_anew(&mut self, folder: &str, name: &EpochName, why: String) -> Result<Epoch, CycleError> {
        self.report.tell(
            Kind::NewEpoch,
            format!(
                "{folder}: {why}: this is not the folder that was recorded (a restored server?); \
             its items are looked at anew, those that are archived are recognised"
            ),
        );
        let name = name.clone();
        Ok(self.agent.archive.call(move |core| core.next_epoch(&name, why)).await?)
    }

    /// One pass over an opened folder. When it ends early, what is on its way into the archive still gets
    /// there and is counted; it is deleted by a later run.
    async fn pass(&mut self, opened: &Opened, epoch: &Epoch, list_all: bool) -> Result<Pass, CycleError> {
        let mut waiting = Waiting::new();
        let result = self.pass_with(opened, epoch, list_all, &mut waiting).await;
        if result.is_err() {
            while waiting.outstanding > 0 {
                match waiting.next(&self.agent.archive).await {
                    Ok(Some(answer)) => self.answered(answer, &mut waiting, DeletePolicy::NEVER)?,
                    Ok(None) => break,
                    // The first error is the one to tell; only the archive's end ends the waiting.
                    Err(_) if self.agent.archive.ended().is_some() => break,
                    Err(_) => {}
                }
            }
        }
        result
    }

    async fn pass_with(
        &mut self,
        opened: &Opened,
        epoch: &Epoch,
        list_all: bool,
        waiting: &mut Waiting,
    ) -> Result<Pass, CycleError> {
        let id = epoch.id;
        let now = self.agent.clock.now();
        self.held = self.held.or(self.pace.held(self.agent));
        // What is deleted is recorded, and a disk that is nearly full is left alone.
        let can_delete = self.profile.delete && self.source.abilities().can_delete && self.held != Some(Held::Disk);
        let policy = DeletePolicy {
            delete: can_delete,
            delete_excluded: self.profile.delete_excluded,
            archived_before: before(now, self.profile.delete_after),
            quarantined_before: self.profile.quarantine_wait().map(|wait| before(now, wait)),
            mark: (!self.profile.look_at_excluded).then(|| self.rules.mark()),
        };
        if can_delete {
            self.finish_deletions(id).await?;
        }
        let state = (opened.state.next, opened.state.exists);
        let unchanged = opened.numbered && epoch.state == Some(state) && !list_all;
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
        let mut from =
            if list_all || !opened.numbered { 0 } else { due.map_or(epoch.listed_to, |due| due.min(epoch.listed_to)) };
        if from > 0 && !sample.is_empty() {
            match self.sample(&sample).await? {
                Sample::AsRecorded => {}
                Sample::SomeGone => from = 0,
                Sample::Other(why) => return Ok(Pass::OtherFolder(why)),
            }
        }

        let exists = opened.state.exists.saturating_sub(self.removed);
        let mut at = from;
        let mut counted = 0u64;
        let held_back = loop {
            let (mut listed, next) = self.source.list(at).await?;
            let mut window = self.classify(id, at, next, &listed, policy, now).await?;
            if let Some(native) = window.other.as_ref().map(|other| other.native_id.clone()) {
                // A mail that another client expunges just now may be listed with a size of 0: ask again.
                let at_issue: Vec<Listed> = listed.iter().filter(|one| one.native_id == native).cloned().collect();
                let confirmed = self.source.list_only(&at_issue).await?;
                if confirmed != at_issue {
                    listed.retain(|one| one.native_id != native);
                    listed.extend(confirmed);
                    listed.sort_by_key(|one| one.order);
                    let lost = window.lost;
                    window = self.classify(id, at, next, &listed, policy, now).await?;
                    window.lost += lost;
                }
            }
            if let Some(Other { why, .. }) = window.other {
                // What was fetched in this session is what it is; only the memory of earlier ones is wrong.
                self.collect(waiting, policy, true).await?;
                return Ok(Pass::OtherFolder(why));
            }
            counted += listed.len() as u64;
            let not_yet_due = window.waiting.into_iter().filter(|native| self.waiting.insert((id, native.clone())));
            self.report.listed +=
                (window.wanted.len() + window.again.len() + window.due_for_deletion.len() + not_yet_due.count()) as u64;
            self.report.listed += window.quarantined_due.len() as u64;
            self.report.quarantined += window.quarantined_due.len() as u64;
            self.findings.quarantined_due += window.quarantined_due.len() as u64;
            self.report.already_archived += window.due_for_deletion.len() as u64 - window.excluded_due;
            self.report.excluded += window.excluded_due;
            self.report.listed += window.lost;
            self.report.vanished += window.lost;
            // First what earlier sessions archived: where a server can only expunge all that is marked,
            // marks of theirs may still be set.
            self.delete_old(&window.due_for_deletion, false, waiting).await?;
            self.delete_old(&window.quarantined_due, true, waiting).await?;
            let held = self.fetch_within(id, &window.wanted, waiting).await?;
            // What failed before comes last, so that a mail which ends the connection holds up no other.
            let held_again = self.fetch_within(id, &window.again, waiting).await?;
            self.collect(waiting, policy, false).await?;
            // What failed before has its disposition: the mark may pass it.
            if let Some(held) = held.or(held_again.map(|_| HeldBack { order: u64::MAX })) {
                break Some((held, next));
            }
            match next {
                Some(next) => at = next,
                None => break None,
            }
        };
        self.collect(waiting, policy, true).await?;
        if waiting.mismatch {
            return Ok(Pass::OtherFolder("an item that was to be deleted has another size or date".into()));
        }
        if let Some((held, next)) = held_back {
            return self.hold_back(opened, id, held, (from, counted, next)).await.map(|()| Pass::Done);
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
            self.report.tell(
                Kind::Listing,
                format!(
                    "the gateway said that the folder holds {exists} items and listed {counted}: another client \
                 deleted some just now, or it left them out; they are looked for again"
                ),
            );
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
        let halt = self.pace.halt();
        let (out, mut fetched) = mpsc::channel::<Fetched>(64);
        let intake = agent.intake_of(&self.profile.name);
        let fetch = self.source.fetch(wanted, &intake, &out);
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
                    () = halt.halted() => return Err(CycleError::Stopped),
                    item = fetched.recv() => item,
                    result = &mut fetch => {
                        done = Some(result.map_err(CycleError::from));
                        continue;
                    }
                }
            };
            if let Some(item) = next {
                unanswered.remove(item.listed.native_id.as_str());
                let native = item.listed.native_id.clone();
                if take(agent, self.rules, self.report, waiting, &peer, epoch, item).await? {
                    self.waiting.insert((epoch, native));
                }
            } else if done.is_some() {
                break;
            }
            if let Some(error) = agent.archive.ended() {
                return Err(error.into());
            }
        }
        if let Err(error) = done.unwrap_or(Ok(())) {
            // The connection ended on the oldest item without an answer, or for another reason: this item
            // fails, which costs it nothing at first, and its place in the queue when it happens again.
            if let Some(first) = wanted.iter().find(|item| unanswered.contains(item.native_id.as_str())) {
                let seen = seen_of(epoch, first);
                let because = error.to_string();
                agent.archive.call(move |core| core.dispose(&seen, Disposition::Failed, &because)).await?;
                self.report.count(Disposition::Failed);
            }
            return Err(error);
        }
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
                Err(_) if all && waiting.outstanding > 0 => waiting.next(&self.agent.archive).await?,
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
        while let Ok(note) = waiting.noted.try_recv() {
            self.findings.count(note);
        }
        if all {
            self.use_receipts(waiting).await?;
        }
        Ok(())
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
                if policy.delete && self.profile.quarantine_wait().is_some_and(|wait| wait.is_zero()) {
                    waiting.receipts.push(answer.receipt);
                    self.findings.quarantined_due += 1;
                }
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
    async fn delete_old(&mut self, seen: &[Seen], quarantined: bool, waiting: &mut Waiting) -> Result<(), CycleError> {
        for batch in seen.chunks(DELETE_BATCH) {
            let batch = batch.to_vec();
            let job = move |core: &mut crate::archive::Core| match quarantined {
                true => core.receipts_of_quarantined(&batch),
                false => core.receipts(&batch),
            };
            let receipts = self.agent.archive.call(job).await?;
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

/// One answer of the gateway: bytes go to the decoders, anything else is recorded (and `true`).
async fn take(
    agent: &Agent,
    rules: &std::sync::Arc<Rules>,
    report: &mut ProfileReport,
    waiting: &mut Waiting,
    peer: &str,
    epoch: u64,
    item: Fetched,
) -> Result<bool, CycleError> {
    use crate::base::bytes::ByteSource as _;
    let seen = seen_of(epoch, &item.listed);
    let (disposition, because) = match item.body {
        Body::Item(bytes) => {
            report.bytes += bytes.len();
            waiting.outstanding += 1;
            agent.decoders.submit(Work {
                seen,
                bytes,
                sha256: None,
                placed: None,
                peer: peer.to_owned(),
                fetched: agent.clock.now(),
                rules: rules.clone(),
                reply: waiting.reply.clone(),
                failed: waiting.failed.clone(),
                notes: waiting.notes.clone(),
            })?;
            return Ok(false);
        }
        Body::Gone => (Disposition::Vanished, "gone between listing and download".to_owned()),
        Body::Unfetchable(why) => (Disposition::Unfetchable, why),
    };
    report.count(disposition);
    agent.archive.call(move |core| core.dispose(&seen, disposition, &because)).await?;
    Ok(true)
}

fn plural(items: u64) -> String {
    if items == 1 { "1 item".to_owned() } else { format!("{items} items") }
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
