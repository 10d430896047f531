//! What somebody is told, and when.
//!
//! An alarm is a condition that has a beginning and an end ("no successful run", "disk below its reserve"), or an event
//! that happened ("37 items vanished"). It is told once when it begins, again when it becomes graver, repeated at growing
//! intervals while it lasts, and taken back once (the all-clear). Texts hold no subjects and no addresses of mail.

mod book;

pub use book::{Book, Condition, spell};

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

/// What an alarm is about: the second half of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// No cycle of the profile succeeds.
    NoSuccess,
    /// The login works, and nothing new comes.
    Inactive,
    /// Paused for longer than `paused_max`.
    PausedLong,
    /// An item waits for its final disposition for too long.
    OldestItem,
    /// More waits after each cycle.
    Backlog,
    Quarantine,
    Unfetchable,
    /// Gone from the gateway before they were archived.
    Vanished,
    /// The gateway's folder is not the one that was recorded.
    NewEpoch,
    /// The gateway's mailbox is nearly full.
    Quota,
    /// The gateway's certificate ends soon.
    Certificate,
    /// The client secret or client certificate that gatepost proves itself by ends soon.
    ClientSecret,
    /// Reports that could not be believed.
    Untrusted,
    /// Something came to the alternate mailbox.
    Alternate,
    /// Other mail than the profile expects.
    Unexpected,
    /// The gateway cannot delete.
    CannotDelete,
    /// Deletions that were begun on the gateway and cannot be finished.
    Unfinished,
    /// The daily budget is used up.
    Budget,
    /// The gateway lists less than it says it holds, or keeps changing.
    Listing,
    /// Quarantined items that are about to be deleted on the gateway.
    QuarantineDue,
    /// Bounced reports that came back without their mail.
    ContentLost,
    /// Items with more unknown people than are created at a time.
    Capped,
    /// The gateway refuses the login.
    RefusedLogin,
    /// The directory of people.
    People,
    /// Less room than the reserve.
    Disk,
    /// The archive cannot be written for another reason.
    Unwritable,
    /// The archive is damaged.
    Damaged,
    /// A configuration that was to be applied has mistakes.
    Configuration,
    /// Somebody paused a profile.
    Paused,
    Resumed,
    /// The canary did not come through.
    Canary,
    /// A part of the agent ended by a panic.
    Defect,
    Other,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::NoSuccess => "no-success",
            Kind::Inactive => "inactive",
            Kind::PausedLong => "paused-long",
            Kind::OldestItem => "oldest-item",
            Kind::Backlog => "backlog",
            Kind::Quarantine => "quarantine",
            Kind::Unfetchable => "unfetchable",
            Kind::Vanished => "vanished",
            Kind::NewEpoch => "new-epoch",
            Kind::Quota => "quota",
            Kind::Certificate => "certificate",
            Kind::ClientSecret => "client-secret",
            Kind::Untrusted => "untrusted",
            Kind::Alternate => "alternate",
            Kind::Unexpected => "unexpected",
            Kind::CannotDelete => "cannot-delete",
            Kind::Unfinished => "unfinished",
            Kind::Budget => "budget",
            Kind::Listing => "listing",
            Kind::QuarantineDue => "quarantine-due",
            Kind::ContentLost => "content-lost",
            Kind::Capped => "capped",
            Kind::RefusedLogin => "refused-login",
            Kind::People => "people",
            Kind::Disk => "disk",
            Kind::Unwritable => "unwritable",
            Kind::Damaged => "damaged",
            Kind::Configuration => "configuration",
            Kind::Paused => "paused",
            Kind::Resumed => "resumed",
            Kind::Canary => "canary",
            Kind::Defect => "defect",
            Kind::Other => "other",
        }
    }

    /// It lasts until a cycle does not report it; the others are events, which have no end.
    pub fn lasts(self) -> bool {
        match self {
            Kind::NoSuccess
            | Kind::Inactive
            | Kind::PausedLong
            | Kind::OldestItem
            | Kind::Backlog
            | Kind::Quarantine
            | Kind::Unfetchable
            | Kind::Quota
            | Kind::Certificate
            | Kind::ClientSecret
            | Kind::CannotDelete
            | Kind::Unfinished
            | Kind::Budget
            | Kind::RefusedLogin
            | Kind::People
            | Kind::Disk
            | Kind::Unwritable
            | Kind::Damaged
            | Kind::Configuration
            | Kind::Canary => true,
            Kind::Vanished
            | Kind::NewEpoch
            | Kind::Untrusted
            | Kind::Alternate
            | Kind::Unexpected
            | Kind::Listing
            | Kind::QuarantineDue
            | Kind::ContentLost
            | Kind::Capped
            | Kind::Paused
            | Kind::Resumed
            | Kind::Defect
            | Kind::Other => false,
        }
    }

    /// Of what a cycle reports; conditions that grow say theirs themselves.
    pub fn severity(self) -> Severity {
        match self {
            Kind::Vanished
            | Kind::Alternate
            | Kind::Unfinished
            | Kind::RefusedLogin
            | Kind::Disk
            | Kind::Unwritable
            | Kind::Defect
            | Kind::Damaged => Severity::Critical,
            _ => Severity::Warning,
        }
    }
}

/// What a cycle found that somebody should hear of. In JSON it is its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub kind: Kind,
    pub text: String,
}

impl Notice {
    pub fn new(kind: Kind, text: impl Into<String>) -> Notice {
        Notice { kind, text: text.into() }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Notice {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Notice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Notice, D::Error> {
        String::deserialize(deserializer).map(|text| Notice { kind: Kind::Other, text })
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

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Raised => "raised",
            State::Repeated => "repeated",
            State::Cleared => "cleared",
            State::Event => "event",
        }
    }
}

impl Message {
    /// What it is about, before the colon.
    pub fn subject(&self) -> String {
        let about = self.profile.as_deref().unwrap_or(match self.kind.as_str() {
            "disk" => "disk",
            "damaged" | "unwritable" => "archive",
            "configuration" => "configuration",
            _ => "gatepost",
        });
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
