//! How the profiles are, as far as the archive knows it: where an agent begins, and what `status` tells without one.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::exit::Failure;
use super::pauses;
use crate::agent::health::{Health, Terms};
use crate::archive::{Catalogue, Event, Reader};
use crate::config::{ProfileSettings, Settings};

/// Runs that are looked through for the last new item.
const LOOKED_THROUGH: u32 = 2_000;

pub fn of(
    settings: &Settings,
    catalogue: &Catalogue,
    reader: &Reader,
    now: Timestamp,
) -> Result<BTreeMap<String, Health>, Failure> {
    let runs = catalogue.last_runs()?;
    let events = reader.events("run", LOOKED_THROUGH)?;
    let pauses = pauses::all(reader)?;
    let mut healths = BTreeMap::new();
    for profile in &settings.profiles {
        let mut health = Health::new(now);
        if let Some(run) = runs.iter().find(|run| run.name == profile.name) {
            (health.last_run, health.last_success) = (run.last_run, run.last_success);
            health.error = serde_json::from_value(run.report["error"].clone()).unwrap_or_default();
            health.pending = run.report["pending"].as_u64().unwrap_or(0);
        }
        let is_news = |event: &&Event| {
            let number = |key: &str| event.what[key].as_u64().unwrap_or(0);
            event.what["name"] == profile.name.as_str()
                && ["archived", "quarantined", "excluded"].iter().any(|key| number(key) > 0)
        };
        health.last_item = events.iter().find(is_news).map(|event| event.at);
        if let Some(pause) = pauses.get(&profile.name) {
            health.pause(pause.clone());
        }
        healths.insert(profile.name.clone(), health);
    }
    Ok(healths)
}

pub fn terms(settings: &ProfileSettings) -> Terms {
    Terms {
        name: settings.name.clone(),
        role: settings.role,
        inactive_after: settings.inactive_after,
        paused_max: settings.paused_max,
    }
}
