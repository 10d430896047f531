//! The one place from which mail is deleted on a gateway.
//!
//! Must: only what a [`Receipt`] names is deleted, and the source matches its size and date once more.
//! What the gateway confirmed is recorded in the next batch; a crash in between is found by the next
//! listing, where the item is absent and becomes `deleted (inferred)`.

use super::CycleError;
use super::alarms::Kind;
use super::report::ProfileReport;
use crate::archive::{DeletedHow, Handle, Receipt, Seen};
use crate::base::fsio::Fs;
use crate::sources::{Deletion, Listed, Source};

pub struct Deleted {
    /// How many items are no longer on the gateway.
    pub removed: u64,
    /// Size or date of an item were others: the folder is not the one that was recorded.
    pub mismatch: bool,
}

pub async fn delete<S: Source>(
    source: &mut S,
    archive: &Handle,
    fs: &Fs,
    receipts: &[Receipt],
    report: &mut ProfileReport,
) -> Result<Deleted, CycleError> {
    let items: Vec<Listed> = receipts.iter().map(|receipt| listed(receipt.seen())).collect();
    let Some(epoch) = receipts.first().map(|receipt| receipt.seen().epoch) else {
        return Ok(Deleted { removed: 0, mismatch: false });
    };
    fs.step("gateway deletes").map_err(|error| CycleError::told("delete on the gateway", &error))?;
    let answers = source.delete(&items).await?;
    fs.step("gateway deleted").map_err(|error| CycleError::told("go on after deleting", &error))?;
    let (mut confirmed, mut absent, mut mismatch, mut still) = (Vec::new(), Vec::new(), false, 0u64);
    for (item, answer) in items.into_iter().zip(answers) {
        match answer {
            Deletion::Deleted => confirmed.push(item.native_id),
            Deletion::Gone => absent.push(item.native_id),
            Deletion::Mismatch => mismatch = true,
            Deletion::StillThere => still += 1,
        }
    }
    let removed = (confirmed.len() + absent.len()) as u64;
    report.deleted += confirmed.len() as u64;
    if still > 0 {
        report.tell(
            Kind::Listing,
            format!("the gateway said OK to the deletion of {still} items and still has them; they are tried again"),
        );
    }
    archive
        .call(move |core| {
            core.deleted(epoch, confirmed, DeletedHow::Confirmed)?;
            core.deleted(epoch, absent, DeletedHow::Inferred)
        })
        .await?;
    Ok(Deleted { removed, mismatch })
}

fn listed(seen: &Seen) -> Listed {
    Listed { native_id: seen.native_id.clone(), order: seen.order, size: seen.size, date: seen.date.clone() }
}
