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
pub mod disk;
mod findings;
mod guard;
pub mod health;
pub mod import;
pub mod logins;
pub mod order;
pub mod pace;
pub mod place;
pub mod policies;
pub mod reconcile;
pub mod refile;
pub mod report;
pub mod retry;
pub mod route;
pub mod rules;
pub mod schedule;
mod waiting;
mod window;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::archive::{ArchiveError, Handle};
use crate::base::clock::Clock;
use crate::base::fsio::Fs;
use crate::journal::DecodeOptions;
use crate::sources::{Intake, Source, SourceError, Usage};
use budget::Budgets;
use decoders::Decoders;
use disk::{Reserve, Room};
use guard::Guard;
use policies::Policies;

pub use decoders::{PARSER, stored as stored_message};

/// What all profiles of one archive share.
pub struct Agent {
    pub archive: Handle,
    pub intake: Intake,
    /// Of each profile, so that one whose gateway hangs in the middle of a mail holds up no other.
    intakes: Mutex<HashMap<String, Intake>>,
    /// When each profile's mailbox was asked how full it is, and what it said.
    usages: Mutex<HashMap<String, (Timestamp, Option<Usage>)>>,
    profiles: usize,
    window_bytes: usize,
    pub fs: Fs,
    pub clock: Arc<dyn Clock>,
    /// The archive's folder, where small working files lie.
    root: PathBuf,
    reserve: Reserve,
    /// Asks for the room on the archive's disk.
    measure: Measure,
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
    pub pacing: pace::Pacing,
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
        reserve: Reserve,
        fs: Fs,
        clock: Arc<dyn Clock>,
    ) -> Result<Agent, ArchiveError> {
        let io = |error: std::io::Error| ArchiveError::io("prepare decoding in", archive_root, &error);
        let guard = Arc::new(Guard::open(archive_root, &fs).map_err(io)?);
        let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 4);
        let decoders = Decoders::start(threads, &archive, &guard).map_err(io)?;
        let intake = Intake::new(window_bytes, archive.spool().to_owned());
        let budgets = Budgets::new(archive_root, fs.clone(), clock.clone());
        let intakes = Mutex::default();
        Ok(Agent {
            archive,
            intake,
            intakes,
            usages: Mutex::default(),
            profiles: 1,
            window_bytes,
            fs,
            clock,
            root: archive_root.to_owned(),
            reserve,
            measure: Box::new(Room::of),
            budgets,
            guard,
            decoders,
        })
    }
}

/// Of the window for a profile, however many there are: in less, every mail would go through a file.
const SHARE_MIN: usize = 1024 * 1024;

/// Between two questions to a gateway how full the mailbox is.
const USAGE_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// Asks for the room on the volume of a folder.
pub type Measure = Box<dyn Fn(&std::path::Path, Reserve) -> std::io::Result<Room> + Send + Sync>;

impl Agent {
    /// The room on the archive's disk.
    pub fn room(&self) -> std::io::Result<Room> {
        (self.measure)(&self.root, self.reserve)
    }

    /// So many profiles share the window.
    pub fn shared_by(mut self, profiles: usize) -> Agent {
        self.profiles = profiles.max(1);
        self
    }

    /// A profile's share of the window.
    fn intake_of(&self, profile: &str) -> Intake {
        if self.profiles == 1 {
            return self.intake.clone();
        }
        let mut intakes = self.intakes.lock().unwrap_or_else(PoisonError::into_inner);
        let share = || {
            let bytes = (self.window_bytes / self.profiles).max(SHARE_MIN.min(self.window_bytes));
            Intake::new(bytes, self.archive.spool().to_owned())
        };
        intakes.entry(profile.to_owned()).or_insert_with(share).clone()
    }

    /// How full a profile's mailbox is. It is asked once in an hour: an idle cycle is to cost nothing.
    async fn usage_of<S: Source>(&self, profile: &str, source: &mut S) -> Option<Usage> {
        let now = self.clock.now();
        let usages = || self.usages.lock().unwrap_or_else(PoisonError::into_inner);
        let known = usages().get(profile).cloned();
        if let Some((at, usage)) = known
            && now.duration_since(at).abs() < USAGE_EVERY
        {
            return usage;
        }
        let usage = source.usage().await;
        usages().insert(profile.to_owned(), (now, usage.clone()));
        usage
    }

    /// A disk of the test's own.
    pub fn measured_by(mut self, measure: Measure) -> Agent {
        self.measure = measure;
        self
    }
}

/// Why a cycle ended early. What was archived before stands; nothing was deleted without a receipt.
#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// In the middle of a download, whose session is of no use any more. What had come is archived.
    #[error("told to stop")]
    Stopped,
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
            CycleError::Stopped => None,
        }
    }
}
