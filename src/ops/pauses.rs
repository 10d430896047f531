//! Which profiles are paused. It stands in the archive's chain, with who did it and when.

use std::collections::BTreeMap;

use serde_json::json;

use crate::agent::health::Pause;
use crate::archive::{ArchiveError, Core, Handle, Layout, Reader};

const EVENT: &str = "pause";
/// More changes than anybody makes; older ones of a profile that was left alone since are found all the same up to here.
const LOOKED_THROUGH: u32 = 10_000;

/// The profiles that are paused now.
pub fn all(reader: &Reader) -> Result<BTreeMap<String, Pause>, ArchiveError> {
    let mut last = BTreeMap::new();
    for event in reader.events(EVENT, LOOKED_THROUGH)? {
        let Some(profile) = event.what["profile"].as_str() else { continue };
        let pause = (event.what["paused"] == true).then(|| Pause { since: event.at, by: event.who.clone() });
        // The newest comes first.
        last.entry(profile.to_owned()).or_insert(pause);
    }
    Ok(last.into_iter().filter_map(|(profile, pause)| Some((profile, pause?))).collect())
}

/// The same where there may be no archive yet.
pub fn of(layout: &Layout) -> Result<BTreeMap<String, Pause>, ArchiveError> {
    if layout.identity_file().exists() { all(&Reader::open(layout)?) } else { Ok(BTreeMap::new()) }
}

/// Writes into the chain that a profile is paused, or is not any more.
pub async fn set(archive: &Handle, profile: &str, is_paused: bool, who: &str) -> Result<(), ArchiveError> {
    let (what, who) = (json!({ "profile": profile, "paused": is_paused }), who.to_owned());
    let job = move |core: &mut Core| {
        core.event(EVENT, &who, what)?;
        core.close()
    };
    archive.call(job).await
}
