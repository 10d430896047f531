//! Taking mail along: as a folder of eml files, as mbox, as Maildir or as zip files, with a manifest that proves it.
//!
//! | file | holds |
//! |---|---|
//! | `mod` | what is asked for, what came of it |
//! | `run` | one run: look, plan, write, close |
//! | `state` | what is known and done, while a run is at work |
//! | `render` | a message as the reader may see it |
//! | `files`, `mbox`, `zip` | the formats |
//! | `names`, `output` | file names; files that are private and whole |
//! | `manifest` | manifests, written and read |
//! | `record` | the pages of a person's record |
//! | `verify` | an export looked at without the archive |
//!
//! Must never: show a `Bcc` to somebody else than the sender without being told to and saying so, leave a half-written
//! file under a final name, write into a folder that is not an export of this very kind, or change what an earlier run
//! exported.
#![doc = include_str!("MANIFEST.md")]

mod files;
mod look;
mod manifest;
mod mbox;
mod names;
mod output;
mod record;
mod render;
mod run;
mod state;
#[cfg(test)]
mod tests;
mod verify;
mod zip;

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::manifest::{ExportFailure, Kind, ManifestEntry, Withdrawn};
pub use self::verify::{Difference, ExportCheck, Found, verify_export};
pub use self::zip::VolumeLimits;
use super::error::Result;
use super::read::{Entry, Filter, Reader};
use super::record::Head;

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Eml,
    Mbox,
    Maildir,
    Zip,
}

impl Format {
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Eml => "eml",
            Format::Mbox => "mbox",
            Format::Maildir => "maildir",
            Format::Zip => "zip",
        }
    }
}

/// What was asked for, as the manifest keeps it.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub filter: Filter,
    /// A query of the search, as it was written.
    pub search: Option<String>,
}

impl Selection {
    /// In words.
    pub fn text(&self) -> String {
        let Filter { person, folder, after, before, from, to, subject, limit } = &self.filter;
        let mut words = Vec::new();
        let mut say = |name: &str, text: Option<String>| words.extend(text.map(|text| format!("{name} {text}")));
        let quoted = |text: &Option<String>| text.as_ref().map(|text| format!("{text:?}"));
        say("search", quoted(&self.search));
        say("person", person.clone());
        say("folder", folder.map(|folder| folder.as_str().to_owned()));
        say("after", after.map(|at| at.to_string()));
        say("before", before.map(|at| at.to_string()));
        say("from", quoted(from));
        say("to", quoted(to));
        say("subject", quoted(subject));
        say("at most", limit.map(|limit| limit.to_string()));
        if words.is_empty() { "everything".into() } else { words.join(", ") }
    }
}

/// Calls what it is given with each entry that is to be exported, in any order; an entry that comes twice counts once.
pub type Entries<'a> = dyn FnMut(&mut dyn FnMut(Entry) -> Result<()>) -> Result<()> + 'a;

#[derive(Clone, Copy, Debug)]
pub struct ExportOptions {
    pub kind: Kind,
    pub format: Format,
    /// Show `Bcc` to everybody.
    pub envelope: bool,
    /// Believe that what earlier runs exported is still there as it was.
    pub since_last: bool,
    pub volume: VolumeLimits,
    /// Goes into the manifest.
    pub now: Timestamp,
}

impl ExportOptions {
    pub fn new(format: Format, now: Timestamp) -> ExportOptions {
        let (envelope, since_last) = (false, false);
        ExportOptions { kind: Kind::Export, format, envelope, since_last, volume: VolumeLimits::default(), now }
    }
}

/// What a run is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// What stands in the folder is compared with what was noted.
    Checking,
    Exporting,
}

/// Somebody who watches, and may want it to end.
pub trait Watch {
    /// So much is to be done.
    fn begin(&self, phase: Phase, messages: u64, bytes: u64);
    /// So much more is done.
    fn done(&self, messages: u64, bytes: u64);
    fn is_told_to_stop(&self) -> bool;
}

/// Nobody.
pub struct Unwatched;

impl Watch for Unwatched {
    fn begin(&self, _: Phase, _: u64, _: u64) {}

    fn done(&self, _: u64, _: u64) {}

    fn is_told_to_stop(&self) -> bool {
        false
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct ExportReport {
    /// Messages that were looked at and stand there now.
    pub exported: u64,
    /// Of these: were there already, with the same content.
    pub kept: u64,
    /// Of these: without a `Bcc` that the archive holds.
    pub redacted: u64,
    /// Of what was exported.
    pub bytes: u64,
    /// Exported by earlier runs, and not looked at again.
    pub earlier: u64,
    /// What earlier runs exported and is filed there no more; its files stay.
    pub withdrawn: Vec<Withdrawn>,
    /// Messages that could not be exported, and why.
    pub failed: Vec<ExportFailure>,
    /// Told to stop: so many messages are left to the same command.
    pub interrupted: Option<u64>,
    /// The manifest that was written; `None`: there was nothing new to tell.
    pub manifest: Option<String>,
    pub head: Head,
}

/// Exports what `entries` gives into a folder. One that was interrupted is continued by the same call; a folder that
/// holds a whole export gets what is new, and what is missing in it.
pub fn export(
    reader: &Reader,
    selection: &Selection,
    entries: &mut Entries<'_>,
    dir: &Path,
    options: ExportOptions,
    watch: &dyn Watch,
) -> Result<ExportReport> {
    run::run(reader, selection, entries, dir, options, watch)
}
