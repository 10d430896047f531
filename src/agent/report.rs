//! What a run says of itself: counts that add up, alarms, and the head.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::alarms::{Kind, Notice};
use super::pace::Held;
use crate::archive::{Disposition, Head};

/// One profile's cycle. The first keys are what other programs rely on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProfileReport {
    pub name: String,
    /// `ok`; `attention`: new items need a person; `error`: it could not be done, see `error`.
    pub outcome: Outcome,
    /// What had no final disposition, or was still to be deleted. The sum of the dispositions below.
    pub listed: u64,
    pub archived: u64,
    pub already_archived: u64,
    pub quarantined: u64,
    pub unfetchable: u64,
    pub excluded: u64,
    /// Of those that were looked at in this run: how many each policy left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub excluded_by: BTreeMap<String, u64>,
    pub vanished: u64,
    pub failed: u64,
    pub pending: u64,
    pub deleted: u64,
    /// Downloaded.
    pub bytes: u64,
    pub seconds: f64,
    pub head: Option<Head>,
    pub alarms: Vec<Notice>,
    /// What ended the cycle before all was done; what is left is `pending`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<Held>,
    pub error: Option<ReportedError>,
    /// The gateway was left alone: it is not time for another login yet. `error` says why.
    #[serde(default, skip)]
    pub not_tried: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    #[default]
    Ok,
    Attention,
    Error,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReportedError {
    pub what: String,
    pub hint: Option<String>,
}

impl ProfileReport {
    pub fn count(&mut self, disposition: Disposition) {
        match disposition {
            Disposition::Archived => self.archived += 1,
            Disposition::AlreadyArchived => self.already_archived += 1,
            Disposition::Quarantined => self.quarantined += 1,
            Disposition::Unfetchable => self.unfetchable += 1,
            Disposition::Excluded => self.excluded += 1,
            Disposition::Vanished => self.vanished += 1,
            Disposition::Failed => self.failed += 1,
        }
    }

    pub fn tell(&mut self, kind: Kind, text: String) {
        self.alarms.push(Notice::new(kind, text));
    }

    pub fn disposed(&self) -> u64 {
        self.archived
            + self.already_archived
            + self.quarantined
            + self.unfetchable
            + self.excluded
            + self.vanished
            + self.failed
    }

    /// Nothing was new, nothing was done: not worth a record. (A standing alarm, such as a gateway that cannot
    /// delete, is told in each report and not recorded again and again.)
    pub fn is_idle(&self) -> bool {
        self.listed == 0 && self.deleted == 0 && self.error.is_none()
    }

    /// What was listed and got no disposition in this run waits for the next one.
    pub fn finish(&mut self) {
        self.pending = self.listed.saturating_sub(self.disposed());
        self.outcome = if self.error.is_some() {
            Outcome::Error
        } else if self.quarantined + self.unfetchable + self.vanished + self.failed > 0 || !self.alarms.is_empty() {
            Outcome::Attention
        } else {
            Outcome::Ok
        };
    }
}
