//! File → raw (unknown keys refused) → resolved settings; all mistakes reported at once.

use std::path::PathBuf;
use std::time::Duration;

use crate::people::PeopleOptions;
use crate::sources::imap::options::ImapOptions;

/// A configuration that was read, checked and resolved: paths are absolute, secrets are there.
#[derive(Clone, Debug)]
pub struct Settings {
    pub archive: ArchiveSettings,
    pub people: PeopleOptions,
    pub profiles: Vec<ProfileSettings>,
    /// What deserves a word without being a mistake (a literal password, a cut mailbox ID).
    pub notices: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct ArchiveSettings {
    pub path: PathBuf,
    /// The catalogue's file, when it does not lie in the archive.
    pub catalogue: Option<PathBuf>,
    /// A pack is sealed when it is longer than this.
    pub pack_bytes_max: u64,
    /// Bytes in flight between gateway and archive.
    pub window_bytes: usize,
}

#[derive(Clone, Debug)]
pub struct ProfileSettings {
    pub name: String,
    pub every: Duration,
    /// Delete archived items on the gateway?
    pub delete: bool,
    /// Keep them there this long after archiving.
    pub delete_after: Duration,
    pub delete_excluded: bool,
    pub source: SourceSettings,
}

#[derive(Clone, Debug)]
pub enum SourceSettings {
    Imap(ImapOptions),
}
