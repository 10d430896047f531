//! How the agent is at a moment: what `/metrics`, `/healthz`, `/readyz` and the control channel tell. Made by the agent,
//! without asking anybody, so that it is cheap and cannot block.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::agent::alarms::Message;
pub use crate::agent::health::Totals;
use crate::archive::Head;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    pub pid: u32,
    pub started: Timestamp,
    pub at: Timestamp,
    /// The archive is open, and the people are known.
    pub is_ready: bool,
    /// The archive is damaged: nothing is collected or deleted any more.
    pub is_damaged: bool,
    pub profiles: Vec<ProfileSnapshot>,
    pub archive: ArchiveSnapshot,
    /// Alarms that last, with the text that was told last.
    pub alarms: Vec<Message>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProfileSnapshot {
    pub name: String,
    /// `awaiting-first-run`, `ok`, `inactive`, `error` or `paused`.
    pub state: String,
    pub is_running: bool,
    pub last_run: Option<Timestamp>,
    pub last_success: Option<Timestamp>,
    /// `None` while it runs or is paused.
    pub next_run: Option<Timestamp>,
    /// When the last new item came.
    pub last_item: Option<Timestamp>,
    /// Items without a final disposition.
    pub backlog: u64,
    pub oldest_item_age_s: Option<i64>,
    pub quarantined: u64,
    /// In a row.
    pub failures: u32,
    /// Since the agent started.
    pub totals: Totals,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ArchiveSnapshot {
    pub head: Option<Head>,
    pub items: u64,
    pub bytes_raw: u64,
    pub bytes_stored: u64,
    pub free_bytes: u64,
    pub reserve_bytes: u64,
    pub last_commit: Option<Timestamp>,
}
