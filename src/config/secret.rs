//! Where a secret is to be had, and getting it: late, so that commands that only read the archive work
//! without it, and never into a message.
//!
//! A name is repeated only where it is found, or looks like what it should be: whoever takes one of these keys for
//! the place of the password itself must not find it in a log.

use std::path::{Path, PathBuf};

use toml::de::DeValue;
use zeroize::Zeroizing;

use super::command::{SecretCommand, Words};
use super::error::ConfigError;
use super::keys;
use super::raw::Table;
use crate::base::credential::{self, NoCredential};
use crate::base::fsio;
use crate::base::secret::Secret;
use crate::base::vault::{self, Vault, VaultProblem};

const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Beside the configuration's file.
const VAULT: &str = "secrets";

/// The store of secrets that belongs to the configuration `file`.
pub fn vault(file: &Path) -> Vault {
    Vault::at(&file.parent().unwrap_or(Path::new("")).join(VAULT))
}

/// A secret that has not been fetched yet. `Debug` shows the place, never the text.
#[derive(Clone, Debug)]
pub struct SecretRef {
    origin: Origin,
    /// For errors: where the configuration speaks of it.
    file: PathBuf,
    line: usize,
    key: String,
}

#[derive(Clone, Debug)]
enum Origin {
    Env(String),
    File(PathBuf),
    Command(SecretCommand),
    /// Of systemd.
    Credential(String),
    /// In the store beside the configuration.
    Kept(String),
    Literal(Secret),
}

/// Why a secret cannot be had, and what to do.
type Unhad = (String, String);

impl SecretRef {
    /// Fetches the secret; each call looks anew, so that a rotated password is taken up. May take as long as a
    /// command may.
    pub fn resolve(&self) -> Result<Secret, ConfigError> {
        self.resolve_with(|name| std::env::var_os(name))
    }

