//! What a gateway holds against what is recorded of it, and the rehearsal of a cycle.
//!
//! Both read only: nothing is written to the archive, nothing is deleted. They work without the archive's
//! lock, while the agent runs.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::sync::mpsc;

use super::alarms::Kind;
use super::report::ProfileReport;
use super::rules::{self, Rules};
use super::{CycleError, Profile, cycle, window};
use crate::archive::{Catalogue, Disposition, Row, Seen};
use crate::people::People;
use crate::sources::{Body, Intake, Listed, Source};

#[derive(Clone, Debug, Default, Serialize)]
pub struct Reconciled {
    pub name: String,
    /// Items on the gateway.
    pub on_gateway: u64,
    /// Of these: stand in the archive.
    pub archived: u64,
    pub quarantined: u64,
    pub unfetchable: u64,
    pub excluded: u64,
    /// Recorded as deleted or gone, and absent.
    pub gone: u64,
    pub differences: Vec<Difference>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub folder: String,
    pub native_id: String,
    pub what: String,
}

/// Lists every polled folder completely and compares.
pub async fn reconcile<S: Source>(
    source: &mut S,
    profile: &Profile,
    catalogue: &Catalogue,
    now: Timestamp,
) -> Result<Reconciled, CycleError> {
    let mut result = Reconciled { name: profile.name.clone(), ..Reconciled::default() };
    for folder in &profile.folders {
        let opened = source.open(folder).await?;
        let name = cycle::epoch_name(&opened.epoch);
        let epoch = catalogue.find_epoch(&name)?.map(|epoch| epoch.id);
        let mut recorded: HashMap<String, Row> = match epoch {
            Some(epoch) => catalogue.all(epoch)?.into_iter().map(|row| (row.seen.native_id.clone(), row)).collect(),
            None => HashMap::new(),
        };
        for listed in list_all(source).await? {
            result.on_gateway += 1;
            let row = recorded.remove(&listed.native_id);
            if let Some(what) = judge(&listed, row.as_ref(), profile, now, &mut result) {
                result.differences.push(Difference { folder: folder.clone(), native_id: listed.native_id, what });
            }
        }
        for (native_id, row) in recorded {
            if row.gone.is_some() {
                result.gone += 1;
            } else {
                let what = format!("recorded as {} and on the gateway, but it is not there", row.disposition.as_str());
                result.differences.push(Difference { folder: folder.clone(), native_id, what });
            }
        }
    }
    result.differences.sort_by(|a, b| (&a.folder, order(&a.native_id)).cmp(&(&b.folder, order(&b.native_id))));
    Ok(result)
}

/// UIDs sort as numbers, other ids as text.
fn order(native: &str) -> (u64, &str) {
    (native.parse().unwrap_or(u64::MAX), native)
}

fn judge(
    listed: &Listed,
    row: Option<&Row>,
    profile: &Profile,
    now: Timestamp,
    result: &mut Reconciled,
) -> Option<String> {
    let Some(row) = row else { return Some("not archived yet".into()) };
    if !row.matches(&window::seen_of(row.seen.epoch, listed)) {
        return Some("another size or date than recorded: this is not the folder that was archived".into());
    }
    if let Some(gone) = &row.gone {
        return Some(format!("recorded as {gone}, but it is there"));
    }
    match row.disposition {
        Disposition::Archived | Disposition::AlreadyArchived => {
            result.archived += 1;
            let wait = SignedDuration::try_from(profile.delete_after).unwrap_or(SignedDuration::MAX);
            let due = row.at.checked_add(wait).is_ok_and(|due| due <= now);
            (profile.delete && due).then(|| "archived and to be deleted, but still there".into())
        }
        Disposition::Quarantined => {
            result.quarantined += 1;
            let wait = profile.quarantine_wait().and_then(|wait| SignedDuration::try_from(wait).ok());
            let due = wait.and_then(|wait| row.at.checked_add(wait).ok()).is_some_and(|due| due <= now);
            (profile.delete && due).then(|| "quarantined and to be deleted, but still there".into())
        }
        Disposition::Unfetchable => {
            result.unfetchable += 1;
            None
        }
        Disposition::Excluded => {
            result.excluded += 1;
            None
        }
        Disposition::Failed => Some("failed and to be tried again".into()),
        Disposition::Vanished => Some("recorded as vanished, but it is there".into()),
    }
}

async fn list_all<S: Source>(source: &mut S) -> Result<Vec<Listed>, CycleError> {
    let mut all = Vec::new();
    let mut at = 0;
    loop {
        let (listed, next) = source.list(at).await?;
        all.extend(listed);
        match next {
            Some(next) => at = next,
            None => return Ok(all),
        }
    }
}

/// What a cycle would do with one item.
#[derive(Clone, Debug, Serialize)]
pub struct Rehearsed {
    pub folder: String,
    pub native_id: String,
    pub would_be: String,
    pub filings: Vec<crate::archive::Filing>,
}

