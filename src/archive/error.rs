//! What goes wrong with an archive, sorted by what follows from it.

use std::io;
use std::path::Path;

/// Decides the exit code and whether anything may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The path, the folder or the permission is wrong; nothing was touched.
    Unusable,
    /// Packs and catalogue do not say the same, or bytes are not what they were.
    Damaged,
    Locked,
    NoSpace,
    /// The disk or the catalogue gave an error; the writer has ended, what it acknowledged stands.
    Failed,
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}")]
pub struct ArchiveError {
    pub kind: ErrorKind,
    pub what: String,
    pub hint: Option<String>,
}

pub type Result<T> = std::result::Result<T, ArchiveError>;

impl ArchiveError {
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> ArchiveError {
        ArchiveError { kind, what: what.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> ArchiveError {
        self.hint = Some(hint.into());
        self
    }

    pub fn damaged(what: impl Into<String>) -> ArchiveError {
        ArchiveError::new(ErrorKind::Damaged, what).hint(
            "restore the named pack from a backup, then run `gatepost verify`; \
             do not rebuild the catalogue over missing packs",
        )
    }

    /// An I/O error, with what was tried.
    pub fn io(tried: &str, path: &Path, error: &io::Error) -> ArchiveError {
        ArchiveError::of_io(format!("cannot {tried} {}: {error}", path.display()), error)
    }

    /// An I/O error that is told in these words.
    pub fn of_io(what: String, error: &io::Error) -> ArchiveError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                ArchiveError::new(ErrorKind::NoSpace, what).hint(
                    "make room on the archive's volume; nothing was lost, the next run goes on where this one stopped",
                )
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ArchiveError::new(ErrorKind::Unusable, what)
                    .hint("run gatepost as the user that owns the archive, on a volume that can be written")
            }
            io::ErrorKind::NotFound => ArchiveError::new(ErrorKind::Unusable, what)
                .hint("check `[archive] path`, and that its volume is mounted"),
            _ => ArchiveError::new(ErrorKind::Failed, what).hint(
                "see the system's log for this disk; nothing was lost, what was not acknowledged is fetched again",
            ),
        }
    }
}

/// Adds what was tried to an I/O error.
pub trait Tried<T> {
    fn tried(self, what: &str, path: &Path) -> Result<T>;
}

impl<T> Tried<T> for io::Result<T> {
    fn tried(self, what: &str, path: &Path) -> Result<T> {
        self.map_err(|error| ArchiveError::io(what, path, &error))
    }
}

impl From<rusqlite::Error> for ArchiveError {
    fn from(error: rusqlite::Error) -> ArchiveError {
        use rusqlite::ErrorCode;
        let what = format!("the catalogue gave an error: {error}");
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => ArchiveError::new(ErrorKind::NoSpace, what).hint(
                "make room on the archive's volume; nothing was lost, the next run goes on where this one stopped",
            ),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ArchiveError::new(ErrorKind::Damaged, what)
                .hint("the packs are the truth: move catalogue.sqlite3 away and run `gatepost rebuild`"),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ArchiveError::new(ErrorKind::Locked, what)
                .hint("another program holds the catalogue open; close it and try again"),
            Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
                ArchiveError::new(ErrorKind::Unusable, what).hint("run gatepost as the user that owns the archive")
            }
            _ => ArchiveError::new(ErrorKind::Failed, what),
        }
    }
}
