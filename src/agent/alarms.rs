//! What somebody is told, and when.
//!
//! An alarm is a condition that has a beginning and an end ("no successful run", "disk below its reserve"), or an event
//! that happened ("37 items vanished"). It is told once when it begins, again when it becomes graver, repeated at growing
//! intervals while it lasts, and taken back once (the all-clear). Texts hold no subjects and no addresses of mail.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::archive::Head;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Somebody should look, in working hours.
    Warning,
    /// Mail is in danger, or nothing is archived.
    Critical,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// Where an alarm stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It began, or became graver.
    Raised,
    /// It lasts.
    Repeated,
    /// The all-clear.
    Cleared,
    /// An event, which has no end.
    Event,
}

/// What a target of alarms is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The same from the beginning of an alarm to its all-clear: `journal/no-success`, `archive/disk`.
    pub key: String,
    /// The part of the key that says what it is about: `no-success`, `inactive`, `disk` …
    pub kind: String,
    pub state: State,
    pub severity: Severity,
    /// `None`: it is about the archive or the agent.
    pub profile: Option<String>,
    pub text: String,
    pub hint: Option<String>,
    /// When it began.
    pub since: Timestamp,
    pub at: Timestamp,
    /// The archive's head, to be kept elsewhere.
    pub head: Option<Head>,
}

impl Message {
    /// What it is about, before the colon.
    pub fn subject(&self) -> String {
        let about = self.profile.as_deref().unwrap_or("gatepost");
        match self.state {
            State::Cleared => format!("ALL CLEAR {about}"),
            State::Raised | State::Repeated | State::Event => {
                format!("{} {about}", self.severity.as_str().to_uppercase())
            }
        }
    }
}

impl fmt::Display for Message {
    /// One line, as it stands in logs and subjects.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject(), self.text)?;
        match &self.hint {
            Some(hint) => write!(f, " hint: {hint}"),
            None => Ok(()),
        }
    }
}
