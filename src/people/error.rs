//! What is wrong with the list of people, told to whoever maintains it.

use std::fmt;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: Option<PathBuf>,
    pub line: Option<u64>,
    pub what: String,
    pub hint: Option<String>,
}

/// All of them at once; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeopleErrors(pub Vec<Problem>);

impl Problem {
    pub(crate) fn in_file(file: &Path, line: Option<u64>, what: String, hint: &str) -> Problem {
        let hint = Some(hint).filter(|hint| !hint.is_empty()).map(str::to_owned);
        Problem { file: Some(file.to_owned()), line, what, hint }
    }
}

impl PeopleErrors {
    pub(crate) fn one(problem: Problem) -> PeopleErrors {
        PeopleErrors(vec![problem])
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
            write!(f, ": ")?;
        }
        write!(f, "{}", self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for PeopleErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() > 1 {
            writeln!(f, "the list of people has {} mistakes:", self.0.len())?;
        }
        for (at, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for PeopleErrors {}
