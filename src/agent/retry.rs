//! Quarantined items decoded again, after an upgrade or when what went wrong was not the item's fault.
//!
//! The bytes come from the archive. What can be decoded now is filed as if it had just come in, and may then be
//! deleted on the gateway like any archived item; what cannot stays quarantined, with today's reason.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::archived::Archived;
use super::place::Placed;
use super::refile::decode;
use super::rules::Rules;
use super::{Agent, route};
use crate::archive::{ArchiveError, Filing, Folder, Provenance, Reader, StoredMessage};

/// What became of one item.
#[derive(Clone, Debug, Serialize)]
pub struct Retried {
    pub item: u64,
    /// Why it still is quarantined; `None`: it is filed.
    pub quarantine: Option<String>,
    pub filings: Vec<Filing>,
}

/// Tries one item. The caller has seen to it that it is quarantined.
pub async fn retry(
    agent: &Agent,
    reader: &Reader,
    rules: &dyn Fn(Option<&Provenance>) -> Arc<Rules>,
    item: u64,
    who: &str,
) -> Result<Retried, ArchiveError> {
    let spool: &Path = agent.archive.spool();
    let archived = Archived::read(reader, item, spool)?;
    let rules = rules(archived.first.as_ref());
    let decoded = decode(Some(&agent.guard), item, &archived, &rules)?;
    let who = who.to_owned();
    match decoded {
        Err(because) => {
            let retried = Retried { item, quarantine: Some(because.clone()), filings: Vec::new() };
            let what = serde_json::json!({ "item": item, "quarantined": because });
            let job = move |core: &mut crate::archive::Core| {
                core.decode_again(item, None, &because)?;
                core.event("quarantine-retry", &who, what)?;
                core.close()
            };
            agent.archive.call(job).await?;
            Ok(retried)
        }
        Ok(decoded) => {
            let placed = archived.first.as_ref().and_then(|first| Placed::recorded(first, &rules));
            let mut routing = match &placed {
                Some(placed) => placed.route(&decoded, &rules, archived.came_in()),
                None => rules.route(&decoded, archived.came_in()),
            };
            if let Some(policy) = routing.excluded.take() {
                // Its bytes are in the archive already, so that it is to be found there.
                let because = format!("excluded by {policy}, and archived when it was quarantined");
                routing.unassign(Folder::Inbox, because);
            }
            let message = StoredMessage { flags: routing.flags_of(&decoded), ..super::stored_message(&decoded) };
            let (filings, people) = (routing.filings, routing.people);
            let retried = Retried { item, quarantine: None, filings: filings.clone() };
            let what = serde_json::json!({ "item": item, "filed": &filings });
            let job = move |core: &mut crate::archive::Core| {
                core.decode_again(item, Some(message), "retried")?;
                core.file(item, filings, people, route::RULES)?;
                core.event("quarantine-retry", &who, what)?;
                core.close()
            };
            agent.archive.call(job).await?;
            Ok(retried)
        }
    }
}
