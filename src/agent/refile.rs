//! Archived items filed anew, after people, rules or the decoder changed.
//!
//! Each chosen item is read from the archive, decoded and routed as if it came in again at its time, and what
//! comes out is compared with how it is filed. [`plan`] is pure; what it says is then written, or only told.
//!
//! Must never:
//! - leave an item without a filing: what a policy would exclude today stays as it is;
//! - take a mail out of somebody's archive because they are not known any more: a filing is taken back when
//!   the address is somebody else's now, or when a later decoder or later rules say that it was not theirs.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::archived::Archived;
use super::guard::{Guard, of_item};
use super::rules::Rules;
use super::{Agent, decoders, place, route};
use crate::archive::{ArchiveError, Choice, ErrorKind, Filed, Filing, PersonRecord, Provenance, Reader, StoredMessage};
use crate::journal::{Decoded, flags};
use crate::mail::envelope::Envelope;
use crate::people::{PersonId, UNASSIGNED, Who};
use jiff::Timestamp;

/// So many items are chosen at a time, and changes written together.
const PAGE: u32 = 1000;
const WRITE_ITEMS: usize = 64;

/// What is to be recorded about one item.
#[derive(Debug, Default)]
pub struct Change {
    /// What it is, where that is different from what is recorded.
    pub message: Option<Box<StoredMessage>>,
    pub add: Vec<Filing>,
    /// With the reasons for taking them back.
    pub withdraw: Vec<(Filing, String)>,
    /// Filings that would not be made today, and stay.
    pub kept: Vec<Filing>,
    pub people: Vec<PersonRecord>,
    /// The rules by which it was filed are older ones.
    pub older_rules: bool,
}

impl Change {
    fn is_none(&self) -> bool {
        self.message.is_none() && self.add.is_empty() && self.withdraw.is_empty() && !self.older_rules
    }
}

/// What differs between how an item is filed and how it would be filed today. `at` is when it came in.
pub fn plan(stored: &StoredMessage, filed: &Filed, decoded: &Decoded, rules: &Rules, at: Timestamp) -> Change {
    let routing = rules.route(decoded, at);
    let message = StoredMessage { flags: routing.flags_of(decoded), ..super::stored_message(decoded) };
    let differs = as_json(stored) != as_json(&message);
    let mut change = Change { older_rules: filed.rules < route::RULES, ..Change::default() };
    let says_otherwise = essence(stored) != essence(&message);
    // The version alone is worth a record too: else the item would be looked at again and again.
    if differs {
        change.message = Some(Box::new(message));
    }
    if routing.excluded.is_some() {
        change.kept = filed.filings.clone();
        return change;
    }
    // In whose mailbox it lay no address can tell.
    if place::is_told(&filed.filings) {
        return change;
    }
    let same = |one: &Filing, other: &Filing| one.person == other.person && one.folder == other.folder;
    for old in &filed.filings {
        if routing.filings.iter().any(|new| same(old, new)) {
            continue;
        }
        if old.person == UNASSIGNED {
            change.withdraw.push((old.clone(), "filed for its owner".into()));
            continue;
        }
        match why_not_theirs(old, decoded, rules, at, change.older_rules || says_otherwise) {
            Some(because) => change.withdraw.push((old.clone(), because)),
            None => change.kept.push(old.clone()),
        }
    }
    for new in routing.filings {
        let known = filed.filings.iter().any(|old| same(old, &new));
        // Whose address it was keeps the copy that would go to nobody's archive now.
        let kept = new.person == UNASSIGNED && change.kept.iter().any(|kept| kept.folder == new.folder);
        if !known && !kept {
            change.add.push(new);
        }
    }
    change.people = routing.people;
    change.people.retain(|person| change.add.iter().any(|filing| filing.person == person.person));
    if change.add.is_empty() && change.withdraw.len() == filed.filings.len() {
        change.kept.extend(change.withdraw.drain(..).map(|(filing, _)| filing));
    }
    change
}