    fn resolve_with(&self, env: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<Secret, ConfigError> {
        self.fetch(env).map_err(|(what, hint)| self.wrong(what, &hint))
    }

    fn fetch(&self, env: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<Secret, Unhad> {
        let place = || self.place();
        let secret = match &self.origin {
            Origin::Literal(secret) => return Ok(secret.clone()),
            Origin::Env(name) => {
                let hint =
                    "set it for this process (systemd: Environment= or EnvironmentFile=), or use { file = \"…\" }";
                let value = env(name).ok_or_else(|| (format!("{} is not set", place()), hint.to_owned()))?;
                let text = value.into_string();
                Secret::new(text.map_err(|_| (format!("{} is not UTF-8", place()), "set it anew".to_owned()))?)
            }
            Origin::File(path) => read(path).map_err(|(why, hint)| (format!("{}: {why}", place()), hint.to_owned()))?,
            Origin::Command(command) => one_line(command.run()?)
                .ok_or_else(|| (format!("{} printed no UTF-8", place()), "it prints the secret alone".to_owned()))?,
            Origin::Credential(name) => credential(credential::path(name))?,
            Origin::Kept(name) => kept(&vault(&self.file), name)?,
        };
        if secret.expose().is_empty() {
            return Err((format!("{} is empty", place()), "the password is expected there".into()));
        }
        // No protocol can send these, and what would be sent instead is another password.
        if secret.expose().contains(['\r', '\n', '\0']) {
            let hint = "the password stands alone in one line".to_owned();
            return Err((format!("{} holds more than one line", place()), hint));
        }
        Ok(secret)
    }

    /// A mistake in what was fetched. `what` must not repeat it.
    pub(super) fn wrong(&self, what: String, hint: &str) -> ConfigError {
        ConfigError {
            file: Some(self.file.clone()),
            line: Some(self.line),
            key: Some(self.key.clone()),
            what,
            hint: Some(hint.to_owned()),
        }
    }

    /// For people: where the secret is to be had.
    pub fn place(&self) -> String {
        match &self.origin {
            Origin::Env(name) if looks_like_env(name) => format!("the environment variable {name}"),
            Origin::Env(_) => "the environment variable named there".to_owned(),
            Origin::File(path) => path.display().to_string(),
            Origin::Command(command) => command.kind().to_owned(),
            Origin::Credential(name) => match credential::path(name) {
                Ok(path) if path.exists() => format!("the credential {name}"),
                Ok(_) | Err(_) => "a credential that this process was not given".to_owned(),
            },
            Origin::Kept(name) => {
                let vault = vault(&self.file);
                let known = vault.names().is_ok_and(|names| names.contains(name));
                let name = if known { format!("the secret {name}") } else { "a secret that is not".to_owned() };
                format!("{name} in {}", vault.folder().display())
            }
            Origin::Literal(_) => "the configuration".to_owned(),
        }
    }

    /// The key by which the configuration names the place.
    pub fn kind(&self) -> &'static str {
        match &self.origin {
            Origin::Env(_) => "env",
            Origin::File(_) => "file",
            Origin::Command(_) => "command",
            Origin::Credential(_) => "credential",
            Origin::Kept(_) => "secret",
            Origin::Literal(_) => "literal",
        }
    }
}

fn credential(path: Result<PathBuf, NoCredential>) -> Result<Secret, Unhad> {
    const LOAD: &str = "add LoadCredential=NAME:/path/of/the/file, or LoadCredentialEncrypted=NAME, to the service's \
                        unit (systemctl edit gatepost)";
    match path {
        Ok(path) if path.exists() => {
            read(&path).map_err(|(why, hint)| (format!("{}: {why}", path.display()), hint.to_owned()))
        }
        Ok(path) => {
            let folder = path.parent().unwrap_or(&path).display();
            Err((format!("systemd gave this process no credential of that name: it is not in {folder}"), LOAD.into()))
        }
        Err(NoCredential::NoFolder) => Err((
            "systemd gave this process no credentials: CREDENTIALS_DIRECTORY is not set".into(),
            format!("{LOAD}; outside of the service there are none"),
        )),
        // Refused when the configuration was read.
        Err(NoCredential::BadName) => Err(("that is no name of a credential".into(), LOAD.into())),
    }
}

fn kept(vault: &Vault, name: &str) -> Result<Secret, Unhad> {
    const HINT: &str = "`gatepost secret set NAME` adds one, `gatepost secret list` shows what there is";
    vault.get(name).map_err(|error| match error.problem {
        VaultProblem::Missing => {
            (format!("there is no secret of that name in {}", vault.folder().display()), HINT.to_owned())
        }
        VaultProblem::Refused
        | VaultProblem::Owner(_)
        | VaultProblem::Locked
        | VaultProblem::NoSpace
        | VaultProblem::Unusable => (error.what, error.hint.unwrap_or_else(|| HINT.to_owned())),
    })
}

fn read(path: &Path) -> Result<Secret, (String, &'static str)> {
    use std::io::Read as _;
    let unreadable = |error: std::io::Error| {
        let hint = "the user that gatepost runs as must be able to read it; a relative path counts from the configuration's folder";
        (format!("cannot be read: {error}"), hint)
    };
    let mut bytes = Zeroizing::new(Vec::new());
    let file = fsio::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(("is too long to be a password".to_owned(), "is it the right file?"));
    }
    let not_text = || ("is not UTF-8".to_owned(), "save it as UTF-8 text, the password alone in one line");
    one_line(bytes).ok_or_else(not_text)
}

/// Text as editors, `echo` and programs leave it: a mark at its beginning or the end of a line is none of the
/// password's. `None`: not UTF-8; the error would carry the bytes.
fn one_line(bytes: Zeroizing<Vec<u8>>) -> Option<Secret> {
    let text = std::str::from_utf8(&bytes).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = match text.strip_suffix('\n') {
        Some(text) => text.strip_suffix('\r').unwrap_or(text),
        None => text,
    };
    Some(Secret::new(text.to_owned()))
}

