//! The report by mail: what a day or a week came to, and what needs a person. Numbers only: nothing of a mail.
//!
//! Everything is read from the archive when the report is made, so that it says what is recorded, not what the agent
//! remembers.

use std::collections::BTreeMap;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use serde::{Deserialize, Serialize};

use super::digest_text;
use super::mail::{self, Draft};
use crate::agent::alarms::Message;
use crate::agent::report::ProfileReport;
use crate::archive::{Disposition, Gateway, Layout, Reader, Totals, Volume};
use crate::config::watch::{MailTarget, Period, ReportSettings};
use crate::config::{ProfileSettings, Settings};
use crate::ops::exit::Failure;
use crate::ops::wiring;

/// A week of ten profiles that have something every five minutes.
const RUNS_MAX: u32 = 25_000;

/// What a report is made of.
#[derive(Clone, Debug, Serialize)]
pub struct Digest {
    pub host: String,
    pub from: Timestamp,
    pub to: Timestamp,
    pub profiles: Vec<ProfileDigest>,
    pub volume: Volume,
    pub free_bytes: Option<u64>,
    /// Quarantined items that still wait for a person, and unfetchable ones.
    pub quarantined: u64,
    pub unfetchable: u64,
    /// Alarms that last.
    pub alarms: Vec<Message>,
    /// Only so many runs were looked at: the period had more.
    pub is_cut: bool,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct ProfileDigest {
    pub name: String,
    /// Runs that did something or failed anew; idle ones leave no record.
    pub runs: u64,
    pub archived: u64,
    pub already_archived: u64,
    pub quarantined: u64,
    pub unfetchable: u64,
    pub excluded: u64,
    pub vanished: u64,
    pub failed: u64,
    pub deleted: u64,
    pub bytes: u64,
    pub last_success: Option<Timestamp>,
    pub oldest_open: Option<Timestamp>,
    /// What failed, and how often it was recorded.
    pub errors: BTreeMap<String, u64>,
}

impl ProfileDigest {
    fn add(&mut self, report: &ProfileReport) {
        self.runs += 1;
        self.archived += report.archived;
        self.already_archived += report.already_archived;
        self.quarantined += report.quarantined;
        self.unfetchable += report.unfetchable;
        self.excluded += report.excluded;
        self.vanished += report.vanished;
        self.failed += report.failed;
        self.deleted += report.deleted;
        self.bytes += report.bytes;
        if let Some(error) = &report.error {
            *self.errors.entry(error.what.clone()).or_default() += 1;
        }
    }
}

/// Reads what happened in a period. Blocks on the archive; the agent is not asked.
pub fn gather(
    settings: &Settings,
    (from, to): (Timestamp, Timestamp),
    alarms: Vec<Message>,
) -> Result<Digest, Failure> {
    let layout = wiring::layout_of(&settings.archive);
    let reader = Reader::open(&layout)?;
    let mut profiles: Vec<ProfileDigest> = Vec::new();
    for profile in &settings.profiles {
        profiles.push(of_profile(&reader, &layout, profile)?);
    }
    let events = reader.events("run", RUNS_MAX)?;
    let is_cut = events.len() == RUNS_MAX as usize && events.last().is_some_and(|event| event.at >= from);
    for event in events.iter().filter(|event| event.at >= from && event.at < to) {
        // Runs of older versions may lack what this one wants to know.
        let Ok(report) = serde_json::from_value::<ProfileReport>(event.what.clone()) else { continue };
        match profiles.iter_mut().find(|profile| profile.name == report.name) {
            Some(profile) => profile.add(&report),
            // A profile that is gone from the configuration.
            None => {
                let mut gone = ProfileDigest { name: report.name.clone(), ..ProfileDigest::default() };
                gone.add(&report);
                profiles.push(gone);
            }
        }
    }
    let attention = reader.attention()?;
    let waiting = |of: Disposition| attention.iter().filter(|one| one.disposition == of && one.gone.is_none()).count();
    Ok(Digest {
        host: wiring::machine(),
        from,
        to,
        profiles,
        volume: reader.volume()?,
        free_bytes: fs4::available_space(&layout.root).ok(),
        quarantined: attention.iter().filter(|one| one.disposition == Disposition::Quarantined).count() as u64,
        unfetchable: waiting(Disposition::Unfetchable) as u64,
        alarms,
        is_cut,
    })
}

fn of_profile(reader: &Reader, layout: &Layout, profile: &ProfileSettings) -> Result<ProfileDigest, Failure> {
    let (host, login) = (profile.source.host(), profile.source.login());
    let Totals { oldest_open, .. } = reader.totals(Some(Gateway { host: &host, login }))?;
    let runs = crate::archive::Catalogue::of(layout)?.last_runs()?;
    let last_success = runs.into_iter().find(|run| run.name == profile.name).and_then(|run| run.last_success);
    Ok(ProfileDigest { name: profile.name.clone(), last_success, oldest_open, ..ProfileDigest::default() })
}

/// Sends the report that was gathered.
pub async fn send(target: &MailTarget, settings: &ReportSettings, digest: &Digest) -> Result<String, Failure> {
    mail::send(&target.smtp, &draft(target, settings, digest)).await
}

fn draft(target: &MailTarget, settings: &ReportSettings, digest: &Digest) -> Draft {
    let from = target.from.to_string();
    Draft {
        to: target.to.iter().map(ToString::to_string).collect(),
        subject: format!("[gatepost {}] {}", digest.host, digest_text::summary(digest)),
        text: digest_text::text(digest, &zone(settings)),
        at: digest.to,
        message_id: mail::message_id(&from),
        is_automatic: true,
        from,
    }
}

/// The time zone of the settings, which were checked when they were read.
pub fn zone(settings: &ReportSettings) -> TimeZone {
    let named = settings.timezone.as_deref().and_then(|name| TimeZone::get(name).ok());
    named.unwrap_or_else(TimeZone::system)
}

/// When the next report after `now` is due, and what it is about: from the one before it until then. A time that a change
/// of the clocks leaves out is an hour later on that day, and one that comes twice is the first.
pub fn next(settings: &ReportSettings, now: Timestamp) -> Due {
    let zone = zone(settings);
    let today = now.to_zoned(zone.clone()).date();
    let days = 0..=8;
    let due = days.filter_map(|days| at(&zone, today.checked_add(jiff::Span::new().days(days)).ok()?, settings.at));
    let due = due.filter(|due| settings.every == Period::Daily || due.weekday() == Weekday::Monday);
    let at = due.map(|due| due.timestamp()).find(|due| *due > now);
    let length = match settings.every {
        Period::Daily => 1,
        Period::Weekly => 7,
    };
    // Only at the end of time is there none.
    let at = at.unwrap_or(Timestamp::MAX);
    let before = at.to_zoned(zone.clone()).date().checked_sub(jiff::Span::new().days(length)).ok();
    let before = before.and_then(|date| self::at(&zone, date, settings.at)).map(|before| before.timestamp());
    let from = before.unwrap_or_else(|| at.saturating_sub(SignedDuration::from_hours(24 * length)).unwrap_or(now));
    Due { at, from }
}

fn at(zone: &TimeZone, date: jiff::civil::Date, time: Time) -> Option<Zoned> {
    date.to_datetime(time).to_zoned(zone.clone()).ok()
}

/// A report that is due `at`, about the time since `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    pub at: Timestamp,
    pub from: Timestamp,
}

#[cfg(test)]
#[path = "digest_tests.rs"]
mod tests;
