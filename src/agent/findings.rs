//! What a cycle found in its items, and which of it somebody is told.

use jiff::{SignedDuration, Timestamp};

use std::collections::BTreeMap;

use super::decoders::Note;
use super::report::ProfileReport;
use super::{Expect, Profile, Role};

/// A mailbox of reports in which so many items came without an envelope is set up wrongly somewhere.
const STEPPED_DOWN_MIN: u64 = 5;
const STEPPED_DOWN_PERCENT: u64 = 20;

/// Counts over one cycle.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    decoded: u64,
    capped: u64,
    suspect: u64,
    reports: u64,
    degraded: u64,
    content_lost: u64,
    /// How many items each policy left out.
    pub excluded_by: BTreeMap<String, u64>,
    /// Quarantined items whose time on the gateway was over.
    pub quarantined_due: u64,
}

impl Findings {
    pub fn count(&mut self, note: Note) {
        let Note { capped, suspect, is_report, degraded, content_lost, excluded } = note;
        if let Some(policy) = excluded {
            *self.excluded_by.entry(policy).or_default() += 1;
        }
        self.decoded += 1;
        self.capped += u64::from(capped);
        self.suspect += u64::from(suspect);
        self.reports += u64::from(is_report && !degraded);
        self.degraded += u64::from(degraded);
        self.content_lost += u64::from(content_lost);
    }

    /// What is said of quarantined mail before it goes, and when it has gone.
    pub fn quarantined(&self, profile: &Profile, report: &ProfileReport, now: Timestamp) -> Vec<String> {
        let mut alarms = Vec::new();
        let new = report.quarantined.saturating_sub(self.quarantined_due);
        let wait = profile.quarantine_wait().and_then(|wait| SignedDuration::try_from(wait).ok());
        if let (Some(wait), true) = (wait.filter(|wait| !wait.is_zero()), new > 0)
            && let Ok(day) = now.checked_add(wait)
        {
            alarms.push(format!(
                "{new} quarantined items will be deleted on the gateway after {} unless `gatepost quarantine retry` \
                 files them or `delete_quarantined` says otherwise; their bytes stay in the archive",
                day.strftime("%Y-%m-%d %H:%M UTC")
            ));
        }
        if self.quarantined_due > 0 {
            alarms.push(format!(
                "{} quarantined items were due for deletion on the gateway (`delete_quarantined`); their bytes stay in \
                 the archive, see `gatepost quarantine list`",
                self.quarantined_due
            ));
        }
        alarms
    }

    pub fn alarms(&self, profile: &Profile, report: &ProfileReport) -> Vec<String> {
        let mut alarms = Vec::new();
        let arrived = report.archived + report.quarantined + report.unfetchable + report.excluded;
        if profile.role == Role::Alternate && arrived > 0 {
            alarms.push(format!(
                "{arrived} items came to the alternate journaling mailbox: journal delivery is failing; look at why the \
                 journal mailbox refuses reports (full, or its address is wrong)"
            ));
        }
        if self.content_lost > 0 {
            alarms.push(format!(
                "{} bounced journal reports came back without their mail: only its headers are archived; look for the \
                 mail in the senders' and recipients' mailboxes",
                self.content_lost
            ));
        }
        if self.capped > 0 {
            alarms.push(format!(
                "{} items named more unknown people than `create_max_per_item`; the rest is unassigned",
                self.capped
            ));
        }
        if self.suspect > 0 {
            alarms.push(format!(
                "{} journal reports could not be believed or read; they were filed by their headers alone",
                self.suspect
            ));
        }
        alarms.extend(self.unexpected(profile));
        alarms
    }

    /// What a suspect report is, is told already.
    fn unexpected(&self, profile: &Profile) -> Option<String> {
        let plain = self.decoded - self.reports;
        let stepped_down = self.degraded.saturating_sub(self.suspect);
        match profile.expect {
            Expect::Reports if plain > self.suspect => Some(format!(
                "{} of {} items were no journal reports, but `expect = \"reports\"`; their recipients are those of the \
                 envelope headers, or of To and Cc alone",
                plain - self.suspect,
                self.decoded
            )),
            Expect::Copies if self.reports > 0 => Some(format!(
                "{} of {} items were journal reports, but `expect = \"copies\"`",
                self.reports, self.decoded
            )),
            Expect::Copies if stepped_down > 0 => Some(format!(
                "{stepped_down} of {} copies had no envelope header of the gateway; they were filed by To and Cc alone",
                self.decoded
            )),
            // Where no item has an envelope, that is how this gateway is.
            Expect::Auto
                if stepped_down >= STEPPED_DOWN_MIN
                    && stepped_down < self.decoded
                    && stepped_down * 100 > self.decoded * STEPPED_DOWN_PERCENT =>
            {
                Some(format!(
                    "{stepped_down} of {} items had no envelope, unlike the others; they were filed by To and Cc alone",
                    self.decoded
                ))
            }
            Expect::Reports | Expect::Copies | Expect::Auto => None,
        }
    }
}