/// One of [`keys::PASSWORD`] in a table, or the text itself, which earns a warning.
pub fn secret_ref(table: &Table<'_, '_>, key: &str, folder: &Path) -> Option<SecretRef> {
    const SHAPES: &str = "write { env = \"NAME\" }, { file = \"path\" }, { command = \"…\" }, \
                          { credential = \"NAME\" } (of systemd) or { secret = \"NAME\" } (of `gatepost secret set`)";
    let found = |origin| {
        let (file, line) = (table.doc().file().to_owned(), table.line_of(key));
        Some(SecretRef { origin, file, line, key: table.path_of(key) })
    };
    if !table.has(key) {
        table.missing(key, SHAPES);
        return None;
    }
    let entries = match table.value(key)? {
        DeValue::String(text) if text.is_empty() => {
            table.wrong(key, "is empty", SHAPES);
            return None;
        }
        DeValue::String(text) => {
            table.notice(
                key,
                &format!("the password itself stands here, for all who can read this file or its backups; {SHAPES}"),
            );
            return found(Origin::Literal(Secret::new(text.to_string())));
        }
        DeValue::Table(entries) => entries,
        other => return table.mistyped(key, "a place to find it", other, SHAPES),
    };
    // By hand and not by `Table`: a word in this table that is no key may be the password itself, so
    // it is repeated only when it is nearly a key.
    let mut sound = true;
    for name in entries.keys().map(|name| name.get_ref().as_ref()) {
        if !keys::PASSWORD.known.contains(&name) {
            match keys::nearest(name, keys::PASSWORD.known.iter().copied()) {
                Some(near) => table.wrong(key, "holds a key that is misspelt", &format!("did you mean `{near}`?")),
                None => table.wrong(key, "holds an unknown key", SHAPES),
            }
            sound = false;
        }
    }
    let given: Vec<(&'static str, &DeValue<'_>)> = keys::PASSWORD
        .known
        .iter()
        .filter_map(|&name| entries.get(name).map(|value| (name, value.get_ref())))
        .collect();
    let origin = match given.as_slice() {
        [(name, value)] => origin(table, key, name, value, folder),
        [] if !sound => None,
        [] => {
            table.wrong(key, "names no place", SHAPES);
            None
        }
        [(first, _), (second, _), ..] => {
            table.wrong(key, format!("names both {first} and {second}"), "leave one of them");
            None
        }
    };
    origin.filter(|_| sound).and_then(found)
}

/// A text that stands in the file and may do so, and is not shown all the same.
pub fn plain_ref(table: &Table<'_, '_>, key: &str, text: &str) -> SecretRef {
    let (file, line) = (table.doc().file().to_owned(), table.line_of(key));
    SecretRef { origin: Origin::Literal(Secret::new(text.to_owned())), file, line, key: table.path_of(key) }
}

/// What one entry of the table means. Nothing of it is repeated: see the top of this file.
fn origin(table: &Table<'_, '_>, key: &str, name: &str, value: &DeValue<'_>, folder: &Path) -> Option<Origin> {
    let wrong = |what: &str, hint: &str| {
        table.wrong(key, format!("{name}: {what}"), hint);
        None
    };
    let text = match value {
        DeValue::String(text) if text.trim().is_empty() => return wrong("is empty", "name a place, or leave it out"),
        DeValue::String(text) => text.as_ref(),
        DeValue::Array(list) if name == "command" => {
            let words: Option<Vec<String>> =
                list.iter().map(|word| word.get_ref().as_str().map(str::to_owned)).collect();
            return match words {
                Some(words) if words.first().is_some_and(|program| !program.trim().is_empty()) => {
                    let command = SecretCommand::new(Words::List(words), folder, table.doc().secret_variables());
                    Some(Origin::Command(command))
                }
                _ => wrong("is no list of a program and its arguments", "command = [\"pass\", \"show\", \"journal\"]"),
            };
        }
        _ => return wrong("is not text in quotes", &format!("{name} = \"…\"")),
    };
    match name {
        "env" if is_env_name(text) => {
            table.doc().note_secret_variable(text);
            Some(Origin::Env(text.to_owned()))
        }
        "env" => wrong("is not the name of an environment variable", "a name has letters, digits and _ only"),
        "file" => {
            let path = folder.join(text);
            if readable_by_others(&path) {
                table.notice(key, &format!("{} can be read by others than its owner; chmod 600 it", path.display()));
            }
            Some(Origin::File(path))
        }
        "command" => {
            let line = Words::Line(text.to_owned());
            Some(Origin::Command(SecretCommand::new(line, folder, table.doc().secret_variables())))
        }
        "credential" if credential::is_name(text) => Some(Origin::Credential(text.to_owned())),
        "credential" => {
            wrong("is not the name of a credential", "the NAME of LoadCredential=NAME:…, without any folder")
        }
        _ => match vault::check_name(text) {
            Ok(()) => Some(Origin::Kept(text.to_owned())),
            Err(error) => wrong(&error.what, &error.hint.unwrap_or_default()),
        },
    }
}