/// Why a copy is not its owner's any more; `None`: it stays.
fn why_not_theirs(old: &Filing, decoded: &Decoded, rules: &Rules, at: Timestamp, improved: bool) -> Option<String> {
    let address = route::claimed(&old.because, old.folder)?;
    if !route::claims_for(decoded, address, old.folder) {
        return improved.then(|| format!("{address} neither sent nor received it, as it is decoded now"));
    }
    match route::who(&rules.people, address, old.folder, at)? {
        Who::Owner(id) if id.as_str() != old.person => Some(format!("{address} belongs to {id}")),
        // What a policy leaves out today was archived on purpose then.
        Who::Owner(id) if is_left_out(&id, rules) => None,
        Who::Owner(_) | Who::Machine if improved => Some("the rules for filing say so now".into()),
        Who::Owner(_) | Who::Machine | Who::UnknownInternal | Who::External => None,
    }
}

fn is_left_out(id: &PersonId, rules: &Rules) -> bool {
    let policies = &rules.policies;
    rules.people.get(id).is_some_and(|person| {
        policies.exclude.holds(person) || (!policies.include.is_empty() && !policies.include.holds(person))
    })
}

/// What filing goes by. Whether a sender authenticated is left out: that flag hangs on who is ours today.
fn essence(message: &StoredMessage) -> (&Envelope, bool, &str, Vec<&String>) {
    let flags = message.flags.iter().filter(|flag| *flag != flags::UNAUTHENTICATED_SENDER).collect();
    (&message.envelope, message.degraded, &message.format, flags)
}

fn as_json(message: &StoredMessage) -> serde_json::Value {
    serde_json::to_value(message).unwrap_or_default()
}

/// What came of it, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Items that were chosen.
    pub looked_at: u64,
    /// Of these: filed otherwise now.
    pub refiled: u64,
    pub filings_added: u64,
    pub filings_withdrawn: u64,
    /// Items that a later decoder understands otherwise.
    pub decoded_anew: u64,
    /// Items with a filing that would not be made today, and stays.
    pub kept: u64,
    /// Items that could not be looked at.
    pub failed: u64,
    /// Of these: the archive's bytes are not what they were.
    pub damaged: u64,
}

/// One item for which something differs.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    pub item: u64,
    pub message_id: Option<String>,
    pub add: Vec<Filing>,
    pub withdraw: Vec<Filing>,
    pub decoded_anew: bool,
    /// Why it could not be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What items are judged by, and who is told.
pub struct Work<'a> {
    pub reader: &'a Reader,
    /// The rules of the profile that brought an item.
    pub rules: &'a dyn Fn(Option<&Provenance>) -> Arc<Rules>,
    /// Where large items are put while they are decoded.
    pub spool: &'a Path,
    pub tell: &'a mut dyn FnMut(Difference),
}

/// Looks at what was chosen. With an agent what differs is recorded; without one it is only told.
pub async fn refile(
    work: &mut Work<'_>,
    choices: &[Choice],
    agent: Option<&Agent>,
    who: &str,
) -> Result<Summary, ArchiveError> {
    let mut summary = Summary::default();
    let mut seen = std::collections::HashSet::new();
    for choice in choices {
        let mut after = 0;
        loop {
            let items = work.reader.chosen(choice, after, PAGE)?;
            let Some(last) = items.last() else { break };
            after = *last;
            let mut changes = Vec::new();
            for item in items {
                // Only single items may be named twice.
                if matches!(choice, Choice::Item(_)) && !seen.insert(item) {
                    continue;
                }
                if let Some(change) = look(work, item, agent.map(|agent| agent.guard.as_ref()), &mut summary)? {
                    changes.push((item, change));
                }
                if changes.len() >= WRITE_ITEMS {
                    write(agent, std::mem::take(&mut changes)).await?;
                }
            }
            write(agent, changes).await?;
        }
    }
    let changed = summary.refiled + summary.decoded_anew > 0;
    if let (Some(agent), true) = (agent, changed) {
        let what = serde_json::to_value(summary).unwrap_or_default();
        let who = who.to_owned();
        agent.archive.call(move |core| core.event("refile", &who, what).and_then(|()| core.close())).await?;
    }
    Ok(summary)
}

