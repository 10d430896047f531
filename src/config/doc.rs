//! A configuration file being read: its text, and what was found wrong with it so far.
//!
//! No message may quote a line of the file, which may hold a password: of syntax errors only the parser's
//! description is used, never its rendering with the source.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

use super::command::SecretVariables;
use super::error::{ConfigError, ConfigErrors};

/// A file being read, and what was found wrong with it so far.
pub struct Doc<'a> {
    file: &'a Path,
    text: &'a str,
    errors: RefCell<Vec<ConfigError>>,
    notices: RefCell<Vec<String>>,
    variables: SecretVariables,
    token_folder: RefCell<PathBuf>,
}

/// Parses the text; syntax errors, one per line, end the matter at once.
pub fn parse<'a>(file: &Path, text: &'a str) -> Result<Spanned<DeTable<'a>>, ConfigErrors> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let mut found: Vec<ConfigError> = Vec::new();
    for error in errors {
        let line = error.span().map(|span| line_of(text, &span));
        // What follows the first error of a line is usually its echo.
        if found.iter().any(|earlier| earlier.line == line) {
            continue;
        }
        found.push(ConfigError {
            file: Some(file.to_owned()),
            line,
            key: None,
            what: format!("this is no valid TOML: {}", error.message()),
            hint: Some(
                "text stands in quotes (\"…\"; a backslash is doubled, or write '…'), every key stands once".into(),
            ),
        });
    }
    if found.is_empty() { Ok(tree) } else { Err(ConfigErrors(found)) }
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.as_bytes().get(..span.start).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}

impl<'a> Doc<'a> {
    pub fn new(file: &'a Path, text: &'a str) -> Doc<'a> {
        Doc {
            file,
            text,
            errors: RefCell::default(),
            notices: RefCell::default(),
            variables: SecretVariables::default(),
            token_folder: RefCell::default(),
        }
    }

    pub fn file(&self) -> &Path {
        self.file
    }

    /// The variables that are named as places of secrets, those that are read later included.
    pub fn secret_variables(&self) -> SecretVariables {
        self.variables.clone()
    }

    pub fn note_secret_variable(&self, name: &str) {
        self.variables.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(name.to_owned());
    }

    /// Where tokens are kept when nothing else is said, which follows from the archive's place.
    pub fn token_folder(&self) -> PathBuf {
        self.token_folder.borrow().clone()
    }

    pub fn set_token_folder(&self, folder: PathBuf) {
        *self.token_folder.borrow_mut() = folder;
    }

    /// The line that a span begins on.
    pub fn line_at(&self, span: &Range<usize>) -> usize {
        line_of(self.text, span)
    }

    pub fn error(&self, line: usize, key: String, what: impl Into<String>, hint: &str) {
        let hint = Some(hint).filter(|hint| !hint.is_empty()).map(str::to_owned);
        let (file, key) = (Some(self.file.to_owned()), Some(key).filter(|key| !key.is_empty()));
        self.errors.borrow_mut().push(ConfigError { file, line: Some(line), key, what: what.into(), hint });
    }

    pub fn notice(&self, line: usize, key: &str, text: &str) {
        self.notices.borrow_mut().push(format!("{}:{line}: {key}: {text}", self.file.display()));
    }

    /// The notices, or all mistakes in the order of the file.
    pub fn finish(self) -> Result<Vec<String>, ConfigErrors> {
        let mut errors = self.errors.into_inner();
        if errors.is_empty() {
            return Ok(self.notices.into_inner());
        }
        errors.sort_by_key(|error| error.line);
        Err(ConfigErrors(errors))
    }
}
