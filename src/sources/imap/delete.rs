//! Deleting exactly the items that it is told, and asking afterwards whether they are gone.
//!
//! For each batch: size and date are matched again; what matches gets `\Deleted`; `UID EXPUNGE` names
//! exactly those UIDs; then the server is asked which of them it still has. What it must never do: a
//! plain EXPUNGE or CLOSE (they take other clients' `\Deleted` mails along), or flag a mail that did not
//! match.
//!
//! Without UIDPLUS there is only the plain EXPUNGE. It is used when the profile says `sole_client`, and
//! only when a search shows that nothing but our items is flagged.
//!
//! When the connection ends between the flag and the expunge, a `\Deleted` stays behind. It is left: to
//! take it off would need a second connection that may fail the same way, and the mail is in the archive
//! already, else it would not be here. The worst is that another client expunges it, which is what was
//! wanted; and the next run deletes it as it would any other.

use std::collections::HashMap;

use async_imap::imap_proto::{MailboxDatum, Response};

use super::fetch::uid;
use super::listing::{list_only, present};
use super::sets::{UidSet, uid_sets};
use super::wire::{Failure, Wire};
use crate::sources::{Deletion, Listed};

/// How the server expunges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expunge {
    /// `UID EXPUNGE` (UIDPLUS).
    ByUid,
    /// Plain EXPUNGE, in a mailbox that nobody else uses.
    SoleClient,
}

/// Items of one batch. Small enough that little is left flagged when the connection ends.
pub(super) const BATCH_ITEMS_MAX: usize = 1_000;

/// The answers are in the order of `items`. After an error some may be deleted all the same: they are
/// found to be gone the next time.
pub(super) async fn delete(wire: &mut Wire, items: &[Listed], how: Expunge) -> Result<Vec<Deletion>, Failure> {
    let wanted: HashMap<u32, &Listed> = items.iter().filter_map(|item| Some((uid(item)?, item))).collect();
    let uids: Vec<u32> = wanted.keys().copied().collect();
    let mut outcome: HashMap<u32, Deletion> = HashMap::with_capacity(uids.len());
    for set in uid_sets(&uids, BATCH_ITEMS_MAX) {
        batch(wire, &set, &wanted, how, &mut outcome).await?;
    }
    Ok(answers(items, &wanted, &outcome))
}

/// The outcome in the order of `items`.
pub(super) fn answers(
    items: &[Listed],
    wanted: &HashMap<u32, &Listed>,
    outcome: &HashMap<u32, Deletion>,
) -> Vec<Deletion> {
    // An id that is no UID was never listed by this source, and of two records of one UID only the one
    // that was matched has an answer: whatever the others mean, they stay.
    let answer = |item: &Listed| {
        let uid = uid(item)?;
        let matched = wanted.get(&uid).is_some_and(|it| it.size == item.size && it.date == item.date);
        outcome.get(&uid).filter(|_| matched).cloned()
    };
    let answer = |item: &Listed| answer(item).unwrap_or(Deletion::Mismatch);
    items.iter().map(answer).collect()
}

/// Which of a set are there with the size and date that were recorded; of the others the outcome is known.
pub(super) async fn matching(
    wire: &mut Wire,
    set: &UidSet,
    wanted: &HashMap<u32, &Listed>,
    outcome: &mut HashMap<u32, Deletion>,
) -> Result<Vec<u32>, Failure> {
    let mut matched = Vec::with_capacity(set.uids.len());
    let found = list_only(wire, &set.uids).await?;
    let found: HashMap<u32, &Listed> = found.iter().filter_map(|item| Some((uid(item)?, item))).collect();
    for uid in &set.uids {
        let (Some(&recorded), found) = (wanted.get(uid), found.get(uid)) else { continue };
        match found {
            None => _ = outcome.insert(*uid, Deletion::Gone),
            Some(found) if found.size == recorded.size && found.date == recorded.date => matched.push(*uid),
            Some(_) => {
                tracing::warn!(uid, "another mail stands under the number of an archived one; it is not deleted");
                outcome.insert(*uid, Deletion::Mismatch);
            }
        }
    }
    Ok(matched)
}

/// Deletes exactly these of the open folder, by UIDPLUS.
pub(super) async fn mark_and_expunge(wire: &mut Wire, set: &UidSet) -> Result<(), Failure> {
    mark(wire, set).await?;
    wire.run(&format!("UID EXPUNGE {}", set.text), |_| Ok(())).await.map(drop)
}

async fn mark(wire: &mut Wire, set: &UidSet) -> Result<(), Failure> {
    // Written out, and nothing but the set: a `\Deleted` on any other mail could lose it.
    wire.run(&format!("UID STORE {} +FLAGS.SILENT (\\Deleted)", set.text), |_| Ok(())).await.map(drop)
}

async fn batch(
    wire: &mut Wire,
    set: &UidSet,
    wanted: &HashMap<u32, &Listed>,
    how: Expunge,
    outcome: &mut HashMap<u32, Deletion>,
) -> Result<(), Failure> {
    let matched = matching(wire, set, wanted, outcome).await?;
    for set in uid_sets(&matched, BATCH_ITEMS_MAX) {
        match how {
            Expunge::ByUid => mark_and_expunge(wire, &set).await?,
            Expunge::SoleClient => {
                mark(wire, &set).await?;
                expunge_alone(wire, &set).await?;
            }
        }
        let there = present(wire, &set).await?;
        for uid in &set.uids {
            let answer = match there.binary_search(uid) {
                Ok(_) => Deletion::StillThere,
                Err(_) => Deletion::Deleted,
            };
            outcome.insert(*uid, answer);
        }
    }
    Ok(())
}

/// Plain EXPUNGE, after making sure that it hits nothing but `set`.
async fn expunge_alone(wire: &mut Wire, set: &UidSet) -> Result<(), Failure> {
    let mut flagged: Vec<u32> = Vec::new();
    wire.run("UID SEARCH DELETED", |response| {
        if let Response::MailboxData(MailboxDatum::Search(found)) = response {
            flagged.extend(found);
        }
        Ok(())
    })
    .await?;
    flagged.sort_unstable();
    flagged.dedup();
    if flagged != set.uids {
        wire.run(&format!("UID STORE {} -FLAGS.SILENT (\\Deleted)", set.text), |_| Ok(())).await?;
        return Err(Failure::NotAlone);
    }
    wire.run("EXPUNGE", |_| Ok(())).await?;
    Ok(())
}
