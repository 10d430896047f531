//! The agent: cycles of list, fetch, decode, archive, delete.
//!
//! One cycle of one profile is [`cycle::run`]; what it needs is in [`Agent`]. Nothing here knows the
//! configuration file, a terminal or an exit code.

pub mod cycle;
mod decoders;
mod delete;
mod guard;
pub mod reconcile;
pub mod report;
pub mod route;
mod waiting;
mod window;

use std::sync::Arc;
use std::time::Duration;

use crate::archive::{ArchiveError, Handle};
use crate::base::clock::Clock;
use crate::base::fsio::Fs;
use crate::sources::{Intake, SourceError};
use decoders::Decoders;
use guard::Guard;

pub use decoders::stored as stored_message;

/// What all profiles of one archive share.
pub struct Agent {
    pub archive: Handle,
    pub intake: Intake,
    pub fs: Fs,
    pub clock: Arc<dyn Clock>,
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
        Ok(Agent { archive, intake, fs, clock, guard, decoders })
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
