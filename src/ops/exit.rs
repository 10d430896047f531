//! Exit codes, and errors as a person reads them: what failed, why, what happened to the mail, a hint.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::agent::CycleError;
use crate::archive::{ArchiveError, ErrorKind};
use crate::base::vault::{VaultError, VaultProblem};
use crate::config::{ConfigError, ConfigErrors};
use crate::sources::SourceError;

/// What a run came to, as other programs see it. Ordered by what must be heard first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    Ok,
    /// New items need a person: quarantine, unfetchable, vanished, differences.
    Attention,
    /// A gateway could not be reached or refused.
    Gateway,
    Usage,
    Locked,
    NoSpace,
    Damaged,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Usage => 1,
            Exit::Attention => 2,
            Exit::Gateway => 3,
            Exit::Damaged => 4,
            Exit::Locked => 5,
            Exit::NoSpace => 6,
        }
    }
}

/// What a process said by its code; one that is not ours is a failure all the same.
#[cfg(windows)]
pub fn of_code(code: u8) -> Exit {
    let all = [Exit::Ok, Exit::Attention, Exit::Gateway, Exit::Usage, Exit::Locked, Exit::NoSpace, Exit::Damaged];
    all.into_iter().find(|exit| exit.code() == code).unwrap_or(Exit::Usage)
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// An error on its way to the terminal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    pub exit: Exit,
    pub what: String,
    pub hint: Option<String>,
    /// The login was refused; asking again soon may do harm.
    pub refused: bool,
}

impl Failure {
    pub fn usage(what: impl Into<String>) -> Failure {
        Failure { exit: Exit::Usage, what: what.into(), hint: None, refused: false }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }
}

pub fn of_archive(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::Unusable | ErrorKind::Failed => Exit::Usage,
        ErrorKind::Damaged => Exit::Damaged,
        ErrorKind::Locked => Exit::Locked,
        ErrorKind::NoSpace => Exit::NoSpace,
    }
}

pub fn of_source(error: &SourceError) -> Exit {
    if error.no_space { Exit::NoSpace } else { Exit::Gateway }
}

pub fn of_cycle(error: &CycleError) -> Exit {
    match error {
        CycleError::Source(error) => of_source(error),
        CycleError::Archive(error) => of_archive(error.kind),
        CycleError::Stopped => Exit::Attention,
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Failure {
        Failure { exit: of_archive(error.kind), what: error.what, hint: error.hint, refused: false }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Failure {
        let refused = error.refused_login;
        Failure { exit: of_source(&error), what: error.to_string(), hint: error.hint, refused }
    }
}

impl From<CycleError> for Failure {
    fn from(error: CycleError) -> Failure {
        match error {
            CycleError::Source(error) => error.into(),
            CycleError::Archive(error) => error.into(),
            CycleError::Stopped => {
                Failure { exit: Exit::Attention, what: error.to_string(), hint: None, refused: false }
            }
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Failure {
        // The hints stand within the text, one for each mistake.
        Failure { exit: Exit::Usage, what: errors.to_string(), hint: None, refused: false }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        ConfigErrors(vec![error]).into()
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Failure {
        let exit = match error.problem {
            VaultProblem::Locked => Exit::Locked,
            VaultProblem::NoSpace => Exit::NoSpace,
            VaultProblem::Missing | VaultProblem::Refused | VaultProblem::Owner(_) | VaultProblem::Unusable => {
                Exit::Usage
            }
        };
        Failure { exit, what: error.what, hint: error.hint, refused: false }
    }
}

impl From<crate::people::PeopleErrors> for Failure {
    fn from(errors: crate::people::PeopleErrors) -> Failure {
        Failure { exit: Exit::Usage, what: errors.to_string(), hint: None, refused: false }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure { exit: Exit::Usage, what: error.to_string(), hint: None, refused: false }
    }
}