/// As everybody writes them; another may be the password itself.
fn looks_like_env(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

fn is_env_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(unix)]
pub(super) fn readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    // A file that is not there, or not for us, is reported when the secret is needed.
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o044 != 0)
}

#[cfg(not(unix))]
pub(super) fn readable_by_others(_path: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(origin: Origin) -> SecretRef {
        let key = "profile \"journal\" → imap → password".to_owned();
        SecretRef { origin, file: "/etc/gatepost.toml".into(), line: 9, key }
    }

    fn from_file(bytes: &[u8]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, bytes).unwrap();
        let shown = path.display().to_string();
        let resolved = secret(Origin::File(path)).resolve();
        resolved.map(|secret| secret.expose().to_owned()).map_err(|error| error.to_string().replace(&shown, "FILE"))
    }

    #[test]
    fn a_credential_is_a_file_that_systemd_gave() {
        let folder = tempfile::tempdir().unwrap();
        let had = || credential(Ok(folder.path().join("journal"))).map(|secret| secret.expose().to_owned());
        let (what, hint) = had().unwrap_err();
        assert!(what.starts_with("systemd gave this process no credential of that name"), "{what}");
        assert!(hint.contains("LoadCredential=") && !what.contains("journal"), "{what} {hint}");
        std::fs::write(folder.path().join("journal"), "hunter2\n").unwrap();
        assert_eq!(had().unwrap(), "hunter2");
        let (what, hint) = credential(Err(NoCredential::NoFolder)).unwrap_err();
        assert!(what.contains("CREDENTIALS_DIRECTORY") && hint.contains("LoadCredential="), "{what} {hint}");
    }

    #[test]
    fn a_file_holds_one_line() {
        for bytes in [&b"hunter2"[..], b"hunter2\n", b"hunter2\r\n", b"\xef\xbb\xbfhunter2\n"] {
            assert_eq!(from_file(bytes).unwrap(), "hunter2");
        }
        assert_eq!(from_file(b" hunter 2 \n").unwrap(), " hunter 2 ");
        for bytes in [&b"hunter2\nx\n"[..], b"", b"\n", b"hunter2\xff", b"hunter2\0"] {
            let error = from_file(bytes).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        insta::assert_snapshot!(from_file(b"a\nb").unwrap_err(), @r#"
        /etc/gatepost.toml:9: profile "journal" → imap → password: FILE holds more than one line
          hint: the password stands alone in one line
        "#);
    }

    #[test]
    fn what_is_missing_is_named_with_its_place() {
        let env = secret(Origin::Env("JOURNAL_PASSWORD".into()));
        insta::assert_snapshot!(env.resolve_with(|_| None).unwrap_err(), @r#"
        /etc/gatepost.toml:9: profile "journal" → imap → password: the environment variable JOURNAL_PASSWORD is not set
          hint: set it for this process (systemd: Environment= or EnvironmentFile=), or use { file = "…" }
        "#);
        assert_eq!(env.resolve_with(|_| Some("x".into())).unwrap().expose(), "x");
        let file = secret(Origin::File("/nowhere/password".into())).resolve().unwrap_err().to_string();
        assert!(file.contains("/nowhere/password: cannot be read: "), "{file}");
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", secret(Origin::Literal(Secret::new("hunter2".into()))));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