/// A cycle without its effects: downloads what is new, decodes and routes it, and tells. The catalogue is
/// `None` when there is no archive yet.
pub async fn rehearse<S: Source>(
    source: &mut S,
    profile: &Profile,
    people: &Arc<People>,
    catalogue: Option<&Catalogue>,
    intake: &Intake,
    tell: &mut (dyn FnMut(Rehearsed) + Send),
) -> Result<ProfileReport, CycleError> {
    let mut report = ProfileReport { name: profile.name.clone(), ..ProfileReport::default() };
    let rules = Rules::new(people.clone(), profile.policies.clone(), profile.decode.clone());
    let mark = (!profile.look_at_excluded).then(|| rules.mark());
    // What a rehearsal takes is not counted, because nothing is written.
    let mut left = source.abilities().daily_budget.unwrap_or(u64::MAX);
    for folder in &profile.folders {
        let opened = source.open(folder).await?;
        let epoch = match catalogue {
            Some(catalogue) => catalogue.find_epoch(&cycle::epoch_name(&opened.epoch))?.map(|epoch| epoch.id),
            None => None,
        };
        let mut wanted = list_all(source).await?;
        if let (Some(catalogue), Some(epoch)) = (catalogue, epoch) {
            let mut new = Vec::new();
            for listed in wanted {
                let row = catalogue.sighting(epoch, &listed.native_id)?;
                let seen = Seen {
                    epoch,
                    native_id: listed.native_id.clone(),
                    order: listed.order,
                    size: listed.size,
                    date: listed.date.clone(),
                };
                let final_already = row.is_some_and(|row| {
                    row.matches(&seen)
                        && row.gone.is_none()
                        && match row.disposition {
                            Disposition::Excluded => row.excluded_under(mark),
                            disposition => disposition.is_stored(),
                        }
                });
                if !final_already {
                    new.push(listed);
                }
            }
            wanted = new;
        }
        report.listed += wanted.len() as u64;
        let fitting = wanted.iter().take_while(|listed| {
            let fits = listed.size <= left;
            left = left.saturating_sub(listed.size);
            fits
        });
        let fitting = fitting.count();
        if fitting < wanted.len() {
            report.tell(Kind::Budget, format!(
                "{folder}: {} items are left out: a rehearsal downloads no more than `daily_budget` allows in a day",
                wanted.len() - fitting
            ));
            wanted.truncate(fitting);
        }
        let (out, mut fetched) = mpsc::channel(16);
        let fetch = async {
            let result = source.fetch(&wanted, intake, &out).await;
            drop(out);
            result
        };
        let look = async {
            while let Some(item) = fetched.recv().await {
                let rehearsed = rehearse_one(folder, item, &rules, catalogue, &mut report);
                tell(rehearsed);
            }
        };
        let (result, ()) = tokio::join!(fetch, look);
        result?;
    }
    report.finish();
    Ok(report)
}

fn rehearse_one(
    folder: &str,
    item: crate::sources::Fetched,
    rules: &Rules,
    catalogue: Option<&Catalogue>,
    report: &mut ProfileReport,
) -> Rehearsed {
    use crate::base::bytes::ByteSource as _;
    let (disposition, detail, filings) = match item.body {
        Body::Gone => (Disposition::Vanished, String::new(), Vec::new()),
        Body::Unfetchable(why) => (Disposition::Unfetchable, why, Vec::new()),
        Body::Item(bytes) => {
            report.bytes += bytes.len();
            let digest = crate::archive::sha256(&bytes);
            let known = match (catalogue, digest) {
                (Some(catalogue), Ok(digest)) => catalogue.item_by_sha256(&digest).ok().flatten(),
                _ => None,
            };
            match (known, rules.decode_beside(&bytes, bytes.regenerated())) {
                (Some(item), _) => (Disposition::AlreadyArchived, format!("item {item}"), Vec::new()),
                (None, Err(why)) => (Disposition::Quarantined, why.to_string(), Vec::new()),
                (None, Ok(decoded)) => {
                    let at = rules::dated(&item.listed.date).unwrap_or_else(Timestamp::now);
                    let routing = rules.route(&decoded, at);
                    match routing.excluded {
                        Some(rule) => {
                            *report.excluded_by.entry(rule.clone()).or_default() += 1;
                            (Disposition::Excluded, rule, Vec::new())
                        }
                        None => (Disposition::Archived, String::new(), routing.filings),
                    }
                }
            }
        }
    };
    report.count(disposition);
    let would_be = if detail.is_empty() {
        disposition.as_str().to_owned()
    } else {
        format!("{} ({detail})", disposition.as_str())
    };
    Rehearsed { folder: folder.to_owned(), native_id: item.listed.native_id, would_be, filings }
}
