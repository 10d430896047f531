//! The agent: cycles of list, fetch, decode, archive, delete.
//!
//! One cycle of one profile is [`cycle::run`]; what it needs is in [`Agent`]. Nothing here knows the
//! configuration file, a terminal or an exit code.

pub mod alarms;
mod archived;
mod budget;
pub mod cycle;
mod decoders;
mod delete;
mod findings;
mod guard;
pub mod import;
pub mod logins;
pub mod order;
pub mod place;
pub mod policies;
pub mod reconcile;
pub mod refile;
pub mod report;
pub mod retry;
pub mod route;
pub mod rules;
mod waiting;
mod window;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::archive::{ArchiveError, Handle};
use crate::base::clock::Clock;
use crate::base::fsio::Fs;
use crate::journal::DecodeOptions;
use crate::sources::{Intake, SourceError};
use budget::Budgets;
use decoders::Decoders;
use guard::Guard;
use policies::Policies;

pub use decoders::{PARSER, stored as stored_message};

/// What all profiles of one archive share.
pub struct Agent {
    pub archive: Handle,
    pub intake: Intake,
    pub fs: Fs,
    pub clock: Arc<dyn Clock>,
    /// The archive's folder, where small working files lie.
    root: PathBuf,
    budgets: Budgets,
    guard: Arc<Guard>,
    decoders: Decoders,
}

/// A profile, as a cycle needs it.
#[derive(Clone, Debug)]
pub struct Profile {
    pub name: String,
    pub folders: Vec<String>,
    pub delete: bool,
    pub delete_after: Duration,
    pub delete_excluded: bool,
    /// Look again at all that was excluded and still is on the gateway: people may have been added.
    pub look_at_excluded: bool,
    /// So long after an item was quarantined it is deleted, if anything is; `None`: never.
    pub delete_quarantined: Option<Duration>,
    pub role: Role,
    pub expect: Expect,
    pub policies: Policies,
    pub decode: DecodeOptions,
}

impl Profile {
    /// How long a quarantined item stays on the gateway when anything is deleted there; `None`: for ever. Not less
    /// than what was archived.
    pub fn quarantine_wait(&self) -> Option<Duration> {
        self.delete_quarantined.map(|wait| wait.max(self.delete_after))
    }
}

/// What a mailbox is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Primary,
    /// Where journal reports go that could not be delivered: silence is normal, any arrival an alarm.
    Alternate,
}

/// What a mailbox is expected to hold; anything else is an alarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// Whatever comes; only a share of items without an envelope among those with one is odd.
    #[default]
    Auto,
    Reports,
    Copies,
}

impl Agent {
    /// `archive_root` is the archive's folder; its lock is held by the writer behind `archive`.
    pub fn start(
        archive: Handle,
        archive_root: &std::path::Path,
        window_bytes: usize,
        fs: Fs,
        clock: Arc<dyn Clock>,
    ) -> Result<Agent, ArchiveError> {
        let io = |error: std::io::Error| ArchiveError::io("prepare decoding in", archive_root, &error);
        let guard = Arc::new(Guard::open(archive_root, &fs).map_err(io)?);
        let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 4);
        let decoders = Decoders::start(threads, &archive, &guard).map_err(io)?;
        let intake = Intake::new(window_bytes, archive.spool().to_owned());
        let budgets = Budgets::new(archive_root, fs.clone(), clock.clone());
        Ok(Agent { archive, intake, fs, clock, root: archive_root.to_owned(), budgets, guard, decoders })
    }
}

/// Why a cycle ended early. What was archived before stands; nothing was deleted without a receipt.
#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl CycleError {
    /// What the agent itself could not write down, or a step that the fault plan made fail.
    fn told(tried: &str, error: &std::io::Error) -> CycleError {
        CycleError::Archive(ArchiveError::of_io(format!("cannot {tried}: {error}"), error))
    }

    pub fn hint(&self) -> Option<&str> {
        match self {
            CycleError::Source(error) => error.hint.as_deref(),
            CycleError::Archive(error) => error.hint.as_deref(),
        }
    }
}
