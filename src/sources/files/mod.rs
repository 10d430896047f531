//! Mail that lies in files already: single mails (eml), mbox files, Maildirs, and trees of them as other programs leave
//! them. Found and handed over as they are read, one mail at a time; nothing is decided about them here.
//!
//! Must never: change, move or delete anything it reads; follow a link within a tree (a circle would have no end); hold
//! a mail in memory that is larger than a share of the window; hand over what changed while it was read as if it had
//! been one mail.
//!
//! What MailStore exports as files is a tree of eml files: of its folders its manual says that each user has one on the
//! highest level, named `Archive of` and the user's name, that the sources of the mail (a mailbox, a mail program) lie
//! below, and below these their folders as they were (`MailStore Server`, "The MailStore Folder Structure"). So the first
//! level names the person, and some level below it the folder of sent mail. That the German program says `Archiv von` is
//! not from the manual.
//!
//! | file | holds |
//! |---|---|
//! | `walk` | from a path to the files and folders below it, and what each of them is |
//! | `mbox` | an mbox file, cut into its mails |
//! | `from_line` | the lines that separate them |
//! | `copy` | a mail while it is read: in memory, or in a spool file when it is large |
//! | `names` | folders: their names in Maildirs and in Thunderbird's trees, and which of them hold sent mail |

mod copy;
mod from_line;
mod mbox;
mod names;
#[cfg(test)]
mod tests;
mod walk;

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

pub use copy::Copied;
pub use mbox::Quoting;
pub use names::{Pattern, holds_sent_mail};
pub use walk::{Refusal, first_level, refusal, walk};

/// Where copies go, and how files are read.
#[derive(Clone, Debug)]
pub struct Options {
    /// `None`: by what the file shows.
    pub quoting: Option<Quoting>,
    /// A longer mail goes through a spool file.
    pub memory_bytes_max: usize,
    /// A longer one is not read at all.
    pub mail_bytes_max: u64,
    pub spool_dir: PathBuf,
}

/// A mail, copied from where it lies.
pub struct Found {
    /// Of the file, from the path that was given, with `/` on every system; of a Maildir without what its flags change.
    pub place: String,
    /// The folder it lies in, with `/` between its levels; empty at the top of a tree.
    pub folder: String,
    /// The file itself.
    pub file: PathBuf,
    pub container: Container,
    /// When it came in, as far as that can be told.
    pub date: Option<Timestamp>,
    pub mail: Copied,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    Eml,
    Maildir,
    Mbox(Quoting),
}

impl std::fmt::Display for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Container::Eml => f.write_str("eml"),
            Container::Maildir => f.write_str("Maildir"),
            Container::Mbox(quoting) => f.write_str(quoting.name()),
        }
    }
}

/// Why something is no mail to be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// A mail that its owner deleted: marked so and not yet cleared away.
    Deleted,
    /// A file without a byte.
    Empty,
    /// A symbolic link within a tree.
    Link,
    /// A named pipe, a socket, a device.
    Special,
    /// Outlook's formats (`.msg`, `.pst`, `.ost`), which are not read.
    Outlook,
    /// Packed (gzip, zip and the like): nothing in it is looked at.
    Packed,
    /// What mail programs keep beside the mail (`.msf`, Maildir's control files), and whatever else is none.
    Other,
}

/// The importing side.
pub trait Taker {
    fn mail(&mut self, found: Found) -> Result<(), Stop>;
    /// A file that holds mail, once it was read to its end.
    fn file(&mut self);
    fn skipped(&mut self, why: Skip, path: &Path);
    /// Something that holds mail, or may hold some, and could not be read.
    fn failed(&mut self, path: &Path, why: String);
    /// Nobody takes any more: the walk may end.
    fn is_gone(&self) -> bool;
}

/// Why the walk ended before its end.
#[derive(Debug)]
pub enum Stop {
    /// Nobody takes any more.
    Taken,
    /// The spool file could not be written.
    Spool(io::Error),
}