fn look(
    work: &mut Work<'_>,
    item: u64,
    guard: Option<&Guard>,
    summary: &mut Summary,
) -> Result<Option<Change>, ArchiveError> {
    summary.looked_at += 1;
    let mut failed = |summary: &mut Summary, why: String| {
        summary.failed += 1;
        (work.tell)(Difference {
            item,
            message_id: None,
            add: Vec::new(),
            withdraw: Vec::new(),
            decoded_anew: false,
            failed: Some(why),
        });
        Ok(None)
    };
    let archived = match Archived::read(work.reader, item, work.spool) {
        Ok(archived) => archived,
        // One that cannot be read does not keep the others back.
        Err(error) if matches!(error.kind, ErrorKind::Damaged | ErrorKind::Unusable) => {
            summary.damaged += u64::from(error.kind == ErrorKind::Damaged);
            return failed(summary, error.what);
        }
        Err(error) => return Err(error),
    };
    let rules = (work.rules)(archived.first.as_ref());
    let decoded = match decode(guard, item, &archived, &rules)? {
        Ok(decoded) => decoded,
        // It was decoded before, and that stands.
        Err(because) => return failed(summary, because),
    };
    let Some(stored) = &archived.record.message else {
        return failed(summary, "it was never decoded; see `gatepost quarantine list`".into());
    };
    let filed = work.reader.filed(item)?;
    let change = plan(stored, &filed, &decoded, &rules, archived.came_in());
    summary.kept += u64::from(!change.kept.is_empty());
    if change.is_none() {
        return Ok(None);
    }
    let refiled = !change.add.is_empty() || !change.withdraw.is_empty();
    summary.refiled += u64::from(refiled);
    summary.filings_added += change.add.len() as u64;
    summary.filings_withdrawn += change.withdraw.len() as u64;
    summary.decoded_anew += u64::from(change.message.is_some());
    if refiled || change.message.is_some() {
        (work.tell)(Difference {
            item,
            message_id: decoded.summary.message_id.clone(),
            add: change.add.clone(),
            withdraw: change.withdraw.iter().map(|(filing, _)| filing.clone()).collect(),
            decoded_anew: change.message.is_some(),
            failed: None,
        });
    }
    Ok(Some(change))
}

/// Noted on the disk like an item that comes in, when there is an agent to do that.
pub(super) fn decode(
    guard: Option<&Guard>,
    item: u64,
    archived: &Archived,
    rules: &Rules,
) -> Result<Result<Decoded, String>, ArchiveError> {
    let beside = archived.record.regenerated.as_ref();
    let Some(guard) = guard else {
        return Ok(rules.decode_beside(&archived.bytes, beside).map_err(|error| error.to_string()));
    };
    let noting =
        |error: std::io::Error| ArchiveError::of_io(format!("cannot note which item is decoded: {error}"), &error);
    let seen = of_item(item);
    let care = guard.care(&seen);
    let decoded = decoders::decode(0, guard, care, &seen, &archived.bytes, beside, rules).map_err(noting)?;
    guard.settled(&seen).map_err(noting)?;
    Ok(decoded)
}

/// Everything about one item within one call, and so in one batch; what was written stays when the next is not.
async fn write(agent: Option<&Agent>, changes: Vec<(u64, Change)>) -> Result<(), ArchiveError> {
    let Some(agent) = agent.filter(|_| !changes.is_empty()) else { return Ok(()) };
    agent
        .archive
        .call(move |core| {
            for (item, change) in changes {
                let Change { message, add, withdraw, people, older_rules, kept: _ } = change;
                if let Some(message) = message {
                    let because = format!("decoder {}", message.parser);
                    core.decode_again(item, Some(*message), &because)?;
                }
                if !add.is_empty() || older_rules {
                    core.file(item, add, people, route::RULES)?;
                }
                for (filing, because) in withdraw {
                    core.withdraw(item, &filing.person, filing.folder, &because)?;
                }
            }
            core.close()
        })
        .await
}

#[cfg(test)]
#[path = "refile_tests.rs"]
mod tests;
