//! Quarantined items deleted on the gateway because an operator says so, whatever the profile's policy.
//!
//! Must: the order stands in the chain before the first item goes, and each item goes with a receipt, through
//! `agent::delete`, like any other.

use std::collections::BTreeMap;

use serde::Serialize;

use super::delete::delete;
use super::report::ProfileReport;
use super::{Agent, CycleError, cycle};
use crate::archive::{Provenance, Seen};
use crate::sources::Source;

/// What became of one sighting.
#[derive(Clone, Debug, Serialize)]
pub struct Ordered {
    pub folder: String,
    pub native_id: String,
    pub deleted: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// `sightings` are of one gateway, on which the source is logged in, and not known to be gone.
pub async fn delete_quarantined<S: Source>(
    agent: &Agent,
    source: &mut S,
    sightings: &[Provenance],
    who: &str,
) -> Result<Vec<Ordered>, CycleError> {
    let mut of_folder: BTreeMap<&str, Vec<&Provenance>> = BTreeMap::new();
    for one in sightings {
        of_folder.entry(&one.folder).or_default().push(one);
    }
    source.keep_notes(&agent.root, &agent.fs);
    let mut done = Vec::new();
    for (folder, sightings) in of_folder {
        let opened = source.open(folder).await?;
        let name = cycle::epoch_name(&opened.epoch);
        let epoch = agent.archive.call(move |core| core.catalogue.find_epoch(&name)).await?.map(|epoch| epoch.id);
        let mut say = |one: &Provenance, deleted: bool, because: Option<&str>| {
            let because = because.map(str::to_owned);
            done.push(Ordered { folder: one.folder.clone(), native_id: one.native_id.clone(), deleted, because });
        };
        let mut wanted = Vec::new();
        for one in sightings {
            if Some(one.epoch) == epoch {
                wanted.push(one);
            } else {
                say(one, false, Some("the folder is not the one that it was seen in any more"));
            }
        }
        let seen: Vec<Seen> = wanted.iter().map(|one| seen_of(one)).collect();
        let receipts = {
            let (seen, who) = (seen.clone(), who.to_owned());
            let job = move |core: &mut crate::archive::Core| {
                let receipts = core.receipts_of_quarantined(&seen)?;
                let items: Vec<&str> = receipts.iter().flatten().map(|one| one.seen().native_id.as_str()).collect();
                if !items.is_empty() {
                    let what = serde_json::json!({ "epoch": epoch, "sightings": items });
                    core.event("quarantine-delete", &who, what)?;
                    core.close()?;
                }
                Ok(receipts)
            };
            agent.archive.call(job).await?
        };
        let granted: Vec<_> = receipts.iter().flatten().cloned().collect();
        // Its counts are a cycle's; here each sighting is looked at afterwards.
        let mut report = ProfileReport::default();
        delete(source, &agent.archive, &agent.fs, &granted, &mut report).await?;
        agent.archive.commit().await?;
        for ((one, seen), receipt) in wanted.into_iter().zip(seen).zip(receipts) {
            let row = agent.archive.call(move |core| core.catalogue.sighting(seen.epoch, &seen.native_id)).await?;
            let gone = row.is_some_and(|row| row.gone.is_some());
            match (gone, receipt) {
                (true, _) => say(one, true, None),
                (false, None) => say(one, false, Some("it is not quarantined any more; the next run sees to it")),
                (false, Some(_)) => say(
                    one,
                    false,
                    Some("the gateway did not delete it, or has another item there; `gatepost reconcile` tells"),
                ),
            }
        }
    }
    Ok(done)
}

fn seen_of(one: &Provenance) -> Seen {
    Seen {
        epoch: one.epoch,
        native_id: one.native_id.clone(),
        order: one.order,
        size: one.size,
        date: one.date.clone(),
    }
}
